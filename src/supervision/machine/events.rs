//! What happened, and commands by hand: each changes goals; [`Machine::orders`] follows.

use std::time::Duration;

use crate::types::policy::{AutoShutdown, OnLimit, Restart, Strategy};

use super::{Boot, Cause, End, Ended, Goal, Life, Machine, Refusal, Report, State, Why};
use crate::supervision::{backoff, strategy};

/// Who goes down and up with a child that is restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Along {
    /// Whom the strategy names. A restart that fails takes them along again, as in OTP: of a `one_for_all` also those that were
    /// already back.
    Group,
    /// A first start failed: nobody ever ran beside it. Those queued after it still wait for it.
    Nobody,
}

impl Machine {
    /// Starts all children that rest, in order. Revives a supervisor that has ended.
    ///
    /// # Errors
    /// [`Refusal::ShuttingDown`] until a shutdown is over.
    pub fn boot(&mut self) -> Result<(), Refusal> {
        self.boot_children(&self.order.clone())
    }

    /// Starts those of these children that rest, in start order; one that was told to stop and still runs goes down first.
    /// Revives a supervisor that has ended.
    ///
    /// # Errors
    /// [`Refusal::ShuttingDown`] until a shutdown is over.
    pub fn boot_children(&mut self, slots: &[usize]) -> Result<(), Refusal> {
        self.revive()?;
        for slot in slots {
            let Ok(child) = self.known(*slot) else { continue };
            if matches!(child.goal, Goal::Rest(_)) {
                child.run_afresh(Cause::Boot);
                child.recycle = child.runs();
                child.planned = true;
            }
        }
        Ok(())
    }

    /// Takes a child that runs down and up again on its own, as something it needs goes: counts nothing. Says whether it will.
    pub fn recycle(&mut self, slot: usize) -> bool {
        let Ok(child) = self.known(slot) else { return false };
        let will = child.runs() && !child.needs_stop();
        child.recycle |= will;
        will
    }

    /// The child runs already: after a crash of cafe. It is up without an order.
    ///
    /// # Errors
    /// [`Refusal::Running`] unless it was down, [`Refusal::Unknown`], [`Refusal::ShuttingDown`].
    pub fn adopt(&mut self, slot: usize, now: Duration) -> Result<(), Refusal> {
        if self.known(slot)?.life != Life::Down {
            return Err(Refusal::Running);
        }
        self.revive()?;
        let child = self.known(slot)?;
        child.run_afresh(Cause::Restart);
        child.life = Life::Up { since: now };
        child.planned = false;
        Ok(())
    }

    /// Starts a child by hand, at once: a waiting backoff is cancelled, the restart window and the attempts are cleared.
    ///
    /// A child on its way down comes up again when it is gone. A supervisor that has ended is revived, for this child only.
    ///
    /// # Errors
    /// [`Refusal::Running`], [`Refusal::Unknown`], [`Refusal::ShuttingDown`].
    pub fn start_child(&mut self, slot: usize) -> Result<(), Refusal> {
        let child = self.known(slot)?;
        if child.runs() && !child.needs_stop() {
            return Err(Refusal::Running);
        }
        self.revive()?;
        let child = self.known(slot)?;
        child.recycle = child.runs();
        let rested = matches!(child.goal, Goal::Rest(_));
        let cause = if rested { Cause::Hand } else { child.cause };
        child.run_afresh(cause);
        if child.planned {
            self.hurry_plan();
        }
        self.window.clear();
        Ok(())
    }

    /// Stops a child by hand: counts nothing, cancels a backoff or a start in flight. Does nothing to one that rests.
    ///
    /// # Errors
    /// [`Refusal::Unknown`].
    pub fn stop_child(&mut self, slot: usize) -> Result<(), Refusal> {
        let child = self.known(slot)?;
        if child.goal == Goal::Run {
            child.rest(Why::ByHand);
            child.attempt = 0;
        }
        Ok(())
    }

    /// Stops a child that is to be removed: no restart of its group takes it along, and its end means nothing to them.
    pub fn let_go(&mut self, slot: usize) {
        let Ok(child) = self.known(slot) else { return };
        child.spec.restart = Restart::Temporary;
        child.spec.significant = false;
        let _ = self.stop_child(slot);
    }

    /// Stops all children for good, in reverse order.
    pub fn shutdown(&mut self) {
        self.end(Ended::Shutdown);
    }

    /// Answer to [`super::Order::Start`]: the child is up (ready).
    pub fn started(&mut self, slot: usize, now: Duration) {
        let Ok(child) = self.known(slot) else { return };
        if child.life != Life::Starting {
            return;
        }
        child.life = Life::Up { since: now };
        child.cause = Cause::Restart;
        child.planned &= child.needs_stop();
    }

    /// Answer to [`super::Order::Start`]: it did not come up.
    pub fn start_failed(&mut self, slot: usize, now: Duration) {
        let Ok(child) = self.known(slot) else { return };
        if child.life != Life::Starting || child.needs_stop() {
            return self.ended(slot, End::Abnormal, now);
        }
        match (child.cause, self.spec.boot) {
            (Cause::Restart, _) => self.failed(slot, End::Abnormal, now, Along::Group),
            (Cause::Boot | Cause::Hand, Boot::Retry) => {
                self.failed(slot, End::Abnormal, now, Along::Nobody);
            }
            (Cause::Hand, Boot::Undo) => {
                self.gone(slot);
                self.rest(slot, Why::StartFailed);
            }
            (Cause::Boot, Boot::Undo) => {
                self.gone(slot);
                self.rest(slot, Why::StartFailed);
                self.end_because(slot, Ended::BootFailed { slot });
            }
        }
    }

    /// Answer to [`super::Order::Start`]: it has nothing to do (OTP `ignore`) and rests; nothing is counted.
    pub fn ignored(&mut self, slot: usize) {
        let Ok(child) = self.known(slot) else { return };
        if child.life != Life::Starting {
            return;
        }
        let again = child.needs_stop();
        self.gone(slot);
        if !again {
            self.rest(slot, Why::Ignored);
        }
    }

    /// The child is gone: by itself, or as the answer to [`super::Order::Stop`].
    pub fn ended(&mut self, slot: usize, how: End, now: Duration) {
        let Ok(child) = self.known(slot) else { return };
        match child.life {
            Life::Down => {}
            Life::Stopping => self.gone(slot),
            Life::Starting | Life::Up { .. } if child.needs_stop() => self.gone(slot),
            Life::Starting => self.start_failed(slot, now),
            Life::Up { since } => {
                if backoff::is_reset(&child.spec.backoff, now.saturating_sub(since)) {
                    child.attempt = 0;
                }
                self.failed(slot, how, now, Along::Group);
            }
        }
    }

    /// It went down as wanted.
    fn gone(&mut self, slot: usize) {
        let Ok(child) = self.known(slot) else { return };
        child.life = Life::Down;
        child.recycle = false;
        child.planned &= child.goal == Goal::Run;
    }

    fn rest(&mut self, slot: usize, why: Why) {
        if let Ok(child) = self.known(slot) {
            child.rest(why);
        }
    }

    /// It went down by itself: by its restart type it is restarted or left.
    fn failed(&mut self, slot: usize, how: End, now: Duration, along: Along) {
        self.gone(slot);
        let Some(child) = self.get(slot) else { return };
        let again = match child.spec.restart {
            Restart::Permanent => true,
            Restart::Transient => how == End::Abnormal,
            Restart::Temporary => false,
        };
        if again {
            return self.restart(slot, now, along);
        }
        let significant = child.spec.significant;
        self.rest(slot, Why::Ended(how));
        if significant && self.ends_with_significant() {
            self.end_because(slot, Ended::AutoShutdown { slot });
        }
    }

    fn ends_with_significant(&self) -> bool {
        match self.spec.auto_shutdown {
            AutoShutdown::Never => false,
            AutoShutdown::AnySignificant => true,
            AutoShutdown::AllSignificant => {
                let active = |child: &super::Child| child.spec.significant && child.is_active();
                !self.children.iter().flatten().any(active)
            }
        }
    }

    /// Counts a restart, then takes down and up again whom the strategy names.
    fn restart(&mut self, slot: usize, now: Duration, along: Along) {
        let limit = self.spec.intensity;
        let over = self.window.count(&limit, now);
        if over && limit.then == OnLimit::GiveUp {
            self.rest(slot, Why::GaveUp);
            let because = Ended::GaveUp { restarts: limit.restarts, within: limit.within };
            return self.end_because(slot, because);
        }
        let pulled_down = match along {
            Along::Group => self.pull_down_siblings(slot),
            Along::Nobody => Vec::new(),
        };
        let in_group = self.spec.strategy != Strategy::OneForOne;
        let random = &mut self.random;
        let Some(child) = self.children[slot].as_mut() else { return };
        let delay = match over {
            true => child.spec.backoff.max,
            false => backoff::delay(&child.spec.backoff, child.attempt, random),
        };
        child.attempt = child.attempt.saturating_add(1);
        child.until = (!delay.is_zero()).then(|| now.saturating_add(delay));
        child.held = over;
        child.planned = in_group;
        let attempt = child.attempt;
        self.report(Report::Restarting { slot, attempt, delay, held: over, pulled_down });
    }

    /// Siblings that go down and up with this child join the plan; gives those that were running.
    fn pull_down_siblings(&mut self, slot: usize) -> Vec<usize> {
        let position = self.order.iter().position(|other| *other == slot).unwrap_or(usize::MAX);
        let group = strategy::affected(self.spec.strategy, &self.order, position).to_vec();
        let mut pulled_down = Vec::new();
        for other in group.into_iter().filter(|other| *other != slot) {
            let Ok(child) = self.known(other) else { continue };
            if child.runs() && !child.needs_stop() {
                pulled_down.push(other);
            }
            child.join_restart();
        }
        pulled_down
    }

    /// A start by hand of one member: the plan waits no longer.
    fn hurry_plan(&mut self) {
        for child in self.children.iter_mut().flatten().filter(|child| child.planned) {
            child.until = None;
            child.held = false;
        }
    }

    fn end_because(&mut self, slot: usize, because: Ended) {
        self.report(Report::Ending { slot, because });
        self.end(because);
    }

    fn end(&mut self, because: Ended) {
        if self.state != State::Running {
            return;
        }
        self.state = State::ShuttingDown;
        self.because = because;
        for child in self.children.iter_mut().flatten() {
            child.planned = child.life != Life::Down;
            if child.goal == Goal::Run {
                child.rest(Why::WithGroup);
            }
        }
    }

    fn revive(&mut self) -> Result<(), Refusal> {
        if self.state == State::ShuttingDown {
            return Err(Refusal::ShuttingDown);
        }
        if self.state != State::Running {
            self.window.clear();
        }
        self.state = State::Running;
        Ok(())
    }
}
