//! Services that end while no daemon is there: their policies hold as for any other end.

use cafe::types::event::Kind;
use cafe::types::exit::Cause;
use cafe::types::state::State;
use cafe::types::status::Service;
use nix::sys::signal::Signal;

use crate::harness::{Cafe, IDLE, eventually, is_gone, kill, sh};

/// A daemon that was killed, these services of it after it, and the next daemon.
async fn killed_and_back(sections: &str, running: &[&str], ending: &[&str]) -> (Cafe, Vec<u32>) {
    let mut cafe = Cafe::start(sections).await;
    let mut pids = Vec::new();
    for name in running {
        let up = |service: &Service| service.state.is_up() && service.pid.is_some();
        pids.push(cafe.wait_service(name, "up", up).await.pid.unwrap());
    }
    cafe.crash();
    for name in ending {
        let pid = pids[running.iter().position(|known| known == name).unwrap()];
        kill(pid, Signal::SIGKILL);
        eventually("its end", || is_gone(pid).then_some(())).await;
    }
    cafe.boot().await;
    (cafe, pids)
}

/// What the daemon says of an end that nobody saw.
fn assert_missed(service: &Service, pid: u32) {
    let exit = &service.exits[0];
    assert_eq!((exit.generation, exit.pid, exit.cause), (1, Some(pid), Cause::Unknown));
    assert_eq!(exit.trigger, "ended by itself while cafe was not there");
}

#[tokio::test]
async fn policies_hold_for_what_ended_while_nobody_looked() {
    let idle = sh(IDLE);
    let far = "backoff: (min: \"360d\", max: \"360d\")";
    let names = ["permanent", "transient", "temporary", "waits", "gives_up", "stays"];
    let (cafe, pids) = killed_and_back(
        &format!(
            "services: {{
                \"permanent\": (command: {idle}, restart: permanent),
                \"transient\": (command: {idle}, restart: transient),
                \"temporary\": (command: {idle}, restart: temporary),
                \"waits\": (command: {idle}, {far}),
                \"gives_up\": (command: {idle}, intensity: (restarts: 0, within: \"1h\", then: give_up)),
                \"stays\": (command: {idle}),
            }},"
        ),
        &names,
        &names[..5],
    )
    .await;
    for (name, pid) in ["permanent", "transient"].into_iter().zip(&pids) {
        let again = |it: &Service| it.state == State::Running && it.pid != Some(*pid);
        let again = cafe.wait_service(name, "again", again).await;
        assert_missed(&again, *pid);
        assert_eq!((again.restarts, again.instances[0].generation), (1, 2), "{name}");
    }
    for (name, state, pid) in [
        ("temporary", State::Failed, pids[2]),
        ("waits", State::Backoff, pids[3]),
        ("gives_up", State::Failed, pids[4]),
    ] {
        let rests = cafe.wait_state(name, state).await;
        assert_missed(&rests, pid);
        assert!(rests.reason.contains("while cafe was not there"), "{}", rests.reason);
    }
    assert_eq!(cafe.service("stays").await.pid, Some(pids[5]));
    assert_eq!(cafe.processes().len(), 3);

    let told = |event: &cafe::types::event::Event| match &event.kind {
        Kind::Exit { service, post_mortem } if service.as_str() == "temporary" => {
            Some(post_mortem.pid)
        }
        _ => None,
    };
    let events = cafe.events().await;
    let told: Vec<_> = events.iter().filter_map(told).collect();
    assert_eq!(told, [Some(pids[2])]);
    assert!(!cafe.console().contains("unexpected change of state"), "{}", cafe.console());
}

#[tokio::test]
async fn a_group_goes_with_a_member_that_ended_while_nobody_looked() {
    let idle = sh(IDLE);
    let names = ["a", "b"];
    let (cafe, before) = killed_and_back(
        &format!(
            "services: {{
                \"a\": (command: {idle}),
                \"b\": (command: {idle}),
            }},
            groups: {{ \"g\": (strategy: one_for_all, services: [\"a\", \"b\"]) }},"
        ),
        &names,
        &["a"],
    )
    .await;
    for (name, pid) in names.into_iter().zip(before) {
        let again = |it: &Service| it.state.is_up() && it.pid.is_some_and(|now| now != pid);
        cafe.wait_service(name, "again", again).await;
        assert!(is_gone(pid));
    }
    assert_eq!(cafe.processes().len(), 2, "one each");
    assert!(!cafe.console().contains("unexpected change of state"), "{}", cafe.console());
}

#[tokio::test]
async fn a_timer_whose_run_ended_while_nobody_looked_waits_for_the_next() {
    let (cafe, pids) = {
        let timer = format!("\"t\": (command: {}, kind: timer(\"every 360d\"))", sh(IDLE));
        let mut cafe = Cafe::start(&format!("services: {{ {timer} }},")).await;
        cafe.wait_service("t", "armed", |t| t.next_start.is_some()).await;
        assert!(cafe.cli(&["start", "t"]).status.success());
        let pid = cafe.wait_service("t", "a run", |t| t.pid.is_some()).await.pid.unwrap();
        cafe.crash();
        kill(pid, Signal::SIGKILL);
        eventually("its end", || is_gone(pid).then_some(())).await;
        cafe.boot().await;
        (cafe, pid)
    };
    let armed = |t: &Service| t.next_start.is_some() && !t.exits.is_empty();
    let armed = cafe.wait_service("t", "armed again", armed).await;
    assert_missed(&armed, pids);
    assert_eq!(cafe.processes(), []);
}

#[tokio::test]
async fn after_another_boot_everything_simply_starts() {
    let mut cafe = Cafe::start(&format!("services: {{ \"a\": (command: {}) }},", sh(IDLE))).await;
    let a = cafe.wait_state("a", State::Running).await;
    cafe.crash();
    kill(a.pid.unwrap(), Signal::SIGKILL);
    let journal = cafe.path("state/run/running");
    let text = std::fs::read_to_string(&journal).unwrap();
    let (head, rest) = text.split_once('\n').unwrap();
    let boot = head.rsplit(' ').next().unwrap();
    let other = format!("{}\n{rest}", head.replace(boot, "11111111-2222-3333-4444-555555555555"));
    std::fs::write(&journal, other).unwrap();
    eventually("its end", || is_gone(a.pid.unwrap()).then_some(())).await;

    cafe.boot().await;

    let again = cafe.wait_state("a", State::Running).await;
    assert_eq!((again.exits.len(), again.restarts, again.instances[0].generation), (0, 0, 1));
}
