//! What a reload would do: two configs compared, field by field, each field with its class from one table.
//! Decides nothing; `cafe config diff` prints it, and the daemon applies it.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde_json::{Map, Value};

use super::model::Config;
use super::show::{self, MASK, Secrets};
use crate::types::name::Name;

/// What a changed field asks for, the mildest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Nothing: it is in force at once, and the process stays.
    Live,
    /// The process is restarted.
    Restart,
    /// The service is stopped and forgotten, and a new one takes its place.
    Recreate,
}

/// Each field of a service, and what its change asks for.
pub(super) const SERVICE_FIELDS: [(&str, Class); 30] = [
    ("command", Class::Restart),
    ("cwd", Class::Restart),
    ("user", Class::Restart),
    ("group", Class::Restart),
    ("env", Class::Restart),
    ("umask", Class::Restart),
    ("nice", Class::Restart),
    ("capabilities", Class::Restart),
    ("no_new_privs", Class::Restart),
    ("start", Class::Live),
    ("after", Class::Live),
    ("requires", Class::Live),
    ("listen", Class::Restart),
    ("kind", Class::Recreate),
    ("overlap", Class::Live),
    ("instances", Class::Live),
    ("ready", Class::Restart),
    ("ready_timeout", Class::Live),
    ("watchdog", Class::Restart),
    ("health", Class::Live),
    ("restart", Class::Live),
    ("backoff", Class::Live),
    ("intensity", Class::Live),
    ("on_give_up", Class::Live),
    ("significant", Class::Live),
    ("stop", Class::Live),
    ("reload", Class::Live),
    ("limits", Class::Restart),
    ("log", Class::Live),
    ("member_of", Class::Recreate),
];

/// Each field of a group. A service that comes or goes has `member_of` changed; the order alone is live.
pub(super) const GROUP_FIELDS: [(&str, Class); 4] = [
    ("strategy", Class::Live),
    ("services", Class::Live),
    ("intensity", Class::Live),
    ("auto_shutdown", Class::Live),
];

/// Settings of the daemon that are in force only after it was restarted itself.
const BOOT_SETTINGS: [&str; 3] = ["control.socket", "state_dir", "cgroups"];

/// The difference between two configs.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Diff {
    /// Services that only the new config has, in its order.
    pub added: Vec<Name>,
    /// Services that only the old config has.
    pub removed: Vec<Name>,
    /// Services that differ.
    pub changed: Vec<ServiceChange>,
    /// Groups that only the new config has.
    pub groups_added: Vec<Name>,
    /// Groups that only the old config has.
    pub groups_removed: Vec<Name>,
    /// Groups that differ.
    pub groups_changed: Vec<GroupChange>,
    /// Settings of the daemon that differ.
    pub daemon: Vec<Setting>,
}

/// A service that differs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ServiceChange {
    /// Its name.
    pub name: Name,
    /// The severest class of its changes.
    pub class: Class,
    /// What changed.
    pub changes: Vec<Change>,
}

/// A group that differs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GroupChange {
    /// Its name.
    pub name: Name,
    /// What changed.
    pub changes: Vec<Change>,
}

/// A field that differs. Secrets are masked on both sides.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// The field, as `env.PORT` where it has parts.
    pub field: String,
    /// What its change asks for.
    pub class: Class,
    /// Its value in the old config; null when it had none.
    pub old: Value,
    /// Its value in the new config; null when it has none.
    pub new: Value,
}

/// A setting of the daemon that differs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Setting {
    /// The field, as `control.socket`.
    pub field: String,
    /// Its value in the old config.
    pub old: Value,
    /// Its value in the new config.
    pub new: Value,
    /// Whether it is in force only after the daemon was restarted itself.
    pub needs_daemon_restart: bool,
}

/// Compares two configs.
#[must_use]
pub fn diff(old: &Config, new: &Config) -> Diff {
    let (added, removed, kept) = names(old.services.keys(), new.services.keys());
    let (groups_added, groups_removed, groups_kept) = names(old.groups.keys(), new.groups.keys());
    let (old_groups, new_groups) = (show::memberships(old), show::memberships(new));
    let changed = kept.into_iter().filter_map(|name| {
        let side = |config: &Config, groups: &BTreeMap<&Name, &Name>| {
            let (service, group) = (&config.services[name], groups.get(name).copied());
            Side {
                plain: show::service(service, group, Secrets::Plain),
                masked: show::service(service, group, Secrets::Masked),
            }
        };
        let changes = changes(&side(old, &old_groups), &side(new, &new_groups), &SERVICE_FIELDS);
        let class = changes.iter().map(|change| change.class).max()?;
        Some(ServiceChange { name: name.clone(), class, changes })
    });
    let groups_changed = groups_kept.into_iter().filter_map(|name| {
        let side = |config: &Config| show::group(&config.groups[name]);
        let changes = changes(&Side::open(side(old)), &Side::open(side(new)), &GROUP_FIELDS);
        (!changes.is_empty()).then(|| GroupChange { name: name.clone(), changes })
    });
    Diff {
        added,
        removed,
        changed: changed.collect(),
        groups_added,
        groups_removed,
        groups_changed: groups_changed.collect(),
        daemon: settings(old, new),
    }
}

impl Diff {
    /// Whether a reload would do nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Names only the new side has, only the old side has, both have.
fn names<'n>(
    old: impl Iterator<Item = &'n Name>,
    new: impl Iterator<Item = &'n Name>,
) -> (Vec<Name>, Vec<Name>, Vec<&'n Name>) {
    let old: indexmap::IndexSet<&Name> = old.collect();
    let new: indexmap::IndexSet<&Name> = new.collect();
    let added = new.difference(&old).copied().cloned().collect();
    let removed = old.difference(&new).copied().cloned().collect();
    (added, removed, new.intersection(&old).copied().collect())
}

fn settings(old: &Config, new: &Config) -> Vec<Setting> {
    let (old, new) = (show::daemon(&old.daemon), show::daemon(&new.daemon));
    let table: Vec<(&str, Class)> = new.keys().map(|key| (key.as_str(), Class::Live)).collect();
    let setting = |change: Change| Setting {
        needs_daemon_restart: BOOT_SETTINGS.contains(&change.field.as_str()),
        field: change.field,
        old: change.old,
        new: change.new,
    };
    let (old, new) = (Side::open(old), Side::open(new.clone()));
    changes(&old, &new, &table).into_iter().map(setting).collect()
}

/// One of the two things that are compared: what is compared, and what may be shown of it.
struct Side {
    plain: Map<String, Value>,
    masked: Map<String, Value>,
}

impl Side {
    /// Something without secrets.
    fn open(map: Map<String, Value>) -> Self {
        Self { plain: map.clone(), masked: map }
    }
}

fn changes(old: &Side, new: &Side, table: &[(&str, Class)]) -> Vec<Change> {
    let mut list = Vec::new();
    for &(field, class) in table {
        let (before, after) = (&old.plain[field], &new.plain[field]);
        if before == after {
            continue;
        }
        let shown = |field: String, old: &Value, new: &Value| Change {
            field,
            class,
            old: old.clone(),
            new: new.clone(),
        };
        let (Value::Object(before), Value::Object(after)) = (before, after) else {
            list.push(shown(field.to_owned(), &old.masked[field], &new.masked[field]));
            continue;
        };
        let only_after = after.keys().filter(|key| !before.contains_key(*key));
        for part in before.keys().chain(only_after) {
            if before.get(part) != after.get(part) {
                let (old, new) = (&old.masked[field][part], &new.masked[field][part]);
                list.push(shown(format!("{field}.{part}"), old, new));
            }
        }
    }
    list
}

impl fmt::Display for Class {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Live => "live",
            Self::Restart => "restart",
            Self::Recreate => "recreate",
        })
    }
}

impl fmt::Display for Diff {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return formatter.write_str("no changes");
        }
        let mut lines = Vec::new();
        lines.extend(self.added.iter().map(|name| format!("+ {name}")));
        lines.extend(self.removed.iter().map(|name| format!("- {name}")));
        for service in &self.changed {
            lines.push(format!("~ {}: {}", service.name, service.class));
            lines.extend(service.changes.iter().map(Change::line));
        }
        lines.extend(self.groups_added.iter().map(|name| format!("+ group {name}")));
        lines.extend(self.groups_removed.iter().map(|name| format!("- group {name}")));
        for group in &self.groups_changed {
            lines.push(format!("~ group {}", group.name));
            lines.extend(group.changes.iter().map(Change::line));
        }
        if !self.daemon.is_empty() {
            lines.push("~ daemon".to_owned());
        }
        for setting in &self.daemon {
            let when =
                if setting.needs_daemon_restart { "when the daemon restarts" } else { "live" };
            let Setting { field, old, new, .. } = setting;
            lines.push(format!("    {field}: {old} -> {new} ({when})"));
        }
        formatter.write_str(&lines.join("\n"))
    }
}

impl Change {
    fn line(&self) -> String {
        let Self { field, class, old, new } = self;
        if old == MASK && new == MASK {
            return format!("    {field}: the secret changed ({class})");
        }
        let old = if old.is_null() { "unset".to_owned() } else { old.to_string() };
        let new = if new.is_null() { "unset".to_owned() } else { new.to_string() };
        format!("    {field}: {old} -> {new} ({class})")
    }
}
