//! The simulated carrier: Twilio on the wire.
//!
//! - [`rest`]: the REST API; - [`calls`]: what a call goes through, from dialling to its end;
//! - [`twiml`]: the instructions it follows; - [`media_stream`] and [`playback`]: its audio;
//! - [`party`]: the person on the line; - [`callbacks`]: what it reports; - [`records`]: what is known of it.
//!
//! What happens depends on the number, in the range reserved for fiction: +1 415 555 0150 is busy, 0151
//! never answers, 0152 is refused at create. Two are faults of the carrier: 0160 is dialled, and answers,
//! but the request that created the call gets no answer; 0161 is accepted, and then rings until somebody
//! cancels it, without a single callback. All others are people who answer. Calls are dialled at once: the
//! one call per second of a real account is not simulated.
//!
//! `GET /sandbox/calls` and `/sandbox/calls/{sid}` are for tests and reports, no part of Twilio.

mod callbacks;
mod calls;
#[cfg(test)]
mod fault_tests;
mod media_stream;
mod party;
mod playback;
mod records;
mod rest;
#[cfg(test)]
mod tests;
mod twiml;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::get,
};
use serde_json::{Value, json};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{caller::Callers, speech};
use records::Calls;

/// The one number the account owns; a call from any other is refused (21210).
pub const OWNED_NUMBER: &str = "+14155550199";

/// Longest a webhook may take; the sender has a limit of its own for its retry as well.
const HTTP_TIMEOUT: Duration = Duration::from_secs(15);

/// The carrier's one account.
pub(crate) struct Account {
    /// `AC` and 32 hexadecimal digits.
    pub(crate) sid: String,
    pub(crate) auth_token: String,
}

/// What all requests and calls share.
struct Carrier {
    account: Account,
    callers: Callers,
    /// For webhooks. The carrier calls servers on this machine only.
    http: reqwest::Client,
    calls: Mutex<Calls>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Carrier {
    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The carrier's server. Its calls run on the tracker until the token is cancelled.
pub(crate) fn router(
    account: Account,
    callers: Callers,
    tasks: TaskTracker,
    stop: CancellationToken,
) -> anyhow::Result<Router> {
    let http = speech::local_client(HTTP_TIMEOUT)?;
    let carrier = Arc::new(Carrier { account, callers, http, calls: Mutex::default(), tasks, stop });
    Ok(Router::new()
        .route("/sandbox/calls", get(inspect_all))
        .route("/sandbox/calls/{sid}", get(inspect))
        .merge(rest::router(carrier.clone()))
        .with_state(carrier))
}

/// In the order they were dialled.
async fn inspect_all(State(carrier): State<Arc<Carrier>>) -> Json<Value> {
    let calls = carrier.calls().all();
    let calls: Vec<_> = calls.iter().rev().map(|call| call.inspection()).collect();
    Json(json!({ "calls": calls }))
}

async fn inspect(
    State(carrier): State<Arc<Carrier>>,
    Path(sid): Path<String>,
) -> Result<Json<Value>, StatusCode> {
    let call = carrier.calls().get(&sid).ok_or(StatusCode::NOT_FOUND)?;
    Ok(Json(call.inspection()))
}
