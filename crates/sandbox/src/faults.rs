//! Faults on demand: what a provider's server does for a key, and what the language model says.
//!
//! Each server has one key of its own, which always works. `PUT /sandbox/keys/{key}` makes it accept another key, and
//! treat its requests as the body says; a second `PUT` for the same key starts over. `DELETE` removes the key. No
//! authentication is required. A server remembers at most 256 keys; the oldest is removed first.
//!
//! ```json
//! {
//!   "faults": [{"kind": "break", "on": "speak", "times": 2, "skip": 1}],
//!   "script": {"rules": [{"words": ["hello"], "say": "Hello, who is this?"}]}
//! }
//! ```
//!
//! Both members are optional. `script` is for the server with the language model, in the form of
//! `scripts/model.json`. A fault:
//!
//! - `kind`: `refuse`: 503. `rate_limit`: 429 with `Retry-After: 1`. `silent`: the request is accepted and read, and
//!   nothing is ever sent. `break`: the response begins, then the connection is cut. `stall`: the response begins,
//!   then nothing more is sent. A beginning is half of the tokens, half of the first sentence's audio, or everything
//!   that a transcriber sends before the first words. `crowded`: 429 while another `crowded` request with the key is
//!   being served. Two need `"on": "listen"`: `no_finalize`: `Finalize` is not answered. `many_finals`: a turn has
//!   several finals.
//! - `on`: `listen`, `speak` or `chat`; by default every endpoint of the server.
//! - `times`: the number of requests that it affects; by default all.
//! - `skip`: the number of requests to serve normally before the first affected one.
//!
//! A request is affected by the first fault of the list that is due; the later ones do not see it. `GET` returns
//! counts: `{"requests": 3, "struck": [1]}`, all requests with the key, and for every fault the requests that it
//! affected. A body with a mistake is answered with 422 and `{"detail": "the mistake and its place"}`.

use std::{
    collections::VecDeque,
    num::NonZeroU32,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::anyhow;
use axum::{
    Json, Router,
    body::Body,
    extract::{Path, State, rejection::JsonRejection},
    http::StatusCode,
    response::{IntoResponse as _, Response},
    routing::put,
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// Maximum number of keys besides the server's own.
const MAX_KEYS: usize = 256;

/// An endpoint of a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Endpoint {
    /// Live transcription.
    Listen,
    /// Speech synthesis.
    Speak,
    /// Chat completions.
    Chat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Refuse,
    RateLimit,
    Break,
    Silent,
    Stall,
    Crowded,
    NoFinalize,
    ManyFinals,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fault {
    kind: Kind,
    on: Option<Endpoint>,
    times: Option<NonZeroU32>,
    #[serde(default)]
    skip: u32,
}

/// The script of a language model. Servers without a model use [`serde_json::Value`], and refuse any script.
pub(crate) trait Script: DeserializeOwned + Send + Sync + 'static {}

impl<S: DeserializeOwned + Send + Sync + 'static> Script for S {}

/// The body of `PUT`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeySetup<S> {
    #[serde(default)]
    faults: Vec<Fault>,
    script: Option<S>,
}

/// The decision about a request.
#[derive(Debug)]
pub(crate) enum Admission<S> {
    /// The key is not accepted: 401.
    Unknown,
    /// 503.
    Refused,
    /// 429.
    RateLimited,
    /// Serve it in this way.
    Served(Treatment<S>),
}

/// How to serve a request.
#[derive(Debug)]
pub(crate) struct Treatment<S> {
    /// The disruption of the response, if a fault is due.
    pub(crate) disruption: Option<Disruption>,
    /// The habit of a transcription, if a fault is due.
    pub(crate) habit: Option<Habit>,
    /// Held until the response is complete.
    pub(crate) permit: Option<Arc<OwnedSemaphorePermit>>,
    /// The script of the language model; `None`: the built-in one.
    pub(crate) script: Option<Arc<S>>,
}

/// A response that does not end as it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Disruption {
    /// It begins, then the connection is cut.
    Break,
    /// Nothing is sent, and the connection stays open.
    Silent,
    /// It begins, then nothing more is sent, and the connection stays open.
    Stall,
}

/// A documented but rare habit of a live transcription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Habit {
    /// `Finalize` is not answered.
    NoFinalize,
    /// A turn has several finals.
    ManyFinals,
}

/// The keys that a server accepts. Neither it nor its parts are `Debug`: a key is a secret.
pub(crate) struct Keys<S> {
    own: String,
    endpoints: &'static [Endpoint],
    /// The newest key is the last one.
    others: Mutex<VecDeque<FaultKey<S>>>,
}

/// A key, its faults, and the requests so far.
struct FaultKey<S> {
    key: String,
    script: Option<Arc<S>>,
    requests: u32,
    faults: Vec<CountedFault>,
    /// One permit, for a request that is served while others are refused.
    crowd: Arc<Semaphore>,
}

#[derive(Debug)]
struct CountedFault {
    fault: Fault,
    skipped: u32,
    struck: u32,
}

impl CountedFault {
    /// Whether the fault affects this request; counts it.
    fn affects(&mut self, endpoint: Endpoint) -> bool {
        let Fault { on, times, skip, .. } = self.fault;
        if on.is_some_and(|on| on != endpoint) || times.is_some_and(|times| self.struck >= times.get()) {
            return false;
        }
        let due = self.skipped >= skip;
        if due {
            self.struck += 1;
        } else {
            self.skipped += 1;
        }
        due
    }
}

impl<S> Default for Treatment<S> {
    fn default() -> Self {
        Self { disruption: None, habit: None, permit: None, script: None }
    }
}

impl<S> Clone for Treatment<S> {
    fn clone(&self) -> Self {
        let (permit, script) = (self.permit.clone(), self.script.clone());
        Self { disruption: self.disruption, habit: self.habit, permit, script }
    }
}

impl<S> Keys<S> {
    /// The keys of a server with these endpoints; at first only its own.
    pub(crate) fn new(own: String, endpoints: &'static [Endpoint]) -> Self {
        Self { own, endpoints, others: Mutex::default() }
    }

    /// Decides about a request with this key. A request to no endpoint (`None`) is affected by no fault.
    pub(crate) fn admit(&self, key: &str, endpoint: Option<Endpoint>) -> Admission<S> {
        if key == self.own {
            return Admission::Served(Treatment::default());
        }
        let mut others = self.others();
        let Some(known) = others.iter_mut().find(|known| known.key == key) else {
            return Admission::Unknown;
        };
        known.requests += 1;
        let struck = endpoint.and_then(|endpoint| {
            known.faults.iter_mut().find_map(|fault| fault.affects(endpoint).then_some(fault.fault.kind))
        });
        let (mut habit, mut permit) = (None, None);
        let disruption = match struck {
            Some(Kind::Crowded) => {
                let Ok(free) = Arc::clone(&known.crowd).try_acquire_owned() else {
                    return Admission::RateLimited;
                };
                permit = Some(Arc::new(free));
                None
            }
            Some(Kind::NoFinalize) => {
                habit = Some(Habit::NoFinalize);
                None
            }
            Some(Kind::ManyFinals) => {
                habit = Some(Habit::ManyFinals);
                None
            }
            Some(Kind::Refuse) => return Admission::Refused,
            Some(Kind::RateLimit) => return Admission::RateLimited,
            Some(Kind::Break) => Some(Disruption::Break),
            Some(Kind::Silent) => Some(Disruption::Silent),
            Some(Kind::Stall) => Some(Disruption::Stall),
            None => None,
        };
        Admission::Served(Treatment { disruption, habit, permit, script: known.script.clone() })
    }

    fn others(&self) -> MutexGuard<'_, VecDeque<FaultKey<S>>> {
        // No operation under the lock can leave the list half changed.
        self.others.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Accepts a key from now on; the error describes the mistake in its setup.
    fn put(&self, key: String, setup: KeySetup<S>) -> Result<(), String> {
        if key == self.own {
            return Err("this is the own key of the server, which always works".to_owned());
        }
        if setup.script.is_some() && !self.endpoints.contains(&Endpoint::Chat) {
            return Err("script: this server has no language model".to_owned());
        }
        for (position, fault) in setup.faults.iter().enumerate() {
            if fault.on.is_some_and(|on| !self.endpoints.contains(&on)) {
                return Err(format!("faults[{position}].on: this server has no such endpoint"));
            }
            if matches!(fault.kind, Kind::NoFinalize | Kind::ManyFinals) && fault.on != Some(Endpoint::Listen)
            {
                return Err(format!("faults[{position}].on: this kind needs listen"));
            }
        }
        let count = |fault| CountedFault { fault, skipped: 0, struck: 0 };
        let faults = setup.faults.into_iter().map(count).collect();
        let crowd = Arc::new(Semaphore::new(1));
        let known = FaultKey { key, script: setup.script.map(Arc::new), requests: 0, faults, crowd };
        let mut others = self.others();
        others.retain(|other| other.key != known.key);
        if others.len() >= MAX_KEYS {
            others.pop_front();
        }
        others.push_back(known);
        Ok(())
    }
}

/// The routes that change a server's keys.
pub(crate) fn router<S: Script>(keys: Arc<Keys<S>>) -> Router {
    Router::new()
        .route("/sandbox/keys/{key}", put(change::<S>).get(counts::<S>).delete(remove::<S>))
        .with_state(keys)
}

async fn change<S: Script>(
    State(keys): State<Arc<Keys<S>>>,
    Path(key): Path<String>,
    body: Result<Json<KeySetup<S>>, JsonRejection>,
) -> Response {
    let changed = match body {
        Ok(Json(setup)) => keys.put(key, setup).map_err(|wrong| (StatusCode::UNPROCESSABLE_ENTITY, wrong)),
        Err(rejection) => Err((rejection.status(), rejection.body_text())),
    };
    match changed {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err((status, wrong)) => (status, Json(json!({ "detail": wrong }))).into_response(),
    }
}

async fn counts<S: Script>(
    State(keys): State<Arc<Keys<S>>>,
    Path(key): Path<String>,
) -> Result<Json<Value>, StatusCode> {
    let others = keys.others();
    let known = others.iter().find(|known| known.key == key).ok_or(StatusCode::NOT_FOUND)?;
    let struck: Vec<u32> = known.faults.iter().map(|fault| fault.struck).collect();
    Ok(Json(json!({ "requests": known.requests, "struck": struck })))
}

async fn remove<S: Script>(State(keys): State<Arc<Keys<S>>>, Path(key): Path<String>) -> StatusCode {
    keys.others().retain(|known| known.key != key);
    StatusCode::NO_CONTENT
}

/// The body of a response: the endpoint that is sent, followed by its disruption. A body that stays open is cut when the
/// server stops.
pub(crate) fn body(
    sent: impl Stream<Item = anyhow::Result<Bytes>> + Send + 'static,
    disruption: Option<Disruption>,
    stop: CancellationToken,
) -> Body {
    let Some(disruption) = disruption else { return Body::from_stream(sent) };
    let end = stream::once(async move {
        if disruption == Disruption::Break {
            // Data that becomes ready together with the error would not be sent.
            tokio::task::yield_now().await;
        } else {
            stop.cancelled().await;
        }
        Err(anyhow!("connection cut on purpose"))
    });
    Body::from_stream(sent.chain(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(body: &Value) -> Keys<Value> {
        let keys = Keys::new("own".to_owned(), &[Endpoint::Listen, Endpoint::Speak]);
        keys.put("k".to_owned(), serde_json::from_value(body.clone()).unwrap()).unwrap();
        keys
    }

    /// The treatment of `N` requests to an endpoint.
    fn requests<const N: usize>(keys: &Keys<Value>, endpoint: Endpoint) -> [&'static str; N] {
        std::array::from_fn(|_| match keys.admit("k", Some(endpoint)) {
            Admission::Unknown => "unknown",
            Admission::Refused => "refuse",
            Admission::RateLimited => "rate_limit",
            Admission::Served(Treatment { disruption: None, .. }) => "normal",
            Admission::Served(Treatment { disruption: Some(Disruption::Break), .. }) => "break",
            Admission::Served(Treatment { disruption: Some(Disruption::Silent), .. }) => "silent",
            Admission::Served(Treatment { disruption: Some(Disruption::Stall), .. }) => "stall",
        })
    }

    #[test]
    fn a_fault_affects_a_number_of_requests_after_the_skipped_ones() {
        let keys = keys(&json!({"faults": [{"kind": "break", "times": 2, "skip": 1}]}));
        assert_eq!(requests(&keys, Endpoint::Speak), ["normal", "break", "break", "normal"]);
    }

    #[test]
    fn without_a_number_a_fault_affects_all_requests() {
        let keys = keys(&json!({"faults": [{"kind": "silent", "skip": 2}]}));
        assert_eq!(requests(&keys, Endpoint::Listen), ["normal", "normal", "silent", "silent", "silent"]);
    }

    #[test]
    fn only_requests_to_the_faults_endpoint_are_affected_and_counted() {
        let keys = keys(&json!({"faults": [{"kind": "stall", "on": "speak", "times": 1, "skip": 1}]}));
        assert_eq!(requests(&keys, Endpoint::Listen), ["normal", "normal", "normal"]);
        assert_eq!(requests(&keys, Endpoint::Speak), ["normal", "stall", "normal"]);
    }

    #[test]
    fn faults_take_turns_in_the_order_of_the_list() {
        let faults = json!([{"kind": "refuse", "times": 1}, {"kind": "rate_limit", "times": 1, "skip": 1}]);
        let keys = keys(&json!({ "faults": faults }));
        assert_eq!(requests(&keys, Endpoint::Speak), ["refuse", "normal", "rate_limit", "normal"]);
    }

    #[test]
    fn one_crowded_request_is_served_at_a_time() {
        let keys = keys(&json!({"faults": [{"kind": "crowded", "on": "speak"}]}));
        let Admission::Served(served) = keys.admit("k", Some(Endpoint::Speak)) else { panic!("not served") };
        assert_eq!(requests(&keys, Endpoint::Speak), ["rate_limit", "rate_limit"]);
        assert_eq!(requests(&keys, Endpoint::Listen), ["normal"]);
        drop(served);
        assert_eq!(requests(&keys, Endpoint::Speak), ["normal", "normal"]);
    }

    #[test]
    fn a_habit_belongs_to_transcriptions() {
        let keys = keys(&json!({"faults": [{"kind": "many_finals", "on": "listen", "times": 1}]}));
        let habit = || match keys.admit("k", Some(Endpoint::Listen)) {
            Admission::Served(served) => served.habit,
            _ => panic!("not served"),
        };
        assert_eq!((habit(), habit()), (Some(Habit::ManyFinals), None));
        let wrong = serde_json::from_value(json!({"faults": [{"kind": "no_finalize"}]})).unwrap();
        assert_eq!(keys.put("k".to_owned(), wrong).unwrap_err(), "faults[0].on: this kind needs listen");
    }

    #[test]
    fn the_oldest_key_is_removed_and_a_second_put_starts_over() {
        let keys = keys(&json!({"faults": [{"kind": "refuse", "times": 1}]}));
        let no_faults = || serde_json::from_str::<KeySetup<Value>>("{}").unwrap();
        for other in 1..MAX_KEYS {
            keys.put(other.to_string(), no_faults()).unwrap();
        }
        assert_eq!(requests(&keys, Endpoint::Speak), ["refuse", "normal"]);
        let again = json!({"faults": [{"kind": "refuse", "times": 1}]});
        keys.put("k".to_owned(), serde_json::from_value(again).unwrap()).unwrap();
        keys.put("one more".to_owned(), no_faults()).unwrap();
        assert_eq!(requests(&keys, Endpoint::Speak), ["refuse", "normal"]);
        assert!(matches!(keys.admit("1", None), Admission::Unknown), "it was the oldest");
        assert!(matches!(keys.admit("2", None), Admission::Served(_)));
    }

    #[test]
    fn unknown_endpoints_and_the_servers_own_key_are_refused() {
        let keys = keys(&json!({}));
        let wrong = |key: &str, body: Value| {
            keys.put(key.to_owned(), serde_json::from_value(body).unwrap()).unwrap_err()
        };
        let chat = json!({"faults": [{"kind": "refuse"}, {"kind": "refuse", "on": "chat"}]});
        assert_eq!(wrong("k", chat), "faults[1].on: this server has no such endpoint");
        assert_eq!(wrong("k", json!({"script": {"rules": []}})), "script: this server has no language model");
        assert!(wrong("own", json!({})).contains("own key"));
    }
}
