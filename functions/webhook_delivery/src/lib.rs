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
//! 4. at any time: the in-flight slot of the attempt expires. So do those that the process keeps for its next batches.
//!
//! A slot has the name of its attempt, which keeps a repeated message from making the attempt while it is under way. An attempt
//! in a slot that was kept has no such guard: if the table's stream repeats a record within seconds, two processes may send
//! the same event at the same time, with the same `webhook-id`. Within a batch one of them is dropped. An attempt for which the
//! sweeper may have sent a second message takes a slot of its own.
//!
//! All messages of a batch are worked on at the same time, those for one host of one account together: they take the
//! in-flight slots that the process has not kept in one write, and those of the account in another. A circuit breaker pauses hosts that keep failing. A
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
mod kept_slots;
mod preparation;

use std::collections::{BTreeMap, BTreeSet};

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

use self::{
    attempt::AttemptResult,
    kept_slots::Slot,
    preparation::{PreparedAttempt, PreparedMessage},
};
pub use self::{config::Config, kept_slots::KeptSlots};

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
    /// In-flight slots that are kept between batches; at first none.
    pub kept_slots: KeptSlots,
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

    /// Takes in-flight slots: for the first `from_kept` of the attempts those that this process has kept, then others from the
    /// table. None for an attempt that gets none.
    async fn take_slots(
        &self,
        account: AccountId,
        host: &str,
        names: &[String],
        from_kept: usize,
    ) -> Result<Vec<(Admission, Option<Slot>)>, TableError> {
        let now = now();
        let kept = self.kept_slots.take(account, host, from_kept, now);
        let wanted = names.get(kept.len()..).unwrap_or_default();
        let mut taken: Vec<_> = kept.into_iter().map(|slot| (Admission::Admitted, Some(slot))).collect();
        if wanted.is_empty() {
            return Ok(taken);
        }
        let (admissions, may_be_kept) = match self.table.take_slots(account, host, wanted, now).await {
            Ok(found) => found,
            // The kept ones serve the first attempts; the others come again.
            Err(error) if taken.is_empty() => return Err(error),
            Err(error) => {
                tracing::warn!(%error, attempts = wanted.len(), "in-flight slots not taken");
                (vec![Admission::Full; wanted.len()], false)
            }
        };
        taken.extend(wanted.iter().zip(admissions).map(|(name, admission)| {
            let slot = Slot { name: name.clone(), taken_at: now, may_be_kept };
            (admission, (admission == Admission::Admitted).then_some(slot))
        }));
        Ok(taken)
    }

    /// Makes attempts at one host at the same time: all those that get an in-flight slot.
    async fn deliver_to_host(
        &self,
        account: AccountId,
        host: &str,
        mut attempts: Vec<(String, PreparedAttempt)>,
    ) -> Settled {
        let mut settled = settle_repeated(&mut attempts);
        let at = now();
        attempts.sort_by_key(|(_, attempt)| attempt.may_be_repeated(at));
        let from_kept = attempts.partition_point(|(_, attempt)| !attempt.may_be_repeated(at));
        let names: Vec<_> = attempts.iter().map(|(_, attempt)| attempt.slot()).collect();
        let admissions = match self.take_slots(account, host, &names, from_kept).await {
            Ok(admissions) => admissions,
            Err(error) => {
                tracing::warn!(%error, attempts = attempts.len(), "in-flight slots not taken");
                return settled;
            }
        };
        let mut sending = JoinSet::new();
        for ((id, attempt), (admission, slot)) in attempts.into_iter().zip(admissions) {
            let function = self.clone();
            let span = attempt.span.clone();
            sending.spawn(
                async move { (id, function.make_or_postpone(attempt, admission, slot).await) }
                    .instrument(span),
            );
        }
        while let Some(first) = sending.join_next().await {
            // Attempts that end at the same time return their slots in one write. The slot of an attempt that panicked
            // expires.
            let ended: Vec<_> = std::iter::once(first)
                .chain(std::iter::from_fn(|| sending.try_join_next()))
                .flatten()
                .collect();
            let (mut slots, now) = (vec![], now());
            for (id, AttemptResult { outcome, slot }) in ended {
                if let Some((mut slot, responded)) = slot {
                    // A message that comes again must not find the slot of its name taken.
                    slot.may_be_kept &= outcome.is_settled();
                    if !self.kept_slots.keep(account, host, &slot, responded, now) {
                        slots.push((slot.name, responded));
                    }
                }
                if outcome.is_settled() {
                    settled.push(id);
                }
            }
            if slots.is_empty() {
                continue;
            }
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

/// Settles messages that name the same attempt as one before them in the batch: the first makes it. If it does not settle,
/// the queue shows that one again.
fn settle_repeated(attempts: &mut Vec<(String, PreparedAttempt)>) -> Settled {
    let (mut names, mut settled) = (BTreeSet::new(), Settled::new());
    attempts.retain(|(id, attempt)| {
        let is_first = names.insert(attempt.slot());
        if !is_first {
            attempt.span.in_scope(|| tracing::info!("repeated message dropped"));
            settled.push(id.clone());
        }
        is_first
    });
    settled
}
