//! The journal: stores what happens in a call, off the audio path.
//!
//! A task takes the entries that wait and stores them in one write. The call never waits for the table; it only
//! learns when the queue is full, or when another worker has the lease. What an entry says is not decided here: see
//! `call.rs` and `journal_entries.rs`.

use std::{collections::VecDeque, time::Duration};

use switchboard_aws::table::{Appended, DeliveryKey, Outcome, Table, TableError};
use switchboard_model::{
    agents::AgentConfig,
    conversations::{
        Conversation, EndedReason, InvalidTransition, JournalEntry, Quality, Snapshot, Transition,
    },
    costs::{Prices, Usage},
    deliveries::Delivery,
    event_names::EventName,
    events::{Event, Recipients},
    function_rounds::FunctionRound,
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
use tracing::Instrument as _;

use crate::{clock::Clock, lease::HeldLease, tool_calls};

/// Items waiting to be stored: minutes of a lively conversation. When the queue is full the call ends.
const QUEUED_ITEMS: usize = 1_024;
/// Maximum entries in one write.
const BATCH: usize = 45;
/// Time to wait for more entries before a write: events come in groups.
const BATCH_WINDOW: Duration = Duration::from_millis(200);
/// The same for entries that are not waited for: neither messages nor events for a webhook. They are stored with the next
/// message; a worker that dies takes those of this time with it.
const QUIET_WINDOW: Duration = Duration::from_secs(4);
/// Delay between two attempts while the table cannot be reached.
const RETRY_DELAY: Duration = Duration::from_millis(500);
/// Maximum time to write the end of a call, once the call is over.
const LAST_WRITE_TIMEOUT: Duration = Duration::from_mins(1);

/// Writes one conversation in the name of one lease.
#[derive(Debug, Clone)]
struct Writer {
    table: Table,
    /// As it is after the last stored entry.
    conversation: Conversation,
    /// The call's own copy, whose filters are compiled.
    agent: AgentConfig,
    /// Of the lease: once it is lost, every write is refused.
    holder: String,
    /// Reports to the call that the lease is lost.
    lost: CancellationToken,
    clock: Clock,
}

/// An item of the queue.
#[derive(Debug)]
enum Item {
    /// An event with the usage so far. The sender is for a function call: its webhook waits for the stored event.
    Entry(JournalEntry, Recipients, Usage, Option<oneshot::Sender<Event>>),
    /// The delivery of a function call whose event is stored.
    Delivery(Delivery),
    /// Function calls that have returned, for the worker that takes the call over. Stored with the next entry.
    Round(FunctionRound),
}

/// The call's end of the queue.
#[derive(Debug)]
pub(crate) struct Journal {
    items: mpsc::Sender<Item>,
    last: oneshot::Sender<LastEntry>,
    task: JoinSet<()>,
}

/// The last write of this worker.
#[derive(Debug, Clone)]
pub(crate) struct LastEntry {
    /// Everything that was used.
    pub(crate) usage: Usage,
    /// `None` if another worker continues the call.
    pub(crate) end: Option<ConversationEnd>,
}

/// The end of a conversation.
#[derive(Debug, Clone)]
pub(crate) struct ConversationEnd {
    pub(crate) reason: EndedReason,
    pub(crate) at: Timestamp,
    /// Recorded on the last event.
    pub(crate) faults: Vec<String>,
    pub(crate) quality: Option<Quality>,
}

impl Journal {
    /// Starts to write from `snapshot`, the conversation as it was when the media stream started: only the holder of
    /// the lease adds events to a live conversation.
    pub(crate) fn new(table: Table, prices: Prices, snapshot: Snapshot, lease: &HeldLease) -> Self {
        let Snapshot { conversation, agent } = snapshot;
        let (items, queue) = mpsc::channel(QUEUED_ITEMS);
        let (end, ending) = oneshot::channel();
        let mut task = JoinSet::new();
        let (holder, lost) = (lease.holder().to_owned(), lease.lost_token());
        let writer = Writer { table, conversation, agent, holder, lost, clock: lease.clock() };
        task.spawn(write(writer, prices, queue, ending).in_current_span());
        Self { items, last: end, task }
    }

    /// Queues an entry that is stored ([`switchboard_model::events::Recipients::stores`]), with the usage so far. Never
    /// waits. False if the queue is full, that is, if nothing could be stored for minutes.
    #[must_use]
    pub(crate) fn record(&self, entry: JournalEntry, recipients: Recipients, usage: &Usage) -> bool {
        self.queue(Item::Entry(entry, recipients, usage.clone(), None))
    }

    /// Like [`record`](Self::record), for a function call. The receiver gets the event once it is stored.
    #[must_use]
    pub(crate) fn record_call(
        &self,
        entry: JournalEntry,
        recipients: Recipients,
        usage: &Usage,
    ) -> (bool, oneshot::Receiver<Event>) {
        let (sender, stored) = oneshot::channel();
        (self.queue(Item::Entry(entry, recipients, usage.clone(), Some(sender))), stored)
    }

    /// Queues the delivery of a function call. Never waits.
    pub(crate) fn record_delivery(&self, delivery: Delivery) {
        if !self.queue(Item::Delivery(delivery)) {
            tracing::error!("delivery of a function call dropped");
        }
    }

    /// Queues function calls that have returned. Never waits. Without them the next worker's model calls the functions again.
    pub(crate) fn record_round(&self, round: FunctionRound) {
        if !self.queue(Item::Round(round)) {
            tracing::error!("function calls of a response dropped");
        }
    }

    fn queue(&self, item: Item) -> bool {
        // A closed queue means that the lease is lost, which the call learns by itself.
        !matches!(self.items.try_send(item), Err(TrySendError::Full(_)))
    }

    /// Writes the queued items and the last entry. Returns when they are stored or the time is over.
    pub(crate) async fn finish(mut self, last: LastEntry) {
        // The task waits for this entry before it ends, unless it lost the lease.
        let _ = self.last.send(last);
        drop(self.items);
        if timeout(LAST_WRITE_TIMEOUT, self.task.join_next()).await.is_err() {
            tracing::error!("conversation end not stored");
        }
    }
}

async fn write(
    mut writer: Writer,
    prices: Prices,
    mut queue: mpsc::Receiver<Item>,
    ending: oneshot::Receiver<LastEntry>,
) {
    let mut refused = 0_usize;
    let mut batch = Vec::with_capacity(BATCH);
    // Those that are not stored yet.
    let mut rounds = vec![];
    while gather(&mut queue, &mut batch).await {
        let (mut entries, mut listeners, mut deliveries) = (vec![], vec![], vec![]);
        let mut usage = Usage::default();
        for item in batch.drain(..) {
            match item {
                Item::Entry(entry, recipients, used, listener) => {
                    entries.push((entry, recipients));
                    listeners.extend(listener);
                    usage = used;
                }
                Item::Delivery(delivery) => deliveries.push(delivery),
                Item::Round(round) => rounds.push(round),
            }
        }
        // A batch that can never be stored is stored entry by entry: one entry does not take the others with it.
        let mut groups = VecDeque::from([entries]);
        while let Some(mut group) = groups.pop_front().filter(|group| !group.is_empty()) {
            if let Some((first, _)) = group.first_mut().filter(|_| refused > 0) {
                first.faults.push(format!("{refused} events before this one could not be stored"));
            }
            let (written, mut events) = writer.append(&group, &rounds, &usage).await;
            match written {
                Write::Stored => {
                    refused = 0;
                    rounds.clear();
                }
                // Events are worth more than what the model would repeat.
                Write::Refused if !rounds.is_empty() => {
                    rounds.clear();
                    group[0].0.faults.retain(|fault| !fault.ends_with("could not be stored"));
                    groups.push_front(group);
                    continue;
                }
                Write::Refused if group.len() > 1 => {
                    group[0].0.faults.retain(|fault| !fault.ends_with("could not be stored"));
                    groups.extend(group.into_iter().map(|entry| vec![entry]));
                    continue;
                }
                Write::Refused => {
                    refused += 1;
                    events.clear();
                }
                Write::LeaseLost => return writer.lost.cancel(),
            }
            // Every function call has a listener, so both are in the same order.
            let called =
                group.iter().filter(|(entry, _)| entry.name == EventName::FunctionCallTriggered).count();
            let mut calls = events.into_iter().filter(|event| event.name == EventName::FunctionCallTriggered);
            for listener in listeners.drain(..called.min(listeners.len())) {
                // The listener of an event that was not stored learns it by being dropped.
                let Some(event) = calls.next() else { continue };
                // A dropped listener gave up before the event was stored.
                deliveries.extend(
                    listener
                        .send(event)
                        .err()
                        .and_then(|event| tool_calls::not_called(&event, (writer.clock)())),
                );
            }
        }
        writer.record_deliveries(&deliveries).await;
    }
    // Without a last entry the call panicked; its supervisor ends the conversation then.
    let Ok(LastEntry { usage, end }) = ending.await else { return };
    writer
        .transition(|Snapshot { conversation, .. }| match &end {
            Some(ConversationEnd { reason, at, faults, quality }) => {
                let ended = conversation.end(&writer.agent, *reason, &[], &usage, &prices, *at);
                Ok(ended?.with_faults(faults.clone()).with_quality(quality.clone()))
            }
            None if conversation.usage == usage => Err(InvalidTransition),
            None => conversation.append(&writer.agent, &[], &usage),
        })
        .await;
}

/// Takes the queued items and those that follow within [`BATCH_WINDOW`], or within [`QUIET_WINDOW`] while none of them
/// is waited for. False once the queue is closed and empty. A function call is stored at once: the caller waits for it.
async fn gather(queue: &mut mpsc::Receiver<Item>, batch: &mut Vec<Item>) -> bool {
    if queue.recv_many(batch, BATCH).await == 0 {
        return false;
    }
    let began = Instant::now();
    let mut until =
        if batch.iter().any(Item::is_wanted) { began + BATCH_WINDOW } else { began + QUIET_WINDOW };
    while batch.len() < BATCH && !batch.iter().any(|item| matches!(item, Item::Entry(.., Some(_)))) {
        match timeout_at(until, queue.recv()).await {
            Ok(Some(item)) => {
                if item.is_wanted() {
                    until = until.min(Instant::now() + BATCH_WINDOW);
                }
                batch.push(item);
            }
            Ok(None) | Err(_) => break,
        }
    }
    true
}

impl Item {
    /// Whether a webhook, a worker that takes the call over, or a function call waits for it.
    fn is_wanted(&self) -> bool {
        match self {
            Self::Entry(entry, recipients, ..) => entry.message.is_some() || !recipients.webhooks.is_empty(),
            Self::Delivery(_) | Self::Round(_) => true,
        }
    }
}

/// The result of a write.
enum Write {
    Stored,
    /// It can never be stored.
    Refused,
    /// Another worker has the lease, or the conversation was deleted.
    LeaseLost,
}

impl Writer {
    /// Appends entries, with as many attempts as it takes, and returns their events.
    async fn append(
        &mut self,
        entries: &[(JournalEntry, Recipients)],
        rounds: &[FunctionRound],
        usage: &Usage,
    ) -> (Write, Vec<Event>) {
        let Ok(transition) = self.conversation.append_matched(&self.agent, entries, usage) else {
            return (Write::LeaseLost, vec![]);
        };
        loop {
            match self.table.append_with(&self.holder, &self.conversation, &transition, rounds).await {
                Ok(Appended::Stored) => {
                    self.conversation = transition.conversation;
                    return (Write::Stored, transition.events);
                }
                Ok(Appended::LostLease) => return (Write::LeaseLost, vec![]),
                Err(error) if error.is_transient() => {
                    tracing::warn!(%error, "journal write failed");
                }
                Err(error) => {
                    // A write that cannot succeed must not block the others, above all the end.
                    tracing::error!(%error, "journal write refused");
                    return (Write::Refused, vec![]);
                }
            }
            sleep(RETRY_DELAY).await;
            match self.stored(&transition.conversation).await {
                Some(Write::Stored) => {
                    self.conversation = transition.conversation;
                    return (Write::Stored, transition.events);
                }
                Some(other) => return (other, vec![]),
                None => {}
            }
        }
    }

    /// Whether a write whose response was lost has led to `after`. None if it has not, or the table does not tell.
    async fn stored(&self, after: &Conversation) -> Option<Write> {
        let (account, id) = (after.account_id, after.id);
        let (lease, found) =
            tokio::try_join!(self.table.lease(account, id), self.table.conversation(account, id)).ok()?;
        let is_ours = lease.is_some_and(|lease| lease.holder == self.holder);
        match found {
            Some(found) if is_ours => {
                (found.conversation.progress() == after.progress()).then_some(Write::Stored)
            }
            // It may have ended meanwhile, and have been deleted.
            _ => Some(Write::LeaseLost),
        }
    }

    /// Applies a transition, with as many attempts as it takes. A transition that is no longer allowed was applied
    /// before, or the conversation has ended without this worker.
    async fn transition(
        &self,
        mut change: impl FnMut(&Snapshot) -> Result<Transition, InvalidTransition>,
    ) -> Write {
        let (account, conversation) = (self.conversation.account_id, self.conversation.id);
        loop {
            match self.table.transition_as(&self.holder, account, conversation, &mut change).await {
                Ok(Outcome::Changed(_) | Outcome::Unchanged(_)) => return Write::Stored,
                Ok(Outcome::LostLease | Outcome::NotFound) => return Write::LeaseLost,
                Err(error) if error.is_transient() => {
                    tracing::warn!(%error, "journal write failed");
                }
                Err(error) => {
                    // A write that cannot succeed must not block the others, above all the end.
                    tracing::error!(%error, "journal write refused");
                    return Write::Refused;
                }
            }
            sleep(RETRY_DELAY).await;
        }
    }

    /// Stores the deliveries of function calls.
    async fn record_deliveries(&self, deliveries: &[Delivery]) {
        for delivery in deliveries {
            self.record_delivery(delivery).await;
        }
        if !deliveries.is_empty() {
            self.forget_if_deleted(deliveries).await;
        }
    }

    /// Stores a delivery, with as many attempts as it takes.
    async fn record_delivery(&self, delivery: &Delivery) {
        loop {
            match self.table.record_delivery(&self.conversation, None, delivery).await {
                // In a conflict the customer has requested a redelivery meanwhile.
                Ok(()) | Err(TableError::Conflict) => return,
                Err(error) if error.is_transient() => {
                    tracing::warn!(%error, "delivery write failed");
                }
                Err(error) => return tracing::error!(%error, "delivery write refused"),
            }
            sleep(RETRY_DELAY).await;
        }
    }

    /// Removes deliveries that were recorded after their conversation was deleted: a worker may be frozen while its call
    /// ends.
    async fn forget_if_deleted(&self, deliveries: &[Delivery]) {
        let (account, conversation) = (self.conversation.account_id, self.conversation.id);
        let forgetting = async {
            if self.table.is_deleted(account, conversation).await? {
                for Delivery { sequence, webhook, .. } in deliveries {
                    let (sequence, webhook) = (*sequence, *webhook);
                    let key = DeliveryKey { account, conversation, sequence, webhook };
                    self.table.forget_delivery(key).await?;
                }
            }
            Ok::<_, TableError>(())
        };
        // If this fails, the time to live removes it.
        if let Err(error) = forgetting.await {
            tracing::warn!(%error, "delivery of a deleted conversation not looked for");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use switchboard_aws::table::testing;
    use switchboard_model::{
        conversations::Lease,
        ids::{AccountId, ConversationId, EventId},
        phone_numbers::E164,
    };
    use switchboard_runtime as system;

    use super::*;
    use crate::conversation_key::ConversationKey;

    #[tokio::test]
    async fn a_delivery_of_a_deleted_conversation_is_not_kept() {
        let table = testing::new_table().await;
        let at = system::now();
        let (account, id, number) = (AccountId::new(at, 1), ConversationId::new(at, 2), "+14155550100");
        let number: E164 = number.parse().unwrap();
        let conversation = Conversation::outbound(id, account, None, number.clone(), number, at);
        let snapshot = Snapshot { conversation: conversation.clone(), agent: AgentConfig::default() };
        table.create_conversation(&snapshot).await.unwrap();
        let writer = Writer {
            table: table.clone(),
            conversation,
            agent: AgentConfig::default(),
            holder: "a".into(),
            lost: CancellationToken::new(),
            clock: system::now,
        };
        let delivery = |sequence| Delivery::new(EventId::of(id, sequence, at), sequence, 0, at);
        writer.record_deliveries(&[delivery(1)]).await;
        assert_eq!(table.deliveries(account, id, 1, 9).await.unwrap(), [delivery(1)]);
        table.delete_conversation(account, id, at).await.unwrap();
        writer.record_deliveries(&[delivery(2)]).await;
        assert_eq!(table.deliveries(account, id, 1, 9).await.unwrap(), []);
    }

    #[tokio::test]
    async fn entries_queue_up_to_a_bound_while_the_table_is_down() {
        // A port without a listener.
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let table = Table::new(&testing::config(&url).await, "switchboard".to_owned());
        let at = system::now();
        let (account, id, number) = (AccountId::new(at, 1), ConversationId::new(at, 2), "+14155550100");
        let number: E164 = number.parse().unwrap();
        let conversation = Conversation::outbound(id, account, None, number.clone(), number, at);
        let lease = HeldLease::new(
            table.clone(),
            ConversationKey { account, conversation: id },
            system::now,
            Lease::new("a".into(), at),
        );
        let snapshot = Snapshot { conversation, agent: AgentConfig::default() };
        let journal = Journal::new(table, Prices::default(), snapshot, &lease);
        let entry = JournalEntry {
            at,
            name: EventName::SpeechStarted,
            data: Value::Null,
            message: None,
            faults: vec![],
        };
        let recorded = (0..10 * QUEUED_ITEMS)
            .take_while(|_| journal.record(entry.clone(), Recipients::default(), &Usage::default()))
            .count();
        assert!((QUEUED_ITEMS..=QUEUED_ITEMS + BATCH).contains(&recorded), "{recorded}");
    }
}
