//! The daemon as the control API sees it: reads the board, asks the services and the config keeper.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use futures_util::{StreamExt as _, stream};
use tokio::sync::broadcast::error::RecvError;

use super::keeper;
use super::lines;
use super::outcome::Watch;
use crate::actors::bus::Bus;
use crate::actors::upgrade::Upgrader;
use crate::actors::{Ending, Shutdown, services};
use crate::config;
use crate::logs::Pump;
use crate::net::api::{Access, Answer, Backend, Counters, Feed};
use crate::net::control::{
    Acted, ConfigView, Goal, LogQuery, Notice, Peer, Plan, Reloaded, Upgrading, Verb,
};
use crate::os::procfs;
use crate::supervision::tree::Tree;
use crate::types::error::{Code, Problem};
use crate::types::event::{Event, Kind};
use crate::types::name::Name;
use crate::types::status::{self, Node, SCHEMA, Service, Status};

/// Everything the API needs; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    pub(crate) services: services::Handle,
    pub(crate) keeper: keeper::Handle,
    pub(crate) bus: Bus,
    pub(crate) tree: Tree,
    pub(crate) pump: Pump,
    pub(crate) log_dir: PathBuf,
    /// Ends the daemon.
    pub(crate) shutdown: Shutdown,
    /// Has it become another program.
    pub(crate) upgrader: Upgrader,
}

impl Api {
    fn audit(&self, who: Peer, action: String) {
        self.bus.publish(Kind::Audit { who: who.to_string(), action });
    }

    /// The services a name stands for: itself, or the members of the group.
    fn resolve(&self, name: &str) -> Result<Vec<Name>, Problem> {
        let board = self.services.board();
        let names = board.names();
        if let Some(name) = names.iter().find(|known| known.as_str() == name) {
            return Ok(vec![name.clone()]);
        }
        if let Some(name) = names.iter().find(|known| known.service() == name) {
            return Ok(vec![name.of_service()]);
        }
        let group = board.groups().into_iter().find(|group| group.name.as_str() == name);
        group.map(|group| group.services).ok_or_else(|| services::no_such_name(name, &names))
    }

    /// The same, with each instance for itself.
    fn resolve_all(&self, name: &str) -> Result<Vec<Name>, Problem> {
        let board = self.services.board();
        let single = |name: Name| {
            let instances = board.instances_of(name.as_str());
            if instances.is_empty() { vec![name] } else { instances }
        };
        Ok(self.resolve(name)?.into_iter().flat_map(single).collect())
    }

    async fn do_act(
        self,
        who: Peer,
        verb: Verb,
        name: Name,
        why: Option<String>,
        wait: Duration,
    ) -> Result<Acted, Problem> {
        let begun = Instant::now();
        let names = self.resolve_all(name.as_str())?;
        let said = why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        let overlapping = if verb == Verb::Overlap { " with overlap" } else { "" };
        self.audit(who, format!("{verb} {name}{overlapping}{said}"));
        let why = why.unwrap_or_else(|| format!("{verb}{overlapping} by {who}"));
        let watch = Watch::begin(self.services.board(), &self.bus, &names);
        let by_signal = verb == Verb::Reload && !self.reload_restarts(&names);
        let wanted = match verb {
            Verb::Start => services::Verb::Start,
            Verb::Stop => services::Verb::Stop,
            Verb::Restart => services::Verb::Restart,
            Verb::Overlap => services::Verb::Overlap,
            Verb::Reload => services::Verb::Reload,
            Verb::Kill { signal } => services::Verb::Signal(signal),
        };
        self.services.act(wanted, name.as_str(), why).await?;
        let judged = if by_signal { Verb::Kill { signal: 0 } } else { verb };
        let services = watch.outcome(judged, wait).await;
        let took_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(Acted { schema: SCHEMA, verb: verb.as_str().to_owned(), name, took_ms, services })
    }

    fn reload_restarts(&self, names: &[Name]) -> bool {
        let config = self.keeper.config();
        let mut reloads =
            names.iter().filter_map(|name| Some(config.services.get(name.service())?.reload));
        reloads.any(|reload| reload == config::Reload::Restart)
    }
}

impl Backend for Api {
    fn access(&self) -> Access {
        let config = self.keeper.config();
        Access {
            owner: nix::unistd::geteuid().as_raw(),
            group: self.keeper.control_group(),
            public: config.daemon.control.public,
        }
    }

    fn status(&self, name: Option<&Name>) -> Result<Status, Problem> {
        let board = self.services.board();
        let (services, groups) = match name {
            None => (board.services(), board.groups()),
            Some(name) => {
                let names = self.resolve(name.as_str())?;
                let services =
                    names.iter().filter_map(|name| board.service(name.as_str())).collect();
                let groups =
                    board.groups().into_iter().filter(|group| group.name == *name).collect();
                (services, groups)
            }
        };
        Ok(Status { schema: SCHEMA, daemon: self.daemon(), services, groups })
    }

    fn daemon(&self) -> status::Daemon {
        let config = self.keeper.config();
        let life = &self.upgrader.life;
        let uptime = life.started.elapsed().as_millis();
        status::Daemon {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            since: life.since,
            uptime_ms: u64::try_from(uptime).unwrap_or(0),
            config: config.source.display().to_string(),
            state_dir: config.daemon.state_dir.display().to_string(),
            config_revision: config.revision.clone(),
            config_error: self.keeper.last_error(),
            logs_stalled_ms: self.pump.stalled().and_then(|turn| turn.as_millis().try_into().ok()),
            stopping: self.shutdown.has_begun(),
            last_event: self.bus.count(),
            upgrades: life.upgrades,
            last_upgrade: life.last_upgrade(),
            privileges: Some(self.keeper.privileges()),
        }
    }

    fn tree(&self) -> Node {
        self.tree.snapshot().unwrap_or_else(|| Node {
            id: "cafe".to_owned(),
            kind: "supervisor".to_owned(),
            state: "stopped".to_owned(),
            restarts: 0,
            detail: String::new(),
            children: Vec::new(),
        })
    }

    fn counters(&self) -> Counters {
        let own = procfs::sample(std::process::id());
        let ticks = procfs::ticks_per_second();
        #[expect(clippy::cast_precision_loss, reason = "ticks of one process are far below 2^52")]
        let seconds = |cpu_ticks: u64| cpu_ticks as f64 / ticks as f64;
        Counters {
            services: self.services.board().counters(),
            cpu_seconds: own.as_ref().map_or(0.0, |own| seconds(own.cpu_ticks)),
            memory_bytes: own.map_or(0, |own| own.memory_bytes),
            open_fds: procfs::open_descriptors(),
            events: self.bus.count(),
            actor_restarts: self.bus.actor_failures(),
        }
    }

    fn act<'a>(
        &'a self,
        who: Peer,
        verb: Verb,
        name: &'a Name,
        why: Option<String>,
        wait: Duration,
    ) -> Answer<'a, Acted> {
        Box::pin(self.clone().do_act(who, verb, name.clone(), why, wait))
    }

    fn wait<'a>(&'a self, name: &'a Name, goal: Goal, timeout: Duration) -> Answer<'a, Service> {
        Box::pin(async move {
            let board = self.services.board();
            if board.service(name.as_str()).is_none() {
                return Err(services::no_such_name(name.as_str(), &board.names()));
            }
            let names = self.resolve_all(name.as_str())?;
            Watch::begin(board, &self.bus, &names).goal(name, goal, timeout).await
        })
    }

    fn events(&self, after: Option<u64>) -> Feed<Notice> {
        let subscription = self.bus.subscribe(after);
        let gap = (subscription.missed > 0).then_some(Notice::Gap(subscription.missed));
        let past = subscription.past.into_iter().map(notice_of);
        let live = stream::unfold(subscription.live, |mut live| async move {
            match live.recv().await {
                Ok(event) => Some((notice_of(event), live)),
                Err(RecvError::Lagged(missed)) => Some((Notice::Gap(missed), live)),
                Err(RecvError::Closed) => None,
            }
        });
        Box::pin(stream::iter(gap.into_iter().chain(past)).chain(live))
    }

    fn logs<'a>(&'a self, name: &'a Name, query: LogQuery) -> Answer<'a, Feed<Bytes>> {
        Box::pin(async move {
            let services = self.resolve_all(name.as_str())?;
            Ok(lines::feed(self.log_dir.clone(), services, query))
        })
    }

    fn config(&self) -> ConfigView {
        let config = self.keeper.config();
        ConfigView {
            schema: SCHEMA,
            revision: config.revision.clone(),
            source: config.source.display().to_string(),
            config: config::show(&config),
        }
    }

    fn reload(&self, who: Peer, dry_run: bool) -> Answer<'_, Reloaded> {
        Box::pin(async move {
            if !dry_run {
                self.audit(who, "reload the config".to_owned());
            }
            self.keeper.reload(dry_run).await
        })
    }

    fn diff(&self, _who: Peer, text: Option<String>) -> Answer<'_, Plan> {
        Box::pin(async move { self.keeper.diff(text).await })
    }

    fn put_config(&self, who: Peer, if_match: String, text: String) -> Answer<'_, Reloaded> {
        Box::pin(async move {
            self.audit(who, "replace the config file".to_owned());
            self.keeper.replace(if_match, text).await
        })
    }

    fn upgrade(&self, who: Peer, program: Option<PathBuf>) -> Answer<'_, Upgrading> {
        Box::pin(async move {
            let named = program.as_ref().map(|program| format!(" to {}", program.display()));
            self.audit(who, format!("upgrade{}", named.unwrap_or_default()));
            let upgrades = self.upgrader.life.upgrades;
            let to = self.upgrader.ask(program).await?;
            let from = env!("CARGO_PKG_VERSION").to_owned();
            Ok(Upgrading { schema: SCHEMA, from, to, upgrades })
        })
    }

    fn shutdown(&self, who: Peer, why: Option<String>) -> Answer<'_, ()> {
        let why = why.map(|why| format!(": {why}")).unwrap_or_default();
        self.audit(who, format!("shutdown{why}"));
        Box::pin(async move {
            let ending = Ending { because: "cafe shutdown".to_owned(), code: 0 };
            match self.shutdown.begin(ending) {
                true => Ok(()),
                false => Err(Problem::new(Code::Conflict, "the daemon is ending already")),
            }
        })
    }
}

fn notice_of(event: Arc<Event>) -> Notice {
    Notice::Event(Box::new(Arc::unwrap_or_clone(event)))
}
