//! Processes and cgroups as the kernel shows them, not as cafe does.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use cafe::os::cgroup::Hierarchy;
use nix::sys::signal::{Signal, kill as send};
use nix::unistd::Pid;

/// Sends a signal to a process; one that has ended is no error.
pub(crate) fn kill(pid: u32, signal: Signal) {
    let _ = send(Pid::from_raw(i32::try_from(pid).expect("a pid")), signal);
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
    let mark = format!("CAFE_SERVICE={state_id}/");
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let carries_mark = |pid: &u32| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|&byte| byte == 0).any(|entry| entry.starts_with(mark.as_bytes()))
    };
    pids.filter(carries_mark).filter(|&pid| !is_gone(pid)).map(|pid| (pid, title(pid))).collect()
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
