//! `cafe logs`: from the files, so of the living and the dead, over restarts and rotations, and safe to look at.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};

use cafe::net::control::Verb;
use cafe::types::state::State;
use nix::sys::signal::Signal;

use crate::harness::{Cafe, IDLE, Told, eventually, is_installed, program, sh, skip, told};

/// A service that writes `tick 1`, `tick 2`, ... one at each reload, counted on over its restarts.
fn ticking() -> String {
    let tick = "n=$(($(cat count 2>/dev/null || echo 0)+1)); echo $n > count; echo tick $n";
    format!(
        "\"a\": (command: {}, reload: signal(HUP)),",
        sh(&format!("trap '{tick}' HUP; echo up; {IDLE}"))
    )
}

fn lines(cafe: &Cafe, arguments: &[&str]) -> Told {
    told(&cafe.cli(&[&["logs"], arguments].concat()))
}

async fn wrote(cafe: &Cafe, name: &str, text: &str) {
    let found = || lines(cafe, &[name, "-n", "all"]).stdout.contains(text).then_some(());
    eventually(text, found).await;
}

/// A follower that runs beside the test, and ends with it.
struct Follower {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Follower {
    fn start(cafe: &Cafe, arguments: &[&str]) -> Self {
        let mut command = cafe.command();
        let command = command.args(["logs", "-f"]).args(arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// The next line that contains `text`; those before it are returned, too.
    fn until(&mut self, text: &str) -> Vec<String> {
        let mut seen = Vec::new();
        for line in self.lines.by_ref() {
            seen.push(line.unwrap());
            if seen.last().is_some_and(|line| line.contains(text)) {
                return seen;
            }
        }
        panic!("the follower ended before `{text}`: {seen:?}");
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn a_follower_goes_on_over_restart_rotation_and_the_end_of_the_daemon() {
    let sections = format!("services: {{ {} }},", ticking());
    let mut cafe = Cafe::start(&sections).await;
    cafe.wait_state("a", State::Running).await;
    wrote(&cafe, "a", "up").await;
    let mut follower = Follower::start(&cafe, &["a"]);
    follower.until("up");
    cafe.act(Verb::Reload, "a").await;
    follower.until("tick 1");
    cafe.act(Verb::Restart, "a").await;
    follower.until("up");
    cafe.act(Verb::Reload, "a").await;
    follower.until("tick 2");
    cafe.end(Signal::SIGTERM).await;
    cafe.boot().await;
    follower.until("up");
    cafe.wait_state("a", State::Running).await;
    cafe.act(Verb::Reload, "a").await;
    follower.until("tick 3");
}

#[tokio::test]
async fn a_follower_sees_every_line_of_many_files_once() {
    const LINES: usize = 20_000;
    let write =
        format!("seq -f 'n%g xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx' 1 {LINES}");
    let script = format!("trap \"{write}\" HUP; echo up; {IDLE}");
    let cafe = Cafe::start(&format!(
        r#"services: {{ "a": (command: {}, reload: signal(HUP), log: (max_file: "128KiB", keep: 100)) }},"#,
        sh(&script)
    ))
    .await;
    wrote(&cafe, "a", "up").await;
    let mut follower = Follower::start(&cafe, &["a", "-n", "all"]);
    follower.until("up");
    cafe.act(Verb::Reload, "a").await;
    let seen = follower.until(&format!(" n{LINES} "));
    let number = |line: &String| line.split(" n").nth(1)?.split(' ').next()?.parse::<usize>().ok();
    let numbers: Vec<_> = seen.iter().filter_map(number).collect();
    assert_eq!(numbers, (1..=LINES).collect::<Vec<_>>());
    let files = std::fs::read_dir(cafe.path("state/logs/a")).unwrap().count();
    assert!(files > 5, "it rotated: {files}");
    // And so does who reads them afterwards.
    let read = lines(&cafe, &["a", "-n", "all"]).stdout;
    let read: Vec<_> = read.lines().map(str::to_owned).collect();
    assert_eq!(read.iter().filter_map(number).collect::<Vec<_>>(), numbers);
}

#[tokio::test]
async fn lines_are_chosen_by_number_time_pattern_and_stream() {
    let script = format!("for n in 1 2 3 4 5; do echo out $n; echo err $n >&2; done; {IDLE}");
    let cafe = Cafe::start(&format!("services: {{ \"a\": (command: {}) }},", sh(&script))).await;
    wrote(&cafe, "a", "out 5").await;
    wrote(&cafe, "a", "err 5").await;
    let count = |arguments: &[&str]| {
        let told = lines(&cafe, arguments);
        told.expect(0, &[]);
        told.stdout.lines().count()
    };
    assert_eq!(count(&["a", "-n", "3"]), 3);
    assert_eq!(count(&["a", "-n", "0"]), 0);
    assert_eq!(count(&["a", "-n", "all", "-g", "out [24]"]), 2);
    assert_eq!(count(&["a", "-n", "all", "-g", "out", "--invert"]), 5);
    assert_eq!(count(&["a", "-n", "all", "--stderr"]), 5);
    assert_eq!(count(&["a", "--since", "1h"]), 10);
    assert_eq!(count(&["a", "--since", "2099-01-01T00:00:00Z"]), 0);
    assert_eq!(count(&["a", "--until", "1h"]), 0);
    assert_eq!(count(&["a", "--until", "2099-01-01T00:00:00Z"]), 10);
    // Time as printed for programs finds the line again.
    let json = lines(&cafe, &["a", "-n", "1", "-o", "json"]).json();
    let time = json["t"].as_str().unwrap();
    assert!(count(&["a", "--since", time]) >= 1);
    for bad in [&["a", "-n", "many"][..], &["a", "-g", "("], &["a", "--since", "yesterday-ish"]] {
        lines(&cafe, bad).expect(2, &["error"]);
    }
    lines(&cafe, &["nobody"]).expect(4, &["C043", "nobody", "hint:"]);
}

#[tokio::test]
async fn several_services_are_merged_by_time_each_under_its_name() {
    let script = |name: &str| sh(&format!("trap 'echo {name} tick' HUP; echo {name} up; {IDLE}"));
    let cafe = Cafe::start(&format!(
        r#"services: {{ "one": (command: {}, reload: signal(HUP)), "two": (command: {}, reload: signal(HUP)),
            "three": (command: {}) }},
        groups: {{ "pair": (services: ["one", "two"]) }},"#,
        script("one"),
        script("two"),
        script("three"),
    ))
    .await;
    for name in ["one", "two", "three"] {
        wrote(&cafe, name, "up").await;
    }
    for round in 1..=3 {
        for name in ["one", "two"] {
            cafe.act(Verb::Reload, name).await;
            let ticks = || lines(&cafe, &[name]).stdout.matches("tick").count();
            eventually("its tick", || (ticks() == round).then_some(())).await;
        }
    }
    for names in [&["one", "two"][..], &["pair"]] {
        let plain = lines(&cafe, &[names, &["-o", "plain"]].concat()).stdout;
        let ticks = plain.lines().filter(|line| line.ends_with("tick"));
        let order: Vec<_> = ticks.map(|line| line.split('\t').nth(1).unwrap()).collect();
        assert_eq!(order, ["one", "two", "one", "two", "one", "two"], "{plain}");
        let times: Vec<_> = plain.lines().map(|line| line.split('\t').next().unwrap()).collect();
        assert!(times.is_sorted() && !plain.contains("three"), "{plain}");
    }
    let all = lines(&cafe, &[]);
    all.expect(0, &["one", "two", "three up"]);
    let bare = lines(&cafe, &["one", "two", "--no-prefix"]).stdout;
    assert!(
        bare.lines()
            .all(|line| line.split(' ').nth(2).is_some_and(|word| word == "one" || word == "two"))
    );
}

#[tokio::test]
async fn logs_are_read_when_the_daemon_is_dead() {
    let script = format!("echo the last words; {IDLE}");
    let mut cafe =
        Cafe::start(&format!("services: {{ \"a\": (command: {}) }},", sh(&script))).await;
    wrote(&cafe, "a", "the last words").await;
    cafe.crash();
    // Which state directory it had is in the config file, as the daemon cannot be asked.
    lines(&cafe, &["a"]).expect(0, &["the last words"]);
    lines(&cafe, &["nobody"]).expect(4, &["C043"]);
    told(&cafe.cli(&["status"])).expect(5, &["C040"]);
    cafe.boot().await;
    cafe.wait_state("a", State::Running).await;
}

#[tokio::test]
async fn a_reader_that_has_enough_is_no_error() {
    let script = format!("seq 1 50000; echo end; {IDLE}");
    let cafe = Cafe::start(&format!("services: {{ \"a\": (command: {}) }},", sh(&script))).await;
    wrote(&cafe, "a", "end").await;
    let binary = env!("CARGO_BIN_EXE_cafe");
    for verb in ["logs a -n all", "logs -f a -n all"] {
        let pipe = format!("{{ {binary} {verb}; echo $? > code; }} | head -1");
        let mut shell = program("sh");
        shell.args(["-c", &pipe]).current_dir(cafe.path(""));
        shell.env("CAFE_SOCKET", cafe.path("control.sock"));
        let told = told(&shell.output().unwrap());
        assert_eq!(
            (told.stdout.lines().count(), told.stderr.as_str()),
            (1, ""),
            "{verb}: {told:?}"
        );
        assert_eq!(cafe.read("code").trim(), "0", "{verb}");
    }
}

#[tokio::test]
async fn what_a_service_writes_cannot_drive_the_terminal() {
    if !is_installed("script") {
        return skip("no terminal without `script`");
    }
    let script = format!("printf 'a\\033[2Jb\\007c\\n'; echo after; {IDLE}");
    let cafe = Cafe::start(&format!("services: {{ \"a\": (command: {}) }},", sh(&script))).await;
    wrote(&cafe, "a", "after").await;
    let command = format!("{} logs a", env!("CARGO_BIN_EXE_cafe"));
    let mut terminal = program("script");
    terminal.args(["-qec", &command, "/dev/null"]).current_dir(cafe.path(""));
    terminal.env("CAFE_SOCKET", cafe.path("control.sock")).stdin(Stdio::null());
    let shown = told(&terminal.output().unwrap());
    shown.expect(0, &["a\\u{1b}[2Jb\\u{7}c"]);
    assert!(!shown.stdout.contains("\x1b[2J") && !shown.stdout.contains('\x07'), "{shown:?}");
    // Into a pipe goes what was written, to the byte.
    assert!(lines(&cafe, &["a"]).stdout.contains("a\x1b[2Jb\x07c"));
}
