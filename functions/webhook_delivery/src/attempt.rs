//! One attempt: the request, its record, and the message for the next attempt.

use std::time::Duration;

use switchboard_aws::{queue::DeliveryJob, table::TableError};
use switchboard_model::{
    deliveries::{self, Admission, Delivery, DeliveryStatus},
    time::Timestamp,
};
use switchboard_providers::webhooks::WebhookRequest;
use switchboard_runtime::{
    backoff::jitter,
    emf::{Metrics, Unit},
    jobs::JobOutcome,
    now,
};

use crate::{WebhookDelivery, kept_slots::Slot, preparation::PreparedAttempt};

/// Maximum time of the whole request, from the resolution of the name to the end of the response.
const TIMEOUT: Duration = Duration::from_secs(15);

/// The result of an attempt.
pub(crate) struct AttemptResult {
    pub(crate) outcome: JobOutcome,
    /// The in-flight slot to return, if the attempt had one, and whether the host responded.
    pub(crate) slot: Option<(Slot, bool)>,
}

impl WebhookDelivery {
    /// Makes an attempt that got an in-flight slot, and postpones any other.
    pub(crate) async fn make_or_postpone(
        &self,
        attempt: PreparedAttempt,
        admission: Admission,
        slot: Option<Slot>,
    ) -> AttemptResult {
        let Some(slot) = slot else {
            return AttemptResult { outcome: self.postpone(attempt, admission).await, slot: None };
        };
        let PreparedAttempt { job, webhook, outgoing, delivery, payload, .. } = &attempt;
        let now = now();
        let id = deliveries::webhook_id(outgoing.event.id, job.webhook);
        let secrets: Vec<_> = outgoing.account.signing_secrets(now).collect();
        let request = WebhookRequest { webhook, payload, id: &id, secrets: &secrets, now, timeout: TIMEOUT };
        let (made, response) = self.client.send(request).await;
        let slot = Some((slot, response.is_some()));
        let (status, latency_ms) = (made.status, made.latency_ms);
        let retry_after = response.and_then(|response| response.retry_after);
        let after = delivery.clone().after(made, retry_after, jitter());
        tracing::info!(status, latency_ms, delivery = ?after.status, "webhook attempt made");
        AttemptResult { outcome: self.record(&attempt, &after).await, slot }
    }

    /// Queues the attempt for later: its host has no free slot, or the circuit breaker is open. A delivery that was
    /// postponed for too long is given up.
    async fn postpone(&self, attempt: PreparedAttempt, admission: Admission) -> JobOutcome {
        let now = now();
        let due = attempt.delivery.next_attempt_at.unwrap_or(attempt.outgoing.event.created_at);
        match deliveries::held_for(admission, now.since(due), now, jitter()) {
            Some(delay) => {
                self.postpone_due_time(&attempt, now.after(delay + deliveries::MAX_QUEUED)).await;
                self.queue_attempt(attempt.job, delay).await
            }
            None => self.record(&attempt, &attempt.delivery.clone().given_up(now)).await,
        }
    }

    /// Keeps the sweeper from sending another message while the one of a postponed attempt is under way.
    async fn postpone_due_time(&self, attempt: &PreparedAttempt, until: Timestamp) {
        let PreparedAttempt { job, outgoing, delivery, .. } = attempt;
        if outgoing.delivery.is_none() {
            // From now on it has an item that is due, and the check of its conversation leaves it alone.
            let conversation = &outgoing.snapshot.conversation;
            match self.table.record_delivery(conversation, None, delivery).await {
                Ok(()) | Err(TableError::Conflict) => {}
                Err(error) => return tracing::warn!(%error, "postponed delivery not stored"),
            }
        }
        if let Err(error) = self.table.postpone_delivery(job.delivery(), until).await {
            tracing::warn!(%error, "due time of a postponed attempt not changed");
        }
    }

    /// Stores the delivery as it is after the attempt, then queues the next attempt.
    async fn record(&self, attempt: &PreparedAttempt, after: &Delivery) -> JobOutcome {
        let conversation = &attempt.outgoing.snapshot.conversation;
        let before = attempt.outgoing.delivery.as_ref();
        let recorded = self.table.record_delivery(conversation, before, after).await;
        if recorded.is_ok() && after.next_attempt_at.is_none() {
            self.forget_if_deleted(attempt.job).await;
        }
        if recorded.is_ok() {
            metrics(after).write(now());
        }
        match recorded {
            Ok(()) if after.status == DeliveryStatus::Exhausted => give_up(),
            Ok(()) => self.queue_next(attempt.job, after).await,
            Err(TableError::Conflict) => {
                tracing::info!("webhook attempt not recorded: another process recorded it first");
                JobOutcome::Done
            }
            Err(error) => {
                tracing::warn!(%error, "webhook attempt not recorded");
                JobOutcome::Retry
            }
        }
    }

    /// Removes a last attempt whose conversation was deleted while it was made. Earlier attempts are removed by the next one.
    async fn forget_if_deleted(&self, job: DeliveryJob) {
        let delivery = job.delivery();
        let forgetting = async {
            if self.table.is_deleted(delivery.account, delivery.conversation).await? {
                self.table.forget_delivery(delivery).await?;
            }
            Ok::<_, TableError>(())
        };
        // If this fails, the time to live removes it.
        if let Err(error) = forgetting.await {
            tracing::warn!(%error, "delivery of a deleted conversation not looked for");
        }
    }

    /// Queues the next attempt, if there is one and a queue can delay it for long enough. If not, the sweeper queues it.
    pub(crate) async fn queue_next(&self, job: DeliveryJob, delivery: &Delivery) -> JobOutcome {
        match delivery.queue_delay(now()) {
            Some(delay) => self.queue_attempt(DeliveryJob { attempt: delivery.attempt, ..job }, delay).await,
            None => JobOutcome::Done,
        }
    }

    async fn queue_attempt(&self, job: DeliveryJob, delay: Duration) -> JobOutcome {
        match self.queue.send(&job, delay).await {
            Ok(()) => JobOutcome::Done,
            Err(error) => {
                tracing::warn!(%error, next_attempt = job.attempt, "next attempt not queued");
                JobOutcome::Retry
            }
        }
    }
}

/// Counts a delivery that is given up. It stays in the table and in the event log, where its customer sees it; a message in the
/// dead-letter queue would call the operator for a customer's broken endpoint.
fn give_up() -> JobOutcome {
    tracing::warn!("delivery given up");
    JobOutcome::Done
}

/// The metrics of an attempt, after which the delivery is this.
fn metrics(after: &Delivery) -> Metrics {
    let is = |status| u64::from(after.status == status);
    Metrics::new()
        .value("DeliveriesDelivered", Unit::Count, is(DeliveryStatus::Delivered))
        .value("DeliveriesExhausted", Unit::Count, is(DeliveryStatus::Exhausted))
        .values("WebhookMs", Unit::Milliseconds, after.attempts.last().map(|attempt| attempt.latency_ms))
}
