//! OTP semantics over ractor.
//!
//! [`machine`] decides what a supervisor does, from the pure pieces [`strategy`], [`intensity`] and [`backoff`]; drivers carry
//! it out: for actors here, for processes in `crate::actors`. Knows nothing of services, files or the network.

pub mod backoff;
pub mod intensity;
pub mod machine;
#[cfg(test)]
mod otp;
pub mod strategy;
