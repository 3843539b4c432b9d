//! Reading for the pump thread: bytes from pipes to lines, and which pipes epoll watches.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::epoll::{EpollEvent, EpollFlags};

use super::service::PIPES;
use super::worker::Worker;
use crate::logs::line::Micros;
use crate::types::policy::OnFull;

/// Bytes read from one pipe in one turn.
pub(super) const READ: usize = 256 * 1024;

/// The same while some file cannot be written: what is read may have to be held in memory.
const READ_IN_TROUBLE: usize = 16 * 1024;

/// The size busy pipes are grown to; the limit for users other than root, `/proc/sys/fs/pipe-max-size`.
const LARGEST_PIPE: usize = 1 << 20;

/// How long a line may stay unfinished before it is written as it is.
pub(super) const QUIET: Duration = Duration::from_secs(2);

impl Worker {
    /// One read from one pipe, framed and written. Returns bytes read.
    pub(super) fn pull(&mut self, slot: usize, pipe_number: usize, most: usize) -> usize {
        let most = if self.troubled.is_empty() { most } else { most.min(READ_IN_TROUBLE) };
        let Some(service) = self.services.get_mut(slot).and_then(Option::as_mut) else { return 0 };
        let Some(lane) = service.lane_at(pipe_number) else { return 0 };
        let inlet = &mut lane.inlets[pipe_number & 1];
        let Some(pipe) = &inlet.pipe else { return 0 };
        let count = match nix::unistd::read(pipe, &mut self.input[..most]) {
            Ok(0) => {
                // All writers are gone. The end of the incarnation is told by `finish`.
                self.unwatch(slot, pipe_number);
                return 0;
            }
            Ok(count) => count,
            Err(Errno::EAGAIN | Errno::EINTR) => return 0,
            Err(errno) => {
                tracing::error!(service = %service.name, %errno, "cannot read a log pipe");
                self.unwatch(slot, pipe_number);
                return 0;
            }
        };
        self.read += count;
        self.nearly_full |= count >= inlet.capacity / 2;
        if count >= inlet.capacity {
            inlet.capacity = grow(pipe, inlet.capacity);
        }
        service.heard = Instant::now();
        self.deliver(slot, pipe_number, count);
        count
    }

    /// Frames what was read into `input` and writes it.
    fn deliver(&mut self, slot: usize, pipe: usize, count: usize) {
        let at = self.stamp(slot);
        let input = std::mem::take(&mut self.input);
        let mut output = std::mem::take(&mut self.output);
        let mut chunk = &input[..count];
        while let Some(service) = self.services[slot].as_mut().filter(|_| !chunk.is_empty()) {
            let Some(inlet) = service.inlet(pipe) else { break };
            output.clear();
            let framed = inlet.framer.push(at, chunk, &mut output);
            chunk = &chunk[framed.consumed..];
            self.put_of(slot, pipe, &output, framed.lines);
        }
        (self.input, self.output) = (input, output);
        let Some(service) = self.services[slot].as_mut() else { return };
        if service.has_partial() && !service.listed {
            service.listed = true;
            self.partials.push_back((service.heard + QUIET, slot));
        }
    }

    /// Ends all incarnations of a service.
    pub(super) fn finish(&mut self, slot: usize) {
        self.finish_pipes(slot, &PIPES);
        if let Some(service) = self.services[slot].as_mut() {
            service.beside = None;
        }
    }

    /// Ends one incarnation; says how many bytes were put since it was attached.
    pub(super) fn finish_one(&mut self, slot: usize, generation: u64) -> u64 {
        let Some(service) = self.services[slot].as_ref() else { return 0 };
        let is_beside = service.lane.generation != generation;
        self.finish_pipes(slot, if is_beside { &PIPES[2..] } else { &PIPES[..2] });
        let Some(service) = self.services[slot].as_mut() else { return 0 };
        let put = service.lane_of(generation).map_or(0, |lane| lane.put);
        if is_beside {
            service.beside = None;
        }
        put
    }

    /// Reads what is in these pipes now, ends an unfinished line, closes the pipes.
    fn finish_pipes(&mut self, slot: usize, pipes: &[usize]) {
        for &number in pipes {
            let Some(service) = self.services[slot].as_mut() else { return };
            let Some(pipe) = service.inlet(number).and_then(|inlet| inlet.pipe.as_ref()) else {
                continue;
            };
            // Not until it is empty: a process left behind may hold the other end and write for ever.
            let waiting = rustix::io::ioctl_fionread(pipe).unwrap_or_default();
            let mut left = usize::try_from(waiting).unwrap_or_default();
            while left > 0 {
                match self.pull(slot, number, left.min(READ)) {
                    0 => break,
                    count => left -= count,
                }
            }
            self.unwatch(slot, number);
            // A stamp needs the file open; a service that wrote nothing has none, and none is made for it here.
            let inlet = self.services[slot].as_mut().and_then(|service| service.inlet(number));
            let has_partial = inlet.is_some_and(|inlet| inlet.framer.has_partial());
            let at = if has_partial { self.stamp(slot) } else { Micros::default() };
            let inlet = self.services[slot].as_mut().and_then(|service| service.inlet(number));
            let Some(inlet) = inlet else { return };
            inlet.pipe = None;
            let mut disk = Vec::new();
            let lines = inlet.framer.finish(at, &mut disk);
            self.put_of(slot, number, &disk, lines);
        }
        for &number in pipes {
            self.await_no_more(slot, number);
        }
    }

    pub(super) fn flush_partials(&mut self, slot: usize) {
        let at = self.stamp(slot);
        for pipe in PIPES {
            let inlet = self.services[slot].as_mut().and_then(|service| service.inlet(pipe));
            let Some(inlet) = inlet else { continue };
            let mut disk = Vec::new();
            inlet.framer.flush(at, &mut disk);
            self.put_of(slot, pipe, &disk, 0);
        }
    }

    /// Lets epoll watch the pipes of a service, unless it is one that waits for its file.
    pub(super) fn watch(&mut self, slot: usize) {
        let Some(service) = self.services[slot].as_mut() else { return };
        let waits = service.trouble.is_some() && service.options.on_full == OnFull::Block;
        for number in PIPES {
            if waits {
                self.unwatch(slot, number);
                continue;
            }
            let Some(service) = self.services[slot].as_mut() else { return };
            let Some(inlet) = service.inlet(number).filter(|inlet| !inlet.watched) else {
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
        let Some(inlet) = service.inlet(pipe_number).filter(|inlet| inlet.watched) else { return };
        let Some(pipe) = inlet.pipe.as_ref() else { return };
        inlet.watched = false;
        if let Err(errno) = self.epoll.delete(pipe) {
            tracing::error!(service = %service.name, %errno, "cannot leave a log pipe alone");
        }
    }
}

/// Four times larger, where permitted; the size it has then. `usize::MAX`: do not try again.
fn grow(pipe: impl AsFd, capacity: usize) -> usize {
    if capacity >= LARGEST_PIPE {
        return usize::MAX;
    }
    let wanted = i32::try_from(capacity * 4).unwrap_or(i32::MAX);
    let grown = fcntl(pipe, FcntlArg::F_SETPIPE_SZ(wanted));
    grown.ok().and_then(|size| usize::try_from(size).ok()).unwrap_or(usize::MAX)
}
