//! Config files as they were read, and places in them. Knows lines and columns; never what they mean.

use std::path::PathBuf;

/// A config file in memory.
#[derive(Debug, Clone)]
pub(super) struct Source {
    /// Where it is, absolute.
    pub(super) path: PathBuf,
    /// How errors name it: the path as the user gave it.
    pub(super) shown: String,
    /// What it says.
    pub(super) text: String,
}

/// A stretch of a [`Source`]: byte offsets into its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// Index of the source.
    pub(super) file: usize,
    /// First byte.
    pub(super) start: usize,
    /// After the last byte.
    pub(super) end: usize,
}

/// A stretch inside of one line, as errors show it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Excerpt<'s> {
    /// The line, without its line break.
    pub(super) line: &'s str,
    /// Line number, from 1.
    pub(super) number: usize,
    /// Where the stretch begins in the line, bytes.
    pub(super) start: usize,
    /// Where it ends in the line, bytes; a longer stretch is cut at the end of the line.
    pub(super) end: usize,
}

impl Place {
    /// The stretch `start..end` of this one, counted from its beginning.
    pub(super) fn part(self, range: std::ops::Range<usize>) -> Self {
        Self { file: self.file, start: self.start + range.start, end: self.start + range.end }
    }
}

impl Source {
    /// The text at `place`.
    pub(super) fn slice(&self, place: Place) -> &str {
        &self.text[place.start..place.end]
    }

    /// The line around the beginning of `place`.
    pub(super) fn excerpt(&self, place: Place) -> Excerpt<'_> {
        let before = &self.text[..place.start];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let rest = &self.text[line_start..];
        let line = rest.split('\n').next().unwrap_or(rest).trim_end_matches('\r');
        let start = (place.start - line_start).min(line.len());
        Excerpt {
            line,
            number: 1 + before.bytes().filter(|&byte| byte == b'\n').count(),
            start,
            end: (place.end - line_start).clamp(start, line.len()),
        }
    }

    /// The byte offset of a line and column, both from 1, columns counted in characters.
    pub(super) fn offset(&self, line: usize, column: usize) -> usize {
        let mut start = 0;
        for _ in 1..line {
            let Some(newline) = self.text[start..].find('\n') else { break };
            start += newline + 1;
        }
        let mut characters = self.text[start..].char_indices();
        characters.nth(column.saturating_sub(1)).map_or(self.text.len(), |(index, _)| start + index)
    }
}

impl Excerpt<'_> {
    /// Column of the beginning, from 1, in characters.
    pub(super) fn column(&self) -> usize {
        1 + self.line[..self.start].chars().count()
    }
}
