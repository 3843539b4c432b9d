//! Values that are refused, field by field.

use super::{errors, loaded, with_service};

#[test]
fn values_of_a_service_are_checked() {
    for (fields, expected) in [
        ("cwd: 5", "C004 expected a string, found a number (write it in quotes)"),
        ("cwd: \"\"", "C004 it must not be empty"),
        ("cwd: \"a\\u{0}b\"", "C004 a NUL character is not possible here"),
        ("env: { \"A=B\": \"\" }", "C004 `A=B` is not a name of a variable"),
        (
            "env: { \"A\": \"1\", \"A\": \"2\" }",
            "C008 variable `A` is defined twice (first at /srv/app/cafe.ron:1:52)",
        ),
        ("umask: \"888\"", "C004 a umask is an octal number like \"022\""),
        ("umask: \"+22\"", "C004 a umask is an octal number like \"022\""),
        ("umask: \"1777\"", "C004 a umask is an octal number like \"022\""),
        ("nice: 20", "C004 `20` is not a whole number from -20 to 19"),
        ("nice: 1.5", "C004 `1.5` is not a whole number from -20 to 19"),
        (
            "capabilities: [\"NET_BIND\"]",
            "C003 unknown capability `NET_BIND` (capabilities(7) has the list)",
        ),
        (
            "capabilities: [\"cap_net_rw\"]",
            "C003 unknown capability `cap_net_rw` (did you mean `NET_RAW`?)",
        ),
        (
            "capabilities: \"NET_RAW\"",
            "C004 expected a list in `[ ]`, found a string (write it as a list: [\"...\"])",
        ),
        ("no_new_privs: 1", "C004 expected a bare word, found a number"),
        ("start: \"auto\"", "C004 expected a bare word, found a string (write it without quotes)"),
        ("start: never", "C003 unknown start `never` (use `auto`, `manual` or `on_connection`)"),
        ("start: auto(1)", "C004 `auto` takes no value"),
        ("kind: demon", "C003 unknown kind `demon` (did you mean `daemon`?)"),
        (
            "kind: timer",
            "C004 `timer` takes one value (write it like timer(\"*/5 * * * *\") or timer(\"every 5m\"))",
        ),
        (
            "kind: timer(\"every 5\")",
            "C004 `5` is not a duration: write it like \"250ms\", \"10s\" or \"1h30m\"",
        ),
        (
            "kind: timer(\"every 1ms\")",
            "C004 a timer runs every 10ms at most and every year at least",
        ),
        ("kind: timer(\"0 0 31 2 *\")", "C004 the cron expression `0 0 31 2 *` never comes"),
        ("instances: 0", "C004 `0` is not a whole number from 1 to 64"),
        ("instances: 65", "C004 `65` is not a whole number from 1 to 64"),
        ("kind: oneshot, instances: 2", "C004 only a daemon has several `instances`"),
        ("kind: timer(\"every 1m\"), instances: 2", "C004 only a daemon has several `instances`"),
        (
            "after: [\"web@1\"]",
            "C004 `@` is not allowed in a name: it stands before the number of an instance",
        ),
        ("overlap: queue", "C003 unknown value `queue` (use `true` or `false`)"),
        (
            "kind: oneshot, overlap: true",
            "C004 a oneshot has no `overlap`: nothing of it runs for good",
        ),
        (
            "ready: tcp(\"example.org:80\")",
            "C004 `example.org` is not an address: use `localhost` or a literal one (write it like tcp(\"127.0.0.1:8080\"))",
        ),
        (
            "ready: tcp(\"127.0.0.1\")",
            "C004 `127.0.0.1` has no port from 1 to 65535 (write it like tcp(\"127.0.0.1:8080\"))",
        ),
        (
            "ready: tcp(\"[::1]:0\")",
            "C004 `[::1]:0` has no port from 1 to 65535 (write it like tcp(\"127.0.0.1:8080\"))",
        ),
        (
            "ready: http(\"https://localhost\")",
            "C004 a probe speaks http, not https: it asks the service on this machine (write it like http(\"http://127.0.0.1:8080/\"))",
        ),
        (
            "ready: http(\"http://localhost/a b\")",
            "C004 `http://localhost/a b` has a character that is not possible in it (write it like http(\"http://127.0.0.1:8080/\"))",
        ),
        (
            "ready: http(\"localhost\")",
            "C004 `localhost` is not an http URL (write it like http(\"http://127.0.0.1:8080/\"))",
        ),
        ("ready: fd(2)", "C004 `2` is not a whole number from 3 to 255"),
        ("ready: log(\"(\")", "C004 `(` is not a regular expression: unclosed group"),
        (
            "ready: log(\"a{1000}{1000}\")",
            "C004 `a{1000}{1000}` is not a regular expression: it is too large",
        ),
        ("ready: notfy", "C003 unknown ready `notfy` (did you mean `notify`?)"),
        ("ready: tcp(addr: \"x\")", "C004 expected a value, found a named one"),
        ("ready_timeout: \"0s\"", "C004 it must be at least 10ms"),
        ("ready_timeout: \"9999d\"", "C004 `9999d` is longer than a year"),
        ("health: (every: \"1s\")", "C005 missing field `probe` of `health`"),
        ("health: (probe: notify)", "C003 unknown probe `notify` (use `tcp` or `http`)"),
        ("backoff: (min: \"1m\")", "C004 `min` must not be longer than `max`"),
        (
            "backoff: (min: \"1s\", mxa: \"2s\")",
            "C003 unknown field `mxa` of `backoff` (did you mean `max`?)",
        ),
        ("intensity: (restarts: -1)", "C004 `-1` is not a whole number from 0 to 10000"),
        ("stop: (signal: SIGTREM)", "C003 unknown signal `SIGTREM` (use "),
        ("stop: (signal: 65)", "C003 unknown signal `65` (use "),
        ("reload: hup", "C003 unknown reload `hup` (use `restart` or `signal`)"),
        (
            "limits: (memory_high: \"2MiB\", memory_max: \"1MiB\")",
            "C004 `memory_high` must not be larger than `memory_max`",
        ),
        ("limits: (memory_max: 5)", "C004 expected a string, found a number (write it in quotes)"),
        ("limits: (core: infinite)", "C003 unknown limit `infinite` (use `unlimited`)"),
        ("log: (max_file: \"1B\")", "C004 a log file holds at least 4KiB"),
        ("on_give_up: (timeout: \"1s\")", "C005 missing field `command` of `on_give_up`"),
        (
            "kind: oneshot, restart: permanent",
            "C004 only a daemon may be `permanent`: others are meant to end (use `transient` to try again after a failure; its kind is at /srv/app/cafe.ron:1:51)",
        ),
        (
            "significant: true",
            "C004 a significant service must be `transient` or `temporary` (a permanent one never ends by itself)",
        ),
        (
            "significant: true, kind: timer(\"every 1m\")",
            "C004 a timer cannot be significant: it waits for its next run for ever",
        ),
        ("after: [\"web\"]", "C006 service `web` waits for itself"),
        ("after: [\"wbe\"]", "C007 there is no service `wbe` (did you mean `web`?)"),
    ] {
        let error = errors(&with_service(fields)).remove(0);
        let mut parts = error.splitn(3, ' ');
        let error = format!("{} {}", parts.next().unwrap(), parts.nth(1).unwrap());
        assert!(error.starts_with(expected), "{fields}:\n{error}\n{expected}");
    }
}

#[test]
fn commands_are_lists_with_a_program() {
    for (command, expected) in [
        (
            "\"sleep 5\"",
            "C004 1:33 expected a list in `[ ]`, found a string (write it as a list: [\"...\"])",
        ),
        ("[]", "C004 1:33 a command needs a program (write it like [\"program\", \"argument\"])"),
        (
            "[\"\"]",
            "C004 1:33 a command needs a program (write it like [\"program\", \"argument\"])",
        ),
        ("[\"a\", 5]", "C004 1:39 expected a string, found a number (write it in quotes)"),
    ] {
        assert_eq!(
            errors(&format!("Cafe(services: {{ \"w\": (command: {command}) }})")),
            [expected]
        );
    }
    assert_eq!(
        errors("Cafe(services: { \"w\": () })"),
        ["C005 1:18 missing field `command` of service `w`"]
    );
}

#[test]
fn groups_are_checked() {
    let services =
        "services: { \"a\": (command: [\"a\"]), \"b\": (command: [\"b\"], after: [\"a\"]) }";
    for (groups, expected) in [
        ("\"g\": (services: [])", "a group needs a member"),
        ("\"g\": ()", "missing field `services` of group `g`"),
        (
            "\"a\": (services: [\"b\"])",
            "service or group `a` is defined twice (first at /srv/app/cafe.ron:1:18)",
        ),
        (
            "\"g\": (services: [\"a\"]), \"h\": (services: [\"a\"])",
            "service `a` is in group `g` already (at /srv/app/cafe.ron:1:107)",
        ),
        (
            "\"g\": (services: [\"b\", \"a\"])",
            "services wait for each other in a circle: `a` -> `b` -> `a` (`a` comes after `b` in group `g`)",
        ),
        ("\"g\": (services: [\"c\"])", "there is no service `c` (did you mean `a`?)"),
    ] {
        let list = errors(&format!("Cafe({services}, groups: {{ {groups} }})"));
        let [only] = &list[..] else { panic!("{list:?}") };
        assert!(only.ends_with(expected), "{only}\n{expected}");
    }
}

#[test]
fn significant_services_end() {
    let of = |fields: &str, auto_shutdown: &str| {
        format!(
            "Cafe(services: {{ \"a\": (command: [\"a\"], significant: true{fields}) }},
        groups: {{ \"g\": (services: [\"a\"], auto_shutdown: {auto_shutdown}) }})"
        )
    };
    let permanent = "C004 1:53 a significant service must be `transient` or `temporary` (a permanent one never ends by itself)";
    assert_eq!(errors(&of("", "any_significant")), [permanent]);
    // The group may give up, and that is another end.
    let gives_up = ", intensity: (then: give_up)";
    assert_eq!(errors(&of(gives_up, "any_significant")), [permanent]);
    assert_eq!(
        errors(&of(", restart: transient", "never")),
        [
            "C004 1:53 `significant` in a group needs the `auto_shutdown` of that group (in no group, its end is the end of cafe)"
        ]
    );
}

#[test]
fn a_significant_service_of_no_group_ends_or_gives_up() {
    for fields in ["restart: transient", "kind: oneshot", "intensity: (then: give_up)"] {
        let config = loaded(&format!(
            "Cafe(services: {{ \"a\": (command: [\"a\"], significant: true, {fields}) }})"
        ));
        assert!(config.services["a"].significant);
    }
}

#[test]
fn a_requirement_that_is_never_up_is_refused() {
    let text = "Cafe(services: { \"t\": (command: [\"a\"], kind: timer(\"every 1m\")), \"b\": (command: [\"b\"], requires: [\"t\"]) })";
    let list = errors(text);
    assert!(list[0].contains("`t` is a timer, and a timer is never up"), "{list:?}");
}

#[test]
fn a_socket_path_must_fit() {
    let list = errors(&format!("Cafe(control: (socket: \"/{}\"))", "x".repeat(107)));
    assert_eq!(
        list,
        ["C004 1:24 the path of a unix socket has at most 107 bytes, this one has 108"]
    );
    super::loaded(&format!("Cafe(control: (socket: \"/{}\"))", "x".repeat(106)));
}

#[test]
fn later_sections_are_refused_not_ignored() {
    for section in [
        "edge",
        "watchdogs",
        "status_page",
        "checks",
        "notify",
        "deploys",
        "probes",
        "mail",
        "fleet",
    ] {
        let expected = format!(
            "C003 1:6 `{section}` of `Cafe` is not available in this version (leave it out)"
        );
        assert_eq!(errors(&format!("Cafe({section}: ())")), [expected]);
    }
}
