//! Moments written down. The monotonic clock counts from the start of the machine, so they mean the same to every
//! process until it is started anew: clock_gettime(2).

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// A moment, as its distance from the start of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Moment(Duration);

impl Moment {
    /// This one.
    #[must_use]
    pub fn now() -> Self {
        Self(Duration::try_from(clock_gettime(ClockId::Monotonic)).unwrap_or_default())
    }

    /// How long ago it was; nothing when it is still to come.
    #[must_use]
    pub fn elapsed(self) -> Duration {
        Self::now().0.saturating_sub(self.0)
    }

    /// How long it is until then; nothing when it is over.
    #[must_use]
    pub fn left(self) -> Duration {
        self.0.saturating_sub(Self::now().0)
    }
}

impl From<Instant> for Moment {
    fn from(instant: Instant) -> Self {
        let (now, here) = (Self::now().0, Instant::now());
        Self(
            now.saturating_sub(here.saturating_duration_since(instant))
                + (instant.saturating_duration_since(here)),
        )
    }
}

impl From<Moment> for Instant {
    fn from(moment: Moment) -> Self {
        let (now, here) = (Moment::now().0, Self::now());
        let past = here.checked_sub(now.saturating_sub(moment.0)).unwrap_or(here);
        past + moment.0.saturating_sub(now)
    }
}

/// For `#[serde(with = "...")]` of an [`Instant`].
pub mod instant {
    use std::time::Instant;

    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    use super::Moment;

    /// Writes it as a [`Moment`].
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(instant: &Instant, serializer: S) -> Result<S::Ok, S::Error> {
        Moment::from(*instant).serialize(serializer)
    }

    /// Reads a [`Moment`].
    ///
    /// # Errors
    /// Those of the deserializer.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Instant, D::Error> {
        Moment::deserialize(deserializer).map(Instant::from)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::Moment;

    #[test]
    fn what_is_written_down_is_the_same_moment() {
        let hour = Duration::from_secs(3600);
        for moment in [Instant::now(), Instant::now() + hour] {
            let back = Instant::from(Moment::from(moment));
            let off = back.max(moment) - back.min(moment);
            assert!(off < Duration::from_millis(100), "{off:?}");
        }
        let left = Moment::from(Instant::now() + hour).left();
        assert!(left <= hour && left > hour - Duration::from_secs(10), "{left:?}");
        assert!(Moment::now().left().is_zero());
    }
}
