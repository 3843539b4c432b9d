//! How long to wait before the next try. Pure: randomness and time are given in.

use std::time::Duration;

use crate::types::policy::Backoff;

/// Upper bound of the delay before try number `attempt` (0 is the first): doubled each time, capped.
#[must_use]
pub fn bound(backoff: &Backoff, attempt: u32) -> Duration {
    let factor = 1u32.checked_shl(attempt).unwrap_or(u32::MAX);
    backoff.min.saturating_mul(factor).min(backoff.max)
}

/// A delay drawn evenly from nothing to [`bound`]: full jitter, so that many children never restart in lockstep.
///
/// <https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>
pub fn delay(backoff: &Backoff, attempt: u32, random: &mut fastrand::Rng) -> Duration {
    let bound = bound(backoff, attempt);
    bound.mul_f64(random.f64()).min(bound)
}

/// Whether a child that ran for `healthy` has earned the first delay again.
#[must_use]
pub fn is_reset(backoff: &Backoff, healthy: Duration) -> bool {
    healthy >= backoff.reset_after
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::{bound, delay, is_reset};
    use crate::types::policy::Backoff;

    fn backoff(min: u64, max: u64) -> Backoff {
        Backoff {
            min: Duration::from_millis(min),
            max: Duration::from_millis(max),
            reset_after: Duration::from_secs(10),
        }
    }

    #[test]
    fn doubles_up_to_the_cap() {
        let bounds: Vec<_> = (0..6).map(|n| bound(&backoff(100, 1000), n).as_millis()).collect();
        assert_eq!(bounds, [100, 200, 400, 800, 1000, 1000]);
    }

    #[test]
    fn no_number_of_attempts_overflows() {
        assert_eq!(bound(&backoff(100, 30_000), u32::MAX), Duration::from_secs(30));
        let longest =
            Backoff { min: Duration::MAX, max: Duration::MAX, reset_after: Duration::ZERO };
        assert_eq!(bound(&longest, 31), Duration::MAX);
    }

    #[test]
    fn zero_stays_zero() {
        let mut random = fastrand::Rng::with_seed(1);
        assert!((0..70).all(|n| delay(&backoff(0, 0), n, &mut random).is_zero()));
    }

    #[test]
    fn healthy_time_resets() {
        assert!(!is_reset(&backoff(1, 2), Duration::from_millis(9_999)));
        assert!(is_reset(&backoff(1, 2), Duration::from_secs(10)));
    }

    #[test]
    fn jitter_covers_the_whole_range() {
        let mut random = fastrand::Rng::with_seed(7);
        let drawn: Vec<_> =
            (0..1000).map(|_| delay(&backoff(1000, 1000), 0, &mut random).as_millis()).collect();
        assert!(drawn.iter().any(|millis| *millis < 50));
        assert!(drawn.iter().any(|millis| *millis > 950));
        let mean = drawn.iter().sum::<u128>() / 1000;
        assert!((450..550).contains(&mean), "mean {mean}");
    }

    proptest! {
        #[test]
        fn agrees_with_doubling_by_hand(
            min in 0u64..10_000,
            max in 0u64..100_000,
            attempt in 0u32..80,
            seed: u64,
        ) {
            let mut expected = u128::from(min);
            for _ in 0..attempt {
                expected = (expected * 2).min(u128::from(max));
            }
            let expected = expected.min(u128::from(max));
            prop_assert_eq!(bound(&backoff(min, max), attempt).as_millis(), expected);
            let mut random = fastrand::Rng::with_seed(seed);
            prop_assert!(delay(&backoff(min, max), attempt, &mut random).as_millis() <= expected);
        }
    }
}
