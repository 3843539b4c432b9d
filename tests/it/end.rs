//! The end of the daemon: in order, at once when nothing is left, and with everything that services started.

use std::time::Duration;

use cafe::types::state::State;
use nix::sys::signal::Signal;

use crate::harness::{Cafe, IDLE, eventually, is_gone, kill, sh, skip};

/// Ends a daemon with three services by a signal; gives how long that took.
async fn end_by(signal: Signal) -> Duration {
    let service = |name: &str, fields: &str| {
        let script = sh(&format!("trap 'echo {name} >>journal; exit 0' TERM; echo >&3; {IDLE}"));
        format!("\"{name}\": (command: {script}, ready: fd(3), {fields}),\n")
    };
    let services = [
        service("a", "start: auto"),
        service("b", "requires: [\"a\"]"),
        service("c", "after: [\"b\"]"),
    ];
    let mut cafe = Cafe::start(&format!("services: {{ {} }},", services.concat())).await;
    cafe.wait_state("c", State::Ready).await;
    let ended = cafe.end(signal).await;
    assert!(ended.status.success(), "{}", ended.status);
    assert_eq!(cafe.read("journal"), "c\nb\na\n");
    assert_eq!(cafe.processes(), []);
    assert!(cafe.console().contains("everything has stopped"));
    assert!(!cafe.path("control.sock").try_exists().unwrap(), "its socket is gone");
    ended.took
}

#[tokio::test]
async fn by_sigterm_in_order_and_at_once_when_nothing_is_left() {
    let took = end_by(Signal::SIGTERM).await;
    // Far below the 10 s that each of them had.
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[tokio::test]
async fn by_ctrl_c_just_so() {
    end_by(Signal::SIGINT).await;
}

#[tokio::test]
async fn by_the_command_line_just_so() {
    let mut cafe = Cafe::start(&format!("services: {{ \"a\": (command: {}) }},", sh(IDLE))).await;
    cafe.wait_state("a", State::Running).await;
    let output = cafe.cli(&["shutdown", "-y"]);
    assert!(output.status.success(), "{output:?}");
    assert!(cafe.ended().await.success());
    assert_eq!(cafe.processes(), []);
}

#[tokio::test]
async fn in_the_middle_of_starts_and_backoffs() {
    let mut cafe = Cafe::start(&format!(
        r#"services: {{
            "starting": (command: {}, ready: fd(3)),
            "waiting": (command: ["true"], requires: ["starting"]),
            "backoff": (command: ["false"], backoff: (min: "360d", max: "360d")),
            "storm": (command: ["false"], backoff: (min: "0ms", max: "1ms")),
            "timer": (command: ["true"], kind: timer("every 10ms")),
        }},"#,
        sh(IDLE)
    ))
    .await;
    cafe.wait_state("backoff", State::Backoff).await;
    cafe.wait_service("storm", "restarting", |storm| storm.restarts > 3).await;
    cafe.wait_service("starting", "with a process", |starting| starting.pid.is_some()).await;
    let ended = cafe.end(Signal::SIGTERM).await;
    assert!(ended.status.success(), "{}", ended.status);
    assert!(ended.took < Duration::from_secs(5), "{:?}", ended.took);
    assert!(!cafe.console().contains("unexpected change of state"), "{}", cafe.console());
}

/// A service that does all it can to outlive its stop: it ignores TERM itself, and leaves a child in its group, one in
/// a session of its own, and a grandchild that was forked twice and belongs to nobody. Each writes its pid.
const ESCAPES: &str = "trap '' TERM; mkdir pids; \
    hide() { sh -c \"echo \\$\\$ >pids/$1.new; mv pids/$1.new pids/$1; exec sleep infinity\"; }; \
    hide child & \
    setsid sh -c 'trap \"\" TERM; echo $$ >pids/session.new; mv pids/session.new pids/session; exec sleep infinity' & \
    (setsid sh -c '(trap \"\" TERM HUP; sh -c \"echo \\$\\$ >pids/orphan.new; mv pids/orphan.new pids/orphan; exec sleep infinity\" >/dev/null 2>&1 </dev/null &)' &) ; \
    echo $$ >pids/main; ";

async fn nothing_escapes(cgroups: bool, stop_by_hand: bool) {
    let script = sh(&format!("{ESCAPES}{IDLE}"));
    let mut cafe = Cafe::start(&format!(
        "services: {{ \"a\": (command: {script}, stop: (timeout: \"300ms\")) }}, cgroups: {cgroups},"
    ))
    .await;
    let names = ["main", "child", "session", "orphan"];
    let mut pids = Vec::new();
    for name in names {
        let file = format!("pids/{name}");
        let pid = eventually(name, || cafe.read(&file).trim().parse::<u32>().ok()).await;
        assert!(!is_gone(pid), "{name} runs");
        pids.push(pid);
    }
    if stop_by_hand {
        cafe.act(cafe::net::control::Verb::Stop, "a").await;
        let left: Vec<_> = names.iter().zip(&pids).filter(|(_, pid)| !is_gone(**pid)).collect();
        assert!(left.is_empty(), "left after the stop: {left:?}");
    }
    let ended = cafe.end(Signal::SIGTERM).await;
    assert!(ended.status.success(), "{}", ended.status);
    let left: Vec<_> = names.iter().zip(&pids).filter(|(_, pid)| !is_gone(**pid)).collect();
    assert!(left.is_empty(), "left after the end: {left:?}");
}

#[tokio::test]
async fn nothing_escapes_a_stop_with_cgroups() {
    nothing_escapes(true, true).await;
}

#[tokio::test]
async fn nothing_escapes_a_stop_without_cgroups() {
    nothing_escapes(false, true).await;
}

#[tokio::test]
async fn nothing_escapes_the_end_with_cgroups() {
    nothing_escapes(true, false).await;
}

#[tokio::test]
async fn nothing_escapes_the_end_without_cgroups() {
    nothing_escapes(false, false).await;
}

/// A daemon of the old kind: the main process ends, a child of it goes on. What it left behind is ended, whoever
/// ended the main process.
#[tokio::test]
async fn what_a_main_process_leaves_behind_ends_with_it() {
    for cgroups in [true, false] {
        let script = sh(
            "setsid sleep infinity >/dev/null 2>&1 & echo $! >left.new; mv left.new left; exit 0",
        );
        let cafe = Cafe::start(&format!(
            "services: {{ \"a\": (command: {script}, restart: temporary) }}, cgroups: {cgroups},"
        ))
        .await;
        let a = cafe.wait_state("a", State::Done).await;
        let left: u32 = cafe.read("left").trim().parse().unwrap();
        assert!(is_gone(left), "cgroups: {cgroups}");
        let trigger = &a.exits[0].trigger;
        assert!(trigger.contains("also ended: 1 process left behind"), "{trigger}");
    }
}

/// It left its session, its environment and its parents: the cgroup alone knows it.
#[tokio::test]
async fn what_the_cgroup_alone_knows_is_asked_and_counted_too() {
    let escapee = format!(
        "trap 'echo asked >asked; exit 0' TERM; echo $$ >left.new; mv left.new left; {IDLE}"
    );
    let script = format!(
        "env -i setsid bash -c {escapee:?} & until test -e left; do sleep 0.01; done; exit 0"
    );
    let script = sh(&script.replace("$$", "\\$\\$"));
    let cafe =
        Cafe::start(&format!("services: {{ \"a\": (command: {script}, restart: temporary) }},"))
            .await;
    let a = cafe.wait_state("a", State::Done).await;
    let left: u32 = cafe.read("left").trim().parse().unwrap();
    if !is_gone(left) {
        kill(left, Signal::SIGKILL);
        skip("no cgroup is delegated here");
        return;
    }
    assert_eq!(cafe.read("asked"), "asked\n");
    let trigger = &a.exits[0].trigger;
    assert!(trigger.contains("also ended: 1 process left behind"), "{trigger}");
}
