//! Upgrades that cannot be, or go wrong halfway: the daemon that ran goes on, and every service.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Instant;

use cafe::types::state::State;
use nix::sys::signal::Signal;

use super::upgrade;
use crate::harness::{Cafe, IDLE, eventually, sh};

async fn with_services() -> Cafe {
    let cafe = Cafe::new(&services());
    let mut cafe = cafe;
    cafe.boot().await;
    cafe.wait_for("both", |status| status.services.iter().all(|it| it.state.is_up()).then_some(()))
        .await;
    cafe
}

fn services() -> String {
    format!("services: {{ \"a\": (command: {idle}), \"b\": (command: {idle}) }},", idle = sh(IDLE))
}

/// Runs the upgrade to `program`, which is to be refused, and gives why.
async fn refused(cafe: &Cafe, program: &Path) -> String {
    let before = (cafe.status().await.daemon.pid, cafe.processes());
    let output = cafe.cli(&["upgrade", program.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert_eq!((cafe.status().await.daemon.pid, cafe.processes()), before);
    text(&output)
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A script as a program of the daemon's directory.
fn script(cafe: &Cafe, name: &str, text: &str) -> std::path::PathBuf {
    let path = cafe.path(name);
    std::fs::write(&path, format!("#!/bin/bash\n{text}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[tokio::test]
async fn a_program_that_cannot_go_on_is_refused_before_anything_is_done() {
    let cafe = with_services().await;
    let why = refused(&cafe, Path::new("/no/such/cafe")).await;
    assert!(why.contains("there is no program `/no/such/cafe` in /no/such [C070]"), "{why}");
    let why = refused(&cafe, &cafe.path("cafe.ron")).await;
    assert!(why.contains("cafe.ron` may not be executed"), "{why}");
    let why = refused(&cafe, Path::new("/bin/true")).await;
    assert!(why.contains("it is no cafe that reads the state (exited 0, said nothing)"), "{why}");
    let why =
        refused(&cafe, &script(&cafe, "old", "echo 'unrecognized subcommand role' >&2; exit 2"))
            .await;
    assert!(why.contains("unrecognized subcommand role (exited 2)"), "{why}");
    let why = refused(&cafe, &script(&cafe, "crashes", "kill -SEGV $$")).await;
    assert!(why.contains("killed by SIGSEGV"), "{why}");
    let foreign = cafe.path("foreign");
    std::fs::write(&foreign, b"\x7fELF\x02\x01\x01 of another machine").unwrap();
    std::fs::set_permissions(&foreign, std::fs::Permissions::from_mode(0o755)).unwrap();
    let why = refused(&cafe, &foreign).await;
    assert!(why.contains("cannot upgrade to"), "{why}");
    // None of it was an upgrade, and the next is none the worse.
    assert_eq!(cafe.status().await.daemon.upgrades, 0);
    upgrade(&cafe);
}

#[tokio::test]
async fn a_program_that_hangs_when_it_is_tried_is_killed() {
    let cafe = with_services().await;
    let hangs = script(
        &cafe,
        "hangs",
        &format!("echo $$ >{}; exec sleep 1000", cafe.path("tried").display()),
    );
    let began = Instant::now();
    let why = refused(&cafe, &hangs).await;
    assert!(why.contains("it did not end within 10s"), "{why}");
    assert!(began.elapsed().as_secs() < 25);
    let tried = cafe.read("tried").trim().parse().unwrap();
    eventually("its end", || crate::harness::is_gone(tried).then_some(())).await;
}

#[tokio::test]
async fn a_program_that_cannot_be_executed_after_all_leaves_the_one_before() {
    let cafe = with_services().await;
    // Right in every word, but no program that a descriptor is enough for.
    let lies = script(&cafe, "lies", "echo cafe-state readable by cafe 9.9.9");
    let why = refused(&cafe, &lies).await;
    assert!(why.contains("cannot be executed: No such file or directory"), "{why}");
    let daemon = cafe.status().await.daemon;
    let failed = daemon.last_upgrade.unwrap();
    assert_eq!((daemon.upgrades, failed.to.as_str()), (0, "9.9.9"));
    assert!(failed.failed.unwrap().contains("cannot be executed"));
    upgrade(&cafe);
}

#[tokio::test]
async fn a_program_that_fails_halfway_becomes_the_one_before() {
    for (failpoint, why) in [
        ("decoded-panic", "it panicked"),
        ("built-panic", "it panicked"),
        ("decoded-hang", "it did not go on within 10 s"),
        ("built-hang", "it did not go on within 10 s"),
    ] {
        let mut cafe = Cafe::new(&services());
        cafe.boot_by(&["env", &format!("CAFE_TEST_UPGRADE={failpoint}")]).await;
        cafe.wait_state("a", State::Running).await;
        cafe.wait_state("b", State::Running).await;
        let before = (cafe.status().await.daemon.pid, cafe.processes());
        let output = cafe.cli(&["upgrade"]);
        assert_eq!(output.status.code(), Some(1), "{failpoint}: {}", text(&output));
        assert!(text(&output).contains(why), "{failpoint}: {}", text(&output));
        assert_eq!((cafe.status().await.daemon.pid, cafe.processes()), before, "{failpoint}");
        assert_eq!(cafe.service("a").await.restarts, 0);
    }
}

#[tokio::test]
async fn a_program_that_dies_halfway_is_like_any_crash() {
    for failpoint in ["decoded-abort", "built-abort", "committed-abort"] {
        let mut cafe = Cafe::new(&services());
        cafe.boot_by(&["env", &format!("CAFE_TEST_UPGRADE={failpoint}")]).await;
        cafe.wait_state("a", State::Running).await;
        cafe.wait_state("b", State::Running).await;
        let before = cafe.processes();
        let output =
            cafe.command().args(["upgrade", "--timeout", "5s"]).stderr(Stdio::null()).status();
        assert!(!output.unwrap().success());
        cafe.crash();
        assert_eq!(cafe.processes(), before, "{failpoint}");
        cafe.boot().await;
        let found = |status: &cafe::types::status::Status| {
            status.services.iter().all(|it| it.state.is_up()).then_some(())
        };
        cafe.wait_for("both again", found).await;
        assert_eq!(cafe.processes(), before, "{failpoint}");
        upgrade(&cafe);
        assert_eq!(cafe.processes(), before, "{failpoint}");
    }
}

#[tokio::test]
async fn of_two_upgrades_at_once_one_is_refused() {
    let cafe = with_services().await;
    let slow = script(
        &cafe,
        "slow",
        &format!("cd {}; echo tried >tried; read go <gate; exit 1", cafe.path("").display()),
    );
    cafe.fifo("gate");
    let first =
        cafe.command().args(["upgrade", slow.to_str().unwrap()]).stderr(Stdio::null()).spawn();
    eventually("the first is under way", || (!cafe.read("tried").is_empty()).then_some(())).await;
    let output = cafe.cli(&["upgrade"]);
    assert!(text(&output).contains("another upgrade is under way [C046]"), "{}", text(&output));
    drop(cafe.open_gate("gate"));
    first.unwrap().wait().unwrap();
    upgrade(&cafe);
}

#[tokio::test]
async fn killed_in_the_middle_nothing_is_doubled_or_lost() {
    let mut cafe = with_services().await;
    let before = cafe.processes();
    for round in 0..12_u64 {
        let upgrading = cafe
            .command()
            .args(["upgrade", "--timeout", "1s"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        // From before it began to after it was over, as it comes.
        let later = tokio::time::Instant::now() + std::time::Duration::from_millis(round * 9);
        tokio::time::sleep_until(later).await;
        cafe.crash();
        upgrading.unwrap().wait().unwrap();
        cafe.boot().await;
        cafe.wait_for("both", |status| {
            status.services.iter().all(|it| it.state.is_up()).then_some(())
        })
        .await;
        assert_eq!(cafe.processes(), before, "round {round}");
    }
    let ended = cafe.end(Signal::SIGTERM).await;
    assert!(ended.status.success());
    assert_eq!(cafe.processes(), []);
}

/// What `cafe role check-state` says to bytes.
fn check(cafe: &Cafe, bytes: &[u8]) -> Output {
    let mut child = cafe
        .command()
        .args(["role", "check-state"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    child.wait_with_output().unwrap()
}

#[tokio::test]
async fn a_state_of_another_version_or_cut_short_is_told_apart() {
    let cafe = Cafe::new("");
    for (state, why) in [
        (&b"cafe-state 2 9.0.0 2\n{}"[..], "the state is of format 2, written by cafe 9.0.0"),
        (b"cafe-state 1 0.1.0 4000 2 2\n{}", "the state is cut short: 2 of 4004 bytes"),
        (b"cafe-state 1 0.1.0 2 2 2\n{}{}{}", "the state cannot be understood: missing field"),
        (b"", "this is not the state of a cafe"),
    ] {
        let output = check(&cafe, state);
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output).contains(why), "{}", text(&output));
        assert!(output.stdout.is_empty());
    }
}
