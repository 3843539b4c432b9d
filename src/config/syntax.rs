//! RON as places: splits a value into its parts and says where each stands. The `ron` crate reads the syntax;
//! this module never knows which fields exist or what they mean.

use std::fmt;
use std::ops::Range;

use ron::Options;
use ron::error::SpannedError;
use ron::extensions::Extensions;
use ron::value::RawValue;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// What kind of value a text is, by its first character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// `( ... )`.
    Struct,
    /// `[ ... ]`.
    List,
    /// `{ ... }`.
    Map,
    /// `"..."` or `r"..."`.
    Text,
    /// `12`, `-3`, `0x1f`.
    Number,
    /// `name` or `name(...)`.
    Word,
    /// `'c'`, `b"..."`.
    Other,
}

/// A key and its value, as ranges of the text they stand in.
pub(super) type Pair = (Range<usize>, Range<usize>);

/// The options every text is read with.
fn options() -> Options {
    Options::default()
        .with_default_extension(Extensions::IMPLICIT_SOME)
        .with_default_extension(Extensions::UNWRAP_NEWTYPES)
}

/// Where the one value of a whole file stands.
///
/// # Errors
/// When the file is not RON.
pub(super) fn document(text: &str) -> Result<Range<usize>, SpannedError> {
    let raw: &RawValue = options().from_str(text)?;
    Ok(range_in(text, raw.trim().get_ron()))
}

/// What kind of value `text` is.
pub(super) fn shape(text: &str) -> Shape {
    let mut characters = text.chars();
    match characters.next() {
        Some('(') => Shape::Struct,
        Some('[') => Shape::List,
        Some('{') => Shape::Map,
        Some('"') => Shape::Text,
        Some('r') if text.starts_with("r\"") || raw_string(text) => Shape::Text,
        Some('b') if text.starts_with("b\"") || text.starts_with("br") && text.contains('"') => {
            Shape::Other
        }
        Some('0'..='9' | '-' | '+' | '.') => Shape::Number,
        Some(first) if first.is_alphabetic() || first == '_' => Shape::Word,
        _ => Shape::Other,
    }
}

/// `r#"..."#`, but not the raw identifier `r#type`.
fn raw_string(text: &str) -> bool {
    text.strip_prefix("r#").is_some_and(|rest| rest.trim_start_matches('#').starts_with('"'))
}

/// The fields of `(name: value, ...)`.
///
/// # Errors
/// When it has values without names.
pub(super) fn fields(text: &str) -> Result<Vec<Pair>, SpannedError> {
    let Named(pairs) = options().from_str(text)?;
    Ok(pairs.into_iter().map(|(key, value)| (range_in(text, key), tidy(text, value))).collect())
}

/// The entries of `{key: value, ...}`, duplicates included.
///
/// # Errors
/// When it is not a map.
pub(super) fn entries(text: &str) -> Result<Vec<Pair>, SpannedError> {
    let Keyed(pairs) = options().from_str(text)?;
    Ok(pairs.into_iter().map(|(key, value)| (tidy(text, key), tidy(text, value))).collect())
}

/// The items of `[value, ...]`.
///
/// # Errors
/// When it is not a list.
pub(super) fn items(text: &str) -> Result<Vec<Range<usize>>, SpannedError> {
    let values: Vec<&RawValue> = options().from_str(text)?;
    Ok(values.into_iter().map(|value| tidy(text, value)).collect())
}

/// The values of `(value, ...)`.
///
/// # Errors
/// When it has names.
pub(super) fn arguments(text: &str) -> Result<Vec<Range<usize>>, SpannedError> {
    let Positional(values) = options().from_str(text)?;
    Ok(values.into_iter().map(|value| tidy(text, value)).collect())
}

/// Splits `name(...)` into the name and what follows it, possibly nothing.
pub(super) fn word(text: &str) -> (Range<usize>, Range<usize>) {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    let rest = text[end..].trim_start();
    (0..end, text.len() - rest.len()..text.len())
}

/// What a string literal means.
///
/// # Errors
/// When it is none.
pub(super) fn string(text: &str) -> Result<String, SpannedError> {
    options().from_str(text)
}

/// The value of a literal: a number or a truth value.
///
/// # Errors
/// When it is another literal, or does not fit.
pub(super) fn literal<T: for<'de> Deserialize<'de>>(text: &str) -> Result<T, SpannedError> {
    options().from_str(text)
}

/// Where `part`, borrowed from `whole`, stands in it.
fn range_in(whole: &str, part: &str) -> Range<usize> {
    let start = part.as_ptr() as usize - whole.as_ptr() as usize;
    start..start + part.len()
}

/// The value alone, without the comments around it.
fn tidy(whole: &str, value: &RawValue) -> Range<usize> {
    let text = value.get_ron();
    let commented = text.starts_with('/') || text.contains("//") || text.contains("/*");
    let value = if commented { value.trim() } else { value };
    let range = range_in(whole, value.get_ron());
    let text = &whole[range.clone()];
    let start = range.start + (text.len() - text.trim_start().len());
    start..start + text.trim().len()
}

struct Named<'t>(Vec<(&'t str, &'t RawValue)>);

impl<'de: 't, 't> Deserialize<'de> for Named<'t> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Named<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("fields")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Named<'de>, A::Error> {
                let mut pairs = Vec::new();
                while let Some(Identifier(key)) = map.next_key()? {
                    pairs.push((key, map.next_value()?));
                }
                Ok(Named(pairs))
            }
        }
        deserializer.deserialize_struct("", &[], Fields)
    }
}

struct Identifier<'t>(&'t str);

impl<'de: 't, 't> Deserialize<'de> for Identifier<'t> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Name;
        impl<'de> Visitor<'de> for Name {
            type Value = Identifier<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a field name")
            }

            fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Identifier<'de>, E> {
                Ok(Identifier(name))
            }
        }
        deserializer.deserialize_identifier(Name)
    }
}

struct Keyed<'t>(Vec<(&'t RawValue, &'t RawValue)>);

impl<'de: 't, 't> Deserialize<'de> for Keyed<'t> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Keyed<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a map")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Keyed<'de>, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Keyed(pairs))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

struct Positional<'t>(Vec<&'t RawValue>);

impl<'de: 't, 't> Deserialize<'de> for Positional<'t> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Values;
        impl<'de> Visitor<'de> for Values {
            type Value = Positional<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("values")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Positional<'de>, A::Error> {
                let mut values = Vec::new();
                while let Some(value) = seq.next_element()? {
                    values.push(value);
                }
                Ok(Positional(values))
            }
        }
        deserializer.deserialize_tuple(0, Values)
    }
}
