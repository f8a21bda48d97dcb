//! Writes down what happens in a call, off the audio path.
//!
//! A task of its own takes whatever waits and stores it in one transaction. The call never waits for
//! the table; it is only told when there is no use in going on.

use std::time::Duration;

use aws::store::{Outcome, Store};
use domain::{
    conversations::{EndedReason, Entry, NotPossible, Snapshot, Transition},
    costs::{Prices, Usage},
    ids::{AccountId, ConversationId},
    time::Timestamp,
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::{sleep, timeout},
};

/// Entries waiting to be stored: minutes of a lively conversation.
const WAITING: usize = 1_024;
/// Entries in one transaction: each is an event and perhaps a message, and a transaction holds 100 items.
const BATCH: usize = 45;
/// Between two tries while the table cannot be reached.
const RETRY: Duration = Duration::from_millis(500);
/// How long the end of a call may take to be written, once the call is over.
const LAST_WRITE: Duration = Duration::from_mins(1);

/// Which conversation is written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Address {
    pub(crate) account: AccountId,
    pub(crate) conversation: ConversationId,
}

/// The call's end of its journal.
#[derive(Debug)]
pub(crate) struct Journal {
    entries: mpsc::Sender<(Entry, Usage)>,
    end: oneshot::Sender<Ending>,
    task: JoinSet<()>,
}

/// The last thing that is written.
#[derive(Debug, Clone)]
pub(crate) struct Ending {
    pub(crate) reason: EndedReason,
    pub(crate) usage: Usage,
    pub(crate) at: Timestamp,
}

impl Journal {
    /// Ready to write.
    ///
    /// `next_sequence` is the conversation's when media began: nobody else adds events until it ends.
    pub(crate) fn open(store: Store, prices: Prices, address: Address, next_sequence: u64) -> Self {
        let (entries, waiting) = mpsc::channel(WAITING);
        let (end, ending) = oneshot::channel();
        let mut task = JoinSet::new();
        task.spawn(write(store, prices, address, next_sequence, waiting, ending));
        Self { entries, end, task }
    }

    /// Notes something that is stored ([`domain::events::is_stored`]), and what was used so far. Never waits; false when there is no room left,
    /// that is, when nothing could be stored for minutes.
    #[must_use]
    pub(crate) fn note(&self, entry: Entry, usage: &Usage) -> bool {
        self.entries.try_send((entry, usage.clone())).is_ok()
    }

    /// Writes what waits and the end, and returns when that is done or can wait no longer.
    pub(crate) async fn finish(mut self, ending: Ending) {
        // The task waits for this before it ends, unless it panicked.
        let _ = self.end.send(ending);
        drop(self.entries);
        if timeout(LAST_WRITE, self.task.join_next()).await.is_err() {
            tracing::error!("the end of the conversation could not be written");
        }
    }
}

async fn write(
    store: Store,
    prices: Prices,
    address: Address,
    mut next_sequence: u64,
    mut waiting: mpsc::Receiver<(Entry, Usage)>,
    ending: oneshot::Receiver<Ending>,
) {
    let mut taken = Vec::with_capacity(BATCH);
    while waiting.recv_many(&mut taken, BATCH).await > 0 {
        let Some((_, usage)) = taken.last() else { continue };
        let usage = usage.clone();
        let entries: Vec<Entry> = taken.drain(..).map(|(entry, _)| entry).collect();
        persist(&store, address, |snapshot| {
            // A write whose answer was lost may have happened: then these events are already there.
            if snapshot.conversation.next_sequence > next_sequence {
                return Err(NotPossible);
            }
            snapshot.conversation.append(&snapshot.agent, &entries, &usage)
        })
        .await;
        next_sequence += entries.len() as u64;
    }
    // The call was dropped without an end only if its task panicked; its supervisor ends it then.
    let Ok(Ending { reason, usage, at }) = ending.await else { return };
    persist(&store, address, |snapshot| {
        snapshot.conversation.end(&snapshot.agent, reason, &[], &usage, &prices, at)
    })
    .await;
}

/// Makes a change, for as long as it takes. One that is not possible any more was made already, or
/// the conversation has ended without us.
async fn persist(
    store: &Store,
    address: Address,
    mut change: impl FnMut(&Snapshot) -> Result<Transition, NotPossible>,
) {
    loop {
        match store.transition(address.account, address.conversation, &mut change).await {
            Ok(Outcome::Changed(_) | Outcome::Unchanged(_) | Outcome::NotFound) => return,
            Err(error) => tracing::warn!(%error, "not stored yet"),
        }
        sleep(RETRY).await;
    }
}
