//! What always holds in a world, and what holds when it rests.

use std::collections::BTreeSet;

use super::driver::{Actual, Hand, Real};
use super::world::World;
use super::{Command, MemberId, Waits};
use crate::supervision::machine::{Phase, Why};
use crate::types::name::Name;

impl World<'_> {
    fn named(&self, name: &Name) -> Option<(MemberId, &Actual)> {
        let id = self.roster.find(name.as_str())?;
        Some((id, self.actual.get(&id)?))
    }

    /// Before they are executed.
    pub(super) fn check_commands(&self, commands: &[Command]) {
        let distinct: BTreeSet<String> = commands.iter().map(|it| format!("{it:?}")).collect();
        assert_eq!(distinct.len(), commands.len(), "a command given twice: {commands:?}");
        let mut starting = self.actual.values().filter(|actual| actual.holds_permit).count();
        for command in commands {
            match *command {
                Command::Start(id) => {
                    starting += 1;
                    self.check_start(id);
                    assert!(starting <= self.parallel_starts.max(starting - 1), "too many start");
                }
                Command::Stop(id) => self.check_stop(id),
                Command::Retired(id) => assert!(self.actual[&id].is_down()),
            }
        }
    }

    fn check_start(&self, id: MemberId) {
        let actual = &self.actual[&id];
        assert!(!self.shutting_down, "{id} starts in the shutdown");
        assert_eq!(actual.real, Real::Down, "two incarnations of {id}");
        assert_eq!(self.roster.child_phase(id), Some(Phase::Starting));
        for name in &actual.spec.requires {
            let (need, other) = self.named(name).expect("a missing requirement is not up");
            let stays = self.roster.child_phase(need) != Some(Phase::Stopping);
            let up = other.real == Real::Up || self.is_ending_by_itself(need, other);
            assert!(other.completed || (up && stays), "{id} starts without {need}");
        }
        for name in &actual.spec.after {
            let Some((need, other)) = self.named(name) else { continue };
            let stuck = matches!(self.roster.waits(need), Some(Waits::MissingRequirement(_)));
            let coming = match self.roster.child_phase(need) {
                Some(Phase::Backoff { .. } | Phase::Queued) => true,
                Some(Phase::Starting) => !stuck && self.is_kept(need),
                _ => false,
            };
            assert!(
                other.completed || !coming,
                "{id} starts before the turn of {need}: {:?} {:?}",
                self.roster.members.get(&need),
                self.roster.scopes[&self.roster.scope_of(need).unwrap()]
            );
        }
    }

    /// Its own watchdog ends it: the roster has yet to learn of it.
    fn is_ending_by_itself(&self, id: MemberId, actual: &Actual) -> bool {
        let up = matches!(self.roster.child_phase(id), Some(Phase::Up { .. }));
        up && matches!(actual.real, Real::Stopping(_)) && !actual.told_to_stop
    }

    fn check_stop(&self, id: MemberId) {
        let actual = &self.actual[&id];
        assert!(!actual.is_down(), "{id} is stopped and down");
        assert!(!actual.told_to_stop, "{id} is told to stop twice");
        for (other_id, other) in &self.actual {
            let depends = other.spec.requires.contains(&actual.name)
                || other.spec.after.contains(&actual.name);
            let leaving = self.roster.child_phase(*other_id) == Some(Phase::Stopping);
            assert!(!depends || other.is_down() || !leaving, "{id} stops before {other_id}");
        }
    }

    /// After every step.
    pub(super) fn check_step(&self) {
        assert!(self.roster.deadline().is_none_or(|at| at > self.now), "no spinning");
        assert!(self.roster.deadlines.len() <= self.scopes.len(), "one deadline each");
        assert!(self.roster.runnable.len() <= self.actual.len());
        let permits = self.actual.values().filter(|actual| actual.holds_permit).count();
        assert_eq!(self.roster.permits_used, permits, "permits leak");
        let told = self.actual.values().filter(|actual| actual.told_to_stop).count();
        assert_eq!(self.roster.stopping, told, "stops leak");
        let running = self.actual.values().filter(|actual| !actual.is_down()).count();
        assert_eq!(self.roster.with_driver, running, "the count of what runs is wrong");
        let truth = self
            .actual
            .keys()
            .map(|id| (*id, (self.roster.child_phase(*id), self.roster.waits(*id))));
        assert_eq!(self.shadow, truth.collect(), "a change was not told");
        for (id, actual) in &self.actual {
            if actual.hand == Hand::Stopped && !matches!(actual.real, Real::Stopping(_)) {
                assert!(actual.is_down() || !self.is_kept(*id), "{id}: stopped by hand");
            }
            self.check_reason(*id);
        }
    }

    /// Nobody waits without a reason, and the reason is so.
    fn check_reason(&self, id: MemberId) {
        match self.roster.waits(id) {
            None => {}
            Some(Waits::Permit) => {
                assert!(self.roster.permits_used >= self.parallel_starts, "{id} waits for nothing");
            }
            Some(Waits::Turn(name)) => {
                let (need, other) = self.named(&name).expect("waits for somebody");
                assert!(other.real != Real::Up || !self.is_kept(need), "{id}: {name} had its turn");
            }
            Some(Waits::Requirement(name) | Waits::MissingRequirement(name)) => {
                let other = self.named(&name);
                let satisfied = other.is_some_and(|(need, other)| {
                    let phase = self.roster.child_phase(need);
                    let stays = phase != Some(Phase::Stopping) && !self.roster.is_retiring(need);
                    other.completed || (other.real == Real::Up && stays && self.is_kept(need))
                });
                assert!(!satisfied, "{id} waits for {name}, which is up");
            }
        }
    }

    /// Not about to be stopped when its group lets it.
    fn is_kept(&self, id: MemberId) -> bool {
        !self.roster.is_on_its_way_down(id)
    }

    // ---- at rest ----

    /// Everything that was begun has ended, and everybody is where the last command or end left it.
    pub(super) fn check_rest(&self) {
        for (id, actual) in &self.actual {
            let phase = self.roster.child_phase(*id).expect("a member");
            match phase {
                Phase::Up { .. } => assert_eq!(actual.real, Real::Up, "{id}"),
                Phase::Idle { why } => {
                    assert!(actual.is_down(), "{id} rests and runs");
                    let by_hand = why == Why::ByHand || why == Why::NeverStarted;
                    assert!(
                        !by_hand || actual.hand != Hand::Started,
                        "{id} was forgotten: {why:?}"
                    );
                }
                Phase::Starting | Phase::Queued => {
                    assert!(actual.is_down(), "{id} waits and runs");
                    assert!(self.is_stuck_at_last(*id, &mut BTreeSet::new()), "{id} waits in vain");
                }
                Phase::Backoff { .. } | Phase::Stopping => {
                    panic!("{id} rests in {phase:?}")
                }
            }
            if actual.real == Real::Up {
                self.check_requirements_of_one_up(*id, actual);
            }
        }
    }

    /// What waits at rest waits, at whatever distance, for somebody to start something.
    fn is_stuck_at_last(&self, id: MemberId, seen: &mut BTreeSet<MemberId>) -> bool {
        assert!(seen.insert(id), "{seen:?} wait for each other");
        match self.roster.waits(id) {
            Some(Waits::MissingRequirement(name)) => match self.named(&name) {
                None => true,
                Some((need, _)) => match self.roster.child_phase(need) {
                    Some(Phase::Idle { .. }) => true,
                    _ => self.is_stuck_at_last(need, seen),
                },
            },
            Some(Waits::Requirement(name) | Waits::Turn(name)) => {
                let (need, _) = self.named(&name).expect("waits for somebody");
                self.is_stuck_at_last(need, seen)
            }
            Some(Waits::Permit) => false,
            // Queued behind a member of its group.
            None => {
                let scope = self.roster.scope_of(id).expect("a member");
                let siblings = self.roster.members_of(scope);
                let stuck =
                    siblings.into_iter().find(|sibling| self.roster.waits(*sibling).is_some());
                stuck.is_some_and(|sibling| self.is_stuck_at_last(sibling, seen))
            }
        }
    }

    fn check_requirements_of_one_up(&self, id: MemberId, actual: &Actual) {
        if actual.found {
            return;
        }
        for name in actual.spec.requires.iter().filter(|name| actual.required.contains(name)) {
            let Some((need, other)) = self.named(name) else { continue };
            // One that took the place of another that had completed is not missed.
            let phase = self.roster.child_phase(need);
            let idle = other.began && matches!(phase, Some(Phase::Idle { .. }));
            assert!(other.completed || !idle, "{id} runs and {need}, which it requires, rests");
        }
    }
}
