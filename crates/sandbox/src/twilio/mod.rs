//! The simulated carrier: Twilio on the wire.
//!
//! - [`rest`]: the REST API; - [`calls`]: what a call goes through, from dialling to its end;
//! - [`twiml`]: the instructions it follows; - [`media_stream`] and [`playback`]: its audio;
//! - [`party`]: the person on the line; - [`people`]: those made at run time; - [`machine`]: whether it is one;
//! - [`callbacks`]: what it reports; - [`records`]: what is known of it;
//! - [`numbers`]: those on sale, and those of its accounts; - [`inbound`]: people who call one of those.
//!
//! What happens depends on the number, in the range reserved for fiction: +1 415 555 0150 is busy, 0151
//! never answers, 0152 is refused at create. Two are faults of the carrier: 0160 is dialled, and answers,
//! but the request that created the call gets no answer; 0161 is accepted, and then rings until somebody
//! cancels it, without a single callback. All others are people who answer; some of them
//! are difficult: 0153 is an answering machine, 0154 hangs up in the middle of the agent's first sentence, 0155
//! says nothing, 0156 interrupts, and 0157 coughs into what the agent says. Calls are dialled at once: the one
//! call per second of a real account is not simulated.
//!
//! It has two accounts: ours, and the one that stands for a customer's own.
//!
//! `GET /sandbox/calls` and `/sandbox/calls/{sid}` are for tests and reports, no part of Twilio; `POST
//! /sandbox/calls` has a person call a number. `PUT /sandbox/people/{number}` gives a number in that range to
//! somebody else, `DELETE` takes it back (see [`crate::callers`]).

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
mod special_numbers;
#[cfg(test)]
mod tests;
mod twiml;

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::{get, put},
};
use serde_json::{Value, json};

pub(crate) use account::Account;
pub use account::{CUSTOMER_ACCOUNT_SID, CUSTOMER_AUTH_TOKEN, CUSTOMER_NUMBER, OWNED_NUMBER};
pub(crate) use carrier::Carrier;

/// The carrier's server. Its calls run on the carrier's tracker until its token is cancelled.
pub(crate) fn router(carrier: &Arc<Carrier>) -> Router {
    Router::new()
        .route("/sandbox/calls", get(inspect_all).post(inbound::ring))
        .route("/sandbox/calls/{sid}", get(inspect))
        .route("/sandbox/people/{number}", put(people::make).delete(people::forget))
        .merge(rest::router(carrier.clone()))
        .with_state(carrier.clone())
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
