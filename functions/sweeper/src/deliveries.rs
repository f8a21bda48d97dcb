//! Webhook attempts that are due: those that are delayed longer than a queue can delay a message, and those whose
//! message was lost.

use std::{collections::BTreeSet, time::Duration};

use switchboard_aws::{
    queue::DeliveryJob,
    table::{DeliveryKey, TableError},
};
use switchboard_model::deliveries::{DeliveryStatus, MAX_QUEUED};
use switchboard_runtime::{now, spans};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::Instrument;

use crate::{
    ITEM_TIMEOUT, PAGE, PAGES, POSTPONEMENT, Sweeper, TABLE_TIMEOUT,
    due_items::{AT_ONCE, run_each},
};

impl Sweeper {
    /// Queues the attempts that are due, and returns their number.
    pub(crate) async fn sweep_deliveries(&self, deadline: Instant) -> Result<usize, TableError> {
        let mut queued = 0;
        let mut seen = BTreeSet::new();
        for _ in 0..PAGES {
            let found = match timeout_at(deadline, self.backend.table.due_deliveries(now(), PAGE)).await {
                Ok(found) => found?,
                Err(_elapsed) => break,
            };
            let is_last = found.is_empty();
            // The index is eventually consistent: it may still hold what was queued.
            let new: Vec<_> = found.into_iter().filter(|item| seen.insert(*item)).collect();
            if new.is_empty() {
                break;
            }
            let work = |item: DeliveryKey| {
                let sweeper = self.clone();
                let span = spans::job(item.account, item.conversation);
                async move { sweeper.queue_or_postpone(item).await }.instrument(span)
            };
            run_each(AT_ONCE, new, deadline, work, |was_queued| {
                queued += usize::from(was_queued == Some(true));
            })
            .await;
            if is_last || Instant::now() >= deadline {
                break;
            }
        }
        Ok(queued)
    }

    /// Returns whether the attempt was queued.
    async fn queue_or_postpone(&self, item: DeliveryKey) -> bool {
        let DeliveryKey { sequence, webhook, .. } = item;
        let error = match timeout(ITEM_TIMEOUT, self.queue_attempt(item)).await {
            Ok(Ok(was_queued)) => return was_queued,
            Ok(Err(error)) => error.to_string(),
            Err(_elapsed) => format!("it took longer than {} s", ITEM_TIMEOUT.as_secs()),
        };
        tracing::error!(sequence, webhook, error, "due attempt not queued");
        let postponing = self.backend.table.postpone_delivery(item, now().after(POSTPONEMENT));
        if !matches!(timeout(TABLE_TIMEOUT, postponing).await, Ok(Ok(()))) {
            tracing::error!(sequence, webhook, "due attempt not postponed");
        }
        false
    }

    /// Queues the attempt if it is still due. It is not due again before its message must have arrived.
    async fn queue_attempt(&self, item: DeliveryKey) -> Result<bool, TableError> {
        let now = now();
        let delivery = self.backend.table.delivery(item).await?;
        let due = delivery.filter(|delivery| {
            delivery.status == DeliveryStatus::Pending && delivery.due_at().is_some_and(|due| due <= now)
        });
        let Some(delivery) = due else { return Ok(false) };
        let job = DeliveryJob::new(item, delivery.attempt);
        // The message is sent before the item is postponed: in the other order, a crash between would delay it.
        self.queue.send(&job, Duration::ZERO).await?;
        self.backend.table.postpone_delivery(item, now.after(MAX_QUEUED)).await?;
        Ok(true)
    }
}
