//! Turns a message into an attempt with all that it needs, or settles the message without an attempt.

use switchboard_aws::{
    queue::DeliveryJob,
    table::{Outgoing, TableError},
};
use switchboard_contract::{
    conversations::ConversationView,
    events::payload::{self, Payload},
};
use switchboard_model::{
    deliveries::{self, Delivery, Step},
    ids::AccountId,
    time::Timestamp,
    webhooks::Webhook,
};
use switchboard_runtime::{jobs::JobOutcome, now};
use tracing::Span;

use crate::WebhookDelivery;

/// A message after its preparation.
pub(crate) enum PreparedMessage {
    /// It asks for an attempt.
    Attempt(Box<PreparedAttempt>),
    /// It needs no attempt.
    Decided(JobOutcome),
}

/// An attempt with all that it needs.
pub(crate) struct PreparedAttempt {
    pub(crate) job: DeliveryJob,
    pub(crate) webhook: Webhook,
    pub(crate) outgoing: Outgoing,
    /// The delivery as it is stored, or a new one.
    pub(crate) delivery: Delivery,
    pub(crate) payload: Payload,
    /// The span of the job.
    pub(crate) span: Span,
}

impl PreparedAttempt {
    /// The account, and the host of the webhook.
    pub(crate) fn host(&self) -> (AccountId, String) {
        (self.job.account_id, deliveries::host_of(&self.webhook.url))
    }

    /// The name of the in-flight slot of this attempt at its host.
    pub(crate) fn slot(&self) -> String {
        let DeliveryJob { conversation_id, sequence, webhook, attempt, .. } = self.job;
        deliveries::slot_name(conversation_id, sequence, webhook, attempt)
    }

    /// Whether the sweeper may have sent another message for this attempt. Then it takes a slot of its own name, so that the
    /// two are not made at the same time.
    pub(crate) fn may_be_repeated(&self, now: Timestamp) -> bool {
        self.delivery.due_at().is_some_and(|due| due <= now)
    }
}

impl WebhookDelivery {
    /// Reads what a message asks for, and what its attempt needs.
    pub(crate) async fn prepare(&self, job: DeliveryJob, span: Span) -> PreparedMessage {
        match self.read(job, span).await {
            Ok(prepared) => prepared,
            Err(error) => {
                // Also if an item cannot be decoded: another version may decode it, and the queue moves the message to
                // its dead-letter queue at last.
                tracing::warn!(%error, "attempt not prepared");
                PreparedMessage::Decided(JobOutcome::Retry)
            }
        }
    }

    async fn read(&self, job: DeliveryJob, span: Span) -> Result<PreparedMessage, TableError> {
        let DeliveryJob { account_id, conversation_id, sequence, webhook: index, attempt } = job;
        let done = Ok(PreparedMessage::Decided(JobOutcome::Done));
        let outgoing = self.table.outgoing(job.delivery()).await?;
        let found = outgoing.and_then(|outgoing| {
            let webhook = outgoing.snapshot.agent.webhooks.get(index)?.clone();
            Some((outgoing, webhook))
        });
        let Some((outgoing, webhook)) = found else {
            self.table.forget_delivery(job.delivery()).await?;
            tracing::info!("delivery of a deleted conversation forgotten");
            return done;
        };
        let event = &outgoing.event;
        let new = Delivery::new(event.id, sequence, index, event.created_at);
        let delivery = match deliveries::step(outgoing.delivery.clone(), new, attempt, now()) {
            Step::Try(delivery) => delivery,
            Step::SendAgain(delivery) => {
                return Ok(PreparedMessage::Decided(self.queue_next(job, &delivery).await));
            }
            Step::Drop => return done,
        };
        if outgoing.is_stopped && !delivery.was_asked_for() {
            let conversation = &outgoing.snapshot.conversation;
            let stopped = delivery.stopped();
            let stored = outgoing.delivery.as_ref();
            return match self.table.record_delivery(conversation, stored, &stopped).await {
                Ok(()) | Err(TableError::Conflict) => done,
                Err(error) => Err(error),
            };
        }
        let ended = if payload::needs_conversation(event.name, &webhook) {
            let messages = self.table.messages(account_id, conversation_id).await?;
            Some(ConversationView::new(&self.public_url, outgoing.snapshot.clone(), Some(messages)))
        } else {
            None
        };
        let (conversation, agent) = (&outgoing.snapshot.conversation, &outgoing.snapshot.agent);
        let payload = Payload::new(event, conversation, agent, webhook.method, ended);
        let attempt = PreparedAttempt { job, webhook, outgoing, delivery, payload, span };
        Ok(PreparedMessage::Attempt(Box::new(attempt)))
    }
}
