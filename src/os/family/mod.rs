//! What a service leaves behind: every process that belongs to it besides its main one.
//!
//! With cafe as subreaper, whatever loses its parent becomes cafe's own child, so leftovers are found from
//! cafe's children down, without a walk over the machine. They are told apart by session, process group and the
//! mark in their environment; a process that leaves its session *and* clears its environment *and* loses its
//! parent is beyond this and needs a cgroup. Finding and killing only; never decides when.

mod census;
mod kin;
mod scan;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

pub use census::Census;
pub use scan::{Marked, Scan, marked};

use super::process::Child;
use super::{Error, pidfd, procfs};

/// The environment variable that marks the processes of a service.
pub const MARK: &str = "CAFE_SERVICE";

/// A service as its processes know it.
#[derive(Debug, Clone)]
pub struct Family {
    /// Process id of its main process, dead or alive: the session and process group of the rest, unless the number
    /// was given anew.
    pub main: u32,
    /// The value of its [`MARK`].
    pub mark: String,
    /// Names its main process, and the group of that, also when the number means another one.
    leader: Arc<OwnedFd>,
}

impl Family {
    /// Who comes from this main process, or bears this mark.
    #[must_use]
    pub fn new(main: &Child, mark: String) -> Self {
        Self { main: main.pid(), mark, leader: main.descriptor() }
    }

    /// Sends a signal to its process group, where there is one left.
    ///
    /// # Errors
    /// When no member may be signalled.
    pub fn signal_group(&self, signal: i32) -> Result<(), Error> {
        self.signal_group_of(signal, &[])
    }

    /// As [`Family::signal_group`], knowing some of its living members.
    fn signal_group_of(&self, signal: i32, known: &[Remaining]) -> Result<(), Error> {
        let sent = match pidfd::signal_group(&self.leader, signal) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                self.signal_number(signal, known)
            }
            sent => sent,
        };
        match sent {
            Err(source) if !pidfd::is_gone(&source) => {
                Err(Error::system("signal process group", self.main.to_string(), source))
            }
            _ => Ok(()),
        }
    }

    /// Before Linux 6.9 a group has only a number. The kernel gives it to no other while the leader is not reaped or
    /// a member is left, so it is used only when one of them is seen to be there.
    fn signal_number(&self, signal: i32, known: &[Remaining]) -> io::Result<()> {
        let member_is_there = || known.iter().any(|member| member.is_in_group(self.main));
        let group = i32::try_from(self.main).ok().filter(|&group| group > 1);
        let Some(group) = group.filter(|_| !self.leader_is_gone() || member_is_there()) else {
            return Ok(());
        };
        // SAFETY: plain numbers. Needed because the safe wrappers know no real-time signals.
        if unsafe { libc::kill(-group, signal) } == 0 {
            return Ok(());
        }
        Err(io::Error::last_os_error())
    }

    /// Whether the number of its main process certainly is that of another process now: then neither a session nor
    /// a group of that number is the family's.
    fn number_was_given_anew(&self) -> bool {
        // In this order: a number that is there after its process was reaped is another one's.
        self.leader_is_gone() && procfs::sample(self.main).is_ok()
    }

    /// Whether the main process has ended and was reaped.
    fn leader_is_gone(&self) -> bool {
        pidfd::signal(&self.leader, 0).is_err_and(|error| pidfd::is_gone(&error))
    }
}

/// The value of [`MARK`] for a seat of a service.
#[must_use]
pub fn mark(state_id: &str, seat: &str) -> String {
    format!("{state_id}/{seat}")
}

/// The entry of a command's environment that marks its processes.
#[must_use]
pub fn variable(state_id: &str, seat: &str) -> (OsString, OsString) {
    (MARK.into(), mark(state_id, seat).into())
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
    /// The process that has this number now; `None` when it has ended.
    ///
    /// # Errors
    /// When no descriptor is left.
    pub fn find(pid: u32) -> Result<Option<Self>, Error> {
        match procfs::sample(pid) {
            Ok(sample) => Self::open(pid, sample.start_time),
            Err(_) => Ok(None),
        }
    }

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

    /// Whether it lives and is in the process group of this number.
    fn is_in_group(&self, group: u32) -> bool {
        procfs::sample(self.pid).is_ok_and(|sample| {
            sample.start_time == self.start_time && sample.state != 'Z' && sample.group == group
        })
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
