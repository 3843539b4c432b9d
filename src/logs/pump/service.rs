//! What the pump keeps of one service: two pipes, an unfinished line each, a file, and trouble if there is any.
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
    pub(super) generation: u64,
    pub(super) options: SinkOptions,
    /// Stdout and stderr.
    pub(super) inlets: [Inlet; 2],
    pub(super) watch_for: Option<Box<Regex>>,
    pub(super) sink: Sink,
    pub(super) trouble: Option<Box<Trouble>>,
    /// Bytes put on disk for this generation: how far back its excerpt may look.
    pub(super) put: u64,
    /// When something was read last.
    pub(super) heard: Instant,
    /// Whether it is in the list of services with unfinished lines.
    pub(super) listed: bool,
    /// Whether it is in the list of services with open files.
    pub(super) counted_open: bool,
}

// Thousands of services fit into little memory.
const _: () = assert!(size_of::<Service>() <= 256);

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
            generation: 0,
            options,
            inlets: [Inlet::new(Stream::Stdout), Inlet::new(Stream::Stderr)],
            watch_for: None,
            sink: Sink::default(),
            trouble: None,
            put: 0,
            heard: Instant::now(),
            listed: false,
            counted_open: false,
        }
    }

    /// Takes over an incarnation. The one before must be finished.
    pub(super) fn begin(&mut self, source: Source) {
        self.generation = source.generation;
        self.options = source.options;
        self.watch_for = source.watch_for.map(Box::new);
        self.put = 0;
        for (inlet, pipe) in self.inlets.iter_mut().zip([source.stdout, source.stderr]) {
            // Pipes of a user who has many are smaller, `pipe(7)`.
            let size = fcntl(&pipe, FcntlArg::F_GETPIPE_SZ).ok();
            inlet.capacity = size.and_then(|size| size.try_into().ok()).unwrap_or(PIPE_SIZE);
            inlet.pipe = Some(pipe);
        }
    }

    /// What stands in the transit of a stream, or is remembered of it.
    pub(super) fn record<'a>(
        &'a self,
        operation: Operation,
        at: Micros,
        framer: &'a Framer,
    ) -> Record<'a> {
        let (continued, partial) = framer.unfinished();
        Record {
            service: Cow::Borrowed(&self.name),
            generation: self.generation,
            options: self.options,
            stream: framer.stream(),
            operation,
            at,
            continued,
            partial: Cow::Borrowed(partial),
        }
    }

    pub(super) fn has_partial(&self) -> bool {
        self.inlets.iter().any(|inlet| inlet.framer.has_partial())
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
