//! Deletes a conversation.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{AttributeValue, DeleteRequest, WriteRequest};
use switchboard_model::ids::{AccountId, ConversationId};

use super::{ATTEMPTS, Table, TableError, back_off, request_error};
use crate::failure::{Cause, ServiceError};
use crate::keys::{self, CLAIM, CONFIG, STATE};

/// Maximum number of items in one deletion (DynamoDB, `BatchWriteItem`).
const BATCH: usize = 25;

impl Table {
    /// Deletes all items of a conversation that has ended. State and configuration are deleted last, together: until
    /// then the conversation is found, so that a repeated request completes an interrupted deletion. The answer of the
    /// idempotency key that created it is emptied: the key stays used, so that a late repetition calls nobody.
    pub async fn delete_conversation(
        &self,
        account: AccountId,
        id: ConversationId,
    ) -> Result<(), TableError> {
        let pk = keys::conversation_pk(account, id);
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

    /// Deletes all items but state and configuration.
    async fn delete_items(&self, account: AccountId, pk: &str) -> Result<(), TableError> {
        let mut start = None;
        loop {
            let request = self
                .client
                .query()
                .table_name(&self.name)
                .key_condition_expression("pk = :pk")
                .expression_attribute_values(":pk", AttributeValue::S(pk.to_owned()))
                .projection_expression("pk, sk")
                .consistent_read(true)
                .set_exclusive_start_key(start)
                .send();
            let page = Box::pin(request).await.map_err(|error| request_error("Query", &error))?;
            let mut keys = page.items.unwrap_or_default();
            keys.retain(
                |key| !matches!(key.get("sk"), Some(AttributeValue::S(sk)) if sk == STATE || sk == CONFIG),
            );
            for key in &keys {
                if let Some(AttributeValue::S(sk)) = key.get("sk")
                    && sk.starts_with(CLAIM)
                {
                    self.empty_claim(account, sk).await?;
                }
            }
            for batch in keys.chunks(BATCH) {
                self.delete_batch(batch).await?;
            }
            start = page.last_evaluated_key;
            if start.is_none() {
                return Ok(());
            }
        }
    }

    /// Deletes items by their keys, at most [`BATCH`]. A busy table leaves some for the next request.
    async fn delete_batch(&self, keys: &[HashMap<String, AttributeValue>]) -> Result<(), TableError> {
        let refused =
            |error: aws_sdk_dynamodb::error::BuildError| TableError::Refused(Cause::new(error.to_string()));
        let mut left = Vec::with_capacity(keys.len());
        for key in keys {
            let delete = DeleteRequest::builder().set_key(Some(key.clone())).build().map_err(refused)?;
            left.push(WriteRequest::builder().delete_request(delete).build());
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
