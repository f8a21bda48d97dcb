//! How much of the deployment an account uses, and when it has to wait.
//!
//! Rates are kept by token buckets. A stored bucket is one number, the time at which it will be full again
//! (the generic cell rate algorithm, ITU-T I.371): so taking a token is one conditional write, and nothing
//! ever refills a bucket. Calls are counted by [`Counters`], which the same transaction changes that changes
//! the conversation, by its [`Slots`].

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{accounts::Limits, backoff::Jitter, time::Timestamp};

/// No more calls of an account than this wait to be dialled: at one a second more than a quarter of an hour.
pub const MAX_WAITING: u32 = 1_000;

/// A call that has to wait does not try again sooner.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);
/// After that, over how long the waiting calls spread their tries: a few of them, and very many.
const SHORTEST_SPREAD: Duration = Duration::from_secs(2);
const LONGEST_SPREAD: Duration = Duration::from_mins(1);

/// The slots that a conversation takes of its account's limits: one for each leg that has not ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Slots {
    /// Legs that wait to be dialled.
    pub waiting: u32,
    /// Legs that are dialled, ring or talk.
    pub live: u32,
}

/// The amounts that a write adds to an account's [`Counters`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Change {
    /// To the calls that wait.
    pub waiting: i64,
    /// To the calls that are live.
    pub live: i64,
}

impl Slots {
    /// The change when a conversation that took these slots takes those of `after`.
    #[must_use]
    pub fn change(self, after: Self) -> Change {
        Change {
            waiting: i64::from(after.waiting) - i64::from(self.waiting),
            live: i64::from(after.live) - i64::from(self.live),
        }
    }
}

/// The calls of an account that go on, as they are stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counters {
    /// How many wait to be dialled.
    pub waiting: i64,
    /// How many are live, inbound ones among them: those are never refused, but others wait for their end.
    pub live: i64,
    /// The bucket of calls per second.
    pub full_at: Option<i64>,
}

impl Counters {
    /// Whether another call may be dialled at `now`, and what that takes out of the bucket of calls per
    /// second; none if it has to wait.
    #[must_use]
    pub fn admit(&self, limits: &Limits, now: Timestamp) -> Option<Take> {
        if self.live >= i64::from(limits.live_calls) {
            return None;
        }
        Rate::calls(limits).take(self.full_at, now).ok()
    }

    /// How long a call that has to wait waits before it tries again: the more wait, the longer, so that all
    /// together they try about as often as calls may be started. `jitter` says when in that time.
    #[must_use]
    pub fn try_again_after(&self, limits: &Limits, jitter: Jitter) -> Duration {
        let seconds = self.waiting.max(0).unsigned_abs() / u64::from(limits.calls_per_second.max(1));
        let spread = Duration::from_secs(seconds).clamp(SHORTEST_SPREAD, LONGEST_SPREAD);
        SHORTEST_WAIT + jitter.of(spread)
    }
}

/// How often something may happen: a bucket of tokens that fills at an even pace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Between two tokens, in microseconds.
    interval: i64,
    /// How many tokens the bucket holds.
    burst: i64,
}

/// How a token is taken out of a stored bucket, whose one number is in microseconds since 1970. Both ways
/// hold only as long as no other request has taken the last token: the write is on that condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Take {
    /// Out of a full one, if it is still full at `now` or was never used: it is full again at `full_at`.
    First {
        /// The time.
        now: i64,
        /// The bucket afterwards.
        full_at: i64,
    },
    /// Out of one that lacks some, if it is full again at `latest` at the latest: it is so `interval` later.
    Next {
        /// The emptiest bucket that still has a token.
        latest: i64,
        /// The time added to the bucket, in microseconds.
        interval: i64,
    },
}

impl Rate {
    /// A rate of `per_second` tokens a second, and at most `burst` at once. Zero counts as one.
    #[must_use]
    pub fn new(per_second: u32, burst: u32) -> Self {
        Self { interval: 1_000_000 / i64::from(per_second.max(1)), burst: i64::from(burst.max(1)) }
    }

    /// The rate of call starts: a second's worth may start together.
    #[must_use]
    pub fn calls(limits: &Limits) -> Self {
        Self::new(limits.calls_per_second, limits.calls_per_second)
    }

    /// The rate of requests to the API: two seconds' worth may come together.
    #[must_use]
    pub fn requests(limits: &Limits) -> Self {
        Self::new(limits.requests_per_second, limits.requests_per_second.saturating_mul(2))
    }

    /// How a token is taken out of a bucket at `now`; none stands for one that was never used.
    ///
    /// # Errors
    /// It is empty; the next token comes after this time.
    pub fn take(self, full_at: Option<i64>, now: Timestamp) -> Result<Take, Duration> {
        let now = now.as_millis().saturating_mul(1_000);
        let latest = now.saturating_add((self.burst - 1) * self.interval);
        match full_at {
            Some(full_at) if full_at > latest => {
                Err(Duration::from_micros(full_at.saturating_sub(latest).unsigned_abs()))
            }
            Some(full_at) if full_at > now => Ok(Take::Next { latest, interval: self.interval }),
            _ => Ok(Take::First { now, full_at: now.saturating_add(self.interval) }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(1_795_339_800_000 + ms)
    }

    /// What a write of `take` would leave of a bucket.
    fn written(take: Take, full_at: Option<i64>) -> Option<i64> {
        match take {
            Take::First { full_at, .. } => Some(full_at),
            Take::Next { interval, .. } => full_at.map(|full_at| full_at + interval),
        }
    }

    /// How many tokens there are at `now`.
    fn drain(rate: Rate, full_at: &mut Option<i64>, now: Timestamp) -> usize {
        let mut taken = 0;
        while let Ok(take) = rate.take(*full_at, now) {
            *full_at = written(take, *full_at);
            taken += 1;
            assert!(taken < 10_000, "a bucket has an end");
        }
        taken
    }

    #[test]
    fn a_bucket_gives_its_burst_at_once_and_then_one_token_an_interval() {
        let rate = Rate::requests(&Limits::default());
        let mut bucket = None;
        assert_eq!(drain(rate, &mut bucket, at(0)), 40);
        assert_eq!(drain(rate, &mut bucket, at(49)), 0);
        assert_eq!(drain(rate, &mut bucket, at(50)), 1);
        assert_eq!(drain(rate, &mut bucket, at(1_050)), 20);
        assert_eq!(drain(rate, &mut bucket, at(100_000)), 40, "it never holds more than its burst");
    }

    #[test]
    fn an_empty_bucket_says_when_the_next_token_comes() {
        let rate = Rate::new(1, 1);
        let mut bucket = None;
        assert_eq!(drain(rate, &mut bucket, at(0)), 1);
        assert_eq!(rate.take(bucket, at(300)), Err(Duration::from_millis(700)));
        assert_eq!(drain(rate, &mut bucket, at(999)), 0);
        assert_eq!(drain(rate, &mut bucket, at(1_000)), 1);
    }

    #[test]
    fn a_clock_that_goes_back_gives_nothing_away_and_takes_nothing() {
        let rate = Rate::new(2, 2);
        let mut bucket = None;
        assert_eq!(drain(rate, &mut bucket, at(1_000)), 2);
        assert_eq!(drain(rate, &mut bucket, at(0)), 0);
        assert_eq!(drain(rate, &mut bucket, at(2_000)), 2);
    }

    #[test]
    fn a_limit_of_zero_lets_through_one_a_second_and_a_huge_one_does_not_overflow() {
        assert_eq!(Rate::new(0, 0), Rate::new(1, 1));
        let huge = Limits { requests_per_second: u32::MAX, ..Limits::default() };
        assert!(Rate::requests(&huge).take(None, at(0)).is_ok());
    }

    #[test]
    fn a_call_is_dialled_if_there_is_a_slot_and_a_token() {
        let limits = Limits { live_calls: 2, calls_per_second: 1, ..Limits::default() };
        let free = Counters { waiting: 5, live: 1, full_at: None };
        let Some(take) = free.admit(&limits, at(0)) else { panic!("nothing speaks against it") };
        let full_at = written(take, None);
        assert_eq!(Counters { full_at, ..free }.admit(&limits, at(999)), None, "no token yet");
        assert!(Counters { full_at, ..free }.admit(&limits, at(1_000)).is_some());
        assert_eq!(Counters { live: 2, ..free }.admit(&limits, at(0)), None);
        // More inbound calls than may be dialled are no reason to fail.
        assert_eq!(Counters { live: 7, ..free }.admit(&limits, at(0)), None);
    }

    #[test]
    fn calls_that_wait_try_again_in_seconds_and_the_more_of_them_the_later() {
        let limits = Limits::default();
        let bounds = |waiting, limits: &Limits| {
            let counters = Counters { waiting, ..Counters::default() };
            let [first, last] =
                [0, 255 << 24].map(|random| counters.try_again_after(limits, Jitter::new(random)));
            (first.as_millis(), last.as_millis())
        };
        assert_eq!(bounds(1, &limits), (1_000, 2_992));
        assert_eq!(bounds(-1, &limits), bounds(1, &limits));
        assert_eq!(bounds(20, &limits), (1_000, 20_921));
        assert_eq!(bounds(20, &Limits { calls_per_second: 10, ..limits.clone() }), (1_000, 2_992));
        assert_eq!(bounds(1_000, &limits), (1_000, 60_765));
    }

    #[test]
    fn a_change_of_slots_is_undone_by_its_reverse() {
        let slots = [(0, 0), (1, 0), (0, 1), (1, 2)].map(|(waiting, live)| Slots { waiting, live });
        for from in slots {
            assert_eq!(from.change(from), Change::default());
            for to in slots {
                let (there, back) = (from.change(to), to.change(from));
                assert_eq!((there.waiting, there.live), (-back.waiting, -back.live));
            }
        }
        let [_, waiting, live, _] = slots;
        assert_eq!(waiting.change(live), Change { waiting: -1, live: 1 });
    }
}
