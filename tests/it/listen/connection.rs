//! Services that start when somebody connects.

use std::time::Duration;

use cafe::net::control::Verb;
use cafe::types::event::Kind;
use cafe::types::state::State;
use nix::sys::signal::Signal;

use super::{address, answer, ask, call, lacks_python, server, services};
use crate::harness::{Cafe, eventually, kill, sh};

#[tokio::test]
async fn a_service_starts_at_the_first_connection() {
    if lacks_python() {
        return;
    }
    let (http, admin) = (address().to_string(), address().to_string());
    let sockets = [("http", http.as_str()), ("admin", admin.as_str())];
    let fields = |more: &str| format!("{}, start: on_connection, {more}", server(&sockets));
    let cafe = Cafe::start(&services(&[("web", fields("restart: transient"))])).await;
    let web = cafe.wait_state("web", State::Waiting).await;
    let reason = format!("starts at a connection to `admin` ({admin}) or `http` ({http})");
    assert_eq!((web.reason.as_str(), web.pid, web.restarts), (reason.as_str(), None, 0));

    let first = ask(&http);
    let web = cafe.wait_state("web", State::Ready).await;
    assert_eq!(web.pid, Some(first.pid), "it is the one that answered");
    let said = cafe.wait_event("the connection", |event| match &event.kind {
        Kind::Log { service, message } if service.as_str() == "web" => Some(message.clone()),
        _ => None,
    });
    assert_eq!(said.await, "a connection came on `http`");

    // Ended well it waits again, for either socket; that is no restart.
    kill(first.pid, Signal::SIGTERM);
    let web = cafe.wait_state("web", State::Waiting).await;
    assert!(web.reason.starts_with(&format!("{reason}; last run exited 0 after ")), "{web:?}");
    let second = ask(&admin);
    assert_ne!(second.pid, first.pid);
    assert_eq!(cafe.wait_state("web", State::Ready).await.restarts, 0);

    // Ended badly it is restarted by its policy.
    kill(second.pid, Signal::SIGKILL);
    let again = |web: &cafe::types::status::Service| {
        web.state == State::Ready && web.pid != Some(second.pid)
    };
    let third = cafe.wait_service("web", "again", again).await;
    assert_eq!(third.restarts, 1);

    // Stopped by hand it stays so: who connects waits for a hand.
    cafe.act(Verb::Stop, "web").await;
    let waiting = call(&http);
    let web = cafe.wait_state("web", State::Stopped).await;
    assert_eq!(web.reason, "stopped by hand");
    cafe.act(Verb::Start, "web").await;
    let fourth = answer(waiting);

    // Stopped while it waits, too.
    kill(fourth.pid, Signal::SIGTERM);
    cafe.wait_state("web", State::Waiting).await;
    cafe.act(Verb::Stop, "web").await;
    let web = cafe.service("web").await;
    assert_eq!((web.state, web.reason.as_str()), (State::Stopped, "stopped by hand"));

    // A new config is a new beginning only for one that was not stopped by hand.
    cafe.act(Verb::Start, "web").await;
    let fifth = ask(&http);
    kill(fifth.pid, Signal::SIGTERM);
    cafe.wait_state("web", State::Waiting).await;
    let moved = address().to_string();
    let sockets = [("http", moved.as_str())];
    let fields = format!("{}, start: on_connection, restart: transient", server(&sockets));
    cafe.configure(&services(&[("web", fields)]));
    cafe.wait_service("web", "waits on another socket", |web| web.reason.contains(&moved)).await;
    let sixth = ask(&moved);
    assert_eq!(cafe.wait_state("web", State::Ready).await.pid, Some(sixth.pid));
}

#[tokio::test]
async fn a_service_that_leaves_connections_where_they_are_does_not_spin() {
    let at = address().to_string();
    let fields = format!(
        "command: {}, listen: {{ \"s\": {at:?} }}, start: on_connection, restart: transient",
        sh("echo x >>runs; exit 0")
    );
    let cafe = Cafe::start(&services(&[("lazy", fields)])).await;
    cafe.wait_state("lazy", State::Waiting).await;
    let began = std::time::Instant::now();
    let _waiting = call(&at);
    eventually("the third run", || (cafe.read("runs").lines().count() >= 3).then_some(())).await;
    assert!(began.elapsed() >= Duration::from_secs(2), "a second between two runs");
    assert_eq!(cafe.service("lazy").await.restarts, 0);
}
