//! What holds for any input.

use std::path::Path;

use proptest::prelude::*;

use super::super::{diff, load_bytes, show};
use super::{environment, loaded};

const EXAMPLE: &str = include_str!("../../../cafe.ron");

/// Loads, renders what is wrong, and compares what is not: nothing of it may panic.
fn survives(bytes: &[u8]) {
    match load_bytes(Path::new("/srv/app/cafe.ron"), bytes, &environment) {
        Ok(config) => {
            assert!(diff(&config, &config).is_empty());
            let _ = show(&config);
        }
        Err(problems) => {
            assert!(problems.count() > 0);
            let _ = problems.render(true);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_survived(text in "\\PC*") {
        survives(text.as_bytes());
    }

    #[test]
    fn any_bytes_are_survived(
        before in prop::collection::vec(any::<u8>(), 0..20),
        bytes in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        survives(&bytes);
        survives(&[&before[..], b"Cafe(env: { \"A\": \"", &bytes[..], b"\" })"].concat());
    }

    #[test]
    fn any_tokens_are_survived(tokens in prop::collection::vec(prop::sample::select(vec![
        "Cafe", "(", ")", "[", "]", "{", "}", ":", ",", "\"a\"", "services", "groups", "env", "include", "command",
        "\"${A}\"", "ready", "tcp", "kind", "timer", "Some", "None", "r#\"x\"#", "'c'", "b\"x\"", "1", "-2.5", "//\n",
        "/*", "*/", "\n", "limits", "signal", "#![enable(implicit_some)]", "\u{feff}", "ä",
    ]), 0..40)) {
        survives(tokens.concat().as_bytes());
        survives(format!("Cafe(services: {{ \"a\": (command: {}) }})", tokens.concat()).as_bytes());
    }

    #[test]
    fn a_mutated_example_is_survived(
        at in 0..EXAMPLE.len(),
        length in 0..40_usize,
        with in prop::sample::select(vec!["", "(", ")", "\"", "}", ",", "//", "/*", "${", "\u{0}", "\u{1F600}", "r#\"", ":"]),
    ) {
        let start = EXAMPLE.floor_char_boundary(at);
        let end = EXAMPLE.floor_char_boundary((at + length).min(EXAMPLE.len())).max(start);
        survives(format!("{}{with}{}", &EXAMPLE[..start], &EXAMPLE[end..]).as_bytes());
    }

    #[test]
    fn a_diff_there_and_back_names_the_same_fields(old in fields(), new in fields()) {
        let (old, new) = (loaded(&old), loaded(&new));
        let (there, back) = (diff(&old, &new), diff(&new, &old));
        prop_assert_eq!(&there.added, &back.removed);
        let named = |diff: &super::super::Diff| -> std::collections::BTreeSet<String> {
            let changes = diff.changed.iter().flat_map(|it| it.changes.iter());
            changes.map(|change| change.field.clone()).collect()
        };
        prop_assert_eq!(named(&there), named(&back));
        prop_assert_eq!(there.is_empty(), show(&old)["services"] == show(&new)["services"]);
    }
}

/// A config of some services with some fields.
fn fields() -> impl Strategy<Value = String> {
    let field = prop::sample::subsequence(
        vec![
            "nice: 1",
            "start: manual",
            "user: \"u\"",
            "backoff: (max: \"9s\")",
            "env: { \"A\": \"1\" }",
            "kind: oneshot",
        ],
        0..=6,
    );
    prop::collection::vec(field, 0..4).prop_map(|services| {
        let service = |(number, fields): (usize, &Vec<&str>)| {
            format!("\"s{number}\": (command: [\"x\"], {})", fields.join(", "))
        };
        let services: Vec<String> = services.iter().enumerate().map(service).collect();
        format!("Cafe(services: {{ {} }})", services.join(", "))
    })
}
