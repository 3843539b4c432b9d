//! What a reload would do.

use super::super::{Class, Diff, diff};
use super::{loaded, with_service};

fn difference(old: &str, new: &str) -> Diff {
    diff(&loaded(old), &loaded(new))
}

/// The class of the one change between a bare service and one with these fields.
fn class_of(fields: &str) -> (String, Class) {
    let diff = difference(&with_service(""), &with_service(fields));
    let [service] = &diff.changed[..] else { panic!("{fields}: {diff:?}") };
    let [change] = &service.changes[..] else { panic!("{fields}: {service:?}") };
    assert_eq!(service.class, change.class);
    (change.field.clone(), change.class)
}

#[test]
fn each_field_has_its_class() {
    for (fields, field, class) in [
        ("cwd: \"/tmp\"", "cwd", Class::Restart),
        ("user: \"a\"", "user", Class::Restart),
        ("group: \"a\"", "group", Class::Restart),
        ("env: { \"A\": \"1\" }", "env.A", Class::Restart),
        ("umask: \"022\"", "umask", Class::Restart),
        ("nice: 1", "nice", Class::Restart),
        ("ready: notify", "ready", Class::Restart),
        ("listen: { \"http\": \"[::1]:80\" }", "listen.http", Class::Restart),
        ("limits: (nofile: 9)", "limits.nofile", Class::Restart),
        ("start: manual", "start", Class::Live),
        ("ready_timeout: \"1s\"", "ready_timeout", Class::Live),
        ("health: (probe: tcp(\"127.0.0.1:1\"))", "health", Class::Live),
        ("restart: transient", "restart", Class::Live),
        ("backoff: (min: \"1s\")", "backoff.min", Class::Live),
        ("intensity: (restarts: 9)", "intensity.restarts", Class::Live),
        ("on_give_up: (command: [\"a\"])", "on_give_up", Class::Live),
        ("stop: (timeout: \"1s\")", "stop.timeout", Class::Live),
        ("reload: signal(HUP)", "reload", Class::Live),
        ("log: (keep: 1)", "log.keep", Class::Live),
    ] {
        assert_eq!(class_of(fields), (field.to_owned(), class), "{fields}");
    }
}

#[test]
fn a_command_restarts_and_a_kind_recreates() {
    let diff = difference(
        "Cafe(services: { \"a\": (command: [\"x\"]) })",
        "Cafe(services: { \"a\": (command: [\"y\"]) })",
    );
    assert_eq!(diff.changed[0].class, Class::Restart);
    let diff = difference(&with_service("restart: temporary"), &with_service("kind: oneshot"));
    assert_eq!(diff.changed[0].class, Class::Recreate);
    let timer =
        |overlap: &str| with_service(&format!("kind: timer(\"every 1m\"), overlap: {overlap}"));
    assert_eq!(difference(&timer("skip"), &timer("queue")).changed[0].class, Class::Live);
}

#[test]
fn every_field_that_is_shown_is_compared() {
    let config = loaded(&with_service(""));
    let shown = super::super::show(&config);
    let fields = shown["services"]["web"].as_object().expect("fields");
    let table: Vec<&str> =
        super::super::diff::SERVICE_FIELDS.iter().map(|(field, _)| *field).collect();
    assert_eq!(fields.len(), table.len());
    assert!(fields.keys().all(|field| table.contains(&field.as_str())), "{fields:?}");
    let config = loaded(
        "Cafe(services: { \"a\": (command: [\"x\"]) }, groups: { \"g\": (services: [\"a\"]) })",
    );
    let shown = super::super::show(&config);
    let fields = shown["groups"]["g"].as_object().expect("fields");
    let table = super::super::diff::GROUP_FIELDS;
    assert!(
        fields.len() == table.len()
            && fields.keys().all(|it| table.iter().any(|(field, _)| field == it))
    );
}

#[test]
fn a_plan_for_people() {
    let old = r#"Cafe(services: { "old": (command: ["x"]), "web": (command: ["./a"], backoff: (min: "1s"), user: "u"),
        "db": (command: ["db"]) }, groups: { "g": (services: ["web"]), "gone": (services: ["old"]) })"#;
    let new = r#"Cafe(services: { "web": (command: ["./b"], backoff: (min: "2s")), "db": (command: ["db"]),
        "new": (command: ["x"]) }, groups: { "g": (strategy: one_for_all, services: ["web", "db"]) },
        state_dir: "/elsewhere", parallel_starts: 77)"#;
    let (mut old, mut new) = (loaded(old), loaded(new));
    old.daemon.state_dir = "/here".into();
    old.daemon.parallel_starts = 8;
    new.daemon.control = old.daemon.control.clone();
    let diff = diff(&old, &new);
    insta::assert_snapshot!(diff, @r##"
    + new
    - old
    ~ web: restart
        command: ["./a"] -> ["./b"] (restart)
        user: "u" -> unset (restart)
        backoff.min: "1s" -> "2s" (live)
    ~ db: recreate
        member_of: unset -> "g" (recreate)
    - group gone
    ~ group g
        strategy: "one_for_one" -> "one_for_all" (live)
        services: ["web"] -> ["web","db"] (live)
    ~ daemon
        parallel_starts: 8 -> 77 (live)
        state_dir: "/here" -> "/elsewhere" (when the daemon restarts)
    "##);
    let json = serde_json::to_value(&diff).expect("JSON");
    assert_eq!(json["changed"][1]["class"], "recreate");
    assert_eq!(json["daemon"][1]["needs_daemon_restart"], true);
}

#[test]
fn a_changed_secret_is_seen_and_not_shown() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("token");
    let text = with_service(&format!("env: {{ \"T\": \"${{file:{}}}\" }}", file.display()));
    std::fs::write(&file, "alpha").expect("a file");
    let old = loaded(&text);
    std::fs::write(&file, "omega!").expect("a file");
    let new = loaded(&text);
    assert_ne!(old.revision, new.revision);
    let diff = diff(&old, &new);
    assert_eq!(diff.to_string(), "~ web: restart\n    env.T: the secret changed (restart)");
    let json = serde_json::to_string(&diff).expect("JSON");
    assert!(!json.contains("alpha") && !json.contains("omega"), "{json}");
}

#[test]
fn the_same_config_has_the_same_revision_and_no_difference() {
    let text = with_service("nice: 1");
    let (old, new) = (loaded(&text), loaded(&text));
    assert_eq!(old.revision, new.revision);
    assert!(diff(&old, &new).is_empty());
    assert_eq!(diff(&old, &new).to_string(), "no changes");
    assert_ne!(old.revision, loaded(&with_service("nice: 2")).revision);
}
