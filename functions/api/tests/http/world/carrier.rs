//! A carrier that hangs up calls and sells numbers.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::json;
use switchboard_providers::{AnyCarrier, Providers, egress, endpoints::Endpoints, keys::Keys};
use switchboard_testkit::server;

/// A customer's own account at the carrier, and its number.
pub(crate) const OWN_ACCOUNT: &str = "AC99999999999999999999999999999999";
pub(crate) const OWN_TOKEN: &str = "token-of-the-customer";
pub(crate) const OWN_NUMBER: &str = "+14155550190";
/// The numbers that can be bought.
pub(crate) const AVAILABLE: [&str; 2] = ["+14155550200", "+14155550201"];

/// A fault of the carrier at the next request that buys or finds a number.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The number is sold, but the answer is lost.
    AnswerLost,
    /// The same, and the look-up of the purchase fails.
    AnswerAndPurchaseLost,
    /// The carrier is unavailable.
    Down,
}

/// The carrier's state.
#[derive(Default)]
pub(crate) struct Carrier {
    /// The requests: the call's id, or account and method of a request about numbers, and the form.
    pub(crate) requests: Vec<String>,
    /// The numbers, each with its id, its name and its `VoiceUrl`.
    pub(crate) numbers: BTreeMap<String, (String, String, String)>,
    pub(crate) fault: Option<Fault>,
    /// The number of searches for numbers on sale.
    pub(crate) searches: usize,
}

/// The state, shared with the server.
#[derive(Clone, Default)]
pub(crate) struct SharedCarrier(Arc<Mutex<Carrier>>);

impl SharedCarrier {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Carrier> {
        self.0.lock().unwrap()
    }
}

/// Serves the carrier; returns its URL and its state.
pub(crate) async fn serve() -> (String, SharedCarrier) {
    let state = SharedCarrier::default();
    let own = (format!("PN{:032}", 190), "mine".to_owned(), "https://customer.example.com".to_owned());
    state.lock().numbers.insert(OWN_NUMBER.to_owned(), own);
    let url = server::serve(Router::new().fallback(answer).with_state(state.clone())).await;
    (url, state)
}

async fn answer(
    State(state): State<SharedCarrier>,
    method: Method,
    headers: HeaderMap,
    uri: Uri,
    body: Bytes,
) -> Response {
    let body = String::from_utf8_lossy(&body).into_owned();
    let (_, resource) = uri.path().split_once("/Accounts/").unwrap();
    let (account, resource) = resource.split_once('/').unwrap();
    let mut carrier = state.lock();
    let Some(numbers) = resource.strip_prefix("IncomingPhoneNumbers") else {
        if resource == "AvailablePhoneNumbers/US/Local.json" {
            carrier.searches += 1;
            let free = AVAILABLE.iter().filter(|number| !carrier.numbers.contains_key(**number));
            let free: Vec<_> = free
                .map(|number| json!({ "phone_number": number, "postal_code": "94102", "iso_country": "US" }))
                .collect();
            return Json(json!({ "available_phone_numbers": free })).into_response();
        }
        carrier.requests.push(format!("{} {body}", resource.rsplit('/').next().unwrap()));
        return "{}".into_response();
    };
    let own = format!("Basic {}", BASE64_STANDARD.encode(format!("{OWN_ACCOUNT}:{OWN_TOKEN}")));
    if account == OWN_ACCOUNT && headers["authorization"] != own {
        return refusal(StatusCode::UNAUTHORIZED, 20003);
    }
    carrier.requests.push(format!("{account} {method} {} {body}", numbers.trim_matches('/')));
    let form: BTreeMap<String, String> = serde_urlencoded(&body);
    let query: BTreeMap<String, String> = serde_urlencoded(uri.query().unwrap_or_default());
    let mine = |number: &str| (number == OWN_NUMBER) == (account == OWN_ACCOUNT);
    match (method.as_str(), numbers) {
        ("GET", _) => {
            if carrier.fault == Some(Fault::AnswerAndPurchaseLost) {
                return refusal(StatusCode::INTERNAL_SERVER_ERROR, 20500);
            }
            let found: Vec<_> = carrier
                .numbers
                .iter()
                .filter(|(number, _)| mine(number) && query["PhoneNumber"] == **number)
                .map(|(number, (sid, name, url))| {
                    json!({ "sid": sid, "phone_number": number, "friendly_name": name, "voice_url": url })
                })
                .collect();
            Json(json!({ "incoming_phone_numbers": found })).into_response()
        }
        ("POST", ".json") => {
            let number = &form["PhoneNumber"];
            let fault = carrier.fault;
            if fault == Some(Fault::Down) {
                return refusal(StatusCode::SERVICE_UNAVAILABLE, 20503);
            }
            if !AVAILABLE.contains(&number.as_str()) || carrier.numbers.contains_key(number) {
                return refusal(StatusCode::BAD_REQUEST, 21422);
            }
            let sid = format!("PN{:0>32}", &number[1..]);
            let sold = (sid.clone(), form["FriendlyName"].clone(), form["VoiceUrl"].clone());
            carrier.numbers.insert(number.clone(), sold);
            if fault.is_some() {
                return refusal(StatusCode::INTERNAL_SERVER_ERROR, 20500);
            }
            (StatusCode::CREATED, Json(json!({ "sid": sid, "phone_number": number }))).into_response()
        }
        (method, file) => {
            let sid = file.trim_start_matches('/').trim_end_matches(".json");
            let number = carrier.numbers.iter().find(|(number, kept)| mine(number) && kept.0 == sid);
            let Some(number) = number.map(|(number, _)| number.clone()) else {
                return refusal(StatusCode::NOT_FOUND, 20404);
            };
            if method == "DELETE" {
                carrier.numbers.remove(&number);
                return StatusCode::NO_CONTENT.into_response();
            }
            carrier.numbers.get_mut(&number).unwrap().2.clone_from(&form["VoiceUrl"]);
            Json(json!({ "sid": sid, "phone_number": number })).into_response()
        }
    }
}

fn serde_urlencoded(text: &str) -> BTreeMap<String, String> {
    form_urlencoded::parse(text.as_bytes()).into_owned().collect()
}

fn refusal(status: StatusCode, code: u32) -> Response {
    (status, Json(json!({ "code": code, "message": "no", "status": status.as_u16() }))).into_response()
}

/// A client of the carrier at `url`.
pub(crate) fn client(url: &str) -> AnyCarrier {
    let keys =
        r#"{"twilio_account_sid":"AC1","twilio_auth_token":"t","openai_api_key":"o","deepgram_api_key":"d"}"#;
    let endpoints = Endpoints::from_vars(&|name| (name == "TWILIO_API_URL").then(|| url.to_owned())).unwrap();
    let providers = Providers { http: egress::client(), endpoints, keys: Keys::parse(keys).unwrap() };
    AnyCarrier::new(&providers)
}
