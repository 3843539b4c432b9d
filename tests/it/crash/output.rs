//! The output of services that outlive their daemon: nothing is lost, nothing is told twice.

use cafe::types::state::State;

use crate::harness::{Cafe, IDLE, eventually, sh};

/// What `cafe logs` shows of a service, without times.
pub(super) fn lines(cafe: &Cafe, name: &str) -> Vec<String> {
    let output = cafe.cli(&["logs", name, "-o", "json", "-n", "1000"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let parse = |line: &str| -> serde_json::Value { serde_json::from_str(line).unwrap() };
    let shown = text.lines().map(parse).filter(|line| line["stream"] != "cafe");
    shown.map(|line| line["line"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn what_is_written_while_no_daemon_runs_is_kept() {
    let script = sh(&format!(
        "echo before; echo >&3; read go <gate; i=0; \
         while [ $i -lt 100 ]; do echo \"meanwhile $i\"; i=$((i+1)); done; touch written; \
         read go <gate; echo after; {IDLE}"
    ));
    let mut cafe = Cafe::new(&format!("services: {{ \"a\": (command: {script}, ready: fd(3)) }},"));
    cafe.fifo("gate");
    cafe.boot().await;
    cafe.wait_state("a", State::Ready).await;
    cafe.crash();
    let gate = cafe.open_gate("gate");
    eventually("lines", || cafe.path("written").try_exists().unwrap().then_some(())).await;
    drop(gate);

    cafe.boot().await;
    let _gate = cafe.open_gate("gate");

    let mut expected = vec!["before".to_owned()];
    expected.extend((0..100).map(|number| format!("meanwhile {number}")));
    expected.push("after".to_owned());
    eventually("the last line", || (lines(&cafe, "a").last()? == "after").then_some(())).await;
    assert_eq!(lines(&cafe, "a"), expected);
}

#[tokio::test]
async fn a_service_waits_for_the_next_daemon_when_its_pipe_is_full() {
    // 200 kB: three times what a pipe holds.
    let script = sh(&format!(
        "echo >&3; read go <gate; i=0; line=$(printf '%0999d' 0); \
         while [ $i -lt 200 ]; do echo \"$line\"; i=$((i+1)); done; echo after; {IDLE}"
    ));
    let mut cafe = Cafe::new(&format!("services: {{ \"a\": (command: {script}, ready: fd(3)) }},"));
    cafe.fifo("gate");
    cafe.boot().await;
    let before = cafe.wait_state("a", State::Ready).await;
    cafe.crash();
    let _gate = cafe.open_gate("gate");
    // It sleeps in the write to its full pipe.
    let channel = format!("/proc/{}/wchan", before.pid.unwrap());
    eventually("a full pipe", || {
        std::fs::read_to_string(&channel).ok()?.contains("pipe").then_some(())
    })
    .await;

    cafe.boot().await;

    eventually("the last line", || (lines(&cafe, "a").last()? == "after").then_some(())).await;
    assert_eq!(lines(&cafe, "a").len(), 201, "whole and once");
    assert_eq!(cafe.service("a").await.pid, before.pid);
}
