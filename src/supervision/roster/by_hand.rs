//! Commands by hand: start, stop, restart, of one member, a scope, or all.

use std::collections::BTreeSet;

use super::super::machine::Refusal;
use super::member::Standing;
use super::{Cause, MemberId, Notice, Roster, ScopeId};

impl Roster {
    /// Starts all members of a scope that rest, in order. A scope that is shutting down is started again once it
    /// has ended.
    pub fn boot_scope(&mut self, id: ScopeId) {
        let members = self.members_of(id);
        self.boot_members(id, &members);
    }

    /// Starts those of these members of a scope that rest, in the start order of the scope; as
    /// [`Self::boot_scope`] otherwise.
    pub fn boot_members(&mut self, id: ScopeId, members: &[MemberId]) {
        if self.shutting_down {
            return;
        }
        let known = members.iter().filter_map(|member| Some((*member, self.members.get(member)?)));
        let (members, slots): (Vec<MemberId>, Vec<usize>) = known
            .filter(|(_, member)| member.scope == id && !member.retiring)
            .map(|(id, member)| (id, member.slot))
            .unzip();
        let Some(scope) = self.scopes.get_mut(&id) else { return };
        if scope.machine.boot_children(&slots).is_err() {
            scope.again.extend(members);
        }
        self.dirty.insert(id);
    }

    /// Starts a member by hand, and what it requires at any distance, as far as that is at rest.
    ///
    /// # Errors
    /// As the machine of its scope refuses; [`Refusal::ShuttingDown`] when everything is,
    /// [`Refusal::Unknown`] for a member that leaves.
    pub fn start(&mut self, id: MemberId) -> Result<(), Refusal> {
        self.admit(id)?;
        let started = self.start_alone(id);
        if matches!(started, Ok(()) | Err(Refusal::Running)) {
            self.start_requirements(id);
        }
        started
    }

    /// Stops a member by hand; those that require it stop before it and wait for its return.
    ///
    /// # Errors
    /// [`Refusal::Unknown`].
    pub fn stop(&mut self, id: MemberId) -> Result<(), Refusal> {
        self.boot_no_more(id);
        self.with_machine(id, |machine, slot| machine.stop_child(slot))
            .unwrap_or(Err(Refusal::Unknown))
    }

    /// Stops and starts a member by hand; those that require it go and return with it.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn restart(&mut self, id: MemberId) -> Result<(), Refusal> {
        self.admit(id)?;
        self.pull_down(id);
        // A member at rest has nothing to stop, one on its way down comes up again.
        let _ = self.with_machine(id, |machine, slot| machine.stop_child(slot));
        self.start(id)
    }

    /// Stops all members of a group in reverse order, and first what requires them.
    pub fn stop_scope(&mut self, id: ScopeId) {
        let Some(scope) = self.scopes.get_mut(&id) else { return };
        scope.again.clear();
        scope.machine.shutdown();
        self.dirty.insert(id);
    }

    /// Stops all members of a group in reverse order, then starts them in order; what requires them goes and
    /// returns with them.
    pub fn restart_scope(&mut self, id: ScopeId) {
        if self.shutting_down {
            return;
        }
        for member in self.members_of(id) {
            self.pull_down(member);
            // As in a restart of one.
            let _ = self.with_machine(member, |machine, slot| machine.stop_child(slot));
        }
        self.boot_scope(id);
    }

    /// Stops everything for good: dependents before what they need, groups in reverse order.
    pub fn shutdown(&mut self) {
        self.shutting_down = true;
        for (id, scope) in &mut self.scopes {
            scope.again.clear();
            scope.machine.shutdown();
            self.dirty.insert(*id);
        }
    }

    // ---- inside ----

    /// Whether a member may be started at all.
    fn admit(&self, id: MemberId) -> Result<(), Refusal> {
        match self.members.get(&id) {
            Some(member) if !member.retiring => match self.shutting_down {
                true => Err(Refusal::ShuttingDown),
                false => Ok(()),
            },
            _ => Err(Refusal::Unknown),
        }
    }

    fn start_alone(&mut self, id: MemberId) -> Result<(), Refusal> {
        self.with_machine(id, |machine, slot| machine.start_child(slot))
            .unwrap_or(Err(Refusal::Unknown))
    }

    /// It is not to be started with its scope after all.
    pub(super) fn boot_no_more(&mut self, id: MemberId) {
        if let Some(scope) = self.scope_of(id).and_then(|scope| self.scopes.get_mut(&scope)) {
            scope.again.remove(&id);
        }
    }

    /// Starts what a member requires, at any distance, as far as it is at rest. The gates see to the order.
    fn start_requirements(&mut self, id: MemberId) {
        let (mut seen, mut stack) = (BTreeSet::from([id]), vec![id]);
        while let Some(id) = stack.pop() {
            let Some(member) = self.members.get(&id) else { continue };
            let names = member.requires.iter();
            let needs: Vec<_> = names.filter_map(|name| self.find(name.as_str())).collect();
            for need in needs {
                let standing = self.standing(need);
                if standing == Standing::Up || !seen.insert(need) {
                    continue;
                }
                stack.push(need);
                if standing == Standing::Down && self.admit(need).is_ok() {
                    // A scope that is shutting down refuses; the member then waits and says for whom.
                    let _ = self.start_alone(need);
                }
            }
        }
    }

    /// Stops those that run and require a member, at any distance; each waits for its requirement's return.
    pub(super) fn pull_down(&mut self, id: MemberId) {
        if self.shutting_down {
            return;
        }
        let (mut seen, mut stack) = (BTreeSet::from([id]), vec![id]);
        while let Some(need) = stack.pop() {
            let Some(member) = self.members.get(&need) else { continue };
            let (name, dependents) = (member.name.clone(), member.dependents.clone());
            for dependent in dependents {
                let Some(other) = self.members.get(&dependent) else { continue };
                // What completed needs nothing any more, and those that require it miss nothing. Those that
                // require one that is stuck were pulled down when it became so.
                let passes_on = !other.completed && !other.is_stuck();
                if !other.requires.contains(&name) || !passes_on || !seen.insert(dependent) {
                    continue;
                }
                stack.push(dependent);
                // One that waits has nothing to stop; its own dependents may.
                let runs = other.level.is_with_driver();
                let recycle = |machine: &mut super::Machine, slot| machine.recycle(slot);
                if runs && self.with_machine(dependent, recycle) == Some(true) {
                    let cause = Cause::Requirement(need);
                    self.notices.push(Notice::PulledDown { member: dependent, cause });
                }
            }
        }
    }
}
