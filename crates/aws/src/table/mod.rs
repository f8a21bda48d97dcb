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
mod conditions;
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
mod single_writes;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
mod transactions;

use std::{fmt, time::Duration};

use aws_config::SdkConfig;
use aws_sdk_dynamodb::{
    Client,
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
    types::AttributeValue,
};

use self::items::Item;
pub use self::{
    accounts::FIRST_TOKEN,
    claims::Claimed,
    conversations::{Admission, Outcome, Queued},
    deliveries::Outgoing,
    due::DueItem,
    transactions::MAX_ITEMS,
};
use crate::failure::{Cause, ServiceError};
pub use crate::keys::DeliveryKey;
use switchboard_runtime::backoff::{exponential, jitter};

/// How often a request is tried when others write the same items at the same time.
const ATTEMPTS: u32 = 10;
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
        let got = Box::pin(asked).await.map_err(|error| request_error("GetItem", &error))?;
        Ok(got.item.map(Item::from))
    }
}

/// Waits after a conflict, anything up to twice as long each time: writers that met do not meet again.
async fn back_off(attempt: u32) {
    tokio::time::sleep(jitter().of(exponential(FIRST_WAIT, attempt, LONGEST_WAIT))).await;
}

fn request_error<E>(operation: &str, error: &SdkError<E, HttpResponse>) -> TableError
where
    E: std::error::Error + ProvideErrorMetadata + 'static,
{
    ServiceError::of(operation, error).into()
}
