//! The actor behind a supervisor: carries events to the machine and its orders to the children. No handler ever waits.
//!
//! All state changes go through [`State::advance`]: orders, forgetting, answers, the tree, the timer, the end.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::incarnation::{self, Life, Step};
use super::{ChildSpec, Context, Error, Event, Kind, Observer, Options, Shutdown, View, check};
use crate::supervision::machine::{
    self, End, Ended, Machine, Order, Phase, Refusal, Spec, State as MachineState, Why,
};
use crate::supervision::task::{self, Task};
use crate::supervision::tree::Branch;
use crate::types::policy::Restart;

/// The reason a supervisor ends with: a normal one, as in OTP, also when it gave up.
const SHUTDOWN: &str = "shutdown";
/// What ractor gives as the reason of an actor that was killed, or whose task was.
const KILLED: [&str; 2] = ["killed", "actor_task_cancelled"];

pub(super) struct Supervisor;

pub(super) enum Msg {
    StartChild {
        id: String,
        reply: Reply,
    },
    StopChild {
        id: String,
        reply: Reply,
    },
    AddChild {
        child: Box<ChildSpec>,
        reply: Reply,
    },
    RemoveChild {
        id: String,
        reply: Reply,
    },
    Update {
        spec: Box<Spec>,
        children: Vec<ChildSpec>,
        reply: Reply,
    },
    Children(oneshot::Sender<Vec<View>>),
    Shutdown,
    /// Something happened to a child.
    Lived {
        life: Life,
        step: Step,
    },
    /// The timer of this number went off.
    Wake(u64),
}

type Reply = oneshot::Sender<Result<(), Error>>;

pub(super) struct Arguments {
    path: String,
    branch: Arc<Branch>,
    options: Options,
    booted: Reply,
}

impl Arguments {
    pub(super) fn new(
        path: String,
        branch: Arc<Branch>,
        options: Options,
        booted: Reply,
    ) -> Result<Self, Error> {
        check(&options.spec, &options.children)?;
        Ok(Self { path, branch, options, booted })
    }
}

pub(super) struct State {
    myself: ActorRef<Msg>,
    path: String,
    branch: Arc<Branch>,
    observer: Option<Observer>,
    machine: Machine,
    origin: Instant,
    /// By slot of the machine.
    children: Vec<Option<Child>>,
    slots: HashMap<String, usize>,
    actors: HashMap<ActorId, usize>,
    /// Numbers lives and timers: what comes late finds another number.
    epoch: u64,
    timer: Option<(u64, Duration, Task)>,
    waiting: Vec<Waiting>,
    booted: Option<Reply>,
}

struct Child {
    spec: ChildSpec,
    generation: u64,
    branch: Arc<Branch>,
    run: Option<Run>,
}

/// The life a child has now.
struct Run {
    epoch: u64,
    cell: Option<ActorCell>,
    cancel: Option<oneshot::Sender<()>>,
    /// How it ended, as far as known.
    end: Option<(End, String)>,
    stop: Stop,
    up: bool,
    _task: Task,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stop {
    No,
    /// Asked; killed at this time.
    Asked(Option<Duration>),
    Killed,
}

/// A caller to be answered when a child is where it wants it.
struct Waiting {
    slot: usize,
    up: bool,
    reply: Reply,
}

impl Actor for Supervisor {
    type Msg = Msg;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(
        &self,
        myself: ActorRef<Msg>,
        arguments: Arguments,
    ) -> Result<State, ActorProcessingErr> {
        let Arguments { path, branch, options, booted } = arguments;
        let mut state = State {
            myself,
            path,
            branch,
            observer: options.observer,
            machine: Machine::new(options.spec),
            origin: Instant::now(),
            children: Vec::new(),
            slots: HashMap::new(),
            actors: HashMap::new(),
            epoch: 0,
            timer: None,
            waiting: Vec::new(),
            booted: Some(booted),
        };
        for child in options.children {
            state.add(child);
        }
        Ok(state)
    }

    /// Children are started when this actor can already hear of their end.
    async fn post_start(
        &self,
        _: ActorRef<Msg>,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        state.machine.boot()?;
        state.advance();
        Ok(())
    }

    async fn handle(
        &self,
        _: ActorRef<Msg>,
        message: Msg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Msg::StartChild { id, reply } => state.start_child(&id, reply),
            Msg::StopChild { id, reply } => state.stop_child(&id, reply),
            Msg::AddChild { child, reply } => state.add_child(*child, reply),
            Msg::RemoveChild { id, reply } => drop(reply.send(state.remove_child(&id))),
            Msg::Update { spec, children, reply } => {
                drop(reply.send(state.update(*spec, children)));
            }
            Msg::Children(reply) => drop(reply.send(state.views())),
            Msg::Shutdown => state.machine.shutdown(),
            Msg::Lived { life, step } => state.lived(life, step),
            Msg::Wake(epoch) => state.wake(epoch),
        }
        state.advance();
        Ok(())
    }

    /// Learns how a child ended; that it is gone is told by its [`incarnation`]. Replaces ractor's own reaction, which would
    /// end this supervisor with any child.
    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<Msg>,
        event: SupervisionEvent,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorTerminated(cell, _, reason) => {
                let reason = reason.unwrap_or_default();
                let killed = KILLED.contains(&reason.as_str());
                let end = if killed { End::Abnormal } else { End::Normal };
                state.learn(&cell, end, reason);
            }
            SupervisionEvent::ActorFailed(cell, error) => {
                let reason = crate::types::error::chain(error.as_ref());
                state.learn(&cell, End::Abnormal, reason);
            }
            SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => {}
        }
        Ok(())
    }

    /// Someone stopped the actor instead of telling it to shut down: its children still go one by one, before ractor kills
    /// what is left.
    async fn post_stop(
        &self,
        _: ActorRef<Msg>,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        for slot in state.machine.slots().to_vec().into_iter().rev() {
            let Some(child) = state.children[slot].as_mut() else { continue };
            let Some(run) = child.run.take() else { continue };
            let Some(cell) = run.cell else { continue };
            child.spec.ask_to_stop(&cell);
            let deadline = match child.spec.shutdown {
                Shutdown::Brutal => Some(Duration::ZERO),
                Shutdown::Timeout(time) => Some(time),
                Shutdown::Infinity => None,
            };
            if cell.wait(deadline).await.is_err() {
                let _ = cell.kill_and_wait(None).await;
            }
        }
        state.branch.set_state("stopped");
        Ok(())
    }
}

impl ChildSpec {
    fn for_machine(&self) -> machine::ChildSpec {
        machine::ChildSpec {
            restart: self.restart,
            significant: self.significant,
            backoff: self.backoff,
        }
    }

    /// A supervisor is told to shut down: stopping the actor would let ractor kill its children.
    fn ask_to_stop(&self, cell: &ActorCell) {
        match (self.kind, self.shutdown) {
            (Kind::Supervisor, _) => drop(cell.send_message(Msg::Shutdown)),
            (Kind::Worker, Shutdown::Brutal) => cell.kill(),
            (Kind::Worker, _) => cell.stop(Some(SHUTDOWN.to_owned())),
        }
    }
}

impl State {
    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    fn tell(&self, event: Event) {
        tracing::debug!(supervisor = self.path, ?event, "supervisor event");
        if let Some(observer) = &self.observer {
            observer(&event);
        }
    }

    fn add(&mut self, spec: ChildSpec) -> usize {
        let slot = self.machine.add(spec.for_machine());
        if slot == self.children.len() {
            self.children.push(None);
        }
        let kind = match spec.kind {
            Kind::Worker => "actor",
            Kind::Supervisor => "supervisor",
        };
        let branch = Arc::new(self.branch.child(&spec.id, kind));
        branch.set_state("stopped");
        self.slots.insert(spec.id.clone(), slot);
        self.children[slot] = Some(Child { spec, generation: 0, branch, run: None });
        slot
    }

    fn slot(&self, id: &str) -> Result<usize, Error> {
        self.slots.get(id).copied().ok_or_else(|| Error::Unknown(id.to_owned()))
    }

    fn start_child(&mut self, id: &str, reply: Reply) {
        let started = self.slot(id).and_then(|slot| {
            let refused = |refusal| Error::from_refusal(refusal, id);
            self.machine.start_child(slot).map(|()| slot).map_err(refused)
        });
        self.wait_for(started, true, reply);
    }

    fn stop_child(&mut self, id: &str, reply: Reply) {
        let stopped = self.slot(id).and_then(|slot| {
            let refused = |refusal| Error::from_refusal(refusal, id);
            self.machine.stop_child(slot).map(|()| slot).map_err(refused)
        });
        self.wait_for(stopped, false, reply);
    }

    fn add_child(&mut self, child: ChildSpec, reply: Reply) {
        let added = match self.slots.contains_key(&child.id) {
            true => Err(Error::Duplicate(child.id.clone())),
            false => child.check(self.machine.spec()).and_then(|()| {
                let running = self.machine.phase() == MachineState::Running;
                if running { Ok(()) } else { Err(Error::Ended) }
            }),
        };
        let added = added.map(|()| {
            let slot = self.add(child);
            // It was just added and the supervisor runs, so nothing is refused.
            let _ = self.machine.start_child(slot);
            slot
        });
        self.wait_for(added, true, reply);
    }

    fn wait_for(&mut self, slot: Result<usize, Error>, up: bool, reply: Reply) {
        match slot {
            Ok(slot) => self.waiting.push(Waiting { slot, up, reply }),
            Err(error) => drop(reply.send(Err(error))),
        }
    }

    fn remove_child(&mut self, id: &str) -> Result<(), Error> {
        let slot = self.slot(id)?;
        self.machine.remove(slot).map_err(|refusal| Error::from_refusal(refusal, id))?;
        self.forget(slot);
        Ok(())
    }

    fn forget(&mut self, slot: usize) {
        if let Some(child) = self.children[slot].take() {
            self.slots.remove(&child.spec.id);
        }
    }

    fn update(&mut self, spec: Spec, children: Vec<ChildSpec>) -> Result<(), Error> {
        check(&spec, &children)?;
        self.machine.update(spec);
        let mut order = Vec::with_capacity(children.len());
        for new in children {
            let Some(slot) = self.slots.get(&new.id).copied() else {
                order.push(self.add(new));
                continue;
            };
            let known = self.machine.update_child(slot, new.for_machine()).is_ok();
            if let Some(child) = self.children[slot].as_mut().filter(|_| known) {
                child.spec = new;
            }
            order.push(slot);
        }
        self.machine.reorder(&order);
        Ok(())
    }

    fn views(&self) -> Vec<View> {
        let view = |slot: &usize| {
            let child = self.children[*slot].as_ref()?;
            let run = child.run.as_ref();
            Some(View {
                id: child.spec.id.clone(),
                phase: self.machine.child(*slot)?,
                generation: child.generation,
                cell: run.and_then(|run| run.cell.clone()),
            })
        };
        self.machine.slots().iter().filter_map(view).collect()
    }

    fn run_of(&mut self, life: Life) -> Option<&mut Run> {
        let run = self.children.get_mut(life.slot)?.as_mut()?.run.as_mut()?;
        (run.epoch == life.epoch).then_some(run)
    }

    fn learn(&mut self, cell: &ActorCell, end: End, reason: String) {
        let Some(slot) = self.actors.get(&cell.get_id()).copied() else { return };
        let run = self.children[slot].as_mut().and_then(|child| child.run.as_mut());
        if let Some(run) = run {
            run.end.get_or_insert((end, reason));
        }
    }

    fn lived(&mut self, life: Life, step: Step) {
        let now = self.now();
        let slot = life.slot;
        let Some(run) = self.run_of(life) else { return };
        match step {
            Step::Spawned(cell) => {
                run.cancel = None;
                run.cell = Some(cell.clone());
                let stopping = run.stop != Stop::No;
                self.actors.insert(cell.get_id(), slot);
                if stopping {
                    self.stop(slot);
                }
            }
            Step::Ready => {
                let stopping = run.stop != Stop::No;
                run.up = true;
                self.machine.started(slot, now);
                if let Some(child) = self.children[slot].as_ref().filter(|_| !stopping) {
                    let (id, generation) = (child.spec.id.clone(), child.generation);
                    self.tell(Event::Started { id, generation });
                }
            }
            Step::Failed(reason) => _ = run.end.get_or_insert((End::Abnormal, reason)),
            Step::Gone => self.gone(slot, now),
        }
    }

    fn gone(&mut self, slot: usize, now: Duration) {
        let Some(child) = self.children[slot].as_mut() else { return };
        let Some(run) = child.run.take() else { return };
        let id = child.spec.id.clone();
        if let Some(cell) = &run.cell {
            self.actors.remove(&cell.get_id());
        }
        let unknown = || (End::Abnormal, "ended without a word".to_owned());
        let (end, reason) = run.end.unwrap_or_else(unknown);
        self.tell(match (run.stop, run.up) {
            (Stop::No, true) => Event::Exited { id, end, reason },
            (Stop::No, false) => Event::StartFailed { id, reason },
            (stop, _) => Event::Stopped { id, killed: stop == Stop::Killed },
        });
        self.machine.ended(slot, end, now);
    }

    fn wake(&mut self, epoch: u64) {
        if self.timer.as_ref().is_none_or(|(armed, ..)| *armed != epoch) {
            return;
        }
        self.timer = None;
        let now = self.now();
        for child in self.children.iter_mut().flatten() {
            let Some(run) = &mut child.run else { continue };
            if matches!(run.stop, Stop::Asked(Some(until)) if until <= now) {
                run.stop = Stop::Killed;
                if let Some(cell) = &run.cell {
                    cell.kill();
                }
            }
        }
    }

    /// Does what follows from the last event.
    fn advance(&mut self) {
        self.execute();
        self.forget_temporary();
        for report in self.machine.drain_reports() {
            self.tell(Event::Decided(report));
        }
        self.answer();
        self.show();
        self.arm_timer();
        self.end();
    }

    fn execute(&mut self) {
        loop {
            let orders = self.machine.orders(self.now());
            if orders.is_empty() {
                return;
            }
            for order in orders {
                match order {
                    Order::Start(slot) => self.begin(slot),
                    Order::Stop(slot) => self.stop(slot),
                }
            }
        }
    }

    fn begin(&mut self, slot: usize) {
        self.epoch += 1;
        let epoch = self.epoch;
        let Some(child) = self.children[slot].as_mut() else { return };
        child.generation += 1;
        let context = Context {
            name: format!("{}/{}#{}", self.path, child.spec.id, child.generation),
            generation: child.generation,
            branch: Arc::clone(&child.branch),
            supervisor: self.myself.get_cell(),
        };
        let (cancel, cancelled) = oneshot::channel();
        let name = context.name.clone();
        let start = Arc::clone(&child.spec.start);
        let heartbeat = child.spec.heartbeat.clone();
        let supervisor = self.myself.clone();
        let life = Life { slot, epoch };
        let alive = incarnation::live(life, start, context, heartbeat, supervisor, cancelled);
        child.run = Some(Run {
            epoch,
            cell: None,
            cancel: Some(cancel),
            end: None,
            stop: Stop::No,
            up: false,
            _task: task::spawn(name, alive),
        });
    }

    /// A child that is still being spawned is given up; else it is asked, and killed when its time is over.
    fn stop(&mut self, slot: usize) {
        let now = self.now();
        let Some(child) = self.children[slot].as_mut() else { return };
        let Some(run) = child.run.as_mut() else { return };
        run.stop = match child.spec.shutdown {
            Shutdown::Brutal => Stop::Killed,
            Shutdown::Timeout(time) => Stop::Asked(Some(now.saturating_add(time))),
            Shutdown::Infinity => Stop::Asked(None),
        };
        if let Some(cell) = &run.cell {
            child.spec.ask_to_stop(cell);
        }
        run.cancel = None;
    }

    /// A temporary child that is down is forgotten, as in OTP.
    fn forget_temporary(&mut self) {
        let temporary = |child: &Child| child.spec.restart == Restart::Temporary;
        for slot in 0..self.children.len() {
            let Some(child) = &self.children[slot] else { continue };
            let phase = self.machine.child(slot);
            let over = matches!(phase, Some(Phase::Idle { why }) if why != Why::NeverStarted);
            if over && temporary(child) && self.machine.remove(slot).is_ok() {
                self.answer_slot(slot, Phase::Idle { why: Why::WithGroup });
                self.forget(slot);
            }
        }
    }

    fn answer(&mut self) {
        let mut slots: Vec<usize> = self.waiting.iter().map(|waiting| waiting.slot).collect();
        slots.dedup();
        for slot in slots {
            if let Some(phase) = self.machine.child(slot) {
                self.answer_slot(slot, phase);
            }
        }
    }

    fn answer_slot(&mut self, slot: usize, phase: Phase) {
        let id = self.children[slot].as_ref().map(|child| child.spec.id.clone());
        let failed = || Error::StartFailed(id.clone().unwrap_or_default());
        for index in (0..self.waiting.len()).rev() {
            let waiting = &self.waiting[index];
            let answer = match (waiting.up, phase) {
                _ if waiting.slot != slot => continue,
                (true, Phase::Up { .. }) | (false, Phase::Idle { .. }) => Ok(()),
                (true, Phase::Idle { .. } | Phase::Backoff { .. }) => Err(failed()),
                (true, Phase::Queued | Phase::Starting | Phase::Stopping) => continue,
                // A later start won over this stop, once the child is up again.
                (false, Phase::Up { .. }) if !self.is_stopping(slot) => Ok(()),
                (false, _) => continue,
            };
            let waiting = self.waiting.remove(index);
            let _ = waiting.reply.send(answer);
        }
    }

    fn is_stopping(&self, slot: usize) -> bool {
        let run = self.children[slot].as_ref().and_then(|child| child.run.as_ref());
        run.is_some_and(|run| run.stop != Stop::No)
    }

    fn show(&mut self) {
        let mut settled = true;
        for slot in self.machine.slots() {
            let Some(child) = &self.children[*slot] else { continue };
            let Some(phase) = self.machine.child(*slot) else { continue };
            let word = match phase {
                Phase::Idle { .. } => "stopped",
                Phase::Backoff { .. } => "backoff",
                Phase::Queued | Phase::Starting => "starting",
                Phase::Up { .. } => "running",
                Phase::Stopping => "stopping",
            };
            child.branch.set_state(word);
            child.branch.set_restarts(child.generation.saturating_sub(1));
            settled &= !matches!(phase, Phase::Queued | Phase::Starting | Phase::Stopping);
        }
        if settled
            && self.machine.phase() == MachineState::Running
            && let Some(booted) = self.booted.take()
        {
            let _ = booted.send(Ok(()));
        }
    }

    fn arm_timer(&mut self) {
        let kill = |child: &Child| match child.run.as_ref()?.stop {
            Stop::Asked(until) => until,
            Stop::No | Stop::Killed => None,
        };
        let kills = self.children.iter().flatten().filter_map(kill);
        let Some(due) = kills.chain(self.machine.deadline()).min() else {
            self.timer = None;
            return;
        };
        if self.timer.as_ref().is_some_and(|(_, armed, _)| *armed == due) {
            return;
        }
        self.epoch += 1;
        let (epoch, at, myself) = (self.epoch, self.origin + due, self.myself.clone());
        let timer = task::spawn(format!("{} timer", self.path), async move {
            tokio::time::sleep_until(at).await;
            let _ = myself.send_message(Msg::Wake(epoch));
        });
        self.timer = Some((epoch, due, timer));
    }

    fn end(&mut self) {
        let MachineState::Ended(ended) = self.machine.phase() else { return };
        if let Some(booted) = self.booted.take() {
            let failed = match ended {
                Ended::BootFailed { slot } => Error::Boot(self.id_of(slot)),
                Ended::Shutdown | Ended::GaveUp { .. } | Ended::AutoShutdown { .. } => Error::Ended,
            };
            let _ = booted.send(Err(failed));
        }
        self.tell(Event::Ended(ended));
        self.branch.set_state("stopped");
        self.myself.stop(Some(SHUTDOWN.to_owned()));
    }

    fn id_of(&self, slot: usize) -> String {
        let child = self.children.get(slot).and_then(Option::as_ref);
        child.map(|child| child.spec.id.clone()).unwrap_or_default()
    }
}

impl Error {
    fn from_refusal(refusal: Refusal, id: &str) -> Self {
        match refusal {
            Refusal::Running => Self::Running(id.to_owned()),
            Refusal::Unknown => Self::Unknown(id.to_owned()),
            Refusal::ShuttingDown => Self::Ended,
        }
    }
}
