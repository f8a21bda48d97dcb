//! Calls that wait for a free slot of their account: they are queued again when one is returned.

use std::time::Duration;

use switchboard_aws::{
    queue::{CallJob, CallMessage},
    table::{TableError, WaitingCall},
};
use switchboard_model::{accounts::Limits, ids::AccountId, limits::calls_per_second};
use switchboard_runtime::{jobs::JobOutcome, now};

use crate::{
    Dialer, MAX_HOPS,
    dial::{StepError, in_time},
};

/// Maximum number of calls that are queued at once. The end of each of them wakes the account again.
const MAX_WOKEN: usize = 200;
/// Time after its delay within which a message has arrived, and was handled or replaced.
const MESSAGE_ARRIVES: Duration = Duration::from_mins(1);
/// Maximum time for queueing them.
const WAKE_TIMEOUT: Duration = Duration::from_secs(30);

/// Spreads calls over the seconds in which they may start.
struct Pace {
    per_second: u32,
    calls: u32,
}

impl Pace {
    fn new(per_second: u32) -> Self {
        Self { per_second: per_second.max(1), calls: 0 }
    }

    /// The delay of the next call.
    fn next_delay(&mut self) -> Duration {
        let second = self.calls / self.per_second;
        self.calls = self.calls.saturating_add(1);
        Duration::from_secs(second.into())
    }
}

impl Dialer {
    /// The calls of an account that may start per second, through the deployment's account at the carrier or, for imported
    /// numbers, through the customer's own.
    pub(crate) fn calls_per_second(&self, limits: &Limits, imported: bool) -> u32 {
        calls_per_second(limits, (!imported).then_some(self.calls_per_second))
    }

    /// Queues as many of the account's oldest waiting calls as there are free slots, at the pace at which calls may start.
    /// A call that another message dials first is no longer queued when its own arrives.
    pub(crate) async fn wake(&self, account: AccountId) -> JobOutcome {
        let waking = async {
            let table = &self.backend.table;
            let (limits, counters) = tokio::try_join!(table.limits(account), table.counters(account))?;
            let room = counters.room(&limits).min(MAX_WOKEN);
            if room == 0 {
                return Ok(0);
            }
            let calls = table.waiting_calls(account, room).await?;
            let mut woken = 0;
            let [mut deployments, mut own] =
                [false, true].map(|imported| Pace::new(self.calls_per_second(&limits, imported)));
            for WaitingCall { id: conversation_id, imported } in calls {
                let delay = if imported { own.next_delay() } else { deployments.next_delay() };
                let (now, until) = (now(), now().after(delay + MESSAGE_ARRIVES));
                // Without this, each call that ends would queue all waiting ones once more while the calls per second are the
                // bottleneck.
                if !table.claim_message(account, conversation_id, now, until).await? {
                    continue;
                }
                let job = CallJob { account_id: account, conversation_id };
                if let Err(error) = self.queue.send(&CallMessage::place(job), delay).await {
                    // The next wake sends it.
                    self.leave_queue(job).await;
                    return Err(TableError::from(error));
                }
                woken += 1;
            }
            Ok(woken)
        };
        match in_time(WAKE_TIMEOUT, waking).await {
            Ok(woken) => {
                tracing::info!(woken, "waiting calls queued");
                JobOutcome::Done
            }
            // The messages that were sent are sent again.
            Err(error) => {
                tracing::warn!(%error, "waiting calls not queued");
                JobOutcome::Retry
            }
        }
    }

    /// Has a call that is still queued tried again after `delay`. Its deadline does not move. After too many messages in
    /// a row it leaves the queue: the sweeper wakes its account.
    pub(crate) async fn postpone(&self, job: CallJob, hops: u32, delay: Duration) -> Result<(), StepError> {
        if hops >= MAX_HOPS {
            tracing::info!(hops, "call left to the sweeper");
            self.leave_queue(job).await;
            return Ok(());
        }
        let message = CallMessage::Place { job, hops: hops + 1 };
        let sending = async {
            self.queue.send(&message, delay).await.map_err(TableError::from)?;
            let until = now().after(delay + MESSAGE_ARRIVES);
            // If this fails, the call may have two messages for a while.
            if let Err(error) =
                self.backend.table.extend_message(job.account_id, job.conversation_id, until).await
            {
                tracing::warn!(%error, "later message not claimed");
            }
            Ok(())
        };
        in_time(crate::dial::STORE_TIMEOUT, sending).await
    }

    /// Records that no message is under way for a call that waits in the table. If this fails, the claim expires.
    pub(crate) async fn leave_queue(&self, job: CallJob) {
        let releasing = self.backend.table.release_message(job.account_id, job.conversation_id);
        if let Err(error) = in_time(crate::dial::STORE_TIMEOUT, releasing).await {
            tracing::warn!(%error, "message of a waiting call not released");
        }
    }

    /// Leaves a call that has no slot to the next end of another call, which wakes the account.
    pub(crate) async fn wait_for_slot(&self, job: CallJob, limits: &Limits) {
        self.leave_queue(job).await;
        // A call may have ended since the counters were read. Its wake left this call alone, which had a message until now.
        let looking_again = async {
            if self.backend.table.counters(job.account_id).await?.room(limits) > 0 {
                let message = CallMessage::Wake { account_id: job.account_id };
                self.queue.send(&message, Duration::ZERO).await.map_err(TableError::from)?;
            }
            Ok(())
        };
        // If this fails, the sweeper wakes the account.
        if let Err(error) = in_time(crate::dial::STORE_TIMEOUT, looking_again).await {
            tracing::warn!(%error, "free slots not looked for again");
        }
    }

    /// Has the account woken after `delay`: a call that returned to the queue has freed its slot for the others. If this fails,
    /// the sweeper does it.
    pub(crate) async fn wake_later(&self, account: AccountId, delay: Duration) {
        let waking = async {
            // The call itself has a message of its own.
            if self.backend.table.counters(account).await?.waiting > 1 {
                let message = CallMessage::Wake { account_id: account };
                self.queue.send(&message, delay).await.map_err(TableError::from)?;
            }
            Ok(())
        };
        if let Err(error) = in_time(crate::dial::STORE_TIMEOUT, waking).await {
            tracing::warn!(%error, "account not woken");
        }
    }
}
