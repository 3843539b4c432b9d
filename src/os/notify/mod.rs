//! sd_notify(3), both ways: what services tell cafe, and what cafe tells its own service manager.
//!
//! Only carries and reads messages; what they mean for a service is decided above.

pub mod manager;
mod message;
mod socket;
pub mod store;
#[cfg(test)]
mod tests;

pub use message::{Message, Watchdog};
pub use socket::{Received, Socket};
