//! Queues what the table's stream says was stored: calls that wait to be dialled.
//!
//! What is sent is already stored, so a message may be sent twice and late, but is never lost: if the
//! queue cannot be reached, the stream gives the same records again. This function reads no table and
//! decides nothing about a call; the dialer does.

use std::time::Duration;

use aws::{
    queue::{CallJob, Queue},
    store::conversation_of_key,
    system::{ConfigError, Vars},
};
use aws_lambda_events::{
    dynamodb::{Event, EventRecord},
    streams::{DynamoDbBatchItemFailure, DynamoDbEventResponse},
};
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};

/// For a whole batch; below the function's own limit of 15 s, so that what was sent is reported as sent.
const BATCH_TIMEOUT: Duration = Duration::from_secs(12);

/// How the function is configured.
#[derive(Debug, Clone)]
pub struct Config {
    /// `CALLS_QUEUE_URL`.
    pub queue_url: String,
}

impl Config {
    /// Reads the variables; all that is wrong is reported.
    pub fn from_vars(mut vars: Vars) -> Result<Self, ConfigError> {
        let config = Self { queue_url: vars.required("CALLS_QUEUE_URL") };
        vars.finish().map(|()| config)
    }
}

/// The function, with its clients.
#[derive(Debug, Clone)]
pub struct Relay {
    /// Where calls are queued.
    pub queue: Queue,
}

/// The part of a conversation's state that matters here.
#[derive(Deserialize)]
struct Stored {
    pk: String,
    sk: String,
    state: String,
}

/// What a record of the stream asks for.
#[derive(Debug, PartialEq, Eq)]
enum Record {
    /// A call was stored and waits to be dialled.
    Call(CallJob),
    /// Nothing to do.
    Other,
    /// It should be a conversation, but cannot be read. Reading it again will not help.
    Unreadable,
}

impl Relay {
    /// Sends what a batch of records asks for, in their order. A stream goes on from the first record
    /// that is reported as failed, so nothing behind it is tried.
    pub async fn handle(&self, event: Event) -> DynamoDbEventResponse {
        let deadline = Instant::now() + BATCH_TIMEOUT;
        let mut response = DynamoDbEventResponse::default();
        for record in event.records {
            let job = match read(&record) {
                Record::Call(job) => job,
                Record::Other => continue,
                Record::Unreadable => {
                    tracing::error!(
                        event_id = record.event_id,
                        "a conversation of the stream cannot be read: dropped"
                    );
                    continue;
                }
            };
            let conversation_id = job.conversation_id;
            if let Err(error) = self.send(&job, deadline).await {
                tracing::warn!(%conversation_id, %error, "not queued: the stream will ask again");
                let mut failure = DynamoDbBatchItemFailure::default();
                failure.item_identifier = record.change.sequence_number;
                response.batch_item_failures.push(failure);
                break;
            }
            tracing::info!(%conversation_id, "queued");
        }
        response
    }

    async fn send(&self, job: &CallJob, deadline: Instant) -> Result<(), lambda_runtime::Error> {
        timeout_at(deadline, self.queue.send_call(job, Duration::ZERO)).await??;
        Ok(())
    }
}

fn read(record: &EventRecord) -> Record {
    // The stream's filter lets only queued calls pass; it is not relied upon.
    if record.event_name != "INSERT" {
        return Record::Other;
    }
    let Ok(stored) = serde_dynamo::from_item::<_, Stored>(record.change.new_image.clone()) else {
        return Record::Other;
    };
    match conversation_of_key(&stored.pk) {
        _ if stored.sk != "STATE" || stored.state != "queued" => Record::Other,
        Some((account_id, conversation_id)) => Record::Call(CallJob { account_id, conversation_id }),
        None => Record::Unreadable,
    }
}
