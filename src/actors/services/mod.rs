//! `services/`: the supervisor of all services, one actor each.
//!
//! It alone decides: every report of a service and every command goes through the [`Roster`], whose commands
//! are handed to the services; the [`Board`] is written from what the roster and the reports say. It never
//! waits for a service: a slow one delays nobody.
//!
//! A service actor that fails is made anew and takes over the process that still runs (promise 1).

mod apply;
pub(crate) mod board;
mod context;
mod journal;
mod report;
pub(crate) mod service;
mod show;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::time::Instant;

use self::board::Board;
pub(crate) use self::context::Context;
use self::report::{EndedHow, Report};
use super::bus::Bus;
use crate::config::{self, Config};
use crate::supervision::machine::End;
use crate::supervision::mailbox::{self, Mailbox, Reply};
use crate::supervision::roster::{Command, MemberId, Roster};
use crate::supervision::task::{self, Task};
use crate::types::error::{Code, Problem};
use crate::types::event::Kind;
use crate::types::exit::PostMortem;
use crate::types::name::Name;
use crate::types::state::State as Lifecycle;

/// Commands that may wait; further ones are refused.
const COMMANDS_WAITING: usize = 256;

/// Longest time for a command to be taken. It never waits for a service.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);

/// How the rest of the tree reaches the services; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Handle {
    mailbox: Mailbox<Msg>,
    board: Board,
}

/// What somebody wants of a service or a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verb {
    /// Start it, and what it requires.
    Start,
    /// Stop it, after what requires it.
    Stop,
    /// Stop and start.
    Restart,
    /// As its `reload` says.
    Reload,
    /// Send a signal to its main process.
    Signal(i32),
}

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
    Ping(Reply<()>),
    /// Everything must end; answered when nothing runs.
    Shutdown { reply: Reply<()> },
    /// What became of a service.
    #[doc(hidden)]
    Report(report::From),
    /// A backoff may be over.
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
}

/// The actor; its state is [`State`].
#[derive(Debug)]
pub(crate) struct Services;

/// What the actor owns.
#[derive(Debug)]
pub(crate) struct State {
    myself: ActorRef<Msg>,
    config: Arc<Config>,
    context: Arc<Context>,
    board: Board,
    bus: Bus,
    roster: Roster,
    members: BTreeMap<MemberId, Member>,
    /// The member of a service actor, to find it when the actor fails.
    actors: HashMap<ractor::ActorId, MemberId>,
    /// Services that replace a retiring member of the same name, once that is gone.
    successors: HashMap<Name, config::Service>,
    origin: Instant,
    alarm: Option<(Duration, Task)>,
    waiting_for_end: Vec<Reply<()>>,
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
    last_exit: Option<PostMortem>,
    /// Services pulled down by its last exit, until the post-mortem is published.
    pulled_down: Vec<String>,
    next_run: Option<jiff::Timestamp>,
    evidence: Option<String>,
    /// How often its actor itself failed in a row.
    actor_failures: u32,
}

impl Handle {
    /// A handle over what is shown; an actor serves it once it started.
    pub(crate) fn new(board: Board) -> Self {
        Self { mailbox: Mailbox::new(COMMANDS_WAITING), board }
    }

    /// What is shown of the services.
    pub(crate) fn board(&self) -> &Board {
        &self.board
    }

    /// Does something to a service or a group by hand; returns once it is under way.
    ///
    /// # Errors
    /// No such name, nothing to do it to, or the daemon is ending.
    pub(crate) async fn act(&self, verb: Verb, name: &str, why: String) -> Result<(), Problem> {
        let name = name.to_owned();
        let ask = |reply| Msg::Act { verb, name, why, reply };
        self.mailbox.call(ask, ANSWER_DEADLINE).await.unwrap_or_else(|error| Err(silent(error)))
    }

    /// Puts a checked config in force; returns once its changes are under way.
    ///
    /// # Errors
    /// The actor did not answer.
    pub(crate) async fn apply(&self, config: Arc<Config>) -> Result<(), Problem> {
        self.mailbox
            .call(|reply| Msg::Apply { config, reply }, ANSWER_DEADLINE)
            .await
            .map_err(silent)
    }

    /// Passes on a line that the log pump was asked to watch for.
    pub(crate) fn line_matched(&self, service: Name, generation: u64, line: String) {
        // Between two incarnations of the supervisor nobody waits for readiness.
        let _ = self.mailbox.tell(Msg::LineMatched { service, generation, line });
    }

    /// Whether the supervisor of the services answers.
    pub(crate) async fn ping(&self) -> Result<(), mailbox::Error> {
        self.mailbox.call(Msg::Ping, ANSWER_DEADLINE).await
    }

    /// Stops everything in order; returns when nothing is left.
    pub(crate) async fn shutdown(&self) {
        // Each service has its own deadline, after which it is killed; a supervisor that is just being
        // restarted is asked again.
        while let Err(error) = self.mailbox.call(|reply| Msg::Shutdown { reply }, NEVER).await {
            tracing::warn!(%error, "services asked again to stop");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Longer than any stop.
const NEVER: Duration = Duration::from_secs(365 * 86_400);

fn silent(error: mailbox::Error) -> Problem {
    Problem::new(error.code(), format!("the services do not answer: {error}"))
}

/// What is said of a name nobody has.
pub(crate) fn no_such_name(name: &str, known: &[Name]) -> Problem {
    let problem = Problem::new(Code::NoSuchName, format!("there is no service or group `{name}`"));
    let distance = |known: &Name| strsim::damerau_levenshtein(known.as_str(), name);
    match known.iter().min_by_key(|known| distance(known)).filter(|known| distance(known) <= 2) {
        Some(known) => problem.hint(format!("did you mean `{known}`?")),
        None => problem.hint("`cafe status` lists them"),
    }
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
        options.handle.mailbox.serve(&myself);
        let mut state = State {
            myself,
            roster: Roster::new(options.config.daemon.parallel_starts),
            config: options.config.clone(),
            context: options.context,
            board: options.handle.board.clone(),
            bus: options.bus,
            members: BTreeMap::new(),
            actors: HashMap::new(),
            successors: HashMap::new(),
            origin: Instant::now(),
            alarm: None,
            waiting_for_end: Vec::new(),
        };
        state.begin(&options.config).await?;
        Ok(state)
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
            Msg::Ping(reply) => reply.send(()),
            Msg::Shutdown { reply } => {
                state.waiting_for_end.push(reply);
                state.roster.shutdown();
            }
            Msg::Report(report::From { member, report }) => state.reported(member, report),
            Msg::Wake => state.alarm = None,
        }
        state.drive().await
    }

    /// A service actor failed: its process, if any, still runs; a new actor takes it over.
    async fn handle_supervisor_evt(
        &self,
        _myself: ActorRef<Msg>,
        event: SupervisionEvent,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorFailed(actor, error) => {
                if let Some(id) = state.actors.remove(&actor.get_id()) {
                    state.replace_actor(id, error.to_string()).await?;
                }
            }
            SupervisionEvent::ActorTerminated(actor, ..) => {
                state.actors.remove(&actor.get_id());
            }
            _ => {}
        }
        state.drive().await
    }
}

impl State {
    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    fn member_named(&self, name: &str) -> Option<&Member> {
        self.members.get(&self.roster.find(name)?)
    }

    // ---- commands by hand ----

    fn act(&mut self, verb: &Verb, name: &str, why: &str) -> Result<(), Problem> {
        if let Some(id) = self.roster.find(name) {
            return self.act_on_service(verb, id, why);
        }
        if let Some(scope) = self.roster.find_group(name) {
            return self.act_on_group(verb, scope, name, why);
        }
        Err(no_such_name(name, &self.board.names()))
    }

    fn act_on_service(&mut self, verb: &Verb, id: MemberId, why: &str) -> Result<(), Problem> {
        let Some(member) = self.members.get_mut(&id) else { return Ok(()) };
        let name = member.name.clone();
        match verb {
            Verb::Signal(signal) => {
                if self.board.glance(name.as_str()).is_none_or(|(_, pid, _)| pid.is_none()) {
                    let message = format!("cannot signal `{name}`: it has no process");
                    return Err(Problem::new(Code::Conflict, message));
                }
                member.handle.signal(*signal);
                return Ok(());
            }
            Verb::Reload => match member.config.reload {
                config::Reload::Signal(signal) => {
                    return self.act_on_service(&Verb::Signal(signal), id, why);
                }
                config::Reload::Restart => return self.act_on_service(&Verb::Restart, id, why),
            },
            Verb::Start if member.next_run.is_some() => {
                member.handle.run_now();
                return Ok(());
            }
            Verb::Start | Verb::Stop | Verb::Restart => {}
        }
        if matches!(verb, Verb::Stop | Verb::Restart) {
            member.stop_reason = Some(why.to_owned());
        }
        self.board.with(&name, |entry| entry.restarts = 0);
        let done = match verb {
            Verb::Start => self.roster.start(id),
            Verb::Stop => self.roster.stop(id),
            _ => self.roster.restart(id),
        };
        self.accept(done, &name)
    }

    fn accept(
        &self,
        done: Result<(), crate::supervision::machine::Refusal>,
        name: &Name,
    ) -> Result<(), Problem> {
        use crate::supervision::machine::Refusal;
        match done {
            // Wanted and so already: not a failure.
            Ok(()) | Err(Refusal::Running) => Ok(()),
            Err(refusal) => {
                Err(Problem::new(Code::Conflict, format!("cannot do this to `{name}`: {refusal}")))
            }
        }
    }

    fn act_on_group(
        &mut self,
        verb: &Verb,
        scope: crate::supervision::roster::ScopeId,
        name: &str,
        why: &str,
    ) -> Result<(), Problem> {
        let members = self.roster.members_of(scope);
        match verb {
            Verb::Start => self.roster.boot_scope(scope),
            Verb::Stop | Verb::Restart => {
                for id in members {
                    if let Some(member) = self.members.get_mut(&id) {
                        member.stop_reason = Some(format!("group {name}: {why}"));
                    }
                }
                match verb {
                    Verb::Stop => self.roster.stop_scope(scope),
                    _ => self.roster.restart_scope(scope),
                }
            }
            Verb::Reload | Verb::Signal(_) => {
                for id in members {
                    self.act_on_service(verb, id, why)?;
                }
            }
        }
        Ok(())
    }

    // ---- reports of services ----

    fn reported(&mut self, id: MemberId, report: Report) {
        let now = self.now();
        let Some(member) = self.members.get_mut(&id) else { return };
        let name = member.name.clone();
        match report {
            Report::Spawned { pid, generation, at } => {
                member.next_run = None;
                self.board.with(&name, |entry| entry.began(pid, generation, at));
                self.show(id);
            }
            Report::Up { evidence } => {
                member.up = true;
                member.checked = evidence.is_some();
                member.evidence = evidence;
                member.actor_failures = 0;
                if member.next_run.is_none() {
                    self.roster.started(id, now);
                }
                self.show(id);
            }
            Report::Stopping => {
                member.stopping = true;
                self.show(id);
            }
            Report::Ended { how, post_mortem } => self.ended(id, how, post_mortem),
            Report::LastLines { generation, lines } => self.publish_exit(id, generation, lines),
            Report::Health { healthy, evidence } => {
                let changed = member.unhealthy == healthy;
                member.unhealthy = !healthy;
                if changed {
                    member.evidence = Some(evidence.clone());
                }
                self.board.with(&name, |entry| entry.probe = Some(evidence));
                if changed {
                    self.show(id);
                }
            }
            Report::StatusText(text) => {
                self.board.with(&name, |entry| entry.status_text = Some(text));
            }
            Report::MainPid(pid) => {
                self.board.with(&name, |entry| entry.pid = Some(pid));
            }
            Report::Armed { next } => {
                let first = member.next_run.replace(next).is_none();
                self.board.with(&name, |entry| entry.next_start = Some(next));
                if first {
                    self.roster.started(id, now);
                }
                self.show(id);
            }
            Report::Remark { message } => {
                self.bus.publish(Kind::Log { service: name, message });
            }
            Report::Disarmed => {
                member.next_run = None;
                self.board.with(&name, |entry| entry.next_start = None);
                self.roster.ended(id, End::Normal, now);
            }
        }
    }

    fn ended(&mut self, id: MemberId, how: EndedHow, post_mortem: PostMortem) {
        let now = self.now();
        let Some(member) = self.members.get_mut(&id) else { return };
        member.up = false;
        member.unhealthy = false;
        member.stopping = false;
        member.launched = false;
        member.stop_reason = None;
        member.evidence = None;
        member.last_exit = Some(post_mortem.clone());
        self.board.with(&member.name, |entry| entry.keep_exit(post_mortem));
        match how {
            EndedHow::NeverUp => self.roster.start_failed(id, now),
            EndedHow::Ended { normal } => {
                if matches!(member.config.kind, config::Kind::Timer { .. }) {
                    member.next_run = None;
                }
                if matches!(member.config.kind, config::Kind::Oneshot) {
                    // Its end is what those after it wait for.
                    self.roster.started(id, now);
                }
                self.roster.ended(id, if normal { End::Normal } else { End::Abnormal }, now);
            }
            EndedHow::Run => {}
        }
        self.show(id);
    }

    /// Completes a post-mortem with its last lines and tells everybody.
    fn publish_exit(&mut self, id: MemberId, generation: u64, lines: Vec<String>) {
        let Some(member) = self.members.get_mut(&id) else { return };
        let pulled_down = std::mem::take(&mut member.pulled_down);
        let complete = self.board.with(&member.name, |entry| {
            let found = entry.exits.iter_mut().find(|exit| exit.generation == generation)?;
            found.last_lines = lines;
            found.pulled_down = pulled_down;
            Some(found.clone())
        });
        if let Some(post_mortem) = complete.flatten() {
            let service = member.name.clone();
            self.bus.publish(Kind::Exit { service, post_mortem: Box::new(post_mortem) });
        }
    }

    // ---- what follows ----

    /// Hands out what the roster wants done, shows what changed, and sets the alarm for what waits.
    async fn drive(&mut self) -> Result<(), ActorProcessingErr> {
        loop {
            let commands = self.roster.commands(self.now());
            self.show_changes();
            if commands.is_empty() {
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
                    member.launched = true;
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
            evidence: None,
            actor_failures: 0,
        }
    }
}
