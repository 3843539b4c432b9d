//! The end of an incarnation: what its main process leaves behind is asked to end, killed, and seen to be gone.

use std::time::Duration;

use super::context::{Context, KILL_DEADLINE};
use crate::os::family::{Family, Remaining};
use crate::os::procfs;
use crate::types::error::chain;
use crate::types::seat::Seat;

impl Context {
    /// The cheap look: `true` only if certainly nothing in a seat is left.
    pub(super) fn certainly_clear(&self, seat: &Seat) -> bool {
        self.cgroup(seat).is_some_and(|cgroup| cgroup.is_empty().unwrap_or(false))
    }

    /// Ends what is left of an incarnation: asks (those not `asked` yet), waits for `grace`, kills, and looks until
    /// nothing is there. Says how many there were.
    pub(super) async fn clear(
        &self,
        seat: &Seat,
        family: &Family,
        signal: i32,
        asked: bool,
        grace: Duration,
    ) -> usize {
        let mut remaining = match self.census.remaining(family).await {
            Ok(remaining) => remaining,
            Err(error) => {
                tracing::error!(service = %seat, error = chain(&error), "leftovers not found");
                Vec::new()
            }
        };
        remaining.extend(self.escaped(seat, family, &remaining));
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
        self.kill(seat, family).await;
        remaining.len()
    }

    /// What left its session, its environment and its parents behind, and is known by the cgroup alone.
    fn escaped(&self, seat: &Seat, family: &Family, known: &[Remaining]) -> Vec<Remaining> {
        let members = self.cgroup(seat).map(|cgroup| cgroup.members()).unwrap_or_default();
        let is_known =
            |pid: u32| pid == family.main || known.iter().any(|process| process.pid == pid);
        let unknown = members.into_iter().filter(|&pid| !is_known(pid));
        unknown.filter_map(|pid| Remaining::find(pid).ok().flatten()).collect()
    }

    /// Kills everything of an incarnation, until nothing is there.
    async fn kill(&self, seat: &Seat, family: &Family) {
        self.kill_cgroup(seat).await;
        if let Err(error) = self.census.kill_all(family, KILL_DEADLINE).await {
            tracing::error!(service = %seat, error = chain(&error), "processes that cannot be killed are left behind");
        }
    }

    pub(super) async fn kill_cgroup(&self, seat: &Seat) {
        let Some(cgroup) = self.cgroup(seat) else { return };
        match cgroup.kill() {
            // A process that hangs in the kernel would be waited for without end.
            Ok(()) => drop(tokio::time::timeout(KILL_DEADLINE, cgroup.emptied()).await),
            Err(error) => {
                tracing::error!(service = %seat, error = chain(&error), "cgroup not killed");
            }
        }
    }
}
