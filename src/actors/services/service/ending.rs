//! The end of an incarnation: asked for or not, until nothing of it is left and its supervisor knows.

use std::sync::Arc;
use std::time::Duration;

use ractor::ActorRef;
use tokio::time::Instant;

use super::super::report::{EndedHow, Report};
use super::instance::{Instance, Phase};
use super::overlap::Place;
use super::{Msg, State};
use crate::config;
use crate::os::pidfd::Exit;
use crate::os::process::Child;
use crate::supervision::task;
use crate::types::error::chain;
use crate::types::exit::{Cause, PostMortem};

impl State {
    /// Ends whatever there is by order of the supervisor.
    pub(super) fn stop(&mut self, myself: &ActorRef<Msg>, trigger: String) {
        let was_armed = self.armed.take().is_some();
        self.run_owed = false;
        let generations = self.generations();
        if generations.is_empty() && was_armed {
            self.report(Report::Disarmed);
        }
        // If there is nothing it ended meanwhile: its report is on its way and answers this order.
        for generation in generations {
            if let Some(instance) = self.find(generation) {
                instance.ordered = true;
            }
            self.end(myself, generation, trigger.clone());
        }
    }

    /// Ends the incarnation for a reason; `exited` or `cleared` follow.
    pub(super) fn end(&mut self, myself: &ActorRef<Msg>, generation: u64, trigger: String) {
        let Some(instance) = self.find(generation) else { return };
        if matches!(instance.phase, Phase::Stopping | Phase::Clearing) {
            return;
        }
        instance.trigger.get_or_insert(trigger);
        let spawning = instance.phase == Phase::Spawning;
        instance.phase = Phase::Stopping;
        instance.checks.clear();
        instance.watchdog = None;
        if !spawning {
            self.send_stop(myself, generation);
        }
    }

    pub(super) fn send_stop(&mut self, myself: &ActorRef<Msg>, generation: u64) {
        let (stop, timeout, name) = (self.config.stop, self.stop_timeout(), self.name.clone());
        let Some(instance) = self.find(generation) else { return };
        instance.stop_began = Some(Instant::now());
        if let Some(family) = &instance.family
            && let Err(error) = family.signal_group(stop.signal)
        {
            tracing::error!(service = %name, error = chain(&error), "stop signal not sent");
        }
        if let (Some(child), Some(family)) = (&instance.child, &instance.family)
            && child.pid() != family.main
        {
            // A main process that it named itself may have left the group.
            let _ = child.signal(stop.signal);
        }
        if self.is_current(generation) {
            self.report(Report::Stopping);
        }
        self.set_stop_deadline(myself, generation, timeout);
    }

    /// How long a stop may take.
    fn stop_timeout(&self) -> Duration {
        if self.hurried { Duration::ZERO } else { self.config.stop.timeout }
    }

    /// Whatever ends has no more time, and neither has what will be told to.
    pub(super) fn hurry(&mut self, myself: &ActorRef<Msg>) {
        self.hurried = true;
        for generation in self.generations() {
            match self.find(generation).map(|instance| (instance.phase, &instance.exit)) {
                Some((Phase::Stopping, _)) => {
                    self.set_stop_deadline(myself, generation, Duration::ZERO);
                }
                Some((Phase::Clearing, Some(_))) => {
                    self.clear(myself, generation, Duration::ZERO);
                }
                _ => {}
            }
        }
    }

    pub(super) fn set_stop_deadline(
        &mut self,
        myself: &ActorRef<Msg>,
        generation: u64,
        timeout: Duration,
    ) {
        let Some(instance) = self.find(generation) else { return };
        let myself = myself.clone();
        instance.due = Some(Instant::now() + timeout);
        instance.deadline = Some(task::spawn("stop deadline", async move {
            tokio::time::sleep(timeout).await;
            let _ = myself.cast(Msg::StopExpired { generation });
        }));
    }

    /// The stop took too long: everything is killed.
    pub(super) fn stop_expired(&mut self, myself: &ActorRef<Msg>, generation: u64) {
        let late = match self.hurried {
            true => "; killed, as cafe itself was out of time".to_owned(),
            false => {
                let timeout = crate::types::unit::show_duration(self.config.stop.timeout);
                format!("; still there after {timeout}, killed")
            }
        };
        let Some(instance) = self.find(generation) else { return };
        match instance.phase {
            Phase::Stopping => {
                instance.trigger.get_or_insert_default().push_str(&late);
                self.clear(myself, generation, Duration::ZERO);
            }
            // What is left has its own deadline.
            Phase::Clearing | Phase::Spawning | Phase::Starting | Phase::Up => {}
        }
    }

    // ---- the end ----

    pub(super) fn exited(
        &mut self,
        myself: &ActorRef<Msg>,
        generation: u64,
        child: &Arc<Child>,
        exit: Box<Exit>,
    ) {
        let (timeout, context) = (self.stop_timeout(), self.context.clone());
        let Some(instance) = self.find_of(generation, child) else { return };
        instance.exit = Some(exit);
        instance.phase = Phase::Clearing;
        instance.checks.clear();
        instance.hearing.clear();
        instance.asked = 0;
        instance.ear = None;
        instance.notify = None;
        instance.watchdog = None;
        instance.inquiry = None;
        instance.watch = None;
        (instance.deadline, instance.due) = (None, None);
        // What it leaves behind gets the rest of the time that a stop has.
        let spent = instance.stop_began.map_or(Duration::ZERO, |began| began.elapsed());
        // The cheap look.
        if context.certainly_clear(&instance.seat) {
            return self.finish(myself, generation, 0);
        }
        self.clear(myself, generation, timeout.saturating_sub(spent));
    }

    /// Another image of cafe has begun to end what is left.
    pub(super) fn clear_again(&mut self, myself: &ActorRef<Msg>, generation: u64) {
        let timeout = self.stop_timeout();
        let began = self.find(generation).and_then(|instance| instance.stop_began);
        let spent = began.map_or(Duration::ZERO, |began| began.elapsed());
        self.clear(myself, generation, timeout.saturating_sub(spent));
    }

    /// Ends what is left: asks, waits for `grace`, kills, and looks until nothing is there.
    pub(super) fn clear(&mut self, myself: &ActorRef<Msg>, generation: u64, grace: Duration) {
        let (context, signal) = (self.context.clone(), self.config.stop.signal);
        let Some(instance) = self.find(generation) else { return };
        let Some(family) = instance.family.clone() else { return };
        let (asked, found) = (instance.stop_began.is_some(), instance.found);
        let (seat, myself) = (instance.seat.clone(), myself.clone());
        instance.due = None;
        instance.deadline = Some(task::spawn("clear", async move {
            let mut left_behind = context.clear(&seat, &family, signal, asked, grace).await;
            if found {
                left_behind += context.kill_strays(&seat).await;
            }
            let _ = myself.cast(Msg::Cleared { generation, left_behind });
        }));
    }

    pub(super) fn cleared(&mut self, myself: &ActorRef<Msg>, generation: u64, left_behind: usize) {
        let Some(instance) = self.find(generation) else { return };
        if instance.exit.is_none() {
            // Killed while it was stopping: the exit of the main process is on its way.
            return;
        }
        self.finish(myself, generation, left_behind);
    }

    fn finish(&mut self, myself: &ActorRef<Msg>, generation: u64, left_behind: usize) {
        let Some((place, mut instance)) = self.take_out(generation) else { return };
        let mut cause = instance.exit.as_ref().map_or(Cause::Unknown, |exit| exit.cause);
        if self.context.oom_kills(&instance.seat) > instance.oom_kills_before
            && matches!(cause, Cause::Signal { signal: 9, .. })
            && instance.trigger.is_none()
        {
            cause = Cause::OutOfMemory;
        }
        instance.left_behind = left_behind;
        self.context.journal.ended(&instance.seat, instance.generation);
        let post_mortem = instance.post_mortem(cause);
        self.conclude(myself, place, &instance, post_mortem);
    }

    /// Tells the supervisor, in the words its machine understands, and starts what is owed.
    pub(super) fn conclude(
        &mut self,
        myself: &ActorRef<Msg>,
        place: Place,
        instance: &Instance,
        post_mortem: PostMortem,
    ) {
        let how = self.how(instance, &post_mortem);
        self.report_end(place, instance, how, post_mortem);
        self.reporter.last_lines(&self.context, &self.name, instance.generation);
        if std::mem::take(&mut self.run_owed) {
            self.launch(myself);
        }
    }

    fn how(&self, instance: &Instance, post_mortem: &PostMortem) -> EndedHow {
        let normal =
            post_mortem.cause.is_normal() && (instance.ordered || instance.trigger.is_none());
        match self.config.kind {
            config::Kind::Timer { .. } if !instance.ordered => EndedHow::Run,
            config::Kind::Oneshot if post_mortem.cause != Cause::NotStarted => {
                EndedHow::Ended { normal }
            }
            _ if instance.ordered || instance.was_up || instance.stands_in => {
                EndedHow::Ended { normal }
            }
            _ => EndedHow::NeverUp,
        }
    }
}
