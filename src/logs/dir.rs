//! Names of log files. `<dir>/<service>/current` is written to; full ones become archives beside it.
//!
//! `0000000042.20261120T182001.114523Z.20261120T183001.000001Z.log.gz` is the 42nd file of its service, with the
//! stamps of its first and last line. The number orders files even when the clock stepped; within one file, stamps
//! never go back. An archive is written as `.log`, then compressed to `.log.gz` by way of a `.tmp` name.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::line::{self, Micros};
use crate::types::name::Name;

/// The file that is written to.
pub const CURRENT: &str = "current";

/// A file that is being made; worthless after a crash.
pub(super) const TEMPORARY: &str = ".tmp";

/// A full log file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// Position among the files of its service, from 1.
    pub sequence: u64,
    /// Stamp of its first line.
    pub first: Micros,
    /// Stamp of its last line.
    pub last: Micros,
    /// Whether it is compressed.
    pub gzip: bool,
}

impl Archive {
    /// Its name.
    #[must_use]
    pub fn file_name(&self) -> String {
        let suffix = if self.gzip { ".gz" } else { "" };
        let (first, last) = (compact(self.first), compact(self.last));
        format!("{:010}.{first}.{last}.log{suffix}", self.sequence)
    }

    /// Reads a name; `None` for files that are no archives.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let (stem, gzip) = match name.strip_suffix(".gz") {
            Some(stem) => (stem, true),
            None => (name, false),
        };
        let (sequence, stamps) = stem.strip_suffix(".log")?.split_once('.')?;
        let (first, last) = stamps.split_at_checked(COMPACT)?;
        Some(Self {
            sequence: sequence.parse().ok()?,
            first: expand(first)?,
            last: expand(last.strip_prefix('.')?)?,
            gzip,
        })
    }
}

/// The archives of one service, oldest first. A file that is there compressed and not, is listed once: compressed.
///
/// # Errors
/// When the directory cannot be read; a missing one is empty.
pub fn archives(directory: &Path) -> io::Result<Vec<Archive>> {
    let mut found = Vec::new();
    for name in names(directory)? {
        found.extend(Archive::parse(&name));
    }
    found.sort_by_key(|archive: &Archive| (archive.sequence, !archive.gzip));
    found.dedup_by_key(|archive| archive.sequence);
    Ok(found)
}

/// The services that have logs, by name.
///
/// # Errors
/// When the directory cannot be read; a missing one is empty.
pub fn services(root: &Path) -> io::Result<Vec<Name>> {
    let mut found: Vec<Name> =
        names(root)?.into_iter().filter_map(|name| name.parse().ok()).collect();
    found.sort();
    Ok(found)
}

/// Where the logs of a service are.
#[must_use]
pub fn of(root: &Path, service: &Name) -> PathBuf {
    root.join(service.as_str())
}

/// Names in a directory that are UTF-8, as all of ours are.
pub(super) fn names(directory: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        found.extend(entry?.file_name().into_string());
    }
    Ok(found)
}

/// Length of `20261120T182001.114523Z`.
const COMPACT: usize = line::STAMP - 4;

fn compact(at: Micros) -> String {
    let stamp = line::stamp(at);
    stamp.iter().filter(|byte| !matches!(byte, b'-' | b':')).map(|&byte| char::from(byte)).collect()
}

fn expand(text: &str) -> Option<Micros> {
    if text.len() != COMPACT || !text.is_ascii() {
        return None;
    }
    let (date, time) = text.split_once('T')?;
    let full = format!(
        "{}-{}-{}T{}:{}:{}",
        date.get(..4)?,
        date.get(4..6)?,
        date.get(6..)?,
        time.get(..2)?,
        time.get(2..4)?,
        time.get(4..)?
    );
    line::parse_stamp(full.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::{Archive, archives};

    fn archive(sequence: u64, gzip: bool) -> Archive {
        Archive { sequence, first: 1_700_000_000_000_001, last: 1_700_000_099_999_999, gzip }
    }

    #[test]
    fn names_survive() {
        for gzip in [false, true] {
            let archive = archive(42, gzip);
            assert_eq!(Archive::parse(&archive.file_name()), Some(archive));
        }
        let plain = archive(42, false).file_name();
        assert_eq!(plain, "0000000042.20231114T221320.000001Z.20231114T221459.999999Z.log");
        for foreign in
            ["current", "a.log", "1.2.3.log", "\u{e4}.log.gz", &format!("{plain}.gz.tmp")]
        {
            assert_eq!(Archive::parse(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn archives_are_listed_once_in_order() {
        let directory = tempfile::tempdir().expect("temporary directory");
        for archive in [archive(10, false), archive(9, true), archive(9, false)] {
            std::fs::write(directory.path().join(archive.file_name()), "").expect("writes");
        }
        std::fs::write(directory.path().join("notes.txt"), "").expect("writes");
        let found = archives(directory.path()).expect("lists");
        assert_eq!(found, [archive(9, true), archive(10, false)]);
        assert_eq!(archives(&directory.path().join("none")).expect("empty"), []);
    }
}
