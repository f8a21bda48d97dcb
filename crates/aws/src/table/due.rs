//! Due items: conversations past their deadline, expired leases.
//!
//! The index lags behind the table by some milliseconds: read the item again before acting. A list is spread over several
//! partition keys, and read from all of them at the same time.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use futures_util::{StreamExt, TryStreamExt, stream};
use switchboard_model::{
    conversations::Conversation,
    ids::{AccountId, ConversationId},
    time::Timestamp,
};

use super::{
    ATTEMPTS, Table, TableError, back_off,
    items::{self, Item},
    request_error,
    single_writes::Refusal,
};
use crate::{
    keys::{self, DueList, LEASE, RECORDING, STATE},
    outbox,
};

type Attributes = HashMap<String, AttributeValue>;

/// Maximum number of due items of one conversation: its state and its lease.
const ITEMS: usize = 2;

/// Shards that are read at the same time.
const CONCURRENCY: usize = 16;

/// A conversation that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DueItem {
    /// The owner.
    pub account: AccountId,
    /// Its id.
    pub conversation: ConversationId,
    /// The time since which it is due.
    pub due_at: Timestamp,
}

impl Table {
    /// At most `limit` conversations that are due at `now`, each once, the longest overdue first.
    pub async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<DueItem>, TableError> {
        let shards = DueList::Conversations.all_pks();
        let shards: Vec<_> = shards.map(|due_pk| self.due_in_shard(due_pk, now, limit)).collect();
        let mut found: Vec<DueItem> = stream::iter(shards).buffer_unordered(CONCURRENCY).try_concat().await?;
        found.sort_by_key(|item| item.due_at);
        found.truncate(limit);
        Ok(found)
    }

    /// At most `limit` items of a list that are due at `now`, the longest overdue first.
    pub(super) async fn due_items(
        &self,
        list: DueList,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<Item>, TableError> {
        // A part of each shard: what is left of one is in the next page.
        let shards = usize::try_from(list.shards()).unwrap_or(1);
        let of_each = limit.div_ceil(shards).saturating_mul(4).max(50).min(limit);
        let page = |due_pk: String| async move {
            let (items, _) = self.due_page(&due_pk, now, of_each, None).await?;
            Ok::<_, TableError>(items)
        };
        let shards: Vec<_> = list.all_pks().map(page).collect();
        let mut found: Vec<Item> = stream::iter(shards).buffer_unordered(CONCURRENCY).try_concat().await?;
        found.sort_by_key(|item| item.due_key().map(|(_, due_at)| due_at));
        found.truncate(limit);
        Ok(found)
    }

    async fn due_in_shard(
        &self,
        due_pk: String,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<DueItem>, TableError> {
        let mut found: Vec<DueItem> = Vec::new();
        let mut start = None;
        loop {
            let page = limit.saturating_sub(found.len()).saturating_mul(ITEMS);
            if page == 0 {
                return Ok(found);
            }
            let (items, next) = self.due_page(&due_pk, now, page, start).await?;
            for item in items {
                let Some(((account, conversation), due_at)) =
                    item.due_key().and_then(|(pk, due_at)| Some((keys::conversation_of_key(pk)?, due_at)))
                else {
                    continue;
                };
                let is_known =
                    found.iter().any(|known| (known.account, known.conversation) == (account, conversation));
                if !is_known && found.len() < limit {
                    found.push(DueItem { account, conversation, due_at });
                }
            }
            start = next;
            if start.is_none() {
                return Ok(found);
            }
        }
    }

    /// One page of the items that are due at `now` in a shard of a list, the longest overdue first; and where the next
    /// page starts.
    async fn due_page(
        &self,
        due_pk: &str,
        now: Timestamp,
        limit: usize,
        start: Option<Attributes>,
    ) -> Result<(Vec<Item>, Option<Attributes>), TableError> {
        let request = self
            .client
            .query()
            .table_name(&self.name)
            .index_name("due")
            .key_condition_expression("due_pk = :due AND due_at <= :now")
            .expression_attribute_values(":due", AttributeValue::S(due_pk.to_owned()))
            .expression_attribute_values(":now", items::millis(now))
            .limit(i32::try_from(limit).unwrap_or(i32::MAX))
            .set_exclusive_start_key(start)
            .send();
        let page = Box::pin(request).await.map_err(|error| request_error("Query", &error))?;
        Ok((page.items.unwrap_or_default().into_iter().map(Item::from).collect(), page.last_evaluated_key))
    }

    /// Has a recording joined by the sweeper's next run.
    pub async fn want_recording(
        &self,
        conversation: &Conversation,
        now: Timestamp,
    ) -> Result<(), TableError> {
        let pk = keys::conversation_pk(conversation.account_id, conversation.id);
        let item = Item::empty(pk, RECORDING).due_in(DueList::Recordings, now);
        self.put_one(item.expiring(conversation.expires_at)).await
    }

    /// At most `limit` recordings that are to be joined at `now`, the longest overdue first.
    pub async fn due_recordings(&self, now: Timestamp, limit: usize) -> Result<Vec<DueItem>, TableError> {
        let found = self.due_items(DueList::Recordings, now, limit).await?;
        let item = |item: Item| {
            let (pk, due_at) = item.due_key()?;
            let (account, conversation) = keys::conversation_of_key(pk)?;
            Some(DueItem { account, conversation, due_at })
        };
        Ok(found.into_iter().filter_map(item).collect())
    }

    /// Has a recording joined later.
    pub async fn postpone_recording(
        &self,
        account: AccountId,
        conversation: ConversationId,
        until: Timestamp,
    ) -> Result<(), TableError> {
        self.postpone_item(keys::conversation_pk(account, conversation), RECORDING, until).await
    }

    /// A recording is joined, or there is nothing to join.
    pub async fn forget_recording(
        &self,
        account: AccountId,
        conversation: ConversationId,
    ) -> Result<(), TableError> {
        self.delete_one(keys::conversation_pk(account, conversation), RECORDING).await?;
        Ok(())
    }

    /// Makes a conversation due again at `until`, so that one that cannot be handled does not block the others. The
    /// next transition or lease renewal sets another time.
    pub async fn postpone(
        &self,
        account: AccountId,
        conversation: ConversationId,
        until: Timestamp,
    ) -> Result<(), TableError> {
        for sk in [STATE, LEASE] {
            self.postpone_item(keys::conversation_pk(account, conversation), sk, until).await?;
        }
        Ok(())
    }

    pub(super) async fn postpone_item(
        &self,
        pk: String,
        sk: &str,
        until: Timestamp,
    ) -> Result<(), TableError> {
        for attempt in 0..ATTEMPTS {
            let request = self
                .client
                .update_item()
                .table_name(&self.name)
                .set_key(Some(items::key(pk.clone(), sk)))
                // The condition fails if there is no item or no deadline.
                .condition_expression("due_at < :until")
                .update_expression(format!("SET due_at = :until REMOVE {}", outbox::ATTRIBUTE))
                .expression_attribute_values(":until", items::millis(until))
                .send();
            match Box::pin(request).await {
                Ok(_) => return Ok(()),
                Err(error) => match Refusal::of(&error) {
                    Some(Refusal::Condition) => return Ok(()),
                    Some(Refusal::Conflict) => back_off(attempt).await,
                    None => return Err(request_error("UpdateItem", &error)),
                },
            }
        }
        Err(TableError::Conflict)
    }
}
