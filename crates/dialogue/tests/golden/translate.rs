//! Translates a replay log of format 1 to today's format, line by line.

use serde_json::Value;

/// The header of a log.
pub(crate) fn header(header: Value) -> Value {
    header
}

/// One step of a log.
pub(crate) fn step(step: Value) -> Value {
    step
}
