//! What an earlier pump left when it was killed: lines under way from a pipe to a file, and unfinished lines.

use std::collections::BTreeMap;

use super::service::{Lane, Trouble, pipes_of};
use super::worker::Worker;
use crate::logs::frame::Framer;
use crate::logs::line::Stream;
use crate::logs::transit::Left;
use crate::logs::transit::record::{Operation, Record};
use crate::types::name::Name;

impl Worker {
    /// Writes what is missing of the lines under way, and goes on in the unfinished ones. Those that nobody attaches to
    /// any more are written like every line that is left unfinished for some time.
    pub(super) fn recover(&mut self) {
        let (left, lines) = std::mem::take(&mut self.found);
        for (place, record) in lines {
            let slot = self.slot_for(&record.service, record.options);
            let Some(pipe) = self.pipe_of_left(slot, &record) else { continue };
            let service = self.services[slot].as_mut();
            let Some(inlet) = service.and_then(|service| service.inlet_mut(pipe)) else { continue };
            inlet.framer.resume(record.continued, &record.partial);
            // One stream has one slot.
            self.unfinished.forget(&mut inlet.slot);
            inlet.slot = Some(place);
            self.list_partial(slot);
        }
        let mut by_service: BTreeMap<Name, Vec<Left>> = BTreeMap::new();
        for left in left {
            by_service.entry(left.record.service.as_ref().clone()).or_default().push(left);
        }
        for left in by_service.into_values() {
            self.recover_service(left);
        }
    }

    /// The transits of one service, oldest first. All but the last one wait for a file that could not be written; the
    /// first knows how much of all of them is.
    fn recover_service(&mut self, left: Vec<Left>) {
        let Some(first) = left.first() else { return };
        let (position, record) = (first.position, &first.record);
        let slot = self.slot_for(&record.service, record.options);
        let Some(service) = self.services[slot].as_mut() else { return };
        let place = self.files.place(&service.name, service.options, None);
        let Some(written) = service.sink.found(place, position) else {
            left.iter().for_each(|left| left.chunk.put_aside("the log file is another one"));
            return;
        };
        let mut trouble =
            Trouble { left: true, ..Trouble::new(Vec::new(), "cafe was killed".to_owned()) };
        for Left { mut chunk, record, held, bytes, .. } in left {
            let pipe = if held { None } else { self.pipe_of_left(slot, &record) };
            let mut framer = Framer::new(record.stream);
            framer.resume(record.continued, &record.partial);
            replay(&record, &mut framer, &bytes, &mut trouble.pending);
            let service = self.services[slot].as_mut();
            if let Some(pipe) = pipe
                && let Some(inlet) = service.and_then(|service| service.inlet_mut(pipe))
            {
                inlet.framer = framer;
                self.remember(slot, pipe);
                chunk.hold();
            }
            trouble.kept.push(chunk);
        }
        let Some(service) = self.services[slot].as_mut() else { return };
        let length = trouble.pending.len();
        let written = written.min(length as u64);
        if let Some(chunk) = trouble.kept.first() {
            chunk.set_done(written);
        }
        trouble.pending.drain(..usize::try_from(written).unwrap_or(length));
        tracing::debug!(service = %service.name, written, missing = trouble.pending.len(), "log lines found in transit");
        service.trouble = Some(Box::new(trouble));
        self.list_partial(slot);
        self.retry(slot);
    }

    /// Which pipe of its service a record is of; none for cafe's own lines. One pump reads two incarnations at most: what
    /// is said of a third was not erased, and stands in the log already.
    fn pipe_of_left(&mut self, slot: usize, record: &Record<'_>) -> Option<usize> {
        let stream = match record.stream {
            Stream::Stdout => 0,
            Stream::Stderr => 1,
            Stream::Cafe => return None,
        };
        let service = self.services[slot].as_mut()?;
        let known = service.lane_of(record.generation);
        let number = known.or_else(|| service.room()).unwrap_or(0);
        let lane = service.lane_or_new(number);
        if known.is_none() {
            lane.inlets.iter_mut().for_each(|inlet| self.unfinished.forget(&mut inlet.slot));
            *lane = Lane { generation: record.generation, ..Lane::new() };
        }
        Some(pipes_of(number)[stream])
    }
}

/// The lines as they were, or would have been, written.
fn replay(record: &Record<'_>, framer: &mut Framer, mut bytes: &[u8], disk: &mut Vec<u8>) {
    match record.operation {
        Operation::Push => {
            while !bytes.is_empty() {
                let mut part = Vec::new();
                let framed = framer.push(record.at, bytes, &mut part);
                disk.append(&mut part);
                bytes = &bytes[framed.consumed..];
            }
        }
        Operation::Flush => {
            framer.flush(record.at, disk);
        }
        Operation::Finish => {
            framer.finish(record.at, disk);
        }
    }
}
