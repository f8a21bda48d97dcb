//! How values are stored as items, and which parts are one JSON text instead of attributes.

use std::{collections::HashMap, fmt};

use aws_sdk_dynamodb::types::AttributeValue;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use switchboard_model::{
    agents::AgentConfig,
    conversations::{Conversation, Lease},
    deliveries::Delivery,
    ids::AccountId,
    time::Timestamp,
};

use super::TableError;
use crate::keys::{CONFIG, DueList, LEASE, STATE, conversation_pk, conversations_pk, delivery_sk};

/// The attributes of an item.
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

    /// The fields of `value` as attributes, with a key.
    pub(super) fn new(pk: String, sk: impl Into<String>, value: &impl Serialize) -> Result<Self, TableError> {
        let item: serde_dynamo::Item =
            serde_dynamo::to_item(value).map_err(|_| TableError::Corrupt("NEW"))?;
        Ok(Self(item.into()).with("pk", pk).with("sk", sk.into()))
    }

    pub(super) fn with(mut self, name: &str, text: String) -> Self {
        self.0.insert(name.to_owned(), AttributeValue::S(text));
        self
    }

    /// An item without attributes besides its key.
    pub(super) fn empty(pk: String, sk: &str) -> Self {
        Self(key(pk, sk))
    }

    pub(super) fn get(&self, attribute: &str) -> Option<&AttributeValue> {
        self.0.get(attribute)
    }

    pub(super) fn sk(&self) -> Option<&str> {
        self.0.get("sk")?.as_s().ok().map(String::as_str)
    }

    pub(super) fn pk(&self) -> Option<&str> {
        self.0.get("pk")?.as_s().ok().map(String::as_str)
    }

    /// Puts the item into a list of the index `account`, by its creation time. The id orders items of one millisecond.
    pub(super) fn listed(self, list: String, created_at: Timestamp, id: &impl fmt::Display) -> Self {
        self.with("account_pk", list).with("account_sk", format!("{created_at}#{id}"))
    }

    /// Has the table delete the item within days after `at` (time to live).
    pub(super) fn expiring(mut self, at: Option<Timestamp>) -> Self {
        if let Some(at) = at {
            let seconds = at.as_millis().div_euclid(1_000);
            self.0.insert("ttl".to_owned(), AttributeValue::N(seconds.to_string()));
        }
        self
    }

    /// Puts the item, whose key is set, into a list of the index `due`.
    pub(super) fn due_in(mut self, list: DueList, at: Timestamp) -> Self {
        self.0.insert("due_at".to_owned(), millis(at));
        let due_pk = list.pk(self.pk().unwrap_or_default());
        self.with("due_pk", due_pk)
    }

    /// `pk` and time of an item that was read from the index `due`.
    pub(super) fn due_key(&self) -> Option<(&str, Timestamp)> {
        let pk = self.0.get("pk")?.as_s().ok()?;
        let at = self.0.get("due_at")?.as_n().ok()?.parse().ok()?;
        Some((pk, Timestamp::from_millis(at)))
    }

    /// Decodes the attributes; unknown ones, such as the keys, are ignored. The message of the parser could quote
    /// stored text, so it is dropped.
    pub(super) fn read<T: DeserializeOwned>(self, kind: &'static str) -> Result<T, TableError> {
        serde_dynamo::from_item(serde_dynamo::Item::from(self.0)).map_err(|_| TableError::Corrupt(kind))
    }
}

impl fmt::Debug for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Item([redacted])")
    }
}

pub(super) fn key(pk: String, sk: &str) -> HashMap<String, AttributeValue> {
    HashMap::from([
        ("pk".to_owned(), AttributeValue::S(pk)),
        ("sk".to_owned(), AttributeValue::S(sk.to_owned())),
    ])
}

/// The attribute that names the owner.
#[derive(Serialize, Deserialize)]
pub(super) struct Owned {
    pub(super) account_id: AccountId,
}

/// An agent's configuration, as one JSON text: it is always read and written as a whole, and JSON Schema has numbers
/// and depths that attributes do not have.
#[derive(Serialize, Deserialize)]
pub(super) struct StoredConfig {
    pub(super) agent: String,
}

impl StoredConfig {
    pub(super) fn new(agent: &AgentConfig) -> Result<Self, TableError> {
        let agent = serde_json::to_string(agent).map_err(|_| TableError::Corrupt("NEW"))?;
        Ok(Self { agent })
    }

    pub(super) fn agent(&self) -> Result<AgentConfig, TableError> {
        serde_json::from_str(&self.agent).map_err(|_| TableError::Corrupt(CONFIG))
    }
}

/// A time as the index `due` sorts it: a number of milliseconds.
pub(super) fn millis(at: Timestamp) -> AttributeValue {
    AttributeValue::N(at.as_millis().to_string())
}

pub(super) fn state_item(conversation: &Conversation) -> Result<Item, TableError> {
    let pk = conversation_pk(conversation.account_id, conversation.id);
    let list = conversations_pk(conversation.account_id, conversation.status());
    let item = Item::new(pk, STATE, conversation)?
        .listed(list, conversation.created_at, &conversation.id)
        .expiring(conversation.expires_at);
    Ok(match conversation.due_at() {
        Some(at) => item.due_in(DueList::Conversations, at),
        None => item,
    })
}

pub(super) fn lease_item(pk: String, lease: &Lease) -> Result<Item, TableError> {
    Ok(Item::new(pk, LEASE, lease)?.due_in(DueList::Conversations, lease.until))
}

pub(super) fn delivery_item(conversation: &Conversation, delivery: &Delivery) -> Result<Item, TableError> {
    let pk = conversation_pk(conversation.account_id, conversation.id);
    let item = Item::new(pk, delivery_sk(delivery.sequence, delivery.webhook), delivery)?
        .expiring(conversation.expires_at);
    Ok(match delivery.due_at() {
        Some(at) => item.due_in(DueList::Deliveries, at),
        None => item,
    })
}
