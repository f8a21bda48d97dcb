//! Acts on deadlines that have passed, once a minute.
//!
//! - `conversations`: ends calls that were never dialled, answered or reported on, and calls whose worker is gone. Wakes
//!   the dialer for calls that wait, in case that their messages were lost.
//! - `deliveries`: queues webhook attempts that are due later than a queue can delay a message, or whose message was
//!   lost.
//! - `first_attempts`: queues the first attempts of events that none was recorded for, since their messages were lost.
//! - `recordings`: joins recordings whose worker died.
//! - `workers`: tells a media worker that ECS is about to stop it; this alone comes by an event of ECS.
//! - `numbers`: removes phone numbers whose purchase, import or release was cut short.
//!
//! Each reads an index of what is due, the longest overdue first, and works on one item at a time:
//! [`switchboard_model::sweep`] decides about a conversation, and the carrier is asked before a call ends. An item that
//! fails is postponed, so it never stands before the others. Another process, or a sweep that overlaps, may act on the same
//! item at the same time: the first write wins, and the sweeper reads the item again. A message is sent before the item is
//! postponed, so it may be sent twice: its receiver finds the work done. Many messages are sent by the check that has
//! claimed its conversation.
//!
//! The function knows nothing of what is said on a call. Start reading at [`Sweeper::sweep`].

mod carrier_inquiry;
mod config;
mod conversations;
mod deliveries;
mod due_items;
mod first_attempts;
mod metrics;
mod numbers;
mod recordings;
mod workers;

use std::time::Duration;

use switchboard_aws::{
    ServiceError,
    queue::{CallMessage, DeliveryJob, Queue},
    recordings::Recordings,
    table::TableError,
};
use switchboard_calls::{Backend, HangUpError};
use switchboard_model::costs::Prices;
use tokio::time::Instant;

pub use self::{config::Config, workers::StoppingTask};

/// Items that are read from an index at once, and the number of such pages in one sweep. The next sweep does the rest.
const PAGE: usize = 100;
const PAGES: usize = 10;
/// Items start for this long, below the schedule's minute. With an item's time (a recording's is the longest) and its
/// postponement a sweep takes 107 s at most, below the function's limit of 110 s.
const SWEEP_TIMEOUT: Duration = Duration::from_secs(45);
/// Maximum time for one item: two requests to the carrier of at most 10 s each, and those to the table.
const ITEM_TIMEOUT: Duration = Duration::from_secs(25);
/// Maximum time for one request to the table. Its client gives up after 10 s.
const TABLE_TIMEOUT: Duration = Duration::from_secs(12);
/// The grace of a deployed sweeper: a worker tries to renew its lease every second, and a try takes 10 s at most.
const GRACE: Duration = Duration::from_secs(12);
/// How long an item that failed is postponed.
const POSTPONEMENT: Duration = Duration::from_mins(2);

/// Acts on what is due. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Sweeper {
    /// The table, the sealing key and the carrier.
    pub backend: Backend,
    /// The queue of calls.
    pub calls: Queue<CallMessage>,
    /// The bucket of recordings.
    pub recordings: Recordings,
    /// The queue of webhook attempts.
    pub queue: Queue<DeliveryJob>,
    /// The deployment's own prices.
    pub prices: Prices,
    /// How long a sweep waits before it acts on the first expired leases. After an outage of the table a worker that still
    /// has the call renews its lease within this time, and the sweeper then leaves the call alone.
    pub grace: Duration,
}

/// The result of a sweep.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Swept {
    /// Conversations that were due.
    pub looked_at: usize,
    /// Conversations that were ended.
    pub ended: usize,
    /// Conversations that failed and were postponed.
    pub failed: usize,
    /// How long the oldest conversation was overdue.
    pub lag: Duration,
    /// Webhook attempts that were queued.
    pub queued: usize,
    /// Phone numbers that were removed.
    pub cleared: usize,
    /// Recordings that were joined.
    pub joined: usize,
}

/// An item was not dealt with.
#[derive(Debug, thiserror::Error)]
enum SweepError {
    #[error(transparent)]
    Table(#[from] TableError),
    #[error(transparent)]
    Bucket(#[from] ServiceError),
    #[error(transparent)]
    Carrier(#[from] switchboard_providers::Error),
    #[error(transparent)]
    HangUp(#[from] HangUpError),
    #[error("the stored carrier call id is not one of the carrier's")]
    BadCallId,
}

impl Sweeper {
    /// Works on everything that is due, within the limits of one sweep.
    ///
    /// # Errors
    /// An index cannot be read. An item that fails is logged and postponed.
    pub async fn sweep(&self) -> Result<Swept, TableError> {
        let deadline = Instant::now() + SWEEP_TIMEOUT;
        let (swept, queued, first_attempts, cleared, joined) = tokio::join!(
            self.sweep_conversations(deadline, Instant::now() + self.grace),
            self.sweep_deliveries(deadline),
            self.sweep_first_attempts(deadline),
            self.sweep_numbers(deadline),
            self.sweep_recordings(deadline)
        );
        let queued = queued? + first_attempts?;
        let swept = Swept { queued, cleared: cleared?, joined: joined?, ..swept? };
        let Swept { looked_at, ended, failed, lag, queued, cleared, joined } = &swept;
        let lag_s = lag.as_secs();
        tracing::info!(looked_at, ended, failed, lag_s, queued, cleared, joined, "sweep finished");
        Ok(swept)
    }
}
