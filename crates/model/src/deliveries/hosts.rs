//! In-flight slots and the circuit breaker of a host: the breaker pauses a host that keeps failing, and the slots limit
//! the requests at the same time. An account has a [`Window`] of slots for all its hosts together, since wildcard names
//! give one receiver as many hosts as it likes.

use std::{collections::BTreeMap, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::{
    backoff::{Jitter, proportional},
    time::Timestamp,
};

/// Number of in-flight slots of one account at one host.
pub const MAX_IN_FLIGHT: usize = 10;
/// Time after which an in-flight slot is free although it was not returned: longer than the function of the attempt can
/// run.
pub const IN_FLIGHT: Duration = Duration::from_secs(40);
/// Number of consecutive attempts without an answer that opens the circuit breaker.
pub const BREAKER_FAILURES: u32 = 5;
/// Time for which the breaker stays open. Then it admits one attempt as a probe.
pub const BREAKER_OPEN: Duration = Duration::from_secs(30);
/// Number of in-flight slots of an account at first, and after failures.
pub const SMALLEST_WINDOW: usize = 10;
/// Number of in-flight slots of an account from which on a process may keep some.
const KEEPING_WINDOW: usize = 4 * SMALLEST_WINDOW;
/// Number of in-flight slots of an account after many responses.
pub const LARGEST_WINDOW: usize = 100;
/// Maximum time for which an attempt is postponed. Then its delivery ends.
pub const HELD_AT_MOST: Duration = Duration::from_hours(24);

/// Minimum delay of a postponed attempt; maximum delays if the host has no free slot, and if the breaker is open.
const SOONEST: Duration = Duration::from_secs(1);
const LATEST_BUSY: Duration = Duration::from_mins(1);
const LATEST_OPEN: Duration = Duration::from_mins(15);

/// One account's receivers at one host (name and port).
///
/// Only attempts without an answer count as failures: any answer comes from one receiver, and says nothing about the
/// others at its host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Number of attempts without an answer since the last answer.
    pub failures: u32,
    /// The time until which the breaker is open.
    pub open_until: Option<Timestamp>,
    /// The used slots by attempt, each with the time at which it counts as lost.
    pub in_flight: BTreeMap<String, Timestamp>,
}

/// How a host answers, from its last attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// There was no attempt in the last day.
    Idle,
    /// The last attempt had a response.
    Responding,
    /// The last attempt had no response.
    Failing,
    /// The circuit breaker is open.
    Paused,
}

/// The decision about an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Admission {
    /// It has a slot and may start.
    Admitted,
    /// No slot is free, or the attempt itself has one already.
    Full,
    /// The breaker is open until this time.
    Open(Timestamp),
}

impl Host {
    /// Whether a process may keep slots for its next attempts: the host responds, and a quarter of the slots is free.
    #[must_use]
    pub fn may_keep_slots(&self) -> bool {
        self.failures == 0 && self.in_flight.len() <= MAX_IN_FLIGHT * 3 / 4
    }

    /// How the host answers, from its last attempts.
    #[must_use]
    pub fn health(&self, now: Timestamp) -> Health {
        match self.failures {
            0 => Health::Responding,
            BREAKER_FAILURES.. if self.open_until.is_some_and(|until| until > now) => Health::Paused,
            _ => Health::Failing,
        }
    }

    /// The number of attempts that are under way.
    #[must_use]
    pub fn under_way(&self, now: Timestamp) -> usize {
        under_way(&self.in_flight, now)
    }

    /// Takes a slot of this name, if the host admits it.
    pub fn admit(&mut self, slot: &str, now: Timestamp) -> Admission {
        self.in_flight.retain(|_, until| *until > now);
        if self.in_flight.contains_key(slot) || self.in_flight.len() >= MAX_IN_FLIGHT {
            return Admission::Full;
        }
        if self.failures >= BREAKER_FAILURES {
            if let Some(until) = self.open_until.filter(|until| *until > now) {
                return Admission::Open(until);
            }
            // This attempt is the probe; the others wait for its result.
            self.open_until = Some(now.after(BREAKER_OPEN));
        }
        self.in_flight.insert(slot.to_owned(), now.after(IN_FLIGHT));
        Admission::Admitted
    }

    /// Returns the slot of an attempt that was not made. If it was the probe of an open circuit breaker, the next attempt is.
    pub fn withdraw(&mut self, slot: &str) {
        if self.in_flight.remove(slot).is_some() && self.failures >= BREAKER_FAILURES {
            self.open_until = None;
        }
    }

    /// Returns the slot of an attempt, and records whether the host gave an answer of any kind.
    pub fn done(&mut self, slot: &str, answered: bool, now: Timestamp) {
        self.in_flight.remove(slot);
        if answered {
            (self.failures, self.open_until) = (0, None);
        } else {
            self.failures = self.failures.saturating_add(1);
            if self.failures >= BREAKER_FAILURES {
                self.open_until = Some(now.after(BREAKER_OPEN));
            }
        }
    }
}

/// The in-flight slots of an account at all hosts together. Their number grows by one with each response, and is halved
/// when a host gives none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// The number of slots.
    pub size: usize,
    /// The used slots by attempt, each with the time at which it counts as lost.
    pub in_flight: BTreeMap<String, Timestamp>,
}

impl Default for Window {
    fn default() -> Self {
        Self { size: SMALLEST_WINDOW, in_flight: BTreeMap::new() }
    }
}

impl Window {
    /// Whether a process may keep slots for its next attempts: half of them are free, and they are so many that a receiver
    /// that hangs does not take all others. They grow only with responses that are recorded, which those of kept slots
    /// are not.
    #[must_use]
    pub fn may_keep_slots(&self) -> bool {
        self.size >= KEEPING_WINDOW && self.in_flight.len() <= self.size / 2
    }

    /// The number of attempts that are under way.
    #[must_use]
    pub fn under_way(&self, now: Timestamp) -> usize {
        under_way(&self.in_flight, now)
    }

    /// Takes a slot of this name, if one is free.
    pub fn admit(&mut self, slot: &str, now: Timestamp) -> Admission {
        self.in_flight.retain(|_, until| *until > now);
        if self.in_flight.contains_key(slot) || self.in_flight.len() >= self.size {
            return Admission::Full;
        }
        self.in_flight.insert(slot.to_owned(), now.after(IN_FLIGHT));
        Admission::Admitted
    }

    /// Returns the slot of an attempt, and records whether its host gave an answer of any kind.
    pub fn done(&mut self, slot: &str, answered: bool) {
        self.in_flight.remove(slot);
        let size = if answered { self.size.saturating_add(1) } else { self.size / 2 };
        self.size = size.clamp(SMALLEST_WINDOW, LARGEST_WINDOW);
    }
}

/// The slots that are not lost.
fn under_way(in_flight: &BTreeMap<String, Timestamp>, now: Timestamp) -> usize {
    in_flight.values().filter(|until| **until > now).count()
}

/// The delay of an attempt that was not admitted, after it has waited for `waited`. The delay grows with the wait, so
/// that the attempts at a dead host do not keep the functions busy. None if it has waited too long.
#[must_use]
pub fn held_for(admission: Admission, waited: Duration, now: Timestamp, jitter: Jitter) -> Option<Duration> {
    let (soonest, latest) = match admission {
        Admission::Admitted => return Some(Duration::ZERO),
        Admission::Full | Admission::Open(_) if waited > HELD_AT_MOST => return None,
        Admission::Full => (SOONEST, LATEST_BUSY),
        Admission::Open(until) => (until.since(now).max(SOONEST), LATEST_OPEN),
    };
    let hold = proportional(waited, soonest, latest);
    // Up to half as long again, so that attempts that were postponed together do not come back together.
    Some(jitter.above(hold, 2))
}

/// The host of a URL: name and port. Empty for an invalid URL, which is never called.
#[must_use]
pub fn host_of(url: &str) -> String {
    let url = Url::parse(url).ok();
    let host = url.as_ref().and_then(|url| Some((url.host_str()?, url.port_or_known_default()?)));
    host.map(|(name, port)| format!("{name}:{port}")).unwrap_or_default()
}
