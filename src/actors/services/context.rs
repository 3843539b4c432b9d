//! What every service needs of the machine: the spawner, the log pump, cgroups, the journal of what runs.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::Permissions;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::oneshot;

use super::gate::Gate;
use super::journal::{Entry, Journal};
use super::service::launch;
use crate::actors::kept::Keeping;
use crate::actors::listeners;
use crate::config::{self, Config};
use crate::logs::{self, Excerpt, Pump};
use crate::os::cgroup::{Cgroup, Hierarchy, Limits};
use crate::os::children::Children;
use crate::os::exits::Exits;
use crate::os::family::{self, Census, Family};
use crate::os::notify::Received;
use crate::os::process::{Child, Spawner};
use crate::os::{self, procfs};
use crate::supervision::task;
use crate::types::error::chain;
use crate::types::name::Name;
use crate::types::seat::Seat;
use crate::types::unit::show_duration;

/// Variables of cafe's own that services find in theirs.
const INHERITED: [&str; 5] = ["PATH", "HOME", "LANG", "TZ", "TERM"];

/// Where programs are found when cafe itself has no `PATH`, as in `systemd.exec(5)`.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// `SIGKILL`, see `signal(7)`.
pub(super) const KILL_SIGNAL: i32 = 9;

/// Longest time for killed processes to go; beyond it they hang in the kernel.
pub(super) const KILL_DEADLINE: Duration = Duration::from_secs(30);

/// Shared by all services; owns no service.
#[derive(Debug)]
pub(crate) struct Context {
    pub(super) spawner: Spawner,
    pub(super) exits: Arc<Exits>,
    pub(super) pump: Pump,
    pub(super) journal: Journal,
    pub(super) base_env: BTreeMap<String, String>,
    pub(super) listeners: listeners::Handle,
    pub(super) keeping: Keeping,
    pub(super) census: Census,
    pub(super) gate: Gate,
    cgroups: Option<Hierarchy>,
    pub(super) state_id: String,
    notify_dir: PathBuf,
}

impl Context {
    /// Sets up what services need, from the state directory of `config`. `resumes`: another image of this process did
    /// so already.
    ///
    /// # Errors
    /// When the state directory cannot be used.
    pub(crate) fn new(
        config: &Config,
        pump: Pump,
        spawner: Spawner,
        listeners: listeners::Handle,
        keeping: Keeping,
        resumes: bool,
    ) -> Result<Self, os::Error> {
        let state_dir = &config.daemon.state_dir;
        let run = state_dir.join("run");
        let failed = |path: PathBuf| move |source| os::Error::StateDirectory { path, source };
        let path = run.join("running");
        let journal = Journal::open(&path, &procfs::boot_id()?).map_err(failed(path.clone()))?;
        let exits = Exits::new()?;
        let census = Census::new(Arc::clone(spawner.children()));
        let state_id = state_id(state_dir);
        let cgroups = config.daemon.cgroups.then(|| Hierarchy::detect(&state_id));
        let cgroups = cgroups.and_then(|detected| {
            let refused = |error| tracing::info!(error = chain(&error), "cgroups not used");
            detected.map_err(refused).ok()
        });
        let notify_dir = run.join("notify");
        if !resumes {
            // What a killed cafe left: services that still run are heard on a new socket of the same name.
            let _ = std::fs::remove_dir_all(&notify_dir);
        }
        // Services of other users get through to their sockets; nobody else may put one there.
        std::fs::create_dir_all(&notify_dir)
            .and_then(|()| std::fs::set_permissions(&notify_dir, Permissions::from_mode(0o711)))
            .map_err(failed(notify_dir.clone()))?;
        let base_env = base_env(|name| std::env::var(name).ok());
        Ok(Self {
            spawner,
            exits,
            pump,
            journal,
            base_env,
            listeners,
            keeping,
            census,
            gate: Gate::default(),
            cgroups,
            state_id,
            notify_dir,
        })
    }

    /// Who writes the logs.
    pub(crate) fn pump(&self) -> &Pump {
        &self.pump
    }

    /// The sockets of services.
    pub(crate) fn listeners(&self) -> &listeners::Handle {
        &self.listeners
    }

    /// What outlives a crash of cafe.
    pub(crate) fn keeping(&self) -> &Keeping {
        &self.keeping
    }

    /// The children that somebody waits for.
    pub(crate) fn children(&self) -> Arc<Children> {
        Arc::clone(self.spawner.children())
    }

    /// Who is to be told of the ends of services.
    pub(crate) fn exits(&self) -> Arc<Exits> {
        Arc::clone(&self.exits)
    }

    /// Value of the variable that marks the processes of a seat.
    pub(super) fn mark(&self, seat: &Seat) -> String {
        family::mark(&self.state_id, &seat.to_string())
    }

    /// Who belongs to an incarnation with this main process.
    pub(super) fn family(&self, seat: &Seat, main: &Child) -> Family {
        Family::new(main, self.mark(seat))
    }

    /// The socket an incarnation notifies us on. Each has its own: that of the last one may be removed after that of
    /// the next one was made.
    pub(super) fn notify_path(&self, name: &Name, generation: u64) -> PathBuf {
        self.notify_dir.join(format!("{name}.{generation}"))
    }

    // ---- cgroups ----

    /// What the limits of a config need, before anything of it starts.
    pub(super) async fn prepare_cgroups(&self, config: &Config) {
        let Some(hierarchy) = &self.cgroups else { return };
        let limits = config.services.values().map(|service| cgroup_limits(&service.limits()));
        hierarchy.prepare(limits, self.spawner.children()).await;
    }

    /// The cgroup an incarnation starts in, made and limited; none where cgroups are not delegated.
    pub(super) fn enter_cgroup(
        &self,
        seat: &Seat,
        limits: &config::Limits,
    ) -> Result<Option<Arc<OwnedFd>>, launch::Error> {
        let wanted = cgroup_limits(limits);
        let Some(hierarchy) = &self.cgroups else {
            if wanted == Limits::default() {
                return Ok(None);
            }
            let reason = "this service has limits that need one; run cafe as root or delegate a cgroup v2 to it";
            return Err(os::Error::CgroupUnavailable(reason.to_owned()).into());
        };
        let cgroup = hierarchy.create(seat)?;
        cgroup.limit(hierarchy, &wanted)?;
        Ok(Some(cgroup.directory()?))
    }

    /// The cgroup of a seat, whether it was made or not; none where cgroups are not delegated.
    pub(super) fn cgroup(&self, seat: &Seat) -> Option<Cgroup> {
        Some(self.cgroups.as_ref()?.of(seat))
    }

    /// How often the kernel killed something in this seat for memory.
    pub(super) fn oom_kills(&self, seat: &Seat) -> u64 {
        let counting = self.cgroups.as_ref().filter(|hierarchy| hierarchy.is_enabled("memory"));
        counting.and_then(|hierarchy| hierarchy.of(seat).oom_kills()).unwrap_or(0)
    }

    // ---- logs ----

    /// Closes the pipes of an ended incarnation; its last lines come a little later.
    pub(super) fn finish_log(
        &self,
        name: &Name,
        generation: u64,
    ) -> Option<oneshot::Receiver<Excerpt>> {
        match self.pump.finish(name.clone(), generation) {
            Ok(excerpt) => Some(excerpt),
            Err(error) => {
                tracing::warn!(service = %name, error = chain(&error), "log not finished");
                None
            }
        }
    }

    /// A changed `log` section is in force from the next line on.
    pub(super) fn update_log(&self, name: &Name, log: &config::Log) {
        if let Err(error) = self.pump.update(name.clone(), sink_options(log)) {
            tracing::warn!(service = %name, error = chain(&error), "log options not changed");
        }
    }

    /// Writes a line of cafe itself into the log of a service; its state and the events tell the same in any case.
    pub(super) fn note(&self, name: &Name, log: &config::Log, text: String) {
        let _ = self.pump.note(name.clone(), sink_options(log), text);
    }

    /// A service left the config: its cgroup and pipes go, its logs stay.
    pub(super) fn forget(&self, name: &Name) {
        let _ = self.pump.forget(name.clone());
        for seat in Seat::both(name) {
            if let Some(cgroup) = self.cgroup(&seat)
                && let Err(error) = cgroup.remove()
            {
                tracing::warn!(service = %seat, error = chain(&error), "cgroup not removed");
            }
        }
    }

    /// Everything has stopped: removes the cgroups.
    pub(crate) fn remove_cgroups(&self) {
        let Some(hierarchy) = &self.cgroups else { return };
        let removed = hierarchy.existing().and_then(|cgroups| {
            cgroups.into_iter().try_for_each(|(_, cgroup)| cgroup.remove())?;
            hierarchy.remove()
        });
        if let Err(error) = removed {
            tracing::warn!(error = chain(&error), "cgroups not removed");
        }
    }

    // ---- after a crash ----

    /// What runs: what the journal knows, and main processes it does not know because cafe ended between the
    /// start of a process and its entry.
    pub(super) fn running(&self) -> BTreeMap<Seat, Entry> {
        let mut running = self.journal.running();
        let marked = family::marked(&self.state_id).unwrap_or_else(|error| {
            tracing::error!(error = chain(&error), "processes of an earlier cafe not looked for");
            Vec::new()
        });
        for found in marked.iter().filter(|found| found.session == found.process.pid) {
            let Ok(seat) = found.seat.parse::<Seat>() else { continue };
            // What is kept of it says which it is; else it is the one that was started last, if there is another.
            let beside = running.get(&seat.other()).map_or(0, |other| other.generation);
            let kept = self.keeping.last_of(&seat.service);
            running.entry(seat).or_insert_with(|| Entry {
                generation: kept.unwrap_or(beside + 1),
                pid: found.process.pid,
                start_time: found.process.start_time,
                since: Timestamp::now(),
                took_over: false,
            });
        }
        running
    }

    /// The process of this number and start, if it is still there.
    pub(super) fn adopt(&self, pid: u32, start_time: u64) -> Option<Arc<Child>> {
        match Child::adopt(pid, start_time, self.spawner.children()) {
            Ok(child) => child.map(Arc::new),
            Err(error) => {
                tracing::error!(pid, error = chain(&error), "process not taken over");
                None
            }
        }
    }

    /// Whether a process belongs to a service: what it says of itself must not name a stranger.
    pub(super) async fn is_member(&self, family: &Family, pid: u32) -> bool {
        let remaining = self.census.remaining(family).await.unwrap_or_default();
        remaining.iter().any(|process| process.pid == pid)
    }

    /// Whether to believe a notification: its sender is the main process or another one of the service. One that has
    /// ended by now cannot be told any more; then its user decides, as for the socket itself.
    pub(super) fn speaks_for(
        &self,
        seat: &Seat,
        family: &Family,
        main: u32,
        owner: Option<u32>,
        sender: &Received,
    ) -> bool {
        let own = nix::unistd::geteuid().as_raw();
        let trusted = [0, own, owner.unwrap_or(own)].contains(&sender.uid);
        sender.pid == main
            || family.claims(sender.pid).unwrap_or(trusted)
            || self.cgroup(seat).is_some_and(|cgroup| cgroup.members().contains(&sender.pid))
    }

    // ---- hooks ----

    /// Runs the `on_give_up` command of a service.
    pub(super) fn run_hook(self: &Arc<Self>, name: &Name, service: &config::Service, reason: &str) {
        let Some(hook) = service.on_give_up.clone() else { return };
        let mut env = self.base_env.clone();
        env.insert("CAFE_NAME".to_owned(), name.to_string());
        env.insert("CAFE_REASON".to_owned(), reason.to_owned());
        let command = os::process::Command {
            argv: hook.command.iter().map(Into::into).collect(),
            env: env.into_iter().map(|(key, value)| (key.into(), value.into())).collect(),
            cwd: service.cwd.clone(),
            ..os::process::Command::default()
        };
        let (context, name, log) = (self.clone(), name.clone(), service.log);
        task::spawn("give-up hook", async move {
            let outcome = context.run_to_end(command, hook.timeout).await;
            context.note(&name, &log, format!("on_give_up: {outcome}"));
        })
        .detach();
    }

    /// Runs a program to its end; says how that came, or that it was killed.
    ///
    /// # Errors
    /// Why it could not be run, or did not end in time.
    pub(crate) async fn try_program(
        &self,
        command: os::process::Command,
        within: Duration,
    ) -> Result<String, String> {
        let command = os::process::Command { env: self.plain_env(), ..command };
        let child = self.spawner.spawn(command).await.map_err(|error| chain(&error))?;
        match tokio::time::timeout(within, child.wait()).await {
            Ok(Ok(exit)) => Ok(exit.cause.to_string()),
            Ok(Err(error)) => Err(chain(&error)),
            Err(_) => {
                let _ = Family::new(&child, String::new()).signal_group(KILL_SIGNAL);
                Err(format!("it did not end within {}", show_duration(within)))
            }
        }
    }

    fn plain_env(&self) -> Vec<(OsString, OsString)> {
        self.base_env.iter().map(|(name, value)| (name.into(), value.into())).collect()
    }

    async fn run_to_end(&self, command: os::process::Command, timeout: Duration) -> String {
        let child = match self.spawner.spawn(command).await {
            Ok(child) => child,
            Err(error) => return format!("not run: {}", chain(&error)),
        };
        match tokio::time::timeout(timeout, child.wait()).await {
            Ok(Ok(exit)) => exit.cause.to_string(),
            Ok(Err(error)) => chain(&error),
            Err(_) => {
                let family = Family::new(&child, String::new());
                let _ = family.signal_group(KILL_SIGNAL);
                "killed, it took too long".to_owned()
            }
        }
    }
}

fn cgroup_limits(limits: &config::Limits) -> Limits {
    Limits {
        memory_high: limits.memory_high,
        memory_max: limits.memory_max,
        cpu_weight: limits.cpu_weight,
        cpu_percent: limits.cpu_percent,
        tasks_max: limits.tasks_max,
    }
}

/// The options of the pump for a service's `log` section.
pub(super) fn sink_options(log: &config::Log) -> logs::SinkOptions {
    logs::SinkOptions { max_file: log.max_file, keep: log.keep, on_full: log.on_full }
}

/// Tells the processes of one state directory from those of another: its device and inode.
fn state_id(state_dir: &Path) -> String {
    use std::os::unix::fs::MetadataExt as _;
    match std::fs::metadata(state_dir) {
        Ok(metadata) => format!("{:x}-{:x}", metadata.dev(), metadata.ino()),
        Err(_) => "0".to_owned(),
    }
}

fn base_env(environment: impl Fn(&str) -> Option<String>) -> BTreeMap<String, String> {
    let mut env: BTreeMap<String, String> = INHERITED
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), environment(name)?)))
        .collect();
    env.entry("PATH".to_owned()).or_insert_with(|| DEFAULT_PATH.to_owned());
    env
}
