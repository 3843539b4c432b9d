//! Reads values at places and collects what is wrong with them, so that one run finds every error.
//! Knows strings, numbers, words, lists; never which field they belong to.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::problem::{Entry, MOST, Problems, one_of, quote};
use super::source::{Place, Source};
use super::syntax::{self, Shape};
use super::variables::{Text, Variables};
use crate::types::error::Code;

/// Reads the process environment: the value of a name.
pub(super) type Environment<'e> = &'e dyn Fn(&str) -> Option<String>;

/// The files of one config, and the errors found in them so far.
pub(super) struct Reader<'e> {
    pub(super) problems: Problems,
    pub(super) variables: Variables<'e>,
    /// A file is missing or cannot be parsed: what seems undefined may be defined there.
    pub(super) incomplete: bool,
}

/// `name` or `name(argument, ...)`.
#[derive(Debug)]
pub(super) struct Word {
    /// The name.
    pub(super) name: String,
    /// Where the name stands.
    pub(super) place: Place,
    /// The arguments; none without parentheses.
    pub(super) arguments: Vec<Place>,
}

impl<'e> Reader<'e> {
    pub(super) fn new(environment: Environment<'e>) -> Self {
        Self {
            problems: Problems::default(),
            variables: Variables::new(environment),
            incomplete: false,
        }
    }

    /// The file a place is in.
    pub(super) fn source(&self, place: Place) -> &Source {
        &self.problems.sources[place.file]
    }

    /// The text at a place, as it was typed.
    pub(super) fn typed(&self, place: Place) -> &str {
        self.source(place).slice(place)
    }

    /// `cafe.ron:3:9`.
    pub(super) fn location(&self, place: Place) -> String {
        let source = self.source(place);
        let excerpt = source.excerpt(place);
        format!("{}:{}:{}", source.shown, excerpt.number, excerpt.column())
    }

    /// Adds an error at a place.
    pub(super) fn error(&mut self, code: Code, place: Place, message: impl Into<String>) {
        self.report(code, Some(place), message.into(), None);
    }

    /// Adds an error at a place, with what to do about it.
    pub(super) fn error_with(
        &mut self,
        code: Code,
        place: Place,
        message: impl Into<String>,
        hint: impl Into<Option<String>>,
    ) {
        self.report(code, Some(place), message.into(), hint.into());
    }

    /// Whether further errors are only counted: then hints need not be found.
    fn is_full(&self) -> bool {
        self.problems.list.len() >= MOST
    }

    /// Adds an error; beyond [`MOST`] they are only counted.
    pub(super) fn report(
        &mut self,
        code: Code,
        place: Option<Place>,
        message: String,
        hint: Option<String>,
    ) {
        if self.is_full() {
            self.problems.omitted += 1;
            return;
        }
        self.problems.list.push(Entry { code, place, message, hint });
    }

    /// ``did you mean `web`?`` for the candidate most like `wrong`, if one is like it.
    pub(super) fn did_you_mean<'c>(
        &self,
        wrong: &str,
        candidates: impl IntoIterator<Item = &'c str>,
    ) -> Option<String> {
        if self.is_full() || wrong.len() > 200 {
            return None;
        }
        let most_edits = 1 + wrong.chars().count() / 4;
        let rank = |candidate: &'c str| {
            let edits = strsim::damerau_levenshtein(wrong, candidate);
            (edits, wrong.len().abs_diff(candidate.len()), candidate)
        };
        let like = |candidate: &&str| wrong.len().abs_diff(candidate.len()) <= most_edits;
        let near = candidates
            .into_iter()
            .filter(like)
            .map(rank)
            .filter(|(edits, ..)| *edits <= most_edits);
        let (.., nearest) = near.min()?;
        Some(format!("did you mean `{nearest}`?"))
    }

    /// A string with its variables replaced. Secrets are refused: they belong into `env` alone.
    pub(super) fn text(&mut self, place: Place) -> Option<String> {
        let text = self.text_or_secret(place)?;
        if !text.secret {
            return Some(text.value);
        }
        let hint = "secrets never reach arguments, logs or replies; pass it by the service's `env`";
        self.error_with(
            Code::InvalidValue,
            place,
            "a secret file may only be used in `env`",
            hint.to_owned(),
        );
        None
    }

    /// A string with its variables replaced, and whether a secret is in it.
    pub(super) fn text_or_secret(&mut self, place: Place) -> Option<Text> {
        let literal = self.literal_text(place)?;
        self.expand(place, &literal)
    }

    /// A string as written, variables not replaced.
    pub(super) fn literal_text(&mut self, place: Place) -> Option<String> {
        self.expect(place, Shape::Text)?;
        let decoded = syntax::literal(self.typed(place));
        match decoded {
            Ok(text) => Some(text),
            Err(error) => {
                self.error(Code::InvalidValue, place, lower_first(&error.code.to_string()));
                None
            }
        }
    }

    /// A whole number within `range`.
    pub(super) fn number<T>(&mut self, place: Place, range: RangeInclusive<T>) -> Option<T>
    where
        T: Copy + PartialOrd + std::fmt::Display + TryFrom<i128>,
    {
        self.expect(place, Shape::Number)?;
        let number = syntax::literal::<i64>(self.typed(place)).ok().map(i128::from);
        let value = number.and_then(|number| T::try_from(number).ok());
        let value = value.filter(|value| range.contains(value));
        if value.is_none() {
            let message = format!(
                "{} is not a whole number from {} to {}",
                quote(self.typed(place)),
                range.start(),
                range.end()
            );
            self.error(Code::InvalidValue, place, message);
        }
        value
    }

    /// `true` or `false`.
    pub(super) fn boolean(&mut self, place: Place) -> Option<bool> {
        self.choice(place, "value", &[("true", true), ("false", false)])
    }

    /// One of a few bare words.
    pub(super) fn choice<T: Copy>(
        &mut self,
        place: Place,
        what: &str,
        choices: &[(&str, T)],
    ) -> Option<T> {
        let word = self.word(place)?;
        let found = choices.iter().find(|(name, _)| *name == word.name);
        match found {
            Some((_, value)) => self.no_arguments(&word).map(|()| *value),
            None => self.unknown_word(&word, what, choices.iter().map(|(name, _)| *name)),
        }
    }

    /// `name` or `name(argument, ...)`.
    pub(super) fn word(&mut self, place: Place) -> Option<Word> {
        self.expect(place, Shape::Word)?;
        let text = self.typed(place);
        let (name, rest) = syntax::word(text);
        let word = Word {
            name: text[name.clone()].to_owned(),
            place: place.part(name),
            arguments: Vec::new(),
        };
        if rest.is_empty() {
            return Some(word);
        }
        let rest = place.part(rest);
        self.expect(rest, Shape::Struct)?;
        let arguments = self.values(rest)?;
        Some(Word { arguments, ..word })
    }

    /// The one argument of `word`.
    pub(super) fn argument(&mut self, word: &Word, example: &str) -> Option<Place> {
        if let [argument] = word.arguments[..] {
            return Some(argument);
        }
        let message = format!("`{}` takes one value", word.name);
        self.error_with(
            Code::InvalidValue,
            word.place,
            message,
            format!("write it like {example}"),
        );
        None
    }

    /// Refuses arguments of a word that takes none.
    pub(super) fn no_arguments(&mut self, word: &Word) -> Option<()> {
        if word.arguments.is_empty() {
            return Some(());
        }
        let message = format!("`{}` takes no value", word.name);
        self.error(Code::InvalidValue, word.place, message);
        None
    }

    /// Reports a word that is not among the valid ones.
    pub(super) fn unknown_word<'c, T>(
        &mut self,
        word: &Word,
        what: &str,
        valid: impl IntoIterator<Item = &'c str> + Clone,
    ) -> Option<T> {
        let message = format!("unknown {what} {}", quote(&word.name));
        let hint = self
            .did_you_mean(&word.name, valid.clone())
            .unwrap_or_else(|| format!("use {}", one_of(valid)));
        self.error_with(Code::UnknownField, word.place, message, hint);
        None
    }

    /// The items of `[...]`.
    pub(super) fn items(&mut self, place: Place) -> Option<Vec<Place>> {
        self.expect(place, Shape::List)?;
        self.values(place)
    }

    /// The values in brackets, none of which has a name.
    fn values(&mut self, place: Place) -> Option<Vec<Place>> {
        let parts = syntax::parts(self.typed(place));
        if let Some(key) = parts.iter().find_map(|part| part.key.clone()) {
            let message = "expected a value, found a named one";
            self.error(Code::InvalidValue, place.part(key), message);
            return None;
        }
        Some(parts.into_iter().map(|part| place.part(part.value)).collect())
    }

    /// The entries of `{"key": value, ...}`; a key that stands twice is an error.
    pub(super) fn entries(
        &mut self,
        place: Place,
        what: &str,
    ) -> Option<Vec<(String, Place, Place)>> {
        self.expect(place, Shape::Map)?;
        let mut seen = BTreeMap::new();
        let mut entries = Vec::new();
        for part in syntax::parts(self.typed(place)) {
            let Some(key) = part.key else { continue };
            let (key, value) = (place.part(key), place.part(part.value));
            let Some(name) = self.literal_text(key) else { continue };
            match seen.insert(name.clone(), key) {
                None => entries.push((name, key, value)),
                Some(first) => self.duplicate(what, &name, key, first),
            }
        }
        Some(entries)
    }

    /// Reports a name that stands twice.
    pub(super) fn duplicate(&mut self, what: &str, name: &str, again: Place, first: Place) {
        let message = format!("{what} {} is defined twice", quote(name));
        let hint = (!self.is_full()).then(|| format!("first at {}", self.location(first)));
        self.error_with(Code::DuplicateName, again, message, hint);
    }

    /// Refuses a value of another shape.
    pub(super) fn expect(&mut self, place: Place, wanted: Shape) -> Option<()> {
        let found = syntax::shape(self.typed(place));
        if found == wanted {
            return Some(());
        }
        let message = format!("expected {}, found {}", name_of(wanted), name_of(found));
        let hint = match (wanted, found) {
            (Shape::Text, Shape::Number | Shape::Word) => Some("write it in quotes".to_owned()),
            (Shape::Word, Shape::Text) => Some("write it without quotes".to_owned()),
            (Shape::Number, Shape::Text) => Some("write it without quotes".to_owned()),
            (Shape::List, Shape::Text) => Some("write it as a list: [\"...\"]".to_owned()),
            _ => None,
        };
        self.error_with(Code::InvalidValue, place, message, hint);
        None
    }
}

/// Texts of `ron` begin with a capital; ours do not.
pub(super) fn lower_first(text: &str) -> String {
    let mut characters = text.chars();
    characters
        .next()
        .map_or_else(String::new, |first| first.to_lowercase().chain(characters).collect())
}

fn name_of(shape: Shape) -> &'static str {
    match shape {
        Shape::Struct => "fields in `( )`",
        Shape::List => "a list in `[ ]`",
        Shape::Map => "a map in `{ }`",
        Shape::Text => "a string",
        Shape::Number => "a number",
        Shape::Word => "a bare word",
        Shape::Other => "another value",
    }
}
