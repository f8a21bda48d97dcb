//! Takeovers: workers that stop or die, and the workers that continue their calls.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    http::{HeaderMap, StatusCode, Uri, header},
};
use serde_json::{Value, json};
use switchboard_model::{
    accounts::sha256_hex,
    agents::{AgentConfig, LanguageModel, ModelSettings},
    conversations::{EndedReason, Lease, LegId, UtteranceProgress},
    messages::Role,
};
use switchboard_providers::{Providers, egress, endpoints::Endpoints, keys::Keys};
use switchboard_sandbox::{Engines, Load, Sandbox};
use tokio::{net::TcpListener, runtime::Handle};

use crate::{prelude::*, support::agents::calling, world::RunningWorker};

const GREETING: &str = "Hello, this is Ada from the corner bakery. Your cake is ready for you. We are open until \
                        six in the evening.";
const TOKEN: &str = "mt_vutsrqponmlkjihgfedcba9876543210";

/// The carrier asks how the call continues, and opens a stream to another worker.
async fn reconnect(world: &World, worker: &RunningWorker) -> Phone {
    world
        .conversation
        .change(|before| {
            before.conversation.begin_resume(LegId::CALLER, sha256_hex(TOKEN), switchboard_runtime::now())
        })
        .await;
    Phone::with_token(&worker.address, TOKEN).await
}

/// A server before another one: passes each request on, and keeps its body.
async fn recorded(target: String) -> (String, Arc<Mutex<Vec<Value>>>) {
    let bodies: Arc<Mutex<Vec<Value>>> = Arc::default();
    let (kept, client) = (Arc::clone(&bodies), egress::client());
    let pass = async move |uri: Uri, headers: HeaderMap, body: Bytes| {
        // A connection that is opened ahead asks for nothing.
        let Some(key) = headers.get("x-goog-api-key") else {
            return (StatusCode::NOT_FOUND, [(header::CONTENT_TYPE, "text/plain")], Bytes::new());
        };
        kept.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
        let request = client.post(format!("{target}{uri}")).header("x-goog-api-key", key);
        let response = request.body(body).send().await.unwrap();
        let status = StatusCode::from_u16(response.status().as_u16()).unwrap();
        (status, [(header::CONTENT_TYPE, "text/event-stream")], response.bytes().await.unwrap())
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    // The test's runtime owns the server.
    Handle::current().spawn(async move { axum::serve(listener, Router::new().fallback(pass)).await });
    (url, bodies)
}

/// The parts of a request that are calls or their results.
fn functions(body: &Value) -> Vec<&Value> {
    let turns = body["contents"].as_array().unwrap().iter();
    let parts = turns.flat_map(|turn| turn["parts"].as_array().unwrap());
    parts.filter(|part| part.get("functionCall").or(part.get("functionResponse")).is_some()).collect()
}

#[tokio::test]
async fn the_next_worker_replies_to_a_result_with_its_thought_signature() {
    const KEY: &str = "a-key-of-the-test";
    let sandbox = Sandbox::start(Engines::Canned(Load::new())).await.unwrap();
    let google = sandbox.vendors.iter().find(|vendor| vendor.name == "google").unwrap();
    let google = google.url.strip_suffix("/v1beta").unwrap().to_owned();
    // The first reply to the result never comes.
    let setup = json!({
        "faults": [{ "kind": "silent", "on": "chat", "skip": 1, "times": 1 }],
        "script": { "rules": [{
            "words": ["how many"], "say": "Let me look.", "call": { "name": "look_up", "arguments": { "what": "cakes" } },
            "then": "We have three of them.",
        }] },
    });
    let put = egress::client().put(format!("{google}/sandbox/keys/{KEY}")).body(setup.to_string());
    let done = put.header("content-type", "application/json").send().await.unwrap();
    assert_eq!(done.status().as_u16(), 204);
    let (gemini, bodies) = recorded(google).await;

    let LanguageModel::Openai(settings) = calling(vec![]).language_model else {
        panic!("as the sample has it")
    };
    let settings = ModelSettings { model: "gemini-3.8-flash".into(), ..settings };
    let agent = AgentConfig { language_model: LanguageModel::Google(settings), ..calling(vec![]) };
    let world = World::new(agent, FAST_VOICE).await;
    let vendors = world.vendors.url.clone();
    let endpoint = |name: &str| match name {
        "GOOGLE_API_URL" => Some(format!("{gemini}/v1beta")),
        _ => name.ends_with("_URL").then(|| vendors.clone()),
    };
    let keys = json!({ "twilio_account_sid": "AC1", "twilio_auth_token": "t", "deepgram_api_key": "d",
        "google_api_key": KEY });
    let providers = Providers {
        http: egress::client(),
        endpoints: Endpoints::from_vars(&endpoint).unwrap(),
        keys: Keys::parse(&keys.to_string()).unwrap(),
    };
    let first = world.worker_of(providers.clone()).await;
    let phone = Phone::connect(&first.address).await;
    world.vendors.transcribe("How many cakes do you have?").await;
    let messages = world.conversation.until_messages(2).await;
    assert_eq!(messages[1].content, "Let me look.");
    let asked = || bodies.lock().unwrap().len();
    world.conversation.poll("the request with the result", async || (asked() == 2).then_some(())).await;
    first.kill();
    phone.closed_within(Duration::from_secs(1)).await;

    let second = world.worker_of(providers).await;
    let _phone = reconnect(&world, &second).await;
    let messages = world.conversation.until_messages(3).await;
    assert_eq!(messages[2].content, "We have three of them.", "the sandbox took the signature");
    let bodies = bodies.lock().unwrap().clone();
    let [_, before, after] = &bodies[..] else {
        panic!("the function is not called again: {}", bodies.len())
    };
    assert!(functions(after)[0]["thoughtSignature"].as_str().unwrap().len() > 20, "{after}");
    assert_ne!(functions(after)[0]["thoughtSignature"], "skip_thought_signature_validator");
    assert_eq!(functions(after), functions(before), "the same call, with its id, and the same result");
    sandbox.stop().await;
}

#[tokio::test]
async fn a_call_continues_where_the_stopped_worker_left_it() {
    let world = World::new(greeting(GREETING), SLOW_VOICE).await;
    let first = world.worker().await;
    let phone = Phone::connect(&first.address).await;
    phone.until("a second of speech", |received| received.sent_ms() > 1_400).await;
    first.stop().await.unwrap();
    phone.closed_within(Duration::from_secs(1)).await;
    let rest = world.conversation.lease().await.unwrap().utterance.unwrap().unheard;
    let heard = world.conversation.messages().await.remove(0);
    assert_eq!(format!("{} {rest}", heard.content), GREETING);

    let second = world.worker().await;
    let _phone = reconnect(&world, &second).await;
    let messages = world.conversation.until_messages(2).await;
    assert_eq!(
        (messages[1].role, &messages[1].content),
        (Role::Agent, &rest),
        "the unspoken rest, without a greeting"
    );
    assert_eq!(world.vendors.requests().changed_calls, [], "the carrier's call goes on");
}

#[tokio::test]
async fn a_browser_resumes_its_call_after_its_worker_died() {
    let world = World::new(quiet(), SLOW_VOICE).await;
    let (call, path) = world.conversation.web(greeting(GREETING)).await;
    let first = world.worker().await;
    let browser = Phone::browser(&first.address, &path, None).await;
    call.until_checkpoint(|_| true).await;
    let token = browser.received().resume_token().unwrap();
    first.kill();
    assert_eq!(browser.closed_within(Duration::from_secs(1)).await, Closing::Broken);

    let second = world.worker().await;
    let browser = Phone::browser(&second.address, &path, Some(&token)).await;
    let messages = call.until_messages(2).await;
    assert_eq!(
        format!("{} {}", messages[0].content, messages[1].content),
        GREETING,
        "no word is lost or repeated"
    );
    browser.hang_up().await;
    assert_eq!(call.ended().await.1, EndedReason::UserEnded);
    assert_eq!(world.vendors.requests().changed_calls, [], "there is no carrier");
}

#[tokio::test]
async fn a_call_continues_where_the_dead_worker_left_it() {
    let world = World::new(greeting(GREETING), SLOW_VOICE).await;
    let first = world.worker().await;
    let phone = Phone::connect(&first.address).await;
    world.conversation.until_checkpoint(|_| true).await;
    first.kill();
    phone.closed_within(Duration::from_secs(1)).await;
    let said_before = world.vendors.requests().clauses.len();

    let second = world.worker().await;
    let _phone = reconnect(&world, &second).await;
    let messages = world.conversation.until_messages(2).await;
    assert_eq!((messages[0].interrupted, messages[1].interrupted), (true, false));
    assert_eq!(
        format!("{} {}", messages[0].content, messages[1].content),
        GREETING,
        "no word is lost or repeated"
    );
    let rest = &messages[1].content;
    assert_eq!(in_order(&world.vendors.requests().clauses[said_before..], rest), *rest);
    world.conversation.events().await;
}

#[tokio::test]
async fn a_message_stored_before_the_crash_is_not_repeated() {
    let world = World::new(greeting("Hello, this is Ada."), FAST_VOICE).await;
    let first = world.worker().await;
    let phone = Phone::connect(&first.address).await;
    let message = world.conversation.until_messages(1).await.remove(0);
    first.kill();
    phone.closed_within(Duration::from_secs(1)).await;
    // A checkpoint is stored later than a message: the last one may still lie within the message.
    let lease = world.conversation.lease().await.unwrap();
    let speaking = UtteranceProgress {
        kind: switchboard_model::messages::MessageKind::Speech,
        heard: "Hello, this".to_owned(),
        unheard: "is Ada.".to_owned(),
        started_at: message.started_at,
    };
    let late = Lease { utterance: Some(speaking), ..lease };
    assert!(
        world
            .conversation
            .table
            .renew_lease(world.conversation.account, world.conversation.id, &late)
            .await
            .unwrap()
    );

    let second = world.worker().await;
    let _phone = reconnect(&world, &second).await;
    world.vendors.respond_with(Response::Words("At six."));
    world.vendors.until("a session", |requests| requests.open_sessions == 1).await;
    world.vendors.transcribe("What time do you close?").await;
    world.vendors.until("the question", |requests| !requests.generations.is_empty()).await;
    let told: Vec<_> = world.vendors.last_messages().into_iter().map(|(_, content)| content).collect();
    assert_eq!(told, ["You are Ada.", "Hello, this is Ada.", "What time do you close?"]);
    let messages = world.conversation.until_messages(3).await;
    assert_eq!(messages[0], message);
    assert_eq!(messages[1].role, Role::User);
    assert_eq!(world.vendors.requests().clauses, ["Hello, this is Ada.", "At six."]);
}

#[tokio::test]
async fn the_second_of_two_messages_continues_after_a_crash() {
    const SECOND: &str =
        "On Saturday we close at six in the evening, and on Sunday we are closed all day long.";
    let agent = AgentConfig { hooks: vec![], ..quiet() };
    let world = World::new(agent, SLOW_VOICE).await;
    let first = world.worker().await;
    let phone = Phone::connect(&first.address).await;
    world.vendors.respond_with(Response::Call("One moment.", "look_up"));
    world.vendors.respond_with(Response::Words(SECOND));
    world.vendors.transcribe("What time do you close?").await;
    world.conversation.until_messages(2).await;
    world.conversation.until_checkpoint(|speaking| SECOND.starts_with(&speaking.heard)).await;
    first.kill();
    phone.closed_within(Duration::from_secs(1)).await;

    let second = world.worker().await;
    let _phone = reconnect(&world, &second).await;
    let messages = world.conversation.until_messages(4).await;
    assert_eq!(messages[1].content, "One moment.");
    assert!(messages[2].interrupted);
    assert_eq!(format!("{} {}", messages[2].content, messages[3].content), SECOND);
}
