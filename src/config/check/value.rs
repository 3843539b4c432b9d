//! Values that many fields share: names, durations, sizes, commands, variables. Never decides a default.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::super::problem::quote;
use super::super::reader::Reader;
use super::super::source::Place;
use super::Reference;
use crate::types::capability::{Capabilities, Capability};
use crate::types::error::Code;
use crate::types::name::Name;
use crate::types::unit;

/// Longest duration of a config: monotonic clocks can always be added to it.
pub(super) const LONGEST: Duration = Duration::from_secs(366 * 86_400);
/// Shortest time between things that repeat: a supervisor must not spin.
pub(super) const SHORTEST_PERIOD: Duration = Duration::from_millis(10);

/// The name of a service or a group.
pub(super) fn name(reader: &mut Reader<'_>, text: &str, place: Place) -> Option<Name> {
    match text.parse::<Name>() {
        Ok(name) if name.number().is_some() => {
            let message =
                "`@` is not allowed in a name: it stands before the number of an instance";
            reader.error(Code::InvalidValue, place, message);
            None
        }
        Ok(name) => Some(name),
        Err(error) => {
            reader.error(Code::InvalidValue, place, error.to_string());
            None
        }
    }
}

/// A list of names, each once.
pub(super) fn references(reader: &mut Reader<'_>, place: Place) -> Vec<Reference> {
    let mut seen: BTreeMap<Name, Place> = BTreeMap::new();
    let mut list = Vec::new();
    for item in reader.items(place).unwrap_or_default() {
        let Some(text) = reader.text(item) else { continue };
        let Some(name) = name(reader, &text, item) else { continue };
        match seen.insert(name.clone(), item) {
            None => list.push((name, item)),
            Some(first) => reader.duplicate("name", &text, item, first),
        }
    }
    list
}

/// `"250ms"`, at most a year.
pub(super) fn duration(reader: &mut Reader<'_>, place: Place) -> Option<Duration> {
    let text = reader.text(place)?;
    match unit::parse_duration(&text) {
        Ok(duration) if duration <= LONGEST => Some(duration),
        Ok(_) => {
            let message = format!("{} is longer than a year", quote(&text));
            reader.error(Code::InvalidValue, place, message);
            None
        }
        Err(error) => {
            reader.error(Code::InvalidValue, place, error.to_string());
            None
        }
    }
}

/// A duration that is not shorter than `least`.
pub(super) fn duration_of(
    reader: &mut Reader<'_>,
    place: Place,
    least: Duration,
) -> Option<Duration> {
    let duration = duration(reader, place)?;
    if duration >= least {
        return Some(duration);
    }
    let message = format!("it must be at least {}", unit::show_duration(least));
    reader.error(Code::InvalidValue, place, message);
    None
}

/// `"64MiB"`, in bytes.
pub(super) fn size(reader: &mut Reader<'_>, place: Place) -> Option<u64> {
    let text = reader.text(place)?;
    match unit::parse_size(&text) {
        Ok(size) => Some(size),
        Err(error) => {
            reader.error(Code::InvalidValue, place, error.to_string());
            None
        }
    }
}

/// A string that the kernel takes: without NUL.
pub(super) fn kernel_text(reader: &mut Reader<'_>, place: Place) -> Option<String> {
    let text = reader.text(place)?;
    no_nul(reader, &text, place)?;
    Some(text)
}

fn no_nul(reader: &mut Reader<'_>, text: &str, place: Place) -> Option<()> {
    if !text.contains('\0') {
        return Some(());
    }
    reader.error(Code::InvalidValue, place, "a NUL character is not possible here");
    None
}

/// A string that is not empty: a user, a group.
pub(super) fn filled_text(reader: &mut Reader<'_>, place: Place) -> Option<String> {
    let text = kernel_text(reader, place)?;
    if !text.is_empty() {
        return Some(text);
    }
    reader.error(Code::InvalidValue, place, "it must not be empty");
    None
}

/// A path; a relative one counts from the directory of the file it is written in.
pub(super) fn path(reader: &mut Reader<'_>, place: Place) -> Option<PathBuf> {
    let text = filled_text(reader, place)?;
    Some(directory(reader, place).join(text))
}

/// The directory of the file a place is in.
pub(super) fn directory(reader: &Reader<'_>, place: Place) -> PathBuf {
    reader.source(place).path.parent().map_or_else(|| PathBuf::from("/"), PathBuf::from)
}

/// Program and arguments.
pub(super) fn command(reader: &mut Reader<'_>, place: Place) -> Option<Vec<String>> {
    let items = reader.items(place)?;
    let count = items.len();
    let words: Vec<String> =
        items.into_iter().filter_map(|item| kernel_text(reader, item)).collect();
    let program = words.first();
    if count == 0 || words.len() == count && program.is_some_and(String::is_empty) {
        let hint = "write it like [\"program\", \"argument\"]".to_owned();
        reader.error_with(Code::InvalidValue, place, "a command needs a program", hint);
        return None;
    }
    (words.len() == count).then_some(words)
}

/// `["NET_BIND_SERVICE"]`: capabilities by name, with or without `CAP_`.
pub(super) fn capabilities(reader: &mut Reader<'_>, place: Place) -> Option<Capabilities> {
    let mut set = Capabilities::NONE;
    for item in reader.items(place)? {
        let Some(text) = reader.text(item) else { continue };
        match text.parse() {
            Ok(capability) => set.insert(capability),
            Err(_) => unknown_capability(reader, &text, item),
        }
    }
    Some(set)
}

fn unknown_capability(reader: &mut Reader<'_>, text: &str, place: Place) {
    let typed = text.to_ascii_uppercase();
    let name = typed.strip_prefix("CAP_").unwrap_or(&typed);
    let names = Capability::names().iter().copied();
    let hint = reader
        .did_you_mean(name, names)
        .unwrap_or_else(|| "capabilities(7) has the list".to_owned());
    let message = format!("unknown capability {}", quote(text));
    reader.error_with(Code::UnknownField, place, message, hint);
}

/// The variables of a service, and the names of those with a secret in them.
pub(super) fn environment(
    reader: &mut Reader<'_>,
    place: Place,
) -> (BTreeMap<String, String>, Vec<String>) {
    let mut values = BTreeMap::new();
    let mut secrets = Vec::new();
    for (name, key, value) in reader.entries(place, "variable").unwrap_or_default() {
        check_variable_name(reader, &name, key);
        let Some(text) = reader.text_or_secret(value) else { continue };
        if no_nul(reader, &text.value, value).is_none() {
            continue;
        }
        if text.secret {
            secrets.push(name.clone());
        }
        values.insert(name, text.value);
    }
    secrets.sort();
    (values, secrets)
}

/// Refuses names the kernel's environment cannot hold, or `${...}` cannot name.
pub(super) fn check_variable_name(reader: &mut Reader<'_>, name: &str, place: Place) {
    if name.is_empty() || name.contains(['=', '\0', '}', ':']) {
        let message = format!("{} is not a name of a variable", quote(name));
        reader.error(Code::InvalidValue, place, message);
    }
}
