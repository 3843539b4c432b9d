//! What follows an end: a restart with backoff, rest, or giving up.

use cafe::net::control::{Outcome, Verb};
use cafe::types::event::Kind;
use cafe::types::state::State;
use nix::sys::signal::Signal;

use crate::harness::{Cafe, IDLE, eventually, kill, sh};

#[tokio::test]
async fn a_killed_service_is_back_after_a_backoff_that_says_why() {
    let service = format!("(command: {}, backoff: (min: \"50ms\", max: \"50ms\"))", sh(IDLE));
    let cafe = Cafe::start(&format!("services: {{ \"web\": {service} }},")).await;
    let first = cafe.wait_state("web", State::Running).await;

    kill(first.pid.unwrap(), Signal::SIGKILL);

    let reason = cafe.wait_event("web in backoff", |event| match &event.kind {
        Kind::State { to: State::Backoff, reason, .. } => Some(reason.clone()),
        _ => None,
    });
    let reason = reason.await;
    assert!(reason.contains("killed by SIGKILL after"), "{reason}");
    assert!(reason.contains("try 1 in"), "{reason}");
    let second =
        cafe.wait_service("web", "back", |web| web.restarts == 1 && web.pid.is_some()).await;
    assert_ne!(second.pid, first.pid);
    assert_eq!(second.instances[0].generation, 2);
    assert_eq!(second.exits[0].pid, first.pid);
}

/// What becomes of a service that ends once, and would idle if it were started again.
async fn after_an_end(policy: &str, code: i32) -> State {
    let script = format!("test -e ended || {{ touch ended; exit {code}; }}; {IDLE}");
    let service = format!(
        "(command: {}, restart: {policy}, backoff: (min: \"1ms\", max: \"1ms\"))",
        sh(&script)
    );
    let cafe = Cafe::start(&format!("services: {{ \"a\": {service} }},")).await;
    let settled = cafe.wait_service("a", "settled", |a| {
        !a.exits.is_empty() && (a.state.is_at_rest() || a.state.is_up())
    });
    settled.await.state
}

#[tokio::test]
async fn a_permanent_service_is_always_restarted() {
    assert_eq!(after_an_end("permanent", 0).await, State::Running);
    assert_eq!(after_an_end("permanent", 1).await, State::Running);
}

#[tokio::test]
async fn a_transient_service_is_restarted_unless_it_exited_with_0() {
    assert_eq!(after_an_end("transient", 0).await, State::Done);
    assert_eq!(after_an_end("transient", 1).await, State::Running);
}

#[tokio::test]
async fn a_temporary_service_is_never_restarted() {
    assert_eq!(after_an_end("temporary", 0).await, State::Done);
    assert_eq!(after_an_end("temporary", 1).await, State::Failed);
}

#[tokio::test]
async fn a_start_by_hand_does_not_wait_for_the_backoff() {
    let script = format!("test -e ended || {{ touch ended; exit 1; }}; {IDLE}");
    // Drawn evenly from nothing to a year: never over by itself.
    let service = format!("(command: {}, backoff: (min: \"360d\", max: \"360d\"))", sh(&script));
    let cafe = Cafe::start(&format!("services: {{ \"a\": {service} }},")).await;
    let waiting = cafe.wait_state("a", State::Backoff).await;
    assert!(waiting.next_start.is_some(), "it says when");
    assert_eq!(waiting.pid, None);

    let acted = cafe.act(Verb::Start, "a").await;

    assert_eq!(acted.services[0].outcome, Outcome::Changed);
    let a = cafe.service("a").await;
    assert_eq!(a.state, State::Running);
    assert_eq!(a.next_start, None);
    assert_eq!(a.restarts, 0, "counted since it was last started by hand");
}

#[tokio::test]
async fn a_stop_by_hand_cancels_the_backoff() {
    let service = "(command: [\"false\"], backoff: (min: \"360d\", max: \"360d\"))";
    let cafe = Cafe::start(&format!("services: {{ \"a\": {service} }},")).await;
    cafe.wait_state("a", State::Backoff).await;

    cafe.act(Verb::Stop, "a").await;

    let a = cafe.service("a").await;
    assert_eq!((a.state, a.next_start), (State::Stopped, None), "{}", a.reason);
}

#[tokio::test]
async fn a_service_at_its_limit_is_held_and_tried_on() {
    let service = "(command: [\"false\"], backoff: (min: \"1ms\", max: \"20ms\"), \
                   intensity: (restarts: 2, within: \"1h\", then: hold))";
    let cafe = Cafe::start(&format!("services: {{ \"a\": {service} }},")).await;

    let reason = cafe.wait_event("limit reached", |event| match &event.kind {
        Kind::GaveUp { name, reason } if name.as_str() == "a" => Some(reason.clone()),
        _ => None,
    });
    assert!(reason.await.contains("restart limit reached"));
    let held = cafe.wait_event("held in backoff", |event| match &event.kind {
        Kind::State { to: State::Backoff, reason, generation: 3.., .. } => Some(reason.clone()),
        _ => None,
    });
    let held = held.await;
    assert!(held.contains("held at the longest delay"), "{held}");
    cafe.wait_service("a", "tried on", |a| a.restarts > 5).await;
}

#[tokio::test]
async fn a_service_that_gives_up_stays_down_and_runs_its_hook() {
    let hook = sh("echo \"$CAFE_NAME: $CAFE_REASON\" >hook.new; mv hook.new hook");
    let service = format!(
        "(command: [\"false\"], backoff: (min: \"1ms\", max: \"1ms\"), \
         intensity: (restarts: 2, within: \"1h\", then: give_up), on_give_up: (command: {hook}))"
    );
    let cafe = Cafe::start(&format!("services: {{ \"a\": {service} }},")).await;

    let a = cafe.wait_state("a", State::Failed).await;
    assert!(a.reason.contains("restarted too often [C032]"), "{}", a.reason);
    assert_eq!(a.exits[0].generation, 3, "one start and two restarts");
    let said = eventually("the hook", || Some(cafe.read("hook")).filter(|text| !text.is_empty()));
    assert_eq!(said.await, "a: `a` restarted more than 2 times within 1h\n");

    // A start by hand begins with an empty window: two restarts are allowed again.
    cafe.act(Verb::Start, "a").await;
    cafe.wait_service("a", "given up again", |a| {
        a.state == State::Failed && a.exits[0].generation == 6
    })
    .await;
}
