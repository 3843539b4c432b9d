//! What services write and what happens, as it is followed over an upgrade: no gap, no repeat.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use cafe::types::state::State;

use super::upgrade;
use crate::harness::{Cafe, eventually, sh};

/// Upgrades while something is followed.
const UPGRADES: usize = 5;

#[tokio::test]
async fn every_line_is_there_once_and_in_order() {
    // In pieces, so that a line is unfinished at any time; on both streams.
    let script = "echo >&3; n=0; while test $n -lt 3000; do n=$((n+1)); printf 'line '; printf '%s\\n' $n; echo \"also $n\" >&2; \
        if test $((n % 10)) = 0; then read -t 0.005 nothing <&9; fi; done; echo end; read go <&9";
    let script = format!("exec 9<>never; {script}");
    let cafe =
        Cafe::start(&format!("services: {{ \"a\": (command: {}, ready: fd(3)) }},", sh(&script)))
            .await;
    let pid = cafe.wait_state("a", State::Ready).await.pid;
    let mut follow = cafe.command();
    let follow = follow.args(["logs", "a", "-f", "-n", "all", "-o", "json"]).stdout(Stdio::piped());
    let mut follow = follow.spawn().unwrap();
    let mut followed = BufReader::new(follow.stdout.take().unwrap()).lines();

    for _ in 0..UPGRADES {
        upgrade(&cafe);
    }

    let (mut out, mut err) = (Vec::new(), Vec::new());
    for line in followed.by_ref() {
        let line: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
        let text = line["line"].as_str().unwrap().to_owned();
        match line["stream"].as_str() {
            Some("stdout") => out.push(text),
            Some("stderr") => err.push(text),
            _ => {}
        }
        // The streams are read one after the other.
        if out.last().is_some_and(|last| last == "end") && err.len() >= 3000 {
            break;
        }
    }
    follow.kill().unwrap();
    follow.wait().unwrap();
    let expected = |word: &str| (1..=3000).map(|n| format!("{word} {n}")).collect::<Vec<_>>();
    assert_eq!(out.pop().as_deref(), Some("end"));
    assert_eq!(out, expected("line"));
    assert_eq!(err, expected("also"));
    assert_eq!(cafe.service("a").await.pid, pid);
}

#[tokio::test]
async fn events_go_on_without_gap_or_repeat() {
    let flaps = r#"command: ["false"], backoff: (min: "10ms", max: "10ms"), intensity: (restarts: 1000, within: "1s")"#;
    let cafe = Cafe::start(&format!("services: {{ \"a\": ({flaps}) }},")).await;
    let mut follow = cafe.command();
    let follow = follow.args(["events", "--after", "0", "-o", "json"]).stdout(Stdio::piped());
    let mut follow = follow.spawn().unwrap();
    let followed = BufReader::new(follow.stdout.take().unwrap()).lines();

    for _ in 0..UPGRADES {
        upgrade(&cafe);
    }

    let last = cafe.status().await.daemon.last_event;
    for (line, expected) in followed.zip(1..=last) {
        let event: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
        assert_eq!(event["seq"].as_u64(), Some(expected), "{event}");
    }
    follow.kill().unwrap();
    follow.wait().unwrap();
    let told = cafe.console();
    let times = |text: &str| told.matches(text).count();
    eventually("all is printed", || (times("is cafe") >= UPGRADES).then_some(())).await;
    assert_eq!(times("becoming cafe"), UPGRADES, "{told}");
}
