//! The wall clock, as a parameter: tests on paused time pass one that follows it.

use switchboard_model::time::Timestamp;

/// Reads the time of day. The worker's is [`switchboard_runtime::now`].
pub type Clock = fn() -> Timestamp;
