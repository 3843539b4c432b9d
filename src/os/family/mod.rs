//! What a service leaves behind: every process that belongs to it besides its main one.
//!
//! With cafe as subreaper, whatever loses its parent becomes cafe's own child, so leftovers are found from
//! cafe's children down, without a walk over the machine. They are told apart by session, process group and the
//! mark in their environment; a process that leaves its session *and* clears its environment *and* loses its
//! parent is beyond this and needs a cgroup. Finding and killing only; never decides when.

mod census;
mod scan;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

pub use census::Census;
pub use scan::{Marked, Scan, marked};

use super::{Error, pidfd, procfs};

/// The environment variable that marks the processes of a service.
pub const MARK: &str = "CAFE_SERVICE";

/// The service a process belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Family {
    /// Process id of its main process, dead or alive: the session and process group of the rest.
    pub main: u32,
    /// The value of its [`MARK`].
    pub mark: String,
}

impl Family {
    /// The family of the service `name` of the cafe whose state directory has this id.
    #[must_use]
    pub fn new(state_id: &str, name: &str, main: u32) -> Self {
        Self { main, mark: mark(state_id, name) }
    }

    /// Sends a signal to its process group, where there is one left.
    ///
    /// # Errors
    /// When no member may be signalled.
    pub fn signal_group(&self, signal: i32) -> Result<(), Error> {
        let group = i32::try_from(self.main).ok().filter(|&group| group > 1);
        let Some(group) = group else { return Ok(()) };
        // SAFETY: plain numbers. Needed because the safe wrappers know no real-time signals.
        if unsafe { libc::kill(-group, signal) } == 0 {
            return Ok(());
        }
        match std::io::Error::last_os_error() {
            error if pidfd::is_gone(&error) => Ok(()),
            error => Err(Error::system("signal process group", group.to_string(), error)),
        }
    }
}

/// The value of [`MARK`] for a service.
#[must_use]
pub fn mark(state_id: &str, name: &str) -> String {
    format!("{state_id}/{name}")
}

/// The entry of a command's environment that marks its processes.
#[must_use]
pub fn variable(state_id: &str, name: &str) -> (OsString, OsString) {
    (MARK.into(), mark(state_id, name).into())
}

/// A process that was found, held by descriptor: its number cannot come to mean another one.
#[derive(Debug)]
pub struct Remaining {
    /// Its process id.
    pub pid: u32,
    /// Its start, clock ticks since boot.
    pub start_time: u64,
    pidfd: OwnedFd,
}

impl Remaining {
    /// `None` when it has ended.
    fn open(pid: u32, start_time: u64) -> Result<Option<Self>, Error> {
        let pidfd = match pidfd::open(pid) {
            Ok(pidfd) => pidfd,
            Err(Error::System { source, .. }) if pidfd::is_gone(&source) => return Ok(None),
            Err(error) => return Err(error),
        };
        let same = procfs::sample(pid)
            .is_ok_and(|sample| sample.start_time == start_time && sample.state != 'Z');
        Ok(same.then_some(Self { pid, start_time, pidfd }))
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it may not be signalled. A process that has ended is no error.
    pub fn signal(&self, signal: i32) -> Result<(), Error> {
        match pidfd::signal(&self.pidfd, signal) {
            Err(source) if !pidfd::is_gone(&source) => {
                Err(Error::system("signal process", self.pid.to_string(), source))
            }
            _ => Ok(()),
        }
    }

    /// Until it has ended.
    ///
    /// # Errors
    /// When the runtime cannot watch one more descriptor.
    pub async fn exited(&self) -> Result<(), Error> {
        pidfd::exited(&self.pidfd).await
    }
}

impl AsFd for Remaining {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}
