//! The life of a service as a table: which state may follow which.
//!
//! ```text
//!            start                 let through              up
//!  stopped ───────►  waiting  ─────────────────►  starting ────►  running | ready  ◄──►  unhealthy
//!     ▲              ▲  │  ▲                         │                 │                     │
//!     │              │  │  └── delay over ── backoff ◄────── ended ────┼─────────────────────┤
//!     │  start again │  │                      │     │                 │                     │
//!     │  (or timer)  │  │ stop                 │     └──── stop ───────┴──►  stopping  ◄─────┘
//!     │              │  ▼                      ▼                                │
//!     └──────────── done | failed | stopped ◄──┴────────────── ended ───────────┘
//! ```
//!
//! `waiting` is for a dependency, a start permit, or a timer's next run; every start passes through it.
//! `running` has no readiness check (nothing is claimed), `ready` passed one. Every state is shown with
//! its reason.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The state of a service, as every view of cafe shows it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Not running, and not meant to.
    Stopped,
    /// Meant to run, held back: by a dependency, a start permit, or the clock.
    Waiting,
    /// The process exists or is being made; it has not proved ready.
    Starting,
    /// The process runs; no readiness check is configured.
    Running,
    /// The process runs and passed its readiness check.
    Ready,
    /// The process runs and fails its health check.
    Unhealthy,
    /// Told to end; something of it is still there.
    Stopping,
    /// Ended; the next start waits for its delay.
    Backoff,
    /// Ended, and given up.
    Failed,
    /// Ended as it should: a oneshot, or a transient service that exited normally.
    Done,
}

impl State {
    /// All states, in the order of the enum.
    pub const ALL: [Self; 10] = [
        Self::Stopped,
        Self::Waiting,
        Self::Starting,
        Self::Running,
        Self::Ready,
        Self::Unhealthy,
        Self::Stopping,
        Self::Backoff,
        Self::Failed,
        Self::Done,
    ];

    /// The word used in JSON, metrics and text.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Waiting => "waiting",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Ready => "ready",
            Self::Unhealthy => "unhealthy",
            Self::Stopping => "stopping",
            Self::Backoff => "backoff",
            Self::Failed => "failed",
            Self::Done => "done",
        }
    }

    /// Up in the sense of a dependency: what waits for this service may start.
    #[must_use]
    pub fn is_up(self) -> bool {
        matches!(self, Self::Running | Self::Ready | Self::Unhealthy)
    }

    /// A process of this service may exist.
    #[must_use]
    pub fn has_process(self) -> bool {
        self.is_up() || matches!(self, Self::Starting | Self::Stopping)
    }

    /// Nothing runs and nothing will without a command, a timer, or the service's group.
    #[must_use]
    pub fn is_at_rest(self) -> bool {
        matches!(self, Self::Stopped | Self::Failed | Self::Done)
    }

    /// Whether `next` may follow; staying (with a new reason) always may.
    ///
    /// A found process (after a crash of cafe) enters at `starting` like a made one.
    #[must_use]
    pub fn may_become(self, next: Self) -> bool {
        if self == next {
            return true;
        }
        match next {
            Self::Waiting => true,
            // What ended keeps its reason, also when it is stopped once more.
            Self::Stopped => !matches!(self, Self::Failed | Self::Done),
            Self::Starting => self == Self::Waiting,
            Self::Running | Self::Ready => matches!(self, Self::Starting | Self::Unhealthy),
            Self::Unhealthy => matches!(self, Self::Running | Self::Ready),
            Self::Stopping => self.has_process(),
            Self::Backoff => self.has_process(),
            // Without a process: the actor of a timer failed between two runs.
            Self::Failed => self.has_process() || self == Self::Waiting,
            Self::Done => self.has_process(),
        }
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::State;

    fn next(state: State) -> impl Iterator<Item = State> {
        State::ALL.into_iter().filter(move |next| *next != state && state.may_become(*next))
    }

    #[test]
    fn each_is_written_as_it_is_shown() {
        for state in State::ALL {
            let text = serde_json::to_string(&state).expect("a word");
            assert_eq!(text, format!("\"{state}\""));
            assert_eq!(serde_json::from_str::<State>(&text).expect("the same word"), state);
        }
    }

    #[test]
    fn each_is_up_on_the_way_or_at_rest() {
        for state in State::ALL {
            assert!(!(state.has_process() && state.is_at_rest()), "{state}");
            assert!(!state.is_up() || state.has_process(), "{state}");
        }
    }

    #[test]
    fn every_process_begins_with_a_wait_and_a_start() {
        for state in State::ALL.into_iter().filter(|state| state.has_process()) {
            let from = State::ALL.into_iter().filter(|from| !from.has_process());
            let entered = from.filter(|from| from.may_become(state));
            let expected = if state == State::Starting { vec![State::Waiting] } else { vec![] };
            assert_eq!(entered.collect::<Vec<_>>(), expected, "{state}");
        }
    }

    #[test]
    fn every_state_can_be_reached_from_every_other() {
        for state in State::ALL {
            let (mut reached, mut stack) = (BTreeSet::from([state]), vec![state]);
            while let Some(state) = stack.pop() {
                stack.extend(next(state).filter(|next| reached.insert(*next)));
            }
            assert_eq!(reached.len(), State::ALL.len(), "from {state}");
        }
    }

    #[test]
    fn what_ended_keeps_its_reason_until_it_is_started_again() {
        for state in [State::Failed, State::Done] {
            assert_eq!(next(state).collect::<Vec<_>>(), [State::Waiting]);
        }
    }
}
