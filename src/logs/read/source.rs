//! The lines of one service from some place on: through its archives into `current`, and on as it grows and rotates.
//!
//! A place is the number of a file and an offset in its uncompressed bytes, so nothing is lost or repeated when a file
//! is renamed or compressed between two reads. Plain files are opened anew for each read and never kept open.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use jiff::Timestamp;
use memchr::memchr;

use super::Line;
use super::filter::Filter;
use crate::logs::dir::{self, Archive};
use crate::logs::line::{self, HEADER, MAX_PAYLOAD, Micros, Parsed, STAMP, Stream};
use crate::types::name::Name;

/// A line cannot be longer; what is, is no line of cafe and is cut.
const LONGEST: usize = HEADER + MAX_PAYLOAD + 1;

/// Shown in place of files that were removed before they were read.
const GAP: &[u8] = b"lines were removed here before they could be read";

/// Where to begin.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Start {
    /// Number of the file.
    pub(super) sequence: u64,
    /// Uncompressed bytes to leave out.
    pub(super) offset: u64,
    /// Wanted lines to leave out.
    pub(super) skip: usize,
}

/// A reader of one service.
#[derive(Debug)]
pub(super) struct Source {
    service: Name,
    directory: PathBuf,
    chunk: usize,
    start: Start,
    /// The plain file last read: a file that was rotated keeps it.
    identity: Option<Identity>,
    /// Whether the number of the file is certain: without archives it is only guessed.
    certain: bool,
    unpacking: Option<MultiGzDecoder<File>>,
    buffer: Vec<u8>,
    consumed: usize,
    last: Micros,
    gap: bool,
    in_current: bool,
    ended: bool,
}

/// What tells a file from others that have or had its name. Inode numbers are used again, hence the stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    inode: u64,
    first: Option<Micros>,
}

/// The file to read from.
enum Found {
    Archive(File),
    Current(File),
    Unpacking,
}

impl Source {
    /// `chunk`: bytes read at once.
    pub(super) fn new(service: Name, directory: PathBuf, start: Start, chunk: usize) -> Self {
        Self {
            service,
            directory,
            chunk,
            start,
            identity: None,
            certain: false,
            unpacking: None,
            buffer: Vec::new(),
            consumed: 0,
            last: 0,
            gap: false,
            in_current: false,
            ended: false,
        }
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The next wanted line that is complete on disk; `None` if there is none now.
    pub(super) fn next(&mut self, filter: &Filter) -> io::Result<Option<Line>> {
        while !self.ended {
            let rest = &self.buffer[self.consumed..];
            let Some(end) = memchr(b'\n', rest) else {
                if self.refill()? {
                    continue;
                }
                break;
            };
            let raw = &rest[..end];
            let foreign =
                Parsed { at: self.last, stream: Stream::Stdout, continued: false, payload: raw };
            let parsed = line::parse(raw).unwrap_or(foreign);
            if std::mem::take(&mut self.gap) {
                let gap = Parsed { stream: Stream::Cafe, continued: false, payload: GAP, ..parsed };
                return Ok(Some(owned(&self.service, &gap)));
            }
            self.last = parsed.at;
            let wanted = filter.admits(&parsed).then(|| owned(&self.service, &parsed));
            let beyond = parsed.at > filter.until;
            self.consumed += end + 1;
            match wanted {
                Some(_) if self.start.skip > 0 => self.start.skip -= 1,
                Some(line) => return Ok(Some(line)),
                // Stamps only grow within a file.
                None if beyond && self.in_current => self.ended = true,
                None if beyond => self.advance(),
                None => {}
            }
        }
        Ok(None)
    }

    /// Reads on. `false`: there is nothing more now.
    fn refill(&mut self) -> io::Result<bool> {
        self.buffer.drain(..self.consumed);
        self.consumed = 0;
        if self.buffer.len() > LONGEST {
            self.buffer.push(b'\n');
            return Ok(true);
        }
        loop {
            let found = match self.unpacking {
                Some(_) => Some(Found::Unpacking),
                None => self.find()?,
            };
            // Only now: another file than before begins with an empty buffer.
            let held = self.buffer.len();
            self.buffer.resize(held + self.chunk, 0);
            let place = &mut self.buffer[held..];
            let read = match (&found, &mut self.unpacking) {
                (Some(Found::Archive(file) | Found::Current(file)), _) => {
                    file.read_at(place, self.start.offset)
                }
                (Some(Found::Unpacking), Some(unpacking)) => unpacking.read(place),
                _ => Ok(0),
            };
            self.buffer.truncate(held + *read.as_ref().unwrap_or(&0));
            let count = read?;
            self.start.offset += count as u64;
            self.in_current = matches!(found, Some(Found::Current(_)));
            match found {
                _ if count > 0 => return Ok(true),
                Some(Found::Archive(_) | Found::Unpacking) => self.advance(),
                Some(Found::Current(_)) | None => {
                    // Thousands of sources wait like this: they keep no buffer.
                    self.buffer.shrink_to_fit();
                    return Ok(false);
                }
            }
        }
    }

    /// Goes on to the next file.
    fn advance(&mut self) {
        self.start.sequence += 1;
        self.start.offset = 0;
        self.certain = true;
        self.restart();
    }

    fn restart(&mut self) {
        self.identity = None;
        self.unpacking = None;
        self.buffer.clear();
        self.consumed = 0;
    }

    /// Opens the file of our number, wherever it is by now.
    fn find(&mut self) -> io::Result<Option<Found>> {
        loop {
            // Opened before the archives are listed: if ours is not among them, this is it.
            let current = existing(File::open(self.directory.join(dir::CURRENT)))?;
            let archives = dir::archives(&self.directory)?;
            let ours = archives.into_iter().find(|archive| archive.sequence >= self.start.sequence);
            let Some(archive) = ours else {
                let Some(file) = current else { return Ok(None) };
                self.recognise(&file)?;
                return Ok(Some(Found::Current(file)));
            };
            // Compressed or removed since it was listed: look again.
            let Some(file) = existing(File::open(self.directory.join(archive.file_name())))? else {
                continue;
            };
            self.accept(&archive, &file)?;
            if !archive.gzip {
                self.identity = Some(Identity::of(&file)?);
                return Ok(Some(Found::Archive(file)));
            }
            let mut unpacking = MultiGzDecoder::new(file);
            io::copy(&mut (&mut unpacking).take(self.start.offset), &mut io::sink())?;
            self.unpacking = Some(unpacking);
            return Ok(Some(Found::Unpacking));
        }
    }

    /// An archive of another number than ours: ours if it is the file we read, else files are missing.
    fn accept(&mut self, archive: &Archive, file: &File) -> io::Result<()> {
        if archive.sequence == self.start.sequence {
            return Ok(());
        }
        if self.identity.is_none() || self.identity != Some(Identity::of(file)?) {
            self.gap = self.certain || self.start.offset > 0;
            self.start.offset = 0;
            self.restart();
        }
        self.start.sequence = archive.sequence;
        Ok(())
    }

    /// `current` is not the file we read if that was removed or emptied by somebody.
    fn recognise(&mut self, file: &File) -> io::Result<()> {
        let identity = Identity::of(file)?;
        let same = self.identity.is_none_or(|known| known == identity);
        if self.start.offset > 0 && (!same || file.metadata()?.len() < self.start.offset) {
            self.gap = true;
            self.start.offset = 0;
            self.restart();
        }
        self.identity = Some(identity);
        Ok(())
    }
}

impl Identity {
    fn of(file: &File) -> io::Result<Self> {
        let mut stamp = [0; STAMP];
        let length = file.read_at(&mut stamp, 0)?;
        let inode = file.metadata()?.ino();
        Ok(Self { inode, first: line::parse_stamp(&stamp[..length]) })
    }
}

fn existing(opened: io::Result<File>) -> io::Result<Option<File>> {
    match opened {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        opened => opened.map(Some),
    }
}

fn owned(service: &Name, parsed: &Parsed<'_>) -> Line {
    let micros = i64::try_from(parsed.at).unwrap_or(i64::MAX);
    Line {
        at: Timestamp::from_microsecond(micros).unwrap_or(Timestamp::MAX),
        service: service.clone(),
        stream: parsed.stream,
        continued: parsed.continued,
        text: parsed.payload.to_vec(),
    }
}
