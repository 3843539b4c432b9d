//! What an earlier pump left when it was killed: lines under way from a pipe to a file, and unfinished lines.

use std::collections::BTreeMap;

use super::service::{Service, Trouble};
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
            let slot = self.slot_of_left(&record);
            let Some(service) = self.services[slot].as_mut() else { continue };
            let Some(stream) = index(record.stream) else { continue };
            let inlet = &mut service.inlets[stream];
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
        let (position, slot) = (first.position, self.slot_of_left(&first.record));
        let Some(service) = self.services[slot].as_mut() else { return };
        let place = self.files.place(&service.name, service.options, None);
        let Some(written) = service.sink.found(place, position) else {
            left.iter().for_each(|left| left.chunk.put_aside("the log file is another one"));
            return;
        };
        let mut trouble =
            Trouble { left: true, ..Trouble::new(Vec::new(), "cafe was killed".to_owned()) };
        for Left { mut chunk, record, held, bytes, .. } in left {
            let Some(service) = self.services[slot].as_mut() else { return };
            service.generation = record.generation;
            let stream = index(record.stream).filter(|_| !held);
            let mut framer = Framer::new(record.stream);
            framer.resume(record.continued, &record.partial);
            replay(&record, &mut framer, &bytes, &mut trouble.pending);
            if let Some(stream) = stream {
                service.inlets[stream].framer = framer;
                self.remember(slot, stream);
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

    /// Whether this is what an earlier pump left of an incarnation, and nothing of another one.
    pub(super) fn is_left(&self, slot: usize, generation: u64) -> bool {
        self.services[slot].as_ref().is_some_and(|service| {
            service.generation == generation
                && service.inlets.iter().all(|inlet| inlet.pipe.is_none())
        })
    }

    fn slot_of_left(&mut self, record: &Record<'_>) -> usize {
        let slot = self.slot_for(&record.service, record.options);
        if let Some(Service { generation, .. }) = self.services[slot].as_mut() {
            *generation = record.generation;
        }
        slot
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

/// Which pipe it came from; none for cafe's own lines.
fn index(stream: Stream) -> Option<usize> {
    match stream {
        Stream::Stdout => Some(0),
        Stream::Stderr => Some(1),
        Stream::Cafe => None,
    }
}
