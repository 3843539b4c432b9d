//! What is known of services, whatever they are just doing.

use cafe::net::control::Verb;
use cafe::types::exit::Cause;
use cafe::types::state::State;
use cafe::types::status::{Service, Status};
use nix::sys::signal::Signal;

use super::upgrade;
use crate::harness::{Cafe, IDLE, eventually, kill, notifier_in, sh};

/// All that an upgrade must not change.
fn steady(status: &Status) -> Vec<Service> {
    let without_measures = |service: &Service| {
        let mut service = service.clone();
        (service.state_ms, service.uptime_ms, service.memory_bytes) = (0, 0, 0);
        service.cpu_percent = 0.0;
        for instance in &mut service.instances {
            (instance.memory_bytes, instance.cpu_percent) = (0, 0.0);
        }
        service
    };
    status.services.iter().map(without_measures).collect()
}

#[tokio::test]
async fn nothing_of_any_state_changes() {
    let (idle, notifier) = (sh(IDLE), sh(&notifier_in("orders")));
    let mut cafe = Cafe::new(&format!(
        r#"services: {{
            "idle": (command: {idle}),
            "proved": (command: {proved}, ready: fd(3), health: (probe: tcp("127.0.0.1:1"), every: "1h")),
            "told": (command: {notifier}, ready: notify),
            "fails": (command: ["false"], backoff: (min: "10m", max: "10m"), intensity: (restarts: 0, within: "1s")),
            "gone": (command: ["bash", "-c", "exit 3"], restart: temporary),
            "by_hand": (command: {idle}, start: manual),
            "halted": (command: {idle}),
            "done": (command: ["true"], kind: oneshot),
            "hourly": (command: ["true"], kind: timer("every 1h")),
            "first": (command: {idle}),
            "second": (command: {idle}, requires: ["first"]),
            "waits": (command: {idle}, requires: ["by_hand"]),
        }},
        groups: {{ "pair": (strategy: one_for_all, services: ["first", "second"]) }},"#,
        proved = sh(&format!("echo >&3; {IDLE}")),
    ));
    let mut orders = cafe.orders("orders");
    orders.say("READY=1\nSTATUS=well");
    cafe.boot().await;
    cafe.act(Verb::Stop, "halted").await;
    let crashed = cafe.wait_state("idle", State::Running).await.pid.unwrap();
    kill(crashed, Signal::SIGKILL);
    let settled = |status: &Status| {
        let is = |name: &str, state| {
            status.services.iter().any(|it| it.name.as_str() == name && it.state == state)
        };
        let all = [
            ("idle", State::Running),
            ("proved", State::Ready),
            ("told", State::Ready),
            ("fails", State::Backoff),
            ("gone", State::Failed),
            ("by_hand", State::Stopped),
            ("halted", State::Stopped),
            ("done", State::Done),
            ("hourly", State::Waiting),
            ("first", State::Running),
            ("second", State::Running),
            ("waits", State::Waiting),
        ];
        let restarted = status.services.iter().any(|it| it.restarts == 1 && !it.exits.is_empty());
        let heard = status.services.iter().any(|it| it.status_text.is_some());
        (restarted && heard && all.into_iter().all(|(name, state)| is(name, state))).then_some(())
    };
    cafe.wait_for("all settled", settled).await;
    // Last lines come a little later than the end they belong to.
    cafe.wait_event("the exit of idle", |event| {
        event.kind.subject().filter(|name| *name == "gone").map(|_| ())
    })
    .await;
    let (before, processes) = (cafe.status().await, cafe.processes());

    for count in 1..=3 {
        let came = upgrade(&cafe);
        assert_eq!(came.failed, None);
        let after = cafe.status().await;
        for (is, was) in steady(&after).iter().zip(steady(&before)) {
            assert_eq!(*is, was);
        }
        assert_eq!(after.groups, before.groups);
        assert_eq!(cafe.processes(), processes);
        let (was, is) = (&before.daemon, &after.daemon);
        assert_eq!((is.pid, is.since, is.upgrades), (was.pid, was.since, count));
        assert_eq!(is.privileges, was.privileges);
    }

    // And it is as before to whoever acts on it.
    orders.say("STATUS=still heard");
    let heard = |told: &Service| told.status_text.as_deref() == Some("still heard");
    cafe.wait_service("told", "heard", heard).await;
    cafe.act(Verb::Start, "by_hand").await;
    cafe.wait_state("waits", State::Running).await;
    let first = cafe.service("first").await.pid;
    kill(first.unwrap(), Signal::SIGKILL);
    let pair = cafe.wait_service("second", "back", |it| it.restarts == 1 && it.state.is_up()).await;
    assert_ne!(
        pair.pid,
        before.services.iter().find(|it| it.name.as_str() == "second").unwrap().pid
    );
    cafe.wait_service("idle", "1", |it| it.restarts == 1).await;
}

#[tokio::test]
async fn what_starts_stops_or_ends_just_then_goes_on() {
    let starts =
        |gate: &str, say: &str| sh(&format!("echo began >&2; read go <{gate}; {say}; {IDLE}"));
    // Told to end it waits for its gate.
    let stops = sh(
        "trap 'read go <gate-stop; exit 0' TERM; echo >&3; exec 9<>never; while :; do read -t 1 nothing <&9; done",
    );
    let mut cafe = Cafe::new(&format!(
        r#"services: {{
            "fd": (command: {fd}, ready: fd(3)),
            "line": (command: {line}, ready: log("^up$")),
            "notify": (command: {notify}, ready: notify),
            "stops": (command: {stops}, ready: fd(3), stop: (timeout: "10m")),
            "late": (command: {late}, ready: fd(3), ready_timeout: "3s", restart: temporary),
        }},"#,
        fd = starts("gate-fd", "echo >&3"),
        late = starts("never", "echo >&3"),
        line = starts("gate-line", "echo up"),
        notify = sh(&notifier_in("orders")),
    ));
    for gate in ["gate-fd", "gate-line", "gate-stop"] {
        cafe.fifo(gate);
    }
    let mut orders = cafe.orders("orders");
    cafe.boot().await;
    cafe.wait_state("stops", State::Ready).await;
    for name in ["fd", "line", "notify"] {
        cafe.wait_state(name, State::Starting).await;
    }
    let stopping = cafe.cli(&["stop", "stops", "--timeout", "1ms"]);
    assert_eq!(stopping.status.code(), Some(7), "it takes its time");
    let before = cafe.wait_state("stops", State::Stopping).await.pid;

    upgrade(&cafe);

    assert_eq!(cafe.service("stops").await.pid, before);
    orders.say("READY=1");
    cafe.wait_state("notify", State::Ready).await;
    let late = cafe.wait_state("late", State::Failed).await;
    assert!(late.reason.contains("not ready within 3.0s"), "{}", late.reason);
    upgrade(&cafe);
    let gates = ["gate-fd", "gate-line", "gate-stop"].map(|gate| cafe.open_gate(gate));
    assert_eq!(cafe.wait_state("fd", State::Ready).await.reason, "wrote to descriptor 3");
    assert_eq!(cafe.wait_state("line", State::Ready).await.reason, "wrote `up`");
    let stopped = cafe.wait_state("stops", State::Stopped).await;
    assert_eq!(stopped.exits[0].cause, Cause::Code(0));
    drop(gates);
}

#[tokio::test]
async fn a_process_that_ends_just_then_is_noticed_with_its_status() {
    let services: String = (0..10)
        .map(|number| {
            let backoff =
                r#"backoff: (min: "0ms", max: "0ms"), intensity: (restarts: 1000, within: "1s")"#;
            format!("\"s{number}\": (command: {}, {backoff}),", sh(IDLE))
        })
        .collect();
    let cafe = Cafe::start(&format!("services: {{ {services} }},")).await;
    for round in 1..=10 {
        let all_up = |status: &Status| {
            let up =
                status.services.iter().filter(|it| it.state.is_up() && it.restarts == round - 1);
            (up.clone().count() == 10).then(|| up.filter_map(|it| it.pid).collect::<Vec<_>>())
        };
        let pids = cafe.wait_for("all up", all_up).await;
        let mut upgrading =
            cafe.command().args(["upgrade"]).stdout(std::process::Stdio::null()).spawn().unwrap();
        for pid in pids {
            kill(pid, Signal::SIGKILL);
            std::thread::yield_now();
        }
        assert!(upgrading.wait().unwrap().success(), "{}", cafe.console());
    }
    let ten = |status: &Status| {
        status.services.iter().all(|it| it.restarts == 10 && it.state.is_up()).then_some(())
    };
    cafe.wait_for("each came back ten times", ten).await;
    for number in 0..10 {
        let service = cafe.service(&format!("s{number}")).await;
        let killed = Cause::Signal { signal: 9, core: false };
        assert!(service.exits.iter().all(|exit| exit.cause == killed), "{:?}", service.exits);
        assert_eq!(service.exits.len(), 10);
    }
    assert_eq!(cafe.processes().len(), 10, "none twice");
}

#[tokio::test]
async fn the_config_in_force_stays_in_force_and_the_file_is_looked_at() {
    let idle = sh(IDLE);
    let cafe = Cafe::start(&format!("services: {{ \"a\": (command: {idle}) }},")).await;
    let before = cafe.wait_state("a", State::Running).await.pid;
    cafe.configure("services: { \"a\": (comand: [\"true\"]) },");
    let refused = |status: &Status| status.daemon.config_error.clone();
    let error = cafe.wait_for("the refusal", refused).await;

    upgrade(&cafe);

    let status = cafe.status().await;
    assert_eq!(status.daemon.config_error, Some(error));
    assert_eq!(status.services[0].pid, before);
    cafe.configure(&format!("services: {{ \"a\": (command: {idle}), \"b\": (command: {idle}) }},"));
    cafe.wait_state("b", State::Running).await;
    assert_eq!(cafe.service("a").await.pid, before);
    eventually("no error", || (!cafe.console().is_empty()).then_some(())).await;
    assert_eq!(cafe.status().await.daemon.config_error, None);
}
