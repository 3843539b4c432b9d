//! The boot story.
