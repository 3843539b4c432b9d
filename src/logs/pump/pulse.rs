//! The sign of life of the pump's thread: when its present turn began. A turn takes milliseconds, unless a file system
//! neither takes what is written nor refuses it (a server that is gone, a frozen disk).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Shared by the thread and those who hold the pump.
#[derive(Debug)]
pub(super) struct Pulse {
    origin: Instant,
    /// Milliseconds from the origin, at least 1; 0 while the thread sleeps.
    turn_began: AtomicU64,
}

impl Pulse {
    pub(super) fn new() -> Self {
        Self { origin: Instant::now(), turn_began: AtomicU64::new(0) }
    }

    /// A turn begins.
    pub(super) fn begin(&self) {
        self.turn_began.store(self.now().max(1), Ordering::Relaxed);
    }

    /// Nothing is to be done.
    pub(super) fn rest(&self) {
        self.turn_began.store(0, Ordering::Relaxed);
    }

    /// How long the present turn takes already.
    pub(super) fn turn(&self) -> Duration {
        match self.turn_began.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            began => Duration::from_millis(self.now().saturating_sub(began)),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
