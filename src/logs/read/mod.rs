//! Reads log files: lines of one, several or all services in the order of time, now and as they come.
//!
//! Works on the files alone, with or without a daemon. Memory is bounded by the number of services: each has one
//! buffer and one line ahead; plain files are open only while they are read. Blocking: for the command line, or a thread that
//! may block.

mod filter;
mod follow;
mod merge;
mod seek;
mod source;

#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use regex::bytes::Regex;

use self::filter::Filter;
pub use self::follow::Follower;
use self::merge::Merge;
use super::dir;
pub use super::dir::services;
use super::error::Error;
pub use super::line::Stream;
use crate::types::name::Name;

/// Which lines.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// Of these services; of all if empty.
    pub services: Vec<Name>,
    /// Only so many of the last ones that match the rest; pieces of a continued line count each.
    pub lines: Option<usize>,
    /// Not before.
    pub since: Option<Timestamp>,
    /// Not after.
    pub until: Option<Timestamp>,
    /// Only those that match.
    pub grep: Option<Regex>,
    /// Only those that do not match `grep`.
    pub invert: bool,
    /// Only of this stream.
    pub stream: Option<Stream>,
}

/// One line of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When it was read from the service.
    pub at: Timestamp,
    /// Whose it is.
    pub service: Name,
    /// Where it was written to.
    pub stream: Stream,
    /// Whether it goes on from the line before it of the same service and stream.
    pub continued: bool,
    /// What was written, without the newline: any bytes. See [`escape`](super::line::escape).
    pub text: Vec<u8>,
}

/// The lines that are there now, oldest first.
#[derive(Debug)]
pub struct Reader(Merge);

impl Reader {
    /// Finds the first line.
    ///
    /// # Errors
    /// When a log cannot be read. A service without logs has no lines.
    pub fn open(root: &Path, query: &Query) -> Result<Self, Error> {
        let services = match query.services.as_slice() {
            [] => dir::services(root).map_err(|source| unreadable(root, source))?,
            named => named.to_vec(),
        };
        Merge::open(root, services, Filter::new(query), query.lines).map(Self)
    }
}

impl Iterator for Reader {
    type Item = Result<Line, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().transpose()
    }
}

fn unreadable(path: &Path, source: io::Error) -> Error {
    Error::File { operation: "read the log", path: PathBuf::from(path), source }
}
