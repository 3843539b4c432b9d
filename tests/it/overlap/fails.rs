//! A next generation that does not become ready is removed, and the one that runs never noticed anything.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use cafe::net::control::Verb;
use cafe::types::event::Kind;
use cafe::types::exit::Cause;
use cafe::types::state::State;
use cafe::types::status::Service;

use super::one_gated;
use crate::harness::{Cafe, DEADLINE, IDLE, eventually, is_gone, is_installed, sh, skip, told};

/// The message of the last event of a generation.
async fn last_word(cafe: &Cafe) -> String {
    let words = cafe.events().await.into_iter().filter_map(|event| match event.kind {
        Kind::Generation { message, .. } => Some(message),
        _ => None,
    });
    words.last().unwrap_or_default()
}

/// It is as it was before: the same process, the same state, nothing beside it.
async fn is_unchanged(cafe: &Cafe, before: &Service) -> Service {
    let web = cafe.wait_service("web", "alone", |web| web.instances.len() == 1).await;
    assert_eq!((web.state, web.pid, web.since), (before.state, before.pid, before.since));
    assert_eq!((web.restarts, &web.reason), (before.restarts, &before.reason));
    assert_eq!(cafe.processes().len(), 1, "{:?}", cafe.processes());
    web
}

#[tokio::test]
async fn one_that_exits_is_removed() {
    let script = format!("test -e bad && echo no good && exit 7; echo >&3; {IDLE}");
    let cafe = Cafe::start(&format!(
        "services: {{ \"web\": (command: {}, ready: fd(3), restart: temporary), \
         \"other\": (command: {}, requires: [\"web\"]) }},",
        sh(&script),
        sh(IDLE)
    ))
    .await;
    let before = cafe.wait_state("web", State::Ready).await;
    let other = cafe.wait_state("other", State::Running).await;
    std::fs::write(cafe.path("bad"), "").unwrap();

    // More than any restart limit: what did not take over is no restart.
    for generation in 2..10 {
        let said = told(&cafe.cli(&["restart", "--overlap", "web"]));
        said.expect(1, &["cannot restart \"web\"", "did not take over from generation 1", "7"]);
        cafe.wait_service("web", "alone", |web| web.instances.len() == 1).await;
        let exit = cafe
            .wait_service("web", "its last words", |web| {
                web.exits.first().is_some_and(|exit| !exit.last_lines.is_empty())
            })
            .await;
        let exit = &exit.exits[0];
        assert_eq!((exit.generation, exit.cause), (generation, Cause::Code(7)));
        assert_eq!(exit.last_lines, ["no good"]);
    }
    // Its processes: two services.
    assert_eq!(cafe.processes().len(), 2);
    let web = cafe.service("web").await;
    assert_eq!((web.state, web.pid, &web.reason), (before.state, before.pid, &before.reason));
    assert_eq!(cafe.service("other").await.pid, other.pid);
    let last = last_word(&cafe).await;
    assert!(last.starts_with("the next did not take over from generation 1: exited 7"), "{last}");

    std::fs::remove_file(cafe.path("bad")).unwrap();
    let acted = cafe.act(Verb::Overlap, "web").await;
    assert_ne!(acted.services[0].pid, before.pid);
    assert_eq!(cafe.service("other").await.pid, other.pid, "what needs it was let alone");
}

#[tokio::test]
async fn one_that_is_never_ready_is_removed() {
    let (cafe, before) = one_gated("exit", "ready_timeout: \"4s\"", "").await;
    let said = told(&cafe.cli(&["restart", "--overlap", "web"]));
    said.expect(1, &["not ready within 4.0s", "generation 1"]);
    is_unchanged(&cafe, &before).await;
}

#[tokio::test]
async fn one_that_cannot_be_started_is_removed() {
    let config = |program: &str| {
        let command = sh(&format!("echo >&3; {IDLE}")).replace("\"bash\"", &format!("{program:?}"));
        format!("services: {{ \"web\": (command: {command}, ready: fd(3), overlap: true) }},")
    };
    let cafe = Cafe::start(&config("bash")).await;
    let before = cafe.wait_state("web", State::Ready).await;
    cafe.configure(&config("bash-is-not-here"));
    told(&cafe.cli(&["reload"])).expect(0, &[]);
    let failed = cafe.wait_event("that it failed", |event| match &event.kind {
        Kind::Generation { message, .. } => Some(message.clone()),
        _ => None,
    });
    let failed = failed.await;
    assert!(failed.contains("bash-is-not-here"), "{failed}");
    is_unchanged(&cafe, &before).await;
    // By hand the same, at once.
    told(&cafe.cli(&["restart", "web"])).expect(1, &["bash-is-not-here"]);
    let web = is_unchanged(&cafe, &before).await;
    assert_eq!(web.exits[0].cause, Cause::NotStarted);

    cafe.configure(&config("bash"));
    told(&cafe.cli(&["reload"])).expect(0, &[]);
    let web = cafe.wait_service("web", "replaced", super::has_gone_from(before.pid.unwrap()));
    assert_eq!(web.await.state, State::Ready);
}

#[tokio::test]
async fn connections_of_the_one_that_runs_stay() {
    if !is_installed("python3") {
        return skip("python3 is not installed");
    }
    const ECHO: &str = r#"
import os, socket, sys
if os.path.exists("bad"): sys.exit(3)
listener = socket.socket(fileno=3)
os.write(4, b"\n")
client, _ = listener.accept()
while True:
    client.sendall(client.recv(100))
"#;
    let cafe = Cafe::new("");
    let socket = cafe.path("echo.sock");
    let env = serde_json::to_string(ECHO).unwrap();
    cafe.configure(&format!(
        "services: {{ \"web\": (command: {}, env: {{ \"ECHO\": {env} }}, ready: fd(4), \
         listen: {{ \"s\": {socket:?} }}) }},",
        sh("exec python3 -c \"$ECHO\"")
    ));
    let mut cafe = cafe;
    cafe.boot().await;
    let before = cafe.wait_state("web", State::Ready).await;
    let mut stream = UnixStream::connect(&socket).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut says = |text: &[u8; 5]| {
        stream.write_all(text).unwrap();
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, text);
    };
    says(b"hello");
    std::fs::write(cafe.path("bad"), "").unwrap();
    told(&cafe.cli(&["restart", "--overlap", "web"])).expect(1, &["exited 3"]);
    says(b"again");
    is_unchanged(&cafe, &before).await;
}

#[tokio::test]
async fn without_a_check_it_must_run_for_a_moment() {
    let script = format!("test -e bad && exit 1; echo >up; {IDLE}");
    let cafe = Cafe::start(&format!("services: {{ \"web\": (command: {}) }},", sh(&script))).await;
    let before = cafe.wait_state("web", State::Running).await;
    eventually("its first line", || (!cafe.read("up").is_empty()).then_some(())).await;
    std::fs::write(cafe.path("bad"), "").unwrap();
    told(&cafe.cli(&["restart", "--overlap", "web"])).expect(1, &["exited 1"]);
    is_unchanged(&cafe, &before).await;
    std::fs::remove_file(cafe.path("bad")).unwrap();
    let acted = cafe.act(Verb::Overlap, "web").await;
    assert!(acted.took_ms >= 1_000, "{}", acted.took_ms);
    assert_eq!(cafe.service("web").await.state, State::Running, "nothing is claimed of it");
    eventually("end of the last", || is_gone(before.pid.unwrap()).then_some(())).await;
}

#[tokio::test]
async fn only_a_daemon_that_is_up_can_overlap() {
    let cafe = Cafe::start(&format!(
        "services: {{ \"web\": (command: {0}, start: manual), \
         \"clock\": (command: {0}, kind: timer(\"every 1h\")) }}, \
         groups: {{ \"g\": (services: [\"web\"]) }},",
        sh(IDLE)
    ))
    .await;
    cafe.wait_state("clock", State::Waiting).await;
    told(&cafe.cli(&["restart", "--overlap", "clock"])).expect(1, &["only a daemon"]);
    told(&cafe.cli(&["restart", "--overlap", "g"])).expect(1, &["is a group"]);
    // One that is at rest has nothing to overlap with: it starts.
    told(&cafe.cli(&["restart", "--overlap", "web"])).expect(0, &["restarted web"]);
    assert_eq!(cafe.service("web").await.state, State::Running);
}
