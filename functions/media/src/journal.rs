//! Writes down what happens in a call, off the audio path.
//!
//! A task of its own takes whatever waits and stores it in one transaction. The call never waits for
//! the table; it is only told when there is no use in going on.

use std::time::Duration;

use switchboard_aws::store::{Outcome, Store, StoreError};
use switchboard_model::{
    agents::AgentConfig,
    conversations::{Conversation, EndedReason, InvalidTransition, JournalEntry, Snapshot, Transition},
    costs::{Prices, Usage},
    deliveries::Delivery,
    events::{Event, EventName},
    time::Timestamp,
};
use tokio::{
    sync::{
        mpsc::{self, error::TrySendError},
        oneshot,
    },
    task::JoinSet,
    time::{Instant, sleep, timeout, timeout_at},
};

use tokio_util::sync::CancellationToken;

use crate::{lease::HeldLease, tool_calls};

/// Entries waiting to be stored: minutes of a lively conversation.
const WAITING: usize = 1_024;
/// Entries in one transaction: each is an event and perhaps a message, and a transaction holds 100 items.
const BATCH: usize = 45;
/// What comes so soon after something is stored with it: most of what happens has company, and a write costs
/// the processor as much as a second of the call's audio.
const COMPANY: Duration = Duration::from_millis(200);
/// Between two tries while the table cannot be reached.
const RETRY: Duration = Duration::from_millis(500);
/// How long the end of a call may take to be written, once the call is over.
const LAST_WRITE: Duration = Duration::from_mins(1);

/// Which conversation is written, and in whose name.
#[derive(Debug, Clone)]
struct Writer {
    store: Store,
    /// As it was when media began.
    conversation: Conversation,
    /// The call's own, whose filters are compiled.
    agent: AgentConfig,
    /// The lease's: when it is lost, nothing more is written.
    holder: String,
    /// Tells the call that it is lost.
    lost: CancellationToken,
}

/// Something to be written down.
#[derive(Debug)]
enum Item {
    /// What happened, what was used so far, and who waits for the event if it is a function call.
    Happened(JournalEntry, Usage, Option<oneshot::Sender<Event>>),
    /// What became of a function call whose event is stored.
    Answered(Delivery),
}

/// The call's end of its journal.
#[derive(Debug)]
pub(crate) struct Journal {
    items: mpsc::Sender<Item>,
    last: oneshot::Sender<Last>,
    task: JoinSet<()>,
}

/// The last thing that is written.
#[derive(Debug, Clone)]
pub(crate) struct Last {
    /// All that was used.
    pub(crate) usage: Usage,
    /// None if another worker goes on with it.
    pub(crate) end: Option<End>,
}

/// How the conversation ended.
#[derive(Debug, Clone)]
pub(crate) struct End {
    pub(crate) reason: EndedReason,
    pub(crate) at: Timestamp,
    /// What the log says beside it.
    pub(crate) notes: Vec<String>,
}

impl Journal {
    /// Ready to write, from where the conversation was when media began: nobody else adds events until
    /// it ends.
    pub(crate) fn open(store: Store, prices: Prices, snapshot: Snapshot, lease: &HeldLease) -> Self {
        let Snapshot { conversation, agent } = snapshot;
        let (items, waiting) = mpsc::channel(WAITING);
        let (end, ending) = oneshot::channel();
        let mut task = JoinSet::new();
        let (holder, lost) = (lease.holder().to_owned(), lease.lost_token());
        let writer = Writer { store, conversation, agent, holder, lost };
        task.spawn(write(writer, prices, waiting, ending));
        Self { items, last: end, task }
    }

    /// Notes something that is stored ([`switchboard_model::events::Recipients::stores`]), and what was used so far.
    /// Never waits; false when there is no room left, that is, when nothing could be stored for minutes.
    #[must_use]
    pub(crate) fn note(&self, entry: JournalEntry, usage: &Usage) -> bool {
        self.take(Item::Happened(entry, usage.clone(), None))
    }

    /// Like [`note`](Self::note), of a function call; the event comes back once it is stored.
    #[must_use]
    pub(crate) fn note_call(&self, entry: JournalEntry, usage: &Usage) -> (bool, oneshot::Receiver<Event>) {
        let (tell, stored) = oneshot::channel();
        (self.take(Item::Happened(entry, usage.clone(), Some(tell))), stored)
    }

    /// Notes what became of a function call. Never waits.
    pub(crate) fn answered(&self, delivery: Delivery) {
        if !self.take(Item::Answered(delivery)) {
            tracing::error!("what became of a function call is not stored");
        }
    }

    fn take(&self, item: Item) -> bool {
        // Closed: the lease is lost, and the call is told so.
        !matches!(self.items.try_send(item), Err(TrySendError::Full(_)))
    }

    /// Writes what waits and the last, and returns when that is done or can wait no longer.
    pub(crate) async fn finish(mut self, last: Last) {
        // The task waits for this before it ends, unless it lost the lease.
        let _ = self.last.send(last);
        drop(self.items);
        if timeout(LAST_WRITE, self.task.join_next()).await.is_err() {
            tracing::error!("the end of the conversation could not be written");
        }
    }
}

async fn write(
    writer: Writer,
    prices: Prices,
    mut waiting: mpsc::Receiver<Item>,
    ending: oneshot::Receiver<Last>,
) {
    let mut next_sequence = writer.conversation.next_sequence;
    let mut taken = Vec::with_capacity(BATCH);
    while gather(&mut waiting, &mut taken).await {
        let (mut entries, mut listeners, mut deliveries) = (vec![], vec![], vec![]);
        let mut usage = Usage::default();
        for item in taken.drain(..) {
            match item {
                Item::Happened(entry, used, listener) => {
                    entries.push(entry);
                    listeners.extend(listener);
                    usage = used;
                }
                Item::Answered(delivery) => deliveries.push(delivery),
            }
        }
        let mut events = vec![];
        if !entries.is_empty() {
            let persisted = writer
                .persist(|snapshot| {
                    // A write whose answer was lost may have happened: then these events are already there.
                    if snapshot.conversation.next_sequence > next_sequence {
                        return Err(InvalidTransition);
                    }
                    events.clear();
                    let transition = snapshot.conversation.append(&writer.agent, &entries, &usage)?;
                    events.clone_from(&transition.events);
                    Ok(transition)
                })
                .await;
            match persisted {
                Persisted::Stored => next_sequence += events.len() as u64,
                Persisted::Refused => events.clear(),
                Persisted::Lost => return writer.lost.cancel(),
            }
        }
        // All function calls have a listener, so they are in the same order.
        let calls = events.into_iter().filter(|event| event.name == EventName::FunctionCallTriggered);
        for (event, listener) in calls.zip(listeners) {
            // Nobody listens any more.
            deliveries.extend(listener.send(event).err().and_then(|event| tool_calls::not_called(&event)));
        }
        for delivery in &deliveries {
            writer.record(delivery).await;
        }
    }
    // The call was dropped without a last word only if its task panicked; its supervisor ends it then.
    let Ok(Last { usage, end }) = ending.await else { return };
    writer
        .persist(|Snapshot { conversation, .. }| match &end {
            Some(End { reason, at, notes }) => {
                let ended = conversation.end(&writer.agent, *reason, &[], &usage, &prices, *at);
                Ok(ended?.with_faults(notes.clone()))
            }
            None if conversation.usage == usage => Err(InvalidTransition),
            None => conversation.append(&writer.agent, &[], &usage),
        })
        .await;
}

/// Takes what waits, and what comes soon; false when nothing will come any more. A function call is waited
/// for, and waits for nothing.
async fn gather(waiting: &mut mpsc::Receiver<Item>, taken: &mut Vec<Item>) -> bool {
    if waiting.recv_many(taken, BATCH).await == 0 {
        return false;
    }
    let until = Instant::now() + COMPANY;
    while taken.len() < BATCH && !taken.iter().any(|item| matches!(item, Item::Happened(_, _, Some(_)))) {
        match timeout_at(until, waiting.recv()).await {
            Ok(Some(item)) => taken.push(item),
            Ok(None) | Err(_) => break,
        }
    }
    true
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
        mut change: impl FnMut(&Snapshot) -> Result<Transition, InvalidTransition>,
    ) -> Persisted {
        let (account, conversation) = (self.conversation.account_id, self.conversation.id);
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

    /// Stores what became of a function call, for as long as it takes.
    async fn record(&self, delivery: &Delivery) {
        let conversation = self.conversation.id;
        loop {
            match self.store.record_delivery(&self.conversation, None, delivery).await {
                // Somebody has asked for it again meanwhile.
                Ok(()) | Err(StoreError::Conflict) => return,
                Err(error) if error.is_transient() => {
                    tracing::warn!(%conversation, %error, "what became of a function call is not stored yet");
                }
                Err(error) => {
                    return tracing::error!(%conversation, %error, "what became of a function call is not stored");
                }
            }
            sleep(RETRY).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use switchboard_aws::store::testing;
    use switchboard_model::{
        conversations::Lease,
        ids::{AccountId, ConversationId},
        phone_numbers::E164,
    };
    use switchboard_runtime as system;

    use super::*;
    use crate::conversation_key::ConversationKey;

    #[tokio::test]
    async fn what_cannot_be_stored_waits_within_a_bound_and_the_call_is_told() {
        // Nobody listens there.
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let store = Store::new(&testing::config(&url).await, "switchboard".to_owned());
        let at = system::now();
        let (account, id, number) = (AccountId::new(at, 1), ConversationId::new(at, 2), "+14155550100");
        let number: E164 = number.parse().unwrap();
        let conversation = Conversation::outbound(id, account, None, number.clone(), number, at);
        let lease = HeldLease::keep(
            store.clone(),
            ConversationKey { account, conversation: id },
            Lease::new("a".into(), at),
        );
        let snapshot = Snapshot { conversation, agent: AgentConfig::default() };
        let journal = Journal::open(store, Prices::default(), snapshot, &lease);
        let entry = JournalEntry {
            at,
            name: EventName::SpeechStarted,
            data: Value::Null,
            message: None,
            faults: vec![],
        };
        let noted = (0..10 * WAITING).take_while(|_| journal.note(entry.clone(), &Usage::default())).count();
        assert!((WAITING..=WAITING + BATCH).contains(&noted), "{noted}");
    }
}
