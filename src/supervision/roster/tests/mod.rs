//! The rules one by one, in virtual time; the simulation looks for what nobody thought of.

#![expect(clippy::print_stderr, reason = "what a failed or measured run tells")]

mod checks;
mod dependencies;
pub(crate) mod driver;
mod groups;
mod leaving;
mod rules;
pub(crate) mod simulation;
mod speed;
pub(crate) mod world;

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Command, MemberId, MemberSpec, Roster, ScopeId, Waits};
use crate::supervision::machine::{Boot, ChildSpec, End, Phase, Refusal, Spec};
use crate::types::name::Name;
use crate::types::policy::{AutoShutdown, Backoff, Intensity, OnLimit, Restart, Strategy};

const ZERO: Duration = Duration::ZERO;

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn names(texts: &[&str]) -> Vec<Name> {
    texts.iter().copied().map(name).collect()
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn scope_spec(strategy: Strategy) -> Spec {
    Spec {
        strategy,
        intensity: Intensity { restarts: 3, within: seconds(60), then: OnLimit::GiveUp },
        auto_shutdown: AutoShutdown::Never,
        boot: Boot::Retry,
        parallel_stop: false,
        parallel_start: false,
        seed: 1,
    }
}

fn member_spec(text: &str) -> MemberSpec {
    let backoff = Backoff { min: ZERO, max: ZERO, reset_after: Duration::MAX };
    MemberSpec {
        name: name(text),
        child: ChildSpec { restart: Restart::Permanent, significant: false, backoff },
        after: Vec::new(),
        requires: Vec::new(),
        completes: false,
    }
}

/// A delay whose length nobody knows but that there is one.
fn slowly() -> Backoff {
    Backoff { min: seconds(10), max: seconds(10), reset_after: Duration::MAX }
}

/// A roster and the names of its members.
struct Stage {
    roster: Roster,
    now: Duration,
    shown: BTreeMap<MemberId, String>,
}

impl Stage {
    fn new() -> Self {
        Self { roster: Roster::new(100), now: ZERO, shown: BTreeMap::new() }
    }

    /// A member with a scope of its own.
    fn alone(&mut self, spec: MemberSpec) -> ScopeId {
        let scope = self.roster.add_scope(None, scope_spec(Strategy::OneForOne));
        self.add(scope, spec);
        scope
    }

    fn add(&mut self, scope: ScopeId, spec: MemberSpec) -> MemberId {
        let text = spec.name.to_string();
        let id = self.roster.add_member(scope, spec);
        self.shown.insert(id, text);
        id
    }

    fn group(&mut self, text: &str, strategy: Strategy, members: Vec<MemberSpec>) -> ScopeId {
        let scope = self.roster.add_scope(Some(name(text)), scope_spec(strategy));
        for member in members {
            self.add(scope, member);
        }
        scope
    }

    /// Members alone, written `web: db, cache; later` (requires; after), connected and told to start.
    fn of(lines: &[&str]) -> Self {
        let mut stage = Self::new();
        stage.with(lines);
        stage
    }

    fn with(&mut self, lines: &[&str]) {
        let scopes: Vec<ScopeId> = lines.iter().map(|line| self.alone(parse(line))).collect();
        self.roster.connect();
        for scope in scopes {
            self.roster.boot_scope(scope);
        }
    }

    fn id(&self, text: &str) -> MemberId {
        self.roster.find(text).expect("a member")
    }

    fn waits(&self, text: &str) -> Option<Waits> {
        self.roster.waits(self.id(text))
    }

    fn phase(&self, text: &str) -> Phase {
        self.roster.child_phase(self.id(text)).expect("a member")
    }

    fn is_up(&self, text: &str) -> bool {
        matches!(self.phase(text), Phase::Up { .. })
    }

    /// What the driver is told now, `+web` to start, `-web` to stop, `!web` retired.
    fn told(&mut self) -> String {
        let commands = self.roster.commands(self.now);
        let shown = commands.iter().map(|command| match command {
            Command::Start(id) => format!("+{}", self.shown[id]),
            Command::Stop(id) => format!("-{}", self.shown[id]),
            Command::Retired(id) => format!("!{}", self.shown[id]),
        });
        shown.collect::<Vec<_>>().join(" ")
    }

    fn started(&mut self, text: &str) {
        self.roster.started(self.id(text), self.now);
    }

    fn failed(&mut self, text: &str) {
        self.roster.ended(self.id(text), End::Abnormal, self.now);
    }

    fn ended(&mut self, text: &str) {
        self.roster.ended(self.id(text), End::Normal, self.now);
    }

    fn stop(&mut self, text: &str) {
        self.roster.stop(self.id(text)).expect("known");
    }

    fn start(&mut self, text: &str) {
        let started = self.roster.start(self.id(text));
        assert!(matches!(started, Ok(()) | Err(Refusal::Running)));
    }

    /// A driver that does all at once and never fails; gives what it was told, in order.
    fn settle(&mut self) -> String {
        let mut log = Vec::new();
        loop {
            let commands = self.roster.commands(self.now);
            if commands.is_empty() {
                return log.join(" ");
            }
            for command in commands {
                let (sign, id) = match command {
                    Command::Start(id) => ('+', id),
                    Command::Stop(id) => ('-', id),
                    Command::Retired(id) => ('!', id),
                };
                log.push(format!("{sign}{}", self.shown[&id]));
                match command {
                    Command::Start(id) => self.roster.started(id, self.now),
                    Command::Stop(id) => self.roster.ended(id, End::Normal, self.now),
                    Command::Retired(_) => {}
                }
            }
        }
    }
}

fn parse(line: &str) -> MemberSpec {
    let list = |text: &str| {
        let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
        words.map(name).collect::<Vec<_>>()
    };
    let (text, needs) = line.split_once(':').unwrap_or((line, ""));
    let (requires, after) = needs.split_once(';').unwrap_or((needs, ""));
    MemberSpec { requires: list(requires), after: list(after), ..member_spec(text) }
}
