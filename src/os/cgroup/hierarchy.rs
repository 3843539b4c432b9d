//! The part of the cgroup tree that is cafe's: found, tried, and cleaned up after an unclean end.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Cgroup, Limits};
use crate::os::Error;
use crate::os::children::Children;
use crate::types::seat::Seat;

/// The leaf that cafe moves itself to when controllers are to be enabled: a cgroup with controllers for its
/// children must have no processes of its own (cgroups(7), "no internal processes").
const SUPERVISOR: &str = "cafe-supervisor";

/// What limits need; see cgroups(7).
const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];

/// cafe's own cgroup, and in it the one that holds those of all services.
#[derive(Debug, Clone)]
pub struct Hierarchy {
    own: PathBuf,
    services: PathBuf,
    /// The controllers that services have: seen at the start, or enabled since. Nobody else changes them while cafe runs.
    enabled: Arc<Mutex<Vec<&'static str>>>,
}

impl Hierarchy {
    /// Finds the v2 hierarchy (unified or hybrid) and makes `cafe-ID` in cafe's own cgroup.
    ///
    /// # Errors
    /// When there is none, or cafe may not write there; the text says which.
    pub fn detect(state_id: &str) -> Result<Self, Error> {
        let read =
            |path| fs::read_to_string(path).map_err(|source| Error::system("read", path, source));
        let own = locate(&read("/proc/self/mountinfo")?, &read("/proc/self/cgroup")?)?;
        let services = own.join(format!("cafe-{state_id}"));
        match fs::create_dir(&services) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                let own = own.display();
                let reason = format!("`{own}` is not delegated to cafe: {error}");
                return Err(Error::CgroupUnavailable(reason));
            }
            _ => {}
        }
        let control = services.join("cgroup.subtree_control");
        let enabled = CONTROLLERS.into_iter().filter(|controller| has(&control, controller));
        let enabled = Arc::new(Mutex::new(enabled.collect()));
        Ok(Self { own, services, enabled })
    }

    /// Makes the cgroup of a seat; one that is there already (of an unclean end) is taken as it is.
    ///
    /// # Errors
    /// When it cannot be made or opened.
    pub fn create(&self, seat: &Seat) -> Result<Cgroup, Error> {
        let path = self.services.join(seat.to_string());
        match fs::create_dir(&path) {
            Err(source) if source.kind() != io::ErrorKind::AlreadyExists => {
                Err(Error::system("create", path.display().to_string(), source))
            }
            _ => Ok(Cgroup::open(path)),
        }
    }

    /// The cgroup of a seat, whether it was made or not.
    #[must_use]
    pub fn of(&self, seat: &Seat) -> Cgroup {
        Cgroup::open(self.services.join(seat.to_string()))
    }

    /// The cgroups there are: after an unclean end, those of services that ran.
    ///
    /// # Errors
    /// When they cannot be listed or opened.
    pub fn existing(&self) -> Result<Vec<(Seat, Cgroup)>, Error> {
        let failed = |source| Error::system("list", self.services.display().to_string(), source);
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.services).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let seat = entry.file_name().to_str().and_then(|name| name.parse().ok());
            if let Some(seat) = seat.filter(|_| entry.path().is_dir()) {
                found.push((seat, Cgroup::open(entry.path())));
            }
        }
        Ok(found)
    }

    /// Removes what is cafe's, once the cgroups of the services are removed.
    ///
    /// # Errors
    /// When a service's is still there.
    pub fn remove(&self) -> Result<(), Error> {
        match fs::remove_dir(&self.services) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(Error::system("remove", self.services.display().to_string(), source))
            }
            _ => Ok(()),
        }
    }

    /// Makes available to services what these limits need, while no child is between its birth in cafe's own cgroup and
    /// its move to the service's: it would be taken for a process that is none of cafe's. What cannot be had is told
    /// when a limit is applied.
    pub async fn prepare(&self, limits: impl Iterator<Item = Limits>, children: &Children) {
        let mut wanted: Vec<_> = limits.flat_map(Limits::controllers).collect();
        wanted.retain(|controller| !self.is_enabled(controller));
        wanted.sort_unstable();
        wanted.dedup();
        if wanted.is_empty() {
            return;
        }
        let _spawners_out = children.exclusive().await;
        for controller in wanted {
            if let Err(error) = self.enable(controller) {
                tracing::info!(controller, %error, "controller not enabled");
            }
        }
    }

    /// Makes `controller` available to services. `false`: it is not delegated to cafe.
    ///
    /// Moves cafe itself out of the way first. Under systemd an enabled controller and services that
    /// outlive cafe make the next start of the unit fail (219/CGROUP) unless the unit's `ExecStopPost` takes
    /// it back, so it is done only when a limit needs it.
    pub(super) fn enable(&self, controller: &'static str) -> Result<bool, Error> {
        if !has(&self.own.join("cgroup.controllers"), controller) {
            return Ok(false);
        }
        for directory in [&self.own, &self.services] {
            let control = directory.join("cgroup.subtree_control");
            if has(&control, controller) {
                continue;
            }
            self.make_way(controller)?;
            fs::write(&control, format!("+{controller}"))
                .map_err(|source| Error::system("write", control.display().to_string(), source))?;
        }
        if !self.is_enabled(controller) {
            self.enabled().push(controller);
        }
        Ok(true)
    }

    /// Whether services have this controller.
    #[must_use]
    pub fn is_enabled(&self, controller: &str) -> bool {
        self.enabled().contains(&controller)
    }

    /// The list is whole after any panic.
    fn enabled(&self) -> MutexGuard<'_, Vec<&'static str>> {
        self.enabled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where limits look for controllers.
    pub(super) fn own(&self) -> &Path {
        &self.own
    }

    /// Leaves cafe's own cgroup without processes. The kernel insists on that for `memory`; for `cpu` and `pids` it
    /// makes a threaded domain of a cgroup with processes instead, in which no service can be started.
    fn make_way(&self, controller: &str) -> Result<(), Error> {
        // The root of the machine may have both, and has no type.
        if !self.own.join("cgroup.type").is_file() || self.is_vacant()? {
            return Ok(());
        }
        let leaf = self.own.join(SUPERVISOR);
        let failed = |source| Error::system("move cafe to", leaf.display().to_string(), source);
        match fs::create_dir(&leaf) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(failed(error));
            }
            _ => {}
        }
        fs::write(leaf.join("cgroup.procs"), std::process::id().to_string()).map_err(failed)?;
        if self.is_vacant()? {
            return Ok(());
        }
        let own = self.own.display();
        let reason = format!(
            "`{controller}` cannot be limited, as other processes than cafe are in `{own}`: give cafe one of its own"
        );
        Err(Error::CgroupUnavailable(reason))
    }

    /// Whether no process is in cafe's own cgroup itself.
    fn is_vacant(&self) -> Result<bool, Error> {
        let processes = self.own.join("cgroup.procs");
        let listed = fs::read_to_string(&processes)
            .map_err(|source| Error::system("read", processes.display().to_string(), source))?;
        Ok(listed.is_empty())
    }
}

/// The directory of our own cgroup, from `/proc/self/mountinfo` and `/proc/self/cgroup`.
fn locate(mounts: &str, membership: &str) -> Result<PathBuf, Error> {
    let unavailable = |text: &str| Error::CgroupUnavailable(text.to_owned());
    let (root, mount) = mounts
        .lines()
        .find_map(|line| {
            let (fields, kind) = line.split_once(" - ")?;
            let mut fields = fields.split(' ').skip(3);
            kind.starts_with("cgroup2 ").then_some((fields.next()?, fields.next()?))
        })
        .ok_or_else(|| unavailable("no cgroup v2 hierarchy is mounted"))?;
    let own = membership
        .lines()
        .find_map(|line| line.strip_prefix("0::"))
        .ok_or_else(|| unavailable("this process is in no cgroup v2"))?;
    let below = Path::new(own)
        .strip_prefix(root)
        .map_err(|_| unavailable("cafe's own cgroup lies outside of what is mounted"))?;
    let path = Path::new(mount).join(below);
    // After cafe stepped aside once (before an exec in place), its cgroup is the one above.
    match path.parent() {
        Some(parent) if path.ends_with(SUPERVISOR) => Ok(parent.to_owned()),
        _ => Ok(path),
    }
}

fn has(file: &Path, controller: &str) -> bool {
    let listed = fs::read_to_string(file).unwrap_or_default();
    listed.split_whitespace().any(|word| word == controller)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";

    #[test]
    fn own_cgroup_in_unified_hybrid_and_container_mounts() {
        let located = |mounts, own| locate(mounts, own).map(|path| path.display().to_string());
        let legacy = "40 31 0:37 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n";
        let both = format!("{legacy}{HYBRID}");
        let own = located(&both, "8:pids:/\n0::/system.slice/cafe.service\n");
        assert_eq!(own.expect("is found"), "/sys/fs/cgroup/unified/system.slice/cafe.service");
        let own = located(HYBRID, "0::/a/cafe-supervisor\n").expect("is found");
        assert_eq!(own, "/sys/fs/cgroup/unified/a");
        let container = "9 8 0:1 /docker/x /sys/fs/cgroup rw shared:1 - cgroup2 cgroup rw\n";
        assert_eq!(located(container, "0::/docker/x/y\n").expect("is found"), "/sys/fs/cgroup/y");
        for (mounts, own) in [(legacy, "0::/\n"), (HYBRID, "8:pids:/\n"), (container, "0::/\n")] {
            assert!(matches!(locate(mounts, own), Err(Error::CgroupUnavailable(_))));
        }
    }
}
