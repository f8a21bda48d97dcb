//! A dialer with a real store, and a carrier and a queue of its own on loopback sockets.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use aws::{
    queue::{CallJob, Queue},
    store::{Store, testing},
    system,
};
use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent};
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use dialer::Dialer;
use domain::{
    agents::AgentConfig,
    conversations::{Conversation, Snapshot},
    events::Event,
};
use serde_json::{Value, json};
use vendors::{Providers, egress, endpoints::Endpoints, keys::Keys, twilio::Calls};

pub(crate) const SAMPLE: &str = include_str!("../../../../events/sqs_calls.json");
pub(crate) const SID: &str = "CA0123456789abcdef0123456789abcdef";

/// How the carrier answers a request to place a call.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Answer {
    Created,
    Status(u16),
    /// Created, but the answer does not say so.
    Garbled,
}

/// What arrived, and what the carrier is to answer next; after that it creates calls.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) calls: Vec<Vec<(String, String)>>,
    pub(crate) answers: VecDeque<Answer>,
    pub(crate) messages: Vec<Value>,
    pub(crate) queue_is_away: bool,
}

pub(crate) struct World {
    pub(crate) dialer: Dialer,
    pub(crate) store: Store,
    seen: Arc<Mutex<Seen>>,
    job: CallJob,
}

impl World {
    /// With one queued call, the one that the sample event is about.
    pub(crate) async fn new(agent: AgentConfig) -> Self {
        Self::with_call(agent, Duration::ZERO).await
    }

    /// The call was made `ago`.
    pub(crate) async fn with_call(agent: AgentConfig, ago: Duration) -> Self {
        let seen = Arc::<Mutex<Seen>>::default();
        let url = serve(seen.clone()).await;
        let store = testing::store().await;
        let job = CallJob::from_body(sample()["Records"][0]["body"].as_str().unwrap()).unwrap();
        let created_at = domain::time::Timestamp::from_millis(
            system::now().as_millis() - i64::try_from(ago.as_millis()).unwrap(),
        );
        let (to, from) = ("+14155550100".parse().unwrap(), "+14155550199".parse().unwrap());
        let conversation =
            Conversation::outbound(job.conversation_id, job.account_id, None, to, from, created_at);
        store.create_conversation(&Snapshot { conversation, agent }).await.unwrap();
        let dialer = Dialer {
            store: store.clone(),
            queue: Queue::new(&testing::config(&url).await, format!("{url}/000000000000/calls")),
            calls: carrier(&url),
            public_url: "https://voice.example.com".to_owned(),
            media_url: "wss://media.example.com/media".to_owned(),
        };
        Self { dialer, store, seen, job }
    }

    pub(crate) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }

    pub(crate) fn next_answer(&self, answer: Answer) {
        self.seen().answers.push_back(answer);
    }

    /// Hands the sample event to the function; the ids of the messages that are to come again.
    pub(crate) async fn deliver(&self) -> Vec<String> {
        failures(&dialer::handle(&self.dialer, event(&sample())).await)
    }

    pub(crate) async fn conversation(&self) -> Conversation {
        self.store
            .conversation(self.job.account_id, self.job.conversation_id)
            .await
            .unwrap()
            .unwrap()
            .conversation
    }

    pub(crate) async fn events(&self) -> Vec<Event> {
        self.store.events(self.job.account_id, self.job.conversation_id, 0, 100).await.unwrap().0
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
pub(crate) fn carrier(url: &str) -> Calls {
    let keys =
        r#"{"twilio_account_sid":"AC1","twilio_auth_token":"t","openai_api_key":"o","deepgram_api_key":"d"}"#;
    let endpoints = Endpoints::from_vars(&|name| (name == "TWILIO_API_URL").then(|| url.to_owned())).unwrap();
    Calls::new(&Providers { http: egress::client(), endpoints, keys: Keys::parse(keys).unwrap() })
}

/// An address where nobody listens.
pub(crate) async fn nobody() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

async fn serve(seen: Arc<Mutex<Seen>>) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(take).with_state(seen);
    tokio::runtime::Handle::current().spawn(async move { axum::serve(listener, router).await });
    url
}

async fn take(State(seen): State<Arc<Mutex<Seen>>>, uri: Uri, body: Bytes) -> Response {
    let json = [(header::CONTENT_TYPE, "application/json")];
    let mut seen = seen.lock().unwrap();
    if uri.path() != "/2010-04-01/Accounts/AC1/Calls.json" {
        if seen.queue_is_away {
            return (StatusCode::FORBIDDEN, json, r#"{"__type":"com.amazonaws.sqs#AccessDenied"}"#)
                .into_response();
        }
        seen.messages.push(serde_json::from_slice(&body).unwrap());
        return (json, json!({ "MessageId": "1", "MD5OfMessageBody": "" }).to_string()).into_response();
    }
    seen.calls.push(form_urlencoded::parse(&body).into_owned().collect());
    match seen.answers.pop_front().unwrap_or(Answer::Created) {
        Answer::Created => {
            (StatusCode::CREATED, json, json!({ "sid": SID, "status": "queued" }).to_string()).into_response()
        }
        Answer::Status(status) => {
            let status = StatusCode::from_u16(status).unwrap();
            (status, json, json!({ "code": 21_211, "message": "no" }).to_string()).into_response()
        }
        Answer::Garbled => (StatusCode::CREATED, "<html>").into_response(),
    }
}
