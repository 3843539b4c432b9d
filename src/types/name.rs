//! Names of services, their instances and groups: parsed once, then trusted as file names, metric labels and URL parts.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Longest accepted name, in bytes; leaves room for suffixes within `NAME_MAX`.
pub const MAX_LENGTH: usize = 64;

/// Most instances of one service.
pub const MAX_INSTANCES: u32 = 64;

/// Stands before the number of an instance; the name of no service has it.
const INSTANCE: char = '@';

/// The name of a service or a group: `[a-z0-9]` first, then `[a-z0-9._-]`, at most [`MAX_LENGTH`] bytes. That of an
/// instance of a service has `@` and its number behind, from 1 to [`MAX_INSTANCES`].
///
/// The alphabet makes a name safe as a directory, a cgroup, a URL segment and a metric label.
/// Cloning is a reference count.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[schema(value_type = String, pattern = "^[a-z0-9][a-z0-9._-]*(@[1-9][0-9]?)?$", max_length = 67)]
#[serde(try_from = "String", into = "String")]
pub struct Name(Arc<str>);

impl Name {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of an instance of this service.
    #[must_use]
    pub fn instance(&self, number: u32) -> Self {
        Self(format!("{}{INSTANCE}{number}", self.service()).into())
    }

    /// The number of an instance; none for a service that has no more than one.
    #[must_use]
    pub fn number(&self) -> Option<u32> {
        self.0.split_once(INSTANCE)?.1.parse().ok()
    }

    /// The name of the service, without the number of an instance.
    #[must_use]
    pub fn service(&self) -> &str {
        self.0.split_once(INSTANCE).map_or(&*self.0, |(service, _)| service)
    }

    /// As [`Self::service`], as a name.
    #[must_use]
    pub fn of_service(&self) -> Self {
        match self.number() {
            Some(_) => Self(self.service().into()),
            None => self.clone(),
        }
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
        let (service, number) = match text.split_once(INSTANCE) {
            Some((service, number)) => (service, Some(number)),
            None => (text, None),
        };
        if service.is_empty() {
            return Err(Error::Empty);
        }
        if service.len() > MAX_LENGTH {
            return Err(Error::TooLong(service.len()));
        }
        let is_number = |text: &str| {
            let number = text.parse().ok().filter(|number| (1..=MAX_INSTANCES).contains(number));
            number.is_some_and(|number| number.to_string() == text)
        };
        if number.is_some_and(|number| !is_number(number)) {
            return Err(Error::Character(INSTANCE));
        }
        for (position, character) in service.char_indices() {
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
    fn an_instance_has_a_number() {
        let web: Name = "web".parse().expect("a name");
        let second = web.instance(2);
        assert_eq!((second.as_str(), second.number(), second.service()), ("web@2", Some(2), "web"));
        assert_eq!(
            (second.as_str().parse(), second.of_service()),
            (Ok(second.clone()), web.clone())
        );
        assert_eq!(
            (web.number(), web.service(), second.instance(64).as_str()),
            (None, "web", "web@64")
        );
    }

    #[test]
    fn refuses_paths_spaces_capitals_and_leading_dots() {
        assert_eq!("".parse::<Name>(), Err(Error::Empty));
        for text in ["../etc", "a/b", "a b", "Web", ".hidden", "-flag", "a\0", "ä"] {
            assert!(matches!(text.parse::<Name>(), Err(Error::Character(_))), "{text}");
        }
        for text in ["web@", "web@0", "web@65", "web@01", "web@+1", "web@x", "web@1@2", "web@1+"] {
            assert_eq!(text.parse::<Name>(), Err(Error::Character('@')), "{text}");
        }
        assert!(matches!("x".repeat(MAX_LENGTH + 1).parse::<Name>(), Err(Error::TooLong(_))));
    }
}
