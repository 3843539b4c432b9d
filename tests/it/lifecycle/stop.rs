//! The stop of one service: asked, then killed, and told so.

use cafe::net::control::{Outcome, Verb};
use cafe::types::exit::Cause;
use cafe::types::state::State;

use crate::harness::{Cafe, IDLE, is_gone, sh};

#[tokio::test]
async fn a_service_that_ignores_the_signal_is_killed_after_its_time() {
    let script = sh(&format!("trap '' TERM; echo >&3; {IDLE}"));
    let service = format!("(command: {script}, ready: fd(3), stop: (timeout: \"200ms\"))");
    let cafe = Cafe::start(&format!("services: {{ \"a\": {service} }},")).await;
    let running = cafe.wait_state("a", State::Ready).await;

    let acted = cafe.act(Verb::Stop, "a").await;

    assert_eq!(acted.services[0].outcome, Outcome::Changed);
    assert!(acted.took_ms >= 200, "killed after {} ms", acted.took_ms);
    assert!(is_gone(running.pid.unwrap()));
    let a = cafe.service("a").await;
    assert_eq!(a.state, State::Stopped);
    assert_eq!(a.exits[0].cause, Cause::Signal { signal: 9, core: false });
    let trigger = &a.exits[0].trigger;
    assert!(trigger.contains("still there after 200ms, killed"), "{trigger}");
    assert!(trigger.contains("a test"), "says who wanted it: {trigger}");
}

#[tokio::test]
async fn a_service_is_asked_with_its_own_signal() {
    let script = sh(&format!("trap 'echo bye; exit 7' USR2; echo >&3; {IDLE}"));
    let service = format!("(command: {script}, ready: fd(3), stop: (signal: USR2))");
    let cafe = Cafe::start(&format!("services: {{ \"a\": {service} }},")).await;
    cafe.wait_state("a", State::Ready).await;
    cafe.act(Verb::Stop, "a").await;
    let a = cafe.wait_service("a", "with its last lines", |a| !a.exits[0].last_lines.is_empty());
    let a = a.await;
    assert_eq!((a.state, a.exits[0].cause), (State::Stopped, Cause::Code(7)));
    assert!(a.exits[0].last_lines[0].ends_with("bye"), "{:?}", a.exits[0].last_lines);
}
