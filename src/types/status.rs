//! The snapshot every view shows: `cafe status -o json`, the API, the metrics, the page.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::capability::Capabilities;
use super::exit::PostMortem;
use super::name::Name;
use super::state::State;

/// Version of the JSON documents; additive changes keep it.
pub const SCHEMA: u32 = 1;

/// The answer to `GET /v1/status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The daemon itself.
    pub daemon: Daemon,
    /// Its services, by name.
    pub services: Vec<Service>,
    /// Its configured groups, by name.
    #[serde(default)]
    pub groups: Vec<Group>,
}

/// The daemon in a [`Status`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Daemon {
    /// Version of cafe.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// When it started.
    pub since: Timestamp,
    /// How long it runs, milliseconds.
    pub uptime_ms: u64,
    /// The config file in force.
    pub config: String,
    /// Where logs and state are.
    pub state_dir: String,
    /// Revision of the config in force: the `ETag` of `/v1/config`.
    pub config_revision: String,
    /// Why the last reload was refused; absent when the file on disk is in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_error: Option<String>,
    /// For how long no log could be written, milliseconds, as a file system neither takes bytes nor refuses them;
    /// absent while logs are written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logs_stalled_ms: Option<u64>,
    /// `true` once it was told to end.
    #[serde(default)]
    pub stopping: bool,
    /// Which capabilities it kept; absent from a daemon that does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub privileges: Option<Privileges>,
}

/// The capabilities of the daemon (capabilities(7)), by name without `CAP_`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Privileges {
    /// Permitted and effective: what cafe itself may do.
    #[schema(value_type = Vec<String>)]
    pub held: Capabilities,
    /// The same of those parts that only start services: more than `held` where services run as root.
    #[schema(value_type = Vec<String>)]
    pub for_services: Capabilities,
    /// The bounding set: the most that a service can get, by being root or by a setuid program.
    #[schema(value_type = Vec<String>)]
    pub bounding: Capabilities,
    /// What it was started with and gave up, as the config does not need it.
    #[schema(value_type = Vec<String>)]
    pub dropped: Capabilities,
    /// What it took out of the bounding set.
    #[schema(value_type = Vec<String>)]
    pub bounding_dropped: Capabilities,
}

/// One service in a [`Status`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Service {
    /// Its name.
    pub name: Name,
    /// Its state.
    pub state: State,
    /// Why it is in that state, and what is next.
    pub reason: String,
    /// `daemon`, `oneshot` or `timer`.
    pub kind: String,
    /// The group it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Name>,
    /// Process id of its main process; none of a service with several instances.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Its processes, and instances that have none: one until `instances` is configured, and two while generations
    /// overlap.
    pub instances: Vec<Instance>,
    /// Restarts by cafe since it was last started by hand or by the config.
    pub restarts: u64,
    /// When it entered its state.
    pub since: Timestamp,
    /// How long it is in its state, milliseconds, however the clock was set meanwhile.
    #[serde(default)]
    pub state_ms: u64,
    /// How long its process runs, milliseconds; 0 without one.
    pub uptime_ms: u64,
    /// Resident memory of its main process (of its cgroup where limits are delegated), bytes.
    pub memory_bytes: u64,
    /// CPU of its main process since the last look at least a second ago, percent of one core.
    pub cpu_percent: f64,
    /// The next start: of a backoff, or of a timer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_start: Option<Timestamp>,
    /// The last start, of a timer or oneshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_start: Option<Timestamp>,
    /// `STATUS=` of the service itself (sd_notify).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_text: Option<String>,
    /// The last probe: what it asked, what came back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<String>,
    /// What it waits for before it starts (`after` and `requires`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<Name>,
    /// Sockets that cafe holds for it (`listen`), whether it runs or not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub listen: Vec<Listener>,
    /// The last ended incarnations, newest first; the list view carries only the newest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exits: Vec<PostMortem>,
}

/// A socket that cafe holds for a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Listener {
    /// Its name in the config, and in `LISTEN_FDNAMES`.
    pub name: Name,
    /// `address:port`, or a path.
    pub address: String,
}

/// One process of a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Instance {
    /// Its number, from 1.
    pub number: u32,
    /// Its name, where a service has several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
    /// Its state, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// Why it is in that state, likewise.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Its restarts, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restarts: Option<u64>,
    /// Process id, if it has a process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Which incarnation of the service this is, from 1.
    pub generation: u64,
    /// When it was started.
    pub since: Timestamp,
    /// Resident memory, bytes.
    pub memory_bytes: u64,
    /// Percent of one core.
    pub cpu_percent: f64,
}

/// A configured group of services.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Group {
    /// Its name.
    pub name: Name,
    /// `one_for_one`, `one_for_all` or `rest_for_one`.
    pub strategy: String,
    /// `running`, `stopped` or `failed`.
    pub state: String,
    /// Why.
    pub reason: String,
    /// Its members in start order.
    pub services: Vec<Name>,
}

/// A node of the live supervision tree: the answer to `GET /v1/tree` is its root.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Node {
    /// Name among its siblings.
    pub id: String,
    /// `supervisor`, `actor`, `group`, `service`, `instance` or `process`.
    pub kind: String,
    /// A service's state, or `running`, `starting`, `backoff`, `stopped` of an actor.
    pub state: String,
    /// How often it was restarted.
    pub restarts: u64,
    /// Strategy, reason or pid: what a reader wants next to the name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// Its children in start order.
    #[serde(default)]
    #[schema(no_recursion)]
    pub children: Vec<Node>,
}
