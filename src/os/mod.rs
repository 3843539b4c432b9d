//! What cafe asks of Linux: processes, their ends and leftovers, cgroups, notify sockets, signals, the lock.
//!
//! Decides nothing: policy lives above. The only island that writes `unsafe`; each block says why it is sound
//! and why it is needed.
#![allow(unsafe_code)]

pub mod caps;
pub mod cgroup;
pub mod children;
pub mod clock;
pub mod error;
pub mod exits;
pub mod family;
pub mod image;
pub mod lock;
pub mod memory;
pub mod notify;
pub mod passed;
pub mod pidfd;
pub mod process;
pub mod procfs;
pub mod readable;
pub mod reaper;
pub mod signal;

#[cfg(test)]
pub(crate) mod isolated;

pub use error::Error;
