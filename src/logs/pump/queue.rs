//! Requests on their way to the pump thread: a bounded queue with an eventfd. Nobody waits on it but the thread.

use std::collections::VecDeque;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::sys::eventfd::{EfdFlags, EventFd};
use tokio::sync::oneshot;

use super::{Limits, SinkOptions, Source, Suspended};
use crate::logs::Error;
use crate::logs::excerpt::Excerpt;
use crate::types::name::Name;

/// Requests that may wait: several for each of the most services that fit a machine.
const CAPACITY: usize = 65_536;

/// A request to the pump.
#[derive(Debug)]
pub(super) enum Command {
    Attach(Box<Source>),
    Update(Name, SinkOptions),
    SetLimits(Limits),
    Finish(Name, u64, oneshot::Sender<Excerpt>),
    Excerpt(Name, oneshot::Sender<Excerpt>),
    Rotate(Name, oneshot::Sender<Result<(), Error>>),
    Note(Name, SinkOptions, String),
    Forget(Name),
    Suspend(oneshot::Sender<Vec<Suspended>>),
    Resume(Box<Suspended>),
}

/// The queue.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    wake: EventFd,
}

#[derive(Debug, Default)]
struct Waiting {
    commands: VecDeque<Command>,
    /// The thread is to end, or has ended.
    stopped: bool,
}

impl Queue {
    pub(super) fn new() -> io::Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let wake = EventFd::from_flags(flags)?;
        Ok(Self { waiting: Mutex::default(), wake })
    }

    /// Hands over a request, without waiting.
    pub(super) fn push(&self, command: Command) -> Result<(), Error> {
        let mut waiting = self.lock();
        if waiting.stopped {
            return Err(Error::Stopped);
        }
        if waiting.commands.len() >= CAPACITY {
            return Err(Error::Busy(CAPACITY));
        }
        waiting.commands.push_back(command);
        let first = waiting.commands.len() == 1;
        // The thread takes the lock at once when it wakes.
        drop(waiting);
        if first {
            self.wake();
        }
        Ok(())
    }

    /// Hands over the last request: none is accepted after it.
    pub(super) fn push_last(&self, command: Command) -> Result<(), Error> {
        let mut waiting = self.lock();
        if waiting.stopped {
            return Err(Error::Stopped);
        }
        // Beyond the capacity, too: it is one only.
        waiting.commands.push_back(command);
        waiting.stopped = true;
        drop(waiting);
        self.wake();
        Ok(())
    }

    /// No request is accepted any more; those that wait are still served.
    pub(super) fn stop(&self) {
        self.lock().stopped = true;
        self.wake();
    }

    /// The requests that wait now, and whether more may come.
    pub(super) fn take(&self) -> (VecDeque<Command>, bool) {
        // Cleared before the queue is emptied: a request pushed in between wakes the thread once too often, never
        // too little.
        let _ = self.wake.read();
        let mut waiting = self.lock();
        (std::mem::take(&mut waiting.commands), !waiting.stopped)
    }

    /// Becomes readable when there is something to [`take`](Self::take).
    pub(super) fn descriptor(&self) -> &EventFd {
        &self.wake
    }

    fn wake(&self) {
        // It can only fail when the counter is full, and then the thread is awake anyway.
        let _ = self.wake.write(1);
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
