//! Checks for lost first attempts: a delivery has no item before its first attempt is recorded, so a lost message leaves
//! nothing that is due. Instead each conversation whose agent has webhooks has a check, an item that is due every quarter
//! of an hour until the conversation has ended and every webhook of every event has a delivery.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::types::AttributeValue;
use serde::{Deserialize, Serialize};
use switchboard_model::{
    conversations::{Conversation, Snapshot},
    deliveries::MAX_QUEUED,
    events::Event,
    ids::{AccountId, ConversationId},
    time::Timestamp,
};

use super::{DeliveryKey, Table, TableError, items::Item, request_error, single_writes::Refusal};
use crate::keys::{self, CHECK, DueList, EVENT, STATE};

/// Events that are checked in one read; more are checked the next time.
const PAGE: usize = 1_000;

/// A check that is due.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Check {
    /// The owner.
    pub account: AccountId,
    /// The conversation whose deliveries are checked.
    pub conversation: ConversationId,
    /// The item: a check, or an event of version 0.1.0, which was its own check.
    sk: String,
}

/// The result of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckResult {
    /// First attempts that are neither recorded nor under way, in the order of the events.
    pub lost: Vec<DeliveryKey>,
    /// The time of the next check. None: the last one.
    pub again_at: Option<Timestamp>,
    /// The first event that the next check looks at.
    from: u64,
}

/// The attributes of a check.
#[derive(Serialize, Deserialize)]
struct StoredCheck {
    /// The first event to look at.
    from: u64,
}

/// The check of a new conversation; none without webhooks.
pub(super) fn of_new(Snapshot { conversation, agent }: &Snapshot) -> Result<Option<Item>, TableError> {
    if agent.webhooks.is_empty() {
        return Ok(None);
    }
    let pk = keys::conversation_pk(conversation.account_id, conversation.id);
    let item = Item::new(pk, CHECK, &StoredCheck { from: 1 })?.expiring(conversation.expires_at);
    Ok(Some(item.due_in(DueList::Events, conversation.created_at.after(MAX_QUEUED))))
}

impl Table {
    /// At most `limit` checks that are due at `now`, the longest overdue first.
    pub async fn due_checks(&self, now: Timestamp, limit: usize) -> Result<Vec<Check>, TableError> {
        let found = self.due_items(DueList::Events, now, limit).await?;
        let check = |item: Item| {
            let (account, conversation) = keys::conversation_of_key(item.pk()?)?;
            Some(Check { account, conversation, sk: item.sk()?.to_owned() })
        };
        Ok(found.into_iter().filter_map(check).collect())
    }

    /// Looks for the lost first attempts of a conversation. None if it was deleted.
    pub async fn lost_first_attempts(
        &self,
        check: &Check,
        now: Timestamp,
    ) -> Result<Option<CheckResult>, TableError> {
        let (account, id) = (check.account, check.conversation);
        let pk = keys::conversation_pk(account, id);
        // Read before the events: once it has ended, there are no further ones.
        let Some(state) = self.get(pk.clone(), STATE).await? else { return Ok(None) };
        let conversation: Conversation = state.read(STATE)?;
        let Some(item) = self.get(pk, check.sk.clone()).await? else { return Ok(None) };
        let is_own = check.sk == CHECK;
        let (from, limit) = if is_own {
            (item.read::<StoredCheck>(CHECK)?.from, PAGE)
        } else {
            (check.sk.trim_start_matches(EVENT).parse().map_err(|_| TableError::Corrupt(EVENT))?, 1)
        };
        let (events, has_more) = self.events(account, id, from.saturating_sub(1), limit).await?;
        let end = events.last().map_or(from, |event| event.sequence);
        let stored = self.deliveries(account, id, from, end).await?;
        let stored: BTreeSet<_> = stored.iter().map(|one| (one.sequence, one.webhook)).collect();
        let is_overdue = |event: &Event| now.since(event.created_at) >= MAX_QUEUED;
        let untried = |event: &Event| {
            let webhooks = event.webhooks.iter().copied();
            webhooks.filter(|webhook| !stored.contains(&(event.sequence, *webhook))).collect::<Vec<_>>()
        };
        let (mut lost, mut first_open, mut again_at) = (vec![], None, None);
        for event in &events {
            let untried = untried(event);
            if untried.is_empty() {
                continue;
            }
            first_open.get_or_insert(event.sequence);
            if is_overdue(event) {
                let sequence = event.sequence;
                let key = |webhook| DeliveryKey { account, conversation: id, sequence, webhook };
                lost.extend(untried.into_iter().map(key));
                let at = event.first_attempts_due_again_at(now);
                again_at = Some(again_at.map_or(at, |earlier: Timestamp| earlier.min(at)));
            }
        }
        let is_over = first_open.is_none() && (!is_own || conversation.ended().is_some() && !has_more);
        let again_at = match again_at {
            Some(at) => Some(at),
            None if is_over => None,
            None => Some(now.after(MAX_QUEUED)),
        };
        let again_at = if is_own && has_more { Some(now) } else { again_at };
        Ok(Some(CheckResult { lost, again_at, from: first_open.unwrap_or(end + 1) }))
    }

    /// Stores when a check is due again, or that it was the last one, once the lost first attempts are queued.
    pub async fn settle_check(&self, check: &Check, result: &CheckResult) -> Result<(), TableError> {
        let pk = keys::conversation_pk(check.account, check.conversation);
        let request = self
            .client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(super::items::key(pk.clone(), &check.sk)))
            // The condition fails if it was deleted.
            .condition_expression("attribute_exists(due_at)");
        let request = match result.again_at {
            None if check.sk == CHECK => return self.delete_one(pk, CHECK).await.map(drop),
            None => request.update_expression("REMOVE due_pk, due_at"),
            Some(at) => request
                .update_expression("SET due_at = :at, #from = :from")
                .expression_attribute_names("#from", "from")
                .expression_attribute_values(":at", super::items::millis(at))
                .expression_attribute_values(":from", AttributeValue::N(result.from.to_string())),
        };
        match Box::pin(request.send()).await {
            Ok(_) => Ok(()),
            Err(error) => match Refusal::of(&error) {
                Some(Refusal::Condition) => Ok(()),
                Some(Refusal::Conflict) => Err(TableError::Conflict),
                None => Err(request_error("UpdateItem", &error)),
            },
        }
    }

    /// Makes a check due again at `until`.
    pub async fn postpone_check(&self, check: &Check, until: Timestamp) -> Result<(), TableError> {
        self.postpone_item(keys::conversation_pk(check.account, check.conversation), &check.sk, until).await
    }
}
