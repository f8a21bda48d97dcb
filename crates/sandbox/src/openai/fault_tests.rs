//! Faults of this server, and scripts of its keys, as a client sees them.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use reqwest::{Client, Response};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::speech::local_client;

/// Longer than any response takes.
const LONG: Duration = Duration::from_mins(1);
/// Longer than the time between two tokens.
const A_WHILE: Duration = Duration::from_millis(300);

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

    async fn put(&self, key: &str, body: &Value) -> (u16, Value) {
        let request = self.client.put(format!("{}/sandbox/keys/{key}", self.url)).json(body);
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap_or_default())
    }

    /// A server with this fault for the key `k`.
    async fn failing(fault: Value) -> Self {
        let world = Self::start().await;
        assert_eq!(world.put("k", &json!({ "faults": [fault] })).await.0, 204);
        world
    }

    async fn send(&self, key: &str, body: &Value) -> Response {
        let request = self.client.post(format!("{}/v1/chat/completions", self.url)).bearer_auth(key);
        request.json(body).send().await.unwrap()
    }

    /// Requests a streamed completion.
    async fn ask(&self, key: &str) -> Response {
        self.send(key, &question("When do you close?", true)).await
    }
}

fn question(text: &str, stream: bool) -> Value {
    let tool = |name: &str| json!({"type": "function", "function": {"name": name, "parameters": {"type": "object"}}});
    json!({
        "model": "gpt-6-luna", "reasoning_effort": "none", "stream": stream,
        "messages": [{"role": "system", "content": "You are Ada."}, {"role": "user", "content": text}],
        "tools": [tool("count"), tool("look")],
    })
}

const ANSWER: &str = "On Saturday we close at six in the evening. Can I help you with anything else?";
const HALF: &str = "On Saturday we close at six in the ";

/// The text of these server-sent events.
fn text(events: &str) -> String {
    let chunks = events.split("\n\n").filter_map(|event| event.strip_prefix("data: {"));
    let chunks = chunks.map(|event| serde_json::from_str::<Value>(&format!("{{{event}")).unwrap());
    chunks.filter_map(|chunk| Some(chunk["choices"][0]["delta"]["content"].as_str()?.to_owned())).collect()
}

/// Returns the text, and whether the response then ends, is cut, or stays open. It counts as open if nothing follows
/// this text for a while.
async fn read(response: &mut Response, open_after: Option<&str>) -> (String, &'static str) {
    let mut events = String::new();
    loop {
        let time_limit = if open_after == Some(&*text(&events)) { A_WHILE } else { LONG };
        match timeout(time_limit, response.chunk()).await {
            Ok(Ok(Some(bytes))) => events.push_str(std::str::from_utf8(&bytes).unwrap()),
            Ok(Ok(None)) => return (text(&events), "ended"),
            Ok(Err(_)) => return (text(&events), "cut"),
            Err(_) => return (text(&events), "open"),
        }
    }
}

/// The whole text of a response that ends as it should.
async fn answered(response: Response) -> String {
    let events = response.text().await.unwrap();
    assert!(events.ends_with("data: [DONE]\n\n"), "{events}");
    text(&events)
}

#[tokio::test]
async fn refusals_and_limits_affect_one_key_only() {
    for (kind, status, code) in
        [("refuse", 503, json!(null)), ("rate_limit", 429, json!("rate_limit_exceeded"))]
    {
        let world = World::failing(json!({ "kind": kind })).await;
        let response = world.ask("k").await;
        assert_eq!(response.status(), status);
        let wait = response.headers().get("retry-after").map(|wait| wait.to_str().unwrap().to_owned());
        assert_eq!(wait.as_deref(), (status == 429).then_some("1"));
        assert_eq!(response.json::<Value>().await.unwrap()["error"]["code"], code);
        assert_eq!(answered(world.ask("own").await).await, ANSWER);
    }
}

#[tokio::test]
async fn a_broken_response_begins_and_is_cut() {
    let world = World::failing(json!({"kind": "break"})).await;
    let mut response = world.ask("k").await;
    assert_eq!(response.status(), 200);
    assert_eq!(read(&mut response, None).await, (HALF.to_owned(), "cut"));
    let whole = world.send("k", &question("When do you close?", false)).await;
    assert!(whole.text().await.is_err(), "also one that does not stream");
}

#[tokio::test]
async fn a_stalled_response_begins_and_stays_open() {
    let world = World::failing(json!({"kind": "stall", "on": "chat"})).await;
    let mut response = world.ask("k").await;
    assert_eq!(read(&mut response, Some(HALF)).await, (HALF.to_owned(), "open"));
    world.stop.cancel();
    assert!(timeout(LONG, response.chunk()).await.unwrap().is_err(), "it is cut when the server stops");
}

#[tokio::test]
async fn a_silent_response_has_no_text() {
    let world = World::failing(json!({"kind": "silent"})).await;
    let mut response = world.ask("k").await;
    assert_eq!(response.status(), 200);
    assert_eq!(read(&mut response, Some("")).await, (String::new(), "open"));
    assert_eq!(answered(world.ask("own").await).await, ANSWER);
}

#[tokio::test]
async fn a_fault_affects_requests_when_it_is_due_and_is_counted() {
    let world = World::failing(json!({"kind": "break", "times": 1, "skip": 1})).await;
    let mut ends = Vec::new();
    for _ in 0..3 {
        ends.push(read(&mut world.ask("k").await, None).await.1);
    }
    assert_eq!(ends, ["ended", "cut", "ended"]);
    let counted = world.client.get(format!("{}/sandbox/keys/k", world.url)).send().await.unwrap();
    assert_eq!(counted.json::<Value>().await.unwrap(), json!({"requests": 3, "struck": [1]}));
}

#[tokio::test]
async fn a_key_is_accepted_until_it_is_removed() {
    let world = World::start().await;
    assert_eq!(world.ask("k").await.status(), 401);
    assert_eq!(world.put("k", &json!({})).await.0, 204);
    assert_eq!(answered(world.ask("k").await).await, ANSWER);
    let url = format!("{}/sandbox/keys/k", world.url);
    assert_eq!(world.client.delete(&url).send().await.unwrap().status(), 204);
    assert_eq!(world.ask("k").await.status(), 401);
    assert_eq!(world.client.get(&url).send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn a_mistake_is_named_with_its_place() {
    let world = World::start().await;
    for (body, place, mistake) in [
        (json!({"faults": [{"kind": "explode"}]}), "faults[0].kind", "unknown variant `explode`"),
        (json!({"faults": [{"kind": "break", "at": 1}]}), "faults[0]", "unknown field `at`"),
        (json!({"faults": [{"kind": "break", "times": 0}]}), "faults[0].times", "nonzero"),
        (json!({"faults": [{"kind": "break", "on": "listen"}]}), "faults[0].on", "no such endpoint"),
        (json!({"script": {"rules": [{"word": "a"}]}}), "script.rules[0]", "unknown field `word`"),
    ] {
        let (status, error) = world.put("k", &body).await;
        let detail = error["detail"].as_str().unwrap();
        assert_eq!(status, 422, "{detail}");
        assert!(detail.contains(place) && detail.contains(mistake), "{detail}");
    }
    assert_eq!(world.ask("k").await.status(), 401, "nothing of it counts");
}

#[tokio::test]
async fn a_key_has_its_own_script() {
    let world = World::start().await;
    let call = |name: &str, day: &str| json!({"name": name, "arguments": {"day": day}});
    let rule = json!({
        "words": ["close"], "after_ms": 400, "say": "Let me look.",
        "calls": [call("count", "Monday"), call("look", "Sunday")], "then": "It says {result}.",
    });
    assert_eq!(world.put("k", &json!({"script": {"default": "What?", "rules": [rule]}})).await.0, 204);
    let asked = Instant::now();
    let mut response = world.ask("k").await;
    response.chunk().await.unwrap();
    assert!(asked.elapsed() >= Duration::from_millis(400));
    assert!(answered(response).await.contains("Let me look."));

    let mut body = question("When do you close?", false);
    let whole: Value = world.send("k", &body).await.json().await.unwrap();
    let message = &whole["choices"][0]["message"];
    let calls = message["tool_calls"].as_array().unwrap();
    assert_eq!(calls.len(), 2);
    assert_ne!(calls[0]["id"], calls[1]["id"]);
    let results =
        calls.iter().map(|call| json!({"role": "tool", "tool_call_id": call["id"], "content": "six"}));
    let results: Vec<Value> = std::iter::once(message.clone()).chain(results).collect();
    body["messages"].as_array_mut().unwrap().extend(results);
    let then: Value = world.send("k", &body).await.json().await.unwrap();
    assert_eq!(then["choices"][0]["message"]["content"], "It says six.");
    let own = world.send("own", &question("Purple.", true)).await;
    assert_eq!(answered(own).await, "I'm sorry, could you say that again?");
}
