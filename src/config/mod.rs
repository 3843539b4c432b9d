//! `cafe.ron`: read, parse, check, compare. An island: it decides nothing and starts nothing.
//!
//! `load` reads files, `raw` mirrors what was typed, `check` turns it into [`Config`] and collects every
//! error, `diff` compares two of them. Every later layer takes the checked types of `model`.

mod check;
pub mod defaults;
mod fields;
mod glob;
mod load;
mod model;
mod problem;
mod reader;
mod source;
mod syntax;
mod variables;

#[cfg(test)]
mod tests;

pub use check::parse_cron;
pub use load::{load, load_text};
pub use model::{
    Config, Control, Daemon, Group, Health, Hook, Kind, Limits, Log, LogTotal, OnUnhealthy,
    Overlap, Probe, Ready, Reload, Schedule, Service, Start, Stop,
};
pub use problem::{Finding, Problems};
