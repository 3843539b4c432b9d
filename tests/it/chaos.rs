//! The rules of the roster.
