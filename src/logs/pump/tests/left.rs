//! What stands in the directory of transit at the start, and a directory that cannot be used.

use std::io::Write;
use std::path::{Path, PathBuf};

use super::{Bench, name, options};
use crate::logs::dir;

fn transit(root: &Path) -> PathBuf {
    let directory = root.join(".transit");
    std::fs::create_dir_all(&directory).expect("makes");
    directory
}

/// Lines come through, and unfinished ones.
fn assert_works(bench: &Bench, before: &[&str]) {
    let mut child = bench.attach("web", 1, options());
    child.stdout.write_all(b"one\ntwo").expect("writes");
    bench.finish("web", 1);
    assert_eq!(bench.payloads("web"), [before, &["one", "two"]].concat());
}

#[test]
fn foreign_and_damaged_files_are_put_aside() {
    let root = tempfile::tempdir().expect("temporary directory");
    let directory = transit(root.path());
    let later_version = b"cafelog\x02 and whatever it has".as_slice();
    let damaged = [b"cafelog\x01".as_slice(), &[200, 0, 0, 0], &[7; 300]].concat();
    let torn = [b"cafelog\x01".as_slice(), &[200, 0, 0, 0], &[7; 20]].concat();
    let all: [(&str, &[u8]); 5] =
        [("1", b"garbage"), ("2", later_version), ("7", &damaged), ("8", &torn), ("9", b"")];
    for (name, bytes) in all {
        std::fs::write(directory.join(name), bytes).expect("writes");
    }
    std::fs::write(directory.join("unfinished"), [9; 50_000]).expect("writes");
    std::fs::write(directory.join("notes.txt"), "mine").expect("writes");
    assert_works(&Bench::at(root.path()), &[]);
    let mut left = dir::names(&directory).expect("lists");
    left.sort();
    assert_eq!(left, ["1.unused", "10", "2.unused", "7.unused", "notes.txt", "unfinished"]);
    assert_eq!(std::fs::read(directory.join("7.unused")).expect("reads"), damaged);
}

#[test]
fn lines_on_their_way_to_a_file_that_is_another_one_now_are_put_aside() {
    let first = Bench::new();
    let logs = dir::of(&first.root, &name("web"));
    std::fs::create_dir_all(&logs).expect("makes");
    let current = logs.join(dir::CURRENT);
    // What is held for a file that cannot be written stays in transit over the end of the pump.
    std::os::unix::fs::symlink("/dev/full", &current).expect("links");
    let mut child = first.attach("web", 1, options());
    child.stdout.write_all(b"held\n").expect("writes");
    first.finish("web", 1);
    first.pump.stop();
    std::fs::remove_file(&current).expect("removes");
    let foreign = "2026-11-20T18:20:01.114523Z o of somebody else\n";
    std::fs::write(&current, foreign).expect("writes");

    assert_works(&Bench::at(&first.root), &["of somebody else"]);
    let left = dir::names(&transit(&first.root)).expect("lists");
    assert!(left.iter().any(|name| name.ends_with(".unused")), "{left:?}");
}

#[test]
fn what_waits_for_a_full_disk_is_written_by_the_next_pump() {
    let first = Bench::new();
    let logs = dir::of(&first.root, &name("web"));
    std::fs::create_dir_all(&logs).expect("makes");
    let current = logs.join(dir::CURRENT);
    std::os::unix::fs::symlink("/dev/full", &current).expect("links");
    let mut child = first.attach("web", 1, options());
    child.stdout.write_all(b"held\nhalf").expect("writes");
    first.finish("web", 1);
    first.pump.note(name("web"), options(), "a line of cafe".to_owned()).expect("accepts");
    let mut child = first.attach("web", 2, options());
    child.stderr.write_all(b"of the next\n").expect("writes");
    first.finish("web", 2);
    first.pump.stop();
    std::fs::remove_file(&current).expect("removes");
    let expected = ["held", "half", "a line of cafe", "of the next"];
    assert_works(&Bench::at(&first.root), &expected);
}

#[test]
fn without_a_directory_or_room_in_it_lines_are_written_all_the_same() {
    let root = tempfile::tempdir().expect("temporary directory");
    std::fs::write(root.path().join(".transit"), "no directory").expect("writes");
    assert_works(&Bench::at(root.path()), &[]);

    let full = Bench::new();
    for number in 1..5 {
        let file = transit(&full.root).join(number.to_string());
        std::os::unix::fs::symlink("/dev/full", file).expect("links");
    }
    assert_works(&full, &[]);
}
