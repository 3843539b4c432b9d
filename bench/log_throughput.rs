//! The log path under load, cafe's pump and `s6-log` fed by the same generator in one run. Started by `bench/logs.sh`.
//!
//! `log_throughput compare LINES ROUNDS DIR` prints lines per second and per CPU second of both, and their ratio.
//! `log_throughput verify LINES DIR` keeps every file and checks that each line is there once and in order.
//! `log_throughput paced SECONDS DIR` prints the share of a core that 1,000 lines per second cost.
#![allow(clippy::print_stdout, clippy::disallowed_methods, clippy::expect_used)]

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cafe::logs::read::{Query, Reader};
use cafe::logs::{Limits, Options, Pump, SinkOptions, Source, pipe};
use cafe::types::name::Name;
use cafe::types::policy::OnFull;
use nix::sys::resource::{UsageWho, getrusage};

/// A line with its newline, as in the measurements of s6-log.
const LINE: usize = 100;

/// What one logger did.
#[derive(Clone, Copy)]
struct Run {
    seconds: f64,
    cpu: f64,
}

fn main() {
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["generate", lines] => generate(number(lines)),
        ["generate-paced", seconds] => generate_paced(number(seconds)),
        ["compare", lines, rounds, dir] => compare(number(lines), number(rounds), Path::new(dir)),
        ["verify", lines, dir] => verify(number(lines), Path::new(dir)),
        ["paced", seconds, dir] => paced(number(seconds), Path::new(dir)),
        // `cargo bench` without arguments: a small run that shows it works.
        _ => {
            let dir = tempfile::tempdir().expect("temporary directory");
            verify(200_000, dir.path());
        }
    }
}

fn number(text: &str) -> u64 {
    text.parse().expect("a number")
}

/// Numbered lines in writes of 64 KiB, as fast as the pipe takes them.
fn generate(lines: u64) {
    let mut line = vec![b'x'; LINE];
    line[LINE - 1] = b'\n';
    let mut block = Vec::with_capacity(64 * 1024);
    let mut out = io::stdout().lock();
    for number in 0..lines {
        digits(&mut line[..10], number);
        if block.len() + LINE > 64 * 1024 {
            out.write_all(&block).expect("writes");
            block.clear();
        }
        block.extend_from_slice(&line);
    }
    out.write_all(&block).and_then(|()| out.flush()).expect("writes");
}

fn digits(place: &mut [u8], mut number: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// A line every millisecond, each with a write of its own.
fn generate_paced(seconds: u64) {
    let begin = Instant::now();
    let mut out = File::from(nix::unistd::dup(io::stdout()).expect("dup"));
    for number in 0..seconds * 1_000 {
        let due = begin + Duration::from_millis(number);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        writeln!(out, "{number:0width$}", width = LINE - 1).expect("writes");
    }
}

fn compare(lines: u64, rounds: u64, dir: &Path) {
    let mut ratios = Vec::new();
    println!("| round | logger | lines/s | lines/CPU s |");
    println!("| --- | --- | --- | --- |");
    for round in 1..=rounds {
        let cafe = with_pump(&["generate", &lines.to_string()], &dir.join("cafe"), 20);
        let s6 = with_s6(lines, &dir.join("s6"));
        for (logger, run) in [("cafe", cafe), ("s6-log T", s6)] {
            let (wall, cpu) = (lines as f64 / run.seconds / 1e6, lines as f64 / run.cpu / 1e6);
            println!("| {round} | {logger} | {wall:.2} M | {cpu:.2} M |");
        }
        contiguous(&dir.join("cafe"), lines, 20 * 1_000_000 / (LINE as u64 + 31));
        ratios.push((s6.seconds / cafe.seconds, s6.cpu / cafe.cpu));
    }
    let median = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let wall = median(ratios.iter().map(|ratio| ratio.0).collect());
    let cpu = median(ratios.iter().map(|ratio| ratio.1).collect());
    println!("cafe / s6-log, median of {rounds}: {wall:.2} x lines/s, {cpu:.2} x lines/CPU s");
}

fn verify(lines: u64, dir: &Path) {
    with_pump(&["generate", &lines.to_string()], dir, u32::MAX);
    contiguous(dir, lines, lines);
    println!("{lines} lines written, all there once and in order");
}

fn paced(seconds: u64, dir: &Path) {
    let run = with_pump(&["generate-paced", &seconds.to_string()], dir, 20);
    let share = 100.0 * run.cpu / run.seconds;
    println!("1,000 lines/s: {share:.3} % of a core");
}

/// Runs the generator into a pump in this process.
fn with_pump(generator: &[&str], dir: &Path, keep: u32) -> Run {
    clear(dir);
    let limits = Limits { max_total: u64::MAX, min_free_percent: 0 };
    let notices = Box::new(|notice| println!("{notice:?}"));
    let pump = Pump::start(Options {
        dir: dir.to_owned(),
        limits,
        transit: Some(dir.join(".transit")),
        notices,
    })
    .expect("starts");
    let (stdout, out) = pipe(None).expect("pipe");
    let (stderr, _) = pipe(None).expect("pipe");
    let service: Name = "web".parse().expect("a name");
    let options = SinkOptions { max_file: 1_000_000, keep, on_full: OnFull::Block };
    let source = Source {
        service: service.clone(),
        generation: 1,
        beside: false,
        stdout,
        stderr,
        options,
        watch_for: None,
        found: false,
    };
    pump.attach(source).expect("attaches");
    let (begin, cpu) = (Instant::now(), cpu_seconds(UsageWho::RUSAGE_SELF));
    let mut child = start(generator, Stdio::from(out));
    child.wait().expect("waits");
    let answer = pump.finish(service, 1).expect("accepts");
    answer.blocking_recv().expect("answers");
    let seconds = begin.elapsed().as_secs_f64();
    let run = Run { seconds, cpu: cpu_seconds(UsageWho::RUSAGE_SELF) - cpu };
    pump.stop();
    run
}

/// Runs the generator into s6-log with ISO stamps, the same file size and number of files.
fn with_s6(lines: u64, dir: &Path) -> Run {
    clear(dir);
    let (reader, writer) = io::pipe().expect("pipe");
    let begin = Instant::now();
    let mut logger = Command::new("s6-log")
        .args(["-b", "n20", "s1000000", "T"])
        .arg(dir)
        .stdin(reader)
        .spawn()
        .expect("s6-log is installed");
    let mut child = start(&["generate", &lines.to_string()], Stdio::from(writer));
    child.wait().expect("waits");
    let cpu = cpu_seconds(UsageWho::RUSAGE_CHILDREN);
    logger.wait().expect("waits");
    let cpu = cpu_seconds(UsageWho::RUSAGE_CHILDREN) - cpu;
    Run { seconds: begin.elapsed().as_secs_f64(), cpu }
}

fn start(arguments: &[&str], stdout: Stdio) -> Child {
    let program: PathBuf = std::env::current_exe().expect("own path");
    Command::new(program).args(arguments).stdout(stdout).spawn().expect("starts the generator")
}

/// Checks that the lines kept are the last ones, without a gap, and at least so many.
fn contiguous(dir: &Path, lines: u64, at_least: u64) {
    let mut expected = None;
    let mut count = 0;
    for line in Reader::open(dir, &Query::default()).expect("opens") {
        let line = line.expect("reads");
        let number = number(std::str::from_utf8(&line.text[..10]).expect("text"));
        assert!(expected.is_none_or(|expected| expected == number), "a line lost before {number}");
        assert_eq!(line.text.len(), LINE - 1, "line {number} is whole");
        expected = Some(number + 1);
        count += 1;
    }
    assert_eq!(expected, Some(lines), "the last line is there");
    assert!(count >= at_least.min(lines), "{count} lines kept");
}

fn clear(dir: &Path) {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => panic!("cannot clear: {error}"),
        _ => fs::create_dir_all(dir).expect("makes"),
    }
}

fn cpu_seconds(who: UsageWho) -> f64 {
    let usage = getrusage(who).expect("getrusage");
    [usage.user_time(), usage.system_time()]
        .iter()
        .map(|time| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6)
        .sum()
}
