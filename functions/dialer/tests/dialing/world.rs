//! A dialer with a table in memory, and a carrier, a voice, a bucket and a queue on loopback sockets.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent};
use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::post,
};
use futures_util::{StreamExt, future::BoxFuture, stream};
use serde_json::{Value, json};
use switchboard_aws::{
    clips::Clips,
    queue::{CallJob, Queue},
    sealing,
    table::{
        Outcome, Table,
        testing::{self, MemoryDatabase},
    },
    testing::{Request, config_of},
};
use switchboard_calls::{Backend, CallbackUrls, ClipPreparation};
use switchboard_dialer::Dialer;
use switchboard_model::{
    accounts::{Account, Token},
    agents::AgentConfig,
    carriers::{CarrierCallId, CarrierName},
    conversations::{Conversation, InvalidTransition, Snapshot, Transition},
    egress_policy::EgressPolicy,
    events::Event,
    ids::ConversationId,
};
use switchboard_providers::{AnyCarrier, Providers, egress, endpoints::Endpoints, keys::Keys};
use switchboard_runtime as system;
use switchboard_testkit::{
    bucket::{self, Objects},
    server,
};
use tokio::sync::Notify;

pub(crate) const SAMPLE: &str = include_str!("../../../../events/sqs_calls.json");
pub(crate) const SID: &str = "CA0123456789abcdef0123456789abcdef";

/// The response of the carrier to a request for a call.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Answer {
    Created,
    Status(u16),
    /// Created, but the response does not name the call.
    Garbled,
    /// Created, and the response is lost.
    Dropped,
    /// Created, and the response waits for [`World::answer_now`].
    WaitsForTheEnd,
}

/// The behaviour of the voice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Says {
    #[default]
    Everything,
    /// It does not respond.
    Nothing,
    /// It streams slowly, until it is released.
    Little,
}

/// The requests that arrived, and the next responses of the carrier. Without one, the carrier creates calls.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) calls: Vec<Vec<(String, String)>>,
    pub(crate) answers: VecDeque<Answer>,
    /// The updates of calls that the carrier received: path and form.
    pub(crate) updates: Vec<String>,
    pub(crate) messages: Vec<Value>,
    pub(crate) queue_is_away: bool,
    pub(crate) voice: Says,
    /// The texts that the synthesizer was requested to speak, each with the key of its request.
    pub(crate) spoken: Vec<(String, String)>,
}

pub(crate) struct World {
    pub(crate) dialer: Dialer,
    pub(crate) table: Table,
    database: MemoryDatabase,
    /// The objects in the bucket.
    pub(crate) objects: Objects,
    seen: Arc<Mutex<Seen>>,
    meeting: Arc<Meeting>,
    pub(crate) job: CallJob,
}

/// Synchronizes a request for a call with the test.
#[derive(Default)]
struct Meeting {
    requested: Notify,
    answered: Notify,
}

/// The state of the server.
#[derive(Clone)]
struct Served {
    seen: Arc<Mutex<Seen>>,
    meeting: Arc<Meeting>,
}

impl World {
    /// With one queued call, that of the sample event.
    pub(crate) async fn new(agent: AgentConfig) -> Self {
        Self::with_call(agent, Duration::ZERO).await
    }

    /// The call was created `ago`.
    pub(crate) async fn with_call(agent: AgentConfig, ago: Duration) -> Self {
        let seen = Arc::<Mutex<Seen>>::default();
        let meeting = Arc::<Meeting>::default();
        let url = serve(Served { seen: seen.clone(), meeting: meeting.clone() }).await;
        let database = MemoryDatabase::new();
        let served = database.clone();
        let config = config_of(move |request| {
            let response = served.execute(&request);
            Box::pin(async move { Some(response) })
        });
        let table = MemoryDatabase::table(&config).await;
        let job = CallJob::from_body(sample()["Records"][0]["body"].as_str().unwrap()).unwrap();
        let created_at = switchboard_model::time::Timestamp::from_millis(
            system::now().as_millis() - i64::try_from(ago.as_millis()).unwrap(),
        );
        let mut account = Account::new(job.account_id, "Bakery".into(), system::now(), "whsec_".into());
        // Tests do not wait for the next second of the limit.
        account.limits.calls_per_second = 1_000;
        table.create_account(&account, &Token::new([1; 32])).await.unwrap();
        let (to, from) = ("+14155550100".parse().unwrap(), "+14155550199".parse().unwrap());
        let conversation =
            Conversation::outbound(job.conversation_id, job.account_id, None, to, from, created_at);
        table.create_conversation(&Snapshot { conversation, agent }).await.unwrap();
        let (bucket_url, objects) = bucket::serve().await;
        let clips = Clips::new(&testing::config(&bucket_url).await, bucket::NAME.to_owned());
        let dialer = Dialer {
            backend: Backend {
                table: table.clone(),
                sealer: sealing::testing::sealer().await,
                carrier: carrier(&url),
            },
            queue: Queue::new(&testing::config(&url).await, format!("{url}/000000000000/calls")),
            preparation: ClipPreparation {
                clips,
                providers: providers(&url),
                egress_policy: EgressPolicy::PublicOnly,
            },
            urls: CallbackUrls::new(
                "https://voice.example.com".to_owned(),
                "wss://media.example.com/media".to_owned(),
            ),
            calls_per_second: 1_000_000,
        };
        Self { dialer, table, database, objects, seen, meeting, job }
    }

    /// The dialer with a table whose requests wait for `before`.
    pub(crate) fn dialer_with<F>(&self, before: F) -> Dialer
    where
        F: Fn(&Request) -> BoxFuture<'static, ()> + Send + Sync + 'static,
    {
        let database = self.database.clone();
        let config = config_of(move |request| {
            let (database, before) = (database.clone(), before(&request));
            Box::pin(async move {
                before.await;
                Some(database.execute(&request))
            })
        });
        let mut dialer = self.dialer.clone();
        dialer.backend.table = MemoryDatabase::client(&config);
        dialer
    }

    pub(crate) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }

    pub(crate) fn next_answer(&self, answer: Answer) {
        self.seen().answers.push_back(answer);
    }

    /// Resolves when a request for a call waits for [`Self::answer_now`].
    pub(crate) async fn call_requested(&self) {
        self.meeting.requested.notified().await;
    }

    pub(crate) fn answer_now(&self) {
        self.meeting.answered.notify_one();
    }

    /// Writes a transition of a callback or a client.
    pub(crate) async fn change(
        &self,
        change: impl FnMut(&Snapshot) -> Result<Transition, InvalidTransition>,
    ) {
        let (account, id) = (self.job.account_id, self.job.conversation_id);
        let outcome = self.table.transition(account, id, change).await.unwrap();
        assert!(matches!(outcome, Outcome::Changed(_)), "{outcome:?}");
    }

    /// Another call like that of the sample, and its event.
    pub(crate) async fn another_call(&self) -> (ConversationId, Value) {
        self.call_through(false).await
    }

    /// A call through the customer's own account at the carrier.
    pub(crate) async fn imported_call(&self) {
        self.call_through(true).await;
    }

    async fn call_through(&self, own_carrier: bool) -> (ConversationId, Value) {
        let mut another = self.table.conversation(self.job.account_id, self.job.conversation_id).await;
        let mut snapshot = another.as_mut().unwrap().take().unwrap();
        let Conversation { account_id, created_at, legs, .. } = snapshot.conversation;
        let id = ConversationId::new(system::now(), system::random_u128());
        let call = legs.caller().phone_call.clone().unwrap();
        let (to, from) = (call.to_number, call.from_number);
        snapshot.conversation =
            Conversation::outbound(id, account_id, None, to, from, created_at).with_own_carrier(own_carrier);
        self.table.create_conversation(&snapshot).await.unwrap();
        let mut event = sample();
        let body = event["Records"][0]["body"].as_str().unwrap().to_owned();
        event["Records"][0]["body"] =
            json!(body.replace(&self.job.conversation_id.to_string(), &id.to_string()));
        (id, event)
    }

    /// Handles the sample event. Returns the ids of the messages that the queue delivers again.
    pub(crate) async fn deliver(&self) -> Vec<String> {
        failures(&self.dialer.handle(event(&sample())).await)
    }

    /// Handles a message that a slot of the account may be free. Returns what [`World::deliver`] does.
    pub(crate) async fn wake(&self) -> Vec<String> {
        self.send("wake", &json!({ "account_id": self.job.account_id }).to_string()).await
    }

    /// Handles a message with this id and body.
    pub(crate) async fn send(&self, id: &str, body: &str) -> Vec<String> {
        let mut batch = sample();
        batch["Records"][0]["messageId"] = json!(id);
        batch["Records"][0]["body"] = json!(body);
        failures(&self.dialer.handle(event(&batch)).await)
    }

    pub(crate) async fn conversation(&self) -> Conversation {
        self.table
            .conversation(self.job.account_id, self.job.conversation_id)
            .await
            .unwrap()
            .unwrap()
            .conversation
    }

    /// The numbers of waiting and live calls of the account.
    pub(crate) async fn counted(&self) -> (i64, i64) {
        let calls = self.table.counters(self.job.account_id).await.unwrap();
        (calls.waiting, calls.live)
    }

    pub(crate) async fn events(&self) -> Vec<Event> {
        self.table.events(self.job.account_id, self.job.conversation_id, 0, 100).await.unwrap().0
    }

    pub(crate) async fn event_names(&self) -> Vec<&'static str> {
        self.events().await.iter().map(|event| event.name.as_str()).collect()
    }
}

pub(crate) fn sample() -> Value {
    serde_json::from_str(SAMPLE).unwrap()
}

pub(crate) fn event(json: &Value) -> SqsEvent {
    serde_json::from_value(json.clone()).unwrap()
}

pub(crate) fn failures(response: &SqsBatchResponse) -> Vec<String> {
    response.batch_item_failures.iter().map(|failure| failure.item_identifier.clone()).collect()
}

/// A client of the carrier at `url`.
pub(crate) fn carrier(url: &str) -> AnyCarrier {
    AnyCarrier::new(&providers(url))
}

fn providers(url: &str) -> Providers {
    let keys =
        r#"{"twilio_account_sid":"AC1","twilio_auth_token":"t","openai_api_key":"o","deepgram_api_key":"d"}"#;
    let endpoints = Endpoints::from_vars(&|name| name.ends_with("_URL").then(|| url.to_owned())).unwrap();
    Providers { http: egress::client(), endpoints, keys: Keys::parse(keys).unwrap() }
}

async fn serve(served: Served) -> String {
    server::serve(Router::new().route("/v1/speak", post(speak)).fallback(take).with_state(served)).await
}

/// Synthesizes each text as its own bytes.
async fn speak(State(served): State<Served>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    let text = body["text"].as_str().unwrap().to_owned();
    let key = headers[header::AUTHORIZATION].to_str().unwrap().to_owned();
    let says = {
        let mut seen = served.seen.lock().unwrap();
        seen.spoken.push((text.clone(), key));
        seen.voice
    };
    match says {
        Says::Nothing => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Says::Everything => text.into_response(),
        Says::Little => {
            let little = stream::unfold(served, async |served| {
                tokio::time::sleep(Duration::from_millis(100)).await;
                let goes_on = served.seen.lock().unwrap().voice == Says::Little;
                goes_on.then(|| (Bytes::from_static(b"."), served))
            });
            let all = little.chain(stream::iter([Bytes::from(text)])).map(Ok::<_, std::io::Error>);
            Body::from_stream(all).into_response()
        }
    }
}

async fn take(State(served): State<Served>, uri: Uri, body: Bytes) -> Response {
    let json = [(header::CONTENT_TYPE, "application/json")];
    let created = || {
        let body = json!({ "sid": SID, "status": "queued" }).to_string();
        (StatusCode::CREATED, [(header::CONTENT_TYPE, "application/json")], body).into_response()
    };
    let answer = {
        let mut seen = served.seen.lock().unwrap();
        if let Some(call) = uri.path().strip_prefix("/2010-04-01/Accounts/AC1/Calls/") {
            let form = String::from_utf8(body.to_vec()).unwrap();
            seen.updates.push(format!("/2010-04-01/Accounts/AC1/Calls/{call} {form}"));
            return (json, json!({ "sid": SID }).to_string()).into_response();
        }
        if uri.path() != "/2010-04-01/Accounts/AC1/Calls.json" {
            if seen.queue_is_away {
                return (StatusCode::FORBIDDEN, json, r#"{"__type":"com.amazonaws.sqs#AccessDenied"}"#)
                    .into_response();
            }
            seen.messages.push(serde_json::from_slice(&body).unwrap());
            return (json, json!({ "MessageId": "1", "MD5OfMessageBody": "" }).to_string()).into_response();
        }
        seen.calls.push(form_urlencoded::parse(&body).into_owned().collect());
        seen.answers.pop_front().unwrap_or(Answer::Created)
    };
    match answer {
        Answer::Created => created(),
        Answer::Status(status) => {
            let status = StatusCode::from_u16(status).unwrap();
            (status, json, json!({ "code": 21_211, "message": "no" }).to_string()).into_response()
        }
        Answer::Garbled => (StatusCode::CREATED, "<html>").into_response(),
        // The connection breaks while the body is sent.
        Answer::Dropped => {
            let broken = [Ok(Bytes::from_static(b"{")), Err(std::io::Error::other("cut"))];
            (StatusCode::CREATED, json, Body::from_stream(stream::iter(broken))).into_response()
        }
        Answer::WaitsForTheEnd => {
            served.meeting.requested.notify_one();
            served.meeting.answered.notified().await;
            created()
        }
    }
}

pub(crate) fn call_id(id: &str) -> CarrierCallId {
    CarrierCallId::new(CarrierName::Twilio, id).unwrap()
}
