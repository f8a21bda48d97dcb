//! Values that the REST API and the callbacks write alike.

use switchboard_model::time::Timestamp;

use super::account::is_sid;
use crate::carrier::{CarrierCallId, CarrierName, InvalidCarrierCallId, calls::CallStatus};

/// Reads a `CallSid`.
pub(super) fn call_id(text: &str) -> Result<CarrierCallId, InvalidCarrierCallId> {
    if !is_sid("CA", text) {
        return Err(InvalidCarrierCallId);
    }
    CarrierCallId::new(CarrierName::Twilio, text)
}

/// Reads the status of a call.
pub(super) fn call_status(name: &str) -> CallStatus {
    match name {
        "queued" => CallStatus::Queued,
        "initiated" => CallStatus::Initiated,
        "ringing" => CallStatus::Ringing,
        "in-progress" => CallStatus::InProgress,
        "completed" => CallStatus::Completed,
        "busy" => CallStatus::Busy,
        "failed" => CallStatus::Failed,
        "no-answer" => CallStatus::NoAnswer,
        "canceled" => CallStatus::Canceled,
        _ => CallStatus::Unknown,
    }
}

/// Reads a time, which is written as in e-mail, to the second.
pub(super) fn rfc2822(text: &str) -> Option<Timestamp> {
    let time = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(Timestamp::from_millis(time.timestamp().as_millisecond()))
}
