//! Reading hand-made files, and following a real pump.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use proptest::prelude::{any, proptest};

use super::filter::Filter;
use super::source::{Source, Start};
use super::{Follower, Query, Reader, Stream};
use crate::logs::dir::{self, Archive};
use crate::logs::{Limits, Options, Pump, SinkOptions, line, pipe};
use crate::types::name::Name;
use crate::types::policy::OnFull;

const PATIENCE: Duration = Duration::from_secs(30);
const BASE: u64 = 1_700_000_000_000_000;

/// Lines numbered and stamped by `numbers`, seconds after `BASE`.
fn disk(numbers: std::ops::Range<u64>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in numbers {
        let mark = if number % 2 == 0 { b'o' } else { b'e' };
        bytes.extend_from_slice(&line::header(BASE + number * 1_000_000, mark));
        bytes.extend_from_slice(format!("line {number}\n").as_bytes());
    }
    bytes
}

fn at(number: u64) -> Timestamp {
    Timestamp::from_microsecond((BASE + number * 1_000_000) as i64).expect("in range")
}

fn archive(directory: &Path, sequence: u64, numbers: std::ops::Range<u64>, gzip: bool) -> Archive {
    let (first, last) = (BASE + numbers.start * 1_000_000, BASE + (numbers.end - 1) * 1_000_000);
    let archive = Archive { sequence, first, last, gzip };
    let path = directory.join(archive.file_name());
    if gzip {
        let mut encoder = GzEncoder::new(File::create(path).expect("creates"), Compression::fast());
        encoder.write_all(&disk(numbers)).expect("packs");
        encoder.finish().expect("packs");
    } else {
        fs::write(path, disk(numbers)).expect("writes");
    }
    archive
}

/// A service with lines 0 to 400 in two compressed files, a plain one and `current`, which ends in a torn line.
fn service(root: &Path, name: &str) -> Name {
    let directory = root.join(name);
    fs::create_dir_all(&directory).expect("makes");
    archive(&directory, 7, 0..100, true);
    archive(&directory, 8, 100..200, true);
    archive(&directory, 9, 200..300, false);
    let mut current = disk(300..400);
    current.extend_from_slice(b"2026-11-20T18:20:01.114523Z o torn");
    fs::write(directory.join(dir::CURRENT), current).expect("writes");
    name.parse().expect("a name")
}

fn read(root: &Path, query: &Query) -> Vec<u64> {
    let lines = Reader::open(root, query).expect("opens");
    lines.map(|line| number(&line.expect("reads").text)).collect()
}

fn number(text: &[u8]) -> u64 {
    let text = std::str::from_utf8(text).expect("text");
    text.strip_prefix("line ").and_then(|number| number.parse().ok()).expect(text)
}

#[test]
fn all_files_are_read_in_order_without_the_torn_line() {
    let root = tempfile::tempdir().expect("temporary directory");
    service(root.path(), "web");
    assert_eq!(read(root.path(), &Query::default()), (0..400).collect::<Vec<_>>());
    let none = Query { services: vec!["none".parse().expect("a name")], ..Query::default() };
    assert_eq!(read(root.path(), &none), [0; 0]);
}

#[test]
fn the_last_lines_are_found_from_the_end_in_every_kind_of_file() {
    let root = tempfile::tempdir().expect("temporary directory");
    service(root.path(), "web");
    for wanted in [0, 1, 99, 100, 101, 199, 200, 201, 250, 300, 301, 399, 400, 401, 9_999] {
        let query = Query { lines: Some(wanted), ..Query::default() };
        let first = 400_u64.saturating_sub(wanted as u64);
        assert_eq!(read(root.path(), &query), (first..400).collect::<Vec<_>>(), "{wanted}");
    }
    let grep = Some("7$".parse().expect("regex"));
    let query = Query { lines: Some(25), grep, ..Query::default() };
    let sevens: Vec<_> = (0..400).filter(|number| number % 10 == 7).collect();
    assert_eq!(read(root.path(), &query), sevens[15..]);
}

#[test]
fn time_stream_and_pattern_select() {
    let root = tempfile::tempdir().expect("temporary directory");
    service(root.path(), "web");
    for (since, until) in
        [(0, 399), (50, 60), (99, 100), (150, 350), (250, 250), (310, 320), (399, 500), (401, 500)]
    {
        let query = Query { since: Some(at(since)), until: Some(at(until)), ..Query::default() };
        let expected: Vec<_> = (since..=until).filter(|&number| number < 400).collect();
        assert_eq!(read(root.path(), &query), expected, "{since} to {until}");
    }
    let query = Query {
        grep: Some("5".parse().expect("regex")),
        invert: true,
        stream: Some(Stream::Stderr),
        until: Some(at(20)),
        ..Query::default()
    };
    assert_eq!(read(root.path(), &query), [1, 3, 7, 9, 11, 13, 17, 19]);
}

#[test]
fn services_are_merged_by_time_and_the_last_lines_are_of_all() {
    let root = tempfile::tempdir().expect("temporary directory");
    let (one, two) = (service(root.path(), "one"), service(root.path(), "two"));
    let query = Query { lines: Some(5), ..Query::default() };
    let lines: Vec<_> = Reader::open(root.path(), &query)
        .expect("opens")
        .map(|line| line.expect("reads"))
        .map(|line| (number(&line.text), line.service))
        .collect();
    let expected = [(397, &two), (398, &one), (398, &two), (399, &one), (399, &two)]
        .map(|(n, s)| (n, s.clone()));
    assert_eq!(lines, expected);
    assert_eq!(read(root.path(), &Query::default()).len(), 800);
}

#[test]
fn any_bytes_are_shown_and_none_is_run_into_the_next_line() {
    let root = tempfile::tempdir().expect("temporary directory");
    let directory = root.path().join("web");
    fs::create_dir_all(&directory).expect("makes");
    let long = vec![b'x'; 300_000];
    let mut bytes = disk(0..1);
    for foreign in [b"not of cafe".as_slice(), b"", b"\0\xff\x1b", &long] {
        bytes.extend_from_slice(foreign);
        bytes.push(b'\n');
    }
    bytes.extend(disk(1..2));
    fs::write(directory.join(dir::CURRENT), bytes).expect("writes");
    let lines: Vec<_> = Reader::open(root.path(), &Query::default())
        .expect("opens")
        .map(|line| line.expect("reads").text)
        .collect();
    assert_eq!(lines[..4], [b"line 0".as_slice(), b"not of cafe", b"", b"\0\xff\x1b"]);
    assert_eq!(lines.last().map(Vec::as_slice), Some(b"line 1".as_slice()));
    let cut: usize = lines[4..lines.len() - 1].iter().map(Vec::len).sum();
    assert_eq!(cut, long.len());
}

proptest! {
    #[test]
    fn the_end_and_the_time_agree_with_reading_everything(
        lengths in proptest::collection::vec(0..9_000_usize, 1..60),
        wanted in 0..70_usize,
        since in 0..70_u64,
        torn: bool,
    ) {
        let root = tempfile::tempdir().expect("temporary directory");
        let directory = root.path().join("web");
        fs::create_dir_all(&directory).expect("makes");
        let mut bytes = Vec::new();
        for (number, length) in lengths.iter().enumerate() {
            bytes.extend_from_slice(&line::header(BASE + number as u64 * 1_000_000, b'o'));
            bytes.extend(std::iter::repeat_n(b'a', *length));
            bytes.push(b'\n');
        }
        if torn {
            bytes.extend_from_slice(b"2026-11-20T18:20:01.114523Z o to");
        }
        fs::write(directory.join(dir::CURRENT), bytes).expect("writes");
        let got = |query: &Query| -> Vec<usize> {
            let lines = Reader::open(root.path(), query).expect("opens");
            lines.map(|line| line.expect("reads").text.len()).collect()
        };
        let tail = got(&Query { lines: Some(wanted), ..Query::default() });
        assert_eq!(tail, lengths[lengths.len().saturating_sub(wanted)..]);
        let late = got(&Query { since: Some(at(since)), ..Query::default() });
        assert_eq!(late, lengths[lengths.len().min(since as usize)..]);
    }

    #[test]
    fn any_file_is_read_without_panic(bytes in any::<Vec<u8>>(), wanted in 0..5_usize) {
        let root = tempfile::tempdir().expect("temporary directory");
        let directory = root.path().join("web");
        fs::create_dir_all(&directory).expect("makes");
        fs::write(directory.join(dir::CURRENT), &bytes).expect("writes");
        for lines in [None, Some(wanted)] {
            let query = Query { lines, since: Some(at(3)), ..Query::default() };
            Reader::open(root.path(), &query).expect("opens").for_each(|line| drop(line.expect("reads")));
        }
    }
}

#[test]
fn a_file_renamed_and_compressed_while_it_is_read_is_read_once() {
    let root = tempfile::tempdir().expect("temporary directory");
    let directory = root.path();
    let current = directory.join(dir::CURRENT);
    fs::write(&current, disk(0..100)).expect("writes");
    let start = Start { sequence: 1, ..Start::default() };
    let mut source = Source::new("web".parse().expect("a name"), directory.to_owned(), start, 512);
    let filter = Filter::new(&Query::default());
    let mut next = || source.next(&filter).expect("reads").map(|line| number(&line.text));
    assert_eq!((next(), next()), (Some(0), Some(1)));
    // No archive told its number when it was opened: it is the 42nd file.
    let plain = directory.join(archive(directory, 42, 0..100, false).file_name());
    fs::rename(&current, &plain).expect("renames");
    fs::write(&current, disk(100..200)).expect("writes");
    for expected in 2..50 {
        assert_eq!(next(), Some(expected));
    }
    fs::remove_file(&plain).expect("removes");
    archive(directory, 42, 0..100, true);
    for expected in 50..200 {
        assert_eq!(next(), Some(expected));
    }
    assert_eq!(next(), None);
    let mut file = File::options().append(true).open(&current).expect("opens");
    file.write_all(&disk(200..201)[..20]).expect("writes");
    assert_eq!(next(), None, "half a line is none");
    file.write_all(&disk(200..201)[20..]).expect("writes");
    assert_eq!((next(), next()), (Some(200), None));
}

#[test]
fn files_removed_before_they_were_read_leave_a_mark() {
    let root = tempfile::tempdir().expect("temporary directory");
    let directory = root.path();
    let first = archive(directory, 1, 0..100, false);
    let second = archive(directory, 2, 100..200, false);
    fs::write(directory.join(dir::CURRENT), disk(200..201)).expect("writes");
    let start = Start { sequence: 1, ..Start::default() };
    let mut source = Source::new("web".parse().expect("a name"), directory.to_owned(), start, 512);
    let filter = Filter::new(&Query::default());
    assert!(source.next(&filter).expect("reads").is_some());
    for archive in [first, second] {
        fs::remove_file(directory.join(archive.file_name())).expect("removes");
    }
    archive(directory, 3, 150..160, true);
    let rest = std::iter::from_fn(|| source.next(&filter).expect("reads"));
    let rest: Vec<_> = rest.map(|line| (line.stream, line.text)).collect();
    let gap = rest.iter().position(|(stream, _)| *stream == Stream::Cafe).expect("a mark");
    assert_eq!(number(&rest[gap + 1].1), 150);
    assert_eq!(rest.len() - gap, 12);
}

#[test]
fn a_follower_sees_every_line_once_over_rotation_restart_and_new_services() {
    let root = tempfile::tempdir().expect("temporary directory");
    let options = SinkOptions { max_file: 4_096, keep: 100_000, on_full: OnFull::Block };
    let mut follower = Follower::open(root.path(), &Query::default()).expect("opens");
    let path = root.path().to_owned();
    let writer = std::thread::spawn(move || {
        for generation in 0..4 {
            let limits = Limits { max_total: 1 << 30, min_free_percent: 0 };
            let notices = Box::new(drop);
            let pump = Pump::start(Options { dir: path.clone(), limits, transit: None, notices })
                .expect("starts");
            for service in ["one", "two"] {
                let (stdout, out) = pipe(None).expect("pipe");
                let (stderr, _) = pipe(None).expect("pipe");
                let service: Name = service.parse().expect("a name");
                let source = crate::logs::Source {
                    service,
                    generation,
                    beside: false,
                    stdout,
                    stderr,
                    options,
                    watch_for: None,
                    found: false,
                };
                pump.attach(source).expect("attaches");
                let mut out = File::from(out);
                for number in generation * 500..(generation + 1) * 500 {
                    writeln!(out, "line {number}").expect("writes");
                }
            }
            pump.stop();
        }
    });
    let mut seen = std::collections::BTreeMap::<String, Vec<u64>>::new();
    while seen.values().map(Vec::len).sum::<usize>() < 4_000 {
        let line = follower.next(PATIENCE).expect("reads").expect("comes");
        seen.entry(line.service.to_string()).or_default().push(number(&line.text));
    }
    writer.join().expect("writes all");
    assert_eq!(follower.next(Duration::ZERO).expect("reads"), None);
    for service in ["one", "two"] {
        assert_eq!(seen[service], (0..2_000).collect::<Vec<_>>(), "{service}");
    }
    assert!(dir::archives(&root.path().join("one")).expect("lists").len() > 10, "it rotated");
}
