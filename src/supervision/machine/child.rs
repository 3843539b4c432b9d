//! One child as the machine sees it. Plain data; the rules are in the machine.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::types::is_default;
use crate::types::policy::{Backoff, Restart};

/// What the machine knows of a child beforehand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChildSpec {
    /// When it is restarted.
    pub restart: Restart,
    /// Whether its end can end the supervisor; see [`crate::types::policy::AutoShutdown`].
    #[serde(default, skip_serializing_if = "is_default")]
    pub significant: bool,
    /// Delay between tries; nothing but zeroes restarts at once.
    pub backoff: Backoff,
}

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// As it should: a transient child stays down.
    Normal,
    /// By a failure.
    Abnormal,
}

/// Why a child rests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Why {
    /// Nobody started it yet.
    NeverStarted,
    /// It was stopped by hand.
    ByHand,
    /// It ended by itself and its restart type lets it be.
    Ended(End),
    /// It was stopped with its group: as a temporary bystander of a restart, or at the end of the supervisor.
    WithGroup,
    /// It said at its start that it has nothing to do (OTP `ignore`).
    Ignored,
    /// It restarted too often.
    GaveUp,
    /// Its start by hand, or the first start of all, failed under [`super::Boot::Undo`].
    StartFailed,
}

/// What a child does right now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Down, and meant to be.
    Idle {
        /// The reason.
        why: Why,
    },
    /// Down until its delay is over.
    Backoff {
        /// End of the delay.
        until: Duration,
        /// Number of the coming try, from 1; starts anew after healthy time and after a start by hand.
        attempt: u32,
        /// The restart limit was reached and the delay is the longest.
        held: bool,
    },
    /// Down, to be started when its turn comes.
    Queued,
    /// Start ordered, no answer yet.
    Starting,
    /// Running.
    Up {
        /// Since when.
        since: Duration,
    },
    /// Stop ordered, not gone yet.
    Stopping,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Life {
    Down,
    Starting,
    Up { since: Duration },
    Stopping,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Goal {
    Run,
    Rest(Why),
}

/// Who wants the next start: decides what a failed one means. Once it has been up, every further start is a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Cause {
    Boot,
    Hand,
    Restart,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Child {
    pub(super) spec: ChildSpec,
    /// What it does.
    pub(super) life: Life,
    /// What it shall do.
    pub(super) goal: Goal,
    pub(super) cause: Cause,
    /// It must go down before the goal counts.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) recycle: bool,
    /// Part of a plan: stopped and started in turn with the others, not on its own.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) planned: bool,
    /// End of its backoff, while waiting.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) until: Option<Duration>,
    /// Tries since it was last healthy.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) attempt: u32,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) held: bool,
}

impl Child {
    pub(super) fn new(spec: ChildSpec) -> Self {
        Self {
            spec,
            life: Life::Down,
            goal: Goal::Rest(Why::NeverStarted),
            cause: Cause::Boot,
            recycle: false,
            planned: false,
            until: None,
            attempt: 0,
            held: false,
        }
    }

    pub(super) fn phase(&self) -> Phase {
        match (self.life, self.goal, self.until) {
            (Life::Down, Goal::Rest(why), _) => Phase::Idle { why },
            (Life::Down, Goal::Run, Some(until)) => {
                Phase::Backoff { until, attempt: self.attempt, held: self.held }
            }
            (Life::Down, Goal::Run, None) => Phase::Queued,
            (Life::Starting, ..) => Phase::Starting,
            (Life::Up { since }, ..) => Phase::Up { since },
            (Life::Stopping, ..) => Phase::Stopping,
        }
    }

    pub(super) fn runs(&self) -> bool {
        matches!(self.life, Life::Starting | Life::Up { .. })
    }

    /// It runs and must go down.
    pub(super) fn needs_stop(&self) -> bool {
        self.runs() && (self.recycle || self.goal != Goal::Run)
    }

    /// It is down and must come up, now or after its backoff.
    pub(super) fn needs_start(&self) -> bool {
        self.life == Life::Down && self.goal == Goal::Run
    }

    /// It runs or is going to: counts for [`crate::types::policy::AutoShutdown::AllSignificant`].
    pub(super) fn is_active(&self) -> bool {
        self.goal == Goal::Run
    }

    /// A sibling's restart takes it along: also one that rests, never a temporary one, which is let go.
    pub(super) fn join_restart(&mut self) {
        if self.spec.restart == Restart::Temporary {
            if self.goal == Goal::Run && self.runs() {
                self.rest(Why::WithGroup);
            }
            self.planned |= self.life != Life::Down;
            return;
        }
        self.recycle = self.runs();
        self.planned = true;
        if self.goal != Goal::Run {
            self.run_afresh(Cause::Restart);
        }
    }

    /// From here on it shall be down.
    pub(super) fn rest(&mut self, why: Why) {
        self.goal = Goal::Rest(why);
        self.until = None;
        self.held = false;
        self.recycle = false;
        if self.life == Life::Down {
            self.planned = false;
        }
    }

    /// It is to run, as if it had never failed.
    pub(super) fn run_afresh(&mut self, cause: Cause) {
        self.goal = Goal::Run;
        self.cause = cause;
        self.until = None;
        self.held = false;
        self.attempt = 0;
    }
}
