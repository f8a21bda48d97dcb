//! A sweeper with a table in memory, and a carrier on a loopback socket.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{Method, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use serde_json::json;
use switchboard_aws::{
    queue::{CallMessage, DeliveryJob, Queue},
    recordings::Recordings,
    sealing,
    table::{Outcome, Table, testing},
};
use switchboard_calls::Backend;
use switchboard_model::{
    agents::AgentConfig,
    conversations::{
        Conversation, InvalidTransition, JournalEntry, Lease, LegId, LegState, Snapshot, State as Standing,
        Transition,
    },
    costs::{Prices, Usage},
    event_names::EventName,
    ids::{AccountId, ConversationId},
    messages::Message,
    time::Timestamp,
    webhooks::{Webhook, WebhookMethod},
};
use switchboard_providers::{
    AnyCarrier, Providers,
    carrier::{CarrierCallId, CarrierName},
    egress,
    endpoints::Endpoints,
    keys::Keys,
};
use switchboard_runtime as system;
use switchboard_sweeper::{Sweeper, Swept};
use switchboard_testkit::{
    bucket::{self, Objects},
    server,
};

/// The calls of the carrier by id, with status and duration. All were placed three minutes ago.
#[derive(Default)]
pub(crate) struct Carrier {
    pub(crate) calls: BTreeMap<String, (String, String)>,
    pub(crate) hung_up: Vec<String>,
    /// All requests that arrived.
    pub(crate) requests: Vec<String>,
    /// Its numbers by id, each with its name.
    pub(crate) numbers: BTreeMap<String, (String, String)>,
    /// It refuses to hang up.
    pub(crate) stubborn: bool,
    /// It does not respond.
    pub(crate) away: bool,
    /// The jobs in the queue of deliveries, which is at the same address.
    pub(crate) queued: Vec<DeliveryJob>,
    /// The messages in the queue of calls, which is there too.
    pub(crate) calls_queued: Vec<CallMessage>,
    /// An event whose deliveries the queue refuses, by its conversation and its sequence.
    pub(crate) unqueued: Option<(ConversationId, u64)>,
    /// Requests of several messages that the queue takes before it is away.
    pub(crate) batches_left: Option<usize>,
}

pub(crate) struct World {
    pub(crate) sweeper: Sweeper,
    carrier: Arc<Mutex<Carrier>>,
    /// The objects in the bucket.
    pub(crate) objects: Objects,
}

/// This many seconds ago.
pub(crate) fn ago(seconds: i64) -> Timestamp {
    Timestamp::from_millis(system::now().as_millis() - seconds * 1_000)
}

/// The id of a conversation's call.
pub(crate) fn sid(n: u32) -> String {
    format!("CA{n:032}")
}

/// A table at an address where nothing listens.
pub(crate) async fn no_store() -> Table {
    let url = server::unused_url().await;
    Table::new(&testing::config(&url).await, "switchboard".to_owned())
}

impl World {
    pub(crate) async fn new() -> Self {
        let carrier = Arc::<Mutex<Carrier>>::default();
        let url = server::serve(Router::new().fallback(answer).with_state(carrier.clone())).await;
        let keys = r#"{"twilio_account_sid":"AC1","twilio_auth_token":"t","openai_api_key":"o","deepgram_api_key":"d"}"#;
        let endpoints =
            Endpoints::from_vars(&|name| (name == "TWILIO_API_URL").then(|| url.clone())).unwrap();
        let providers = Providers { http: egress::client(), endpoints, keys: Keys::parse(keys).unwrap() };
        let table = testing::new_table().await;
        let queue = Queue::new(&testing::config(&url).await, format!("{url}/queue"));
        let backend =
            Backend { table, sealer: sealing::testing::sealer().await, carrier: AnyCarrier::new(&providers) };
        let calls = Queue::new(&testing::config(&url).await, format!("{url}/calls"));
        let (bucket_url, objects) = bucket::serve().await;
        let recordings = Recordings::new(&testing::config(&bucket_url).await, bucket::NAME.to_owned());
        let (prices, grace) = (Prices::default(), Duration::ZERO);
        let sweeper = Sweeper { backend, calls, recordings, queue, prices, grace };
        Self { sweeper, carrier, objects }
    }

    pub(crate) fn carrier(&self) -> MutexGuard<'_, Carrier> {
        self.carrier.lock().unwrap()
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        self.carrier().requests.clone()
    }

    pub(crate) async fn sweep(&self) -> Swept {
        self.sweeper.sweep().await.unwrap()
    }

    pub(crate) fn ids(n: u32) -> (AccountId, ConversationId) {
        let at = Timestamp::from_millis(1_795_339_800_000);
        (AccountId::new(at, 1), ConversationId::new(at, u128::from(n)))
    }

    /// Stores a call that was requested this many seconds ago.
    pub(crate) async fn queued(&self, n: u32, seconds: i64) {
        let (account, id) = Self::ids(n);
        let (to, from) = ("+14155550100".parse().unwrap(), "+14155550199".parse().unwrap());
        let conversation = Conversation::outbound(id, account, None, to, from, ago(seconds));
        let snapshot = Snapshot { conversation, agent: AgentConfig::default() };
        self.sweeper.backend.table.create_conversation(&snapshot).await.unwrap();
    }

    /// Stores one that was placed this many seconds ago.
    pub(crate) async fn dialing(&self, n: u32, seconds: i64, call: Option<&str>) {
        self.queued(n, seconds).await;
        self.change(n, |now| {
            now.conversation.mark_dialing(LegId::CALLER, &now.agent, "hash".into(), ago(seconds))
        })
        .await;
        if let Some(call) = call {
            self.change(n, |now| now.conversation.record_placed(LegId::CALLER, &carrier_call(call))).await;
        }
    }

    /// Stores one that started this many seconds ago.
    pub(crate) async fn started(&self, n: u32, seconds: i64, lease: &Lease) {
        self.dialing(n, seconds, Some(&sid(n))).await;
        let (account, id) = Self::ids(n);
        let taken = self.sweeper.backend.table.transition_taking(lease, account, id, |now| {
            now.conversation.mark_started(LegId::CALLER, &now.agent, &carrier_call(&sid(n)), ago(seconds))
        });
        assert!(matches!(taken.await.unwrap(), Outcome::Changed(_)));
        let usage = Usage { characters: 1_000, ..Usage::default() };
        self.change(n, |now| now.conversation.append(&now.agent, &[], &usage)).await;
    }

    /// Stores a started one with events for one webhook, from this many seconds ago.
    pub(crate) async fn eventful(&self, n: u32, seconds: i64, events: usize) -> Conversation {
        let (account, id) = Self::ids(n);
        let (to, from) = ("+14155550100".parse().unwrap(), "+14155550199".parse().unwrap());
        let mut conversation = Conversation::outbound(id, account, None, to, from, ago(seconds));
        conversation.legs.caller_mut().state = LegState::Answered { answered_at: ago(seconds) };
        conversation.state = Standing::Started { started_at: ago(seconds) };
        let webhook = Webhook {
            events: vec![EventName::SpeechStarted],
            url: "https://example.com/".into(),
            method: WebhookMethod::Post,
            headers: None,
            filter: None,
        };
        let agent = AgentConfig { webhooks: vec![webhook], ..AgentConfig::default() };
        let snapshot = Snapshot { conversation, agent };
        self.sweeper.backend.table.create_conversation(&snapshot).await.unwrap();
        let lease = Lease::new("a".into(), system::now());
        assert!(self.sweeper.backend.table.take_lease(account, id, &lease).await.unwrap());
        let entry = JournalEntry {
            at: ago(seconds),
            name: EventName::SpeechStarted,
            data: serde_json::Value::Null,
            message: None,
            faults: vec![],
        };
        self.change(n, |now| {
            now.conversation.append(&now.agent, &vec![entry.clone(); events], &Usage::default())
        })
        .await;
        self.conversation(n).await
    }

    pub(crate) async fn change(
        &self,
        n: u32,
        change: impl FnMut(&Snapshot) -> Result<Transition, InvalidTransition>,
    ) {
        let (account, id) = Self::ids(n);
        let outcome = self.sweeper.backend.table.transition(account, id, change).await.unwrap();
        assert!(matches!(outcome, Outcome::Changed(_)), "{outcome:?}");
    }

    pub(crate) async fn conversation(&self, n: u32) -> Conversation {
        let (account, id) = Self::ids(n);
        self.sweeper.backend.table.conversation(account, id).await.unwrap().unwrap().conversation
    }

    pub(crate) async fn messages(&self, n: u32) -> Vec<Message> {
        let (account, id) = Self::ids(n);
        self.sweeper.backend.table.messages(account, id).await.unwrap()
    }

    pub(crate) async fn events(&self, n: u32) -> Vec<&'static str> {
        let (account, id) = Self::ids(n);
        let (events, _) = self.sweeper.backend.table.events(account, id, 0, 100).await.unwrap();
        events.iter().map(|event| event.name.as_str()).collect()
    }
}

impl Carrier {
    fn refuses(&self, job: &DeliveryJob) -> bool {
        self.unqueued == Some((job.conversation_id, job.sequence))
    }

    fn queue_batch(&mut self, jobs: Vec<(String, DeliveryJob)>) -> Response {
        if let Some(left) = &mut self.batches_left {
            let Some(fewer) = left.checked_sub(1) else {
                return (StatusCode::BAD_REQUEST, r#"{"__type":"com.amazonaws.sqs#AccessDenied"}"#)
                    .into_response();
            };
            *left = fewer;
        }
        let (refused, taken): (Vec<_>, Vec<_>) = jobs.into_iter().partition(|(_, job)| self.refuses(job));
        let failed =
            |(id, _): &(String, DeliveryJob)| json!({ "Id": id, "Code": "Refused", "SenderFault": true });
        let failed: Vec<_> = refused.iter().map(failed).collect();
        let sent =
            |(id, _): &(String, DeliveryJob)| json!({ "Id": id, "MessageId": id, "MD5OfMessageBody": "" });
        let sent: Vec<_> = taken.iter().map(sent).collect();
        self.queued.extend(taken.into_iter().map(|(_, job)| job));
        json!({ "Successful": sent, "Failed": failed }).to_string().into_response()
    }
}

async fn answer(
    State(carrier): State<Arc<Mutex<Carrier>>>,
    method: Method,
    uri: Uri,
    body: Bytes,
) -> Response {
    let mut carrier = carrier.lock().unwrap();
    if let Some(message) = body_sent(&body, "/calls").and_then(|body| CallMessage::from_body(&body)) {
        carrier.calls_queued.push(message);
        return r#"{"MessageId":"1","MD5OfMessageBody":""}"#.into_response();
    }
    if let Some(job) = body_sent(&body, "/queue").and_then(|body| DeliveryJob::from_body(&body)) {
        if carrier.refuses(&job) {
            return (StatusCode::BAD_REQUEST, r#"{"__type":"com.amazonaws.sqs#AccessDenied"}"#)
                .into_response();
        }
        carrier.queued.push(job);
        return r#"{"MessageId":"1","MD5OfMessageBody":""}"#.into_response();
    }
    if let Some(jobs) = batch_sent(&body) {
        return carrier.queue_batch(jobs);
    }
    carrier.requests.push(format!("{method} {uri}"));
    if carrier.away {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let created = {
        let at = carriers_time(ago(3 * 60));
        move |sid: &str, (status, duration): &(String, String)| json!({ "sid": sid, "status": status, "duration": duration, "start_time": at, "date_created": at })
    };
    let leaf = uri.path().rsplit('/').next().unwrap_or_default().trim_end_matches(".json").to_owned();
    if leaf == "IncomingPhoneNumbers" {
        let resource = |(sid, (number, name)): (&String, &(String, String))| json!({ "sid": sid, "phone_number": number, "friendly_name": name });
        let numbers: Vec<_> = carrier.numbers.iter().map(resource).collect();
        return json!({ "incoming_phone_numbers": numbers }).to_string().into_response();
    }
    if leaf.starts_with("PN") {
        return if method == Method::DELETE && carrier.numbers.remove(&leaf).is_some() {
            StatusCode::NO_CONTENT.into_response()
        } else {
            StatusCode::NOT_FOUND.into_response()
        };
    }
    if leaf == "Calls" {
        let calls: Vec<_> = carrier.calls.iter().map(|(sid, call)| created(sid, call)).collect();
        return json!({ "calls": calls }).to_string().into_response();
    }
    match carrier.calls.get(&leaf).cloned() {
        None => StatusCode::NOT_FOUND.into_response(),
        Some(_) if method == Method::POST && carrier.stubborn => StatusCode::BAD_GATEWAY.into_response(),
        Some(call) => {
            if method == Method::POST {
                assert_eq!(&*body, b"Status=completed");
                carrier.hung_up.push(leaf.clone());
            }
            created(&leaf, &call).to_string().into_response()
        }
    }
}

/// The messages with their ids, if this is a request of several to the queue of deliveries.
fn batch_sent(body: &[u8]) -> Option<Vec<(String, DeliveryJob)>> {
    let request: serde_json::Value = serde_json::from_slice(body).ok()?;
    let job = |entry: &serde_json::Value| {
        Some((entry["Id"].as_str()?.to_owned(), DeliveryJob::from_body(entry["MessageBody"].as_str()?)?))
    };
    request["Entries"].as_array()?.iter().map(job).collect()
}

/// The message, if this is a request to the queue.
fn body_sent(body: &[u8], queue: &str) -> Option<String> {
    let request: serde_json::Value = serde_json::from_slice(body).ok()?;
    let is_for_queue = request["QueueUrl"].as_str()?.ends_with(queue);
    is_for_queue.then(|| request["MessageBody"].as_str().map(str::to_owned)).flatten()
}

/// A time in the format of the carrier.
fn carriers_time(at: Timestamp) -> String {
    let text = at.to_string();
    let (date, time) = text.split_once('T').unwrap();
    let (year, rest) = date.split_once('-').unwrap();
    let (month, day) = rest.split_once('-').unwrap();
    let names = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = names[month.parse::<usize>().unwrap() - 1];
    format!("{day} {month} {year} {} +0000", &time[..8])
}

fn carrier_call(id: &str) -> CarrierCallId {
    CarrierCallId::new(CarrierName::Twilio, id).unwrap()
}
