//! cafe as process 1 of a container: a pid namespace of its own, made by unshare(1). Needs root.

use std::process::Child;
use std::time::{Duration, Instant};

use cafe::types::state::State;
use nix::sys::signal::Signal;

use crate::harness::{
    Cafe, IDLE, end_container, eventually, is_gone, kill, process_1, program, root, sh, skip, told,
};

/// A process namespace with its own /proc, that ends with the program in front.
const CONTAINER: [&str; 5] = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"];

/// Makes everything below /sys read-only, as containers have it.
const READ_ONLY_SYS: &str = "for at in $(awk '$2 ~ \"^/sys\" { print $2 }' /proc/mounts); do \
    mount -o remount,bind,ro $at || exit 9; done; exec \"$@\"";

/// A daemon that is process 1, and `unshare` in front of it.
struct Init {
    unshare: Child,
    cafe: Cafe,
}

impl Init {
    /// Starts one and waits until it answers; none, with the reason said, where that is not possible.
    async fn start(sections: &str) -> Option<Self> {
        Self::start_by(&[], sections).await
    }

    /// The same, with a program in front that is process 1 before it becomes cafe.
    async fn start_by(wrapper: &[&str], sections: &str) -> Option<Self> {
        let (unshare, arguments) = CONTAINER.split_first().expect("a program");
        let tried = program(unshare).args(arguments).arg("true").output();
        if !root() || !tried.is_ok_and(|tried| tried.status.success()) {
            skip("process namespaces need root and unshare(1)");
            return None;
        }
        let cafe = Cafe::new(sections);
        let words = [&CONTAINER, wrapper].concat();
        let unshare = cafe.spawn_by(&words);
        let mut init = Self { unshare, cafe };
        init.cafe.answers().await;
        assert_eq!(init.cafe.status().await.daemon.pid, 1);
        Some(init)
    }

    /// Its process id out here.
    fn pid(&self) -> u32 {
        process_1(self.unshare.id()).expect("it runs")
    }

    /// Sends it a signal; its exit code, and how long it took.
    async fn end(mut self, signal: Signal) -> (Option<i32>, Duration) {
        let began = Instant::now();
        kill(self.pid(), signal);
        (self.exit_code().await, began.elapsed())
    }

    async fn exit_code(&mut self) -> Option<i32> {
        let unshare = &mut self.unshare;
        eventually("its end", || unshare.try_wait().expect("own child")).await.code()
    }
}

impl Drop for Init {
    fn drop(&mut self) {
        end_container(&mut self.unshare);
    }
}

/// A service that says in `journal` that it was told to end.
fn told_to_end(name: &str, fields: &str) -> String {
    let script = sh(&format!("trap 'echo {name} >>journal; exit 0' TERM; echo >&3; {IDLE}"));
    format!("\"{name}\": (command: {script}, ready: fd(3), {fields}),\n")
}

#[tokio::test]
async fn both_signals_of_a_container_end_everything_in_order() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let services = told_to_end("a", "") + &told_to_end("b", "requires: [\"a\"]");
        let sections = format!("services: {{ {services} }},");
        let Some(mut init) = Init::start(&sections).await else { return };
        init.cafe.wait_state("b", State::Ready).await;
        kill(init.pid(), signal);
        assert_eq!(init.exit_code().await, Some(0));
        assert_eq!(init.cafe.read("journal"), "b\na\n");
        assert!(init.cafe.console().contains("everything has stopped"));
    }
}

#[tokio::test]
async fn an_upgrade_leaves_it_process_1_with_all_that_it_has_to_reap() {
    let services = told_to_end("a", "") + &told_to_end("b", "requires: [\"a\"]");
    let Some(mut init) = Init::start(&format!("services: {{ {services} }},")).await else { return };
    let b = init.cafe.wait_state("b", State::Ready).await;
    for _ in 0..3 {
        told(&init.cafe.cli(&["upgrade"])).expect(0, &["after a pause of"]);
    }
    let status = init.cafe.status().await;
    assert_eq!((status.daemon.pid, status.daemon.upgrades), (1, 3));
    assert_eq!(init.cafe.service("b").await.pid, b.pid);
    kill(init.pid(), Signal::SIGTERM);
    assert_eq!(init.exit_code().await, Some(0));
    assert_eq!(init.cafe.read("journal"), "b\na\n");
}

/// `docker stop` kills after 10 s, and each of these would have as long.
#[tokio::test]
async fn it_ends_before_a_container_is_killed_whatever_its_services_do() {
    let stubborn = |fields: &str| {
        let script = sh(&format!("trap '' TERM; echo >&3; {IDLE}"));
        format!("(command: {script}, ready: fd(3), {fields})")
    };
    let (a, b) = (stubborn(""), stubborn("requires: [\"a\"]"));
    let sections = format!("services: {{ \"a\": {a}, \"b\": {b} }},");
    let Some(init) = Init::start(&sections).await else { return };
    init.cafe.wait_state("b", State::Ready).await;
    let (code, took) = init.end(Signal::SIGTERM).await;
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert!(took > Duration::from_secs(7), "they have some time: {took:?}");
}

#[tokio::test]
async fn it_reaps_what_was_left_to_it() {
    let orphan = "read go <gate; exit 3";
    let script = sh(&format!(
        "mkfifo gate; setsid sh -c '(sh -c \"echo \\$\\$ >orphan; {orphan}\" &)' & wait $!; echo >&3; {IDLE}"
    ));
    let sections = format!("services: {{ \"a\": (command: {script}, ready: fd(3)) }},");
    let Some(init) = Init::start(&sections).await else { return };
    let a = init.cafe.wait_state("a", State::Ready).await;
    let pid = init.pid();
    let shell = "read go";
    let children = || {
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let children = children.unwrap_or_default();
        children.split_whitespace().map(|child| child.parse().unwrap()).collect::<Vec<u32>>()
    };
    // Its main process, and the orphan.
    let orphan = eventually("the orphan is a child of process 1", || {
        children().into_iter().find(|&child| {
            let line = std::fs::read(format!("/proc/{child}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).into_owned();
            line.contains(shell) && !line.contains("setsid")
        })
    });
    let orphan = orphan.await;
    let _gate = init.cafe.open_gate("gate");
    eventually("it is reaped", || (!children().contains(&orphan)).then_some(())).await;
    assert!(is_gone(orphan));
    let again = init.cafe.service("a").await;
    assert_eq!((again.state, again.pid, again.restarts), (State::Ready, a.pid, 0));
    assert_eq!(init.end(Signal::SIGTERM).await.0, Some(0));
}

#[tokio::test]
async fn it_ends_with_the_code_of_its_significant_service() {
    let main = sh("mkfifo gate; echo >&3; read go <gate; exit 42");
    let services = told_to_end("helper", "")
        + &format!(
            "\"main\": (command: {main}, ready: fd(3), requires: [\"helper\"], restart: temporary, significant: true)"
        );
    let Some(mut init) = Init::start(&format!("services: {{ {services} }},")).await else { return };
    init.cafe.wait_state("main", State::Ready).await;
    let _gate = init.cafe.open_gate("gate");
    assert_eq!(init.exit_code().await, Some(42));
    assert_eq!(init.cafe.read("journal"), "helper\n");
}

#[tokio::test]
async fn it_needs_neither_a_home_nor_cgroups_nor_a_writable_sys() {
    let wrapper =
        ["sh", "-c", READ_ONLY_SYS, "sh", "env", "-i", "PATH=/usr/bin:/bin", "CAFE_LOG=cafe=info"];
    let script = sh(&format!("echo home ${{HOME-none}}; echo >&3; {IDLE}"));
    let sections = format!(
        "services: {{
            \"plain\": (command: {script}, ready: fd(3)),
            \"limited\": (command: {script}, restart: temporary, limits: (memory_max: \"64MiB\")),
        }},"
    );
    let Some(init) = Init::start_by(&wrapper, &sections).await else { return };
    init.cafe.wait_state("plain", State::Ready).await;
    let limited = init.cafe.wait_state("limited", State::Failed).await;
    let reason = "this service has limits that need one; run cafe as root or delegate a cgroup v2";
    assert!(limited.reason.contains(reason), "{}", limited.reason);
    assert!(init.cafe.console().contains("cgroups not used"), "{}", init.cafe.console());
    assert_eq!(init.end(Signal::SIGTERM).await.0, Some(0));
}
