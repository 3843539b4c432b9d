//! One service: the actor that owns its process.
//!
//! It executes what the `services` supervisor orders (start, stop) and reports what became of it; it never
//! decides whether to restart. At most one incarnation exists at a time, and an end is reported only after
//! nothing of the incarnation is left. Bytes of the service never pass through this actor.
//!
//! ```text
//!            start                spawned              ready, or no check
//!   idle ───────────► spawning ───────────► starting ───────────────────► up
//!    ▲                   │                     │  not ready in time         │ unhealthy, watchdog
//!    │                   │ stop                ▼                            ▼
//!    │   nothing left    └─────────────► stopping  ◄────── stop ────────────┘
//!    └──────────── clearing ◄── process ended ──┘ (also from starting and up)
//! ```

mod check;
mod ending;
mod instance;
pub(crate) mod launch;
mod timer;

use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef};

use self::instance::Instance;
use self::timer::Armed;
use super::context::Context;
use super::report::{Report, Reporter};
use crate::config;
use crate::os;
use crate::os::notify::Message as Notification;
use crate::os::pidfd::Exit;
use crate::os::process::{Account, Child};
use crate::types::name::Name;

/// How the supervisor reaches a service; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Handle {
    actor: ActorRef<Msg>,
}

impl Handle {
    /// Starts the next incarnation (arms it, for a timer). Answered by exactly one report of its fate.
    pub(super) fn start(&self) {
        self.send(Msg::Start);
    }

    /// Ends the incarnation, for the reason given; answered by a report when nothing is left.
    pub(super) fn stop(&self, trigger: String) {
        self.send(Msg::Stop { trigger });
    }

    /// Sends a signal to the main process.
    pub(super) fn signal(&self, signal: i32) {
        self.send(Msg::Signal(signal));
    }

    /// Runs an armed timer now.
    pub(super) fn run_now(&self) {
        self.send(Msg::RunNow);
    }

    /// Takes over a new config; what runs keeps running.
    pub(super) fn update(&self, config: Arc<config::Service>) {
        self.send(Msg::Update(config));
    }

    /// A line of its output matched the readiness expression.
    pub(super) fn line_matched(&self, generation: u64, line: String) {
        self.send(Msg::Ready { generation, evidence: format!("wrote `{line}`") });
    }

    /// Which incarnation of the actor this reaches.
    pub(super) fn actor_id(&self) -> ractor::ActorId {
        self.actor.get_id()
    }

    /// Ends the actor; its process is left to whoever comes next.
    pub(super) fn dismiss(&self) {
        self.actor.stop(None);
    }

    fn send(&self, message: Msg) {
        // An actor that is gone is reported to the supervisor by its end; there is nobody else to tell.
        let _ = self.actor.cast(message);
    }
}

/// What the actor is told, by its supervisor and by its own tasks. Messages of a task carry the generation
/// they belong to: one that comes late finds another and is dropped.
#[derive(Debug)]
pub(super) enum Msg {
    Start,
    Stop {
        trigger: String,
    },
    Signal(i32),
    RunNow,
    Update(Arc<config::Service>),
    Due {
        arming: u64,
    },
    LookedUp {
        generation: u64,
        result: Result<Account, os::Error>,
    },
    Spawned {
        generation: u64,
        result: Result<Child, os::Error>,
    },
    Ready {
        generation: u64,
        evidence: String,
    },
    ReadinessExpired {
        generation: u64,
    },
    Probed {
        generation: u64,
        result: Result<String, String>,
    },
    Notified {
        generation: u64,
        notification: Notification,
    },
    /// It named another main process, which belongs to it.
    MainPid {
        generation: u64,
        pid: u32,
    },
    WatchdogExpired {
        generation: u64,
    },
    StopExpired {
        generation: u64,
    },
    Exited {
        generation: u64,
        exit: Exit,
    },
    Cleared {
        generation: u64,
        left_behind: usize,
    },
}

/// What a service needs to begin.
#[derive(Debug)]
pub(super) struct Options {
    pub(super) name: Name,
    pub(super) config: Arc<config::Service>,
    pub(super) context: Arc<Context>,
    pub(super) reporter: Reporter,
    /// A process of this service that already runs, and its generation.
    pub(super) adopted: Option<Adopted>,
    /// The last generation used; the next start is one more.
    pub(super) last_generation: u64,
}

/// A process found running.
#[derive(Debug, Clone)]
pub(super) struct Adopted {
    pub(super) child: Arc<Child>,
    pub(super) generation: u64,
    pub(super) started_at: jiff::Timestamp,
}

/// The actor; its state is [`State`].
#[derive(Debug)]
pub(super) struct Service;

/// What the actor owns.
#[derive(Debug)]
pub(super) struct State {
    name: Name,
    config: Arc<config::Service>,
    context: Arc<Context>,
    reporter: Reporter,
    generation: u64,
    instance: Option<Instance>,
    armed: Option<Armed>,
    /// A timer run that is owed as soon as the present one ended (`overlap: queue` and `replace`).
    run_owed: bool,
}

impl Service {
    /// Starts the actor under its supervisor.
    pub(super) async fn spawn(
        options: Options,
        supervisor: ractor::ActorCell,
    ) -> Result<(Handle, ractor::ActorCell), ractor::SpawnErr> {
        let (actor, _) = Actor::spawn_linked(None, Self, options, supervisor).await?;
        let cell = actor.get_cell();
        Ok((Handle { actor }, cell))
    }
}

impl Actor for Service {
    type Msg = Msg;
    type State = State;
    type Arguments = Options;

    async fn pre_start(
        &self,
        myself: ActorRef<Msg>,
        options: Options,
    ) -> Result<State, ActorProcessingErr> {
        let mut state = State {
            name: options.name,
            config: options.config,
            context: options.context,
            reporter: options.reporter,
            generation: options.last_generation,
            instance: None,
            armed: None,
            run_owed: false,
        };
        if let Some(adopted) = options.adopted {
            state.adopt(&myself, adopted);
        }
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<Msg>,
        message: Msg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Msg::Start if state.is_timer() => state.arm(&myself),
            Msg::Start => state.launch(&myself),
            Msg::Stop { trigger } => state.stop(&myself, trigger),
            Msg::Signal(signal) => state.signal(signal),
            Msg::RunNow => state.run_now(&myself),
            Msg::Update(config) => state.config = config,
            Msg::Due { arming } => state.due(&myself, arming),
            Msg::LookedUp { generation, result } => state.looked_up(&myself, generation, result),
            Msg::Spawned { generation, result } => state.spawned(&myself, generation, result),
            Msg::Ready { generation, evidence } => state.ready(&myself, generation, evidence),
            Msg::ReadinessExpired { generation } => state.readiness_expired(&myself, generation),
            Msg::Probed { generation, result } => state.probed(&myself, generation, result),
            Msg::Notified { generation, notification } => {
                state.notified(&myself, generation, notification);
            }
            Msg::MainPid { generation, pid } => state.main_pid(&myself, generation, pid),
            Msg::WatchdogExpired { generation } => state.watchdog_expired(&myself, generation),
            Msg::StopExpired { generation } => state.stop_expired(&myself, generation),
            Msg::Exited { generation, exit } => state.exited(&myself, generation, exit),
            Msg::Cleared { generation, left_behind } => {
                state.cleared(&myself, generation, left_behind);
            }
        }
        Ok(())
    }
}

impl State {
    fn report(&self, report: Report) {
        self.reporter.send(report);
    }

    fn is_timer(&self) -> bool {
        matches!(self.config.kind, config::Kind::Timer { .. })
    }

    /// The incarnation a message of a task belongs to, unless it is already history.
    fn current(&mut self, generation: u64) -> Option<&mut Instance> {
        self.instance.as_mut().filter(|instance| instance.generation == generation)
    }

    fn signal(&self, signal: i32) {
        if let Some(child) = self.instance.as_ref().and_then(|instance| instance.child.as_ref()) {
            // Gone meanwhile is what the caller will see anyway: the exit is on its way.
            let _ = child.signal(signal);
        }
    }
}
