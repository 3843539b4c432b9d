//! Puts the lines of several services in the order of time.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::filter::Filter;
use super::source::{Source, Start};
use super::{Line, seek, unreadable};
use crate::logs::dir;
use crate::logs::error::Error;
use crate::types::name::Name;

/// Bytes of all buffers together, roughly.
const MEMORY: usize = 16 << 20;

/// Several sources, one of which has the next line.
#[derive(Debug)]
pub(super) struct Merge {
    root: PathBuf,
    filter: Filter,
    sources: Vec<Source>,
    /// The next line of each source that has one.
    heads: Vec<Option<Line>>,
    order: BinaryHeap<Reverse<(Timestamp, usize)>>,
    /// Sources without a head that may have a line by now.
    dirty: BTreeSet<usize>,
    chunk: usize,
    /// Lines to leave out: of the last lines of each service, only the last of all are wanted.
    skip: usize,
}

impl Merge {
    pub(super) fn open(
        root: &Path,
        services: Vec<Name>,
        filter: Filter,
        lines: Option<usize>,
    ) -> Result<Self, Error> {
        let chunk = (MEMORY / services.len().max(1)).clamp(4 * 1024, 256 * 1024);
        let mut merge = Self {
            root: root.to_owned(),
            filter,
            sources: Vec::with_capacity(services.len()),
            heads: Vec::new(),
            order: BinaryHeap::new(),
            dirty: BTreeSet::new(),
            chunk,
            skip: 0,
        };
        let mut found: usize = 0;
        for service in services {
            let directory = dir::of(root, &service);
            let begin = match lines {
                Some(wanted) => seek::tail(&directory, &merge.filter, wanted),
                None => seek::since(&directory, &merge.filter).map(|start| (start, 0)),
            };
            let (start, count) = begin.map_err(|source| unreadable(&directory, source))?;
            found = found.saturating_add(count);
            merge.add(service, start);
        }
        merge.skip = lines.map_or(0, |wanted| found.saturating_sub(wanted));
        Ok(merge)
    }

    /// One service more; returns its index.
    pub(super) fn add(&mut self, service: Name, start: Start) -> usize {
        let index = self.sources.len();
        let directory = dir::of(&self.root, &service);
        self.sources.push(Source::new(service, directory, start, self.chunk));
        self.heads.push(None);
        self.dirty.insert(index);
        index
    }

    /// A service may have more lines.
    pub(super) fn touch(&mut self, index: usize) {
        if self.heads[index].is_none() {
            self.dirty.insert(index);
        }
    }

    /// Any service may have more lines.
    pub(super) fn touch_all(&mut self) {
        (0..self.sources.len()).for_each(|index| self.touch(index));
    }

    /// The oldest line; `None` if no service has one now.
    pub(super) fn next(&mut self) -> Result<Option<Line>, Error> {
        loop {
            while let Some(index) = self.dirty.pop_first() {
                let head = self.sources[index].next(&self.filter);
                self.heads[index] = head.map_err(|source| self.failed(index, source))?;
                if let Some(line) = &self.heads[index] {
                    self.order.push(Reverse((line.at, index)));
                }
            }
            let Some(Reverse((_, index))) = self.order.pop() else { return Ok(None) };
            self.dirty.insert(index);
            let line = self.heads[index].take();
            if self.skip == 0 {
                return Ok(line);
            }
            self.skip -= 1;
        }
    }

    fn failed(&self, index: usize, source: io::Error) -> Error {
        unreadable(self.sources[index].directory(), source)
    }
}
