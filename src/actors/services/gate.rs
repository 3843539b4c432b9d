//! What is taken from the kernel once and for all (a status, a notification, a sign of readiness) is taken through this
//! gate. While cafe hands itself over it is shut: the next image finds whatever came meanwhile where it was.

use std::sync::Arc;

use tokio::sync::{OwnedRwLockWriteGuard, RwLock, RwLockReadGuard};

/// The gate; cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gate(Arc<RwLock<()>>);

/// Held from the taking until it was told, which waits for nothing.
pub(super) type Pass<'gate> = RwLockReadGuard<'gate, ()>;

/// Opens the gate when it is dropped.
pub(crate) type Shut = OwnedRwLockWriteGuard<()>;

impl Gate {
    /// Waits while it is shut.
    pub(super) async fn pass(&self) -> Pass<'_> {
        self.0.read().await
    }

    /// None while it is shut.
    pub(super) fn pass_at_once(&self) -> Option<Pass<'_>> {
        self.0.try_read().ok()
    }

    /// Shuts it; returns once nobody is inside.
    pub(crate) async fn shut(&self) -> Shut {
        Arc::clone(&self.0).write_owned().await
    }
}
