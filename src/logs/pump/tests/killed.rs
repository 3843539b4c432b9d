//! A process that pumps, killed for real, again and again while a service writes as fast as it can.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{PATIENCE, disk, joined, name, options};
use crate::logs::line::{MAX_PAYLOAD, Stream};
use crate::logs::pump::{Limits, Options, Pump, SinkOptions, Source};
use crate::logs::{dir, pipe};

/// Where the process that is killed has its files; set only for it.
const ROOT: &str = "CAFE_TEST_PUMP";

const KILLS: usize = 200;

/// Small, so that many a kill comes in a rotation; no archive is old enough to be compressed.
fn sink() -> SinkOptions {
    SinkOptions { max_file: 300_000, keep: 1_000_000, ..options() }
}

fn start(root: &Path, readers: [OwnedFd; 2]) -> Pump {
    let limits = Limits { max_total: 1 << 40, min_free_percent: 0 };
    let transit = Some(root.join(".transit"));
    let set = Options { dir: root.to_owned(), limits, transit, notices: Box::new(drop) };
    let pump = Pump::start(set).expect("starts");
    let [stdout, stderr] = readers;
    let (service, watch_for, found) = (name("web"), None, true);
    let source = Source {
        service,
        generation: 1,
        beside: false,
        stdout,
        stderr,
        options: sink(),
        watch_for,
        found,
    };
    pump.attach(source).expect("attaches");
    pump
}

/// In the process that is killed: pumps what the parent holds as descriptors 10 and 11, until then or the parent ends.
fn pump_until_killed(root: &Path) {
    let parent = std::os::unix::process::parent_id();
    let descriptors = std::fs::read_to_string(root.join(".descriptors")).expect("reads");
    let mut descriptors = descriptors.lines().map(|number| number.parse().expect("a number"));
    let readers = [(); 2].map(|()| {
        let descriptor = descriptors.next().expect("two of them");
        crate::logs::adopt(parent, descriptor).expect("finds it")
    });
    let _pump = start(root, readers);
    // The parent holds the other end: this returns when it ends.
    let _ = std::io::stdin().read(&mut [0]);
}

#[expect(clippy::disallowed_methods, reason = "what tests run is nobody's service")]
fn child(root: &Path) -> Child {
    Command::new(std::env::current_exe().expect("is known"))
        .args(["logs::pump::tests::killed::two_hundred_kills_cost_no_line", "--exact"])
        .env(ROOT, root)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("starts")
}

/// Numbered lines in writes that end anywhere, until there are so many bytes; every thousandth is longer than a line on
/// disk may be.
fn write(mut to: File, done: &std::sync::atomic::AtomicBool) -> u64 {
    let mut number = 0;
    let mut block = Vec::new();
    while !done.load(std::sync::atomic::Ordering::Relaxed) {
        while block.len() < 6_000 {
            writeln!(block, "{}", line(number)).expect("writes");
            number += 1;
        }
        let (head, tail) = block.split_at(fastrand::usize(1..block.len()));
        to.write_all(head).expect("writes");
        block = tail.to_vec();
    }
    to.write_all(&block).expect("writes");
    number
}

fn line(number: u64) -> String {
    let filling = if number % 1_000 == 999 { MAX_PAYLOAD * 2 } else { (number % 90) as usize };
    format!("{number} {}", "x".repeat(filling))
}

/// What tells that the pump has written again.
fn seen(current: &Path) -> (u64, u64) {
    std::fs::metadata(current).map_or((0, 0), |file| (file.ino(), file.len()))
}

fn live_and_die(root: &Path, current: &Path) {
    let mut child = child(root);
    let deadline = Instant::now() + PATIENCE;
    for _ in 0..fastrand::usize(0..5) {
        let before = seen(current);
        while seen(current) == before {
            assert!(Instant::now() < deadline, "it writes nothing");
            std::hint::spin_loop();
        }
    }
    // Somewhere in what it does next.
    let moment = Instant::now() + Duration::from_micros(fastrand::u64(0..500));
    while Instant::now() < moment {
        std::hint::spin_loop();
    }
    child.kill().expect("kills");
    child.wait().expect("ends");
}

#[test]
fn two_hundred_kills_cost_no_line() {
    if let Some(root) = std::env::var_os(ROOT) {
        return pump_until_killed(&PathBuf::from(root));
    }
    let root = tempfile::tempdir().expect("temporary directory");
    let current = dir::of(root.path(), &name("web")).join(dir::CURRENT);
    let ((out_reader, out), (err_reader, err)) =
        (pipe(None).expect("pipe"), pipe(None).expect("pipe"));
    let descriptors = format!("{}\n{}\n", out_reader.as_raw_fd(), err_reader.as_raw_fd());
    std::fs::write(root.path().join(".descriptors"), descriptors).expect("writes");
    let done = std::sync::atomic::AtomicBool::new(false);
    let counts = std::thread::scope(|scope| {
        let writers = [out, err].map(|end| scope.spawn(|| write(end.into(), &done)));
        for _ in 0..KILLS {
            live_and_die(root.path(), &current);
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        // The last life is this process's own.
        let pump = start(root.path(), [out_reader, err_reader]);
        let counts = writers.map(|writer| writer.join().expect("ends"));
        let finished = pump.finish(name("web"), 1).expect("accepts");
        finished.blocking_recv().expect("answers");
        counts
    });
    let lines = joined(&disk(root.path(), "web"));
    for (stream, count) in [Stream::Stdout, Stream::Stderr].into_iter().zip(counts) {
        let mut found = lines.iter().filter(|(of, _)| *of == stream).map(|(_, line)| line);
        for number in 0..count {
            let found = found.next().map(|line| String::from_utf8_lossy(line));
            let shown = found.as_deref().map(|line| line.chars().take(80).collect::<String>());
            assert!(
                found.as_deref() == Some(&line(number)),
                "{shown:?} instead of line {number} of {count}"
            );
        }
        assert_eq!(found.next(), None);
    }
}
