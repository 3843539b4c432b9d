//! The register of children that somebody waits for, so that the reaper never takes their status.
//!
//! Holds process ids only; it starts, waits for and kills nothing.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Children of this process that have a waiter.
///
/// Between a clone and its registration a child looks like an orphan, and between a status taken and the
/// entry's removal its number may be given anew. Both are done while holding `shared`; the reaper
/// scans while holding `exclusive`, so it sees neither gap.
#[derive(Debug, Default)]
pub struct Children {
    gate: RwLock<()>,
    known: Mutex<HashSet<u32>>,
    released: Notify,
}

impl Children {
    /// Keeps the reaper out, on the runtime.
    pub(super) async fn shared(&self) -> RwLockReadGuard<'_, ()> {
        self.gate.read().await
    }

    /// Keeps the reaper out, unless it is at work.
    pub(super) fn try_shared(&self) -> Option<RwLockReadGuard<'_, ()>> {
        self.gate.try_read().ok()
    }

    /// Keeps the reaper out, on a thread of its own.
    pub(super) fn shared_blocking(&self) -> RwLockReadGuard<'_, ()> {
        self.gate.blocking_read()
    }

    /// Keeps every clone and every wait out; hold it for system calls that do not block only.
    pub(super) async fn exclusive(&self) -> RwLockWriteGuard<'_, ()> {
        self.gate.write().await
    }

    /// From now on `pid` has a waiter.
    pub(super) fn register(&self, pid: u32) {
        self.known().insert(pid);
    }

    /// From now on `pid` has none: what is left of it is the reaper's.
    pub(super) fn release(&self, pid: u32) {
        self.known().remove(&pid);
        self.released.notify_one();
    }

    /// Whether `pid` has a waiter.
    #[must_use]
    pub fn knows(&self, pid: u32) -> bool {
        self.known().contains(&pid)
    }

    /// How many children have a waiter.
    #[must_use]
    pub fn count(&self) -> usize {
        self.known().len()
    }

    /// Until some child was released; remembers one release that came before the call.
    pub(super) async fn a_release(&self) {
        self.released.notified().await;
    }

    /// The set is whole after any panic: insert and remove are single steps.
    pub(super) fn known(&self) -> MutexGuard<'_, HashSet<u32>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
