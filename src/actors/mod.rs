//! The tree: every actor of cafe, who restarts it, and in which order they start. Stop is the reverse.
//!
//! A folder is a supervisor, a file is an actor. `bus` is no actor: it is what all of them publish to.
//! The root is `one_for_one`: a broken log pump or API never restarts a service.

pub(crate) mod bus;
pub(crate) mod control;
pub(crate) mod exits;
pub(crate) mod handover;
pub(crate) mod kept;
pub(crate) mod listeners;
pub(crate) mod logs;
pub(crate) mod reaper;
pub(crate) mod services;
pub(crate) mod upgrade;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use self::bus::Bus;
use self::control::backend::Api;
use self::control::door::Door;
use self::control::keeper::{self, Keeper};
use self::control::socket::{self, Socket};
use self::exits::Exits;
use self::listeners::binder::Binder;
use self::logs::pump::{self, Pump};
use self::reaper::Reaper;
use self::services::board::Board;
use self::services::{Inheritance, Services};
use self::upgrade::{Life, Upgrader, Wanted};
use crate::config::Config;
use crate::supervision::heartbeat::Heartbeat;
use crate::supervision::machine::{Boot, Spec};
use crate::supervision::supervisor::{self, ChildSpec, Options};
use crate::supervision::tree::{Branch, Tree};
use crate::types::event::Kind;
use crate::types::policy::{AutoShutdown, Backoff, Intensity, OnLimit, Strategy};
use crate::types::status::Privileges;

/// What the tree is built from.
#[derive(Debug)]
pub(crate) struct Parts {
    /// The config the daemon begins with.
    pub(crate) config: Arc<Config>,
    /// What services need of the machine.
    pub(crate) context: Arc<services::Context>,
    /// The capabilities that were kept for it.
    pub(crate) privileges: Privileges,
    /// Log notices, from the pump's thread.
    pub(crate) notices: pump::Notices,
    /// Ends the daemon.
    pub(crate) shutdown: Shutdown,
    /// Where the API is reached.
    pub(crate) door: Door,
    /// What is the same for all images of this process.
    pub(crate) life: Arc<Life>,
    /// What another image of it knew of the services.
    pub(crate) inherited: Inheritance,
    /// Why the file on disk was not in force with that.
    pub(crate) config_error: Option<String>,
}

/// Why the daemon ends, and with which exit code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ending {
    pub(crate) because: String,
    pub(crate) code: u8,
}

/// Ends the daemon; the first reason stays. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shutdown(Arc<watch::Sender<Option<Ending>>>);

impl Shutdown {
    /// Begins the end; `false` when it has begun already.
    pub(crate) fn begin(&self, ending: Ending) -> bool {
        self.0.send_if_modified(|begun| {
            let first = begun.is_none();
            begun.get_or_insert(ending);
            first
        })
    }

    /// Whether the end has begun.
    pub(crate) fn has_begun(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// Waits until the end begins. Safe to cancel.
    pub(crate) async fn begun(&self) -> Ending {
        let mut receiver = self.0.subscribe();
        loop {
            if let Some(ending) = receiver.borrow_and_update().clone() {
                return ending;
            }
            // The sender is ours, so it is there.
            let _ = receiver.changed().await;
        }
    }
}

/// The running tree.
#[derive(Debug)]
pub(crate) struct Root {
    root: supervisor::Handle,
    /// The services.
    pub(crate) services: services::Handle,
    /// The config in force.
    pub(crate) keeper: keeper::Handle,
    /// Has this process become another program.
    pub(crate) upgrader: Upgrader,
}

/// Starts the whole tree; returns when every part is up.
///
/// # Errors
/// When a part cannot be started: nothing is left running then.
pub(crate) async fn start(parts: Parts, bus: Bus) -> Result<Root, supervisor::Error> {
    let branch = Branch::root("cafe", "supervisor");
    let tree = branch.tree();
    let services = services::Handle::new(Board::default());
    let keeper = keeper::Handle::new(&parts);
    let upgrader = Upgrader {
        services: services.clone(),
        keeper: keeper.clone(),
        context: parts.context.clone(),
        bus: bus.clone(),
        door: parts.door.clone(),
        shutdown: parts.shutdown.clone(),
        life: parts.life.clone(),
        wanted: Wanted::default(),
    };
    let api = api(&parts, &upgrader, tree);

    let children = vec![
        reaper(&parts),
        exits(&parts),
        logs(&parts, &bus, &services),
        listeners(&parts, &bus),
        services_child(&parts, &bus, &services, &keeper),
        control(&parts, &bus, &services, &keeper, api),
    ];
    let options = Options { spec: policy(), children, observer: Some(observer(&bus, "cafe")) };
    let root = supervisor::start(branch, options).await?;
    Ok(Root { root, services, keeper, upgrader })
}

impl Root {
    /// Ends the tree in reverse order. Services must have been stopped before: an actor cannot wait for them.
    pub(crate) async fn stop(self) {
        self.root.shutdown().await;
    }
}

// ---- the children of the root, in start order ----

fn reaper(parts: &Parts) -> ChildSpec {
    let children = parts.context.children();
    ChildSpec::worker("reaper", move |context| {
        let children = children.clone();
        async move { Ok(context.spawn(Reaper, children).await?) }
    })
    .backoff(BACKOFF)
}

fn exits(parts: &Parts) -> ChildSpec {
    let exits = parts.context.exits();
    ChildSpec::worker("exits", move |context| {
        let exits = exits.clone();
        async move { Ok(context.spawn(Exits, exits).await?) }
    })
    .backoff(BACKOFF)
}

fn logs(parts: &Parts, bus: &Bus, services: &services::Handle) -> ChildSpec {
    let (notices, bus, services) = (parts.notices.clone(), bus.clone(), services.clone());
    let writer = parts.context.pump().clone();
    ChildSpec::supervisor("logs", move || {
        let options = pump::Options {
            notices: notices.clone(),
            pump: writer.clone(),
            bus: bus.clone(),
            services: services.clone(),
        };
        let pump = ChildSpec::worker("pump", move |context| {
            let options = options.clone();
            async move { Ok(context.spawn(Pump, options).await?) }
        });
        let observer = Some(observer(&bus, "cafe/logs"));
        Options { spec: policy(), children: vec![pump.backoff(BACKOFF)], observer }
    })
    .backoff(BACKOFF)
}

fn listeners(parts: &Parts, bus: &Bus) -> ChildSpec {
    let (listeners, bus) = (parts.context.listeners().clone(), bus.clone());
    ChildSpec::supervisor("listeners", move || {
        let listeners = listeners.clone();
        let binder = ChildSpec::worker("binder", move |context| {
            let listeners = listeners.clone();
            async move { Ok(context.spawn(Binder, listeners).await?) }
        });
        let observer = Some(observer(&bus, "cafe/listeners"));
        Options { spec: policy(), children: vec![binder.backoff(BACKOFF)], observer }
    })
    .backoff(BACKOFF)
}

fn services_child(
    parts: &Parts,
    bus: &Bus,
    services: &services::Handle,
    keeper: &keeper::Handle,
) -> ChildSpec {
    let (machine, bus) = (parts.context.clone(), bus.clone());
    let (services, keeper) = (services.clone(), keeper.clone());
    let (shutdown, inherited) = (parts.shutdown.clone(), parts.inherited.clone());
    ChildSpec::worker("services", move |context| {
        services.board().attach_to(&context.branch);
        let options = services::Options {
            // The one in force: a later incarnation begins where the one before ended.
            config: keeper.config(),
            context: machine.clone(),
            handle: services.clone(),
            bus: bus.clone(),
            shutdown: shutdown.clone(),
            inherited: inherited.clone(),
        };
        async move { Ok(context.spawn(Services, options).await?) }
    })
    .backoff(BACKOFF)
    .heartbeat(services_heartbeat())
    .shown_as_supervisor()
}

fn control(
    parts: &Parts,
    bus: &Bus,
    services: &services::Handle,
    keeper: &keeper::Handle,
    api: Api,
) -> ChildSpec {
    let keeping = keeper::Options {
        handle: keeper.clone(),
        listeners: parts.context.listeners().clone(),
        services: services.clone(),
        bus: bus.clone(),
    };
    let answering = socket::Options { api, door: parts.door.clone() };
    let bus = bus.clone();
    ChildSpec::supervisor("control", move || {
        let (keeping, answering) = (keeping.clone(), answering.clone());
        let keeper = ChildSpec::worker("keeper", move |context| {
            let keeping = keeping.clone();
            async move { Ok(context.spawn(Keeper, keeping).await?) }
        });
        let socket = ChildSpec::worker("socket", move |context| {
            let answering = answering.clone();
            async move { Ok(context.spawn(Socket, answering).await?) }
        });
        let children = vec![keeper.backoff(BACKOFF), socket.backoff(BACKOFF)];
        Options { spec: policy(), children, observer: Some(observer(&bus, "cafe/control")) }
    })
    .backoff(BACKOFF)
}

// ---- what holds for all of them ----

/// Delay between restarts of a part of cafe.
const BACKOFF: Backoff = Backoff {
    min: Duration::from_millis(50),
    max: Duration::from_secs(10),
    reset_after: Duration::from_secs(60),
};

/// A supervisor of services that does not answer is killed and made anew; the services go on meanwhile.
fn services_heartbeat() -> Heartbeat {
    let ask = |cell: &ractor::ActorCell, reply| {
        // An actor that is gone is not wedged: its end is heard of in any case.
        let _ =
            ractor::ActorRef::<services::Msg>::from(cell.clone()).cast(services::Msg::Ping(reply));
    };
    Heartbeat::Ping {
        ask: Arc::new(ask),
        every: Duration::from_secs(10),
        deadline: Duration::from_secs(30),
    }
}

/// A part of cafe that keeps failing is tried for ever, at the longest delay: giving up would end the services.
fn policy() -> Spec {
    Spec {
        strategy: Strategy::OneForOne,
        intensity: Intensity { restarts: 5, within: Duration::from_secs(60), then: OnLimit::Hold },
        auto_shutdown: AutoShutdown::Never,
        boot: Boot::Undo,
        parallel_stop: false,
        parallel_start: false,
        seed: fastrand::u64(..),
    }
}

/// Makes the failures of a supervisor's children events.
fn observer(bus: &Bus, path: &'static str) -> supervisor::Observer {
    let bus = bus.clone();
    Arc::new(move |event| {
        let (id, context, reason) = match event {
            supervisor::Event::Exited { id, reason, .. } => {
                (id, "child_terminated", reason.clone())
            }
            supervisor::Event::StartFailed { id, reason } => (id, "start_error", reason.clone()),
            supervisor::Event::Stopped { id, killed: true } => {
                (id, "shutdown_error", "did not stop in time and was killed".to_owned())
            }
            _ => return,
        };
        let (actor, context) = (format!("{path}/{id}"), context.to_owned());
        tracing::warn!(actor, context, reason, "an actor failed");
        bus.publish(Kind::Actor { actor, context, reason });
    })
}

fn api(parts: &Parts, upgrader: &Upgrader, tree: Tree) -> Api {
    Api {
        services: upgrader.services.clone(),
        keeper: upgrader.keeper.clone(),
        bus: upgrader.bus.clone(),
        tree,
        pump: parts.context.pump().clone(),
        log_dir: parts.config.daemon.state_dir.join("logs"),
        shutdown: parts.shutdown.clone(),
        upgrader: upgrader.clone(),
    }
}

#[cfg(test)]
mod tests;
