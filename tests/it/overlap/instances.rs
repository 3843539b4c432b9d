//! Several instances of one service: each for itself, and together one service.

use std::collections::BTreeMap;

use cafe::net::control::{Outcome, Verb};
use cafe::types::state::State;
use cafe::types::status::Service;
use nix::sys::signal::Signal;

use crate::harness::{Cafe, IDLE, eventually, is_gone, kill, sh, told};

/// Notes in `journal` when it is up and when it is told to end; `more` comes before it is up.
fn noted(more: &str) -> String {
    sh(&format!(
        "trap 'echo down $CAFE_INSTANCE >>journal; exit' TERM; echo instance $CAFE_INSTANCE; {more}; \
         echo up $CAFE_INSTANCE >>journal; echo >&3; {IDLE}"
    ))
}

fn config(count: u32, more: &str, fields: &str) -> String {
    let command = noted(more);
    format!(
        "services: {{ \"web\": (command: {command}, ready: fd(3), instances: {count}, {fields}) }},"
    )
}

/// Waits until all instances are ready; their processes by number.
async fn all_ready(cafe: &Cafe, count: usize) -> BTreeMap<u32, u32> {
    let ready = |web: &Service| web.state == State::Ready && web.instances.len() == count;
    let web = cafe.wait_service("web", "ready", ready).await;
    web.instances.iter().map(|it| (it.number, it.pid.unwrap())).collect()
}

async fn pids(cafe: &Cafe) -> Vec<u32> {
    cafe.service("web").await.instances.iter().filter_map(|it| it.pid).collect()
}

fn journal(cafe: &Cafe) -> Vec<String> {
    cafe.read("journal").lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn each_has_its_own_process_state_and_log() {
    let cafe = Cafe::new("");
    cafe.fifo("gate");
    let web = noted("test -e free || test $CAFE_INSTANCE != 2 || read go <gate");
    cafe.configure(&format!(
        "services: {{ \"web\": (command: {web}, ready: fd(3), instances: 3), \
         \"late\": (command: {}, after: [\"web\"]) }},",
        sh(IDLE)
    ));
    let mut cafe = cafe;
    cafe.boot().await;
    let two_ready = |web: &Service| {
        web.instances.iter().filter(|it| it.state == Some(State::Ready)).count() == 2
    };
    let web = cafe.wait_service("web", "two ready", two_ready).await;
    assert_eq!((web.state, web.pid), (State::Starting, None));
    assert!(web.reason.starts_with("2 of 3 up; web@2 is starting: "), "{}", web.reason);
    let late = cafe.service("late").await;
    assert_eq!((late.state, late.reason.as_str()), (State::Waiting, "starts after `web@2`"));
    assert_eq!(late.depends_on.iter().map(ToString::to_string).collect::<Vec<_>>(), ["web"]);

    let _gate = cafe.open_gate("gate");

    std::fs::write(cafe.path("free"), "").unwrap();
    let pids = all_ready(&cafe, 3).await;
    cafe.wait_state("late", State::Running).await;
    assert_eq!(cafe.service("web").await.reason, "3 of 3 up");
    let status = cafe.status().await;
    assert_eq!(status.services.len(), 2);
    let second = cafe.service("web@2").await;
    assert_eq!((second.state, second.pid), (State::Ready, Some(pids[&2])));
    for (number, pid) in &pids {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
        let wanted = format!("CAFE_INSTANCE={number}");
        assert!(String::from_utf8_lossy(&environment).split('\0').any(|entry| entry == wanted));
    }
    // All views have all of them.
    let table = told(&cafe.cli(&["status"])).stdout;
    let tree = told(&cafe.cli(&["tree", "-o", "plain"])).stdout;
    for number in 1..=3 {
        assert!(table.contains(&format!("web@{number}")), "{table}");
        assert!(tree.contains(&format!("/web/web@{number}\tinstance\tready")), "{tree}");
    }
    told(&cafe.cli(&["status", "web"])).expect(0, &["3 of 3 up", "web@3:"]);
    let lines = |name: &str| {
        let mut lines: Vec<String> = told(&cafe.cli(&["logs", name, "--no-prefix"]))
            .stdout
            .lines()
            .filter_map(|line| Some(line.split_once("instance ")?.1.to_owned()))
            .collect();
        lines.sort();
        lines
    };
    eventually("all lines", || (lines("web").len() == 3).then_some(())).await;
    assert_eq!(
        (lines("web"), lines("web@2")),
        (vec!["1".into(), "2".into(), "3".into()], vec!["2".into()])
    );

    // One crashes: it comes back alone.
    kill(pids[&1], Signal::SIGKILL);
    let again = |web: &Service| web.state == State::Ready && web.instances[0].pid != Some(pids[&1]);
    let web = cafe.wait_service("web", "again", again).await;
    assert_eq!((web.instances[1].pid, web.instances[2].pid), (Some(pids[&2]), Some(pids[&3])));
    assert_eq!(
        (web.restarts, web.instances[0].restarts, web.instances[1].restarts),
        (1, Some(1), Some(0))
    );

    // One is stopped by hand, then all.
    told(&cafe.cli(&["stop", "web@3"])).expect(0, &["stopped web@3"]);
    let web = cafe.service("web").await;
    assert_eq!(
        (web.state, web.reason.as_str()),
        (State::Stopped, "2 of 3 up; web@3 is stopped: stopped by hand")
    );
    cafe.act(Verb::Stop, "web").await;
    assert_eq!(cafe.service("web").await.reason, "0 of 3 up; web@1 is stopped: stopped by hand");
    cafe.act(Verb::Start, "web").await;
    all_ready(&cafe, 3).await;
}

/// After the first so many ups: who goes comes back before the next goes.
fn is_rolled(journal: &[String], count: usize) {
    let (ups, rest) = journal.split_at(count);
    assert!(ups.iter().all(|line| line.starts_with("up ")), "{journal:?}");
    for pair in rest.chunks(2) {
        let [down, up] = pair else { panic!("{journal:?}") };
        assert_eq!(down.replace("down", "up"), *up, "{journal:?}");
    }
}

#[tokio::test]
async fn a_restart_rolls() {
    let cafe = Cafe::start(&config(3, ":", "")).await;
    let before = all_ready(&cafe, 3).await;
    let acted = cafe.act(Verb::Restart, "web").await;
    let changed: Vec<_> = acted.services.iter().map(|it| (it.name.as_str(), it.outcome)).collect();
    assert_eq!(changed, ["web@1", "web@2", "web@3"].map(|name| (name, Outcome::Changed)));
    let after = all_ready(&cafe, 3).await;
    assert!(before.iter().all(|(number, pid)| after[number] != *pid && is_gone(*pid)));
    is_rolled(&journal(&cafe), 3);
    assert_eq!(journal(&cafe).len(), 9);

    // A changed config likewise, and one instance alone.
    cafe.configure(&config(3, ": changed", ""));
    told(&cafe.cli(&["reload"])).expect(0, &[]);
    eventually("all rolled", || (journal(&cafe).len() == 15).then_some(())).await;
    is_rolled(&journal(&cafe), 3);
    all_ready(&cafe, 3).await;
    cafe.act(Verb::Restart, "web@2").await;
    assert_eq!(journal(&cafe)[15..], ["down 2", "up 2"]);
}

#[tokio::test]
async fn a_roll_ends_with_one_that_does_not_come_up() {
    for overlap in [false, true] {
        let cafe = Cafe::start(&config(3, "test -e bad && exit 9", "restart: temporary")).await;
        let before = all_ready(&cafe, 3).await;
        std::fs::write(cafe.path("bad"), "").unwrap();
        let arguments: &[&str] =
            if overlap { &["restart", "--overlap", "web"] } else { &["restart", "web"] };
        let said = told(&cafe.cli(arguments));
        said.expect(
            1,
            &[
                "cannot restart \"web@1\"",
                "cannot restart \"web@2\": not restarted, as `web@1` did not come up",
            ],
        );
        let web = cafe.service("web").await;
        let pids: Vec<_> = web.instances.iter().map(|it| it.pid).collect();
        let first = overlap.then_some(before[&1]);
        assert_eq!(pids, [first, Some(before[&2]), Some(before[&3])], "the rest is let alone");
        let state = if overlap { State::Ready } else { State::Failed };
        assert_eq!(web.state, state, "{}", web.reason);

        // What is down comes first.
        std::fs::remove_file(cafe.path("bad")).unwrap();
        cafe.act(Verb::Restart, "web").await;
        let after = all_ready(&cafe, 3).await;
        assert!(before.iter().all(|(number, pid)| after[number] != *pid));
    }
}

#[tokio::test]
async fn without_a_check_each_must_run_for_a_moment() {
    let script = sh(&format!("test -e bad && exit 9; echo >>up; {IDLE}"));
    let web = format!("(command: {script}, instances: 3, restart: temporary)");
    let cafe = Cafe::start(&format!("services: {{ \"web\": {web} }},")).await;
    let up = |count: usize| {
        let cafe = &cafe;
        eventually("first lines", move || (cafe.read("up").lines().count() == count).then_some(()))
    };
    up(3).await;
    let before = pids(&cafe).await;
    let began = std::time::Instant::now();
    cafe.act(Verb::Restart, "web").await;
    assert!(began.elapsed() >= std::time::Duration::from_secs(2), "two of them had to run");
    let after = pids(&cafe).await;
    assert!(before.iter().all(|pid| !after.contains(pid)));
    up(6).await;

    // One that ends at once was running for a moment, which is not enough.
    std::fs::write(cafe.path("bad"), "").unwrap();
    told(&cafe.cli(&["restart", "web"])).expect(1, &["not restarted, as `web@1` did not come up"]);
    assert_eq!(pids(&cafe).await[..], after[1..]);
}

#[tokio::test]
async fn another_number_starts_or_stops_the_difference() {
    let cafe = Cafe::start(&config(2, ":", "")).await;
    let two = all_ready(&cafe, 2).await;
    cafe.configure(&config(4, ":", ""));
    told(&cafe.cli(&["reload"])).expect(0, &[]);
    let four = all_ready(&cafe, 4).await;
    assert!(two.iter().all(|(number, pid)| four[number] == *pid));
    cafe.configure(&config(3, ":", ""));
    told(&cafe.cli(&["reload"])).expect(0, &[]);
    let three = all_ready(&cafe, 3).await;
    assert!(three.iter().all(|(number, pid)| four[number] == *pid));
    eventually("end of the fourth", || is_gone(four[&4]).then_some(())).await;

    // A single one has no number, so it is another one.
    cafe.configure(&config(1, ":", ""));
    told(&cafe.cli(&["reload"])).expect(0, &[]);
    let single = |web: &Service| web.state == State::Ready && web.pid.is_some();
    let web = cafe.wait_service("web", "single", single).await;
    eventually("end of all", || three.values().all(|pid| is_gone(*pid)).then_some(())).await;
    assert_eq!((web.instances.len(), &web.instances[0].name), (1, &None));
    let environment = std::fs::read(format!("/proc/{}/environ", web.pid.unwrap())).unwrap();
    assert!(!String::from_utf8_lossy(&environment).contains("CAFE_INSTANCE"));
    cafe.wait_for("no instance left", |status| (status.services.len() == 1).then_some(())).await;
    assert_eq!(cafe.processes().len(), 1);
}

#[tokio::test]
async fn a_killed_cafe_finds_them_again() {
    let mut cafe = Cafe::start(&config(3, ":", "")).await;
    let before = all_ready(&cafe, 3).await;
    cafe.crash();
    cafe.boot().await;
    let found = |web: &Service| {
        web.instances.len() == 3
            && web.instances.iter().all(|it| it.pid == Some(before[&it.number]))
    };
    let web = cafe.wait_service("web", "found", found).await;
    assert_eq!((web.state, web.restarts, cafe.processes().len()), (State::Running, 0, 3));
    cafe.act(Verb::Overlap, "web").await;
    eventually("end of the first three", || before.values().all(|pid| is_gone(*pid)).then_some(()))
        .await;
    all_ready(&cafe, 3).await;
    assert_eq!(cafe.processes().len(), 3);
}
