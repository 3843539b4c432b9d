//! Clients that misbehave, against the real server on a real socket.

use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::{BUSY, GRACE, MAX_CONNECTIONS, RESERVED, has_room};
use crate::net::control::{Client, LogQuery, Peer};
use crate::net::fake::{Events, Fake, Running};

/// Far longer than anything here takes; only a hang reaches it.
const HANG: Duration = Duration::from_secs(30);

async fn connect(path: &Path) -> UnixStream {
    UnixStream::connect(path).await.expect("connects")
}

async fn write(stream: &mut UnixStream, bytes: &[u8]) {
    stream.write_all(bytes).await.expect("written");
}

/// All that comes until the server closes. A reset also is an end: unread bytes were left behind.
async fn until_closed(mut stream: UnixStream) -> String {
    let mut all = Vec::new();
    let _ = timeout(HANG, stream.read_to_end(&mut all)).await.expect("the server closes it");
    String::from_utf8_lossy(&all).into_owned()
}

fn endless() -> Fake {
    Fake { events: Events::Endless, ..Fake::new() }
}

#[tokio::test]
async fn a_hundred_clients_that_never_read_hold_up_nobody() {
    let running = Running::start(endless());
    let mut silent = Vec::new();
    for _ in 0..100 {
        let mut stream = connect(running.path()).await;
        write(&mut stream, b"GET /v1/events HTTP/1.1\r\nhost: x\r\n\r\n").await;
        silent.push(stream);
    }
    let mut open = running.fake.open_streams.subscribe();
    timeout(HANG, open.wait_for(|open| *open == 100)).await.expect("in time").expect("open");
    let client = Client::new(running.path(), Duration::from_secs(5));
    assert_eq!(client.status(None).await.expect("answered").services.len(), 6);
    drop(silent);
    timeout(HANG, open.wait_for(|open| *open == 0)).await.expect("in time").expect("closed");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_reads_is_cut_off() {
    let running = Running::start(endless());
    let mut stream = connect(running.path()).await;
    write(&mut stream, b"GET /v1/events HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let mut open = running.fake.open_streams.subscribe();
    open.wait_for(|open| *open == 1).await.expect("open");
    let began = tokio::time::Instant::now();
    open.wait_for(|open| *open == 0).await.expect("closed, and the stream dropped");
    assert!(began.elapsed() >= super::WRITE_DEADLINE, "{:?}", began.elapsed());
}

#[tokio::test]
async fn what_is_not_http_is_told_so_and_closed() {
    let running = Running::start(Fake::new());
    for garbage in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03hello\r\n\r\n"[..],
        b"GET\r\n\r\n",
        b"GET /v1/status HTTP/9.9\r\n\r\n",
        b"GET /v1/status HTTP/1.1\r\nbad header\r\n\r\n",
        b"POST /v1/shutdown HTTP/1.1\r\ncontent-length: x\r\n\r\n",
    ] {
        let mut stream = connect(running.path()).await;
        write(&mut stream, garbage).await;
        let answer = until_closed(stream).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{garbage:?}: {answer}");
    }
    assert_eq!(running.fake.calls(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn half_a_head_is_closed_and_so_is_an_idle_connection() {
    let running = Running::start(Fake::new());
    for beginning in [&b""[..], b"GET /v1/status HTTP/1.1\r\nhost:"] {
        let mut stream = connect(running.path()).await;
        write(&mut stream, beginning).await;
        assert!(!until_closed(stream).await.contains("200 OK"));
    }
    let mut stream = connect(running.path()).await;
    write(&mut stream, b"GET /v1/tree HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let answer = until_closed(stream).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "answered, then closed: {answer}");
}

#[tokio::test]
async fn a_head_without_end_is_refused() {
    let running = Running::start(Fake::new());
    let mut stream = connect(running.path()).await;
    let mut head = b"GET /v1/status HTTP/1.1\r\nx: ".to_vec();
    head.resize(2 * super::BUFFER, b'x');
    // The server may close before all of it is written.
    let _ = stream.write_all(&head).await;
    assert!(until_closed(stream).await.starts_with("HTTP/1.1 431"));
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused() {
    let running = Running::start(Fake::new());
    for head in ["content-length: 3000000", "transfer-encoding: chunked"] {
        let mut stream = connect(running.path()).await;
        let request =
            format!("PUT /v1/config HTTP/1.1\r\nhost: x\r\nif-match: *\r\n{head}\r\n\r\n");
        write(&mut stream, request.as_bytes()).await;
        let chunk = [&b"100000\r\n"[..], &vec![b'x'; 1 << 20], b"\r\n"].concat();
        let _ = stream.write_all(&chunk).await;
        let _ = stream.write_all(&chunk).await;
        let answer = until_closed(stream).await;
        assert!(answer.starts_with("HTTP/1.1 413"), "{head}: {answer}");
        assert!(answer.contains("C010"), "{answer}");
    }
    assert_eq!(running.fake.calls(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let running = Running::start(Fake::new());
    let mut stream = connect(running.path()).await;
    let head = b"PUT /v1/config HTTP/1.1\r\nhost: x\r\nif-match: *\r\ncontent-length: 9\r\n\r\nCa";
    write(&mut stream, head).await;
    assert!(until_closed(stream).await.starts_with("HTTP/1.1 408"));
}

#[tokio::test]
async fn a_body_nobody_asked_for_is_not_read() {
    let running = Running::start(Fake::new());
    let mut stream = connect(running.path()).await;
    let head =
        b"POST /v1/services/web/stop HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999\r\n\r\n";
    write(&mut stream, head).await;
    assert!(until_closed(stream).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_client_that_leaves_a_follow_leaves_nothing_behind() {
    let running = Running::start(Fake::new());
    let client = Client::new(running.path(), HANG);
    let query = LogQuery { follow: true, ..LogQuery::default() };
    let mut open = running.fake.open_streams.subscribe();
    let mut follow = client.logs("web", &query).await.expect("opens");
    let line = follow.next().await.expect("whole").expect("a line");
    assert!(String::from_utf8_lossy(&line).contains("ready on 8080"));
    assert_eq!(*open.borrow_and_update(), 1);
    drop(follow);
    timeout(HANG, open.wait_for(|open| *open == 0)).await.expect("in time").expect("closed");
}

#[tokio::test]
async fn connections_over_the_limit_are_told_so() {
    let running = Running::start(Fake::new());
    let mut kept = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        let mut stream = connect(running.path()).await;
        // Answered, so it is known to be taken.
        write(&mut stream, b"GET /v1/config HTTP/1.1\r\nhost: x\r\n\r\n").await;
        stream.readable().await.expect("answered");
        kept.push(stream);
    }
    let answer = until_closed(connect(running.path()).await).await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    let error = Client::new(running.path(), HANG).status(None).await.expect_err("busy");
    assert!(!matches!(error.code(), crate::types::error::Code::TimedOut), "{error}");
    drop(kept.pop());
    // The next is let in as soon as the server has seen one go.
    let again = async { while Client::new(running.path(), HANG).status(None).await.is_err() {} };
    timeout(HANG, again).await.expect("room again");
}

#[test]
fn the_refusal_is_a_whole_answer() {
    let text = std::str::from_utf8(BUSY).expect("text");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    assert!(head.contains(&format!("content-length: {}", body.len())), "{}", body.len());
    let body: crate::net::control::ErrorBody = serde_json::from_str(body).expect("JSON");
    assert_eq!(body.error.code, crate::types::error::Code::OutOfResources);
}

#[test]
fn strangers_cannot_take_the_last_connections() {
    let peer = |uid| Peer { uid, gid: uid, pid: None };
    assert!(has_room(MAX_CONNECTIONS - RESERVED - 1, peer(4000), 500));
    assert!(!has_room(MAX_CONNECTIONS - RESERVED, peer(4000), 500));
    for uid in [0, 500] {
        assert!(has_room(MAX_CONNECTIONS - 1, peer(uid), 500));
        assert!(!has_room(MAX_CONNECTIONS, peer(uid), 500));
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_server_ends_its_streams() {
    let mut running = Running::start(Fake { events: Events::Silent, ..Fake::new() });
    let client = Client::new(running.path(), HANG);
    let mut events = client.events(None).await.expect("opens");
    let began = tokio::time::Instant::now();
    running.stop().await;
    assert!(began.elapsed() < GRACE, "a stream would take all the time that answers have");
    assert!(!matches!(events.next().await, Ok(Some(_))));
    assert_eq!(*running.fake.open_streams.borrow(), 0);
    assert!(client.status(None).await.is_err());
}
