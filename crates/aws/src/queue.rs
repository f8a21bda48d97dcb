//! The queues: calls to dial, deliveries to make.

use std::{fmt, marker::PhantomData, time::Duration};

use aws_config::SdkConfig;
use aws_sdk_sqs::types::SendMessageBatchRequestEntry;
use serde::{Deserialize, Serialize};
use switchboard_model::ids::{AccountId, ConversationId};

use crate::{
    failure::{Cause, ServiceError},
    keys::DeliveryKey,
};

/// The longest that a message can wait before it is seen (SQS, `DelaySeconds`).
pub const MAX_DELAY: Duration = Duration::from_mins(15);

/// As many messages as one request may send (SQS, `SendMessageBatch`).
pub const BATCH: usize = 10;

/// A message of the queue of calls: one conversation that waits to be dialled. It may come more than once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallJob {
    /// Whose it is.
    pub account_id: AccountId,
    /// Which one.
    pub conversation_id: ConversationId,
}

/// A message of the queue of deliveries: one attempt to deliver one event to one webhook. It may come more
/// than once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryJob {
    /// Whose it is.
    pub account_id: AccountId,
    /// Whose event it is.
    pub conversation_id: ConversationId,
    /// The event's place among the conversation's events.
    pub sequence: u64,
    /// The webhook's place in the agent's list, from 0.
    pub webhook: usize,
    /// The number of the attempt, from 1.
    pub attempt: u32,
}

impl CallJob {
    /// Reads the body of a message; none if it is not one of ours.
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

    /// The delivery that the attempt is at.
    #[must_use]
    pub fn delivery(&self) -> DeliveryKey {
        let Self { account_id, conversation_id, sequence, webhook, .. } = *self;
        DeliveryKey { account: account_id, conversation: conversation_id, sequence, webhook }
    }

    /// Reads the body of a message; none if it is not one of ours.
    #[must_use]
    pub fn from_body(body: &str) -> Option<Self> {
        serde_json::from_str(body).ok()
    }
}

/// Puts jobs into a queue.
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

impl<J: Serialize> Queue<J> {
    /// The queue at `url`.
    #[must_use]
    pub fn new(config: &SdkConfig, url: String) -> Self {
        Self { client: aws_sdk_sqs::Client::new(config), url, job: PhantomData }
    }

    /// Queues a job, to be seen after `delay` (whole seconds, rounded up, at most [`MAX_DELAY`]).
    pub async fn send(&self, job: &J, delay: Duration) -> Result<(), ServiceError> {
        let seconds = delay.min(MAX_DELAY).as_millis().div_ceil(1000);
        let asked = self
            .client
            .send_message()
            .queue_url(&self.url)
            .message_body(body(job)?)
            .delay_seconds(i32::try_from(seconds).unwrap_or(i32::MAX))
            .send();
        Box::pin(asked).await.map_err(|error| ServiceError::of("SendMessage", &error))?;
        Ok(())
    }

    /// Queues at most [`BATCH`] jobs, to be seen at once. Tells the places of those that the queue did not
    /// take, also when it was asked once more.
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
            let entry = entry.id(place.to_string()).message_body(body(&jobs[place])?).build();
            entry.map_err(|error| ServiceError::Refused(Cause::new(error.to_string())))
        });
        let entries = entries.collect::<Result<Vec<_>, _>>()?;
        let asked = self.client.send_message_batch().queue_url(&self.url).set_entries(Some(entries)).send();
        let sent = Box::pin(asked).await.map_err(|error| ServiceError::of("SendMessageBatch", &error))?;
        Ok(sent.failed.iter().filter_map(|failed| failed.id.parse().ok()).collect())
    }
}

fn body(job: &impl Serialize) -> Result<String, ServiceError> {
    serde_json::to_string(job).map_err(|error| ServiceError::Refused(Cause::new(error.to_string())))
}

#[cfg(test)]
mod tests {
    use switchboard_model::time::Timestamp;

    use super::*;

    #[test]
    fn a_message_reads_back_and_anything_else_is_none() {
        let at = Timestamp::from_millis(1_795_339_800_120);
        let (account_id, conversation_id) = (AccountId::new(at, 1), ConversationId::new(at, 2));
        let call = CallJob { account_id, conversation_id };
        assert_eq!(CallJob::from_body(&body(&call).unwrap()), Some(call));
        let delivery = DeliveryJob { account_id, conversation_id, sequence: 3, webhook: 1, attempt: 2 };
        assert_eq!(DeliveryJob::from_body(&body(&delivery).unwrap()), Some(delivery));
        for bad in ["", "{}", "[]", r#"{"account_id":"acc_1","conversation_id":"cnv_2"}"#] {
            assert_eq!(CallJob::from_body(bad), None, "{bad}");
            assert_eq!(DeliveryJob::from_body(bad), None, "{bad}");
        }
        assert_eq!(DeliveryJob::from_body(&body(&call).unwrap()), None, "it is the other queue's");
    }
}
