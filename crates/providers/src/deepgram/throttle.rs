//! The requests for speech that one key may have at a time, and the pause after a refusal.
//!
//! The vendor counts by project and answers the excess with 429. All calls of a process with the same key share its
//! slots; the caller who waits for words comes before clauses that are synthesized ahead.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex, PoisonError},
    time::Duration,
};

use sha2::{Digest, Sha256};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep_until},
};

use crate::Secret;

/// Requests of one key at a time, as the vendor allows on its smallest plan.
const SLOTS: usize = 15;
/// Those of them that clauses ahead of the one that is spoken may take.
const SLOTS_AHEAD: usize = 9;
/// The wait after the first refusal without `Retry-After`; it doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// Maximum number of keys that are remembered while no call uses them.
const MAX_KEYS: usize = 1_000;

static KEYS: LazyLock<Mutex<HashMap<[u8; 32], Arc<KeyThrottle>>>> = LazyLock::new(Mutex::default);

/// The slots of one key.
#[derive(Debug)]
pub(super) struct KeyThrottle {
    all: Arc<Semaphore>,
    ahead: Arc<Semaphore>,
    /// No request is made before.
    paused_until: Mutex<Instant>,
}

/// A slot, until it is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    _permits: (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>),
}

impl KeyThrottle {
    fn new() -> Self {
        Self {
            all: Arc::new(Semaphore::new(SLOTS)),
            ahead: Arc::new(Semaphore::new(SLOTS_AHEAD)),
            paused_until: Mutex::new(Instant::now()),
        }
    }

    /// The slots of a key at a server.
    pub(super) fn of(server: &str, key: &Secret) -> Arc<Self> {
        let id =
            Sha256::new().chain_update(server).chain_update([0]).chain_update(key.reveal()).finalize().into();
        let mut keys = KEYS.lock().unwrap_or_else(PoisonError::into_inner);
        if keys.len() >= MAX_KEYS {
            keys.retain(|_, throttle| Arc::strong_count(throttle) > 1);
        }
        Arc::clone(keys.entry(id).or_insert_with(|| Arc::new(Self::new())))
    }

    /// Waits for the end of a pause and for a slot; `is_ahead`: the call has another clause to play meanwhile.
    pub(super) async fn slot(self: Arc<Self>, is_ahead: bool) -> Slot {
        let never_closed = "the semaphores are never closed";
        let ahead = if is_ahead {
            Some(Arc::clone(&self.ahead).acquire_owned().await.expect(never_closed))
        } else {
            None
        };
        let all = Arc::clone(&self.all).acquire_owned().await.expect(never_closed);
        loop {
            let paused_until = *self.paused_until();
            if paused_until <= Instant::now() {
                return Slot { _permits: (all, ahead) };
            }
            sleep_until(paused_until).await;
        }
    }

    /// Pauses the key for all calls.
    pub(super) fn pause(&self, wait: Duration) {
        let until = Instant::now() + wait;
        let mut paused_until = self.paused_until();
        *paused_until = until.max(*paused_until);
    }

    fn paused_until(&self) -> std::sync::MutexGuard<'_, Instant> {
        self.paused_until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The wait after this many refusals in a row that named none.
pub(super) fn backoff(refusals: u32) -> Duration {
    FIRST_WAIT.saturating_mul(2_u32.saturating_pow(refusals)).min(LONGEST_WAIT)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_waiting_caller_comes_before_clauses_ahead() {
        let throttle = Arc::new(KeyThrottle::new());
        let slot = |is_ahead| Arc::clone(&throttle).slot(is_ahead);
        let mut ahead: Vec<_> = std::iter::from_fn(|| slot(true).now_or_never()).collect();
        assert_eq!(ahead.len(), SLOTS_AHEAD);
        let first: Vec<_> = std::iter::from_fn(|| slot(false).now_or_never()).collect();
        assert_eq!(first.len(), SLOTS - SLOTS_AHEAD);
        ahead.pop();
        assert!(slot(false).now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_pauses_all_requests_of_the_key() {
        let throttle = Arc::new(KeyThrottle::new());
        throttle.pause(Duration::from_secs(2));
        throttle.pause(Duration::from_secs(1));
        let before = Instant::now();
        let _slot = Arc::clone(&throttle).slot(false).await;
        assert_eq!(before.elapsed(), Duration::from_secs(2));
    }

    #[test]
    fn a_key_has_the_same_slots_in_every_call() {
        let secret = |text: &str| Secret::new(text.to_owned());
        let (own, same) = (KeyThrottle::of("s", &secret("a")), KeyThrottle::of("s", &secret("a")));
        assert!(Arc::ptr_eq(&own, &same));
        assert!(!Arc::ptr_eq(&own, &KeyThrottle::of("s", &secret("b"))));
        assert!(!Arc::ptr_eq(&own, &KeyThrottle::of("t", &secret("a"))));
    }

    #[test]
    fn the_backoff_doubles_up_to_a_limit() {
        let waits: Vec<_> = (0..5).map(|refusals| backoff(refusals).as_millis()).collect();
        assert_eq!(waits, [250, 500, 1_000, 2_000, 2_000]);
    }
}
