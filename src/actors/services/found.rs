//! After a crash of cafe: the processes of the cafe before, and the sockets that those which still run have.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::journal::Entry;
use super::meanwhile::Missed;
use super::service::{Adopted, launch};
use super::{Context, State};
use crate::config::Config;
use crate::os::process::Child;
use crate::os::{pidfd, procfs};
use crate::types::name::Name;

/// What a cafe before had of a service.
pub(super) enum Earlier {
    /// A process that runs.
    Runs(Adopted),
    /// One that ended meanwhile: its generation.
    Ended(u64),
}

pub(super) fn found(child: Arc<Child>, entry: &Entry, pipes: Option<[OwnedFd; 2]>) -> Adopted {
    Adopted { child, generation: entry.generation, started_at: entry.since, pipes }
}

impl State {
    /// What ran when cafe was last there, and what of it ended meanwhile: nothing is left of that.
    pub(super) async fn find_earlier(
        &self,
        config: &Config,
    ) -> (BTreeMap<Name, Earlier>, Vec<(Name, Missed)>) {
        let mut earlier = BTreeMap::new();
        let mut gone = Vec::new();
        for (name, entry) in self.context.running() {
            match self.context.adopt(&entry) {
                Some(child) => {
                    let pipes = self.context.kept_pipes(&name, entry.generation);
                    earlier.insert(name, Earlier::Runs(found(child, &entry, pipes)));
                }
                None => gone.push((name, entry)),
            }
        }
        self.context.hear_others(config);
        let missed = self.context.bury(gone, config).await;
        for (name, missed) in &missed {
            earlier.insert(name.clone(), Earlier::Ended(missed.generation()));
        }
        (earlier, missed)
    }
}

impl Context {
    /// Sockets that an earlier cafe passed to services which still run: those that can be had again, for each of them.
    pub(crate) fn found_sockets(&self, config: &Config) -> Vec<(Name, Vec<OwnedFd>)> {
        if config.services.values().all(|service| service.listen.is_empty()) {
            return Vec::new();
        }
        let mut found = Vec::new();
        for (name, entry) in self.running() {
            // What it was passed by the config of then; that of now may have more.
            let Some(service) = config.services.get(&name) else { continue };
            let Ok(process) = pidfd::open(entry.pid) else { continue };
            let started = procfs::sample(entry.pid).map(|sample| sample.start_time);
            if started.ok() != Some(entry.start_time) {
                continue;
            }
            let numbers = (launch::FIRST_SOCKET..).take(service.listen.len());
            let sockets = numbers.filter_map(|number| {
                let copied = pidfd::copy_descriptor(&process, number);
                let refused = |error: &std::io::Error| {
                    tracing::debug!(service = %name, number, %error, "no socket taken back");
                };
                copied.inspect_err(refused).ok()
            });
            found.push((name.clone(), sockets.collect()));
        }
        found
    }
}
