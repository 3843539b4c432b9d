//! Sockets come and go with the config, all or none.

use std::net::{SocketAddr, TcpListener, TcpStream};

use cafe::net::control::Verb;
use cafe::types::error::Code;
use cafe::types::state::State;

use super::{address, answer, ask, call, lacks_python, server, services};
use crate::harness::{Cafe, eventually, root, skip, told};

#[tokio::test]
async fn an_address_in_use_is_told_before_anything_changes() {
    let taken = TcpListener::bind(address()).unwrap();
    let at = taken.local_addr().unwrap();
    let idle = |listen: &str| format!("command: [\"sleep\", \"infinity\"], listen: {{ {listen} }}");
    let mut cafe = Cafe::new("");
    let path = cafe.path("s");
    let (other, path) = (address().to_string(), path.to_str().unwrap());
    let blocked = format!("\"a\": {other:?}, \"b\": \"{at}\", \"c\": {path:?}");

    // At the start: nothing of it is left.
    cafe.configure(&services(&[("web", idle(&blocked))]));
    let refused = cafe.cli(&["run", "cafe.ron"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    let expected =
        format!("`b` of service `web`: cannot listen on {at}: somebody does already [C060]");
    assert!(said.contains(&expected), "{said}");
    assert!(
        said.contains(&format!("hint: `ss -lptn 'sport = :{}'` shows who", at.port())),
        "{said}"
    );
    assert!(!cafe.path("s").try_exists().unwrap());

    // At a reload: nothing changes, of what was bound nothing stays.
    cafe.configure(&services(&[("web", idle(&format!("\"a\": {other:?}")))]));
    cafe.boot().await;
    let web = cafe.wait_state("web", State::Running).await;
    let third = address().to_string();
    let blocked = format!("{blocked}, \"0\": {third:?}");
    let revision = cafe.status().await.daemon.config_revision;
    cafe.configure(&services(&[("web", idle(&blocked))]));
    let refused = told(&cafe.cli(&["reload"]));
    let stays = "the config in force stays as it is";
    refused.expect(1, &["C060", &format!("cannot listen on {at}"), "shows who", stays]);
    assert!(TcpStream::connect(&third).is_err(), "what was bound first is closed");
    assert!(!cafe.path("s").try_exists().unwrap());
    let status = cafe.status().await;
    assert_eq!(status.daemon.config_revision, revision);
    assert!(status.daemon.config_error.is_some_and(|error| error.contains("`b` of service `web`")));
    assert_eq!(cafe.service("web").await.pid, web.pid);

    // What is in the way is cafe's own: that is said.
    let everywhere = format!("0.0.0.0:{}", other.rsplit(':').next().unwrap());
    cafe.configure(&services(&[("web", idle(&format!("\"a\": {everywhere:?}")))]));
    let problem = cafe.client.reload(false).await.expect_err("its own socket is in the way");
    assert_eq!(problem.code(), Code::AddressInUse);
    told(&cafe.cli(&["reload"])).expect(1, &[&format!("cafe itself listens on {other}")]);

    // Free again, it is taken.
    drop(taken);
    cafe.configure(&services(&[("web", idle(&blocked))]));
    cafe.wait_service("web", "with four sockets", |web| {
        web.listen.len() == 4 && web.state == State::Running
    })
    .await;
    TcpStream::connect(at).unwrap();
}

#[tokio::test]
async fn a_port_that_needs_a_capability_says_which() {
    let unprivileged = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    if !unprivileged.is_ok_and(|first| first.trim().parse::<u16>().is_ok_and(|first| first > 1)) {
        return skip("every port may be bound by everybody here");
    }
    let at = SocketAddr::new(address().ip(), 1);
    let cafe = Cafe::new("");
    cafe.configure(&format!(
        "services: {{ \"web\": (command: [\"true\"], listen: {{ \"http\": \"{at}\" }}) }},"
    ));
    let humble = ["setpriv", "--bounding-set=-net_bind_service", "--inh-caps=-net_bind_service"];
    let wrapper: &[&str] = if root() { &humble } else { &[] };
    let refused = cafe.command_by(wrapper).args(["run", "cafe.ron"]).output().unwrap();
    let expected = format!("`http` of service `web`: cannot listen on {at}: Permission denied");
    told(&refused).expect(1, &[&expected, "[C024]", "needs the capability CAP_NET_BIND_SERVICE"]);
}

#[tokio::test]
async fn a_reload_binds_what_comes_closes_what_goes_and_keeps_the_rest() {
    if lacks_python() {
        return;
    }
    let cafe = Cafe::new("");
    let path = cafe.path("s");
    let path = path.to_str().unwrap();
    let (kept, gone) = (address().to_string(), address().to_string());
    let mut cafe = cafe;
    cafe.configure(&services(&[("web", server(&[("http", &kept), ("old", &gone)]))]));
    cafe.boot().await;
    cafe.wait_state("web", State::Ready).await;
    let before = ask(&kept);

    cafe.configure(&services(&[("web", server(&[("http", &kept), ("new", path)]))]));
    cafe.wait_service("web", "anew", |web| {
        web.state == State::Ready && web.pid != Some(before.pid)
    })
    .await;
    let after = ask(&kept);
    assert_ne!(after.pid, before.pid, "it was passed others");
    assert_eq!(after.inode, before.inode, "what stayed was never closed");
    assert_eq!(ask(path).name, "new");
    eventually("the old one is closed", || TcpStream::connect(&gone).err()).await;

    // One that moves to another service, under another name, stays open as well.
    let waiting = {
        cafe.act(Verb::Stop, "web").await;
        call(&kept)
    };
    cafe.configure(&services(&[("next", server(&[("main", &kept)]))]));
    let moved = answer(waiting);
    assert_eq!((moved.name.as_str(), &moved.inode), ("main", &before.inode));
    eventually("the file is gone", || (!cafe.path("s").try_exists().unwrap()).then_some(())).await;
}
