//! The Deepgram server: live transcription (`/v1/listen`) and speech (`/v1/speak`) on the true wire.
//!
//! Hearing and speaking are real, done by the offline engines: a transcript comes from the audio that
//! arrived and from nothing else. Here are the routes, authentication and errors; the streams are in
//! `listen` (socket), `session` (decisions), `messages` (shapes) and in `speak`. What fails on purpose is
//! decided by the key, in `behaviour`.

#[cfg(test)]
mod fault_tests;
mod listen;
mod messages;
mod session;
mod speak;

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Request, State},
    http::{
        HeaderMap, HeaderName, HeaderValue, StatusCode,
        header::{AUTHORIZATION, RETRY_AFTER},
    },
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::json;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    behaviour::{self, Admission, Keys, Part},
    speech::Speech,
};

const REQUEST_ID: HeaderName = HeaderName::from_static("dg-request-id");

const LISTEN: &str = "/v1/listen";
const SPEAK: &str = "/v1/speak";

/// The server's routes; `api_key` is its own key, others come by `/sandbox/keys`.
///
/// Live streams end with the token, and when the router is dropped, as it is when its server stops.
pub(crate) fn router(speech: Speech, api_key: String, stop: &CancellationToken) -> Router {
    let stop = stop.child_token();
    let keys = Arc::new(Keys::new(api_key, &[Part::Listen, Part::Speak]));
    let server = Server { speech, stop: stop.clone(), _stop_on_drop: stop.drop_guard() };
    Router::new()
        .route(LISTEN, get(listen::listen))
        .route(SPEAK, post(speak::speak))
        .fallback(async |request: Request| {
            let id = request_id(&request);
            Refusal::new(StatusCode::NOT_FOUND, "NOT_FOUND", "Not Found").with(&id)
        })
        .layer(middleware::from_fn_with_state(Arc::clone(&keys), admit))
        .with_state(Arc::new(server))
        .merge(behaviour::router(keys))
        .layer(DefaultBodyLimit::max(64 * 1024))
}

/// What the routes share.
struct Server {
    speech: Speech,
    /// Cancelled when the server is gone: upgraded sockets outlive their request.
    stop: CancellationToken,
    _stop_on_drop: DropGuard,
}

/// The id of a request, in every answer and message about it.
#[derive(Debug, Clone)]
struct RequestId(String);

/// Gives every request its id, and refuses those without a key and those that are to fail.
async fn admit(State(keys): State<Arc<Keys>>, mut request: Request, next: Next) -> Response {
    let id = RequestId(uuid());
    let part = match request.uri().path() {
        LISTEN => Some(Part::Listen),
        SPEAK => Some(Part::Speak),
        _ => None,
    };
    let admission = key(request.headers()).map_or(Admission::Unknown, |key| keys.admit(key, part));
    let mut response = match admission {
        Admission::Served(service) => {
            request.extensions_mut().insert(id.clone());
            request.extensions_mut().insert(service);
            next.run(request).await
        }
        Admission::Unknown => {
            Refusal::new(StatusCode::UNAUTHORIZED, "INVALID_AUTH", "Invalid credentials.").with(&id)
        }
        Admission::Refused => {
            let message = "The service is temporarily unavailable.";
            Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "SERVICE_UNAVAILABLE", message).with(&id)
        }
        Admission::RateLimited => {
            let message = "Too many requests. Please try again later.";
            let refusal = Refusal::new(StatusCode::TOO_MANY_REQUESTS, "TOO_MANY_REQUESTS", message);
            ([(RETRY_AFTER, "1")], refusal.with(&id)).into_response()
        }
    };
    if let Ok(value) = HeaderValue::from_str(&id.0) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

/// The key in the `Authorization` header, as `Token` or as `Bearer`.
fn key(headers: &HeaderMap) -> Option<&str> {
    let (scheme, key) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("token") || scheme.eq_ignore_ascii_case("bearer")).then_some(key)
}

/// A request that is not served: Deepgram's error body and its `dg-error` header.
#[derive(Debug, PartialEq, Eq)]
struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl Refusal {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    /// A parameter of the query that is missing or wrong.
    fn parameter(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "INVALID_QUERY_PARAMETER", message)
    }

    fn with(self, id: &RequestId) -> Response {
        let body = json!({ "err_code": self.code, "err_msg": self.message, "request_id": id.0 });
        let mut response = (self.status, Json(body)).into_response();
        if let Ok(value) = HeaderValue::from_str(&self.message) {
            response.headers_mut().insert("dg-error", value);
        }
        response
    }
}

/// The last value of a parameter: Deepgram takes the query as pairs, some of them repeated.
fn parameter<'a>(query: &'a [(String, String)], name: &str) -> Option<&'a str> {
    query.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

fn request_id(request: &Request) -> RequestId {
    request.extensions().get().cloned().unwrap_or_else(|| RequestId(uuid()))
}

/// A new id in the form of a UUID.
fn uuid() -> String {
    let hex = crate::sid("");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, time::Duration};

    use axum::body::Bytes;
    use futures_util::{SinkExt as _, StreamExt as _};
    use serde_json::Value;
    use tokio::{net::TcpListener, task::JoinSet};
    use tokio_tungstenite::{
        connect_async,
        tungstenite::{Error, Message, client::IntoClientRequest as _},
    };

    use super::*;
    use crate::{audio, speech::local_client};

    fn headers(authorization: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static(authorization))])
    }

    async fn serve(router: Router, tasks: &mut JoinSet<()>) -> String {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
        url
    }

    /// A server whose engine speaks a tone of 0.5 s, whatever the text, and hears "Good morning." in
    /// everything. Stops when the tasks are dropped.
    pub(super) async fn server(tasks: &mut JoinSet<()>) -> String {
        let tone: Vec<u8> = [4000_i16, -4000].repeat(6000).into_iter().flat_map(i16::to_le_bytes).collect();
        let engine = Router::new()
            .route("/synthesize", post(async || tone))
            .route("/transcribe", post(async |_: Bytes| Json(json!({"text": "Good morning."}))))
            .layer(DefaultBodyLimit::disable());
        let engine = serve(engine, tasks).await;
        let speech = Speech::connect(&engine).unwrap();
        serve(router(speech, "secret".to_owned(), &CancellationToken::new()), tasks).await
    }

    async fn speak(url: &str, query: &str, key: &str, text: &str) -> reqwest::Response {
        let client = local_client(Duration::from_secs(10)).unwrap();
        let request = client.post(format!("{url}/v1/speak?{query}")).header("Authorization", key);
        request.json(&json!({ "text": text })).send().await.unwrap()
    }

    const RAW: &str = "model=aura-2-thalia-en&encoding=mulaw&sample_rate=8000&container=none";

    #[tokio::test]
    async fn a_text_is_spoken_as_raw_telephone_audio() {
        let mut tasks = JoinSet::new();
        let url = server(&mut tasks).await;
        let text = "One sentence is this. Another one is that.";
        let response = speak(&url, RAW, "Token secret", text).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["dg-model-name"], "aura-2-thalia-en");
        assert_eq!(response.headers()["dg-char-count"], text.len().to_string().as_str());
        assert_eq!(response.headers()["dg-request-id"].len(), 36);
        assert_eq!(response.bytes().await.unwrap().len(), 2 * 4000, "each sentence is half a second");
    }

    #[tokio::test]
    async fn refusals_have_a_code_a_message_and_the_request_id() {
        let mut tasks = JoinSet::new();
        let url = server(&mut tasks).await;
        let long = "a".repeat(2001);
        let cases = [
            (RAW, "Token wrong", "Hello.", 401, "INVALID_AUTH"),
            ("model=nova-3", "Token secret", "Hello.", 400, "INVALID_QUERY_PARAMETER"),
            (RAW, "Token secret", " ", 400, "PAYLOAD_ERROR"),
            (RAW, "Token secret", &long, 413, "PAYLOAD_TOO_LARGE"),
        ];
        for (query, key, text, status, code) in cases {
            let response = speak(&url, query, key, text).await;
            assert_eq!(response.status(), status);
            let id = response.headers()["dg-request-id"].to_str().unwrap().to_owned();
            let error = response.headers()["dg-error"].to_str().unwrap().to_owned();
            let body: Value = response.json().await.unwrap();
            assert_eq!(body, json!({"err_code": code, "err_msg": error, "request_id": id}));
        }
    }

    #[tokio::test]
    async fn speech_on_a_socket_is_transcribed_until_the_stream_is_closed() {
        let mut tasks = JoinSet::new();
        let url = server(&mut tasks).await.replace("http", "ws");
        let query = "model=nova-3&encoding=mulaw&sample_rate=8000&smart_format=true&vad_events=true";
        let mut request = format!("{url}/v1/listen?{query}").into_client_request().unwrap();
        request.headers_mut().extend(headers("Token secret"));
        let (mut socket, response) = connect_async(request).await.unwrap();
        let id = response.headers()["dg-request-id"].to_str().unwrap().to_owned();
        socket.send(Message::binary(vec![0x10; 8000])).await.unwrap();
        socket.send(Message::binary(vec![audio::SILENCE; 8000])).await.unwrap();
        socket.send(Message::text(r#"{"type":"CloseStream"}"#)).await.unwrap();
        let mut messages = Vec::new();
        while let Some(Ok(message)) = socket.next().await {
            match message {
                Message::Text(text) => messages.push(serde_json::from_str::<Value>(&text).unwrap()),
                Message::Close(close) => assert_eq!(u16::from(close.unwrap().code), 1000),
                _ => {}
            }
        }
        let kinds: Vec<&str> = messages.iter().filter_map(|message| message["type"].as_str()).collect();
        assert_eq!(kinds, ["SpeechStarted", "Results", "Metadata"]);
        assert_eq!(messages[1]["channel"]["alternatives"][0]["transcript"], "Good morning.");
        assert_eq!(messages[1]["metadata"]["request_id"], id.as_str());
        assert_eq!(messages[2]["duration"], json!(2.0));
    }

    #[tokio::test]
    async fn a_live_stream_ends_when_its_server_is_gone() {
        let mut tasks = JoinSet::new();
        let url = server(&mut tasks).await.replace("http", "ws");
        let query = "model=nova-3&encoding=mulaw&sample_rate=8000";
        let mut request = format!("{url}/v1/listen?{query}").into_client_request().unwrap();
        request.headers_mut().extend(headers("Token secret"));
        let (mut socket, _) = connect_async(request).await.unwrap();
        tasks.shutdown().await;
        let closed = tokio::time::timeout(Duration::from_secs(5), socket.next()).await.unwrap();
        let Some(Ok(Message::Close(Some(frame)))) = closed else { panic!("a close, not {closed:?}") };
        assert_eq!(u16::from(frame.code), 1001);
    }

    #[tokio::test]
    async fn a_socket_is_refused_with_a_wrong_key_or_a_wrong_parameter() {
        let mut tasks = JoinSet::new();
        let url = server(&mut tasks).await.replace("http", "ws");
        let query = "model=nova-3&encoding=mulaw&sample_rate=8000";
        for (query, key, status) in [(query, "Token wrong", 401), ("encoding=mulaw", "Token secret", 400)] {
            let mut request = format!("{url}/v1/listen?{query}").into_client_request().unwrap();
            request.headers_mut().extend(headers(key));
            let Err(Error::Http(response)) = connect_async(request).await else { panic!("a refusal") };
            assert_eq!(response.status(), status);
            assert!(response.headers().contains_key("dg-error"));
            assert!(response.headers().contains_key("dg-request-id"));
        }
    }

    #[test]
    fn the_key_is_accepted_as_token_and_as_bearer_and_nothing_else_is() {
        for good in ["Token secret", "token secret", "Bearer secret", "bearer secret"] {
            assert_eq!(key(&headers(good)), Some("secret"), "{good}");
        }
        for bad in ["Token wrong", "Basic secret", "secret", "Token secret ", "Token"] {
            assert_ne!(key(&headers(bad)), Some("secret"), "{bad}");
        }
        assert_eq!(key(&HeaderMap::new()), None);
    }

    #[test]
    fn request_ids_are_uuids_and_differ() {
        let id = uuid();
        assert_eq!(id.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
        assert_ne!(id, uuid());
    }

    #[test]
    fn the_last_value_of_a_repeated_parameter_counts() {
        let query =
            [("model", "a"), ("keyterm", "x"), ("model", "b")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(parameter(&query, "model"), Some("b"));
        assert_eq!(parameter(&query, "encoding"), None);
    }
}
