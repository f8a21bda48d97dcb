//! Batches of the table's stream against a queue that speaks SQS's protocol.

#![cfg(test)]

use aws_lambda_events::{dynamodb::Event, streams::DynamoDbEventResponse};
use serde_json::{Value, json};
use switchboard_aws::{queue::Queue, table::testing};
use switchboard_relay::{Config, Relay};
use switchboard_testkit::queue::Queues;

const SAMPLE: &str = include_str!("../../../events/dynamodb_stream_conversation.json");

/// A relay and the queues behind it, which take `room` messages.
async fn relay(room: usize) -> (Relay, Queues) {
    let queues = Queues::start().await;
    queues.set_room(room);
    let config = testing::config(queues.url()).await;
    let relay = Relay {
        calls: Queue::new(&config, queues.queue_url("calls")),
        deliveries: Queue::new(&config, queues.queue_url("deliveries")),
    };
    (relay, queues)
}

/// The messages of a queue, as JSON.
fn messages(queues: &Queues, queue: &str) -> Vec<Value> {
    queues.messages(queue).iter().map(|message| serde_json::from_str(&message.body).unwrap()).collect()
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
    let (relay, queues) = relay(10).await;
    let response = relay.handle(serde_json::from_str(SAMPLE).unwrap()).await;
    assert_eq!(failed(&response), json!({ "batchItemFailures": [] }));
    let job = json!({
        "account_id": "acc_01JD8Q2M7X4T6R9V1B3C5D7E9F",
        "conversation_id": "cnv_01JD8QA1B2C3D4E5F6G7H8J9K0",
    });
    assert_eq!(messages(&queues, "calls"), [job]);
    assert_eq!(messages(&queues, "deliveries"), [json!(null); 0]);
}

#[tokio::test]
async fn anything_but_a_new_queued_call_is_passed_over() {
    let (relay, queues) = relay(10).await;
    let event = batch(5, |n, record| match n {
        0 => record["eventName"] = json!("MODIFY"),
        1 => record["dynamodb"]["NewImage"]["sk"] = json!({ "S": "EVT#000001" }),
        2 => record["dynamodb"]["NewImage"]["state"] = json!({ "S": "dialing" }),
        3 => record["dynamodb"]["NewImage"] = json!({ "pk": { "S": "acc_1" }, "sk": { "S": "ACCOUNT" } }),
        _ => record["eventName"] = json!("REMOVE"),
    });
    let response = relay.handle(event).await;
    assert_eq!(failed(&response), json!({ "batchItemFailures": [] }));
    assert_eq!(queues.count(), 0);
}

#[tokio::test]
async fn an_event_is_queued_once_for_every_webhook_that_asked_for_it() {
    let (relay, queues) = relay(10).await;
    let event = serde_json::from_str(include_str!("../../../events/dynamodb_stream_event.json")).unwrap();
    let response = relay.handle(event).await;
    assert_eq!(failed(&response), json!({ "batchItemFailures": [] }));
    let job = |webhook| {
        json!({
            "account_id": "acc_01JD8Q2M7X4T6R9V1B3C5D7E9F",
            "conversation_id": "cnv_01JD8QA1B2C3D4E5F6G7H8J9K0",
            "sequence": 3,
            "webhook": webhook,
            "attempt": 1,
        })
    };
    assert_eq!(messages(&queues, "deliveries"), [job(0), job(2)]);
    assert_eq!(messages(&queues, "calls"), [json!(null); 0]);
}

#[tokio::test]
async fn a_delivery_that_was_asked_for_again_is_queued() {
    let (relay, queues) = relay(10).await;
    let event =
        serde_json::from_str(include_str!("../../../events/dynamodb_stream_redelivery.json")).unwrap();
    let response = relay.handle(event).await;
    assert_eq!(failed(&response), json!({ "batchItemFailures": [] }));
    let job = json!({
        "account_id": "acc_01JD8Q2M7X4T6R9V1B3C5D7E9F",
        "conversation_id": "cnv_01JD8QA1B2C3D4E5F6G7H8J9K0",
        "sequence": 3,
        "webhook": 2,
        "attempt": 13,
    });
    assert_eq!(messages(&queues, "deliveries"), [job]);
}

#[tokio::test]
async fn an_event_of_which_one_message_was_not_taken_is_asked_for_again_as_a_whole() {
    let (relay, queues) = relay(1).await;
    let event = serde_json::from_str(include_str!("../../../events/dynamodb_stream_event.json")).unwrap();
    let response = relay.handle(event).await;
    let number = "4421584500000000017450439092";
    assert_eq!(failed(&response), json!({ "batchItemFailures": [{ "itemIdentifier": number }] }));
    assert_eq!(messages(&queues, "deliveries").len(), 1);
}

#[tokio::test]
async fn a_record_that_cannot_be_read_holds_nothing_up() {
    let (relay, queues) = relay(10).await;
    let event = batch(2, |n, record| {
        if n == 0 {
            record["dynamodb"]["NewImage"]["pk"] = json!({ "S": "acc_?#cnv_?" });
        }
    });
    let response = relay.handle(event).await;
    assert_eq!(failed(&response), json!({ "batchItemFailures": [] }));
    assert_eq!(queues.count(), 1);
}

#[tokio::test]
async fn the_stream_goes_on_from_the_first_record_that_was_not_queued() {
    for (room, first) in [(0, "0"), (2, "2"), (9, "9"), (10, "10"), (24, "24")] {
        let (relay, queues) = relay(room).await;
        let response = relay.handle(batch(25, |_, _| {})).await;
        assert_eq!(failed(&response), json!({ "batchItemFailures": [{ "itemIdentifier": first }] }));
        assert_eq!(queues.count(), room);
    }
}

#[test]
fn without_a_queue_the_function_does_not_start() {
    let error = Config::from_vars(switchboard_runtime::Vars::default()).unwrap_err();
    assert_eq!(error.0, ["CALLS_QUEUE_URL is not set", "DELIVERIES_QUEUE_URL is not set"]);
}
