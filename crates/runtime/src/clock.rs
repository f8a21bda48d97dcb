//! The system clock. Every other module and crate takes the time as a parameter.

use switchboard_model::time::Timestamp;

/// The current time of day, to the millisecond.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the replacement that the lint names")]
pub fn now() -> Timestamp {
    Timestamp::from_millis(jiff::Timestamp::now().as_millisecond())
}
