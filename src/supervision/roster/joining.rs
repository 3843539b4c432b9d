//! Who is in the roster: members and scopes come, change and leave.

use super::super::machine::{Machine, Phase, Spec};
use super::member::{Level, Member, Scope};
use super::{Command, MemberId, MemberSpec, Roster, ScopeId};
use crate::types::name::Name;

impl Roster {
    /// Adds an empty scope; members are started by [`Self::boot_scope`], [`Self::boot_members`] or by hand.
    pub fn add_scope(&mut self, group: Option<Name>, spec: Spec) -> ScopeId {
        let id = self.next_scope;
        self.next_scope += 1;
        if let Some(name) = &group {
            self.by_group.insert(name.clone(), id);
        }
        self.scopes.insert(id, Box::new(Scope::new(Machine::new(spec), group)));
        id
    }

    /// Adds a member at the end of a scope, at rest.
    ///
    /// # Panics
    /// When there is no such scope.
    pub fn add_member(&mut self, scope_id: ScopeId, spec: MemberSpec) -> MemberId {
        let id = self.next_member;
        self.next_member += 1;
        let scope =
            self.scopes.get_mut(&scope_id).expect("the caller holds the id of a live scope");
        let slot = scope.machine.add(spec.child);
        if scope.members.len() <= slot {
            // Most scopes have one member for ever.
            scope.members.reserve_exact(1);
            scope.members.resize(slot + 1, None);
        }
        scope.members[slot] = Some(id);
        self.by_name.insert(spec.name.clone(), id);
        self.members.insert(id, Box::new(Member::new(spec, scope_id, slot)));
        self.dirty.insert(scope_id);
        id
    }

    /// Takes over new policy and dependencies of a member that stays, without touching what runs; [`Self::connect`]
    /// follows.
    pub fn update_member(&mut self, id: MemberId, spec: MemberSpec) {
        let Some(member) = self.members.get_mut(&id).filter(|member| !member.retiring) else {
            return;
        };
        member.after = spec.after;
        member.requires = spec.requires;
        member.completes = spec.completes;
        // The slot of a live member is known to its machine.
        let _ = self.with_machine(id, |machine, slot| machine.update_child(slot, spec.child));
    }

    /// Changes how many members may start at once.
    pub fn set_parallel_starts(&mut self, count: usize) {
        self.parallel_starts = count.max(1);
    }

    /// Gives the members of a scope this start order.
    pub fn reorder(&mut self, id: ScopeId, names: &[Name]) {
        let members = names.iter().filter_map(|name| self.members.get(&self.find(name.as_str())?));
        let slots: Vec<usize> =
            members.filter(|member| member.scope == id).map(|member| member.slot).collect();
        if let Some(scope) = self.scopes.get_mut(&id) {
            scope.machine.reorder(&slots);
            self.dirty.insert(id);
        }
    }

    /// Takes over a new policy of a scope without touching what runs.
    pub fn update_scope(&mut self, id: ScopeId, spec: Spec) {
        if let Some(scope) = self.scopes.get_mut(&id) {
            scope.machine.update(spec);
            self.dirty.insert(id);
        }
    }

    /// Forgets a group, now or when its last member has left.
    pub fn remove_group(&mut self, id: ScopeId) {
        if let Some(group) = self.scopes.get_mut(&id).and_then(|scope| scope.group.take())
            && self.by_group.get(&group) == Some(&id)
        {
            self.by_group.remove(&group);
        }
        self.drop_if_empty(id);
    }

    /// Stops a member, and what requires it, and forgets it once nothing is left; answered by
    /// [`Command::Retired`]. Until then its name finds it, and commands by hand are refused.
    pub fn retire(&mut self, id: MemberId) {
        let Some(member) = self.members.get_mut(&id) else { return };
        member.retiring = true;
        self.boot_no_more(id);
        self.with_machine(id, |machine, slot| machine.let_go(slot));
    }

    /// Recomputes who depends on whom; call after members were added, updated or retired.
    pub fn connect(&mut self) {
        let mut edges = Vec::with_capacity(self.members.len());
        for (id, member) in &mut self.members {
            member.dependents.clear();
            let names = member.after.iter().chain(&member.requires);
            let mut needs: Vec<MemberId> =
                names.filter_map(|name| self.by_name.get(name).copied()).collect();
            needs.sort_unstable();
            needs.dedup();
            edges.extend(needs.iter().map(|need| (*need, *id)));
            member.needs = needs;
        }
        for (need, dependent) in edges {
            if let Some(needed) = self.members.get_mut(&need) {
                needed.dependents.push(dependent);
            }
        }
        let gated = self.members.iter().filter(|(_, member)| member.level == Level::Gated);
        for id in gated.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.recheck(id);
        }
        self.may_leave.clone_from(&self.leaving);
    }

    /// Lets go of a retiring member that is down.
    pub(super) fn finish_retired(&mut self, id: MemberId) {
        let Some(member) = self.members.get(&id) else { return };
        let idle = matches!(self.child_phase(id), Some(Phase::Idle { .. }));
        if !member.retiring || member.level != Level::Down || !idle {
            return;
        }
        let Some(member) = self.members.remove(&id) else { return };
        if self.by_name.get(&member.name) == Some(&id) {
            self.by_name.remove(&member.name);
        }
        if let Some(scope) = self.scopes.get_mut(&member.scope) {
            // Idle, so the machine lets it go.
            let _ = scope.machine.remove(member.slot);
            scope.members[member.slot] = None;
            self.dirty.insert(member.scope);
        }
        self.drop_if_empty(member.scope);
        for dependent in member.dependents {
            self.recheck(dependent);
        }
        self.touched.remove(&id);
        self.commands.push(Command::Retired(id));
    }

    /// A scope that is no configured group lives as long as it has members.
    fn drop_if_empty(&mut self, id: ScopeId) {
        let Some(scope) = self.scopes.get(&id) else { return };
        if scope.group.is_some() || scope.members.iter().any(Option::is_some) {
            return;
        }
        if let Some(at) = scope.deadline {
            self.deadlines.remove(&(at, id));
        }
        self.dirty.remove(&id);
        self.scopes.remove(&id);
    }
}
