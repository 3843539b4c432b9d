//! What really happens to members, told to the roster in the order in which `crate::actors::services` tells it.

use std::time::Duration;

use super::world::World;
use super::{MemberId, MemberSpec, ScopeId};
use crate::supervision::machine::End;
use crate::types::name::Name;

/// What a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Daemon { checked: bool },
    Oneshot,
    Timer,
}

/// Where its process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Real {
    Down,
    /// Made at this time, or not.
    Making(Duration, bool),
    /// Ready (done, for a oneshot) at this time, or failed.
    Starting(Duration, bool),
    Up,
    /// Gone at this time.
    Stopping(Duration),
}

/// What is known of the last command by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hand {
    Stopped,
    /// Somebody that requires it was started.
    MayRun,
    Started,
}

/// What the driver knows of a member: the facts its state is derived from.
#[derive(Debug, Clone)]
pub(crate) struct Actual {
    pub(crate) name: Name,
    pub(crate) kind: Kind,
    pub(crate) launched: bool,
    pub(crate) has_process: bool,
    pub(crate) up: bool,
    pub(crate) unhealthy: bool,
    pub(crate) stopping: bool,
    /// A timer that waits for its next run.
    pub(crate) armed: bool,
    /// Found running.
    pub(crate) found: bool,
    pub(super) spec: MemberSpec,
    pub(super) rank: usize,
    pub(super) scope: ScopeId,
    pub(super) real: Real,
    /// The roster said stop, and its answer is due.
    pub(super) told_to_stop: bool,
    /// A start that was not answered.
    pub(super) holds_permit: bool,
    pub(super) completed: bool,
    pub(super) hand: Hand,
    /// It was started, or found running.
    pub(super) began: bool,
    /// What it required when it was started.
    pub(super) required: Vec<Name>,
}

impl Actual {
    pub(super) fn new(spec: MemberSpec, rank: usize, scope: ScopeId, kind: Kind) -> Self {
        Self {
            name: spec.name.clone(),
            kind,
            launched: false,
            has_process: false,
            up: false,
            unhealthy: false,
            stopping: false,
            armed: false,
            found: false,
            spec,
            rank,
            scope,
            real: Real::Down,
            told_to_stop: false,
            holds_permit: false,
            completed: false,
            hand: Hand::Stopped,
            began: false,
            required: Vec::new(),
        }
    }

    pub(super) fn is_down(&self) -> bool {
        self.real == Real::Down
    }
}

impl World<'_> {
    fn delay(&mut self) -> Duration {
        let most = if self.peaceful { 3 } else { 5 };
        // The last one hangs: only a stop ends it, or peace.
        Duration::from_millis([0, 10, 500, 20_000, 100_000_000][self.random.usize(..most)])
    }

    fn with(&mut self, id: MemberId) -> &mut Actual {
        self.actual.get_mut(&id).expect("a member")
    }

    /// A process is there before anybody started it.
    pub(super) fn find_running(&mut self, id: MemberId) {
        let actual = self.with(id);
        if !actual.is_down() || actual.kind != (Kind::Daemon { checked: false }) {
            return;
        }
        (actual.real, actual.found, actual.began) = (Real::Up, true, true);
        (actual.has_process, actual.up) = (true, true);
        actual.hand = Hand::Started;
        self.roster.adopt(id, self.now);
        self.show(id);
    }

    pub(super) fn launch(&mut self, id: MemberId) {
        let at = self.now + self.delay().min(Duration::from_secs(20));
        let made = self.peaceful || self.random.u8(..8) > 0;
        let actual = self.with(id);
        (actual.launched, actual.began) = (true, true);
        (actual.holds_permit, actual.hand) = (true, Hand::Started);
        (actual.completed, actual.found) = (false, false);
        actual.required.clone_from(&actual.spec.requires);
        actual.real = Real::Making(at, made);
        self.show(id);
        // A timer is armed at once.
        if at == self.now || self.with(id).kind == Kind::Timer {
            self.made(id, made);
        }
    }

    fn made(&mut self, id: MemberId, made: bool) {
        let (now, takes) = (self.now, self.delay());
        let good = self.peaceful || self.random.u8(..6) > 0;
        let kind = self.with(id).kind;
        if kind == Kind::Timer {
            let actual = self.with(id);
            (actual.real, actual.armed, actual.holds_permit) = (Real::Up, true, false);
            actual.launched = false;
            self.roster.started(id, now);
            return self.show(id);
        }
        if !made {
            return self.gone(id, End::Abnormal, true);
        }
        let actual = self.with(id);
        actual.has_process = true;
        actual.real = Real::Starting(now + takes, good);
        let told_to_stop = actual.told_to_stop;
        if kind == Kind::Oneshot {
            actual.holds_permit = false;
            self.roster.under_way(id);
        }
        self.show(id);
        match kind {
            _ if told_to_stop => self.begin_stop(id),
            Kind::Daemon { checked: false } => self.up(id),
            _ => {}
        }
    }

    fn up(&mut self, id: MemberId) {
        self.say(|| format!("up {id}"));
        let now = self.now;
        let actual = self.with(id);
        (actual.real, actual.up, actual.holds_permit) = (Real::Up, true, false);
        self.roster.started(id, now);
        self.show(id);
    }

    /// The roster wants it stopped.
    pub(super) fn end(&mut self, id: MemberId) {
        let actual = self.with(id);
        actual.told_to_stop = true;
        match actual.real {
            // Its process must be made before it can be ended.
            Real::Making(..) | Real::Stopping(_) => {}
            Real::Up if actual.armed && !actual.has_process => {
                let now = self.now;
                let actual = self.with(id);
                (actual.real, actual.armed, actual.told_to_stop) = (Real::Down, false, false);
                self.roster.ended(id, End::Normal, now);
            }
            Real::Starting(..) | Real::Up => self.begin_stop(id),
            Real::Down => panic!("told to stop what is down"),
        }
    }

    fn begin_stop(&mut self, id: MemberId) {
        let at = self.now + self.delay().min(Duration::from_secs(90));
        let actual = self.with(id);
        (actual.real, actual.stopping) = (Real::Stopping(at), true);
        self.show(id);
    }

    /// Nothing of it is left.
    fn gone(&mut self, id: MemberId, end: End, never_up: bool) {
        self.say(|| format!("gone {id} {end:?} never up {never_up}"));
        let now = self.now;
        let actual = self.with(id);
        let run_of_timer = actual.armed && !actual.told_to_stop;
        (actual.up, actual.unhealthy, actual.stopping, actual.launched) =
            (false, false, false, false);
        actual.has_process = false;
        if run_of_timer {
            actual.real = Real::Up;
            return self.show(id);
        }
        (actual.real, actual.armed, actual.holds_permit) = (Real::Down, false, false);
        let stopped = std::mem::take(&mut actual.told_to_stop);
        let oneshot = actual.kind == Kind::Oneshot;
        actual.completed = oneshot && !stopped && end == End::Normal;
        match (never_up, oneshot) {
            (true, _) => self.roster.start_failed(id, now),
            (false, true) => {
                self.roster.started(id, now);
                self.roster.ended(id, end, now);
            }
            (false, false) => self.roster.ended(id, end, now),
        }
        self.show(id);
    }

    // ---- time ----

    /// The next thing that was going to happen does; says whether there was one.
    pub(super) fn pass_time(&mut self) -> bool {
        if self.peaceful {
            self.make_peace();
        }
        let due = |actual: &Actual| match actual.real {
            Real::Making(at, _) | Real::Starting(at, _) | Real::Stopping(at) => Some(at),
            Real::Down | Real::Up => None,
        };
        let next = self.actual.values().filter_map(due).chain(self.roster.deadline()).min();
        let Some(next) = next else { return false };
        self.now = self.now.max(next);
        let ids: Vec<MemberId> = self.actual.keys().copied().collect();
        for id in ids {
            let Some(actual) = self.actual.get(&id) else { continue };
            if due(actual).is_none_or(|at| at > self.now) {
                continue;
            }
            let (kind, up) = (actual.kind, actual.up);
            match actual.real {
                Real::Making(_, made) => self.made(id, made),
                Real::Starting(_, true) if kind == Kind::Oneshot => {
                    self.gone(id, End::Normal, false)
                }
                Real::Starting(_, true) => self.up(id),
                // It ends by itself, or is ended as it did not become ready.
                Real::Starting(_, false) if self.random.bool() => {
                    self.gone(id, End::Abnormal, kind != Kind::Oneshot);
                }
                Real::Starting(_, false) => self.begin_stop(id),
                Real::Stopping(_) => {
                    let end = if self.random.bool() { End::Normal } else { End::Abnormal };
                    let ordered = self.actual[&id].told_to_stop;
                    self.gone(id, end, !up && !ordered && kind != Kind::Oneshot);
                }
                Real::Down | Real::Up => {}
            }
            self.drive();
        }
        true
    }

    /// Nothing fails or hangs any more.
    fn make_peace(&mut self) {
        let soon = self.now + Duration::from_secs(1);
        for actual in self.actual.values_mut() {
            match &mut actual.real {
                Real::Making(at, good) | Real::Starting(at, good) => {
                    (*at, *good) = ((*at).min(soon), true);
                }
                Real::Down | Real::Up | Real::Stopping(_) => {}
            }
        }
    }

    // ---- trouble ----

    pub(super) fn trouble(&mut self) {
        let Some(id) = self.any_member() else { return };
        let end = if self.random.u8(..3) == 0 { End::Normal } else { End::Abnormal };
        let actual = &self.actual[&id];
        match actual.real {
            Real::Up if actual.armed => match actual.has_process {
                false => {
                    self.with(id).has_process = true;
                    self.show(id);
                    self.with(id).up = true;
                    self.show(id);
                }
                true => self.gone(id, end, false),
            },
            Real::Up if matches!(actual.kind, Kind::Daemon { .. }) && self.random.bool() => {
                let actual = self.with(id);
                actual.unhealthy = !actual.unhealthy;
                self.show(id);
            }
            // Its own watchdog ends it, or it ends by itself.
            Real::Up if self.random.u8(..4) == 0 => self.begin_stop(id),
            Real::Up => self.gone(id, end, false),
            // Answers that come late or twice change nothing.
            Real::Down => {
                self.roster.started(id, self.now);
                self.roster.ended(id, end, self.now);
                self.roster.start_failed(id, self.now);
            }
            Real::Making(..) | Real::Starting(..) | Real::Stopping(_) => {}
        }
    }
}
