//! Many machines and one dependency graph: which of their orders may go out now.
//!
//! A [`Machine`] decides who starts and stops within one *scope* (a group, or a single member). The roster
//! holds all scopes and lets their orders through three gates:
//!
//! - a start waits until what it `requires` is up, until what it comes `after` has had its turn,
//!   and for a start permit (at most `parallel_starts` members are starting at once);
//! - a stop waits until the members that depend on it, and are being stopped too, are gone;
//! - a member whose requirement goes down for good is stopped before it and waits for its return. One that
//!   fails and is restarted takes nobody with it; one that is restarted by hand does.
//!
//! "Had its turn" is: up, completed, at rest, or waiting for a requirement that is at rest. What retries after
//! a failure still has its turn.
//!
//! Pure: events and commands in, [`Command`]s out, time as a parameter. The driver executes each command
//! and answers exactly once, as with a machine; an answer for a member that nothing was ordered of is dropped.

mod by_hand;
mod events;
mod flow;
mod gate;
mod joining;
mod member;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use super::machine::{Ended, Machine, Phase, State};
use crate::types::name::Name;
use member::{Level, Member, Scope, Standing};

pub use member::{MemberSpec, Waits};

/// Number of a member; never used again for another.
pub type MemberId = usize;
/// Number of a scope; never used again for another.
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

/// Because of whom a member is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// A member of the same group failed and takes this one with it.
    Sibling(MemberId),
    /// What it requires goes down.
    Requirement(MemberId),
}

/// Something that commands and phases alone do not tell, for the events and the post-mortems.
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
    /// Boxed, as a map of increasing keys is half empty; so are the scopes.
    members: BTreeMap<MemberId, Box<Member>>,
    scopes: BTreeMap<ScopeId, Box<Scope>>,
    /// The next number of a member, of a scope, and of a place in the queue for permits.
    next_member: MemberId,
    next_scope: ScopeId,
    next_ticket: u64,
    by_name: HashMap<Name, MemberId>,
    by_group: HashMap<Name, ScopeId>,
    parallel_starts: usize,
    permits_used: usize,
    /// Gated members that wait for a permit alone, in order of arrival.
    runnable: BTreeSet<(u64, MemberId)>,
    /// Members whose stop waits for dependents.
    leaving: BTreeSet<MemberId>,
    /// Those of them whose wait may be over.
    may_leave: BTreeSet<MemberId>,
    /// How many members the driver was told to stop and did not answer for.
    stopping: usize,
    /// How many members the driver was told to start and did not say that they ended.
    with_driver: usize,
    /// Scopes whose machine may have new orders.
    dirty: BTreeSet<ScopeId>,
    /// Backoff ends, at most one for each scope.
    deadlines: BTreeSet<(Duration, ScopeId)>,
    commands: Vec<Command>,
    notices: Vec<Notice>,
    touched: BTreeSet<MemberId>,
    shutting_down: bool,
}

impl Roster {
    /// An empty roster that lets at most `parallel_starts` members start at once.
    #[must_use]
    pub fn new(parallel_starts: usize) -> Self {
        Self {
            members: BTreeMap::new(),
            scopes: BTreeMap::new(),
            next_member: 0,
            next_scope: 0,
            next_ticket: 0,
            by_name: HashMap::new(),
            by_group: HashMap::new(),
            parallel_starts: parallel_starts.max(1),
            permits_used: 0,
            runnable: BTreeSet::new(),
            leaving: BTreeSet::new(),
            may_leave: BTreeSet::new(),
            stopping: 0,
            with_driver: 0,
            dirty: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            commands: Vec::new(),
            notices: Vec::new(),
            touched: BTreeSet::new(),
            shutting_down: false,
        }
    }

    // ---- who is in it ----

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

    /// The members of a scope, in start order.
    #[must_use]
    pub fn members_of(&self, scope: ScopeId) -> Vec<MemberId> {
        self.scopes.get(&scope).map(|scope| scope.in_order().collect()).unwrap_or_default()
    }

    /// The scope a member belongs to.
    #[must_use]
    pub fn scope_of(&self, id: MemberId) -> Option<ScopeId> {
        self.members.get(&id).map(|member| member.scope)
    }

    /// Whether a scope is a configured group.
    #[must_use]
    pub fn is_group(&self, id: ScopeId) -> bool {
        self.scopes.get(&id).is_some_and(|scope| scope.group.is_some())
    }

    /// Whether nothing runs any more.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.with_driver == 0
    }

    // ---- what is shown ----

    /// What the machine says of a member.
    #[must_use]
    pub fn child_phase(&self, id: MemberId) -> Option<Phase> {
        let (member, machine) = self.look_up(id)?;
        machine.child(member.slot)
    }

    /// What a gated member waits for.
    #[must_use]
    pub fn waits(&self, id: MemberId) -> Option<Waits> {
        let member = self.members.get(&id)?;
        (member.level == Level::Gated).then(|| member.waits.clone().unwrap_or(Waits::Permit))
    }

    /// The group a scope is, and what its machine says of it; nothing for the scope of a single member.
    #[must_use]
    pub fn group_state(&self, id: ScopeId) -> Option<(&Name, State)> {
        let scope = self.scopes.get(&id)?;
        Some((scope.group.as_ref()?, scope.machine.phase()))
    }

    /// Whether the driver was told to stop a member and did not yet say that it ended.
    #[must_use]
    pub fn is_stopping(&self, id: MemberId) -> bool {
        self.members.get(&id).is_some_and(|member| member.level == Level::Stopping)
    }

    /// Whether a member is up, and nothing wants it down.
    #[must_use]
    pub fn stays_up(&self, id: MemberId) -> bool {
        self.look_up(id).is_some_and(|(member, machine)| {
            member.level == Level::Up && !machine.is_leaving(member.slot)
        })
    }

    /// Whether a member leaves the roster once it is down.
    #[must_use]
    pub fn is_retiring(&self, id: MemberId) -> bool {
        self.members.get(&id).is_some_and(|member| member.retiring)
    }

    /// How a scope ended, if it did.
    #[cfg(test)]
    fn scope_ended(&self, id: ScopeId) -> Option<Ended> {
        match self.scopes.get(&id)?.machine.phase() {
            State::Ended(ended) => Some(ended),
            State::Running | State::ShuttingDown => None,
        }
    }

    // ---- inside ----

    fn look_up(&self, id: MemberId) -> Option<(&Member, &Machine)> {
        let member = self.members.get(&id)?;
        Some((member, &self.scopes.get(&member.scope)?.machine))
    }

    /// Does something to the child of a member; what follows is asked of its machine.
    fn with_machine<R>(
        &mut self,
        id: MemberId,
        act: impl FnOnce(&mut Machine, usize) -> R,
    ) -> Option<R> {
        let member = self.members.get(&id)?;
        let scope = self.scopes.get_mut(&member.scope)?;
        self.dirty.insert(member.scope);
        Some(act(&mut scope.machine, member.slot))
    }

    fn standing(&self, id: MemberId) -> Standing {
        let Some((member, machine)) = self.look_up(id) else { return Standing::Down };
        let wanted = machine.is_wanted(member.slot) && !member.retiring && !member.is_stuck();
        let stays = member.level == Level::Up && !machine.is_leaving(member.slot);
        match wanted {
            _ if member.completed => Standing::Up,
            true if stays => Standing::Up,
            true => Standing::Coming,
            false => Standing::Down,
        }
    }

    /// Whether a member runs and goes down, now or when its group lets it.
    fn is_on_its_way_down(&self, id: MemberId) -> bool {
        let Some((member, machine)) = self.look_up(id) else { return false };
        member.level.is_with_driver() && machine.is_leaving(member.slot)
    }

    fn set_level(&mut self, id: MemberId, level: Level) {
        let Some(member) = self.members.get_mut(&id) else { return };
        self.stopping -= usize::from(member.level == Level::Stopping);
        self.stopping += usize::from(level == Level::Stopping);
        self.with_driver -= usize::from(member.level.is_with_driver());
        self.with_driver += usize::from(level.is_with_driver());
        member.level = level;
        self.touched.insert(id);
    }
}
