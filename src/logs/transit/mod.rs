//! Where bytes are between a pipe and a log: in a file, so that a cafe that is killed loses none and doubles none.
//!
//! A read is five steps: a [`Record`] says whose bytes come and where their lines will go; `splice(2)` moves bytes from
//! the pipe behind it, and the size of the file is what was taken, whenever cafe is killed; the lines are written to the
//! log; the new unfinished line is [remembered](unfinished); the file is emptied. The next cafe frames what it finds
//! there once more, and appends what is missing of it. Nothing is synced: a kill leaves the page cache alone.
//!
//! What a log file does not take yet keeps its file of transit, and the next read gets a new one.

pub(super) mod record;
pub(super) mod unfinished;

use std::cell::Cell;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{SpliceFFlags, splice};

use self::record::{Head, Position, Record};
use super::kill;

/// No file of transit is larger: a record and one read.
const LARGEST: u64 = 1 << 20;

/// The files of transit of one pump.
#[derive(Debug)]
pub(super) struct Transit {
    /// None: this pump goes without.
    directory: Option<PathBuf>,
    /// The next file to be made.
    next: u64,
    /// Empty, for the next read.
    spare: Option<Chunk>,
    /// Of the read that is under way.
    pub(super) current: Option<Chunk>,
    /// Whether its lines, or some of them, wait for a file that cannot be written.
    pub(super) held: bool,
    /// Whether it was said that it cannot be used.
    told: bool,
    scratch: Vec<u8>,
}

/// One file of transit.
#[derive(Debug)]
pub(super) struct Chunk {
    /// Closed while its lines wait: a full disk would otherwise cost as many descriptors as there are services.
    file: Option<File>,
    path: PathBuf,
    /// Length of the record.
    record: u64,
    /// Bytes of its lines that are written.
    done: Cell<u64>,
}

/// A file of transit that an earlier pump left, with something in it.
#[derive(Debug)]
pub(super) struct Left {
    pub(super) chunk: Chunk,
    pub(super) record: Record<'static>,
    pub(super) position: Position,
    /// Whether the state of its stream is that after it already.
    pub(super) held: bool,
    /// What was taken from the pipe.
    pub(super) bytes: Vec<u8>,
}

impl Transit {
    /// Opens the directory; also gives what an earlier pump left there, oldest first. Without a directory, or one that
    /// cannot be used, the pump goes without.
    pub(super) fn open(directory: Option<PathBuf>) -> (Self, Vec<Left>) {
        let mut transit = Self {
            directory,
            next: 1,
            spare: None,
            current: None,
            held: false,
            told: false,
            scratch: Vec::new(),
        };
        let Some(directory) = transit.directory.clone() else { return (transit, Vec::new()) };
        match transit.find(&directory) {
            Ok(left) => (transit, left),
            Err(error) => {
                transit.cannot(&error);
                transit.directory = None;
                (transit, Vec::new())
            }
        }
    }

    fn find(&mut self, directory: &Path) -> io::Result<Vec<Left>> {
        // Services print secrets.
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let mut numbers = Vec::new();
        for entry in fs::read_dir(directory)? {
            let name = entry?.file_name();
            numbers.extend(name.to_str().and_then(|name| name.parse::<u64>().ok()));
        }
        numbers.sort_unstable();
        self.next = numbers.last().map_or(1, |last| last.saturating_add(1));
        let mut found = Vec::new();
        for path in numbers.iter().map(|number| directory.join(number.to_string())) {
            match left(&path) {
                Ok(Some(left)) => found.push(left),
                Ok(None) => fs::remove_file(&path)?,
                Err(error) => put_aside(&path, &error.to_string()),
            }
        }
        Ok(found)
    }

    /// Says whose bytes come, and where their lines go. Returns whether that stands in a file now.
    pub(super) fn begin(&mut self, record: &Record<'_>, position: Position) -> bool {
        self.held = false;
        let Some(directory) = &self.directory else { return false };
        let made = match self.spare.take() {
            Some(chunk) => Ok(chunk),
            None => make(directory.join(self.next.to_string())).inspect(|_| self.next += 1),
        };
        let begun = made.and_then(|mut chunk| {
            kill::point();
            record.encode(position, &mut self.scratch);
            chunk.record = self.scratch.len() as u64;
            chunk.done.set(0);
            let written = chunk.file().and_then(|file| file.write_all_at(&self.scratch, 0));
            self.current = Some(chunk);
            written
        });
        kill::point();
        match begun {
            Ok(()) => true,
            Err(error) => {
                self.cannot(&error);
                self.commit();
                false
            }
        }
    }

    /// Moves at most `most` bytes from a pipe behind the record. Returns how many; 0 when it is empty.
    ///
    /// # Errors
    /// When this file cannot be used; nothing was moved then.
    pub(super) fn take(&mut self, pipe: impl AsFd, most: usize) -> Result<usize, Errno> {
        let Some(chunk) = &self.current else { return Err(Errno::EBADF) };
        let mut place = i64::try_from(chunk.record).unwrap_or(i64::MAX);
        let flags = SpliceFFlags::SPLICE_F_NONBLOCK | SpliceFFlags::SPLICE_F_MOVE;
        let Some(file) = &chunk.file else { return Err(Errno::EBADF) };
        let moved = match splice(pipe, None, file, Some(&mut place), most, flags) {
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(0),
            Err(errno) => {
                if matches!(errno, Errno::EINVAL | Errno::ENOSYS | Errno::EOPNOTSUPP) {
                    // A file system without it: so it will be the next time.
                    self.directory = None;
                }
                self.cannot(&errno.into());
                Err(errno)
            }
            moved => moved.inspect(|_| self.told = false),
        };
        kill::point();
        moved
    }

    /// What was moved, into `input`, which has its length.
    pub(super) fn bytes(&self, input: &mut [u8]) -> io::Result<()> {
        let Some(chunk) = &self.current else { return Ok(()) };
        chunk.file()?.read_exact_at(input, chunk.record)
    }

    /// The lines are written, and the unfinished one is remembered: all that is in the file is done with.
    pub(super) fn commit(&mut self) {
        let Some(chunk) = self.current.take() else { return };
        kill::point();
        match chunk.file().and_then(|file| file.set_len(0)) {
            Ok(()) => self.spare = Some(chunk),
            // What stands there would be written once more by the next cafe.
            Err(_) => chunk.remove(),
        }
        kill::point();
    }

    /// The lines wait for a file that cannot be written: the file is kept until they are, and the next read gets another.
    pub(super) fn keep(&mut self) -> Option<Chunk> {
        let mut chunk = self.current.take()?;
        chunk.hold();
        Some(chunk)
    }

    /// Leaves what cannot be read now to the next cafe.
    pub(super) fn leave(&mut self) {
        self.current = None;
    }

    fn cannot(&mut self, error: &io::Error) {
        if self.directory.is_some() && !std::mem::replace(&mut self.told, true) {
            tracing::warn!(%error, "log lines just read are kept in memory alone: they do not survive a kill of cafe");
        }
    }
}

impl Chunk {
    /// So many bytes of its lines are written.
    pub(super) fn wrote(&self, count: usize) {
        self.done.set(self.done.get() + count as u64);
    }

    /// Its lines wait, while what is unfinished after it is remembered already.
    pub(super) fn hold(&mut self) {
        kill::point();
        if let Err(error) = self.put(&[1], record::HELD) {
            tracing::warn!(%error, "cannot say that log lines wait: after a kill of cafe some may be there twice");
        }
        kill::point();
        self.file = None;
    }

    /// As many were written by an earlier pump.
    pub(super) fn set_done(&self, done: u64) {
        self.done.set(done);
    }

    /// What is written next goes to byte `base` of this file; said before it is.
    pub(super) fn goes_to(&self, device: u64, inode: u64, base: u64) {
        kill::point();
        let position = Position { done: self.done.get(), device, inode, base };
        if let Err(error) = self.put(&position.encode(), record::POSITION) {
            tracing::warn!(%error, "cannot say where log lines go: after a kill of cafe some may be there twice");
        }
        kill::point();
    }

    fn put(&self, bytes: &[u8], place: u64) -> io::Result<()> {
        match &self.file {
            Some(file) => file.write_all_at(bytes, place),
            None => File::options().write(true).open(&self.path)?.write_all_at(bytes, place),
        }
    }

    fn file(&self) -> io::Result<&File> {
        self.file.as_ref().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Kept under another name, for people to look at.
    pub(super) fn put_aside(&self, why: &str) {
        put_aside(&self.path, why);
    }

    /// It is done with for good.
    pub(super) fn remove(self) {
        kill::point();
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove");
        }
        kill::point();
    }
}

fn make(path: PathBuf) -> io::Result<Chunk> {
    let mut options = OpenOptions::new();
    // Not for appending: `splice(2)` refuses that.
    options.read(true).write(true).create(true).truncate(true).mode(0o600);
    let file = options.open(&path)?;
    Ok(Chunk { file: Some(file), path, record: 0, done: Cell::new(0) })
}

/// What stands in a file of transit; nothing, when no bytes were taken.
fn left(path: &Path) -> io::Result<Option<Left>> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    let mut bytes = vec![0; usize::try_from(size.min(LARGEST)).unwrap_or_default()];
    file.read_exact_at(&mut bytes, 0)?;
    let Head::Whole { record, position, held, length } = record::decode(&bytes)? else {
        return Ok(None);
    };
    if size > LARGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is larger than a read can be"));
    }
    let head = usize::try_from(length).unwrap_or(bytes.len());
    bytes.drain(..head);
    if bytes.is_empty() && record.operation == record::Operation::Push {
        return Ok(None);
    }
    let chunk = Chunk { file: None, path: path.to_owned(), record: length, done: Cell::new(0) };
    Ok(Some(Left { chunk, record: *record, position, held, bytes }))
}

fn put_aside(path: &Path, why: &str) {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".unused");
    tracing::warn!(path = %path.display(), why, "cannot be used, put aside: log lines may be in it");
    if let Err(error) = fs::rename(path, &aside) {
        tracing::warn!(path = %path.display(), %error, "cannot be put aside");
    }
}
