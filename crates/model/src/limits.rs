//! Limits of an account: its calls, its rates, and the webhooks of an agent.
//!
//! Token buckets limit rates. A stored bucket is one number, the time at which it will be full again (the generic cell
//! rate algorithm, ITU-T I.371), so that taking a token is one conditional write, and no process refills buckets.
//! [`Counters`] limit calls: a transaction that changes a conversation's [`Slots`] changes them too.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{accounts::Limits, backoff::Jitter, costs::Usd, time::Timestamp};

/// Maximum number of an account's calls that wait to be dialled: more than a quarter of an hour at one per second.
pub const MAX_WAITING: u32 = 1_000;

/// Maximum number of calls that an account starts per second: each writes its counters four times, and they are one key of
/// the table. In calls of three minutes, 3,600 are live then.
pub const MAX_CALLS_PER_SECOND: u32 = 20;

/// Maximum number of webhooks of an agent: each multiplies the messages and writes of every event.
pub const MAX_WEBHOOKS: usize = 20;

/// Minimum delay before a waiting call tries again.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);
/// Time after that over which the waiting calls spread their tries, for few calls and for very many.
const SHORTEST_SPREAD: Duration = Duration::from_secs(2);
const LONGEST_SPREAD: Duration = Duration::from_mins(14);

/// The calls that an account may start per second: its own limit, at most [`MAX_CALLS_PER_SECOND`], and at most those that the
/// deployment's account at the carrier may start. None for calls through the customer's own account there.
#[must_use]
pub fn calls_per_second(limits: &Limits, deployment: Option<u32>) -> u32 {
    let own = limits.calls_per_second.min(MAX_CALLS_PER_SECOND);
    own.min(deployment.unwrap_or(u32::MAX)).max(1)
}

/// Whether an account has spent what it may in a day.
#[must_use]
pub fn is_spent(spent: Usd, limits: &Limits) -> bool {
    spent.as_micros() >= u64::from(limits.daily_spend_usd) * 1_000_000
}

/// The slots that a conversation takes of its account's limits: one for each leg that has not ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Slots {
    /// Legs that wait to be dialled.
    pub waiting: u32,
    /// Legs of outbound calls that are dialled, ring or talk.
    pub live: u32,
    /// Legs of inbound and web calls that ring or talk.
    pub inbound: u32,
}

/// The amounts that a write adds to an account's [`Counters`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Change {
    /// To the calls that wait.
    pub waiting: i64,
    /// To the outbound calls that are live.
    pub live: i64,
    /// To the inbound calls that are live.
    pub inbound: i64,
}

impl Slots {
    /// The change when a conversation that took these slots takes those of `after`.
    #[must_use]
    pub fn change(self, after: Self) -> Change {
        Change {
            waiting: i64::from(after.waiting) - i64::from(self.waiting),
            live: i64::from(after.live) - i64::from(self.live),
            inbound: i64::from(after.inbound) - i64::from(self.inbound),
        }
    }
}

/// The number of an account's calls, as it is stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counters {
    /// Calls that wait to be dialled.
    pub waiting: i64,
    /// Live outbound calls.
    pub live: i64,
    /// Live inbound and web calls.
    pub inbound: i64,
    /// The bucket of calls per second.
    pub full_at: Option<i64>,
}

/// The amounts that an account uses of its [`Limits`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccountUsage {
    /// Its calls.
    pub counters: Counters,
    /// The bucket of its requests per second.
    pub requests: Option<i64>,
    /// Its phone numbers, in any standing.
    pub phone_numbers: u32,
    /// The calling codes of those that it bought.
    pub own_countries: Vec<String>,
    /// The numbers that it bought today (UTC).
    pub bought: u32,
    /// The cost of its conversations that ended today (UTC).
    pub spent: Usd,
}

impl Counters {
    /// Whether another inbound call is admitted.
    #[must_use]
    pub fn admits_inbound(&self, limits: &Limits) -> bool {
        self.inbound < i64::from(limits.inbound_calls)
    }

    /// Whether another outbound call may be live.
    #[must_use]
    pub fn has_slot(&self, limits: &Limits) -> bool {
        self.live < i64::from(limits.live_calls)
    }

    /// Admits another call at `now`, and returns the token that it takes from the account's share of the deployment's
    /// calls per second. None if the call has to wait.
    #[must_use]
    pub fn admit(&self, limits: &Limits, now: Timestamp) -> Option<Take> {
        if !self.has_slot(limits) {
            return None;
        }
        Rate::calls(limits).take(self.full_at, now).ok()
    }

    /// The number of waiting calls for which there is a slot.
    #[must_use]
    pub fn room(&self, limits: &Limits) -> usize {
        let free = i64::from(limits.live_calls).saturating_sub(self.live);
        usize::try_from(free.min(self.waiting)).unwrap_or(0)
    }

    /// The delay before a call that has a slot, but exceeds the calls per second, tries again. It grows with the number
    /// of such calls, so that all together they try about as often as calls may start, `per_second`
    /// ([`calls_per_second`]). `jitter` chooses the time within it.
    #[must_use]
    pub fn try_again_after(&self, limits: &Limits, per_second: u32, jitter: Jitter) -> Duration {
        let room = u64::try_from(self.room(limits)).unwrap_or(u64::MAX);
        let seconds = room / u64::from(per_second.max(1));
        let spread = Duration::from_secs(seconds).clamp(SHORTEST_SPREAD, LONGEST_SPREAD);
        SHORTEST_WAIT + jitter.of(spread)
    }
}

/// A rate limit: a bucket of tokens that fills at an even pace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Time between two tokens, in microseconds.
    interval: i64,
    /// Maximum number of tokens in the bucket.
    burst: i64,
    /// Tokens that a request takes.
    tokens: i64,
}

/// The conditional write that takes a token from a stored bucket, whose one number is in microseconds since 1970. Its
/// condition fails if another request has taken the last token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Take {
    /// From a full bucket: on condition that it is still full at `now` or was never used, it is full again at
    /// `full_at`.
    First {
        /// The time.
        now: i64,
        /// The bucket afterwards.
        full_at: i64,
    },
    /// From a bucket that lacks tokens: on condition that it is full again by `latest`, it is full `interval` later.
    Next {
        /// The emptiest bucket that still has a token.
        latest: i64,
        /// The time added to the bucket, in microseconds.
        interval: i64,
    },
}

impl Rate {
    /// A rate of `per_second` tokens per second, and at most `burst` at once. Zero counts as one.
    #[must_use]
    pub fn new(per_second: u32, burst: u32) -> Self {
        Self { interval: 1_000_000 / i64::from(per_second.max(1)), burst: i64::from(burst.max(1)), tokens: 1 }
    }

    /// The rate of call starts. The calls of a second may start together.
    #[must_use]
    pub fn calls(limits: &Limits) -> Self {
        let rate = calls_per_second(limits, None);
        Self::new(rate, rate)
    }

    /// The rate at which one account at the carrier may start calls: the carrier queues, or refuses, what exceeds it.
    #[must_use]
    pub fn carrier_calls(per_second: u32) -> Self {
        Self::new(per_second, per_second)
    }

    /// The rate of API requests. The requests of two seconds may come together.
    #[must_use]
    pub fn requests(limits: &Limits) -> Self {
        Self::new(limits.requests_per_second, limits.requests_per_second.saturating_mul(2))
    }

    /// The rate of the carrier's requests about inbound calls to one number: with the token of an imported number its
    /// customer can make them without a telephone. As many as may be live may come at once, then a tenth of them per second.
    #[must_use]
    pub fn inbound_requests(limits: &Limits) -> Self {
        Self::new(limits.inbound_calls / 10, limits.inbound_calls.max(10))
    }

    /// The same bucket, from which each request takes this many tokens; from a full one in any case.
    #[must_use]
    pub fn weighing(self, tokens: u32) -> Self {
        Self { tokens: i64::from(tokens.max(1)), ..self }
    }

    /// The most that may come at once.
    #[must_use]
    pub fn burst(self) -> u32 {
        u32::try_from(self.burst).unwrap_or(u32::MAX)
    }

    /// The tokens that a bucket lacks at `now`.
    #[must_use]
    pub fn used(self, full_at: Option<i64>, now: Timestamp) -> u32 {
        let now = now.as_millis().saturating_mul(1_000);
        let lacks = full_at.map_or(0, |full_at| full_at.saturating_sub(now).max(0));
        u32::try_from(lacks.saturating_add(self.interval - 1) / self.interval).unwrap_or(u32::MAX)
    }

    /// Takes the tokens of a request from a bucket at `now`; a bucket of none was never used.
    ///
    /// # Errors
    /// The bucket is empty. The error is the time until the next token.
    pub fn take(self, full_at: Option<i64>, now: Timestamp) -> Result<Take, Duration> {
        let now = now.as_millis().saturating_mul(1_000);
        let latest = now.saturating_add((self.burst - self.tokens).max(0) * self.interval);
        let interval = self.tokens * self.interval;
        match full_at {
            Some(full_at) if full_at > latest => {
                Err(Duration::from_micros(full_at.saturating_sub(latest).unsigned_abs()))
            }
            Some(full_at) if full_at > now => Ok(Take::Next { latest, interval }),
            _ => Ok(Take::First { now, full_at: now.saturating_add(interval) }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(1_795_339_800_000 + ms)
    }

    /// The bucket after the write of `take`.
    fn written(take: Take, full_at: Option<i64>) -> Option<i64> {
        match take {
            Take::First { full_at, .. } => Some(full_at),
            Take::Next { interval, .. } => full_at.map(|full_at| full_at + interval),
        }
    }

    /// Takes all tokens that there are at `now`, and counts them.
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
    fn a_bucket_gives_its_burst_and_then_a_token_per_interval() {
        let rate = Rate::requests(&Limits::default());
        let mut bucket = None;
        assert_eq!((rate.burst(), rate.used(bucket, at(0))), (40, 0));
        assert_eq!(drain(rate, &mut bucket, at(0)), 40);
        assert_eq!([0, 1, 51, 9_000].map(|ms| rate.used(bucket, at(ms))), [40, 40, 39, 0]);
        assert_eq!(drain(rate, &mut bucket, at(49)), 0);
        assert_eq!(drain(rate, &mut bucket, at(50)), 1);
        assert_eq!(drain(rate, &mut bucket, at(1_050)), 20);
        assert_eq!(drain(rate, &mut bucket, at(100_000)), 40, "it never holds more than its burst");
    }

    #[test]
    fn a_request_that_weighs_more_takes_more_tokens() {
        let (rate, mut full_at) = (Rate::new(5, 10), None);
        assert_eq!(drain(rate.weighing(4), &mut full_at, at(0)), 2);
        assert_eq!(drain(rate, &mut full_at, at(0)), 2, "what they left");
        let mut full_at = None;
        assert_eq!(drain(rate.weighing(100), &mut full_at, at(0)), 1, "a full bucket gives one");
    }

    #[test]
    fn an_empty_bucket_returns_the_time_until_the_next_token() {
        let rate = Rate::new(1, 1);
        let mut bucket = None;
        assert_eq!(drain(rate, &mut bucket, at(0)), 1);
        assert_eq!(rate.take(bucket, at(300)), Err(Duration::from_millis(700)));
        assert_eq!(drain(rate, &mut bucket, at(999)), 0);
        assert_eq!(drain(rate, &mut bucket, at(1_000)), 1);
    }

    #[test]
    fn a_clock_that_goes_back_adds_and_removes_no_tokens() {
        let rate = Rate::new(2, 2);
        let mut bucket = None;
        assert_eq!(drain(rate, &mut bucket, at(1_000)), 2);
        assert_eq!(drain(rate, &mut bucket, at(0)), 0);
        assert_eq!(drain(rate, &mut bucket, at(2_000)), 2);
    }

    #[test]
    fn a_limit_of_zero_counts_as_one_and_a_huge_one_does_not_overflow() {
        assert_eq!(Rate::new(0, 0), Rate::new(1, 1));
        let huge = Limits { requests_per_second: u32::MAX, ..Limits::default() };
        assert!(Rate::requests(&huge).take(None, at(0)).is_ok());
    }

    #[test]
    fn a_call_is_dialled_if_there_is_a_slot_and_a_token() {
        let limits = Limits { live_calls: 2, calls_per_second: 1, ..Limits::default() };
        let free = Counters { waiting: 5, live: 1, ..Counters::default() };
        let Some(take) = free.admit(&limits, at(0)) else { panic!("nothing speaks against it") };
        let full_at = written(take, None);
        assert_eq!(Counters { full_at, ..free }.admit(&limits, at(999)), None, "no token yet");
        assert!(Counters { full_at, ..free }.admit(&limits, at(1_000)).is_some());
        assert_eq!(Counters { live: 2, ..free }.admit(&limits, at(0)), None);
        // The limit was lowered.
        assert_eq!(Counters { live: 7, ..free }.admit(&limits, at(0)), None);
        assert!(Counters { inbound: 7, ..free }.admit(&limits, at(0)).is_some(), "a share of their own");
    }

    #[test]
    fn a_days_spending_reaches_its_limit() {
        let limits = Limits { daily_spend_usd: 2, ..Limits::default() };
        assert!(!is_spent(Usd::from_micros(1_999_999), &limits));
        assert!(is_spent(Usd::from_micros(2_000_000), &limits));
        assert!(is_spent(Usd::ZERO, &Limits { daily_spend_usd: 0, ..limits }));
    }

    #[test]
    fn inbound_calls_have_a_share_of_their_own() {
        let limits = Limits { live_calls: 1, inbound_calls: 2, ..Limits::default() };
        let busy = Counters { live: 1, inbound: 1, ..Counters::default() };
        assert!(busy.admits_inbound(&limits));
        assert!(!Counters { inbound: 2, ..busy }.admits_inbound(&limits));
        let rate = Rate::inbound_requests(&limits);
        let mut bucket = None;
        assert_eq!(drain(rate, &mut bucket, at(0)), 10);
        assert_eq!(drain(rate, &mut bucket, at(1_000)), 1);
        let many = Rate::inbound_requests(&Limits { inbound_calls: 200, ..limits });
        let mut bucket = None;
        assert_eq!((drain(many, &mut bucket, at(0)), drain(many, &mut bucket, at(1_000))), (200, 20));
    }

    #[test]
    fn waiting_calls_try_again_later_the_more_of_them_there_are() {
        let limits = Limits { live_calls: 2_000, ..Limits::default() };
        let bounds = |waiting, limits: &Limits, per_second| {
            let counters = Counters { waiting, ..Counters::default() };
            let [first, last] = [0, 255 << 24]
                .map(|random| counters.try_again_after(limits, per_second, Jitter::new(random)));
            (first.as_millis(), last.as_millis())
        };
        assert_eq!(bounds(1, &limits, 1), (1_000, 2_992));
        assert_eq!(bounds(-1, &limits, 1), bounds(1, &limits, 1));
        assert_eq!(bounds(20, &limits, 1), (1_000, 20_921));
        assert_eq!(bounds(20, &limits, 10), (1_000, 2_992));
        assert_eq!(bounds(1_000, &limits, 1), (1_000, 837_718));
        assert_eq!(bounds(1_000, &Limits { live_calls: 20, ..limits.clone() }, 1), bounds(20, &limits, 1));
    }

    #[test]
    fn the_lowest_limit_is_the_rate_of_call_starts() {
        let rate = |own, deployment| {
            calls_per_second(&Limits { calls_per_second: own, ..Limits::default() }, deployment)
        };
        assert_eq!([rate(5, Some(1)), rate(2, Some(9)), rate(50, Some(30)), rate(5, None)], [1, 2, 20, 5]);
        assert_eq!(rate(0, Some(0)), 1);
    }

    #[test]
    fn waiting_calls_without_a_slot_have_no_room() {
        let limits = Limits { live_calls: 5, ..Limits::default() };
        let room = |waiting, live| Counters { waiting, live, inbound: 0, full_at: None }.room(&limits);
        assert_eq!(
            [room(9, 0), room(2, 1), room(9, 5), room(9, 7), room(0, 0), room(-1, 0)],
            [5, 2, 0, 0, 0, 0]
        );
    }

    #[test]
    fn a_change_of_slots_is_undone_by_its_reverse() {
        let slots = [(0, 0), (1, 0), (0, 1), (1, 2)];
        let slots = slots.map(|(waiting, live)| Slots { waiting, live, inbound: live * 2 });
        for from in slots {
            assert_eq!(from.change(from), Change::default());
            for to in slots {
                let (there, back) = (from.change(to), to.change(from));
                assert_eq!((there.waiting, there.live), (-back.waiting, -back.live));
                assert_eq!(there.inbound, -back.inbound);
            }
        }
        let [_, waiting, live, _] = slots;
        assert_eq!(waiting.change(live), Change { waiting: -1, live: 1, inbound: 2 });
    }
}
