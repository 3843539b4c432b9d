//! What configs need, and what is kept and refused for it: tables, no machine.

use std::path::Path;

use super::{Machine, Needs, needs};
use crate::config::{Config, Limits, load_bytes};
use crate::types::capability::{Capabilities, Capability};
use crate::types::status::Privileges;

/// All that a kernel of today knows.
fn all() -> Capabilities {
    Capability::all().collect()
}

fn config(sections: &str) -> Config {
    let text = format!("Cafe({sections})");
    let path = Path::new("/srv/cafe.ron");
    load_bytes(path, text.as_bytes(), &|_| None).unwrap_or_else(|problems| panic!("{problems}"))
}

/// The config of one service with these fields.
fn service(fields: &str) -> Config {
    config(&format!(r#"services: {{ "a": (command: ["true"], {fields}) }}"#))
}

fn needs_as(uid: u32, config: &Config, ports: &[(u16, String)]) -> Needs {
    let user_id = |user: &str| match user {
        "root" | "toor" => Some(0),
        "cafe" => Some(7),
        "www-data" => Some(33),
        number => number.parse().ok(),
    };
    let hard = Limits { nofile: Some(1000), core: Some(u64::MAX), ..Limits::default() };
    let machine = Machine { uid, nice: 0, hard, user_id: &user_id, ports, unprivileged_from: 1024 };
    needs(config, &machine)
}

/// The names of what is needed, but for what is needed in any case.
fn own(needs: &Needs) -> String {
    let files = [Capability::DAC_OVERRIDE, Capability::DAC_READ_SEARCH].into_iter().collect();
    let own: Capabilities = needs.own.keys().copied().collect();
    (own - files).to_string()
}

#[test]
fn each_field_needs_what_it_needs() {
    // User of cafe, fields, what cafe needs, whether the service has all of root, whether it may gain by programs.
    for (uid, fields, expected, root, gains) in [
        (7, "", "none", false, true),
        (7, "no_new_privs: true", "none", false, false),
        (7, "user: \"cafe\"", "CHOWN SETGID", false, true),
        (7, "group: \"33\"", "CHOWN SETGID", false, true),
        (7, "user: \"www-data\"", "CHOWN KILL SETGID SETUID SYS_PTRACE", false, true),
        (7, "user: \"nobody-knows\"", "CHOWN KILL SETGID SETUID SYS_PTRACE", false, true),
        (7, "user: \"root\"", "CHOWN KILL SETGID SETUID SYS_PTRACE", true, false),
        (7, "nice: 5", "none", false, true),
        (7, "nice: -1", "SYS_NICE", false, true),
        (7, "limits: (nofile: 1000, core: unlimited)", "none", false, true),
        (7, "limits: (nofile: 1001)", "SYS_RESOURCE", false, true),
        (7, "capabilities: [\"NET_RAW\"], no_new_privs: true", "NET_RAW", false, false),
        (7, "on_give_up: (command: [\"true\"]), no_new_privs: true", "none", false, true),
        (0, "", "KILL SYS_PTRACE SYS_RESOURCE", true, false),
        (0, "no_new_privs: true", "KILL SYS_PTRACE SYS_RESOURCE", true, false),
        (0, "user: \"toor\"", "CHOWN KILL SETGID SYS_PTRACE SYS_RESOURCE", true, false),
        (0, "user: \"33\"", "CHOWN KILL SETGID SETUID SYS_PTRACE SYS_RESOURCE", false, true),
        (
            0,
            "capabilities: [\"NET_RAW\"]",
            "KILL SETPCAP NET_RAW SYS_PTRACE SYS_RESOURCE",
            false,
            false,
        ),
        (
            0,
            "user: \"www-data\", no_new_privs: true, on_give_up: (command: [\"true\"])",
            "CHOWN KILL SETGID SETUID SYS_PTRACE SYS_RESOURCE",
            true,
            false,
        ),
    ] {
        let needs = needs_as(uid, &service(fields), &[]);
        let found = (own(&needs), needs.root.is_some(), needs.gains.is_some(), needs.unknown);
        assert_eq!(found, (expected.to_owned(), root, gains, false), "uid {uid}: {fields}");
    }
}

#[test]
fn ports_and_the_group_of_the_control_socket() {
    let ports = |port: u16| [(port, "service `web`".to_owned())];
    let bare = service("");
    assert_eq!(own(&needs_as(7, &bare, &ports(1024))), "none");
    let needs = needs_as(7, &bare, &ports(1023));
    assert_eq!(own(&needs), "NET_BIND_SERVICE");
    assert_eq!(needs.own[&Capability::NET_BIND_SERVICE], "service `web` listens on port 1023");
    let group = r#"control: (group: "cafe"), services: { "a": (command: ["true"]) }"#;
    assert_eq!(own(&needs_as(7, &config(group), &[])), "CHOWN");
}

#[test]
fn root_needs_no_second_right_to_read() {
    let as_root = needs_as(0, &service(""), &[]);
    let as_other = needs_as(7, &service(""), &[]);
    assert!(as_root.own.contains_key(&Capability::DAC_OVERRIDE));
    assert!(!as_root.own.contains_key(&Capability::DAC_READ_SEARCH));
    assert!(as_other.own.contains_key(&Capability::DAC_READ_SEARCH));
}

#[test]
fn what_is_kept_is_what_was_there_and_is_needed() {
    let kept =
        |uid, fields: &str, permitted| needs_as(uid, &service(fields), &[]).kept(permitted, all());
    let root = kept(0, "", all());
    assert_eq!(root.held.to_string(), "DAC_OVERRIDE KILL SYS_PTRACE SYS_RESOURCE");
    assert_eq!((root.for_services, root.bounding), (all(), all()), "root stays root");
    assert_eq!(root.dropped, all() - root.held);
    let other = kept(0, r#"user: "33""#, all());
    assert_eq!((other.for_services, other.bounding), (other.held, all()), "sudo still works");
    let closed = kept(0, r#"user: "33", no_new_privs: true"#, all());
    assert_eq!((closed.bounding, closed.bounding_dropped), (closed.held, all() - closed.held));
    let few = kept(0, r#"capabilities: ["NET_RAW"]"#, all());
    assert_eq!((few.for_services, few.bounding), (few.held, few.held));
    // An ordinary user has nothing, and nothing can be taken from it.
    let none = kept(7, r#"user: "33", no_new_privs: true"#, Capabilities::NONE);
    assert_eq!(none, Privileges { bounding: all(), ..Privileges::default() });
    let ambient = [Capability::NET_BIND_SERVICE, Capability::SETUID].into_iter().collect();
    assert_eq!(kept(7, r#"user: "33""#, ambient).held.to_string(), "SETUID");
}

#[test]
fn a_config_without_services_gives_nothing_up() {
    let kept = needs_as(0, &config(""), &[]).kept(all(), all());
    assert_eq!((kept.held, kept.for_services, kept.bounding), (all(), all(), all()));
    for fields in ["", r#"user: "33""#, "nice: -1"] {
        assert_eq!(needs_as(0, &service(fields), &[]).given_up(&kept), None);
    }
}

#[test]
fn what_was_given_up_is_named_with_who_needs_it() {
    let user = r#"user: "33""#;
    let closed = r#"user: "33", no_new_privs: true"#;
    for (uid, at_start, later, lost) in [
        (0, "", user, Some("CAP_CHOWN: service `a` runs as user `33`")),
        (
            0,
            user,
            "nice: -1, user: \"33\"",
            Some("CAP_SYS_NICE: service `a` has a higher priority"),
        ),
        (0, user, "", Some("all capabilities: service `a` runs as root")),
        (0, user, r#"user: "34""#, None),
        (0, user, closed, None),
        (0, closed, user, Some("the bounding set: service `a` may execute setuid programs")),
        (0, closed, r#"user: "33", no_new_privs: true, capabilities: ["KILL"]"#, None),
        (
            0,
            closed,
            r#"user: "33", no_new_privs: true, capabilities: ["NET_RAW"]"#,
            Some("CAP_NET_RAW: service `a` has it"),
        ),
        (7, "", "nice: -1", Some("CAP_SYS_NICE: service `a` has a higher priority")),
        (7, "nice: -1", "", None),
    ] {
        let kept = needs_as(uid, &service(at_start), &[]).kept(all(), all());
        let found = needs_as(uid, &service(later), &[]).given_up(&kept);
        assert_eq!(found.as_deref(), lost, "{uid}: {at_start} then {later}");
        assert_eq!(needs_as(uid, &service(at_start), &[]).given_up(&kept), None, "its own config");
    }
    // What an ordinary user never had, its services miss when they start, as they always did.
    let none = needs_as(7, &service(""), &[]).kept(Capabilities::NONE, all());
    assert_eq!(needs_as(7, &service(user), &[]).given_up(&none), None);
}
