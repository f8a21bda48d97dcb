//! The function with a table in memory, queues that record their messages, and a receiver on a loopback socket.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
};

use aws_lambda_events::sqs::{SqsEvent, SqsMessage};
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use serde_json::json;
use switchboard_aws::{
    queue::{DeliveryJob, Queue},
    sealing,
    table::{
        DeliveryKey, Table,
        testing::{self, MemoryDatabase},
    },
    testing::config_of,
};
use switchboard_model::{
    accounts::{Account, Token},
    agents::AgentConfig,
    conversations::{Conversation, EndedReason, JournalEntry, LegState, Snapshot, State as Standing},
    costs::{Prices, Usage},
    deliveries::Delivery,
    egress_policy::EgressPolicy,
    event_names::EventName,
    events::Event,
    ids::{AccountId, ConversationId},
    time::Timestamp,
    webhooks::{Webhook, WebhookMethod},
};
use switchboard_providers::webhooks::WebhookClient;
use switchboard_runtime as system;
use switchboard_testkit::{queue::Queues, server};
use switchboard_webhook_delivery::{KeptSlots, WebhookDelivery};

/// Signs the account's webhooks.
pub(crate) const SECRET: &str = "whsec_AAAA";

/// Events that there are at first.
const EVENTS: usize = 20;

/// The receiver's responses.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, &'static str)>,
    pub(crate) body: &'static str,
}

impl Reply {
    pub(crate) fn status(status: u16, body: &'static str) -> Self {
        Self { status, headers: vec![], body }
    }
}

/// A request that the receiver got.
pub(crate) struct Received {
    pub(crate) method: String,
    pub(crate) query: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> String {
        self.headers.get(name).cloned().unwrap_or_default()
    }
}

#[derive(Default)]
struct Outside {
    replies: VecDeque<Reply>,
    received: Vec<Received>,
    /// The conversation of this table that is deleted while the receiver answers.
    deletes: Option<(Table, AccountId, ConversationId)>,
}

type Shared = Arc<Mutex<Outside>>;

pub(crate) struct World {
    pub(crate) webhooks: WebhookDelivery,
    pub(crate) snapshot: Snapshot,
    pub(crate) events: Vec<Event>,
    account: Account,
    outside: Shared,
    queues: Queues,
    database: MemoryDatabase,
}

impl World {
    /// A conversation with some events and three webhooks for each: a `POST`, a `GET`, and one that leads
    /// where nobody listens.
    pub(crate) async fn new() -> Self {
        let outside = Shared::default();
        let receiver = server::serve(Router::new().fallback(receive).with_state(outside.clone())).await;
        let queues = Queues::start().await;
        let config = testing::config(queues.url()).await;
        let database = MemoryDatabase::counting();
        let served = database.clone();
        let in_memory = config_of(move |request| {
            let response = served.execute(&request);
            Box::pin(async move { Some(response) })
        });
        let table = MemoryDatabase::table(&in_memory).await.sealing(sealing::testing::sealer().await);
        let nobody = format!("{}/", server::unused_url().await);

        let at = system::now();
        let account =
            Account::new(AccountId::new(at, system::random_u128()), "Bakery".into(), at, SECRET.into());
        table.create_account(&account, &Token::new(system::random())).await.unwrap();
        let headers = BTreeMap::from([("authorization".to_owned(), "Bearer customer's-secret".to_owned())]);
        let webhook = |url: String, method| Webhook {
            events: EventName::ALL.to_vec(),
            url,
            method,
            headers: Some(headers.clone()),
            filter: None,
        };
        let agent = AgentConfig {
            webhooks: vec![
                webhook(format!("{receiver}/hook"), WebhookMethod::Post),
                webhook(format!("{receiver}/hook?own=1"), WebhookMethod::Get),
                webhook(nobody, WebhookMethod::Post),
            ],
            ..AgentConfig::default()
        };
        let id = ConversationId::new(at, system::random_u128());
        let (to, from) = ("+14155550100".parse().unwrap(), "+14155550199".parse().unwrap());
        let mut conversation = Conversation::outbound(id, account.id, None, to, from, at);
        conversation.legs.caller_mut().state = LegState::Answered { answered_at: at };
        conversation.state = Standing::Started { started_at: at };
        let snapshot = Snapshot { conversation, agent };
        table.create_conversation(&snapshot).await.unwrap();
        let webhooks = WebhookDelivery {
            table,
            queue: Queue::new(&config, queues.queue_url("deliveries")),
            client: WebhookClient::new(EgressPolicy::Local),
            public_url: "https://api.example.com".into(),
            kept_slots: KeptSlots::default(),
        };
        let mut world = Self { webhooks, snapshot, events: vec![], account, outside, queues, database };
        world.append(EVENTS, at).await;
        world
    }

    /// The same with a table where nobody listens.
    pub(crate) async fn without_table(mut world: Self) -> Self {
        let url = server::unused_url().await;
        world.webhooks.table = Table::new(&testing::config(&url).await, "switchboard".to_owned());
        world
    }

    async fn append(&mut self, count: usize, at: Timestamp) {
        let entry = JournalEntry {
            at,
            name: EventName::SpeechStarted,
            data: json!({ "role": "user" }),
            message: None,
            faults: vec![],
        };
        let Snapshot { conversation, agent } = &self.snapshot;
        let appended = conversation.append(agent, &vec![entry; count], &Usage::default()).unwrap();
        self.webhooks.table.commit(conversation, &appended).await.unwrap();
        self.snapshot.conversation = appended.conversation;
        self.events.extend(appended.events);
    }

    /// The `sequence`-th event as if it had happened at another time: the conversation begins anew.
    pub(crate) async fn event_at(&mut self, sequence: usize, at: Timestamp) {
        let id = ConversationId::new(at, system::random_u128());
        let conversation = &self.snapshot.conversation;
        self.snapshot.conversation =
            Conversation { id, next_sequence: 1, version: 1, ..conversation.clone() };
        self.webhooks.table.create_conversation(&self.snapshot).await.unwrap();
        self.events.clear();
        self.append(sequence, at).await;
    }

    /// Ends the conversation; which event says so.
    pub(crate) async fn end(&self, reason: EndedReason) -> u64 {
        let Snapshot { conversation, agent } = &self.snapshot;
        let now = system::now();
        let ended = conversation.end(agent, reason, &[], &Usage::default(), &Prices::default(), now).unwrap();
        self.webhooks.table.commit(conversation, &ended).await.unwrap();
        ended.events.last().unwrap().sequence
    }

    /// The write units of in-flight slots so far: of hosts, and of the account.
    pub(crate) fn slot_units(&self) -> [u64; 2] {
        let tally = self.database.tally();
        let units = |kind: &str| {
            tally.kinds().iter().filter(|(other, _)| *other == kind).map(|(_, sum)| sum.units).sum()
        };
        ["HOST", "SLOTS"].map(units)
    }

    pub(crate) async fn rotate(&self, secret: &str) {
        let table = &self.webhooks.table;
        table.rotate_signing_secret(self.account.id, secret.to_owned(), system::now()).await.unwrap();
    }

    pub(crate) fn job(&self, sequence: u64, webhook: usize, attempt: u32) -> DeliveryJob {
        let Conversation { account_id, id: conversation_id, .. } = self.snapshot.conversation;
        DeliveryJob { account_id, conversation_id, sequence, webhook, attempt }
    }

    /// A batch of messages.
    pub(crate) fn event(jobs: &[DeliveryJob]) -> SqsEvent {
        let mut event = SqsEvent::default();
        let records = jobs.iter().enumerate();
        event.records =
            records.map(|(n, job)| message(&format!("message-{n}"), &json!(job).to_string())).collect();
        event
    }

    /// Works on some messages; the ids of those that are to come again.
    pub(crate) async fn handle(&self, jobs: &[DeliveryJob]) -> Vec<String> {
        let response = self.webhooks.handle(Self::event(jobs)).await;
        response.batch_item_failures.into_iter().map(|failure| failure.item_identifier).collect()
    }

    pub(crate) async fn delivery(&self, sequence: u64, webhook: usize) -> Option<Delivery> {
        let Conversation { account_id: account, id: conversation, .. } = self.snapshot.conversation;
        let key = DeliveryKey { account, conversation, sequence, webhook };
        self.webhooks.table.delivery(key).await.unwrap()
    }

    /// Adds the receiver's next replies; it answers 200 when none is left.
    pub(crate) fn replies<const N: usize>(&self, replies: [Reply; N]) {
        self.outside().replies.extend(replies);
    }

    /// Has the conversation deleted while the receiver answers the next request.
    pub(crate) fn delete_meanwhile(&self) {
        let Conversation { account_id, id, .. } = self.snapshot.conversation;
        self.outside().deletes = Some((self.webhooks.table.clone(), account_id, id));
    }

    /// Takes the requests that the receiver got since the last call of this function.
    pub(crate) fn received(&self) -> Vec<Received> {
        std::mem::take(&mut self.outside().received)
    }

    /// Takes the jobs that were queued since the last call of this function, each with its delay in seconds.
    pub(crate) fn queued(&self) -> Vec<(DeliveryJob, i64)> {
        let queued = self.queues.take("deliveries").into_iter();
        queued.map(|message| (job(&message.body), message.delay_seconds)).collect()
    }

    /// From now on the queues refuse everything.
    pub(crate) fn no_queue(&self) {
        self.queues.set_room(0);
    }

    fn outside(&self) -> MutexGuard<'_, Outside> {
        self.outside.lock().unwrap()
    }
}

/// A message of the queue.
pub(crate) fn message(id: &str, body: &str) -> SqsMessage {
    let mut message = SqsMessage::default();
    message.message_id = Some(id.to_owned());
    message.body = Some(body.to_owned());
    message
}

fn job(body: &str) -> DeliveryJob {
    DeliveryJob::from_body(body).expect("the function queues jobs")
}

async fn receive(
    State(outside): State<Shared>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let deletes = outside.lock().unwrap().deletes.take();
    if let Some((table, account, conversation)) = deletes {
        table.delete_conversation(account, conversation, switchboard_runtime::now()).await.unwrap();
    }
    let mut outside = outside.lock().unwrap();
    let header = |(name, value): (&HeaderName, &HeaderValue)| {
        (name.to_string(), value.to_str().unwrap_or_default().to_owned())
    };
    outside.received.push(Received {
        method: method.to_string(),
        query: uri.query().unwrap_or_default().to_owned(),
        headers: headers.iter().map(header).collect(),
        body: String::from_utf8(body.to_vec()).unwrap(),
    });
    let reply = outside.replies.pop_front().unwrap_or_else(|| Reply::status(200, "ok"));
    let mut response = (StatusCode::from_u16(reply.status).unwrap(), reply.body).into_response();
    for (name, value) in reply.headers {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
