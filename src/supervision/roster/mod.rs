//! Many machines and one dependency graph: which of their orders may go out now.
//!
//! A [`Machine`] decides who starts and stops within one *scope* (a group, or a single member). The roster
//! holds all scopes and lets their orders through three gates:
//!
//! - a start waits until what it `requires` is up, until what it comes `after` has had its turn,
//!   and for a start permit (at most `parallel_starts` members are starting at once);
//! - a stop waits until the members that depend on it, and are being stopped too, are gone;
//! - a member whose requirement went down for good is stopped with it and waits for its return.
//!
//! Pure: events and commands in, [`Command`]s out, time as a parameter. The driver executes each command
//! and answers exactly once, as with a machine.

mod gate;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap, VecDeque};
use std::time::Duration;

use super::machine::{ChildSpec, End, Ended, Machine, Phase, Refusal, Report, Spec, State};
use crate::types::name::Name;

pub use gate::Waits;

/// Index of a member; stable while the member exists.
pub type MemberId = usize;
/// Index of a scope; stable while the scope exists.
pub type ScopeId = usize;

/// What the driver must do; each is answered once: a start by `started`, `start_failed` or `ended`,
/// a stop by `ended`. A retired member has nothing left and is forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Start the member.
    Start(MemberId),
    /// Stop the member; it may still be starting.
    Stop(MemberId),
    /// The member left the roster for good.
    Retired(MemberId),
}

/// What a new member is.
#[derive(Debug, Clone)]
pub struct MemberSpec {
    /// Its name, unique in the roster.
    pub name: Name,
    /// Restart policy within its scope.
    pub child: ChildSpec,
    /// Starts after these have had their turn.
    pub after: Vec<Name>,
    /// Needs these up.
    pub requires: Vec<Name>,
    /// Whether its normal end counts as up for those that need it (a oneshot).
    pub completes: bool,
}

/// Where a member is between its machine's order and the driver's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    /// Nothing runs.
    Down,
    /// Its machine ordered a start; the gate holds it.
    Gated,
    /// The driver was told to start it.
    Starting,
    /// It runs.
    Up,
    /// Its machine ordered a stop; the gate holds it.
    Leaving,
    /// The driver was told to stop it.
    Stopping,
}

#[derive(Debug)]
struct Member {
    name: Name,
    scope: ScopeId,
    slot: usize,
    level: Level,
    /// As last shown.
    phase: Option<Phase>,
    /// As last shown, while gated.
    waits: Option<Waits>,
    /// Started by the driver and not yet answered: it holds a start permit.
    permit: bool,
    completes: bool,
    completed: bool,
    retiring: bool,
    after: Vec<Name>,
    requires: Vec<Name>,
    /// Members that name this one in `after` or `requires`.
    dependents: Vec<MemberId>,
}

#[derive(Debug)]
struct Scope {
    machine: Machine,
    /// Member of each slot of the machine.
    members: Vec<Option<MemberId>>,
    /// Name of a configured group; none for the scope of a single member.
    group: Option<Name>,
}

/// What happened that commands and phases alone do not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// A member of the same group failed and takes this one with it.
    Sibling(MemberId),
    /// What it requires went down.
    Requirement(MemberId),
}

/// Something for the events and the post-mortems.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// A member will be stopped because of another.
    PulledDown {
        /// The member.
        member: MemberId,
        /// Because of whom.
        cause: Cause,
    },
    /// A member reached its restart limit and is tried at the longest delay from here on.
    Held {
        /// The member.
        member: MemberId,
    },
    /// A scope ends because of a member.
    Ending {
        /// The group, if the scope is one.
        group: Option<Name>,
        /// The member.
        member: MemberId,
        /// Why.
        because: Ended,
    },
}

/// All scopes and the graph between their members.
#[derive(Debug)]
pub struct Roster {
    members: Vec<Option<Member>>,
    scopes: Vec<Option<Scope>>,
    by_name: HashMap<Name, MemberId>,
    by_group: HashMap<Name, ScopeId>,
    parallel_starts: usize,
    permits_used: usize,
    /// Gated members whose needs are met, in order of arrival.
    runnable: VecDeque<MemberId>,
    /// Gated members that wait for another member.
    blocked: BTreeSet<MemberId>,
    /// Members whose stop waits for dependents.
    leaving: BTreeSet<MemberId>,
    /// Scopes whose machine may have new orders.
    dirty: BTreeSet<ScopeId>,
    /// Backoff ends; stale entries are skipped when they come up.
    deadlines: BinaryHeap<Reverse<(Duration, ScopeId)>>,
    commands: Vec<Command>,
    notices: Vec<Notice>,
    /// Members whose phase or wait changed since they were last asked for.
    touched: BTreeSet<MemberId>,
    shutting_down: bool,
}

impl Roster {
    /// An empty roster that lets at most `parallel_starts` members start at once.
    #[must_use]
    pub fn new(parallel_starts: usize) -> Self {
        Self {
            members: Vec::new(),
            scopes: Vec::new(),
            by_name: HashMap::new(),
            by_group: HashMap::new(),
            parallel_starts: parallel_starts.max(1),
            permits_used: 0,
            runnable: VecDeque::new(),
            blocked: BTreeSet::new(),
            leaving: BTreeSet::new(),
            dirty: BTreeSet::new(),
            deadlines: BinaryHeap::new(),
            commands: Vec::new(),
            notices: Vec::new(),
            touched: BTreeSet::new(),
            shutting_down: false,
        }
    }

    // ---- who is in it ----

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

    // ---- commands ----

    /// Starts all members of a scope, in order.
    pub fn boot_scope(&mut self, id: ScopeId) {
        if let Some(scope) = self.scopes[id].as_mut()
            && scope.machine.boot().is_ok()
        {
            self.dirty.insert(id);
        }
    }

    /// Starts a member by hand, and first what it requires and what of that is at rest.
    ///
    /// # Errors
    /// As the machine of its scope refuses.
    pub fn start(&mut self, id: MemberId) -> Result<(), Refusal> {
        self.start_requirements(id);
        self.with_machine(id, |machine, slot| machine.start_child(slot))
            .unwrap_or(Err(Refusal::Unknown))
    }

    /// Stops a member by hand; those that require it stop with it and wait for its return.
    ///
    /// # Errors
    /// As the machine of its scope refuses.
    pub fn stop(&mut self, id: MemberId) -> Result<(), Refusal> {
        self.pull_down(id);
        self.with_machine(id, |machine, slot| machine.stop_child(slot))
            .unwrap_or(Err(Refusal::Unknown))
    }

    /// Stops and starts a member by hand; those that require it go and return with it.
    ///
    /// # Errors
    /// As the machine of its scope refuses.
    pub fn restart(&mut self, id: MemberId) -> Result<(), Refusal> {
        // A member at rest has nothing to stop: the refusal is no failure of the restart.
        let _ = self.stop(id);
        self.start(id)
    }

    /// Stops all members of a group in reverse order.
    pub fn stop_scope(&mut self, id: ScopeId) {
        let Some(scope) = self.scopes[id].as_mut() else { return };
        scope.machine.shutdown();
        self.dirty.insert(id);
        for member in self.members_of(id) {
            self.pull_down(member);
        }
    }

    /// Stops all members of a group in reverse order, then starts them in order.
    pub fn restart_scope(&mut self, id: ScopeId) {
        let Some(scope) = self.scopes[id].as_mut() else { return };
        let slots: Vec<usize> = scope.machine.slots().to_vec();
        for slot in slots {
            // A member at rest has nothing to stop, one on its way down comes up again.
            let _ = scope.machine.stop_child(slot);
        }
        let _ = scope.machine.boot();
        self.dirty.insert(id);
    }

    /// Forgets a group, now or when its last member has left.
    pub fn remove_group(&mut self, id: ScopeId) {
        if let Some(group) = self.scopes[id].as_mut().and_then(|scope| scope.group.take()) {
            self.by_group.remove(&group);
        }
        self.drop_if_empty(id);
    }

    /// Stops everything: dependents before what they need, groups in reverse order.
    pub fn shutdown(&mut self) {
        self.shutting_down = true;
        for (id, scope) in self.scopes.iter_mut().enumerate() {
            if let Some(scope) = scope {
                scope.machine.shutdown();
                self.dirty.insert(id);
            }
        }
    }

    /// Whether nothing runs any more.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members
            .iter()
            .flatten()
            .all(|member| matches!(member.level, Level::Down | Level::Gated))
    }

    // ---- answers of the driver ----

    /// The member runs and, where that is checked, is ready.
    pub fn started(&mut self, id: MemberId, now: Duration) {
        self.release_permit(id);
        let Some(member) = self.members[id].as_mut() else { return };
        if member.level == Level::Starting {
            member.level = Level::Up;
        }
        self.with_machine(id, |machine, slot| machine.started(slot, now));
        self.recheck_dependents(id);
    }

    /// The member ended before it was ready; nothing of it is left.
    pub fn start_failed(&mut self, id: MemberId, now: Duration) {
        self.went_down(id);
        self.with_machine(id, |machine, slot| machine.start_failed(slot, now));
        self.settle(id);
    }

    /// The member ended; nothing of it is left.
    pub fn ended(&mut self, id: MemberId, end: End, now: Duration) {
        if let Some(member) = self.members[id].as_mut() {
            member.completed = member.completes && end == End::Normal;
        }
        self.went_down(id);
        self.with_machine(id, |machine, slot| machine.ended(slot, end, now));
        self.settle(id);
    }

    /// The member already runs (found after a crash of cafe): up without a start.
    pub fn adopt(&mut self, id: MemberId, now: Duration) {
        if let Some(member) = self.members[id].as_mut() {
            member.level = Level::Up;
        }
        self.with_machine(id, |machine, slot| machine.adopt(slot, now));
        self.recheck_dependents(id);
    }

    // ---- what to do next ----

    /// What the driver must do now. Call after every event, and when [`Self::deadline`] has come.
    pub fn commands(&mut self, now: Duration) -> Vec<Command> {
        self.wake(now);
        loop {
            self.collect_orders(now);
            self.release_stops();
            self.release_starts();
            if self.dirty.is_empty() {
                return std::mem::take(&mut self.commands);
            }
        }
    }

    /// When [`Self::commands`] must be called next, without an event before.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        self.deadlines.peek().map(|Reverse((at, _))| *at)
    }

    /// What happened since the last call.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// Members whose phase or wait changed since the last call: those to show anew.
    pub fn take_touched(&mut self) -> BTreeSet<MemberId> {
        std::mem::take(&mut self.touched)
    }

    // ---- what is shown ----

    /// What the machine says of a member.
    #[must_use]
    pub fn child_phase(&self, id: MemberId) -> Option<Phase> {
        let member = self.members.get(id)?.as_ref()?;
        self.scopes[member.scope].as_ref()?.machine.child(member.slot)
    }

    /// What a gated member waits for.
    #[must_use]
    pub fn waits(&self, id: MemberId) -> Option<Waits> {
        let member = self.members.get(id)?.as_ref()?;
        (member.level == Level::Gated).then(|| member.waits.clone().unwrap_or(Waits::Permit))
    }

    /// How a scope ended, if it did.
    #[must_use]
    pub fn scope_ended(&self, id: ScopeId) -> Option<Ended> {
        match self.scopes.get(id)?.as_ref()?.machine.phase() {
            State::Ended(ended) => Some(ended),
            State::Running | State::ShuttingDown => None,
        }
    }

    // ---- inside ----

    fn with_machine<R>(
        &mut self,
        id: MemberId,
        act: impl FnOnce(&mut Machine, usize) -> R,
    ) -> Option<R> {
        let member = self.members.get(id)?.as_ref()?;
        let scope = self.scopes[member.scope].as_mut()?;
        self.dirty.insert(member.scope);
        Some(act(&mut scope.machine, member.slot))
    }

    fn wake(&mut self, now: Duration) {
        while let Some(Reverse((at, scope))) = self.deadlines.peek().copied() {
            if at > now {
                return;
            }
            self.deadlines.pop();
            self.dirty.insert(scope);
        }
    }

    fn collect_orders(&mut self, now: Duration) {
        while let Some(id) = self.dirty.pop_first() {
            let Some(scope) = self.scopes[id].as_mut() else { continue };
            let orders = scope.machine.orders(now);
            if let Some(at) = scope.machine.deadline() {
                self.deadlines.push(Reverse((at, id)));
            }
            let reports = scope.machine.drain_reports();
            for report in reports {
                self.note(id, report);
            }
            for order in orders {
                self.gate_order(id, order);
            }
            self.touch_changed(id);
        }
    }

    /// A report of a machine, by members instead of slots.
    fn note(&mut self, id: ScopeId, report: Report) {
        let Some(scope) = self.scopes[id].as_ref() else { return };
        let member_of = |slot: usize| scope.members.get(slot).copied().flatten();
        match report {
            Report::Restarting { slot, held, pulled_down, .. } => {
                let Some(failed) = member_of(slot) else { return };
                let pulled = pulled_down.into_iter().filter_map(member_of);
                let cause = Cause::Sibling(failed);
                self.notices.extend(pulled.map(|member| Notice::PulledDown { member, cause }));
                if held {
                    self.notices.push(Notice::Held { member: failed });
                }
            }
            Report::Ending { slot, because } => {
                let Some(member) = member_of(slot) else { return };
                let group = scope.group.clone();
                self.notices.push(Notice::Ending { group, member, because });
            }
        }
    }

    fn touch_changed(&mut self, id: ScopeId) {
        let Some(scope) = self.scopes[id].as_ref() else { return };
        for (slot, member_id) in scope.members.iter().enumerate() {
            let Some(member_id) = *member_id else { continue };
            let Some(member) = self.members[member_id].as_mut() else { continue };
            let phase = scope.machine.child(slot);
            if member.phase != phase {
                member.phase = phase;
                self.touched.insert(member_id);
            }
        }
    }

    /// After an end: dependents, and a member that was only waited for to go.
    fn settle(&mut self, id: MemberId) {
        if self.is_down_for_good(id) {
            self.pull_down(id);
        }
        self.recheck_dependents(id);
        self.finish_retired(id);
    }

    fn went_down(&mut self, id: MemberId) {
        self.release_permit(id);
        self.leaving.remove(&id);
        if let Some(member) = self.members[id].as_mut() {
            member.level = Level::Down;
        }
        self.recheck_needs(id);
    }

    fn release_permit(&mut self, id: MemberId) {
        if let Some(member) = self.members[id].as_mut()
            && member.permit
        {
            member.permit = false;
            self.permits_used -= 1;
        }
    }

    fn finish_retired(&mut self, id: MemberId) {
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
}

impl Roster {
    /// A scope that is no configured group lives as long as it has members.
    fn drop_if_empty(&mut self, id: ScopeId) {
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
