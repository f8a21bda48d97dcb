//! The time of day, with which the simulated carrier and providers stamp their messages.

/// Reads the system clock.
#[expect(
    clippy::disallowed_methods,
    reason = "a server that stands in for the outside world has its own clock"
)]
pub(crate) fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

/// The day in UTC.
pub(crate) fn today() -> jiff::civil::Date {
    jiff::tz::Offset::UTC.to_datetime(now()).date()
}
