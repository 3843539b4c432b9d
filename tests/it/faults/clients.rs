//! Clients of the control socket that do not do as they should.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use cafe::net::control::{LogQuery, Verb};
use cafe::types::state::State;

use crate::harness::{Cafe, DEADLINE, IDLE, eventually, sh};

async fn with_a_service() -> Cafe {
    let cafe = Cafe::start(&format!("services: {{ \"a\": (command: {}) }},", sh(IDLE))).await;
    cafe.wait_state("a", State::Running).await;
    cafe
}

fn connect(cafe: &Cafe) -> UnixStream {
    let stream = UnixStream::connect(cafe.client.socket()).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// Open sockets of the daemon: each connection is one.
fn sockets(cafe: &Cafe) -> usize {
    let descriptors = std::fs::read_dir(format!("/proc/{}/fd", cafe.pid())).unwrap();
    let targets = descriptors.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    targets.filter(|target| target.to_string_lossy().starts_with("socket:")).count()
}

#[tokio::test]
async fn a_hundred_clients_that_never_read_hold_nobody_up() {
    let cafe = with_a_service().await;
    let before = sockets(&cafe);
    let clients: Vec<_> = (0..100)
        .map(|number| {
            let mut client = connect(&cafe);
            let path = if number % 2 == 0 { "/v1/events?after=0" } else { "/v1/status" };
            let request = format!("GET {path} HTTP/1.1\r\nhost: cafe\r\n\r\n");
            // Pipelined, so that the answers exceed any socket buffer.
            let requests = if number % 2 == 0 { 1 } else { 300 };
            client.write_all(request.repeat(requests).as_bytes()).unwrap();
            client
        })
        .collect();
    let taken = || (sockets(&cafe) >= before + 100).then_some(());
    eventually("all are connected", taken).await;
    for round in 1..=3 {
        cafe.act(Verb::Restart, "a").await;
        let now = tokio::time::timeout(Duration::from_secs(5), cafe.service("a")).await;
        assert_eq!(now.expect("answers in time").state, State::Running, "round {round}");
    }
    drop(clients);
    eventually("their connections close", || (sockets(&cafe) <= before).then_some(())).await;
}

#[tokio::test]
async fn malformed_requests_are_refused_and_cost_nothing() {
    let cafe = with_a_service().await;
    let before = sockets(&cafe);
    let long = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(200 << 10));
    let requests: [&[u8]; 9] = [
        b"\0\x01\x02\xff\xfe\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /v1/status HTTP/1.1\r\nhost cafe\r\n\r\n",
        b"PUT /v1/config HTTP/1.1\r\nhost: cafe\r\ncontent-length: -1\r\n\r\n",
        b"PUT /v1/config HTTP/1.1\r\nhost: cafe\r\nif-match: *\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"POST /v1/services/..%2f..%2fetc/start HTTP/1.1\r\nhost: cafe\r\nconnection: close\r\n\r\n",
        b"GET /v1/services/%ff%00/wait HTTP/1.1\r\nhost: cafe\r\nconnection: close\r\n\r\n",
        long.as_bytes(),
    ];
    for request in requests {
        let mut client = connect(&cafe);
        // The daemon may close before all was sent.
        let _ = client.write_all(request);
        let _ = client.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = client.read_to_end(&mut answer);
        let text = String::from_utf8_lossy(&answer);
        let refused = text.is_empty() || text.starts_with("HTTP/1.1 4");
        assert!(
            refused,
            "{:?}: {text}",
            String::from_utf8_lossy(&request[..request.len().min(80)])
        );
    }
    // And one that sends half a request and goes.
    connect(&cafe).write_all(b"GET /v1/sta").unwrap();
    let running = cafe.service("a").await;
    assert_eq!((running.state, running.restarts), (State::Running, 0));
    eventually("their connections close", || (sockets(&cafe) <= before).then_some(())).await;
}

#[tokio::test]
async fn a_client_that_goes_in_a_follow_leaves_nothing_behind() {
    let script = format!("trap 'echo heard' HUP; echo first; {IDLE}");
    let sections =
        format!("services: {{ \"a\": (command: {}, reload: signal(HUP)) }},", sh(&script));
    let cafe = Cafe::start(&sections).await;
    cafe.wait_state("a", State::Running).await;
    let descriptors = || std::fs::read_dir(format!("/proc/{}/fd", cafe.pid())).unwrap().count();
    let query = LogQuery { follow: true, ..LogQuery::default() };
    let mut settled = None;
    for _ in 0..20 {
        let mut lines = cafe.client.logs("a", &query).await.unwrap();
        let line = tokio::time::timeout(DEADLINE, lines.next()).await.unwrap().unwrap().unwrap();
        assert!(String::from_utf8_lossy(&line).contains("first"));
        let mut events = cafe.client.events(Some(0)).await.unwrap();
        tokio::time::timeout(DEADLINE, events.next()).await.unwrap().unwrap().unwrap();
        drop((lines, events));
        // What it follows goes on.
        cafe.act(Verb::Reload, "a").await;
        let most = *settled.get_or_insert_with(|| descriptors() + 8);
        eventually("descriptors of the follower close", || (descriptors() <= most).then_some(()))
            .await;
    }
}
