//! What the pump keeps of one service: two pipes, an unfinished line each, a file, and trouble if there is any. While
//! two incarnations of a service overlap, both write to its one file.
//!
//! Kept small, as there are thousands: buffers belong to the thread, and what is rare is boxed.

use std::borrow::Cow;
use std::os::fd::OwnedFd;
use std::time::Instant;

use nix::fcntl::{FcntlArg, fcntl};
use regex::bytes::Regex;

use super::{SinkOptions, Source};
use crate::logs::frame::Framer;
use crate::logs::line::{Micros, Stream};
use crate::logs::sink::Sink;
use crate::logs::transit::Chunk;
use crate::logs::transit::record::{Operation, Record};
use crate::logs::transit::unfinished::Slot;
use crate::types::name::Name;

/// One service.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) name: Name,
    pub(super) options: SinkOptions,
    pub(super) lane: Lane,
    /// Another incarnation, while two overlap.
    pub(super) beside: Option<Box<Lane>>,
    pub(super) sink: Sink,
    pub(super) trouble: Option<Box<Trouble>>,
    /// When something was read last.
    pub(super) heard: Instant,
    /// Whether it is in the list of services with unfinished lines.
    pub(super) listed: bool,
    /// Whether it is in the list of services with open files.
    pub(super) counted_open: bool,
}

// Thousands of services fit into little memory.
const _: () = assert!(size_of::<Service>() <= 256);

/// One incarnation of a service.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) generation: u64,
    /// Stdout and stderr.
    pub(super) inlets: [Inlet; 2],
    pub(super) watch_for: Option<Box<Regex>>,
    /// Bytes put on disk since it was attached: how far back its excerpt may look.
    pub(super) put: u64,
}

/// Numbers of the pipes of a service: stdout and stderr of its lane, then of the one beside.
pub(super) const PIPES: [usize; 4] = [0, 1, 2, 3];

/// The pipes of lane 0 or 1.
pub(super) fn pipes_of(lane: usize) -> [usize; 2] {
    [lane * 2, lane * 2 + 1]
}

/// One stream of a service.
#[derive(Debug)]
pub(super) struct Inlet {
    /// The pipe, while an incarnation is attached.
    pub(super) pipe: Option<OwnedFd>,
    /// Whether epoll watches it.
    pub(super) watched: bool,
    /// Size of the pipe as far as known; grown when the service fills it.
    pub(super) capacity: u32,
    /// Where its unfinished line is remembered, if there is one.
    pub(super) slot: Option<Slot>,
    pub(super) framer: Framer,
}

/// A file that cannot be written.
#[derive(Debug)]
pub(super) struct Trouble {
    /// Since when.
    pub(super) since: Instant,
    /// Why.
    pub(super) cause: String,
    /// Lines on disk that are to be written first; the head of the first may be there already.
    pub(super) pending: Vec<u8>,
    /// Lines dropped since.
    pub(super) dropped: u64,
    /// The last lines dropped, for the excerpt.
    pub(super) last: Vec<u8>,
    /// Whether it was told that the service waits.
    pub(super) told: bool,
    /// The transits of what is pending, oldest first: the next cafe writes it if this one is killed.
    pub(super) kept: Vec<Chunk>,
    /// Whether some of what is pending has none.
    pub(super) unkept: bool,
    /// Whether it was left by an earlier cafe, and nobody was told of it.
    pub(super) left: bool,
}

/// Size of a new pipe, `pipe(7)`.
const PIPE_SIZE: u32 = 64 * 1024;

impl Service {
    pub(super) fn new(name: Name, options: SinkOptions) -> Self {
        Self {
            name,
            options,
            lane: Lane::new(),
            beside: None,
            sink: Sink::default(),
            trouble: None,
            heard: Instant::now(),
            listed: false,
            counted_open: false,
        }
    }

    /// Takes over an incarnation. What was in its lane before must be finished, or be its own.
    pub(super) fn begin(&mut self, lane_number: usize, source: Source) {
        self.options = source.options;
        self.lane_or_new(lane_number).begin(source);
    }

    /// A lane that nothing is attached to; rather one where nothing is unfinished.
    pub(super) fn room(&self) -> Option<usize> {
        let idle = self.lanes().position(Lane::is_idle);
        let new = || self.beside.is_none().then_some(1);
        idle.or_else(new).or_else(|| self.lanes().position(|lane| !lane.is_attached()))
    }

    pub(super) fn has_partial(&self) -> bool {
        self.lanes().flat_map(|lane| &lane.inlets).any(|inlet| inlet.framer.has_partial())
    }

    /// What is attached, or was last, in the order of their numbers.
    pub(super) fn lanes(&self) -> impl Iterator<Item = &Lane> {
        std::iter::once(&self.lane).chain(self.beside.as_deref())
    }

    pub(super) fn lanes_mut(&mut self) -> impl Iterator<Item = &mut Lane> {
        std::iter::once(&mut self.lane).chain(self.beside.as_deref_mut())
    }

    /// Number of the lane of an incarnation.
    pub(super) fn lane_of(&self, generation: u64) -> Option<usize> {
        self.lanes().position(|lane| lane.generation == generation)
    }

    /// The lane of this number, 0 or 1.
    pub(super) fn lane(&self, number: usize) -> Option<&Lane> {
        if number == 0 { Some(&self.lane) } else { self.beside.as_deref() }
    }

    pub(super) fn lane_mut(&mut self, number: usize) -> Option<&mut Lane> {
        if number == 0 { Some(&mut self.lane) } else { self.beside.as_deref_mut() }
    }

    pub(super) fn lane_or_new(&mut self, number: usize) -> &mut Lane {
        if number == 0 {
            return &mut self.lane;
        }
        self.beside.get_or_insert_with(|| Box::new(Lane::new()))
    }

    /// One of [`PIPES`].
    pub(super) fn inlet(&self, pipe: usize) -> Option<&Inlet> {
        self.lane(pipe / 2)?.inlets.get(pipe % 2)
    }

    /// One of [`PIPES`].
    pub(super) fn inlet_mut(&mut self, pipe: usize) -> Option<&mut Inlet> {
        self.lane_mut(pipe / 2)?.inlets.get_mut(pipe % 2)
    }

    /// What stands in the transit of a pipe, or is remembered of it. Without a pipe: of a line of cafe itself, which is of
    /// no incarnation.
    pub(super) fn record<'a>(
        &'a self,
        pipe: Option<usize>,
        operation: Operation,
        at: Micros,
        framer: &'a Framer,
    ) -> Record<'a> {
        let (continued, partial) = framer.unfinished();
        let lane = pipe.and_then(|pipe| self.lane(pipe / 2));
        Record {
            service: Cow::Borrowed(&self.name),
            generation: lane.map_or(0, |lane| lane.generation),
            options: self.options,
            stream: framer.stream(),
            operation,
            at,
            continued,
            partial: Cow::Borrowed(partial),
        }
    }
}

impl Lane {
    pub(super) fn new() -> Self {
        let inlets = [Inlet::new(Stream::Stdout), Inlet::new(Stream::Stderr)];
        Self { generation: 0, inlets, watch_for: None, put: 0 }
    }

    pub(super) fn is_attached(&self) -> bool {
        self.inlets.iter().any(|inlet| inlet.pipe.is_some())
    }

    /// Whether nothing is attached, and nothing left to be gone on with.
    fn is_idle(&self) -> bool {
        !self.is_attached() && self.inlets.iter().all(|inlet| inlet.framer.is_between_lines())
    }

    fn begin(&mut self, source: Source) {
        self.generation = source.generation;
        self.watch_for = source.watch_for.map(Box::new);
        self.put = 0;
        for (inlet, pipe) in self.inlets.iter_mut().zip([source.stdout, source.stderr]) {
            // Pipes of a user who has many are smaller, `pipe(7)`.
            let size = fcntl(&pipe, FcntlArg::F_GETPIPE_SZ).ok();
            inlet.capacity = size.and_then(|size| size.try_into().ok()).unwrap_or(PIPE_SIZE);
            inlet.pipe = Some(pipe);
        }
    }
}

impl Inlet {
    fn new(stream: Stream) -> Self {
        Self {
            pipe: None,
            watched: false,
            capacity: PIPE_SIZE,
            slot: None,
            framer: Framer::new(stream),
        }
    }
}
