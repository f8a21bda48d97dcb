//! Limits of an account, the counters of its calls, and the token bucket of its requests.

use std::time::Duration;

use aws_sdk_dynamodb::{
    operation::update_item::UpdateItemError,
    types::{AttributeValue, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update},
};
use switchboard_model::{
    accounts::Limits,
    ids::{AccountId, ConversationId},
    limits::{Change, Counters, MAX_WAITING, Rate, Take},
    phone_numbers::PhoneNumber,
    time::Timestamp,
};

use super::{
    Table, TableError,
    items::{self, Item},
    request_error,
    single_writes::Refusal,
    transactions::{Guard, Write},
};
use crate::keys::{self, ACCOUNT, LIVE, REQUESTS, STARTS, STATE};

/// The limit that a change of the counters must keep. Without one, the change always happens.
#[derive(Debug, Clone, Copy)]
pub(super) enum Room {
    /// One more call may wait.
    Waiting,
    /// One more inbound call may be live.
    Inbound {
        /// Maximum number of live inbound calls.
        most: u32,
    },
    /// One more outbound call may be live.
    Live {
        /// Maximum number of live calls.
        most: u32,
        /// The token to take from the account's share of the deployment's calls per second; none for a call through the
        /// customer's own account at the carrier.
        take: Option<Take>,
    },
}

/// An update expression, its condition, and the values of both.
type Parts = (&'static str, &'static str, [(&'static str, i64); 2]);

impl Table {
    /// The limits of an account; the default limits if there is no such account.
    pub async fn limits(&self, account: AccountId) -> Result<Limits, TableError> {
        // Its secrets are not opened: the limits hold while the key service is away.
        Ok(self.stored_account(account).await?.map(|account| account.limits).unwrap_or_default())
    }

    /// Replaces the limits of an account. False if there is no such account.
    pub async fn set_limits(&self, account: AccountId, limits: &Limits) -> Result<bool, TableError> {
        let limits = serde_dynamo::to_attribute_value(limits).map_err(|_| TableError::Corrupt("NEW"))?;
        let request = self
            .client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(items::key(keys::account_pk(account), ACCOUNT)))
            .condition_expression("attribute_exists(pk)")
            .update_expression("SET limits = :limits")
            .expression_attribute_values(":limits", limits)
            .send();
        match Box::pin(request).await {
            Ok(_) => Ok(true),
            Err(error) => match Refusal::of(&error) {
                Some(Refusal::Condition) => Ok(false),
                Some(Refusal::Conflict) => Err(TableError::Conflict),
                None => Err(request_error("UpdateItem", &error)),
            },
        }
    }

    /// The counters of an account's waiting and live calls.
    pub async fn counters(&self, account: AccountId) -> Result<Counters, TableError> {
        let item = self.get(keys::account_pk(account), LIVE).await?;
        item.map_or(Ok(Counters::default()), |item| item.read(LIVE))
    }

    /// The write of the counters that belongs to a transaction that changes a conversation's slot.
    pub(super) fn count(&self, account: AccountId, change: Change, room: Option<Room>) -> Option<Write> {
        if change == Change::default() {
            return None;
        }
        let update = Update::builder()
            .table_name(&self.name)
            .set_key(Some(items::key(keys::account_pk(account), LIVE)))
            .expression_attribute_values(":waiting", number(change.waiting))
            .expression_attribute_values(":live", number(change.live))
            .expression_attribute_values(":inbound", number(change.inbound));
        let add = "ADD waiting :waiting, live :live, inbound :inbound";
        let update = match room {
            None => update.update_expression(add),
            Some(Room::Waiting) => update
                .update_expression(add)
                .condition_expression("attribute_not_exists(waiting) OR waiting < :most")
                .expression_attribute_values(":most", number(MAX_WAITING)),
            Some(Room::Inbound { most }) => update
                .update_expression(add)
                .condition_expression("attribute_not_exists(inbound) OR inbound < :most")
                .expression_attribute_values(":most", number(most)),
            Some(Room::Live { most, take: None }) => update
                .update_expression(add)
                .condition_expression("attribute_not_exists(live) OR live < :most")
                .expression_attribute_values(":most", number(most)),
            Some(Room::Live { most, take: Some(take) }) => {
                let (set, condition, values) = parts(take);
                let mut update = update
                    .update_expression(format!("{set} {add}"))
                    .condition_expression(format!(
                        "(attribute_not_exists(live) OR live < :most) AND ({condition})"
                    ))
                    .expression_attribute_values(":most", number(most));
                for (name, value) in values {
                    update = update.expression_attribute_values(name, number(value));
                }
                update
            }
        };
        let write = Write::new(update.build().map(|update| TransactWriteItem::builder().update(update)));
        Some(write.guarded_by(Guard::Full))
    }

    /// Claims the sending of a message for a waiting call, so that there is one at a time: until the time at which it must have
    /// arrived. False if another one is under way, or the call does not exist.
    pub async fn claim_message(
        &self,
        account: AccountId,
        call: ConversationId,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<bool, TableError> {
        let free = "attribute_exists(pk) AND (attribute_not_exists(message_until) OR message_until < :now)";
        self.set_message(
            account,
            call,
            free,
            "SET message_until = :until",
            &[(":now", now), (":until", until)],
        )
        .await
    }

    /// Extends the claim of a message that replaces another one.
    pub async fn extend_message(
        &self,
        account: AccountId,
        call: ConversationId,
        until: Timestamp,
    ) -> Result<(), TableError> {
        let set = "SET message_until = :until";
        self.set_message(account, call, "attribute_exists(pk)", set, &[(":until", until)]).await?;
        Ok(())
    }

    /// No message is under way for a call that waits in the table.
    pub async fn release_message(&self, account: AccountId, call: ConversationId) -> Result<(), TableError> {
        self.set_message(account, call, "attribute_exists(message_until)", "REMOVE message_until", &[])
            .await?;
        Ok(())
    }

    async fn set_message(
        &self,
        account: AccountId,
        call: ConversationId,
        condition: &str,
        update: &str,
        times: &[(&str, Timestamp)],
    ) -> Result<bool, TableError> {
        let mut request = self
            .client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(items::key(keys::conversation_pk(account, call), STATE)))
            .condition_expression(condition)
            .update_expression(update);
        for (name, time) in times {
            request = request.expression_attribute_values(*name, items::millis(*time));
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

    /// Counts a request against the requests per second of an account. `None` if it is allowed, else the time until
    /// another one is. One write for an occasional request, two under load.
    pub async fn take_request(
        &self,
        account: AccountId,
        limits: &Limits,
        counts: u32,
        now: Timestamp,
    ) -> Result<Option<Duration>, TableError> {
        let rate = Rate::requests(limits).weighing(counts);
        self.take_token(keys::busy_pk(account, REQUESTS), REQUESTS, rate, now).await
    }

    /// Counts the start of a call against the calls per second of an account at the carrier: the customer's own with this
    /// id, or the deployment's. `None` if it may start, as in [`Table::take_request`].
    pub(super) async fn take_call_start(
        &self,
        account_sid: Option<&str>,
        rate: Rate,
        now: Timestamp,
    ) -> Result<Option<Duration>, TableError> {
        self.take_token(keys::carrier_pk(account_sid), STARTS, rate, now).await
    }

    /// Counts a request about an inbound call to a number. `None` if it is allowed, as in [`Table::take_request`].
    pub async fn take_inbound_request(
        &self,
        number: &PhoneNumber,
        limits: &Limits,
        now: Timestamp,
    ) -> Result<Option<Duration>, TableError> {
        let rate = Rate::inbound_requests(limits);
        let sk = keys::inbound_requests_sk(number.id);
        self.take_token(keys::busy_pk(number.account_id, &sk), &sk, rate, now).await
    }

    async fn take_token(
        &self,
        pk: String,
        sk: &str,
        rate: Rate,
        now: Timestamp,
    ) -> Result<Option<Duration>, TableError> {
        let mut bucket = None;
        // The first try assumes a full bucket. The others know its level, and may lose races.
        for _ in 0..4 {
            let take = match rate.take(bucket, now) {
                Ok(take) => take,
                Err(wait) => return Ok(Some(wait)),
            };
            match self.take(pk.clone(), sk, take).await? {
                None => return Ok(None),
                Some(full_at) => bucket = Some(full_at),
            }
        }
        Ok(rate.take(bucket, now).err())
    }

    /// Takes a token. Returns the level of the bucket if it does not allow it.
    async fn take(&self, pk: String, sk: &str, take: Take) -> Result<Option<i64>, TableError> {
        let (set, condition, values) = parts(take);
        let mut request = self
            .client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(items::key(pk, sk)))
            .update_expression(set)
            .condition_expression(condition)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        for (name, value) in values {
            request = request.expression_attribute_values(name, number(value));
        }
        let Err(error) = Box::pin(request.send()).await else { return Ok(None) };
        match error.as_service_error() {
            Some(UpdateItemError::ConditionalCheckFailedException(failed)) => {
                let item = failed.item().cloned().map(Item::from).ok_or(TableError::Conflict)?;
                item.read::<Counters>(REQUESTS)?.full_at.map(Some).ok_or(TableError::Corrupt(REQUESTS))
            }
            _ => Err(request_error("UpdateItem", &error)),
        }
    }
}

fn parts(take: Take) -> Parts {
    match take {
        Take::First { now, full_at } => (
            "SET full_at = :full_at",
            "attribute_not_exists(full_at) OR full_at <= :now",
            [(":full_at", full_at), (":now", now)],
        ),
        Take::Next { latest, interval } => (
            "SET full_at = full_at + :interval",
            "full_at <= :latest",
            [(":latest", latest), (":interval", interval)],
        ),
    }
}

fn number(value: impl Into<i64>) -> AttributeValue {
    AttributeValue::N(value.into().to_string())
}
