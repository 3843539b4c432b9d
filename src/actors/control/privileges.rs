//! The capabilities of the daemon: given up at its start as far as the config does not need them, and looked at again
//! for each config that comes later, since what was given up never comes back.

use nix::sys::resource::getrlimit;

use crate::config::needs::{Machine, Needs, needs};
use crate::config::{Config, Limits, Listen};
use crate::os::process::{Resource, Spawner, lookup};
use crate::os::{self, caps};
use crate::types::error::{Code, Problem};
use crate::types::status::Privileges;

/// What a config that needs more is answered with.
const WAY_OUT: &str = "the config in force stays as it is; cafe keeps what it needs of the file it starts with, so \
    restart it (`AmbientCapabilities=` of systemd, if it does not run as root), or leave this out";

/// Gives up what `config` does not need, and makes the threads that start services: these keep more when services run as
/// root. Must be called while this thread is the only one: later ones have what it has left.
///
/// # Errors
/// When threads are lacking, or the kernel refuses.
pub(crate) fn settle(config: &Config) -> Result<(Spawner, Privileges), os::Error> {
    let at_start = caps::read()?;
    let kept = needs_of(config).kept(at_start.permitted, at_start.bounding);
    caps::keep(kept.for_services, kept.bounding)?;
    let spawner = Spawner::new()?;
    caps::keep(kept.held, kept.bounding)?;
    Ok((spawner, kept))
}

/// Refuses a config that needs what was given up. Blocks while users are looked up.
pub(super) fn check(config: &Config, now: &Privileges) -> Result<(), Problem> {
    if now.dropped.is_empty() && now.bounding_dropped.is_empty() {
        return Ok(());
    }
    let Some(lost) = needs_of(config).given_up(now) else { return Ok(()) };
    let message = format!("the config needs what cafe gave up at its start: {lost}");
    Err(Problem::new(Code::PrivilegeDropped, message).hint(WAY_OUT))
}

fn needs_of(config: &Config) -> Needs {
    let ports = ports_of(config);
    let machine = Machine {
        uid: nix::unistd::geteuid().as_raw(),
        nice: rustix::process::getpriority_process(None).unwrap_or(0),
        hard: hard_limits(),
        user_id: &|user| Some(lookup(Some(user), Some("0")).ok()?.uid),
        ports: &ports,
        unprivileged_from: caps::first_unprivileged_port(),
    };
    needs(config, &machine)
}

/// The ports that cafe binds, and who asks for each.
fn ports_of(config: &Config) -> Vec<(u16, String)> {
    let sockets = config
        .services
        .iter()
        .flat_map(|(name, service)| service.listen.values().map(move |listen| (name, listen)));
    sockets
        .filter_map(|(name, listen)| match listen {
            Listen::Ip(address) => Some((address.port(), format!("service `{name}`"))),
            Listen::Unix(_) => None,
        })
        .collect()
}

fn hard_limits() -> Limits {
    let hard = |resource| getrlimit(resource).ok().map(|(_, hard)| hard);
    Limits {
        nofile: hard(Resource::RLIMIT_NOFILE),
        nproc: hard(Resource::RLIMIT_NPROC),
        core: hard(Resource::RLIMIT_CORE),
        address_space: hard(Resource::RLIMIT_AS),
        file_size: hard(Resource::RLIMIT_FSIZE),
        memlock: hard(Resource::RLIMIT_MEMLOCK),
        ..Limits::default()
    }
}
