//! The supervisor without I/O: events go in, orders come out. It decides; a driver executes and answers.
//!
//! Each child has what it does (down, starting, up, stopping) and what it shall do (run, rest); orders are the difference,
//! so an event never waits for another and a later command simply changes the goal. A restart of a group, the boot and the
//! shutdown are *plans*: their children are stopped in reverse order, one at a time, then started in order, each acknowledged
//! before the next. Children outside a plan act on their own.
//!
//! ```text
//!            order Start          started
//!   Queued ---------------> Starting ------> Up
//!     ^  ^                     | |            | |
//!     |  | backoff over        | | order Stop | | order Stop
//!     |  +---- Backoff <-------+ +-> Stopping <-+
//!     |           ^   failed         |        | ended by itself: restarts
//!     |           +------------------|--------+
//!     +------ group restart ---------+ ended -> Idle
//! ```
//!
//! Time is the distance from any monotonic origin, the same for all calls. Never reads a clock, never draws from a global
//! random source, never names ractor or a process.

mod child;
mod events;
mod plan;
mod random;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::types::is_default;
use crate::types::policy::{AutoShutdown, Intensity, Strategy};

use super::intensity::Window;
use child::{Cause, Child, Goal, Life};
pub use child::{ChildSpec, End, Phase, Why};

/// What the machine knows of its supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// Who goes down and up with a child that is restarted.
    pub strategy: Strategy,
    /// The restart limit of all children together.
    pub intensity: Intensity,
    /// Whether significant children end the supervisor.
    pub auto_shutdown: AutoShutdown,
    /// What a failed first start means.
    pub boot: Boot,
    /// Planned stops are ordered all at once instead of in reverse one at a time.
    #[serde(default, skip_serializing_if = "is_default")]
    pub parallel_stop: bool,
    /// Planned starts are ordered all at once instead of in order one at a time.
    #[serde(default, skip_serializing_if = "is_default")]
    pub parallel_start: bool,
    /// Seed of the jitter.
    #[serde(default, skip_serializing_if = "is_default")]
    pub seed: u64,
}

/// What a failed first start means, at boot or by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Boot {
    /// As in OTP: a failed boot stops those already started and ends the supervisor; a child that failed to start by hand
    /// stays down.
    Undo,
    /// It is counted and tried again like a restart.
    Retry,
}

/// What the driver does next. Each order is answered exactly once, except a `Start` that a `Stop` follows before its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Start the child in this slot; answer [`Machine::started`], [`Machine::start_failed`] or
    /// [`Machine::ignored`].
    Start(usize),
    /// Make sure the child in this slot is gone, running or still starting; answer [`Machine::ended`].
    Stop(usize),
}

/// State of the supervisor itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// At work; also before the boot.
    Running,
    /// Children are being stopped for good.
    ShuttingDown,
    /// All children are gone.
    Ended(Ended),
}

/// Why a supervisor ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ended {
    /// It was told to.
    Shutdown,
    /// Too many restarts.
    GaveUp {
        /// Restarts allowed.
        restarts: u32,
        /// The window.
        within: Duration,
    },
    /// A significant child ended by itself.
    AutoShutdown {
        /// The child.
        slot: usize,
    },
    /// A first start failed.
    BootFailed {
        /// The child.
        slot: usize,
    },
}

/// What happened that its phases alone do not tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    /// A child is restarted after a delay, and others with it.
    Restarting {
        /// The child that failed.
        slot: usize,
        /// Number of the try, from 1.
        attempt: u32,
        /// How long it waits.
        delay: Duration,
        /// The restart limit was reached; it is tried at the longest delay from here on.
        held: bool,
        /// Running siblings that are stopped because of it, in start order.
        pulled_down: Vec<usize>,
    },
    /// The supervisor ends because of this child.
    Ending {
        /// The child.
        slot: usize,
        /// Why.
        because: Ended,
    },
}

/// Why a command by hand was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It runs or starts already; or it must be down and is not.
    #[error("it is running")]
    Running,
    /// There is no such child.
    #[error("there is no such child")]
    Unknown,
    /// The supervisor is ending.
    #[error("its supervisor is shutting down")]
    ShuttingDown,
}

/// A driver that never takes reports loses the oldest beyond this many.
const REPORTS: usize = 64;

/// One supervisor and its children, addressed by slot.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Machine {
    spec: Spec,
    children: Vec<Option<Child>>,
    /// Slots in start order.
    #[serde(default, skip_serializing_if = "is_default")]
    order: Vec<usize>,
    window: Window,
    /// Its state tells what it draws next.
    #[serde(with = "random")]
    random: fastrand::Rng,
    state: State,
    /// What [`State::Ended`] will say, set when the shutdown begins.
    because: Ended,
    reports: Vec<Report>,
}

impl Machine {
    /// A supervisor without children.
    #[must_use]
    pub fn new(spec: Spec) -> Self {
        Self {
            spec,
            children: Vec::new(),
            order: Vec::new(),
            window: Window::default(),
            random: fastrand::Rng::with_seed(spec.seed),
            state: State::Running,
            because: Ended::Shutdown,
            reports: Vec::new(),
        }
    }

    /// Adds a child after all others, down. The slot of a removed child may be given out again.
    pub fn add(&mut self, spec: ChildSpec) -> usize {
        self.insert(self.order.len(), spec)
    }

    /// Adds a child at this place of the start order (at the end if beyond), down.
    pub fn insert(&mut self, place: usize, spec: ChildSpec) -> usize {
        let free = self.children.iter().position(Option::is_none).filter(|_| self.has_free_slot());
        let slot = free.unwrap_or(self.children.len());
        if slot == self.children.len() {
            // Most machines have one child for ever: no room for more is made beforehand.
            self.children.reserve_exact(1);
            self.order.reserve_exact(1);
            self.children.push(None);
        }
        self.children[slot] = Some(Child::new(spec));
        self.order.insert(place.min(self.order.len()), slot);
        slot
    }

    fn has_free_slot(&self) -> bool {
        self.order.len() < self.children.len()
    }

    /// Forgets a child that is down and rests.
    ///
    /// # Errors
    /// [`Refusal::Running`] while it runs, waits or is queued; [`Refusal::Unknown`].
    pub fn remove(&mut self, slot: usize) -> Result<(), Refusal> {
        let child = self.known(slot)?;
        if !matches!(child.phase(), Phase::Idle { .. }) {
            return Err(Refusal::Running);
        }
        self.children[slot] = None;
        self.order.retain(|other| *other != slot);
        Ok(())
    }

    /// Gives the children this start order (OTP `code_change`); those not named keep theirs, after the named ones.
    pub fn reorder(&mut self, first: &[usize]) {
        let known = |slot: &usize| self.order.contains(slot);
        let mut order: Vec<usize> = Vec::with_capacity(self.order.len());
        for slot in first.iter().copied().filter(known).chain(self.order.iter().copied()) {
            if !order.contains(&slot) {
                order.push(slot);
            }
        }
        self.order = order;
    }

    /// Puts a supervisor under a new spec: nothing is started or stopped.
    pub fn update(&mut self, spec: Spec) {
        self.spec = spec;
    }

    /// The spec it works under.
    #[must_use]
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Puts a child under a new spec: if it runs it keeps running, if it waits it waits as long as before.
    ///
    /// # Errors
    /// [`Refusal::Unknown`].
    pub fn update_child(&mut self, slot: usize, spec: ChildSpec) -> Result<(), Refusal> {
        self.known(slot)?.spec = spec;
        Ok(())
    }

    /// What a child does; nothing for a slot without child.
    #[must_use]
    pub fn child(&self, slot: usize) -> Option<Phase> {
        self.get(slot).map(Child::phase)
    }

    /// Whether a child is meant to run: it does, or will without a command.
    #[must_use]
    pub fn is_wanted(&self, slot: usize) -> bool {
        self.get(slot).is_some_and(Child::is_active)
    }

    /// Whether a child runs and goes down: its stop is ordered, or will be in its turn.
    #[must_use]
    pub fn is_leaving(&self, slot: usize) -> bool {
        self.get(slot).is_some_and(|child| child.needs_stop() || child.life == Life::Stopping)
    }

    /// What the supervisor does.
    #[must_use]
    pub fn phase(&self) -> State {
        self.state
    }

    /// Slots in start order.
    #[must_use]
    pub fn slots(&self) -> &[usize] {
        &self.order
    }

    /// Takes what happened since the last call; to be called after every event.
    pub fn drain_reports(&mut self) -> Vec<Report> {
        std::mem::take(&mut self.reports)
    }

    fn report(&mut self, report: Report) {
        if self.reports.len() == REPORTS {
            self.reports.remove(0);
        }
        self.reports.push(report);
    }

    fn get(&self, slot: usize) -> Option<&Child> {
        self.children.get(slot)?.as_ref()
    }

    fn known(&mut self, slot: usize) -> Result<&mut Child, Refusal> {
        self.children.get_mut(slot).and_then(Option::as_mut).ok_or(Refusal::Unknown)
    }
}
