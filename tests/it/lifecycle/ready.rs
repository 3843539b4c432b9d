//! The ways to prove ready: nothing is claimed before, and what was seen is said.

use cafe::net::control::Verb;
use cafe::types::event::Kind;
use cafe::types::state::State;
use tokio::net::TcpSocket;

use crate::harness::{Cafe, IDLE, Web, notifier_in, sh};

/// Waits until the process of `a` exists; it must not be ready.
async fn assert_not_ready(cafe: &Cafe) {
    let a = cafe.wait_service("a", "with a process", |a| a.pid.is_some()).await;
    assert_eq!(a.state, State::Starting, "{}", a.reason);
    assert!(a.reason.contains("not ready yet; must be within 30s"), "{}", a.reason);
}

/// Waits until `a` is ready, because of this evidence.
async fn assert_ready(cafe: &Cafe, evidence: &str) {
    let a = cafe.wait_state("a", State::Ready).await;
    assert!(a.reason.contains(evidence), "{}", a.reason);
    assert_eq!(a.restarts, 0);
}

#[tokio::test]
async fn by_a_delay() {
    let service = format!("(command: {}, ready: delay(\"200ms\"))", sh(IDLE));
    let cafe = Cafe::start(&format!("services: {{ \"a\": {service} }},")).await;
    assert_ready(&cafe, "alive for 200ms").await;
    let events = cafe.events().await;
    let at = |wanted: State, has_pid: bool| {
        let found = events.iter().find(|event| match event.kind {
            Kind::State { to, pid, .. } => to == wanted && pid.is_some() == has_pid,
            _ => false,
        });
        found.expect("the state was entered").at
    };
    let took = at(State::Ready, true).duration_since(at(State::Starting, false));
    assert!(took.as_millis() >= 200, "ready after {took}");
}

#[tokio::test]
async fn by_an_open_port() {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
    let address = socket.local_addr().expect("its address");
    let service = format!("(command: {}, ready: tcp(\"{address}\"))", sh(IDLE));
    let cafe = Cafe::start(&format!("services: {{ \"a\": {service} }},")).await;
    assert_not_ready(&cafe).await;
    let _listener = socket.listen(8).expect("listens");
    assert_ready(&cafe, &address.to_string()).await;
}

#[tokio::test]
async fn by_an_answer_over_http() {
    let web = Web::start(503);
    let service = format!("(command: {}, ready: http(\"http://{}/up\"))", sh(IDLE), web.address);
    let cafe = Cafe::start(&format!("services: {{ \"a\": {service} }},")).await;
    assert_not_ready(&cafe).await;
    web.answer(200);
    assert_ready(&cafe, "200").await;
}

/// A service that proves ready with `ready` when its script runs `prove`.
async fn gated(ready: &str, prove: &str, evidence: &str) {
    let script = sh(&format!("read go <gate; {prove}; {IDLE}"));
    let mut cafe =
        Cafe::new(&format!("services: {{ \"a\": (command: {script}, ready: {ready}) }},"));
    cafe.fifo("gate");
    cafe.boot().await;
    assert_not_ready(&cafe).await;
    let _gate = cafe.open_gate("gate");
    assert_ready(&cafe, evidence).await;
}

#[tokio::test]
async fn by_a_line_of_its_log() {
    let prove = "echo listens soon; echo listening on port 80";
    gated("log(\"^listening on port [0-9]+$\")", prove, "listening on port 80").await;
}

#[tokio::test]
async fn by_a_line_without_end_of_line_only_when_it_ends() {
    gated("log(\"up$\")", "printf 'not up yet'; echo; printf 'warming '; echo up", "warming up")
        .await;
}

#[tokio::test]
async fn by_a_descriptor() {
    gated("fd(5)", "echo >&5", "wrote to descriptor 5").await;
}

#[tokio::test]
async fn by_a_notification() {
    let service = format!("(command: {}, ready: notify)", sh(&notifier_in("orders")));
    let mut cafe = Cafe::new(&format!("services: {{ \"a\": {service} }},"));
    let mut orders = cafe.orders("orders");
    cafe.boot().await;
    assert_not_ready(&cafe).await;
    orders.say("READY=1");
    assert_ready(&cafe, "READY=1").await;
}

#[tokio::test]
async fn a_service_that_is_not_ready_in_time_is_ended_and_tried_again() {
    let service = format!(
        "(command: {}, ready: fd(3), ready_timeout: \"100ms\", backoff: (min: \"1ms\", max: \"1ms\"))",
        sh(IDLE)
    );
    let cafe = Cafe::start(&format!("services: {{ \"a\": {service} }},")).await;
    let a = cafe.wait_service("a", "tried again", |a| a.restarts >= 2).await;
    let end = &a.exits[0];
    assert!(end.trigger.contains("not ready within 100ms [C030]"), "{}", end.trigger);
    assert!(end.run_ms >= 100, "{}", end.run_ms);
    cafe.act(Verb::Stop, "a").await;
    let was_ready =
        cafe.events().await.iter().any(|event| {
            matches!(event.kind, Kind::State { to: State::Ready | State::Running, .. })
        });
    assert!(!was_ready);
}
