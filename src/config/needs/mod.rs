//! Which capabilities a config needs, each with its reason, and what follows of it: what cafe keeps at its start, and
//! what a later config can no longer have. Pure: asks nothing of the machine, changes nothing.

use std::collections::BTreeMap;

use super::model::{Config, Limits, Service};
use crate::types::capability::{Capabilities, Capability};
use crate::types::name::Name;
use crate::types::status::Privileges;

/// The superuser.
const ROOT: u32 = 0;

/// What of the machine the needs depend on.
#[expect(missing_debug_implementations, reason = "a function has nothing to show")]
pub struct Machine<'m> {
    /// The user cafe runs as.
    pub uid: u32,
    /// Its priority, -20 to 19.
    pub nice: i32,
    /// Its hard resource limits; absent means none.
    pub hard: Limits,
    /// The number of a user by name or number; `None` for one that does not exist.
    pub user_id: &'m dyn Fn(&str) -> Option<u32>,
    /// Ports that the config has cafe bind, each with who asks for it.
    pub ports: &'m [(u16, String)],
    /// The first port that everybody may bind (`net.ipv4.ip_unprivileged_port_start`).
    pub unprivileged_from: u16,
}

/// The capabilities a config needs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Needs {
    /// What cafe itself needs, and for whom.
    pub own: BTreeMap<Capability, String>,
    /// Who runs as root without `capabilities`, and so has all that root has.
    pub root: Option<String>,
    /// Who may get more than it has by a setuid program, as far as the bounding set goes.
    pub gains: Option<String>,
    /// There is no service yet, which says nothing of those to come.
    pub unknown: bool,
}

/// What `config` needs on `machine`.
#[must_use]
pub fn needs(config: &Config, machine: &Machine<'_>) -> Needs {
    let mut needs = Needs { unknown: config.services.is_empty(), ..Needs::default() };
    needs.for_files(machine.uid);
    if let Some(group) = &config.daemon.control.group {
        needs.add(Capability::CHOWN, format!("the control socket belongs to the group `{group}`"));
    }
    for (port, who) in machine.ports {
        if *port < machine.unprivileged_from {
            needs.add(Capability::NET_BIND_SERVICE, format!("{who} listens on port {port}"));
        }
    }
    for (name, service) in &config.services {
        needs.for_service(name, service, machine);
    }
    needs
}

impl Needs {
    /// What of the capabilities at the start is kept: `permitted` and `bounding` as they were then.
    #[must_use]
    pub fn kept(&self, permitted: Capabilities, bounding: Capabilities) -> Privileges {
        let own: Capabilities = self.own.keys().copied().collect();
        let held = if self.unknown { permitted } else { permitted & own };
        let for_services = if self.root.is_some() { permitted } else { held };
        // Without SETPCAP nobody may make the bounding set smaller.
        let keeps_bounding = self.unknown
            || self.root.is_some()
            || self.gains.is_some()
            || !permitted.contains(Capability::SETPCAP);
        let kept_bounding = if keeps_bounding { bounding } else { bounding & held };
        Privileges {
            held,
            for_services,
            bounding: kept_bounding,
            dropped: permitted - held,
            bounding_dropped: bounding - kept_bounding,
        }
    }

    /// What it needs and `now` no longer has, with the reason; `None` when it can be put in force. What cafe was
    /// never given is not told here: the service that needs it says so when it starts.
    #[must_use]
    pub fn given_up(&self, now: &Privileges) -> Option<String> {
        let lost = self.own.iter().find(|(capability, _)| now.dropped.contains(**capability));
        if let Some((capability, reason)) = lost {
            return Some(format!("CAP_{capability}: {reason}"));
        }
        let at_start = now.held | now.dropped;
        if let Some(who) = self.root.as_ref().filter(|_| now.for_services != at_start) {
            return Some(format!("all capabilities: {who}"));
        }
        let gains = self.root.as_ref().or(self.gains.as_ref());
        let who = gains.filter(|_| !now.bounding_dropped.is_empty())?;
        Some(format!("the bounding set: {who}"))
    }

    /// Configs and secrets are read again, and programs looked for, where others keep them closed.
    fn for_files(&mut self, uid: u32) {
        let reason = "cafe reads files of others";
        self.add(Capability::DAC_OVERRIDE, reason.to_owned());
        if uid != ROOT {
            // Root has the other, which includes it.
            self.add(Capability::DAC_READ_SEARCH, reason.to_owned());
        }
    }

    fn for_service(&mut self, name: &Name, service: &Service, machine: &Machine<'_>) {
        let uid = match &service.user {
            None => Some(machine.uid),
            Some(user) => (machine.user_id)(user),
        };
        let whom = service.user.as_deref().unwrap_or("root");
        let as_other = uid != Some(machine.uid);
        let as_root = uid == Some(ROOT);
        let runs_as = |what: &str| format!("service `{name}` runs as {what}");
        if as_other {
            self.add(Capability::SETUID, runs_as(&format!("user `{whom}`")));
        }
        if service.user.is_some() || service.group.is_some() {
            let what = service.user.as_ref().map_or_else(
                || format!("group `{}`", service.group.as_deref().unwrap_or_default()),
                |user| format!("user `{user}`"),
            );
            self.add(Capability::SETGID, runs_as(&what));
            // Its pipes and its notify socket are to be its own.
            self.add(Capability::CHOWN, runs_as(&what));
        }
        if as_other || as_root {
            // Root itself may leave processes of others, and have more than cafe keeps.
            let what = format!("user `{whom}`");
            self.add(Capability::KILL, runs_as(&what));
            self.add(Capability::SYS_PTRACE, runs_as(&what));
        }
        if machine.uid == ROOT {
            // What the pipes of a user may take together would else hold for root's as well (pipe(7)).
            self.add(Capability::SYS_RESOURCE, format!("service `{name}` writes to a pipe"));
        }
        self.for_limits(name, service, machine);
        self.for_capabilities(name, service, as_root);
        if service.on_give_up.is_some() {
            let whose = if machine.uid == ROOT { &mut self.root } else { &mut self.gains };
            first(whose, format!("service `{name}` has a hook, which runs as cafe's own user"));
        }
    }

    fn for_limits(&mut self, name: &Name, service: &Service, machine: &Machine<'_>) {
        if service.nice.is_some_and(|nice| nice < machine.nice) {
            self.add(Capability::SYS_NICE, format!("service `{name}` has a higher priority"));
        }
        if raises(&service.limits(), &machine.hard) {
            let reason = format!("service `{name}` has limits above the hard ones");
            self.add(Capability::SYS_RESOURCE, reason);
        }
    }

    fn for_capabilities(&mut self, name: &Name, service: &Service, as_root: bool) {
        for capability in service.capabilities.unwrap_or_default().iter() {
            self.add(capability, format!("service `{name}` has it"));
        }
        match (as_root, service.capabilities) {
            (true, None) => first(&mut self.root, format!("service `{name}` runs as root")),
            // To take the rest out of the bounding set of the service.
            (true, Some(_)) => {
                self.add(
                    Capability::SETPCAP,
                    format!("service `{name}` is root with few capabilities"),
                );
            }
            (false, _) if !service.no_new_privs => {
                first(&mut self.gains, format!("service `{name}` may execute setuid programs"));
            }
            (false, _) => {}
        }
    }

    fn add(&mut self, capability: Capability, reason: String) {
        self.own.entry(capability).or_insert(reason);
    }
}

fn first(slot: &mut Option<String>, value: String) {
    slot.get_or_insert(value);
}

/// Whether one of the resource limits is above its hard limit.
fn raises(wanted: &Limits, hard: &Limits) -> bool {
    let pairs = [
        (wanted.nofile, hard.nofile),
        (wanted.nproc, hard.nproc),
        (wanted.core, hard.core),
        (wanted.address_space, hard.address_space),
        (wanted.file_size, hard.file_size),
        (wanted.memlock, hard.memlock),
    ];
    pairs.into_iter().any(|(wanted, hard)| wanted.zip(hard).is_some_and(|(w, h)| w > h))
}

#[cfg(test)]
mod tests;
