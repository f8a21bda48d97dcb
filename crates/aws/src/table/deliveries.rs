//! Deliveries of events to webhooks, and the state of the hosts that receive them.
//!
//! A delivery has no item before its first attempt is recorded or postponed: the event lists its webhooks. If the message
//! of the first attempt is lost, the conversation's [check](super::checks) finds it. Each write of a delivery is conditional on the number of
//! the next attempt, which each write changes.

use aws_sdk_dynamodb::{operation::put_item::PutItemError, types::ReturnValuesOnConditionCheckFailure};
use switchboard_model::{
    accounts::Account,
    conversations::{Conversation, Snapshot},
    deliveries::Delivery,
    events::Event,
    ids::{AccountId, ConversationId},
    time::Timestamp,
};

use super::{
    Table, TableError,
    conditions::{Condition, conditional},
    items::{self, Item, StoredConfig},
    request_error,
};
use crate::{
    keys::{self, ACCOUNT, CONFIG, DELIVERY, DeliveryKey, DueList, STATE},
    outbox,
};

/// Everything that an attempt needs.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// The owner.
    pub account: Account,
    /// The conversation and its agent's configuration.
    pub snapshot: Snapshot,
    /// The event to deliver.
    pub event: Event,
    /// The stored delivery; `None` before the first attempt.
    pub delivery: Option<Delivery>,
    /// Whether the receiver ended all deliveries of this conversation (410).
    pub is_stopped: bool,
}

impl Table {
    /// Everything that an attempt needs. `None` if the conversation, the event or the account was deleted.
    pub async fn outgoing(&self, key: DeliveryKey) -> Result<Option<Outgoing>, TableError> {
        let (pk, delivery_sk) = key.item();
        let stop_sk = keys::stop_sk(key.webhook);
        let sks = [STATE, CONFIG, &delivery_sk, &stop_sk];
        let mut wanted = Vec::from(sks.map(|sk| items::key(pk.clone(), sk)));
        wanted.push(items::key(keys::account_pk(key.account), ACCOUNT));
        let event = self.event(key.account, key.conversation, key.sequence);
        let (mut found, event) = tokio::try_join!(self.batch(wanted), event)?;
        let mut take = |sk: &str| {
            let at = found.iter().position(|item| item.sk() == Some(sk))?;
            Some(found.swap_remove(at))
        };
        let (Some(state), Some(config), Some(event), Some(account)) =
            (take(STATE), take(CONFIG), event, take(ACCOUNT))
        else {
            return Ok(None);
        };
        Ok(Some(Outgoing {
            account: self.open_account(account.read(ACCOUNT)?).await?,
            snapshot: Snapshot {
                conversation: state.read(STATE)?,
                agent: self.open_config(key.account, &config.read::<StoredConfig>(CONFIG)?).await?,
            },
            event,
            delivery: take(&delivery_sk).map(|item| item.read(DELIVERY)).transpose()?,
            is_stopped: take(&stop_sk).is_some(),
        }))
    }

    /// `None` before the first attempt is recorded.
    pub async fn delivery(&self, key: DeliveryKey) -> Result<Option<Delivery>, TableError> {
        let (pk, sk) = key.item();
        let item = self.get(pk, sk).await?;
        item.map(|item| item.read(DELIVERY)).transpose()
    }

    /// The deliveries of the events `first` to `last` of a conversation, in the order of the events.
    pub async fn deliveries(
        &self,
        account: AccountId,
        conversation: ConversationId,
        first: u64,
        last: u64,
    ) -> Result<Vec<Delivery>, TableError> {
        let pk = keys::conversation_pk(account, conversation);
        let from = keys::numbered_sk(DELIVERY, first);
        let to = format!("{}~", keys::numbered_sk(DELIVERY, last));
        let items = self.range(pk, from, to, usize::MAX).await?;
        items.into_iter().map(|item| item.read(DELIVERY)).collect()
    }

    /// Records an attempt; `before` is the delivery as the caller read it. If the receiver responded 410, the
    /// conversation sends it no further events.
    ///
    /// # Errors
    /// [`TableError::Conflict`]: another writer wrote first, and the attempt is superseded.
    pub async fn record_delivery(
        &self,
        conversation: &Conversation,
        before: Option<&Delivery>,
        after: &Delivery,
    ) -> Result<(), TableError> {
        let is_gone = after.attempts.last().is_some_and(|last| last.status == Some(410));
        if is_gone && after.next_attempt_at.is_none() {
            let pk = keys::conversation_pk(conversation.account_id, conversation.id);
            let stop = Item::empty(pk, &keys::stop_sk(after.webhook)).expiring(conversation.expires_at);
            // Written first, so that later attempts find it. If the next write fails, it still holds.
            self.put_one(stop).await?;
        }
        self.put_delivery(items::delivery_item(conversation, after)?, before, after).await
    }

    /// Stores a delivery that was requested again, and puts it into the [outbox].
    ///
    /// # Errors
    /// [`TableError::Conflict`]: another writer wrote first.
    pub async fn redeliver(
        &self,
        conversation: &Conversation,
        before: Option<&Delivery>,
        after: &Delivery,
    ) -> Result<(), TableError> {
        let item = items::delivery_item(conversation, after)?;
        let item = item.with(outbox::ATTRIBUTE, outbox::REDELIVERY.to_owned());
        self.put_delivery(item, before, after).await
    }

    /// Deletes a delivery whose conversation was deleted.
    pub async fn forget_delivery(&self, delivery: DeliveryKey) -> Result<(), TableError> {
        let (pk, sk) = delivery.item();
        self.delete_one(pk, &sk).await?;
        Ok(())
    }

    async fn put_delivery(
        &self,
        item: Item,
        before: Option<&Delivery>,
        after: &Delivery,
    ) -> Result<(), TableError> {
        let condition = match before {
            None => Condition::new("attribute_not_exists(pk)"),
            Some(before) => Condition::new("attempt = :attempt").number(":attempt", &before.attempt),
        };
        let request = self
            .client
            .put_item()
            .table_name(&self.name)
            .set_item(Some(item.into_attributes()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let request = conditional!(request, condition).send();
        let Err(error) = Box::pin(request).await else { return Ok(()) };
        match error.as_service_error() {
            Some(PutItemError::ConditionalCheckFailedException(failed)) => {
                // It may be this write, whose response was lost.
                let there = failed.item().cloned().map(|item| Item::from(item).read::<Delivery>(DELIVERY));
                if there.and_then(Result::ok).as_ref() == Some(after) {
                    Ok(())
                } else {
                    Err(TableError::Conflict)
                }
            }
            _ => Err(request_error("PutItem", &error)),
        }
    }

    /// At most `limit` deliveries that are due at `now`, the longest overdue first.
    pub async fn due_deliveries(&self, now: Timestamp, limit: usize) -> Result<Vec<DeliveryKey>, TableError> {
        let found = self.due_items(DueList::Deliveries, now, limit).await?;
        Ok(found.into_iter().filter_map(|item| DeliveryKey::of_item(item.pk()?, item.sk()?)).collect())
    }

    /// Makes a delivery due again at `until`, and takes it out of the outbox.
    pub async fn postpone_delivery(&self, delivery: DeliveryKey, until: Timestamp) -> Result<(), TableError> {
        let (pk, sk) = delivery.item();
        self.postpone_item(pk, &sk, until).await
    }
}
