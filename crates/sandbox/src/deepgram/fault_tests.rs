//! Faults of this server, as a client sees them.

use std::time::Duration;

use axum::http::HeaderValue;
use futures_util::{SinkExt as _, StreamExt as _};
use reqwest::{Client, Response, header::AUTHORIZATION};
use serde_json::{Value, json};
use tokio::{net::TcpStream, task::JoinSet, time::timeout};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Error, Message, client::IntoClientRequest as _, error::ProtocolError},
};

use super::tests::server;
use crate::{audio, speech::local_client};

/// Longer than any response takes.
const LONG: Duration = Duration::from_mins(1);
/// Longer than a response takes on an idle machine.
const A_WHILE: Duration = Duration::from_millis(500);

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

struct World {
    client: Client,
    url: String,
    _tasks: JoinSet<()>,
}

impl World {
    /// A server with this fault for the key `k`; its own key is `secret`.
    async fn failing(fault: Value) -> Self {
        let mut tasks = JoinSet::new();
        let url = server(&mut tasks).await;
        let world = Self { client: local_client(2 * LONG).unwrap(), url, _tasks: tasks };
        let request = world.client.put(world.key_url()).json(&json!({ "faults": [fault] }));
        assert_eq!(request.send().await.unwrap().status(), 204);
        world
    }

    fn key_url(&self) -> String {
        format!("{}/sandbox/keys/k", self.url)
    }

    async fn counts(&self) -> Value {
        self.client.get(self.key_url()).send().await.unwrap().json().await.unwrap()
    }

    /// Requests two sentences of half a second each.
    async fn speak(&self, key: &str) -> Response {
        let query = "model=aura-2-thalia-en&encoding=mulaw&sample_rate=8000&container=none";
        let request = self.client.post(format!("{}/v1/speak?{query}", self.url));
        let body = json!({"text": "One sentence is this. Another one is that."});
        request.header(AUTHORIZATION, format!("Token {key}")).json(&body).send().await.unwrap()
    }

    async fn listen(&self, key: &str) -> Result<Socket, Error> {
        let query = "model=nova-3&encoding=mulaw&sample_rate=8000&smart_format=true&vad_events=true";
        let url = format!("{}/v1/listen?{query}", self.url).replace("http", "ws");
        let mut request = url.into_client_request().unwrap();
        request
            .headers_mut()
            .insert("authorization", HeaderValue::from_str(&format!("Token {key}")).unwrap());
        Ok(connect_async(request).await?.0)
    }
}

/// Returns the number of audio bytes, and whether the response then ends, is cut, or stays open. A response counts as
/// open if nothing follows those bytes for a while.
async fn heard(mut response: Response, open_after: Option<usize>) -> (usize, &'static str) {
    let mut bytes = 0;
    loop {
        let time_limit = if open_after == Some(bytes) { A_WHILE } else { LONG };
        match timeout(time_limit, response.chunk()).await {
            Ok(Ok(Some(piece))) => bytes += piece.len(),
            Ok(Ok(None)) => return (bytes, "ended"),
            Ok(Err(_)) => return (bytes, "cut"),
            Err(_) => return (bytes, "open"),
        }
    }
}

/// Sends speech. Returns the kinds of messages, and whether the socket is then closed, cut, or stays open. It counts as
/// open if nothing follows those messages for a while.
async fn said(socket: &mut Socket, open_after: Option<usize>) -> (Vec<String>, &'static str) {
    for sound in [0x10, audio::SILENCE] {
        socket.send(Message::binary(vec![sound; 8000])).await.unwrap();
    }
    let mut kinds = Vec::new();
    loop {
        let time_limit = if open_after == Some(kinds.len()) { A_WHILE } else { LONG };
        match timeout(time_limit, socket.next()).await {
            Ok(Some(Ok(Message::Text(text)))) => {
                let message: Value = serde_json::from_str(&text).unwrap();
                kinds.push(message["type"].as_str().unwrap().to_owned());
            }
            Ok(Some(Ok(Message::Close(_)))) => return (kinds, "closed"),
            Ok(Some(Ok(_))) => {}
            Ok(Some(Err(Error::Io(_) | Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)))) => {
                return (kinds, "cut");
            }
            Ok(other) => panic!("neither open nor cut: {other:?}"),
            Err(_) => return (kinds, "open"),
        }
    }
}

/// Proves that the server has read everything, and that it notices when the client closes.
async fn is_read(mut socket: Socket) {
    socket.close(None).await.unwrap();
    let answer = timeout(LONG, socket.next()).await.unwrap();
    assert!(matches!(answer, Some(Ok(Message::Close(_)))), "{answer:?}");
}

#[tokio::test]
async fn refusals_and_limits_affect_one_key_only() {
    for (kind, status, code) in
        [("refuse", 503, "SERVICE_UNAVAILABLE"), ("rate_limit", 429, "TOO_MANY_REQUESTS")]
    {
        let world = World::failing(json!({ "kind": kind })).await;
        let wait = (status == 429).then_some("1");
        let response = world.speak("k").await;
        assert_eq!(response.status(), status);
        assert_eq!(response.headers().get("retry-after").map(|wait| wait.to_str().unwrap()), wait);
        assert_eq!(response.json::<Value>().await.unwrap()["err_code"], code);
        let Err(Error::Http(response)) = world.listen("k").await else { panic!("a refusal") };
        assert_eq!(response.status(), status);
        assert_eq!(response.headers().get("retry-after").map(|wait| wait.to_str().unwrap()), wait);
        assert_eq!(world.speak("secret").await.bytes().await.unwrap().len(), 8000);
        world.listen("secret").await.unwrap();
    }
}

#[tokio::test]
async fn a_broken_response_begins_and_is_cut() {
    let world = World::failing(json!({"kind": "break", "on": "speak", "times": 1, "skip": 1})).await;
    assert_eq!(heard(world.speak("k").await, None).await, (8000, "ended"));
    assert_eq!(heard(world.speak("k").await, None).await, (2000, "cut"));
    assert_eq!(heard(world.speak("k").await, None).await, (8000, "ended"));
    assert_eq!(world.counts().await, json!({"requests": 3, "struck": [1]}));
}

#[tokio::test]
async fn a_stalled_response_begins_and_stays_open() {
    let world = World::failing(json!({"kind": "stall"})).await;
    assert_eq!(heard(world.speak("k").await, Some(2000)).await, (2000, "open"));
}

#[tokio::test]
async fn a_silent_response_has_no_audio() {
    let world = World::failing(json!({"kind": "silent"})).await;
    let response = world.speak("k").await;
    assert_eq!(response.status(), 200);
    assert_eq!(heard(response, Some(0)).await, (0, "open"));
}

#[tokio::test]
async fn a_broken_transcription_is_cut_at_its_first_words() {
    let world = World::failing(json!({"kind": "break", "on": "listen", "times": 1})).await;
    let (kinds, end) = said(&mut world.listen("k").await.unwrap(), None).await;
    assert_eq!((kinds, end), (vec!["SpeechStarted".to_owned()], "cut"));
    let mut socket = world.listen("k").await.unwrap();
    assert_eq!(
        said(&mut socket, Some(2)).await,
        (["SpeechStarted", "Results"].map(str::to_owned).to_vec(), "open")
    );
    assert_eq!(world.counts().await, json!({"requests": 2, "struck": [1]}));
}

#[tokio::test]
async fn a_stalled_transcription_reports_speech_and_then_only_reads() {
    let world = World::failing(json!({"kind": "stall"})).await;
    let mut socket = world.listen("k").await.unwrap();
    assert_eq!(said(&mut socket, Some(1)).await, (vec!["SpeechStarted".to_owned()], "open"));
    assert_eq!(said(&mut socket, Some(0)).await, (vec![], "open"));
    is_read(socket).await;
}

#[tokio::test]
async fn a_silent_transcription_only_reads() {
    let world = World::failing(json!({"kind": "silent", "on": "listen"})).await;
    let mut socket = world.listen("k").await.unwrap();
    assert_eq!(said(&mut socket, Some(0)).await, (vec![], "open"));
    is_read(socket).await;
    assert_eq!(heard(world.speak("k").await, None).await, (8000, "ended"), "it is not on");
}

#[tokio::test]
async fn a_removed_key_is_refused_and_a_script_is_not_accepted() {
    let world = World::failing(json!({"kind": "silent", "on": "listen"})).await;
    let script = world.client.put(world.key_url()).json(&json!({"script": {}})).send().await.unwrap();
    assert_eq!(script.status(), 422);
    assert_eq!(
        script.json::<Value>().await.unwrap(),
        json!({"detail": "script: this server has no language model"})
    );
    assert_eq!(world.client.delete(world.key_url()).send().await.unwrap().status(), 204);
    assert_eq!(world.speak("k").await.status(), 401);
}
