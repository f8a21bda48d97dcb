//! The table: everything that is true.
//!
//! One table, keys `pk` and `sk`, both text:
//!
//! | item | `pk` | `sk` |
//! |---|---|---|
//! | account | `acc_..` | `ACCOUNT` |
//! | its line in the list of all accounts | `ACCOUNTS` | `acc_..` |
//! | token | `TOKEN#<sha256>` | `TOKEN` |
//! | token of an account, to be listed | `acc_..` | `TOKEN#<sha256>` |
//! | phone number of an account | `acc_..` | `NUMBER#+1..` |
//! | owner of a phone number | `NUMBER#+1..` | `OWNER` |
//! | agent | `acc_..` | `AGENT#agt_..` |
//! | credential, its key sealed | `acc_..` | `CREDENTIAL#crd_..` |
//! | how many calls of an account go on | `acc_..` | `LIVE` |
//! | its bucket of requests per second | `acc_..` | `REQUESTS` |
//! | a request with an idempotency key, and its answer | `acc_..` | `CLAIM#<sha256>` |
//! | state of a conversation | `acc_..#cnv_..` | `STATE` |
//! | its configuration, written once | `acc_..#cnv_..` | `CONFIG` |
//! | who holds it while it is live | `acc_..#cnv_..` | `LEASE` |
//! | a message | `acc_..#cnv_..` | `MSG#000001` |
//! | an event | `acc_..#cnv_..` | `EVT#000001` |
//! | its delivery to the agent's first webhook | `acc_..#cnv_..` | `DLV#000001#00` |
//! | that webhook is sent nothing more | `acc_..#cnv_..` | `STOP#00` |
//! | a host of an account's webhooks | `acc_..` | `HOST#example.com:443` |
//!
//! Every item that a customer can request has the account in its `pk`: an id of another account is
//! not found. The index `account` (`account_pk`, `account_sk`) lists by time an account's agents and
//! credentials, and its conversations, those of each status on a list of their own. The sparse index `due`
//! (`due_pk`, `due_at` in milliseconds) lists the items that the sweeper must look after at a time: states
//! with a deadline, and leases; deliveries, and phone numbers that are not owned yet or any more, in lists of
//! their own. Items that are over are not in it. Reads of items are consistent, the indexes lag a little.
//! [`switchboard_model`] decides which state is stored and when it may change; this module knows the layout,
//! and that a write happens wholly or not at all.
//!
//! Start with [`Table::transition`].

mod accounts;
#[cfg(test)]
mod accounts_tests;
mod agents;
mod claims;
mod conversations;
mod credentials;
mod deletion;
mod deliveries;
#[cfg(test)]
mod deliveries_tests;
mod due;
mod items;
mod leases;
#[cfg(test)]
mod leases_tests;
mod limits;
#[cfg(test)]
mod limits_tests;
mod lists;
#[cfg(test)]
mod lists_tests;
mod numbers;
#[cfg(test)]
mod outbox_tests;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, fmt, time::Duration};

use aws_config::SdkConfig;
use aws_sdk_dynamodb::{
    Client,
    config::http::HttpResponse,
    error::{BuildError, ProvideErrorMetadata, SdkError},
    operation::transact_write_items::TransactWriteItemsError,
    types::{
        AttributeValue, CancellationReason, ConditionCheck, Delete, Put, TransactWriteItem,
        builders::TransactWriteItemBuilder,
    },
};

use self::items::Item;
pub use self::{
    accounts::FIRST_TOKEN,
    claims::Claimed,
    conversations::{Admission, Outcome, Queued},
    deliveries::Outgoing,
    due::DueItem,
};
use crate::failure::{Cause, ServiceError, is_throttling};
pub use crate::keys::DeliveryKey;
use switchboard_runtime::{
    self as system,
    backoff::{exponential, jitter},
};

/// As many items as one transaction may write (DynamoDB, `TransactWriteItems`).
pub const MAX_ITEMS: usize = 100;

/// How often a request is tried when others write the same items at the same time.
const ATTEMPTS: u32 = 10;
/// How often a transaction is tried that meets others on the same items, before what it is about is read
/// again.
const MEETINGS: u32 = 6;
/// The longest wait after the first conflict; a transaction takes some 10 ms. It doubles each time.
const FIRST_WAIT: Duration = Duration::from_millis(20);
const LONGEST_WAIT: Duration = Duration::from_millis(500);

/// The table. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Table {
    client: Client,
    name: String,
}

/// Why something was not stored or not read. The variants say what the caller can do.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// Another writer wrote first, or an item that must be unique exists: read again and decide again.
    #[error("somebody else wrote first")]
    Conflict,
    /// More than [`MAX_ITEMS`] items in one transaction, or an item above 400 KB: write less at once.
    #[error("too much for one write")]
    TooLarge,
    /// A stored item cannot be decoded (or a new item cannot be encoded): a defect, or an item of a newer
    /// version. A retry does not help. The error names the kind of the item, never its content.
    #[error("an item of kind {0} does not fit its stored form")]
    Corrupt(&'static str),
    /// Asked too often, even after retries: ask again later. Nothing was written.
    #[error("the table throttles: {0}")]
    Throttled(Cause),
    /// The table could not be reached, was silent or failed, even after retries: ask again later.
    /// A write may or may not have happened.
    #[error("the table is unavailable: {0}")]
    Unavailable(Cause),
    /// Asking again the same way will fail again: a missing permission, a wrong table.
    #[error("the table refused: {0}")]
    Refused(Cause),
}

impl TableError {
    /// Whether the same may well succeed later: the caller keeps what it has and tries again. After
    /// [`TableError::Unavailable`] it must read first, since the write may have happened.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Conflict | Self::Throttled(_) | Self::Unavailable(_))
    }
}

impl From<ServiceError> for TableError {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::Throttled(cause) => Self::Throttled(cause),
            ServiceError::Unavailable(cause) => Self::Unavailable(cause),
            ServiceError::Refused(cause) => Self::Refused(cause),
        }
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Table {
    /// The store in `table`.
    #[must_use]
    pub fn new(config: &SdkConfig, name: String) -> Self {
        Self { client: Client::new(config), name }
    }

    async fn get(&self, pk: String, sk: impl Into<String>) -> Result<Option<Item>, TableError> {
        let asked = self
            .client
            .get_item()
            .table_name(&self.name)
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
        self.put_if(item, &Condition::new("attribute_not_exists(pk)"))
    }

    fn put_if(&self, item: Item, condition: &Condition) -> Write {
        let put = Put::builder()
            .table_name(&self.name)
            .set_item(Some(item.into_attributes()))
            .condition_expression(condition.expression)
            .set_expression_attribute_names(condition.names())
            .set_expression_attribute_values(condition.values())
            .build();
        Write::new(put.map(|put| TransactWriteItem::builder().put(put)))
    }

    fn put(&self, item: Item) -> Write {
        let put = Put::builder().table_name(&self.name).set_item(Some(item.into_attributes())).build();
        Write::new(put.map(|put| TransactWriteItem::builder().put(put)))
    }

    fn delete(&self, pk: String, sk: &str) -> Write {
        let delete = Delete::builder().table_name(&self.name).set_key(Some(items::key(pk, sk))).build();
        Write::new(delete.map(|delete| TransactWriteItem::builder().delete(delete)))
    }

    fn delete_if(&self, pk: String, sk: &str, condition: &Condition) -> Write {
        let delete = Delete::builder()
            .table_name(&self.name)
            .set_key(Some(items::key(pk, sk)))
            .condition_expression(condition.expression)
            .set_expression_attribute_names(condition.names())
            .set_expression_attribute_values(condition.values())
            .build();
        Write::new(delete.map(|delete| TransactWriteItem::builder().delete(delete)))
    }

    fn check(&self, pk: String, sk: &str, condition: &Condition) -> Write {
        let check = ConditionCheck::builder()
            .table_name(&self.name)
            .set_key(Some(items::key(pk, sk)))
            .condition_expression(condition.expression)
            .set_expression_attribute_names(condition.names())
            .set_expression_attribute_values(condition.values())
            .build();
        Write::new(check.map(|check| TransactWriteItem::builder().condition_check(check)))
    }

    /// Writes all or nothing; none of the writes is a guard.
    async fn write(&self, writes: Vec<Write>) -> Result<(), TableError> {
        if self.write_guarded(writes).await? { Ok(()) } else { Err(TableError::Conflict) }
    }

    /// Writes all or nothing; false if a guard refused it.
    async fn write_guarded(&self, writes: Vec<Write>) -> Result<bool, TableError> {
        Ok(self.refused(writes).await?.is_none())
    }

    /// Writes all or nothing; the first guard that refused it, none if it is written. The SDK's own
    /// retries carry one token, so a write whose answer was lost is not taken for somebody else's.
    async fn refused(&self, writes: Vec<Write>) -> Result<Option<Guard>, TableError> {
        if writes.len() > MAX_ITEMS {
            return Err(TableError::TooLarge);
        }
        // A cancelled transaction gives its reasons in the order of its items.
        let guards: Vec<Option<Guard>> = writes.iter().map(|write| write.guard).collect();
        let items = writes
            .into_iter()
            .map(|write| Ok(write.item?.build()))
            .collect::<Result<Vec<_>, BuildError>>()
            .map_err(|error| TableError::Refused(Cause::new(error.to_string())))?;
        let mut attempt = 0;
        loop {
            let token = format!("{:032x}", system::random_u128());
            let asked = self
                .client
                .transact_write_items()
                .set_transact_items(Some(items.clone()))
                .client_request_token(token)
                .send();
            let Err(error) = Box::pin(asked).await else { return Ok(None) };
            if let Some(guard) = refusing(&error, &guards) {
                return Ok(Some(guard));
            }
            attempt += 1;
            if attempt == MEETINGS || !is_meeting(&error) {
                return Err(write_error(&error));
            }
            back_off(attempt).await;
        }
    }
}

/// One item of a transaction.
struct Write {
    item: Result<TransactWriteItemBuilder, BuildError>,
    /// What it means if its condition does not hold; none: that somebody else wrote.
    guard: Option<Guard>,
}

/// Why a transaction may not happen, whoever else writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Guard {
    /// It is not for the caller to write.
    NotAllowed,
    /// An item that must be new exists already.
    Exists,
    /// The account's calls are as many as may be.
    Full,
}

impl Write {
    fn new(item: Result<TransactWriteItemBuilder, BuildError>) -> Self {
        Self { item, guard: None }
    }

    fn guard(self) -> Self {
        self.guarding(Guard::NotAllowed)
    }

    fn guarding(self, guard: Guard) -> Self {
        Self { guard: Some(guard), ..self }
    }
}

/// A condition on an item, with at most one name and one value.
struct Condition {
    expression: &'static str,
    name: Option<(&'static str, &'static str)>,
    value: Option<(&'static str, AttributeValue)>,
}

impl Condition {
    fn new(expression: &'static str) -> Self {
        Self { expression, name: None, value: None }
    }

    /// Lets `placeholder` stand for an attribute whose name is a reserved word in expressions.
    fn name(self, placeholder: &'static str, attribute: &'static str) -> Self {
        Self { name: Some((placeholder, attribute)), ..self }
    }

    fn value(self, placeholder: &'static str, value: AttributeValue) -> Self {
        Self { value: Some((placeholder, value)), ..self }
    }

    fn text(self, placeholder: &'static str, value: &impl ToString) -> Self {
        self.value(placeholder, AttributeValue::S(value.to_string()))
    }

    fn names(&self) -> Option<HashMap<String, String>> {
        self.name.map(|(name, attribute)| HashMap::from([(name.to_owned(), attribute.to_owned())]))
    }

    fn values(&self) -> Option<HashMap<String, AttributeValue>> {
        self.value.as_ref().map(|(name, value)| HashMap::from([((*name).to_owned(), value.clone())]))
    }
}

/// Waits after a conflict, anything up to twice as long each time: writers that met do not meet again.
async fn back_off(attempt: u32) {
    tokio::time::sleep(jitter().of(exponential(FIRST_WAIT, attempt, LONGEST_WAIT))).await;
}

fn read_error<E>(operation: &str, error: &SdkError<E, HttpResponse>) -> TableError
where
    E: std::error::Error + ProvideErrorMetadata + 'static,
{
    ServiceError::of(operation, error).into()
}

fn refusing(
    error: &SdkError<TransactWriteItemsError, HttpResponse>,
    guards: &[Option<Guard>],
) -> Option<Guard> {
    let mut reasons = reasons(error).iter().zip(guards);
    reasons.find_map(|(reason, guard)| guard.filter(|_guard| reason.code() == Some("ConditionalCheckFailed")))
}

/// Whether other transactions on the same items are under way, and nothing else is the matter. Most
/// often they meet on an account's counters, and then nothing has to be read again.
fn is_meeting(error: &SdkError<TransactWriteItemsError, HttpResponse>) -> bool {
    let mut codes = reasons(error).iter().filter_map(CancellationReason::code).filter(|code| *code != "None");
    codes.next() == Some("TransactionConflict") && codes.all(|code| code == "TransactionConflict")
}

fn reasons(error: &SdkError<TransactWriteItemsError, HttpResponse>) -> &[CancellationReason] {
    match error.as_service_error() {
        Some(TransactWriteItemsError::TransactionCanceledException(canceled)) => {
            canceled.cancellation_reasons()
        }
        _ => &[],
    }
}

fn write_error(error: &SdkError<TransactWriteItemsError, HttpResponse>) -> TableError {
    let service = error.as_service_error();
    if let Some(TransactWriteItemsError::TransactionCanceledException(canceled)) = service {
        let reasons = canceled.cancellation_reasons();
        let any = |test: fn(&str) -> bool| reasons.iter().filter_map(|reason| reason.code()).any(test);
        // A transaction that is still under way on the same item will have changed it.
        if any(|code| matches!(code, "ConditionalCheckFailed" | "TransactionConflict")) {
            return TableError::Conflict;
        }
        if any(is_throttling) {
            return TableError::Throttled(Cause::new("TransactWriteItems: throttled"));
        }
        if reasons.iter().filter_map(|reason| reason.message()).any(is_about_size) {
            return TableError::TooLarge;
        }
    }
    if service.and_then(ProvideErrorMetadata::message).is_some_and(is_about_size) {
        return TableError::TooLarge;
    }
    read_error("TransactWriteItems", error)
}

/// "Item size has exceeded the maximum allowed size"; too much in one transaction says it alike.
fn is_about_size(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    message.contains("size") && (message.contains("exceed") || message.contains("maximum"))
}
