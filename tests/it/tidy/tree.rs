//! The tree printed in `docs/architecture.md` is the tree that runs.

use std::fmt::Write as _;

use serde_json::Value;

use super::read;
use crate::harness::{Cafe, IDLE, sh};

#[tokio::test]
async fn the_tree_in_the_architecture_is_the_one_that_runs() {
    let idle = sh(IDLE);
    let cafe = Cafe::start(&format!(
        r#"services: {{ "queue": (command: {idle}), "clock": (command: {idle}) }},
        groups: {{ "shop": (strategy: rest_for_one, services: ["queue"]) }},"#
    ))
    .await;
    let waited = cafe.cli(&["wait", "queue", "clock", "--for", "running"]);
    assert!(waited.status.success(), "{}", String::from_utf8_lossy(&waited.stderr));
    let answer = cafe.cli(&["tree", "-o", "json"]);
    let tree: Value = serde_json::from_slice(&answer.stdout).expect("JSON");
    let mut drawn = String::new();
    draw(&tree, 0, &mut drawn);
    let document = read("docs/architecture.md");
    let block = document.split("```tree\n").nth(1).and_then(|rest| rest.split("```").next());
    let printed = block.expect("a block ```tree in docs/architecture.md");
    assert_eq!(squeezed(printed), squeezed(&drawn), "what runs is:\n{drawn}");
}

/// One line per node: id and kind, two spaces deeper per level.
fn draw(node: &Value, level: usize, drawn: &mut String) {
    let word = |key: &str| node[key].as_str().unwrap_or("?").to_owned();
    let id = if word("kind") == "process" { "pid N".to_owned() } else { word("id") };
    let line = format!("{:level$}{id}", "", level = 2 * level);
    let _ = writeln!(drawn, "{line:<20}{}", word("kind"));
    for child in node["children"].as_array().expect("children") {
        draw(child, level + 1, drawn);
    }
}

/// Depth and words only: columns, and remarks after ` -- `, are for the reader.
fn squeezed(block: &str) -> Vec<(usize, String)> {
    let line = |line: &str| {
        let depth = line.len() - line.trim_start().len();
        let text = line.split(" -- ").next().unwrap_or_default();
        (depth, text.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    block.lines().filter(|line| !line.trim().is_empty()).map(line).collect()
}
