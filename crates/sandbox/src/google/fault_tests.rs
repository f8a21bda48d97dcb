//! Faults of this server, and scripts of its keys, as a client sees them.

use std::{net::Ipv4Addr, time::Duration};

use reqwest::{Client, Response};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::speech::local_client;

/// Longer than any response takes.
const LONG: Duration = Duration::from_mins(1);
/// Longer than the time between two tokens.
const A_WHILE: Duration = Duration::from_millis(300);

const ANSWER: &str = "On Saturday we close at six in the evening. Can I help you with anything else?";

struct World {
    client: Client,
    url: String,
    stop: CancellationToken,
    _tasks: JoinSet<()>,
}

impl World {
    /// A server whose own key is `own`.
    async fn start() -> Self {
        let (mut tasks, stop) = (JoinSet::new(), CancellationToken::new());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = super::router("own".to_owned(), &stop);
        tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { client: local_client(2 * LONG).unwrap(), url, stop, _tasks: tasks }
    }

    /// A server with this setup for the key `k`.
    async fn with(setup: Value) -> Self {
        let world = Self::start().await;
        let request = world.client.put(format!("{}/sandbox/keys/k", world.url)).json(&setup);
        assert_eq!(request.send().await.unwrap().status(), 204);
        world
    }

    async fn send(&self, key: &str, method: &str) -> Response {
        let url = format!("{}/v1beta/models/gemini-3.8-flash:{method}", self.url);
        let body = json!({
            "contents": [{"role": "user", "parts": [{"text": "When do you close?"}]}],
            "tools": [{"functionDeclarations": [{"name": "count"}]}],
        });
        self.client.post(url).header("x-goog-api-key", key).json(&body).send().await.unwrap()
    }

    async fn ask(&self, key: &str) -> Response {
        self.send(key, "streamGenerateContent?alt=sse").await
    }
}

/// The text of these server-sent events.
fn text(events: &str) -> String {
    let chunks = events.split("\r\n\r\n").filter_map(|event| event.strip_prefix("data: "));
    let chunks = chunks.map(|event| serde_json::from_str::<Value>(event).unwrap());
    let text = |chunk: Value| Some(chunk.pointer("/candidates/0/content/parts/0/text")?.as_str()?.to_owned());
    chunks.filter_map(text).collect()
}

/// Returns the text, and whether the response then ends, is cut, or stays open.
async fn read(response: &mut Response, open_after: usize) -> (String, &'static str) {
    let mut events = String::new();
    loop {
        let time_limit = if text(&events).len() == open_after { A_WHILE } else { LONG };
        match timeout(time_limit, response.chunk()).await {
            Ok(Ok(Some(bytes))) => events.push_str(std::str::from_utf8(&bytes).unwrap()),
            Ok(Ok(None)) => return (text(&events), "ended"),
            Ok(Err(_)) => return (text(&events), "cut"),
            Err(_) => return (text(&events), "open"),
        }
    }
}

#[tokio::test]
async fn a_streamed_and_a_whole_response_are_the_same() {
    let world = World::start().await;
    let streamed = world.ask("own").await;
    assert_eq!(streamed.headers()["content-type"], "text/event-stream");
    assert_eq!(text(&streamed.text().await.unwrap()), ANSWER);
    let list: Vec<Value> = world.send("own", "streamGenerateContent").await.json().await.unwrap();
    assert!(list.len() > 5);
    let whole: Value = world.send("own", "generateContent").await.json().await.unwrap();
    assert_eq!(whole["candidates"][0]["content"]["parts"][0]["text"], ANSWER);
    assert_eq!(world.send("own", "embedContent").await.status(), 404);
}

#[tokio::test]
async fn keys_and_faults_are_refused_in_googles_words() {
    let world = World::start().await;
    for (key, status, code) in [("", 403, "PERMISSION_DENIED"), ("other", 400, "INVALID_ARGUMENT")] {
        let response = world.ask(key).await;
        assert_eq!(response.status(), status);
        assert_eq!(response.json::<Value>().await.unwrap()["error"]["status"], code);
    }
    for (kind, status, code) in [("refuse", 503, "UNAVAILABLE"), ("rate_limit", 429, "RESOURCE_EXHAUSTED")] {
        let world = World::with(json!({"faults": [{"kind": kind}]})).await;
        let response = world.ask("k").await;
        assert_eq!(response.status(), status);
        let error = response.json::<Value>().await.unwrap()["error"].clone();
        assert_eq!(error["status"], code);
        assert_eq!(error["details"][1]["retryDelay"] == "1s", status == 429);
        assert_eq!(text(&world.ask("own").await.text().await.unwrap()), ANSWER);
    }
}

#[tokio::test]
async fn a_disrupted_response_is_cut_or_stays_open() {
    let half = ANSWER.len() / 2;
    let world = World::with(json!({"faults": [{"kind": "break"}]})).await;
    let (begun, end) = read(&mut world.ask("k").await, usize::MAX).await;
    assert!(end == "cut" && ANSWER.starts_with(&begun) && begun.len().abs_diff(half) < 8, "{begun}");
    let world = World::with(json!({"faults": [{"kind": "stall"}]})).await;
    let mut response = world.ask("k").await;
    assert_eq!(read(&mut response, begun.len()).await, (begun, "open"));
    world.stop.cancel();
    assert!(timeout(LONG, response.chunk()).await.unwrap().is_err(), "it is cut when the server stops");
    let world = World::with(json!({"faults": [{"kind": "silent"}]})).await;
    assert_eq!(read(&mut world.ask("k").await, 0).await, (String::new(), "open"));
}

#[tokio::test]
async fn a_key_has_its_own_script() {
    let rule = json!({"words": ["close"], "call": {"name": "count", "arguments": {"day": "Monday"}}});
    let world = World::with(json!({"script": {"rules": [rule]}})).await;
    let whole: Value = world.send("k", "generateContent").await.json().await.unwrap();
    let call = &whole["candidates"][0]["content"]["parts"][0];
    assert_eq!(call["functionCall"]["args"], json!({"day": "Monday"}));
    assert!(call["thoughtSignature"].is_string());
}
