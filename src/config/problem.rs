//! What is wrong with a config: every error with its place, rendered as a compiler would. Decides nothing.

use std::fmt::{self, Write as _};

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use super::source::{Excerpt, Place, Source};
use crate::types::error::{Code, Problem};

/// How many errors are kept; the rest is counted.
pub(super) const MOST: usize = 100;
/// Longest part of a source line that is shown, in characters.
const LONGEST_LINE: usize = 120;

/// All errors of a config. Never empty when it is returned as an error.
#[derive(Debug, Clone, Default)]
pub struct Problems {
    pub(super) sources: Vec<Source>,
    pub(super) list: Vec<Entry>,
    pub(super) omitted: usize,
}

/// One error, with its place as an offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) code: Code,
    pub(super) place: Option<Place>,
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

/// One error of a config, with its place as an editor wants it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Its code.
    pub code: Code,
    /// The file; absent when the error belongs to no place in one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Line, from 1; 0 without a place.
    pub line: usize,
    /// Column in characters, from 1; 0 without a place.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Problems {
    /// The errors in the order of the files.
    #[must_use]
    pub fn findings(&self) -> Vec<Finding> {
        self.list.iter().map(|entry| self.finding(entry)).collect()
    }

    /// How many errors there are, with those beyond the ones that are listed.
    #[must_use]
    pub fn count(&self) -> usize {
        self.list.len() + self.omitted
    }

    /// The code of the first error.
    #[must_use]
    pub fn code(&self) -> Code {
        self.list.first().map_or(Code::InvalidValue, |entry| entry.code)
    }

    /// Every error with its line, a caret and a hint, for a terminal.
    #[must_use]
    pub fn render(&self, color: bool) -> String {
        let paint = Paint::new(color);
        let mut text = String::new();
        for entry in &self.list {
            self.render_entry(entry, paint, &mut text);
        }
        let count = self.count();
        let _ = write!(text, "{count} error{}", if count == 1 { "" } else { "s" });
        if self.omitted > 0 {
            let _ = write!(text, ", the first {} are shown", self.list.len());
        }
        text.push('\n');
        text
    }

    fn finding(&self, entry: &Entry) -> Finding {
        let place = entry.place.map(|place| {
            let source = &self.sources[place.file];
            let excerpt = source.excerpt(place);
            (source.shown.clone(), excerpt.number, excerpt.column())
        });
        let (file, line, column) = match place {
            Some((file, line, column)) => (Some(file), line, column),
            None => (None, 0, 0),
        };
        let (message, hint) = (entry.message.clone(), entry.hint.clone());
        Finding { code: entry.code, file, line, column, message, hint }
    }

    fn render_entry(&self, entry: &Entry, paint: Paint, text: &mut String) {
        let Paint { bold, red } = paint;
        let finding = self.finding(entry);
        let head = format!("{red}error[{}]{red:#}", entry.code);
        let Some(place) = entry.place else {
            let _ = writeln!(text, "{head}: {bold}{}{bold:#}", entry.message);
            if let Some(hint) = &entry.hint {
                let _ = writeln!(text, "  hint: {hint}");
            }
            text.push('\n');
            return;
        };
        let excerpt = self.sources[place.file].excerpt(place);
        let (line, before, marked) = window(excerpt);
        let number = finding.line.to_string();
        let margin = " ".repeat(number.len());
        let _ = writeln!(
            text,
            "{bold}{}:{}:{}{bold:#}: {head}: {bold}{}{bold:#}",
            finding.file.as_deref().unwrap_or_default(),
            finding.line,
            finding.column,
            entry.message
        );
        let _ = writeln!(text, " {number} | {line}");
        let _ =
            write!(text, " {margin} | {}{red}{}{red:#}", " ".repeat(before), "^".repeat(marked));
        if let Some(hint) = &entry.hint {
            let _ = write!(text, " {hint}");
        }
        text.push_str("\n\n");
    }
}

impl Finding {
    /// `file:line:column: message`, the place left out when there is none.
    fn sentence(&self) -> String {
        match &self.file {
            Some(file) => format!("{file}:{}:{}: {}", self.line, self.column, self.message),
            None => self.message.clone(),
        }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.render(false).trim_end())
    }
}

impl std::error::Error for Problems {}

impl From<&Problems> for Vec<Problem> {
    fn from(problems: &Problems) -> Self {
        let problem = |finding: Finding| Problem {
            code: finding.code,
            message: finding.sentence(),
            hint: finding.hint,
        };
        problems.findings().into_iter().map(problem).collect()
    }
}

impl From<Problems> for Vec<Problem> {
    fn from(problems: Problems) -> Self {
        (&problems).into()
    }
}

#[derive(Debug, Clone, Copy)]
struct Paint {
    bold: Style,
    red: Style,
}

impl Paint {
    fn new(color: bool) -> Self {
        if !color {
            return Self { bold: Style::new(), red: Style::new() };
        }
        Self { bold: Style::new().bold(), red: AnsiColor::Red.on_default().bold() }
    }
}

/// The part of the line around the marked stretch that fits, how much of it stands before the stretch, and how
/// long the stretch is, in characters. Control characters are replaced: a config must not move the cursor.
fn window(excerpt: Excerpt<'_>) -> (String, usize, usize) {
    let before = excerpt.line[..excerpt.start].chars().count();
    let marked = excerpt.line[excerpt.start..excerpt.end].chars().count();
    let skip = if before > LONGEST_LINE * 2 / 3 { before - LONGEST_LINE / 3 } else { 0 };
    let mut shown: String =
        excerpt.line.chars().skip(skip).take(LONGEST_LINE).map(visible).collect();
    if excerpt.line.chars().nth(skip + LONGEST_LINE).is_some() {
        shown.push('…');
    }
    let prefix = if skip > 0 { "…" } else { "" };
    let before = before - skip;
    let marked = marked.min(LONGEST_LINE.saturating_sub(before)).max(1);
    (format!("{prefix}{shown}"), before + prefix.chars().count(), marked)
}

fn visible(character: char) -> char {
    match character {
        '\t' => ' ',
        _ if character.is_control() => '\u{fffd}',
        _ => character,
    }
}

/// Text of the user as messages show it: in backticks, one line, not too long.
pub(super) fn quote(text: &str) -> String {
    let mut shown: String = text.chars().take(80).map(visible).collect();
    if text.chars().nth(80).is_some() {
        shown.push('…');
    }
    format!("`{shown}`")
}

/// `` `a`, `b` or `c` ``.
pub(super) fn one_of<'w>(words: impl IntoIterator<Item = &'w str>) -> String {
    let words: Vec<String> = words.into_iter().map(|word| format!("`{word}`")).collect();
    match words.split_last() {
        None => String::new(),
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
    }
}
