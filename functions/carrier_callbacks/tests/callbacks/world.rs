//! The function with a table in memory, and a carrier, a voice and a bucket on loopback sockets.

use std::{
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Json, Router,
    body::{Body, Bytes, to_bytes},
    extract::State,
    http::{Request, StatusCode, Uri},
    response::{IntoResponse, Response},
    routing::post,
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use switchboard_aws::{
    clips::Clips,
    sealing::{self, Sealer},
    table::{Table, testing},
};
use switchboard_calls::{Backend, CallbackUrls, ClipPreparation, InboundContext};
use switchboard_carrier_callbacks::Callbacks;
use switchboard_model::{
    agents::AgentConfig,
    conversations::{Conversation, Lease, LegId, Snapshot},
    costs::Prices,
    egress_policy::EgressPolicy,
    ids::{AccountId, ConversationId},
    time::Timestamp,
};
use switchboard_providers::{
    AnyCarrier, Providers,
    carrier::{
        Carrier as _, CarrierCallId, CarrierName,
        callbacks::{CallbackRequest, VerifiedCallback},
    },
    egress,
    endpoints::Endpoints,
    keys::Keys,
    webhooks::WebhookClient,
};
use switchboard_testkit::{bucket, server};
use tower::ServiceExt;

/// The samples are signed with this token, for this address.
pub(crate) const TOKEN: &str = "test_auth_token_000";
pub(crate) const PUBLIC_URL: &str = "https://a1b2c3d4e5.execute-api.us-east-1.amazonaws.com";
pub(crate) const ACCOUNT: &str = "acc_01JD8Q2M7X4T6R9V1B3C5D7E9F";
pub(crate) const CONVERSATION: &str = "cnv_01JD8QA1B2C3D4E5F6G7H8J9K0";
pub(crate) const SID: &str = "CA0123456789abcdef0123456789abcdef";

pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_795_359_840_000 + seconds * 1_000)
}

/// The conversation of the samples, which the carrier has just accepted.
pub(crate) fn dialled() -> Snapshot {
    let (id, account) = (CONVERSATION.parse().unwrap(), ACCOUNT.parse().unwrap());
    let (to, from) = ("+14155550100".parse().unwrap(), "+14155550199".parse().unwrap());
    let agent = AgentConfig::default();
    let queued = Conversation::outbound(id, account, None, to, from, at(0));
    Snapshot {
        conversation: queued
            .mark_dialing(LegId::CALLER, &agent, "00".repeat(32), at(1))
            .unwrap()
            .conversation,
        agent,
    }
}

/// The retention of conversations.
pub(crate) const RETENTION: Duration = Duration::from_hours(24);

/// The requests that the carrier received: path and form.
pub(crate) type CarrierRequests = Arc<Mutex<Vec<(String, String)>>>;

/// The texts that the synthesizer was requested to speak.
pub(crate) type Spoken = Arc<Mutex<Vec<String>>>;

pub(crate) struct World {
    pub(crate) router: Router,
    pub(crate) clips: Clips,
    pub(crate) spoken: Spoken,
    pub(crate) table: Table,
    pub(crate) sealer: Sealer,
    pub(crate) carrier_requests: CarrierRequests,
}

/// The lease of a stream that was admitted at this second.
pub(crate) fn lease(holder: &str, second: i64) -> Lease {
    Lease { stream: Some(format!("MZ{holder}")), ..Lease::new(holder.to_owned(), at(second)) }
}

impl World {
    pub(crate) async fn new() -> Self {
        let table = testing::new_table().await;
        table.create_conversation(&dialled()).await.unwrap();
        let (url, carrier_requests, spoken) = carrier().await;
        let sealer = sealing::testing::sealer().await;
        let (bucket_url, _) = bucket::serve().await;
        let clips = Clips::new(&testing::config(&bucket_url).await, bucket::NAME.to_owned());
        let router = router(table.clone(), sealer.clone(), &clips, &url);
        Self { router, clips, spoken, table, sealer, carrier_requests }
    }

    /// The table does not respond.
    pub(crate) async fn without_table() -> Self {
        let mut world = Self::new().await;
        let url = server::unused_url().await;
        let table = Table::new(&testing::config(&url).await, "switchboard".to_owned());
        world.router = router(table.clone(), world.sealer.clone(), &world.clips, "http://127.0.0.1:1");
        world.table = table;
        world
    }

    /// With a live call of the worker `holder` since this second.
    pub(crate) async fn started(holder: &str, second: i64) -> Self {
        let world = Self::new().await;
        let (account, id) = ids();
        let lease = lease(holder, second);
        let started = world.table.transition_taking(&lease, account, id, |now| {
            now.conversation.mark_started(LegId::CALLER, &now.agent, &call_id(SID), at(second))
        });
        assert!(matches!(started.await.unwrap(), switchboard_aws::table::Outcome::Changed(_)));
        world
    }

    /// The same function, which may read its keys again: then the token is this one. Counts the reads.
    pub(crate) fn rotated(&self, token: &'static str) -> (Router, Arc<AtomicUsize>) {
        let reads = Arc::new(AtomicUsize::new(0));
        let counter = reads.clone();
        let mut providers = providers("http://127.0.0.1:1");
        providers.keys = providers.keys.with_source(move || {
            counter.fetch_add(1, Ordering::Relaxed);
            Box::pin(async move { Some(keys(token)) })
        });
        (router_with(providers, self.table.clone(), self.sealer.clone(), &self.clips), reads)
    }

    pub(crate) async fn report(&self, fields: &str) -> (StatusCode, String) {
        send(&self.router, signed(&path(ACCOUNT, CONVERSATION), fields)).await
    }

    /// A form to `resume` or `stream`.
    pub(crate) async fn post(&self, leaf: &str, fields: &str) -> (StatusCode, String) {
        let path = format!("/twilio/{ACCOUNT}/{CONVERSATION}/{leaf}");
        send(&self.router, signed(&path, fields)).await
    }

    /// One of the files in `events/`, through the gateway.
    pub(crate) async fn sample(&self, sample: &str) -> (StatusCode, String) {
        let request = lambda_http::request::from_str(sample).unwrap();
        let (parts, body) = request.into_parts();
        send(&self.router, Request::from_parts(parts, Body::from(body.to_vec()))).await
    }

    pub(crate) async fn conversation(&self) -> Conversation {
        let (account, id) = ids();
        self.table.conversation(account, id).await.unwrap().unwrap().conversation
    }

    pub(crate) async fn event_names(&self) -> Vec<&'static str> {
        let (account, id) = ids();
        self.table
            .events(account, id, 0, 100)
            .await
            .unwrap()
            .0
            .iter()
            .map(|event| event.name.as_str())
            .collect()
    }
}

pub(crate) fn ids() -> (AccountId, ConversationId) {
    (ACCOUNT.parse().unwrap(), CONVERSATION.parse().unwrap())
}

pub(crate) fn router(table: Table, sealer: Sealer, clips: &Clips, carrier: &str) -> Router {
    router_with(providers(carrier), table, sealer, clips)
}

fn router_with(providers: Providers, table: Table, sealer: Sealer, clips: &Clips) -> Router {
    let backend = Backend { table, sealer, carrier: AnyCarrier::new(&providers) };
    let egress_policy = EgressPolicy::Local;
    let inbound = InboundContext {
        sender: WebhookClient::new(egress_policy),
        egress_policy,
        retention: RETENTION,
        preparation: ClipPreparation { clips: clips.clone(), providers, egress_policy },
        prices: Prices::default(),
    };
    let urls = CallbackUrls::new(PUBLIC_URL.to_owned(), "wss://media.example.com/media".to_owned());
    switchboard_carrier_callbacks::router(Callbacks { backend, inbound, urls })
}

async fn carrier() -> (String, CarrierRequests, Spoken) {
    let (carrier_requests, spoken) = (CarrierRequests::default(), Spoken::default());
    let voice = Router::new().route("/v1/speak", post(speak)).with_state(spoken.clone());
    let router = Router::new().fallback(accept_update).with_state(carrier_requests.clone()).merge(voice);
    (server::serve(router).await, carrier_requests, spoken)
}

/// Synthesizes each text as its own bytes, and refuses one of them.
async fn speak(State(spoken): State<Spoken>, Json(body): Json<serde_json::Value>) -> Response {
    let text = body["text"].as_str().unwrap().to_owned();
    spoken.lock().unwrap().push(text.clone());
    if text == "Refuse this." {
        StatusCode::SERVICE_UNAVAILABLE.into_response()
    } else {
        text.into_response()
    }
}

async fn accept_update(State(carrier_requests): State<CarrierRequests>, uri: Uri, body: Bytes) -> Response {
    carrier_requests.lock().unwrap().push((uri.path().to_owned(), String::from_utf8(body.to_vec()).unwrap()));
    r#"{"sid":"x","status":"in-progress"}"#.into_response()
}

pub(crate) fn path(account: &str, conversation: &str) -> String {
    format!("/twilio/{account}/{conversation}/status")
}

fn providers(carrier: &str) -> Providers {
    let endpoints = Endpoints::from_vars(&|name| name.ends_with("_URL").then(|| carrier.to_owned())).unwrap();
    Providers { http: egress::client(), endpoints, keys: keys(TOKEN) }
}

fn keys(token: &str) -> Keys {
    let keys = serde_json::json!({
        "twilio_account_sid": "AC1", "twilio_auth_token": token, "openai_api_key": "o", "deepgram_api_key": "d",
    });
    Keys::parse(&keys.to_string()).unwrap()
}

pub(crate) fn call_id(id: &str) -> CarrierCallId {
    CarrierCallId::new(CarrierName::Twilio, id).unwrap()
}

/// A carrier that can verify and read callbacks, and the callback of this form.
pub(crate) fn verified(form: &str) -> (&'static AnyCarrier, VerifiedCallback) {
    static CARRIER: LazyLock<AnyCarrier> =
        LazyLock::new(|| AnyCarrier::new(&providers("http://127.0.0.1:1")));
    let carrier = &*CARRIER;
    let (parts, _) = signed("/", form).into_parts();
    let url = format!("{PUBLIC_URL}/");
    let request = CallbackRequest { url, headers: parts.headers, body: form.to_owned().into() };
    let callback = carrier.verify(&request).unwrap();
    (carrier, callback)
}

pub(crate) fn signed(path: &str, body: &str) -> Request<Body> {
    signed_with(TOKEN, path, body)
}

pub(crate) fn signed_with(token: &str, path: &str, body: &str) -> Request<Body> {
    let mut parameters: Vec<(String, String)> =
        form_urlencoded::parse(body.as_bytes()).into_owned().collect();
    parameters.sort();
    let mut mac = Hmac::<Sha1>::new_from_slice(token.as_bytes()).unwrap();
    mac.update(format!("{PUBLIC_URL}{path}").as_bytes());
    for (name, value) in parameters {
        mac.update(name.as_bytes());
        mac.update(value.as_bytes());
    }
    request(path, body, &BASE64_STANDARD.encode(mac.finalize().into_bytes()))
}

pub(crate) fn request(path: &str, body: &str, signature: &str) -> Request<Body> {
    Request::post(path)
        .header("content-type", "application/x-www-form-urlencoded")
        .header("x-twilio-signature", signature)
        .body(Body::from(body.to_owned()))
        .unwrap()
}

pub(crate) async fn send(router: &Router, request: Request<Body>) -> (StatusCode, String) {
    let response = router.clone().oneshot(request).await.unwrap();
    let status = response.status();
    let body = to_bytes(response.into_body(), 10_000).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

pub(crate) fn fields(status: &str, more: &str) -> String {
    format!("CallSid={SID}&CallStatus={status}{more}")
}
