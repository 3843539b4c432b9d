//! Two incarnations at once: the next is started beside the present one, and takes its place once it is up.
//!
//! ```text
//!   instance    beside                         told to the supervisor
//!   up          -            overlap           -
//!   up          starting     is up             Replaced         (the two change places)
//!   up          stopping     nothing left      Ended(Beside)
//!   up          -
//!
//!   up          starting     beside ended      Ended(NotReplaced)
//!   ended       starting                       Ended(Beside), Spawned: it is the present one now
//!   ended       stopping     nothing left      Ended, as the first one did
//! ```
//!
//! The supervisor knows one incarnation, as long as there is any.

use std::time::Duration;

use ractor::ActorRef;

use super::super::report::{EndedHow, Report};
use super::instance::{Instance, Phase};
use super::{Msg, State};
use crate::supervision::task;
use crate::types::exit::PostMortem;

/// Without a readiness check the next incarnation has to run for so long before the one before it ends, and an instance
/// before the next is touched.
pub(in crate::actors::services) const SETTLE: Duration = Duration::from_secs(1);

/// Which of the two an incarnation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// The one that the service is shown by.
    Present,
    /// The next one, or the last one.
    Beside,
}

impl State {
    /// Starts the next incarnation beside the one that is up.
    pub(super) fn overlap(&mut self, myself: &ActorRef<Msg>, why: String) {
        let seat = match (&self.instance, &self.beside) {
            (Some(instance), None) if instance.phase == Phase::Up => instance.seat.other(),
            _ => {
                // It ended just now; the supervisor is about to hear it.
                let reason = "it is not up any more".to_owned();
                return self.report(Report::NotOverlapped { reason });
            }
        };
        self.generation += 1;
        let mut next = Instance::new(self.generation, seat);
        next.replaces = Some(why);
        self.beside = Some(next);
        self.make(myself, self.generation);
    }

    /// Nothing proves it ready: whether it runs at all is seen after a while.
    pub(super) fn settle(&mut self, myself: &ActorRef<Msg>, generation: u64) {
        let me = myself.clone();
        let Some(instance) = self.find(generation) else { return };
        instance.checks.push(task::spawn("settle", async move {
            tokio::time::sleep(SETTLE).await;
            let _ = me.cast(Msg::Settled { generation });
        }));
    }

    pub(super) fn settled(&mut self, myself: &ActorRef<Msg>, generation: u64) {
        if self.find(generation).is_some_and(|instance| instance.phase == Phase::Starting) {
            self.up(myself, generation, None);
        }
    }

    /// The next incarnation is up: the two change places, and the one before ends.
    pub(super) fn take_over(&mut self, myself: &ActorRef<Msg>, evidence: Option<String>) {
        std::mem::swap(&mut self.instance, &mut self.beside);
        let Some(next) = self.instance.as_mut() else { return };
        let (generation, at) = (next.generation, next.started_at);
        let pid = next.child.as_ref().map_or(0, |child| child.pid());
        let (why, said) = (next.replaces.take().unwrap_or_default(), next.said.take());
        self.context.journal.took_over(&next.seat, generation);
        self.report(Report::Replaced { pid, generation, at, evidence });
        if let Some(text) = said {
            self.report(Report::StatusText(text));
        }
        if let Some(last) = self.beside.as_mut() {
            last.ordered = true;
            let last = last.generation;
            self.end(myself, last, format!("{why}; generation {generation} took over"));
        }
    }

    /// An incarnation of which nothing is left is reported; how depends on whether there is another.
    pub(super) fn report_end(
        &mut self,
        place: Place,
        instance: &Instance,
        how: EndedHow,
        post_mortem: PostMortem,
    ) {
        if place == Place::Beside {
            let is_next =
                self.instance.as_ref().is_some_and(|it| it.generation < instance.generation);
            let how = match self.held.take() {
                Some(how) => how,
                None if is_next && !instance.ordered => EndedHow::NotReplaced,
                None => EndedHow::Beside,
            };
            return self.report(Report::Ended { how, post_mortem });
        }
        match self.beside.as_ref().map(|beside| beside.phase) {
            None => self.report(Report::Ended { how, post_mortem }),
            Some(Phase::Spawning | Phase::Starting | Phase::Up) => {
                self.report(Report::Ended { how: EndedHow::Beside, post_mortem });
                self.stand_in();
            }
            Some(Phase::Stopping | Phase::Clearing) => {
                self.held = Some(how);
                self.report(Report::Ended { how: EndedHow::Beside, post_mortem });
            }
        }
    }

    /// The one before ended by itself: the next, on its way already, is the one that the service waits for.
    fn stand_in(&mut self) {
        let Some(mut next) = self.beside.take() else { return };
        next.stands_in = true;
        let (generation, at) = (next.generation, next.started_at);
        let (pid, said) = (next.child.as_ref().map(|child| child.pid()), next.said.take());
        self.instance = Some(next);
        if let Some(pid) = pid {
            self.report(Report::Spawned { pid, generation, at });
        }
        if let Some(text) = said {
            self.report(Report::StatusText(text));
        }
    }

    /// Takes an incarnation out, to put it back or because nothing of it is left.
    pub(super) fn take_out(&mut self, generation: u64) -> Option<(Place, Box<Instance>)> {
        let is_it = |instance: &mut Box<Instance>| instance.generation == generation;
        let present = self.instance.take_if(is_it).map(|instance| (Place::Present, instance));
        present.or_else(|| Some((Place::Beside, self.beside.take_if(is_it)?)))
    }

    pub(super) fn put_back(&mut self, place: Place, instance: Box<Instance>) {
        match place {
            Place::Present => self.instance = Some(instance),
            Place::Beside => self.beside = Some(instance),
        }
    }
}
