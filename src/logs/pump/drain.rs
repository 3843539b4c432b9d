//! Reading for the pump thread: bytes from pipes to lines, and which pipes epoll watches.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{EpollEvent, EpollFlags};

use super::service::{PIPES, pipes_of};
use super::worker::Worker;
use crate::logs::frame::Framer;
use crate::logs::line::Micros;
use crate::logs::transit::record::Operation;
use crate::types::policy::OnFull;

/// Bytes read from one pipe in one turn.
pub(super) const READ: usize = 256 * 1024;

/// The same while some file cannot be written: what is read may have to be held in memory.
const READ_IN_TROUBLE: usize = 16 * 1024;

/// The size busy pipes are grown to; the limit for users other than root, `/proc/sys/fs/pipe-max-size`.
const LARGEST_PIPE: u32 = 1 << 20;

/// Files of transit kept for one service whose file cannot be written; lines beyond are in memory alone.
const KEPT: usize = 256;

/// How long a line may stay unfinished before it is written as it is.
pub(super) const QUIET: Duration = Duration::from_secs(2);

impl Worker {
    /// One read from one pipe, framed and written. Returns bytes read.
    pub(super) fn pull(&mut self, slot: usize, pipe_number: usize, most: usize) -> usize {
        let most = if self.troubled.is_empty() { most } else { most.min(READ_IN_TROUBLE) };
        let Some(pipe) = self.pipe(slot, pipe_number) else { return 0 };
        // First, because whatever else is done is for bytes that come: a stamp, for one, makes the file.
        if rustix::io::ioctl_fionread(pipe).unwrap_or_default() == 0 {
            self.mind_end(slot, pipe_number);
            return 0;
        }
        let at = self.stamp(slot);
        let count = self.take(slot, pipe_number, most, at);
        if count == 0 {
            self.transit.commit();
            return 0;
        }
        self.read += count;
        let Some(service) = self.services[slot].as_mut() else { return count };
        service.heard = Instant::now();
        let Some(inlet) = service.inlet_mut(pipe_number) else { return count };
        let capacity = inlet.capacity as usize;
        self.nearly_full |= count >= capacity / 2;
        if let Some(pipe) = inlet.pipe.as_ref().filter(|_| count >= capacity) {
            inlet.capacity = grow(pipe, inlet.capacity);
        }
        self.deliver(slot, pipe_number, count, at);
        count
    }

    /// Moves bytes from the pipe to `input`, by way of the transit where that works. Returns how many.
    fn take(&mut self, slot: usize, pipe_number: usize, most: usize, at: Micros) -> usize {
        let begun = self.begin_push(slot, pipe_number, at);
        let Some(service) = self.services[slot].as_ref() else { return 0 };
        let inlet = service.inlet(pipe_number);
        let Some(pipe) = inlet.and_then(|inlet| inlet.pipe.as_ref()) else { return 0 };
        if begun {
            match self.transit.take(pipe, most) {
                Ok(0) => return 0,
                Ok(count) => match self.transit.bytes(&mut self.input[..count]) {
                    Ok(()) => return count,
                    Err(error) => {
                        tracing::error!(service = %service.name, %error, "cannot read what was read from a log pipe");
                        self.transit.leave();
                        return 0;
                    }
                },
                Err(_) => self.transit.commit(),
            }
        }
        match nix::unistd::read(pipe, &mut self.input[..most]) {
            Ok(count) => count,
            Err(Errno::EAGAIN | Errno::EINTR) => 0,
            Err(errno) => {
                tracing::error!(service = %service.name, %errno, "cannot read a log pipe");
                self.unwatch(slot, pipe_number);
                0
            }
        }
    }

    fn begin_push(&mut self, slot: usize, pipe: usize, at: Micros) -> bool {
        // Taken out for the moment: what is said of a stream is said of its framer alone.
        let Some(framer) = self.framer(slot, pipe).map(std::mem::take) else { return false };
        let begun = self.begin(slot, Some(pipe), Operation::Push, at, &framer);
        if let Some(place) = self.framer(slot, pipe) {
            *place = framer;
        }
        begun
    }

    fn framer(&mut self, slot: usize, pipe: usize) -> Option<&mut Framer> {
        let inlet = self.services[slot].as_mut()?.inlet_mut(pipe)?;
        Some(&mut inlet.framer)
    }

    fn pipe(&self, slot: usize, pipe: usize) -> Option<&OwnedFd> {
        self.services.get(slot)?.as_ref()?.inlet(pipe)?.pipe.as_ref()
    }

    /// Begins a transit of what comes from a pipe, or from cafe itself. Returns whether it did: what is to be dropped needs
    /// none.
    pub(super) fn begin(
        &mut self,
        slot: usize,
        pipe: Option<usize>,
        operation: Operation,
        at: Micros,
        framer: &Framer,
    ) -> bool {
        let Some(service) = &self.services[slot] else { return false };
        if service.trouble.is_some() && service.options.on_full == OnFull::Drop {
            return false;
        }
        let record = service.record(pipe, operation, at, framer);
        self.transit.begin(&record, service.sink.position())
    }

    /// What was read is written or held, and what is unfinished is remembered: ends the transit.
    pub(super) fn settle(&mut self, slot: usize) {
        let Some(service) = self.services[slot].as_mut() else { return };
        match &mut service.trouble {
            Some(trouble) if self.transit.held && !trouble.unkept && trouble.kept.len() < KEPT => {
                trouble.kept.extend(self.transit.keep());
            }
            // Beside lines that have none, a transit could not say where its own go.
            Some(trouble) if self.transit.held => {
                trouble.unkept = true;
                self.transit.commit();
            }
            _ => self.transit.commit(),
        }
    }

    /// Remembers the unfinished line of a stream for the next cafe, or that there is none.
    pub(super) fn remember(&mut self, slot: usize, pipe: usize) {
        let Some(service) = self.services[slot].as_mut() else { return };
        let Some(inlet) = service.inlet_mut(pipe) else { return };
        let (mut place, framer) = (inlet.slot, std::mem::take(&mut inlet.framer));
        if framer.is_between_lines() {
            self.unfinished.forget(&mut place);
        } else {
            let record = service.record(Some(pipe), Operation::Push, Micros::default(), &framer);
            self.unfinished.remember(&mut place, &record);
        }
        if let Some(inlet) = service.inlet_mut(pipe) {
            (inlet.slot, inlet.framer) = (place, framer);
        }
    }

    /// Frames what was read into `input` and writes it.
    fn deliver(&mut self, slot: usize, pipe: usize, count: usize, at: Micros) {
        let input = std::mem::take(&mut self.input);
        let mut output = std::mem::take(&mut self.output);
        let mut chunk = &input[..count];
        while let Some(framer) = self.framer(slot, pipe).filter(|_| !chunk.is_empty()) {
            output.clear();
            let framed = framer.push(at, chunk, &mut output);
            chunk = &chunk[framed.consumed..];
            self.put_of(slot, pipe, &output, framed.lines);
        }
        (self.input, self.output) = (input, output);
        self.remember(slot, pipe);
        self.settle(slot);
        self.list_partial(slot);
    }

    /// Writes the unfinished line of a stream.
    fn end_line(&mut self, slot: usize, pipe: usize, operation: Operation) {
        let Some(mut framer) = self.framer(slot, pipe).map(std::mem::take) else { return };
        let mut disk = Vec::new();
        // A stamp needs the file open; a service that wrote nothing has none, and none is made for it here.
        let at = if framer.has_partial() { self.stamp(slot) } else { Micros::default() };
        if framer.has_partial() {
            self.begin(slot, Some(pipe), operation, at, &framer);
        }
        let lines = match operation {
            Operation::Finish => framer.finish(at, &mut disk),
            Operation::Flush | Operation::Push => {
                framer.flush(at, &mut disk);
                0
            }
        };
        if let Some(place) = self.framer(slot, pipe) {
            *place = framer;
        }
        self.put_of(slot, pipe, &disk, lines);
        self.remember(slot, pipe);
        self.settle(slot);
    }

    /// An unfinished line is looked at again when nothing more comes.
    pub(super) fn list_partial(&mut self, slot: usize) {
        let Some(service) = self.services[slot].as_mut() else { return };
        if service.has_partial() && !service.listed {
            service.listed = true;
            self.partials.push_back((service.heard + QUIET, slot));
        }
    }

    /// Ends all incarnations of a service.
    pub(super) fn finish(&mut self, slot: usize) {
        self.finish_lane(slot, 1);
        self.finish_lane(slot, 0);
    }

    /// Ends one incarnation: reads what is in its pipes now, ends its unfinished lines, closes the pipes. Says how many
    /// bytes were put since it was attached.
    pub(super) fn finish_lane(&mut self, slot: usize, lane_number: usize) -> u64 {
        for pipe in pipes_of(lane_number) {
            self.drain(slot, pipe);
            // Also of an incarnation that an earlier cafe read from, and this one never did.
            self.end_line(slot, pipe, Operation::Finish);
        }
        self.await_no_more(slot, lane_number);
        let Some(service) = self.services[slot].as_mut() else { return 0 };
        let put = service.lane(lane_number).map_or(0, |lane| lane.put);
        if lane_number == 1 {
            service.beside = None;
        }
        put
    }

    fn drain(&mut self, slot: usize, pipe_number: usize) {
        let Some(pipe) = self.pipe(slot, pipe_number) else { return };
        // Not until it is empty: a process left behind may hold the other end and write for ever.
        let waiting = rustix::io::ioctl_fionread(pipe).unwrap_or_default();
        let mut left = usize::try_from(waiting).unwrap_or_default();
        while left > 0 {
            match self.pull(slot, pipe_number, left.min(READ)) {
                0 => break,
                count => left -= count,
            }
        }
        self.unwatch(slot, pipe_number);
        let inlet = self.services[slot].as_mut().and_then(|it| it.inlet_mut(pipe_number));
        if let Some(inlet) = inlet {
            inlet.pipe = None;
        }
    }

    pub(super) fn flush_partials(&mut self, slot: usize) {
        for pipe in PIPES {
            self.end_line(slot, pipe, Operation::Flush);
        }
    }

    /// Whether a service waits for its file, so that nothing is read of it.
    pub(super) fn waits(&self, slot: usize) -> bool {
        let service = self.services.get(slot).and_then(Option::as_ref);
        service.is_some_and(|service| {
            service.trouble.is_some() && service.options.on_full == OnFull::Block
        })
    }

    /// Nothing is in the pipe; when all writers are gone, nothing will be. The end of the incarnation is told by `finish`.
    fn mind_end(&mut self, slot: usize, pipe_number: usize) {
        let Some(pipe) = self.pipe(slot, pipe_number) else { return };
        let mut look = [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)];
        let looked = poll(&mut look, PollTimeout::ZERO);
        let is = look[0].revents().unwrap_or(PollFlags::empty());
        if looked.is_ok() && is.contains(PollFlags::POLLHUP) && !is.contains(PollFlags::POLLIN) {
            self.unwatch(slot, pipe_number);
        }
    }

    /// Lets epoll watch the pipes of a service, unless it is one that waits for its file.
    pub(super) fn watch(&mut self, slot: usize) {
        let waits = self.waits(slot);
        for number in PIPES {
            if waits {
                self.unwatch(slot, number);
                continue;
            }
            let Some(service) = self.services[slot].as_mut() else { return };
            let Some(inlet) = service.inlet_mut(number).filter(|inlet| !inlet.watched) else {
                continue;
            };
            let Some(pipe) = inlet.pipe.as_ref() else { continue };
            let token = (slot as u64) << 2 | number as u64;
            match self.epoll.add(pipe, EpollEvent::new(EpollFlags::EPOLLIN, token)) {
                Ok(()) => inlet.watched = true,
                Err(errno) => {
                    tracing::error!(service = %service.name, %errno, "cannot watch a log pipe");
                }
            }
        }
    }

    pub(super) fn unwatch(&mut self, slot: usize, pipe_number: usize) {
        let Some(service) = self.services[slot].as_mut() else { return };
        let Some(inlet) = service.inlet_mut(pipe_number).filter(|inlet| inlet.watched) else {
            return;
        };
        let Some(pipe) = inlet.pipe.as_ref() else { return };
        inlet.watched = false;
        if let Err(errno) = self.epoll.delete(pipe) {
            tracing::error!(service = %service.name, %errno, "cannot leave a log pipe alone");
        }
    }
}

/// Four times larger, where permitted; the size it has then. `u32::MAX`: do not try again.
fn grow(pipe: impl AsFd, capacity: u32) -> u32 {
    if capacity >= LARGEST_PIPE {
        return u32::MAX;
    }
    let wanted = i32::try_from(capacity * 4).unwrap_or(i32::MAX);
    let grown = fcntl(pipe, FcntlArg::F_SETPIPE_SZ(wanted));
    grown.ok().and_then(|size| u32::try_from(size).ok()).unwrap_or(u32::MAX)
}
