//! What real services leave behind, found and ended: forks, sessions of their own, orphans.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, PipeReader, Read as _};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::os::isolated::in_own_process;
use crate::os::process::{Child, Command, Spawner};
use crate::os::reaper::Reaper;
use crate::types::exit::Cause;

const WITHIN: Duration = Duration::from_secs(30);

struct Fixture {
    spawner: Spawner,
    census: Census,
    _reaping: tokio::task::JoinSet<()>,
}

fn fixture() -> Fixture {
    let spawner = Spawner::with_threads(2).expect("starts");
    let reaper = Reaper::new(Arc::clone(spawner.children())).expect("subreaper");
    let census = Census::new(Arc::clone(spawner.children()));
    let mut reaping = tokio::task::JoinSet::new();
    reaping.spawn(reaper.run());
    Fixture { spawner, census, _reaping: reaping }
}

/// Starts a script that writes as many lines as it leaves processes behind; gives these lines.
async fn start(fixture: &Fixture, name: &str, script: &str, lines: usize) -> (Child, Vec<u32>) {
    let (child, left, _) = start_and_hold(fixture, name, script, lines).await;
    (child, left)
}

/// As [`start`], with what they all hold open for as long as one of them lives.
async fn start_and_hold(
    fixture: &Fixture,
    name: &str,
    script: &str,
    lines: usize,
) -> (Child, Vec<u32>, BufReader<PipeReader>) {
    let (reader, writer) = std::io::pipe().expect("pipe");
    let path = std::env::var_os("PATH").expect("has a PATH");
    let command = Command {
        argv: ["sh", "-c", script].map(OsString::from).into(),
        env: vec![("PATH".into(), path), variable(&state(), name)],
        cwd: "/".into(),
        descriptors: vec![(1, Arc::new(OwnedFd::from(writer)))],
        ..Command::default()
    };
    let child = fixture.spawner.spawn(command).await.expect("starts");
    let read = tokio::task::spawn_blocking(move || {
        let mut reader = BufReader::new(reader);
        let first = reader.by_ref().lines().take(lines);
        let line = |line: std::io::Result<String>| line.expect("reads").trim().parse();
        let left = first.map(|text| line(text).expect("is a number")).collect();
        (left, reader)
    });
    let (left, reader) = read.await.expect("runs");
    (child, left, reader)
}

fn pids(remaining: &[Remaining]) -> Vec<u32> {
    let mut pids: Vec<_> = remaining.iter().map(|process| process.pid).collect();
    pids.sort_unstable();
    pids
}

/// Ends the main process, and gives what it leaves behind.
async fn leave(child: &mut Child) {
    child.signal(libc::SIGKILL).expect("signals");
    let killed = Cause::Signal { signal: 9, core: false };
    assert_eq!(child.wait().await.expect("ends").cause, killed);
}

/// Until each of them has executed `sleep`: while it does, whose it is cannot be told.
async fn asleep(pids: &[u32]) {
    let executed = |pid: &u32| {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm"));
        name.is_ok_and(|name| name == "sleep\n")
            && procfs::sample(*pid).is_ok_and(|sample| !sample.executing)
    };
    while !pids.iter().all(executed) {
        tokio::task::yield_now().await;
    }
}

async fn gone(pids: &[u32]) {
    while pids.iter().any(|&pid| procfs::sample(pid).is_ok()) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn group_session_and_escapees_are_found_and_killed_and_no_one_else() {
    let name = "os::family::tests::group_session_and_escapees_are_found_and_killed_and_no_one_else";
    in_own_process(name, async {
        let fixture = fixture();
        // In the group; in a session of its own; double-forked into a session of its own, with children there.
        let script = "sh -c 'echo $$; exec sleep 1000' & \
            setsid sh -c 'echo $$; exec sleep 1000' & \
            (setsid sh -c 'sleep 1000 & echo $!; echo $$; exec sleep 1000' &) & wait";
        let (mut child, mut left) = start(&fixture, "escaping", script, 4).await;
        left.sort_unstable();
        let (mut other, others) =
            start(&fixture, "other", "setsid sh -c 'echo $$; exec sleep 1000' & wait", 1).await;
        asleep(&left).await;
        asleep(&others).await;
        let family = family_of("escaping", &child);
        let alive = fixture.census.remaining(&family).await.expect("looks");
        assert!(left.iter().all(|pid| pids(&alive).contains(pid)), "found while main lives");
        assert!(!pids(&alive).contains(&child.pid()), "main is not a leftover");
        assert!(left.iter().all(|&pid| family.claims(pid) == Some(true)));
        assert!(others.iter().all(|&pid| family.claims(pid) == Some(false)));
        assert_eq!(family.claims(child.pid()), Some(true));
        assert_eq!(family.claims(std::process::id()), Some(false));
        assert_eq!(family.claims(u32::MAX), None);
        leave(&mut child).await;
        leave(&mut other).await;
        let remaining = fixture.census.remaining(&family).await.expect("looks");
        assert!(left.iter().all(|pid| pids(&remaining).contains(pid)));
        let found = fixture.census.kill_all(&family, WITHIN).await.expect("kills");
        assert!(found >= left.len(), "{found}");
        gone(&left).await;
        assert!(fixture.census.remaining(&family).await.expect("looks").is_empty());
        let family = family_of("other", &other);
        let remaining = fixture.census.remaining(&family).await.expect("looks");
        assert_eq!(pids(&remaining), others, "the other service was left alone");
        assert_eq!(fixture.census.kill_all(&family, WITHIN).await.expect("kills"), 1);
        gone(&others).await;
    })
    .await;
}

#[tokio::test]
async fn a_cleared_environment_is_found_by_session_and_below_main_by_descent() {
    let name =
        "os::family::tests::a_cleared_environment_is_found_by_session_and_below_main_by_descent";
    in_own_process(name, async {
        let fixture = fixture();
        // Leaves the group (job control gives it one of its own), not the session, and has no mark.
        let script = "perl -e 'setpgrp(0, 0); %ENV = (); $| = 1; print \"$$\\n\"; \
            exec(\"/bin/sleep\", \"1000\")' & wait";
        let (mut child, left) = start(&fixture, "cleared", script, 1).await;
        let sample = procfs::sample(left[0]).expect("runs");
        assert_eq!((sample.session, sample.group), (child.pid(), left[0]));
        let family = family_of("cleared", &child);
        leave(&mut child).await;
        let remaining = fixture.census.remaining(&family).await.expect("looks");
        assert_eq!(pids(&remaining), left);
        assert_eq!(fixture.census.kill_all(&family, WITHIN).await.expect("kills"), 1);
        gone(&left).await;
        // Leaves all, and has no mark: found by descent while main lives.
        let script = "env -i setsid sh -c 'echo $$; exec sleep 1000' & wait";
        let (child, left) = start(&fixture, "lost", script, 1).await;
        let family = family_of("lost", &child);
        assert_eq!(fixture.census.kill_all(&family, WITHIN).await.expect("kills"), 1);
        child.wait().await.expect("ends");
        gone(&left).await;
    })
    .await;
}

#[tokio::test]
async fn a_family_that_forks_all_the_time_is_killed_in_the_end() {
    let name = "os::family::tests::a_family_that_forks_all_the_time_is_killed_in_the_end";
    in_own_process(name, async {
        let fixture = fixture();
        // Each process hands over to a successor in a new session and ends; after a few seconds also by itself, in case the
        // test is killed.
        let script = "setsid perl -e '$| = 1; print \"$$\\n\"; my $end = time + 40; \
            while (time < $end) { my $p = fork; if ($p) { exit 0 } use POSIX; POSIX::setsid(); \
            select(undef, undef, undef, 0.002) }' & exec sleep 1000";
        let (mut child, _, mut held) = start_and_hold(&fixture, "hydra", script, 1).await;
        let family = family_of("hydra", &child);
        leave(&mut child).await;
        fixture.census.kill_all(&family, WITHIN).await.expect("kills");
        // A look at the machine could miss it.
        let ended = tokio::task::spawn_blocking(move || held.read(&mut [0]).expect("reads"));
        let ended = tokio::time::timeout(Duration::from_secs(5), ended).await;
        assert_eq!(ended.expect("none is left").expect("runs"), 0);
    })
    .await;
}

#[tokio::test]
async fn a_process_that_executes_all_the_time_is_never_taken_for_gone() {
    let name = "os::family::tests::a_process_that_executes_all_the_time_is_never_taken_for_gone";
    in_own_process(name, async {
        let fixture = fixture();
        // The mark alone tells whose it is, and is not there while a program begins; after some seconds it ends by itself.
        let script = "export again='n=$((n+1)); test $n -lt 20000 && exec sh -c \"$again\"' n=0; \
            setsid sh -c 'echo $$; exec sh -c \"$again\"' & exec sleep 1000";
        for _ in 0..40 {
            let (mut child, _, mut held) = start_and_hold(&fixture, "anew", script, 1).await;
            let family = family_of("anew", &child);
            leave(&mut child).await;
            fixture.census.kill_all(&family, WITHIN).await.expect("kills");
            let ended = tokio::task::spawn_blocking(move || held.read(&mut [0]).expect("reads"));
            let ended = tokio::time::timeout(Duration::from_secs(5), ended).await;
            assert_eq!(ended.expect("none is left").expect("runs"), 0);
        }
    })
    .await;
}

/// A family whose main process has ended and been reaped, and whose number is a stranger's now.
async fn outlived(fixture: &Fixture, stranger: &Child) -> Family {
    let (mut ended, _) = start(fixture, "outlived", "echo 1; exec sleep 1000", 1).await;
    leave(&mut ended).await;
    Family { main: stranger.pid(), ..family_of("outlived", &ended) }
}

#[tokio::test]
async fn a_stranger_with_the_number_of_an_ended_main_process_is_left_alone() {
    let name =
        "os::family::tests::a_stranger_with_the_number_of_an_ended_main_process_is_left_alone";
    in_own_process(name, async {
        let fixture = fixture();
        // In the group and session of that number, without a mark; once below its parent and once an orphan.
        let script = "env -u CAFE_SERVICE sh -c 'echo $$; exec sleep 1000' & \
            (env -u CAFE_SERVICE sh -c 'echo $$; exec sleep 1000' &); wait";
        let (mut stranger, below) = start(&fixture, "stranger", script, 2).await;
        asleep(&below).await;
        let family = outlived(&fixture, &stranger).await;
        let found = fixture.census.remaining(&family).await.expect("looks");
        assert!(found.is_empty(), "{found:?}");
        family.signal_group(libc::SIGKILL).expect("asks");
        family.signal_number(libc::SIGKILL, &[]).expect("asks");
        assert_eq!(fixture.census.kill_all(&family, WITHIN).await.expect("looks"), 0);
        let lives = |pid: u32| procfs::sample(pid).is_ok_and(|sample| sample.state != 'Z');
        assert!(lives(stranger.pid()) && below.iter().copied().all(lives), "a stranger was killed");
        let family = family_of("stranger", &stranger);
        leave(&mut stranger).await;
        fixture.census.kill_all(&family, WITHIN).await.expect("kills");
        gone(&below).await;
    })
    .await;
}

#[tokio::test]
async fn a_group_is_signalled_by_number_while_its_leader_or_a_member_is_there() {
    let name =
        "os::family::tests::a_group_is_signalled_by_number_while_its_leader_or_a_member_is_there";
    in_own_process(name, async {
        let fixture = fixture();
        let script = "sh -c 'echo $$; exec sleep 1000' & wait";
        let (child, left) = start(&fixture, "old", script, 1).await;
        // As before Linux 6.9.
        family_of("old", &child).signal_number(libc::SIGKILL, &[]).expect("signals");
        child.wait().await.expect("ends");
        gone(&left).await;
        let (mut child, left) = start(&fixture, "old", script, 1).await;
        asleep(&left).await;
        let family = family_of("old", &child);
        leave(&mut child).await;
        let remaining = fixture.census.remaining(&family).await.expect("looks");
        family.signal_number(libc::SIGKILL, &remaining).expect("signals");
        gone(&left).await;
        // As this kernel does it.
        let (mut child, left) = start(&fixture, "old", script, 1).await;
        asleep(&left).await;
        let family = family_of("old", &child);
        leave(&mut child).await;
        let remaining = fixture.census.remaining(&family).await.expect("looks");
        family.signal_group_of(libc::SIGKILL, &remaining).expect("signals");
        gone(&left).await;
    })
    .await;
}

#[tokio::test]
async fn marked_processes_are_found_on_the_whole_machine() {
    let name = "os::family::tests::marked_processes_are_found_on_the_whole_machine";
    in_own_process(name, async {
        let fixture = fixture();
        let (mut child, _) = start(&fixture, "crashed", "echo 1; exec sleep 1000", 1).await;
        let found = marked(&state()).expect("walks");
        let main = found.iter().find(|found| found.process.pid == child.pid()).expect("is found");
        assert_eq!((main.seat.as_str(), main.session), ("crashed", child.pid()));
        assert!(marked("another").expect("walks").is_empty(), "another state directory");
        leave(&mut child).await;
    })
    .await;
}

#[tokio::test]
async fn many_who_ask_at_once_share_scans() {
    let name = "os::family::tests::many_who_ask_at_once_share_scans";
    in_own_process(name, async {
        let fixture = fixture();
        let scans = (0..100).map(|_| fixture.census.scan());
        let scans = futures_util::future::join_all(scans).await;
        let mut different: Vec<_> =
            scans.iter().map(|scan| Arc::as_ptr(scan.as_ref().expect("scans"))).collect();
        different.sort_unstable();
        different.dedup();
        // How many depends on who is asked when; without sharing it is a hundred.
        assert!(different.len() <= 50, "{} scans", different.len());
    })
    .await;
}

fn family_of(name: &str, main: &Child) -> Family {
    Family::new(main, mark(&state(), name))
}

/// Tests run beside each other, and some look at the whole machine.
fn state() -> String {
    format!("test-{}", std::process::id())
}
