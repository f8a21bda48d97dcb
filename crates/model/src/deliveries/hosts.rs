//! When a receiver may be asked: a host that gives no answer is left alone for a while, and none is
//! asked too much at once.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};
use url::Url;

use crate::{
    backoff::{Jitter, proportional},
    time::Timestamp,
};

/// As many attempts as are made at one host of one account at the same time.
pub const MAX_IN_FLIGHT: usize = 10;
/// When the place of an attempt is free again though nobody gave it back: longer than the function that
/// makes it can run.
pub const IN_FLIGHT: Duration = Duration::from_secs(40);
/// After as many attempts without any answer, one after another, a host is left alone.
pub const BREAKER_FAILURES: u32 = 5;
/// For how long; then one attempt is let through to see.
pub const BREAKER_OPEN: Duration = Duration::from_secs(30);
/// How long an attempt may be held back; then its delivery is given up.
pub const HELD_AT_MOST: Duration = Duration::from_hours(24);

/// How soon an attempt that was held back asks again, and how late at most: an attempt at a host that is
/// only busy, and one at a host that is left alone.
const SOONEST: Duration = Duration::from_secs(1);
const LATEST_BUSY: Duration = Duration::from_mins(1);
const LATEST_OPEN: Duration = Duration::from_mins(15);

/// One account's receivers at one host (name and port), as they answered lately.
///
/// Only attempts that got no answer count as failures: an answer, whichever, comes from one receiver,
/// and says nothing of the others at its host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Attempts without an answer since the last answer.
    pub failures: u32,
    /// Until when nothing is tried.
    pub open_until: Option<Timestamp>,
    /// The attempts under way, each with when it is taken for lost.
    pub in_flight: BTreeMap<String, Timestamp>,
}

/// Whether an attempt may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Admission {
    /// Now: its place is taken.
    Admitted,
    /// As many as there may be are under way, or this very one is.
    Full,
    /// The host gives no answers: not before this time.
    Open(Timestamp),
}

impl Host {
    /// Asks for a place for the attempt `flight`.
    pub fn admit(&mut self, flight: &str, now: Timestamp) -> Admission {
        self.in_flight.retain(|_, until| *until > now);
        if self.in_flight.contains_key(flight) || self.in_flight.len() >= MAX_IN_FLIGHT {
            return Admission::Full;
        }
        if self.failures >= BREAKER_FAILURES {
            if let Some(until) = self.open_until.filter(|until| *until > now) {
                return Admission::Open(until);
            }
            // This one is let through; the others wait for what comes of it.
            self.open_until = Some(now.after(BREAKER_OPEN));
        }
        self.in_flight.insert(flight.to_owned(), now.after(IN_FLIGHT));
        Admission::Admitted
    }

    /// Gives the place of an attempt back, and notes whether the host gave an answer, whichever.
    pub fn done(&mut self, flight: &str, answered: bool, now: Timestamp) {
        self.in_flight.remove(flight);
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

/// When an attempt that was not admitted asks again, having waited for `waited`: the longer it has waited
/// the less often it asks, so that what piles up before a dead host does not keep everybody busy. None if
/// it waited too long.
#[must_use]
pub fn held_for(admission: Admission, waited: Duration, now: Timestamp, jitter: Jitter) -> Option<Duration> {
    let (soonest, latest) = match admission {
        Admission::Admitted => return Some(Duration::ZERO),
        Admission::Full => (SOONEST, LATEST_BUSY),
        Admission::Open(_) if waited > HELD_AT_MOST => return None,
        Admission::Open(until) => (until.since(now).max(SOONEST), LATEST_OPEN),
    };
    let hold = proportional(waited, soonest, latest);
    // Up to half as long again: those that were held back together do not come back together.
    Some(jitter.above(hold, 2))
}

/// The host of a URL: name and port. Empty for a URL that cannot be read, which is not called.
#[must_use]
pub fn host_of(url: &str) -> String {
    let url = Url::parse(url).ok();
    let host = url.as_ref().and_then(|url| Some((url.host_str()?, url.port_or_known_default()?)));
    host.map(|(name, port)| format!("{name}:{port}")).unwrap_or_default()
}
