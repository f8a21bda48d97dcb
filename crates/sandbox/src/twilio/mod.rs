//! The simulated carrier, which speaks Twilio's protocols.
//!
//! - `rest`, `calls_api`, `numbers_api`, `api`: the REST API
//! - `call_task`: the life of a call; `call_record`: its record; `line`: what its parts share
//! - `twiml`: the instructions of a call; `media_stream`, `playback`: its audio; `party`: the person on it
//! - `callbacks`: signed webhooks; `answering_machine`: detection of answering machines
//! - `numbers`: numbers on sale and owned; `inbound`: people who call an owned number; `people`: scripts of people
//!
//! The called number decides what happens, in the range reserved for fiction. +1 415 555 0150 is busy, 0151 is never
//! answered, 0152 is refused at create. Two are faults of the carrier: the call to 0160 is answered, but the request
//! that created it gets no response; 0161 rings without a single callback until it is cancelled. All other numbers are
//! people who answer. Some are difficult: 0153 is an answering machine, 0154 hangs up during the agent's first sentence,
//! 0155 says nothing, 0156 interrupts, and 0157 coughs while the agent speaks. Calls are dialled at once; a real
//! account's limit of one call per second is not simulated.
//!
//! There are two accounts: the deployment's, and one that stands for a customer's own.
//!
//! Some endpoints are no part of Twilio. `GET /sandbox/calls` and `/sandbox/calls/{sid}` return the records for tests
//! and reports. `POST /sandbox/calls` lets a person call a number. `PUT /sandbox/people/{number}` assigns a script to a
//! number in the range, `DELETE` removes it (see [`crate::callers`]). `PUT /sandbox/rudeness` makes callbacks late, repeated
//! and reordered (see [`rudeness`]).

mod account;
mod answering_machine;
mod api;
mod call_record;
mod call_task;
#[cfg(test)]
mod call_task_tests;
mod callbacks;
mod calls_api;
mod carrier;
#[cfg(test)]
mod fault_tests;
mod inbound;
mod line;
mod media_stream;
mod numbers;
mod numbers_api;
#[cfg(test)]
mod numbers_tests;
mod party;
mod people;
#[cfg(test)]
mod people_tests;
mod playback;
mod rest;
#[cfg(test)]
mod rest_tests;
mod rudeness;
mod special_numbers;
#[cfg(test)]
mod tests;
mod twiml;

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Path, State, rejection::JsonRejection},
    http::StatusCode,
    routing::{get, put},
};
use serde_json::{Value, json};

pub(crate) use account::{Account, KEYS};
pub use account::{CUSTOMER_ACCOUNT_SID, CUSTOMER_AUTH_TOKEN, CUSTOMER_NUMBER, OWNED_NUMBER};
pub(crate) use carrier::Carrier;
use rudeness::Rudeness;

/// The carrier's server. Its calls run on the carrier's tracker until its token is cancelled.
pub(crate) fn router(carrier: &Arc<Carrier>) -> Router {
    Router::new()
        .route("/sandbox/calls", get(inspect_all).post(inbound::create))
        .route("/sandbox/calls/{sid}", get(inspect))
        .route("/sandbox/people/{number}", put(people::assign).delete(people::remove))
        .route("/sandbox/rudeness", put(be_rude))
        .merge(rest::router(carrier.clone()))
        .with_state(carrier.clone())
}

/// `PUT /sandbox/rudeness`.
async fn be_rude(
    State(carrier): State<Arc<Carrier>>,
    body: Result<Json<Rudeness>, JsonRejection>,
) -> Result<StatusCode, (StatusCode, String)> {
    let Json(rudeness) = body.map_err(|rejection| (rejection.status(), rejection.body_text()))?;
    if let Some(mistake) = rudeness.mistake() {
        return Err((StatusCode::UNPROCESSABLE_ENTITY, mistake));
    }
    *carrier.rudeness() = rudeness;
    Ok(StatusCode::NO_CONTENT)
}

/// All records, in the order in which the calls were created.
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
