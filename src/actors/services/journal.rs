//! Which processes run, on disk: what the next cafe reads after this one was killed.
//!
//! One append per start and end (`write(2)` of one line), rewritten when it grows. Never synced: a power
//! cut ends the processes too, and the boot id in the first line makes a stale journal recognisable.
//!
//! ```text
//! cafe-running 1 <boot id>
//! + web 3 812 190213 2026-11-20T18:20:01.114523Z     seat generation pid start-time since
//! + web+ 4 840 190801 2026-11-20T18:20:07.001402Z    started beside it
//! * web+ 4                                           is up, and the other one is to end
//! - web 3
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;

use crate::os::process::Child;
use crate::types::name::Name;
use crate::types::seat::Seat;

/// Lines after which the journal is rewritten with only what runs.
const REWRITE_AFTER: usize = 20_000;

/// The journal of running processes.
#[derive(Debug)]
pub(super) struct Journal {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    boot_id: String,
    file: File,
    lines: usize,
    running: BTreeMap<Seat, Entry>,
}

/// A process that ran when the journal was last written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) generation: u64,
    pub(super) pid: u32,
    /// Clock ticks since boot, field 22 of `/proc/PID/stat`: pid and start time name one process.
    pub(super) start_time: u64,
    pub(super) since: Timestamp,
    /// It was started beside another one, and has taken its place.
    pub(super) took_over: bool,
}

impl Journal {
    /// Reads what the last cafe left, and begins a new journal with it.
    ///
    /// # Errors
    /// When the file cannot be read or written. Lines that are no entries are passed over: the last
    /// one may be torn.
    pub(super) fn open(path: &Path, boot_id: &str) -> io::Result<Self> {
        let found = match fs::read(path) {
            Ok(bytes) => parse(&String::from_utf8_lossy(&bytes), boot_id),
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error),
        };
        let file = rewrite(path, boot_id, &found).or_else(|error| go_on(path, &error))?;
        let inner = Inner {
            path: path.to_owned(),
            boot_id: boot_id.to_owned(),
            file,
            lines: found.len(),
            running: found,
        };
        Ok(Self { inner: Mutex::new(inner) })
    }

    /// What runs, by seat.
    pub(super) fn running(&self) -> BTreeMap<Seat, Entry> {
        self.lock().running.clone()
    }

    /// What runs of one service.
    pub(super) fn entries(&self, name: &Name) -> Vec<(Seat, Entry)> {
        let inner = self.lock();
        let entries = Seat::both(name).into_iter();
        entries.filter_map(|seat| Some((seat.clone(), inner.running.get(&seat)?.clone()))).collect()
    }

    /// A process in a seat exists.
    pub(super) fn began(&self, seat: &Seat, generation: u64, child: &Child, since: Timestamp) {
        let (pid, start_time) = (child.pid(), child.start_time());
        let mut inner = self.lock();
        let before = inner.running.get(seat).filter(|before| before.generation == generation);
        let took_over = before.is_some_and(|before| before.took_over);
        let entry = Entry { generation, pid, start_time, since, took_over };
        let line = lines_of(seat, &entry);
        inner.running.insert(seat.clone(), entry);
        inner.append(&line);
    }

    /// It is up, and takes the place of the one beside it.
    pub(super) fn took_over(&self, seat: &Seat, generation: u64) {
        let mut inner = self.lock();
        if let Some(entry) = inner.running.get_mut(seat) {
            entry.took_over = true;
            inner.append(&format!("* {seat} {generation}\n"));
        }
    }

    /// Nothing of it is left.
    pub(super) fn ended(&self, seat: &Seat, generation: u64) {
        let mut inner = self.lock();
        if inner.running.remove(seat).is_some() {
            inner.append(&format!("- {seat} {generation}\n"));
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        // Both the map and the file stay usable after a panic between their two updates.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn append(&mut self, line: &str) {
        self.lines += 1;
        let written = if self.lines > REWRITE_AFTER {
            self.lines = self.running.len();
            rewrite(&self.path, &self.boot_id, &self.running).map(|file| self.file = file)
        } else {
            self.file.write_all(line.as_bytes())
        };
        if let Err(error) = written {
            tracing::warn!(path = %self.path.display(), %error, "journal of running processes not written");
        }
    }
}

fn rewrite(path: &Path, boot_id: &str, running: &BTreeMap<Seat, Entry>) -> io::Result<File> {
    let temporary = path.with_extension("new");
    let mut text = format!("cafe-running 1 {boot_id}\n");
    for (seat, entry) in running {
        text.push_str(&lines_of(seat, entry));
    }
    fs::write(&temporary, text)?;
    fs::rename(&temporary, path)?;
    OpenOptions::new().append(true).open(path)
}

/// Without room for another one, the old file goes on: what runs must be known, above all when the disk is full.
fn go_on(path: &Path, error: &io::Error) -> io::Result<File> {
    tracing::warn!(path = %path.display(), %error, "journal of running processes not rewritten");
    // It may have been made, and have no room for what is in it.
    let _ = fs::remove_file(path.with_extension("new"));
    OpenOptions::new().append(true).create(true).open(path)
}

fn lines_of(seat: &Seat, entry: &Entry) -> String {
    let Entry { generation, pid, start_time, since, took_over } = entry;
    let mut lines = format!("+ {seat} {generation} {pid} {start_time} {since}\n");
    if *took_over {
        lines.push_str(&format!("* {seat} {generation}\n"));
    }
    lines
}

fn parse(text: &str, boot_id: &str) -> BTreeMap<Seat, Entry> {
    let mut running = BTreeMap::new();
    let mut lines = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
    if lines.next() != Some(&format!("cafe-running 1 {boot_id}")) {
        return running;
    }
    for line in lines {
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["+", seat, generation, pid, start_time, since] => {
                let entry = || {
                    Some(Entry {
                        generation: generation.parse().ok()?,
                        pid: pid.parse().ok()?,
                        start_time: start_time.parse().ok()?,
                        since: since.parse().ok()?,
                        took_over: false,
                    })
                };
                if let (Ok(seat), Some(entry)) = (seat.parse::<Seat>(), entry()) {
                    running.insert(seat, entry);
                }
            }
            ["*", seat, _] => {
                let known = seat.parse().ok().and_then(|seat: Seat| running.get_mut(&seat));
                known.into_iter().for_each(|entry| entry.took_over = true);
            }
            ["-", seat, _] => {
                seat.parse().ok().and_then(|seat: Seat| running.remove(&seat));
            }
            _ => {}
        }
    }
    running
}

#[cfg(test)]
mod tests {
    use super::{Journal, parse};

    const TEXT: &str = "cafe-running 1 boot\n\
        + web 3 812 190213 2026-11-20T18:20:01.114523Z\n\
        + db 1 800 190200 2026-11-20T18:20:00Z\n\
        - db 1\n\
        + api 1 820 190300 2026-11-20T18:20:02Z\n\
        + api+ 2 830 190400 2026-11-20T18:20:03Z\n\
        * api+ 2\n\
        nonsense\n\
        + torn 1 900 19";

    #[test]
    fn what_began_and_did_not_end_is_running() {
        let running = parse(TEXT, "boot");
        let found: Vec<_> = running
            .iter()
            .map(|(seat, entry)| (seat.to_string(), entry.pid, entry.took_over))
            .collect();
        let expected = [("api", 820, false), ("api+", 830, true), ("web", 812, false)];
        assert_eq!(found, expected.map(|(seat, pid, current)| (seat.to_owned(), pid, current)));
    }

    #[test]
    fn another_boot_left_nothing() {
        assert!(parse(TEXT, "other").is_empty());
    }

    #[test]
    fn the_next_cafe_finds_what_this_one_wrote() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("running");
        std::fs::write(&path, TEXT).expect("writes");
        let journal = Journal::open(&path, "boot").expect("opens");
        assert_eq!(journal.running(), parse(TEXT, "boot"));
        for (seat, generation) in [("web", 3), ("api", 1)] {
            journal.ended(&seat.parse().expect("a seat"), generation);
        }
        drop(journal);
        let journal = Journal::open(&path, "boot").expect("opens again");
        let left = journal.entries(&"api".parse().expect("a name"));
        assert_eq!(journal.running().len(), 1);
        assert!(matches!(&left[..], [(seat, entry)] if seat.second && entry.took_over));
    }
}
