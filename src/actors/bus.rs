//! The event bus: numbers every [`Event`], keeps the last ones, and hands them to whoever listens.
//!
//! Publishing never waits. A listener that falls behind loses the oldest events and is told how many;
//! it is never allowed to slow the publisher (promise 7).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use crate::types::event::{Event, Kind};

/// Events kept for those who resume; also how far a listener may fall behind.
pub(crate) const KEPT: usize = 1024;

/// A cheap handle to the bus.
#[derive(Debug, Clone)]
pub(crate) struct Bus {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    kept: Mutex<Kept>,
    live: broadcast::Sender<Arc<Event>>,
}

#[derive(Debug)]
struct Kept {
    next_seq: u64,
    actor_failures: u64,
    events: VecDeque<Arc<Event>>,
}

/// What a listener gets first, and then the stream.
#[derive(Debug)]
pub(crate) struct Subscription {
    /// Events after the wanted one that are still kept, oldest first.
    pub(crate) past: Vec<Arc<Event>>,
    /// Events that were wanted and are gone.
    pub(crate) missed: u64,
    /// What happens from now on.
    pub(crate) live: broadcast::Receiver<Arc<Event>>,
}

impl Default for Bus {
    fn default() -> Self {
        let (live, _) = broadcast::channel(KEPT);
        let kept = Mutex::new(Kept { next_seq: 1, actor_failures: 0, events: VecDeque::new() });
        Self { shared: Arc::new(Shared { kept, live }) }
    }
}

/// What was published, written down.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    next_seq: u64,
    actor_failures: u64,
    events: VecDeque<Arc<Event>>,
}

impl Bus {
    /// Goes on with the numbers and the events of another image of cafe.
    pub(crate) fn resumed(record: Record) -> Self {
        let bus = Self::default();
        {
            let mut kept = bus.shared.kept.lock().unwrap_or_else(PoisonError::into_inner);
            let Record { next_seq, actor_failures, events } = record;
            *kept = Kept { next_seq, actor_failures, events };
        }
        bus
    }

    /// What there is so far.
    pub(crate) fn record(&self) -> Record {
        let kept = self.shared.kept.lock().unwrap_or_else(PoisonError::into_inner);
        Record {
            next_seq: kept.next_seq,
            actor_failures: kept.actor_failures,
            events: kept.events.clone(),
        }
    }

    /// Numbers an event, keeps it and sends it to all listeners.
    pub(crate) fn publish(&self, kind: Kind) {
        // A panic while the lock was held leaves the queue whole: every step below is one push or pop.
        let mut kept = self.shared.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let event = Arc::new(Event { seq: kept.next_seq, at: Timestamp::now(), kind });
        kept.next_seq += 1;
        kept.actor_failures += u64::from(matches!(event.kind, Kind::Actor { .. }));
        if kept.events.len() == KEPT {
            kept.events.pop_front();
        }
        kept.events.push_back(Arc::clone(&event));
        // Sent under the lock, so that order in the stream is order of the numbers.
        let _ = self.shared.live.send(event);
    }

    /// Listens to everything after event number `after`; `None` means from now on.
    #[must_use]
    pub(crate) fn subscribe(&self, after: Option<u64>) -> Subscription {
        let kept = self.shared.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let live = self.shared.live.subscribe();
        let Some(after) = after else { return Subscription { past: Vec::new(), missed: 0, live } };
        let past: Vec<Arc<Event>> =
            kept.events.iter().filter(|event| event.seq > after).cloned().collect();
        let first_kept = past.first().map_or(kept.next_seq, |event| event.seq);
        Subscription { past, missed: first_kept.saturating_sub(after + 1), live }
    }

    /// How many events there were.
    #[must_use]
    pub(crate) fn count(&self) -> u64 {
        self.shared.kept.lock().unwrap_or_else(PoisonError::into_inner).next_seq - 1
    }

    /// How often a part of cafe itself failed.
    #[must_use]
    pub(crate) fn actor_failures(&self) -> u64 {
        self.shared.kept.lock().unwrap_or_else(PoisonError::into_inner).actor_failures
    }
}

#[cfg(test)]
mod tests {
    use super::{Bus, KEPT};
    use crate::types::event::Kind;

    fn say(bus: &Bus, text: &str) {
        bus.publish(Kind::Daemon { message: text.to_owned() });
    }

    #[tokio::test]
    async fn a_listener_resumes_without_gap_or_repeat() {
        let bus = Bus::default();
        say(&bus, "one");
        say(&bus, "two");
        let mut subscription = bus.subscribe(Some(1));
        say(&bus, "three");
        assert_eq!(subscription.missed, 0);
        assert_eq!(subscription.past.iter().map(|event| event.seq).collect::<Vec<_>>(), [2]);
        assert_eq!(subscription.live.recv().await.expect("live").seq, 3);
    }

    #[test]
    fn what_is_no_longer_kept_is_counted() {
        let bus = Bus::default();
        for _ in 0..KEPT + 10 {
            say(&bus, "event");
        }
        let subscription = bus.subscribe(Some(0));
        assert_eq!(subscription.missed, 10);
        assert_eq!(subscription.past.len(), KEPT);
    }

    #[test]
    fn a_listener_that_never_reads_holds_nobody_up() {
        let bus = Bus::default();
        let _idle = bus.subscribe(None);
        for _ in 0..3 * KEPT {
            say(&bus, "event");
        }
        assert_eq!(bus.count(), 3 * KEPT as u64);
    }
}
