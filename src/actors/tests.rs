//! The tree itself: parts of cafe fail, services do not notice.

use std::sync::Arc;
use std::time::Duration;

use ractor::ActorCell;
use tokio::sync::oneshot;

use super::bus::Bus;
use super::control::door::Door;
use super::kept::Keeping;
use super::listeners;
use super::logs::pump::Notices;
use super::services::{Context, Inheritance, Verb};
use super::upgrade::Life;
use super::{Parts, Root, Shutdown, start};
use crate::config;
use crate::logs::{Limits, Options, Pump};
use crate::net::control::{self, Client};
use crate::os::isolated::in_own_process;
use crate::os::process::Spawner;
use crate::supervision::heartbeat::Heartbeat;
use crate::types::event::Kind;
use crate::types::state::State;
use crate::types::status::Privileges;

const CONFIG: &str = r#"Cafe(
    services: {
        "steady": (command: ["sleep", "1000"], stop: (timeout: "2s")),
        "group-a": (command: ["sleep", "1000"]),
        "group-b": (command: ["sleep", "1000"]),
    },
    groups: { "pair": (strategy: rest_for_one, services: ["group-a", "group-b"]) },
    state_dir: "state",
    control: (socket: "sock"),
)"#;

struct World {
    root: Root,
    bus: Bus,
    pump: Pump,
    context: Arc<Context>,
    directory: tempfile::TempDir,
}

impl World {
    async fn start() -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("cafe.ron");
        std::fs::write(&path, CONFIG).expect("writes");
        let config = Arc::new(config::load(&path, &|_| None).expect("valid"));
        let state_dir = &config.daemon.state_dir;
        std::fs::create_dir_all(state_dir.join("run")).expect("state directory");
        let (notify, notices) = Notices::channel();
        let limits = Limits { max_total: 1 << 30, min_free_percent: 0 };
        let dir = state_dir.join("logs");
        let pump =
            Pump::start(Options { dir, limits, transit: None, notices: notify }).expect("starts");
        let spawner = Spawner::with_threads(2).expect("starts");
        let listeners = listeners::Handle::new(Keeping::default());
        let context =
            Context::new(&config, pump.clone(), spawner, listeners, Keeping::default(), false);
        let context = Arc::new(context.expect("sets up"));
        let bus = Bus::default();
        let shutdown = Shutdown::default();
        let privileges = Privileges::default();
        let parts = Parts {
            door: Door::open(&config).expect("listens"),
            config,
            privileges,
            context: context.clone(),
            notices,
            shutdown,
            life: Arc::new(Life::new(0)),
            inherited: Inheritance::default(),
            config_error: None,
        };
        let root = start(parts, bus.clone()).await.expect("starts");
        let world = Self { root, bus, pump, context, directory };
        world
            .until(|world| {
                world.pids().iter().all(|(state, pid)| *state == State::Running && pid.is_some())
            })
            .await;
        world
    }

    fn pids(&self) -> Vec<(State, Option<u32>)> {
        let board = self.root.services.board();
        let shown =
            ["steady", "group-a", "group-b"].into_iter().filter_map(|name| board.glance(name));
        shown.map(|(state, pid, _)| (state, pid)).collect()
    }

    /// Looks again at every event until `reached`.
    async fn until(&self, reached: impl Fn(&Self) -> bool) {
        let mut live = self.bus.subscribe(None).live;
        let looking = async {
            while !reached(self) {
                live.recv().await.expect("the bus is there");
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(20), looking).await;
        assert!(in_time.is_ok(), "not reached: {:#?}", self.bus.subscribe(Some(0)).past);
    }

    /// Until an event tells that an actor failed.
    async fn until_failed(&self, path: &str, fail: impl FnOnce()) {
        let mut live = self.bus.subscribe(None).live;
        fail();
        let looking = async {
            loop {
                let event = live.recv().await.expect("the bus is there");
                if matches!(&event.kind, Kind::Actor { actor, .. } if actor == path) {
                    return;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), looking).await.expect("in time");
    }

    /// Until the next supervisor of the services answers; between the two nobody does.
    async fn until_answering(&self) {
        let asking = async {
            while self.root.services.ping().await.is_err() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), asking).await.expect("in time");
    }

    fn client(&self) -> Client {
        Client::new(self.directory.path().join("sock"), Duration::from_secs(20))
    }

    async fn services_actor(&self) -> ActorCell {
        let children = self.root.root.children().await.expect("the root answers");
        let services = children.into_iter().find(|child| child.id == "services").expect("there");
        services.cell.expect("running")
    }

    async fn end(self) {
        self.root.services.shutdown().await;
        assert!(self.pids().iter().all(|(_, pid)| pid.is_none()), "{:?}", self.pids());
        self.root.stop().await;
        self.context.remove_cgroups();
        let pump = self.pump;
        tokio::task::spawn_blocking(move || pump.stop()).await.expect("stops");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_outlive_the_actor_that_owns_them_and_its_supervisor() {
    in_own_process(
        "actors::tests::services_outlive_the_actor_that_owns_them_and_its_supervisor",
        async {
            let world = World::start().await;
            let before = world.pids();

            // The supervisor of all services is killed: a new one takes everything over.
            let cell = world.services_actor().await;
            world.until_failed("cafe/services", || cell.kill()).await;
            world.until_answering().await;
            assert_eq!(world.pids(), before);

            // The actor of each service is killed: others take over, nothing restarts.
            let owners = world.services_actor().await.get_children();
            assert_eq!(owners.len(), 3);
            for owner in owners {
                owner.kill();
            }
            world.until(|world| world.bus.actor_failures() >= 4).await;
            assert_eq!(world.pids(), before);

            // In the middle of an overlap as well: the one that was up stays, what was to replace it goes.
            let board = world.root.services.board();
            let count = || board.service("steady").map_or(0, |steady| steady.instances.len());
            world
                .root
                .services
                .act(Verb::Overlap, "steady", "test".to_owned())
                .await
                .expect("acts");
            world.until(|_| count() == 2).await;
            for owner in world.services_actor().await.get_children() {
                owner.kill();
            }
            world.until(|world| world.bus.actor_failures() >= 7 && count() == 1).await;
            assert_eq!(world.pids(), before);

            // They are under control as before: a command reaches the same process.
            world.root.services.act(Verb::Stop, "steady", "test".to_owned()).await.expect("stops");
            world
                .until(|world| {
                    let state = world.root.services.board().glance("steady");
                    state.is_some_and(|(state, ..)| state == State::Stopped)
                })
                .await;
            world.end().await;
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_supervisor_of_the_services_answers_its_heartbeat() {
    in_own_process("actors::tests::the_supervisor_of_the_services_answers_its_heartbeat", async {
        let world = World::start().await;
        let Heartbeat::Ping { ask, deadline, .. } = super::services_heartbeat() else {
            panic!("it is asked");
        };
        let (answer, answered) = oneshot::channel();
        ask(&world.services_actor().await, answer);
        let answered = tokio::time::timeout(deadline, answered).await;
        assert_eq!(answered, Ok(Ok(())), "without an answer it would be killed");
        world.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_under_way_is_given_before_the_socket_ends() {
    in_own_process("actors::tests::an_answer_under_way_is_given_before_the_socket_ends", async {
        let world = World::start().await;
        let client = world.client();
        let patience = Duration::from_secs(20);
        client.act(control::Verb::Stop, "pair", None, patience).await.expect("stops");
        let mut live = world.bus.subscribe(None).live;
        let asking = client.act(control::Verb::Stop, "steady", None, patience);
        let World { root, context, pump, .. } = world;
        let ending = async {
            while !matches!(live.recv().await.expect("there").kind, Kind::Audit { .. }) {}
            root.stop().await;
        };
        let (acted, ()) = tokio::join!(asking, ending);
        assert_eq!(acted.expect("is answered").services.len(), 1);
        context.remove_cgroups();
        tokio::task::spawn_blocking(move || pump.stop()).await.expect("stops");
    })
    .await;
}
