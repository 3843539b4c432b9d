//! Words shared by every part of cafe: names, states, exits, events, units, error codes.
//!
//! Floor 0: this module does no I/O, starts nothing, and imports nothing else of cafe.

pub mod capability;
pub mod error;
pub mod event;
pub mod exit;
pub mod name;
pub mod policy;
pub mod seat;
pub mod state;
pub mod status;
pub mod unit;

/// Whether a value need not be written down: whoever reads it makes it himself.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
