//! Children that do not do as they should.

use std::time::{Duration, Instant};

use cafe::net::control::{Outcome, Verb};
use cafe::types::exit::Cause;
use cafe::types::state::State;
use nix::sys::signal::Signal;

use crate::harness::{Cafe, DEADLINE, IDLE, eventually, kill, sh, told};

/// Longest time an answer may take while a neighbour floods its log; generous, for a loaded machine.
const ANSWER: Duration = Duration::from_secs(5);

fn one(name: &str, script: &str, more: &str) -> String {
    format!("services: {{ {name:?}: (command: {}, {more}) }},", sh(script))
}

#[tokio::test]
async fn a_child_that_ignores_the_signal_is_killed_when_its_time_is_over() {
    let script = format!("trap '' TERM; echo >&3; {IDLE}");
    let deaf = one("deaf", &script, r#"ready: fd(3), stop: (timeout: "300ms")"#);
    let cafe = Cafe::start(&deaf).await;
    let running = cafe.wait_state("deaf", State::Ready).await;
    let begun = Instant::now();
    let acted = cafe.act(Verb::Stop, "deaf").await;
    assert_eq!(acted.services[0].outcome, Outcome::Changed);
    assert!(begun.elapsed() >= Duration::from_millis(300), "it was not given its time");
    let stopped = cafe.service("deaf").await;
    assert_eq!((stopped.state, stopped.pid), (State::Stopped, None));
    assert_eq!(stopped.exits[0].pid, running.pid);
    assert_eq!(stopped.exits[0].cause, Cause::Signal { signal: 9, core: false });
    assert_eq!(cafe.processes(), []);
}

#[tokio::test]
async fn daemons_that_a_child_forked_end_before_it_is_started_again() {
    let escapee =
        "setsid sh -c 'trap \"\" TERM HUP; while :; do sleep 1000; done' >/dev/null 2>&1 &";
    let script = format!("{escapee} (setsid sleep 1000 &); {IDLE}");
    let cafe = Cafe::start(&one("forks", &script, r#"stop: (timeout: "300ms")"#)).await;
    cafe.wait_state("forks", State::Running).await;
    // The main process, the shell and its sleep, and the orphaned sleep.
    let escaped = |cafe: &Cafe| (cafe.processes().len() == 4).then(|| cafe.processes());
    let first = eventually("its daemons", || escaped(&cafe)).await;
    kill(cafe.service("forks").await.pid.unwrap(), Signal::SIGKILL);
    cafe.wait_service("forks", "again", |now| now.restarts == 1 && now.state == State::Running)
        .await;
    let old: Vec<_> = cafe.processes().into_iter().filter(|found| first.contains(found)).collect();
    assert_eq!(old, [], "left over from the first incarnation");
    eventually("its daemons again", || escaped(&cafe)).await;
    cafe.act(Verb::Stop, "forks").await;
    assert_eq!(cafe.processes(), []);
}

#[tokio::test]
async fn a_child_that_closes_its_outputs_is_kept_alive_all_the_same() {
    let script = format!("echo before; exec >&- 2>&-; {IDLE}");
    let cafe = Cafe::start(&one("mute", &script, "")).await;
    let before = cafe.wait_state("mute", State::Running).await;
    eventually("its only line", || lines(&cafe, "mute").contains("before").then_some(())).await;
    assert_eq!(cafe.service("mute").await.pid, before.pid, "closed outputs are no end");
    kill(before.pid.unwrap(), Signal::SIGKILL);
    cafe.wait_service("mute", "again", |now| now.restarts == 1 && now.state == State::Running)
        .await;
}

#[tokio::test]
async fn a_line_of_seventy_kibibytes_is_kept_whole() {
    const SIZE: usize = 70 << 10;
    let script = format!("head -c {SIZE} /dev/zero | tr '\\0' x; printf '\\nafter\\n'; {IDLE}");
    let cafe = Cafe::start(&one("long", &script, "")).await;
    eventually("the next line", || lines(&cafe, "long").contains("after").then_some(())).await;
    let json = told(&cafe.cli(&["logs", "long", "-n", "all", "-o", "json"]));
    let pieces: Vec<serde_json::Value> =
        json.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (after, long) = pieces.split_last().unwrap();
    assert_eq!((&after["line"], after.get("continued")), (&"after".into(), None));
    let text: String = long.iter().map(|piece| piece["line"].as_str().unwrap()).collect();
    assert_eq!((text.len(), text.trim_matches('x')), (SIZE, ""));
    assert!(long[0].get("continued").is_none());
    assert!(long[1..].iter().all(|piece| piece["continued"] == true), "{}", long.len());
}

#[tokio::test]
async fn nuls_and_bytes_that_are_no_text_are_kept_to_the_byte() {
    let script = format!("printf 'a\\000b\\377c\\n'; echo after; {IDLE}");
    let cafe = Cafe::start(&one("raw", &script, "")).await;
    eventually("the next line", || lines(&cafe, "raw").contains("after").then_some(())).await;
    let raw = cafe.cli(&["logs", "raw"]).stdout;
    let line = raw.split(|&byte| byte == b'\n').next().unwrap();
    assert!(line.ends_with(b"a\0b\xffc"), "{line:?}");
}

#[tokio::test]
async fn a_child_that_floods_its_log_holds_nobody_up() {
    let quiet = format!("trap 'echo heard' HUP; echo >&3; {IDLE}");
    let cafe = Cafe::start(&format!(
        r#"services: {{
            "flood": (command: ["yes", "a line as it is written by the million"],
                      log: (max_file: "1MiB", keep: 2)),
            "quiet": (command: {}, ready: fd(3), reload: signal(HUP)),
        }},"#,
        sh(&quiet)
    ))
    .await;
    cafe.wait_state("quiet", State::Ready).await;
    let rotated =
        |cafe: &Cafe| std::fs::read_dir(cafe.path("state/logs/flood")).ok()?.nth(2).map(drop);
    eventually("the flood", || rotated(&cafe)).await;
    for heard in 1..=10 {
        let begun = Instant::now();
        cafe.act(Verb::Reload, "quiet").await;
        let in_log = || (lines(&cafe, "quiet").matches("heard").count() >= heard).then_some(());
        eventually("the quiet one's line", in_log).await;
        assert!(begun.elapsed() < ANSWER, "round {heard} took {:?}", begun.elapsed());
    }
    let size: u64 = std::fs::read_dir(cafe.path("state/logs/flood"))
        .unwrap()
        .filter_map(|entry| Some(entry.ok()?.metadata().ok()?.len()))
        .sum();
    // Three full files, one of them being compressed, and what is written meanwhile.
    assert!(size < 8 << 20, "the flood has {size} bytes of logs");
    let begun = Instant::now();
    cafe.act(Verb::Stop, "flood").await;
    assert!(begun.elapsed() < DEADLINE);
}

#[tokio::test]
async fn a_readiness_probe_that_hangs_is_over_in_time_and_holds_nobody_up() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let cafe = Cafe::start(&format!(
        r#"services: {{
            "hangs": (command: {idle}, ready: http("http://{address}/"), ready_timeout: "500ms"),
            "other": (command: {idle}, after: []),
        }},"#,
        idle = sh(IDLE)
    ))
    .await;
    cafe.wait_state("other", State::Running).await;
    let (_held, _) = tokio::time::timeout(DEADLINE, silent.accept()).await.unwrap().unwrap();
    let ended = cafe.wait_service("hangs", "judged", |hangs| !hangs.exits.is_empty()).await;
    let trigger = &ended.exits[0].trigger;
    assert!(trigger.contains("C030") && trigger.contains("500ms"), "{trigger}");
    assert!(ended.exits[0].pid.is_some(), "it ran");
    assert_eq!(cafe.service("other").await.restarts, 0);
}

fn lines(cafe: &Cafe, name: &str) -> String {
    told(&cafe.cli(&["logs", name, "-n", "all"])).stdout
}
