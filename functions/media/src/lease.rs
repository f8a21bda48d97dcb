//! The lease of a live call: renewed every 15 s, and with the agent's words in between, off the audio path; reported lost
//! when another worker takes it.
//!
//! Every write of the call carries the lease's holder, so a worker that lost its lease can write nothing (fencing).
//! This module does not take the lease: admission takes it with the write that starts the conversation.

use std::time::Duration;

use switchboard_aws::table::Table;
use switchboard_model::conversations::{Lease, UtteranceProgress};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::{clock::Clock, conversation_key::ConversationKey};

/// Minimum time between two writes: after a change of the agent's words, and after a write that failed.
const MIN_INTERVAL: Duration = Duration::from_secs(1);
/// Time between two writes of the words of one utterance. A worker that takes over estimates the words since by the pace
/// of those before, to about a word.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(5);
/// Minimum time that is left before the lease is due. It is moved in the index of due items only then, since that costs
/// three times as much as a renewal. The sweeper leaves a lease alone that is due and has not expired.
const MIN_LEFT: Duration = Duration::from_secs(20);
/// Maximum time to give the lease back. After it the lease expires by itself.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(5);

/// A lease that this worker holds, with the task that renews it.
#[derive(Debug)]
pub(crate) struct HeldLease {
    table: Table,
    key: ConversationKey,
    clock: Clock,
    /// The lease as it was taken.
    lease: Lease,
    speaking: watch::Sender<Option<UtteranceProgress>>,
    lost: CancellationToken,
    renewal: JoinSet<()>,
}

impl HeldLease {
    /// Starts to renew a lease that was just taken.
    pub(crate) fn new(table: Table, key: ConversationKey, clock: Clock, lease: Lease) -> Self {
        let lost = CancellationToken::new();
        let (speaking, changed) = watch::channel(None);
        let mut renewal = JoinSet::new();
        let renew = renew(table.clone(), key, clock, lease.clone(), changed, lost.clone());
        renewal.spawn(renew.in_current_span());
        Self { table, key, clock, lease, speaking, lost, renewal }
    }

    /// The lease's holder, which every write of the call names.
    pub(crate) fn holder(&self) -> &str {
        &self.lease.holder
    }

    /// Stores the agent's current words with the next renewal, for the worker that takes over if this one dies.
    pub(crate) fn checkpoint(&self, speaking: Option<UtteranceProgress>) {
        self.speaking.send_if_modified(|stored| {
            let changed = *stored != speaking;
            *stored = speaking;
            changed
        });
    }

    /// The clock by which it is renewed.
    pub(crate) fn clock(&self) -> Clock {
        self.clock
    }

    /// Cancelled when another worker has the lease. The journal cancels it too: a refused write is the first sign.
    pub(crate) fn lost_token(&self) -> CancellationToken {
        self.lost.clone()
    }

    /// Gives the lease back, with the words that the agent has not spoken yet.
    pub(crate) async fn release(mut self, unspoken: Option<UtteranceProgress>) {
        self.renewal.shutdown().await;
        let lease = self.lease.clone().renewed((self.clock)(), unspoken);
        let released = self.table.release_lease(self.key.account, self.key.conversation, &lease);
        match timeout(RELEASE_TIMEOUT, released).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "lease release failed"),
            Err(_) => tracing::warn!("lease release timed out"),
        }
    }
}

async fn renew(
    table: Table,
    key: ConversationKey,
    clock: Clock,
    mut lease: Lease,
    mut speaking: watch::Receiver<Option<UtteranceProgress>>,
    lost: CancellationToken,
) {
    let mut renewal_at = Instant::now() + Lease::HEARTBEAT;
    let mut checkpoint_at = Instant::now();
    let mut due_at = lease.until;
    loop {
        sleep(MIN_INTERVAL).await;
        tokio::select! {
            () = sleep_until(renewal_at) => {}
            changed = speaking.changed() => if changed.is_err() { return },
        }
        let words = speaking.borrow_and_update().clone();
        let now = Instant::now();
        if now < renewal_at && !is_wanted(words.as_ref(), &lease, now >= checkpoint_at) {
            continue;
        }
        let next = lease.clone().renewed(clock(), words);
        let is_due_soon = due_at.since(next.last_seen_at) < MIN_LEFT;
        let written = if is_due_soon {
            table.renew_lease(key.account, key.conversation, &next).await
        } else {
            table.checkpoint_lease(key.account, key.conversation, &next).await
        };
        match written {
            Ok(true) => {
                if is_due_soon {
                    due_at = next.until;
                }
                lease = next;
                (renewal_at, checkpoint_at) = (now + Lease::HEARTBEAT, now + CHECKPOINT_INTERVAL);
            }
            Ok(false) => {
                tracing::warn!("lease lost");
                return lost.cancel();
            }
            Err(error) => {
                tracing::warn!(%error, "lease renewal failed");
                renewal_at = Instant::now();
            }
        }
    }
}

/// Whether the agent's words are written before the next renewal: the first ones of an utterance, and later ones from time
/// to time. The end of an utterance is not: its message is stored, and tells that the lease is behind.
fn is_wanted(words: Option<&UtteranceProgress>, stored: &Lease, is_time: bool) -> bool {
    words.filter(|words| !words.heard.is_empty()).is_some_and(|words| {
        is_time || stored.utterance.as_ref().is_none_or(|before| before.started_at != words.started_at)
    })
}
