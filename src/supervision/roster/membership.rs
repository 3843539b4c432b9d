//! Who is in the roster: scopes and members come, change and go; who depends on whom. Starts and stops nothing.

use super::{Command, Level, Member, MemberId, MemberSpec, Roster, Scope, ScopeId};
use crate::supervision::machine::{Machine, Spec};
use crate::types::name::Name;

impl Roster {
    /// Adds an empty scope; members are started by [`Self::boot_scope`] or by hand.
    pub fn add_scope(&mut self, group: Option<Name>, spec: Spec) -> ScopeId {
        let id = vacant(&mut self.scopes);
        if let Some(name) = &group {
            self.by_group.insert(name.clone(), id);
        }
        self.scopes[id] = Some(Scope { machine: Machine::new(spec), members: Vec::new(), group });
        id
    }

    /// Adds a member at the end of a scope.
    pub fn add_member(&mut self, scope_id: ScopeId, spec: MemberSpec) -> MemberId {
        let id = vacant(&mut self.members);
        let scope =
            self.scopes[scope_id].as_mut().expect("the caller holds the id of a live scope");
        let slot = scope.machine.add(spec.child);
        if scope.members.len() <= slot {
            scope.members.resize(slot + 1, None);
        }
        scope.members[slot] = Some(id);
        self.by_name.insert(spec.name.clone(), id);
        self.members[id] = Some(Member {
            name: spec.name,
            scope: scope_id,
            slot,
            level: Level::Down,
            phase: None,
            waits: None,
            permit: false,
            completes: spec.completes,
            completed: false,
            retiring: false,
            after: spec.after,
            requires: spec.requires,
            dependents: Vec::new(),
        });
        id
    }

    /// Takes over new policy and dependencies of a member without touching what runs.
    pub fn update_member(&mut self, id: MemberId, spec: MemberSpec) {
        let Some(member) = self.members[id].as_mut() else { return };
        member.after = spec.after;
        member.requires = spec.requires;
        member.completes = spec.completes;
        let (scope_id, slot) = (member.scope, member.slot);
        if let Some(scope) = self.scopes[scope_id].as_mut() {
            // The slot of a live member is known to its machine.
            let _ = scope.machine.update_child(slot, spec.child);
        }
        self.dirty.insert(scope_id);
    }

    /// Changes how many members may start at once.
    pub fn set_parallel_starts(&mut self, count: usize) {
        self.parallel_starts = count.max(1);
    }

    /// Whether a scope is a configured group.
    #[must_use]
    pub fn is_group(&self, id: ScopeId) -> bool {
        self.scopes.get(id).and_then(Option::as_ref).is_some_and(|scope| scope.group.is_some())
    }

    /// Gives the members of a scope this start order.
    pub fn reorder(&mut self, id: ScopeId, names: &[Name]) {
        let members =
            names.iter().filter_map(|name| self.members[self.find(name.as_str())?].as_ref());
        let slots: Vec<usize> =
            members.filter(|member| member.scope == id).map(|member| member.slot).collect();
        if let Some(scope) = self.scopes[id].as_mut() {
            scope.machine.reorder(&slots);
        }
    }

    /// Takes over a new policy of a scope without touching what runs.
    pub fn update_scope(&mut self, id: ScopeId, spec: Spec) {
        if let Some(scope) = self.scopes[id].as_mut() {
            scope.machine.update(spec);
            self.dirty.insert(id);
        }
    }

    /// Stops a member and forgets it once nothing is left; answered by [`Command::Retired`].
    pub fn retire(&mut self, id: MemberId) {
        if let Some(member) = self.members[id].as_mut() {
            member.retiring = true;
            let _ = self.stop(id);
            self.finish_retired(id);
        }
    }

    /// Recomputes who depends on whom; call after members were added, updated or retired.
    pub fn connect(&mut self) {
        for member in self.members.iter_mut().flatten() {
            member.dependents.clear();
        }
        for id in 0..self.members.len() {
            let Some(member) = &self.members[id] else { continue };
            let needs: Vec<MemberId> = member
                .after
                .iter()
                .chain(&member.requires)
                .filter_map(|name| self.by_name.get(name).copied())
                .collect();
            for need in needs {
                if let Some(needed) = self.members[need].as_mut()
                    && !needed.dependents.contains(&id)
                {
                    needed.dependents.push(id);
                }
            }
        }
        self.recheck_all();
    }

    /// The member of that name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<MemberId> {
        self.by_name.get(name).copied()
    }

    /// The scope of the group of that name.
    #[must_use]
    pub fn find_group(&self, name: &str) -> Option<ScopeId> {
        self.by_group.get(name).copied()
    }

    /// The members of a scope, in the order they were added.
    #[must_use]
    pub fn members_of(&self, scope: ScopeId) -> Vec<MemberId> {
        let scope = self.scopes.get(scope).and_then(Option::as_ref);
        scope.map(|scope| scope.members.iter().copied().flatten().collect()).unwrap_or_default()
    }

    /// The scope a member belongs to.
    #[must_use]
    pub fn scope_of(&self, id: MemberId) -> Option<ScopeId> {
        self.members.get(id)?.as_ref().map(|member| member.scope)
    }

    // ---- inside ----

    /// Forgets a member that was to go, once nothing of it is left.
    pub(super) fn finish_retired(&mut self, id: MemberId) {
        let done = self.members[id]
            .as_ref()
            .is_some_and(|member| member.retiring && member.level == Level::Down);
        if !done {
            return;
        }
        let Some(member) = self.members[id].take() else { return };
        self.by_name.remove(&member.name);
        if let Some(scope) = self.scopes[member.scope].as_mut() {
            // Down and at rest: its stop was ordered when it was retired.
            let _ = scope.machine.remove(member.slot);
            scope.members[member.slot] = None;
        }
        self.drop_if_empty(member.scope);
        self.commands.push(Command::Retired(id));
    }

    /// A scope that is no configured group lives as long as it has members.
    pub(super) fn drop_if_empty(&mut self, id: ScopeId) {
        let empty = self.scopes[id].as_ref().is_some_and(|scope| {
            scope.group.is_none() && scope.members.iter().all(Option::is_none)
        });
        if empty {
            self.scopes[id] = None;
        }
    }
}

/// The first free index of a list with gaps.
fn vacant<T>(list: &mut Vec<Option<T>>) -> usize {
    if let Some(gap) = list.iter().position(Option::is_none) {
        return gap;
    }
    list.push(None);
    list.len() - 1
}
