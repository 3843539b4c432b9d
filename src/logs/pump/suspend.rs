//! A pump that ends in the middle, and the next that goes on there: for an upgrade of cafe in place.
//!
//! Everything but the descriptors is plain data, and so survives in whatever cafe keeps its state in.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::service::{PIPES, Service, Trouble, pipes_of};
use super::worker::Worker;
use super::{SinkOptions, Source};
use crate::logs::frame::Framer;
use crate::logs::transit::Chunk;
use crate::types::is_default;
use crate::types::name::Name;

/// One incarnation of a service of a pump that was suspended, to be resumed in the next. Of two that overlap there is one
/// each.
#[derive(Debug)]
pub struct Suspended {
    /// What is known of it.
    pub state: State,
    /// Read ends of the pipes at its descriptors 1 and 2; none when it was finished.
    pub pipes: Option<[OwnedFd; 2]>,
}

/// What a pump knows of an incarnation, without its descriptors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Which service.
    pub service: Name,
    /// Which incarnation.
    #[serde(default, skip_serializing_if = "is_default")]
    pub generation: u64,
    /// How its files are kept.
    pub options: SinkOptions,
    /// Expression of the line that is still waited for.
    #[serde(default, skip_serializing_if = "is_default")]
    pub watch_for: Option<String>,
    /// Bytes put on disk for this incarnation: how far back its last lines may be looked for.
    #[serde(default, skip_serializing_if = "is_default")]
    pub put: u64,
    /// The unfinished lines of stdout and stderr.
    pub unfinished: [Unfinished; 2],
    /// What could not be written for the service; with the first of two incarnations.
    #[serde(default, skip_serializing_if = "is_default")]
    pub unwritten: Option<Unwritten>,
}

/// The end of what a stream wrote, after its last newline.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unfinished {
    /// Whether the head of this line is in the log already.
    #[serde(default, skip_serializing_if = "is_default")]
    pub continued: bool,
    /// What came after it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub partial: Vec<u8>,
}

/// A file that cannot be written, and what waits for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unwritten {
    /// For how long.
    pub since: Duration,
    /// Why.
    pub cause: String,
    /// As it is to stand in the file; the head of the first line may be there already.
    pub pending: Vec<u8>,
    /// Whether it is.
    pub torn: bool,
    /// Lines dropped since.
    pub dropped: u64,
    /// The last lines dropped, as on disk.
    pub last: Vec<u8>,
    /// Whether it was told that the service waits.
    pub told: bool,
}

impl Worker {
    /// Hands out all services. Nothing may be asked of the worker afterwards.
    pub(super) fn suspend(&mut self) -> Vec<Suspended> {
        for slot in 0..self.services.len() {
            PIPES.into_iter().for_each(|pipe| self.unwatch(slot, pipe));
        }
        std::mem::take(&mut self.services).into_iter().flatten().flat_map(suspended).collect()
    }

    pub(super) fn resume(&mut self, suspended: Suspended) {
        let Suspended { state, pipes } = suspended;
        let slot = self.slot_for(&state.service, state.options);
        // What was found of it in the transit is the same that is handed over now.
        let lane_number = self.make_room(slot, Some(state.generation));
        let Some(service) = self.services[slot].as_mut() else { return };
        // Compiled once already.
        let watch_for = state.watch_for.and_then(|expression| expression.parse().ok());
        if let Some([stdout, stderr]) = pipes {
            let source = Source {
                service: state.service,
                generation: state.generation,
                beside: true,
                stdout,
                stderr,
                options: state.options,
                watch_for,
                found: true,
            };
            service.begin(lane_number, source);
        }
        let lane = service.lane_or_new(lane_number);
        (lane.generation, lane.put) = (state.generation, state.put);
        for (inlet, unfinished) in lane.inlets.iter_mut().zip(&state.unfinished) {
            inlet.framer.resume(unfinished.continued, &unfinished.partial);
        }
        if lane.watch_for.is_some() {
            self.awaited.insert(slot);
        }
        if let Some(unwritten) = state.unwritten {
            service.take_over(unwritten);
            self.retry_later(slot);
        }
        for pipe in pipes_of(lane_number) {
            self.remember(slot, pipe);
        }
        self.list_partial(slot);
        self.watch(slot);
    }
}

/// One for each lane.
fn suspended(service: Service) -> impl Iterator<Item = Suspended> {
    let Service { name, options, lane, beside, sink, trouble, .. } = service;
    let mut unwritten = trouble.map(|trouble| unwritten(*trouble, sink.is_torn()));
    [Some(lane), beside.map(|lane| *lane)].into_iter().flatten().map(move |lane| {
        let [out, err] = lane.inlets;
        let state = State {
            service: name.clone(),
            generation: lane.generation,
            options,
            watch_for: lane.watch_for.map(|expression| expression.as_str().to_owned()),
            put: lane.put,
            unfinished: [&out.framer, &err.framer].map(unfinished),
            unwritten: unwritten.take(),
        };
        let pipes = out.pipe.zip(err.pipe).map(|(stdout, stderr)| [stdout, stderr]);
        Suspended { state, pipes }
    })
}

fn unfinished(framer: &Framer) -> Unfinished {
    let (continued, partial) = framer.unfinished();
    Unfinished { continued, partial: partial.to_vec() }
}

/// What is in transit is left there, where the next pump finds it.
fn unwritten(mut trouble: Trouble, torn: bool) -> Unwritten {
    if trouble.unkept {
        trouble.kept.drain(..).rev().for_each(Chunk::remove);
    } else if !trouble.kept.is_empty() {
        trouble.pending = Vec::new();
    }
    Unwritten {
        since: trouble.since.elapsed(),
        cause: trouble.cause,
        pending: trouble.pending,
        torn,
        dropped: trouble.dropped,
        last: trouble.last,
        told: trouble.told,
    }
}

impl Service {
    fn take_over(&mut self, unwritten: Unwritten) {
        let now = Instant::now();
        let from_transit = self.trouble.take();
        if unwritten.torn && !unwritten.pending.is_empty() {
            self.sink.complete_torn();
        }
        let mut trouble = from_transit.unwrap_or_else(|| {
            let unkept = !unwritten.pending.is_empty();
            Box::new(Trouble { unkept, ..Trouble::new(unwritten.pending, unwritten.cause) })
        });
        trouble.since = now.checked_sub(unwritten.since).unwrap_or(now);
        (trouble.dropped, trouble.last) = (unwritten.dropped, unwritten.last);
        (trouble.told, trouble.left) = (unwritten.told, false);
        self.trouble = Some(trouble);
    }
}
