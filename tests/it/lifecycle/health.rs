//! The health of a service that runs: failures in a row, then a restart or a mark.

use cafe::types::state::State;

use crate::harness::{Cafe, IDLE, Web, sh};

async fn with_health(web: &Web, action: &str) -> Cafe {
    let service = format!(
        "(command: {}, backoff: (min: \"1ms\", max: \"1ms\"), health: (probe: http(\"http://{}/\"), \
         every: \"20ms\", failures: 3, action: {action}))",
        sh(IDLE),
        web.address
    );
    Cafe::start(&format!("services: {{ \"a\": {service} }},")).await
}

#[tokio::test]
async fn failures_in_a_row_restart_it() {
    let web = Web::start(200);
    let cafe = with_health(&web, "restart").await;
    let first = cafe.wait_service("a", "probed", |a| a.probe.is_some()).await;
    assert_eq!(first.state, State::Running);

    web.answer(500);

    let again = cafe.wait_service("a", "restarted", |a| a.restarts >= 1).await;
    let end = &again.exits.last().unwrap();
    assert!(end.trigger.contains("health check failed 3 times"), "{}", end.trigger);
    assert!(end.trigger.contains("500") && end.trigger.contains("[C031]"), "{}", end.trigger);
    web.answer(200);
    cafe.wait_service("a", "well again", |a| {
        a.state == State::Running && a.probe.as_deref().is_some_and(|said| said.contains("200"))
    })
    .await;
}

#[tokio::test]
async fn or_mark_it_until_it_is_well_again() {
    let web = Web::start(200);
    let cafe = with_health(&web, "mark").await;
    let first = cafe.wait_service("a", "probed", |a| a.probe.is_some()).await;

    web.answer(500);
    let marked = cafe.wait_state("a", State::Unhealthy).await;
    assert_eq!(marked.pid, first.pid);
    assert!(marked.reason.contains("500"), "{}", marked.reason);

    web.answer(204);
    let well = cafe.wait_state("a", State::Running).await;
    assert_eq!((well.pid, well.restarts), (first.pid, 0));
}
