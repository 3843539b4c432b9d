//! The restart window: how many restarts happened lately. Counts, never decides what follows.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::types::is_default;
use crate::types::policy::Intensity;

/// Times of the latest restarts, oldest first; at most one more than the limit is kept.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Window {
    #[serde(default, skip_serializing_if = "is_default")]
    times: Vec<Duration>,
}

impl Window {
    /// Counts a restart at `now` and tells whether it is one too many.
    ///
    /// As in OTP, a restart exactly `within` ago still counts, and more than `restarts` are too many.
    pub fn count(&mut self, limit: &Intensity, now: Duration) -> bool {
        let expired = self.times.partition_point(|time| now.saturating_sub(*time) > limit.within);
        self.times.drain(..expired);
        self.times.push(now);
        let allowed = usize::try_from(limit.restarts).unwrap_or(usize::MAX);
        let surplus = self.times.len().saturating_sub(allowed.saturating_add(1));
        self.times.drain(..surplus);
        self.times.len() > allowed
    }

    /// Forgets all restarts: a start by hand begins anew. Returns the memory.
    pub fn clear(&mut self) {
        self.times = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::Window;
    use crate::types::policy::{Intensity, OnLimit};

    fn limit(restarts: u32, within: u64) -> Intensity {
        Intensity { restarts, within: Duration::from_millis(within), then: OnLimit::GiveUp }
    }

    #[test]
    fn one_more_than_allowed_is_too_many() {
        let mut window = Window::default();
        assert!(!window.count(&limit(2, 10), Duration::ZERO));
        assert!(!window.count(&limit(2, 10), Duration::ZERO));
        assert!(window.count(&limit(2, 10), Duration::ZERO));
    }

    #[test]
    fn a_limit_of_zero_allows_none() {
        assert!(Window::default().count(&limit(0, 10), Duration::ZERO));
    }

    #[test]
    fn the_edge_of_the_window_still_counts() {
        let at = Duration::from_millis;
        let mut window = Window::default();
        assert!(!window.count(&limit(1, 10), at(0)));
        assert!(window.clone().count(&limit(1, 10), at(10)));
        assert!(!window.count(&limit(1, 10), at(11)));
    }

    #[test]
    fn a_cleared_window_begins_anew() {
        let mut window = Window::default();
        assert!(!window.count(&limit(1, 10), Duration::ZERO));
        window.clear();
        assert!(!window.count(&limit(1, 10), Duration::ZERO));
    }

    proptest! {
        #[test]
        fn agrees_with_counting_every_restart(
            restarts in 0u32..6,
            within in 0u64..50,
            steps in proptest::collection::vec(0u64..20, 0..200),
        ) {
            let mut window = Window::default();
            let mut all = Vec::new();
            let mut now = 0;
            for step in steps {
                now += step;
                all.push(now);
                let recent = all.iter().filter(|time| **time + within >= now).count();
                let over = window.count(&limit(restarts, within), Duration::from_millis(now));
                prop_assert_eq!(over, recent > restarts as usize);
                prop_assert!(window.times.len() <= restarts as usize + 1);
            }
        }
    }
}
