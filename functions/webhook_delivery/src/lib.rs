//! Delivers events to the customers' webhooks, with retries.
//!
//! A message of the queue names an attempt: an event, one of its webhooks, and the number of the attempt. It may come
//! twice, late, or after a crash. The stored delivery has the number of the next attempt;
//! [`switchboard_model::deliveries`] decides what a message with another number means. An attempt is made, recorded, and
//! followed by the message for the next one, in this order. A crash leaves behind:
//!
//! 1. before the request, or before its record: the message comes again, and the receiver may get the same event
//!    twice, with the same `webhook-id`.
//! 2. after the record, before the next message: the old message comes again, is recognised as the last one, and sends
//!    the next message.
//! 3. after that: the old message comes again and is dropped. If one message too many is under way, the first of them
//!    makes the attempt.
//! 4. at any time: the in-flight slot of the attempt expires.
//!
//! All messages of a batch are worked on at the same time, those for one host of one account together: they take their
//! in-flight slots in one write, and those of the account in another. A circuit breaker pauses hosts that keep failing. A
//! receiver that does not respond
//! delays its batch, not other messages: the rest of the batch is done by then, and other batches run beside it.
//!
//! The function knows nothing of calls. Start reading at [`WebhookDelivery::handle`]; `preparation` decides what a message
//! asks for, `attempt` makes the attempt.
//!
//! | error | outcome of the message |
//! |---|---|
//! | the message is not a delivery | retried, so that the queue moves it to its dead-letter queue; counted |
//! | its conversation was deleted | done |
//! | the table does not respond, or in-flight slots cannot be taken | retried |
//! | the attempt failed | done: it is recorded, and the next attempt is queued or due later |
//! | the result or the next message cannot be stored | retried |
//! | another process recorded the same attempt first | done |

mod attempt;
mod config;
mod preparation;

use std::collections::BTreeMap;

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use switchboard_aws::{
    queue::{DeliveryJob, Queue},
    table::{Table, TableError},
};
use switchboard_model::{deliveries::Admission, ids::AccountId};
use switchboard_providers::webhooks::WebhookClient;
use switchboard_runtime::{
    jobs::{self, JobOutcome},
    now, spans,
};
use tokio::task::JoinSet;
use tracing::Instrument;

pub use self::config::Config;
use self::{
    attempt::AttemptResult,
    preparation::{PreparedAttempt, PreparedMessage},
};

/// The function with its clients. Cheap to clone.
#[derive(Debug, Clone)]
pub struct WebhookDelivery {
    /// Where events and deliveries are stored.
    pub table: Table,
    /// The queue of attempts.
    pub queue: Queue<DeliveryJob>,
    /// Calls the webhooks.
    pub client: WebhookClient,
    /// The API's base URL, without a slash at the end.
    pub public_url: String,
}

/// Ids of messages that are settled.
type Settled = Vec<String>;
/// Attempts by account and host, each with the id of its message.
type AttemptsByHost = BTreeMap<(AccountId, String), Vec<(String, PreparedAttempt)>>;

impl WebhookDelivery {
    /// Works on all messages of a batch at the same time. The response lists those that the queue is to show again.
    pub async fn handle(&self, event: SqsEvent) -> SqsBatchResponse {
        let mut unsettled: Vec<String> =
            event.records.iter().map(|message| message.message_id.clone().unwrap_or_default()).collect();
        let mut settle = |settled: Settled| unsettled.retain(|id| !settled.contains(id));

        let mut preparing = JoinSet::new();
        for message in event.records {
            let function = self.clone();
            preparing.spawn(async move {
                let prepared = function.prepare_message(&message).await;
                (message.message_id.unwrap_or_default(), prepared)
            });
        }
        let mut hosts = AttemptsByHost::new();
        // A task that panicked does not settle its message, so the queue shows it again.
        while let Some(prepared) = preparing.join_next().await {
            match prepared {
                Ok((id, PreparedMessage::Attempt(attempt))) => {
                    hosts.entry(attempt.host()).or_default().push((id, *attempt));
                }
                Ok((id, PreparedMessage::Decided(outcome))) if outcome.is_settled() => settle(vec![id]),
                Ok((_, PreparedMessage::Decided(_))) | Err(_) => {}
            }
        }

        let mut groups = JoinSet::new();
        for ((account, host), attempts) in hosts {
            let function = self.clone();
            let span = spans::account_job(account);
            groups.spawn(
                async move { function.deliver_to_host(account, &host, attempts).await }.instrument(span),
            );
        }
        while let Some(settled) = groups.join_next().await {
            settle(settled.unwrap_or_default());
        }
        let mut response = SqsBatchResponse::default();
        response.set_failures(unsettled);
        response
    }

    async fn prepare_message(&self, message: &SqsMessage) -> PreparedMessage {
        let Some(job) = message.body.as_deref().and_then(DeliveryJob::from_body) else {
            tracing::error!(message_id = message.message_id, "message is not a delivery");
            jobs::poison(1).write(now());
            return PreparedMessage::Decided(JobOutcome::Poison);
        };
        let DeliveryJob { account_id, conversation_id, sequence, webhook, attempt } = job;
        let span = spans::delivery_job(account_id, conversation_id, sequence, webhook, attempt);
        self.prepare(job, span.clone()).instrument(span).await
    }

    /// Takes in-flight slots at a host, and for those attempts that get one, slots of the account.
    async fn take_slots(
        &self,
        account: AccountId,
        host: &str,
        slots: &[String],
    ) -> Result<Vec<Admission>, TableError> {
        let now = now();
        let mut admissions = self.table.take_slots(account, host, slots, now).await?;
        let admitted = |admission: &Admission| *admission == Admission::Admitted;
        let at_host = slots.iter().zip(&admissions).filter(|(_, admission)| admitted(admission));
        let at_host: Vec<_> = at_host.map(|(slot, _)| slot.clone()).collect();
        if !at_host.is_empty() {
            let of_account = self.table.take_account_slots(account, host, &at_host, now).await?;
            let both = admissions.iter_mut().filter(|admission| admitted(admission));
            both.zip(of_account).for_each(|(admission, of_account)| *admission = of_account);
        }
        Ok(admissions)
    }

    /// Makes attempts at one host at the same time: all those that get an in-flight slot.
    async fn deliver_to_host(
        &self,
        account: AccountId,
        host: &str,
        attempts: Vec<(String, PreparedAttempt)>,
    ) -> Settled {
        let slots: Vec<_> = attempts.iter().map(|(_, attempt)| attempt.slot()).collect();
        let admissions = match self.take_slots(account, host, &slots).await {
            Ok(admissions) => admissions,
            Err(error) => {
                tracing::warn!(%error, attempts = attempts.len(), "in-flight slots not taken");
                return vec![];
            }
        };
        let mut sending = JoinSet::new();
        for ((id, attempt), admission) in attempts.into_iter().zip(admissions) {
            let function = self.clone();
            let span = attempt.span.clone();
            sending.spawn(
                async move { (id, function.make_or_postpone(attempt, admission).await) }.instrument(span),
            );
        }
        let mut settled = Settled::new();
        while let Some(first) = sending.join_next().await {
            // Attempts that end at the same time return their slots in one write. The slot of an attempt that panicked
            // expires.
            let ended: Vec<_> = std::iter::once(first)
                .chain(std::iter::from_fn(|| sending.try_join_next()))
                .flatten()
                .collect();
            let mut slots = vec![];
            for (id, AttemptResult { outcome, slot }) in ended {
                slots.extend(slot);
                if outcome.is_settled() {
                    settled.push(id);
                }
            }
            if slots.is_empty() {
                continue;
            }
            let now = now();
            let (of_host, of_account) = tokio::join!(
                self.table.return_slots(account, host, &slots, now),
                self.table.return_account_slots(account, &slots, now)
            );
            for error in [of_host, of_account].into_iter().filter_map(Result::err) {
                tracing::warn!(%error, slots = slots.len(), "in-flight slots not returned");
            }
        }
        settled
    }
}
