//! OTP semantics over ractor.
//!
//! [`machine`] decides what a supervisor does, from the pure pieces [`strategy`], [`intensity`] and [`backoff`]; drivers carry
//! it out: for actors here, for processes in `crate::actors`. Knows nothing of services, files or the network.

pub mod strategy;

pub mod intensity;

pub mod backoff;

pub mod machine;

pub mod supervisor;

pub mod dynamic;

pub mod heartbeat;
pub mod mailbox;
pub mod task;
pub mod tree;

#[cfg(test)]
mod otp;
#[cfg(test)]
mod testing;
