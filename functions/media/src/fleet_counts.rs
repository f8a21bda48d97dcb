//! Counts for the metrics of the worker.

use std::{
    collections::BTreeMap,
    mem,
    sync::{Mutex, PoisonError, atomic::AtomicU64},
};

/// Events since the last line of metrics.
#[derive(Debug, Default)]
pub(crate) struct FleetCounts {
    /// Streams that were refused.
    pub(crate) refused: AtomicU64,
    /// Calls that were taken over from another worker.
    pub(crate) taken_over: AtomicU64,
    provider_faults: Mutex<BTreeMap<&'static str, u64>>,
}

impl FleetCounts {
    /// Counts a failure of a provider.
    pub(crate) fn count_fault(&self, provider: &'static str) {
        *self.provider_faults.lock().unwrap_or_else(PoisonError::into_inner).entry(provider).or_default() +=
            1;
    }

    /// The failures of each provider since the last call.
    pub(crate) fn take_faults(&self) -> BTreeMap<&'static str, u64> {
        mem::take(&mut *self.provider_faults.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
