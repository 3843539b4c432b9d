//! After a crash of cafe: the processes of the cafe before, and the sockets that those which still run have.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use super::journal::Entry;
use super::meanwhile::Missed;
use super::service::{Adopted, launch};
use super::{Context, State};
use crate::config::Config;
use crate::os::{pidfd, procfs};
use crate::types::name::Name;
use crate::types::seat::Seat;

/// What a cafe before had of a service.
pub(super) enum Earlier {
    /// Processes that run: first the one that stays.
    Runs(Vec<Adopted>),
    /// One that ended meanwhile: its generation.
    Ended(u64),
}

impl State {
    /// What ran when cafe was last there, and what of it ended meanwhile: nothing is left of that.
    pub(super) async fn find_earlier(
        &self,
        config: &Config,
    ) -> (BTreeMap<Name, Earlier>, BTreeMap<Name, Missed>) {
        let mut alive: BTreeMap<Name, Vec<(Adopted, bool)>> = BTreeMap::new();
        let mut gone = Vec::new();
        for (seat, entry) in self.context.running() {
            match self.found(&seat, &entry) {
                Some(found) => alive.entry(seat.service).or_default().push(found),
                None => gone.push((seat, entry)),
            }
        }
        self.context.hear_others(config);
        let mut missed = BTreeMap::new();
        for (seat, last) in self.context.bury(gone, config).await {
            // Of two that overlapped it is the later one that the service ended with; while one runs, it did not.
            let later = |known: &Missed| known.generation() > last.generation();
            if !alive.contains_key(&seat.service) && !missed.get(&seat.service).is_some_and(later) {
                missed.insert(seat.service, last);
            }
        }
        let ended =
            missed.iter().map(|(name, last)| (name.clone(), Earlier::Ended(last.generation())));
        let runs =
            alive.into_iter().map(|(name, found)| (name, Earlier::Runs(present_first(found))));
        (runs.chain(ended).collect(), missed)
    }

    /// The process of an entry, if it is still there, and whether it has taken over from another.
    pub(super) fn found(&self, seat: &Seat, entry: &Entry) -> Option<(Adopted, bool)> {
        let child = self.context.adopt(entry.pid, entry.start_time)?;
        let pipes = self.context.kept_pipes(&seat.service, entry.generation);
        let (generation, started_at) = (entry.generation, entry.since);
        let adopted = Adopted { child, seat: seat.clone(), generation, started_at, pipes };
        Some((adopted, entry.took_over))
    }
}

/// What runs of one service: first the incarnation that stays. It is the older one, unless the other has taken over.
pub(super) fn present_first(mut found: Vec<(Adopted, bool)>) -> Vec<Adopted> {
    found.sort_by_key(|(adopted, _)| adopted.generation);
    if found.last().is_some_and(|(_, took_over)| *took_over) {
        found.reverse();
    }
    found.into_iter().map(|(adopted, _)| adopted).collect()
}

impl Context {
    /// Sockets that an earlier cafe passed to services which still run: those that can be had again, for each of them.
    pub(crate) fn found_sockets(&self, config: &Config) -> Vec<(Name, Vec<OwnedFd>)> {
        if config.services.values().all(|service| service.listen.is_empty()) {
            return Vec::new();
        }
        let mut found = Vec::new();
        for (seat, entry) in self.running() {
            let name = seat.service;
            // What it was passed by the config of then; that of now may have more.
            let Some(service) = config.services.get(name.service()) else { continue };
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
            let sockets = sockets.collect();
            found.push((name, sockets));
        }
        found
    }
}
