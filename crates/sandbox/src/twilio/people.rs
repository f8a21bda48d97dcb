//! People made at run time: no part of Twilio, but of the world around it. Their scripts are described in
//! [`crate::callers`].

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

/// `PUT /sandbox/people/{number}`: who has this number from now on.
pub(super) async fn make(
    State(carrier): State<Arc<Carrier>>,
    Path(number): Path<String>,
    body: Bytes,
) -> Result<StatusCode, (StatusCode, String)> {
    let refused = |why: String| (StatusCode::UNPROCESSABLE_ENTITY, why);
    if !is_fiction(&number) {
        return Err(refused("people's numbers are +1, three digits, 555 01 and two digits".to_owned()));
    }
    if is_never_answered(&number) || number == REFUSED {
        return Err(refused("nobody can answer at this number".to_owned()));
    }
    let json = serde_json::from_slice(&body).map_err(|error| refused(format!("no JSON: {error}")))?;
    carrier.callers.make(&number, Script::read(json).map_err(refused)?);
    Ok(StatusCode::NO_CONTENT)
}

/// `DELETE /sandbox/people/{number}`: it has again whoever had it at first.
pub(super) async fn forget(State(carrier): State<Arc<Carrier>>, Path(number): Path<String>) -> StatusCode {
    if carrier.callers.forget(&number) { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND }
}

/// In the range that is reserved for fiction.
fn is_fiction(number: &str) -> bool {
    let digits = number.strip_prefix("+1").unwrap_or_default();
    digits.len() == 10 && digits.bytes().all(|b| b.is_ascii_digit()) && digits[3..].starts_with("55501")
}
