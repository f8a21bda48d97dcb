//! Failover: what happens when a provider of a call fails before its first word.
//!
//! Pure decisions: a [`Failure`] and the [`Standing`] of all providers of a chain in, the next one out ([`next`]), and for
//! how long the failed one is skipped ([`skip_for`]). [`Outages`] remembers that for the calls of one process. Time is a
//! parameter: the age of the process.

use std::{collections::HashMap, hash::Hash, time::Duration};

/// How a provider failed before its first word or byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// It refuses every request like this one: a bad key, no credit, an unknown model. Repeating it will not help.
    Refused,
    /// It refused this request, for reasons that may not concern another call: a setting, a text. Only this call remembers.
    RefusedHere,
    /// It could not be reached, or failed on its side.
    Unavailable {
        /// The wait that it asked for.
        retry_after: Option<Duration>,
    },
    /// It sent nothing in time.
    Silent,
}

/// The state of a provider of a chain, as far as it is known. Better ones come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Nothing speaks against it.
    Ready,
    /// It failed another call a short time ago.
    Out,
    /// It failed this call.
    Failed,
}

/// Maximum time that a provider may take to refuse a request and still be asked a second time.
pub const QUICK_FAILURE: Duration = Duration::from_millis(700);

/// Maximum time in which a provider is skipped because it asked for it.
const LONGEST_SKIP: Duration = Duration::from_mins(5);

/// Whether the same provider is asked once more, before another one is: it failed on its side, soon, for the first time in
/// this request, and did not ask to wait. A caller does not wait for a second silence.
#[must_use]
pub fn retries(failure: Failure, earlier_attempts: u32, took: Duration) -> bool {
    matches!(failure, Failure::Unavailable { retry_after: None })
        && earlier_attempts == 0
        && took < QUICK_FAILURE
}

/// For how long a provider that failed is skipped by the other calls of a process; none: they are not concerned. The call
/// itself does not return to it while another one serves.
#[must_use]
pub fn skip_for(failure: Failure) -> Option<Duration> {
    match failure {
        Failure::RefusedHere => None,
        Failure::Refused => Some(Duration::from_mins(2)),
        Failure::Silent => Some(Duration::from_secs(30)),
        Failure::Unavailable { retry_after } => {
            Some(retry_after.unwrap_or_default().clamp(Duration::from_secs(15), LONGEST_SKIP))
        }
    }
}

/// The provider of a chain that is asked next, by its place: the best one that was not asked in this request. The order of
/// the chain decides between equals. A provider is asked again when all of them have failed: a call never gives up.
#[must_use]
pub fn next(standings: &[Standing], asked: &[usize]) -> Option<usize> {
    let open = standings.iter().enumerate().filter(|(place, _)| !asked.contains(place));
    open.min_by_key(|(_, standing)| **standing).map(|(place, _)| place)
}

/// Maximum number of failing providers that a process remembers.
const MAX_OUTAGES: usize = 1_000;

/// The time in which a second silence counts as an outage. Of many quick responses a single one is late.
const SECOND_SILENCE: Duration = Duration::from_mins(1);

/// The providers that failed calls of this process a short time ago.
#[derive(Debug)]
pub struct Outages<K> {
    known: HashMap<K, Outage>,
}

#[derive(Debug)]
struct Outage {
    until: Duration,
    reason: String,
    /// False: a first silence, after which the provider is not skipped yet.
    is_skipped: bool,
}

impl<K> Default for Outages<K> {
    fn default() -> Self {
        Self { known: HashMap::new() }
    }
}

impl<K: Eq + Hash + Clone> Outages<K> {
    /// Remembers that a provider failed at `now`, and why, if that concerns other calls.
    pub fn record(&mut self, provider: K, failure: Failure, reason: &str, now: Duration) {
        let Some(skip_for) = skip_for(failure) else { return };
        self.known.retain(|_, outage| outage.until > now);
        let is_skipped = failure != Failure::Silent || self.known.contains_key(&provider);
        if self.known.len() >= MAX_OUTAGES {
            let soonest =
                self.known.iter().min_by_key(|(_, outage)| outage.until).map(|(key, _)| key.clone());
            soonest.and_then(|soonest| self.known.remove(&soonest));
        }
        let until = now + if is_skipped { skip_for } else { SECOND_SILENCE };
        self.known.insert(provider, Outage { until, reason: reason.to_owned(), is_skipped });
    }

    /// Why a provider is skipped at `now`; none: it is not.
    #[must_use]
    pub fn reason(&self, provider: &K, now: Duration) -> Option<&str> {
        let outage = self.known.get(provider).filter(|outage| outage.until > now && outage.is_skipped)?;
        Some(&outage.reason)
    }

    /// Forgets the outage of a provider that has served again. A first silence stays: most requests are served.
    pub fn clear(&mut self, provider: &K) {
        if self.known.get(provider).is_some_and(|outage| outage.is_skipped) {
            self.known.remove(provider);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Standing::{Failed, Out, Ready};

    #[test]
    fn the_best_provider_that_was_not_asked_is_next() {
        assert_eq!(next(&[Ready, Ready], &[]), Some(0));
        assert_eq!(next(&[Ready, Ready, Ready], &[0]), Some(1));
        assert_eq!(next(&[Out, Ready], &[]), Some(1), "the failing one is skipped");
        assert_eq!(next(&[Failed, Out, Ready], &[2]), Some(1));
        assert_eq!(next(&[Failed, Out], &[1]), Some(0), "rather than none");
        assert_eq!(next(&[Failed, Failed], &[]), Some(0));
        assert_eq!(next(&[Ready, Ready], &[1, 0]), None);
    }

    #[test]
    fn only_a_quick_failure_of_the_vendor_is_tried_twice() {
        let broken = Failure::Unavailable { retry_after: None };
        let soon = Duration::from_millis(50);
        assert!(retries(broken, 0, soon));
        assert!(!retries(broken, 1, soon));
        assert!(!retries(broken, 0, QUICK_FAILURE));
        assert!(!retries(Failure::Unavailable { retry_after: Some(Duration::from_secs(1)) }, 0, soon));
        assert!(!retries(Failure::Refused, 0, soon) && !retries(Failure::Silent, 0, soon));
    }

    #[test]
    fn a_failing_provider_is_skipped_for_a_bounded_time() {
        let now = Duration::from_secs(100);
        let after = |seconds| now + Duration::from_secs(seconds);
        let mut outages = Outages::default();
        outages.record("a", Failure::Refused, "refused the request (401)", now);
        outages.record("b", Failure::Silent, "it sent nothing", now);
        assert_eq!(outages.reason(&"b", after(1)), None, "one of many responses is late");
        outages.clear(&"b");
        outages.record("b", Failure::Silent, "it sent nothing", after(1));
        assert_eq!(outages.reason(&"b", after(30)), Some("it sent nothing"));
        let asked_to_wait = Failure::Unavailable { retry_after: Some(Duration::from_hours(1)) };
        outages.record("c", asked_to_wait, "busy", now);
        assert_eq!(outages.reason(&"a", after(119)), Some("refused the request (401)"));
        assert_eq!((outages.reason(&"a", after(120)), outages.reason(&"b", after(31))), (None, None));
        assert_eq!(
            (outages.reason(&"c", after(299)), outages.reason(&"c", after(300))),
            (Some("busy"), None)
        );
        outages.clear(&"c");
        assert_eq!(outages.reason(&"c", after(1)), None);
    }

    #[test]
    fn a_refusal_of_one_request_concerns_no_other_call() {
        let mut outages = Outages::default();
        outages.record("a", Failure::RefusedHere, "refused the request (400)", Duration::ZERO);
        assert_eq!(outages.reason(&"a", Duration::from_secs(1)), None);
        assert!(!retries(Failure::RefusedHere, 0, Duration::ZERO));
    }

    #[test]
    fn the_memory_is_bounded() {
        let mut outages = Outages::default();
        for key in 0..5 * MAX_OUTAGES {
            outages.record(key, Failure::Silent, "", Duration::ZERO);
        }
        assert_eq!(outages.known.len(), MAX_OUTAGES);
        outages.record(0, Failure::Silent, "", Duration::from_mins(2));
        assert_eq!(outages.known.len(), 1);
    }
}
