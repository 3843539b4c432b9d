//! One service: the actor that owns its process.
//!
//! It executes what the `services` supervisor orders (start, stop, overlap) and reports what became of it; it never
//! decides whether to restart. At most one incarnation exists at a time, and during an overlap one more (`overlap`); an
//! end is reported only after nothing of it is left. Bytes of the service never pass through this actor.
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
mod overlap;
mod record;
mod timer;

use std::future::ready;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::oneshot;

use self::instance::Instance;
pub(super) use self::overlap::SETTLE;
use self::record::Recording;
pub(super) use self::record::{Record, Resumed};
use self::timer::Armed;
use super::context::Context;
use super::report::{EndedHow, Report, Reporter};
use crate::config;
use crate::os;
use crate::os::notify::Message as Notification;
use crate::os::pidfd::Exit;
use crate::os::process::{Account, Child};
use crate::types::name::Name;
use crate::types::seat::Seat;

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

    /// Starts the next incarnation beside the one that is up, which ends once that is up, too. Answered by one report:
    /// that it took over, that it did not, or that everything ended.
    pub(super) fn overlap(&self, why: String) {
        self.send(Msg::Overlap { why });
    }

    /// A stop, now or later, has no time: what is there is killed.
    pub(super) fn hurry(&self) {
        self.send(Msg::Hurry);
    }

    /// Sends a signal to the main process, and to that of the one beside it.
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

    /// Wants to know all of it. From the answer on it does nothing, until it is to go on.
    pub(super) fn record(&self) -> oneshot::Receiver<Record> {
        let (reply, answer) = oneshot::channel();
        self.send(Msg::Record(reply));
        answer
    }

    /// Goes on after [`Self::record`].
    pub(super) fn go_on(&self) {
        self.send(Msg::GoOn);
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
/// they belong to: one that comes late finds another and is dropped. What is large is boxed: the loop of every actor has
/// room for a few messages, all the time.
#[derive(Debug)]
pub(super) enum Msg {
    Start,
    Stop {
        trigger: String,
    },
    Overlap {
        why: String,
    },
    Hurry,
    Signal(i32),
    RunNow,
    Update(Arc<config::Service>),
    Due {
        arming: u64,
    },
    LookedUp {
        generation: u64,
        result: Box<Result<Account, os::Error>>,
    },
    Spawned {
        generation: u64,
        result: Box<Result<Child, os::Error>>,
    },
    Ready {
        generation: u64,
        evidence: String,
    },
    ReadinessExpired {
        generation: u64,
    },
    /// Nothing proves it ready, and it still runs.
    Settled {
        generation: u64,
    },
    Probed {
        generation: u64,
        result: Result<String, String>,
    },
    Notified {
        generation: u64,
        notification: Box<Notification>,
    },
    /// It named another main process.
    MainPid {
        generation: u64,
        /// None if it does not belong to it.
        pid: Option<u32>,
    },
    WatchdogExpired {
        generation: u64,
    },
    StopExpired {
        generation: u64,
    },
    /// Its main process ended.
    MainEnded {
        generation: u64,
        child: Arc<Child>,
    },
    /// How it ended.
    Exited {
        generation: u64,
        child: Arc<Child>,
        exit: Box<Exit>,
    },
    Cleared {
        generation: u64,
        left_behind: usize,
    },
    /// cafe hands itself over, and wants to know all of it.
    Record(oneshot::Sender<Record>),
    /// It does not after all.
    GoOn,
}

/// What a service needs to begin.
#[derive(Debug)]
pub(super) struct Options {
    pub(super) name: Name,
    pub(super) config: Arc<config::Service>,
    pub(super) context: Arc<Context>,
    pub(super) reporter: Reporter,
    /// What already runs of this service: nothing, an incarnation, or two of which the second one is to end.
    pub(super) adopted: Vec<Adopted>,
    /// What another image of this cafe knew of it.
    pub(super) resumed: Option<Resumed>,
    /// The last generation used; the next start is one more.
    pub(super) last_generation: u64,
}

/// A process found running.
#[derive(Debug)]
pub(super) struct Adopted {
    pub(super) child: Arc<Child>,
    pub(super) seat: Seat,
    pub(super) generation: u64,
    pub(super) started_at: jiff::Timestamp,
    /// Read ends of its pipes, if they were kept.
    pub(super) pipes: Option<[OwnedFd; 2]>,
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
    /// Boxed: a task has its room in steps of 128 bytes, and a stopped service needs none.
    instance: Option<Box<Instance>>,
    /// Another one, during an overlap: the next until it is up, the last from then on until nothing of it is left.
    beside: Option<Box<Instance>>,
    /// How `instance` ended, which is reported as soon as nothing of the one beside it is left either.
    held: Option<EndedHow>,
    armed: Option<Armed>,
    /// A timer run that is owed as soon as the present one ended (`overlap: queue` and `replace`).
    run_owed: bool,
    /// A stop has no time.
    hurried: bool,
    recording: Recording,
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
            beside: None,
            held: None,
            armed: None,
            run_owed: false,
            hurried: false,
            recording: Recording::default(),
        };
        for adopted in options.adopted {
            state.adopt(&myself, adopted);
        }
        if let Some(resumed) = options.resumed {
            state.resume(&myself, resumed);
        }
        Ok(state)
    }

    /// Waits for nothing. Not an `async fn`, here and below: the loop of every actor has room for what one would hold.
    fn handle(
        &self,
        myself: ActorRef<Msg>,
        message: Msg,
        state: &mut State,
    ) -> impl Future<Output = Result<(), ActorProcessingErr>> + Send {
        if let Some(message) = state.put_aside(message) {
            state.told(&myself, message);
            state.give_record();
        }
        ready(Ok(()))
    }

    /// It supervises no actor.
    fn handle_supervisor_evt(
        &self,
        _myself: ActorRef<Msg>,
        _event: SupervisionEvent,
        _state: &mut State,
    ) -> impl Future<Output = Result<(), ActorProcessingErr>> + Send {
        ready(Ok(()))
    }
}

impl State {
    fn told(&mut self, myself: &ActorRef<Msg>, message: Msg) {
        match message {
            Msg::Start if self.is_timer() => self.arm(myself),
            Msg::Start => self.launch(myself),
            Msg::Stop { trigger } => self.stop(myself, trigger),
            Msg::Overlap { why } => self.overlap(myself, why),
            Msg::Hurry => self.hurry(myself),
            Msg::Signal(signal) => self.signal(signal),
            Msg::RunNow => self.run_now(myself),
            Msg::Update(config) => self.config = config,
            Msg::Due { arming } => self.due(myself, arming),
            Msg::LookedUp { generation, result } => self.looked_up(myself, generation, *result),
            Msg::Spawned { generation, result } => self.spawned(myself, generation, *result),
            Msg::Ready { generation, evidence } => self.ready(myself, generation, evidence),
            Msg::ReadinessExpired { generation } => self.readiness_expired(myself, generation),
            Msg::Settled { generation } => self.settled(myself, generation),
            Msg::Probed { generation, result } => self.probed(myself, generation, result),
            Msg::Notified { generation, notification } => {
                self.notified(myself, generation, *notification);
            }
            Msg::MainPid { generation, pid } => self.main_pid(myself, generation, pid),
            Msg::WatchdogExpired { generation } => self.watchdog_expired(myself, generation),
            Msg::StopExpired { generation } => self.stop_expired(myself, generation),
            Msg::MainEnded { generation, child } => self.main_ended(myself, generation, child),
            Msg::Exited { generation, child, exit } => {
                self.exited(myself, generation, &child, exit);
            }
            Msg::Cleared { generation, left_behind } => {
                self.cleared(myself, generation, left_behind);
            }
            Msg::Record(reply) => self.record(reply),
            Msg::GoOn => self.go_on(myself),
        }
    }

    fn report(&self, report: Report) {
        self.reporter.send(report);
    }

    fn is_timer(&self) -> bool {
        matches!(self.config.kind, config::Kind::Timer { .. })
    }

    /// The incarnation a message of a task belongs to, unless it is already history.
    fn find(&mut self, generation: u64) -> Option<&mut Instance> {
        let both = [self.instance.as_deref_mut(), self.beside.as_deref_mut()];
        both.into_iter().flatten().find(|instance| instance.generation == generation)
    }

    /// The incarnation whose main process this is: a service may name another one at any time.
    fn find_of(&mut self, generation: u64, child: &Arc<Child>) -> Option<&mut Instance> {
        let is_main = |main: &Arc<Child>| Arc::ptr_eq(main, child);
        self.find(generation).filter(|instance| instance.child.as_ref().is_some_and(is_main))
    }

    /// Whether this is the incarnation that the service is shown by.
    fn is_current(&self, generation: u64) -> bool {
        self.instance.as_ref().is_some_and(|instance| instance.generation == generation)
    }

    fn generations(&self) -> Vec<u64> {
        let both = [&self.instance, &self.beside].into_iter().flatten();
        both.map(|instance| instance.generation).collect()
    }

    fn signal(&self, signal: i32) {
        let both = [&self.instance, &self.beside].into_iter().flatten();
        for child in both.filter_map(|instance| instance.child.as_ref()) {
            // Gone meanwhile is what the caller will see anyway: the exit is on its way.
            let _ = child.signal(signal);
        }
    }
}
