//! A member and a scope as the roster sees them. Plain data; the rules are in the roster.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::machine::{ChildSpec, Machine, Phase};
use super::{MemberId, ScopeId};
use crate::types::is_default;
use crate::types::name::Name;

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

/// What a gated start waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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

/// Where a member is between its machine's order and the driver's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Level {
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

impl Level {
    /// The driver was told to start it, and has not said that it ended.
    pub(super) fn is_with_driver(self) -> bool {
        !matches!(self, Self::Down | Self::Gated)
    }
}

/// What a member is to those that depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Standing {
    /// It runs and will go on, or did what it was for.
    Up,
    /// Not up, but going to be without anybody's doing.
    Coming,
    /// Neither: what requires it cannot run.
    Down,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Member {
    pub(super) name: Name,
    pub(super) scope: ScopeId,
    /// Its child in the machine of the scope.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) slot: usize,
    pub(super) level: Level,
    /// Started by the driver and not yet answered: it holds a start permit.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) permit: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) completes: bool,
    /// It completed and was not started again.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) completed: bool,
    /// It leaves the roster once it is down.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) retiring: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) after: Vec<Name>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) requires: Vec<Name>,
    /// Members it names in `after` or `requires`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) needs: Vec<MemberId>,
    /// Members that name this one.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) dependents: Vec<MemberId>,
    /// While gated: what it waits for, a permit aside.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) waits: Option<Waits>,
    /// While it waits for a permit alone: its place in the queue.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) ticket: Option<u64>,
    /// Phase and standing as last looked at.
    pub(super) seen: (Option<Phase>, Standing),
}

impl Member {
    pub(super) fn new(spec: MemberSpec, scope: ScopeId, slot: usize) -> Self {
        Self {
            name: spec.name,
            scope,
            slot,
            level: Level::Down,
            permit: false,
            completes: spec.completes,
            completed: false,
            retiring: false,
            after: spec.after,
            requires: spec.requires,
            needs: Vec::new(),
            dependents: Vec::new(),
            waits: None,
            ticket: None,
            seen: (None, Standing::Down),
        }
    }

    /// It waits for a requirement that is at rest: it comes as little as that.
    pub(super) fn is_stuck(&self) -> bool {
        matches!(self.waits, Some(Waits::MissingRequirement(_)))
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Scope {
    pub(super) machine: Machine,
    /// Member of each slot of the machine.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) members: Vec<Option<MemberId>>,
    /// Name of a configured group; none for the scope of a single member.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) group: Option<Name>,
    /// Members to start once the scope, which is shutting down, has ended.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) again: BTreeSet<MemberId>,
    /// Its entry among the roster's deadlines.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) deadline: Option<Duration>,
}

impl Scope {
    pub(super) fn new(machine: Machine, group: Option<Name>) -> Self {
        let (members, again) = (Vec::new(), BTreeSet::new());
        Self { machine, members, group, again, deadline: None }
    }

    pub(super) fn member(&self, slot: usize) -> Option<MemberId> {
        self.members.get(slot).copied().flatten()
    }

    /// Its members in start order.
    pub(super) fn in_order(&self) -> impl Iterator<Item = MemberId> {
        self.machine.slots().iter().filter_map(|slot| self.member(*slot))
    }
}
