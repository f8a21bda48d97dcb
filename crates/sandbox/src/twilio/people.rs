//! Scripts of people, assigned at run time: no part of Twilio. [`crate::callers`] describes their format.

use std::sync::Arc;

use axum::{
    body::Bytes,
    extract::{Path, State},
    http::StatusCode,
};

use super::{
    carrier::Carrier,
    special_numbers::{REFUSED, is_never_answered},
};
use crate::callers::Script;

/// `PUT /sandbox/people/{number}`: assigns a script to a number.
pub(super) async fn assign(
    State(carrier): State<Arc<Carrier>>,
    Path(number): Path<String>,
    body: Bytes,
) -> Result<StatusCode, (StatusCode, String)> {
    let refused = |why: String| (StatusCode::UNPROCESSABLE_ENTITY, why);
    if !is_fiction(&number) {
        return Err(refused("the number must be +1, three digits, 555 01 and two digits".to_owned()));
    }
    if is_never_answered(&number) || number == REFUSED {
        return Err(refused("calls to this number are never answered".to_owned()));
    }
    let json =
        serde_json::from_slice(&body).map_err(|error| refused(format!("the script is not JSON: {error}")))?;
    carrier.callers.assign(&number, Script::read(json).map_err(refused)?);
    Ok(StatusCode::NO_CONTENT)
}

/// `DELETE /sandbox/people/{number}`: removes the assigned script.
pub(super) async fn remove(State(carrier): State<Arc<Carrier>>, Path(number): Path<String>) -> StatusCode {
    if carrier.callers.remove(&number) { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND }
}

/// Whether a number is in the range that is reserved for fiction.
fn is_fiction(number: &str) -> bool {
    let digits = number.strip_prefix("+1").unwrap_or_default();
    digits.len() == 10 && digits.bytes().all(|b| b.is_ascii_digit()) && digits[3..].starts_with("55501")
}
