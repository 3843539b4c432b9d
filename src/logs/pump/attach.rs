//! Which lane an incarnation is read in, and what ends for it: of two that overlap each has its own.

use super::Source;
use super::worker::Worker;

impl Worker {
    /// Reads from an incarnation from now on.
    pub(super) fn attach(&mut self, source: Source) {
        let slot = self.slot_for(&source.service, source.options);
        let left = source.found.then_some(source.generation);
        if !source.beside {
            self.finish_others(slot, source.found);
        }
        let lane = self.make_room(slot, left);
        if source.watch_for.is_some() {
            self.awaited.insert(slot);
        }
        if let Some(service) = self.services[slot].as_mut() {
            service.begin(lane, source);
        }
        self.watch(slot);
    }

    /// Ends what does not go on beside the next. Of processes that are found, all but the first are yet to come, and with
    /// them what goes on in the lines that the last cafe left of theirs.
    fn finish_others(&mut self, slot: usize, found: bool) {
        for number in [1, 0] {
            let lane = self.services[slot].as_ref().and_then(|service| service.lane(number));
            if lane.is_some_and(|lane| lane.is_attached() || !found) {
                self.finish_lane(slot, number);
            }
        }
    }

    /// Number of a lane to attach to: the one with what an earlier pump left of this incarnation, or a free one, in which
    /// whatever was left is ended. When two are attached, both are.
    pub(super) fn make_room(&mut self, slot: usize, left: Option<u64>) -> usize {
        let Some(service) = self.services[slot].as_ref() else { return 0 };
        let left = left.and_then(|generation| {
            service.lanes().position(|it| it.generation == generation && !it.is_attached())
        });
        if let Some(number) = left {
            return number;
        }
        let room = service.room();
        match room {
            Some(number) => _ = self.finish_lane(slot, number),
            None => self.finish(slot),
        }
        room.unwrap_or(0)
    }
}
