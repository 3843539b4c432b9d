//! What can be typed, and what cannot.

use clap::{CommandFactory as _, Parser as _};

use crate::cli::arguments::{Arguments, Command};
use crate::cli::output::Format;
use crate::cli::{help, wants_json};

fn parse(line: &str) -> Result<Arguments, clap::Error> {
    Arguments::try_parse_from(line.split_whitespace())
}

#[test]
fn the_table_of_arguments_is_sound() {
    Arguments::command().debug_assert();
}

#[test]
fn what_can_be_typed() {
    for line in [
        "cafe",
        "cafe run",
        "cafe run cafe.ron -v -v",
        "cafe status",
        "cafe ps",
        "cafe ls web db",
        "cafe status web -o json",
        "cafe -o json status web",
        "cafe --json status",
        "cafe status --color never -q",
        "cafe tree -o plain",
        "cafe events web --after 3 -n 5 --utc",
        "cafe logs",
        "cafe logs -f web -n 20 -g error --invert",
        "cafe logs web --since 10m --until 2026-11-20T18:00:00Z --stderr --no-prefix --utc",
        "cafe logs -n all",
        "cafe config check",
        "cafe config check - -o json",
        "cafe start web db --timeout 1m30s -m reason",
        "cafe stop web --dry-run",
        "cafe restart web",
        "cafe restart --overlap web db -m reason",
        "cafe reload",
        "cafe reload web",
        "cafe kill web -s KILL",
        "cafe kill web --signal 15",
        "cafe wait web --for ready --timeout 30s",
        "cafe config diff",
        "cafe config diff -",
        "cafe config show -o json",
        "cafe explain",
        "cafe explain C021",
        "cafe shutdown --yes",
        "cafe completions zsh",
        "cafe man",
        "cafe --socket /tmp/s status",
    ] {
        if let Err(error) = parse(line) {
            panic!("{line}: {error}");
        }
    }
}

#[test]
fn what_cannot_be_typed() {
    for line in [
        "cafe sta",
        "cafe start",
        "cafe stop",
        "cafe wait web --for lunch",
        "cafe wait",
        "cafe kill web -s NOPE",
        "cafe kill web -s 0",
        "cafe status -o xml",
        "cafe status --json -o plain",
        "cafe start web --timeout 10",
        "cafe start web --timeout -1s",
        "cafe completions powershell",
        "cafe config",
        "cafe events -n many",
        "cafe logs -n few",
        "cafe logs --since yesterday",
        "cafe logs -g (",
        "cafe logs --invert",
    ] {
        let error = parse(line).expect_err(line);
        assert_eq!(error.exit_code(), 2, "{line}");
    }
}

#[test]
fn durations_are_those_of_the_config() {
    let arguments = parse("cafe stop web --timeout 1m30s").expect("parses");
    assert_eq!(arguments.global.wait(), std::time::Duration::from_secs(90));
    let error = parse("cafe stop web --timeout soon").expect_err("no duration").to_string();
    assert!(error.contains("`soon` is not a duration"), "{error}");
}

#[test]
fn flags_mean_the_same_before_and_after_the_verb() {
    for line in ["cafe -o json status", "cafe status -o json", "cafe --json status"] {
        assert_eq!(parse(line).expect(line).global.format(), Format::Json, "{line}");
    }
    let kill = parse("cafe kill web").expect("parses");
    assert!(matches!(kill.command, Some(Command::Kill(kill)) if kill.signal == 15));
}

#[test]
fn no_letter_means_two_things() {
    let mut meanings = std::collections::BTreeMap::new();
    let mut command = Arguments::command();
    command.build();
    for verb in command.get_subcommands() {
        for flag in verb.get_arguments() {
            if let (Some(short), Some(long)) = (flag.get_short(), flag.get_long()) {
                let known = meanings.entry(short).or_insert_with(|| long.to_owned());
                assert_eq!(known, long, "-{short} of {}", verb.get_name());
            }
        }
    }
    assert_eq!(meanings.get(&'n').map(String::as_str), Some("lines"));
    assert_eq!(meanings.get(&'v').map(String::as_str), Some("verbose"));
}

#[test]
fn json_is_seen_in_arguments_that_make_no_sense() {
    let wants = |line: &str| wants_json(line.split_whitespace().map(str::to_owned));
    for line in
        ["cafe nope --json", "cafe -o json nope", "cafe nope --output=json", "cafe x -ojson"]
    {
        assert!(wants(line), "{line}");
    }
    for line in ["cafe nope", "cafe status json", "cafe -o plain json"] {
        assert!(!wants(line), "{line}");
    }
}

#[test]
fn every_verb_has_help_and_a_place_in_the_manual() {
    let manual = help::manual().expect("renders");
    let mut command = Arguments::command();
    command.build();
    for verb in command.get_subcommands().filter(|verb| verb.get_name() != "help") {
        assert!(verb.get_about().is_some(), "{}", verb.get_name());
        assert!(manual.contains(&format!(".SS \"cafe {}", verb.get_name())), "{}", verb.get_name());
    }
    for exit in crate::cli::Exit::ALL {
        assert!(manual.contains(&format!("\\fB{}\\fR", exit.code())), "{exit:?}");
    }
    for part in ["FILES", "ENVIRONMENT", "NO_COLOR", "CAFE_SOCKET", "EXIT STATUS"] {
        assert!(manual.contains(part), "{part}");
    }
}
