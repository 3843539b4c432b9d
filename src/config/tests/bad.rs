//! Errors: every one at once, at its place, with what to do.

use super::errors;

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
    insta::assert_snapshot!(errors(text));
}
