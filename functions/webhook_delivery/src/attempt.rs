//! One attempt: what it needs, the request, what follows.

use std::time::Duration;

use switchboard_aws::{
    queue::DeliveryJob,
    table::{DueDelivery, Outgoing, TableError},
};
use switchboard_contract::{
    conversations::ConversationView,
    events::payload::{self, Payload},
};
use switchboard_model::{
    agents::Webhook,
    deliveries::{self, Admission, Delivery, DeliveryStatus, Step},
    ids::AccountId,
};
use switchboard_providers::webhooks::WebhookRequest;
use switchboard_runtime::{self as system, backoff::jitter, jobs::JobOutcome};

use crate::Webhooks;

/// For the whole request, from the look-up of the name to the end of the answer.
const TIMEOUT: Duration = Duration::from_secs(15);

/// What a message turned out to be.
pub(crate) enum Prepared {
    /// An attempt to be made.
    Attempt(Box<Attempt>),
    /// Anything else.
    Decided(JobOutcome),
}

/// An attempt with all that it needs.
pub(crate) struct Attempt {
    job: DeliveryJob,
    webhook: Webhook,
    outgoing: Outgoing,
    /// As it is, or as it begins.
    delivery: Delivery,
    payload: Payload,
}

/// What came of an attempt.
pub(crate) struct Sent {
    pub(crate) outcome: JobOutcome,
    /// The place at the host to be given back, if it had one, and whether the host gave an answer.
    pub(crate) place: Option<(String, bool)>,
}

impl Attempt {
    /// Whose attempt, and at which host.
    pub(crate) fn host(&self) -> (AccountId, String) {
        (self.job.account_id, deliveries::host_of(&self.webhook.url))
    }

    /// What it is called at its host.
    pub(crate) fn flight(&self) -> String {
        deliveries::flight(self.job.conversation_id, self.job.sequence, self.job.webhook)
    }
}

impl Webhooks {
    /// Finds out what a message asks for, and whatever an attempt needs.
    pub(crate) async fn prepare(&self, job: DeliveryJob) -> Prepared {
        match self.step(job).await {
            Ok(prepared) => prepared,
            Err(error) => {
                // Also what cannot be read: another version may, and after some times it is a dead letter.
                log(job, &error, "not prepared: tried again later");
                Prepared::Decided(JobOutcome::Retry)
            }
        }
    }

    async fn step(&self, job: DeliveryJob) -> Result<Prepared, TableError> {
        let DeliveryJob { account_id, conversation_id, sequence, webhook, attempt } = job;
        let done = Ok(Prepared::Decided(JobOutcome::Done));
        let outgoing = self.table.outgoing(account_id, conversation_id, sequence, webhook).await?;
        let found = outgoing.and_then(|outgoing| {
            let webhook = outgoing.snapshot.agent.webhooks.get(job.webhook)?.clone();
            Some((outgoing, webhook))
        });
        let Some((outgoing, webhook)) = found else {
            let key = DueDelivery { account: account_id, conversation: conversation_id, sequence, webhook };
            self.table.forget_delivery(key).await?;
            tracing::info!(%conversation_id, sequence, "its conversation is gone: dropped");
            return done;
        };
        let event = &outgoing.event;
        let fresh = Delivery::new(event.id, sequence, job.webhook, event.created_at);
        let delivery = match deliveries::step(outgoing.delivery.clone(), fresh, attempt, system::now()) {
            Step::Try(delivery) => delivery,
            Step::SendAgain(delivery) => return Ok(Prepared::Decided(self.follow(job, &delivery).await)),
            Step::Bury => return Ok(Prepared::Decided(self.bury(job).await)),
            Step::Drop => return done,
        };
        if outgoing.is_stopped && !delivery.was_asked_for() {
            let conversation = &outgoing.snapshot.conversation;
            let stopped = delivery.stopped();
            return match self.table.record_delivery(conversation, outgoing.delivery.as_ref(), &stopped).await
            {
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
        Ok(Prepared::Attempt(Box::new(Attempt { job, webhook, outgoing, delivery, payload })))
    }

    /// Makes an attempt that is admitted; holds any other back.
    pub(crate) async fn send(&self, attempt: Attempt, admission: Admission) -> Sent {
        if admission != Admission::Admitted {
            return Sent { outcome: self.hold(attempt, admission).await, place: None };
        }
        let Attempt { job, webhook, outgoing, delivery, payload } = &attempt;
        let now = system::now();
        let id = deliveries::webhook_id(outgoing.event.id, job.webhook);
        let secrets: Vec<_> = outgoing.account.signing_secrets(now).collect();
        let request = WebhookRequest { webhook, payload, id: &id, secrets: &secrets, now, timeout: TIMEOUT };
        let (made, answer) = self.sender.send(request).await;
        let place = Some((attempt.flight(), answer.is_some()));
        let DeliveryJob { conversation_id, sequence, webhook, attempt: number, .. } = *job;
        let (status, latency_ms) = (made.status, made.latency_ms);
        let after = delivery.clone().after(made, answer.and_then(|answer| answer.retry_after), jitter());
        tracing::info!(
            %conversation_id, sequence, webhook, attempt = number, status, latency_ms,
            outcome = ?after.status, "tried"
        );
        Sent { outcome: self.record(&attempt, &after).await, place }
    }

    /// Asks again later: the host has no room, or is left alone. Gives up what was held back for too long.
    async fn hold(&self, attempt: Attempt, admission: Admission) -> JobOutcome {
        let now = system::now();
        let due = attempt.delivery.next_attempt_at.unwrap_or(attempt.outgoing.event.created_at);
        match deliveries::held_for(admission, now.since(due), now, jitter()) {
            Some(delay) => self.queued(attempt.job, delay).await,
            None => self.record(&attempt, &attempt.delivery.clone().given_up(now)).await,
        }
    }

    /// Writes down what became of a delivery, then has the next attempt made.
    async fn record(&self, attempt: &Attempt, after: &Delivery) -> JobOutcome {
        let conversation = &attempt.outgoing.snapshot.conversation;
        let before = attempt.outgoing.delivery.as_ref();
        match self.table.record_delivery(conversation, before, after).await {
            Ok(()) if after.status == DeliveryStatus::Exhausted => self.bury(attempt.job).await,
            Ok(()) => self.follow(attempt.job, after).await,
            Err(TableError::Conflict) => {
                tracing::info!(conversation_id = %conversation.id, "somebody else was faster: not recorded");
                JobOutcome::Done
            }
            Err(error) => {
                log(attempt.job, &error, "not recorded: tried again later");
                JobOutcome::Retry
            }
        }
    }

    /// Queues the next attempt, if there is one and it is the queue's to wait for.
    async fn follow(&self, job: DeliveryJob, delivery: &Delivery) -> JobOutcome {
        match delivery.queue_delay(system::now()) {
            Some(delay) => self.queued(DeliveryJob { attempt: delivery.attempt, ..job }, delay).await,
            None => JobOutcome::Done,
        }
    }

    async fn queued(&self, job: DeliveryJob, delay: Duration) -> JobOutcome {
        match self.queue.send(&job, delay).await {
            Ok(()) => JobOutcome::Done,
            Err(error) => {
                log(job, &error.into(), "the next attempt was not queued: tried again later");
                JobOutcome::Retry
            }
        }
    }

    /// Puts a delivery that is given up where people look.
    async fn bury(&self, job: DeliveryJob) -> JobOutcome {
        tracing::warn!(conversation_id = %job.conversation_id, sequence = job.sequence, "given up");
        match self.dead_letters.send(&job, Duration::ZERO).await {
            Ok(()) => JobOutcome::Done,
            Err(error) => {
                log(job, &error.into(), "not among the dead letters: tried again later");
                JobOutcome::Retry
            }
        }
    }
}

fn log(job: DeliveryJob, error: &TableError, what: &'static str) {
    let DeliveryJob { conversation_id, sequence, webhook, attempt, .. } = job;
    tracing::warn!(%conversation_id, sequence, webhook, attempt, %error, "{what}");
}
