//! The last lines of a service, for its post-mortem and its status. Read from the file when asked for: nothing is kept.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::dir;
use super::line::{self, Stream};
use crate::types::name::Name;

/// Lines at most.
const LINES: usize = 50;

/// Bytes on disk at most.
pub(super) const BYTES: usize = 16 * 1024;

/// The last lines a service wrote, oldest first: at most 50 lines from 16 KiB.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Excerpt {
    /// Lines as text without stamps; what is not UTF-8 is replaced.
    pub lines: Vec<String>,
}

impl Excerpt {
    /// The lines of cafe itself are left out; so is a first line cut in the middle.
    pub(super) fn of(disk: &[u8]) -> Self {
        let mut lines = VecDeque::with_capacity(LINES);
        for line in disk.split(|&byte| byte == b'\n').filter_map(line::parse) {
            if line.stream == Stream::Cafe {
                continue;
            }
            if lines.len() == LINES {
                lines.pop_front();
            }
            lines.push_back(String::from_utf8_lossy(line.payload).into_owned());
        }
        Self { lines: lines.into() }
    }
}

/// The last `length` bytes on disk of a service, from its current file and the one before it.
pub(super) fn tail(root: &Path, service: &Name, length: usize) -> io::Result<Vec<u8>> {
    if length == 0 {
        return Ok(Vec::new());
    }
    let directory = dir::of(root, service);
    let current = tail_of(&directory.join(dir::CURRENT), length)?;
    if current.len() == length {
        return Ok(current);
    }
    // A file just rotated is not compressed yet.
    let Some(before) = dir::archives(&directory)?.pop().filter(|archive| !archive.gzip) else {
        return Ok(current);
    };
    let mut both = tail_of(&directory.join(before.file_name()), length - current.len())?;
    both.extend_from_slice(&current);
    Ok(both)
}

fn tail_of(path: &Path, length: usize) -> io::Result<Vec<u8>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        opened => opened?,
    };
    let size = file.metadata()?.len();
    let start = size.saturating_sub(length as u64);
    let mut bytes = vec![0; length.min(usize::try_from(size).unwrap_or(length))];
    let read = file.read_at(&mut bytes, start)?;
    bytes.truncate(read);
    Ok(bytes)
}
