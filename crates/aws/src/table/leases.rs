//! Leases: exclusive, expiring ownership of live conversations by workers.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use switchboard_model::{
    conversations::Lease,
    ids::{AccountId, ConversationId},
};

use super::{
    ATTEMPTS, Table, TableError, back_off, conditions::Condition, items, request_error,
    single_writes::Refusal,
};
use crate::keys::{self, LEASE};

/// Remaining validity of a released lease: the carrier connects the call to another worker within two seconds, and
/// until then nothing else may end the conversation.
const GRACE: Duration = Duration::from_secs(20);

impl Table {
    /// Renews a lease like [`Table::renew_lease`], but leaves the index of due items as it is: it costs a third. The lease
    /// may be due before it expires; then the sweeper sees that it is live.
    pub async fn checkpoint_lease(
        &self,
        account: AccountId,
        conversation: ConversationId,
        lease: &Lease,
    ) -> Result<bool, TableError> {
        let value = |value: Result<AttributeValue, _>| {
            value.map_err(|_: serde_dynamo::Error| TableError::Corrupt(LEASE))
        };
        let utterance = value(serde_dynamo::to_attribute_value(&lease.utterance))?;
        let seen_at = value(serde_dynamo::to_attribute_value(lease.last_seen_at))?;
        let until = value(serde_dynamo::to_attribute_value(lease.until))?;
        for attempt in 0..ATTEMPTS {
            let request = self
                .client
                .update_item()
                .table_name(&self.name)
                .set_key(Some(items::key(keys::conversation_pk(account, conversation), LEASE)))
                .condition_expression("holder = :holder")
                .update_expression("SET utterance = :utterance, last_seen_at = :seen_at, #until = :until")
                .expression_attribute_names("#until", "until")
                .expression_attribute_values(":holder", AttributeValue::S(lease.holder.clone()))
                .expression_attribute_values(":utterance", utterance.clone())
                .expression_attribute_values(":seen_at", seen_at.clone())
                .expression_attribute_values(":until", until.clone())
                .send();
            match Box::pin(request).await {
                Ok(_) => return Ok(true),
                Err(error) => match Refusal::of(&error) {
                    Some(Refusal::Condition) => return Ok(false),
                    Some(Refusal::Conflict) => back_off(attempt).await,
                    None => return Err(request_error("UpdateItem", &error)),
                },
            }
        }
        Err(TableError::Conflict)
    }

    /// Renews a lease, with a new expiry and other words. False if another worker has it, or it was deleted: then the
    /// caller must fall silent.
    pub async fn renew_lease(
        &self,
        account: AccountId,
        conversation: ConversationId,
        lease: &Lease,
    ) -> Result<bool, TableError> {
        for attempt in 0..ATTEMPTS {
            let pk = keys::conversation_pk(account, conversation);
            let item = items::lease_item(pk, lease)?;
            let held = Condition::new("holder = :holder").text(":holder", &&lease.holder);
            match self.put_one_if(item, &held).await? {
                None => return Ok(true),
                Some(Refusal::Condition) => return Ok(false),
                Some(Refusal::Conflict) => back_off(attempt).await,
            }
        }
        Err(TableError::Conflict)
    }

    /// Releases a lease for a handover: it stays valid for 20 s after `lease.last_seen_at`, with the words that
    /// `lease` holds, and is due then if no worker took it. Nothing happens if it was lost.
    pub async fn release_lease(
        &self,
        account: AccountId,
        conversation: ConversationId,
        lease: &Lease,
    ) -> Result<(), TableError> {
        let released = Lease { until: lease.last_seen_at.after(GRACE), ..lease.clone() };
        self.renew_lease(account, conversation, &released).await?;
        Ok(())
    }

    /// The lease, live or expired; `None` if the conversation has ended or never had one.
    pub async fn lease(
        &self,
        account: AccountId,
        conversation: ConversationId,
    ) -> Result<Option<Lease>, TableError> {
        let item = self.get(keys::conversation_pk(account, conversation), LEASE).await?;
        item.map(|item| item.read(LEASE)).transpose()
    }
}
