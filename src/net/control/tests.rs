//! The client against the real server, and against servers that do not behave.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixListener;
use tokio::task::JoinSet;

use super::{Client, Goal, Notice, Verb, Verdict};
use crate::net::Error;
use crate::net::fake::{Fake, Running};
use crate::types::error::Code;
use crate::types::state::State;

const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn what_is_asked_is_what_is_answered() {
    let running = Running::start(Fake::new());
    let client = Client::new(running.path(), PATIENCE);
    assert_eq!(client.status(None).await.expect("status"), crate::net::fake::status());
    assert_eq!(client.status(Some("shop")).await.expect("status").services.len(), 2);
    assert_eq!(client.tree().await.expect("tree").root, crate::net::fake::tree());
    assert_eq!(client.config().await.expect("config").revision, "abc123");
    assert!(!client.reload(true).await.expect("reload").applied);
    assert_eq!(client.diff(Some("Cafe()".into())).await.expect("plan").steps.len(), 3);
    let ready = client.wait("web", Goal::Ready, PATIENCE).await.expect("ready");
    assert_eq!(ready.state, State::Ready);
    let why = Some("tea & cake? 100%");
    let verb = Verb::Kill { signal: 9 };
    client.act(verb, "web", why, Duration::from_secs(1)).await.expect("acted");
    client.shutdown(Some("a=b&c")).await.expect("begun");
    let calls = running.fake.calls();
    assert!(
        calls[2].ends_with(": Kill { signal: 9 } web Some(\"tea & cake? 100%\") 1s"),
        "{calls:?}"
    );
    assert!(calls[3].ends_with(": shutdown Some(\"a=b&c\")"), "{calls:?}");
}

#[tokio::test]
async fn events_and_their_gaps_come_in_order() {
    let running = Running::start(Fake::new());
    let client = Client::new(running.path(), PATIENCE);
    let mut stream = client.events(Some(10)).await.expect("opens");
    assert_eq!(stream.next().await.expect("whole"), Some(Notice::Gap(2)));
    let mut numbers = Vec::new();
    while let Some(Notice::Event(event)) = stream.next().await.expect("whole") {
        numbers.push(event.seq);
    }
    assert_eq!(numbers, [13, 14]);
}

#[tokio::test]
async fn problems_of_the_daemon_arrive_whole() {
    let running = Running::start(Fake::new());
    let client = Client::new(running.path(), PATIENCE);
    for name in ["nope", "../etc", "", "a b", "ä"] {
        match client.status(Some(name)).await {
            Err(Error::Problem(problem)) => {
                let expected = if name.is_empty() { Code::BadRequest } else { Code::NoSuchName };
                assert_eq!(problem.code, expected, "{name}");
            }
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_daemon_that_is_not_there_is_unreachable() {
    let directory = tempfile::tempdir().expect("temp dir");
    let client = Client::new(directory.path().join("none"), PATIENCE);
    assert_eq!(client.status(None).await.expect_err("nobody").code(), Code::DaemonUnreachable);
}

/// A server that reads one request, then writes `answer` and keeps the connection, or closes it.
async fn answered_with(answer: &'static [u8], keep: bool) -> Error {
    let directory = tempfile::tempdir().expect("temp dir");
    let path = directory.path().join("s");
    let listener = UnixListener::bind(&path).expect("binds");
    let mut server = JoinSet::new();
    server.spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a client");
        let _ = stream.read(&mut [0; 4096]).await;
        let _ = stream.write_all(answer).await;
        if keep {
            std::future::pending::<()>().await;
        }
    });
    Client::new(path, PATIENCE).status(None).await.expect_err("no status")
}

#[tokio::test(start_paused = true)]
async fn a_daemon_that_does_not_answer_is_not_waited_for() {
    for silence in [&b""[..], b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{"] {
        let error = answered_with(silence, true).await;
        assert!(matches!(error, Error::TimedOut { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn answers_that_are_none_are_errors() {
    for (answer, code) in [
        (&b""[..], Code::DaemonUnreachable),
        (b"SSH-2.0-OpenSSH_9.2\r\n", Code::DaemonUnreachable),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{", Code::DaemonUnreachable),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", Code::OperationFailed),
        (b"HTTP/1.1 500 Oh\r\ncontent-length: 2\r\n\r\nno", Code::OperationFailed),
    ] {
        let error = answered_with(answer, false).await;
        assert_eq!(error.code(), code, "{answer:?}: {error:?}");
    }
}

#[test]
fn goals_are_reached_missed_or_pending() {
    use Verdict::{Missed, Pending, Reached};
    #[rustfmt::skip]
    let table = [
        //                  ready    running  stopped  done
        (State::Stopped,   [Missed,  Missed,  Reached, Missed]),
        (State::Waiting,   [Pending, Pending, Pending, Pending]),
        (State::Starting,  [Pending, Pending, Pending, Pending]),
        (State::Running,   [Reached, Reached, Pending, Pending]),
        (State::Ready,     [Reached, Reached, Pending, Pending]),
        (State::Unhealthy, [Pending, Reached, Pending, Pending]),
        (State::Stopping,  [Pending, Pending, Pending, Pending]),
        (State::Backoff,   [Pending, Pending, Pending, Pending]),
        (State::Failed,    [Missed,  Missed,  Reached, Missed]),
        (State::Done,      [Reached, Missed,  Reached, Reached]),
    ];
    for (state, verdicts) in table {
        for (goal, verdict) in
            [Goal::Ready, Goal::Running, Goal::Stopped, Goal::Done].into_iter().zip(verdicts)
        {
            assert_eq!(goal.judge(state), verdict, "{goal} {state}");
        }
    }
}
