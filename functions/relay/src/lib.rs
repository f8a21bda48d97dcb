//! Queues what the table's stream says was stored: calls that wait to be dialled, events that webhooks
//! asked for, deliveries that were asked for again.
//!
//! Every message is stored before it is sent. It may be sent twice and late, but is never lost: if a
//! queue cannot be reached, the stream gives the same records again. This function reads no table and
//! decides nothing about a call or a delivery; the dialer and the webhooks function do.

use std::time::Duration;

use aws_lambda_events::{
    dynamodb::{Event, EventRecord},
    streams::{DynamoDbBatchItemFailure, DynamoDbEventResponse},
};
use serde::{Deserialize, Serialize};
use switchboard_aws::{
    queue::{self, CallJob, DeliveryJob, Queue},
    table::{conversation_of_key, delivery_of_key},
};
use switchboard_runtime::{ConfigError, Vars, config};
use tokio::time::{Instant, timeout_at};

/// For a whole batch; below the function's own limit of 15 s, so that what was sent is reported as sent.
const BATCH_TIMEOUT: Duration = Duration::from_secs(12);

/// How the function is configured.
#[derive(Debug, Clone)]
pub struct Config {
    /// The queue of calls to dial.
    pub calls_queue: String,
    /// The queue of webhook attempts.
    pub deliveries_queue: String,
}

impl Config {
    /// Reads all variables.
    ///
    /// # Errors
    /// Every variable that is missing.
    pub fn from_vars(mut vars: Vars) -> Result<Self, ConfigError> {
        let config = Self {
            calls_queue: config::calls_queue(&mut vars),
            deliveries_queue: config::deliveries_queue(&mut vars),
        };
        vars.finish().map(|()| config)
    }
}

/// The function, with its clients.
#[derive(Debug, Clone)]
pub struct Relay {
    /// Where calls are queued.
    pub calls: Queue<CallJob>,
    /// Where deliveries are queued.
    pub deliveries: Queue<DeliveryJob>,
}

/// The part of an item that says what it is.
#[derive(Deserialize)]
struct Stored {
    pk: String,
    sk: String,
    state: Option<String>,
    outbox: Option<String>,
}

/// The part of an event that matters here.
#[derive(Deserialize)]
struct StoredEvent {
    sequence: u64,
    webhooks: Vec<usize>,
}

/// The part of a delivery that matters here.
#[derive(Deserialize)]
struct StoredDelivery {
    attempt: u32,
}

/// What a record of the stream asks for.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    /// A call was stored and waits to be dialled.
    Call(CallJob),
    /// An event was stored that webhooks asked for, or a delivery was asked for again.
    Deliveries(Vec<DeliveryJob>),
    /// Nothing to do.
    Nothing,
    /// It should be one of these, but cannot be read. Reading it again will not help.
    Unreadable,
}

/// Jobs, each with the place of its record in the batch.
type Jobs<J> = Vec<(usize, J)>;

impl Relay {
    /// Makes the clients.
    pub async fn connect(config: Config) -> Self {
        let sdk = switchboard_aws::sdk_config().await;
        Self {
            calls: Queue::new(&sdk, config.calls_queue),
            deliveries: Queue::new(&sdk, config.deliveries_queue),
        }
    }

    /// Sends what a batch of records asks for. A stream goes on from the first record that is reported as
    /// failed, so what was sent of those behind it is sent twice.
    pub async fn handle(&self, event: Event) -> DynamoDbEventResponse {
        let deadline = Instant::now() + BATCH_TIMEOUT;
        let (mut calls, mut deliveries) = (Jobs::new(), Jobs::new());
        for (place, record) in event.records.iter().enumerate() {
            match read(record) {
                Asked::Call(job) => calls.push((place, job)),
                Asked::Deliveries(jobs) => deliveries.extend(jobs.into_iter().map(|job| (place, job))),
                Asked::Nothing => {}
                Asked::Unreadable => {
                    tracing::error!(
                        event_id = record.event_id,
                        "a record of the stream cannot be read: dropped"
                    );
                }
            }
        }
        let (calls, deliveries) = tokio::join!(
            send_all(&self.calls, "calls", calls, deadline),
            send_all(&self.deliveries, "deliveries", deliveries, deadline),
        );
        let mut response = DynamoDbEventResponse::default();
        let first = calls.into_iter().chain(deliveries).min();
        if let Some(record) = first.and_then(|place| event.records.into_iter().nth(place)) {
            let mut failure = DynamoDbBatchItemFailure::default();
            failure.item_identifier = record.change.sequence_number;
            response.batch_item_failures.push(failure);
        }
        response
    }
}

/// Queues jobs in their order; the place of the first record that was not, or not wholly.
async fn send_all<J: Serialize + Copy>(
    queue: &Queue<J>,
    name: &'static str,
    jobs: Jobs<J>,
    deadline: Instant,
) -> Option<usize> {
    let mut queued = 0;
    for batch in jobs.chunks(queue::BATCH) {
        let (places, batch): (Vec<_>, Vec<_>) = batch.iter().copied().unzip();
        let left = match timeout_at(deadline, queue.send_batch(&batch)).await {
            Ok(Ok(left)) => left.into_iter().min(),
            Ok(Err(error)) => {
                tracing::warn!(queue = name, %error, "the queue took nothing");
                Some(0)
            }
            Err(_elapsed) => {
                tracing::warn!(queue = name, "the queue did not answer in time");
                Some(0)
            }
        };
        if let Some(left) = left {
            tracing::warn!(queue = name, queued, "not all was queued: the stream will ask again");
            return places.get(left).copied();
        }
        queued += batch.len();
    }
    if queued > 0 {
        tracing::info!(queue = name, queued, "queued");
    }
    None
}

fn read(record: &EventRecord) -> Asked {
    // The stream's filters let only these pass; they are not relied upon.
    let image = || record.change.new_image.clone();
    let Ok(stored) = serde_dynamo::from_item::<_, Stored>(image()) else { return Asked::Nothing };
    let is_new = record.event_name == "INSERT";
    let asked = match (stored.sk.as_str(), stored.state.as_deref(), stored.outbox.as_deref()) {
        ("STATE", Some("queued"), _) if is_new => conversation_of_key(&stored.pk)
            .map(|(account_id, conversation_id)| Asked::Call(CallJob { account_id, conversation_id })),
        (_, _, Some("webhooks")) if is_new => new_event(&stored, serde_dynamo::from_item(image()).ok()),
        (_, _, Some("redelivery")) if record.event_name != "REMOVE" => {
            asked_again(&stored, serde_dynamo::from_item(image()).ok())
        }
        _ => return Asked::Nothing,
    };
    asked.unwrap_or(Asked::Unreadable)
}

fn new_event(stored: &Stored, event: Option<StoredEvent>) -> Option<Asked> {
    let (account_id, conversation_id) = conversation_of_key(&stored.pk)?;
    let StoredEvent { sequence, webhooks } = event?;
    let job = |webhook| DeliveryJob { account_id, conversation_id, sequence, webhook, attempt: 1 };
    Some(Asked::Deliveries(webhooks.into_iter().map(job).collect()))
}

fn asked_again(stored: &Stored, delivery: Option<StoredDelivery>) -> Option<Asked> {
    let key = delivery_of_key(&stored.pk, &stored.sk)?;
    Some(Asked::Deliveries(vec![DeliveryJob {
        account_id: key.account,
        conversation_id: key.conversation,
        sequence: key.sequence,
        webhook: key.webhook,
        attempt: delivery?.attempt,
    }]))
}
