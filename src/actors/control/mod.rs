//! `control/`: how people and programs reach the daemon. `keeper` holds the config in force, `socket`
//! answers the API.

pub(crate) mod backend;
pub(crate) mod door;
mod files;
pub(crate) mod keeper;
mod lines;
mod outcome;
pub(crate) mod privileges;
pub(crate) mod socket;
