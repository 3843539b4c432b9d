//! The clock of a timer: armed by a start, it makes one run after another until it is stopped.

use std::time::Duration;

use jiff::{Timestamp, Zoned};
use ractor::ActorRef;

use super::super::report::Report;
use super::{Msg, State};
use crate::config::{Kind, Overlap, Schedule};
use crate::supervision::task::{self, Task};

/// Longest sleep towards a time of day: a stepped clock is noticed this soon.
const LOOK_AT_CLOCK: Duration = Duration::from_secs(30);

/// A timer that waits for its next run.
#[derive(Debug)]
pub(super) struct Armed {
    /// Which wait this is; a late `Due` of an earlier one is dropped.
    arming: u64,
    /// The time of day it waits for; none when it waits for a period to pass.
    at: Option<Timestamp>,
    _clock: Task,
}

impl State {
    /// Waits for the next run.
    pub(super) fn arm(&mut self, myself: &ActorRef<Msg>) {
        let Kind::Timer { schedule, .. } = &self.config.kind else { return };
        let arming = self.armed.as_ref().map_or(1, |armed| armed.arming + 1);
        let next = match schedule {
            Schedule::Every(period) => Timestamp::now() + *period,
            Schedule::Cron(expression) => {
                match crate::config::next_run(expression, &Zoned::now()) {
                    Some(next) => next,
                    None => {
                        let message = format!("`{expression}` has no further run");
                        self.report(Report::Remark { message });
                        return;
                    }
                }
            }
        };
        let (me, wait) = (myself.clone(), schedule.clone());
        let at = matches!(schedule, Schedule::Cron(_)).then_some(next);
        let clock = task::spawn("timer", async move {
            match wait {
                Schedule::Every(period) => tokio::time::sleep(period).await,
                Schedule::Cron(expression) => sleep_until(next, &expression).await,
            }
            let _ = me.cast(Msg::Due { arming });
        });
        self.armed = Some(Armed { arming, at, _clock: clock });
        self.report(Report::Armed { next });
    }

    /// The time has come, or the clock was set back and the wait is to be for an earlier one.
    pub(super) fn due(&mut self, myself: &ActorRef<Msg>, arming: u64) {
        let Some(armed) = self.armed.as_ref().filter(|armed| armed.arming == arming) else {
            return;
        };
        let set_back = armed.at.is_some_and(|at| Timestamp::now() < at);
        self.arm(myself);
        if !set_back {
            self.run_now(myself);
        }
    }

    /// Makes a run, or does what `overlap` says while the last one has not ended.
    pub(super) fn run_now(&mut self, myself: &ActorRef<Msg>) {
        if self.instance.is_none() {
            return self.launch(myself);
        }
        let Kind::Timer { overlap, .. } = self.config.kind else { return };
        let message = match overlap {
            Overlap::Skip => "due while its last run goes on: left out",
            Overlap::Queue => {
                self.run_owed = true;
                "due while its last run goes on: runs once more after it"
            }
            Overlap::Replace => {
                self.run_owed = true;
                for generation in self.generations() {
                    self.end(myself, generation, "replaced by its next run".to_owned());
                }
                "due while its last run goes on: the last run is stopped"
            }
        };
        self.report(Report::Remark { message: message.to_owned() });
    }
}

/// Sleeps until a time of day, the next run of `expression`, or until the clock was set back and another run is the
/// next. In short stretches, as nobody says when the clock is set.
async fn sleep_until(at: Timestamp, expression: &str) {
    loop {
        let now = Zoned::now();
        let another = crate::config::next_run(expression, &now).is_some_and(|next| next < at);
        let left = Duration::try_from(at.duration_since(now.timestamp())).unwrap_or_default();
        if another || left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(LOOK_AT_CLOCK)).await;
    }
}
