//! Delivers events to the customers' endpoints.
//!
//! A message of the queue names an attempt: an event, one of its webhooks, a number. It may come twice,
//! late, or after a crash. The delivery's item has the number of the next attempt; what a message of
//! another number means is decided in [`switchboard_model::deliveries`]. In this order an attempt is made, recorded,
//! and followed by the message for the next one, so that a crash leaves behind:
//!
//! 1. before the request, or before its record: the message comes again, and the receiver perhaps gets the
//!    same event twice, with the same `webhook-id`.
//! 2. after the record, before the next message: the old message comes again, finds that it is the last
//!    one's, and sends the next message.
//! 3. after that: the old message comes again and is dropped, or one message too many is on its way, of
//!    which the first makes the attempt.
//! 4. at any time: the place that the attempt takes at its host is free again after a while.
//!
//! All messages of a batch are worked on at the same time, those for one host of one account together:
//! they ask for their places in one write. A receiver that does not answer holds up a batch, never
//! another message: its batch-mates are done by then, and other batches run beside it.

mod attempt;
mod config;

use std::collections::BTreeMap;

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use switchboard_aws::{
    queue::{DeliveryJob, Queue},
    table::Table,
};
use switchboard_model::ids::AccountId;
use switchboard_providers::webhooks::WebhookClient;
use switchboard_runtime::{self as system, jobs::JobOutcome};
use tokio::task::JoinSet;

use self::attempt::{Attempt, Prepared, Sent};
pub use self::config::Config;

/// The function, with its clients. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Webhooks {
    /// Where events and deliveries are.
    pub table: Table,
    /// Where the next attempts are queued.
    pub queue: Queue<DeliveryJob>,
    /// Where deliveries go that are given up.
    pub dead_letters: Queue<DeliveryJob>,
    /// Sends.
    pub sender: WebhookClient,
    /// The API's base URL, without a slash at the end.
    pub public_url: String,
}

/// Messages that are done with.
type Done = Vec<String>;
/// Attempts at one host of one account.
type Hosts = BTreeMap<(AccountId, String), Vec<(String, Attempt)>>;

impl Webhooks {
    /// Works on a batch. What is not done with is reported, and the queue shows it again.
    pub async fn handle(&self, event: SqsEvent) -> SqsBatchResponse {
        let mut open: Vec<String> =
            event.records.iter().map(|message| message.message_id.clone().unwrap_or_default()).collect();
        let mut close = |done: Done| open.retain(|id| !done.contains(id));

        let mut preparing = JoinSet::new();
        for message in event.records {
            let webhooks = self.clone();
            preparing.spawn(async move {
                let prepared = webhooks.read(&message).await;
                (message.message_id.unwrap_or_default(), prepared)
            });
        }
        let mut hosts = Hosts::new();
        // A task that panicked never says that it is done: its message is shown again.
        while let Some(prepared) = preparing.join_next().await {
            match prepared {
                Ok((id, Prepared::Attempt(attempt))) => {
                    hosts.entry(attempt.host()).or_default().push((id, *attempt));
                }
                Ok((id, Prepared::Decided(outcome))) if outcome.is_settled() => close(vec![id]),
                Ok((_, Prepared::Decided(_))) | Err(_) => {}
            }
        }

        let mut groups = JoinSet::new();
        for ((account, host), attempts) in hosts {
            let webhooks = self.clone();
            groups.spawn(async move { webhooks.visit(account, &host, attempts).await });
        }
        while let Some(done) = groups.join_next().await {
            close(done.unwrap_or_default());
        }
        let mut response = SqsBatchResponse::default();
        response.set_failures(open);
        response
    }

    async fn read(&self, message: &SqsMessage) -> Prepared {
        let Some(job) = message.body.as_deref().and_then(DeliveryJob::from_body) else {
            tracing::error!(message_id = message.message_id, "a message that is no delivery: dropped");
            return Prepared::Decided(JobOutcome::Drop);
        };
        self.prepare(job).await
    }

    /// Makes some attempts at one host, all that are admitted at the same time.
    async fn visit(&self, account: AccountId, host: &str, attempts: Vec<(String, Attempt)>) -> Done {
        let flights: Vec<_> = attempts.iter().map(|(_, attempt)| attempt.flight()).collect();
        let admissions = match self.table.admit(account, host, &flights, system::now()).await {
            Ok(admissions) => admissions,
            Err(error) => {
                tracing::warn!(%account, %error, "no places: tried again later");
                return vec![];
            }
        };
        let mut sending = JoinSet::new();
        for ((id, attempt), admission) in attempts.into_iter().zip(admissions) {
            let webhooks = self.clone();
            sending.spawn(async move { (id, webhooks.send(attempt, admission).await) });
        }
        let mut done = Done::new();
        while let Some(first) = sending.join_next().await {
            // Those that are ready at the same time give their places back in one write. Of one that
            // panicked the place is free again after a while.
            let ready: Vec<_> = std::iter::once(first)
                .chain(std::iter::from_fn(|| sending.try_join_next()))
                .flatten()
                .collect();
            let mut places = vec![];
            for (id, Sent { outcome, place }) in ready {
                places.extend(place);
                if outcome.is_settled() {
                    done.push(id);
                }
            }
            if places.is_empty() {
                continue;
            }
            if let Err(error) = self.table.leave(account, host, &places, system::now()).await {
                tracing::warn!(%account, %error, "places were not given back");
            }
        }
        done
    }
}
