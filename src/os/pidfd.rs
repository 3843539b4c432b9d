//! Process descriptors: name a process without races, signal it, wait for its end, learn how it ended.
//!
//! Never waits by number, never for any child, never by SIGCHLD. See pidfd_open(2), waitid(2).

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::Error;
use crate::types::exit::{Cause, Usage};

/// How long the parent of an adopted process may take to reap it before its status counts as unknown. Its restart waits
/// for that, and a good parent takes a millisecond.
const REAPED_BY_OTHERS_WITHIN: Duration = Duration::from_millis(250);

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Code, signal, or unknown.
    pub cause: Cause,
    /// What it used; absent for a process that was not our child.
    pub usage: Option<Usage>,
}

/// Opens the process with this number, whichever it is now: compare its start time before trusting it.
///
/// # Errors
/// When there is none (`ESRCH`), or no descriptor is left.
pub fn open(pid: u32) -> Result<OwnedFd, Error> {
    let failed = |source: io::Error| Error::system("open the process", pid.to_string(), source);
    let number = i32::try_from(pid)
        .ok()
        .and_then(rustix::process::Pid::from_raw)
        .ok_or_else(|| failed(io::Error::from_raw_os_error(libc::ESRCH)))?;
    rustix::process::pidfd_open(number, rustix::process::PidfdFlags::empty())
        .map_err(|errno| failed(errno.into()))
}

/// A descriptor of another process, as ours: the same open socket or file.
///
/// # Errors
/// When the process has none of that number, or may not be looked into (`EPERM`: another user's, or a hardened kernel).
pub fn copy_descriptor(pidfd: impl AsFd, number: i32) -> io::Result<OwnedFd> {
    let flags = rustix::process::PidfdGetfdFlags::empty();
    Ok(rustix::process::pidfd_getfd(pidfd, number, flags)?)
}

/// Sends a signal to exactly this process; 0 only asks whether it is there and ours to signal.
///
/// # Errors
/// `ESRCH` when it was reaped (see [`is_gone`]), `EPERM` when it is another user's.
pub fn signal(pidfd: impl AsFd, signal: i32) -> io::Result<()> {
    send(pidfd.as_fd(), signal, 0)
}

/// Sends a signal to the process group that this process leads or led: never to another group of that number.
///
/// # Errors
/// `ESRCH` when nobody is in it, `EPERM` when all in it are another user's, `EINVAL` before Linux 6.9.
pub(super) fn signal_group(pidfd: impl AsFd, signal: i32) -> io::Result<()> {
    send(pidfd.as_fd(), signal, libc::PIDFD_SIGNAL_PROCESS_GROUP)
}

fn send(pidfd: BorrowedFd<'_>, signal: i32, flags: u32) -> io::Result<()> {
    let no_info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: the descriptor is borrowed for the call; a null siginfo is allowed and means "as kill(2)".
    // Needed because the safe wrappers know named signals only, and services may be stopped by real-time ones.
    let result = unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, no_info, flags)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether an error of [`signal`] means that the process is no longer there.
#[must_use]
pub fn is_gone(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ESRCH)
}

/// Until the process has ended (it may still be a zombie). Safe to cancel.
///
/// Each call registers with the runtime anew: keep one future rather than making many.
///
/// # Errors
/// When the runtime cannot watch one more descriptor.
pub async fn exited(pidfd: impl AsFd) -> Result<(), Error> {
    let watched = watch(pidfd.as_fd())?;
    let readable = watched.readable().await;
    readable.map(drop).map_err(|source| Error::system("watch", "a process", source))
}

/// Takes the status of our own child if it has ended.
///
/// # Errors
/// `ECHILD` when it is not our child, or its status was taken already.
pub fn reap(pidfd: impl AsFd) -> io::Result<Option<Exit>> {
    take_status(pidfd.as_fd(), libc::WEXITED | libc::WNOHANG)
}

/// Whether it is our own child, and its status was not taken yet.
pub(super) fn is_child(pidfd: impl AsFd) -> bool {
    // Looks, and leaves what there is.
    take_status(pidfd.as_fd(), libc::WEXITED | libc::WNOHANG | libc::WNOWAIT).is_ok()
}

/// Takes the status of our own child that is about to end. Blocks until then.
pub(super) fn reap_now(pidfd: impl AsFd) -> io::Result<Option<Exit>> {
    take_status(pidfd.as_fd(), libc::WEXITED)
}

fn take_status(pidfd: BorrowedFd<'_>, options: i32) -> io::Result<Option<Exit>> {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: both structures are live, writable and of the kernel's layout; the descriptor is borrowed.
    // Needed raw because no wrapper returns the resource usage of exactly this child.
    let result = unsafe {
        libc::syscall(
            libc::SYS_waitid,
            libc::P_PIDFD,
            pidfd.as_raw_fd(),
            info.as_mut_ptr(),
            options,
            usage.as_mut_ptr(),
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: zeroed is a valid value of these plain structures, and the kernel wrote valid ones over it;
    // after success the child fields of the union are the written ones (or all zero: still running).
    let (pid, status, code, usage) = unsafe {
        let info = info.assume_init();
        (info.si_pid(), info.si_status(), info.si_code, usage.assume_init())
    };
    if pid == 0 {
        return Ok(None);
    }
    let cause = match code {
        libc::CLD_EXITED => Cause::Code(status),
        _ => Cause::Signal { signal: status, core: code == libc::CLD_DUMPED },
    };
    Ok(Some(Exit { cause, usage: Some(usage_of(&usage)) }))
}

fn watch(pidfd: BorrowedFd<'_>) -> Result<AsyncFd<BorrowedFd<'_>>, Error> {
    // SAFETY: the borrow keeps the descriptor open for as long as the watch lives.
    // Needed because the runtime has no watch over borrowed descriptors that is safe.
    let watched = unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) };
    watched.map_err(|error| Error::system("watch", "a process", error.into_parts().1))
}

/// How a process ended that is not our child: the kernel keeps the status in the descriptor once its real
/// parent has reaped it (`POLLHUP`); [`Cause::Unknown`] before Linux 6.15.
///
/// # Errors
/// As [`exited`].
pub async fn exit_of_non_child(pidfd: impl AsFd) -> Result<Exit, Error> {
    let pidfd = pidfd.as_fd();
    let watched = watch(pidfd)?;
    let reaped = async {
        loop {
            match recorded_cause(pidfd) {
                Err(_) => return Cause::Unknown,
                Ok(Some(cause)) => return cause,
                Ok(None) => {}
            }
            let Ok(mut ready) = watched.readable().await else { return Cause::Unknown };
            if ready.ready().is_read_closed() {
                return recorded_cause(pidfd).ok().flatten().unwrap_or(Cause::Unknown);
            }
            ready.clear_ready();
        }
    };
    let cause = tokio::time::timeout(REAPED_BY_OTHERS_WITHIN, reaped).await;
    Ok(Exit { cause: cause.unwrap_or(Cause::Unknown), usage: None })
}

/// `None` until the process was reaped; an error where the kernel cannot tell (`ENOTTY` before Linux 6.13).
fn recorded_cause(pidfd: BorrowedFd<'_>) -> io::Result<Option<Cause>> {
    let mut info = MaybeUninit::<libc::pidfd_info>::zeroed();
    // SAFETY: all-zero is a valid pidfd_info of plain integers; the ioctl's number carries its size, so the
    // kernel writes no more than that. Needed because no crate wraps this call.
    let info = unsafe {
        (*info.as_mut_ptr()).mask = u64::from(libc::PIDFD_INFO_EXIT);
        if libc::ioctl(pidfd.as_raw_fd(), libc::PIDFD_GET_INFO, info.as_mut_ptr()) != 0 {
            return Err(io::Error::last_os_error());
        }
        info.assume_init()
    };
    let told = info.mask & u64::from(libc::PIDFD_INFO_EXIT) != 0;
    Ok(told.then(|| cause_of_status(info.exit_code)))
}

/// Reads a `wait(2)` status word.
fn cause_of_status(status: i32) -> Cause {
    if libc::WIFEXITED(status) {
        return Cause::Code(libc::WEXITSTATUS(status));
    }
    Cause::Signal { signal: libc::WTERMSIG(status), core: libc::WCOREDUMP(status) }
}

fn usage_of(usage: &libc::rusage) -> Usage {
    let milliseconds = |time: libc::timeval| {
        u64::try_from(time.tv_sec * 1_000 + time.tv_usec / 1_000).unwrap_or_default()
    };
    Usage {
        user_ms: milliseconds(usage.ru_utime),
        system_ms: milliseconds(usage.ru_stime),
        max_memory_bytes: u64::try_from(usage.ru_maxrss).unwrap_or_default() * 1024,
    }
}
