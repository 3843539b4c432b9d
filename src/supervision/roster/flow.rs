//! From machines to commands: what follows from every event and command.

use std::collections::BTreeSet;
use std::time::Duration;

use super::super::machine::{Report, State};
use super::member::Standing;
use super::{Cause, Command, MemberId, Notice, Roster, ScopeId};

impl Roster {
    /// What the driver must do now. Call after every event, and when [`Self::deadline`] has come.
    pub fn commands(&mut self, now: Duration) -> Vec<Command> {
        self.wake(now);
        while let Some(id) = self.dirty.pop_first() {
            self.collect_orders(id, now);
        }
        self.release_stops();
        self.release_starts();
        std::mem::take(&mut self.commands)
    }

    /// When [`Self::commands`] must be called next, without an event before.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// What happened since the last call; to be called after [`Self::commands`].
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// Members whose phase or wait changed since the last call: those to show anew.
    pub fn take_touched(&mut self) -> BTreeSet<MemberId> {
        std::mem::take(&mut self.touched)
    }

    // ---- inside ----

    fn wake(&mut self, now: Duration) {
        while let Some(&(at, id)) = self.deadlines.first().filter(|(at, _)| *at <= now) {
            self.deadlines.remove(&(at, id));
            self.dirty.insert(id);
            if let Some(scope) = self.scopes.get_mut(&id) {
                scope.deadline = None;
            }
        }
    }

    fn collect_orders(&mut self, id: ScopeId, now: Duration) {
        let Some(scope) = self.scopes.get_mut(&id) else { return };
        let orders = scope.machine.orders(now);
        let reports = scope.machine.drain_reports();
        let deadline = scope.machine.deadline();
        if scope.deadline != deadline {
            if let Some(at) = std::mem::replace(&mut scope.deadline, deadline) {
                self.deadlines.remove(&(at, id));
            }
            self.deadlines.extend(deadline.map(|at| (at, id)));
        }
        for report in reports {
            self.note(id, report);
        }
        for order in orders {
            self.gate_order(id, order);
        }
        for member in self.members_of(id) {
            self.look_at(member);
        }
        self.boot_again(id);
    }

    /// A report of a machine, by members instead of slots.
    fn note(&mut self, id: ScopeId, report: Report) {
        let Some(scope) = self.scopes.get(&id) else { return };
        match report {
            Report::Restarting { slot, held, pulled_down, .. } => {
                let Some(failed) = scope.member(slot) else { return };
                let pulled = pulled_down.into_iter().filter_map(|slot| scope.member(slot));
                let cause = Cause::Sibling(failed);
                self.notices.extend(pulled.map(|member| Notice::PulledDown { member, cause }));
                if held {
                    self.notices.push(Notice::Held { member: failed });
                }
            }
            Report::Ending { slot, because } => {
                let Some(member) = scope.member(slot) else { return };
                let group = scope.group.clone();
                self.notices.push(Notice::Ending { group, member, because });
            }
        }
    }

    /// What changed of a member, and what that means to those that depend on it.
    fn look_at(&mut self, id: MemberId) {
        self.withdraw_if_unwanted(id);
        let seen = (self.child_phase(id), self.standing(id));
        let Some(member) = self.members.get_mut(&id) else { return };
        let before = std::mem::replace(&mut member.seen, seen);
        if before.0 != seen.0 {
            self.touched.insert(id);
        }
        if before.1 != seen.1 {
            for dependent in member.dependents.clone() {
                self.recheck(dependent);
            }
            if seen.1 == Standing::Down {
                self.pull_down(id);
            }
        }
        self.finish_retired(id);
    }

    /// A scope that was to be started while it was shutting down.
    fn boot_again(&mut self, id: ScopeId) {
        let Some(scope) = self.scopes.get_mut(&id) else { return };
        if !scope.again.is_empty() && matches!(scope.machine.phase(), State::Ended(_)) {
            let members: Vec<MemberId> = std::mem::take(&mut scope.again).into_iter().collect();
            self.boot_members(id, &members);
        }
    }
}
