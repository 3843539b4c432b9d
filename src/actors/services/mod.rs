//! `services/`: the supervisor of all services, one actor each.
//!
//! It alone decides: every report of a service and every command goes through the [`Roster`], whose commands
//! are handed to the services; the [`Board`] is written from what the roster and the reports say. It never
//! waits for a service: a slow one delays nobody.
//!
//! A service actor that fails is made anew and takes over the process that still runs (promise 1).

mod apply;
pub(crate) mod board;
mod calls;
mod commands;
mod context;
mod expand;
mod found;
mod gate;
mod handle;
mod handover;
mod journal;
mod leftovers;
mod meanwhile;
mod overlap;
mod report;
mod reported;
mod rolls;
pub(crate) mod service;
mod show;
mod strays;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::oneshot;
use tokio::time::Instant;

use self::board::Board;
use self::calls::Calls;
pub(crate) use self::context::Context;
pub(crate) use self::handle::{Handle, Verb, no_such_name};
use self::handover::Handover;
pub(crate) use self::handover::{Inheritance, Record, Recorded};
use self::overlap::Replacing;
use self::rolls::Roll;
use super::Shutdown;
use super::bus::Bus;
use crate::config::{self, Config};
use crate::supervision::mailbox::Reply;
use crate::supervision::roster::{Command, MemberId, Roster};
use crate::supervision::task::{self, Task};
use crate::types::error::Problem;
use crate::types::name::Name;
use crate::types::state::State as Lifecycle;

/// What the actor is told.
#[derive(Debug)]
pub(crate) enum Msg {
    /// A command by hand, answered once it is under way.
    Act { verb: Verb, name: String, why: String, reply: Reply<Result<(), Problem>> },
    /// A new config, checked; answered once it is under way.
    Apply { config: Arc<Config>, reply: Reply<()> },
    /// A line matched a service's readiness expression.
    LineMatched { service: Name, generation: u64, line: String },
    /// A sign of life is wanted.
    Ping(oneshot::Sender<()>),
    /// There is no more time to end politely: what runs is killed, and so is what is stopped from here on.
    Hurry,
    /// Everything must end; answered when nothing runs.
    Shutdown { reply: Reply<()> },
    /// cafe hands itself over: from the answer on nothing is done.
    HandOver { reply: oneshot::Sender<Record> },
    /// It does not after all.
    GoOn,
    /// All services are written down.
    #[doc(hidden)]
    Recorded(Box<Recorded>),
    /// What became of a service.
    #[doc(hidden)]
    Report(report::From),
    /// Somebody connected to a service that waits for it.
    #[doc(hidden)]
    Called { member: MemberId, said: String },
    /// A backoff may be over, or an instance has run for a moment.
    #[doc(hidden)]
    Wake,
}

/// What the actor needs to begin.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) config: Arc<Config>,
    pub(crate) context: Arc<Context>,
    pub(crate) handle: Handle,
    pub(crate) bus: Bus,
    /// Ends the daemon, when a significant service ended.
    pub(crate) shutdown: Shutdown,
    /// What another image of cafe knew.
    pub(crate) inherited: Inheritance,
}

/// The actor; its state is [`State`].
#[derive(Debug)]
pub(crate) struct Services;

/// What the actor owns.
#[derive(Debug)]
pub(crate) struct State {
    myself: ActorRef<Msg>,
    /// The config in force, as it is written.
    in_force: Arc<Config>,
    /// The same, with each instance as a service of its own.
    config: Arc<Config>,
    context: Arc<Context>,
    board: Board,
    bus: Bus,
    shutdown: Shutdown,
    roster: Roster,
    /// Boxed, as a map of increasing keys is half empty.
    members: BTreeMap<MemberId, Box<Member>>,
    /// The member of a service actor, to find it when the actor fails.
    actors: HashMap<ractor::ActorId, MemberId>,
    /// Services that replace a retiring member of the same name, once that is gone.
    successors: HashMap<Name, Arc<config::Service>>,
    /// Instances that are restarted one after another, by service.
    rolls: BTreeMap<String, Roll>,
    origin: Instant,
    alarm: Option<(Duration, Task)>,
    waiting_for_end: Vec<Reply<()>>,
    /// Nothing has time to end politely any more.
    hurried: bool,
    handover: Handover,
    /// How many last lines are still to come.
    lines_awaited: u32,
}

/// A service as its supervisor knows it.
#[derive(Debug)]
struct Member {
    name: Name,
    config: Arc<config::Service>,
    handle: service::Handle,
    /// Why the next stop happens, for its post-mortem.
    stop_reason: Option<String>,
    /// A readiness check passed, or there is none.
    up: bool,
    checked: bool,
    unhealthy: bool,
    stopping: bool,
    /// Its actor was told to start it; until something comes of it.
    launched: bool,
    /// How it ended last, in words.
    last_exit: Option<String>,
    /// Services pulled down by its last exit, until the post-mortem is published.
    pulled_down: Vec<String>,
    next_run: Option<jiff::Timestamp>,
    evidence: Option<String>,
    /// The next incarnation is being started beside the present one, or the last one ends.
    replacing: Option<Replacing>,
    /// It is to be replaced once more after that, for this reason.
    overlap_owed: Option<String>,
    /// How often its actor itself failed in a row.
    actor_failures: u32,
    /// The config has no place for it any more: it stops, and goes.
    leaving: bool,
    /// Whether a connection starts it.
    calls: Calls,
}

impl Actor for Services {
    type Msg = Msg;
    type State = State;
    type Arguments = Options;

    async fn pre_start(
        &self,
        myself: ActorRef<Msg>,
        options: Options,
    ) -> Result<State, ActorProcessingErr> {
        options.handle.serve(&myself);
        let mut state = State {
            myself,
            roster: Roster::new(options.config.daemon.parallel_starts),
            config: expand::expand(&options.config),
            in_force: options.config,
            context: options.context,
            board: options.handle.board().clone(),
            bus: options.bus,
            shutdown: options.shutdown,
            members: BTreeMap::new(),
            actors: HashMap::new(),
            successors: HashMap::new(),
            rolls: BTreeMap::new(),
            origin: Instant::now(),
            alarm: None,
            waiting_for_end: Vec::new(),
            hurried: false,
            handover: Handover::None,
            lines_awaited: 0,
        };
        if !state.resume(&options.inherited).await? {
            let config = Arc::clone(&state.config);
            state.begin(&config).await?;
        }
        Ok(state)
    }

    async fn post_start(
        &self,
        _myself: ActorRef<Msg>,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        state.drive().await
    }

    async fn handle(
        &self,
        _myself: ActorRef<Msg>,
        message: Msg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Msg::Act { verb, name, why, reply } => {
                let result = state.act(&verb, &name, &why);
                // What it leads to at once is shown before the answer.
                state.drive().await?;
                reply.send(result);
            }
            // The next image reads the file.
            Msg::Apply { .. } if !matches!(state.handover, Handover::None) => {}
            Msg::Apply { config, reply } => {
                state.apply(config).await?;
                state.drive().await?;
                reply.send(());
            }
            Msg::LineMatched { service, generation, line } => {
                if let Some(member) = state.member_named(service.as_str()) {
                    member.handle.line_matched(generation, line);
                }
            }
            Msg::Ping(reply) => {
                // Whoever asked may have stopped waiting.
                let _ = reply.send(());
            }
            Msg::Hurry => {
                state.hurried = true;
                state.members.values().for_each(|member| member.handle.hurry());
            }
            Msg::Shutdown { reply } => {
                state.waiting_for_end.push(reply);
                state.ignore_calls();
                state.rolls.clear();
                state.roster.shutdown();
            }
            Msg::Report(report::From { member, report }) => state.reported(member, report),
            Msg::Called { member, said } => state.called(member, said),
            Msg::Wake => state.alarm = None,
            Msg::HandOver { reply } => state.hand_over(reply),
            Msg::Recorded(recorded) => state.recorded(*recorded),
            Msg::GoOn => state.go_on(),
        }
        state.drive().await
    }

    /// A service actor ended, and not because its service left: its process, if any, still runs; a new actor takes
    /// it over. A killed actor counts as terminated to ractor, so the reason makes no difference.
    async fn handle_supervisor_evt(
        &self,
        _myself: ActorRef<Msg>,
        event: SupervisionEvent,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let (actor, reason) = match event {
            SupervisionEvent::ActorFailed(actor, error) => (actor, error.to_string()),
            SupervisionEvent::ActorTerminated(actor, _, reason) => {
                (actor, reason.unwrap_or_else(|| "ended".to_owned()))
            }
            _ => return Ok(()),
        };
        if let Some(id) = state.actors.remove(&actor.get_id()) {
            state.replace_actor(id, reason).await?;
        }
        state.drive().await
    }
}

impl State {
    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    fn member_named(&self, name: &str) -> Option<&Member> {
        self.members.get(&self.roster.find(name)?).map(Box::as_ref)
    }

    // ---- what follows ----

    /// Hands out what the roster wants done, shows what changed, and sets the alarm for what waits.
    async fn drive(&mut self) -> Result<(), ActorProcessingErr> {
        if !matches!(self.handover, Handover::None) {
            // The next image gives the orders.
            self.show_changes();
            return Ok(());
        }
        loop {
            let commands = self.roster.commands(self.now());
            self.show_changes();
            if commands.is_empty() && !self.advance_rolls() {
                break;
            }
            for command in commands {
                self.execute(command).await?;
            }
        }
        self.set_alarm();
        if !self.waiting_for_end.is_empty() && self.roster.is_empty() {
            for reply in self.waiting_for_end.drain(..) {
                reply.send(());
            }
        }
        Ok(())
    }

    async fn execute(&mut self, command: Command) -> Result<(), ActorProcessingErr> {
        match command {
            Command::Start(id) => {
                if let Some(member) = self.members.get_mut(&id) {
                    member.launched = !member.is_timer();
                    member.calls = Calls::Ignored;
                    // Of a stop that found nothing to stop.
                    member.stop_reason = None;
                    member.handle.start();
                    self.show(id);
                }
            }
            Command::Stop(id) => {
                if let Some(member) = self.members.get_mut(&id) {
                    let reason = member.stop_reason.take();
                    let shutdown = !self.waiting_for_end.is_empty();
                    let fallback =
                        if shutdown { "cafe is stopping" } else { "stopped with its group" };
                    let reason = reason.unwrap_or_else(|| fallback.to_owned());
                    member.handle.stop(reason);
                    if self.hurried {
                        member.handle.hurry();
                    }
                }
            }
            Command::Retired(id) => self.retired(id).await?,
        }
        Ok(())
    }

    /// Wakes when the earliest backoff is over.
    fn set_alarm(&mut self) {
        let Some(at) = self.roster.deadline() else {
            self.alarm = None;
            return;
        };
        if self.alarm.as_ref().is_some_and(|(set, _)| *set == at) {
            return;
        }
        let (myself, wake_at) = (self.myself.clone(), self.origin + at);
        let task = task::spawn("services alarm", async move {
            tokio::time::sleep_until(wake_at).await;
            let _ = myself.cast(Msg::Wake);
        });
        self.alarm = Some((at, task));
    }

    fn is_shown_as(&self, name: &Name) -> Option<Lifecycle> {
        self.board.glance(name.as_str()).map(|(state, ..)| state)
    }

    fn has_process(&self, name: &Name) -> bool {
        self.board.glance(name.as_str()).is_some_and(|(_, pid, _)| pid.is_some())
    }
}

impl Member {
    fn is_timer(&self) -> bool {
        matches!(self.config.kind, config::Kind::Timer { .. })
    }

    fn new(name: Name, config: Arc<config::Service>, handle: service::Handle, found: bool) -> Self {
        Self {
            name,
            config,
            handle,
            stop_reason: None,
            up: found,
            checked: false,
            unhealthy: false,
            stopping: false,
            launched: false,
            last_exit: None,
            pulled_down: Vec::new(),
            next_run: None,
            evidence: found.then(|| show::FOUND.to_owned()),
            replacing: None,
            overlap_owed: None,
            actor_failures: 0,
            leaving: false,
            calls: Calls::Ignored,
        }
    }
}
