//! The queue of calls to dial.

use std::time::Duration;

use aws_config::SdkConfig;
use domain::ids::{AccountId, ConversationId};
use serde::{Deserialize, Serialize};

use crate::failure::ServiceError;

/// The longest that a message can wait before it is seen (SQS, `DelaySeconds`).
pub const MAX_DELAY: Duration = Duration::from_mins(15);

/// A message of the queue: one conversation that waits to be dialled. It may come more than once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallJob {
    /// Whose it is.
    pub account_id: AccountId,
    /// Which one.
    pub conversation_id: ConversationId,
}

impl CallJob {
    /// Reads the body of a message; none if it is not one of ours.
    #[must_use]
    pub fn from_body(body: &str) -> Option<Self> {
        serde_json::from_str(body).ok()
    }

    /// The body of the message.
    #[must_use]
    pub fn to_body(&self) -> String {
        serde_json::json!(self).to_string()
    }
}

/// Puts calls into the queue.
#[derive(Debug, Clone)]
pub struct Queue {
    client: aws_sdk_sqs::Client,
    url: String,
}

impl Queue {
    /// The queue at `url`.
    #[must_use]
    pub fn new(config: &SdkConfig, url: String) -> Self {
        Self { client: aws_sdk_sqs::Client::new(config), url }
    }

    /// Queues a call, to be seen after `delay` (whole seconds, rounded up, at most [`MAX_DELAY`]).
    pub async fn send_call(&self, job: &CallJob, delay: Duration) -> Result<(), ServiceError> {
        let seconds = delay.min(MAX_DELAY).as_millis().div_ceil(1000);
        let asked = self
            .client
            .send_message()
            .queue_url(&self.url)
            .message_body(job.to_body())
            .delay_seconds(i32::try_from(seconds).unwrap_or(i32::MAX))
            .send();
        Box::pin(asked).await.map_err(|error| ServiceError::of("SendMessage", &error))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use domain::time::Timestamp;

    use super::*;

    #[test]
    fn a_message_reads_back_and_anything_else_is_none() {
        let at = Timestamp::from_millis(1_795_339_800_120);
        let job = CallJob { account_id: AccountId::new(at, 1), conversation_id: ConversationId::new(at, 2) };
        assert_eq!(CallJob::from_body(&job.to_body()), Some(job));
        for bad in ["", "{}", "[]", r#"{"account_id":"acc_1","conversation_id":"cnv_2"}"#] {
            assert_eq!(CallJob::from_body(bad), None, "{bad}");
        }
    }
}
