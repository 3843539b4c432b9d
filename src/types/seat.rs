//! Where an incarnation of a service lives while another one of it may live, too.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::name::{self, Name};

/// Ends the text of a second seat; no name has it.
const SECOND: char = '+';

/// One of the two seats of a service: the name of its cgroup, and in the mark of its processes.
///
/// An incarnation takes the first; one that is started beside it takes the free one, and keeps it. So what one of them
/// leaves behind is never taken for the other's. As text `web` or `web+`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Seat {
    /// Whose it is.
    pub service: Name,
    /// Whether it is the second.
    pub second: bool,
}

impl Seat {
    /// The first seat of a service.
    #[must_use]
    pub fn first(service: &Name) -> Self {
        Self { service: service.clone(), second: false }
    }

    /// Both seats of a service.
    #[must_use]
    pub fn both(service: &Name) -> [Self; 2] {
        [false, true].map(|second| Self { service: service.clone(), second })
    }

    /// The other seat of the same service.
    #[must_use]
    pub fn other(&self) -> Self {
        Self { service: self.service.clone(), second: !self.second }
    }
}

impl fmt::Display for Seat {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.service.as_str())?;
        if self.second { write!(formatter, "{SECOND}") } else { Ok(()) }
    }
}

impl FromStr for Seat {
    type Err = name::Error;

    fn from_str(text: &str) -> Result<Self, name::Error> {
        let (service, second) = match text.strip_suffix(SECOND) {
            Some(service) => (service, true),
            None => (text, false),
        };
        Ok(Self { service: service.parse()?, second })
    }
}

impl TryFrom<String> for Seat {
    type Error = name::Error;

    fn try_from(text: String) -> Result<Self, name::Error> {
        text.parse()
    }
}

impl From<Seat> for String {
    fn from(seat: Seat) -> Self {
        seat.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::Seat;

    #[test]
    fn its_text_names_it() {
        for seat in Seat::both(&"web".parse().expect("a name")) {
            assert_eq!(seat.to_string().parse(), Ok(seat.clone()));
            assert_eq!(seat.other().other(), seat);
        }
        for text in ["", "+", "web++", "a/b"] {
            assert!(text.parse::<Seat>().is_err(), "{text}");
        }
    }
}
