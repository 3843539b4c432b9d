//! `listen`: the forms of an address, and what cannot go together.

use super::{errors, loaded, service, service_error, with_service};

#[test]
fn addresses_have_three_forms_and_the_order_of_their_names() {
    let listen = service(
        r#"listen: { "web": "0.0.0.0:80", "admin": "/run/x.sock", "six": "[::]:80", "own": "./s", "here": "localhost:81" }"#,
    )
    .listen;
    let shown: Vec<String> =
        listen.iter().map(|(name, listen)| format!("{name} {listen}")).collect();
    assert_eq!(
        shown,
        [
            "admin /run/x.sock",
            "here 127.0.0.1:81",
            "own /srv/app/./s",
            "six [::]:80",
            "web 0.0.0.0:80"
        ]
    );
}

#[test]
fn addresses_that_are_none_are_refused() {
    let long = format!("listen: {{ \"a\": \"/{}\" }}", "x".repeat(102));
    let form = "(write it like \"0.0.0.0:80\", \"[::]:80\" or \"/run/web.sock\")";
    for (fields, expected) in [
        ("listen: [\"0.0.0.0:80\"]", "C004 expected a map in `{ }`, found a list in `[ ]`".to_owned()),
        ("listen: { \"a\": 80 }", "C004 expected a string, found a number (write it in quotes)".to_owned()),
        ("listen: { \"a\": \"\" }", "C004 it must not be empty".to_owned()),
        ("listen: { \"a\": \"80\" }", format!("C004 `80` is not an address: use `localhost` or a literal one {form}")),
        ("listen: { \"a\": \"127.0.0.1\" }", format!("C004 `127.0.0.1` has no port from 1 to 65535 {form}")),
        ("listen: { \"a\": \"127.0.0.1:0\" }", format!("C004 `127.0.0.1:0` has no port from 1 to 65535 {form}")),
        ("listen: { \"A\": \"127.0.0.1:1\" }", "C004 `A` is not allowed in a name: use a-z, 0-9, `.`, `_`, `-`, and begin with a letter or digit".to_owned()),
        ("listen: { \"a\": \"/run/\\u{0}\" }", "C004 a NUL character is not possible here".to_owned()),
        (long.as_str(), "C004 the path of a socket has at most 102 bytes and ends in a name".to_owned()),
    ] {
        assert_eq!(service_error(fields), expected, "{fields}");
    }
    let longest = format!("listen: {{ \"a\": \"/{}\" }}", "x".repeat(101));
    assert_eq!(service(&longest).listen.len(), 1);
}

#[test]
fn a_service_has_a_bounded_number_of_sockets() {
    let sockets = |count: usize| {
        let each = (0..count).map(|number| format!("\"s{number}\": \"127.0.0.1:{}\",", 1 + number));
        format!("listen: {{ {} }}", each.collect::<String>())
    };
    assert_eq!(service(&sockets(64)).listen.len(), 64);
    assert_eq!(service_error(&sockets(65)), "C004 a service listens on at most 64 sockets");
}

#[test]
fn the_descriptor_of_readiness_is_none_of_the_sockets() {
    let fields = |number| {
        format!(r#"listen: {{ "b": "127.0.0.1:1", "a": "127.0.0.1:2" }}, ready: fd({number})"#)
    };
    for (number, name) in [(3, "a"), (4, "b")] {
        let expected = format!(
            "C004 descriptor {number} is the socket `{name}` (those of `listen` are numbered from 3; use fd(5))"
        );
        assert_eq!(service_error(&fields(number)), expected);
    }
    loaded(&with_service(&fields(5)));
}

#[test]
fn two_that_the_kernel_would_not_let_listen_are_refused() {
    let text = |one: &str, other: &str| {
        format!(
            "Cafe(services: {{\n\"a\": (command: [\"x\"], listen: {{ \"s\": {one:?} }}),\n\"b\": (command: [\"x\"], listen: {{ \"s\": {other:?} }}) }},\ncontrol: (socket: \"/run/control\"))"
        )
    };
    for (one, other) in [
        ("127.0.0.1:80", "127.0.0.1:80"),
        ("0.0.0.0:80", "127.0.0.1:80"),
        ("127.0.0.1:80", "0.0.0.0:80"),
        ("[::1]:80", "[::]:80"),
        ("/run/s", "/run/s"),
    ] {
        let expected = format!(
            "C008 3:38 {other} and service `a` collide (it has {one}, at /srv/app/cafe.ron:2:38)"
        );
        assert_eq!(errors(&text(one, other)), [expected]);
    }
    for (one, other) in [
        ("127.0.0.1:80", "127.0.0.2:80"),
        ("127.0.0.1:80", "127.0.0.1:81"),
        ("0.0.0.0:80", "[::]:80"),
        ("/run/s", "/run/t"),
    ] {
        loaded(&text(one, other));
    }
    let own = errors(&text("/run/control", "/run/t"));
    assert_eq!(own, ["C004 2:38 this is the control socket of cafe itself"]);
    let within = service_error(r#"listen: { "a": "127.0.0.1:80", "b": "0.0.0.0:80" }"#);
    assert!(within.starts_with("C008 0.0.0.0:80 and service `web` collide"), "{within}");
}

#[test]
fn a_start_at_a_connection_needs_a_socket_of_a_daemon_on_its_own() {
    let listen = "listen: { \"a\": \"127.0.0.1:1\" }";
    assert_eq!(
        service(&format!("start: on_connection, {listen}")).start,
        super::super::Start::OnConnection
    );
    assert_eq!(
        service_error("start: on_connection"),
        "C004 a service that starts at a connection needs `listen` (name its sockets: listen: { \"http\": \"0.0.0.0:80\" })"
    );
    assert_eq!(
        service_error(&format!("start: on_connection, {listen}, kind: oneshot")),
        "C004 only a daemon starts at a connection"
    );
    let grouped = format!(
        "Cafe(services: {{ \"a\": (command: [\"x\"], start: on_connection, {listen}) }}, groups: {{ \"g\": (services: [\"a\"]) }})"
    );
    assert_eq!(
        errors(&grouped),
        [
            "C004 1:47 a member of a group starts with the group, not at a connection (it is in group `g`)"
        ]
    );
}
