//! OTP semantics over ractor.
//!
//! [`machine`] decides what a supervisor does, from the pure pieces [`strategy`], [`intensity`] and [`backoff`];
//! [`roster`] lets the orders of many machines through a graph of dependencies. Drivers carry them out: [`supervisor`] and
//! [`dynamic`] for actors, `crate::actors::services` for processes. Knows nothing of services, files or the network.

pub mod strategy;

pub mod intensity;

pub mod backoff;

pub mod machine;

pub mod roster;

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
