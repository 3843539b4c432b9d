//! The unfinished lines of all streams, in one file of equal slots: what a killed cafe had read of a line whose end had
//! not come. A slot is taken when there is something to remember and given back when there is not; most streams
//! have none.

use std::fs::{File, OpenOptions};
use std::io;
use std::num::NonZeroU32;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use super::record::{self, Head, Position, Record};
use crate::logs::kill;

/// Name of the file in the directory of transit.
pub(in crate::logs) const FILE: &str = "unfinished";

/// Length of a slot, bytes; pages that were never written take no room.
const SLOT: u64 = 20 * 1024;

const _: () = assert!(record::LARGEST as u64 <= SLOT);

/// Number of a slot, from 1.
pub(in crate::logs) type Slot = NonZeroU32;

/// The file.
#[derive(Debug)]
pub(in crate::logs) struct Unfinished {
    /// None: nothing is remembered.
    file: Option<File>,
    free: Vec<Slot>,
    /// How many slots there are.
    count: u32,
    told: bool,
    scratch: Vec<u8>,
}

impl Unfinished {
    /// Opens the file in the directory of transit; also gives what an earlier pump left in it.
    pub(in crate::logs) fn open(directory: Option<&Path>) -> (Self, Vec<(Slot, Record<'static>)>) {
        let mut unfinished =
            Self { file: None, free: Vec::new(), count: 0, told: false, scratch: Vec::new() };
        let Some(directory) = directory else { return (unfinished, Vec::new()) };
        let left = unfinished.find(&directory.join(FILE)).unwrap_or_else(|error| {
            unfinished.cannot(&error);
            Vec::new()
        });
        (unfinished, left)
    }

    fn find(&mut self, path: &Path) -> io::Result<Vec<(Slot, Record<'static>)>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(path)?;
        let size = file.metadata()?.len();
        let mut found = Vec::new();
        let mut bytes = vec![0; record::LARGEST];
        for number in (1..=u32::try_from(size.div_ceil(SLOT)).unwrap_or(u32::MAX)).rev() {
            let Some(slot) = NonZeroU32::new(number) else { continue };
            let length = file.read_at(&mut bytes, place(slot))?;
            self.count = self.count.max(number);
            match record::decode(&bytes[..length]) {
                _ if bytes[..length.min(8)].iter().all(|&byte| byte == 0) => self.free.push(slot),
                Ok(Head::Whole { record, .. }) => found.push((slot, *record)),
                // Torn: what it said before stands in a file of transit.
                Ok(Head::Nothing) => self.free.push(slot),
                Err(error) => {
                    // Torn over an older one, or damaged.
                    tracing::debug!(slot = number, %error, "an unfinished log line cannot be read");
                    self.free.push(slot);
                }
            }
        }
        if found.is_empty() {
            (self.count, self.free) = (0, Vec::new());
            file.set_len(0)?;
        }
        self.file = Some(file);
        Ok(found)
    }

    /// Remembers the unfinished line that `record` tells of, in place of what its slot had.
    pub(in crate::logs) fn remember(&mut self, slot: &mut Option<Slot>, record: &Record<'_>) {
        let Some(file) = &self.file else { return };
        let free = || {
            self.count += 1;
            NonZeroU32::new(self.count).unwrap_or(NonZeroU32::MAX)
        };
        let taken = slot.or_else(|| self.free.pop()).unwrap_or_else(free);
        *slot = Some(taken);
        record.encode(Position::default(), &mut self.scratch);
        kill::point();
        let length = kill::until(self.scratch.len());
        let written = file.write_all_at(&self.scratch[..length], place(taken));
        kill::point();
        match written {
            Ok(()) => self.told = false,
            Err(error) => {
                self.cannot(&error);
                self.forget(slot);
            }
        }
    }

    /// Nothing is unfinished any more.
    pub(in crate::logs) fn forget(&mut self, slot: &mut Option<Slot>) {
        let (Some(file), Some(taken)) = (&self.file, slot.take()) else { return };
        kill::point();
        // Room was taken for it already, unless the disk was full just now: then there is nothing to erase.
        let _ = file.write_all_at(&[0; 8], place(taken));
        kill::point();
        self.free.push(taken);
    }

    fn cannot(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.told, true) {
            tracing::warn!(%error, "unfinished log lines are kept in memory alone: they do not survive a kill of cafe");
        }
    }
}

fn place(slot: Slot) -> u64 {
    u64::from(slot.get() - 1) * SLOT
}
