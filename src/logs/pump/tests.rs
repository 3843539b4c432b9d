//! The pump with real pipes and real files. Waiting is always for an answer or a notice, never for time.

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
        let options = Options { dir: root.to_owned(), limits, notices: notices_to };
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
        let (stdout, out) = pipe(None).expect("pipe");
        let (stderr, err) = pipe(None).expect("pipe");
        let watch_for = wanted.map(|wanted| wanted.parse().expect("regex"));
        let service = name(service);
        let source = Source { service, generation, stdout, stderr, options, watch_for };
        self.pump.attach(source).expect("attaches");
        Child { stdout: out.into(), stderr: err.into() }
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
        let directory = dir::of(&self.root, &name(service));
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

    /// Lines of the service on disk, continued ones joined, as (stream, payload).
    fn lines(&self, service: &str) -> Vec<(Stream, Vec<u8>)> {
        joined(&self.disk(service))
    }

    fn payloads(&self, service: &str) -> Vec<String> {
        let lines = self.lines(service).into_iter();
        lines.map(|(_, payload)| String::from_utf8(payload).expect("text")).collect()
    }
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
    bench.pump.note(name("web"), "started".to_owned()).expect("accepts");
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
