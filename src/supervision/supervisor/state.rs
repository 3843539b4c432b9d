//! What a supervisor knows, its commands by hand, and what follows from every event.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ractor::{ActorCell, ActorId, ActorRef};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::actor::{Arguments, Msg, Reply, SHUTDOWN};
use super::{ChildSpec, Error, Event, Observer, View, check};
use crate::supervision::machine::{
    End, Ended, Machine, Order, Phase, Report, Spec, State as MachineState, Why,
};
use crate::supervision::task::{self, Task};
use crate::supervision::tree::Branch;
use crate::types::policy::Restart;

pub(super) struct State {
    pub(super) myself: ActorRef<Msg>,
    pub(super) path: String,
    pub(super) branch: Arc<Branch>,
    pub(super) observer: Option<Observer>,
    pub(super) machine: Machine,
    pub(super) origin: Instant,
    /// By slot of the machine.
    pub(super) children: Vec<Option<Child>>,
    slots: HashMap<String, usize>,
    pub(super) actors: HashMap<ActorId, usize>,
    /// Numbers lives and timers: what comes late finds another number.
    pub(super) epoch: u64,
    pub(super) timer: Option<(u64, Duration, Task)>,
    waiting: Vec<Waiting>,
    booted: Option<Reply>,
}

pub(super) struct Child {
    pub(super) spec: ChildSpec,
    pub(super) generation: u64,
    pub(super) branch: Arc<Branch>,
    pub(super) run: Option<Run>,
    /// What the tree shows of it.
    shown: (&'static str, u64),
}

/// The life a child has now.
pub(super) struct Run {
    pub(super) epoch: u64,
    /// Name of its actor.
    pub(super) name: String,
    pub(super) cell: Option<ActorCell>,
    pub(super) cancel: Option<oneshot::Sender<()>>,
    /// How it ended, as far as known.
    pub(super) end: Option<(End, String)>,
    pub(super) stop: Stop,
    pub(super) up: bool,
    pub(super) ignored: bool,
    pub(super) _task: Task,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
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

impl State {
    pub(super) fn new(myself: ActorRef<Msg>, arguments: Arguments) -> Self {
        let Arguments { path, branch, options, booted } = arguments;
        let mut state = Self {
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
        state
    }

    pub(super) fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    pub(super) fn tell(&self, event: Event) {
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
        let branch = Arc::new(self.branch.child(&spec.id, spec.shown_as));
        branch.set_state("stopped");
        self.slots.insert(spec.id.clone(), slot);
        self.children[slot] =
            Some(Child { spec, generation: 0, branch, run: None, shown: ("stopped", 0) });
        slot
    }

    fn slot(&self, id: &str) -> Result<usize, Error> {
        self.slots.get(id).copied().ok_or_else(|| Error::Unknown(id.to_owned()))
    }

    pub(super) fn start_child(&mut self, id: &str, reply: Reply) {
        let started = self.slot(id).and_then(|slot| {
            let refused = |refusal| Error::from_refusal(refusal, id);
            self.machine.start_child(slot).map(|()| slot).map_err(refused)
        });
        self.wait_for(started, true, reply);
    }

    pub(super) fn stop_child(&mut self, id: &str, reply: Reply) {
        let stopped = self.slot(id).and_then(|slot| {
            let refused = |refusal| Error::from_refusal(refusal, id);
            self.machine.stop_child(slot).map(|()| slot).map_err(refused)
        });
        self.wait_for(stopped, false, reply);
    }

    pub(super) fn add_child(&mut self, child: ChildSpec, reply: Reply) {
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

    pub(super) fn remove_child(&mut self, id: &str) -> Result<(), Error> {
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

    pub(super) fn update(&mut self, spec: Spec, children: Vec<ChildSpec>) -> Result<(), Error> {
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

    pub(super) fn views(&self) -> Vec<View> {
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

    /// Does what follows from the last event.
    pub(super) fn advance(&mut self) {
        for report in self.machine.drain_reports() {
            self.tell(self.event_of(report));
        }
        self.execute();
        self.forget_temporary();
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

    /// A temporary child that is down is forgotten, as in OTP.
    fn forget_temporary(&mut self) {
        let temporary = |child: &Child| child.spec.restart == Restart::Temporary;
        for slot in 0..self.children.len() {
            let Some(child) = &self.children[slot] else { continue };
            let Some(phase) = self.machine.child(slot) else { continue };
            let over = matches!(phase, Phase::Idle { why } if why != Why::NeverStarted);
            if over && temporary(child) && self.machine.remove(slot).is_ok() {
                self.answer_slot(slot, phase);
                self.forget(slot);
            }
        }
    }

    fn event_of(&self, report: Report) -> Event {
        match report {
            Report::Restarting { slot, attempt, delay, held, pulled_down } => {
                let pulled_down = pulled_down.into_iter().map(|slot| self.id_of(slot)).collect();
                Event::Restarting { id: self.id_of(slot), attempt, delay, held, pulled_down }
            }
            Report::Ending { slot, because } => Event::Ending { id: self.id_of(slot), because },
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
                (true, Phase::Up { .. } | Phase::Idle { why: Why::Ignored }) => Ok(()),
                (false, Phase::Idle { .. }) => Ok(()),
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
            let Some(child) = &mut self.children[*slot] else { continue };
            let Some(phase) = self.machine.child(*slot) else { continue };
            let word = match phase {
                Phase::Idle { .. } => "stopped",
                Phase::Backoff { .. } => "backoff",
                Phase::Queued | Phase::Starting => "starting",
                Phase::Up { .. } => "running",
                Phase::Stopping => "stopping",
            };
            let line = (word, child.generation.saturating_sub(1));
            if child.shown != line {
                child.shown = line;
                child.branch.set_state(word);
                child.branch.set_restarts(line.1);
            }
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
