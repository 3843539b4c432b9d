//! A machine that has no more to give, or changes its mind about the time.

use std::io::{BufRead as _, Write as _};
use std::path::{Path, PathBuf};

use cafe::net::control::Verb;
use cafe::types::event::{Event, Kind};
use cafe::types::state::State;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::Signal;
use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::harness::{Cafe, IDLE, eventually, kill, root, sh, skip, told};

/// Lines written to a full disk, each of 100 bytes: far more than all buffers on the way hold.
const LINES: usize = 40_000;

/// A file system of its own for a state directory, gone with the test.
struct Disk {
    directory: tempfile::TempDir,
}

impl Disk {
    /// Of 16 MiB; `None` where it may not be mounted.
    fn mount() -> Option<Self> {
        let directory = tempfile::Builder::new().prefix("cafe-it-disk-").tempdir().unwrap();
        let options = Some("size=16m");
        let flags = MsFlags::empty();
        mount(Some("tmpfs"), directory.path(), Some("tmpfs"), flags, options).ok()?;
        Some(Self { directory })
    }

    fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    /// Writes until nothing fits any more.
    fn fill(&self) {
        let mut file = std::fs::File::create(self.filler()).unwrap();
        for size in [64 << 10, 1 << 10, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
    }

    fn free(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }

    fn filler(&self) -> PathBuf {
        self.directory.path().join("filler")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = umount2(self.directory.path(), MntFlags::MNT_DETACH);
    }
}

/// A service that writes numbered lines when told, and then makes a file `written`.
async fn writer(disk: &Disk, on_full: &str) -> Cafe {
    let padding = "x".repeat(90);
    let write = format!("seq -f 'n%g {padding}' 1 {LINES}; touch written");
    let script = format!("trap \"{write}\" HUP; echo begun; {IDLE}");
    let mut cafe = Cafe::new(&format!(
        r#"services: {{ "a": (command: {}, reload: signal(HUP), log: (on_full: {on_full})) }},
        logs: (min_free: "0%"),"#,
        sh(&script)
    ));
    std::fs::create_dir(disk.state()).unwrap();
    std::os::unix::fs::symlink(disk.state(), cafe.path("state")).unwrap();
    cafe.boot().await;
    cafe.wait_state("a", State::Running).await;
    eventually("its first line", || log(&cafe).contains("begun").then_some(())).await;
    cafe
}

fn log(cafe: &Cafe) -> String {
    told(&cafe.cli(&["logs", "a", "-n", "all"])).stdout
}

#[tokio::test]
async fn a_file_system_that_hangs_is_told_and_forgotten_when_it_answers() {
    let mut cafe = Cafe::new(&format!(
        r#"services: {{ "a": (command: {}), "b": (command: {}) }},"#,
        sh(&format!("seq 1 {LINES}; echo over; {IDLE}")),
        sh(IDLE)
    ));
    // A pipe takes no more than fits in, and then neither takes nor refuses, as a server that is gone.
    std::fs::create_dir_all(cafe.path("state/logs/a")).unwrap();
    let current = cafe.path("state/logs/a/current");
    cafe.fifo("state/logs/a/current");
    let both = std::fs::OpenOptions::new().read(true).write(true).open(&current).unwrap();
    cafe.boot().await;
    cafe.wait_for("hang shown", |status| status.daemon.logs_stalled_ms).await;
    told(&cafe.cli(&["status"])).expect(0, &["no log is written: a file system hangs for"]);
    let said = |text: &'static str| {
        move |event: &Event| event.kind.describe().contains(text).then_some(())
    };
    cafe.wait_event("hang told", said("no log is written for")).await;
    // Services are not in its way: they are commanded as ever.
    cafe.act(Verb::Restart, "b").await;

    // Nobody reads it again: this test has taken all.
    std::fs::remove_file(&current).unwrap();
    let mut lines = std::io::BufReader::new(both).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.ends_with(" over")), "all was written in the end");

    cafe.wait_event("end of the hang told", said("logs are written again")).await;
    assert_eq!(cafe.status().await.daemon.logs_stalled_ms, None);
    cafe.act(Verb::Stop, "a").await;
}

/// The numbers of the lines in the log.
fn numbers(log: &str) -> Vec<usize> {
    let number = |line: &str| line.split(" n").nth(1)?.split(' ').next()?.parse().ok();
    log.lines().filter_map(number).collect()
}

fn is_written(cafe: &Cafe) -> bool {
    cafe.path("written").try_exists().unwrap()
}

/// A daemon whose service waits for its log, as the disk is full.
async fn waiting(disk: &Disk) -> Cafe {
    let cafe = writer(disk, "block").await;
    disk.fill();
    cafe.act(Verb::Reload, "a").await;
    let waits = |kind: &Kind| matches!(kind, Kind::Log { message, .. } if message.contains("waits for its log"));
    cafe.wait_event("it waits", |event| waits(&event.kind).then_some(())).await;
    assert!(!is_written(&cafe), "all was written to a full disk");
    cafe
}

#[tokio::test]
async fn upgrades_while_the_disk_is_full_lose_nothing_and_after_a_crash_then_all_is_found() {
    let Some(disk) = disk() else { return };
    let mut cafe = waiting(&disk).await;
    let pid = cafe.service("a").await.pid;
    for _ in 0..3 {
        told(&cafe.cli(&["upgrade"])).expect(0, &["after a pause of"]);
    }
    assert_eq!(cafe.service("a").await.pid, pid);
    disk.free();
    eventually("its last line", || log(&cafe).contains(&format!(" n{LINES} ")).then_some(())).await;
    assert_eq!(numbers(&log(&cafe)), (1..=LINES).collect::<Vec<_>>());

    disk.fill();
    cafe.crash();
    cafe.boot().await;
    assert_eq!(cafe.wait_state("a", State::Running).await.pid, pid);
    disk.free();
}

#[tokio::test]
async fn a_full_disk_makes_the_service_wait_and_loses_nothing() {
    let Some(disk) = disk() else { return };
    let cafe = waiting(&disk).await;
    // The daemon itself goes on: it answers, and can stop and start others.
    assert_eq!(cafe.service("a").await.state, State::Running);
    disk.free();
    eventually("it went on", || is_written(&cafe).then_some(())).await;
    eventually("its last line", || log(&cafe).contains(&format!(" n{LINES} ")).then_some(())).await;
    assert_eq!(numbers(&log(&cafe)), (1..=LINES).collect::<Vec<_>>());
    assert!(!log(&cafe).contains("dropped"));
}

#[tokio::test]
async fn a_full_disk_drops_lines_where_that_is_permitted_and_counts_them_in_place() {
    let Some(disk) = disk() else { return };
    let cafe = writer(&disk, "drop").await;
    disk.fill();
    cafe.act(Verb::Reload, "a").await;
    eventually("it did not wait", || is_written(&cafe).then_some(())).await;
    let failed = |kind: &Kind| matches!(kind, Kind::Log { message, .. } if message.contains("cannot be written"));
    cafe.wait_event("it is told", |event| failed(&event.kind).then_some(())).await;
    disk.free();
    // More than one mark, when a little room came and went meanwhile.
    let marks = |log: &str| -> Vec<usize> {
        let number = |line: &str| line.split_once("dropped ")?.1.split(' ').next()?.parse().ok();
        log.lines().filter(|line| line.contains(" lines in ")).filter_map(number).collect()
    };
    let log = eventually("kept and dropped are all", || {
        let log = log(&cafe);
        let dropped: usize = marks(&log).iter().sum();
        (numbers(&log).len() + dropped == LINES && dropped > 0).then_some(log)
    })
    .await;
    let kept = numbers(&log);
    assert!(kept.is_sorted());
    let line = |text: &str| log.lines().position(|line| line.contains(text)).unwrap();
    let after_gap = kept.windows(2).find(|pair| pair[1] != pair[0] + 1).map(|pair| pair[1]);
    if let Some(next) = after_gap {
        let mark = format!("dropped {} lines in", marks(&log)[0]);
        assert!(line(&mark) < line(&format!(" n{next} ")), "the mark stands where the gap is");
    }
}

fn disk() -> Option<Disk> {
    let disk = root().then(Disk::mount).flatten();
    if disk.is_none() {
        skip("a small disk needs root and permission to mount a tmpfs");
    }
    disk
}

#[tokio::test]
async fn without_descriptors_starts_fail_clearly_and_go_on_when_there_are_some() {
    let ticks = "n=0; trap 'n=$((n+1)); echo tick $n' HUP";
    let cafe = Cafe::start(&format!(
        r#"services: {{
            "a": (command: {}, backoff: (min: "50ms", max: "200ms")),
            "b": (command: {}, ready: fd(3)),
        }},"#,
        sh(IDLE),
        sh(&format!("{ticks}; echo >&3; {IDLE}")),
    ))
    .await;
    let a = cafe.wait_state("a", State::Running).await;
    // Before it said so, the signal would end it.
    let b = cafe.wait_state("b", State::Ready).await.pid.unwrap();
    kill(b, Signal::SIGHUP);
    let ticked = |number: usize| {
        let text = format!("tick {number}");
        let cafe = &cafe;
        move || told(&cafe.cli(&["logs", "b", "-n", "all"])).stdout.contains(&text).then_some(())
    };
    eventually("the first tick", ticked(1)).await;

    let daemon = Pid::from_raw(i32::try_from(cafe.pid()).unwrap()).unwrap();
    let before = limit(daemon, Some(0));
    kill(a.pid.unwrap(), Signal::SIGKILL);
    eventually("an error", || cafe.console().contains("C025").then_some(())).await;
    // Lines are written through files that are open already.
    kill(b, Signal::SIGHUP);
    eventually("the second tick", ticked(2)).await;
    limit(daemon, before.current);

    let again = cafe.wait_service("a", "again", |a| a.state == State::Running).await;
    assert_ne!(again.pid, a.pid);
    let failed = cafe.service("a").await.exits;
    assert!(failed.iter().any(|exit| exit.trigger.contains("C025")), "{failed:?}");
    let b_now = cafe.service("b").await;
    assert_eq!((b_now.pid, b_now.restarts), (Some(b), 0), "nobody else was touched");
}

/// Sets how many descriptors the daemon may have; what was in force before.
fn limit(daemon: Pid, soft: Option<u64>) -> Rlimit {
    let now = rustix::process::getrlimit(Resource::Nofile);
    prlimit(Some(daemon), Resource::Nofile, Rlimit { current: soft, maximum: now.maximum }).unwrap()
}

/// The clock of the machine cannot be set in a test (it is everybody's), and a time namespace has no wall clock of its
/// own. A log whose last line is of the year 2099 is what a clock leaves that was set back.
#[tokio::test]
async fn a_clock_that_was_set_back_loses_no_line() {
    let script = format!("echo line; {IDLE}");
    let sections = format!("services: {{ \"a\": (command: {}) }},", sh(&script));
    let mut cafe = Cafe::start(&sections).await;
    eventually("the first line", || log(&cafe).contains("line").then_some(())).await;
    cafe.end(Signal::SIGTERM).await;
    let current = cafe.path("state/logs/a/current");
    let first = std::fs::read_to_string(&current).unwrap();
    let year = &first[..first.find('-').expect("a date")];
    put_future(&current, &first.replacen(year, "2099", 1).replace("line", "from the future"));
    cafe.boot().await;
    eventually("the second line", || log(&cafe).contains("line").then_some(())).await;
    let shown = log(&cafe);
    let position = |text: &str| shown.find(text).unwrap_or_else(|| panic!("{text}: {shown}"));
    assert!(position("from the future") < position("line\n"), "{shown}");
    cafe.act(Verb::Restart, "a").await;
    eventually("the third", || (log(&cafe).matches("line\n").count() == 2).then_some(())).await;
    let a = cafe.service("a").await;
    assert!(a.uptime_ms < 1 << 30, "{}", a.uptime_ms);
}

fn put_future(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
}
