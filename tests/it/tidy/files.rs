//! Sizes, heads and leftovers of source files.

use super::{files_below, none, read};

/// Lines of a file: at most, at most for nine files in ten, and at most for the one in the middle.
const MOST: usize = 500;
const NINE_IN_TEN: usize = 400;
const MEDIAN: usize = 180;

const DIRECTORIES: [&str; 3] = ["src", "tests", "bench"];

/// The reason of what is started by tests as a program of its own, and must not run by itself.
const NO_TEST: &str = "= \"no test: ";

/// Path and text of every Rust file, tests included: they are read as often.
fn rust_files() -> Vec<(String, String)> {
    let paths = DIRECTORIES.iter().flat_map(|directory| files_below(directory, "rs"));
    paths.map(|path| (path.display().to_string(), read(&path))).collect()
}

#[test]
fn files_are_short() {
    let mut lengths: Vec<(usize, String)> =
        rust_files().into_iter().map(|(path, text)| (text.lines().count(), path)).collect();
    lengths.sort();
    let named = |lengths: &[(usize, String)]| -> Vec<String> {
        lengths.iter().map(|(lines, path)| format!("{lines} {path}")).collect()
    };
    let too_long = lengths.partition_point(|(lines, _)| *lines <= MOST);
    none("no file is longer than 500 lines", &named(&lengths[too_long..]));
    let long = lengths.partition_point(|(lines, _)| *lines <= NINE_IN_TEN);
    let share = lengths.len() - long;
    assert!(
        share * 10 <= lengths.len(),
        "{share} of {} are over 400: {:#?}",
        lengths.len(),
        named(&lengths[long..])
    );
    let (median, path) = &lengths[lengths.len() / 2];
    assert!(*median <= MEDIAN, "half of the files are longer than {path} with {median} lines");
}

#[test]
fn every_file_says_what_it_is() {
    let without_head = |(path, text): (String, String)| {
        let first = text.lines().next().unwrap_or_default();
        let head = first.strip_prefix("//! ").is_some_and(|head| head.len() > 10);
        (!head).then_some(path)
    };
    let offenders: Vec<String> = rust_files().into_iter().filter_map(without_head).collect();
    none("the first line is `//! ` and what the file is", &offenders);
}

#[test]
fn nothing_is_left_for_later() {
    // Written in two halves, so that this file does not offend.
    let marks = [
        ["TO", "DO"],
        ["FIX", "ME"],
        ["XX", "X"],
        ["todo", "!("],
        ["unimplemented", "!("],
        ["#[ign", "ore"],
    ];
    let marks = marks.map(|halves| halves.concat());
    let mut offenders = Vec::new();
    for (path, text) in rust_files() {
        for (number, line) in text.lines().enumerate() {
            let offends = marks.iter().any(|mark| line.contains(mark.as_str()));
            if offends && !line.contains(NO_TEST) {
                offenders.push(format!("{path}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    none("do it, or write an issue", &offenders);
}
