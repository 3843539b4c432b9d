//! What became of a command: watches the board, woken by the events of the services it concerns.

use std::time::{Duration, Instant};

use tokio::sync::broadcast::error::RecvError;

use super::super::bus::{Bus, Subscription};
use super::super::services::board::Board;
use crate::net::control::{Change, Goal, Outcome, Verb, Verdict};
use crate::types::error::{Code, Problem};
use crate::types::name::Name;
use crate::types::state::State;
use crate::types::status;
use crate::types::unit::show_duration;

/// A service before a command.
#[derive(Debug, Clone)]
pub(super) struct Before {
    name: Name,
    state: State,
    pid: Option<u32>,
    /// The last one that there was, shown or not.
    generation: u64,
    /// How often the next one did not take over.
    not_replaced: u64,
}

/// Watches a set of services from before a command until each has come out of it.
#[derive(Debug)]
pub(super) struct Watch {
    board: Board,
    events: Subscription,
    before: Vec<Before>,
}

impl Watch {
    /// Remembers how the services are now; to be called before the command.
    pub(super) fn begin(board: &Board, bus: &Bus, names: &[Name]) -> Self {
        let events = bus.subscribe(None);
        let before = names.iter().filter_map(|name| {
            let (state, pid, _) = board.glance(name.as_str())?;
            let generation = board.last_generation(name.as_str());
            let (not_replaced, _) = board.not_replaced(name.as_str());
            Some(Before { name: name.clone(), state, pid, generation, not_replaced })
        });
        Self { board: board.clone(), events, before: before.collect() }
    }

    /// Waits until every service is where `verb` wants it or will not get there, at most `deadline`.
    pub(super) async fn outcome(mut self, verb: Verb, deadline: Duration) -> Vec<Change> {
        let end = Instant::now() + deadline;
        loop {
            let changes: Vec<Option<Change>> =
                self.before.iter().map(|before| judge(&self.board, before, verb)).collect();
            if changes.iter().all(Option::is_some) {
                return changes.into_iter().flatten().collect();
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || !self.next_event(left).await {
                return self
                    .before
                    .iter()
                    .map(|before| self.give_up(before, verb, deadline))
                    .collect();
            }
        }
    }

    /// Waits until the service whose instances are watched reaches `goal`.
    pub(super) async fn goal(
        mut self,
        name: &Name,
        goal: Goal,
        deadline: Duration,
    ) -> Result<status::Service, Problem> {
        let end = Instant::now() + deadline;
        loop {
            let Some(service) = self.board.service(name.as_str()) else {
                return Err(Problem::new(Code::NoSuchName, format!("`{name}` left the config")));
            };
            match goal.judge(service.state) {
                Verdict::Reached => return Ok(service),
                Verdict::Missed => {
                    let text =
                        format!("`{name}` is {}, not {goal}: {}", service.state, service.reason);
                    return Err(Problem::new(Code::OperationFailed, text));
                }
                Verdict::Pending => {}
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || !self.next_event(left).await {
                let waited = show_duration(deadline);
                let text = format!(
                    "`{name}` is {} and not {goal} after {waited}: {}",
                    service.state, service.reason
                );
                return Err(Problem::new(Code::TimedOut, text).hint(format!("cafe logs {name}")));
            }
        }
    }

    /// Waits for the next event of a service watched; `false` when none came in time.
    async fn next_event(&mut self, left: Duration) -> bool {
        let next = async {
            loop {
                match self.events.live.recv().await {
                    Ok(event) => {
                        let subject = event.kind.subject();
                        if self.before.iter().any(|before| subject == Some(before.name.as_str())) {
                            return true;
                        }
                    }
                    // Some were missed: the board tells all the same.
                    Err(RecvError::Lagged(_)) => return true,
                    Err(RecvError::Closed) => return false,
                }
            }
        };
        tokio::time::timeout(left, next).await.unwrap_or(false)
    }

    fn give_up(&self, before: &Before, verb: Verb, deadline: Duration) -> Change {
        judge(&self.board, before, verb).unwrap_or_else(|| {
            let mut change = change(&self.board, before, Outcome::Pending);
            let waited = show_duration(deadline);
            change.reason = format!("still {} after {waited}: {}", change.to, change.reason);
            change
        })
    }
}

/// How a service came out of `verb`; `None` while it has not.
fn judge(board: &Board, before: &Before, verb: Verb) -> Option<Change> {
    let Some((state, _, generation)) = board.glance(before.name.as_str()) else {
        return Some(change(board, before, Outcome::Failed));
    };
    if matches!(verb, Verb::Restart | Verb::Overlap | Verb::Reload) {
        let (failures, reason) = board.not_replaced(before.name.as_str());
        if failures > before.not_replaced {
            return Some(Change { reason, ..change(board, before, Outcome::Failed) });
        }
    }
    let outcome = match verb {
        Verb::Kill { .. } => Outcome::Changed,
        Verb::Stop => match state.is_at_rest() {
            true if before.state.is_at_rest() => Outcome::Unchanged,
            true => Outcome::Changed,
            false => return None,
        },
        Verb::Start if before.state.is_up() && generation == before.generation => {
            Outcome::Unchanged
        }
        Verb::Start | Verb::Restart | Verb::Overlap | Verb::Reload => {
            let fresh = generation > before.generation;
            match Goal::Ready.judge(state) {
                Verdict::Reached if fresh => Outcome::Changed,
                // A failed try of a service that keeps being retried.
                _ if state == State::Backoff && (fresh || before.state != State::Backoff) => {
                    Outcome::Failed
                }
                Verdict::Missed if fresh || state == State::Failed => Outcome::Failed,
                _ => return None,
            }
        }
    };
    Some(change(board, before, outcome))
}

fn change(board: &Board, before: &Before, outcome: Outcome) -> Change {
    let now = board.brief(before.name.as_str());
    let (to, pid, reason) = now.unwrap_or((State::Stopped, None, "left the config".to_owned()));
    Change {
        name: before.name.clone(),
        outcome,
        from: before.state,
        to,
        reason,
        pid_before: before.pid,
        pid,
    }
}
