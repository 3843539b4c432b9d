//! Two daemons never use one state directory.

use cafe::types::state::State;

use crate::harness::{Cafe, IDLE, eventually, sh};

#[tokio::test]
async fn a_second_daemon_is_refused() {
    let cafe = Cafe::start(&format!("services: {{ \"a\": (command: {}) }},", sh(IDLE))).await;
    let a = cafe.wait_state("a", State::Running).await;

    let mut second = cafe.spawn();
    let status = eventually("end of the second", || second.try_wait().unwrap()).await;

    assert_eq!(status.code(), Some(1));
    let said = cafe.console();
    assert!(said.contains("[C041]"), "{said}");
    assert!(said.contains(&format!("pid {}", cafe.pid())), "says who: {said}");
    assert_eq!(cafe.service("a").await.pid, a.pid);
    assert_eq!(cafe.processes().len(), 1);
}

#[tokio::test]
async fn the_lock_of_a_killed_daemon_is_free() {
    let mut cafe = Cafe::start("services: {},").await;
    for _ in 0..3 {
        cafe.crash();
        cafe.boot().await;
    }
}
