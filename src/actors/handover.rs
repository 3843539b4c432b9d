//! All that one image of cafe leaves to the next when it becomes another program in place (`cafe upgrade`).
//!
//! A line of ASCII that never changes its form, so that every version can say what it has before it: the format, the
//! version of cafe that wrote it, the length of what follows. Then JSON.

use std::os::fd::RawFd;
use std::path::PathBuf;
use std::time::Instant;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::control::door;
use super::{bus, listeners, services};
use crate::logs;
use crate::os::clock::{self, Moment};
use crate::types::status::Upgrade;

/// Format of what follows the first line. Fields may come, each with a default; anything else makes it another number.
pub(crate) const FORMAT: u32 = 1;

/// The first word.
const MAGIC: &str = "cafe-state";

/// Longest first line.
const HEAD: usize = 200;

/// The whole of it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct State {
    /// When this image began to be still.
    pub(crate) stilled: Moment,
    /// The version of the program that is to go on.
    pub(crate) candidate: String,
    /// The descriptors that are handed on.
    pub(crate) descriptors: Vec<RawFd>,
    /// The program of the image that wrote this, to go back to.
    pub(crate) program: (RawFd, PathBuf),
    /// Why the file on disk is not in force.
    pub(crate) config_error: Option<String>,
    pub(crate) since: Timestamp,
    #[serde(with = "clock::instant")]
    pub(crate) started: Instant,
    /// How often it became another program.
    pub(crate) upgrades: u64,
    pub(crate) last_upgrade: Option<Upgrade>,
    pub(crate) lock: RawFd,
    pub(crate) control: door::Record,
    pub(crate) listeners: Vec<listeners::Record>,
    pub(crate) services: services::Record,
    pub(crate) logs: Vec<LogRecord>,
    /// Last, as everything before may be told.
    pub(crate) bus: bus::Record,
}

/// What the log pump knows of a service.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LogRecord {
    pub(crate) state: logs::SuspendedState,
    /// Read ends of its pipes.
    pub(crate) pipes: Option<[RawFd; 2]>,
}

/// Why a state cannot be gone on with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// It is something else.
    #[error("this is not the state of a cafe")]
    Foreign,
    /// Of a later cafe, or of one too old.
    #[error("the state is of format {found}, written by cafe {version}, and this is cafe {own}, which reads format {FORMAT}", own = env!("CARGO_PKG_VERSION"))]
    Format { found: u32, version: String },
    /// The end of it is missing.
    #[error("the state is cut short: {found} of {expected} bytes")]
    Short { found: usize, expected: usize },
    /// It says what it cannot say.
    #[error("the state cannot be understood")]
    Invalid(#[from] serde_json::Error),
}

/// Who wrote a state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Author {
    pub(crate) version: String,
}

impl State {
    /// Notes which descriptors are in it.
    pub(crate) fn list_descriptors(&mut self) {
        let logs = self.logs.iter().filter_map(|log| log.pipes).flatten();
        let listeners = self.listeners.iter().filter_map(listeners::Record::descriptor);
        let own = [self.program.0, self.lock, self.control.descriptor()];
        let all = own.into_iter().chain(logs).chain(listeners).chain(self.services.descriptors());
        self.descriptors = all.collect();
        self.descriptors.sort_unstable();
        self.descriptors.dedup();
    }

    /// As bytes.
    ///
    /// # Errors
    /// Never of what cafe itself made; a map with keys that are no text.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, Error> {
        let body = serde_json::to_vec(self)?;
        let head = format!("{MAGIC} {FORMAT} {} {}\n", env!("CARGO_PKG_VERSION"), body.len());
        Ok([head.into_bytes(), body].concat())
    }

    /// Reads what another image wrote.
    ///
    /// # Errors
    /// When this one cannot go on with it.
    pub(crate) fn decode(bytes: &[u8]) -> Result<(Self, Author), Error> {
        let (author, body) = open(bytes)?;
        Ok((serde_json::from_slice(body)?, author))
    }
}

fn open(bytes: &[u8]) -> Result<(Author, &[u8]), Error> {
    let end = bytes.iter().take(HEAD).position(|&byte| byte == b'\n').ok_or(Error::Foreign)?;
    let head = std::str::from_utf8(&bytes[..end]).map_err(|_| Error::Foreign)?;
    let words: Vec<&str> = head.split(' ').collect();
    let &[MAGIC, format, version, length] = words.as_slice() else { return Err(Error::Foreign) };
    let found = format.parse().map_err(|_| Error::Foreign)?;
    let expected: usize = length.parse().map_err(|_| Error::Foreign)?;
    let version = version.to_owned();
    if found != FORMAT {
        return Err(Error::Format { found, version });
    }
    let body = &bytes[end + 1..];
    if body.len() != expected {
        return Err(Error::Short { found: body.len(), expected });
    }
    Ok((Author { version }, body))
}

#[cfg(test)]
mod tests {
    use super::{Error, open};

    #[test]
    fn what_is_no_state_is_told_from_what_is_another_version_and_what_is_cut() {
        assert!(open(b"cafe-state 1 0.1.0 2\n{}").is_ok());
        for foreign in
            [&b""[..], b"\x7fELF", b"cafe-state 1 0.1.0\n{}", b"cafe-state one 0.1.0 2\n{}"]
        {
            assert!(matches!(open(foreign), Err(Error::Foreign)), "{foreign:?}");
        }
        let newer = open(b"cafe-state 2 9.0.0 2\n{}").expect_err("another format");
        assert!(newer.to_string().contains("format 2, written by cafe 9.0.0"), "{newer}");
        let cut = open(b"cafe-state 1 0.1.0 200\n{}").expect_err("cut");
        assert!(matches!(cut, Error::Short { found: 2, expected: 200 }));
    }
}
