//! After a crash of cafe: the sockets that services which still run have of the cafe before.

use std::os::fd::OwnedFd;

use super::Context;
use super::service::launch;
use crate::config::Config;
use crate::os::{pidfd, procfs};
use crate::types::name::Name;

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
