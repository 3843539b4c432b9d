//! The moment in which this process becomes another program.

use std::os::fd::AsRawFd as _;
use std::sync::PoisonError;

use jiff::Timestamp;

use super::console::Console;
use super::resume::begin_anew;
use crate::actors::upgrade::{Candidate, NotStilled, Stilled, Upgrader};
use crate::types::event::Kind;
use crate::types::status::Upgrade;

/// Comes back only if cafe goes on as it is.
pub(super) async fn become_it(upgrader: &Upgrader, candidate: &Candidate, console: &Console) {
    match upgrader.still(candidate).await {
        Ok(stilled) => {
            console.catch_up().await;
            execute(&stilled, candidate)
        }
        Err(NotStilled::Stuck(why)) => {
            super::console::print(&format!("cafe: {why}\n"));
            begin_anew()
        }
        Err(NotStilled::GoesOn(why)) => {
            let failed = Upgrade {
                at: Timestamp::now(),
                from: env!("CARGO_PKG_VERSION").to_owned(),
                to: candidate.version.clone(),
                pause_ms: 0,
                state_bytes: 0,
                failed: Some(why.clone()),
            };
            let last = &upgrader.life.last_upgrade;
            *last.lock().unwrap_or_else(PoisonError::into_inner) = Some(failed);
            upgrader.wanted.over();
            upgrader.bus.publish(Kind::Daemon { message: why });
        }
    }
}

/// The threads of this program end with it, wherever they are: everything that counts is still.
fn execute(stilled: &Stilled, candidate: &Candidate) -> ! {
    let state = stilled.state.as_raw_fd();
    let kept: Vec<_> = stilled.descriptors.iter().copied().chain([state]).collect();
    let error = candidate.image.execute(Some(state), None, &kept);
    let why = format!("{} cannot be executed: {error}", candidate.image.path().display());
    let error = stilled.own.execute(Some(state), Some(&why), &kept);
    super::console::print(&format!("cafe: {why}; nor can this one: {error}\n"));
    begin_anew()
}
