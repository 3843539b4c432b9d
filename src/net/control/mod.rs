//! The control API as both sides see it: the documents, and the client.
//!
//! The documents in `words` are what the server writes and the client reads; the client keeps one
//! deadline per request and a bound on every answer.

mod client;
mod lines;
mod words;

#[cfg(test)]
mod tests;

pub use super::error::Error;
pub use client::{Client, EventStream, LineStream};
pub use words::{
    Acted, Change, ConfigView, ErrorBody, Goal, LogLine, LogQuery, Notice, Outcome, Peer, Plan,
    PlanStep, Reloaded, Tree, Upgrading, Verb, Verdict,
};
