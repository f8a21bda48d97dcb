//! Delays between attempts: backoff makes them grow, and jitter spreads them.
//!
//! Without jitter, work that failed together comes back together. Randomness is a parameter ([`Jitter`]); the runtime
//! draws it.

use std::time::Duration;

/// A random part of a whole, at least 0 and less than 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Jitter(u32);

impl Jitter {
    /// The part `random / 2^32`.
    #[must_use]
    pub const fn new(random: u32) -> Self {
        Self(random)
    }

    /// This part of `whole`: at least zero, and less than `whole`. Rounded down to nanoseconds.
    #[must_use]
    pub fn of(self, whole: Duration) -> Duration {
        let nanos = (whole.as_nanos() * u128::from(self.0)) >> u32::BITS;
        // A part of a duration is a duration.
        Duration::from_nanos_u128(nanos)
    }

    /// `delay` with up to a `share`-th of it added at random.
    #[must_use]
    pub fn above(self, delay: Duration, share: u32) -> Duration {
        delay + self.of(delay / share)
    }

    /// `delay`, shortened or lengthened at random by at most a `share`-th of it.
    #[must_use]
    pub fn around(self, delay: Duration, share: u32) -> Duration {
        let spread = delay / share;
        delay.saturating_sub(spread) + self.of(2 * spread)
    }
}

/// The delay before the attempt after `attempt` (from 0): `first`, doubled with every attempt, at most `longest`.
#[must_use]
pub fn exponential(first: Duration, attempt: u32, longest: Duration) -> Duration {
    first.saturating_mul(2_u32.saturating_pow(attempt)).min(longest)
}

/// The delay after a total wait of `waited`: half of that, at least `shortest`, at most `longest`. The longer work has
/// waited, the rarer its attempts are.
///
/// # Panics
/// Never: if `shortest` is more than `longest`, it is `shortest`.
#[must_use]
pub fn proportional(waited: Duration, shortest: Duration, longest: Duration) -> Duration {
    (waited / 2).min(longest).max(shortest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn exponential_delays_double_up_to_the_longest() {
        let delays = [0, 1, 2, 5, 40].map(|attempt| exponential(SECOND, attempt, 30 * SECOND).as_secs());
        assert_eq!(delays, [1, 2, 4, 30, 30]);
    }

    #[test]
    fn a_proportional_delay_is_half_of_the_time_waited() {
        let delay = |waited| proportional(waited * SECOND, 5 * SECOND, 60 * SECOND).as_secs();
        assert_eq!([0, 10, 40, 120, 3_000].map(delay), [5, 5, 20, 60, 60]);
    }

    proptest! {
        #[test]
        fn jitter_stays_within_its_share(random: u32, millis in 0..100_000_000_u64) {
            let (jitter, delay) = (Jitter::new(random), Duration::from_millis(millis));
            prop_assert!(jitter.of(delay) < delay.max(Duration::from_nanos(1)));
            prop_assert!((delay..=delay.mul_f64(1.2001)).contains(&jitter.above(delay, 5)));
            let around = jitter.around(delay, 5);
            prop_assert!(around >= delay.mul_f64(0.7999) && around <= delay.mul_f64(1.2001));
        }
    }
}
