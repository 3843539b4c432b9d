//! What the API needs from the running daemon. Implemented elsewhere; the API decides nothing itself.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use axum::body::Bytes;
use futures_util::Stream;

use super::access::Access;
use crate::net::control::{
    Acted, ConfigView, Goal, LogQuery, Notice, Peer, Plan, Reloaded, Upgrading, Verb,
};
use crate::types::error::Problem;
use crate::types::name::Name;
use crate::types::status::{Daemon, Node, Service, Status};

/// An answer on its way. It is dropped when the client goes away: what was begun must not depend on it.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, Problem>> + Send + 'a>>;

/// A bounded stream: a slow reader loses items (and is told so), it never makes the daemon hold them.
pub type Feed<T> = Pin<Box<dyn Stream<Item = T> + Send>>;

/// The daemon, as the API sees it.
pub trait Backend: Send + Sync + 'static {
    /// Who may do what, as the config in force says.
    fn access(&self) -> Access;

    /// The snapshot of everything, or of one service or group; with all kept exits if a name is given.
    ///
    /// # Errors
    /// `C043` when there is no such name.
    fn status(&self, name: Option<&Name>) -> Result<Status, Problem>;

    /// The daemon itself.
    fn daemon(&self) -> Daemon;

    /// The live supervision tree.
    fn tree(&self) -> Node;

    /// What only grows: for metrics.
    fn counters(&self) -> Counters;

    /// Does `verb` to a service or group and waits at most `wait` for the outcome.
    fn act<'a>(
        &'a self,
        who: Peer,
        verb: Verb,
        name: &'a Name,
        why: Option<String>,
        wait: Duration,
    ) -> Answer<'a, Acted>;

    /// Waits until a service reaches `goal`; `C044` after `timeout`, `C052` when it no longer can.
    fn wait<'a>(&'a self, name: &'a Name, goal: Goal, timeout: Duration) -> Answer<'a, Service>;

    /// Events after number `after`, or from now on; older ones than are kept come as a [`Notice::Gap`].
    fn events(&self, after: Option<u64>) -> Feed<Notice>;

    /// Log lines of a service or group as JSON Lines, one or more whole lines per item.
    fn logs<'a>(&'a self, name: &'a Name, query: LogQuery) -> Answer<'a, Feed<Bytes>>;

    /// The config in force, secrets masked.
    fn config(&self) -> ConfigView;

    /// Reads the config file again and applies it, unless `dry_run`.
    fn reload(&self, who: Peer, dry_run: bool) -> Answer<'_, Reloaded>;

    /// What applying `text` would change; the file on disk when there is none.
    fn diff(&self, who: Peer, text: Option<String>) -> Answer<'_, Plan>;

    /// Replaces the config file by `text` and applies it, if the revision in force is still `if_match`
    /// (`*` matches any); `C046` otherwise.
    fn put_config(&self, who: Peer, if_match: String, text: String) -> Answer<'_, Reloaded>;

    /// Has the daemon become another program in place: that at `program`, or what has the name of its own now. Answers
    /// when the program was tried and the change begins; `C070` when it is refused.
    fn upgrade(&self, who: Peer, program: Option<PathBuf>) -> Answer<'_, Upgrading>;

    /// Stops everything, then the daemon. Answers when the stop has begun.
    fn shutdown(&self, who: Peer, why: Option<String>) -> Answer<'_, ()>;
}

/// Sums since the daemon started.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Counters {
    /// Per service, by name.
    pub services: Vec<ServiceCounters>,
    /// CPU time of the daemon, seconds.
    pub cpu_seconds: f64,
    /// Resident memory of the daemon, bytes.
    pub memory_bytes: u64,
    /// Open descriptors of the daemon.
    pub open_fds: u64,
    /// Events so far.
    pub events: u64,
    /// Actors of cafe itself restarted so far.
    pub actor_restarts: u64,
}

/// Sums of one service.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceCounters {
    /// Its name.
    pub name: Name,
    /// Restarts by cafe.
    pub restarts: u64,
    /// CPU time of all its incarnations, seconds.
    pub cpu_seconds: f64,
    /// Ends of its process by cause: `exit_0`, `exit_nonzero`, `signal`, `oom`, `not_started`, `unknown`.
    pub exits: Vec<(&'static str, u64)>,
}
