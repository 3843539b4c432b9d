//! One start, from the [`Command`] to the running child or a clear error. Blocks until the exec.

use std::ffi::c_void;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::child;
use super::clone::{Stack, vfork};
use super::prepared::Prepared;
use super::stage::Stage;
use super::{Child, Command};
use crate::os::children::Children;
use crate::os::{Error, pidfd, procfs};

/// Starts processes, one after the other.
pub(super) struct Launcher {
    stack: Stack,
    null: OwnedFd,
    stage: Stage,
    children: Arc<Children>,
}

impl Launcher {
    pub(super) fn new(children: Arc<Children>) -> io::Result<Self> {
        let null = std::fs::File::options().read(true).write(true).open("/dev/null")?.into();
        let (stack, stage) = (Stack::new()?, Stage::new(&null)?);
        Ok(Self { stack, null, stage, children })
    }

    /// Returns once the program runs or the start has failed, with nothing left of it.
    pub(super) fn launch(&mut self, command: &Command) -> Result<Child, Error> {
        let mut prepared = Prepared::of(command, &self.null)?;
        let staged = self.stage.fill(&mut prepared.moves, &self.null);
        let launched = match staged {
            Ok(()) => self.launch_staged(command, &mut prepared),
            Err(source) => Err(prepared.failed("hand over the descriptors", source)),
        };
        self.stage.clear(prepared.moves.len(), &self.null);
        launched
    }

    fn launch_staged(
        &mut self,
        command: &Command,
        prepared: &mut Prepared,
    ) -> Result<Child, Error> {
        let mut plan = prepared.plan(command, self.stage.end());
        let children = Arc::clone(&self.children);
        let _reaper_out = children.shared_blocking();
        let cloned = {
            let _blocked = SignalsBlocked::new();
            // SAFETY: the entry is `child::run`, made for this; the plan points into `prepared` and `command`,
            // which outlive the call; all signals are blocked.
            unsafe { vfork(&mut self.stack, child::run, (&raw mut plan).cast::<c_void>()) }
        };
        let (pid, descriptor) =
            cloned.map_err(|source| prepared.failed("create a process", source))?;
        if let Some((step, errno)) = plan.report.failed {
            // It has ended and nobody else knows it, so this takes its status at once.
            let reaped = pidfd::reap_now(&descriptor);
            debug_assert!(reaped.is_ok(), "a failed child is ours to reap");
            return Err(prepared.step_failed(step, io::Error::from_raw_os_error(errno), command));
        }
        let stat = &plan.report.stat[..plan.report.stat_length];
        // The kernel writes this text, so it parses; 0 would be a start no process can have.
        let start_time = procfs::parse(stat).map_or(0, |sample| sample.start_time);
        Ok(Child::new(pid, descriptor, start_time, &children))
    }
}

/// Blocks every signal in this thread, those of the C library as well; restores the mask when dropped.
struct SignalsBlocked {
    before: u64,
}

impl SignalsBlocked {
    fn new() -> Self {
        Self { before: set_signal_mask(u64::MAX) }
    }
}

impl Drop for SignalsBlocked {
    fn drop(&mut self) {
        set_signal_mask(self.before);
    }
}

/// Raw, because `pthread_sigmask(3)` leaves out the C library's own two signals, whose handlers must not run in
/// the child either.
fn set_signal_mask(mask: u64) -> u64 {
    let mut before = 0_u64;
    // SAFETY: two live kernel signal sets of eight bytes; the call cannot fail with a valid `how`.
    unsafe {
        let (new, old) = (&raw const mask, &raw mut before);
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, new, old, 8_usize);
    }
    before
}
