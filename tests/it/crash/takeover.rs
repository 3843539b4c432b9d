//! Who runs after a crash: all that ran, the same processes, nothing twice, nothing that is not wanted.

use std::collections::{BTreeMap, BTreeSet};

use cafe::net::control::Verb;
use cafe::types::exit::Cause;
use cafe::types::state::State;
use cafe::types::status::Status;
use nix::sys::signal::Signal;

use crate::harness::{Cafe, IDLE, eventually, is_gone, kill, notifier_in, sh};

/// Process ids by service, once all of them are up.
async fn all_up(cafe: &Cafe, count: usize) -> BTreeMap<String, u32> {
    let up = |status: &Status| {
        let pids: BTreeMap<String, u32> = status
            .services
            .iter()
            .filter(|service| service.state.is_up())
            .filter_map(|service| Some((service.name.to_string(), service.pid?)))
            .collect();
        (pids.len() == count).then_some(pids)
    };
    cafe.wait_for("all up", up).await
}

fn pids(processes: &[(u32, String)]) -> BTreeSet<u32> {
    processes.iter().map(|(pid, _)| *pid).collect()
}

#[tokio::test]
async fn all_services_are_found_and_none_is_doubled() {
    let (idle, notifier) = (sh(&format!("echo up >&2; {IDLE}")), sh(&notifier_in("orders")));
    let mut services: String = (0..18)
        .map(|number| format!("\"s{number}\": (command: {idle}, ready: log(\"up\")),\n"))
        .collect();
    // Two whose ties to the daemon are closest: one that notifies it, one in a group with what it requires.
    services += &format!("\"n\": (command: {notifier}, ready: notify),\n");
    services += &format!("\"m\": (command: {idle}, requires: [\"n\"]),\n");
    let mut cafe = Cafe::new(&format!(
        "services: {{ {services} }}, groups: {{ \"g\": (strategy: one_for_all, services: [\"n\", \"m\"]) }},"
    ));
    let mut orders = cafe.orders("orders");
    orders.say("READY=1");
    cafe.boot().await;
    let before = all_up(&cafe, 20).await;
    let processes = pids(&cafe.processes());
    assert_eq!(processes, before.values().copied().collect(), "one process each");

    for _ in 0..3 {
        cafe.crash();
        assert_eq!(pids(&cafe.processes()), processes, "they run on without the daemon");
        cafe.boot().await;

        assert_eq!(all_up(&cafe, 20).await, before, "the same processes");
        assert_eq!(pids(&cafe.processes()), processes, "and no others");
        let status = cafe.status().await;
        for service in &status.services {
            assert_eq!(service.reason, "found running, taken over", "{}", service.name);
            assert_eq!((service.restarts, service.instances[0].generation), (0, 1));
        }
    }

    orders.say("STATUS=still heard");
    let heard = |n: &cafe::types::status::Service| n.status_text.as_deref() == Some("still heard");
    cafe.wait_service("n", "heard", heard).await;

    // Taken over means supervised: the end of one is noticed, and it comes back as its policy says.
    kill(before["s7"], Signal::SIGKILL);
    let again = cafe
        .wait_service("s7", "back", |s7| s7.state == State::Ready && s7.pid != Some(before["s7"]));
    assert_eq!(again.await.instances[0].generation, 2);

    // And they end in order with the daemon, which the harness holds it to.
    let ended = cafe.end(Signal::SIGTERM).await;
    assert!(ended.status.success(), "{}", ended.status);
    assert_eq!(cafe.processes(), []);
}

#[tokio::test]
async fn a_service_that_was_found_can_be_stopped() {
    let script = sh(&format!("trap 'echo asked >journal; exit 0' TERM; echo >&3; {IDLE}"));
    let mut cafe =
        Cafe::start(&format!("services: {{ \"a\": (command: {script}, ready: fd(3)) }},")).await;
    let a = cafe.wait_state("a", State::Ready).await;
    cafe.crash();
    cafe.boot().await;
    cafe.act(Verb::Stop, "a").await;
    assert!(is_gone(a.pid.unwrap()));
    assert_eq!(cafe.read("journal"), "asked\n");
    let exits = cafe.service("a").await.exits;
    // It was no child of this daemon, so the kernel may not say how it ended.
    assert!(matches!(exits[0].cause, Cause::Code(0) | Cause::Unknown), "{:?}", exits[0].cause);
}

#[tokio::test]
async fn a_service_that_ended_meanwhile_is_started_again() {
    let mut cafe = Cafe::start(&format!("services: {{ \"a\": (command: {}) }},", sh(IDLE))).await;
    let a = cafe.wait_state("a", State::Running).await;
    cafe.crash();
    kill(a.pid.unwrap(), Signal::SIGKILL);
    eventually("its end", || is_gone(a.pid.unwrap()).then_some(())).await;
    cafe.boot().await;
    let again = cafe.wait_state("a", State::Running).await;
    assert_ne!(again.pid, a.pid);
    assert_eq!(cafe.processes().len(), 1);
}

/// A daemon with a service that has a child in a session of its own; the pids of both.
async fn with_a_child(cgroups: bool) -> (Cafe, u32, u32) {
    let script = sh(&format!("setsid sleep infinity & echo $! >child.$$; {IDLE}"));
    let cafe =
        Cafe::start(&format!("services: {{ \"a\": (command: {script}) }}, cgroups: {cgroups},"))
            .await;
    let a = cafe.wait_service("a", "up", |a| a.pid.is_some()).await.pid.unwrap();
    let file = format!("child.{a}");
    let child = eventually("its child", || cafe.read(&file).trim().parse::<u32>().ok()).await;
    (cafe, a, child)
}

#[tokio::test]
async fn what_an_ended_service_left_behind_ends_before_it_starts_again() {
    for cgroups in [true, false] {
        let (mut cafe, a, child) = with_a_child(cgroups).await;
        cafe.crash();
        kill(a, Signal::SIGKILL);
        eventually("its end", || is_gone(a).then_some(())).await;
        assert!(!is_gone(child));

        cafe.boot().await;

        cafe.wait_state("a", State::Running).await;
        assert!(is_gone(child), "two incarnations side by side, cgroups: {cgroups}");
    }
}

#[tokio::test]
async fn what_a_found_service_leaves_behind_ends_before_it_starts_again() {
    for cgroups in [true, false] {
        let (mut cafe, a, child) = with_a_child(cgroups).await;
        cafe.crash();
        cafe.boot().await;
        cafe.wait_service("a", "found", |found| found.pid == Some(a)).await;
        assert!(!is_gone(child));

        kill(a, Signal::SIGKILL);

        cafe.wait_service("a", "again", |again| again.state.is_up() && again.pid != Some(a)).await;
        assert!(is_gone(child), "two incarnations side by side, cgroups: {cgroups}");
    }
}

#[tokio::test]
async fn a_service_that_left_the_config_meanwhile_is_ended() {
    let idle = sh(IDLE);
    let mut cafe = Cafe::start(&format!(
        "services: {{ \"a\": (command: {idle}), \"b\": (command: {idle}) }},"
    ))
    .await;
    let before = all_up(&cafe, 2).await;
    cafe.crash();
    cafe.configure(&format!("services: {{ \"a\": (command: {idle}) }},"));
    cafe.boot().await;
    eventually("end of b", || is_gone(before["b"]).then_some(())).await;
    assert_eq!(all_up(&cafe, 1).await["a"], before["a"]);
}

#[tokio::test]
async fn one_that_comes_back_while_the_found_one_ends_waits_for_it() {
    let script = "trap 'echo asked >>journal; read go <gate; echo ended >>journal; exit 0' TERM; \
        echo started >>journal; echo >&3";
    let script = sh(&format!("{script}; {IDLE}"));
    let known = format!("services: {{ \"a\": (command: {script}, ready: fd(3)) }},");
    let mut cafe = Cafe::start(&known).await;
    cafe.fifo("gate");
    let before = cafe.wait_state("a", State::Ready).await;
    cafe.crash();
    cafe.configure("services: {},");
    cafe.boot().await;
    eventually("order to stop", || cafe.read("journal").contains("asked").then_some(())).await;
    assert_eq!(cafe.service("a").await.state, State::Stopping, "it is shown until it is gone");
    cafe.configure(&known);
    assert!(cafe.cli(&["reload"]).status.success());

    let _gate = cafe.open_gate("gate");

    let after = cafe.wait_state("a", State::Ready).await;
    assert_ne!(after.pid, before.pid);
    assert_eq!(cafe.read("journal"), "started\nasked\nended\nstarted\n");
    cafe.act(Verb::Stop, "a").await;
    assert_eq!(cafe.service("a").await.exits.len(), 1, "nothing ended it but this");
}

#[tokio::test]
async fn a_number_that_means_another_process_now_is_let_alone() {
    let mut cafe = Cafe::start(&format!("services: {{ \"a\": (command: {}) }},", sh(IDLE))).await;
    let a = cafe.wait_state("a", State::Running).await;
    cafe.crash();
    kill(a.pid.unwrap(), Signal::SIGKILL);
    // As if the kernel had given its number to a stranger: this test.
    let stranger = std::process::id();
    let journal = cafe.path("state/run/running");
    let text = std::fs::read_to_string(&journal).unwrap();
    let recycled = text.replace(&format!(" {} ", a.pid.unwrap()), &format!(" {stranger} "));
    assert_ne!(recycled, text);
    std::fs::write(&journal, recycled).unwrap();

    cafe.boot().await;

    let again = cafe.wait_state("a", State::Running).await;
    assert_ne!(again.pid, Some(stranger));
    cafe.act(Verb::Stop, "a").await;
    assert_eq!(cafe.processes(), []);
}

#[tokio::test]
async fn a_torn_journal_is_no_obstacle() {
    let mut cafe = Cafe::start(&format!("services: {{ \"a\": (command: {}) }},", sh(IDLE))).await;
    let a = cafe.wait_state("a", State::Running).await;
    cafe.crash();
    let journal = cafe.path("state/run/running");
    let mut bytes = std::fs::read(&journal).unwrap();
    bytes.extend_from_slice(b"garbage \xff\0\n+ a 7 ");
    std::fs::write(&journal, bytes).unwrap();
    cafe.boot().await;
    assert_eq!(all_up(&cafe, 1).await["a"], a.pid.unwrap());
}
