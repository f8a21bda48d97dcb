//! Lists of what an account owns, newest first, in pages, by the index `account`.
//!
//! The index holds keys only: a transition that does not move a conversation between lists costs nothing there, and
//! skipping ten thousand entries reads about 2 MB. The items are read from the table.

use std::{cmp::Reverse, collections::HashMap};

use aws_sdk_dynamodb::types::AttributeValue;
use switchboard_model::{
    conversations::{Conversation, Snapshot, Status},
    ids::{AccountId, ConversationId},
    lists::{Created, Listing},
    time::Timestamp,
};

use super::{
    Table, TableError,
    conversations::BATCH,
    items::{self, Item, StoredConfig},
    request_error,
};
use crate::keys::{self, CONFIG, STATE};

/// A call that waits to be dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitingCall {
    /// Its conversation.
    pub id: ConversationId,
    /// Whether it goes through the customer's own account at the carrier.
    pub imported: bool,
}

/// An entry of the index.
struct Line {
    /// Creation time and id.
    sort: String,
    /// The key of its item.
    pk: String,
    sk: String,
}

impl Table {
    /// One page of an account's conversations, newest first, of one status if it is given, and whether there are more.
    /// A conversation that changes its status or is deleted meanwhile may be missing.
    pub async fn conversations(
        &self,
        account: AccountId,
        status: Option<Status>,
        listing: Listing,
    ) -> Result<(Vec<Snapshot>, bool), TableError> {
        let statuses = Status::ALL.into_iter().filter(|each| status.is_none_or(|status| status == *each));
        let lists = statuses.map(|status| keys::conversations_pk(account, status)).collect();
        let (lines, has_more) = self.listed(lists, listing).await?;
        let items_of =
            |sk: &'static str| self.batch_of(lines.iter().map(move |line| (line.pk.clone(), sk.into())));
        let (found, configs) = tokio::try_join!(items_of(STATE), items_of(CONFIG))?;
        let mut configs: HashMap<String, Item> =
            configs.into_iter().filter_map(|item| Some((item.pk()?.to_owned(), item))).collect();
        let mut snapshots = Vec::with_capacity(found.len());
        for state in found {
            let Some(config) = state.pk().and_then(|pk| configs.remove(pk)) else { continue };
            let conversation: Conversation = state.read(STATE)?;
            if status.is_none_or(|status| status == conversation.status()) {
                let agent = self.open_config(account, &config.read::<StoredConfig>(CONFIG)?).await?;
                snapshots.push(Snapshot { conversation, agent });
            }
        }
        // As the index sorts them.
        let age = |Snapshot { conversation, .. }: &Snapshot| (conversation.created_at, conversation.id);
        snapshots.sort_unstable_by_key(|snapshot| Reverse(age(snapshot)));
        Ok((snapshots, has_more))
    }

    /// Calls of an account that wait to be dialled, the oldest first, at most `limit`. One that was stored some
    /// milliseconds ago may be missing.
    pub async fn waiting_calls(
        &self,
        account: AccountId,
        limit: usize,
    ) -> Result<Vec<WaitingCall>, TableError> {
        let list = keys::conversations_pk(account, Status::Queued);
        let (mut waiting, mut start) = (vec![], None);
        loop {
            // Calls that are dialled or ring are in the same list, before those that wait.
            let request = self
                .client
                .query()
                .table_name(&self.name)
                .index_name("account")
                .key_condition_expression("account_pk = :list")
                .expression_attribute_values(":list", AttributeValue::S(list.clone()))
                .limit(i32::try_from(BATCH).unwrap_or(i32::MAX))
                .set_exclusive_start_key(start)
                .send();
            let page = Box::pin(request).await.map_err(|error| request_error("Query", &error))?;
            let lines = page.items.unwrap_or_default().into_iter().filter_map(line);
            let states = self.batch_of(lines.map(|line| (line.pk, line.sk))).await?;
            let states = states.into_iter().filter_map(|item| item.read::<Conversation>(STATE).ok());
            let mut found: Vec<_> = states.filter(|call| call.slots().waiting > 0).collect();
            found.sort_unstable_by_key(|call| (call.created_at, call.id));
            waiting.extend(found.into_iter().map(|call| WaitingCall {
                id: call.id,
                imported: call.legs.caller().phone_call.as_ref().is_some_and(|call| call.imported),
            }));
            start = page.last_evaluated_key;
            if start.is_none() || waiting.len() >= limit {
                waiting.truncate(limit);
                return Ok(waiting);
            }
        }
    }

    /// One page of one list, newest first, decoded by `read`, and whether there are more. `age` gives creation time
    /// and id.
    pub(super) async fn page<T, I: Ord>(
        &self,
        list: String,
        listing: Listing,
        read: impl Fn(Item) -> Result<T, TableError>,
        age: impl Fn(&T) -> (Timestamp, I),
    ) -> Result<(Vec<T>, bool), TableError> {
        let (lines, has_more) = self.listed(vec![list], listing).await?;
        let items = self.batch_of(lines.into_iter().map(|line| (line.pk, line.sk))).await?;
        let mut found: Vec<T> = items.into_iter().map(read).collect::<Result<_, _>>()?;
        // As the index sorts them.
        found.sort_unstable_by_key(|item| Reverse(age(item)));
        Ok((found, has_more))
    }

    /// The entries of one page of these lists together, newest first, and whether there are more.
    async fn listed(
        &self,
        lists: Vec<String>,
        Listing { created, page }: Listing,
    ) -> Result<(Vec<Line>, bool), TableError> {
        let offset = usize::try_from(page.offset()).unwrap_or(usize::MAX);
        let end = offset.saturating_add(page.limit);
        let mut lines = Vec::new();
        // One after the other, in the order of a conversation's life: one that changes its status meanwhile is seen at
        // least once.
        for list in lists {
            lines.extend(self.newest(list, created, end.saturating_add(1)).await?);
        }
        lines.sort_unstable_by(|a, b| b.sort.cmp(&a.sort));
        lines.dedup_by(|a, b| a.sort == b.sort);
        let has_more = lines.len() > end;
        Ok((lines.into_iter().skip(offset).take(page.limit).collect(), has_more))
    }

    /// The newest entries of one list, at most `most`.
    async fn newest(&self, list: String, created: Created, most: usize) -> Result<Vec<Line>, TableError> {
        // `#` separates time and id; all entries begin with a digit.
        let from = created.after.map_or("0".to_owned(), |after| format!("{after}~"));
        let to = created.before.map_or("~".to_owned(), |before| before.to_string());
        let mut lines = Vec::new();
        let mut start = None;
        while from <= to && lines.len() < most {
            let request = self
                .client
                .query()
                .table_name(&self.name)
                .index_name("account")
                .key_condition_expression("account_pk = :list AND account_sk BETWEEN :from AND :to")
                .expression_attribute_values(":list", AttributeValue::S(list.clone()))
                .expression_attribute_values(":from", AttributeValue::S(from.clone()))
                .expression_attribute_values(":to", AttributeValue::S(to.clone()))
                .scan_index_forward(false)
                .limit(i32::try_from(most - lines.len()).unwrap_or(i32::MAX))
                .set_exclusive_start_key(start)
                .send();
            let page = Box::pin(request).await.map_err(|error| request_error("Query", &error))?;
            lines.extend(page.items.unwrap_or_default().into_iter().filter_map(line));
            start = page.last_evaluated_key;
            if start.is_none() {
                break;
            }
        }
        Ok(lines)
    }

    /// Items by their keys, in no order; missing ones are left out.
    async fn batch_of(&self, keys: impl Iterator<Item = (String, String)>) -> Result<Vec<Item>, TableError> {
        let keys: Vec<_> = keys.map(|(pk, sk)| items::key(pk, &sk)).collect();
        let mut found = Vec::with_capacity(keys.len());
        for batch in keys.chunks(BATCH) {
            found.extend(self.batch(batch.to_vec()).await?);
        }
        Ok(found)
    }
}

fn line(mut attributes: HashMap<String, AttributeValue>) -> Option<Line> {
    let mut text = |name| match attributes.remove(name) {
        Some(AttributeValue::S(text)) => Some(text),
        _ => None,
    };
    Some(Line { sort: text("account_sk")?, pk: text("pk")?, sk: text("sk")? })
}
