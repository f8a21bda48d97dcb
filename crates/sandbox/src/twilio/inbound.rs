//! People who call the accounts' numbers: no part of Twilio, but of the world around it.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    api::is_e164,
    call_record::{Direction, Instructions, Request, StatusEvent, TIME_LIMIT_DEFAULT, TIMEOUT_DEFAULT},
    call_task,
    carrier::Carrier,
};
use crate::clock;

/// Who calls whom.
#[derive(Deserialize)]
pub(super) struct Ringing {
    /// The person; which one they are says their number.
    from: String,
    /// A number of an account.
    to: String,
}

/// `POST /sandbox/calls`: a person rings one of the accounts' numbers; what becomes of the call is asked of
/// the number's `VoiceUrl`.
pub(super) async fn ring(
    State(carrier): State<Arc<Carrier>>,
    Json(Ringing { from, to }): Json<Ringing>,
) -> Result<(StatusCode, Json<Value>), (StatusCode, &'static str)> {
    if !is_e164(&from) {
        return Err((StatusCode::UNPROCESSABLE_ENTITY, "from is not a phone number"));
    }
    let number = carrier.numbers().get(&to).filter(|number| !number.voice_url.is_empty()).cloned();
    let number =
        number.ok_or((StatusCode::NOT_FOUND, "nobody has told what to do with calls of this number"))?;
    let account = carrier.accounts.iter().find(|account| account.sid == number.account_sid).cloned();
    let account = account.ok_or((StatusCode::NOT_FOUND, "the number's account is gone"))?;
    let request = Request {
        to,
        from,
        instructions: Instructions::At { url: number.voice_url, get: number.voice_method == "GET" },
        status_callback: Some(number.status_callback).filter(|url| !url.is_empty()),
        events: vec![StatusEvent::Completed],
        timeout: TIMEOUT_DEFAULT,
        time_limit: TIME_LIMIT_DEFAULT,
        detection: None,
    };
    let (call, commands) = carrier.calls().create(account, Direction::Inbound, request, clock::now());
    let sid = call.sid.clone();
    carrier.tasks.spawn(call_task::run(carrier.clone(), call, commands));
    Ok((StatusCode::CREATED, Json(json!({ "sid": sid }))))
}
