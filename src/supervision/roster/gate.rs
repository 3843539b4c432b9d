//! The gates of the roster: when an order of a machine may reach the driver.

use super::super::machine::{End, Order, Phase};
use super::{Cause, Command, Level, Member, MemberId, Notice, Roster, ScopeId};
use crate::types::name::Name;

/// What a gated start waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Waits {
    /// A requirement that is on its way.
    Requirement(Name),
    /// A requirement that is at rest: somebody must start it.
    MissingRequirement(Name),
    /// Another member has its turn before.
    Turn(Name),
    /// A start permit.
    Permit,
}

impl Roster {
    /// An order of a machine: into its gate, or answered at once where the driver has nothing to do.
    pub(super) fn gate_order(&mut self, scope: ScopeId, order: Order) {
        let (slot, start) = match order {
            Order::Start(slot) => (slot, true),
            Order::Stop(slot) => (slot, false),
        };
        let Some(id) = self.scopes[scope]
            .as_ref()
            .and_then(|scope| scope.members.get(slot).copied().flatten())
        else {
            return;
        };
        if start { self.gate_start(id) } else { self.gate_stop(id) }
    }

    fn gate_start(&mut self, id: MemberId) {
        let Some(member) = self.members[id].as_mut() else { return };
        member.level = Level::Gated;
        member.completed = false;
        self.blocked.insert(id);
        self.recheck(id);
    }

    fn gate_stop(&mut self, id: MemberId) {
        let Some(member) = self.members[id].as_mut() else { return };
        match member.level {
            // Never handed to the driver: its stop is complete.
            Level::Gated | Level::Down => {
                member.level = Level::Down;
                self.blocked.remove(&id);
                self.runnable.retain(|&runnable| runnable != id);
                self.with_machine(id, |machine, slot| {
                    // Nothing ran, so the time of the end is of no use to the machine.
                    machine.ended(slot, End::Normal, std::time::Duration::ZERO);
                });
                self.recheck_needs(id);
                self.recheck_dependents(id);
                self.finish_retired(id);
            }
            Level::Starting | Level::Up => {
                member.level = Level::Leaving;
                self.leaving.insert(id);
            }
            Level::Leaving | Level::Stopping => {}
        }
    }

    /// Lets stops through whose dependents are gone.
    pub(super) fn release_stops(&mut self) {
        let free: Vec<MemberId> =
            self.leaving.iter().copied().filter(|&id| !self.has_leaving_dependents(id)).collect();
        for id in free {
            self.leaving.remove(&id);
            if let Some(member) = self.members[id].as_mut() {
                member.level = Level::Stopping;
                self.commands.push(Command::Stop(id));
            }
        }
    }

    fn has_leaving_dependents(&self, id: MemberId) -> bool {
        let Some(member) = self.members[id].as_ref() else { return false };
        member.dependents.iter().filter_map(|&dependent| self.members[dependent].as_ref()).any(
            |dependent| {
                match dependent.level {
                    Level::Leaving | Level::Stopping => true,
                    // Its own scope has yet to tell it to stop.
                    Level::Starting | Level::Up => self.shutting_down,
                    Level::Down | Level::Gated => false,
                }
            },
        )
    }

    /// Lets starts through, first come first served, while there are permits.
    pub(super) fn release_starts(&mut self) {
        while self.permits_used < self.parallel_starts {
            let Some(id) = self.runnable.pop_front() else { return };
            let Some(member) = self.members[id].as_mut() else { continue };
            member.level = Level::Starting;
            member.permit = true;
            self.permits_used += 1;
            self.commands.push(Command::Start(id));
        }
    }

    /// What the start of a gated member waits for, a permit aside.
    pub(super) fn start_gate(&self, member: &Member) -> Option<Waits> {
        let known = |name: &Name| self.find(name.as_str()).map(|id| (name.clone(), id));
        for (name, id) in member.requires.iter().filter_map(known) {
            if self.is_up(id) {
                continue;
            }
            return Some(match self.is_on_its_way(id) {
                true => Waits::Requirement(name),
                false => Waits::MissingRequirement(name),
            });
        }
        let mut before = member.after.iter().filter_map(known);
        before
            .find(|(_, id)| !self.is_up(*id) && self.is_on_its_way(*id))
            .map(|(name, _)| Waits::Turn(name))
    }

    fn is_up(&self, id: MemberId) -> bool {
        self.members[id]
            .as_ref()
            .is_some_and(|member| member.level == Level::Up || member.completed)
    }

    /// Not up, but going to be without anybody's doing.
    fn is_on_its_way(&self, id: MemberId) -> bool {
        matches!(
            self.child_phase(id),
            Some(Phase::Backoff { .. } | Phase::Queued | Phase::Starting)
        )
    }

    /// At rest in a way that is no success: what requires it cannot run.
    pub(super) fn is_down_for_good(&self, id: MemberId) -> bool {
        let idle = matches!(self.child_phase(id), Some(Phase::Idle { .. }));
        let completed = self.members[id].as_ref().is_some_and(|member| member.completed);
        idle && !completed && !self.shutting_down
    }

    pub(super) fn recheck(&mut self, id: MemberId) {
        if !self.blocked.contains(&id) {
            return;
        }
        let Some(member) = self.members[id].as_ref() else { return };
        let waits = self.start_gate(member);
        if waits.is_none() {
            self.blocked.remove(&id);
            self.runnable.push_back(id);
        }
        if let Some(member) = self.members[id].as_mut()
            && member.waits != waits
        {
            member.waits = waits;
            self.touched.insert(id);
        }
    }

    pub(super) fn recheck_dependents(&mut self, id: MemberId) {
        let Some(member) = self.members[id].as_ref() else { return };
        for dependent in member.dependents.clone() {
            self.recheck(dependent);
        }
    }

    /// A member that went down may have held back the stop of what it needs; `release_stops` looks again.
    pub(super) fn recheck_needs(&mut self, id: MemberId) {
        if let Some(scope) = self.scope_of(id) {
            self.dirty.insert(scope);
        }
    }

    pub(super) fn recheck_all(&mut self) {
        for id in self.blocked.clone() {
            self.recheck(id);
        }
    }

    /// Starts what a member requires, as far as it is at rest, deepest first.
    pub(super) fn start_requirements(&mut self, id: MemberId) {
        let Some(member) = self.members[id].as_ref() else { return };
        let requires: Vec<MemberId> =
            member.requires.iter().filter_map(|name| self.find(name.as_str())).collect();
        for need in requires {
            let idle = matches!(self.child_phase(need), Some(Phase::Idle { .. }));
            if idle && !self.is_up(need) {
                // A scope that gave up refuses; the member then waits and says for whom.
                let _ = self.start(need);
            }
        }
    }

    /// Stops those that require a member, at any distance; each waits for its requirement's return.
    pub(super) fn pull_down(&mut self, id: MemberId) {
        if self.shutting_down {
            return;
        }
        let Some(member) = self.members[id].as_ref() else { return };
        let name = member.name.clone();
        for dependent in member.dependents.clone() {
            let Some(other) = self.members[dependent].as_ref() else { continue };
            let runs = matches!(other.level, Level::Starting | Level::Up);
            if !runs || !other.requires.contains(&name) {
                continue;
            }
            self.pull_down(dependent);
            let stopped = self.with_machine(dependent, |machine, slot| machine.stop_child(slot));
            if stopped == Some(Ok(())) {
                let cause = Cause::Requirement(id);
                self.notices.push(Notice::PulledDown { member: dependent, cause });
                let _ = self.with_machine(dependent, |machine, slot| machine.start_child(slot));
            }
        }
    }
}
