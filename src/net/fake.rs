//! A daemon for tests: fixed status, recorded calls, streams on request, over the real router and server.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use futures_util::{StreamExt as _, stream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use super::api::{Access, Answer, Backend, Counters, Feed, ServiceCounters, router};
use super::control::{
    Acted, Change, ConfigView, Goal, LogQuery, Notice, Outcome, Peer, Plan, PlanStep, Reloaded,
    Upgrading, Verb, Verdict,
};
use super::server::serve;
use super::socket::{Reach, Socket, listen};
use crate::types::error::{Code, Problem};
use crate::types::event::{Event, Kind};
use crate::types::exit::{Cause, PostMortem, Usage};
use crate::types::name::Name;
use crate::types::state::State;
use crate::types::status::{Daemon, Group, Instance, Node, SCHEMA, Service, Status};

pub(crate) const MEMBER_GROUP: u32 = 70;

/// The daemon.
pub(crate) struct Fake {
    pub(crate) access: Access,
    pub(crate) status: Mutex<Status>,
    /// Every call that changes something, as text.
    pub(crate) calls: Mutex<Vec<String>>,
    pub(crate) events: Events,
    /// Streams that are open now.
    pub(crate) open_streams: watch::Sender<usize>,
}

/// What the event stream does.
#[derive(Clone, Copy)]
pub(crate) enum Events {
    /// A gap, two events, the end.
    Three,
    /// Events without end, as fast as they are read.
    Endless,
    /// Open, and silent.
    Silent,
}

impl Fake {
    pub(crate) fn new() -> Self {
        Self {
            access: Access { owner: 0, group: Some(MEMBER_GROUP), public: true },
            status: Mutex::new(status()),
            calls: Mutex::default(),
            events: Events::Three,
            open_streams: watch::Sender::new(0),
        }
    }

    pub(crate) fn calls(&self) -> Vec<String> {
        self.calls.lock().expect("no test panics holding it").clone()
    }

    fn called(&self, call: String) {
        self.calls.lock().expect("no test panics holding it").push(call);
    }

    fn find(&self, name: &Name) -> Result<Status, Problem> {
        let mut status = self.status.lock().expect("no test panics holding it").clone();
        let in_group = |group: &Group| group.name == *name;
        let groups: Vec<_> =
            status.groups.iter().filter(|group| in_group(group)).cloned().collect();
        status.services.retain(|service| {
            service.name == *name
                || groups.iter().any(|group| group.services.contains(&service.name))
        });
        status.groups = groups;
        match status.services.is_empty() {
            false => Ok(status),
            true => Err(Problem::new(
                Code::NoSuchName,
                format!("there is no service or group `{name}`"),
            )
            .hint("did you mean `web`?")),
        }
    }

    fn counted<T: Send + 'static>(
        &self,
        items: impl futures_util::Stream<Item = T> + Send + 'static,
    ) -> Feed<T> {
        self.open_streams.send_modify(|open| *open += 1);
        let guard = StreamGuard(self.open_streams.clone());
        Box::pin(items.map(move |item| {
            let _held = &guard;
            item
        }))
    }
}

struct StreamGuard(watch::Sender<usize>);

impl Drop for StreamGuard {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open -= 1);
    }
}

impl Backend for Fake {
    fn access(&self) -> Access {
        self.access
    }

    fn status(&self, name: Option<&Name>) -> Result<Status, Problem> {
        match name {
            Some(name) => self.find(name),
            None => Ok(self.status.lock().expect("no test panics holding it").clone()),
        }
    }

    fn daemon(&self) -> Daemon {
        status().daemon
    }

    fn tree(&self) -> Node {
        tree()
    }

    fn counters(&self) -> Counters {
        let services = status().services.into_iter().map(|service| ServiceCounters {
            name: service.name,
            restarts: service.restarts,
            cpu_seconds: 1.5,
            exits: vec![("exit_nonzero", 3), ("oom", 1)],
        });
        Counters {
            services: services.collect(),
            cpu_seconds: 0.25,
            memory_bytes: 9 << 20,
            open_fds: 31,
            events: 12,
            actor_restarts: 0,
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
        Box::pin(async move {
            self.called(format!("{who}: {verb:?} {name} {why:?} {wait:?}"));
            let services = self.find(name)?.services;
            if name.as_str() == "slow" {
                return Err(Problem::new(Code::TimedOut, "slow is still starting"));
            }
            let change = |service: Service| {
                let failed = service.state == State::Failed;
                Change {
                    outcome: if failed { Outcome::Failed } else { Outcome::Changed },
                    from: service.state,
                    to: service.state,
                    reason: service.reason,
                    pid_before: service.pid,
                    pid: service.pid.map(|pid| pid + 100),
                    name: service.name,
                }
            };
            Ok(Acted {
                schema: SCHEMA,
                verb: verb.to_string(),
                name: name.clone(),
                took_ms: 420,
                services: services.into_iter().map(change).collect(),
            })
        })
    }

    fn wait<'a>(&'a self, name: &'a Name, goal: Goal, timeout: Duration) -> Answer<'a, Service> {
        Box::pin(async move {
            let mut status = self.find(name)?;
            let service = status.services.remove(0);
            match goal.judge(service.state) {
                Verdict::Reached => Ok(service),
                Verdict::Missed => Err(Problem::new(Code::OperationFailed, service.reason)),
                Verdict::Pending => {
                    Err(Problem::new(Code::TimedOut, format!("not {goal} after {timeout:?}")))
                }
            }
        })
    }

    fn events(&self, after: Option<u64>) -> Feed<Notice> {
        match self.events {
            Events::Silent => self.counted(stream::pending()),
            Events::Endless => self.counted(
                stream::iter(1..).map(|seq| Notice::Event(Box::new(event(seq, &"x".repeat(1000))))),
            ),
            Events::Three => {
                let first = after.map_or(1, |after| after + 1);
                let events = [event(first + 2, "ready"), event(first + 3, "stopping")];
                let notices = events.map(|event| Notice::Event(Box::new(event)));
                self.counted(stream::iter([Notice::Gap(2)].into_iter().chain(notices)))
            }
        }
    }

    fn logs<'a>(&'a self, name: &'a Name, query: LogQuery) -> Answer<'a, Feed<Bytes>> {
        Box::pin(async move {
            self.find(name)?;
            let line = format!(
                "{{\"t\":\"2026-11-20T18:20:01.114523Z\",\"service\":\"{name}\",\"stream\":\"stdout\",\"line\":\"ready on 8080\"}}\n"
            );
            let lines = stream::iter([Bytes::from(line)]);
            Ok(match query.follow {
                true => self.counted(lines.chain(stream::pending())),
                false => self.counted(lines),
            })
        })
    }

    fn config(&self) -> ConfigView {
        ConfigView {
            schema: SCHEMA,
            revision: "abc123".into(),
            source: "/etc/cafe/cafe.ron".into(),
            config: serde_json::json!({ "services": { "web": { "env": { "TOKEN": "***" } } } }),
        }
    }

    fn reload(&self, who: Peer, dry_run: bool) -> Answer<'_, Reloaded> {
        self.called(format!("{who}: reload {dry_run}"));
        Box::pin(async move { Ok(reloaded(!dry_run)) })
    }

    fn diff(&self, who: Peer, text: Option<String>) -> Answer<'_, Plan> {
        self.called(format!("{who}: diff {text:?}"));
        Box::pin(async move { Ok(plan()) })
    }

    fn put_config(&self, who: Peer, if_match: String, text: String) -> Answer<'_, Reloaded> {
        self.called(format!("{who}: put {if_match} {}", text.len()));
        Box::pin(async move {
            match (if_match.as_str(), text.as_str()) {
                ("abc123" | "*", "bad") => {
                    Err(Problem::new(Code::ConfigSyntax, "cafe.ron:1:1: bad"))
                }
                ("abc123" | "*", _) => Ok(reloaded(true)),
                _ => Err(Problem::new(Code::Conflict, "revision abc123 is in force")),
            }
        })
    }

    fn upgrade(&self, who: Peer, program: Option<PathBuf>) -> Answer<'_, Upgrading> {
        self.called(format!("{who}: upgrade {program:?}"));
        Box::pin(async move {
            let (from, to) = ("0.1.0".to_owned(), "0.2.0".to_owned());
            Ok(Upgrading { schema: SCHEMA, from, to, upgrades: 0 })
        })
    }

    fn shutdown(&self, who: Peer, why: Option<String>) -> Answer<'_, ()> {
        self.called(format!("{who}: shutdown {why:?}"));
        Box::pin(async move { Ok(()) })
    }
}

fn plan() -> Plan {
    let step = |name: &str, action: &str, keys: &[&str]| PlanStep {
        name: name.into(),
        action: action.into(),
        keys: keys.iter().map(ToString::to_string).collect(),
    };
    let steps = vec![
        step("new", "add", &[]),
        step("old", "remove", &[]),
        step("web", "restart", &["command", "env"]),
    ];
    Plan { schema: SCHEMA, steps }
}

fn reloaded(applied: bool) -> Reloaded {
    Reloaded { schema: SCHEMA, applied, revision: "def456".into(), plan: plan() }
}

fn event(seq: u64, message: &str) -> Event {
    Event { seq, at: time("2026-11-20T18:20:01Z"), kind: Kind::Daemon { message: message.into() } }
}

fn time(text: &str) -> jiff::Timestamp {
    text.parse().expect("a time")
}

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn service(text: &str, state: State, pid: Option<u32>, reason: &str) -> Service {
    let instance = |pid| Instance {
        number: 1,
        name: None,
        state: None,
        reason: String::new(),
        restarts: None,
        pid: Some(pid),
        generation: 2,
        since: time("2026-11-20T14:00:00Z"),
        memory_bytes: 84 << 20,
        cpu_percent: 1.25,
    };
    Service {
        name: name(text),
        state,
        reason: reason.into(),
        kind: "daemon".into(),
        group: None,
        pid,
        instances: pid.map(instance).into_iter().collect(),
        restarts: 0,
        since: time("2026-11-20T14:00:00Z"),
        state_ms: 15_601_000,
        uptime_ms: if pid.is_some() { 15_601_000 } else { 0 },
        memory_bytes: if pid.is_some() { 84 << 20 } else { 0 },
        cpu_percent: if pid.is_some() { 1.25 } else { 0.0 },
        next_start: None,
        last_start: None,
        status_text: None,
        probe: None,
        depends_on: vec![],
        listen: vec![],
        exits: vec![],
    }
}

/// One of each kind of trouble, and a healthy one.
pub(crate) fn status() -> Status {
    let mut web = service("web", State::Ready, Some(812), "answered GET /healthz");
    web.restarts = 1;
    web.group = Some(name("shop"));
    web.depends_on = vec![name("db")];
    web.status_text = Some("serving\u{1b}[2J 3 clients".into());
    web.probe = Some("GET http://127.0.0.1:9000/healthz: 200 in 4ms".into());
    web.exits = vec![PostMortem {
        generation: 1,
        pid: Some(700),
        at: time("2026-11-20T14:00:00Z"),
        cause: Cause::OutOfMemory,
        run_ms: 3_000,
        usage: Some(Usage { user_ms: 10, system_ms: 5, max_memory_bytes: 1 << 28 }),
        trigger: String::new(),
        pulled_down: vec!["cache".into()],
        last_lines: vec!["password=hunter2".into()],
    }];
    let mut db = service("db", State::Running, Some(700), "no readiness check is configured");
    db.group = Some(name("shop"));
    let mut broken = service("broken", State::Failed, None, "exited 1 four times in 30s");
    broken.restarts = 4;
    let mut retry = service("retry", State::Backoff, None, "exited 1, next try in 16s");
    retry.next_start = Some(time("2026-11-20T18:20:17Z"));
    let slow = service("slow", State::Starting, Some(900), "waits for tcp 127.0.0.1:9");
    let unused = service("unused", State::Stopped, None, "never started");
    Status {
        schema: SCHEMA,
        daemon: Daemon {
            version: "0.1.0".into(),
            pid: 42,
            since: time("2026-11-18T14:00:00Z"),
            uptime_ms: 187_200_000,
            config: "/etc/cafe/cafe.ron".into(),
            state_dir: "/var/lib/cafe".into(),
            config_revision: "abc123".into(),
            config_error: None,
            logs_stalled_ms: None,
            stopping: false,
            last_event: 0,
            upgrades: 0,
            last_upgrade: None,
            privileges: None,
        },
        services: vec![broken, db, retry, slow, unused, web],
        groups: vec![Group {
            name: name("shop"),
            strategy: "rest_for_one".into(),
            state: "running".into(),
            reason: "all members run".into(),
            services: vec![name("db"), name("web")],
        }],
    }
}

pub(crate) fn tree() -> Node {
    let node = |id: &str, kind: &str, state: &str, restarts, detail: &str, children| Node {
        id: id.into(),
        kind: kind.into(),
        state: state.into(),
        restarts,
        detail: detail.into(),
        children,
    };
    let web = node("web", "service", "ready", 1, "pid 812", vec![]);
    let db = node("db", "service", "running", 0, "pid 700", vec![]);
    let shop = node("shop", "group", "running", 0, "rest_for_one", vec![db, web]);
    let broken = node("broken", "service", "failed", 4, "exited 1", vec![]);
    let services = node("services", "supervisor", "running", 0, "", vec![shop, broken]);
    let control = node("control", "actor", "running", 0, "", vec![]);
    node("cafe", "supervisor", "running", 0, "one_for_one", vec![services, control])
}

/// A fake behind a real socket.
pub(crate) struct Running {
    pub(crate) fake: Arc<Fake>,
    path: PathBuf,
    server: JoinSet<()>,
    stop: Option<oneshot::Sender<()>>,
    _socket: Socket,
    _directory: tempfile::TempDir,
}

impl Running {
    pub(crate) fn start(fake: Fake) -> Self {
        let directory = tempfile::tempdir().expect("temp dir");
        let path = directory.path().join("control.sock");
        let (listener, socket) = listen(&path, Reach::default()).expect("listens");
        let listener = tokio::net::UnixListener::from_std(listener).expect("in a runtime");
        let fake = Arc::new(fake);
        let (stop, stopped) = oneshot::channel();
        let mut server = JoinSet::new();
        let owner = nix::unistd::geteuid().as_raw();
        let router = router(fake.clone());
        server.spawn(serve(listener, router, owner, async {
            let _ = stopped.await;
        }));
        Self { fake, path, server, stop: Some(stop), _socket: socket, _directory: directory }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Ends the server, and waits until it has.
    pub(crate) async fn stop(&mut self) {
        drop(self.stop.take());
        while let Some(ended) = self.server.join_next().await {
            ended.expect("the server does not panic");
        }
    }
}
