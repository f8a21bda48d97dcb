//! First attempts that are overdue: their messages were lost, for example in the dead-letter queue after an outage of the
//! table. A delivery has no item before its first attempt; the check of its conversation is due instead.

use std::{collections::BTreeSet, time::Duration};

use switchboard_aws::{
    queue::DeliveryJob,
    table::{Check, TableError},
};
use switchboard_runtime::{now, spans};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::Instrument;

use crate::{ITEM_TIMEOUT, POSTPONEMENT, Sweeper, TABLE_TIMEOUT, due_items::run_each};

/// Checks that are read at once. Each takes some requests to the table, and one to the queue for each lost attempt.
const CHECKS: usize = 500;
const CHECKS_AT_ONCE: usize = 50;
/// The number of every first attempt.
const FIRST: u32 = 1;

impl Sweeper {
    /// Queues first attempts that are overdue, and returns their number.
    pub(crate) async fn sweep_first_attempts(&self, deadline: Instant) -> Result<usize, TableError> {
        let mut queued = 0;
        let mut seen = BTreeSet::new();
        // Until nothing is due or the time is over: after an outage there are as many as there were conversations in it.
        while Instant::now() < deadline {
            let found = match timeout_at(deadline, self.backend.table.due_checks(now(), CHECKS)).await {
                Ok(found) => found?,
                Err(_elapsed) => break,
            };
            let is_last = found.is_empty();
            // The index is eventually consistent: it may still hold what was queued.
            let new: Vec<_> = found.into_iter().filter(|check| seen.insert(check.clone())).collect();
            if new.is_empty() {
                break;
            }
            let work = |check: Check| {
                let sweeper = self.clone();
                let span = spans::job(check.account, check.conversation);
                async move { sweeper.queue_first_attempts_or_postpone(check).await }.instrument(span)
            };
            run_each(CHECKS_AT_ONCE, new, deadline, work, |attempts| queued += attempts.unwrap_or(0)).await;
            if is_last || Instant::now() >= deadline {
                break;
            }
        }
        Ok(queued)
    }

    /// Returns the number of attempts that were queued.
    async fn queue_first_attempts_or_postpone(&self, check: Check) -> usize {
        let error = match timeout(ITEM_TIMEOUT, self.queue_first_attempts(&check)).await {
            Ok(Ok(queued)) => return queued,
            Ok(Err(error)) => error.to_string(),
            Err(_elapsed) => format!("it took longer than {} s", ITEM_TIMEOUT.as_secs()),
        };
        tracing::error!(error, "lost first attempts of a conversation not queued");
        let postponing = self.backend.table.postpone_check(&check, now().after(POSTPONEMENT));
        if !matches!(timeout(TABLE_TIMEOUT, postponing).await, Ok(Ok(()))) {
            tracing::error!("check for lost first attempts not postponed");
        }
        0
    }

    /// Queues the first attempts that were lost. The conversation is checked again later, until it has ended and every
    /// webhook of every event has a delivery.
    async fn queue_first_attempts(&self, check: &Check) -> Result<usize, TableError> {
        let table = &self.backend.table;
        let Some(result) = table.lost_first_attempts(check, now()).await? else { return Ok(0) };
        // The messages are sent before the check is settled: in the other order, a crash between would delay them.
        let (mut queued, mut failure) = (0, None);
        for delivery in &result.lost {
            match self.queue.send(&DeliveryJob::new(*delivery, FIRST), Duration::ZERO).await {
                Ok(()) => queued += 1,
                Err(error) => failure = Some(error),
            }
        }
        if queued > 0 {
            tracing::warn!(attempts = queued, "lost first attempts queued again");
        }
        if let Some(error) = failure {
            let unsent = result.lost.len() - queued;
            tracing::error!(%error, unsent, "lost first attempts not queued");
            table.postpone_check(check, now().after(POSTPONEMENT)).await?;
            return Ok(queued);
        }
        table.settle_check(check, &result).await?;
        Ok(queued)
    }
}
