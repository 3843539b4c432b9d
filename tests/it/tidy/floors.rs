//! Who may import whom. The table of `docs/architecture.md`, held.

use super::none;
use super::sources::{Source, lies_in, sources, words};

/// Floor 1: each imports `types` and itself.
const ISLANDS: [&str; 5] = ["config", "logs", "net", "os", "supervision"];

/// What the command line may use besides `types` and itself: all of it works without a daemon, or speaks to one.
const CLI: [&[&str]; 3] = [&["config"], &["net", "control"], &["logs", "read"]];

/// In `actors`, in start order: what a part may use of the others. `logs` hands readiness lines to the services it is
/// started before, through their handle, which waits for them.
const PARTS: [(&str, &[&str]); 7] = [
    ("bus", &[]),
    ("reaper", &["bus"]),
    ("exits", &["bus"]),
    ("logs", &["bus", "services"]),
    ("listeners", &["bus"]),
    ("services", &["bus", "listeners"]),
    ("control", &["bus", "listeners", "services"]),
];

/// Offenders among the sources: those for which `allowed` refuses a module they name.
fn imports(
    wanted: impl Fn(&Source) -> bool,
    allowed: impl Fn(&Source, &[String]) -> bool,
) -> Vec<String> {
    let mut offenders = Vec::new();
    let mut looked_at = 0;
    for source in sources().iter().filter(|source| wanted(source)) {
        looked_at += 1;
        for name in source.names() {
            if !name.is_empty() && !allowed(source, &name) {
                offenders.push(format!("{} names {}", source.path.display(), name.join("::")));
            }
        }
    }
    assert!(looked_at > 0, "the rule looks at no file");
    offenders
}

#[test]
fn types_name_nothing_of_cafe_and_do_nothing() {
    none(
        "types is floor 0",
        &imports(|source| lies_in(&source.path, "types"), |_, name| name[0] == "types"),
    );
    let forbidden = ["tokio", "ractor", "nix", "rustix", "libc", "File", "fs", "net", "thread"];
    let offends = |source: &Source| words(&source.code).any(|(_, word)| forbidden.contains(&word));
    let offenders = offenders(|source| lies_in(&source.path, "types") && offends(source));
    none("types does no I/O", &offenders);
}

#[test]
fn islands_name_only_types_and_themselves() {
    for island in ISLANDS {
        let allowed = |_: &Source, name: &[String]| name[0] == island || name[0] == "types";
        none(island, &imports(|source| lies_in(&source.path, island), allowed));
    }
}

#[test]
fn actors_know_nothing_of_the_floors_above() {
    let allowed = |_: &Source, name: &[String]| !matches!(name[0].as_str(), "cli" | "daemon");
    none("actors is floor 2", &imports(|source| lies_in(&source.path, "actors"), allowed));
}

#[test]
fn parts_of_the_tree_name_each_other_in_start_order() {
    let is_part = |name: &String| PARTS.iter().any(|(part, _)| part == name);
    for (part, others) in PARTS {
        let is_own = |source: &Source| source.module().get(1).is_some_and(|module| module == part);
        let wanted = |source: &Source| {
            lies_in(&source.path, "actors") && is_own(source) && !source.is_test()
        };
        let allowed = |_: &Source, name: &[String]| match name {
            [actors, other, ..] if actors == "actors" && is_part(other) => {
                other == part || others.contains(&other.as_str())
            }
            _ => true,
        };
        none(part, &imports(wanted, allowed));
    }
}

#[test]
fn the_command_line_works_without_a_daemon() {
    let allowed = |source: &Source, name: &[String]| {
        let is =
            |path: &&[&str]| name.len() >= path.len() && path.iter().zip(name).all(|(a, b)| a == b);
        let fake = source.is_test() && name.starts_with(&["net".to_owned(), "fake".to_owned()]);
        matches!(name[0].as_str(), "cli" | "types") || CLI.iter().any(is) || fake
    };
    none("cli is floor 3", &imports(|source| lies_in(&source.path, "cli"), allowed));
}

#[test]
fn nothing_is_outside_the_floors() {
    let known = ["actors", "cli", "daemon", "types", "lib.rs", "main.rs"];
    let is_known =
        |source: &Source| known.iter().chain(&ISLANDS).any(|folder| lies_in(&source.path, folder));
    none("no floor is written for it", &offenders(|source| !is_known(source)));
}

#[test]
fn only_supervision_and_actors_know_ractor() {
    let allowed = |source: &Source| {
        ["supervision", "actors"].iter().any(|folder| lies_in(&source.path, folder))
    };
    let names = |source: &Source| words(&source.code).any(|(_, word)| word == "ractor");
    none("ractor is theirs", &offenders(|source| names(source) && !allowed(source)));
}

#[test]
fn only_os_writes_unsafe() {
    let writes = |source: &Source| {
        words(&source.code).any(|(_, word)| word == "unsafe" || word == "unsafe_code")
    };
    let outside = offenders(|source| writes(source) && !lies_in(&source.path, "os"));
    none("`unsafe` belongs to os", &outside);
    let allows = offenders(|source| words(&source.code).any(|(_, word)| word == "unsafe_code"));
    assert_eq!(allows, ["src/os/mod.rs"], "one place allows it");
}

#[test]
fn the_bans_are_in_force() {
    let clippy = super::read("clippy.toml");
    let banned = [
        "std::env::set_var",
        "std::thread::sleep",
        "std::process::Command::new",
        "tokio::process::Command",
        "tokio::spawn",
        "tokio::sync::mpsc::unbounded_channel",
    ];
    for path in banned {
        assert!(
            clippy.contains(&format!("path = \"{path}\", reason = \"")),
            "clippy.toml bans {path}, with a reason"
        );
    }
    let manifest = super::read("Cargo.toml");
    for lint in [
        "unsafe_code = \"deny\"",
        "unwrap_used = \"warn\"",
        "undocumented_unsafe_blocks = \"deny\"",
    ] {
        assert!(manifest.contains(lint), "Cargo.toml has {lint}");
    }
    assert_eq!(
        manifest.matches("panic = \"unwind\"").count(),
        2,
        "ractor supervises panics in every profile"
    );
    // The one task that may be spawned freely is the one that supervises them.
    let lifted = |source: &Source| {
        !source.is_test()
            && words(&source.code)
                .any(|(_, word)| word == "disallowed_methods" || word == "disallowed_types")
    };
    assert_eq!(offenders(lifted), ["src/supervision/task.rs"], "files that lift a ban");
}

fn offenders(offends: impl Fn(&Source) -> bool) -> Vec<String> {
    let sources = sources();
    let offenders = sources.iter().filter(|source| offends(source));
    offenders.map(|source| source.path.display().to_string()).collect()
}
