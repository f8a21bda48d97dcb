//! How the servers of the providers behave for a key: what fails, and what the model says.
//!
//! Each server has one key of its own, for which all goes well. `PUT /sandbox/keys/{key}` makes it accept
//! another one too, and behave for it as the body says; again for the same key, it begins anew. `DELETE`
//! forgets the key. No credentials are asked for. At most 256 keys are known, the oldest is forgotten first.
//!
//! ```json
//! {
//!   "faults": [{"kind": "break", "on": "speak", "times": 2, "skip": 1}],
//!   "script": {"rules": [{"words": ["hello"], "say": "Hello, who is this?"}]}
//! }
//! ```
//!
//! Both may be left out. `script` is for the server with the model, its form is that of
//! `scripts/model.json`. A fault:
//!
//! - `kind`: `refuse`: 503. `rate_limit`: 429, `Retry-After: 1`. `silent`: the request is accepted, all is
//!   read, nothing ever comes. `break`: the answer begins, and the connection is cut. `stall`: it begins, and
//!   nothing more comes. A beginning is half of the tokens, half of the first sentence's audio, or all that a
//!   transcriber says before the first words.
//! - `on`: `listen`, `speak` or `chat`, what the server has of these; all of them if it is left out.
//! - `times`: how many requests it strikes; all if it is left out.
//! - `skip`: how many go well before the first one it strikes.
//!
//! A request goes down the list; the first fault whose turn it is strikes it, and those behind do not see it.
//! `GET` counts: `{"requests": 3, "struck": [1]}`, all requests with the key, and for every fault of the list
//! those that it struck. A body with a mistake is answered 422, `{"detail": "what is wrong, and where"}`.

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
use tokio_util::sync::CancellationToken;

/// Keys that are known beside the server's own.
const MAX_KEYS: usize = 256;

/// What a provider is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Endpoint {
    /// Live transcription.
    Listen,
    /// Speech.
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

/// What a server with a language model follows; servers without one take [`serde_json::Value`] and refuse it.
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

/// Whether, and how, a request is served.
#[derive(Debug)]
pub(crate) enum Admission<S> {
    /// The key is not accepted.
    Unknown,
    /// To be answered 503.
    Refused,
    /// To be answered 429.
    RateLimited,
    /// To be served like this.
    Served(Treatment<S>),
}

/// How a request is served.
#[derive(Debug)]
pub(crate) struct Treatment<S> {
    /// What happens to the answer, if something does.
    pub(crate) disruption: Option<Disruption>,
    /// What the model says, if it is not what this server was built with.
    pub(crate) script: Option<Arc<S>>,
}

/// An answer that does not end as it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Disruption {
    /// It begins, and the connection is cut.
    Break,
    /// Nothing comes, and the connection stays.
    Silent,
    /// It begins, nothing more comes, and the connection stays.
    Stall,
}

/// The keys that a server accepts. Not `Debug`, like what is in it: a key is a secret.
pub(crate) struct Keys<S> {
    own: String,
    parts: &'static [Endpoint],
    /// The newest one last.
    others: Mutex<VecDeque<FaultKey<S>>>,
}

/// A key, what it is answered, and what it has been.
struct FaultKey<S> {
    key: String,
    script: Option<Arc<S>>,
    requests: u32,
    faults: Vec<CountedFault>,
}

#[derive(Debug)]
struct CountedFault {
    fault: Fault,
    skipped: u32,
    struck: u32,
}

impl CountedFault {
    /// Whether it is this request's turn to be struck.
    fn strikes(&mut self, part: Endpoint) -> bool {
        let Fault { on, times, skip, .. } = self.fault;
        if on.is_some_and(|on| on != part) || times.is_some_and(|times| self.struck >= times.get()) {
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
        Self { disruption: None, script: None }
    }
}

impl<S> Clone for Treatment<S> {
    fn clone(&self) -> Self {
        Self { disruption: self.disruption, script: self.script.clone() }
    }
}

impl<S> Keys<S> {
    /// The keys of a server that has these parts: at first its own alone.
    pub(crate) fn new(own: String, parts: &'static [Endpoint]) -> Self {
        Self { own, parts, others: Mutex::default() }
    }

    /// What becomes of a request with this key; none of its faults strikes what belongs to no part.
    pub(crate) fn admit(&self, key: &str, part: Option<Endpoint>) -> Admission<S> {
        if key == self.own {
            return Admission::Served(Treatment::default());
        }
        let mut others = self.others();
        let Some(known) = others.iter_mut().find(|known| known.key == key) else {
            return Admission::Unknown;
        };
        known.requests += 1;
        let struck = part.and_then(|part| {
            known.faults.iter_mut().find_map(|fault| fault.strikes(part).then_some(fault.fault.kind))
        });
        let disruption = match struck {
            Some(Kind::Refuse) => return Admission::Refused,
            Some(Kind::RateLimit) => return Admission::RateLimited,
            Some(Kind::Break) => Some(Disruption::Break),
            Some(Kind::Silent) => Some(Disruption::Silent),
            Some(Kind::Stall) => Some(Disruption::Stall),
            None => None,
        };
        Admission::Served(Treatment { disruption, script: known.script.clone() })
    }

    fn others(&self) -> MutexGuard<'_, VecDeque<FaultKey<S>>> {
        // Nothing that is done under the lock can leave the list half changed.
        self.others.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Accepts this key from now on; what is wrong with that, otherwise.
    fn put(&self, key: String, setup: KeySetup<S>) -> Result<(), String> {
        if key == self.own {
            return Err("this is the server's own key: all goes well with it".to_owned());
        }
        if setup.script.is_some() && !self.parts.contains(&Endpoint::Chat) {
            return Err("script: there is no model here".to_owned());
        }
        for (position, fault) in setup.faults.iter().enumerate() {
            if fault.on.is_some_and(|on| !self.parts.contains(&on)) {
                return Err(format!("faults[{position}].on: there is no such thing here"));
            }
        }
        let count = |fault| CountedFault { fault, skipped: 0, struck: 0 };
        let faults = setup.faults.into_iter().map(count).collect();
        let known = FaultKey { key, script: setup.script.map(Arc::new), requests: 0, faults };
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
        .route("/sandbox/keys/{key}", put(change::<S>).get(count::<S>).delete(forget::<S>))
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

async fn count<S: Script>(
    State(keys): State<Arc<Keys<S>>>,
    Path(key): Path<String>,
) -> Result<Json<Value>, StatusCode> {
    let others = keys.others();
    let known = others.iter().find(|known| known.key == key).ok_or(StatusCode::NOT_FOUND)?;
    let struck: Vec<u32> = known.faults.iter().map(|fault| fault.struck).collect();
    Ok(Json(json!({ "requests": known.requests, "struck": struck })))
}

async fn forget<S: Script>(State(keys): State<Arc<Keys<S>>>, Path(key): Path<String>) -> StatusCode {
    keys.others().retain(|known| known.key != key);
    StatusCode::NO_CONTENT
}

/// The body of an answer: what was said of it, and then what the disruption makes of it. One that stays
/// open is cut when the server stops.
pub(crate) fn body(
    said: impl Stream<Item = anyhow::Result<Bytes>> + Send + 'static,
    disruption: Option<Disruption>,
    stop: CancellationToken,
) -> Body {
    let Some(disruption) = disruption else { return Body::from_stream(said) };
    let end = stream::once(async move {
        if disruption == Disruption::Break {
            // What is ready at the same time as the error would not be sent.
            tokio::task::yield_now().await;
        } else {
            stop.cancelled().await;
        }
        Err(anyhow!("the connection is cut"))
    });
    Body::from_stream(said.chain(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(body: &Value) -> Keys<Value> {
        let keys = Keys::new("own".to_owned(), &[Endpoint::Listen, Endpoint::Speak]);
        keys.put("k".to_owned(), serde_json::from_value(body.clone()).unwrap()).unwrap();
        keys
    }

    /// What becomes of so many requests for this.
    fn requests<const N: usize>(keys: &Keys<Value>, part: Endpoint) -> [&'static str; N] {
        std::array::from_fn(|_| match keys.admit("k", Some(part)) {
            Admission::Unknown => "unknown",
            Admission::Refused => "refuse",
            Admission::RateLimited => "rate_limit",
            Admission::Served(Treatment { disruption: None, .. }) => "well",
            Admission::Served(Treatment { disruption: Some(Disruption::Break), .. }) => "break",
            Admission::Served(Treatment { disruption: Some(Disruption::Silent), .. }) => "silent",
            Admission::Served(Treatment { disruption: Some(Disruption::Stall), .. }) => "stall",
        })
    }

    #[test]
    fn a_fault_strikes_so_many_requests_after_those_that_go_well() {
        let keys = keys(&json!({"faults": [{"kind": "break", "times": 2, "skip": 1}]}));
        assert_eq!(requests(&keys, Endpoint::Speak), ["well", "break", "break", "well"]);
    }

    #[test]
    fn without_a_number_a_fault_never_ends() {
        let keys = keys(&json!({"faults": [{"kind": "silent", "skip": 2}]}));
        assert_eq!(requests(&keys, Endpoint::Listen), ["well", "well", "silent", "silent", "silent"]);
    }

    #[test]
    fn only_requests_for_what_a_fault_is_on_are_struck_and_counted() {
        let keys = keys(&json!({"faults": [{"kind": "stall", "on": "speak", "times": 1, "skip": 1}]}));
        assert_eq!(requests(&keys, Endpoint::Listen), ["well", "well", "well"]);
        assert_eq!(requests(&keys, Endpoint::Speak), ["well", "stall", "well"]);
    }

    #[test]
    fn faults_take_their_turns_in_the_order_of_the_list() {
        let faults = json!([{"kind": "refuse", "times": 1}, {"kind": "rate_limit", "times": 1, "skip": 1}]);
        let keys = keys(&json!({ "faults": faults }));
        assert_eq!(requests(&keys, Endpoint::Speak), ["refuse", "well", "rate_limit", "well"]);
    }

    #[test]
    fn the_oldest_key_is_forgotten_and_one_that_is_put_again_begins_anew() {
        let keys = keys(&json!({"faults": [{"kind": "refuse", "times": 1}]}));
        let well = || serde_json::from_str::<KeySetup<Value>>("{}").unwrap();
        for other in 1..MAX_KEYS {
            keys.put(other.to_string(), well()).unwrap();
        }
        assert_eq!(requests(&keys, Endpoint::Speak), ["refuse", "well"]);
        let again = json!({"faults": [{"kind": "refuse", "times": 1}]});
        keys.put("k".to_owned(), serde_json::from_value(again).unwrap()).unwrap();
        keys.put("one more".to_owned(), well()).unwrap();
        assert_eq!(requests(&keys, Endpoint::Speak), ["refuse", "well"]);
        assert!(matches!(keys.admit("1", None), Admission::Unknown), "it was the oldest");
        assert!(matches!(keys.admit("2", None), Admission::Served(_)));
    }

    #[test]
    fn what_a_server_does_not_have_and_its_own_key_are_refused() {
        let keys = keys(&json!({}));
        let wrong = |key: &str, body: Value| {
            keys.put(key.to_owned(), serde_json::from_value(body).unwrap()).unwrap_err()
        };
        let chat = json!({"faults": [{"kind": "refuse"}, {"kind": "refuse", "on": "chat"}]});
        assert_eq!(wrong("k", chat), "faults[1].on: there is no such thing here");
        assert_eq!(wrong("k", json!({"script": {"rules": []}})), "script: there is no model here");
        assert!(wrong("own", json!({})).contains("own key"));
    }
}
