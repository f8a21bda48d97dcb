//! Queues what the table's stream reports: calls that wait to be placed, calls that have ended, events with webhooks,
//! redeliveries.
//!
//! [`switchboard_aws::outbox`] reads a record of the stream as jobs; this function sends the jobs and reports the first
//! record of which a job was not sent. A job may be sent twice and late, but is never lost: if a queue is unavailable,
//! the stream repeats its records from the reported one on. The relay reads no table and decides nothing about a call or
//! a delivery.

use std::time::Duration;

use aws_lambda_events::{
    dynamodb::{Event, EventRecord},
    streams::{DynamoDbBatchItemFailure, DynamoDbEventResponse},
};
use switchboard_aws::{
    outbox::{self, EndedConversation, Job},
    queue::{self, CallMessage, DeliveryJob, Message, Queue},
};
use switchboard_model::conversations::EndedReason;
use switchboard_runtime::{
    ConfigError, Vars, config,
    emf::{Metrics, Unit},
    jobs, now, spans,
};
use tokio::time::{Instant, timeout_at};
use tracing::Span;

/// Maximum time for a whole batch. It is below the function's own limit of 15 s, so that the jobs that were sent are
/// reported as sent.
const BATCH_TIMEOUT: Duration = Duration::from_secs(12);

/// The configuration of the function.
#[derive(Debug, Clone)]
pub struct Config {
    /// The URL of the queue of calls.
    pub calls_queue: String,
    /// The URL of the queue of deliveries.
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
    /// The queue of calls to place.
    pub calls: Queue<CallMessage>,
    /// The queue of webhook attempts.
    pub deliveries: Queue<DeliveryJob>,
}

/// A job that is not sent yet.
struct PendingJob<J> {
    /// The index of its record in the batch.
    record: usize,
    job: J,
    span: Span,
}

/// The jobs of a batch, by queue, in the order of their records.
#[derive(Default)]
struct PendingJobs {
    calls: Vec<PendingJob<CallMessage>>,
    /// Conversations that have ended, with the indexes of their records.
    ended: Vec<(usize, EndedConversation)>,
    deliveries: Vec<PendingJob<DeliveryJob>>,
}

impl Relay {
    /// Makes the clients.
    pub async fn connect(config: Config) -> Self {
        let sdk = switchboard_aws::sdk_config().await;
        Self {
            calls: Queue::new(&sdk, config.calls_queue),
            deliveries: Queue::new(&sdk, config.deliveries_queue),
        }
    }

    /// Sends the jobs of a batch of records. The stream repeats all records from the reported one on, so jobs of later
    /// records that were sent are sent twice.
    pub async fn handle(&self, event: Event) -> DynamoDbEventResponse {
        let deadline = Instant::now() + BATCH_TIMEOUT;
        let mut pending = PendingJobs::default();
        for (index, record) in event.records.iter().enumerate() {
            pending.decode(index, record);
        }
        let (calls, deliveries) = tokio::join!(
            send(&self.calls, "calls", pending.calls, deadline),
            send(&self.deliveries, "deliveries", pending.deliveries, deadline),
        );
        let mut response = DynamoDbEventResponse::default();
        let first = calls.into_iter().chain(deliveries).min();
        for (_, ended) in pending.ended.iter().filter(|(record, _)| first.is_none_or(|first| *record < first))
        {
            ended_metrics(ended).write(now());
        }
        if let Some(record) = first.and_then(|index| event.records.into_iter().nth(index)) {
            let mut failure = DynamoDbBatchItemFailure::default();
            failure.item_identifier = record.change.sequence_number;
            response.batch_item_failures.push(failure);
        }
        response
    }
}

impl PendingJobs {
    /// Adds the jobs of a record. A record that cannot be read is counted and skipped: reading it again would fail again, and
    /// it would block the stream. It stays in the table, where the sweeper finds what it holds.
    fn decode(&mut self, record: usize, content: &EventRecord) {
        let jobs = match outbox::decode(&content.event_name, &content.change.new_image) {
            Ok(jobs) => jobs,
            Err(error) => {
                let conversation = error.conversation();
                let span = conversation.map_or_else(Span::none, |(account, id)| spans::job(account, id));
                let event_id = &content.event_id;
                span.in_scope(|| tracing::error!(event_id, %error, "stream record dropped"));
                jobs::poison(1).write(now());
                return;
            }
        };
        for job in jobs {
            match job {
                Job::Call(job) => {
                    let span = spans::job(job.account_id, job.conversation_id);
                    self.calls.push(PendingJob { record, job: CallMessage::place(job), span });
                }
                Job::Ended(ended) => {
                    self.ended.push((record, ended));
                    let account_id = ended.account_id;
                    // The dialer starts as many calls as there are free slots, so one message is enough.
                    let job = CallMessage::Wake { account_id };
                    if self.calls.iter().all(|pending| pending.job != job) {
                        self.calls.push(PendingJob { record, job, span: spans::account_job(account_id) });
                    }
                }
                Job::Delivery(job) => {
                    let DeliveryJob { account_id, conversation_id, sequence, webhook, attempt } = job;
                    let span = spans::delivery_job(account_id, conversation_id, sequence, webhook, attempt);
                    self.deliveries.push(PendingJob { record, job, span });
                }
            }
        }
    }
}

/// The metrics of a conversation that has ended. Records that the stream repeats are counted once they are through.
fn ended_metrics(ended: &EndedConversation) -> Metrics {
    let reason = match ended.reason {
        EndedReason::AgentEnded => "agent_ended",
        EndedReason::UserEnded => "user_ended",
        EndedReason::Unknown => "unknown",
    };
    Metrics::new()
        .value("ConversationsEnded", Unit::Count, 1)
        .value("CostMicroUsd", Unit::Count, ended.cost.as_micros())
        .by("Reason", reason)
}

/// Sends jobs in their order, and stops at the first that was not sent. Returns the index of that job's record.
async fn send<J: Message + Copy>(
    queue: &Queue<J>,
    name: &'static str,
    pending: Vec<PendingJob<J>>,
    deadline: Instant,
) -> Option<usize> {
    for batch in pending.chunks(queue::BATCH) {
        let jobs: Vec<J> = batch.iter().map(|pending| pending.job).collect();
        let (unsent, reason) = match timeout_at(deadline, queue.send_batch(&jobs)).await {
            Ok(Ok(unsent)) => (unsent, "the queue refused the message".to_owned()),
            Ok(Err(error)) => ((0..jobs.len()).collect(), error.to_string()),
            Err(_elapsed) => ((0..jobs.len()).collect(), "the queue did not respond in time".to_owned()),
        };
        for (index, PendingJob { span, .. }) in batch.iter().enumerate() {
            if !unsent.contains(&index) {
                span.in_scope(|| tracing::info!(queue = name, "job queued"));
            }
        }
        if let Some(first) = unsent.into_iter().min() {
            let PendingJob { record, span, .. } = batch.get(first)?;
            // One line for all that are left: an unavailable queue fails every batch for as long as it lasts.
            span.in_scope(|| {
                tracing::warn!(
                    queue = name,
                    reason,
                    "job not queued: the stream repeats it and all later ones"
                );
            });
            return Some(*record);
        }
    }
    None
}
