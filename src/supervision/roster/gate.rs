//! The gates of the roster: when an order of a machine may reach the driver.

use std::time::Duration;

use super::super::machine::{End, Order};
use super::member::{Level, Member, Standing};
use super::{Command, MemberId, Roster, ScopeId, Waits};
use crate::types::name::Name;

impl Roster {
    /// An order of a machine: into its gate, or answered at once where the driver has nothing to do.
    pub(super) fn gate_order(&mut self, scope: ScopeId, order: Order) {
        let Some(scope) = self.scopes.get(&scope) else { return };
        match order {
            Order::Start(slot) => scope.member(slot).map(|id| self.gate_start(id)),
            Order::Stop(slot) => scope.member(slot).map(|id| self.gate_stop(id)),
        };
    }

    fn gate_start(&mut self, id: MemberId) {
        if let Some(member) = self.members.get_mut(&id) {
            member.completed = false;
            self.set_level(id, Level::Gated);
            self.recheck(id);
        }
    }

    fn gate_stop(&mut self, id: MemberId) {
        match self.members.get(&id).map(|member| member.level) {
            Some(Level::Starting | Level::Up) => {
                self.set_level(id, Level::Leaving);
                self.leaving.insert(id);
                self.may_leave.insert(id);
            }
            Some(Level::Gated) => self.withdraw(id),
            Some(Level::Down | Level::Leaving | Level::Stopping) | None => {}
        }
    }

    /// A start that never reached the driver is undone at once, even if the stop has yet to have its turn.
    pub(super) fn withdraw_if_unwanted(&mut self, id: MemberId) {
        let Some((member, machine)) = self.look_up(id) else { return };
        if member.level == Level::Gated && machine.is_leaving(member.slot) {
            self.withdraw(id);
        }
    }

    fn withdraw(&mut self, id: MemberId) {
        let Some(member) = self.members.get_mut(&id) else { return };
        member.waits = None;
        if let Some(ticket) = member.ticket.take() {
            self.runnable.remove(&(ticket, id));
        }
        self.set_level(id, Level::Down);
        self.with_machine(id, |machine, slot| {
            // Nothing ran, so the time of the end is of no use to the machine.
            machine.ended(slot, End::Normal, Duration::ZERO);
        });
    }

    // ---- stops ----

    /// Lets stops through whose dependents are gone.
    pub(super) fn release_stops(&mut self) {
        for id in std::mem::take(&mut self.may_leave) {
            if self.leaving.contains(&id) && !self.has_leaving_dependents(id) {
                self.release_stop(id);
            }
        }
        // Nobody is on the way who could free the others: the edges of a config that goes and of the one that
        // comes make a circle, which is cut here. No stop waits for ever.
        if self.stopping == 0
            && let Some(first) = self.leaving.first().copied()
        {
            self.release_stop(first);
        }
    }

    fn release_stop(&mut self, id: MemberId) {
        self.leaving.remove(&id);
        self.set_level(id, Level::Stopping);
        self.commands.push(Command::Stop(id));
    }

    fn has_leaving_dependents(&self, id: MemberId) -> bool {
        let dependents = self.members.get(&id).into_iter().flat_map(|member| &member.dependents);
        dependents.into_iter().any(|dependent| self.is_on_its_way_down(*dependent))
    }

    // ---- starts ----

    /// Lets starts through, first come first served, while there are permits.
    pub(super) fn release_starts(&mut self) {
        while self.permits_used < self.parallel_starts {
            let Some((_, id)) = self.runnable.pop_first() else { return };
            let Some(member) = self.members.get_mut(&id) else { continue };
            (member.ticket, member.permit) = (None, true);
            self.permits_used += 1;
            self.set_level(id, Level::Starting);
            self.commands.push(Command::Start(id));
        }
    }

    /// Looks again at what a gated member waits for.
    pub(super) fn recheck(&mut self, id: MemberId) {
        let Some(member) = self.members.get(&id) else { return };
        if member.level != Level::Gated {
            return;
        }
        let waits = self.start_gate(member);
        let Some(member) = self.members.get_mut(&id) else { return };
        match (&waits, member.ticket) {
            (None, None) => {
                member.ticket = Some(self.next_ticket);
                self.runnable.insert((self.next_ticket, id));
                self.next_ticket += 1;
            }
            (Some(_), Some(ticket)) => {
                member.ticket = None;
                self.runnable.remove(&(ticket, id));
            }
            (None, Some(_)) | (Some(_), None) => {}
        }
        if member.waits != waits {
            member.waits = waits;
            self.touched.insert(id);
            // Whether it is coming may have changed with it, for those that wait for it.
            self.dirty.insert(member.scope);
        }
    }

    /// What the start of a member waits for, a permit aside. Judged by what was last seen of the others, as every
    /// change of that leads back here.
    fn start_gate(&self, member: &Member) -> Option<Waits> {
        let seen = |name: &Name| {
            let id = self.find(name.as_str())?;
            Some(self.members.get(&id)?.seen.1)
        };
        for name in &member.requires {
            match seen(name) {
                Some(Standing::Up) => {}
                Some(Standing::Coming) => return Some(Waits::Requirement(name.clone())),
                // Unknown for the moment in which another of its name takes its place.
                Some(Standing::Down) | None => {
                    return Some(Waits::MissingRequirement(name.clone()));
                }
            }
        }
        let turn = member.after.iter().find(|name| seen(name) == Some(Standing::Coming));
        turn.map(|name| Waits::Turn(name.clone()))
    }
}
