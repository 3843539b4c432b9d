//! Names of services and groups: parsed once, then trusted as file names, metric labels and URL parts.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Longest accepted name, in bytes; leaves room for suffixes within `NAME_MAX`.
pub const MAX_LENGTH: usize = 64;

/// The name of a service or a group: `[a-z0-9]` first, then `[a-z0-9._-]`, at most [`MAX_LENGTH`] bytes.
///
/// The alphabet makes a name safe as a directory, a cgroup, a URL segment and a metric label.
/// Cloning is a reference count.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[schema(value_type = String, pattern = "^[a-z0-9][a-z0-9._-]*$", max_length = 64)]
#[serde(try_from = "String", into = "String")]
pub struct Name(Arc<str>);

impl Name {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a text is not a [`Name`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The text is empty.
    #[error("a name must not be empty")]
    Empty,
    /// The text is longer than [`MAX_LENGTH`].
    #[error("a name has at most {MAX_LENGTH} bytes, this one has {0}")]
    TooLong(usize),
    /// The text has a byte outside the alphabet.
    #[error(
        "`{0}` is not allowed in a name: use a-z, 0-9, `.`, `_`, `-`, and begin with a letter or digit"
    )]
    Character(char),
}

impl FromStr for Name {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text.is_empty() {
            return Err(Error::Empty);
        }
        if text.len() > MAX_LENGTH {
            return Err(Error::TooLong(text.len()));
        }
        for (position, character) in text.char_indices() {
            let alphanumeric = character.is_ascii_lowercase() || character.is_ascii_digit();
            let separator = position > 0 && matches!(character, '.' | '_' | '-');
            if !alphanumeric && !separator {
                return Err(Error::Character(character));
            }
        }
        Ok(Self(text.into()))
    }
}

impl TryFrom<String> for Name {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0.as_ref().to_owned()
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::{Error, MAX_LENGTH, Name};

    #[test]
    fn accepts_what_is_safe_as_file_label_and_url() {
        for text in ["a", "web", "my-svc.v2_1", "0", &"x".repeat(MAX_LENGTH)] {
            assert_eq!(text.parse::<Name>().map(String::from), Ok(text.to_owned()));
        }
    }

    #[test]
    fn refuses_paths_spaces_capitals_and_leading_dots() {
        assert_eq!("".parse::<Name>(), Err(Error::Empty));
        for text in ["../etc", "a/b", "a b", "Web", ".hidden", "-flag", "a\0", "ä"] {
            assert!(matches!(text.parse::<Name>(), Err(Error::Character(_))), "{text}");
        }
        assert!(matches!("x".repeat(MAX_LENGTH + 1).parse::<Name>(), Err(Error::TooLong(_))));
    }
}
