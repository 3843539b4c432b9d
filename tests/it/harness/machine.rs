//! Processes and cgroups as the kernel shows them, not as cafe does.

use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use cafe::os::cgroup::Hierarchy;
use nix::sys::signal::{Signal, kill as send};
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{PidfdFlags, pidfd_open, pidfd_send_signal};

use super::DEADLINE;

/// Sends a signal to a process; one that has ended is no error.
pub(crate) fn kill(pid: u32, signal: Signal) {
    let _ = send(Pid::from_raw(i32::try_from(pid).expect("a pid")), signal);
}

/// Kills a process with the mark of a state directory and waits until it has ended: what is being killed still holds
/// its cgroup. Another process that has its number by now is let alone.
pub(super) fn kill_marked(pid: u32, state_id: &str) {
    let Some(pidfd) = open(pid) else { return };
    if service_of(pid, state_id).is_some() {
        let _ = pidfd_send_signal(&pidfd, rustix::process::Signal::KILL);
        ends_within(&pidfd, DEADLINE);
    }
}

/// The process 1 of a container, out here: the only child of the unshare(1) that made it.
pub(crate) fn process_1(unshare: u32) -> Option<u32> {
    let children = std::fs::read_to_string(format!("/proc/{unshare}/task/{unshare}/children"));
    children.ok()?.trim().parse().ok()
}

/// Ends a container with all in it, and waits until nothing is left: unshare(1) ends after its child, and that only after
/// all the others.
pub(crate) fn end_container(unshare: &mut std::process::Child) {
    match process_1(unshare.id()) {
        Some(init) => kill(init, Signal::SIGKILL),
        None => drop(unshare.kill()),
    }
    let _ = unshare.wait();
}

/// A descriptor of a process; none when it has ended and was waited for.
pub(super) fn open(pid: u32) -> Option<OwnedFd> {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw)?;
    pidfd_open(pid, PidfdFlags::empty()).ok()
}

/// Whether a process ends in time. Blocks until then.
pub(super) fn ends_within(pidfd: &OwnedFd, time: Duration) -> bool {
    let timeout = Timespec { tv_sec: time.as_secs().cast_signed(), tv_nsec: 0 };
    let ended = poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&timeout));
    ended.is_ok_and(|ready| ready > 0)
}

/// Whether a process has ended (a zombie has).
pub(crate) fn is_gone(pid: u32) -> bool {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with(['Z', 'X'])),
        Err(_) => true,
    }
}

/// What cafe puts before the service's name in `CAFE_SERVICE` for this state directory.
pub(super) fn state_id(state_dir: &Path) -> Option<String> {
    let metadata = std::fs::metadata(state_dir).ok()?;
    Some(format!("{:x}-{:x}", metadata.dev(), metadata.ino()))
}

/// Living processes that carry the mark of a state directory, with their command lines.
pub(super) fn marked(state_id: &str) -> Vec<(u32, String)> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let living =
        pids.filter(|&pid| service_of(pid, state_id).is_some()).filter(|&pid| !is_gone(pid));
    living.map(|pid| (pid, title(pid))).collect()
}

/// Living processes of a state directory that lead a session, with the service they are marked with.
pub(super) fn leaders(state_id: &str) -> Vec<(String, u32)> {
    let leads = |pid: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // State, parent, group, session (proc_pid_stat(5)).
        let session = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(3));
        session.is_some_and(|session| session == pid.to_string())
    };
    let pids = marked(state_id).into_iter().map(|(pid, _)| pid).filter(|&pid| leads(pid));
    pids.filter_map(|pid| Some((service_of(pid, state_id)?, pid))).collect()
}

/// The service a process is marked with, if it is one of this state directory.
fn service_of(pid: u32, state_id: &str) -> Option<String> {
    let mark = format!("CAFE_SERVICE={state_id}/");
    let environment = loop {
        let executing = is_executing(pid);
        let environment = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
        if !environment.is_empty() || !executing {
            break environment;
        }
        std::thread::yield_now();
    };
    let environment = String::from_utf8_lossy(&environment);
    environment.split('\0').find_map(|entry| entry.strip_prefix(&mark)).map(str::to_owned)
}

/// Whether it executes a program just now: it has no environment yet, unlike one that was given none.
fn is_executing(pid: u32) -> bool {
    /// Of the kernel's flags: it ends, it is a thread of the kernel. See `linux/sched.h`.
    const NO_PROGRAM: u64 = 0x4 | 0x20_0000;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<_> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    // The flags are field 9, the end of the environment is 51, and the name before is 2 (proc_pid_stat(5)).
    let flags = fields.get(6).and_then(|flags| flags.parse().ok()).unwrap_or(NO_PROGRAM);
    flags & NO_PROGRAM == 0 && fields.get(48) == Some(&"0")
}

fn title(pid: u32) -> String {
    let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ")
}

/// Removes the cgroups that a killed cafe left.
pub(super) fn remove_cgroups(state_id: &str) {
    let Ok(hierarchy) = Hierarchy::detect(state_id) else { return };
    for (_, cgroup) in hierarchy.existing().unwrap_or_default() {
        let _ = cgroup.kill();
        let _ = cgroup.remove();
    }
    let _ = hierarchy.remove();
}
