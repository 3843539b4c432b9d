//! Who starts after whom: `after`, `requires` and the order within a group are one graph, and it has no circle.

use std::collections::BTreeMap;

use super::super::model::Kind;
use super::super::reader::Reader;
use super::super::source::Place;
use super::group::unknown_service;
use super::{Drafts, GroupDrafts};
use crate::types::error::Code;
use crate::types::name::Name;

/// An edge of the graph: what is waited for, where that is written, and the group whose order it is.
#[derive(Debug, Clone, Copy)]
struct Edge<'d> {
    to: &'d Name,
    place: Place,
    group: Option<&'d Name>,
}

type Graph<'d> = BTreeMap<&'d Name, Vec<Edge<'d>>>;

/// Judges every reference, then looks for circles.
pub(super) fn check(reader: &mut Reader<'_>, drafts: &Drafts, groups: &GroupDrafts) {
    let graph = edges(reader, drafts, groups);
    for circle in circles(&graph) {
        report(reader, &circle);
    }
}

fn edges<'d>(reader: &mut Reader<'_>, drafts: &'d Drafts, groups: &'d GroupDrafts) -> Graph<'d> {
    let mut graph = Graph::new();
    for (name, draft) in drafts {
        let edges = graph.entry(name).or_default();
        for (to, place) in draft.after.iter().chain(&draft.requires) {
            if drafts.contains_key(to) {
                edges.push(Edge { to, place: *place, group: None });
            } else {
                unknown_service(reader, drafts, to, *place);
            }
        }
        for (to, place) in &draft.requires {
            let timer = |kind: &Kind| matches!(kind, Kind::Timer { .. });
            if drafts.get(to).is_some_and(|other| timer(&other.service.kind)) {
                let message = format!("`{to}` is a timer, and a timer is never up");
                let hint = "require a daemon or a oneshot".to_owned();
                reader.error_with(Code::InvalidValue, *place, message, hint);
            }
        }
    }
    for (group, draft) in groups {
        for pair in draft.members.windows(2) {
            let [(to, _), (from, place)] = pair else { continue };
            if let Some(edges) = graph.get_mut(from)
                && drafts.contains_key(to)
            {
                edges.push(Edge { to, place: *place, group: Some(group) });
            }
        }
    }
    graph
}

/// One circle of every knot, as its edges: first all that can start are taken away (Kahn), then what is left
/// is walked until it comes back.
fn circles<'d>(graph: &Graph<'d>) -> Vec<Vec<(&'d Name, Edge<'d>)>> {
    let stuck = stuck(graph);
    let mut walked: BTreeMap<&Name, usize> = BTreeMap::new();
    let mut circles = Vec::new();
    for (walk, &start) in stuck.keys().enumerate() {
        let mut path = Vec::new();
        let mut at = start;
        while !walked.contains_key(at) {
            walked.insert(at, walk);
            let edge = stuck[at];
            path.push((at, edge));
            at = edge.to;
        }
        if walked[at] != walk {
            continue;
        }
        if let Some(begin) = path.iter().position(|(name, _)| *name == at) {
            circles.push(path.split_off(begin));
        }
    }
    circles
}

/// The services that can never start, each with an edge to another of them.
fn stuck<'d>(graph: &Graph<'d>) -> BTreeMap<&'d Name, Edge<'d>> {
    let mut waiting: BTreeMap<&Name, usize> =
        graph.iter().map(|(name, edges)| (*name, edges.len())).collect();
    let mut dependents: BTreeMap<&Name, Vec<&Name>> = BTreeMap::new();
    for (name, edges) in graph {
        for edge in edges {
            dependents.entry(edge.to).or_default().push(name);
        }
    }
    let mut free: Vec<&Name> =
        waiting.iter().filter(|(_, count)| **count == 0).map(|(name, _)| *name).collect();
    while let Some(name) = free.pop() {
        for dependent in dependents.get(name).into_iter().flatten().copied() {
            let Some(count) = waiting.get_mut(dependent) else { continue };
            *count -= 1;
            if *count == 0 {
                free.push(dependent);
            }
        }
    }
    waiting.retain(|_, count| *count > 0);
    let blocking = |name: &Name| graph[name].iter().find(|edge| waiting.contains_key(edge.to));
    graph
        .keys()
        .filter(|name| waiting.contains_key(**name))
        .filter_map(|name| Some((*name, *blocking(name)?)))
        .collect()
}

fn report(reader: &mut Reader<'_>, circle: &[(&Name, Edge<'_>)]) {
    let Some((first, edge)) = circle.first() else { return };
    if circle.len() == 1 {
        let message = format!("service `{first}` waits for itself");
        reader.error(Code::DependencyCycle, edge.place, message);
        return;
    }
    let mut names: Vec<String> = circle.iter().map(|(name, _)| format!("`{name}`")).collect();
    names.push(format!("`{first}`"));
    let shown = match names.len() {
        0..=12 => names.join(" -> "),
        many => format!("{} -> ... ({} more) -> `{first}`", names[..8].join(" -> "), many - 9),
    };
    let message = format!("services wait for each other in a circle: {shown}");
    let grouped = circle.iter().find_map(|(name, edge)| Some((name, edge.to, edge.group?)));
    let hint = match grouped {
        Some((name, to, group)) => {
            format!("`{name}` comes after `{to}` in group `{group}`")
        }
        None => "take one of them away".to_owned(),
    };
    reader.error_with(Code::DependencyCycle, edge.place, message, hint);
}
