//! A daemon of its own for each test, and what tests need around it.
//!
//! Nothing outlives a test: [`Cafe`] ends its daemon when dropped, fails the test when a process of a service
//! is left after an orderly end, and kills what is left in any case. When a test fails it prints all the
//! daemon said. Waiting is for events, with one deadline ([`DEADLINE`]) after which the test fails.

mod daemon;
mod machine;
mod notifier;
mod output;
mod script;
mod wait;
mod web;

pub(crate) use daemon::{Cafe, program};
pub(crate) use machine::{end_container, is_gone, kill, process_1};
pub(crate) use notifier::notifier_in;
pub(crate) use output::{Told, is_installed, root, skip, told};
pub(crate) use script::{IDLE, command, sh};
pub(crate) use wait::{DEADLINE, eventually};
pub(crate) use web::Web;
