//! Batches of the table's stream against queues that speak SQS's protocol.

#![cfg(test)]

use aws_lambda_events::{dynamodb::Event, streams::DynamoDbEventResponse};
use serde_json::{Value, json};
use switchboard_aws::{queue::Queue, table::testing};
use switchboard_relay::{Config, Relay};
use switchboard_runtime::{Vars, logging};
use switchboard_testkit::{log_lines::LogLines, queue::Queues};

const SAMPLE: &str = include_str!("../../../events/dynamodb_stream_conversation.json");

/// A relay, and its queues, which accept `room` messages.
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

/// `count` copies of the sample; `change` edits record `n`.
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

/// The subscriber of a process, which writes to `lines`.
fn subscriber(lines: &LogLines) -> impl tracing::Subscriber + Send + Sync + use<> {
    let writer = lines.clone();
    logging::worker_subscriber(&Vars::default(), move || writer.clone())
}

/// The span of each line with this message.
fn spans(lines: &LogLines, message: &str) -> Vec<Value> {
    let lines = lines.json().into_iter();
    lines.filter(|line| line["fields"]["message"] == message).map(|line| line["span"].clone()).collect()
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
async fn records_outside_the_outbox_queue_nothing() {
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
async fn ended_calls_wake_their_account_once_per_batch() {
    let (relay, queues) = relay(10).await;
    let event = batch(3, |_, record| {
        record["eventName"] = json!("MODIFY");
        record["dynamodb"]["NewImage"]["state"] = json!({ "S": "ended" });
    });
    let response = relay.handle(event).await;
    assert_eq!(failed(&response), json!({ "batchItemFailures": [] }));
    assert_eq!(messages(&queues, "calls"), [json!({ "account_id": "acc_01JD8Q2M7X4T6R9V1B3C5D7E9F" })]);
}

#[tokio::test]
async fn an_event_is_queued_once_per_webhook() {
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
    let groups = queues.messages("deliveries").into_iter().map(|message| message.group);
    let group = Some("acc_01JD8Q2M7X4T6R9V1B3C5D7E9F".to_owned());
    assert_eq!(groups.collect::<Vec<_>>(), [group.clone(), group], "queues serve accounts fairly");
    assert_eq!(messages(&queues, "calls"), [json!(null); 0]);
}

#[tokio::test]
async fn a_redelivery_is_queued() {
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
async fn an_event_with_an_unsent_job_is_repeated_as_a_whole() {
    let (relay, queues) = relay(1).await;
    let event = serde_json::from_str(include_str!("../../../events/dynamodb_stream_event.json")).unwrap();
    let response = relay.handle(event).await;
    let number = "4421584500000000017450439092";
    assert_eq!(failed(&response), json!({ "batchItemFailures": [{ "itemIdentifier": number }] }));
    assert_eq!(messages(&queues, "deliveries").len(), 1);
}

#[tokio::test]
async fn an_unreadable_record_does_not_block_the_stream() {
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
async fn the_first_record_that_was_not_queued_is_reported() {
    for (room, first) in [(0, "0"), (2, "2"), (9, "9"), (10, "10"), (24, "24")] {
        let (relay, queues) = relay(room).await;
        let response = relay.handle(batch(25, |_, _| {})).await;
        assert_eq!(failed(&response), json!({ "batchItemFailures": [{ "itemIdentifier": first }] }));
        assert_eq!(queues.count(), room);
    }
}

#[tokio::test]
async fn every_line_about_a_job_carries_its_ids() {
    let lines = LogLines::default();
    // While a process has one subscriber only, `tracing` may ask a thread without one whether a line is wanted. With a
    // second subscriber it asks every thread.
    let _second = tracing::Dispatch::new(subscriber(&LogLines::default()));
    let _guard = tracing::subscriber::set_default(subscriber(&lines));
    let (relay, _queues) = relay(2).await;
    let delivery = serde_json::from_str(include_str!("../../../events/dynamodb_stream_event.json")).unwrap();
    relay.handle(delivery).await;
    relay.handle(serde_json::from_str(SAMPLE).unwrap()).await;
    let broken = batch(1, |_, record| {
        record["dynamodb"]["NewImage"]["outbox"] = json!({ "S": "webhooks" });
        record["dynamodb"]["NewImage"]["sk"] = json!({ "S": "EVT#000001" });
    });
    relay.handle(broken).await;

    let ids = |span: &Value| {
        assert_eq!(span["account_id"], "acc_01JD8Q2M7X4T6R9V1B3C5D7E9F");
        assert_eq!(span["conversation_id"], "cnv_01JD8QA1B2C3D4E5F6G7H8J9K0");
    };
    let queued = spans(&lines, "job queued");
    queued.iter().for_each(ids);
    let webhooks: Vec<_> = queued.iter().map(|span| span["webhook"].as_u64()).collect();
    assert_eq!(webhooks, [Some(0), Some(2)]);
    for message in ["job not queued: the stream repeats it and all later ones", "stream record dropped"] {
        let spans = spans(&lines, message);
        spans.iter().for_each(ids);
        assert_eq!(spans.len(), 1, "{message}");
    }
}

#[test]
fn a_missing_queue_is_a_configuration_error() {
    let error = Config::from_vars(Vars::default()).unwrap_err();
    assert_eq!(error.0, ["CALLS_QUEUE_URL is not set", "DELIVERIES_QUEUE_URL is not set"]);
}
