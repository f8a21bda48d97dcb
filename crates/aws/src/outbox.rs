//! The outbox: which stored items have to be queued, how they are marked, and how a record of the table's stream is read
//! back as jobs.
//!
//! | item | is in the outbox | its jobs |
//! |---|---|---|
//! | state of a conversation | inserted with `state` = `queued` | the call |
//! | state of a conversation | changed, with `state` = `ended` | its end: slots of the account are free |
//! | pack of events | inserted with `outbox` = `webhooks` | the first attempt for each webhook of each of its events |
//! | delivery | written with `outbox` = `redelivery` | its next attempt |
//!
//! [`table`](crate::table) writes the items; the relay reads the stream with [`decode`]. The stream's
//! filters in `template.yaml` select the same items, so that the relay is not started for any other. This module sends
//! nothing and reads no table.

use std::fmt;

use serde::{Deserialize, de::DeserializeOwned};
use serde_dynamo::Item;
use switchboard_model::{
    conversations::EndedReason,
    costs::Usd,
    ids::{AccountId, ConversationId},
};

use crate::{
    keys::{DeliveryKey, STATE, conversation_of_key},
    queue::{CallJob, DeliveryJob},
};

/// The attribute that puts an item into the outbox.
pub(crate) const ATTRIBUTE: &str = "outbox";
/// Its value for a pack of events of which some have webhooks.
pub(crate) const WEBHOOKS: &str = "webhooks";
/// Its value for a delivery that was requested again.
pub(crate) const REDELIVERY: &str = "redelivery";

/// The `state` of a conversation whose call waits to be placed.
const QUEUED: &str = "queued";

/// The `state` of a conversation that has returned its slots.
const ENDED: &str = "ended";

/// A message for the relay to queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Job {
    /// A call to place.
    Call(CallJob),
    /// A conversation has ended and returned its slots.
    Ended(EndedConversation),
    /// An attempt to deliver an event.
    Delivery(DeliveryJob),
}

/// A conversation that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndedConversation {
    /// The owner, whose slots are free.
    pub account_id: AccountId,
    /// The party or fault that ended it.
    pub reason: EndedReason,
    /// All its costs.
    pub cost: Usd,
}

/// The kinds of items in the outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The state of a conversation whose call waits to be placed.
    QueuedCall,
    /// The state of a conversation that has ended.
    EndedConversation,
    /// Events with webhooks.
    Event,
    /// A delivery that was requested again.
    Redelivery,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::QueuedCall => "queued call",
            Self::EndedConversation => "ended conversation",
            Self::Event => "event",
            Self::Redelivery => "redelivery",
        })
    }
}

/// An item of the outbox cannot be read: it is damaged, or a newer version wrote it. Reading it again fails again. The
/// message holds nothing of the item's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Its key names no conversation or no delivery.
    #[error("the key of a stored {0} is malformed")]
    Key(Kind),
    /// An attribute is missing or has another type.
    #[error("a stored {kind} lacks an attribute, or an attribute has another type")]
    Attributes {
        /// The kind of the item.
        kind: Kind,
        /// The owner.
        account_id: AccountId,
        /// The conversation that the item belongs to.
        conversation_id: ConversationId,
    },
}

impl DecodeError {
    /// Owner and conversation of the item, if its key names them.
    #[must_use]
    pub fn conversation(&self) -> Option<(AccountId, ConversationId)> {
        match *self {
            Self::Key(_) => None,
            Self::Attributes { account_id, conversation_id, .. } => Some((account_id, conversation_id)),
        }
    }
}

/// The attributes that say whether an item is in the outbox.
#[derive(Deserialize)]
struct Marks {
    pk: String,
    sk: String,
    state: Option<String>,
    outbox: Option<String>,
}

/// The attributes of the state of an ended conversation that its job has.
#[derive(Deserialize)]
struct StoredEnd {
    ended_reason: EndedReason,
    cost: StoredCost,
}

#[derive(Deserialize)]
struct StoredCost {
    total: Usd,
}

/// The attributes of a pack of events that its jobs need; and those of an event of version 0.1.0.
#[derive(Deserialize)]
struct StoredEvents {
    first: Option<u64>,
    events: Option<String>,
    sequence: Option<u64>,
    webhooks: Option<Vec<usize>>,
}

/// The part of an event in a pack that its jobs need.
#[derive(Deserialize)]
struct Record {
    #[serde(rename = "w", default)]
    webhooks: Vec<usize>,
}

/// The attributes of a delivery that its job needs.
#[derive(Deserialize)]
struct StoredDelivery {
    attempt: u32,
}

/// The jobs of one record of the table's stream: `event_name` is `INSERT`, `MODIFY` or `REMOVE`, `new_image` the item after
/// the write (empty if it was removed). An item that is not in the outbox has no jobs.
///
/// # Errors
/// See [`DecodeError`].
pub fn decode(event_name: &str, new_image: &Item) -> Result<Vec<Job>, DecodeError> {
    let Some(marks) = read::<Marks>(new_image) else { return Ok(vec![]) };
    let is_new = event_name == "INSERT";
    let state = marks.state.as_deref().filter(|_state| marks.sk == STATE);
    match marks.outbox.as_deref() {
        _ if is_new && state == Some(QUEUED) => queued_call(&marks),
        _ if event_name == "MODIFY" && state == Some(ENDED) => ended_conversation(&marks, new_image),
        Some(WEBHOOKS) if is_new => first_attempts(&marks, new_image),
        Some(REDELIVERY) if event_name != "REMOVE" => redelivery(&marks, new_image),
        _ => Ok(vec![]),
    }
}

fn queued_call(marks: &Marks) -> Result<Vec<Job>, DecodeError> {
    let (account_id, conversation_id) =
        conversation_of_key(&marks.pk).ok_or(DecodeError::Key(Kind::QueuedCall))?;
    Ok(vec![Job::Call(CallJob { account_id, conversation_id })])
}

fn ended_conversation(marks: &Marks, item: &Item) -> Result<Vec<Job>, DecodeError> {
    let key = conversation_of_key(&marks.pk).ok_or(DecodeError::Key(Kind::EndedConversation));
    // Without a reason or a cost the slots are free all the same.
    let (reason, cost) = read::<StoredEnd>(item)
        .map_or((EndedReason::Unknown, Usd::ZERO), |end| (end.ended_reason, end.cost.total));
    key.map(|(account_id, _)| vec![Job::Ended(EndedConversation { account_id, reason, cost })])
}

fn first_attempts(marks: &Marks, item: &Item) -> Result<Vec<Job>, DecodeError> {
    let kind = Kind::Event;
    let (account_id, conversation_id) = conversation_of_key(&marks.pk).ok_or(DecodeError::Key(kind))?;
    let attempts = attempts_of(item).ok_or(DecodeError::Attributes { kind, account_id, conversation_id })?;
    let jobs = attempts.into_iter().flat_map(|(sequence, webhooks)| {
        let job = move |webhook| {
            Job::Delivery(DeliveryJob { account_id, conversation_id, sequence, webhook, attempt: 1 })
        };
        webhooks.into_iter().map(job)
    });
    Ok(jobs.collect())
}

/// Sequence and webhooks of each event with webhooks. None if the item cannot be read.
fn attempts_of(item: &Item) -> Option<Vec<(u64, Vec<usize>)>> {
    let stored: StoredEvents = read(item)?;
    let Some(first) = stored.first else { return Some(vec![(stored.sequence?, stored.webhooks?)]) };
    let records: Vec<Record> = serde_json::from_str(&stored.events?).ok()?;
    let attempts = (first..).zip(records).map(|(sequence, record)| (sequence, record.webhooks));
    Some(attempts.filter(|(_, webhooks)| !webhooks.is_empty()).collect())
}

fn redelivery(marks: &Marks, item: &Item) -> Result<Vec<Job>, DecodeError> {
    let kind = Kind::Redelivery;
    let key = DeliveryKey::of_item(&marks.pk, &marks.sk).ok_or(DecodeError::Key(kind))?;
    let (account_id, conversation_id) = (key.account, key.conversation);
    let StoredDelivery { attempt } =
        read(item).ok_or(DecodeError::Attributes { kind, account_id, conversation_id })?;
    Ok(vec![Job::Delivery(DeliveryJob::new(key, attempt))])
}

/// The parser's own message could quote the item, so it is dropped.
fn read<T: DeserializeOwned>(item: &Item) -> Option<T> {
    serde_dynamo::from_item(item.clone()).ok()
}
