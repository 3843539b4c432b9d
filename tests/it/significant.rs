//! A significant service of no group: when it ends for good, cafe ends with its exit code.

use cafe::net::control::Verb;
use cafe::types::state::State;

use crate::harness::{Cafe, IDLE, sh};

/// The exit code of a cafe whose `main` is this, beside a service that has to be stopped.
async fn code_of(main: &str) -> Option<i32> {
    let other = sh(&format!("trap 'echo stopped >journal; exit 0' TERM; echo >&3; {IDLE}"));
    let mut cafe = Cafe::new(&format!(
        "services: {{
            \"other\": (command: {other}, ready: fd(3)),
            \"main\": ({main}, requires: [\"other\"], significant: true),
        }},"
    ));
    cafe.launch();
    let code = cafe.ended().await.code();
    assert_eq!(cafe.read("journal"), "stopped\n", "{}", cafe.console());
    let because = "stopping everything: significant service `main`: ";
    assert!(cafe.console().contains(because), "{}", cafe.console());
    assert_eq!(cafe.processes(), []);
    code
}

#[tokio::test]
async fn its_code_is_the_one_of_cafe() {
    let command = sh("exit 7");
    assert_eq!(code_of(&format!("command: {command}, restart: temporary")).await, Some(7));
}

#[tokio::test]
async fn its_success_is_that_of_cafe() {
    let command = sh("exit 0");
    assert_eq!(code_of(&format!("command: {command}, restart: transient")).await, Some(0));
    assert_eq!(code_of(&format!("command: {command}, kind: oneshot")).await, Some(0));
}

#[tokio::test]
async fn a_signal_is_told_as_a_shell_does() {
    let command = sh("kill -KILL $$");
    assert_eq!(code_of(&format!("command: {command}, restart: temporary")).await, Some(128 + 9));
}

#[tokio::test]
async fn what_cannot_be_started_is_told_as_a_shell_does() {
    let main = "command: [\"/does/not/exist\"], restart: temporary";
    assert_eq!(code_of(main).await, Some(127));
}

#[tokio::test]
async fn it_ends_only_after_the_last_restart() {
    let script = "echo run >>runs; exit 5";
    let limit = "intensity: (restarts: 2, within: \"1h\", then: give_up)";
    let command = sh(script);
    let backoff = "backoff: (min: \"1ms\", max: \"1ms\")";
    let mut cafe = Cafe::new(&format!(
        "services: {{ \"main\": (command: {command}, significant: true, {limit}, {backoff}) }},"
    ));
    cafe.launch();
    assert_eq!(cafe.ended().await.code(), Some(5), "{}", cafe.console());
    assert_eq!(cafe.read("runs"), "run\n".repeat(3));
}

#[tokio::test]
async fn one_that_leaves_politely_when_it_is_ended_for_a_fault_did_not_succeed() {
    let command = sh(&format!("trap 'exit 0' TERM; {IDLE}"));
    let main =
        format!("command: {command}, restart: temporary, ready: fd(3), ready_timeout: \"300ms\"");
    assert_eq!(code_of(&main).await, Some(1));
}

#[tokio::test]
async fn stopped_by_hand_it_does_not_end_cafe_and_a_change_is_in_force_at_once() {
    let main = |significant: bool, script: &str| {
        let command = sh(script);
        format!(
            "services: {{ \"main\": (command: {command}, ready: fd(3), restart: temporary, significant: {significant}) }},"
        )
    };
    let script = format!("trap 'exit 3' USR1; echo >&3; {IDLE}");
    let mut cafe = Cafe::start(&main(true, &script)).await;
    let first = cafe.wait_state("main", State::Ready).await;
    cafe.act(Verb::Stop, "main").await;
    assert_eq!(cafe.service("main").await.state, State::Stopped);
    cafe.act(Verb::Start, "main").await;
    let second = cafe.wait_state("main", State::Ready).await;
    assert_ne!(first.pid, second.pid);

    // Not significant any more: its end is its own. And again significant, without a restart.
    cafe.configure(&main(false, &script));
    assert!(cafe.cli(&["reload"]).status.success());
    cafe.cli(&["kill", "main", "--signal", "USR1"]);
    cafe.wait_state("main", State::Failed).await;
    cafe.act(Verb::Start, "main").await;
    let third = cafe.wait_state("main", State::Ready).await;
    cafe.configure(&main(true, &script));
    assert!(cafe.cli(&["reload"]).status.success());
    assert_eq!(cafe.service("main").await.pid, third.pid);
    cafe.cli(&["kill", "main", "--signal", "USR1"]);
    assert_eq!(cafe.ended().await.code(), Some(3));
}

/// A time limit for all of them: what is told to end afterwards has no time of its own.
#[tokio::test]
async fn a_stop_timeout_ends_what_its_services_do_not() {
    let script = sh(&format!("trap 'echo told >>journal' TERM; echo >&3; {IDLE}"));
    let service = format!("command: {script}, ready: fd(3), stop: (timeout: \"1h\")");
    let mut cafe = Cafe::start(&format!(
        "services: {{ \"a\": ({service}), \"b\": ({service}, requires: [\"a\"]) }}, stop_timeout: \"300ms\","
    ))
    .await;
    cafe.wait_state("b", State::Ready).await;
    let ended = cafe.end(nix::sys::signal::Signal::SIGTERM).await;
    assert_eq!(ended.status.code(), Some(0));
    assert!(cafe.console().contains("out of time: killing what still runs"), "{}", cafe.console());
    assert!(
        cafe.console().contains("killed, as cafe itself was out of time"),
        "{}",
        cafe.console()
    );
}
