//! Claims of idempotency keys: one request holds a key and stores its response, repeated ones receive that response.

use aws_sdk_dynamodb::{operation::put_item::PutItemError, types::ReturnValuesOnConditionCheckFailure};
use serde_json::json;
use switchboard_model::{
    idempotency::{Answer, Claim, RUNS, Verdict},
    ids::{AccountId, ConversationId},
    time::Timestamp,
};

use super::{
    Table, TableError,
    conditions::{Condition, conditional},
    items::{self, Item},
    request_error,
    single_writes::Refusal,
};
use crate::keys::{self, CLAIM};

/// The answer to a repeated request whose conversation was deleted.
const DELETED: &str = "The conversation of this Idempotency-Key was deleted";

/// The result of claiming a key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Claimed {
    /// The caller holds the claim, handles the request and stores the response.
    New(Claim),
    /// The caller holds the claim after an earlier holder, which stored no response but may have written.
    Again(Claim),
    /// Another request holds the claim and is still being handled.
    Running,
    /// An earlier request stored this response.
    Answered(Answer),
    /// An earlier request used the key with another body.
    OtherBody,
}

impl Table {
    /// Claims `key` (of a request to one route) for the holder of `claim`, unless another request has claimed it.
    pub async fn claim(
        &self,
        account: AccountId,
        key: &str,
        claim: Claim,
        now: Timestamp,
    ) -> Result<Claimed, TableError> {
        let item = Item::new(keys::account_pk(account), keys::claim_sk(key), &claim)?;
        // The time to live deletes an expired item within days, not at once.
        let free = Condition::new("attribute_not_exists(pk) OR #ttl <= :now")
            .name("#ttl", "ttl")
            .number(":now", &(now.as_millis() / 1_000));
        let request = self
            .client
            .put_item()
            .table_name(&self.name)
            .set_item(Some(item.into_attributes()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let Err(error) = Box::pin(conditional!(request, free).send()).await else {
            return Ok(Claimed::New(claim));
        };
        let Some(PutItemError::ConditionalCheckFailedException(failed)) = error.as_service_error() else {
            return Err(request_error("PutItem", &error));
        };
        let stored = failed.item().cloned().map(Item::from).ok_or(TableError::Conflict)?;
        let stored: Claim = stored.read(CLAIM)?;
        match stored.verdict(&claim.body_sha256, now) {
            Verdict::OtherBody => Ok(Claimed::OtherBody),
            Verdict::Answered(Answer { status, body }) => {
                let body = self.open_answer(account, key, body).await?;
                Ok(Claimed::Answered(Answer { status, body }))
            }
            Verdict::Running => Ok(Claimed::Running),
            Verdict::Abandoned => {
                let mine = Claim { holder: claim.holder, until: now.after(RUNS), ..stored.clone() };
                let taken = self.change_claim(account, key, &stored.holder, &mine).await?;
                Ok(if taken { Claimed::Again(mine) } else { Claimed::Running })
            }
        }
    }

    /// Stores the response of a claim. Nothing is written if the claim was lost meanwhile. If the request created a
    /// conversation, the deletion of that empties the response.
    pub async fn answer_claim(
        &self,
        account: AccountId,
        key: &str,
        claim: &Claim,
        answer: Answer,
        created: Option<ConversationId>,
    ) -> Result<(), TableError> {
        if let Some(conversation) = created {
            let (pk, sk) = (keys::conversation_pk(account, conversation), keys::claim_sk(key));
            let until = Timestamp::from_millis(claim.ttl.saturating_mul(1_000));
            self.put_one(Item::empty(pk, &sk).expiring(Some(until))).await?;
        }
        let body = self.seal_answer(account, key, answer.body).await?;
        let answered = Claim { answer: Some(Answer { body, ..answer }), ..claim.clone() };
        self.change_claim(account, key, &claim.holder, &answered).await?;
        Ok(())
    }

    /// Lets the next request with this key start at once, under the same id: this one may have written.
    pub async fn abandon_claim(
        &self,
        account: AccountId,
        key: &str,
        claim: &Claim,
        now: Timestamp,
    ) -> Result<(), TableError> {
        let abandoned = Claim { until: now, ..claim.clone() };
        self.change_claim(account, key, &claim.holder, &abandoned).await?;
        Ok(())
    }

    /// Deletes a claim whose request wrote nothing.
    pub async fn forget_claim(&self, account: AccountId, key: &str, claim: &Claim) -> Result<(), TableError> {
        let request = self
            .client
            .delete_item()
            .table_name(&self.name)
            .set_key(Some(items::key(keys::account_pk(account), &keys::claim_sk(key))));
        let held = held_by(&claim.holder);
        match Box::pin(conditional!(request, held).send()).await {
            Ok(_) => Ok(()),
            Err(error) if matches!(Refusal::of(&error), Some(Refusal::Condition)) => Ok(()),
            Err(error) => Err(request_error("DeleteItem", &error)),
        }
    }

    /// Empties the response of the claim with this `sk`, if there is one.
    pub(super) async fn empty_claim(&self, account: AccountId, sk: &str) -> Result<(), TableError> {
        let gone = Answer { status: 404, body: json!({ "detail": DELETED }).to_string() };
        let gone = serde_dynamo::to_attribute_value(&gone).map_err(|_| TableError::Corrupt("NEW"))?;
        let request = self
            .client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(items::key(keys::account_pk(account), sk)))
            .condition_expression("attribute_exists(pk)")
            .update_expression("SET answer = :gone")
            .expression_attribute_values(":gone", gone)
            .send();
        match Box::pin(request).await {
            Ok(_) => Ok(()),
            Err(error) if matches!(Refusal::of(&error), Some(Refusal::Condition)) => Ok(()),
            Err(error) => Err(request_error("UpdateItem", &error)),
        }
    }

    /// Replaces the claim of `holder`. False if another holder has it by now.
    async fn change_claim(
        &self,
        account: AccountId,
        key: &str,
        holder: &str,
        after: &Claim,
    ) -> Result<bool, TableError> {
        let item = Item::new(keys::account_pk(account), keys::claim_sk(key), after)?;
        match self.put_one_if(item, &held_by(holder)).await? {
            None => Ok(true),
            Some(Refusal::Condition) => Ok(false),
            Some(Refusal::Conflict) => Err(TableError::Conflict),
        }
    }
}

fn held_by(holder: &str) -> Condition {
    Condition::new("holder = :holder").text(":holder", &holder)
}
