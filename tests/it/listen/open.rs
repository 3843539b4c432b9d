//! Sockets stay open whatever becomes of the service, and of cafe.

use cafe::net::control::Verb;
use cafe::types::state::State;
use nix::sys::signal::Signal;

use super::{SERVER, address, answer, ask, call, lacks_python, server, services};
use crate::harness::{Cafe, eventually, is_gone, kill, root, sh};

#[tokio::test]
async fn who_connects_during_a_restart_a_crash_or_a_backoff_is_answered() {
    if lacks_python() {
        return;
    }
    let tcp = address().to_string();
    let backoff = "backoff: (min: \"300ms\", max: \"300ms\")";
    let fields = format!("{}, {backoff}", server(&[("http", &tcp)]));
    let cafe = Cafe::start(&services(&[("web", fields)])).await;
    cafe.wait_state("web", State::Ready).await;
    let first = ask(&tcp);

    kill(first.pid, Signal::SIGKILL);
    cafe.wait_state("web", State::Backoff).await;
    let second = answer(call(&tcp));
    assert_ne!(second.pid, first.pid);
    assert_eq!(second.inode, first.inode, "the same socket");

    // Stopped by hand it stays open, too.
    cafe.act(Verb::Stop, "web").await;
    let waiting = call(&tcp);
    cafe.act(Verb::Start, "web").await;
    let third = answer(waiting);
    assert_eq!(third.inode, first.inode);

    // Who is in the queue while it restarts waits.
    let restarting = cafe.act(Verb::Restart, "web");
    let calls = async { (0..20).map(|_| call(&tcp)).collect::<Vec<_>>() };
    let (_, calls) = tokio::join!(restarting, calls);
    for call in calls {
        assert_eq!(answer(call).inode, first.inode);
    }
}

#[tokio::test]
async fn after_a_crash_of_cafe_the_sockets_are_the_same() {
    if lacks_python() {
        return;
    }
    let mut cafe = Cafe::new("");
    let path = cafe.path("s");
    let (tcp, path) = (address().to_string(), path.to_str().unwrap().to_owned());
    cafe.configure(&services(&[("web", server(&[("http", &tcp), ("admin", &path)]))]));
    cafe.boot().await;
    cafe.wait_state("web", State::Ready).await;
    let before = [ask(&tcp), ask(&path)];

    cafe.crash();
    assert_eq!([ask(&tcp), ask(&path)], before, "the service accepts without cafe");
    cafe.boot().await;
    cafe.wait_service("web", "taken over", |web| web.pid == Some(before[0].pid)).await;

    kill(before[0].pid, Signal::SIGKILL);
    eventually("its end", || is_gone(before[0].pid).then_some(())).await;
    let after = [ask(&tcp), ask(&path)];
    for (after, before) in after.iter().zip(&before) {
        assert_ne!(after.pid, before.pid);
        assert_eq!(after.inode, before.inode, "who connected in between was not lost");
    }
    cafe.end(Signal::SIGTERM).await;
    assert!(!cafe.path("s").try_exists().unwrap(), "the file is cafe's again");
}

/// A service that nobody may look into, and a cafe that may not look into others': its sockets cannot be taken back.
#[tokio::test]
async fn sockets_that_cannot_be_taken_back_are_bound_at_the_next_start() {
    if lacks_python() {
        return;
    }
    let mut cafe = Cafe::new("");
    let at = address().to_string();
    let hidden = format!(
        "import ctypes\nassert ctypes.CDLL(None).prctl(4, 0, 0, 0, 0) == 0\nexec({})",
        serde_json::to_string(SERVER).unwrap()
    );
    let env = format!("env: {{ \"HIDDEN\": {} }}", serde_json::to_string(&hidden).unwrap());
    let command = sh("exec python3 -c \"$HIDDEN\"");
    cafe.configure(&format!(
        "services: {{ \"web\": (command: {command}, {}, ready: fd(4), listen: {{ \"http\": {at:?} }}) }},",
        env.replace("${", "$${")
    ));
    let humble = ["setpriv", "--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace"];
    let wrapper: &[&str] = if root() { &humble } else { &[] };
    cafe.boot_by(wrapper).await;
    cafe.wait_state("web", State::Ready).await;
    let before = ask(&at);

    cafe.crash();
    cafe.boot_by(wrapper).await;
    cafe.wait_service("web", "taken over", |web| web.pid == Some(before.pid)).await;
    let console = cafe.console();
    assert!(console.contains("held by the running service alone until it restarts"), "{console}");
    assert_eq!(ask(&at), before, "it is not disturbed");

    cafe.act(Verb::Restart, "web").await;
    let after = ask(&at);
    assert_ne!((after.pid, &after.inode), (before.pid, &before.inode));
}
