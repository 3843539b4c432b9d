//! `cafe tree`: the live supervision tree, drawn.

use std::fmt::Write as _;

use super::Outcome;
use super::arguments::Global;
use super::exit::Exit;
use super::output::{Format, Output};
use super::style::{Paint, tame};
use crate::types::state::State;
use crate::types::status::Node;

/// `cafe tree`.
pub(super) async fn tree(global: &Global, output: &mut Output) -> Outcome {
    let tree = global.client().tree().await?;
    match output.format() {
        Format::Human => output.write(&draw(&tree.root, output.paint()))?,
        Format::Plain => output.write(&records(&tree.root))?,
        Format::Json => output.json(&tree)?,
    }
    Ok(Exit::Done)
}

/// What stands before a node and before its children.
struct Branches {
    middle: &'static str,
    last: &'static str,
    beside: &'static str,
    under: &'static str,
}

const UNICODE: Branches =
    Branches { middle: "├─ ", last: "└─ ", beside: "│  ", under: "   " };
const ASCII: Branches = Branches { middle: "|- ", last: "`- ", beside: "|  ", under: "   " };

/// The tree with branches; children in start order.
pub(super) fn draw(root: &Node, paint: Paint) -> String {
    let branches = if paint.unicode { &UNICODE } else { &ASCII };
    let mut text = label(root, paint);
    descend(&mut text, root, "", branches, paint);
    text
}

fn descend(text: &mut String, node: &Node, indent: &str, branches: &Branches, paint: Paint) {
    for (number, child) in node.children.iter().enumerate() {
        let is_last = number + 1 == node.children.len();
        let (branch, beside) = match is_last {
            true => (branches.last, branches.under),
            false => (branches.middle, branches.beside),
        };
        *text += &format!("{}{}", paint.dim(&format!("{indent}{branch}")), label(child, paint));
        descend(text, child, &format!("{indent}{beside}"), branches, paint);
    }
}

fn label(node: &Node, paint: Paint) -> String {
    let known = State::ALL.into_iter().find(|state| state.as_str() == node.state);
    let state = known.map_or_else(|| node.state.clone(), |state| paint.state(state, &node.state));
    let mark = match known {
        Some(known) if matches!(node.kind.as_str(), "service" | "instance") => {
            format!("{} ", paint.state(known, paint.glyph(known)))
        }
        _ => String::new(),
    };
    let mut text = format!("{mark}{}  {state}", paint.bold(&tame(&node.id)));
    if node.restarts > 0 {
        let _ = write!(text, "  restarts {}", node.restarts);
    }
    if !node.detail.is_empty() {
        let _ = write!(text, "  {}", paint.dim(&tame(&node.detail)));
    }
    text + "\n"
}

/// One record per node, parents first: path, kind, state, restarts, detail.
pub(super) fn records(root: &Node) -> String {
    let mut text = String::new();
    record(&mut text, root, "");
    text
}

fn record(text: &mut String, node: &Node, parent: &str) {
    let path = format!("{parent}/{}", tame(&node.id));
    let Node { kind, state, restarts, detail, .. } = node;
    let _ = writeln!(text, "{path}\t{kind}\t{state}\t{restarts}\t{}", tame(detail));
    for child in &node.children {
        record(text, child, &path);
    }
}
