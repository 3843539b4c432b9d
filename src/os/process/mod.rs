//! Starting processes: what is asked for ([`Command`]) and what comes of it ([`Child`]).
//!
//! A start never copies cafe's page tables (`vfork` class), so it costs the same at 5 MB and at 5 GB, and never
//! runs on the async runtime: [`Spawner`] owns a few threads for it. A child that is dropped is not killed.

mod child;
mod clone;
mod credentials;
mod handle;
mod launch;
mod prepared;
mod resolve;
mod spawner;
mod stage;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

pub use credentials::{Account, lookup};
pub use handle::Child;
pub use nix::sys::resource::Resource;
pub use spawner::Spawner;

use crate::types::capability::Capabilities;

/// A process to start, in a session and process group of its own, with default signal handling.
#[derive(Debug, Clone, Default)]
pub struct Command {
    /// Program and arguments. A program without `/` is looked for on the `PATH` of `env`, one with a relative
    /// path from `cwd`.
    pub argv: Vec<OsString>,
    /// The whole environment. With `user`, its `HOME`, `USER` and `LOGNAME` are added unless given here.
    pub env: Vec<(OsString, OsString)>,
    /// A variable that is to have the process id of the process itself.
    pub own_pid_in: Option<&'static str>,
    /// Working directory, entered as the target user.
    pub cwd: PathBuf,
    /// User to run as, by name or number, with all groups of that user.
    pub user: Option<String>,
    /// Group to run as; the user's own unless given.
    pub group: Option<String>,
    /// File mode creation mask; cafe's own unless given.
    pub umask: Option<u32>,
    /// Scheduling priority, -20 to 19.
    pub nice: Option<i32>,
    /// Resource limits, hard and soft alike.
    pub rlimits: Vec<(Resource, u64)>,
    /// What the child has open, by number. 0, 1 and 2 are `/dev/null` unless given; all else is closed.
    pub descriptors: Vec<(i32, Arc<OwnedFd>)>,
    /// The capabilities it has, all of them. Absent: those of the spawner's thread as root, as far as an exec lets it;
    /// none as another user.
    pub capabilities: Option<Capabilities>,
    /// Whether no program it executes may give it more (`PR_SET_NO_NEW_PRIVS`, prctl(2)).
    pub no_new_privs: bool,
    /// An open directory of a cgroup v2 to start in.
    pub cgroup: Option<Arc<OwnedFd>>,
}
