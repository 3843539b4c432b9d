//! `sd_notify(3)` beyond READY: texts, deadlines, the watchdog, another main process, and who is believed.

use std::os::unix::net::UnixDatagram;

use cafe::net::control::Verb;
use cafe::types::exit::Cause;
use cafe::types::state::State;
use nix::sys::signal::Signal;

use crate::harness::{Cafe, IDLE, eventually, is_gone, kill, notifier_in, sh};

/// A service of this script and further fields, before anything was said.
fn notifying(script: &str, fields: &str) -> Cafe {
    let command = sh(script);
    Cafe::new(&format!(
        "services: {{ \"a\": (command: {command}, ready: notify, {fields} \
         backoff: (min: \"1ms\", max: \"1ms\")) }},"
    ))
}

#[tokio::test]
async fn its_own_words_are_shown() {
    let mut cafe = notifying(&notifier_in("orders"), "");
    let mut orders = cafe.orders("orders");
    cafe.boot().await;
    for (said, shown) in [
        ("STATUS=warming up", "warming up"),
        ("READY=1", "warming up"),
        ("RELOADING=1", "reloading"),
        ("STATUS=42 clients", "42 clients"),
        ("STOPPING=1", "stopping by itself"),
    ] {
        orders.say(said);
        let has_text = |a: &cafe::types::status::Service| a.status_text.as_deref() == Some(shown);
        cafe.wait_service("a", said, has_text).await;
    }
}

#[tokio::test]
async fn a_service_without_sign_of_life_is_restarted() {
    let mut cafe = notifying(&notifier_in("orders"), "watchdog: \"2s\",");
    let mut orders = cafe.orders("orders");
    cafe.boot().await;
    orders.say("READY=1");
    cafe.wait_state("a", State::Ready).await;
    // One sign of life in the middle of its time: it lives half a time longer than without.
    let mut middle = tokio::time::interval(std::time::Duration::from_secs(1));
    middle.tick().await;
    middle.tick().await;
    orders.say("WATCHDOG=1");

    let a = cafe.wait_service("a", "restarted", |a| a.restarts == 1).await;

    let end = &a.exits[0];
    assert!(end.trigger.contains("no WATCHDOG=1 in time"), "{}", end.trigger);
    assert!(end.run_ms >= 2900, "ended after {} ms", end.run_ms);
}

#[tokio::test]
async fn a_service_may_ask_for_its_own_restart() {
    let mut cafe = notifying(&notifier_in("orders"), "watchdog: \"1h\",");
    let mut orders = cafe.orders("orders");
    cafe.boot().await;
    orders.say("READY=1");
    cafe.wait_state("a", State::Ready).await;
    orders.say("WATCHDOG=trigger");
    let a = cafe.wait_service("a", "restarted", |a| a.restarts == 1).await;
    assert!(a.exits[0].trigger.contains("WATCHDOG"), "{}", a.exits[0].trigger);
}

#[tokio::test]
async fn a_start_may_take_longer_when_it_says_so() {
    let mut cafe = notifying(&notifier_in("orders"), "ready_timeout: \"2s\",");
    let mut orders = cafe.orders("orders");
    cafe.boot().await;
    orders.say("EXTEND_TIMEOUT_USEC=3000000");
    let a = cafe.wait_service("a", "ended", |a| !a.exits.is_empty()).await;
    assert!(a.exits[0].trigger.contains("not ready"), "{}", a.exits[0].trigger);
    assert!(a.exits[0].run_ms >= 3000, "ended after {} ms", a.exits[0].run_ms);
}

#[tokio::test]
async fn a_stop_may_take_longer_when_it_says_so() {
    // The shell ignores the signal, and so does what it becomes.
    let script = format!("trap '' TERM; {}", notifier_in("orders"));
    let mut cafe = notifying(&script, "stop: (timeout: \"2s\"),");
    let mut orders = cafe.orders("orders");
    cafe.boot().await;
    orders.say("READY=1");
    cafe.wait_state("a", State::Ready).await;
    let say_it_stops = async {
        cafe.wait_state("a", State::Stopping).await;
        orders.say("STATUS=saving");
        orders.say("EXTEND_TIMEOUT_USEC=3000000");
    };
    let began = std::time::Instant::now();

    tokio::join!(cafe.act(Verb::Stop, "a"), say_it_stops);

    let took = began.elapsed();
    let a = cafe.service("a").await;
    assert_eq!(a.exits[0].cause, Cause::Signal { signal: 9, core: false });
    assert!(took.as_millis() >= 3000, "killed after {took:?}");
    assert_eq!(a.status_text.as_deref(), Some("saving"));
}

#[tokio::test]
async fn another_process_of_it_may_become_the_main_one() {
    let script = format!(
        "sleep infinity & echo $! >child.new; mv child.new child; {}",
        notifier_in("orders")
    );
    let mut cafe = notifying(&script, "");
    let mut orders = cafe.orders("orders");
    cafe.boot().await;
    orders.say("READY=1");
    let first = cafe.wait_state("a", State::Ready).await;
    let child: u32 = cafe.read("child").trim().parse().expect("a pid");

    orders.say(&format!("MAINPID={child}"));
    cafe.wait_service("a", "with its new main process", |a| a.pid == Some(child)).await;

    kill(child, Signal::SIGKILL);
    let a = cafe.wait_service("a", "restarted", |a| a.restarts == 1).await;
    assert_eq!(a.exits[0].pid, Some(child));
    let old = first.pid.unwrap();
    eventually("end of the old main process", || is_gone(old).then_some(())).await;
}

#[tokio::test]
async fn a_stranger_cannot_become_the_main_process() {
    let mut cafe = notifying(&notifier_in("orders"), "");
    let mut orders = cafe.orders("orders");
    cafe.boot().await;
    orders.say("READY=1");
    let a = cafe.wait_state("a", State::Ready).await;
    orders.say(&format!("MAINPID={}", std::process::id()));
    orders.say("STATUS=said");
    cafe.wait_service("a", "heard", |a| a.status_text.as_deref() == Some("said")).await;

    // Whatever it believes now: its stop must end its own process, and no other.
    cafe.act(Verb::Stop, "a").await;

    assert!(is_gone(a.pid.unwrap()));
    assert_eq!(cafe.service("a").await.exits[0].pid, a.pid);
}

#[tokio::test]
async fn a_stranger_is_not_believed() {
    let mut cafe = notifying(&notifier_in("orders"), "");
    let mut orders = cafe.orders("orders");
    cafe.boot().await;
    cafe.wait_service("a", "with a process", |a| a.pid.is_some()).await;
    let stranger = UnixDatagram::unbound().unwrap();
    let socket = cafe.path("state/run/notify/a.1");
    for said in ["READY=1", "STATUS=of a stranger", "WATCHDOG=trigger"] {
        stranger.send_to(said.as_bytes(), &socket).unwrap();
    }

    // Read in order: what came before it was judged.
    orders.say("STATUS=its own");
    let a = cafe.wait_service("a", "heard", |a| a.status_text.is_some()).await;

    assert_eq!(a.status_text.as_deref(), Some("its own"));
    assert_eq!((a.state, a.restarts), (State::Starting, 0));
    let me = format!("process {} of user", std::process::id());
    eventually("a line in its log", || {
        let told = cafe.cli(&["logs", "a"]);
        String::from_utf8_lossy(&told.stdout).contains(&me).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_process_that_has_ended_since_is_believed() {
    let script = format!("( {} ); : >over; {IDLE}", notifier_in("orders"));
    let mut cafe = notifying(&script, "");
    let mut orders = cafe.orders("orders");
    cafe.boot().await;
    cafe.wait_service("a", "with a process", |a| a.pid.is_some()).await;
    kill(cafe.pid(), Signal::SIGSTOP);
    orders.say("READY=1");
    orders.say("quit");
    eventually("end of the notifier", || cafe.path("over").try_exists().unwrap().then_some(()))
        .await;
    kill(cafe.pid(), Signal::SIGCONT);
    cafe.wait_state("a", State::Ready).await;
}

#[tokio::test]
async fn a_process_without_any_mark_is_believed_when_it_descends_from_the_service() {
    let script = format!(
        "( {} ) & wait",
        notifier_in("orders").replace("exec env", "exec setsid env -u CAFE_SERVICE")
    );
    let mut cafe = notifying(&script, "");
    let mut orders = cafe.orders("orders");
    cafe.boot().await;
    orders.say("READY=1");
    cafe.wait_state("a", State::Ready).await;
}

#[tokio::test]
async fn a_new_main_process_is_believed_when_nothing_else_tells_whose_it_is() {
    let script = format!(
        "( {} ) & echo $! >child.new; mv child.new child; {}",
        notifier_in("worker").replace("exec env", "exec setsid env -u CAFE_SERVICE"),
        notifier_in("orders")
    );
    let mut cafe = notifying(&script, "");
    let (mut orders, mut worker) = (cafe.orders("orders"), cafe.orders("worker"));
    cafe.boot().await;
    orders.say("READY=1");
    let old = cafe.wait_state("a", State::Ready).await.pid.unwrap();
    let child: u32 = cafe.read("child").trim().parse().expect("a pid");
    orders.say(&format!("MAINPID={child}"));
    cafe.wait_service("a", "with its new main process", |a| a.pid == Some(child)).await;
    kill(old, Signal::SIGKILL);
    eventually("end of the old main process", || is_gone(old).then_some(())).await;
    worker.say("STATUS=of the new one");
    let heard =
        |a: &cafe::types::status::Service| a.status_text.as_deref() == Some("of the new one");
    cafe.wait_service("a", "heard", heard).await;
}
