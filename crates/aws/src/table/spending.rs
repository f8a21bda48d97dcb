//! The cost of an account's conversations on a day, counted in the write that ends each of them.

use aws_sdk_dynamodb::types::{AttributeValue, TransactWriteItem, Update};
use serde::Deserialize;
use switchboard_model::{conversations::Conversation, costs::Usd, ids::AccountId, time::Timestamp};

use super::{Table, TableError, items, request_error, single_writes::Refusal, transactions::Write};
use crate::keys::{self, SPENT};

/// Days after which a day's sum is deleted.
const KEPT: std::time::Duration = std::time::Duration::from_hours(35 * 24);

#[derive(Default, Deserialize)]
pub(super) struct Spent {
    /// Millionths of a dollar.
    pub(super) micro_usd: u64,
}

#[derive(Default, Deserialize)]
pub(super) struct Bought {
    /// Numbers that were bought on a day.
    pub(super) bought: u32,
}

impl Table {
    /// The cost of the account's conversations that ended on the day (UTC) of `now`.
    pub async fn spent(&self, account: AccountId, now: Timestamp) -> Result<Usd, TableError> {
        let item = self.get(keys::account_pk(account), keys::spent_sk(now)).await?;
        let Spent { micro_usd } = item.map_or(Ok(Spent::default()), |item| item.read(SPENT))?;
        Ok(Usd::from_micros(micro_usd))
    }

    /// Counts a purchase of a number on the day (UTC) of `now`. False if the account has made `most` on that day.
    pub async fn take_purchase(
        &self,
        account: AccountId,
        most: u32,
        now: Timestamp,
    ) -> Result<bool, TableError> {
        let expires = now.after(KEPT).as_millis().div_euclid(1_000);
        let number = |number: String| AttributeValue::N(number);
        let request = self
            .client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(items::key(keys::account_pk(account), &keys::bought_sk(now))))
            .condition_expression("attribute_not_exists(bought) OR bought < :most")
            .update_expression("SET #ttl = :ttl ADD bought :one")
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":ttl", number(expires.to_string()))
            .expression_attribute_values(":one", number("1".to_owned()))
            .expression_attribute_values(":most", number(most.to_string()))
            .send();
        match Box::pin(request).await {
            Ok(_) => Ok(true),
            Err(error) if matches!(Refusal::of(&error), Some(Refusal::Condition)) => Ok(false),
            Err(error) => Err(request_error("UpdateItem", &error)),
        }
    }

    /// The write that adds the cost of a conversation that ends; `None` if it costs nothing.
    pub(super) fn spend(&self, before: Option<&Conversation>, after: &Conversation) -> Option<Write> {
        let (ended_at, _, cost) = after.ended()?;
        let micros = cost.total.as_micros();
        if micros == 0 || before.is_some_and(|before| before.ended().is_some()) {
            return None;
        }
        let expires = ended_at.after(KEPT).as_millis().div_euclid(1_000);
        let number = |number: String| AttributeValue::N(number);
        let update = Update::builder()
            .table_name(&self.name)
            .set_key(Some(items::key(keys::account_pk(after.account_id), &keys::spent_sk(ended_at))))
            .update_expression("SET #ttl = :ttl ADD micro_usd :cost")
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":ttl", number(expires.to_string()))
            .expression_attribute_values(":cost", number(micros.to_string()))
            .build();
        Some(Write::new(update.map(|update| TransactWriteItem::builder().update(update))))
    }
}
