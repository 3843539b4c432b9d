//! The pump: one thread that owns all log pipes and files. This is its handle; the thread is in `worker`.
//!
//! Requests go through a bounded queue and an eventfd, so no caller ever waits for a disk. What the pump has to tell
//! goes to the callback given at its start. When nothing is written, the thread sleeps without a timer.

mod attach;
mod drain;
mod pulse;
mod queue;
mod recover;
mod service;
mod suspend;
mod worker;
mod write;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use regex::bytes::Regex;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use self::pulse::Pulse;
use self::queue::{Command, Queue};
pub use self::suspend::{State, Suspended, Unfinished, Unwritten};
use super::Error;
use super::excerpt::Excerpt;
use crate::types::name::Name;
use crate::types::policy::OnFull;

/// What a pump needs to start.
pub struct Options {
    /// Directory with one directory per service.
    pub dir: PathBuf,
    /// Bounds of all logs together.
    pub limits: Limits,
    /// Directory of its own for what is on its way from pipes to files, so that a kill loses none of it. Without one, or on
    /// a file system without `splice(2)`, what was read and not yet written is lost then.
    pub transit: Option<PathBuf>,
    /// Called on the pump's thread with each [`Notice`]; must not block.
    pub notices: Box<dyn Fn(Notice) + Send>,
}

/// A turn of the thread takes milliseconds; one that takes this long hangs in a file system.
pub const STALLED: Duration = Duration::from_secs(5);

/// Bounds of all logs together. Archives are removed for them, oldest first; current files never are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest sum of all files, bytes.
    pub max_total: u64,
    /// Share of the file system kept free, percent.
    pub min_free_percent: u8,
}

/// How the files of one service are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinkOptions {
    /// Size at which a file is rotated, bytes; only a single line may make it larger.
    pub max_file: u64,
    /// Archives kept.
    pub keep: u32,
    /// What happens while the file cannot be written.
    pub on_full: OnFull,
}

/// One incarnation of a service, to be read until [`Pump::finish`].
#[derive(Debug)]
pub struct Source {
    /// Whose output it is.
    pub service: Name,
    /// Which incarnation.
    pub generation: u64,
    /// The one attached before goes on meanwhile; two at most are read at once.
    pub beside: bool,
    /// Read end of the pipe at its descriptor 1, non-blocking, as [`pipe`](super::pipe()) makes it.
    pub stdout: OwnedFd,
    /// Read end of the pipe at its descriptor 2, likewise.
    pub stderr: OwnedFd,
    /// How its files are kept.
    pub options: SinkOptions,
    /// Told by [`Notice::Matched`] when a line matches.
    pub watch_for: Option<Regex>,
    /// Whether an earlier cafe read from it, which was killed: the lines it left unfinished go on.
    pub found: bool,
}

/// What the pump tells on its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// The first line that matched [`Source::watch_for`].
    Matched {
        /// Whose line.
        service: Name,
        /// Of which incarnation.
        generation: u64,
        /// The line, as text.
        line: String,
    },
    /// A log file could not be written. The service waits or loses lines, as its `on_full` says; the write is tried
    /// again every second.
    WriteFailed {
        /// Whose file.
        service: Name,
        /// Why.
        error: String,
    },
    /// A service has been waiting for its log file for a second.
    Blocked {
        /// Which service.
        service: Name,
        /// For how long, milliseconds.
        ms: u64,
        /// Why the file cannot be written.
        cause: String,
    },
    /// The log file is written again; nothing was lost.
    Unblocked {
        /// Which service.
        service: Name,
        /// How long it waited, milliseconds.
        ms: u64,
    },
    /// The log file is written again; lines were dropped meanwhile, which is noted in place.
    Dropped {
        /// Which service.
        service: Name,
        /// How many lines.
        lines: u64,
        /// Over which time, milliseconds.
        ms: u64,
    },
}

/// The handle. Cheap to clone; when the last is dropped, the pump drains, flushes and ends.
#[derive(Debug, Clone)]
pub struct Pump(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    queue: Arc<Queue>,
    pulse: Arc<Pulse>,
    thread: Mutex<Option<JoinHandle<()>>>,
    suspended: AtomicBool,
}

impl Pump {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the directory cannot be made, or descriptors or threads are lacking.
    pub fn start(options: Options) -> Result<Self, Error> {
        std::fs::create_dir_all(&options.dir).map_err(|source| Error::File {
            operation: "make the log directory",
            path: options.dir.clone(),
            source,
        })?;
        let failed = |operation| move |source: io::Error| Error::Start { operation, source };
        let queue = Arc::new(Queue::new().map_err(failed("make an eventfd"))?);
        let pulse = Arc::new(Pulse::new());
        let worker = worker::Worker::new(options, Arc::clone(&queue), Arc::clone(&pulse))
            .map_err(failed("set up"))?;
        let thread = std::thread::Builder::new()
            .name("log-pump".to_owned())
            .spawn(move || worker.run())
            .map_err(failed("start a thread"))?;
        let (thread, suspended) = (Mutex::new(Some(thread)), AtomicBool::new(false));
        Ok(Self(Arc::new(Inner { queue, pulse, thread, suspended })))
    }

    /// Reads from an incarnation. One attached before and not finished is finished first, unless the two overlap
    /// ([`Source::beside`]).
    ///
    /// # Errors
    /// When the pump has stopped or does not keep up; the pipes are closed then.
    pub fn attach(&self, source: Source) -> Result<(), Error> {
        self.0.queue.push(Command::Attach(Box::new(source)))
    }

    /// Changes how the files of a service are kept, from its next line on.
    ///
    /// # Errors
    /// As [`Pump::attach`].
    pub fn update(&self, service: Name, options: SinkOptions) -> Result<(), Error> {
        self.0.queue.push(Command::Update(service, options))
    }

    /// Changes the bounds of all logs together.
    ///
    /// # Errors
    /// As [`Pump::attach`].
    pub fn set_limits(&self, limits: Limits) -> Result<(), Error> {
        self.0.queue.push(Command::SetLimits(limits))
    }

    /// Ends an incarnation: what is in its pipes now is read and written, its unfinished line ended, the pipes closed.
    /// Answers with its last lines; it never waits for the disk to recover. An incarnation not attached has no lines.
    ///
    /// # Errors
    /// As [`Pump::attach`].
    pub fn finish(
        &self,
        service: Name,
        generation: u64,
    ) -> Result<oneshot::Receiver<Excerpt>, Error> {
        let (reply, answer) = oneshot::channel();
        self.0.queue.push(Command::Finish(service, generation, reply))?;
        Ok(answer)
    }

    /// The last lines of the incarnation attached last.
    ///
    /// # Errors
    /// As [`Pump::attach`].
    pub fn excerpt(&self, service: Name) -> Result<oneshot::Receiver<Excerpt>, Error> {
        let (reply, answer) = oneshot::channel();
        self.0.queue.push(Command::Excerpt(service, reply))?;
        Ok(answer)
    }

    /// Makes the current file of a service an archive now. The answer comes once it is done, or has failed.
    ///
    /// # Errors
    /// As [`Pump::attach`].
    pub fn rotate(&self, service: Name) -> Result<oneshot::Receiver<Result<(), Error>>, Error> {
        let (reply, answer) = oneshot::channel();
        self.0.queue.push(Command::Rotate(service, reply))?;
        Ok(answer)
    }

    /// Writes a line of cafe itself into the log of a service, whether or not it ever had an incarnation.
    ///
    /// # Errors
    /// As [`Pump::attach`].
    pub fn note(&self, service: Name, options: SinkOptions, text: String) -> Result<(), Error> {
        self.0.queue.push(Command::Note(service, options, text))
    }

    /// Finishes a service that is no longer in the config. Its files stay.
    ///
    /// # Errors
    /// As [`Pump::attach`].
    pub fn forget(&self, service: Name) -> Result<(), Error> {
        self.0.queue.push(Command::Forget(service))
    }

    /// Ends the thread between two reads, for an upgrade in place: nothing is drained, no unfinished line is ended, no pipe
    /// is closed. What was asked for before is done first; afterwards every request is refused. Blocking. Gives all
    /// services that the thread knew, of two incarnations that overlap one each, to be handed to [`Pump::resume`] of the
    /// next pump in this order, here or after an `execve`.
    ///
    /// # Errors
    /// When the pump has stopped already.
    pub fn suspend(&self) -> Result<Vec<Suspended>, Error> {
        self.0.suspended.store(true, Ordering::Relaxed);
        let (reply, answer) = oneshot::channel();
        self.0.queue.push_last(Command::Suspend(reply))?;
        let suspended = answer.blocking_recv().map_err(|_| Error::Stopped);
        self.0.stop();
        suspended
    }

    /// Whether [`Pump::suspend`] was called.
    #[must_use]
    pub fn is_suspended(&self) -> bool {
        self.0.suspended.load(Ordering::Relaxed)
    }

    /// Goes on with an incarnation where the pump that was suspended had stopped.
    ///
    /// # Errors
    /// As [`Pump::attach`].
    pub fn resume(&self, suspended: Suspended) -> Result<(), Error> {
        self.0.queue.push(Command::Resume(Box::new(suspended)))
    }

    /// For how long the thread has been hanging in a file system, if it does: then no log is written, and what
    /// services write waits in their pipes.
    #[must_use]
    pub fn stalled(&self) -> Option<Duration> {
        Some(self.0.pulse.turn()).filter(|turn| *turn >= STALLED)
    }

    /// Drains all pipes, writes what can be written, and waits for the end of the thread. Blocking.
    pub fn stop(&self) {
        self.0.stop();
    }
}

impl Inner {
    fn stop(&self) {
        self.queue.stop();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("log pump panicked");
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("Options");
        shown.field("dir", &self.dir).field("limits", &self.limits).finish_non_exhaustive()
    }
}
