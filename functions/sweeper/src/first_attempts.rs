//! Events whose first attempts are overdue: their messages were lost, for example in the dead-letter queue after an outage
//! of the table. A delivery has no item before its first attempt, so the event itself is due.

use std::{collections::BTreeSet, time::Duration};

use switchboard_aws::{
    queue::DeliveryJob,
    table::{EventKey, TableError},
};
use switchboard_runtime::{now, spans};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::Instrument;

use crate::{ITEM_TIMEOUT, POSTPONEMENT, Sweeper, TABLE_TIMEOUT, due_items::run_each};

/// Events that are read at once. Each takes two requests to the table and one for each of its webhooks to the queue.
const EVENTS: usize = 500;
const EVENTS_AT_ONCE: usize = 50;
/// The number of every first attempt.
const FIRST: u32 = 1;

impl Sweeper {
    /// Queues first attempts that are overdue, and returns their number.
    pub(crate) async fn sweep_first_attempts(&self, deadline: Instant) -> Result<usize, TableError> {
        let mut queued = 0;
        let mut seen = BTreeSet::new();
        // Until nothing is due or the time is over: after an outage there are as many as there were events in it.
        while Instant::now() < deadline {
            let found = match timeout_at(deadline, self.backend.table.due_events(now(), EVENTS)).await {
                Ok(found) => found?,
                Err(_elapsed) => break,
            };
            let is_last = found.is_empty();
            // The index is eventually consistent: it may still hold what was queued.
            let new: Vec<_> = found.into_iter().filter(|event| seen.insert(*event)).collect();
            if new.is_empty() {
                break;
            }
            let work = |event: EventKey| {
                let sweeper = self.clone();
                let span = spans::job(event.account, event.conversation);
                async move { sweeper.queue_first_attempts_or_postpone(event).await }.instrument(span)
            };
            run_each(EVENTS_AT_ONCE, new, deadline, work, |attempts| queued += attempts.unwrap_or(0)).await;
            if is_last || Instant::now() >= deadline {
                break;
            }
        }
        Ok(queued)
    }

    /// Returns the number of attempts that were queued.
    async fn queue_first_attempts_or_postpone(&self, event: EventKey) -> usize {
        let sequence = event.sequence;
        let error = match timeout(ITEM_TIMEOUT, self.queue_first_attempts(event)).await {
            Ok(Ok(queued)) => return queued,
            Ok(Err(error)) => error.to_string(),
            Err(_elapsed) => format!("it took longer than {} s", ITEM_TIMEOUT.as_secs()),
        };
        tracing::error!(sequence, error, "first attempts of an event not queued");
        let postponing = self.backend.table.postpone_event(event, now().after(POSTPONEMENT));
        if !matches!(timeout(TABLE_TIMEOUT, postponing).await, Ok(Ok(()))) {
            tracing::error!(sequence, "event not postponed");
        }
        0
    }

    /// Queues the first attempt for each webhook without a stored delivery. The event is due again later, until every
    /// webhook has one.
    async fn queue_first_attempts(&self, key: EventKey) -> Result<usize, TableError> {
        let (table, now) = (&self.backend.table, now());
        let Some((event, untried)) = table.untried_webhooks(key).await? else { return Ok(0) };
        for webhook in event.webhooks.iter().filter(|webhook| !untried.contains(webhook)) {
            table.settle_first_attempt(key.delivery(*webhook)).await?;
        }
        // The messages are sent before the event is postponed: in the other order, a crash between would delay them.
        for webhook in &untried {
            let job = DeliveryJob::new(key.delivery(*webhook), FIRST);
            self.queue.send(&job, Duration::ZERO).await?;
        }
        if !untried.is_empty() {
            tracing::warn!(
                sequence = key.sequence,
                attempts = untried.len(),
                "lost first attempts queued again"
            );
            table.postpone_event(key, event.first_attempts_due_again_at(now)).await?;
        }
        Ok(untried.len())
    }
}
