//! What happens to a service while two generations of it live.

use std::time::Duration;

use cafe::net::control::{Outcome, Verb};
use cafe::types::event::Kind;
use cafe::types::exit::Cause;
use cafe::types::state::State;
use nix::sys::signal::Signal;

use super::{begin, has_gone_from, logs, next, one_gated};
use crate::harness::{Cafe, IDLE, eventually, is_gone, kill, sh, told};

#[tokio::test]
async fn the_next_takes_over_when_the_last_one_crashes() {
    let (cafe, before) = one_gated("exit", "", "").await;
    let next = begin(&cafe).await;
    kill(before.pid.unwrap(), Signal::SIGKILL);
    let web = cafe.wait_state("web", State::Starting).await;
    assert_eq!(
        (web.pid, web.instances.len()),
        (Some(next.pid), 1),
        "it is waited for, nothing else"
    );

    let _gate = cafe.open_gate("gate");

    let web = cafe.wait_state("web", State::Ready).await;
    assert_eq!((web.pid, web.instances[0].generation), (Some(next.pid), 2));
    assert!(matches!(web.exits[0].cause, Cause::Signal { signal: 9, .. }), "{:?}", web.exits[0]);
    assert_eq!(cafe.processes().len(), 1);
    // And it is supervised like any other.
    std::fs::remove_file(cafe.path("gated")).unwrap();
    kill(next.pid, Signal::SIGKILL);
    cafe.wait_service("web", "again", has_gone_from(next.pid)).await;
}

#[tokio::test]
async fn both_crash() {
    let (cafe, before) = one_gated("exit", "", "").await;
    let next = begin(&cafe).await;
    std::fs::remove_file(cafe.path("gated")).unwrap();
    kill(before.pid.unwrap(), Signal::SIGKILL);
    kill(next.pid, Signal::SIGKILL);
    let web = cafe
        .wait_service("web", "a third", |web| {
            web.state == State::Ready && web.instances[0].generation == 3
        })
        .await;
    assert_eq!((web.instances.len(), cafe.processes().len()), (1, 1));
    assert_eq!(cafe.service("web").await.exits.len(), 2);
}

#[tokio::test]
async fn a_signal_reaches_both() {
    let (cafe, before) = one_gated("exit", "restart: temporary", "").await;
    let next = begin(&cafe).await;
    cafe.act(Verb::Kill { signal: 9 }, "web").await;
    eventually("end of both", || (is_gone(before.pid.unwrap()) && is_gone(next.pid)).then_some(()))
        .await;
    cafe.wait_state("web", State::Failed).await;
    assert_eq!(cafe.service("web").await.exits.len(), 2);
    assert_eq!(cafe.processes(), []);
}

#[tokio::test]
async fn a_stop_ends_both() {
    for graceful in [true, false] {
        let told = if graceful { "echo asked; exit" } else { "" };
        let (cafe, before) = one_gated(told, "stop: (timeout: \"300ms\")", "").await;
        let next = begin(&cafe).await;
        cafe.act(Verb::Stop, "web").await;
        assert!(is_gone(before.pid.unwrap()) && is_gone(next.pid));
        let web = cafe.service("web").await;
        assert_eq!((web.state, web.instances.len(), web.exits.len()), (State::Stopped, 0, 2));
        if graceful {
            eventually("both asked", || (logs(&cafe).matches("asked").count() == 2).then_some(()))
                .await;
        }
        assert_eq!(cafe.processes(), []);
    }
}

#[tokio::test]
async fn an_ordinary_restart_replaces_both() {
    let (cafe, before) = one_gated("exit", "", "").await;
    let next = begin(&cafe).await;
    std::fs::remove_file(cafe.path("gated")).unwrap();
    let acted = cafe.act(Verb::Restart, "web").await;
    assert_eq!(acted.services[0].outcome, Outcome::Changed);
    assert!(is_gone(before.pid.unwrap()) && is_gone(next.pid));
    assert_eq!(cafe.service("web").await.instances[0].generation, 3);
    assert_eq!(cafe.processes().len(), 1);
}

#[tokio::test]
async fn the_end_of_cafe_and_a_config_without_it_end_both() {
    let (mut cafe, before) = one_gated("exit", "", "").await;
    let next = begin(&cafe).await;
    cafe.configure("services: {},");
    told(&cafe.cli(&["reload"])).expect(0, &[]);
    let gone = || (is_gone(before.pid.unwrap()) && is_gone(next.pid)).then_some(());
    eventually("end of both", gone).await;

    let (mut other, before) = one_gated("exit", "", "").await;
    let next = begin(&other).await;
    assert!(other.end(Signal::SIGTERM).await.status.success());
    assert!(is_gone(before.pid.unwrap()) && is_gone(next.pid));
    assert!(cafe.end(Signal::SIGTERM).await.status.success());
}

#[tokio::test]
async fn a_second_overlap_is_refused_or_waits() {
    let told_to_end = "read go <drained; exit";
    let (cafe, first) = one_gated(told_to_end, "", "").await;
    cafe.fifo("drained");
    let second = begin(&cafe).await;
    told(&cafe.cli(&["restart", "--overlap", "web"])).expect(1, &["being replaced already"]);
    let gate = cafe.open_gate("gate");
    let web = cafe.wait_service("web", "the second", |web| web.pid == Some(second.pid)).await;
    assert_eq!((web.state, web.instances.len()), (State::Ready, 2), "the first has not ended");
    assert!(!is_gone(first.pid.unwrap()));
    assert!(web.reason.ends_with("; its last generation is ending"), "{}", web.reason);

    // Now one waits for that.
    std::fs::remove_file(cafe.path("gated")).unwrap();
    let acted = cafe.client.act(Verb::Overlap, "web", None, Duration::ZERO).await.unwrap();
    assert_eq!(acted.services[0].outcome, Outcome::Pending);
    let drained = cafe.open_gate("drained");
    let third = cafe
        .wait_service("web", "the third", |web| {
            web.instances.first().is_some_and(|it| it.generation == 3)
        })
        .await;
    assert!(is_gone(first.pid.unwrap()) && third.state == State::Ready);
    drop((gate, drained));
    let _drained = cafe.open_gate("drained");
    cafe.wait_service("web", "alone", has_gone_from(second.pid)).await;
    let _drained = cafe.open_gate("drained");
    cafe.act(Verb::Stop, "web").await;
}

#[tokio::test]
async fn a_crash_while_the_last_one_ends_waits_for_its_end() {
    let (cafe, first) = one_gated("read go <drained; exit", "", "").await;
    cafe.fifo("drained");
    std::fs::remove_file(cafe.path("gated")).unwrap();
    cafe.act(Verb::Overlap, "web").await;
    let second = cafe.service("web").await.pid.unwrap();
    kill(second, Signal::SIGKILL);
    let web = cafe.wait_service("web", "down", |web| web.pid.is_none()).await;
    assert_eq!(web.state, State::Starting, "{web:?}");
    assert!(web.reason.contains("SIGKILL"), "{}", web.reason);
    assert!(!is_gone(first.pid.unwrap()));
    assert_eq!(cafe.processes().len(), 1);

    let _drained = cafe.open_gate("drained");

    let third = cafe.wait_service("web", "again", has_gone_from(second)).await;
    assert!(is_gone(first.pid.unwrap()));
    assert_eq!(third.instances[0].generation, 3);
    let _drained = cafe.open_gate("drained");
    cafe.act(Verb::Stop, "web").await;
}

#[tokio::test]
async fn what_the_last_one_leaves_behind_goes_and_what_the_next_one_has_stays() {
    for cgroups in [true, false] {
        // One with its mark, and one that only its cgroup or its parent tells.
        let script = format!(
            "setsid sleep infinity & echo $! >child.$$; \
             setsid env -u CAFE_SERVICE sleep infinity & echo $! >hidden.$$; echo >&3; {IDLE}"
        );
        let cafe = Cafe::start(&format!(
            "services: {{ \"web\": (command: {}, ready: fd(3)) }}, cgroups: {cgroups},",
            sh(&script)
        ))
        .await;
        let mut last = cafe.wait_state("web", State::Ready).await.pid.unwrap();
        let children = |main: u32| {
            ["child", "hidden"]
                .map(|file| cafe.read(format!("{file}.{main}")).trim().parse::<u32>().unwrap())
        };
        for _ in 0..3 {
            let next = cafe.act(Verb::Overlap, "web").await.services[0].pid.unwrap();
            cafe.wait_service("web", "alone", has_gone_from(last)).await;
            let [child, hidden] = children(last);
            assert!(is_gone(child) && is_gone(last), "cgroups: {cgroups}");
            // Without cgroups nothing tells it once its parent has gone.
            assert!(is_gone(hidden) || !cgroups);
            let [child, own] = children(next);
            assert!(!is_gone(child) && !is_gone(own), "cgroups: {cgroups}");
            if !cgroups {
                kill(hidden, Signal::SIGKILL);
            }
            last = next;
        }
        let [_, hidden] = children(last);
        cafe.act(Verb::Stop, "web").await;
        assert_eq!(cafe.processes(), []);
        kill(hidden, Signal::SIGKILL);
    }
}

#[tokio::test]
async fn a_changed_config_overlaps_where_it_says_so() {
    let config = |text: &str| {
        let script =
            sh(&format!("echo began $$; test -e gated && read go <gate; echo >&3; {IDLE}"));
        format!(
            "services: {{ \"web\": (command: {script}, ready: fd(3), overlap: true, \
             env: {{ \"TEXT\": \"{text}\" }}) }},"
        )
    };
    let cafe = Cafe::start(&config("one")).await;
    cafe.fifo("gate");
    let first = cafe.wait_state("web", State::Ready).await;
    std::fs::write(cafe.path("gated"), "").unwrap();
    cafe.configure(&config("two"));
    told(&cafe.cli(&["reload"])).expect(0, &[]);
    let second = next(&cafe).await;
    let text = |pid: u32| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
        let environment = String::from_utf8_lossy(&environment).into_owned();
        environment.split('\0').find_map(|entry| entry.strip_prefix("TEXT=")).unwrap().to_owned()
    };
    assert_eq!((text(first.pid.unwrap()), text(second.pid)), ("one".into(), "two".into()));

    // Changed once more meanwhile: the next but one follows by itself.
    cafe.configure(&config("three"));
    told(&cafe.cli(&["reload"])).expect(0, &[]);
    std::fs::remove_file(cafe.path("gated")).unwrap();
    let _gate = cafe.open_gate("gate");
    let third = cafe
        .wait_service("web", "the third", |web| {
            web.instances.len() == 1 && web.instances[0].generation == 3
        })
        .await;
    assert_eq!(text(third.pid.unwrap()), "three");
    let states = cafe.events().await.into_iter().filter(
        |event| matches!(&event.kind, Kind::State { service, .. } if service.as_str() == "web"),
    );
    assert_eq!(states.count(), 3, "it was ready all the time");
    // By hand it overlaps as well, and its log has all of them.
    cafe.act(Verb::Restart, "web").await;
    cafe.wait_service("web", "alone", has_gone_from(third.pid.unwrap())).await;
    assert_eq!(cafe.service("web").await.instances[0].generation, 4);
    eventually("all lines", || (logs(&cafe).matches("began").count() == 4).then_some(())).await;
}
