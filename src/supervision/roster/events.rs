//! Answers of the driver.

use std::time::Duration;

use super::super::machine::End;
use super::member::Level;
use super::{MemberId, Roster};

impl Roster {
    /// The member runs and, where that is checked, is ready.
    pub fn started(&mut self, id: MemberId, now: Duration) {
        self.release_permit(id);
        if self.level(id) == Level::Starting {
            self.set_level(id, Level::Up);
            self.with_machine(id, |machine, slot| machine.started(slot, now));
        }
    }

    /// The member is being started and that takes as long as its work does (a oneshot): others may start meanwhile.
    pub fn under_way(&mut self, id: MemberId) {
        self.release_permit(id);
    }

    /// The member ended before it was ready; nothing of it is left.
    pub fn start_failed(&mut self, id: MemberId, now: Duration) {
        if self.went_down(id) {
            self.with_machine(id, |machine, slot| machine.start_failed(slot, now));
        }
    }

    /// The member ended; nothing of it is left.
    pub fn ended(&mut self, id: MemberId, end: End, now: Duration) {
        // One that was told to stop did not do all it was for, however politely it left.
        let by_itself = !self.is_stopping(id);
        if !self.went_down(id) {
            return;
        }
        let Some(member) = self.members.get_mut(&id) else { return };
        member.completed = member.completes && by_itself && end == End::Normal;
        let completed = member.completed;
        self.with_machine(id, |machine, slot| {
            if completed {
                // Its end is its being up.
                machine.started(slot, now);
            }
            machine.ended(slot, end, now);
        });
    }

    /// The member already runs (found after a crash of cafe): up without a start.
    pub fn adopt(&mut self, id: MemberId, now: Duration) {
        let down = self.level(id) == Level::Down;
        if down && self.with_machine(id, |machine, slot| machine.adopt(slot, now)) == Some(Ok(())) {
            self.set_level(id, Level::Up);
        }
    }

    fn level(&self, id: MemberId) -> Level {
        self.members.get(&id).map_or(Level::Down, |member| member.level)
    }

    /// Says whether there was something that could go down.
    fn went_down(&mut self, id: MemberId) -> bool {
        if !self.level(id).is_with_driver() {
            return false;
        }
        self.release_permit(id);
        self.leaving.remove(&id);
        self.set_level(id, Level::Down);
        let needs = self.members.get(&id).into_iter().flat_map(|member| &member.needs);
        self.may_leave.extend(needs.filter(|need| self.leaving.contains(need)));
        true
    }

    fn release_permit(&mut self, id: MemberId) {
        if let Some(member) = self.members.get_mut(&id) {
            self.permits_used -= usize::from(std::mem::take(&mut member.permit));
        }
    }
}
