//! The whole product from outside: the real binary, real processes, the control API.

mod harness;
mod tidy;

use cafe::types::state::State;

#[tokio::test]
async fn smoke() {
    let script = harness::sh(&format!("echo hello; {}", harness::IDLE));
    let cafe = harness::Cafe::start(&format!("services: {{ \"a\": (command: {script}) }},")).await;
    let a = cafe.wait_state("a", State::Running).await;
    harness::kill(a.pid.unwrap(), nix::sys::signal::Signal::SIGKILL);
    let b = cafe.wait_service("a", "again", |s| s.state == State::Running && s.pid != a.pid).await;
    assert_eq!(b.restarts, 1);
}
