//! Conversations: their state, messages and events.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use domain::{
    conversations::{Conversation, NotPossible, Snapshot, Transition},
    events::Event,
    ids::{AccountId, ConversationId},
    messages::Message,
};

use super::{
    Store, StoreError,
    items::{self, CONFIG, EVENT, Item, MESSAGE, STATE, StoredConfig},
    read_error,
};
use crate::system;

/// How often a change is tried when others write at the same time.
const ATTEMPTS: u32 = 10;
/// The longest wait after the first conflict; a transaction takes some 10 ms. It doubles each time.
const FIRST_WAIT: Duration = Duration::from_millis(20);
const LONGEST_WAIT: Duration = Duration::from_millis(500);

/// What became of a change.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub enum Outcome {
    /// It was written; this is the conversation after it.
    Changed(Snapshot),
    /// It was not possible (any more); this is the conversation as it is.
    Unchanged(Snapshot),
    /// The account has no such conversation.
    NotFound,
}

impl Store {
    /// Stores a new conversation, state and configuration together.
    pub async fn create_conversation(&self, snapshot: &Snapshot) -> Result<(), StoreError> {
        let conversation = &snapshot.conversation;
        let pk = items::conversation_pk(conversation.account_id, conversation.id);
        self.write(vec![
            self.put_new(items::state_item(conversation)?),
            self.put_new(Item::new(pk, CONFIG, &StoredConfig::new(&snapshot.agent)?)?),
        ])
        .await
    }

    /// A conversation of the account, as it is now.
    pub async fn conversation(
        &self,
        account: AccountId,
        id: ConversationId,
    ) -> Result<Option<Snapshot>, StoreError> {
        let pk = items::conversation_pk(account, id);
        let Some(state) = self.get(pk.clone(), STATE).await? else { return Ok(None) };
        let config = self.get(pk, CONFIG).await?.ok_or(StoreError::Corrupt(CONFIG))?;
        Ok(Some(Snapshot {
            conversation: state.read(STATE)?,
            agent: config.read::<StoredConfig>(CONFIG)?.agent()?,
        }))
    }

    /// Everything that was said, in order.
    pub async fn messages(&self, account: AccountId, id: ConversationId) -> Result<Vec<Message>, StoreError> {
        // Sorted by key, no number is beyond a tilde.
        let items = self.range(account, id, MESSAGE.into(), format!("{MESSAGE}~"), usize::MAX).await?;
        items.into_iter().map(|item| item.read(MESSAGE)).collect()
    }

    /// At most `limit` events in order, without the first `offset`; and whether there are more.
    pub async fn events(
        &self,
        account: AccountId,
        id: ConversationId,
        offset: u64,
        limit: usize,
    ) -> Result<(Vec<Event>, bool), StoreError> {
        // Events are numbered from 1 without gaps, so an offset is a number.
        let from = items::numbered_sk(EVENT, offset.saturating_add(1));
        let mut items = self.range(account, id, from, format!("{EVENT}~"), limit.saturating_add(1)).await?;
        let has_more = items.len() > limit;
        items.truncate(limit);
        let events = items.into_iter().map(items::read_event).collect::<Result<_, _>>()?;
        Ok((events, has_more))
    }

    /// Writes a transition from `before`: state, events and messages, all or nothing.
    ///
    /// [`StoreError::Conflict`] if the conversation is not as `before` any more;
    /// [`StoreError::TooLarge`] if it is more than [`MAX_ITEMS`](super::MAX_ITEMS) items, the state
    /// among them: it is never split, since half a change is none.
    pub async fn commit(&self, before: &Conversation, transition: &Transition) -> Result<(), StoreError> {
        let after = &transition.conversation;
        let pk = items::conversation_pk(before.account_id, before.id);
        let version = (":before", AttributeValue::N(before.version.to_string()));
        let mut writes = vec![self.put_if(items::state_item(after)?, "version = :before", Some(version))];
        for event in &transition.events {
            writes.push(self.put_new(items::event_item(pk.clone(), event)?));
        }
        for (number, message) in &transition.messages {
            writes.push(self.put_new(items::message_item(pk.clone(), *number, message)?));
        }
        self.write(writes).await
    }

    /// Reads the conversation, asks `change` what to write, and writes it; again from the start, at
    /// most ten times, when somebody else wrote meanwhile. So `change` is asked more than once.
    pub async fn transition(
        &self,
        account: AccountId,
        id: ConversationId,
        mut change: impl FnMut(&Snapshot) -> Result<Transition, NotPossible>,
    ) -> Result<Outcome, StoreError> {
        for attempt in 0..ATTEMPTS {
            let Some(snapshot) = self.conversation(account, id).await? else { return Ok(Outcome::NotFound) };
            let Ok(transition) = change(&snapshot) else { return Ok(Outcome::Unchanged(snapshot)) };
            match self.commit(&snapshot.conversation, &transition).await {
                Ok(()) => {
                    let conversation = transition.conversation;
                    return Ok(Outcome::Changed(Snapshot { conversation, ..snapshot }));
                }
                Err(StoreError::Conflict) => tokio::time::sleep(wait(attempt)).await,
                Err(error) => return Err(error),
            }
        }
        Err(StoreError::Conflict)
    }

    /// The first `limit` items of a conversation whose `sk` is in a range, bounds included.
    async fn range(
        &self,
        account: AccountId,
        id: ConversationId,
        from: String,
        to: String,
        limit: usize,
    ) -> Result<Vec<Item>, StoreError> {
        let mut found = Vec::new();
        let mut start = None;
        loop {
            let left = limit - found.len();
            let asked = self
                .client
                .query()
                .table_name(&self.table)
                .key_condition_expression("pk = :pk AND sk BETWEEN :from AND :to")
                .expression_attribute_values(":pk", AttributeValue::S(items::conversation_pk(account, id)))
                .expression_attribute_values(":from", AttributeValue::S(from.clone()))
                .expression_attribute_values(":to", AttributeValue::S(to.clone()))
                .consistent_read(true)
                .limit(i32::try_from(left).unwrap_or(i32::MAX))
                .set_exclusive_start_key(start)
                .send();
            let page = Box::pin(asked).await.map_err(|error| read_error("Query", &error))?;
            found.extend(page.items.unwrap_or_default().into_iter().map(Item::from));
            start = page.last_evaluated_key;
            if start.is_none() || found.len() >= limit {
                return Ok(found);
            }
        }
    }
}

/// Anything up to twice as long each time: writers that met do not meet again.
fn wait(attempt: u32) -> Duration {
    let longest = (FIRST_WAIT * 2_u32.saturating_pow(attempt)).min(LONGEST_WAIT);
    longest * u32::from(u16::from_ne_bytes(system::random())) / u32::from(u16::MAX)
}
