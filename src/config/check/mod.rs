//! From what was typed to what it means: every field read, every default filled in, every error collected.
//! Never touches the machine; what only a start can tell (a missing program, an unknown user) is told then.

mod daemon;
mod graph;
mod group;
mod limits;
mod listen;
mod policy;
mod probe;
mod schedule;
mod service;
mod value;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use indexmap::IndexMap;

pub use schedule::{next_run, parse_cron};

use super::fields::Fields;
use super::model::{Config, Group, Listen, Service};
use super::reader::Reader;
use super::source::Place;
use crate::types::name::Name;

/// Top-level sections that later versions have.
const LATER: [&str; 9] =
    ["edge", "watchdogs", "status_page", "checks", "notify", "deploys", "probes", "mail", "fleet"];

/// A reference to a service, and where it stands.
type Reference = (Name, Place);

/// A service with what only the whole config can judge.
#[derive(Debug)]
struct Draft {
    service: Service,
    /// Its name in the file.
    place: Place,
    after: Vec<Reference>,
    requires: Vec<Reference>,
    /// Its sockets, and where their addresses stand.
    listen: Vec<(Listen, Place)>,
    /// Where `start: on_connection` stands.
    on_connection: Option<Place>,
    /// Where `significant: true` stands.
    significant: Option<Place>,
}

/// A group with the places of its members.
#[derive(Debug)]
struct GroupDraft {
    group: Group,
    place: Place,
    members: Vec<Reference>,
}

type Drafts = IndexMap<Name, Draft>;
type GroupDrafts = IndexMap<Name, GroupDraft>;

/// Checks the top-level fields of all files together.
pub(super) fn config(reader: &mut Reader<'_>, documents: &mut [Fields], source: PathBuf) -> Config {
    variables(reader, documents);
    let mut drafts = Drafts::new();
    let mut group_drafts = GroupDrafts::new();
    for document in documents.iter_mut() {
        services(reader, document, &mut drafts);
    }
    for document in documents.iter_mut() {
        groups(reader, document, &drafts, &mut group_drafts);
    }
    let daemon = daemon::read(reader, documents);
    for document in documents.iter_mut() {
        document.refuse(&LATER, reader);
    }
    group::check_members(reader, &drafts, &group_drafts);
    graph::check(reader, &drafts, &group_drafts);
    listen::check_all(reader, &drafts, &daemon);
    Config {
        source,
        files: Vec::new(),
        revision: String::new(),
        services: drafts.into_iter().map(|(name, draft)| (name, Arc::new(draft.service))).collect(),
        groups: group_drafts.into_iter().map(|(name, draft)| (name, draft.group)).collect(),
        daemon,
    }
}

/// Defines the variables of every file before any string is read: files may use each other's.
fn variables(reader: &mut Reader<'_>, documents: &mut [Fields]) {
    let mut seen: BTreeMap<String, Place> = BTreeMap::new();
    for document in documents {
        let Some(place) = document.take("env", reader) else { continue };
        for (name, key, value) in reader.entries(place, "variable").unwrap_or_default() {
            value::check_variable_name(reader, &name, key);
            match seen.get(&name) {
                Some(first) => reader.duplicate("variable", &name, key, *first),
                None => {
                    reader.define(name.clone(), value);
                    seen.insert(name, key);
                }
            }
        }
    }
    reader.resolve_variables();
}

fn services(reader: &mut Reader<'_>, document: &mut Fields, drafts: &mut Drafts) {
    let Some(place) = document.take("services", reader) else { return };
    for (text, key, value) in reader.entries(place, "service").unwrap_or_default() {
        let name = value::name(reader, &text, key);
        let draft = service::read(reader, &text, key, value);
        let Some(name) = name else { continue };
        match drafts.get(&name).map(|draft| draft.place) {
            Some(first) => reader.duplicate("service", &text, key, first),
            None => drop(drafts.insert(name, draft)),
        }
    }
}

fn groups(
    reader: &mut Reader<'_>,
    document: &mut Fields,
    drafts: &Drafts,
    group_drafts: &mut GroupDrafts,
) {
    let Some(place) = document.take("groups", reader) else { return };
    for (text, key, value) in reader.entries(place, "group").unwrap_or_default() {
        let Some(name) = value::name(reader, &text, key) else { continue };
        let service = drafts.get(&name).map(|draft| draft.place);
        let taken = service.or_else(|| group_drafts.get(&name).map(|draft| draft.place));
        if let Some(first) = taken {
            reader.duplicate("service or group", &text, key, first);
            continue;
        }
        if let Some(draft) = group::read(reader, &name, key, value) {
            group_drafts.insert(name, draft);
        }
    }
}
