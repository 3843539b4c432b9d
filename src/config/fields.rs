//! The fields of one `( ... )`: taken by name; what is not taken is unknown. Never knows what a field means.

use std::collections::BTreeMap;

use super::problem::quote;
use super::reader::Reader;
use super::source::Place;
use super::syntax::{self, Shape};
use crate::types::error::Code;

/// Fields not yet taken, and the names asked for, which are the valid ones.
#[derive(Debug)]
pub(super) struct Fields {
    /// Whose fields they are, as errors say it: ``service `web` ``.
    owner: String,
    /// Where the owner is named: a missing field is reported there.
    place: Place,
    list: BTreeMap<String, Field>,
    known: Vec<&'static str>,
}

#[derive(Debug)]
struct Field {
    key: Place,
    value: Place,
}

impl Fields {
    /// Reads `( ... )` at `value`; a field that stands twice is an error. `place` is where the owner is named.
    pub(super) fn open(
        value: Place,
        place: Place,
        owner: impl Into<String>,
        reader: &mut Reader<'_>,
    ) -> Option<Self> {
        reader.expect(value, Shape::Struct)?;
        let parts = syntax::parts(reader.typed(value));
        if parts.iter().any(|part| part.key.is_none()) {
            let hint = "write it as (name: value, ...)".to_owned();
            reader.error_with(Code::InvalidValue, value, "expected named fields", hint);
            return None;
        }
        let owner = owner.into();
        let mut list: BTreeMap<String, Field> = BTreeMap::new();
        for part in parts {
            let Some(key) = part.key.map(|key| value.part(key)) else { continue };
            let value = value.part(part.value);
            let typed = reader.typed(key);
            let name = typed.strip_prefix("r#").unwrap_or(typed).to_owned();
            match list.get(&name) {
                Some(first) => reader.duplicate("field", &name, key, first.key),
                None => drop(list.insert(name, Field { key, value })),
            }
        }
        let known = Vec::new();
        Some(Self { owner, place, list, known })
    }

    /// Where the owner is named.
    pub(super) fn place(&self) -> Place {
        self.place
    }

    /// The value of field `name`, if it is given; `None` and `Some(...)` of RON are understood.
    pub(super) fn take(&mut self, name: &'static str, reader: &Reader<'_>) -> Option<Place> {
        self.known.push(name);
        let value = self.list.remove(name)?.value;
        let typed = reader.typed(value);
        let (word, rest) = syntax::word(typed);
        match &typed[word] {
            "None" if rest.is_empty() => None,
            "Some" => match &syntax::parts(&typed[rest.clone()])[..] {
                [only] => Some(value.part(rest.clone()).part(only.value.clone())),
                _ => Some(value),
            },
            _ => Some(value),
        }
    }

    /// The value of field `name`; an error when it is missing.
    pub(super) fn require(&mut self, name: &'static str, reader: &mut Reader<'_>) -> Option<Place> {
        let value = self.take(name, reader);
        if value.is_none() {
            let message = format!("missing field `{name}` of {}", self.owner);
            reader.error(Code::MissingField, self.place, message);
        }
        value
    }

    /// Refuses fields that a later version will have: ignoring them would be a promise broken in silence.
    pub(super) fn refuse(&mut self, later: &[&str], reader: &mut Reader<'_>) {
        let owner = &self.owner;
        self.list.retain(|name, field| {
            if !later.contains(&name.as_str()) {
                return true;
            }
            let message = format!("`{name}` of {owner} is not available in this version");
            reader.error_with(Code::UnknownField, field.key, message, "leave it out".to_owned());
            false
        });
    }

    /// Reports what nobody took.
    pub(super) fn finish(self, reader: &mut Reader<'_>) {
        for (name, field) in &self.list {
            let message = format!("unknown field {} of {}", quote(name), self.owner);
            let hint = reader
                .did_you_mean(name, self.known.iter().copied())
                .unwrap_or_else(|| format!("it has {}", self.known.join(", ")));
            reader.error_with(Code::UnknownField, field.key, message, hint);
        }
    }
}
