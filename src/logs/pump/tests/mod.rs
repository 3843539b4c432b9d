//! The pump with real pipes and real files. Waiting is always for an answer or a notice, never for time.

mod kill;
mod kill_overlap;
mod killed;
mod left;
mod overlap;
mod suspend;
mod trouble;

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use super::{Limits, Notice, Options, Pump, SinkOptions, Source};
use crate::logs::line::{self, MAX_PAYLOAD, Stream};
use crate::logs::{Excerpt, dir, pipe};
use crate::types::name::Name;
use crate::types::policy::OnFull;

const PATIENCE: Duration = Duration::from_secs(30);

struct Bench {
    pump: Pump,
    notices: Receiver<Notice>,
    root: PathBuf,
    _directory: Option<tempfile::TempDir>,
}

struct Child {
    stdout: File,
    stderr: File,
}

/// An incarnation to attach, and what it writes to.
fn source(service: &str, generation: u64, options: SinkOptions) -> (Source, Child) {
    let (stdout, out) = pipe(None).expect("pipe");
    let (stderr, err) = pipe(None).expect("pipe");
    let service = name(service);
    let source = Source {
        service,
        generation,
        beside: false,
        stdout,
        stderr,
        options,
        watch_for: None,
        found: false,
    };
    (source, Child { stdout: out.into(), stderr: err.into() })
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        let mut bench = Self::at(directory.path());
        bench._directory = Some(directory);
        bench
    }

    fn at(root: &Path) -> Self {
        let (sender, notices) = channel();
        let limits = Limits { max_total: 1 << 30, min_free_percent: 0 };
        let notices_to = Box::new(move |notice| {
            // The test may have ended.
            let _ = sender.send(notice);
        });
        let options = Options {
            dir: root.to_owned(),
            limits,
            transit: Some(root.join(".transit")),
            notices: notices_to,
        };
        let pump = Pump::start(options).expect("starts");
        Self { pump, notices, root: root.to_owned(), _directory: None }
    }

    fn attach(&self, service: &str, generation: u64, options: SinkOptions) -> Child {
        self.attach_watching(service, generation, options, None)
    }

    fn attach_watching(
        &self,
        service: &str,
        generation: u64,
        options: SinkOptions,
        wanted: Option<&str>,
    ) -> Child {
        let watch_for = wanted.map(|wanted| wanted.parse().expect("regex"));
        let (source, child) = source(service, generation, options);
        self.pump.attach(Source { watch_for, ..source }).expect("attaches");
        child
    }

    fn finish(&self, service: &str, generation: u64) -> Excerpt {
        let answer = self.pump.finish(name(service), generation).expect("accepts");
        answer.blocking_recv().expect("answers")
    }

    fn notice(&self) -> Notice {
        self.notices.recv_timeout(PATIENCE).expect("a notice comes")
    }

    /// What is on disk, archives first.
    fn disk(&self, service: &str) -> Vec<u8> {
        disk(&self.root, service)
    }

    /// Lines of the service on disk, continued ones joined, as (stream, payload).
    fn lines(&self, service: &str) -> Vec<(Stream, Vec<u8>)> {
        joined(&self.disk(service))
    }

    fn payloads(&self, service: &str) -> Vec<String> {
        let lines = self.lines(service).into_iter();
        lines.map(|(_, payload)| String::from_utf8(payload).expect("text")).collect()
    }
}

fn disk(root: &Path, service: &str) -> Vec<u8> {
    let directory = dir::of(root, &name(service));
    let mut disk = Vec::new();
    for archive in dir::archives(&directory).expect("lists") {
        let file = File::open(directory.join(archive.file_name())).expect("opens");
        if archive.gzip {
            std::io::copy(&mut flate2::read::GzDecoder::new(file), &mut disk).expect("unpacks");
        } else {
            std::io::copy(&mut &file, &mut disk).expect("reads");
        }
    }
    if let Ok(current) = std::fs::read(directory.join(dir::CURRENT)) {
        disk.extend(current);
    }
    disk
}

fn joined(disk: &[u8]) -> Vec<(Stream, Vec<u8>)> {
    let mut lines: Vec<(Stream, Vec<u8>)> = Vec::new();
    let Some(body) = disk.strip_suffix(b"\n") else { return lines };
    let mut last = 0;
    for raw in body.split(|&byte| byte == b'\n') {
        let parsed = line::parse(raw)
            .unwrap_or_else(|| panic!("not a line: {:?}", String::from_utf8_lossy(raw)));
        assert!(parsed.at >= last, "stamps never go back");
        last = parsed.at;
        if parsed.continued {
            let open = lines.iter_mut().rev().find(|(stream, _)| *stream == parsed.stream);
            open.expect("continues a line").1.extend_from_slice(parsed.payload);
        } else {
            lines.push((parsed.stream, parsed.payload.to_vec()));
        }
    }
    lines
}

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn options() -> SinkOptions {
    SinkOptions { max_file: 10 << 20, keep: 10, on_full: OnFull::Block }
}

#[test]
fn both_streams_are_written_with_their_mark_and_the_last_lines_come_back() {
    let bench = Bench::new();
    let mut child = bench.attach("web", 1, options());
    child.stdout.write_all(b"one\ntwo\n").expect("writes");
    child.stderr.write_all(b"bad\nunfinished").expect("writes");
    let excerpt = bench.finish("web", 1);
    assert_eq!(excerpt.lines, ["one", "two", "bad", "unfinished"]);
    let expected: [(Stream, &[u8]); 4] = [
        (Stream::Stdout, b"one"),
        (Stream::Stdout, b"two"),
        (Stream::Stderr, b"bad"),
        (Stream::Stderr, b"unfinished"),
    ];
    assert_eq!(bench.lines("web"), expected.map(|(stream, line)| (stream, line.to_vec())));
}

#[test]
fn an_excerpt_is_of_its_own_incarnation_and_bounded() {
    let bench = Bench::new();
    let mut first = bench.attach("web", 1, options());
    first.stdout.write_all(b"of the first\n").expect("writes");
    assert_eq!(bench.finish("web", 1).lines, ["of the first"]);
    let second = bench.attach("web", 2, options());
    assert_eq!(bench.finish("web", 2).lines, [""; 0]);
    drop(second);
    let mut third = bench.attach("web", 3, SinkOptions { max_file: 700, ..options() });
    bench.pump.note(name("web"), options(), "started".to_owned()).expect("accepts");
    for number in 0..80 {
        writeln!(third.stdout, "{number}").expect("writes");
    }
    let excerpt = bench.finish("web", 3).lines;
    // 50 lines of 33 bytes reach over several files; the two newest are looked at.
    assert_eq!(excerpt.last().map(String::as_str), Some("79"));
    assert!((20..=50).contains(&excerpt.len()), "{}", excerpt.len());
    assert_eq!(bench.finish("web", 7), Excerpt::default());
    assert_eq!(bench.finish("nobody", 1), Excerpt::default());
}

#[test]
fn hostile_lines_are_kept_as_written() {
    let bench = Bench::new();
    let mut child = bench.attach("web", 1, options());
    let long = vec![b'x'; 70 * 1024];
    let hostile: [&[u8]; 5] = [&long, b"a\0b\0\0", b"\xff\xfe invalid", b"", b"\x1b[2J\r"];
    let mut out = child.stdout.try_clone().expect("clones");
    let written: Vec<u8> = hostile.join(&b'\n');
    // The last line has no end, and the pipe holds less than all: written beside the pump.
    let writer = std::thread::spawn(move || out.write_all(&written).expect("writes"));
    writer.join().expect("writes");
    child.stderr.write_all(&vec![0; MAX_PAYLOAD + 1]).expect("writes");
    bench.finish("web", 1);
    let lines = bench.lines("web");
    let of = |wanted| {
        let lines = lines.iter().filter(move |(stream, _)| *stream == wanted);
        lines.map(|(_, payload)| payload.clone()).collect::<Vec<_>>()
    };
    assert_eq!(of(Stream::Stdout), hostile.map(<[u8]>::to_vec));
    assert_eq!(of(Stream::Stderr), [vec![0; MAX_PAYLOAD + 1]]);
    let longest = bench.disk("web").split(|&byte| byte == b'\n').map(<[u8]>::len).max();
    assert_eq!(longest, Some(line::HEADER + MAX_PAYLOAD));
}

#[test]
fn closed_outputs_cost_nothing_and_lose_nothing() {
    let bench = Bench::new();
    let Child { mut stdout, stderr } = bench.attach("web", 1, options());
    drop(stderr);
    stdout.write_all(b"last words\n").expect("writes");
    drop(stdout);
    assert_eq!(bench.finish("web", 1).lines, ["last words"]);
    assert_eq!(bench.payloads("web"), ["last words"]);
}

#[test]
fn a_line_is_waited_for_once_and_only_in_its_incarnation() {
    let bench = Bench::new();
    let mut first = bench.attach_watching("web", 1, options(), Some("^ready$"));
    first.stdout.write_all(b"not ready\nready or not\n").expect("writes");
    bench.finish("web", 1);
    let mut second = bench.attach_watching("web", 2, options(), Some("^ready$"));
    bench.pump.note(name("web"), options(), "ready".to_owned()).expect("accepts");
    second.stderr.write_all(b"ready\nready\n").expect("writes");
    let expected =
        Notice::Matched { service: name("web"), generation: 2, line: "ready".to_owned() };
    assert_eq!(bench.notice(), expected);
    bench.finish("web", 2);
    assert!(bench.notices.try_recv().is_err());
}

#[test]
fn an_unfinished_line_is_shown_after_a_while_and_continued() {
    let bench = Bench::new();
    let mut child = bench.attach_watching("web", 1, options(), Some("password:"));
    child.stdout.write_all(b"password:").expect("writes");
    let Notice::Matched { line, .. } = bench.notice() else { panic!("not matched") };
    assert_eq!(line, "password:");
    child.stdout.write_all(b" ***\nwelcome\n").expect("writes");
    bench.finish("web", 1);
    assert_eq!(bench.payloads("web"), ["password: ***", "welcome"]);
}

#[test]
fn rotation_under_load_loses_no_line_and_keeps_the_order() {
    let bench = Bench::new();
    let max_file = 64 * 1024;
    let child = bench.attach("web", 1, SinkOptions { max_file, keep: 100_000, ..options() });
    let mut out = std::io::BufWriter::with_capacity(50_000, child.stdout);
    for number in 0..200_000 {
        writeln!(out, "{number}").expect("writes");
    }
    drop(out);
    bench.finish("web", 1);
    let expected: Vec<_> = (0..200_000).map(|number| number.to_string()).collect();
    assert!(bench.payloads("web") == expected, "every line once, in order");
    let directory = dir::of(&bench.root, &name("web"));
    let archives = dir::archives(&directory).expect("lists");
    assert!(archives.len() > 50);
    for archive in archives.iter().filter(|archive| !archive.gzip) {
        let length = std::fs::metadata(directory.join(archive.file_name())).map_or(0, |m| m.len());
        assert!(length <= max_file, "{length}");
    }
}

#[test]
fn only_the_newest_archives_are_kept_and_rotation_can_be_asked_for() {
    let bench = Bench::new();
    let options = SinkOptions { max_file: 1_000, keep: 3, ..options() };
    let mut child = bench.attach("web", 1, options);
    for number in 0..1_000 {
        writeln!(child.stdout, "{number}").expect("writes");
    }
    bench.finish("web", 1);
    let directory = dir::of(&bench.root, &name("web"));
    let archives = dir::archives(&directory).expect("lists");
    let answer = bench.pump.rotate(name("web")).expect("accepts");
    answer.blocking_recv().expect("answers").expect("rotates");
    let rotated = dir::archives(&directory).expect("lists");
    assert_eq!((archives.len(), rotated.len()), (3, 3));
    assert_eq!(rotated[..2], archives[1..]);
    let last = bench.payloads("web");
    assert_eq!(last.last().map(String::as_str), Some("999"));
    bench
        .pump
        .rotate(name("none"))
        .expect("accepts")
        .blocking_recv()
        .expect("answers")
        .expect("ok");
}

#[test]
fn a_hundred_services_at_once_are_kept_apart() {
    let bench = Bench::new();
    let names: Vec<_> = (0..100).map(|number| format!("s{number}")).collect();
    let mut children: Vec<_> = names.iter().map(|name| bench.attach(name, 1, options())).collect();
    for line in 0..200 {
        for (name, child) in names.iter().zip(&mut children) {
            writeln!(child.stdout, "{name} {line}").expect("writes");
        }
    }
    for name in &names {
        bench.finish(name, 1);
        let expected: Vec<_> = (0..200).map(|line| format!("{name} {line}")).collect();
        assert_eq!(bench.payloads(name), expected);
    }
}

#[test]
fn a_service_that_writes_without_pause_starves_nobody() {
    let bench = Bench::new();
    let loud = bench.attach("loud", 1, SinkOptions { max_file: 1 << 20, keep: 1, ..options() });
    let mut calm = bench.attach_watching("calm", 1, options(), Some("heard"));
    let mut out = loud.stdout;
    let (stop, stopped) = channel::<()>();
    let writer = std::thread::spawn(move || {
        let block = [b"y".repeat(99), b"\n".to_vec()].concat().repeat(600);
        while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            out.write_all(&block).expect("writes");
        }
    });
    for generation in 2..12 {
        calm.stdout.write_all(b"heard\n").expect("writes");
        assert!(matches!(bench.notice(), Notice::Matched { .. }));
        calm = bench.attach_watching("calm", generation, options(), Some("heard"));
    }
    drop(stop);
    writer.join().expect("ends");
}

#[test]
fn whatever_a_crash_left_of_the_last_line_the_next_is_one_of_its_own() {
    let line = b"2026-11-20T18:20:01.114523Z o torn\n";
    for cut in 0..=line.len() {
        let root = tempfile::tempdir().expect("temporary directory");
        let directory = root.path().join("web");
        std::fs::create_dir_all(&directory).expect("makes");
        let before = b"2026-11-20T18:20:00.000000Z e whole\n".as_slice();
        let left = [before, &line[..cut]].concat();
        std::fs::write(directory.join(dir::CURRENT), left).expect("writes");
        let bench = Bench::at(root.path());
        let mut child = bench.attach("web", 1, options());
        child.stdout.write_all(b"next\n").expect("writes");
        bench.finish("web", 1);
        let lines = bench.payloads("web");
        let torn = String::from_utf8_lossy(line[..cut].get(line::HEADER..).unwrap_or_default());
        match cut < line::HEADER {
            true => assert_eq!(lines, ["whole", "next"], "{cut}"),
            false => assert_eq!(lines, ["whole", torn.trim_end(), "next"], "{cut}"),
        }
    }
}

#[test]
fn a_clock_that_stepped_back_starts_a_new_file() {
    let root = tempfile::tempdir().expect("temporary directory");
    let directory = root.path().join("web");
    std::fs::create_dir_all(&directory).expect("makes");
    let future = "2999-01-01T00:00:00.000000Z o one day\n2999-01-02T00:00:00.000000Z o the next\n";
    std::fs::write(directory.join(dir::CURRENT), future).expect("writes");
    let bench = Bench::at(root.path());
    let mut child = bench.attach("web", 1, options());
    child.stdout.write_all(b"now\n").expect("writes");
    bench.finish("web", 1);
    let archives = dir::archives(&directory).expect("lists");
    assert_eq!(archives.len(), 1);
    // Both ends as they stand in the file: whoever looks for a time between them looks there.
    let stamps: Vec<_> =
        future.lines().filter_map(|line| line::parse_stamp(line.as_bytes())).collect();
    assert_eq!([archives[0].first, archives[0].last], stamps[..]);
    let current = std::fs::read(directory.join(dir::CURRENT)).expect("reads");
    assert_eq!(joined(&current), [(Stream::Stdout, b"now".to_vec())]);
}

#[test]
fn more_services_than_open_files_are_all_written() {
    let bench = Bench::new();
    let count = 700;
    for round in 1..=3 {
        for number in 0..count {
            let mut child = bench.attach(&format!("s{number}"), round, options());
            writeln!(child.stdout, "{round}").expect("writes");
        }
    }
    for number in 0..count {
        let name = format!("s{number}");
        bench.finish(&name, 3);
        assert_eq!(bench.payloads(&name), ["1", "2", "3"]);
    }
    let open = std::fs::read_dir("/proc/self/fd").expect("lists");
    let prefix = bench.root.to_str().expect("text").to_owned();
    let links = open.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    let files = links
        .filter(|link| link.starts_with(&prefix) && !link.starts_with(bench.root.join(".transit")))
        .count();
    assert!((1..=512).contains(&files), "{files}");
}

#[test]
fn a_stopped_pump_has_written_everything_and_says_so() {
    let bench = Bench::new();
    let mut child = bench.attach("web", 1, options());
    child.stdout.write_all(b"to the end").expect("writes");
    bench.pump.stop();
    assert_eq!(bench.payloads("web"), ["to the end"]);
    let refused = bench.pump.finish(name("web"), 1);
    assert!(matches!(refused, Err(crate::logs::Error::Stopped)));
    assert!(matches!(bench.pump.forget(name("web")), Err(crate::logs::Error::Stopped)));
}

#[test]
fn a_forgotten_service_keeps_its_files_and_may_come_back() {
    let bench = Bench::new();
    let mut child = bench.attach("web", 1, options());
    child.stdout.write_all(b"before\n").expect("writes");
    bench.pump.forget(name("web")).expect("accepts");
    let mut child = bench.attach("web", 1, options());
    child.stdout.write_all(b"after\n").expect("writes");
    bench.pump.update(name("web"), SinkOptions { max_file: 1, ..options() }).expect("accepts");
    bench.finish("web", 1);
    assert_eq!(bench.payloads("web"), ["before", "after"]);
}
