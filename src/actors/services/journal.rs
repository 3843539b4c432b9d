//! Which processes run, on disk: what the next cafe reads after this one was killed.
//!
//! One append per start and end (`write(2)` of one line), rewritten when it grows. Never synced: a power
//! cut ends the processes too, and the boot id in the first line makes a stale journal recognisable.
//!
//! ```text
//! cafe-running 1 <boot id>
//! + web 3 812 190213 2026-11-20T18:20:01.114523Z     name generation pid start-time since
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
    running: BTreeMap<Name, Entry>,
}

/// A process that ran when the journal was last written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) generation: u64,
    pub(super) pid: u32,
    /// Clock ticks since boot, field 22 of `/proc/PID/stat`: pid and start time name one process.
    pub(super) start_time: u64,
    pub(super) since: Timestamp,
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
        let file = rewrite(path, boot_id, &found)?;
        let inner = Inner {
            path: path.to_owned(),
            boot_id: boot_id.to_owned(),
            file,
            lines: found.len(),
            running: found,
        };
        Ok(Self { inner: Mutex::new(inner) })
    }

    /// What runs, by the name of its service.
    pub(super) fn running(&self) -> BTreeMap<Name, Entry> {
        self.lock().running.clone()
    }

    /// What runs of one service.
    pub(super) fn entry(&self, name: &Name) -> Option<Entry> {
        self.lock().running.get(name).cloned()
    }

    /// A process of a service exists.
    pub(super) fn began(&self, name: &Name, generation: u64, child: &Child, since: Timestamp) {
        let entry = Entry { generation, pid: child.pid(), start_time: child.start_time(), since };
        let line = line_of(name, &entry);
        let mut inner = self.lock();
        inner.running.insert(name.clone(), entry);
        inner.append(&line);
    }

    /// Nothing of it is left.
    pub(super) fn ended(&self, name: &Name, generation: u64) {
        let mut inner = self.lock();
        if inner.running.remove(name).is_some() {
            inner.append(&format!("- {name} {generation}\n"));
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

fn rewrite(path: &Path, boot_id: &str, running: &BTreeMap<Name, Entry>) -> io::Result<File> {
    let temporary = path.with_extension("new");
    let mut text = format!("cafe-running 1 {boot_id}\n");
    for (name, entry) in running {
        text.push_str(&line_of(name, entry));
    }
    fs::write(&temporary, text)?;
    fs::rename(&temporary, path)?;
    OpenOptions::new().append(true).open(path)
}

fn line_of(name: &Name, entry: &Entry) -> String {
    let Entry { generation, pid, start_time, since } = entry;
    format!("+ {name} {generation} {pid} {start_time} {since}\n")
}

fn parse(text: &str, boot_id: &str) -> BTreeMap<Name, Entry> {
    let mut running = BTreeMap::new();
    let mut lines = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
    if lines.next() != Some(&format!("cafe-running 1 {boot_id}")) {
        return running;
    }
    for line in lines {
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["+", name, generation, pid, start_time, since] => {
                let entry = || {
                    Some(Entry {
                        generation: generation.parse().ok()?,
                        pid: pid.parse().ok()?,
                        start_time: start_time.parse().ok()?,
                        since: since.parse().ok()?,
                    })
                };
                if let (Ok(name), Some(entry)) = (name.parse::<Name>(), entry()) {
                    running.insert(name, entry);
                }
            }
            ["-", name, _] => {
                running.remove(*name);
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
        nonsense\n\
        + torn 1 900 19";

    #[test]
    fn what_began_and_did_not_end_is_running() {
        let running = parse(TEXT, "boot");
        assert_eq!(running.keys().map(|name| name.as_str()).collect::<Vec<_>>(), ["web"]);
        assert_eq!(running["web"].pid, 812);
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
        assert_eq!(journal.running().len(), 1);
        journal.ended(&"web".parse().expect("a name"), 3);
        drop(journal);
        let journal = Journal::open(&path, "boot").expect("opens again");
        assert!(journal.running().is_empty());
    }
}
