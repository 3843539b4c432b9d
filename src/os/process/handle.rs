//! A process that was started or found again, and is known by descriptor and start time rather than by number.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use crate::os::children::Children;
use crate::os::pidfd::{self, Exit};
use crate::os::{Error, procfs};

/// A running (or ended, not yet waited for) process. Dropping it neither kills nor waits: the reaper takes over.
#[derive(Debug)]
pub struct Child {
    pid: u32,
    pidfd: Arc<OwnedFd>,
    start_time: u64,
    children: Arc<Children>,
    /// Whether it is ours to reap and its entry in `children` is therefore still ours to remove.
    registered: AtomicBool,
    ended: OnceLock<Exit>,
}

impl Child {
    /// Registers `pid`; the caller keeps the reaper out from before the clone until this returns.
    pub(super) fn new(pid: u32, pidfd: OwnedFd, start_time: u64, children: &Arc<Children>) -> Self {
        children.register(pid);
        let children = Arc::clone(children);
        Self {
            pid,
            pidfd: Arc::new(pidfd),
            start_time,
            children,
            registered: AtomicBool::new(true),
            ended: OnceLock::new(),
        }
    }

    /// Takes over the process `pid` if it is still the one that started at `start_time` (after a crash of
    /// cafe, or over an upgrade in place). `None`: it ended, or its number was given anew.
    ///
    /// Adopt before the reaper runs: it takes the status of every child that nobody registered.
    ///
    /// # Errors
    /// When no descriptor is left, or `/proc` cannot be read.
    pub fn adopt(
        pid: u32,
        start_time: u64,
        children: &Arc<Children>,
    ) -> Result<Option<Self>, Error> {
        // First the descriptor, which names one process for ever, then the comparison: no race with reuse.
        let pidfd = match pidfd::open(pid) {
            Ok(pidfd) => pidfd,
            Err(Error::System { source, .. }) if pidfd::is_gone(&source) => return Ok(None),
            Err(error) => return Err(error),
        };
        let Ok(sample) = procfs::sample(pid) else { return Ok(None) };
        // Had the number been freed and given away between open and read, the descriptor's process were gone.
        let gone = pidfd::signal(&pidfd, 0).is_err_and(|error| pidfd::is_gone(&error));
        if gone || sample.start_time != start_time {
            return Ok(None);
        }
        if sample.parent == std::process::id() {
            // Even if it has ended: its status is ours to take.
            return Ok(Some(Self::new(pid, pidfd, start_time, children)));
        }
        if matches!(sample.state, 'Z' | 'X') {
            return Ok(None);
        }
        let children = Arc::clone(children);
        Ok(Some(Self {
            pid,
            pidfd: Arc::new(pidfd),
            start_time,
            children,
            registered: AtomicBool::new(false),
            ended: OnceLock::new(),
        }))
    }

    /// Goes on with a process that another image of this one had: `exit` if it took its status.
    ///
    /// Before the reaper runs, as [`Self::adopt`].
    #[must_use]
    pub fn held(
        pid: u32,
        start_time: u64,
        pidfd: Arc<OwnedFd>,
        exit: Option<Exit>,
        children: &Arc<Children>,
    ) -> Self {
        let is_ours = exit.is_none() && pidfd::is_child(&pidfd);
        if is_ours {
            children.register(pid);
        }
        let ended = exit.map_or_else(OnceLock::new, OnceLock::from);
        let (children, registered) = (Arc::clone(children), AtomicBool::new(is_ours));
        Self { pid, pidfd, start_time, children, registered, ended }
    }

    /// Its process id, which is also its process group and session.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Its start, clock ticks since boot.
    #[must_use]
    pub fn start_time(&self) -> u64 {
        self.start_time
    }

    /// What names it for ever, its number may be given anew.
    pub(in crate::os) fn descriptor(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.pidfd)
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

    /// Waits for its end and takes its status. Safe to cancel: the next call goes on waiting, and once it has
    /// ended every call gives the same answer.
    ///
    /// For a process that is not our child the status is the kernel's to tell (Linux 6.15 and later), else it
    /// is unknown.
    ///
    /// # Errors
    /// When the runtime cannot watch one more descriptor.
    pub async fn wait(&self) -> Result<Exit, Error> {
        if self.ended.get().is_none() {
            pidfd::exited(&self.pidfd).await?;
        }
        self.status().await
    }

    /// The status of a process that has ended, if it can be had without waiting: the reaper may be at work, and that of
    /// another's child takes its time. [`Self::status`] waits for it.
    #[must_use]
    pub fn status_at_once(&self) -> Option<Exit> {
        if let Some(exit) = self.ended.get() {
            return Some(*exit);
        }
        let _reaper_out = self.children.try_shared()?;
        self.release();
        let exit = pidfd::reap(&self.pidfd).ok().flatten()?;
        Some(*self.ended.get_or_init(|| exit))
    }

    /// Takes the status of a process that has ended; as [`Self::wait`] otherwise.
    ///
    /// # Errors
    /// When it has not ended.
    pub async fn status(&self) -> Result<Exit, Error> {
        if let Some(exit) = self.ended.get() {
            return Ok(*exit);
        }
        let reaped = {
            let children = Arc::clone(&self.children);
            let _reaper_out = children.shared().await;
            self.release();
            pidfd::reap(&self.pidfd)
        };
        let exit = match reaped {
            Ok(Some(exit)) => exit,
            Err(error) if error.raw_os_error() == Some(libc::ECHILD) => {
                // Rare and large: boxed, so that each of the waiting futures need not have room for it.
                Box::pin(pidfd::exit_of_non_child(&self.pidfd)).await?
            }
            Ok(None) => return Err(self.status_lost(io::ErrorKind::WouldBlock.into())),
            Err(source) => return Err(self.status_lost(source)),
        };
        Ok(*self.ended.get_or_init(|| exit))
    }

    /// Removes the entry before the status is taken: once reaped, the number may be another child's.
    fn release(&self) {
        if self.registered.swap(false, Ordering::Relaxed) {
            self.children.release(self.pid);
        }
    }

    fn status_lost(&self, source: io::Error) -> Error {
        Error::system("take the status of process", self.pid.to_string(), source)
    }
}

impl AsFd for Child {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.release();
    }
}
