//! `cafe.ron`: read, parse, check, compare. An island: it decides nothing and starts nothing.
//!
//! `load` reads files, `syntax` and `fields` split what was typed into places, `check` turns them into
//! [`Config`] and collects every error, `diff` compares two of them, `show` prints one. Every later layer takes
//! the checked types of `model`.

mod check;
pub mod defaults;
mod diff;
mod fields;
mod glob;
mod load;
mod model;
pub mod needs;
mod problem;
mod reader;
mod remark;
mod show;
mod source;
mod syntax;
mod variables;

#[cfg(test)]
mod tests;

pub use check::{next_run, parse_cron};
pub use diff::{Change, Class, Diff, GroupChange, ServiceChange, Setting, diff};
pub use load::{load, load_bytes};
pub use model::{
    Config, Control, Daemon, Group, Health, Hook, Kind, Limits, Listen, Log, LogTotal, OnUnhealthy,
    Overlap, Probe, Ready, Reload, Schedule, Service, Start, Stop,
};
pub use problem::{Finding, Problems};
pub use remark::remarks;
pub use show::show;
