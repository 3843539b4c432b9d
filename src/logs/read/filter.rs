//! Which lines a query wants. Pure.

use jiff::Timestamp;
use regex::bytes::Regex;

use super::Query;
use crate::logs::line::{Micros, Parsed, Stream};

/// The part of a query that a line alone can answer.
#[derive(Debug, Clone)]
pub(super) struct Filter {
    pub(super) since: Micros,
    pub(super) until: Micros,
    grep: Option<Regex>,
    invert: bool,
    stream: Option<Stream>,
}

impl Filter {
    pub(super) fn new(query: &Query) -> Self {
        Self {
            since: query.since.map_or(0, micros),
            until: query.until.map_or(Micros::MAX, micros),
            grep: query.grep.clone(),
            invert: query.invert,
            stream: query.stream,
        }
    }

    /// Whether the line is wanted.
    pub(super) fn admits(&self, line: &Parsed<'_>) -> bool {
        let in_time = (self.since..=self.until).contains(&line.at);
        let of_stream = self.stream.is_none_or(|stream| stream == line.stream);
        in_time
            && of_stream
            && self.grep.as_ref().is_none_or(|grep| grep.is_match(line.payload) != self.invert)
    }
}

fn micros(at: Timestamp) -> Micros {
    Micros::try_from(at.as_microsecond()).unwrap_or_default()
}
