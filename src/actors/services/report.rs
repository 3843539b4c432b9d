//! What services tell their supervisor.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use ractor::ActorRef;
use serde::{Deserialize, Serialize};

use super::{Context, Msg};
use crate::supervision::roster::MemberId;
use crate::supervision::task;
use crate::types::exit::PostMortem;
use crate::types::name::Name;

/// Longest wait for the last lines of an ended incarnation.
const LAST_LINES: Duration = Duration::from_secs(1);

/// One thing that became of a service.
#[derive(Debug)]
pub(crate) enum Report {
    /// A process exists.
    Spawned { pid: u32, generation: u64, at: Timestamp },
    /// A process of the next incarnation exists, beside the present one.
    NextSpawned { pid: u32, generation: u64, at: Timestamp },
    /// The next incarnation is up and is the present one now; the last one ends.
    Replaced { pid: u32, generation: u64, at: Timestamp, evidence: Option<String> },
    /// No next incarnation was started.
    NotOverlapped { reason: String },
    /// It is up: it proved ready, or there is nothing to prove (`evidence` is absent then).
    Up { evidence: Option<String> },
    /// It is being told to end.
    Stopping,
    /// Nothing of the incarnation is left.
    Ended { how: EndedHow, post_mortem: PostMortem },
    /// Its last lines, which come a little later than its end.
    LastLines { generation: u64, lines: Vec<String> },
    /// What its health check says, and whether that makes it unhealthy.
    Health { healthy: bool, evidence: String },
    /// Another process is its main one (`MAINPID=`).
    MainPid(u32),
    /// What it says of itself (`STATUS=`).
    StatusText(String),
    /// A timer waits for its next run.
    Armed { next: Timestamp },
    /// Something to tell that changes no state: what a timer does that is due while its last run goes on.
    Remark { message: String },
    /// A timer no longer waits.
    Disarmed,
}

/// What an end means to the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum EndedHow {
    /// Before it was up.
    NeverUp,
    /// After it was up, or by order.
    Ended { normal: bool },
    /// One run of a timer, which stays armed.
    Run,
    /// Another incarnation is there.
    Beside,
    /// The same, and this one was to replace it.
    NotReplaced,
}

/// A report and whose it is.
#[derive(Debug)]
pub(crate) struct From {
    pub(super) member: MemberId,
    pub(super) report: Report,
}

/// Where a service sends its reports.
#[derive(Debug, Clone)]
pub(super) struct Reporter {
    pub(super) member: MemberId,
    pub(super) supervisor: ActorRef<Msg>,
}

impl Reporter {
    pub(super) fn send(&self, report: Report) {
        // The supervisor outlives its services but for the moment in which all of them end with it.
        let _ = self.supervisor.cast(Msg::Report(From { member: self.member, report }));
    }

    /// Closes the pipes of an ended incarnation and reports its last lines, which follow by themselves: no restart waits
    /// for a log.
    pub(super) fn last_lines(&self, context: &Arc<Context>, name: &Name, generation: u64) {
        let excerpt = context.finish_log(name, generation);
        let (reporter, name, keeping) = (self.clone(), name.clone(), context.keeping().clone());
        task::spawn("last lines", async move {
            let excerpt = match excerpt {
                Some(excerpt) => tokio::time::timeout(LAST_LINES, excerpt).await.ok(),
                None => None,
            };
            // Not before they are in the log: they would be lost with a crash in between.
            keeping.forget(&name, generation);
            let lines = excerpt.and_then(Result::ok).map(|excerpt| excerpt.lines);
            reporter.send(Report::LastLines { generation, lines: lines.unwrap_or_default() });
        })
        .detach();
    }
}
