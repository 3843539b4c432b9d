//! Liveness by evidence: an actor that has something to do and gets nowhere is wedged, and so is one that does not answer.
//! Only finds out; the supervisor kills it and restarts it as failed.
//!
//! A kill takes effect at the next await, so this helps against an await that never ends, not against a loop without any.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ractor::ActorCell;
use tokio::sync::{Notify, oneshot};

/// How a child shows that it lives.
#[derive(Clone)]
pub enum Heartbeat {
    /// While it has work it marks progress, at least this often. Costs nothing while it is idle.
    Progress {
        /// Shared with the child, by the closure that starts it; of all its lives.
        progress: Progress,
        /// Longest time without a mark.
        deadline: Duration,
    },
    /// It answers a message.
    Ping {
        /// Sends the message; the child answers with the sender. An actor that cannot be reached is gone, not wedged.
        ask: Ask,
        /// Time between two.
        every: Duration,
        /// Longest time to the answer.
        deadline: Duration,
    },
}

/// Sends a ping to the actor.
pub type Ask = Arc<dyn Fn(&ActorCell, oneshot::Sender<()>) + Send + Sync>;

/// The marks of a child. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    inner: Arc<Marks>,
}

#[derive(Debug, Default)]
struct Marks {
    /// Pieces of work begun and not ended.
    busy: AtomicU64,
    marks: AtomicU64,
    begun: Notify,
}

/// A piece of work; it ends when this is dropped.
#[derive(Debug)]
#[must_use = "the work ends when this is dropped"]
pub struct Work {
    inner: Arc<Marks>,
}

impl Progress {
    /// Begins a piece of work: from here on marks are expected.
    pub fn begin(&self) -> Work {
        self.inner.marks.fetch_add(1, Ordering::Relaxed);
        self.inner.busy.fetch_add(1, Ordering::Relaxed);
        self.inner.begun.notify_one();
        Work { inner: Arc::clone(&self.inner) }
    }

    /// Still getting on.
    pub fn mark(&self) {
        self.inner.marks.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.inner.marks.fetch_add(1, Ordering::Relaxed);
        self.inner.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Returns when the actor is found wedged; never without a heartbeat.
pub(super) async fn wedged(heartbeat: Option<Heartbeat>, cell: &ActorCell) {
    match heartbeat {
        None => std::future::pending().await,
        Some(Heartbeat::Progress { progress, deadline }) => stuck(&progress.inner, deadline).await,
        Some(Heartbeat::Ping { ask, every, deadline }) => silent(&ask, cell, every, deadline).await,
    }
}

async fn stuck(marks: &Marks, deadline: Duration) {
    loop {
        if marks.busy.load(Ordering::Relaxed) == 0 {
            marks.begun.notified().await;
            continue;
        }
        let seen = marks.marks.load(Ordering::Relaxed);
        tokio::time::sleep(deadline).await;
        let busy = marks.busy.load(Ordering::Relaxed) > 0;
        if busy && marks.marks.load(Ordering::Relaxed) == seen {
            return;
        }
    }
}

async fn silent(ask: &Ask, cell: &ActorCell, every: Duration, deadline: Duration) {
    loop {
        tokio::time::sleep(every).await;
        let (answer, answered) = oneshot::channel();
        ask(cell, answer);
        if tokio::time::timeout(deadline, answered).await.is_err() {
            return;
        }
    }
}

impl std::fmt::Debug for Heartbeat {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (kind, deadline) = match self {
            Self::Progress { deadline, .. } => ("Progress", deadline),
            Self::Ping { deadline, .. } => ("Ping", deadline),
        };
        formatter.debug_struct(kind).field("deadline", deadline).finish_non_exhaustive()
    }
}
