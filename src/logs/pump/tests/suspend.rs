//! A pump that is suspended, and another that goes on.

use std::io::Write;
use std::time::Duration;

use super::{Bench, name, options};
use crate::logs::dir;
use crate::logs::pump::{Notice, SinkOptions, Suspended};

/// The next pump on the same files, with what the first was in the middle of; by way of text, as in an upgrade.
fn go_on(bench: &Bench) -> Bench {
    let suspended = bench.pump.suspend().expect("suspends");
    let next = Bench::at(&bench.root);
    for Suspended { state, pipes } in suspended {
        let text = serde_json::to_string(&state).expect("is plain data");
        let state = serde_json::from_str(&text).expect("reads");
        next.pump.resume(Suspended { state, pipes }).expect("resumes");
    }
    next
}

#[test]
fn lines_go_on_in_the_middle_with_their_last_lines_and_what_is_waited_for() {
    let first = Bench::new();
    let mut child = first.attach_watching("web", 3, options(), Some("^ready$"));
    child.stdout.write_all(b"one\nhalf").expect("writes");
    child.stderr.write_all(b"re").expect("writes");
    // Read by now, because an answer comes after it.
    while !first.payloads("web").contains(&"one".to_owned()) {
        std::thread::yield_now();
    }
    let second = go_on(&first);
    assert!(matches!(first.pump.forget(name("web")), Err(crate::logs::Error::Stopped)));
    assert!(first.pump.suspend().is_err(), "it has ended");
    child.stdout.write_all(b" a line\nunfinished").expect("writes");
    child.stderr.write_all(b"ady\n").expect("writes");
    let matched = Notice::Matched { service: name("web"), generation: 3, line: "ready".to_owned() };
    assert_eq!(second.notice(), matched);
    let third = go_on(&second);
    let mut excerpt = third.finish("web", 3).lines;
    excerpt.sort();
    assert_eq!(excerpt, ["half a line", "one", "ready", "unfinished"]);
    assert_eq!(third.payloads("web").len(), 4, "nothing is told twice");
}

#[test]
fn a_finished_incarnation_keeps_its_last_lines() {
    let first = Bench::new();
    let mut child = first.attach("web", 1, options());
    child.stdout.write_all(b"last words\n").expect("writes");
    first.finish("web", 1);
    let second = go_on(&first);
    let answer = second.pump.excerpt(name("web")).expect("accepts");
    assert_eq!(answer.blocking_recv().expect("answers").lines, ["last words"]);
}

#[test]
fn two_incarnations_at_once_go_on_each_in_its_own_lines() {
    let first = Bench::new();
    let mut old = first.attach("web", 1, options());
    let mut new = first.attach_beside("web", 2, Some("^ready$"));
    old.stdout.write_all(b"old one\nold ").expect("writes");
    old.stderr.write_all(b"bad ").expect("writes");
    new.stdout.write_all(b"new one\nre").expect("writes");
    let second = go_on(&first);
    new.stdout.write_all(b"ady\nnew ").expect("writes");
    let matched = Notice::Matched { service: name("web"), generation: 2, line: "ready".to_owned() };
    assert_eq!(second.notice(), matched);
    let third = go_on(&second);
    old.stdout.write_all(b"two\nold three").expect("writes");
    old.stderr.write_all(b"end\n").expect("writes");
    let last = third.finish("web", 1).lines;
    assert!(last.contains(&"old three".to_owned()), "{last:?}");
    let fourth = go_on(&third);
    // Its place is free: the next comes beside the one that is left.
    let mut next = fourth.attach_beside("web", 3, None);
    next.stdout.write_all(b"next").expect("writes");
    new.stdout.write_all(b"two\n").expect("writes");
    assert!(fourth.finish("web", 3).lines.contains(&"next".to_owned()));
    fourth.finish("web", 2);
    let mut lines = fourth.payloads("web");
    lines.sort();
    let expected =
        ["bad end", "new one", "new two", "next", "old one", "old three", "old two", "ready"];
    assert_eq!(lines, expected);
}

#[test]
fn a_line_that_had_its_head_shown_is_continued() {
    let first = Bench::new();
    let mut child = first.attach_watching("web", 1, options(), Some("password:"));
    child.stdout.write_all(b"password:").expect("writes");
    first.notice();
    let second = go_on(&first);
    child.stdout.write_all(b" ***\nwelcome\n").expect("writes");
    second.finish("web", 1);
    assert_eq!(second.payloads("web"), ["password: ***", "welcome"]);
}

#[test]
fn what_could_not_be_written_is_written_by_the_next() {
    let first = Bench::new();
    let directory = dir::of(&first.root, &name("web"));
    std::fs::create_dir_all(&directory).expect("makes");
    let current = directory.join(dir::CURRENT);
    std::os::unix::fs::symlink("/dev/full", &current).expect("links");
    let mut child = first.attach("web", 1, options());
    child.stdout.write_all(b"held\nhalf").expect("writes");
    assert!(matches!(first.notice(), Notice::WriteFailed { .. }));
    let second = go_on(&first);
    child.stdout.write_all(b" a line\n").expect("writes");
    std::fs::remove_file(current).expect("removes");
    while !matches!(second.notice(), Notice::Unblocked { .. }) {}
    second.finish("web", 1);
    assert_eq!(second.payloads("web"), ["held", "half a line"]);
}

/// Its next pump has yet to write what completes the line.
fn with_a_torn_line(first: &Bench) -> Bench {
    first.attach("web", 1, SinkOptions { max_file: 1 << 20, ..options() });
    let mut suspended = first.pump.suspend().expect("suspends");
    let directory = dir::of(&first.root, &name("web"));
    std::fs::create_dir_all(&directory).expect("makes");
    std::fs::write(directory.join(dir::CURRENT), b"2026-11-20T18:").expect("writes");
    suspended[0].state.unwritten = Some(crate::logs::pump::Unwritten {
        since: Duration::from_secs(2),
        cause: "no space".to_owned(),
        pending: b"20:01.114523Z o one line\n".to_vec(),
        torn: true,
        dropped: 0,
        last: Vec::new(),
        told: true,
    });
    let next = Bench::at(&first.root);
    for service in suspended {
        next.pump.resume(service).expect("resumes");
    }
    next
}

#[test]
fn a_torn_line_is_completed() {
    let first = Bench::new();
    let second = with_a_torn_line(&first);
    while !matches!(second.notice(), Notice::Unblocked { .. }) {}
    assert_eq!(second.payloads("web"), ["one line"]);
}

#[test]
fn a_torn_line_is_completed_by_the_one_after_the_next() {
    let first = Bench::new();
    let second = with_a_torn_line(&first);
    let third = go_on(&second);
    third.pump.stop();
    assert_eq!(third.payloads("web"), ["one line"]);
}

#[test]
fn a_writer_at_full_speed_over_many_suspensions_loses_no_line() {
    let mut bench = Bench::new();
    let child =
        bench.attach("web", 1, SinkOptions { max_file: 100_000, keep: 100_000, ..options() });
    let mut out = std::io::BufWriter::with_capacity(5_003, child.stdout);
    let writer = std::thread::spawn(move || {
        (0..100_000).for_each(|number| writeln!(out, "{number}").expect("writes"));
    });
    let mut before = Vec::new();
    while !writer.is_finished() {
        let next = go_on(&bench);
        before.push(std::mem::replace(&mut bench, next));
    }
    writer.join().expect("ends");
    bench.finish("web", 1);
    let expected: Vec<_> = (0..100_000).map(|number| number.to_string()).collect();
    assert!(bench.payloads("web") == expected, "every line once, in order");
}
