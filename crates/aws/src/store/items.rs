//! How things look as items: the keys, and what is kept as one text instead of attributes.

use std::{collections::HashMap, fmt};

use aws_sdk_dynamodb::types::AttributeValue;
use domain::{
    accounts::Token,
    agents::AgentConfig,
    conversations::{Conversation, Lease},
    events::{Event, EventName},
    ids::{AccountId, AgentId, ConversationId, EventId},
    messages::Message,
    phone_numbers::E164,
    time::Timestamp,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::StoreError;

pub(super) const ACCOUNT: &str = "ACCOUNT";
pub(super) const TOKEN: &str = "TOKEN";
pub(super) const OWNER: &str = "OWNER";
pub(super) const STATE: &str = "STATE";
pub(super) const CONFIG: &str = "CONFIG";
pub(super) const LEASE: &str = "LEASE";
pub(super) const MESSAGE: &str = "MSG#";
pub(super) const EVENT: &str = "EVT#";

/// The one `due_pk`: whatever is due at a time is in one line, oldest first.
pub(super) const DUE: &str = "DUE";

/// An item as the table has it.
pub(super) struct Item(HashMap<String, AttributeValue>);

impl From<HashMap<String, AttributeValue>> for Item {
    fn from(attributes: HashMap<String, AttributeValue>) -> Self {
        Self(attributes)
    }
}

impl Item {
    pub(super) fn into_attributes(self) -> HashMap<String, AttributeValue> {
        self.0
    }

    /// `value`'s fields as attributes, under a key.
    pub(super) fn new(pk: String, sk: impl Into<String>, value: &impl Serialize) -> Result<Self, StoreError> {
        let item: serde_dynamo::Item =
            serde_dynamo::to_item(value).map_err(|_| StoreError::Corrupt("NEW"))?;
        Ok(Self(item.into()).with("pk", pk).with("sk", sk.into()))
    }

    pub(super) fn with(mut self, name: &str, text: String) -> Self {
        self.0.insert(name.to_owned(), AttributeValue::S(text));
        self
    }

    /// Puts the item on the index of what is due.
    fn due(mut self, at: Timestamp) -> Self {
        self.0.insert("due_at".to_owned(), millis(at));
        self.with("due_pk", DUE.to_owned())
    }

    /// Where the index of what is due says that this item is, and since when.
    pub(super) fn due_key(&self) -> Option<(&str, Timestamp)> {
        let pk = self.0.get("pk")?.as_s().ok()?;
        let at = self.0.get("due_at")?.as_n().ok()?.parse().ok()?;
        Some((pk, Timestamp::from_millis(at)))
    }

    /// Reads the attributes back; keys are left over. The parser's own message could quote what is
    /// stored, so it is not kept.
    pub(super) fn read<T: DeserializeOwned>(self, kind: &'static str) -> Result<T, StoreError> {
        serde_dynamo::from_item(serde_dynamo::Item::from(self.0)).map_err(|_| StoreError::Corrupt(kind))
    }
}

impl fmt::Debug for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Item([redacted])")
    }
}

pub(super) fn account_pk(account: AccountId) -> String {
    account.to_string()
}

pub(super) fn token_pk(token: &Token) -> String {
    format!("TOKEN#{}", token.sha256())
}

/// Both the `sk` of an account's number and the `pk` of a number's owner.
pub(super) fn number_key(number: &E164) -> String {
    format!("NUMBER#{number}")
}

pub(super) fn agent_sk(agent: AgentId) -> String {
    format!("AGENT#{agent}")
}

pub(super) fn conversation_pk(account: AccountId, conversation: ConversationId) -> String {
    format!("{account}#{conversation}")
}

pub(super) fn key(pk: String, sk: &str) -> HashMap<String, AttributeValue> {
    HashMap::from([
        ("pk".to_owned(), AttributeValue::S(pk)),
        ("sk".to_owned(), AttributeValue::S(sk.to_owned())),
    ])
}

/// Whose and which conversation an item with this `pk` belongs to, for readers of the table's stream.
#[must_use]
pub fn conversation_of_key(pk: &str) -> Option<(AccountId, ConversationId)> {
    let (account, conversation) = pk.split_once('#')?;
    Some((account.parse().ok()?, conversation.parse().ok()?))
}

/// Six digits sort as text up to a million, some ten times what four hours of talk can bring.
pub(super) fn numbered_sk(prefix: &str, number: u64) -> String {
    format!("{prefix}{number:06}")
}

/// Who an item names.
#[derive(Serialize, Deserialize)]
pub(super) struct Owned {
    pub(super) account_id: AccountId,
}

/// A number of an account.
#[derive(Serialize, Deserialize)]
pub(super) struct OwnedNumber {
    pub(super) id: domain::ids::PhoneNumberId,
    pub(super) phone_number: E164,
    pub(super) created_at: Timestamp,
}

/// An agent's configuration. It is one JSON text: it is always read and written as a whole, and JSON
/// Schema knows numbers and depths that attributes do not.
#[derive(Serialize, Deserialize)]
pub(super) struct StoredConfig {
    pub(super) agent: String,
}

impl StoredConfig {
    pub(super) fn new(agent: &AgentConfig) -> Result<Self, StoreError> {
        let agent = serde_json::to_string(agent).map_err(|_| StoreError::Corrupt("NEW"))?;
        Ok(Self { agent })
    }

    pub(super) fn agent(&self) -> Result<AgentConfig, StoreError> {
        serde_json::from_str(&self.agent).map_err(|_| StoreError::Corrupt(CONFIG))
    }
}

/// An event. `data` is one JSON text, since a model's tool call can hold any number at any depth.
#[derive(Serialize, Deserialize)]
struct StoredEvent {
    id: EventId,
    event: EventName,
    sequence: u64,
    created_at: Timestamp,
    data: String,
    webhooks: Vec<usize>,
}

/// A time as the index of what is due sorts it: a number of milliseconds.
pub(super) fn millis(at: Timestamp) -> AttributeValue {
    AttributeValue::N(at.as_millis().to_string())
}

pub(super) fn state_item(conversation: &Conversation) -> Result<Item, StoreError> {
    let pk = conversation_pk(conversation.account_id, conversation.id);
    let item = Item::new(pk, STATE, conversation)?
        .with("account_pk", format!("{}#conversations", conversation.account_id))
        .with("account_sk", conversation.created_at.to_string());
    Ok(match conversation.due_at() {
        Some(at) => item.due(at),
        None => item,
    })
}

pub(super) fn lease_item(pk: String, lease: &Lease) -> Result<Item, StoreError> {
    Ok(Item::new(pk, LEASE, lease)?.due(lease.until))
}

pub(super) fn event_item(pk: String, event: &Event) -> Result<Item, StoreError> {
    let stored = StoredEvent {
        id: event.id,
        event: event.name,
        sequence: event.sequence,
        created_at: event.created_at,
        data: event.data.to_string(),
        webhooks: event.webhooks.clone(),
    };
    Item::new(pk, numbered_sk(EVENT, event.sequence), &stored)
}

pub(super) fn read_event(item: Item) -> Result<Event, StoreError> {
    let StoredEvent { id, event, sequence, created_at, data, webhooks } = item.read(EVENT)?;
    let data = serde_json::from_str(&data).map_err(|_| StoreError::Corrupt(EVENT))?;
    Ok(Event { id, name: event, sequence, created_at, data, webhooks })
}

pub(super) fn message_item(pk: String, number: u64, message: &Message) -> Result<Item, StoreError> {
    Item::new(pk, numbered_sk(MESSAGE, number), message)
}
