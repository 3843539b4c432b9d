//! The files of one service: appends lines to `current`, rotates it when full. Blocking; used by the pump thread only.
//!
//! A write that fails in the middle of a line leaves a torn line, which the retry completes: not a byte is lost or
//! written twice. After a crash, a torn last line is completed from the transit or, when it is not of lines that were
//! there, ended, so that the next begins a line of its own.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use memchr::{memchr, memrchr};

use super::archive::{self, Archiver};
use super::dir::{self, Archive};
use super::kill;
use super::line::{self, HEADER, MAX_PAYLOAD, Micros};
use super::transit::Chunk;
use super::transit::record::Position;
use crate::types::name::Name;

/// A clock that stepped back further than this starts a new file; smaller steps are hidden.
const CLOCK_STEP: Micros = 1_000_000;

/// Where a sink writes, and whose file it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) root: &'a Path,
    pub(super) service: &'a Name,
    pub(super) archiver: &'a Archiver,
    /// Largest size of a file, bytes; one line may be larger.
    pub(super) max_file: u64,
    pub(super) keep: u32,
    /// The transit of the lines that are written, to be told where they go.
    pub(super) chunk: Option<&'a Chunk>,
}

/// What is known of `current`.
#[derive(Debug, Default)]
pub(super) struct Sink {
    file: Option<File>,
    size: u64,
    /// Number of the current file; 0 until it was opened once.
    sequence: u64,
    first: Micros,
    last: Micros,
    /// Stamp of its last line, when the clock has stepped back since and `last` with it.
    last_before_step: Option<Micros>,
    /// Whether the last byte written is inside a line.
    torn: bool,
    /// Whether the next line goes to a new file.
    rotate: bool,
    /// Whether it was written to since this was last asked.
    used: bool,
    /// Whether a torn last line found in the file is to be completed by what is written next, rather than ended.
    completes: bool,
}

/// How far a write came before it failed.
#[derive(Debug)]
pub(super) struct Unwritten {
    pub(super) written: usize,
    pub(super) source: io::Error,
}

impl Sink {
    /// Opens `current` if it is not open, and puts in order what a crash left.
    pub(super) fn open(&mut self, place: Place<'_>) -> io::Result<()> {
        if self.file.is_some() {
            return Ok(());
        }
        let directory = dir::of(place.root, place.service);
        let file = open_or_make(&directory)?;
        let size = file.metadata()?.len();
        if self.sequence == 0 {
            self.sequence = next_sequence(&directory)?;
            self.recover(&file, size)?;
        } else if size != self.size {
            self.recover(&file, size)?;
        }
        self.file = Some(file);
        self.tell(place);
        Ok(())
    }

    /// Where the next byte goes.
    pub(super) fn position(&self) -> Position {
        let file = self.file.as_ref().and_then(|file| file.metadata().ok());
        file.map_or_else(Position::default, |file| Position {
            done: 0,
            device: file.dev(),
            inode: file.ino(),
            base: self.size,
        })
    }

    /// How many bytes of some lines are written, of which an earlier pump said that they go to `position`. A torn one
    /// among them is completed by what is written next. `None`: the file is another one, and somebody has written to it.
    pub(super) fn found(&mut self, place: Place<'_>, position: Position) -> Option<u64> {
        let path = dir::of(place.root, place.service).join(dir::CURRENT);
        // A file that is not there, or a new one, is not written to yet: its position would be known.
        let Ok(file) = std::fs::metadata(path) else { return Some(position.done) };
        let same =
            position.inode != 0 && (file.dev(), file.ino()) == (position.device, position.inode);
        let Some(written) = file.len().checked_sub(position.base).filter(|_| same) else {
            return (same || position.inode == 0 || file.len() == 0).then_some(position.done);
        };
        self.completes = true;
        Some(position.done + written)
    }

    /// Says in the transit where the next byte goes.
    fn tell(&self, place: Place<'_>) {
        if let Some(chunk) = place.chunk {
            let Position { device, inode, base, .. } = self.position();
            chunk.goes_to(device, inode, base);
        }
    }

    /// Whether the last byte written is inside a line.
    pub(super) fn is_torn(&self) -> bool {
        // Not looked at since it was said to be.
        self.torn || self.completes
    }

    /// What is written first completes the torn last line that the file ends in.
    pub(super) fn complete_torn(&mut self) {
        self.completes = true;
    }

    /// The stamp for lines read now: the clock, kept from going back within one file.
    pub(super) fn stamp(&mut self) -> Micros {
        let now = line::now();
        if now < self.last && self.last - now <= CLOCK_STEP {
            return self.last;
        }
        if now < self.last {
            self.rotate = true;
            self.last_before_step.get_or_insert(self.last);
        }
        self.last = now;
        self.last
    }

    /// Appends whole lines.
    pub(super) fn write(&mut self, place: Place<'_>, lines: &[u8]) -> Result<(), Unwritten> {
        let mut written = 0;
        while written < lines.len() {
            match self.write_some(place, &lines[written..]) {
                Ok(count) => written += count,
                Err(source) => {
                    // Reopened by the next try: the file system may be another one by then.
                    self.file = None;
                    return Err(Unwritten { written, source });
                }
            }
        }
        Ok(())
    }

    /// Makes the current file an archive now, unless it is empty or ends inside a line.
    pub(super) fn rotate_now(&mut self, place: Place<'_>) -> io::Result<()> {
        self.open(place)?;
        if self.torn { Ok(()) } else { self.rotate(place) }
    }

    pub(super) fn is_open(&self) -> bool {
        self.file.is_some()
    }

    /// Closes the file if nothing was written since the last call; says whether it did.
    pub(super) fn close_if_unused(&mut self) -> bool {
        if std::mem::take(&mut self.used) {
            return false;
        }
        self.file = None;
        true
    }

    fn write_some(&mut self, place: Place<'_>, lines: &[u8]) -> io::Result<usize> {
        self.open(place)?;
        if self.rotate && !self.torn {
            self.rotate(place)?;
            self.open(place)?;
        }
        let fitting = fitting(lines, self.size, place.max_file, self.torn);
        if fitting == 0 {
            self.rotate = true;
            return Ok(0);
        }
        let Some(file) = &mut self.file else { return Ok(0) };
        kill::point();
        let count = match kill::write(file, &lines[..fitting]) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(0),
            Err(error) => return Err(error),
        };
        kill::point();
        if let Some(chunk) = place.chunk {
            chunk.wrote(count);
        }
        if self.size == 0 {
            self.first = line::parse_stamp(lines).unwrap_or(self.last);
        }
        self.size += count as u64;
        self.torn = lines[count - 1] != b'\n';
        self.used = true;
        Ok(count)
    }

    fn rotate(&mut self, place: Place<'_>) -> io::Result<()> {
        self.rotate = false;
        if self.size == 0 {
            self.last_before_step = None;
            return Ok(());
        }
        let last = self.last_before_step.unwrap_or(self.last);
        let archive = Archive {
            sequence: self.sequence,
            first: self.first,
            last: last.max(self.first),
            gzip: false,
        };
        let directory = dir::of(place.root, place.service);
        self.tell(place);
        self.file = None;
        kill::point();
        match std::fs::rename(directory.join(dir::CURRENT), directory.join(archive.file_name())) {
            // Somebody deleted it: there is nothing to archive.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => {
                self.rotate = true;
                return Err(error);
            }
            // Here and not in the other thread, which a fast writer would outrun.
            Ok(()) => {
                kill::point();
                let pruned = archive::keep_newest(&directory, place.keep);
                if let Err(error) = pruned {
                    tracing::warn!(service = %place.service, %error, "cannot remove old logs");
                }
                place.archiver.rotated(place.service);
            }
        }
        self.sequence += 1;
        self.size = 0;
        self.last_before_step = None;
        Ok(())
    }

    /// Learns the state of a file from its bytes, and ends or removes a torn last line.
    fn recover(&mut self, file: &File, size: u64) -> io::Result<()> {
        (self.size, self.torn) = (size, false);
        if size == 0 {
            return Ok(());
        }
        let mut head = [0; HEADER];
        let length = file.read_at(&mut head, 0)?;
        let mut tail = vec![0; HEADER + MAX_PAYLOAD + 1];
        let start = size.saturating_sub(tail.len() as u64);
        let length_of_tail = file.read_at(&mut tail, start)?;
        tail.truncate(length_of_tail);
        let complete = memrchr(b'\n', &tail).map_or(0, |end| end + 1);
        let torn = &tail[complete..];
        if std::mem::take(&mut self.completes) {
            self.torn = !torn.is_empty();
        } else if line::parse(torn).is_some() || (complete == 0 && start > 0) {
            let mut file = file;
            file.write_all(b"\n")?;
            self.size += 1;
        } else if !torn.is_empty() {
            self.size -= torn.len() as u64;
            file.set_len(self.size)?;
        }
        let last_line = complete.checked_sub(1).and_then(|end| {
            let begin = memrchr(b'\n', &tail[..end]).map_or(0, |before| before + 1);
            line::parse_stamp(&tail[begin..end])
        });
        let last = line::parse_stamp(torn).or(last_line).unwrap_or_default();
        self.first = line::parse_stamp(&head[..length]).unwrap_or(last);
        self.last = self.last.max(last);
        Ok(())
    }
}

/// How many bytes of `lines` belong into a file of this size: whole lines, and at least the end of a torn one.
fn fitting(lines: &[u8], size: u64, max_file: u64, torn: bool) -> usize {
    let room = usize::try_from(max_file.saturating_sub(size)).unwrap_or(usize::MAX);
    if lines.len() <= room {
        return lines.len();
    }
    let whole = memrchr(b'\n', &lines[..room]).map_or(0, |end| end + 1);
    if whole == 0 && (torn || size == 0) {
        return memchr(b'\n', lines).map_or(lines.len(), |end| end + 1);
    }
    whole
}

fn open_or_make(directory: &Path) -> io::Result<File> {
    // Services print secrets: only cafe's user and group read their logs.
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true).mode(0o640);
    let path = directory.join(dir::CURRENT);
    match options.open(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            DirBuilder::new().recursive(true).mode(0o750).create(directory)?;
            options.open(&path)
        }
        opened => opened,
    }
}

fn next_sequence(directory: &Path) -> io::Result<u64> {
    Ok(dir::archives(directory)?.last().map_or(1, |archive| archive.sequence + 1))
}
