//! The table: everything that is true.
//!
//! One table, keys `pk` and `sk`, both text:
//!
//! | item | `pk` | `sk` |
//! |---|---|---|
//! | account | `acc_..` | `ACCOUNT` |
//! | token | `TOKEN#<sha256>` | `TOKEN` |
//! | phone number of an account | `acc_..` | `NUMBER#+1..` |
//! | owner of a phone number | `NUMBER#+1..` | `OWNER` |
//! | agent | `acc_..` | `AGENT#agt_..` |
//! | state of a conversation | `acc_..#cnv_..` | `STATE` |
//! | its configuration, written once | `acc_..#cnv_..` | `CONFIG` |
//! | a message | `acc_..#cnv_..` | `MSG#000001` |
//! | an event | `acc_..#cnv_..` | `EVT#000001` |
//!
//! Whatever a customer can ask for has the account in its `pk`: another account's id is simply not
//! there. The index `account` (`account_pk`, `account_sk`) lists an account's conversations by time.
//! Reads are consistent. What is stored and when it may change is decided in [`domain`]; this module
//! knows how it is laid out, and that a write happens wholly or not at all.
//!
//! Start with [`Store::transition`].

mod accounts;
mod conversations;
mod items;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;

use std::fmt;

use aws_config::SdkConfig;
use aws_sdk_dynamodb::{
    Client,
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
    operation::transact_write_items::TransactWriteItemsError,
    types::{AttributeValue, Put, TransactWriteItem},
};

use self::items::Item;
pub use self::{conversations::Outcome, items::conversation_of_key};
use crate::{
    failure::{Cause, ServiceError, is_throttling},
    system,
};

/// As many items as one transaction may write (DynamoDB, `TransactWriteItems`).
pub const MAX_ITEMS: usize = 100;

/// The table. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Store {
    client: Client,
    table: String,
}

/// Why something was not stored or not read. The variants say what the caller can do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Somebody else wrote first, or what should be unique exists: read again and decide again.
    #[error("somebody else wrote first")]
    Conflict,
    /// More than [`MAX_ITEMS`] items in one transaction, or an item above 400 KB: write less at once.
    #[error("too much for one write")]
    TooLarge,
    /// What is stored cannot be read (or what is to be stored cannot be written): a defect, or an item
    /// of a newer version. Asking again does not help. Says which kind of item; never what is in it.
    #[error("an item of kind {0} does not fit its stored form")]
    Corrupt(&'static str),
    /// Asked too often, even after retries: ask again later. Nothing was written.
    #[error("the table throttles: {0}")]
    Throttled(Cause),
    /// The table could not be reached, was silent or failed, even after retries: ask again later.
    /// Nobody knows whether a write happened.
    #[error("the table is unavailable: {0}")]
    Unavailable(Cause),
    /// Asking again the same way will fail again: a missing permission, a wrong table.
    #[error("the table refused: {0}")]
    Refused(Cause),
}

impl From<ServiceError> for StoreError {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::Throttled(cause) => Self::Throttled(cause),
            ServiceError::Unavailable(cause) => Self::Unavailable(cause),
            ServiceError::Refused(cause) => Self::Refused(cause),
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("table", &self.table).finish_non_exhaustive()
    }
}

impl Store {
    /// The store in `table`.
    #[must_use]
    pub fn new(config: &SdkConfig, table: String) -> Self {
        Self { client: Client::new(config), table }
    }

    async fn get(&self, pk: String, sk: impl Into<String>) -> Result<Option<Item>, StoreError> {
        let asked = self
            .client
            .get_item()
            .table_name(&self.table)
            .key("pk", AttributeValue::S(pk))
            .key("sk", AttributeValue::S(sk.into()))
            .consistent_read(true)
            .send();
        // The SDK's futures are 8 KB each; boxed, they do not add up in those that hold them.
        let got = Box::pin(asked).await.map_err(|error| read_error("GetItem", &error))?;
        Ok(got.item.map(Item::from))
    }

    /// A write of an item that must not exist yet.
    fn put_new(&self, item: Item) -> Write {
        self.put_if(item, "attribute_not_exists(pk)", None)
    }

    fn put_if(&self, item: Item, condition: &str, value: Option<(&str, AttributeValue)>) -> Write {
        let put = Put::builder()
            .table_name(&self.table)
            .set_item(Some(item.into_attributes()))
            .condition_expression(condition);
        let put = match value {
            Some((name, value)) => put.expression_attribute_values(name, value),
            None => put,
        };
        Write(put)
    }

    /// Writes all or nothing. The SDK's own retries carry one token, so a write whose answer was lost
    /// is not taken for somebody else's.
    async fn write(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        if writes.len() > MAX_ITEMS {
            return Err(StoreError::TooLarge);
        }
        let items = writes
            .into_iter()
            .map(|Write(put)| Ok(TransactWriteItem::builder().put(put.build()?).build()))
            .collect::<Result<Vec<_>, aws_sdk_dynamodb::error::BuildError>>()
            .map_err(|error| StoreError::Refused(Cause::new(error.to_string())))?;
        let token = format!("{:032x}", system::random_u128());
        let asked = self
            .client
            .transact_write_items()
            .set_transact_items(Some(items))
            .client_request_token(token)
            .send();
        Box::pin(asked).await.map_err(|error| write_error(&error))?;
        Ok(())
    }
}

/// One item of a transaction.
struct Write(aws_sdk_dynamodb::types::builders::PutBuilder);

fn read_error<E>(operation: &str, error: &SdkError<E, HttpResponse>) -> StoreError
where
    E: std::error::Error + ProvideErrorMetadata + 'static,
{
    ServiceError::of(operation, error).into()
}

fn write_error(error: &SdkError<TransactWriteItemsError, HttpResponse>) -> StoreError {
    let service = error.as_service_error();
    if let Some(TransactWriteItemsError::TransactionCanceledException(canceled)) = service {
        let reasons = canceled.cancellation_reasons();
        let any = |test: fn(&str) -> bool| reasons.iter().filter_map(|reason| reason.code()).any(test);
        // A transaction that is still under way on the same item will have changed it.
        if any(|code| matches!(code, "ConditionalCheckFailed" | "TransactionConflict")) {
            return StoreError::Conflict;
        }
        if any(is_throttling) {
            return StoreError::Throttled(Cause::new("TransactWriteItems: throttled"));
        }
        if reasons.iter().filter_map(|reason| reason.message()).any(is_about_size) {
            return StoreError::TooLarge;
        }
    }
    if service.and_then(ProvideErrorMetadata::message).is_some_and(is_about_size) {
        return StoreError::TooLarge;
    }
    read_error("TransactWriteItems", error)
}

/// "Item size has exceeded the maximum allowed size"; too much in one transaction says it alike.
fn is_about_size(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    message.contains("size") && (message.contains("exceed") || message.contains("maximum"))
}
