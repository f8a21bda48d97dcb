//! The queues: calls to place, attempts to deliver events.

use std::{collections::HashSet, fmt, marker::PhantomData, time::Duration};

use aws_config::SdkConfig;
use aws_sdk_sqs::types::SendMessageBatchRequestEntry;
use serde::{Deserialize, Serialize};
use switchboard_model::ids::{AccountId, ConversationId};

use crate::{
    failure::{Cause, ServiceError},
    keys::DeliveryKey,
};

/// Maximum delay of a message (SQS, `DelaySeconds`).
pub const MAX_DELAY: Duration = Duration::from_mins(15);

/// Maximum number of messages in one request (SQS, `SendMessageBatch`).
pub const BATCH: usize = 10;

/// Maximum number of messages of one request (SQS, `ReceiveMessage`), and the time that it waits for the first.
const MAX_RECEIVED: i32 = 10;
const RECEIVE_WAIT_S: i32 = 1;

/// A message of the queue of calls: a conversation whose call waits to be placed. It may arrive more than once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallJob {
    /// The owner.
    pub account_id: AccountId,
    /// The conversation.
    pub conversation_id: ConversationId,
}

/// A message of a queue. SQS serves accounts fairly: a backlog of one account does not delay the messages of others
/// (fair queues; the message group is the account).
pub trait Message: Serialize {
    /// The account that it is for.
    fn account(&self) -> AccountId;
}

impl Message for CallMessage {
    fn account(&self) -> AccountId {
        match self {
            Self::Place { job, .. } => job.account_id,
            Self::Wake { account_id } => *account_id,
        }
    }
}

impl Message for DeliveryJob {
    fn account(&self) -> AccountId {
        self.account_id
    }
}

/// A message of the queue of calls. It may arrive more than once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum CallMessage {
    /// A call to place.
    Place {
        /// The call.
        #[serde(flatten)]
        job: CallJob,
        /// Number of messages that were sent for it one after the other, each by the function that received the one
        /// before.
        #[serde(default, skip_serializing_if = "is_zero")]
        hops: u32,
    },
    /// A slot of this account may be free: its next waiting calls are placed.
    Wake {
        /// The account.
        account_id: AccountId,
    },
}

impl CallMessage {
    /// The first message for a call.
    #[must_use]
    pub fn place(job: CallJob) -> Self {
        Self::Place { job, hops: 0 }
    }

    /// Parses the body of a message; `None` if it is not one of the queue of calls.
    #[must_use]
    pub fn from_body(body: &str) -> Option<Self> {
        let message = serde_json::from_str(body).ok()?;
        // A call whose id cannot be read is no wake.
        let is_call = body.contains("\"conversation_id\"");
        (is_call == matches!(message, Self::Place { .. })).then_some(message)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(hops: &u32) -> bool {
    *hops == 0
}

/// A message of the queue of deliveries: one attempt to deliver one event to one webhook. It may arrive more than
/// once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryJob {
    /// The owner.
    pub account_id: AccountId,
    /// The conversation of the event.
    pub conversation_id: ConversationId,
    /// The event's number in the conversation, from 1.
    pub sequence: u64,
    /// The webhook's index in the agent's list, from 0.
    pub webhook: usize,
    /// The number of the attempt, from 1.
    pub attempt: u32,
}

impl CallJob {
    /// Parses the body of a message; `None` if it is not a job of this queue.
    #[must_use]
    pub fn from_body(body: &str) -> Option<Self> {
        serde_json::from_str(body).ok()
    }
}

impl DeliveryJob {
    /// The attempt with this number at a delivery.
    #[must_use]
    pub fn new(delivery: DeliveryKey, attempt: u32) -> Self {
        let DeliveryKey { account, conversation, sequence, webhook } = delivery;
        Self { account_id: account, conversation_id: conversation, sequence, webhook, attempt }
    }

    /// The delivery of the attempt.
    #[must_use]
    pub fn delivery(&self) -> DeliveryKey {
        let Self { account_id, conversation_id, sequence, webhook, .. } = *self;
        DeliveryKey { account: account_id, conversation: conversation_id, sequence, webhook }
    }

    /// Parses the body of a message; `None` if it is not a job of this queue.
    #[must_use]
    pub fn from_body(body: &str) -> Option<Self> {
        serde_json::from_str(body).ok()
    }
}

/// Sends jobs to a queue.
pub struct Queue<J> {
    client: aws_sdk_sqs::Client,
    url: String,
    job: PhantomData<fn(J)>,
}

impl<J> Clone for Queue<J> {
    fn clone(&self) -> Self {
        Self { client: self.client.clone(), url: self.url.clone(), job: PhantomData }
    }
}

impl<J> fmt::Debug for Queue<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("url", &self.url).finish_non_exhaustive()
    }
}

impl<J: Message> Queue<J> {
    /// The queue at `url`.
    #[must_use]
    pub fn new(config: &SdkConfig, url: String) -> Self {
        Self { client: aws_sdk_sqs::Client::new(config), url, job: PhantomData }
    }

    /// Sends a job, which is delayed by `delay` (whole seconds, rounded up, at most [`MAX_DELAY`]).
    pub async fn send(&self, job: &J, delay: Duration) -> Result<(), ServiceError> {
        let seconds = delay.min(MAX_DELAY).as_millis().div_ceil(1000);
        let request = self
            .client
            .send_message()
            .queue_url(&self.url)
            .message_body(body(job)?)
            .message_group_id(job.account().to_string())
            .delay_seconds(i32::try_from(seconds).unwrap_or(i32::MAX))
            .send();
        Box::pin(request).await.map_err(|error| ServiceError::of("SendMessage", &error))?;
        Ok(())
    }

    /// Sends at most [`BATCH`] jobs without delay. Returns the indexes of those that the queue refused twice.
    pub async fn send_batch(&self, jobs: &[J]) -> Result<Vec<usize>, ServiceError> {
        let left = self.send_some(jobs, (0..jobs.len()).collect()).await?;
        if left.is_empty() {
            return Ok(left);
        }
        // If the second request fails, the result of the first one still holds.
        Ok(self.send_some(jobs, left.clone()).await.unwrap_or(left))
    }

    async fn send_some(&self, jobs: &[J], places: Vec<usize>) -> Result<Vec<usize>, ServiceError> {
        let entries = places.into_iter().map(|place| {
            let entry = SendMessageBatchRequestEntry::builder();
            let entry = entry.message_group_id(jobs[place].account().to_string());
            let entry = entry.id(place.to_string()).message_body(body(&jobs[place])?).build();
            entry.map_err(|error| ServiceError::Refused(Cause::new(error.to_string())))
        });
        let entries = entries.collect::<Result<Vec<_>, _>>()?;
        let request = self.client.send_message_batch().queue_url(&self.url).set_entries(Some(entries)).send();
        let sent = Box::pin(request).await.map_err(|error| ServiceError::of("SendMessageBatch", &error))?;
        Ok(sent.failed.iter().filter_map(|failed| failed.id.parse().ok()).collect())
    }
}

/// The fields of every message.
#[derive(Deserialize)]
struct AnyMessage {
    account_id: AccountId,
}

/// Moves all messages of a dead-letter queue back to its queue, and returns their number. A message that was sent but
/// not deleted, as after a crash, is moved again: jobs may arrive more than once.
///
/// # Errors
/// A queue did not respond. The messages that were moved by then stay moved.
pub async fn redrive(config: &SdkConfig, dead_letters: &str, queue: &str) -> Result<usize, ServiceError> {
    let client = aws_sdk_sqs::Client::new(config);
    // A function may put a message back at once. Such a message ends the redrive: it would go around for ever.
    let mut moved = HashSet::new();
    loop {
        let request = client.receive_message().queue_url(dead_letters);
        let request = request.max_number_of_messages(MAX_RECEIVED).wait_time_seconds(RECEIVE_WAIT_S).send();
        let received = Box::pin(request).await.map_err(|error| ServiceError::of("ReceiveMessage", &error))?;
        let messages = received.messages.unwrap_or_default();
        let is_moved = |message: &aws_sdk_sqs::types::Message| {
            message.body.as_ref().is_some_and(|body| moved.contains(body))
        };
        if messages.iter().all(is_moved) {
            return Ok(moved.len());
        }
        for message in messages {
            let body = message.body.unwrap_or_default();
            if !moved.insert(body.clone()) {
                continue;
            }
            let account = serde_json::from_str::<AnyMessage>(&body).ok().map(|message| message.account_id);
            let request = client.send_message().queue_url(queue).message_body(body);
            let request = request.set_message_group_id(account.map(|account| account.to_string())).send();
            Box::pin(request).await.map_err(|error| ServiceError::of("SendMessage", &error))?;
            let request = client.delete_message().queue_url(dead_letters);
            let request = request.set_receipt_handle(message.receipt_handle).send();
            Box::pin(request).await.map_err(|error| ServiceError::of("DeleteMessage", &error))?;
        }
    }
}

fn body(job: &impl Serialize) -> Result<String, ServiceError> {
    serde_json::to_string(job).map_err(|error| ServiceError::Refused(Cause::new(error.to_string())))
}

#[cfg(test)]
mod tests {
    use switchboard_model::time::Timestamp;

    use super::*;

    #[tokio::test]
    async fn a_redrive_moves_every_message_and_a_second_one_none() {
        let queues = switchboard_testkit::queue::Queues::start().await;
        let config = crate::table::testing::config(queues.url()).await;
        let [dead, queue] = ["dead", "calls"].map(|name| queues.queue_url(name));
        let at = Timestamp::from_millis(1_795_339_800_120);
        let jobs: Vec<_> = (0..23)
            .map(|n| {
                CallMessage::place(CallJob {
                    account_id: AccountId::new(at, 1),
                    conversation_id: ConversationId::new(at, n),
                })
            })
            .collect();
        let dead_letters = Queue::<CallMessage>::new(&config, dead.clone());
        for job in &jobs {
            dead_letters.send(job, Duration::ZERO).await.unwrap();
        }
        assert_eq!(redrive(&config, &dead, &queue).await.unwrap(), 23);
        let moved = queues.messages("calls");
        assert!(moved.iter().all(|message| message.group == Some(AccountId::new(at, 1).to_string())));
        let moved = moved.into_iter().map(|message| CallMessage::from_body(&message.body));
        assert_eq!(moved.collect::<Option<Vec<_>>>(), Some(jobs));
        assert_eq!(queues.messages("dead"), []);
        assert_eq!(redrive(&config, &dead, &queue).await.unwrap(), 0);
        // A queue that takes nothing loses nothing.
        dead_letters
            .send(&CallMessage::from_body(&queues.take("calls")[0].body).unwrap(), Duration::ZERO)
            .await
            .unwrap();
        queues.set_room(0);
        assert!(redrive(&config, &dead, &queue).await.is_err());
        assert_eq!(queues.messages("dead").len(), 1);
    }

    #[test]
    fn a_job_reads_back_and_anything_else_is_none() {
        let at = Timestamp::from_millis(1_795_339_800_120);
        let (account_id, conversation_id) = (AccountId::new(at, 1), ConversationId::new(at, 2));
        let call = CallJob { account_id, conversation_id };
        assert_eq!(CallJob::from_body(&body(&call).unwrap()), Some(call));
        let delivery = DeliveryJob { account_id, conversation_id, sequence: 3, webhook: 1, attempt: 2 };
        assert_eq!(DeliveryJob::from_body(&body(&delivery).unwrap()), Some(delivery));
        let (first, later) = (CallMessage::place(call), CallMessage::Place { job: call, hops: 3 });
        assert_eq!(body(&first).unwrap(), body(&call).unwrap());
        for message in [first, later, CallMessage::Wake { account_id }] {
            assert_eq!(CallMessage::from_body(&body(&message).unwrap()), Some(message));
        }
        let bad_call = body(&call).unwrap().replace("cnv_", "agt_");
        assert_eq!(CallMessage::from_body(&bad_call), None);
        for bad in ["", "{}", "[]", r#"{"account_id":"acc_1","conversation_id":"cnv_2"}"#] {
            assert_eq!(CallJob::from_body(bad), None, "{bad}");
            assert_eq!(CallMessage::from_body(bad), None, "{bad}");
            assert_eq!(DeliveryJob::from_body(bad), None, "{bad}");
        }
        assert_eq!(DeliveryJob::from_body(&body(&call).unwrap()), None, "it is the other queue's");
    }
}
