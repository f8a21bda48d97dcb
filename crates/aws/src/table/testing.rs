//! A table for tests: the protocol of DynamoDB in memory, on a loopback port or without a socket. It ends with the
//! test.
//!
//! Tests of other crates enable the feature `testing` in their `[dev-dependencies]`; nothing deployed has it.

use std::sync::{Arc, Mutex};

use aws_config::{Region, SdkConfig};
use aws_sdk_dynamodb::{
    Client,
    config::{Credentials, SharedCredentialsProvider},
    types::{
        AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection,
        ProjectionType, ScalarAttributeType, StreamSpecification, StreamViewType,
    },
};

use crate::{
    capacity::{Tally, WireItem},
    testing::{Request, Response},
};
use serde_json::{Value, json};
use switchboard_model::{
    conversations::{Conversation, Lease, Snapshot},
    ids::{AccountId, ConversationId},
    limits::Counters,
    time::Timestamp,
};

use super::{
    ATTEMPTS, Check, CheckRun, DeliveryKey, Table, TableError, back_off,
    conditions::Condition,
    items::{self, Item},
    packs,
    transactions::Guard,
};
use crate::keys::{self, DueList, LIVE, REQUESTS, STATE};

const TABLE: &str = "switchboard";

/// An empty table. It ends with the runtime of the test.
///
/// # Panics
/// When it cannot be started.
pub async fn new_table() -> Table {
    table_at(&database().await).await
}

/// A database in memory, without a socket: for tests on paused time.
#[derive(Clone)]
pub struct MemoryDatabase {
    database: dynoxide::Database,
    /// The charges of all writes, if they are counted.
    tally: Option<Arc<Mutex<Tally>>>,
}

impl MemoryDatabase {
    /// An empty database.
    ///
    /// # Panics
    /// When the database cannot be made.
    #[must_use]
    pub fn new() -> Self {
        Self { database: dynoxide::Database::memory().expect("memory can be had"), tally: None }
    }

    /// An empty database that counts the write units of its requests.
    #[must_use]
    pub fn counting() -> Self {
        Self { tally: Some(Arc::default()), ..Self::new() }
    }

    /// The charges of all writes so far; none if they are not counted.
    ///
    /// # Panics
    /// When another thread panicked while it counted.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.tally.as_ref().map(|tally| tally.lock().expect("nothing panics").clone()).unwrap_or_default()
    }

    /// A table in the database, which is created if it does not exist. [`config_of`](crate::testing::config_of) makes
    /// a `config` that leads to this database.
    pub async fn table(config: &SdkConfig) -> Table {
        create_table(&Client::new(config)).await;
        Table::new(config, TABLE.to_owned())
    }

    /// Another client of the table.
    #[must_use]
    pub fn client(config: &SdkConfig) -> Table {
        Table::new(config, TABLE.to_owned())
    }

    /// Executes one request of a DynamoDB client.
    ///
    /// # Panics
    /// When the operation is not one that [`Table`] uses.
    #[must_use]
    pub fn execute(&self, request: &Request) -> Response {
        let Some(tally) = &self.tally else { return self.execute_uncounted(request) };
        let (keys, in_transaction) = written(request);
        let before: Vec<_> = keys.iter().map(|key| self.item(key)).collect();
        let response = self.execute_uncounted(request);
        if response.status == 200 {
            let mut tally = tally.lock().expect("nothing panics");
            for (key, before) in keys.iter().zip(before) {
                tally.add(key, before.as_ref(), self.item(key).as_ref(), in_transaction);
            }
        }
        response
    }

    fn item(&self, key: &WireItem) -> Option<WireItem> {
        let body = json!({ "TableName": TABLE, "Key": key, "ConsistentRead": true });
        let input = serde_json::from_value(body).expect("it is a request");
        let found = serde_json::to_value(self.database.get_item(input).ok()?).expect("responses are JSON");
        found["Item"].as_object().cloned()
    }

    fn execute_uncounted(&self, request: &Request) -> Response {
        let target = request.target.as_deref().unwrap_or_default();
        let operation = target.strip_prefix("DynamoDB_20120810.").unwrap_or(target);
        let database = &self.database;
        let result = match operation {
            "CreateTable" => run(request, |input| database.create_table(input)),
            "GetItem" => run(request, |input| database.get_item(input)),
            "PutItem" => run(request, |input| database.put_item(input)),
            "UpdateItem" => run(request, |input| database.update_item(input)),
            "DeleteItem" => run(request, |input| database.delete_item(input)),
            "Query" => run(request, |input| database.query(input)),
            "BatchGetItem" => run(request, |input| database.batch_get_item(input)),
            "BatchWriteItem" => run(request, |input| database.batch_write_item(input)),
            "TransactGetItems" => run(request, |input| database.transact_get_items(input)),
            "TransactWriteItems" => run(request, |input| database.transact_write_items(input)),
            other => panic!("a table needs no {other}"),
        };
        match result {
            Ok(output) => Response::new(200, output),
            Err(error) => Response::new(error.status_code(), error.to_json()),
        }
    }
}

impl Default for MemoryDatabase {
    fn default() -> Self {
        Self::new()
    }
}

/// The keys of the items that a request writes, and whether it is a transaction.
fn written(request: &Request) -> (Vec<WireItem>, bool) {
    let target = request.target.as_deref().unwrap_or_default();
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let is_transaction = target.ends_with("TransactWriteItems");
    let writes: Vec<Value> = if is_transaction {
        let items = body["TransactItems"].as_array().into_iter().flatten();
        items.filter_map(|item| item.as_object()?.values().next().cloned()).collect()
    } else if ["PutItem", "UpdateItem", "DeleteItem"].iter().any(|write| target.ends_with(write)) {
        vec![body]
    } else {
        vec![]
    };
    let key = |write: &Value| {
        let of = write.get("Item").or(write.get("Key"))?.as_object()?;
        let key = ["pk", "sk"].iter().map(|name| Some(((*name).to_owned(), of.get(*name)?.clone())));
        key.collect::<Option<WireItem>>()
    };
    (writes.iter().filter_map(key).collect(), is_transaction)
}

/// The partition key of a conversation in the list of due conversations.
#[must_use]
pub fn due_key(account: AccountId, conversation: ConversationId) -> String {
    DueList::Conversations.pk(&keys::conversation_pk(account, conversation))
}

/// All first attempts that a check finds lost, and the check after its last page, which is not settled. None if the check is
/// not due.
///
/// # Panics
/// When the table cannot be read.
pub async fn lost_first_attempts(
    table: &Table,
    check: &Check,
    now: Timestamp,
) -> Option<(Vec<DeliveryKey>, CheckRun)> {
    let mut run = table.begin_check(check, now).await.expect("the table is there")?;
    let mut lost = vec![];
    while let Some(page) = table.lost_first_attempts(&mut run).await.expect("the table is there") {
        lost.extend(page.deliveries());
    }
    Some((lost, run))
}

fn run<I: serde::de::DeserializeOwned, O: serde::Serialize>(
    request: &Request,
    operation: impl FnOnce(I) -> dynoxide::Result<O>,
) -> dynoxide::Result<Vec<u8>> {
    let input = serde_json::from_slice(&request.body).expect("the SDK writes well-formed requests");
    Ok(serde_json::to_vec(&operation(input)?).expect("responses are JSON"))
}

/// The address of an empty database.
pub(super) async fn database() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let database = dynoxide::Database::memory().expect("memory can be had");
    // The runtime of the test owns the task, and ends it.
    tokio::runtime::Handle::current().spawn(dynoxide::server::serve_on(listener, database));
    url
}

/// An empty table in the database at `url`.
pub(super) async fn table_at(url: &str) -> Table {
    let config = config(url).await;
    create_table(&Client::new(&config)).await;
    Table::new(&config, TABLE.to_owned())
}

/// Sets the number of waiting calls in an account's counters.
///
/// # Panics
/// When it cannot be written.
pub async fn set_waiting(table: &Table, account: AccountId, waiting: i64) {
    let counters = Counters { waiting, ..Counters::default() };
    let item = Item::new(keys::account_pk(account), LIVE, &counters).expect("numbers can be stored");
    table.write(vec![table.put(item)]).await.expect("the table is there");
}

/// Damages the item that counts an account's requests.
///
/// # Panics
/// When it cannot be written.
pub async fn spoil_requests(table: &Table, account: AccountId) {
    let item = Item::new(keys::busy_pk(account, REQUESTS), REQUESTS, &Counters::default());
    let item = item.expect("numbers can be stored").with("full_at", "tomorrow".to_owned());
    table.write(vec![table.put(item)]).await.expect("the table is there");
}

/// The configuration of `main`, for a service at `url`, with made-up credentials.
pub async fn config(url: &str) -> SdkConfig {
    let credentials = Credentials::new("test", "test", None, None, "test");
    crate::loader()
        .region(Region::from_static("eu-central-1"))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .endpoint_url(url)
        .load()
        .await
}

/// The table as `template.yaml` defines it.
async fn create_table(client: &Client) {
    let attribute = |name, kind| {
        AttributeDefinition::builder()
            .attribute_name(name)
            .attribute_type(kind)
            .build()
            .expect("both are given")
    };
    let key = |name, kind| {
        KeySchemaElement::builder().attribute_name(name).key_type(kind).build().expect("both are given")
    };
    let index = |name, hash, range, projection| {
        GlobalSecondaryIndex::builder()
            .index_name(name)
            .key_schema(key(hash, KeyType::Hash))
            .key_schema(key(range, KeyType::Range))
            .projection(Projection::builder().projection_type(projection).build())
            .build()
            .expect("all is given")
    };
    let stream = StreamSpecification::builder()
        .stream_enabled(true)
        .stream_view_type(StreamViewType::NewImage)
        .build()
        .expect("all is given");
    client
        .create_table()
        .table_name(TABLE)
        .billing_mode(BillingMode::PayPerRequest)
        .attribute_definitions(attribute("pk", ScalarAttributeType::S))
        .attribute_definitions(attribute("sk", ScalarAttributeType::S))
        .attribute_definitions(attribute("account_pk", ScalarAttributeType::S))
        .attribute_definitions(attribute("account_sk", ScalarAttributeType::S))
        .attribute_definitions(attribute("due_pk", ScalarAttributeType::S))
        .attribute_definitions(attribute("due_at", ScalarAttributeType::N))
        .key_schema(key("pk", KeyType::Hash))
        .key_schema(key("sk", KeyType::Range))
        .global_secondary_indexes(index("account", "account_pk", "account_sk", ProjectionType::KeysOnly))
        .global_secondary_indexes(index("due", "due_pk", "due_at", ProjectionType::KeysOnly))
        .stream_specification(stream)
        .send()
        .await
        .expect("the table is well-formed");
}

impl Table {
    /// Takes the lease alone, from any holder; a worker takes it with [`Table::transition_taking`]. False if the conversation
    /// has ended or does not exist; then nothing is written.
    ///
    /// # Errors
    /// The table cannot be written.
    pub async fn take_lease(
        &self,
        account: AccountId,
        conversation: ConversationId,
        lease: &Lease,
    ) -> Result<bool, TableError> {
        let pk = keys::conversation_pk(account, conversation);
        for attempt in 0..ATTEMPTS {
            let Some(Snapshot { conversation: before, .. }) =
                self.conversation(account, conversation).await?
            else {
                return Ok(false);
            };
            let after = Conversation { takeovers: before.takeovers + 1, ..before.clone() };
            let goes_on = Condition::new("attribute_exists(pk) AND #state <> :ended")
                .name("#state", "state")
                .text(":ended", &"ended");
            let writes = vec![
                self.check(pk.clone(), STATE, &goes_on).guarded_by(Guard::Forbidden),
                self.put(items::lease_item(pk.clone(), lease)?),
                self.put_new(packs::of_takeover(&before, &after)?),
            ];
            match self.transact(writes).await {
                // The previous holder may be writing.
                Err(TableError::Conflict) => back_off(attempt).await,
                written => return Ok(written?.is_none()),
            }
        }
        Err(TableError::Conflict)
    }
}
