//! In-flight slots that this process keeps between its batches. A slot costs two writes to take and two to return, more
//! than anything else of a delivery; a process that works on one message after the other takes one for many of them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use switchboard_model::{deliveries::IN_FLIGHT, ids::AccountId, time::Timestamp};

/// Maximum number of slots that are kept at one host. Other processes have the others.
const MOST: usize = 2;
/// Minimum validity of a slot that is used again: longer than an attempt takes.
const MIN_LEFT: Duration = Duration::from_secs(18);
/// Maximum number of hosts.
const MOST_HOSTS: usize = 1_000;

/// A slot at a host and of its account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slot {
    /// Its name in the table: the attempt that it was taken for.
    pub(crate) name: String,
    /// When it was taken. It counts as lost [`IN_FLIGHT`] later.
    pub(crate) taken_at: Timestamp,
    /// Whether it may be kept.
    pub(crate) may_be_kept: bool,
}

impl Slot {
    fn is_usable(&self, now: Timestamp) -> bool {
        self.taken_at.after(IN_FLIGHT) > now.after(MIN_LEFT)
    }
}

type Hosts = HashMap<(AccountId, String), Vec<Slot>>;

/// The slots that are kept. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct KeptSlots(Arc<Mutex<Hosts>>);

impl KeptSlots {
    /// Takes at most `most` of the kept slots.
    pub(crate) fn take(&self, account: AccountId, host: &str, most: usize, now: Timestamp) -> Vec<Slot> {
        let mut hosts = self.lock();
        let Some(slots) = hosts.get_mut(&(account, host.to_owned())) else { return vec![] };
        // Those that are not used any more expire in the table.
        slots.retain(|slot| slot.is_usable(now));
        let taken = slots.drain(..most.min(slots.len())).collect();
        hosts.retain(|_, slots| !slots.is_empty());
        taken
    }

    /// Keeps a slot after an attempt. False if it has to be returned.
    pub(crate) fn keep(
        &self,
        account: AccountId,
        host: &str,
        slot: &Slot,
        responded: bool,
        now: Timestamp,
    ) -> bool {
        let mut hosts = self.lock();
        let key = (account, host.to_owned());
        if !responded {
            // The others are returned too soon for nobody: they expire. Each attempt asks the circuit breaker again.
            hosts.remove(&key);
            return false;
        }
        if !slot.may_be_kept
            || !slot.is_usable(now)
            || (hosts.len() >= MOST_HOSTS && !hosts.contains_key(&key))
        {
            return false;
        }
        let slots = hosts.entry(key).or_default();
        if slots.len() >= MOST {
            return false;
        }
        slots.push(slot.clone());
        true
    }

    fn lock(&self) -> MutexGuard<'_, Hosts> {
        // No operation under the lock can leave the map half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_795_339_800_000 + seconds * 1_000)
    }

    fn slot(name: &str) -> Slot {
        Slot { name: name.into(), taken_at: at(0), may_be_kept: true }
    }

    #[test]
    fn few_slots_are_kept_as_long_as_an_attempt_fits_into_their_validity() {
        let (kept, account) = (KeptSlots::default(), AccountId::new(at(0), 1));
        let keep = |slot: &Slot, responded, now| kept.keep(account, "a", slot, responded, at(now));
        assert_eq!(["1", "2", "3"].map(|name| keep(&slot(name), true, 1)), [true, true, false]);
        assert_eq!(kept.take(account, "b", 9, at(2)), []);
        assert_eq!(kept.take(account, "a", 1, at(2)), [slot("1")]);
        assert_eq!(kept.take(account, "a", 9, at(21)), [slot("2")]);
        assert!(!keep(&slot("1"), true, 22), "it expires soon");
        assert!(!keep(&Slot { may_be_kept: false, ..slot("1") }, true, 1), "the host is busy");
        assert!(keep(&slot("1"), true, 21));
        assert_eq!(kept.take(account, "a", 9, at(22)), []);
    }

    #[test]
    fn after_a_failure_none_is_kept() {
        let (kept, account) = (KeptSlots::default(), AccountId::new(at(0), 1));
        assert!(kept.keep(account, "a", &slot("1"), true, at(1)));
        assert!(!kept.keep(account, "a", &slot("2"), false, at(1)));
        assert_eq!(kept.take(account, "a", 9, at(2)), []);
    }
}
