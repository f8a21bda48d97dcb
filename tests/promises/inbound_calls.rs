//! A caller of one of our numbers talks with the agent that the number, or its webhook, chooses.

use std::time::Duration;

use harness::{Stack, baker, share_machine, shared};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::webhooks::receiver::{Manner, Receiver};

/// Time limit of what follows from a call at once.
const SOON: Duration = Duration::from_mins(1);

/// A person with a short script.
const PERSON: &str = "+14155550100";

/// A number with its plus encoded.
pub(crate) fn path(number: &str) -> String {
    format!("/phone_numbers/{}", number.replace('+', "%2B"))
}

/// Sends a request that must succeed; what it answers.
pub(crate) async fn done(stack: &Stack, method: Method, path: &str, body: Option<Value>) -> Value {
    let answer = stack.send(method, path, body).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.body);
    answer.body
}

/// Buys a number for one test; no two tests may buy the same.
pub(crate) async fn buy(stack: &Stack, number: &str) {
    let bought =
        done(stack, Method::POST, "/phone_numbers/buy", Some(json!({ "phone_number": number }))).await;
    assert_eq!(bought["phone_number"], number);
}

/// Has a person call one of the numbers; false if the carrier has no voice URL for it.
pub(crate) async fn ring(stack: &Stack, from: &str, to: &str) -> bool {
    let url = format!("{}/sandbox/calls", stack.address("twilio_api_url"));
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let rung = http.post(url).json(&json!({ "from": from, "to": to })).send().await.unwrap();
    rung.status() == StatusCode::CREATED
}

/// The one conversation of a number that was called, when it is over.
pub(crate) async fn answered(stack: &Stack, number: &str) -> Value {
    let found = async |stack: &Stack| {
        let page = stack.send(Method::GET, "/conversations?limit=100", None).await?.body;
        let calls = page["items"].as_array().cloned().unwrap_or_default();
        let mut calls = calls.into_iter().filter(|call| call["phone_call"]["to_number"] == number);
        Ok(calls.next().map(|call| (call["id"].as_str().unwrap().to_owned(), calls.count())))
    };
    let (id, others) = stack.wait(SOON, "there is no conversation", found).await.unwrap();
    assert_eq!(others, 0, "a call is one conversation");
    stack.ended(&id).await.unwrap()
}

#[tokio::test]
async fn an_inbound_call_talks_with_the_numbers_agent() {
    let (_machine, stack, number) = (share_machine().await, shared(), "+14155550210");
    let found = done(stack, Method::GET, "/phone_numbers/buy?contains=5550210&limit=1", None).await;
    assert_eq!(found[0]["phone_number"], number);
    buy(stack, number).await;
    let agent = done(stack, Method::POST, "/agents", Some(baker())).await["id"].take();
    let body = json!({ "inbound_agent_id": agent });
    let changed = done(stack, Method::PATCH, &path(number), Some(body)).await;
    assert_eq!(changed["inbound_agent_id"], agent);

    assert!(ring(stack, PERSON, number).await);
    let conversation = answered(stack, number).await;
    assert_eq!(conversation["type"], "inbound_phone_call");
    assert_eq!(conversation["agent_id"], agent);
    assert_eq!(conversation["phone_call"]["from_number"], PERSON);
    assert_eq!(conversation["ended_reason"], "agent_ended");
    let messages = conversation["messages"].as_array().unwrap();
    assert!(messages[0]["content"].as_str().unwrap().starts_with("Hello, this is Ada"), "{messages:?}");
    for role in ["agent", "user"] {
        assert!(messages.iter().filter(|message| message["role"] == role).count() >= 2, "{messages:?}");
    }
    let id = conversation["id"].as_str().unwrap();
    let events = stack.event_names(id).await.unwrap();
    let first = ["phone_call:connection_requested", "phone_call:accepted", "conversation:started"];
    assert_eq!(events[..3], first);
    assert_eq!(events.last().unwrap(), "conversation:ended");
    let telephony = &conversation["cost_breakdown"]["telephony"];
    // A started minute at 0.0085, and its media stream at 0.004.
    assert_eq!(telephony["cost"].as_f64(), Some(0.0125), "{telephony}");
    let call = stack.settled_call(number).await.unwrap();
    assert_eq!((&call["direction"], &call["status"]), (&json!("inbound"), &json!("completed")));
    let reports = call["callbacks"].as_array().unwrap().iter();
    assert!(reports.clone().all(|report| report["http_status"] == 200), "{call}");

    done(stack, Method::DELETE, &path(number), None).await;
    assert!(!ring(stack, PERSON, number).await, "its callbacks are removed");
}

#[tokio::test]
async fn a_numbers_webhook_chooses_the_agent() {
    let (_machine, stack, number) = (share_machine().await, shared(), "+14155550211");
    buy(stack, number).await;
    let chosen =
        r#"{ "agent_config": { "initial_message": "The webhook sent me.", "max_duration_seconds": 3 } }"#;
    let receiver = Receiver::start(Manner::Answers(200, String::new(), chosen, Duration::ZERO)).await;
    let events = ["phone_call:connection_requested"];
    let webhooks = json!([{ "events": events, "url": receiver.url, "method": "POST" }]);
    let agent = done(stack, Method::POST, "/agents", Some(baker())).await["id"].take();
    let body = json!({ "inbound_agent_id": agent, "webhooks": webhooks });
    done(stack, Method::PATCH, &path(number), Some(body)).await;

    assert!(ring(stack, PERSON, number).await);
    let conversation = answered(stack, number).await;
    assert_eq!(conversation["agent_id"], Value::Null, "the configuration came with the answer");
    assert_eq!(conversation["messages"][0]["content"], "The webhook sent me.");
    assert_eq!(conversation["ended_reason"], "agent_ended");
    let asked = receiver.got();
    assert_eq!(asked.len(), 1, "asked once");
    let payload = asked[0].json();
    assert_eq!(payload["event"], events[0]);
    assert_eq!(payload["conversation"]["id"], conversation["id"]);
    assert_eq!(payload["data"]["phone_call"]["from_number"], PERSON);
    assert!(asked[0].header("webhook-signature").starts_with("v1,"));
    let id = conversation["id"].as_str().unwrap();
    assert_eq!(stack.events(id).await.unwrap()[0]["id"], payload["id"], "it is the event of the log");
    done(stack, Method::DELETE, &path(number), None).await;
}

#[tokio::test]
async fn a_call_to_a_number_without_an_agent_is_rejected() {
    let (stack, number) = (shared(), "+14155550212");
    buy(stack, number).await;
    assert!(ring(stack, PERSON, number).await);
    let conversation = answered(stack, number).await;
    assert_eq!(
        (&conversation["ended_reason"], &conversation["started_at"]),
        (&json!("unknown"), &Value::Null)
    );
    assert_eq!(conversation["cost_breakdown"]["total"].as_f64(), Some(0.0));
    let id = conversation["id"].as_str().unwrap();
    let rejected = ["phone_call:connection_requested", "phone_call:rejected", "conversation:ended"];
    assert_eq!(stack.event_names(id).await.unwrap(), rejected);
    let call = stack.settled_call(number).await.unwrap();
    assert_eq!((&call["status"], &call["answered_at_ms"]), (&json!("no-answer"), &Value::Null));
    done(stack, Method::DELETE, &path(number), None).await;
}
