//! Chaos: services of every kind, killed, commanded and reconfigured at random. Whatever happens, nothing is
//! doubled; once it is quiet the status is what the kernel says, and the daemon is as large as before.
//!
//! The seed is printed; `CAFE_CHAOS_SEED` sets it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use cafe::net::Error;
use cafe::net::control::Verb;
use cafe::types::state::State;
use cafe::types::status::Service;
use fastrand::Rng;
use nix::sys::signal::Signal;

use crate::harness::{Cafe, IDLE, eventually, is_gone, kill, sh};

/// How many services there are.
const SERVICES: usize = 60;

/// How long they are tormented.
const TORMENT: Duration = Duration::from_secs(8);

/// Time between two blows; without it the daemon would only be asked, never left to work.
const PACE: Duration = Duration::from_millis(15);

/// Descriptors the daemon may have more than before: of connections that are just being closed.
const SPARE_DESCRIPTORS: usize = 12;

/// Memory it may have more than before: post-mortems, events and log buffers fill up to their bounds.
const SPARE_MEMORY: u64 = 48 << 20;

#[tokio::test]
async fn under_chaos_nothing_is_doubled_and_afterwards_all_is_as_before() {
    let seed = std::env::var("CAFE_CHAOS_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    say(&format!("CAFE_CHAOS_SEED={seed}"));
    let mut rng = Rng::with_seed(seed);

    let mut cafe = Cafe::start(&calm()).await;
    all_run(&cafe).await;
    // So that its log file is open before and after.
    let has_log = |number| !cafe.read(format!("state/logs/{}/current", name(number))).is_empty();
    eventually("a line of each", || (0..SERVICES).all(has_log).then_some(())).await;
    let (descriptors, memory) = (descriptors(&cafe), memory(&cafe));

    let end = Instant::now() + TORMENT;
    let mut pace = tokio::time::interval(PACE);
    let mut blows = 0;
    cafe.configure(&wild(&mut rng));
    while Instant::now() < end {
        pace.tick().await;
        blow(&cafe, &mut rng).await;
        blows += 1;
        if blows % 8 == 0 {
            nothing_is_doubled(&cafe);
        }
    }
    say(&format!("{blows} blows"));

    cafe.configure(&calm());
    let applied = cafe.client.reload(false).await.expect("a good config");
    assert!(applied.applied);
    for number in 0..SERVICES {
        // Stopped by hand it may be; then nothing else starts it.
        tolerant(cafe.client.act(Verb::Start, &name(number), None, Duration::ZERO).await.map(drop));
    }
    let status = all_run(&cafe).await;
    // A process that has just been made has for a moment no environment that it could be known by.
    let as_the_kernel_says = || {
        let mut leaders: BTreeMap<String, u32> = BTreeMap::new();
        for (seat, pid) in cafe.leaders() {
            let service = seat.trim_end_matches('+').to_owned();
            assert!(leaders.insert(service.clone(), pid).is_none(), "{service} runs twice");
        }
        (leaders == status).then_some(())
    };
    eventually(&format!("the kernel says what cafe does: {status:?}"), as_the_kernel_says).await;
    let processes = || (cafe.processes().len() == SERVICES).then_some(());
    eventually("nothing else is left of the torment", processes).await;

    let most = descriptors + SPARE_DESCRIPTORS;
    eventually("descriptors as before", || (self::descriptors(&cafe) <= most).then_some(())).await;
    let grown = self::memory(&cafe).saturating_sub(memory);
    assert!(grown < SPARE_MEMORY, "the daemon has {grown} bytes more than before");
    let failures = cafe.console().lines().filter(|line| line.contains("panicked")).count();
    assert_eq!(failures, 0, "no part of cafe itself failed");
    assert!(cafe.end(Signal::SIGTERM).await.status.success());
    assert_eq!(cafe.processes(), [], "everything has stopped");
}

fn name(number: usize) -> String {
    format!("s{number:02}")
}

/// Every service says one thing, and then only waits.
fn calm() -> String {
    let command = sh(&format!("echo calm; {IDLE}"));
    let services: String = (0..SERVICES)
        .map(|number| format!("{:?}: (command: {command}),\n", name(number)))
        .collect();
    format!("services: {{ {services} }}, parallel_starts: 16,")
}

/// Services of all kinds, some of them missing, some in groups.
fn wild(rng: &mut Rng) -> String {
    let present: Vec<usize> = (0..SERVICES).filter(|_| rng.u8(..10) > 0).collect();
    let mut services = String::new();
    for (place, number) in present.iter().enumerate() {
        let _ = writeln!(services, "{:?}: ({}),", name(*number), service(rng, &present[..place]));
    }
    let mut groups = String::new();
    // Side by side, so that no service is in two.
    for (number, members) in present.chunks(4).enumerate().filter(|(number, _)| number % 3 == 0) {
        let strategy = rng.choice(["one_for_one", "one_for_all", "rest_for_one"]).unwrap();
        let members: Vec<_> = members.iter().map(|&number| format!("{:?}", name(number))).collect();
        let _ = writeln!(
            groups,
            r#""g{number}": (strategy: {strategy}, services: [{}], intensity: (restarts: 20, within: "5s", then: hold)),"#,
            members.join(", ")
        );
    }
    format!("services: {{ {services} }}, groups: {{ {groups} }}, parallel_starts: 16,")
}

/// One service; it may need those that stand before it.
fn service(rng: &mut Rng, before: &[usize]) -> String {
    let deaf = format!("trap '' TERM; {IDLE}");
    let forks = format!("sleep 1000 & (sleep 1000 &); {IDLE}");
    let (command, kind) = match rng.u8(..9) {
        0 => (sh("echo once"), "kind: oneshot,"),
        1 => (sh("exit 3"), "kind: oneshot, restart: transient,"),
        2 => (sh("echo tick"), "kind: timer(\"every 1s\"),"),
        3 => (sh("echo short; exec sleep 0.3"), ""),
        4 => (sh("exit 1"), "restart: transient,"),
        5 => (sh(&deaf), "stop: (timeout: \"150ms\"),"),
        6 => (sh(&forks), ""),
        7 => (sh(&format!("echo ready; {IDLE}")), "ready: log(\"^ready\"),"),
        _ => (sh(IDLE), "reload: signal(CONT),"),
    };
    let restart = match rng.u8(..4) {
        0 if !kind.contains("restart") => "restart: temporary,",
        _ => "",
    };
    let needs = match before.last() {
        Some(&number) if rng.u8(..4) == 0 => {
            let relation = rng.choice(["after", "requires"]).unwrap();
            format!("{relation}: [{:?}],", name(number))
        }
        _ => String::new(),
    };
    let several = match rng.u8(..12) {
        _ if kind.contains("kind:") => "",
        0..=2 => "overlap: true,",
        3 => "instances: 2,",
        4 => "instances: 3, overlap: true,",
        _ => "",
    };
    // A value that differs in every config restarts some, and leaves the others alone.
    let env =
        if rng.bool() { format!("env: {{ \"N\": \"{}\" }},", rng.u32(..)) } else { String::new() };
    format!(
        r#"command: {command}, {kind} {restart} {needs} {several} {env} backoff: (min: "10ms", max: "300ms"),"#
    )
}

/// One thing that goes wrong, or that somebody does.
async fn blow(cafe: &Cafe, rng: &mut Rng) {
    let victim = name(rng.usize(..SERVICES));
    let act = async |verb| {
        tolerant(cafe.client.act(verb, &victim, Some("chaos"), Duration::ZERO).await.map(drop));
    };
    match rng.u8(..20) {
        0..=7 => {
            let processes = cafe.processes();
            if let Some((pid, _)) = rng.choice(&processes) {
                let signals = [Signal::SIGKILL, Signal::SIGTERM, Signal::SIGSEGV, Signal::SIGHUP];
                kill(*pid, *rng.choice(&signals).unwrap());
            }
        }
        8..=10 => act(Verb::Start).await,
        11..=12 => act(Verb::Stop).await,
        13 => act(Verb::Restart).await,
        14 => act(Verb::Overlap).await,
        15 => act(Verb::Reload).await,
        16 => {
            let group = format!("g{}", 3 * rng.usize(..5));
            let verb = *rng.choice(&[Verb::Start, Verb::Stop, Verb::Restart]).unwrap();
            tolerant(cafe.client.act(verb, &group, None, Duration::ZERO).await.map(drop));
        }
        17 => cafe.configure(&wild(rng)),
        18 => kill(cafe.pid(), Signal::SIGHUP),
        _ => cafe.configure("services: { \"broken\": (comand: []) },"),
    }
}

/// A command may be refused (there is no such service now), but it is answered.
fn tolerant(answer: Result<(), Error>) {
    match answer {
        Ok(()) | Err(Error::Problem(_)) => {}
        Err(error) => panic!("the daemon does not answer as it should: {error}"),
    }
}

/// No service has two main processes at one time, but for one in its second seat while two generations overlap.
fn nothing_is_doubled(cafe: &Cafe) {
    let mut found: BTreeMap<String, u32> = BTreeMap::new();
    for (service, pid) in cafe.leaders() {
        let Some(other) = found.insert(service.clone(), pid) else { continue };
        // They were looked at one after the other: twice only if both are there at one time.
        let both = !is_gone(other) && !is_gone(pid) && !is_gone(other);
        assert!(!both, "{service} runs as {other} and {pid}\n{:?}", cafe.processes());
    }
}

/// Waits until all services run; their processes.
async fn all_run(cafe: &Cafe) -> BTreeMap<String, u32> {
    cafe.wait_for("all services run", |status| {
        let is_up =
            |service: &&Service| service.state == State::Running && service.instances.len() == 1;
        let up = status.services.iter().filter(is_up);
        let pids: BTreeMap<_, _> =
            up.filter_map(|service| Some((service.name.to_string(), service.pid?))).collect();
        (pids.len() == SERVICES && status.services.len() == SERVICES && status.groups.is_empty())
            .then_some(pids)
    })
    .await
}

fn descriptors(cafe: &Cafe) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", cafe.pid())).unwrap().count()
}

/// Resident memory of the daemon, bytes.
fn memory(cafe: &Cafe) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", cafe.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

#[expect(clippy::print_stderr, reason = "the seed is shown with a failing test")]
fn say(text: &str) {
    eprintln!("{text}");
}
