//! First attempts that are overdue: their messages were lost, for example in the dead-letter queue after an outage of the
//! table. A delivery has no item before its first attempt; the check of its conversation is due instead.

use std::{collections::BTreeSet, time::Duration};

use switchboard_aws::{
    queue::{BATCH, DeliveryJob},
    table::{Check, LostAttempts, TableError},
};
use switchboard_runtime::{now, spans};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::Instrument;

use crate::{ITEM_TIMEOUT, POSTPONEMENT, Sweeper, TABLE_TIMEOUT, due_items::run_each};

/// Checks that are read from the index at once. Each takes some requests to the table, and one to the queue for every ten
/// lost attempts.
const CHECKS: usize = 500;
/// Checks that run at the same time. Each holds a page of events of at most 1 MB, and what it says of their webhooks.
const CHECKS_AT_ONCE: usize = 20;
/// Time in which a check begins new requests. Then it is paused, and goes on in the next sweep: one conversation may have
/// more events than a sweep has time for. The last step, of fifty packs with their deliveries, has the rest of [`ITEM_TIMEOUT`].
const CHECK_TIME: Duration = Duration::from_secs(12);
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
        let (table, deadline) = (&self.backend.table, Instant::now() + CHECK_TIME);
        let Some(mut run) = table.begin_check(check, now()).await? else { return Ok(0) };
        let (mut queued, mut unsent, mut is_claimed) = (0, None, false);
        while let Some(lost) = table.lost_first_attempts(&mut run).await? {
            if !lost.is_empty() && !is_claimed {
                // After a crash the claim expires: the attempts are queued two minutes later.
                if !table.claim_check(&mut run, now().after(POSTPONEMENT)).await? {
                    return Ok(0);
                }
                is_claimed = true;
            }
            let sent = self.send_first_attempts(&lost, deadline).await;
            queued += sent.queued;
            unsent = unsent.or(sent.refused);
            let next = sent.next.or((Instant::now() >= deadline).then_some(run.next()));
            if let Some(next) = next {
                // It is due at once: the next sweep goes on with it.
                unsent = unsent.or(Some((next, Duration::ZERO)));
                break;
            }
        }
        if queued > 0 {
            tracing::warn!(attempts = queued, "lost first attempts queued again");
        }
        match unsent {
            Some((next, pause)) => table.pause_check(&run, next, now().after(pause)).await?,
            None => table.settle_check(&run).await?,
        }
        Ok(queued)
    }

    /// Sends the attempts, ten in a request, until the deadline or the first request that fails.
    async fn send_first_attempts(&self, lost: &LostAttempts, deadline: Instant) -> Sent {
        let mut sent = Sent::default();
        let mut deliveries = lost.deliveries();
        loop {
            let jobs: Vec<_> =
                deliveries.by_ref().take(BATCH).map(|key| DeliveryJob::new(key, FIRST)).collect();
            let Some(first) = jobs.first() else { return sent };
            let first = first.sequence;
            match timeout_at(deadline, self.queue.send_batch(&jobs)).await {
                Ok(Ok(refused)) => {
                    sent.queued += jobs.len() - refused.len();
                    if let Some(job) = refused.iter().min().and_then(|place| jobs.get(*place)) {
                        tracing::error!(attempts = refused.len(), "the queue refused lost first attempts");
                        sent.refused = sent.refused.or(Some((job.sequence, POSTPONEMENT)));
                    }
                }
                Ok(Err(error)) => {
                    tracing::error!(%error, "lost first attempts not queued");
                    sent.refused = sent.refused.or(Some((first, POSTPONEMENT)));
                    sent.next = Some(first);
                    return sent;
                }
                Err(_elapsed) => {
                    sent.next = Some(first);
                    return sent;
                }
            }
        }
    }
}

/// The result of sending lost first attempts.
#[derive(Default)]
struct Sent {
    queued: usize,
    /// The first event with an attempt that was refused, and the time after which it is sent again.
    refused: Option<(u64, Duration)>,
    /// The event at which the sending stopped; none if all were sent.
    next: Option<u64>,
}
