//! Deletes a conversation.
//!
//! Its packs are replaced by empty ones, which expire: a worker that was frozen while its call ended appends where the log
//! ended as it knew it, and that place stays taken. Whatever that place is, a pack of the conversation is there.

use std::time::Duration;

use aws_sdk_dynamodb::types::{DeleteRequest, PutRequest, WriteRequest};
use switchboard_model::{
    ids::{AccountId, ConversationId},
    time::Timestamp,
};

use super::{ATTEMPTS, Table, TableError, back_off, items, packs, request_error};
use crate::failure::{Cause, ServiceError};
use crate::keys::{self, CLAIM, CONFIG, EVENT, STATE};

/// Maximum number of items in one write (DynamoDB, `BatchWriteItem`).
const BATCH: usize = 25;
/// Retention of the empty packs: longer than a process can be frozen and come back. ECS replaces a task that does not
/// respond within minutes.
const EMPTY_PACKS_KEPT: Duration = Duration::from_hours(24);

impl Table {
    /// Deletes all items of a conversation that has ended; empty packs stay for a day after `now`. State and configuration are deleted last, together: until
    /// then the conversation is found, so that a repeated request completes an interrupted deletion. The answer of the
    /// idempotency key that created it is emptied: the key stays used, so that a late repetition calls nobody.
    pub async fn delete_conversation(
        &self,
        account: AccountId,
        id: ConversationId,
        now: Timestamp,
    ) -> Result<(), TableError> {
        let pk = keys::conversation_pk(account, id);
        self.empty_packs(&pk, now).await?;
        self.delete_items(account, &pk).await?;
        self.delete_last(&pk).await?;
        // A webhook attempt may have recorded a delivery meanwhile. A later one finds no conversation, and removes its own.
        self.delete_items(account, &pk).await
    }

    /// Whether a conversation was deleted.
    pub async fn is_deleted(&self, account: AccountId, id: ConversationId) -> Result<bool, TableError> {
        Ok(self.get(keys::conversation_pk(account, id), STATE).await?.is_none())
    }

    async fn delete_last(&self, pk: &str) -> Result<(), TableError> {
        for attempt in 0..ATTEMPTS {
            let last = vec![self.delete(pk.to_owned(), STATE), self.delete(pk.to_owned(), CONFIG)];
            match self.write(last).await {
                // Another writer deletes the conversation at the same moment.
                Err(TableError::Conflict) => back_off(attempt).await,
                done => return done,
            }
        }
        Err(TableError::Conflict)
    }

    /// Replaces all packs, and the events of version 0.1.0, by empty packs.
    async fn empty_packs(&self, pk: &str, now: Timestamp) -> Result<(), TableError> {
        let expires_at = now.after(EMPTY_PACKS_KEPT);
        let mut pages = self.pages(pk.to_owned(), EVENT.to_owned(), format!("{EVENT}~")).keys_only();
        while let Some(page) = pages.next(usize::MAX).await? {
            for batch in page.chunks(BATCH) {
                let put = |sk: &str| {
                    let pack = packs::empty(pk.to_owned(), sk)?.expiring(Some(expires_at));
                    let put = PutRequest::builder().set_item(Some(pack.into_attributes())).build();
                    Ok(WriteRequest::builder().put_request(put.map_err(refused)?).build())
                };
                let writes = batch.iter().filter_map(items::Item::sk).map(put);
                self.write_batch(writes.collect::<Result<_, TableError>>()?).await?;
            }
        }
        Ok(())
    }

    /// Deletes all items but packs, state and configuration.
    async fn delete_items(&self, account: AccountId, pk: &str) -> Result<(), TableError> {
        let mut pages = self.pages(pk.to_owned(), "!".to_owned(), "~".to_owned()).keys_only();
        while let Some(mut page) = pages.next(usize::MAX).await? {
            page.retain(|item| {
                item.sk().is_some_and(|sk| sk != STATE && sk != CONFIG && !sk.starts_with(EVENT))
            });
            for sk in page.iter().filter_map(items::Item::sk).filter(|sk| sk.starts_with(CLAIM)) {
                self.empty_claim(account, sk).await?;
            }
            for batch in page.chunks(BATCH) {
                let delete = |sk: &str| {
                    let key = items::key(pk.to_owned(), sk);
                    let delete = DeleteRequest::builder().set_key(Some(key)).build().map_err(refused)?;
                    Ok(WriteRequest::builder().delete_request(delete).build())
                };
                let writes = batch.iter().filter_map(items::Item::sk).map(delete);
                self.write_batch(writes.collect::<Result<_, TableError>>()?).await?;
            }
        }
        Ok(())
    }

    /// At most [`BATCH`] writes, each of which succeeds by itself. A busy table leaves some for the next request.
    async fn write_batch(&self, mut left: Vec<WriteRequest>) -> Result<(), TableError> {
        if left.is_empty() {
            return Ok(());
        }
        for attempt in 0..ATTEMPTS {
            let request = self.client.batch_write_item().request_items(&self.name, left).send();
            let done = Box::pin(request).await.map_err(|error| request_error("BatchWriteItem", &error))?;
            left = done.unprocessed_items.into_iter().flatten().flat_map(|(_, left)| left).collect();
            if left.is_empty() {
                return Ok(());
            }
            back_off(attempt).await;
        }
        Err(ServiceError::Throttled(Cause::new("BatchWriteItem: items were left unprocessed")).into())
    }
}

#[expect(clippy::needless_pass_by_value, reason = "map_err passes a value")]
fn refused(error: aws_sdk_dynamodb::error::BuildError) -> TableError {
    TableError::Refused(Cause::new(error.to_string()))
}
