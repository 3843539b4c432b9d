//! Documents of the control API beside those in `types`: verbs, goals, and what came of them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::types::error::Problem;
use crate::types::event::Event;
use crate::types::name::Name;
use crate::types::state::State;
use crate::types::status::Node;

/// Who is at the other end of a connection, as the kernel says (`SO_PEERCRED`, `unix(7)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Effective user id when it connected.
    pub uid: u32,
    /// Effective group id when it connected.
    pub gid: u32,
    /// Process id when it connected.
    pub pid: Option<u32>,
}

impl std::fmt::Display for Peer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "uid {}", self.uid)?;
        self.pid.map_or(Ok(()), |pid| write!(formatter, " (pid {pid})"))
    }
}

/// What can be done to a service or a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Start it; cancels a backoff and clears its restart window.
    Start,
    /// Stop it, and what needs it.
    Stop,
    /// Stop it, then start it; the other way round if its config says `overlap: true`.
    Restart,
    /// The same verb, which starts its next generation and only then stops the last.
    Overlap,
    /// Have it read its own config again, as `reload:` says.
    Reload,
    /// Send it a signal; what follows is up to it and its restart policy.
    Kill {
        /// Number as in `signal(7)`.
        signal: i32,
    },
}

impl Verb {
    /// The word in URLs and on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart | Self::Overlap => "restart",
            Self::Reload => "reload",
            Self::Kill { .. } => "kill",
        }
    }
}

impl std::fmt::Display for Verb {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.pad(self.as_str())
    }
}

/// What `cafe wait NAME --for` waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Goal {
    /// It passed its readiness check; runs, if it has none; or ended well, if it is a oneshot.
    Ready,
    /// Its process runs.
    Running,
    /// Nothing of it runs, and it is not about to start.
    Stopped,
    /// It ended as it should.
    Done,
}

/// How a state stands to a [`Goal`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// There.
    Reached,
    /// On the way, or not yet decided.
    Pending,
    /// It will not get there without somebody acting.
    Missed,
}

impl Goal {
    /// The word in URLs and on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Done => "done",
        }
    }

    /// Whether a service in `state` is where this goal wants it.
    #[must_use]
    pub fn judge(self, state: State) -> Verdict {
        let reached = match self {
            Self::Ready => matches!(state, State::Ready | State::Running | State::Done),
            Self::Running => state.is_up(),
            Self::Stopped => state.is_at_rest(),
            Self::Done => state == State::Done,
        };
        match (reached, self) {
            (true, _) => Verdict::Reached,
            (false, Self::Stopped) => Verdict::Pending,
            (false, _) if state.is_at_rest() => Verdict::Missed,
            (false, _) => Verdict::Pending,
        }
    }
}

impl std::fmt::Display for Goal {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.pad(self.as_str())
    }
}

/// The answer to `GET /v1/tree`: the root of the live supervision tree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Tree {
    /// `types::status::SCHEMA`.
    pub schema: u32,
    /// The root.
    #[serde(flatten)]
    pub root: Node,
}

/// What came of a [`Verb`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Acted {
    /// `types::status::SCHEMA`.
    pub schema: u32,
    /// `start`, `stop`, `restart`, `reload` or `kill`.
    pub verb: String,
    /// The service or group it was asked for.
    pub name: Name,
    /// How long it took until the outcome was known, milliseconds.
    pub took_ms: u64,
    /// Every service it concerned, in the order they were acted on.
    pub services: Vec<Change>,
}

/// One service before and after a [`Verb`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Change {
    /// Which service.
    pub name: Name,
    /// `changed`, `unchanged`, `failed` or `pending`.
    pub outcome: Outcome,
    /// Its state before.
    pub from: State,
    /// Its state now.
    pub to: State,
    /// Why it is in that state.
    pub reason: String,
    /// Its process before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid_before: Option<u32>,
    /// Its process now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
}

/// How a service came out of a [`Verb`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is where the verb wanted it.
    Changed,
    /// It was there already.
    Unchanged,
    /// It did not get there; the reason says why.
    Failed,
    /// Not known when the wait was over: it goes on.
    Pending,
}

/// The config in force, secrets masked: the answer to `GET /v1/config`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ConfigView {
    /// `types::status::SCHEMA`.
    pub schema: u32,
    /// The `ETag`: what `If-Match` of a write must name.
    pub revision: String,
    /// The file it came from.
    pub source: String,
    /// The config, with all defaults.
    #[schema(value_type = Object)]
    pub config: serde_json::Value,
}

/// What a config would change, or changed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Plan {
    /// `types::status::SCHEMA`.
    pub schema: u32,
    /// One step per service or group it touches, in the order they are taken; empty: nothing changes.
    pub steps: Vec<PlanStep>,
}

/// One service, group or setting in a [`Plan`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlanStep {
    /// Its name; `cafe` for settings of the daemon.
    pub name: String,
    /// `add`, `remove`, `restart`, `apply` (live, nothing restarts) or `ignore` (needs a restart of cafe).
    pub action: String,
    /// The keys that differ.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<String>,
}

/// The answer to a reload or a config write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Reloaded {
    /// `types::status::SCHEMA`.
    pub schema: u32,
    /// `false` for a dry run.
    pub applied: bool,
    /// Revision now in force.
    pub revision: String,
    /// What changed, or would.
    pub plan: Plan,
}

/// Which lines `GET /v1/logs/{name}` answers with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogQuery {
    /// Go on with what is written from now on.
    #[serde(default)]
    pub follow: bool,
    /// The last so many lines; all unless given.
    #[serde(default)]
    pub lines: Option<usize>,
    /// Not before.
    #[serde(default)]
    pub since: Option<jiff::Timestamp>,
    /// Not after.
    #[serde(default)]
    pub until: Option<jiff::Timestamp>,
}

/// One log line: of `GET /v1/logs/{name}` and of `cafe logs -o json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogLine {
    /// When it was read from the service.
    pub t: jiff::Timestamp,
    /// Whose it is.
    pub service: Name,
    /// `stdout`, `stderr`, or `cafe` for a remark of cafe itself.
    pub stream: String,
    /// Whether it goes on from the line before it of the same service and stream.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub continued: bool,
    /// What was written; bytes that are not UTF-8 are replaced.
    pub line: String,
}

/// One piece of the event stream.
#[derive(Debug, Clone, PartialEq)]
pub enum Notice {
    /// Something happened.
    Event(Box<Event>),
    /// So many events were lost to this reader: it was slow, or asked for what is no longer kept.
    Gap(u64),
}

/// An error as every endpoint answers it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// What went wrong.
    pub error: Problem,
}
