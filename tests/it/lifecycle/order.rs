//! Services that need each other: the order of starts and stops, and who goes with whom.

use cafe::net::control::Verb;
use cafe::types::event::Kind;
use cafe::types::state::State;
use cafe::types::status::Service;
use nix::sys::signal::Signal;

use crate::harness::{Cafe, IDLE, kill, sh};

/// A service that writes its starts and stops to the journal, with these further fields.
fn journaling(name: &str, fields: &str) -> String {
    let script = sh(&format!(
        "trap 'echo -{name} >>journal; exit 0' TERM; echo +{name} >>journal; echo >&3; {IDLE}"
    ));
    format!(
        "\"{name}\": (command: {script}, ready: fd(3), {fields} backoff: (min: \"1ms\", max: \"1ms\")),\n"
    )
}

/// Waits until a service waits for this reason; there may be others before.
async fn wait_reason(cafe: &Cafe, name: &str, reason: &str) -> Service {
    let waits_so =
        |service: &Service| service.state == State::Waiting && service.reason.contains(reason);
    cafe.wait_service(name, reason, waits_so).await
}

#[tokio::test]
async fn starts_follow_the_graph_and_stops_go_against_it() {
    let services = [
        journaling("web", "requires: [\"app\"],"),
        journaling("app", "requires: [\"db\"], after: [\"queue\"],"),
        journaling("queue", "after: [\"db\"],"),
        journaling("db", ""),
    ];
    let mut cafe = Cafe::start(&format!("services: {{ {} }},", services.concat())).await;
    cafe.wait_state("web", State::Ready).await;
    assert_eq!(cafe.read("journal"), "+db\n+queue\n+app\n+web\n");

    let ended = cafe.end(Signal::SIGTERM).await;

    assert!(ended.status.success(), "{}", ended.status);
    assert_eq!(cafe.read("journal"), "+db\n+queue\n+app\n+web\n-web\n-app\n-queue\n-db\n");
}

#[tokio::test]
async fn what_requires_a_stopped_service_goes_first_and_comes_back_with_it() {
    let services = [
        journaling("db", ""),
        journaling("app", "requires: [\"db\"],"),
        journaling("web", "requires: [\"app\"],"),
        journaling("cron", "after: [\"db\"],"),
    ];
    let cafe = Cafe::start(&format!("services: {{ {} }},", services.concat())).await;
    cafe.wait_state("web", State::Ready).await;
    let cron = cafe.wait_state("cron", State::Ready).await;

    cafe.act(Verb::Stop, "db").await;

    let stops: Vec<String> = cafe
        .read("journal")
        .lines()
        .filter(|line| line.starts_with('-'))
        .map(str::to_owned)
        .collect();
    assert_eq!(stops, ["-web", "-app", "-db"]);
    let app = wait_reason(&cafe, "app", "requires `db`, which is down").await;
    assert_eq!(app.exits[0].trigger, "requires `db`, which went down");
    let pulled_down = cafe.wait_event("post-mortem of db", |event| match &event.kind {
        Kind::Exit { service, post_mortem } if service.as_str() == "db" => {
            Some(post_mortem.pulled_down.clone())
        }
        _ => None,
    });
    let mut pulled_down = pulled_down.await;
    pulled_down.sort();
    assert_eq!(pulled_down, ["app"]);

    cafe.act(Verb::Start, "db").await;

    cafe.wait_state("web", State::Ready).await;
    let starts = cafe.read("journal");
    assert!(starts.ends_with("-db\n+db\n+app\n+web\n"), "{starts}");
    assert_eq!(cafe.service("cron").await.pid, cron.pid, "`after` alone is no tie");
}

#[tokio::test]
async fn what_requires_a_service_that_is_down_for_good_is_stopped() {
    let services =
        [journaling("db", "restart: temporary,"), journaling("app", "requires: [\"db\"],")];
    let cafe = Cafe::start(&format!("services: {{ {} }},", services.concat())).await;
    cafe.wait_state("app", State::Ready).await;
    let db = cafe.service("db").await;

    kill(db.pid.unwrap(), Signal::SIGKILL);

    wait_reason(&cafe, "app", "`cafe start db`").await;
    assert_eq!(cafe.read("journal"), "+db\n+app\n-app\n");
}

#[tokio::test]
async fn a_start_by_hand_starts_what_it_requires() {
    let services = [
        journaling("db", "start: manual,"),
        journaling("app", "start: manual, requires: [\"db\"],"),
    ];
    let cafe = Cafe::start(&format!("services: {{ {} }},", services.concat())).await;
    assert_eq!(cafe.service("app").await.state, State::Stopped);
    cafe.act(Verb::Start, "app").await;
    assert_eq!(cafe.read("journal"), "+db\n+app\n");
}

#[tokio::test]
async fn a_group_restarts_with_its_first_member() {
    let services = ["a", "b", "c"].map(|name| journaling(name, "")).concat();
    let cafe = Cafe::start(&format!(
        "services: {{ {services} }},
         groups: {{ \"all\": (strategy: one_for_all, services: [\"b\", \"a\", \"c\"]) }},"
    ))
    .await;
    let c = cafe.wait_state("c", State::Ready).await;
    kill(c.pid.unwrap(), Signal::SIGKILL);
    cafe.wait_service("c", "back", |c| c.state == State::Ready && c.restarts == 1).await;
    assert_eq!(cafe.read("journal"), "+b\n+a\n+c\n-a\n-b\n+b\n+a\n+c\n");
}

#[tokio::test]
async fn only_so_many_start_at_once() {
    let script = sh(&format!("read go <gate; echo >&3; {IDLE}"));
    let service = |number| format!("\"s{number}\": (command: {script}, ready: fd(3)),\n");
    let services: String = (0..6).map(service).collect();
    let mut cafe = Cafe::new(&format!("services: {{ {services} }}, parallel_starts: 2,"));
    cafe.fifo("gate");
    cafe.boot().await;
    let in_state = |status: &cafe::types::status::Status, state: State| {
        status.services.iter().filter(|service| service.state == state).count()
    };
    cafe.wait_for("two that start", |status| {
        let with_process = status.services.iter().filter(|service| service.pid.is_some()).count();
        (with_process == 2 && in_state(status, State::Waiting) == 4).then_some(())
    })
    .await;
    wait_reason(&cafe, "s5", "until fewer services are starting").await;

    let gates: Vec<_> = (0..6).map(|_| cafe.open_gate("gate")).collect();

    cafe.wait_for("all ready", |status| (in_state(status, State::Ready) == 6).then_some(())).await;
    drop(gates);
    let mut starting: Vec<String> = Vec::new();
    for event in cafe.events().await {
        if let Kind::State { service, to, .. } = event.kind {
            starting.retain(|name| *name != service.as_str());
            if to == State::Starting {
                starting.push(service.to_string());
            }
            assert!(starting.len() <= 2, "{starting:?}");
        }
    }
}
