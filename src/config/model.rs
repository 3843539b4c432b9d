//! The checked config: what `cafe.ron` means. Values here are valid; nothing re-validates them.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::types::capability::Capabilities;
use crate::types::is_default;
use crate::types::name::Name;
use crate::types::policy::{AutoShutdown, Backoff, Intensity, OnFull, Restart, Strategy};

/// A whole config, checked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// The file it was read from, absolute.
    pub source: PathBuf,
    /// Every file that was read for it and every pattern of an `include`, absolute: what to watch for changes.
    pub files: Vec<PathBuf>,
    /// Hash of all files and substituted values: equal revisions mean an equal config.
    pub revision: String,
    /// Services in the order of the file.
    pub services: IndexMap<Name, Arc<Service>>,
    /// Groups in the order of the file. A service is in one group at most.
    pub groups: IndexMap<Name, Group>,
    /// Settings of the daemon.
    pub daemon: Daemon,
}

/// What concerns the daemon rather than one service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Daemon {
    /// The control socket.
    pub control: Control,
    /// Where logs and state are kept.
    pub state_dir: PathBuf,
    /// How many services may be starting at once.
    pub parallel_starts: usize,
    /// Bounds of all logs together.
    pub logs: LogTotal,
    /// Whether to use cgroups where they are delegated to cafe.
    pub cgroups: bool,
    /// Longest time for everything to stop when cafe ends. None: as long as the services have, or what suits a
    /// container where cafe is process 1.
    pub stop_timeout: Option<Duration>,
}

/// Who may reach the daemon, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Control {
    /// Path of the unix socket.
    pub socket: PathBuf,
    /// Group whose members may use all but `config` and `shutdown`.
    pub group: Option<String>,
    /// Whether anybody on the machine may read the status.
    pub public: bool,
}

/// Bounds of the logs of all services together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogTotal {
    /// Largest sum of all log files, bytes.
    pub max_total: u64,
    /// Share of the file system kept free, percent; archives go first.
    pub min_free_percent: u8,
}

/// One service. There may be thousands: what is large and rare is boxed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Service {
    /// Program and arguments; the program is found on the service's `PATH`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub command: Vec<String>,
    /// Working directory; the config file's directory unless given.
    pub cwd: PathBuf,
    /// User to run as, by name or number.
    #[serde(default, skip_serializing_if = "is_default")]
    pub user: Option<String>,
    /// Group to run as; the user's own unless given.
    #[serde(default, skip_serializing_if = "is_default")]
    pub group: Option<String>,
    /// The service's own variables, on top of cafe's `PATH`, `HOME`, `LANG`, `TZ`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub env: BTreeMap<String, String>,
    /// Keys of `env` whose values came from a secret (`${file:...}`) and are masked everywhere.
    #[serde(default, skip_serializing_if = "is_default")]
    pub secrets: Vec<String>,
    /// File mode creation mask.
    #[serde(default, skip_serializing_if = "is_default")]
    pub umask: Option<u32>,
    /// Scheduling priority, -20 to 19.
    #[serde(default, skip_serializing_if = "is_default")]
    pub nice: Option<i32>,
    /// Started with the daemon, or only by hand.
    pub start: Start,
    /// A restart by hand or for its config starts the next generation before it stops the last.
    #[serde(default, skip_serializing_if = "is_default")]
    pub overlap: bool,
    /// How many of it run side by side.
    #[serde(default, skip_serializing_if = "is_default")]
    pub instances: u32,
    /// Starts after these, if they are to start at all.
    #[serde(default, skip_serializing_if = "is_default")]
    pub after: Vec<Name>,
    /// Needs these up, starts after them, and stops with them.
    #[serde(default, skip_serializing_if = "is_default")]
    pub requires: Vec<Name>,
    /// Sockets that cafe binds and passes to it, in the order of their numbers.
    #[serde(default, skip_serializing_if = "is_default")]
    pub listen: BTreeMap<Name, Listen>,
    /// Daemon, oneshot or timer.
    pub kind: Kind,
    /// How it proves ready.
    #[serde(default, skip_serializing_if = "is_default")]
    pub ready: Option<Ready>,
    /// How long it may take to become ready.
    pub ready_timeout: Duration,
    /// Longest time between two `WATCHDOG=1` (sd_notify(3)); longer means it is wedged.
    #[serde(default, skip_serializing_if = "is_default")]
    pub watchdog: Option<Duration>,
    /// How its health is checked.
    #[serde(default, skip_serializing_if = "is_default")]
    pub health: Option<Box<Health>>,
    /// When it is restarted.
    pub restart: Restart,
    /// How long restarts wait.
    pub backoff: Backoff,
    /// How many restarts are too many.
    pub intensity: Intensity,
    /// Run when the service gives up.
    #[serde(default, skip_serializing_if = "is_default")]
    pub on_give_up: Option<Box<Hook>>,
    /// Its end for good ends its group (by `auto_shutdown`) or, in no group, cafe.
    #[serde(default, skip_serializing_if = "is_default")]
    pub significant: bool,
    /// How it is stopped.
    pub stop: Stop,
    /// How `cafe reload NAME` works.
    pub reload: Reload,
    /// Resource limits, if it has any: see [`Self::limits`].
    #[serde(default, skip_serializing_if = "is_default")]
    pub limits: Option<Box<Limits>>,
    /// Its log files.
    pub log: Log,
    /// All the capabilities it has. Absent: everything as root, nothing as another user.
    #[serde(default, skip_serializing_if = "is_default")]
    pub capabilities: Option<Capabilities>,
    /// Whether no program it executes may give it more than it has (`PR_SET_NO_NEW_PRIVS`).
    #[serde(default, skip_serializing_if = "is_default")]
    pub no_new_privs: bool,
}

impl Service {
    /// Resource limits.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits.as_deref().copied().unwrap_or_default()
    }
}

/// Whether a service starts with the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// With the daemon.
    #[default]
    Auto,
    /// Only by `cafe start`.
    Manual,
    /// At the first connection to one of its sockets, and again after it ended well.
    OnConnection,
}

/// Where a service listens, by a socket that cafe binds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Listen {
    /// TCP. An IPv6 address never takes IPv4 along.
    Ip(SocketAddr),
    /// A unix stream socket, absolute.
    Unix(PathBuf),
}

impl Listen {
    /// Whether the kernel lets only one of the two be listened on.
    #[must_use]
    pub fn collides_with(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Unix(one), Self::Unix(other)) => one == other,
            (Self::Ip(one), Self::Ip(other)) => {
                let everywhere = one.ip().is_unspecified() || other.ip().is_unspecified();
                one.is_ipv4() == other.is_ipv4()
                    && one.port() == other.port()
                    && (everywhere || one.ip() == other.ip())
            }
            _ => false,
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => write!(formatter, "{address}"),
            Self::Unix(path) => write!(formatter, "{}", path.display()),
        }
    }
}

/// What kind of process a service is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Kind {
    /// Meant to run for ever.
    Daemon,
    /// Meant to end; up for its dependents once it ended with 0.
    Oneshot,
    /// Run by the clock.
    Timer {
        /// When.
        schedule: Schedule,
        /// What happens when the last run has not ended.
        overlap: Overlap,
    },
}

/// When a timer runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Schedule {
    /// A cron expression in local time, as written; five fields, or six with seconds first.
    Cron(String),
    /// A fixed time from start to start, monotonic.
    Every(Duration),
}

/// What a timer does when it is due and its last run has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// Leaves this run out, and says so.
    #[default]
    Skip,
    /// Runs once more as soon as the last run ended.
    Queue,
    /// Stops the last run, then starts.
    Replace,
}

/// How a service proves that it is ready.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Ready {
    /// Still alive after this long.
    Delay(Duration),
    /// A probe succeeds.
    Probe(Box<Probe>),
    /// A line of its output matches this regular expression.
    Log(String),
    /// It sends `READY=1` to `$NOTIFY_SOCKET` (sd_notify(3)).
    Notify,
    /// It writes a newline to this descriptor (s6 readiness protocol).
    Fd(i32),
}

/// A question to a running service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Probe {
    /// A TCP connection is accepted.
    Tcp(SocketAddr),
    /// A GET is answered with a status from 200 to 399.
    Http {
        /// Where to connect.
        address: SocketAddr,
        /// Host header.
        host: String,
        /// Path and query.
        path: String,
    },
}

/// Probes on a schedule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// What is asked.
    pub probe: Probe,
    /// Time from one probe to the next.
    pub every: Duration,
    /// Deadline of one probe.
    pub timeout: Duration,
    /// Failures in a row that make the service unhealthy.
    pub failures: u32,
    /// Time after the start in which failures do not count.
    pub grace: Duration,
    /// What follows.
    pub action: OnUnhealthy,
}

/// What follows a failed health check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnUnhealthy {
    /// The service is restarted by its policy.
    #[default]
    Restart,
    /// The state says `unhealthy`, nothing more.
    Mark,
}

/// A command of the user that runs on an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// Program and arguments.
    pub command: Vec<String>,
    /// Killed after this long.
    pub timeout: Duration,
}

/// How a service is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// The signal that asks.
    pub signal: i32,
    /// How long it may take before everything is killed.
    pub timeout: Duration,
}

/// How `cafe reload NAME` reaches a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reload {
    /// By a signal.
    Signal(i32),
    /// It restarts.
    Restart,
}

/// Resource limits; absent means inherited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Limits {
    /// `memory.high` of its cgroup, bytes.
    #[serde(default, skip_serializing_if = "is_default")]
    pub memory_high: Option<u64>,
    /// `memory.max` of its cgroup, bytes.
    #[serde(default, skip_serializing_if = "is_default")]
    pub memory_max: Option<u64>,
    /// `cpu.weight` of its cgroup, 1 to 10000.
    #[serde(default, skip_serializing_if = "is_default")]
    pub cpu_weight: Option<u32>,
    /// `cpu.max` of its cgroup, percent of one core.
    #[serde(default, skip_serializing_if = "is_default")]
    pub cpu_percent: Option<u32>,
    /// `pids.max` of its cgroup.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tasks_max: Option<u64>,
    /// `RLIMIT_NOFILE`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub nofile: Option<u64>,
    /// `RLIMIT_NPROC`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub nproc: Option<u64>,
    /// `RLIMIT_CORE`, bytes.
    #[serde(default, skip_serializing_if = "is_default")]
    pub core: Option<u64>,
    /// `RLIMIT_AS`, bytes.
    #[serde(default, skip_serializing_if = "is_default")]
    pub address_space: Option<u64>,
    /// `RLIMIT_FSIZE`, bytes.
    #[serde(default, skip_serializing_if = "is_default")]
    pub file_size: Option<u64>,
    /// `RLIMIT_MEMLOCK`, bytes.
    #[serde(default, skip_serializing_if = "is_default")]
    pub memlock: Option<u64>,
}

/// Log files of one service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Log {
    /// Size at which a file is rotated, bytes.
    pub max_file: u64,
    /// Rotated files kept.
    pub keep: u32,
    /// What happens when lines come faster than they can be written.
    pub on_full: OnFull,
}

/// Services that restart together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// Who restarts with whom.
    pub strategy: Strategy,
    /// Members in start order.
    pub services: Vec<Name>,
    /// Restart limit of the group; replaces those of its members.
    pub intensity: Intensity,
    /// Whether the end of significant members ends the group.
    pub auto_shutdown: AutoShutdown,
}
