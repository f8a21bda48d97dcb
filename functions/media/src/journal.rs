//! Writes down what happens in a call, off the audio path.
//!
//! A task of its own takes whatever waits and stores it in one transaction. The call never waits for
//! the table; it is only told when there is no use in going on.

use std::time::Duration;

use aws::store::{Outcome, Store};
use domain::{
    conversations::{EndedReason, Entry, NotPossible, Snapshot, Transition},
    costs::{Prices, Usage},
    time::Timestamp,
};
use tokio::{
    sync::{
        mpsc::{self, error::TrySendError},
        oneshot,
    },
    task::JoinSet,
    time::{sleep, timeout},
};

use tokio_util::sync::CancellationToken;

use crate::{address::Address, holding::Hold};

/// Entries waiting to be stored: minutes of a lively conversation.
const WAITING: usize = 1_024;
/// Entries in one transaction: each is an event and perhaps a message, and a transaction holds 100 items.
const BATCH: usize = 45;
/// Between two tries while the table cannot be reached.
const RETRY: Duration = Duration::from_millis(500);
/// How long the end of a call may take to be written, once the call is over.
const LAST_WRITE: Duration = Duration::from_mins(1);

/// Which conversation is written, and in whose name.
#[derive(Debug, Clone)]
struct Writer {
    store: Store,
    address: Address,
    /// The lease's: when it is lost, nothing more is written.
    holder: String,
    /// Tells the call that it is lost.
    lost: CancellationToken,
}

/// The call's end of its journal.
#[derive(Debug)]
pub(crate) struct Journal {
    entries: mpsc::Sender<(Entry, Usage)>,
    last: oneshot::Sender<Last>,
    task: JoinSet<()>,
}

/// The last thing that is written.
#[derive(Debug, Clone)]
pub(crate) struct Last {
    /// All that was used.
    pub(crate) usage: Usage,
    /// Why and when the conversation ended; none if another worker goes on with it.
    pub(crate) end: Option<(EndedReason, Timestamp)>,
}

impl Journal {
    /// Ready to write.
    ///
    /// `next_sequence` is the conversation's when media began: nobody else adds events until it ends.
    pub(crate) fn open(
        store: Store,
        prices: Prices,
        address: Address,
        hold: &Hold,
        next_sequence: u64,
    ) -> Self {
        let (entries, waiting) = mpsc::channel(WAITING);
        let (end, ending) = oneshot::channel();
        let mut task = JoinSet::new();
        let (holder, lost) = (hold.holder().to_owned(), hold.lost_token());
        let writer = Writer { store, address, holder, lost };
        task.spawn(write(writer, prices, next_sequence, waiting, ending));
        Self { entries, last: end, task }
    }

    /// Notes something that is stored ([`domain::events::is_stored`]), and what was used so far. Never waits; false when there is no room left,
    /// that is, when nothing could be stored for minutes.
    #[must_use]
    pub(crate) fn note(&self, entry: Entry, usage: &Usage) -> bool {
        let noted = self.entries.try_send((entry, usage.clone()));
        // Closed: the lease is lost, and the call is told so.
        !matches!(noted, Err(TrySendError::Full(_)))
    }

    /// Writes what waits and the last, and returns when that is done or can wait no longer.
    pub(crate) async fn finish(mut self, last: Last) {
        // The task waits for this before it ends, unless it lost the lease.
        let _ = self.last.send(last);
        drop(self.entries);
        if timeout(LAST_WRITE, self.task.join_next()).await.is_err() {
            tracing::error!("the end of the conversation could not be written");
        }
    }
}

async fn write(
    writer: Writer,
    prices: Prices,
    mut next_sequence: u64,
    mut waiting: mpsc::Receiver<(Entry, Usage)>,
    ending: oneshot::Receiver<Last>,
) {
    let mut taken = Vec::with_capacity(BATCH);
    while waiting.recv_many(&mut taken, BATCH).await > 0 {
        let Some((_, usage)) = taken.last() else { continue };
        let usage = usage.clone();
        let entries: Vec<Entry> = taken.drain(..).map(|(entry, _)| entry).collect();
        let persisted = writer
            .persist(|snapshot| {
                // A write whose answer was lost may have happened: then these events are already there.
                if snapshot.conversation.next_sequence > next_sequence {
                    return Err(NotPossible);
                }
                snapshot.conversation.append(&snapshot.agent, &entries, &usage)
            })
            .await;
        match persisted {
            Persisted::Stored => next_sequence += entries.len() as u64,
            Persisted::Refused => {}
            Persisted::Lost => return writer.lost.cancel(),
        }
    }
    // The call was dropped without a last word only if its task panicked; its supervisor ends it then.
    let Ok(Last { usage, end }) = ending.await else { return };
    writer
        .persist(|Snapshot { conversation, agent }| match end {
            Some((reason, at)) => conversation.end(agent, reason, &[], &usage, &prices, at),
            None if conversation.usage == usage => Err(NotPossible),
            None => conversation.append(agent, &[], &usage),
        })
        .await;
}

/// What became of a change.
enum Persisted {
    /// It is stored.
    Stored,
    /// It can never be stored.
    Refused,
    /// Somebody else has the lease.
    Lost,
}

impl Writer {
    /// Makes a change, for as long as it takes. One that is not possible any more was made already, or
    /// the conversation has ended without us.
    async fn persist(
        &self,
        mut change: impl FnMut(&Snapshot) -> Result<Transition, NotPossible>,
    ) -> Persisted {
        let Address { account, conversation } = self.address;
        loop {
            match self.store.transition_as(&self.holder, account, conversation, &mut change).await {
                Ok(Outcome::Changed(_) | Outcome::Unchanged(_)) => return Persisted::Stored,
                Ok(Outcome::LostLease | Outcome::NotFound) => return Persisted::Lost,
                Err(error) if error.is_transient() => {
                    tracing::warn!(%conversation, %error, "not stored yet");
                }
                Err(error) => {
                    // What cannot be stored must not stand in the way of what can, the end above all.
                    tracing::error!(%conversation, %error, "not stored");
                    return Persisted::Refused;
                }
            }
            sleep(RETRY).await;
        }
    }
}
