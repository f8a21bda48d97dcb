//! The server on real sockets, with an engine that needs no speech.

use std::{net::Ipv4Addr, time::Duration};

use axum::body::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_tungstenite::{
    connect_async,
    tungstenite::{Error, Message, client::IntoClientRequest as _},
};

use axum::{
    Json, Router,
    extract::DefaultBodyLimit,
    http::{HeaderMap, HeaderValue, header::AUTHORIZATION},
    routing::post,
};
use tokio_util::sync::CancellationToken;

use super::{key, router};
use crate::{
    audio,
    speech::{Speech, local_client},
};

fn headers(authorization: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static(authorization))])
}

async fn serve(router: Router, tasks: &mut JoinSet<()>) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
    url
}

/// A server whose engine synthesizes a tone of 0.5 s for any text, and recognises "Good morning." in any audio. Stops
/// when the tasks are dropped.
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
async fn a_text_is_synthesized_as_raw_telephone_audio() {
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
async fn speech_is_transcribed_until_the_stream_is_closed() {
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
async fn a_live_stream_ends_when_its_server_stops() {
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
async fn a_socket_is_refused_for_a_wrong_key_or_parameter() {
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
fn the_key_is_accepted_as_token_and_as_bearer_only() {
    for good in ["Token secret", "token secret", "Bearer secret", "bearer secret"] {
        assert_eq!(key(&headers(good)), Some("secret"), "{good}");
    }
    for bad in ["Token wrong", "Basic secret", "secret", "Token secret ", "Token"] {
        assert_ne!(key(&headers(bad)), Some("secret"), "{bad}");
    }
    assert_eq!(key(&HeaderMap::new()), None);
}
