//! Finds where to begin without reading everything: by the stamps in file names, by halving, or from the end.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use memchr::{memchr, memrchr};

use super::filter::Filter;
use super::source::Start;
use crate::logs::dir::{self, Archive};
use crate::logs::line::{self, HEADER, MAX_PAYLOAD, Micros};

/// Bytes read at once; more than any line.
const CHUNK: usize = 64 * 1024;
const _: () = assert!(CHUNK > HEADER + MAX_PAYLOAD + 1);

/// The first line that is not older than the filter wants.
pub(super) fn since(directory: &Path, filter: &Filter) -> io::Result<Start> {
    let (current, archives) = files(directory)?;
    let after_all = archives.last().map_or(1, |archive| archive.sequence + 1);
    let first = archives.iter().find(|archive| archive.last >= filter.since);
    let sequence = first.map_or(after_all, |archive| archive.sequence);
    let mut start = Start { sequence, ..Start::default() };
    if filter.since == 0 || first.is_some_and(|archive| archive.gzip) {
        return Ok(start);
    }
    let file = match first {
        Some(archive) => open(&directory.join(archive.file_name()))?,
        None => current,
    };
    if let Some(file) = file {
        start.offset = halve(&file, filter.since)?;
    }
    Ok(start)
}

/// The first of the last `wanted` lines, and how many there are.
pub(super) fn tail(directory: &Path, filter: &Filter, wanted: usize) -> io::Result<(Start, usize)> {
    let (current, archives) = files(directory)?;
    let after_all = archives.last().map_or(1, |archive| archive.sequence + 1);
    let mut start = Start { sequence: after_all, ..Start::default() };
    let mut found = 0;
    if let Some(file) = current {
        let (count, offset) = last_lines(&file, filter, wanted)?;
        (found, start.offset) = (count, offset);
    }
    for archive in archives.iter().rev() {
        if found == wanted || archive.last < filter.since {
            break;
        }
        // It may be removed since: then it has no lines.
        let Some(file) = open(&directory.join(archive.file_name()))? else { break };
        start = Start { sequence: archive.sequence, ..Start::default() };
        let missing = wanted - found;
        if archive.gzip {
            let count = count(file, filter)?;
            start.skip = count.saturating_sub(missing);
            found += count.min(missing);
        } else {
            let (count, offset) = last_lines(&file, filter, missing)?;
            start.offset = offset;
            found += count;
        }
    }
    Ok((start, found))
}

/// `current` and the archives before it, seen at one moment between two rotations.
fn files(directory: &Path) -> io::Result<(Option<File>, Vec<Archive>)> {
    loop {
        let current = open(&directory.join(dir::CURRENT))?;
        let archives = dir::archives(directory)?;
        let newest = archives.last().map(|archive| directory.join(archive.file_name()));
        let rotated = match (&current, newest) {
            (Some(current), Some(newest)) => open(&newest)?
                .map(|newest| Ok::<_, io::Error>(inode(&newest)? == inode(current)?))
                .transpose()?
                // Compressed or removed since it was listed.
                .unwrap_or(true),
            _ => false,
        };
        if !rotated {
            return Ok((current, archives));
        }
    }
}

fn inode(file: &File) -> io::Result<(u64, u64)> {
    let metadata = file.metadata()?;
    Ok((metadata.dev(), metadata.ino()))
}

fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        opened => opened.map(Some),
    }
}

/// Offset of the first line not older than `since`, in a file whose stamps only grow.
fn halve(file: &File, since: Micros) -> io::Result<u64> {
    let (mut low, mut high) = (0, file.metadata()?.len());
    let mut window = vec![0; CHUNK];
    // Before `low` all lines are older. The first line beginning at or after `high` is not.
    while low < high {
        let middle = low + (high - low) / 2;
        let length = file.read_at(&mut window, middle)?;
        // A line begins where the one before ends; at `low` one begins for sure.
        let begin = match middle == low {
            true => 0,
            false => memchr(b'\n', &window[..length]).map_or(length, |end| end + 1),
        };
        let stamp = line::parse_stamp(&window[begin..length]);
        match stamp {
            Some(at) if at < since => {
                let end =
                    memchr(b'\n', &window[begin..length]).map_or(length, |end| begin + end + 1);
                low = middle + end as u64;
            }
            // Not older, or the end of the file, or no line of cafe: look before it.
            _ => high = middle,
        }
    }
    Ok(low)
}

/// How many of the last `wanted` lines there are, and where the first of them begins.
fn last_lines(file: &File, filter: &Filter, wanted: usize) -> io::Result<(usize, u64)> {
    let size = file.metadata()?.len();
    let (mut found, mut offset, mut end) = (0, size, size);
    // The end of a line whose begin is not read yet.
    let mut carry = Vec::new();
    let mut complete = false;
    while end > 0 && found < wanted && carry.len() <= CHUNK {
        let start = end.saturating_sub(CHUNK as u64);
        let mut window = vec![0; usize::try_from(end - start).unwrap_or(CHUNK)];
        file.read_exact_at(&mut window, start)?;
        window.append(&mut carry);
        let head = match start {
            0 => 0,
            _ => memchr(b'\n', &window).map_or(window.len(), |end| end + 1),
        };
        let mut stop = window.len();
        if !complete {
            // What follows the last newline is torn: it is not there yet.
            stop = memrchr(b'\n', &window).map_or(0, |end| end + 1);
            complete = stop > 0;
            offset = start + stop as u64;
        }
        while stop > head && found < wanted {
            let begin = memrchr(b'\n', &window[head..stop - 1]).map_or(head, |end| head + end + 1);
            if let Some(parsed) = line::parse(&window[begin..stop - 1]) {
                if parsed.at < filter.since {
                    return Ok((found, offset));
                }
                if filter.admits(&parsed) {
                    found += 1;
                    offset = start + begin as u64;
                }
            }
            stop = begin;
        }
        window.truncate(head);
        carry = window;
        end = start;
    }
    Ok((found, offset))
}

/// How many lines of a compressed file are wanted.
fn count(file: File, filter: &Filter) -> io::Result<usize> {
    let mut reader = BufReader::with_capacity(CHUNK, MultiGzDecoder::new(file));
    let (mut found, mut raw) = (0, Vec::new());
    loop {
        raw.clear();
        let longest = (HEADER + MAX_PAYLOAD + 1) as u64;
        if io::Read::take(&mut reader, longest).read_until(b'\n', &mut raw)? == 0 {
            return Ok(found);
        }
        let line = raw.strip_suffix(b"\n").unwrap_or(&raw);
        found += usize::from(line::parse(line).is_some_and(|line| filter.admits(&line)));
    }
}
