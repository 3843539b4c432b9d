//! The threads that start processes: each start blocks its thread for about half a millisecond, until the exec.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tokio::sync::{mpsc, oneshot};

use super::launch::Launcher;
use super::{Child, Command};
use crate::os::children::Children;
use crate::os::{Error, pidfd};

/// Commands that wait for a thread; beyond that [`Spawner::spawn`] waits to hand its command over.
const QUEUE: usize = 64;

/// A start needs little stack of its own; account lookups may load modules of the C library.
const STACK_BYTES: usize = 256 * 1024;

/// Starts processes off the async runtime. Cheap to clone; its threads end with the last clone.
#[derive(Debug, Clone)]
pub struct Spawner {
    queue: mpsc::Sender<Start>,
    children: Arc<Children>,
}

#[derive(Debug)]
struct Start {
    command: Command,
    reply: oneshot::Sender<Result<Child, Error>>,
}

impl Spawner {
    /// A spawner with a thread per core, two at least and eight at most.
    ///
    /// # Errors
    /// When a thread or its stack cannot be made, or `/dev/null` cannot be opened.
    pub fn new() -> Result<Self, Error> {
        let cores = thread::available_parallelism().map_or(2, usize::from);
        Self::with_threads(cores.clamp(2, 8))
    }

    /// A spawner with this many threads.
    ///
    /// # Errors
    /// As [`Spawner::new`].
    pub fn with_threads(count: usize) -> Result<Self, Error> {
        let failed = |source| Error::system("start", "the spawner", source);
        let (queue, starts) = mpsc::channel(QUEUE);
        let starts = Arc::new(Mutex::new(starts));
        let children = Arc::new(Children::default());
        for index in 0..count.max(1) {
            let launcher = Launcher::new(Arc::clone(&children)).map_err(failed)?;
            let starts = Arc::clone(&starts);
            let thread = thread::Builder::new().name(format!("spawn-{index}"));
            let thread = thread.stack_size(STACK_BYTES);
            thread.spawn(move || work(launcher, &starts)).map_err(failed)?;
        }
        Ok(Self { queue, children })
    }

    /// Starts a process; returns once its program runs, or says why it does not.
    ///
    /// When the caller stops waiting, a process that was already started is killed.
    ///
    /// # Errors
    /// Each kind of failure has its own variant, see [`Error`].
    pub async fn spawn(&self, command: Command) -> Result<Child, Error> {
        let (reply, answer) = oneshot::channel();
        let handed = self.queue.send(Start { command, reply }).await;
        handed.map_err(|_| Error::SpawnerEnded)?;
        answer.await.map_err(|_| Error::SpawnerEnded)?
    }

    /// The children that somebody waits for: for the reaper, and to adopt more.
    #[must_use]
    pub fn children(&self) -> &Arc<Children> {
        &self.children
    }
}

/// One of the threads. Threads take turns in waiting for the queue.
fn work(mut launcher: Launcher, starts: &Mutex<mpsc::Receiver<Start>>) {
    loop {
        let next = starts.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
        let Some(Start { command, reply }) = next else { return };
        if reply.is_closed() {
            continue;
        }
        let result = launcher.launch(&command);
        if let Err(Ok(child)) = reply.send(result) {
            // Nobody would ever stop it. It ended if this fails; its status is the reaper's either way.
            let _ = pidfd::signal(&child, libc::SIGKILL);
        }
    }
}
