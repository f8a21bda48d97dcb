//! Counts for the metrics of the worker.

use std::sync::atomic::AtomicU64;

/// Events since the last line of metrics.
#[derive(Debug, Default)]
pub(crate) struct FleetCounts {
    /// Streams that were refused.
    pub(crate) refused: AtomicU64,
    /// Calls that were taken over from another worker.
    pub(crate) taken_over: AtomicU64,
    /// Failures of providers.
    pub(crate) provider_faults: AtomicU64,
}
