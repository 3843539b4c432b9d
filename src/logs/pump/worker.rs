//! The thread of the pump: sleeps in epoll, takes its turns, serves requests. Reading is in `drain`, writing in `write`.
//!
//! Each wake-up reads at most [`READ`] bytes from each pipe that has something, so a service that writes without pause
//! takes turns with the others. After a round that read little, the thread looks away for [`PAUSE`]: lines that come
//! one by one are then written in batches, at most that much later.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::drain::{QUIET, READ};
use super::pulse::Pulse;
use super::queue::{Command, Queue};
use super::service::Service;
use super::{Notice, Options, SinkOptions};
use crate::logs::Error;
use crate::logs::archive::Archiver;
use crate::logs::excerpt::{self, Excerpt};
use crate::logs::frame::Framer;
use crate::logs::line::{self, Stream};
use crate::logs::sink::Place;
use crate::logs::transit::record::{Operation, Record};
use crate::logs::transit::unfinished::{Slot, Unfinished};
use crate::logs::transit::{Chunk, Left, Transit};
use crate::types::name::Name;

/// How long lines may wait for more to come.
const PAUSE: u16 = 50;

/// A round that read this much is followed by the next at once; so is one that found a pipe half full.
const BUSY: usize = 48 * 1024;

/// Pipes served in one round.
const EVENTS: usize = 256;

/// Marks the eventfd among the events.
const WAKE: u64 = u64::MAX;

/// The state of the thread.
pub(super) struct Worker {
    pub(super) files: Files,
    pub(super) notices: Box<dyn Fn(Notice) + Send>,
    /// Where bytes are between a pipe and a file.
    pub(super) transit: Transit,
    /// The unfinished lines, for the next cafe.
    pub(super) unfinished: Unfinished,
    /// What an earlier one left, until the thread runs.
    pub(super) found: Found,
    pub(super) services: Vec<Option<Service>>,
    /// Slots in `services` with an open file, in the order of opening.
    pub(super) opened: VecDeque<usize>,
    /// Slots with a file that cannot be written.
    pub(super) troubled: Vec<usize>,
    pub(super) retry_at: Option<Instant>,
    /// Slots of which somebody waits for a line: no pause then.
    pub(super) awaited: HashSet<usize>,
    queue: Arc<Queue>,
    pulse: Arc<Pulse>,
    pub(super) epoll: Epoll,
    slots: HashMap<Name, usize>,
    free: Vec<usize>,
    /// When to look at which slot for unfinished lines.
    pub(super) partials: VecDeque<(Instant, usize)>,
    /// Bytes read in this round, and whether some pipe was half full.
    pub(super) read: usize,
    pub(super) nearly_full: bool,
    /// Scratch for all services.
    pub(super) input: Vec<u8>,
    pub(super) output: Vec<u8>,
}

/// What an earlier pump left: reads under way, and unfinished lines.
pub(super) type Found = (Vec<Left>, Vec<(Slot, Record<'static>)>);

/// Where files are, and who compresses them.
pub(super) struct Files {
    pub(super) root: PathBuf,
    pub(super) archiver: Archiver,
}

impl Files {
    pub(super) fn place<'a>(
        &'a self,
        service: &'a Name,
        options: SinkOptions,
        chunk: Option<&'a Chunk>,
    ) -> Place<'a> {
        Place {
            root: &self.root,
            service,
            archiver: &self.archiver,
            max_file: options.max_file,
            keep: options.keep,
            chunk,
        }
    }
}

impl Worker {
    pub(super) fn new(options: Options, queue: Arc<Queue>, pulse: Arc<Pulse>) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(queue.descriptor(), EpollEvent::new(EpollFlags::EPOLLIN, WAKE))?;
        let archiver = Archiver::start(options.dir.clone(), options.limits)?;
        let (transit, left) = Transit::open(options.transit.clone());
        let (unfinished, lines) = Unfinished::open(options.transit.as_deref());
        Ok(Self {
            transit,
            unfinished,
            found: (left, lines),
            files: Files { root: options.dir, archiver },
            notices: options.notices,
            services: Vec::new(),
            opened: VecDeque::new(),
            troubled: Vec::new(),
            retry_at: None,
            awaited: HashSet::new(),
            queue,
            pulse,
            epoll,
            slots: HashMap::new(),
            free: Vec::new(),
            partials: VecDeque::new(),
            read: 0,
            nearly_full: false,
            input: vec![0; READ],
            output: Vec::new(),
        })
    }

    /// Runs until the queue is stopped.
    pub(super) fn run(mut self) {
        let mut events = [EpollEvent::empty(); EVENTS];
        self.pulse.begin();
        self.recover();
        loop {
            self.pulse.begin();
            let (commands, go_on) = self.queue.take();
            for command in commands {
                if let Command::Suspend(reply) = command {
                    // The last request there is. Whoever asked may have gone: then the pipes are closed.
                    let _ = reply.send(self.suspend());
                    return;
                }
                self.serve(command);
            }
            if !go_on {
                return self.end();
            }
            self.pulse.rest();
            let count = match self.epoll.wait(&mut events, self.timeout()) {
                Ok(count) => count,
                Err(Errno::EINTR) => 0,
                Err(errno) => {
                    tracing::error!(%errno, "log pump cannot wait");
                    return self.end();
                }
            };
            self.pulse.begin();
            (self.read, self.nearly_full) = (0, false);
            for event in events[..count].iter().filter(|event| event.data() != WAKE) {
                let slot = usize::try_from(event.data() >> 2).unwrap_or(usize::MAX);
                let pipe = usize::try_from(event.data() & 3).unwrap_or_default();
                if !self.waits(slot) {
                    self.pull(slot, pipe, READ);
                }
            }
            self.tick();
            let light = (1..BUSY).contains(&self.read) && !self.nearly_full;
            if light && self.awaited.is_empty() {
                self.pulse.rest();
                self.pause();
            }
        }
    }

    fn serve(&mut self, command: Command) {
        match command {
            Command::Attach(source) => self.attach(*source),
            Command::Update(name, options) => self.update(&name, options),
            Command::SetLimits(limits) => self.files.archiver.set_limits(limits),
            Command::Finish(name, generation, reply) => {
                let excerpt = self.lane_of(&name, generation).map(|(slot, lane)| {
                    let put = self.finish_lane(slot, lane);
                    self.excerpt(slot, put)
                });
                // Whoever asked may have gone.
                let _ = reply.send(excerpt.unwrap_or_default());
            }
            Command::Excerpt(name, reply) => {
                let excerpt = self.slots.get(&name).copied().map(|slot| {
                    let lanes = self.services[slot].iter().flat_map(Service::lanes);
                    let latest = lanes.max_by_key(|lane| lane.generation);
                    let put = latest.map_or(0, |lane| lane.put);
                    self.excerpt(slot, put)
                });
                let _ = reply.send(excerpt.unwrap_or_default());
            }
            Command::Rotate(name, reply) => {
                let _ = reply.send(self.rotate(&name));
            }
            Command::Note(name, options, text) => {
                let slot = self.slot_for(&name, options);
                self.note(slot, &text);
            }
            Command::Forget(name) => self.forget(&name),
            Command::Resume(suspended) => self.resume(*suspended),
            Command::Suspend(_) => {}
        }
    }

    /// The slot of a service; one that was not heard of before gets one.
    pub(super) fn slot_for(&mut self, name: &Name, options: SinkOptions) -> usize {
        if let Some(&slot) = self.slots.get(name) {
            return slot;
        }
        let slot = self.free.pop().unwrap_or(self.services.len());
        if slot == self.services.len() {
            self.services.push(None);
        }
        self.slots.insert(name.clone(), slot);
        self.services[slot] = Some(Service::new(name.clone(), options));
        slot
    }

    fn update(&mut self, name: &Name, options: SinkOptions) {
        let Some(&slot) = self.slots.get(name) else { return };
        if let Some(service) = self.services[slot].as_mut() {
            service.options = options;
        }
        self.watch(slot);
    }

    pub(super) fn rotate(&mut self, name: &Name) -> Result<(), Error> {
        let Some(&slot) = self.slots.get(name) else { return Ok(()) };
        let Some(service) = self.services[slot].as_mut() else { return Ok(()) };
        // The place of lines that wait is another one then.
        let waiting = service.trouble.as_ref().and_then(|trouble| trouble.kept.first());
        let place = self.files.place(&service.name, service.options, waiting);
        let rotated = service.sink.rotate_now(place).map_err(|source| Error::File {
            operation: "rotate the log in",
            path: self.files.root.join(name.as_str()),
            source,
        });
        self.mind_open_files(slot);
        rotated
    }

    pub(super) fn note(&mut self, slot: usize, text: &str) {
        let mut framer = Framer::new(Stream::Cafe);
        let at = self.stamp(slot);
        let mut disk = Vec::new();
        let (text, _) = text.as_bytes().split_at(text.len().min(line::MAX_PAYLOAD));
        framer.push(at, text, &mut disk);
        // If it has to wait for its file, what comes after it does so with a transit, too.
        self.begin(slot, None, Operation::Finish, at, &framer);
        framer.finish(at, &mut disk);
        self.put(slot, &disk, 1);
        self.settle(slot);
    }

    fn forget(&mut self, name: &Name) {
        let Some(slot) = self.slots.remove(name) else { return };
        self.finish(slot);
        self.retry(slot);
        self.opened.retain(|&opened| opened != slot);
        self.troubled.retain(|&troubled| troubled != slot);
        self.partials.retain(|&(_, partial)| partial != slot);
        self.services[slot] = None;
        self.free.push(slot);
    }

    /// The last lines, of so many bytes at most.
    fn excerpt(&mut self, slot: usize, put: u64) -> Excerpt {
        let Some(service) = self.services[slot].as_ref() else { return Excerpt::default() };
        let wanted = usize::try_from(put).unwrap_or(excerpt::BYTES).min(excerpt::BYTES);
        let (pending, last): (&[u8], &[u8]) = match &service.trouble {
            Some(trouble) => (&trouble.pending, &trouble.last),
            None => (&[], &[]),
        };
        let on_disk = wanted.saturating_sub(pending.len() + last.len());
        let read = excerpt::tail(&self.files.root, &service.name, on_disk);
        let mut disk = read.unwrap_or_else(|error| {
            tracing::warn!(service = %service.name, %error, "cannot read the last lines");
            Vec::new()
        });
        disk.extend_from_slice(pending);
        disk.extend_from_slice(last);
        Excerpt::of(&disk)
    }

    /// Writes lines that were left unfinished, and tries again what could not be written.
    fn tick(&mut self) {
        if self.partials.is_empty() && self.retry_at.is_none() {
            return;
        }
        let now = Instant::now();
        while let Some(&(_, slot)) = self.partials.front().filter(|(due, _)| *due <= now) {
            self.partials.pop_front();
            let Some(service) = self.services[slot].as_mut() else { continue };
            let due = service.heard + QUIET;
            if service.has_partial() && due > now {
                self.partials.push_back((due, slot));
                continue;
            }
            service.listed = false;
            self.flush_partials(slot);
        }
        if self.retry_at.is_some_and(|due| due <= now) {
            self.retry_all();
        }
    }

    /// Slot and lane of an incarnation.
    pub(super) fn lane_of(&self, name: &Name, generation: u64) -> Option<(usize, usize)> {
        let slot = *self.slots.get(name)?;
        let service = self.services[slot].as_ref()?;
        service.lane_of(generation).map(|lane| (slot, lane))
    }

    fn timeout(&self) -> EpollTimeout {
        let partial = self.partials.front().map(|&(due, _)| due);
        let Some(due) = partial.into_iter().chain(self.retry_at).min() else {
            return EpollTimeout::NONE;
        };
        // One millisecond more, or it would wake just before and spin.
        let left = due.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
        EpollTimeout::try_from(left).unwrap_or(EpollTimeout::MAX)
    }

    fn pause(&self) {
        let mut wake = [PollFd::new(self.queue.descriptor().as_fd(), PollFlags::POLLIN)];
        // Interrupted or not, the loop goes on.
        let _ = poll(&mut wake, PollTimeout::from(PAUSE));
    }

    fn end(mut self) {
        for slot in 0..self.services.len() {
            self.retry(slot);
            // What is still in the pipe of a service that waits stays there, for the next cafe to adopt.
            if self.services[slot].as_ref().is_some_and(|service| service.trouble.is_none()) {
                self.finish(slot);
            }
            if let Some(service) = &self.services[slot]
                && let Some(trouble) =
                    service.trouble.as_ref().filter(|trouble| trouble.is_at_risk())
            {
                let bytes = trouble.pending.len();
                let (name, cause) = (&service.name, &trouble.cause);
                tracing::error!(service = %name, bytes, cause, "log lines lost at the end");
            }
        }
    }
}

impl Drop for Worker {
    /// Also after a panic: callers learn that nobody listens.
    fn drop(&mut self) {
        self.queue.stop();
        drop(self.queue.take());
        self.files.archiver.stop();
    }
}
