//! Lives of children, from a start ordered to nothing left: begun, learnt of, stopped, killed at their deadline.

use std::sync::Arc;
use std::time::Duration;

use ractor::ActorCell;
use tokio::sync::oneshot;

use super::incarnation::{self, Life, Step};
use super::state::{Child, Run, State, Stop};
use super::{Context, Event, Shutdown};
use crate::supervision::machine::End;
use crate::supervision::task;

impl State {
    pub(super) fn begin(&mut self, slot: usize) {
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
            ignored: false,
            _task: task::spawn(name.clone(), alive),
            name,
        });
    }

    /// A child that is still being spawned is given up; else it is asked, and killed when its time is over.
    pub(super) fn stop(&mut self, slot: usize) {
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

    fn run_of(&mut self, life: Life) -> Option<&mut Run> {
        let run = self.children.get_mut(life.slot)?.as_mut()?.run.as_mut()?;
        (run.epoch == life.epoch).then_some(run)
    }

    /// How an actor ended. One that ends at once may be heard of before it is known: then by its name.
    pub(super) fn learn(&mut self, cell: &ActorCell, end: End, reason: String) {
        let known = self.actors.get(&cell.get_id()).copied();
        let named = || {
            let name = cell.get_name()?;
            let has_name = |child: &Child| child.run.as_ref().is_some_and(|run| run.name == name);
            self.children.iter().position(|child| child.as_ref().is_some_and(has_name))
        };
        let Some(slot) = known.or_else(named) else { return };
        let run = self.children[slot].as_mut().and_then(|child| child.run.as_mut());
        if let Some(run) = run {
            run.end.get_or_insert((end, reason));
        }
    }

    pub(super) fn lived(&mut self, life: Life, step: Step) {
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
            Step::Ignored => run.ignored = true,
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
        if run.ignored && run.stop == Stop::No {
            self.tell(Event::Ignored { id });
            return self.machine.ignored(slot);
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

    pub(super) fn wake(&mut self, epoch: u64) {
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

    /// Stops children one by one, without the machine: only when the actor was stopped instead of told to shut down.
    pub(super) async fn stop_what_is_left(&mut self) {
        for slot in self.machine.slots().to_vec().into_iter().rev() {
            let Some(child) = self.children[slot].as_mut() else { continue };
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
        self.branch.set_state("stopped");
    }
}
