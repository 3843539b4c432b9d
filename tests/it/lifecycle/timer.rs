//! Services that are meant to end: oneshots, and timers with their overlaps.

use cafe::net::control::Verb;
use cafe::types::event::Kind;
use cafe::types::state::State;
use cafe::types::status::Service;

use crate::harness::{Cafe, IDLE, eventually, sh};

#[tokio::test]
async fn what_comes_after_a_oneshot_waits_for_its_good_end() {
    let once = sh("read go <gate; echo once >>journal");
    let then = sh(&format!("echo then >>journal; {IDLE}"));
    let mut cafe = Cafe::new(&format!(
        r#"services: {{
            "once": (command: {once}, kind: oneshot),
            "then": (command: {then}, requires: ["once"]),
        }},"#
    ));
    cafe.fifo("gate");
    cafe.boot().await;
    cafe.wait_service("once", "running", |once| once.pid.is_some()).await;
    let waits = |then: &Service| then.state == State::Waiting && then.reason.contains("`once`");
    cafe.wait_service("then", "waiting", waits).await;

    let _gate = cafe.open_gate("gate");

    cafe.wait_state("then", State::Running).await;
    assert_eq!(cafe.service("once").await.state, State::Done);
    cafe.wait_for("both", |_| (cafe.read("journal") == "once\nthen\n").then_some(())).await;
}

#[tokio::test]
async fn what_requires_a_oneshot_that_failed_waits_and_says_so() {
    let idle = sh(IDLE);
    let cafe = Cafe::start(&format!(
        r#"services: {{
            "once": (command: ["false"], kind: oneshot),
            "then": (command: {idle}, requires: ["once"]),
        }},"#
    ))
    .await;
    cafe.wait_state("once", State::Failed).await;
    let then = cafe.wait_service("then", "waiting", |then| then.reason.contains("is down")).await;
    assert_eq!(then.state, State::Waiting);
}

#[tokio::test]
async fn a_timer_runs_again_and_again_and_says_when() {
    let service = "(command: [\"echo\", \"run\"], kind: timer(\"every 50ms\"))";
    let cafe = Cafe::start(&format!("services: {{ \"t\": {service} }},")).await;
    let timer = cafe.wait_service("t", "after its third run", |timer| {
        timer.state == State::Waiting && timer.exits.first().is_some_and(|end| end.generation >= 3)
    });
    let timer = timer.await;
    let (last, next) =
        (timer.last_start.expect("a last run"), timer.next_start.expect("a next run"));
    assert!(last < next, "{last} {next}");
    assert!(timer.reason.contains("next run at"), "{}", timer.reason);
    assert!(timer.reason.contains("last run exited 0"), "{}", timer.reason);

    cafe.act(Verb::Stop, "t").await;
    let timer = cafe.service("t").await;
    assert_eq!((timer.state, timer.next_start), (State::Stopped, None));
}

/// A timer whose first run goes on until its gate opens; then this many lines are in its journal at least. All
/// starts and ends of runs, in order, until then.
async fn overlapping(overlap: &str, every: &str, open: bool, runs: usize) -> Vec<String> {
    let script = sh("echo run >>journal; test -e first || { touch first; read go <gate; }");
    let service =
        format!("(command: {script}, kind: timer(\"every {every}\"), overlap: {overlap})");
    let mut cafe = Cafe::new(&format!("services: {{ \"t\": {service} }},"));
    cafe.fifo("gate");
    cafe.boot().await;
    eventually("the first run", || cafe.read("journal").starts_with("run\n").then_some(())).await;
    let remark = cafe.wait_event("due in a run", |event| match &event.kind {
        Kind::Log { message, .. } => Some(message.clone()),
        _ => None,
    });
    let mut seen = vec![remark.await];
    if open {
        assert_eq!(cafe.read("journal"), "run\n", "no second run beside the first");
    }
    let _gate = open.then(|| cafe.open_gate("gate"));
    let line_count = |cafe: &Cafe| cafe.read("journal").lines().count();
    cafe.wait_for("runs", |_| (line_count(&cafe) >= runs).then_some(())).await;
    let ends = cafe.events().await.into_iter().filter_map(|event| match event.kind {
        Kind::Exit { post_mortem, .. } => {
            Some(format!("{}: {}", post_mortem.cause, post_mortem.trigger))
        }
        _ => None,
    });
    seen.extend(ends);
    seen
}

#[tokio::test]
async fn a_run_that_is_due_in_another_is_left_out() {
    let seen = overlapping("skip", "50ms", true, 2).await;
    assert!(seen[0].contains("left out"), "{seen:?}");
    assert_eq!(seen[1], "exited 0: ended by itself", "{seen:?}");
}

#[tokio::test]
async fn or_follows_at_once() {
    let seen = overlapping("queue", "50ms", true, 2).await;
    assert!(seen[0].contains("runs once more after it"), "{seen:?}");
    assert_eq!(seen[1], "exited 0: ended by itself", "{seen:?}");
}

#[tokio::test]
async fn or_takes_the_place_of_the_other() {
    // Long enough for the first run to write its line before the next takes its place.
    let seen = overlapping("replace", "1s", false, 2).await;
    assert!(seen[0].contains("the last run is stopped"), "{seen:?}");
    assert_eq!(seen[1], "killed by SIGTERM: replaced by its next run", "{seen:?}");
}
