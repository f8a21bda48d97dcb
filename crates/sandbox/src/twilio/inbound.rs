//! Inbound calls: `POST /sandbox/calls`, which is no part of Twilio, lets a simulated person call an account's number.

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

/// The two numbers of an inbound call.
#[derive(Deserialize)]
pub(super) struct InboundCall {
    /// The number of the person, which selects their script.
    from: String,
    /// The number of an account.
    to: String,
}

/// `POST /sandbox/calls`: a person calls a number of an account; the number's `VoiceUrl` decides about the call.
pub(super) async fn create(
    State(carrier): State<Arc<Carrier>>,
    Json(InboundCall { from, to }): Json<InboundCall>,
) -> Result<(StatusCode, Json<Value>), (StatusCode, &'static str)> {
    if !is_e164(&from) {
        return Err((StatusCode::UNPROCESSABLE_ENTITY, "from is not a phone number"));
    }
    let number = carrier.numbers().get(&to).filter(|number| !number.voice_url.is_empty()).cloned();
    let number =
        number.ok_or((StatusCode::NOT_FOUND, "no account owns this number, or it has no VoiceUrl"))?;
    let account = carrier.accounts.iter().find(|account| account.sid == number.account_sid).cloned();
    let account = account.ok_or((StatusCode::NOT_FOUND, "the account of this number does not exist"))?;
    let request = Request {
        to,
        from,
        instructions: Instructions::At { url: number.voice_url, get: number.voice_method == "GET" },
        fallback: Some(number.voice_fallback_url)
            .filter(|url| !url.is_empty())
            .map(|url| Box::new(Instructions::At { url, get: number.voice_fallback_method == "GET" })),
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
