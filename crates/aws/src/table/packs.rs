//! Packs: how events and messages are stored. A pack is one item with the consecutive events of one write.
//!
//! The packs of a conversation are a log. Each is stored where the one before it ends, on condition that nothing is
//! stored there; so a writer that stores a pack knows all events before it. A worker that takes a conversation over without an
//! event leaves an empty pack there: what an earlier worker stores later is refused.
//!
//! A message is a part of its event. Version 0.1.0 stored each event and each message as an item of its own; they are read
//! here too.

use aws_sdk_dynamodb::types::AttributeValue;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use switchboard_model::{
    conversations::{Conversation, Progress, Transition},
    event_names::EventName,
    events::{Event, NumberWebhookCall},
    function_rounds::FunctionRound,
    ids::EventId,
    messages::{Message, MessageKind},
    time::Timestamp,
};

use super::{TableError, items::Item};
use crate::{
    keys::{EVENT, MESSAGE, conversation_of_key, conversation_pk, pack_sk},
    outbox,
};

/// Bytes of the text of a pack from which on another one is begun. An item holds 400 KB, and an event at most some 70.
const FULL: usize = 200_000;

/// The attribute of packs that hold messages: their number.
pub(super) const MESSAGES: &str = "messages";

/// An event in a pack. Its sequence follows from its position; most of its members are absent.
#[derive(Serialize, Deserialize)]
struct Record {
    #[serde(rename = "e")]
    name: EventName,
    /// Milliseconds since 1970.
    #[serde(rename = "t")]
    created_at: i64,
    #[serde(rename = "d", default, skip_serializing_if = "Value::is_null")]
    data: Value,
    #[serde(rename = "w", default, skip_serializing_if = "Vec::is_empty")]
    webhooks: Vec<usize>,
    #[serde(rename = "y", default, skip_serializing_if = "Option::is_none")]
    synchronous: Option<usize>,
    #[serde(rename = "f", default, skip_serializing_if = "Vec::is_empty")]
    faults: Vec<String>,
    #[serde(rename = "n", default, skip_serializing_if = "Vec::is_empty")]
    number_webhook_calls: Vec<NumberWebhookCall>,
    /// The kind of the message that entered the conversation with it; absent without one.
    #[serde(rename = "k", default, skip_serializing_if = "Option::is_none")]
    message: Option<MessageKind>,
    /// Only if it is not derived from the conversation, the sequence and the time.
    #[serde(rename = "i", default, skip_serializing_if = "Option::is_none")]
    id: Option<EventId>,
}

/// The attribute of packs that hold function calls.
pub(super) const FUNCTIONS: &str = "functions";

/// The attributes of a pack.
#[derive(Serialize, Deserialize)]
struct StoredPack {
    /// The sequence of its first event.
    first: u64,
    /// A JSON list of [`Record`]s, since the tool call of a model can hold any number at any depth.
    events: String,
    /// The number of its events with a message; absent: none.
    #[serde(default, skip_serializing_if = "is_zero")]
    messages: usize,
    /// The [`Progress`] of the conversation after it, if the conversation was not written with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    progress: Option<String>,
    /// The worker that stored it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    holder: Option<String>,
    /// A JSON list of [`FunctionRound`]s that were over before its events were stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    functions: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

impl Record {
    fn new(conversation: &Conversation, event: &Event, message: Option<MessageKind>) -> Self {
        let derived = EventId::of(conversation.id, event.sequence, event.created_at);
        Self {
            name: event.name,
            created_at: event.created_at.as_millis(),
            data: event.data.clone(),
            webhooks: event.webhooks.clone(),
            synchronous: event.synchronous,
            faults: event.faults.clone(),
            number_webhook_calls: event.number_webhook_calls.clone(),
            message,
            id: (event.id != derived).then_some(event.id),
        }
    }
}

/// A pack that is being filled.
#[derive(Default)]
struct NewPack {
    first: u64,
    records: Vec<String>,
    /// Bytes of the records.
    size: usize,
    has_webhooks: bool,
    /// The number of records with a message.
    messages: usize,
    next_sequence: u64,
    next_message: u64,
}

/// The worker that stores packs, and the conversation after them.
pub(super) struct StoredBy<'a> {
    pub(super) holder: &'a str,
    pub(super) after: &'a Conversation,
    /// Function calls for the next worker.
    pub(super) functions: &'a [FunctionRound],
}

/// The packs with the events and messages of a transition; several only if they are very long.
pub(super) fn of_transition(
    before: &Conversation,
    transition: &Transition,
    stored_by: Option<&StoredBy<'_>>,
) -> Result<Vec<Item>, TableError> {
    let corrupt = |_| TableError::Corrupt("NEW");
    let mut packs: Vec<NewPack> = vec![];
    let mut messages = transition.messages.iter().map(|(_, message)| message).peekable();
    let mut next_message = before.next_message;
    for event in &transition.events {
        // Each message is in the event that it entered the conversation with, in the same order.
        let message = messages.next_if(|message| carries(&event.data, message)).map(|message| message.kind);
        next_message += u64::from(message.is_some());
        let text = serde_json::to_string(&Record::new(before, event, message)).map_err(corrupt)?;
        if packs.last().is_none_or(|pack| pack.size + text.len() > FULL) {
            packs.push(NewPack { first: event.sequence, ..NewPack::default() });
        }
        if let Some(pack) = packs.last_mut() {
            pack.size += text.len();
            pack.records.push(text);
            pack.has_webhooks |= !event.webhooks.is_empty();
            pack.messages += usize::from(message.is_some());
            (pack.next_sequence, pack.next_message) = (event.sequence + 1, next_message);
        }
    }
    if messages.next().is_some() {
        return Err(TableError::Corrupt("NEW"));
    }
    let pk = conversation_pk(before.account_id, before.id);
    let functions = stored_by.map(|by| by.functions).filter(|functions| !functions.is_empty());
    let mut functions = functions.map(serde_json::to_string).transpose().map_err(corrupt)?;
    let items = packs.into_iter().map(|pack| {
        let NewPack { first, next_sequence, next_message, .. } = pack;
        let progress = stored_by.map(|by| {
            let after = Progress { next_sequence, next_message, ..by.after.progress() };
            serde_json::to_string(&after)
        });
        let stored = StoredPack {
            first,
            events: format!("[{}]", pack.records.join(",")),
            messages: pack.messages,
            progress: progress.transpose().map_err(corrupt)?,
            holder: stored_by.map(|by| by.holder.to_owned()),
            functions: functions.take(),
        };
        let takeovers = if first == before.next_sequence { before.takeovers } else { 0 };
        let item = Item::new(pk.clone(), pack_sk(first, takeovers), &stored)?.expiring(before.expires_at);
        let outbox = |item: Item| item.with(outbox::ATTRIBUTE, outbox::WEBHOOKS.to_owned());
        Ok(if pack.has_webhooks { outbox(item) } else { item })
    });
    items.collect()
}

/// The empty pack of a worker that takes the conversation over without an event; `after` counts the takeover.
pub(super) fn of_takeover(before: &Conversation, after: &Conversation) -> Result<Item, TableError> {
    let progress = serde_json::to_string(&after.progress()).map_err(|_| TableError::Corrupt("NEW"))?;
    let stored = StoredPack {
        first: before.next_sequence,
        events: "[]".to_owned(),
        messages: 0,
        progress: Some(progress),
        holder: None,
        functions: None,
    };
    let pk = conversation_pk(before.account_id, before.id);
    let sk = pack_sk(before.next_sequence, before.takeovers);
    Ok(Item::new(pk, sk, &stored)?.expiring(before.expires_at))
}

/// A pack that keeps its place taken once its conversation was deleted.
pub(super) fn empty(pk: String, sk: &str) -> Result<Item, TableError> {
    let events = "[]".to_owned();
    let stored = StoredPack { first: 0, events, messages: 0, progress: None, holder: None, functions: None };
    Item::new(pk, sk, &stored)
}

/// Whether the data of an event holds this message.
fn carries(data: &Value, message: &Message) -> bool {
    data.get("message").is_some_and(|stored| {
        stored["content"] == *message.content && stored["started_at"] == message.started_at.to_string()
    })
}

/// The progress that a pack was stored with.
pub(super) fn progress(item: Item) -> Result<Option<Progress>, TableError> {
    let Ok(StoredPack { progress, .. }) = item.read(EVENT) else {
        // An event of version 0.1.0, which was stored with its conversation.
        return Ok(None);
    };
    progress.map(|text| serde_json::from_str(&text).map_err(|_| TableError::Corrupt(EVENT))).transpose()
}

/// Whether DynamoDB would refuse a pack for its size: its text, and some KB for the rest of it.
pub(super) fn is_too_large(item: &Item) -> bool {
    let texts = ["events", FUNCTIONS].into_iter().filter_map(|name| item.get(name)?.as_s().ok());
    texts.map(String::len).sum::<usize>() > 2 * FULL - 20_000
}

/// A stored event with the message that entered the conversation with it.
struct Entry {
    event: Event,
    message: Option<MessageKind>,
}

fn entries(item: Item) -> Result<Vec<Entry>, TableError> {
    if !item.has("first") {
        let event = event_of_0_1_0(item)?;
        return Ok(vec![Entry { event, message: None }]);
    }
    let corrupt = || TableError::Corrupt(EVENT);
    let (_, conversation) = item.pk().and_then(conversation_of_key).ok_or_else(corrupt)?;
    let StoredPack { first, events, .. } = item.read(EVENT)?;
    let records: Vec<Record> = serde_json::from_str(&events).map_err(|_| corrupt())?;
    let entry = |(sequence, record): (u64, Record)| {
        let created_at = Timestamp::from_millis(record.created_at);
        let event = Event {
            id: record.id.unwrap_or_else(|| EventId::of(conversation, sequence, created_at)),
            name: record.name,
            sequence,
            created_at,
            data: record.data,
            webhooks: record.webhooks,
            synchronous: record.synchronous,
            number_webhook_calls: record.number_webhook_calls,
            faults: record.faults,
        };
        Entry { event, message: record.message }
    };
    Ok((first..).zip(records).map(entry).collect())
}

/// The events of an item, in order.
pub(super) fn events(item: Item) -> Result<Vec<Event>, TableError> {
    Ok(entries(item)?.into_iter().map(|entry| entry.event).collect())
}

/// An event's webhooks, and the rest of what a check for lost first attempts needs of it.
pub(super) struct Recipients {
    pub(super) sequence: u64,
    pub(super) created_at: Timestamp,
    pub(super) webhooks: Vec<usize>,
}

/// The recipients of the events of an item, in order. The data of the events is not decoded: it may be large.
pub(super) fn recipients(item: Item) -> Result<Vec<Recipients>, TableError> {
    #[derive(Deserialize)]
    struct Part {
        #[serde(rename = "t")]
        created_at: i64,
        #[serde(rename = "w", default)]
        webhooks: Vec<usize>,
    }
    if !item.has("first") {
        let Event { sequence, created_at, webhooks, .. } = event_of_0_1_0(item)?;
        return Ok(vec![Recipients { sequence, created_at, webhooks }]);
    }
    let StoredPack { first, events, .. } = item.read(EVENT)?;
    let parts: Vec<Part> = serde_json::from_str(&events).map_err(|_| TableError::Corrupt(EVENT))?;
    let recipients = |(sequence, Part { created_at, webhooks })| Recipients {
        sequence,
        created_at: Timestamp::from_millis(created_at),
        webhooks,
    };
    Ok((first..).zip(parts).map(recipients).collect())
}

/// The messages of an item, in order: those of a pack, or the one of version 0.1.0.
pub(super) fn messages(item: Item) -> Result<Vec<Message>, TableError> {
    if item.sk().is_some_and(|sk| sk.starts_with(MESSAGE)) {
        return Ok(vec![message_of_0_1_0(item)?]);
    }
    let mut found = vec![];
    for Entry { mut event, message } in entries(item)? {
        let Some(kind) = message else { continue };
        let message: Message =
            serde_json::from_value(event.data["message"].take()).map_err(|_| TableError::Corrupt(EVENT))?;
        found.push(Message { kind, ..message });
    }
    Ok(found)
}

/// The function calls of an item.
pub(super) fn functions(item: &Item) -> Result<Vec<FunctionRound>, TableError> {
    let text = item.get(FUNCTIONS).and_then(|functions| functions.as_s().ok());
    let read = text.map(|text| serde_json::from_str(text).map_err(|_| TableError::Corrupt(EVENT)));
    Ok(read.transpose()?.unwrap_or_default())
}

/// An event as version 0.1.0 stored it.
fn event_of_0_1_0(item: Item) -> Result<Event, TableError> {
    #[derive(Deserialize)]
    struct Stored {
        id: EventId,
        event: EventName,
        sequence: u64,
        created_at: Timestamp,
        data: String,
        webhooks: Vec<usize>,
        synchronous: Option<usize>,
        #[serde(default)]
        faults: Vec<String>,
        #[serde(default)]
        number_webhook_calls: Vec<NumberWebhookCall>,
    }
    let stored: Stored = item.read(EVENT)?;
    Ok(Event {
        id: stored.id,
        name: stored.event,
        sequence: stored.sequence,
        created_at: stored.created_at,
        data: serde_json::from_str(&stored.data).map_err(|_| TableError::Corrupt(EVENT))?,
        webhooks: stored.webhooks,
        synchronous: stored.synchronous,
        number_webhook_calls: stored.number_webhook_calls,
        faults: stored.faults,
    })
}

/// A message as version 0.1.0 stored it.
fn message_of_0_1_0(item: Item) -> Result<Message, TableError> {
    #[derive(Deserialize)]
    struct Stored {
        #[serde(flatten)]
        message: Message,
        kind: MessageKind,
    }
    let Stored { message, kind } = item.read(MESSAGE)?;
    Ok(Message { kind, ..message })
}

impl Item {
    fn has(&self, attribute: &str) -> bool {
        self.get(attribute).is_some_and(|value| !matches!(value, AttributeValue::Null(_)))
    }
}
