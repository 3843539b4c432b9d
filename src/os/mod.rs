//! The only `unsafe` of cafe.
