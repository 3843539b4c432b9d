//! RON as places: splits a value into its parts and says where each stands. The `ron` crate judges the syntax of
//! a file and decodes its literals; what is split here is known to be valid. Never knows what a field means.

use std::ops::Range;

use ron::Options;
use ron::error::SpannedError;
use ron::extensions::Extensions;
use serde::de::{Deserialize, IgnoredAny};

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

/// A part of a bracketed value, as ranges of the text it stands in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    /// What stands before the colon, if there is one.
    pub(super) key: Option<Range<usize>>,
    /// The value, without the comments around it.
    pub(super) value: Range<usize>,
}

/// Where the one value of a whole file stands.
///
/// # Errors
/// When the file is not RON.
pub(super) fn document(text: &str) -> Result<Range<usize>, SpannedError> {
    options().from_str::<IgnoredAny>(text)?;
    let mut start = 0;
    while let Some(attribute) = split(text, start, text.len()).first()
        && text[attribute.value.clone()].starts_with('#')
    {
        let begin = attribute.value.start;
        start = begin + text[begin..].find(']').map_or(text.len() - begin, |end| end + 1);
    }
    Ok(split(text, start, text.len()).first().map_or(0..0, |whole| whole.value.clone()))
}

/// What kind of value `text` is.
pub(super) fn shape(text: &str) -> Shape {
    match text.chars().next() {
        Some('(') => Shape::Struct,
        Some('[') => Shape::List,
        Some('{') => Shape::Map,
        Some('"') => Shape::Text,
        Some('r') if raw_string(text).is_some() => Shape::Text,
        Some('b') if text[1..].starts_with(['"', '\'']) || raw_string(&text[1..]).is_some() => {
            Shape::Other
        }
        Some('0'..='9' | '-' | '+' | '.') => Shape::Number,
        Some(first) if first.is_alphabetic() || first == '_' => Shape::Word,
        _ => Shape::Other,
    }
}

/// The parts of `( ... )`, `[ ... ]` or `{ ... }`, in order, duplicates included.
pub(super) fn parts(text: &str) -> Vec<Part> {
    split(text, 1, text.len().saturating_sub(1))
}

/// Splits `name(...)` into the name and what follows it, possibly nothing.
pub(super) fn word(text: &str) -> (Range<usize>, Range<usize>) {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    let rest = split(text, end, text.len()).first().map_or(text.len(), |rest| rest.value.start);
    (0..end, rest..text.len())
}

/// The value of a literal: a string or a number.
///
/// # Errors
/// When it is another literal, or does not fit.
pub(super) fn literal<T: for<'de> Deserialize<'de>>(text: &str) -> Result<T, SpannedError> {
    options().from_str(text)
}

/// The options every text is read with.
fn options() -> Options {
    Options::default()
        .with_default_extension(Extensions::IMPLICIT_SOME)
        .with_default_extension(Extensions::UNWRAP_NEWTYPES)
}

/// The parts of `text[start..end]`, which commas outside of brackets divide.
fn split(text: &str, start: usize, end: usize) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut key = None;
    let mut value: Option<Range<usize>> = None;
    let mut depth = 0_usize;
    let mut at = start;
    while at < end {
        let token = token(&text[at..end]);
        let next = at + token.length;
        let first = text.as_bytes()[at];
        at = next;
        if token.trivia {
            continue;
        }
        match first {
            b',' if depth == 0 => {
                parts.extend(value.take().map(|value| Part { key: key.take(), value }));
                continue;
            }
            b':' if depth == 0 => {
                key = value.take();
                continue;
            }
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        value.get_or_insert(next - token.length..next).end = next;
    }
    parts.extend(value.map(|value| Part { key, value }));
    parts
}

/// A piece of RON that brackets, commas and colons cannot be in.
struct Token {
    length: usize,
    /// White space or a comment.
    trivia: bool,
}

/// The token `text` begins with; `text` is not empty.
fn token(text: &str) -> Token {
    let solid = |length| Token { length, trivia: false };
    let bytes = text.as_bytes();
    match bytes[0] {
        b'"' => solid(quoted(text, b'"')),
        b'\'' => solid(character(text)),
        b'r' => solid(raw_string(text).unwrap_or(1)),
        b'/' if bytes.get(1) == Some(&b'/') => {
            Token { length: text.find('\n').map_or(text.len(), |end| end + 1), trivia: true }
        }
        b'/' if bytes.get(1) == Some(&b'*') => Token { length: block_comment(bytes), trivia: true },
        b' ' | b'\t'..=b'\r' => Token { length: 1, trivia: true },
        0..0x80 => solid(1),
        _ => {
            let character = text.chars().next().unwrap_or_default();
            Token { length: character.len_utf8(), trivia: is_space(character) }
        }
    }
}

/// Length of a literal that ends with the quote it begins with, unless that is escaped.
fn quoted(text: &str, quote: u8) -> usize {
    let mut escaped = false;
    let end = text.bytes().enumerate().skip(1).find(|&(_, byte)| {
        let ends = byte == quote && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    end.map_or(text.len(), |(index, _)| index + 1)
}

/// Length of `'c'`; `'''` and `'\''` are one.
fn character(text: &str) -> usize {
    let mut characters = text.char_indices().skip(1);
    match characters.next() {
        Some((_, '\\')) => quoted(text, b'\''),
        Some(_) => characters.next().map_or(text.len(), |(index, _)| index + 1),
        None => text.len(),
    }
}

/// Length of `r"..."` or `r#"..."#`; none for an identifier, raw ones like `r#type` too.
fn raw_string(text: &str) -> Option<usize> {
    let rest = text.strip_prefix('r')?;
    let hashes = rest.len() - rest.trim_start_matches('#').len();
    let body = rest[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let length = body.find(&end).map_or(body.len(), |index| index + end.len());
    Some(2 + hashes + length)
}

/// Length of `/* ... */`, which may hold others.
fn block_comment(bytes: &[u8]) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(pair) = bytes.get(at..at + 2) {
        match pair {
            b"/*" => (depth, at) = (depth + 1, at + 2),
            b"*/" => (depth, at) = (depth.saturating_sub(1), at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    bytes.len()
}

/// `Pattern_White_Space` of Unicode, as `ron` has it; the ASCII ones are seen to already.
fn is_space(character: char) -> bool {
    matches!(character, '\u{85}' | '\u{200e}' | '\u{200f}' | '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use super::{document, parts, word};

    fn split(text: &str) -> Vec<(Option<&str>, &str)> {
        let part = |part: super::Part| (part.key.map(|key| &text[key]), &text[part.value]);
        parts(text).into_iter().map(part).collect()
    }

    #[test]
    fn brackets_strings_and_comments_hide_commas() {
        let text = r####"( a: (1, "x"), /* b: 2, /* , */ */ r#type: [",\"]", r#"",)"#], // c: 3
            d : 'c', e: '\'', f: ''', g: b",", h: br#","#, i: { ",": ',' } /* end, */ )"####;
        let expected = [
            ("a", "(1, \"x\")"),
            ("r#type", "[\",\\\"]\", r#\"\",)\"#]"),
            ("d", "'c'"),
            ("e", "'\\''"),
            ("f", "'''"),
            ("g", "b\",\""),
            ("h", "br#\",\"#"),
            ("i", "{ \",\": ',' }"),
        ];
        assert_eq!(split(text), expected.map(|(key, value)| (Some(key), value)));
        assert_eq!(split("[1, 2,]"), [(None, "1"), (None, "2")]);
        assert_eq!(split("[\"\\\\\", 2]"), [(None, "\"\\\\\""), (None, "2")]);
        assert_eq!(split("( /* nothing */ )"), []);
        assert_eq!(split("[\u{200e}1\u{2028}]"), [(None, "1")]);
    }

    #[test]
    fn the_value_of_a_file_stands_after_its_attributes_and_comments() {
        let text = "// one\n#![enable(implicit_some)]\n/* two */ Cafe() // three";
        let range = document(text).expect("RON");
        assert_eq!(&text[range], "Cafe()");
    }

    #[test]
    fn words_have_names_and_arguments() {
        let text = "tcp /* to */ (\"a\")";
        let (name, rest) = word(text);
        assert_eq!((&text[name], &text[rest]), ("tcp", "(\"a\")"));
        assert_eq!(word("notify"), (0..6, 6..6));
    }
}
