//! Deliveries whose next attempt is due: those that wait longer than a queue can, and those whose message
//! was lost.

use std::collections::BTreeSet;

use switchboard_aws::{
    queue::DeliveryJob,
    table::{DueDelivery, TableError},
};
use switchboard_model::deliveries::{DeliveryStatus, MAX_QUEUED};
use switchboard_runtime as system;
use tokio::{
    task::JoinSet,
    time::{Instant, timeout, timeout_at},
};

use crate::{AT_ONCE, ITEM_TIMEOUT, PAGE, PAGES, PUT_OFF, STORE_TIMEOUT, Sweeper};

impl Sweeper {
    /// Queues the attempts that are due, within bounds; how many it queued.
    ///
    /// # Errors
    /// The index cannot be read. What is wrong with one delivery is logged, and it is put off.
    pub(crate) async fn deliveries(&self, deadline: Instant) -> Result<usize, TableError> {
        let mut queued = 0;
        let mut seen = BTreeSet::new();
        for _ in 0..PAGES {
            let found = match timeout_at(deadline, self.table.due_deliveries(system::now(), PAGE)).await {
                Ok(found) => found?,
                Err(_elapsed) => break,
            };
            let is_last = found.len() < PAGE;
            // The index lags: what was queued may still be in it.
            let new: Vec<_> = found.into_iter().filter(|item| seen.insert(*item)).collect();
            if new.is_empty() {
                break;
            }
            queued += self.queue_some(new, deadline).await;
            if is_last || Instant::now() >= deadline {
                break;
            }
        }
        Ok(queued)
    }

    async fn queue_some(&self, items: Vec<DueDelivery>, deadline: Instant) -> usize {
        let mut queued = 0;
        let mut tasks = JoinSet::new();
        let mut waiting = items.into_iter();
        loop {
            while tasks.len() < AT_ONCE
                && Instant::now() < deadline
                && let Some(item) = waiting.next()
            {
                let sweeper = self.clone();
                tasks.spawn(async move { sweeper.queue_or_put_off(item).await });
            }
            match tasks.join_next().await {
                None => return queued,
                Some(Ok(was_queued)) => queued += usize::from(was_queued),
                Some(Err(panic)) => tracing::error!(%panic, "one delivery's sweep panicked"),
            }
        }
    }

    async fn queue_or_put_off(&self, item: DueDelivery) -> bool {
        let DueDelivery { conversation, sequence, webhook, .. } = item;
        let why = match timeout(ITEM_TIMEOUT, self.queue_one(item)).await {
            Ok(Ok(was_queued)) => return was_queued,
            Ok(Err(error)) => error.to_string(),
            Err(_elapsed) => format!("it took longer than {} s", ITEM_TIMEOUT.as_secs()),
        };
        tracing::error!(%conversation, sequence, webhook, error = why, "not queued: put off");
        let until = system::now().after(PUT_OFF);
        if !matches!(timeout(STORE_TIMEOUT, self.table.postpone_delivery(item, until)).await, Ok(Ok(()))) {
            tracing::error!(%conversation, sequence, webhook, "not put off either");
        }
        false
    }

    /// Queues one; then it is not due again before its message must have come. Whether it was due: what
    /// was tried, or queued, meanwhile is not.
    async fn queue_one(&self, item: DueDelivery) -> Result<bool, TableError> {
        let DueDelivery { account, conversation, sequence, webhook } = item;
        let now = system::now();
        let delivery = self.table.delivery(account, conversation, sequence, webhook).await?;
        let due = delivery.filter(|delivery| {
            delivery.status == DeliveryStatus::Pending && delivery.due_at().is_some_and(|due| due <= now)
        });
        let Some(delivery) = due else { return Ok(false) };
        let attempt = delivery.attempt;
        let job =
            DeliveryJob { account_id: account, conversation_id: conversation, sequence, webhook, attempt };
        // First, since what is put off and not queued would come late.
        self.queue.send(&job, std::time::Duration::ZERO).await?;
        self.table.postpone_delivery(item, now.after(MAX_QUEUED)).await?;
        Ok(true)
    }
}
