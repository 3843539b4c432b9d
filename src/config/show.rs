//! A checked config as JSON, in the words of `cafe.ron` and with every default filled in. Secrets are masked
//! unless the caller only compares.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::model::{
    Config, Daemon, Group, Health, Kind, Limits, Probe, Ready, Reload, Schedule, Service,
};
use crate::types::exit;
use crate::types::name::Name;
use crate::types::status::SCHEMA;
use crate::types::unit::{exact_duration, exact_size};

/// What stands in the place of a secret.
pub(super) const MASK: &str = "***";

/// Whether secrets are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Secrets {
    /// For everybody.
    Masked,
    /// To compare; never leaves this island.
    Plain,
}

/// The whole config, for `cafe config show` and the API. Durations and sizes are strings as in the file.
#[must_use]
pub fn show(config: &Config) -> Value {
    let memberships = memberships(config);
    let services = config.services.iter().map(|(name, it)| {
        let group = memberships.get(name).copied();
        (name.to_string(), Value::Object(service(it, group, Secrets::Masked)))
    });
    let groups =
        config.groups.iter().map(|(name, it)| (name.to_string(), Value::Object(group(it))));
    json!({
        "schema": SCHEMA,
        "source": config.source,
        "revision": config.revision,
        "services": services.collect::<Map<_, _>>(),
        "groups": groups.collect::<Map<_, _>>(),
        "daemon": daemon(&config.daemon),
    })
}

/// The group of every service that has one.
pub(super) fn memberships(config: &Config) -> BTreeMap<&Name, &Name> {
    let groups = config.groups.iter();
    groups.flat_map(|(group, it)| it.services.iter().map(move |name| (name, group))).collect()
}

/// One service by field. `member_of` is the group it belongs to; `group` is the one it runs as.
pub(super) fn service(
    service: &Service,
    member_of: Option<&Name>,
    secrets: Secrets,
) -> Map<String, Value> {
    let env = service.env.iter().map(|(name, value)| {
        let masked = secrets == Secrets::Masked && service.secrets.contains(name);
        (name.clone(), Value::from(if masked { MASK } else { value }))
    });
    let (kind, overlap) = match &service.kind {
        Kind::Daemon => ("daemon".to_owned(), service.overlap.into()),
        Kind::Oneshot => ("oneshot".to_owned(), Value::Null),
        Kind::Timer { schedule, overlap } => (timer(schedule), word(overlap)),
    };
    object(json!({
        "command": service.command,
        "cwd": service.cwd,
        "user": service.user,
        "group": service.group,
        "env": env.collect::<Map<_, _>>(),
        "umask": service.umask.map(|mask| format!("{mask:03o}")),
        "nice": service.nice,
        "capabilities": service.capabilities,
        "no_new_privs": service.no_new_privs,
        "start": word(service.start),
        "after": service.after,
        "requires": service.requires,
        "listen": service.listen.iter()
            .map(|(name, listen)| (name.to_string(), listen.to_string().into()))
            .collect::<Map<String, Value>>(),
        "kind": kind,
        "overlap": overlap,
        "instances": service.instances,
        "ready": service.ready.as_ref().map(ready),
        "ready_timeout": exact_duration(service.ready_timeout),
        "watchdog": service.watchdog.map(exact_duration),
        "health": service.health.as_deref().map(health),
        "restart": word(service.restart),
        "backoff": {
            "min": exact_duration(service.backoff.min),
            "max": exact_duration(service.backoff.max),
            "reset_after": exact_duration(service.backoff.reset_after),
        },
        "intensity": intensity(service.intensity.restarts, service.intensity.within, service.intensity.then),
        "on_give_up": service.on_give_up.as_ref().map(|hook| json!({
            "command": hook.command,
            "timeout": exact_duration(hook.timeout),
        })),
        "significant": service.significant,
        "stop": {
            "signal": signal(service.stop.signal),
            "timeout": exact_duration(service.stop.timeout),
        },
        "reload": match service.reload {
            Reload::Restart => "restart".to_owned(),
            Reload::Signal(number) => format!("signal({})", signal(number)),
        },
        "limits": limits(&service.limits()),
        "log": {
            "max_file": exact_size(service.log.max_file),
            "keep": service.log.keep,
            "on_full": word(service.log.on_full),
        },
        "member_of": member_of,
    }))
}

/// One group by field.
pub(super) fn group(group: &Group) -> Map<String, Value> {
    let limit = group.intensity;
    object(json!({
        "strategy": word(group.strategy),
        "services": group.services,
        "intensity": intensity(limit.restarts, limit.within, limit.then),
        "auto_shutdown": word(group.auto_shutdown),
    }))
}

/// The daemon's settings by field.
pub(super) fn daemon(daemon: &Daemon) -> Map<String, Value> {
    object(json!({
        "control": {
            "socket": daemon.control.socket,
            "group": daemon.control.group,
            "public": daemon.control.public,
        },
        "state_dir": daemon.state_dir,
        "parallel_starts": daemon.parallel_starts,
        "logs": {
            "max_total": exact_size(daemon.logs.max_total),
            "min_free": format!("{}%", daemon.logs.min_free_percent),
        },
        "cgroups": daemon.cgroups,
        "stop_timeout": daemon.stop_timeout.map(exact_duration),
    }))
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn word(value: impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

fn intensity(restarts: u32, within: Duration, then: impl Serialize) -> Value {
    json!({ "restarts": restarts, "within": exact_duration(within), "then": word(then) })
}

fn timer(schedule: &Schedule) -> String {
    match schedule {
        Schedule::Cron(expression) => format!("timer({expression:?})"),
        Schedule::Every(period) => format!("timer(\"every {}\")", exact_duration(*period)),
    }
}

fn ready(ready: &Ready) -> String {
    match ready {
        Ready::Delay(delay) => format!("delay({:?})", exact_duration(*delay)),
        Ready::Probe(it) => probe(it),
        Ready::Log(expression) => format!("log({expression:?})"),
        Ready::Notify => "notify".to_owned(),
        Ready::Fd(number) => format!("fd({number})"),
    }
}

fn probe(probe: &Probe) -> String {
    match probe {
        Probe::Tcp(address) => format!("tcp(\"{address}\")"),
        Probe::Http { host, path, .. } => format!("http(\"http://{host}{path}\")"),
    }
}

fn health(health: &Health) -> Value {
    json!({
        "probe": probe(&health.probe),
        "every": exact_duration(health.every),
        "timeout": exact_duration(health.timeout),
        "failures": health.failures,
        "grace": exact_duration(health.grace),
        "action": word(health.action),
    })
}

fn signal(number: i32) -> String {
    let name = exit::signal_name(number);
    match name.strip_prefix("SIG") {
        Some(name) => name.to_owned(),
        None => number.to_string(),
    }
}

fn limits(limits: &Limits) -> Value {
    let size = |bytes: Option<u64>| bytes.map(unlimited_or(exact_size));
    let count = |count: Option<u64>| count.map(unlimited_or(|count| count.to_string()));
    json!({
        "memory_high": size(limits.memory_high),
        "memory_max": size(limits.memory_max),
        "cpu_weight": limits.cpu_weight,
        "cpu_percent": limits.cpu_percent,
        "tasks_max": limits.tasks_max,
        "nofile": limits.nofile,
        "nproc": count(limits.nproc),
        "core": size(limits.core),
        "address_space": size(limits.address_space),
        "file_size": size(limits.file_size),
        "memlock": size(limits.memlock),
    })
}

/// `RLIM_INFINITY` has a word.
fn unlimited_or(show: fn(u64) -> String) -> impl Fn(u64) -> String {
    move |value| if value == u64::MAX { "unlimited".to_owned() } else { show(value) }
}
