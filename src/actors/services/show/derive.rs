//! The state of a service as a pure function of what its supervisor knows.

use crate::supervision::machine::{End, Phase, Why};
use crate::types::state::State;

/// What the state of a service follows from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is reported by itself")]
pub(super) struct Facts {
    /// What its machine says.
    pub(super) phase: Option<Phase>,
    /// Its start is held back: by a dependency, or a permit.
    pub(super) gated: bool,
    /// Its actor was told to start it, and nothing came of it yet.
    pub(super) launched: bool,
    /// A process of it exists.
    pub(super) has_process: bool,
    /// It proved ready, or there is nothing to prove.
    pub(super) up: bool,
    /// There was something to prove.
    pub(super) checked: bool,
    /// Its health check fails.
    pub(super) unhealthy: bool,
    /// It is being told to end.
    pub(super) stopping: bool,
    /// Its actor was ordered to end it.
    pub(super) stop_ordered: bool,
    /// A timer that waits for its next run.
    pub(super) armed: bool,
    /// A connection starts it.
    pub(super) awaited: bool,
    /// A connection did, until it was stopped by hand.
    pub(super) put_off: bool,
    /// cafe itself is stopping.
    pub(super) shutting_down: bool,
}

/// Which of the facts made the state: what the reason has to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Because {
    /// It was sent its stop signal, or is right now.
    Signalled,
    /// What its health check or readiness check said.
    Evidence,
    /// It runs, and nothing is checked.
    Runs,
    /// It runs and has to prove ready.
    NotReadyYet,
    /// The clock.
    NextRun,
    /// Nobody has connected.
    NoCall,
    /// What its start waits for.
    Gate,
    /// Its process is being made.
    Making,
    /// Its start is handed over right now.
    AboutToStart,
    /// Its group is busy with others.
    Turn,
    /// A delay, this long from the origin of time.
    Delay {
        /// End of the delay.
        until: std::time::Duration,
        /// Number of the try.
        attempt: u32,
        /// At the restart limit.
        held: bool,
    },
    /// Nobody started it.
    NotStarted,
    /// Somebody stopped it.
    ByHand,
    /// Its group stopped.
    WithGroup,
    /// cafe stops.
    Shutdown,
    /// How it last ended.
    LastExit,
    /// It ended too often.
    TooOften,
    /// Its stop waits for those that depend on it.
    Dependents,
    /// Its process is ended as soon as it is made.
    Overtaken,
}

/// The one state of a service, and what made it that.
pub(super) fn state_of(facts: &Facts) -> (State, Because) {
    if facts.stopping {
        return (State::Stopping, Because::Signalled);
    }
    // Decided, though its process may not know yet, or not exist yet: nothing but its end follows. The runs of a
    // timer come and go until it is disarmed.
    if facts.phase == Some(Phase::Stopping) && !facts.armed {
        let because = match (facts.stop_ordered, facts.has_process) {
            (false, _) => Because::Dependents,
            (true, true) => Because::Signalled,
            (true, false) => Because::Overtaken,
        };
        return (State::Stopping, because);
    }
    if facts.has_process {
        return match (facts.up, facts.unhealthy, facts.checked) {
            (_, true, _) => (State::Unhealthy, Because::Evidence),
            (true, _, true) => (State::Ready, Because::Evidence),
            (true, _, false) => (State::Running, Because::Runs),
            (false, ..) => (State::Starting, Because::NotReadyYet),
        };
    }
    if facts.armed {
        return (State::Waiting, Because::NextRun);
    }
    match facts.phase {
        Some(Phase::Starting) if facts.gated => (State::Waiting, Because::Gate),
        Some(Phase::Starting) if facts.launched => (State::Starting, Because::Making),
        Some(Phase::Starting) => (State::Waiting, Because::AboutToStart),
        Some(Phase::Queued) => (State::Waiting, Because::Turn),
        Some(Phase::Backoff { until, attempt, held }) => {
            (State::Backoff, Because::Delay { until, attempt, held })
        }
        Some(Phase::Idle { .. }) if facts.awaited => (State::Waiting, Because::NoCall),
        Some(Phase::Idle { .. }) if facts.put_off => (State::Stopped, Because::ByHand),
        Some(Phase::Idle { why }) => at_rest(why, facts.shutting_down),
        // Between an end and the next look of its machine; the next change is shown at once.
        Some(Phase::Up { .. } | Phase::Stopping) | None => (State::Waiting, Because::LastExit),
    }
}

fn at_rest(why: Why, shutting_down: bool) -> (State, Because) {
    match why {
        Why::NeverStarted | Why::Ignored => (State::Stopped, Because::NotStarted),
        Why::ByHand => (State::Stopped, Because::ByHand),
        Why::WithGroup if shutting_down => (State::Stopped, Because::Shutdown),
        Why::WithGroup => (State::Stopped, Because::WithGroup),
        Why::Ended(End::Normal) => (State::Done, Because::LastExit),
        Why::Ended(End::Abnormal) | Why::StartFailed => (State::Failed, Because::LastExit),
        Why::GaveUp => (State::Failed, Because::TooOften),
    }
}
