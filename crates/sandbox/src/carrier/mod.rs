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
//! somebody else, `DELETE` takes it back (see [`crate::caller`]).

mod callbacks;
mod calls;
#[cfg(test)]
mod calls_tests;
#[cfg(test)]
mod fault_tests;
mod inbound;
mod machine;
mod media_stream;
mod numbers;
#[cfg(test)]
mod numbers_tests;
mod party;
mod people;
#[cfg(test)]
mod people_tests;
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
    routing::{get, put},
};
use serde_json::{Value, json};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{caller::Callers, speech};
use numbers::Numbers;
use records::Calls;

/// The number our account begins with; a call from one it does not own is refused (21210).
pub const OWNED_NUMBER: &str = "+14155550199";
/// The account that stands for a customer's own: its id and its password.
pub const CUSTOMER_ACCOUNT_SID: &str = "AC11111111111111111111111111111111";
/// See [`CUSTOMER_ACCOUNT_SID`].
pub const CUSTOMER_AUTH_TOKEN: &str = "sandbox-customer-token";
/// The number of that account.
pub const CUSTOMER_NUMBER: &str = "+14155550190";

/// Longest a webhook may take; the sender has a limit of its own for its retry as well.
const HTTP_TIMEOUT: Duration = Duration::from_secs(15);

/// An account at the carrier.
pub(crate) struct Account {
    /// `AC` and 32 hexadecimal digits.
    pub(crate) sid: String,
    pub(crate) auth_token: String,
}

/// What all requests and calls share.
pub(crate) struct Carrier {
    accounts: Vec<Arc<Account>>,
    callers: Callers,
    /// For webhooks. The carrier calls servers on this machine only.
    http: reqwest::Client,
    calls: Mutex<Calls>,
    numbers: Mutex<Numbers>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Carrier {
    /// With our account and the customer's, each with its number.
    pub(crate) fn new(
        account: Account,
        callers: Callers,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> anyhow::Result<Self> {
        let http = speech::local_client(HTTP_TIMEOUT)?;
        let customers =
            Account { sid: CUSTOMER_ACCOUNT_SID.to_owned(), auth_token: CUSTOMER_AUTH_TOKEN.to_owned() };
        let mut numbers = Numbers::default();
        numbers.add(&account, OWNED_NUMBER, crate::now());
        numbers.add(&customers, CUSTOMER_NUMBER, crate::now());
        let accounts = [account, customers].map(Arc::new).into();
        let (calls, numbers) = (Mutex::default(), Mutex::new(numbers));
        Ok(Self { accounts, callers, http, calls, numbers, tasks, stop })
    }

    /// See [`Sandbox::wire`](crate::Sandbox::wire).
    pub(crate) fn wire(&self, number: &str, voice_url: &str, status_callback: &str) -> Option<String> {
        self.numbers().wire(number, voice_url, status_callback)
    }

    fn numbers(&self) -> MutexGuard<'_, Numbers> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

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
