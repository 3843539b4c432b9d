//! Limits, kills and ends of real cgroups; skipped with a printed reason where none are delegated.

use std::ffi::OsString;

use super::*;
use crate::os::process::{Command, Spawner};
use crate::types::error::Code;
use crate::types::exit::Cause;
use crate::types::seat::Seat;

/// A hierarchy of its own for each test; `None` (with the reason printed) where this machine has none.
#[allow(clippy::print_stderr)]
fn hierarchy(test: &str) -> Option<Hierarchy> {
    match Hierarchy::detect(&format!("test-{}-{test}", std::process::id())) {
        Ok(hierarchy) => Some(hierarchy),
        Err(error) => {
            eprintln!("skipped: {error}");
            None
        }
    }
}

fn seat(text: &str) -> Seat {
    text.parse().expect("is a seat")
}

fn shell(script: &str, cgroup: &Cgroup) -> Command {
    Command {
        argv: ["sh", "-c", script].map(OsString::from).into(),
        env: vec![("PATH".into(), std::env::var_os("PATH").expect("has a PATH"))],
        cwd: "/".into(),
        cgroup: Some(cgroup.directory().expect("opens")),
        ..Command::default()
    }
}

#[tokio::test]
async fn nothing_escapes_and_the_end_is_seen() {
    let Some(hierarchy) = hierarchy("kill") else { return };
    let cgroup = hierarchy.create(&seat("web")).expect("makes one");
    assert!(cgroup.is_empty().expect("reads"));
    let (mut reader, writer) = std::io::pipe().expect("pipe");
    // Escapes from group, session and mark, and is still in the cgroup.
    let script = "(env -i setsid sh -c 'echo up; exec sleep 1000' &) ; exec sleep 1000";
    let mut command = shell(script, &cgroup);
    command.descriptors = vec![(1, Arc::new(OwnedFd::from(writer)))];
    let spawner = Spawner::with_threads(1).expect("starts");
    let child = spawner.spawn(command).await.expect("starts");
    let member = fs::read_to_string(format!("/proc/{}/cgroup", child.pid())).expect("reads");
    assert!(member.lines().any(|line| line.starts_with("0::") && line.ends_with("/web")));
    let read = tokio::task::spawn_blocking(move || {
        let mut line = [0; 3];
        reader.read_exact(&mut line).map(|()| reader)
    });
    let mut reader = read.await.expect("runs").expect("reads");
    assert!(!cgroup.is_empty().expect("reads"));
    let again = hierarchy.create(&seat("web")).expect("is taken as it is");
    assert_eq!(again.remove().expect_err("is in use").code(), Code::OperationFailed);
    let existing = hierarchy.existing().expect("lists");
    assert_eq!(existing.iter().map(|(seat, _)| seat.to_string()).collect::<Vec<_>>(), ["web"]);
    child.signal(libc::SIGKILL).expect("signals");
    child.wait().await.expect("ends");
    assert!(!cgroup.is_empty().expect("reads"), "the escapee lives");
    cgroup.kill().expect("kills");
    cgroup.emptied().await.expect("sees it");
    let mut rest = String::new();
    reader.read_to_string(&mut rest).expect("reads to the end: nobody holds the other one");
    cgroup.remove().expect("is empty");
    hierarchy.remove().expect("is empty");
}

#[tokio::test]
async fn without_cgroup_kill_each_process_is_killed_and_subgroups_go_as_well() {
    let Some(hierarchy) = hierarchy("each") else { return };
    let cgroup = hierarchy.create(&seat("db")).expect("makes one");
    let below = cgroup.path().join("below");
    fs::create_dir(&below).expect("makes one below");
    let spawner = Spawner::with_threads(1).expect("starts");
    let below = Cgroup::open(below);
    let child = spawner.spawn(shell("sleep 1000", &below)).await.expect("starts");
    cgroup.kill_one_by_one().expect("kills");
    let killed = Cause::Signal { signal: 9, core: false };
    assert_eq!(child.wait().await.expect("ends").cause, killed);
    cgroup.kill_one_by_one().expect("kills what the shell had started");
    cgroup.emptied().await.expect("sees it");
    cgroup.remove().expect("removes both");
    hierarchy.remove().expect("is empty");
}

#[test]
fn a_limit_is_in_force_or_its_missing_controller_is_named() {
    let Some(hierarchy) = hierarchy("limit") else { return };
    let cgroup = hierarchy.create(&seat("small")).expect("makes one");
    cgroup.limit(&hierarchy, &Limits::default()).expect("nothing to limit");
    let limits = Limits { tasks_max: Some(64), ..Limits::default() };
    match cgroup.limit(&hierarchy, &limits) {
        Ok(()) => assert_eq!(cgroup.read("pids.max").expect("reads").trim(), "64"),
        Err(error) => {
            assert!(error.to_string().starts_with(
                "`pids.max` needs the cgroup controller `pids`, which is not delegated to cafe in `/"
            ));
            assert!(cgroup.memory().is_none() && cgroup.oom_kills().is_none());
        }
    }
    cgroup.remove().expect("is empty");
    hierarchy.remove().expect("is empty");
}

#[test]
fn files_of_keys_and_values() {
    let text = "low 0\noom 4\noom_kill 3\n";
    assert_eq!(number_of(text, "oom_kill"), Some(3));
    assert_eq!(number_of(text, "oom_group_kill"), None);
}
