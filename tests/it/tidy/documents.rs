//! Documents say what is so: links lead somewhere, every error has its page, every verb is in the help.

use std::collections::BTreeSet;
use std::process::{Command, Output};

use cafe::cli::Exit;
use cafe::types::error::Code;

use super::{files_below, none, read, root};

/// What the first version can be told, as designed.
const VERBS: [&str; 18] = [
    "run",
    "status",
    "tree",
    "upgrade",
    "logs",
    "events",
    "start",
    "stop",
    "restart",
    "reload",
    "kill",
    "wait",
    "config",
    "explain",
    "shutdown",
    "completions",
    "man",
    "help",
];

/// The real binary, told something that needs no daemon.
#[allow(clippy::disallowed_methods, reason = "a short command of a test, waited for at once")]
fn cafe(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cafe"));
    command.args(arguments).current_dir(root()).output().expect("cafe runs")
}

fn said(output: &Output) -> String {
    assert!(
        output.status.success(),
        "{}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

#[test]
fn every_error_code_has_a_page_and_every_page_a_code() {
    let codes: BTreeSet<String> = Code::ALL.iter().map(ToString::to_string).collect();
    let pages = files_below("docs/errors", "md");
    let pages: BTreeSet<String> = pages
        .iter()
        .map(|page| page.file_stem().expect("a name").to_string_lossy().into_owned())
        .collect();
    assert_eq!(pages, codes);
}

#[test]
fn the_example_config_is_clean() {
    let output = cafe(&["config", "check", "cafe.ron"]);
    let told = said(&output);
    assert!(told.contains("no errors"), "{told}");
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_help_and_the_manual_name_every_verb_and_no_other() {
    let help = said(&cafe(&["--help"]));
    let commands = help.split("Commands:\n").nth(1).and_then(|rest| rest.split("\n\n").next());
    let listed: BTreeSet<&str> = commands
        .expect("a list of commands")
        .lines()
        .filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next())
        .collect();
    assert_eq!(listed, BTreeSet::from(VERBS));
    let manual = said(&cafe(&["man"]));
    for verb in VERBS.iter().filter(|verb| **verb != "help") {
        assert!(manual.contains(&format!(".SS \"cafe {verb}")), "the manual has `{verb}`");
    }
}

#[test]
fn the_readme_has_the_exit_codes() {
    let readme = read("README.md");
    for exit in Exit::ALL {
        let row = format!("| {} | {} |", exit.code(), exit.meaning());
        assert!(readme.contains(&row), "README.md has `{row}`");
    }
}

#[test]
fn links_lead_somewhere() {
    let mut documents = files_below("docs", "md");
    documents.extend(["README.md", "CHANGELOG.md"].map(Into::into));
    let mut offenders = Vec::new();
    let mut links = 0;
    for document in &documents {
        let directory = root().join(document).parent().expect("a directory").to_owned();
        let text = read(document);
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = link.split('#').next().unwrap_or_default();
            if path.contains("://") || path.is_empty() {
                continue;
            }
            links += 1;
            if !directory.join(path).try_exists().expect("can be looked at") {
                offenders.push(format!("{} links to {link}", document.display()));
            }
        }
    }
    assert!(links > 5, "links were found");
    none("the file exists", &offenders);
}

#[test]
fn the_files_the_documents_name_exist() {
    let mut offenders = Vec::new();
    for document in ["README.md", "docs/architecture.md"] {
        for name in read(document).split('`').skip(1).step_by(2) {
            let is_path =
                ["src/", "tests/", "docs/", "bench/"].iter().any(|top| name.starts_with(top));
            if is_path
                && !name.contains([' ', '*', '<'])
                && !root().join(name).try_exists().expect("can be looked at")
            {
                offenders.push(format!("{document} names {name}"));
            }
        }
    }
    none("the file exists", &offenders);
}
