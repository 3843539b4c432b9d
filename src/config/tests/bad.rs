//! Errors in one file: every one at once, at its place, with what to do.

use super::{errors, try_load, with_service};

#[test]
fn all_errors_of_a_file_at_once() {
    let text = r#"// A config with many errors.
Cafe(
    env: { "PORT": "9000", "SELF": "${SELF}" },
    services: {
        "web": (
            comand: ["server"],
            ready: tcp("127.0.0.1:${PROT}"),
            restart: permanant,
            backoff: (min: "10", max: "30s"),
            after: ["bd", "web"],
            stop: (signal: TRM, timeout: 10),
        ),
        "db": (command: [], kind: oneshot, ready: notify), // trailing
        "db": (command: ["again"]),
        "a": (command: ["a"], requires: ["b"]),
        "b": (command: ["b"], after: ["c"]),
        "c": (command: ["c"], after: ["a"]),
        "Caps": (command: ["x"], umask: "9"),
    },
    groups: { "g": (strategy: one_for_many, services: ["db", "nope"]) },
    edge: (listen: {}),
)
"#;
    let problems = try_load(text).expect_err("errors");
    insta::assert_snapshot!(problems.render(false), @r##"
    /srv/app/cafe.ron:3:36: error[C004]: variable `SELF` uses itself: SELF -> SELF
     3 |     env: { "PORT": "9000", "SELF": "${SELF}" },
       |                                    ^^^^^^^^^

    /srv/app/cafe.ron:5:9: error[C005]: missing field `command` of service `web`
     5 |         "web": (
       |         ^^^^^

    /srv/app/cafe.ron:6:13: error[C003]: unknown field `comand` of service `web`
     6 |             comand: ["server"],
       |             ^^^^^^ did you mean `command`?

    /srv/app/cafe.ron:7:35: error[C009]: variable `PROT` is not defined
     7 |             ready: tcp("127.0.0.1:${PROT}"),
       |                                   ^^^^^^^ did you mean `PORT`?

    /srv/app/cafe.ron:8:22: error[C003]: unknown restart `permanant`
     8 |             restart: permanant,
       |                      ^^^^^^^^^ did you mean `permanent`?

    /srv/app/cafe.ron:9:28: error[C004]: `10` is not a duration: write it like "250ms", "10s" or "1h30m"
     9 |             backoff: (min: "10", max: "30s"),
       |                            ^^^^

    /srv/app/cafe.ron:10:21: error[C007]: there is no service `bd`
     10 |             after: ["bd", "web"],
        |                     ^^^^ did you mean `db`?

    /srv/app/cafe.ron:10:27: error[C006]: service `web` waits for itself
     10 |             after: ["bd", "web"],
        |                           ^^^^^

    /srv/app/cafe.ron:11:28: error[C003]: unknown signal `TRM`
     11 |             stop: (signal: TRM, timeout: 10),
        |                            ^^^ did you mean `TERM`?

    /srv/app/cafe.ron:11:42: error[C004]: expected a string, found a number
     11 |             stop: (signal: TRM, timeout: 10),
        |                                          ^^ write it in quotes

    /srv/app/cafe.ron:13:25: error[C004]: a command needs a program
     13 |         "db": (command: [], kind: oneshot, ready: notify), // trailing
        |                         ^^ write it like ["program", "argument"]

    /srv/app/cafe.ron:13:51: error[C004]: only a daemon has `ready` and `health`: others are done when they end
     13 |         "db": (command: [], kind: oneshot, ready: notify), // trailing
        |                                                   ^^^^^^ its kind is at /srv/app/cafe.ron:13:35

    /srv/app/cafe.ron:14:9: error[C008]: service `db` is defined twice
     14 |         "db": (command: ["again"]),
        |         ^^^^ first at /srv/app/cafe.ron:13:9

    /srv/app/cafe.ron:15:42: error[C006]: services wait for each other in a circle: `a` -> `b` -> `c` -> `a`
     15 |         "a": (command: ["a"], requires: ["b"]),
        |                                          ^^^ take one of them away

    /srv/app/cafe.ron:18:9: error[C004]: `C` is not allowed in a name: use a-z, 0-9, `.`, `_`, `-`, and begin with a letter or digit
     18 |         "Caps": (command: ["x"], umask: "9"),
        |         ^^^^^^

    /srv/app/cafe.ron:18:41: error[C004]: a umask is an octal number like "022"
     18 |         "Caps": (command: ["x"], umask: "9"),
        |                                         ^^^

    /srv/app/cafe.ron:20:31: error[C003]: unknown strategy `one_for_many`
     20 |     groups: { "g": (strategy: one_for_many, services: ["db", "nope"]) },
        |                               ^^^^^^^^^^^^ did you mean `one_for_all`?

    /srv/app/cafe.ron:20:62: error[C007]: there is no service `nope`
     20 |     groups: { "g": (strategy: one_for_many, services: ["db", "nope"]) },
        |                                                              ^^^^^^

    /srv/app/cafe.ron:21:5: error[C003]: `edge` of `Cafe` is not available in this version
     21 |     edge: (listen: {}),
        |     ^^^^ leave it out

    19 errors
    "##);
}

#[test]
fn colours_change_nothing_but_colours() {
    let problems = try_load(&with_service("nise: 5")).expect_err("an error");
    let coloured = problems.render(true);
    assert!(coloured.contains("\u{1b}["));
    assert_eq!(anstream::adapter::strip_str(&coloured).to_string(), problems.render(false));
}

#[test]
fn a_syntax_error_has_its_place() {
    let problems =
        try_load("Cafe(\n    services: {\n        \"a\": (command: [\"x\"]\n    },\n)\n");
    insta::assert_snapshot!(problems.expect_err("a syntax error").render(false), @r##"
    /srv/app/cafe.ron:4:5: error[C002]: expected comma
     4 |     },
       |     ^

    1 error
    "##);
}

#[test]
fn a_long_line_is_cut_around_its_error_and_control_characters_are_shown_harmlessly() {
    let filler = "x".repeat(5_000);
    let text = format!(
        "Cafe(env: {{ \"A\": \"{filler}\", \"B\": \"\u{1b}[2J\", \"C\": \"${{NO}}\" }}, bad: 1)"
    );
    let rendered = try_load(&text).expect_err("errors").render(false);
    assert!(rendered.lines().all(|line| line.chars().count() < 160), "{rendered}");
    assert!(!rendered.contains('\u{1b}'), "{rendered:?}");
    assert!(rendered.contains("^^^^^ define it in the top-level `env`"), "{rendered}");
}

#[test]
fn the_number_of_errors_that_are_kept_is_bounded() {
    let fields: String = (0..5_000).map(|number| format!("f{number}: 1,")).collect();
    let problems = try_load(&format!("Cafe({fields})")).expect_err("errors");
    assert_eq!((problems.findings().len(), problems.count()), (100, 5_000));
    assert!(problems.render(false).ends_with("5000 errors, the first 100 are shown\n"));
}

#[test]
fn problems_cross_the_socket() {
    let problems = try_load(&with_service("nise: 5")).expect_err("an error");
    let list: Vec<crate::types::error::Problem> = problems.into();
    assert_eq!(list[0].code.as_str(), "C003");
    assert!(
        list[0].message.starts_with("/srv/app/cafe.ron:1:45: unknown field `nise`"),
        "{list:?}"
    );
    assert_eq!(list[0].hint.as_deref(), Some("did you mean `nice`?"));
}

#[test]
fn what_is_no_cafe_is_refused() {
    for (text, expected) in [
        ("", "C002 1:1 unexpected end of RON"),
        ("Coffee()", "C002 1:1 expected `Cafe` (a config is written as Cafe( ... ))"),
        ("Cafe", "C002 1:1 expected `Cafe` (a config is written as Cafe( ... ))"),
        ("(services: {})", "C002 1:1 expected `Cafe` (a config is written as Cafe( ... ))"),
        ("[1]", "C002 1:1 expected `Cafe` (a config is written as Cafe( ... ))"),
        ("Cafe(1, 2)", "C004 1:5 expected named fields (write it as (name: value, ...))"),
        ("Cafe(services: [])", "C004 1:16 expected a map in `{ }`, found a list in `[ ]`"),
        (
            "Cafe(state_dir: \"/a\", state_dir: \"/b\")",
            "C008 1:23 field `state_dir` is defined twice (first at /srv/app/cafe.ron:1:6)",
        ),
    ] {
        assert_eq!(errors(text), [expected], "{text}");
    }
}

#[test]
fn every_knot_of_services_is_named_once() {
    let service =
        |name: &str, after: &str| format!("\"{name}\": (command: [\"x\"], after: [{after}]),");
    let text = format!(
        "Cafe(services: {{ {}{}{}{}{} }})",
        service("a", "\"b\""),
        service("b", "\"a\""),
        service("c", "\"a\""),
        service("d", "\"e\""),
        service("e", "\"d\""),
    );
    let list = errors(&text);
    assert_eq!(list.len(), 2, "{list:#?}");
    assert!(list[0].contains("`a` -> `b` -> `a`") && list[1].contains("`d` -> `e` -> `d`"));
}

#[test]
fn a_circle_of_thousands_is_found_without_recursion() {
    let services: String = (0..5_000)
        .map(|number| {
            format!("\"s{number}\":(command:[\"x\"],after:[\"s{}\"]),", (number + 1) % 5_000)
        })
        .collect();
    let list = errors(&format!("Cafe(services: {{ {services} }})"));
    assert_eq!(list.len(), 1);
    assert!(list[0].contains("-> ... (4992 more) -> `s0`"), "{}", list[0]);
}

#[test]
fn deep_nesting_is_an_error_and_not_an_overflow() {
    let text = format!("Cafe(services: {}{})", "[".repeat(100_000), "]".repeat(100_000));
    assert!(errors(&text)[0].starts_with("C002"));
}

#[test]
fn a_name_stands_in_a_list_once() {
    let list = errors(
        "Cafe(services: { \"a\": (command: [\"a\"]), \"b\": (command: [\"b\"], after: [\"a\", \"a\"]) })",
    );
    assert_eq!(list, ["C008 1:76 name `a` is defined twice (first at /srv/app/cafe.ron:1:71)"]);
}
