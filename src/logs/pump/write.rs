//! Writing for the pump thread: lines to files, and what happens while a file cannot be written.
//!
//! `on_full: block`: the service's pipes are left alone, so it waits once they are full; what was read already is held.
//! `on_full: drop`: its pipes are read on, lines are counted and dropped. Either way the write is tried again every
//! second, and goes on at the very byte where it failed.

use std::time::{Duration, Instant};

use super::Notice;
use super::service::Trouble;
use super::worker::Worker;
use crate::logs::excerpt;
use crate::logs::line::{self, Micros, Stream};
use crate::logs::transit::Chunk;
use crate::types::policy::OnFull;

/// Time between two tries to write.
const RETRY: Duration = Duration::from_secs(1);

/// Bytes held for a service that ended while its file could not be written; what exceeds them is counted and dropped.
const HELD: usize = 1 << 20;

/// Files open at once.
const OPEN_FILES: usize = 512;

impl Worker {
    /// The stamp for what is read now.
    pub(super) fn stamp(&mut self, slot: usize) -> Micros {
        let Some(service) = self.services[slot].as_mut() else { return line::now() };
        if service.trouble.is_none() && !service.sink.is_open() {
            // Opened first, because stamps follow those in the file. If it fails, so will the write, which handles it.
            let _ = service.sink.open(self.files.place(&service.name, service.options, None));
            self.mind_open_files(slot);
        }
        self.services[slot].as_mut().map_or_else(line::now, |service| service.sink.stamp())
    }

    /// Writes, holds or drops `disk`: pieces as framed, in which `lines` lines end.
    pub(super) fn put(&mut self, slot: usize, disk: &[u8], lines: u64) {
        let Some(service) = self.services[slot].as_mut().filter(|_| !disk.is_empty()) else {
            return;
        };
        service.lanes_mut().for_each(|lane| lane.put += disk.len() as u64);
        let chunk = self.transit.current.as_ref();
        if let Some(trouble) = &mut service.trouble {
            if trouble.hold(disk, lines, service.options.on_full) {
                trouble.unkept |= chunk.is_none();
                self.transit.held = true;
            }
        } else {
            let place = self.files.place(&service.name, service.options, chunk);
            match service.sink.write(place, disk) {
                Ok(()) => self.mind_open_files(slot),
                Err(failed) => {
                    let pending = disk[failed.written..].to_vec();
                    self.begin_trouble(slot, pending, &failed.source);
                }
            }
        }
    }

    /// As [`Self::put`], for what came from a pipe: a line that is waited for may be in it.
    pub(super) fn put_of(&mut self, slot: usize, pipe: usize, disk: &[u8], lines: u64) {
        self.put(slot, disk, lines);
        self.look_for_match(slot, pipe / 2, disk);
    }

    /// Tries again whatever could not be written.
    pub(super) fn retry_all(&mut self) {
        self.retry_at = None;
        for slot in std::mem::take(&mut self.troubled) {
            self.retry(slot);
        }
        if !self.troubled.is_empty() {
            self.files.archiver.make_room();
        }
    }

    /// Tries again what could not be written for one service.
    pub(super) fn retry(&mut self, slot: usize) {
        let Some(service) = self.services[slot].as_mut() else { return };
        let Some(mut trouble) = service.trouble.take() else { return };
        let ms = u64::try_from(trouble.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        let place = self.files.place(&service.name, service.options, trouble.kept.first());
        let service_name = service.name.clone();
        if let Err(failed) = service.sink.write(place, &trouble.pending) {
            trouble.pending.drain(..failed.written);
            trouble.cause = failed.source.to_string();
            if !trouble.told && service.options.on_full == OnFull::Block {
                trouble.told = true;
                let cause = trouble.cause.clone();
                (self.notices)(Notice::Blocked { service: service_name, ms, cause });
            }
            service.trouble = Some(trouble);
            self.retry_later(slot);
            return;
        }
        self.mind_open_files(slot);
        trouble.kept.drain(..).rev().for_each(Chunk::remove);
        if trouble.dropped > 0 {
            let lines = trouble.dropped;
            let seconds = Duration::from_millis(ms).as_secs_f64();
            let text = format!("dropped {lines} lines in {seconds:.1} s: {}\n", trouble.cause);
            let mut disk = line::header(self.stamp(slot), Stream::Cafe.mark(false)).to_vec();
            disk.extend_from_slice(text.as_bytes());
            self.put(slot, &disk, 0);
            (self.notices)(Notice::Dropped { service: service_name, lines, ms });
        } else if !trouble.left || trouble.told {
            (self.notices)(Notice::Unblocked { service: service_name, ms });
        }
        self.watch(slot);
    }

    /// Keeps the number of open files bounded: beyond it, those not used for longest are closed.
    pub(super) fn mind_open_files(&mut self, slot: usize) {
        let Some(service) = self.services[slot].as_mut() else { return };
        if !service.sink.is_open() || std::mem::replace(&mut service.counted_open, true) {
            return;
        }
        self.opened.push_back(slot);
        while self.opened.len() > OPEN_FILES {
            let Some(oldest) = self.opened.pop_front() else { return };
            let Some(service) = self.services[oldest].as_mut() else { continue };
            if service.sink.close_if_unused() {
                service.counted_open = false;
            } else {
                self.opened.push_back(oldest);
            }
        }
    }

    fn begin_trouble(&mut self, slot: usize, pending: Vec<u8>, source: &std::io::Error) {
        let Some(service) = self.services[slot].as_mut() else { return };
        let cause = source.to_string();
        let unkept = self.transit.current.is_none();
        service.trouble =
            Some(Box::new(Trouble { unkept, ..Trouble::new(pending, cause.clone()) }));
        self.transit.held = true;
        (self.notices)(Notice::WriteFailed { service: service.name.clone(), error: cause });
        self.files.archiver.make_room();
        self.watch(slot);
        self.retry_later(slot);
    }

    pub(super) fn retry_later(&mut self, slot: usize) {
        self.troubled.push(slot);
        self.retry_at.get_or_insert_with(|| Instant::now() + RETRY);
    }

    fn look_for_match(&mut self, slot: usize, lane_number: usize, disk: &[u8]) {
        let Some(service) = self.services[slot].as_ref() else { return };
        let Some(lane) = service.lane(lane_number) else { return };
        let Some(wanted) = &lane.watch_for else { return };
        let found = disk
            .split(|&byte| byte == b'\n')
            .filter_map(line::parse)
            .find(|line| line.stream != Stream::Cafe && wanted.is_match(line.payload));
        let Some(found) = found else { return };
        (self.notices)(Notice::Matched {
            service: service.name.clone(),
            generation: lane.generation,
            line: String::from_utf8_lossy(found.payload).into_owned(),
        });
        self.await_no_more(slot, lane_number);
    }

    /// Nobody waits for a line of this incarnation any more.
    pub(super) fn await_no_more(&mut self, slot: usize, lane_number: usize) {
        let Some(service) = self.services[slot].as_mut() else { return };
        if let Some(lane) = service.lane_mut(lane_number) {
            lane.watch_for = None;
        }
        if service.lanes().all(|lane| lane.watch_for.is_none()) {
            self.awaited.remove(&slot);
        }
    }
}

impl Trouble {
    pub(super) fn new(pending: Vec<u8>, cause: String) -> Self {
        Self {
            since: Instant::now(),
            cause,
            pending,
            dropped: 0,
            last: Vec::new(),
            told: false,
            kept: Vec::new(),
            unkept: false,
            left: false,
        }
    }

    /// Whether lines are lost if cafe ends now.
    pub(super) fn is_at_risk(&self) -> bool {
        self.unkept && !self.pending.is_empty()
    }

    /// Holds or drops; says whether it holds.
    fn hold(&mut self, disk: &[u8], lines: u64, on_full: OnFull) -> bool {
        let fits = self.pending.len() + disk.len() <= HELD;
        if on_full == OnFull::Block && self.dropped == 0 && fits {
            self.pending.extend_from_slice(disk);
            return true;
        }
        self.dropped += lines;
        self.last.extend_from_slice(&disk[disk.len().saturating_sub(excerpt::BYTES)..]);
        let surplus = self.last.len().saturating_sub(excerpt::BYTES);
        self.last.drain(..surplus);
        false
    }
}
