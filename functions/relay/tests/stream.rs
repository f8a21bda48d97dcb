//! Batches of the table's stream against a queue that speaks SQS's protocol.

#![cfg(test)]

use std::sync::{Arc, Mutex, MutexGuard};

use aws::{queue::Queue, store::testing};
use aws_lambda_events::{dynamodb::Event, streams::DynamoDbEventResponse};
use axum::{Json, Router, body::Bytes, extract::State, http::StatusCode, routing::post};
use relay::{Config, Relay};
use serde_json::{Value, json};

const SAMPLE: &str = include_str!("../../../events/dynamodb_stream_conversation.json");

/// What was sent to the queue, and how many more messages it takes.
#[derive(Clone)]
struct Calls(Arc<Mutex<(Vec<Value>, usize)>>);

impl Calls {
    fn locked(&self) -> MutexGuard<'_, (Vec<Value>, usize)> {
        self.0.lock().unwrap()
    }

    fn bodies(&self) -> Vec<Value> {
        self.locked()
            .0
            .iter()
            .map(|sent| serde_json::from_str(sent["MessageBody"].as_str().unwrap()).unwrap())
            .collect()
    }
}

async fn send(State(calls): State<Calls>, message: Bytes) -> (StatusCode, Json<Value>) {
    let mut calls = calls.locked();
    if calls.0.len() == calls.1 {
        return (StatusCode::BAD_REQUEST, Json(json!({ "__type": "com.amazonaws.sqs#AccessDenied" })));
    }
    calls.0.push(serde_json::from_slice(&message).unwrap());
    (StatusCode::OK, Json(json!({ "MessageId": "1", "MD5OfMessageBody": "" })))
}

/// A relay and the queue behind it, which takes `room` messages.
async fn relay(room: usize) -> (Relay, Calls) {
    let calls = Calls(Arc::new(Mutex::new((vec![], room))));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().route("/", post(send)).with_state(calls.clone());
    tokio::runtime::Handle::current().spawn(async move { axum::serve(listener, router).await });
    let queue = Queue::new(&testing::config(&url).await, format!("{url}/000000000000/calls"));
    (Relay { queue }, calls)
}

/// The sample as often as `count` says, record `n` changed by `change`.
fn batch(count: usize, change: impl Fn(usize, &mut Value)) -> Event {
    let mut event: Value = serde_json::from_str(SAMPLE).unwrap();
    let record = event["Records"][0].clone();
    let records = (0..count).map(|n| {
        let mut record = record.clone();
        record["dynamodb"]["SequenceNumber"] = json!(n.to_string());
        change(n, &mut record);
        record
    });
    event["Records"] = records.collect();
    serde_json::from_value(event).unwrap()
}

fn failed(response: &DynamoDbEventResponse) -> Value {
    serde_json::to_value(response).unwrap()
}

#[tokio::test]
async fn a_stored_call_is_queued() {
    let (relay, calls) = relay(10).await;
    let response = relay.handle(serde_json::from_str(SAMPLE).unwrap()).await;
    assert_eq!(failed(&response), json!({ "batchItemFailures": [] }));
    let job = json!({
        "account_id": "acc_01JD8Q2M7X4T6R9V1B3C5D7E9F",
        "conversation_id": "cnv_01JD8QA1B2C3D4E5F6G7H8J9K0",
    });
    assert_eq!(calls.bodies(), [job]);
    assert_eq!(calls.locked().0[0]["DelaySeconds"], 0);
}

#[tokio::test]
async fn anything_but_a_new_queued_call_is_passed_over() {
    let (relay, calls) = relay(10).await;
    let event = batch(5, |n, record| match n {
        0 => record["eventName"] = json!("MODIFY"),
        1 => record["dynamodb"]["NewImage"]["sk"] = json!({ "S": "EVT#000001" }),
        2 => record["dynamodb"]["NewImage"]["state"] = json!({ "S": "dialing" }),
        3 => record["dynamodb"]["NewImage"] = json!({ "pk": { "S": "acc_1" }, "sk": { "S": "ACCOUNT" } }),
        _ => record["eventName"] = json!("REMOVE"),
    });
    let response = relay.handle(event).await;
    assert_eq!(failed(&response), json!({ "batchItemFailures": [] }));
    assert_eq!(calls.bodies().len(), 0);
}

#[tokio::test]
async fn a_record_that_cannot_be_read_holds_nothing_up() {
    let (relay, calls) = relay(10).await;
    let event = batch(2, |n, record| {
        if n == 0 {
            record["dynamodb"]["NewImage"]["pk"] = json!({ "S": "acc_?#cnv_?" });
        }
    });
    let response = relay.handle(event).await;
    assert_eq!(failed(&response), json!({ "batchItemFailures": [] }));
    assert_eq!(calls.bodies().len(), 1);
}

#[tokio::test]
async fn the_stream_goes_on_from_the_first_record_that_was_not_queued() {
    let (relay, calls) = relay(2).await;
    let response = relay.handle(batch(5, |_, _| {})).await;
    assert_eq!(failed(&response), json!({ "batchItemFailures": [{ "itemIdentifier": "2" }] }));
    assert_eq!(calls.bodies().len(), 2);
}

#[test]
fn without_a_queue_the_function_does_not_start() {
    let error = Config::from_vars(aws::system::Vars::default()).unwrap_err();
    assert_eq!(error.0, ["CALLS_QUEUE_URL is not set"]);
}
