//! Transactions: several items written together, or none of them.

use aws_sdk_dynamodb::{
    config::http::HttpResponse,
    error::{BuildError, ProvideErrorMetadata, SdkError},
    operation::{put_item::PutItemError, transact_write_items::TransactWriteItemsError},
    types::{
        CancellationReason, ConditionCheck, Delete, Put, ReturnValuesOnConditionCheckFailure,
        TransactWriteItem, builders::TransactWriteItemBuilder,
    },
};
use switchboard_runtime::random_u128;

use super::{
    Table, TableError, back_off,
    conditions::{self, Condition, conditional},
    items::{self, Item},
    request_error,
    single_writes::Refusal,
};
use crate::failure::{Cause, is_throttling};

/// Maximum number of items in one transaction (DynamoDB, `TransactWriteItems`).
pub const MAX_ITEMS: usize = 100;

/// Maximum number of tries of a transaction that conflicts with others on the same items, before the caller reads the
/// items again.
const CONFLICT_ATTEMPTS: u32 = 6;

/// One item of a transaction.
pub(super) struct Write {
    item: Result<TransactWriteItemBuilder, BuildError>,
    /// The meaning of a condition that does not hold; none: another writer wrote first.
    guard: Option<Guard>,
}

/// Why a transaction is not allowed. Trying again does not help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Guard {
    /// The item is missing or belongs to another owner, or its state does not allow the write.
    Forbidden,
    /// An item that must be new exists already.
    Exists,
    /// The account has reached its limit of calls.
    Full,
}

impl Write {
    pub(super) fn new(item: Result<TransactWriteItemBuilder, BuildError>) -> Self {
        Self { item, guard: None }
    }

    /// Has the transaction return `guard` if the condition of this write does not hold.
    pub(super) fn guarded_by(self, guard: Guard) -> Self {
        Self { guard: Some(guard), ..self }
    }
}

impl Table {
    /// Writes an item whose key must be free.
    pub(super) fn put_new(&self, item: Item) -> Write {
        self.put_if(item, &Condition::new(conditions::NEW))
    }

    pub(super) fn put_if(&self, item: Item, condition: &Condition) -> Write {
        let put = Put::builder().table_name(&self.name).set_item(Some(item.into_attributes()));
        let put = conditional!(put, condition).build();
        Write::new(put.map(|put| TransactWriteItem::builder().put(put)))
    }

    pub(super) fn put(&self, item: Item) -> Write {
        let put = Put::builder().table_name(&self.name).set_item(Some(item.into_attributes())).build();
        Write::new(put.map(|put| TransactWriteItem::builder().put(put)))
    }

    pub(super) fn delete(&self, pk: String, sk: &str) -> Write {
        let delete = Delete::builder().table_name(&self.name).set_key(Some(items::key(pk, sk))).build();
        Write::new(delete.map(|delete| TransactWriteItem::builder().delete(delete)))
    }

    pub(super) fn delete_if(&self, pk: String, sk: &str, condition: &Condition) -> Write {
        let delete = Delete::builder().table_name(&self.name).set_key(Some(items::key(pk, sk)));
        let delete = conditional!(delete, condition).build();
        Write::new(delete.map(|delete| TransactWriteItem::builder().delete(delete)))
    }

    pub(super) fn check(&self, pk: String, sk: &str, condition: &Condition) -> Write {
        let check = ConditionCheck::builder().table_name(&self.name).set_key(Some(items::key(pk, sk)));
        let check = conditional!(check, condition).build();
        Write::new(check.map(|check| TransactWriteItem::builder().condition_check(check)))
    }

    /// Writes all or nothing, without guards.
    pub(super) async fn write(&self, writes: Vec<Write>) -> Result<(), TableError> {
        match self.transact(writes).await? {
            None => Ok(()),
            Some(_) => Err(TableError::Conflict),
        }
    }

    /// Writes all or nothing. Returns the first guard that forbids it; `None` if it is written. The SDK's retries carry
    /// one token, so a write whose response was lost is not mistaken for another writer's.
    pub(super) async fn transact(&self, writes: Vec<Write>) -> Result<Option<Guard>, TableError> {
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
        if let ([item], [guard]) = (&*items, &*guards)
            && let Some(put) = item.put()
            && put.condition_expression().is_some_and(|condition| condition != conditions::NEW)
        {
            return self.put_alone(put, *guard).await;
        }
        let mut attempt = 0;
        loop {
            let token = format!("{:032x}", random_u128());
            let request = self
                .client
                .transact_write_items()
                .set_transact_items(Some(items.clone()))
                .client_request_token(token)
                .send();
            let Err(error) = Box::pin(request).await else { return Ok(None) };
            if let Some(guard) = forbidding_guard(&error, &guards) {
                return Ok(Some(guard));
            }
            attempt += 1;
            if attempt == CONFLICT_ATTEMPTS || !is_only_conflict(&error) {
                return Err(transaction_error(&error));
            }
            back_off(attempt).await;
        }
    }
}

impl Table {
    /// A transaction that changes one item as a plain write, which costs half. A repeated write whose first response was lost finds
    /// its own item.
    async fn put_alone(&self, put: &Put, guard: Option<Guard>) -> Result<Option<Guard>, TableError> {
        for attempt in 0..CONFLICT_ATTEMPTS {
            let request = self
                .client
                .put_item()
                .table_name(put.table_name())
                .set_item(Some(put.item().clone()))
                .set_condition_expression(put.condition_expression().map(str::to_owned))
                .set_expression_attribute_names(put.expression_attribute_names().cloned())
                .set_expression_attribute_values(put.expression_attribute_values().cloned())
                .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
                .send();
            let Err(error) = Box::pin(request).await else { return Ok(None) };
            if let Some(PutItemError::ConditionalCheckFailedException(failed)) = error.as_service_error() {
                return match (failed.item() == Some(put.item()), guard) {
                    (true, _) => Ok(None),
                    (false, Some(guard)) => Ok(Some(guard)),
                    (false, None) => Err(TableError::Conflict),
                };
            }
            if Refusal::of(&error) != Some(Refusal::Conflict) {
                let message = error.as_service_error().and_then(ProvideErrorMetadata::message);
                let is_too_large = message.is_some_and(is_about_size);
                return Err(if is_too_large {
                    TableError::TooLarge
                } else {
                    request_error("PutItem", &error)
                });
            }
            back_off(attempt + 1).await;
        }
        Err(TableError::Conflict)
    }
}

fn forbidding_guard(
    error: &SdkError<TransactWriteItemsError, HttpResponse>,
    guards: &[Option<Guard>],
) -> Option<Guard> {
    let mut reasons = reasons(error).iter().zip(guards);
    reasons.find_map(|(reason, guard)| guard.filter(|_guard| reason.code() == Some("ConditionalCheckFailed")))
}

/// Whether other transactions on the same items are in progress, and nothing else is wrong. Most often they conflict on
/// an account's counters, and then nothing has to be read again.
fn is_only_conflict(error: &SdkError<TransactWriteItemsError, HttpResponse>) -> bool {
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

fn transaction_error(error: &SdkError<TransactWriteItemsError, HttpResponse>) -> TableError {
    let reasons = reasons(error);
    let any = |test: fn(&str) -> bool| reasons.iter().filter_map(CancellationReason::code).any(test);
    // A transaction that is still in progress on the same item will have changed it.
    if any(|code| matches!(code, "ConditionalCheckFailed" | "TransactionConflict")) {
        return TableError::Conflict;
    }
    if any(is_throttling) {
        return TableError::Throttled(Cause::new("TransactWriteItems: throttled"));
    }
    let message = error.as_service_error().and_then(ProvideErrorMetadata::message);
    if reasons.iter().filter_map(CancellationReason::message).chain(message).any(is_about_size) {
        return TableError::TooLarge;
    }
    request_error("TransactWriteItems", error)
}

/// Whether the message says that an item or the transaction is too large, such as "Item size has exceeded the maximum
/// allowed size".
fn is_about_size(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    message.contains("size") && (message.contains("exceed") || message.contains("maximum"))
}
