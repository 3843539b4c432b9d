//! What the pump keeps of one service: two pipes, an unfinished line each, a file, and trouble if there is any. While
//! two incarnations of a service overlap, both write to its one file.
//!
//! Kept small, as there are thousands: buffers belong to the thread, and what is rare is boxed.

use std::os::fd::OwnedFd;
use std::time::Instant;

use nix::fcntl::{FcntlArg, fcntl};
use regex::bytes::Regex;

use super::{SinkOptions, Source};
use crate::logs::frame::Framer;
use crate::logs::line::Stream;
use crate::logs::sink::Sink;
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

/// One stream of a service.
#[derive(Debug)]
pub(super) struct Inlet {
    /// The pipe, while an incarnation is attached.
    pub(super) pipe: Option<OwnedFd>,
    /// Whether epoll watches it.
    pub(super) watched: bool,
    /// Size of the pipe as far as known; grown when the service fills it.
    pub(super) capacity: usize,
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
}

/// Size of a new pipe, `pipe(7)`.
const PIPE_SIZE: usize = 64 * 1024;

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

    /// Takes over an incarnation, where there is room. One before that does not go on beside it must be finished.
    pub(super) fn begin(&mut self, source: Source) {
        self.options = source.options;
        match self.lane.is_attached() {
            true => self.beside.insert(Box::new(Lane::new())).begin(source),
            false => self.lane.begin(source),
        }
    }

    pub(super) fn has_partial(&self) -> bool {
        self.lanes().flat_map(|lane| &lane.inlets).any(|inlet| inlet.framer.has_partial())
    }

    /// What is attached, or was last.
    pub(super) fn lanes(&self) -> impl Iterator<Item = &Lane> {
        std::iter::once(&self.lane).chain(self.beside.as_deref())
    }

    pub(super) fn lanes_mut(&mut self) -> impl Iterator<Item = &mut Lane> {
        std::iter::once(&mut self.lane).chain(self.beside.as_deref_mut())
    }

    pub(super) fn lane_of(&self, generation: u64) -> Option<&Lane> {
        self.lanes().find(|lane| lane.generation == generation)
    }

    /// The lane of a pipe, one of [`PIPES`].
    pub(super) fn lane_at(&mut self, pipe: usize) -> Option<&mut Lane> {
        if pipe < 2 { Some(&mut self.lane) } else { self.beside.as_deref_mut() }
    }

    /// One of [`PIPES`].
    pub(super) fn inlet(&mut self, pipe: usize) -> Option<&mut Inlet> {
        self.lane_at(pipe)?.inlets.get_mut(pipe & 1)
    }
}

impl Lane {
    fn new() -> Self {
        let inlets = [Inlet::new(Stream::Stdout), Inlet::new(Stream::Stderr)];
        Self { generation: 0, inlets, watch_for: None, put: 0 }
    }

    pub(super) fn is_attached(&self) -> bool {
        self.inlets.iter().any(|inlet| inlet.pipe.is_some())
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
        Self { pipe: None, watched: false, capacity: PIPE_SIZE, framer: Framer::new(stream) }
    }
}
