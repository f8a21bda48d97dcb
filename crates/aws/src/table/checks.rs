//! Checks for lost first attempts: a delivery has no item before its first attempt is recorded, so a lost message leaves
//! nothing that is due. Instead each conversation whose agent has webhooks has a check, an item that is due every quarter
//! of an hour until the conversation has ended and every webhook of every event has a delivery.

use aws_sdk_dynamodb::types::AttributeValue;
use serde::{Deserialize, Serialize};
use switchboard_model::{
    conversations::{Conversation, Snapshot},
    deliveries::{MAX_QUEUED, are_first_attempts_due, first_attempts_due_after},
    ids::{AccountId, ConversationId},
    time::Timestamp,
};

use super::{
    DeliveryKey, Table, TableError,
    items::{self, Item},
    packs::{self, Recipients},
    ranges::Pages,
    request_error,
    single_writes::Refusal,
};
use crate::keys::{self, CHECK, DELIVERY, DueList, EVENT, STATE};

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

impl Check {
    fn key(&self) -> (String, &str) {
        (keys::conversation_pk(self.account, self.conversation), &self.sk)
    }

    fn is_of_0_1_0(&self) -> bool {
        self.sk != CHECK
    }
}

/// Packs of events that a check looks at in one step: their deliveries are read with them, and may be many times as large.
const PACKS: usize = 50;

/// A check while it runs, through the events a page at a time.
pub struct CheckRun {
    check: Check,
    /// When it is due, as stored: each write changes it, and is refused to a run that another one has overtaken.
    due_at: Timestamp,
    /// Whether the conversation had ended before the events were read: then there are no further ones.
    has_ended: bool,
    /// The time of the check before.
    before: Option<Timestamp>,
    position: Position,
    pages: Pages,
}

/// First attempts of some events that are neither recorded nor under way.
#[derive(Debug)]
pub struct LostAttempts {
    account: AccountId,
    conversation: ConversationId,
    /// Sequence and webhooks.
    events: Vec<(u64, Vec<usize>)>,
}

impl LostAttempts {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Their deliveries, in the order of the events.
    pub fn deliveries(&self) -> impl Iterator<Item = DeliveryKey> {
        let (account, conversation) = (self.account, self.conversation);
        self.events.iter().flat_map(move |(sequence, webhooks)| {
            let key = move |webhook| DeliveryKey { account, conversation, sequence: *sequence, webhook };
            webhooks.iter().copied().map(key)
        })
    }
}

/// How far a check has come.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Position {
    /// When it began.
    at: Timestamp,
    /// The first event that it has not looked at.
    next: u64,
    /// The first event of which a delivery is missing.
    first_open: Option<u64>,
    /// The first time at which attempts at such an event are queued again.
    again_at: Option<Timestamp>,
}

/// The attributes of a check. An event of version 0.1.0 has none of them at first.
#[derive(Serialize, Deserialize)]
struct StoredCheck {
    /// The first event to look at.
    from: Option<u64>,
    /// The time of the last check.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    checked_at: Option<Timestamp>,
    /// Where a check that was paused goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    paused: Option<Position>,
}

/// The check of a new conversation; none without webhooks.
pub(super) fn of_new(Snapshot { conversation, agent }: &Snapshot) -> Result<Option<Item>, TableError> {
    if agent.webhooks.is_empty() {
        return Ok(None);
    }
    let pk = keys::conversation_pk(conversation.account_id, conversation.id);
    let stored = StoredCheck { from: Some(1), checked_at: None, paused: None };
    let item = Item::new(pk, CHECK, &stored)?.expiring(conversation.expires_at);
    Ok(Some(item.due_in(DueList::Events, conversation.created_at.after(MAX_QUEUED))))
}

impl CheckRun {
    /// The first event that it has not looked at.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.position.next
    }

    /// The time of the next check, as far as this one has come. None: this is the last one.
    #[must_use]
    pub fn again_at(&self) -> Option<Timestamp> {
        let Position { at, first_open, again_at, .. } = self.position;
        let goes_on = !self.has_ended && !self.check.is_of_0_1_0();
        // New events are checked a quarter of an hour later, however long the pauses of older ones are.
        let new_ones = goes_on.then(|| at.after(MAX_QUEUED));
        let open_ones = first_open.and(again_at);
        [new_ones, open_ones].into_iter().flatten().min()
    }

    /// Notes the events of a page, each with the webhooks that have no delivery of it. Returns those whose first attempts are
    /// queued now.
    fn look_at(&mut self, events: Vec<Recipients>) -> Vec<(u64, Vec<usize>)> {
        let at = self.position.at;
        let mut lost = vec![];
        for Recipients { sequence, created_at, webhooks } in events {
            if webhooks.is_empty() {
                continue;
            }
            let position = &mut self.position;
            position.first_open.get_or_insert(sequence);
            // An attempt that is queued now is not queued again before its message must have arrived.
            let due = first_attempts_due_after(created_at, at).max(at.after(MAX_QUEUED));
            position.again_at = Some(position.again_at.map_or(due, |earlier| earlier.min(due)));
            if are_first_attempts_due(created_at, self.before, at) {
                lost.push((sequence, webhooks));
            }
        }
        lost
    }
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

    /// Begins a check, or goes on with one that was paused. None if it is not due any more, or the conversation was deleted.
    pub async fn begin_check(&self, check: &Check, now: Timestamp) -> Result<Option<CheckRun>, TableError> {
        let (pk, sk) = check.key();
        // Read before the events: once it has ended, there are no further ones.
        let Some(state) = self.get(pk.clone(), STATE).await? else { return Ok(None) };
        let has_ended = state.read::<Conversation>(STATE)?.ended().is_some();
        let Some(item) = self.get(pk.clone(), sk).await? else { return Ok(None) };
        let Some((_, due_at)) = item.due_key().filter(|(_, due_at)| *due_at <= now) else { return Ok(None) };
        let StoredCheck { from, checked_at: before, paused } = item.read(CHECK)?;
        let of_0_1_0 = || check.sk.trim_start_matches(EVENT).parse().map_err(|_| TableError::Corrupt(EVENT));
        let from = if check.is_of_0_1_0() { of_0_1_0()? } else { from.ok_or(TableError::Corrupt(CHECK))? };
        let fresh = Position { at: now, next: from, first_open: None, again_at: None };
        let position = paused.unwrap_or(fresh);
        let pages = if check.is_of_0_1_0() {
            self.pages(pk, check.sk.clone(), check.sk.clone())
        } else {
            let begins = self.pack_of(pk.clone(), position.next).await?;
            self.pages(pk, begins, format!("{EVENT}~"))
        };
        let check = check.clone();
        Ok(Some(CheckRun { check, due_at, has_ended, before, position, pages }))
    }

    /// The lost first attempts of the next page of events, which may be empty. None after the last page.
    pub async fn lost_first_attempts(&self, run: &mut CheckRun) -> Result<Option<LostAttempts>, TableError> {
        let Some(page) = run.pages.next(PACKS).await? else { return Ok(None) };
        let mut events = vec![];
        for item in page {
            let found = packs::recipients(item)?.into_iter();
            events.extend(found.filter(|event| event.sequence >= run.position.next));
        }
        let end = events.last().map(|event| event.sequence);
        events.retain(|event| !event.webhooks.is_empty());
        self.remove_tried(&run.check, &mut events).await?;
        let lost = run.look_at(events);
        run.position.next = end.map_or(run.position.next, |end| end + 1);
        let Check { account, conversation, .. } = run.check;
        Ok(Some(LostAttempts { account, conversation, events: lost }))
    }

    /// Removes the webhooks that have a delivery of their event.
    async fn remove_tried(&self, check: &Check, events: &mut [Recipients]) -> Result<(), TableError> {
        let (Some(first), Some(last)) = (events.first(), events.last()) else { return Ok(()) };
        let from = keys::numbered_sk(DELIVERY, first.sequence);
        let to = format!("{}~", keys::numbered_sk(DELIVERY, last.sequence));
        let mut pages = self.pages(check.key().0, from, to).keys_only();
        while let Some(page) = pages.next(usize::MAX).await? {
            for (sequence, webhook) in page.iter().filter_map(|item| keys::delivery_of_sk(item.sk()?)) {
                if let Ok(place) = events.binary_search_by_key(&sequence, |event| event.sequence) {
                    events[place].webhooks.retain(|one| *one != webhook);
                }
            }
        }
        Ok(())
    }

    /// Claims a check until a time, so that no other sweep queues the same attempts: first attempts are queued by a run that
    /// has claimed it. False if another one was faster.
    pub async fn claim_check(&self, run: &mut CheckRun, until: Timestamp) -> Result<bool, TableError> {
        let is_claimed = self.update_check(run, "SET due_at = :at", &[(":at", items::millis(until))]).await?;
        run.due_at = until;
        Ok(is_claimed)
    }

    /// Stores when a check is due again, or that it was the last one, once the lost first attempts are queued.
    pub async fn settle_check(&self, run: &CheckRun) -> Result<(), TableError> {
        let (pk, sk) = run.check.key();
        let Some(at) = run.again_at() else {
            if run.check.is_of_0_1_0() {
                self.update_check(run, "REMOVE due_pk, due_at, paused", &[]).await?;
            } else {
                self.delete_one(pk, sk).await?;
            }
            return Ok(());
        };
        let from = run.position.first_open.unwrap_or(run.position.next);
        let values = [
            (":at", items::millis(at)),
            (":from", AttributeValue::N(from.to_string())),
            (":checked_at", AttributeValue::S(run.position.at.to_string())),
        ];
        let set = "SET due_at = :at, #from = :from, checked_at = :checked_at REMOVE paused";
        self.update_check(run, set, &values).await.map(drop)
    }

    /// Has a check go on at the event `next` once it is due at `at`.
    pub async fn pause_check(&self, run: &CheckRun, next: u64, at: Timestamp) -> Result<(), TableError> {
        let position = Position { next, ..run.position };
        let paused = serde_dynamo::to_attribute_value(position).map_err(|_| TableError::Corrupt("NEW"))?;
        let values = [(":at", items::millis(at)), (":paused", paused)];
        self.update_check(run, "SET due_at = :at, paused = :paused", &values).await.map(drop)
    }

    /// Updates a check if no other run has. False if one has, or it was deleted.
    async fn update_check(
        &self,
        run: &CheckRun,
        update: &str,
        values: &[(&str, AttributeValue)],
    ) -> Result<bool, TableError> {
        let (pk, sk) = run.check.key();
        let mut request = self
            .client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(items::key(pk, sk)))
            .condition_expression("due_at = :before")
            .update_expression(update)
            .expression_attribute_values(":before", items::millis(run.due_at));
        for (name, value) in values {
            request = request.expression_attribute_values(*name, value.clone());
        }
        if update.contains("#from") {
            request = request.expression_attribute_names("#from", "from");
        }
        match Box::pin(request.send()).await {
            Ok(_) => Ok(true),
            Err(error) => match Refusal::of(&error) {
                Some(Refusal::Condition) => Ok(false),
                Some(Refusal::Conflict) => Err(TableError::Conflict),
                None => Err(request_error("UpdateItem", &error)),
            },
        }
    }

    /// Makes a check due again at `until`.
    pub async fn postpone_check(&self, check: &Check, until: Timestamp) -> Result<(), TableError> {
        let (pk, sk) = check.key();
        self.postpone_item(pk, sk, until).await
    }
}
