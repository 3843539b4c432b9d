//! `kill -9` of the daemon: its services run on, and the next daemon takes them over.

mod kept;
mod lines;
mod lock;
mod meanwhile;
mod output;
mod takeover;
