//! The table: accounts, agents, numbers, conversations and their events, in one DynamoDB table. What the table holds
//! is true; queues, streams and indexes follow from it.
//!
//! Every item has the keys `pk` and `sk`, both text:
//!
//! | item | `pk` | `sk` |
//! |---|---|---|
//! | account | `acc_..` | `ACCOUNT` |
//! | its entry in the list of all accounts | `ACCOUNTS` | `acc_..` |
//! | report of a media worker | `WORKERS` | id of its task |
//! | calls per second of an account at the carrier | `CARRIER#AC..` | `STARTS` |
//! | token | `TOKEN#<sha256>` | `TOKEN` |
//! | token of an account, for its list of tokens | `acc_..` | `TOKEN#<sha256>` |
//! | phone number of an account | `acc_..` | `NUMBER#+1..` |
//! | owner of a phone number | `NUMBER#+1..` | `OWNER` |
//! | phone number that no account has, at the carrier | `POOL` | `NUMBER#+1..` |
//! | agent | `acc_..` | `AGENT#agt_..` |
//! | credential, its key sealed | `acc_..` | `CREDENTIAL#crd_..` |
//! | counters of an account's calls | `acc_..` | `LIVE` |
//! | cost of its conversations that ended on a day | `acc_..` | `SPENT#2026-11-30` |
//! | numbers that it bought on a day | `acc_..` | `BOUGHT#2026-11-30` |
//! | token bucket of its requests per second | `acc_..#REQUESTS` | `REQUESTS` |
//! | token bucket of the requests about inbound calls to a number | `acc_..#INBOUND#num_..` | `INBOUND#num_..` |
//! | a request with an idempotency key, and its response | `acc_..` | `CLAIM#<sha256>` |
//! | state of a conversation | `acc_..#cnv_..` | `STATE` |
//! | its configuration, written once | `acc_..#cnv_..` | `CONFIG` |
//! | its lease while it is live | `acc_..#cnv_..` | `LEASE` |
//! | its recording, while it is to be joined | `acc_..#cnv_..` | `RECORDING` |
//! | pack: consecutive events with their messages, by the first one | `acc_..#cnv_..` | `EVT#000001` |
//! | pack after a takeover at that event | `acc_..#cnv_..` | `EVT#000001.001` |
//! | check for lost first attempts at its webhooks | `acc_..#cnv_..` | `CHECK` |
//! | delivery of that event to the agent's first webhook | `acc_..#cnv_..` | `DLV#000001#00` |
//! | end of all deliveries to that webhook | `acc_..#cnv_..` | `STOP#00` |
//! | in-flight slots of an account's webhooks at all hosts together | `acc_..#SLOTS` | `SLOTS` |
//! | in-flight slots and circuit breaker of a host of an account's webhooks | `acc_..#HOST#example.com:443` | `HOST#example.com:443` |
//!
//! Every item that a customer can request has the account in its `pk`: an id of another account is not found. Reads of
//! items are consistent; indexes lag by some milliseconds.
//!
//! - Index `account` (`account_pk`, `account_sk`): agents, credentials, phone numbers and conversations of an account, by
//!   time. Each status of a conversation is a list of its own.
//! - Index `due` (`due_pk`, `due_at` in milliseconds), sparse: items that the sweeper acts on at a time. States with a
//!   deadline and leases are one list, deliveries another, checks for lost first attempts a third, numbers whose purchase or
//!   release is incomplete a fourth, recordings that are to be joined a fifth. The first three are spread over several
//!   partition keys by a hash of the conversation.
//!
//! After a deletion the conversation's packs stay for a day, empty.
//!
//! Signing secrets, headers of webhooks, and answers of idempotency keys are sealed within their items.
//!
//! Writes use optimistic concurrency: a writer that loses a race reads the items again and decides again.
//! [`switchboard_model`] decides which state is stored and when it may change; this module knows the layout, and that a
//! write happens as a whole or not at all.
//!
//! Start with [`Table::transition`].

mod accounts;
#[cfg(test)]
mod accounts_tests;
mod agents;
mod checks;
#[cfg(test)]
mod checks_tests;
mod claims;
mod conditions;
mod conversations;
mod credentials;
mod deletion;
mod deliveries;
#[cfg(test)]
mod deliveries_tests;
mod due;
mod events;
mod fleet;
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
mod number_pool;
mod numbers;
#[cfg(test)]
mod outbox_tests;
mod packs;
#[cfg(test)]
mod packs_tests;
mod ranges;
mod sealed;
#[cfg(test)]
mod sealed_tests;
mod single_writes;
mod slots;
mod spending;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
mod transactions;
mod usage;

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
    checks::{Check, CheckRun, LostAttempts},
    claims::Claimed,
    conversations::{Admission, Begun, CallStart, Outcome, Queued},
    deliveries::Outgoing,
    due::DueItem,
    events::Appended,
    lists::WaitingCall,
    number_pool::MAX_POOLED,
    transactions::MAX_ITEMS,
};
use crate::failure::{Cause, ServiceError};
pub use crate::keys::DeliveryKey;
use crate::sealing::Sealer;
use switchboard_runtime::backoff::{exponential, jitter};

/// Maximum number of tries of a read-decide-write cycle, or of a request that the table left incomplete.
const ATTEMPTS: u32 = 10;
/// Maximum wait after the first conflict: a transaction takes about 10 ms. It doubles with each conflict.
const FIRST_WAIT: Duration = Duration::from_millis(20);
const LONGEST_WAIT: Duration = Duration::from_millis(500);

/// The table. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Table {
    client: Client,
    name: String,
    /// Seals and opens secrets within items; without one they stay as they are.
    sealer: Option<Sealer>,
}

/// Why an item was not stored or not read. The variants say what the caller can do.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// Another writer wrote first, or an item that must be unique exists: read again and decide again.
    #[error("another writer wrote first")]
    Conflict,
    /// More than [`MAX_ITEMS`] items in one transaction, or an item above 400 KB: write less at once.
    #[error("more items, or a larger item, than one write can take")]
    TooLarge,
    /// A stored item cannot be decoded, or a new one cannot be encoded: it is damaged, or a newer version wrote it.
    /// Trying again does not help. The error names the kind of the item, never its content.
    #[error("a stored item of kind {0} cannot be decoded")]
    Corrupt(&'static str),
    /// Throttled, even after retries: try again later. Nothing was written.
    #[error("the table throttles: {0}")]
    Throttled(Cause),
    /// The table could not be reached, did not respond or failed, even after retries: try again later. A write may or
    /// may not have happened.
    #[error("the table is unavailable: {0}")]
    Unavailable(Cause),
    /// The same request will fail again: a permission is missing, or the table's name is wrong.
    #[error("the table refused the request: {0}")]
    Refused(Cause),
}

impl TableError {
    /// Whether the same may succeed later. After [`TableError::Unavailable`] the caller reads first, since the write
    /// may have happened.
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
    /// The table called `name`.
    #[must_use]
    pub fn new(config: &SdkConfig, name: String) -> Self {
        Self { client: Client::new(config), name, sealer: None }
    }

    async fn get(&self, pk: String, sk: impl Into<String>) -> Result<Option<Item>, TableError> {
        let request = self
            .client
            .get_item()
            .table_name(&self.name)
            .key("pk", AttributeValue::S(pk))
            .key("sk", AttributeValue::S(sk.into()))
            .consistent_read(true)
            .send();
        // The SDK's futures take 8 KB each; boxed, they do not add up in the futures that await them.
        let response = Box::pin(request).await.map_err(|error| request_error("GetItem", &error))?;
        Ok(response.item.map(Item::from))
    }
}

/// Waits after a conflict, with jitter, so that the same writers do not conflict again.
async fn back_off(attempt: u32) {
    tokio::time::sleep(jitter().of(exponential(FIRST_WAIT, attempt, LONGEST_WAIT))).await;
}

fn request_error<E>(operation: &str, error: &SdkError<E, HttpResponse>) -> TableError
where
    E: std::error::Error + ProvideErrorMetadata + 'static,
{
    ServiceError::of(operation, error).into()
}
