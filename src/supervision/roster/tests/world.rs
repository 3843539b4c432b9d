//! A random world around a roster: members that start, hang, fail and end, and somebody who gives commands.
//!
//! Every edge of the graph goes from a higher rank to a lower one, and groups are in order of rank, as the config
//! demands. The rank of a member is its name, and a replaced member keeps it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::driver::{Actual, Hand, Kind};
use super::{Roster, ScopeId, name, scope_spec};
use crate::supervision::machine::{ChildSpec, Phase, Spec};
use crate::supervision::roster::{Command, MemberId, MemberSpec, Waits};
use crate::types::name::Name;
use crate::types::policy::{AutoShutdown, Backoff, Intensity, OnLimit, Restart, Strategy};

/// Told of a member wherever a driver shows it.
pub(crate) type OnShow<'w> = Box<dyn FnMut(MemberId, &Roster, &Actual, Duration) + 'w>;

pub(crate) struct World<'w> {
    pub(super) random: fastrand::Rng,
    pub(super) roster: Roster,
    pub(super) now: Duration,
    pub(super) actual: BTreeMap<MemberId, Actual>,
    pub(super) scopes: Vec<ScopeId>,
    pub(super) parallel_starts: usize,
    /// What the touched members told of the others: never behind the truth.
    pub(super) shadow: BTreeMap<MemberId, (Option<Phase>, Option<Waits>)>,
    pub(super) shutting_down: bool,
    /// No more failures, and nothing hangs.
    pub(super) peaceful: bool,
    /// Tells what happens, for the one seed that is looked at.
    verbose: bool,
    on_show: Option<OnShow<'w>>,
}

const RANKS: usize = 9;

fn rank_name(rank: usize) -> Name {
    name(&format!("n{rank}"))
}

impl<'w> World<'w> {
    pub(crate) fn new(seed: u64, on_show: OnShow<'w>) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let parallel_starts = [1, 1, 2, 3, 100][random.usize(..5)];
        let mut world = Self {
            random,
            roster: Roster::new(parallel_starts),
            now: Duration::ZERO,
            actual: BTreeMap::new(),
            scopes: Vec::new(),
            parallel_starts,
            shadow: BTreeMap::new(),
            shutting_down: false,
            peaceful: false,
            verbose: std::env::var_os("CAFE_SIM_SEED").is_some(),
            on_show: Some(on_show),
        };
        world.populate();
        world
    }

    fn populate(&mut self) {
        let groups = self.random.usize(..3);
        for number in 0..groups {
            let spec = self.random_scope();
            let group = Some(name(&format!("group{number}")));
            self.scopes.push(self.roster.add_scope(group, spec));
        }
        for rank in 0..self.random.usize(1..=RANKS) {
            self.join(rank);
        }
        self.connect();
        let found = (0..self.random.usize(..3)).map(|_| self.any_member()).collect::<Vec<_>>();
        for id in found.into_iter().flatten() {
            self.find_running(id);
        }
        for scope in self.scopes.clone() {
            if self.random.u8(..5) > 0 {
                self.roster.boot_scope(scope);
                self.forget_stops_of(scope);
            }
        }
    }

    fn random_scope(&mut self) -> Spec {
        let strategies = [Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne];
        let endings =
            [AutoShutdown::Never, AutoShutdown::AnySignificant, AutoShutdown::AllSignificant];
        Spec {
            intensity: Intensity {
                restarts: self.random.u32(..5),
                within: Duration::from_secs(self.random.u64(..30)),
                then: if self.random.bool() { OnLimit::Hold } else { OnLimit::GiveUp },
            },
            auto_shutdown: endings[self.random.usize(..3)],
            parallel_stop: self.random.u8(..8) == 0,
            parallel_start: self.random.u8(..8) == 0,
            seed: self.random.u64(..),
            ..scope_spec(strategies[self.random.usize(..3)])
        }
    }

    fn random_member(&mut self, rank: usize, kind: Kind) -> MemberSpec {
        let restart = match (kind, self.random.u8(..4)) {
            (Kind::Timer, _) | (Kind::Daemon { .. }, 0 | 1) => Restart::Permanent,
            (_, 2) => Restart::Temporary,
            _ => Restart::Transient,
        };
        let min = Duration::from_millis([0, 0, 100, 1000][self.random.usize(..4)]);
        let needs = |random: &mut fastrand::Rng, most: usize| {
            let count = random.usize(..=most);
            (0..count).map(|_| rank_name(random.usize(..rank.max(1)))).collect::<BTreeSet<_>>()
        };
        let most = if rank == 0 { 0 } else { 2 };
        // A timer is never up, so nothing requires one; its own needs are as good as anybody's.
        let timer = |actual: &Actual| actual.kind == Kind::Timer;
        let timers: BTreeSet<Name> =
            self.actual.values().filter(|it| timer(it)).map(|it| it.name.clone()).collect();
        let requires = needs(&mut self.random, most);
        MemberSpec {
            name: rank_name(rank),
            child: ChildSpec {
                restart,
                significant: restart != Restart::Permanent && self.random.u8(..4) == 0,
                backoff: Backoff {
                    min,
                    max: min * self.random.u32(1..20),
                    reset_after: Duration::from_secs(self.random.u64(..20)),
                },
            },
            after: needs(&mut self.random, most).into_iter().collect(),
            requires: requires.into_iter().filter(|name| !timers.contains(name)).collect(),
            completes: kind == Kind::Oneshot,
        }
    }

    /// A member of this rank, in a group or alone, at rest.
    pub(super) fn join(&mut self, rank: usize) {
        let kinds = [
            Kind::Daemon { checked: false },
            Kind::Daemon { checked: true },
            Kind::Daemon { checked: true },
            Kind::Oneshot,
            Kind::Timer,
        ];
        let kind = kinds[self.random.usize(..kinds.len())];
        let spec = self.random_member(rank, kind);
        let groups: Vec<ScopeId> =
            self.scopes.iter().copied().filter(|id| self.roster.is_group(*id)).collect();
        let scope = match groups.len() {
            0 => None,
            count => groups.get(self.random.usize(..count * 2)).copied(),
        };
        let scope = scope.unwrap_or_else(|| {
            let spec = self.random_scope();
            let id = self.roster.add_scope(None, spec);
            self.scopes.push(id);
            id
        });
        let id = self.roster.add_member(scope, spec.clone());
        self.actual.insert(id, Actual::new(spec, rank, scope, kind));
        let order: Vec<Name> = (0..RANKS).map(rank_name).collect();
        self.roster.reorder(scope, &order);
    }

    pub(super) fn connect(&mut self) {
        self.roster.connect();
    }

    pub(super) fn any_member(&mut self) -> Option<MemberId> {
        let ids: Vec<MemberId> = self.actual.keys().copied().collect();
        (!ids.is_empty()).then(|| ids[self.random.usize(..ids.len())])
    }

    pub(super) fn say(&self, what: impl FnOnce() -> String) {
        if self.verbose {
            eprintln!("{:>9.3} {}", self.now.as_secs_f64(), what());
        }
    }

    pub(super) fn show(&mut self, id: MemberId) {
        let Some(mut on_show) = self.on_show.take() else { return };
        if let Some(actual) = self.actual.get(&id) {
            on_show(id, &self.roster, actual, self.now);
        }
        self.on_show = Some(on_show);
    }

    /// Runs the world from boot over much trouble and rest to its end.
    pub(crate) fn live(mut self) {
        self.drive();
        for _ in 0..self.random.usize(10..120) {
            match self.random.u8(..12) {
                0..5 => _ = self.pass_time(),
                5..9 => self.trouble(),
                _ => self.command(),
            }
            self.drive();
        }
        self.peaceful = true;
        self.come_to_rest();
        self.check_rest();
        self.shutting_down = true;
        self.peaceful = self.random.bool();
        self.roster.shutdown();
        self.drive();
        for _ in 0..self.random.usize(..10) {
            match self.random.bool() {
                true => self.trouble(),
                false => self.command(),
            }
            self.drive();
        }
        self.come_to_rest();
        assert!(self.roster.is_empty(), "a shutdown empties everything");
        assert!(self.actual.values().all(Actual::is_down));
    }

    fn come_to_rest(&mut self) {
        for _ in 0..10_000 {
            if !self.pass_time() {
                return;
            }
            self.drive();
        }
        panic!("never comes to rest");
    }

    // ---- commands ----

    fn command(&mut self) {
        let Some(id) = self.any_member() else { return };
        let scope = self.scopes[self.random.usize(..self.scopes.len())];
        let which = self.random.u8(..24);
        self.say(|| format!("command {which} member {id} scope {scope}"));
        match which {
            0..6 => self.stop(id),
            6..10 => {
                if self.roster.start(id).is_ok() {
                    self.started_by_hand(id);
                }
            }
            10..13 => {
                if self.roster.restart(id).is_ok() {
                    self.started_by_hand(id);
                }
            }
            13 => {
                self.roster.stop_scope(scope);
                self.hand_of_scope(scope, Hand::Stopped);
            }
            14 => {
                self.roster.boot_scope(scope);
                self.forget_stops_of(scope);
            }
            15 => {
                self.roster.restart_scope(scope);
                self.forget_stops_of(scope);
            }
            16..18 => {
                self.roster.retire(id);
                if self.random.bool() {
                    self.connect();
                }
            }
            18..21 => self.update(id),
            21 => {
                self.parallel_starts = self.random.usize(1..4);
                self.roster.set_parallel_starts(self.parallel_starts);
            }
            22 => {
                let spec = self.random_scope();
                self.roster.update_scope(scope, spec);
            }
            _ => self.recruit(),
        }
    }

    fn stop(&mut self, id: MemberId) {
        if self.roster.stop(id).is_ok()
            && let Some(actual) = self.actual.get_mut(&id)
        {
            actual.hand = Hand::Stopped;
        }
    }

    /// What it requires, at any distance, may be started with it.
    fn started_by_hand(&mut self, id: MemberId) {
        let (mut stack, mut seen) = (vec![id], BTreeSet::new());
        while let Some(next) = stack.pop() {
            if !seen.insert(next) {
                continue;
            }
            let Some(actual) = self.actual.get_mut(&next) else { continue };
            actual.hand = if next == id { Hand::Started } else { Hand::MayRun };
            let requires = actual.spec.requires.iter();
            stack.extend(requires.filter_map(|name| self.roster.find(name.as_str())));
        }
    }

    fn forget_stops_of(&mut self, scope: ScopeId) {
        self.hand_of_scope(scope, Hand::Started);
    }

    fn hand_of_scope(&mut self, scope: ScopeId, hand: Hand) {
        for actual in self.actual.values_mut().filter(|actual| actual.scope == scope) {
            actual.hand = hand;
        }
    }

    fn update(&mut self, id: MemberId) {
        let Some((rank, kind)) = self.actual.get(&id).map(|it| (it.rank, it.kind)) else { return };
        let spec = self.random_member(rank, kind);
        self.roster.update_member(id, spec.clone());
        if !self.roster.is_retiring(id)
            && let Some(actual) = self.actual.get_mut(&id)
        {
            actual.required.retain(|name| spec.requires.contains(name));
            actual.spec = spec;
        }
        self.connect();
    }

    /// Somebody of a rank that nobody has.
    pub(super) fn recruit(&mut self) {
        let taken: BTreeSet<usize> = self.actual.values().map(|actual| actual.rank).collect();
        let Some(rank) = (0..RANKS).find(|rank| !taken.contains(rank)) else { return };
        self.join(rank);
        self.connect();
        let newest = self.actual.keys().next_back().copied();
        if let Some(id) = newest.filter(|_| self.random.bool()) {
            let scope = self.actual[&id].scope;
            self.roster.boot_members(scope, &[id]);
            if let Some(actual) = self.actual.get_mut(&id) {
                actual.hand = Hand::Started;
            }
        }
    }

    // ---- the loop of a driver ----

    /// Executes what the roster wants until it wants nothing more, as `crate::actors::services` does.
    pub(super) fn drive(&mut self) {
        for round in 0.. {
            assert!(round < 1000, "commands without end");
            let commands = self.roster.commands(self.now);
            self.roster.take_notices();
            for id in self.roster.take_touched() {
                let truth = (self.roster.child_phase(id), self.roster.waits(id));
                if let (Some(actual), Some(Phase::Starting)) = (self.actual.get_mut(&id), truth.0) {
                    // What it did before does not count once it is to do it again.
                    actual.completed = false;
                }
                self.shadow.insert(id, truth);
                self.show(id);
            }
            if !commands.is_empty() {
                self.say(|| format!("{commands:?}"));
            }
            self.check_commands(&commands);
            if commands.is_empty() {
                break;
            }
            for command in commands {
                match command {
                    Command::Start(id) => self.launch(id),
                    Command::Stop(id) => self.end(id),
                    Command::Retired(id) => self.retired(id),
                }
            }
        }
        self.check_step();
    }

    fn retired(&mut self, id: MemberId) {
        self.shadow.remove(&id);
        let actual = self.actual.remove(&id).expect("retired once");
        assert!(actual.is_down(), "retired while it runs");
        self.scopes.retain(|scope| self.roster.is_group(*scope) || *scope != actual.scope);
        if self.scopes.is_empty() || self.random.bool() {
            self.join(actual.rank);
            self.connect();
            let (newest, scope) =
                self.actual.last_key_value().map(|(id, it)| (*id, it.scope)).expect("joined");
            self.roster.boot_members(scope, &[newest]);
        }
    }
}
