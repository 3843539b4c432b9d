//! The end of an incarnation: what its main process leaves behind is asked to end, killed, and seen to be gone.

use std::time::Duration;

use super::context::{Context, KILL_DEADLINE};
use crate::os::family::{Family, Remaining};
use crate::os::procfs;
use crate::types::error::chain;
use crate::types::name::Name;

impl Context {
    /// The cheap look: `true` only if certainly nothing of a service is left.
    pub(super) fn certainly_clear(&self, name: &Name) -> bool {
        self.cgroup(name).is_some_and(|cgroup| cgroup.is_empty().unwrap_or(false))
    }

    /// Ends what is left of a service: asks (those not `asked` yet), waits for `grace`, kills, and looks until
    /// nothing is there. Says how many there were.
    pub(super) async fn clear(
        &self,
        name: &Name,
        family: &Family,
        signal: i32,
        asked: bool,
        grace: Duration,
    ) -> usize {
        let mut remaining = match self.census.remaining(family).await {
            Ok(remaining) => remaining,
            Err(error) => {
                tracing::error!(service = %name, error = chain(&error), "leftovers not found");
                Vec::new()
            }
        };
        remaining.extend(self.escaped(name, family, &remaining));
        if !remaining.is_empty() && !grace.is_zero() {
            for process in &remaining {
                // A member of the group heard the stop signal already; a process that left it did not.
                let heard = asked
                    && procfs::sample(process.pid).is_ok_and(|found| found.group == family.main);
                if !heard {
                    let _ = process.signal(signal);
                }
            }
            let all_ended = async {
                for process in &remaining {
                    let _ = process.exited().await;
                }
            };
            let _ = tokio::time::timeout(grace, all_ended).await;
        }
        self.kill(name, family).await;
        remaining.len()
    }

    /// What left its session, its environment and its parents behind, and is known by the cgroup alone.
    fn escaped(&self, name: &Name, family: &Family, known: &[Remaining]) -> Vec<Remaining> {
        let members = self.cgroup(name).map(|cgroup| cgroup.members()).unwrap_or_default();
        let is_known =
            |pid: u32| pid == family.main || known.iter().any(|process| process.pid == pid);
        let unknown = members.into_iter().filter(|&pid| !is_known(pid));
        unknown.filter_map(|pid| Remaining::find(pid).ok().flatten()).collect()
    }

    /// Kills everything of a service, until nothing is there.
    async fn kill(&self, name: &Name, family: &Family) {
        self.kill_cgroup(name).await;
        if let Err(error) = self.census.kill_all(family, KILL_DEADLINE).await {
            tracing::error!(service = %name, error = chain(&error), "processes that cannot be killed are left behind");
        }
    }

    pub(super) async fn kill_cgroup(&self, name: &Name) {
        let Some(cgroup) = self.cgroup(name) else { return };
        match cgroup.kill() {
            // A process that hangs in the kernel would be waited for without end.
            Ok(()) => drop(tokio::time::timeout(KILL_DEADLINE, cgroup.emptied()).await),
            Err(error) => {
                tracing::error!(service = %name, error = chain(&error), "cgroup not killed");
            }
        }
    }
}
