//! `kill -9` of the daemon at any moment while services write: each line is there once and in order.

use std::fs::File;
use std::io::Read as _;
use std::time::Duration;

use cafe::logs::{dir, line};
use cafe::types::state::State;
use nix::sys::signal::Signal;

use crate::harness::{Cafe, IDLE, eventually, sh, told};

/// How often the daemon is killed.
const KILLS: usize = 30;

/// Numbered lines, 10,000 a second, each by a write of its own, until there is a file `stop`.
const FAST: &str = "exec 9<>never; echo >&3; i=0; until [ -e stop ]; do \
    for ((n=0;n<100;n++)); do echo \"line $i\"; i=$((i+1)); done; read -t 0.01 nothing <&9; done; \
    echo $i >fast.count; echo last";

/// Lines in pieces on both streams, some of them longer than a line on disk may be.
const PIECES: &str = "exec 9<>never; echo >&3; long=$(printf '%020000d' 0); i=0; until [ -e stop ]; do \
    printf \"out $i\"; printf \"err $i \" >&2; read -t 0.03 nothing <&9; \
    if ((i % 20 == 7)); then printf ' %s' $long; fi; \
    echo \" end\"; echo end >&2; i=$((i+1)); done; echo $i >pieces.count; echo last; echo last >&2";

/// All that is in the files of a service, oldest first: (is stderr, line), pieces of one line joined.
fn on_disk(cafe: &Cafe, service: &str) -> Vec<(bool, String)> {
    let directory = cafe.path("state/logs").join(service);
    let mut disk = Vec::new();
    for archive in dir::archives(&directory).unwrap() {
        let mut file = File::open(directory.join(archive.file_name())).unwrap();
        if archive.gzip {
            flate2::read::GzDecoder::new(file).read_to_end(&mut disk).unwrap();
        } else {
            file.read_to_end(&mut disk).unwrap();
        }
    }
    disk.extend(std::fs::read(directory.join(dir::CURRENT)).unwrap());
    let mut lines: Vec<(bool, String)> = Vec::new();
    for raw in disk.strip_suffix(b"\n").unwrap().split(|&byte| byte == b'\n') {
        let parsed = line::parse(raw).expect("whole lines alone");
        let text = std::str::from_utf8(parsed.payload).unwrap();
        let err = match parsed.stream {
            line::Stream::Cafe => continue,
            stream => stream == line::Stream::Stderr,
        };
        let before = lines.iter_mut().rev().find(|(stream, _)| *stream == err);
        match before.filter(|_| parsed.continued) {
            Some((_, line)) => line.push_str(text),
            None => lines.push((err, text.to_owned())),
        }
    }
    lines
}

fn of(lines: &[(bool, String)], err: bool) -> Vec<&str> {
    lines.iter().filter(|(stream, _)| *stream == err).map(|(_, line)| line.as_str()).collect()
}

/// Says what differs, and not two lists of thousands.
fn assert_same(what: &str, found: &[&str], expected: &[String]) {
    let differs = found.iter().zip(expected).position(|(found, expected)| found != expected);
    let place = differs.unwrap_or_else(|| found.len().min(expected.len()));
    let around = |lines: Vec<&str>| {
        let shown = lines.into_iter().skip(place.saturating_sub(2)).take(5);
        shown.map(|line| line.chars().take(60).collect()).collect::<Vec<String>>()
    };
    assert!(
        differs.is_none() && found.len() == expected.len(),
        "{what}: {} of {} lines, from {place}: {:?} instead of {:?}",
        found.len(),
        expected.len(),
        around(found.to_vec()),
        around(expected.iter().map(String::as_str).collect()),
    );
}

#[tokio::test]
async fn thirty_kills_cost_no_line_and_double_none() {
    let services = [("fast", FAST), ("pieces", PIECES)].map(|(name, script)| {
        let script = sh(&format!("{script}; {IDLE}"));
        // Small files: many a kill comes in a rotation.
        format!(
            "\"{name}\": (command: {script}, ready: fd(3), log: (max_file: \"30kB\", keep: 1000)),"
        )
    });
    let mut cafe =
        Cafe::new(&format!("services: {{ {} }}, logs: (min_free: \"0%\"),", services.concat()));
    cafe.boot().await;
    for name in ["fast", "pieces"] {
        cafe.wait_state(name, State::Ready).await;
    }
    for round in 0..KILLS {
        // Any moment is a good one: also before it has taken over, or while it still does.
        let moment = fastrand::u64(0..if round % 3 == 0 { 30 } else { 150 });
        tokio::time::sleep(Duration::from_micros(moment * 1_000 + fastrand::u64(0..1_000))).await;
        cafe.crash();
        if round % 3 == 0 {
            cafe.launch();
        } else {
            cafe.boot().await;
        }
    }
    cafe.answers().await;
    std::fs::write(cafe.path("stop"), "").unwrap();
    for (name, streams) in [("fast", 1), ("pieces", 2)] {
        let shown = || told(&cafe.cli(&["logs", name, "-n", "5", "-o", "plain"])).stdout;
        let last = || shown().lines().filter(|line| line.ends_with("\tlast")).count() == streams;
        eventually("the last lines", || last().then_some(())).await;
    }
    let shown = cafe.cli(&["logs", "fast", "-n", "all", "-o", "json"]);
    // Files are looked at when nothing rotates or packs them any more.
    cafe.end(Signal::SIGTERM).await;

    let count = |name: &str| cafe.read(format!("{name}.count")).trim().parse::<usize>().unwrap();
    let mut expected: Vec<_> = (0..count("fast")).map(|number| format!("line {number}")).collect();
    expected.push("last".to_owned());
    assert_same("fast", &of(&on_disk(&cafe, "fast"), false), &expected);
    let shown: Vec<serde_json::Value> = String::from_utf8(shown.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let shown: Vec<&str> = shown
        .iter()
        .filter(|line| line["stream"] != "cafe")
        .filter_map(|line| line["line"].as_str())
        .collect();
    assert_same("cafe logs", &shown, &expected);

    let long = "0".repeat(20_000);
    let piece = |number: usize| match number % 20 {
        7 => format!("out {number} {long} end"),
        _ => format!("out {number} end"),
    };
    let pieces = on_disk(&cafe, "pieces");
    let mut expected: Vec<_> = (0..count("pieces")).map(piece).collect();
    expected.push("last".to_owned());
    assert_same("pieces", &of(&pieces, false), &expected);
    let mut expected: Vec<_> =
        (0..count("pieces")).map(|number| format!("err {number} end")).collect();
    expected.push("last".to_owned());
    assert_same("pieces on stderr", &of(&pieces, true), &expected);
}
