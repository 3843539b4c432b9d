//! All that one image of cafe leaves to the next when it becomes another program in place (`cafe upgrade`).
//!
//! A line of ASCII that never changes its form, so that every version can say what it has before it: the format, the
//! version of cafe that wrote it, the lengths of what follows. Then that: documents in JSON, read side by side, as
//! everything is still until they are.

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
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) rest: Rest,
    pub(crate) services: services::Record,
}

/// All but the services.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Rest {
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
        let rest = &self.rest;
        let logs = rest.logs.iter().filter_map(|log| log.pipes).flatten();
        let listeners = rest.listeners.iter().filter_map(listeners::Record::descriptor);
        let own = [rest.program.0, rest.lock, rest.control.descriptor()];
        let all = own.into_iter().chain(logs).chain(listeners).chain(self.services.descriptors());
        let mut descriptors: Vec<RawFd> = all.collect();
        descriptors.sort_unstable();
        descriptors.dedup();
        self.rest.descriptors = descriptors;
    }

    /// As bytes.
    ///
    /// # Errors
    /// Never of what cafe itself made; a map with keys that are no text.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, Error> {
        let (rest, wanted, known) = std::thread::scope(|scope| {
            let known = scope.spawn(|| serde_json::to_vec(&self.services.known));
            let rest = serde_json::to_vec(&self.rest);
            let wanted = serde_json::to_vec(&self.services.wanted);
            (rest, wanted, joined(known))
        });
        let parts = [rest?, wanted?, known?];
        let [rest, wanted, known] = parts.each_ref().map(Vec::len);
        let version = env!("CARGO_PKG_VERSION");
        let head = format!("{MAGIC} {FORMAT} {version} {rest} {wanted} {known}\n");
        Ok([head.as_bytes(), &parts.concat()].concat())
    }

    /// Reads what another image wrote.
    ///
    /// # Errors
    /// When this one cannot go on with it.
    pub(crate) fn decode(bytes: &[u8]) -> Result<(Self, Author), Error> {
        let (author, [rest, wanted, known]) = open(bytes)?;
        let (rest, wanted, known) = std::thread::scope(|scope| {
            let known = scope.spawn(|| serde_json::from_slice(known));
            (serde_json::from_slice(rest), serde_json::from_slice(wanted), joined(known))
        });
        let services = services::Record { wanted: wanted?, known: known? };
        Ok((Self { rest: rest?, services }, author))
    }
}

fn joined<T>(thread: std::thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// The parts of it.
fn open(bytes: &[u8]) -> Result<(Author, [&[u8]; 3]), Error> {
    let end = bytes.iter().take(HEAD).position(|&byte| byte == b'\n').ok_or(Error::Foreign)?;
    let head = std::str::from_utf8(&bytes[..end]).map_err(|_| Error::Foreign)?;
    let mut words = head.split(' ');
    let (magic, format, version) = (words.next(), words.next(), words.next());
    let (Some(MAGIC), Some(format), Some(version)) = (magic, format, version) else {
        return Err(Error::Foreign);
    };
    let found = format.parse().map_err(|_| Error::Foreign)?;
    let version = version.to_owned();
    if found != FORMAT {
        return Err(Error::Format { found, version });
    }
    let lengths: Result<Vec<usize>, _> = words.map(str::parse).collect();
    let lengths = lengths.map_err(|_| Error::Foreign)?;
    let &[rest, wanted, known] = lengths.as_slice() else { return Err(Error::Foreign) };
    let body = &bytes[end + 1..];
    let expected = rest.saturating_add(wanted).saturating_add(known);
    if body.len() != expected {
        return Err(Error::Short { found: body.len(), expected });
    }
    let (rest, services) = body.split_at(rest);
    let (wanted, known) = services.split_at(wanted);
    Ok((Author { version }, [rest, wanted, known]))
}

#[cfg(test)]
mod tests {
    use super::{Error, open};

    #[test]
    fn what_is_no_state_is_told_from_what_is_another_version_and_what_is_cut() {
        assert!(open(b"cafe-state 1 0.1.0 2 2 2\n{}{}{}").is_ok());
        for foreign in [
            &b""[..],
            b"\x7fELF",
            b"cafe-state 1 0.1.0 6\n{}{}{}",
            b"cafe-state one 0.1.0 2 2 2\n{}{}{}",
        ] {
            assert!(matches!(open(foreign), Err(Error::Foreign)), "{foreign:?}");
        }
        let newer = open(b"cafe-state 2 9.0.0 2\n{}").expect_err("another format");
        assert!(newer.to_string().contains("format 2, written by cafe 9.0.0"), "{newer}");
        let cut = open(b"cafe-state 1 0.1.0 200 2 2\n{}{}{}").expect_err("cut");
        assert!(matches!(cut, Error::Short { found: 6, expected: 204 }));
    }
}
