//! The latency of the API inside its function: creating and getting a conversation, warm. The table is a DynamoDB in this
//! process, whose own time is included; network, gateway and Lambda are not.
//!
//! `cargo bench -p switchboard-api`.

use std::time::{Duration, Instant};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Request, StatusCode},
};
use serde_json::{Value, json};
use switchboard_api::{Api, router};
use switchboard_aws::{recordings::Recordings, sealing, table::testing};
use switchboard_model::{
    accounts::{Account, Token},
    costs::Prices,
    egress_policy::EgressPolicy,
    ids::{AccountId, PhoneNumberId},
    phone_numbers::PhoneNumber,
};
use switchboard_providers::{AnyCarrier, Providers, egress, endpoints::Endpoints, keys::Keys};
use switchboard_runtime as system;
use tower::ServiceExt as _;

const TOKEN: &str = "sk_0123456789abcdefghijklmnopqrstuv";
const NUMBER: &str = "+14155550199";
/// Requests of each kind; the first tenth is a warm-up.
const TIMES: usize = 500;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime can be built").block_on(measure());
}

async fn measure() {
    let router = api().await;
    let body = json!({ "from_number": NUMBER, "to_number": "+14155550100", "agent_config": { "prompt": "You are Ada." } });
    let mut id = Value::Null;
    let mut created = vec![];
    for _ in 0..TIMES {
        let (took, conversation) =
            ask(&router, "POST", "/conversations/create_phone_call", &body.to_string()).await;
        created.push(took);
        id = conversation["id"].clone();
    }
    report("POST /conversations/create_phone_call", created);
    let path = format!("/conversations/{}", id.as_str().unwrap_or_default());
    let mut shown = vec![];
    for _ in 0..TIMES {
        shown.push(ask(&router, "GET", &path, "").await.0);
    }
    report("GET /conversations/{id}", shown);
}

async fn ask(router: &Router, method: &str, path: &str, body: &str) -> (Duration, Value) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("authorization", format!("Bearer {TOKEN}"))
        .header("content-type", "application/json")
        .body(Body::from(body.to_owned()))
        .expect("a well-formed request");
    let asked = Instant::now();
    let answer = router.clone().oneshot(request).await.expect("the router never fails");
    let took = asked.elapsed();
    assert_eq!(answer.status(), StatusCode::OK, "{method} {path}");
    let body = to_bytes(answer.into_body(), usize::MAX).await.expect("a whole body");
    (took, serde_json::from_slice(&body).expect("JSON"))
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.drain(..TIMES / 10);
    times.sort_unstable();
    let at = |part: usize| times[times.len() * part / 100];
    eprintln!("{what}: p50 {:.1?}, p95 {:.1?}", at(50), at(95));
}

/// The API of one account with a number, over an otherwise empty table.
async fn api() -> Router {
    let table = testing::new_table().await;
    let id: AccountId = "acc_01JD8Q2M7X4T6R9V1B3C5D7E9F".parse().expect("a well-formed id");
    let now = system::now();
    let mut account = Account::new(id, "Corner bakery".to_owned(), now, "whsec_AAAA".to_owned());
    account.limits.requests_per_second = 1_000_000;
    let token = Token::from_authorization(&format!("Bearer {TOKEN}")).expect("a well-formed token");
    table.create_account(&account, &token).await.expect("the table takes it");
    let number = NUMBER.parse().expect("a well-formed number");
    let number = PhoneNumber::coming(PhoneNumberId::new(now, 1), id, number, None, now);
    table.add_phone_number(&number.arrived("PN1".to_owned())).await.expect("the table takes it");

    // The carrier is not called.
    let nowhere = "http://127.0.0.1:1";
    let keys =
        r#"{"twilio_account_sid":"AC1","twilio_auth_token":"t","openai_api_key":"o","deepgram_api_key":"d"}"#;
    let endpoints = Endpoints::from_vars(&|name| (name == "TWILIO_API_URL").then(|| nowhere.to_owned()));
    let providers = Providers {
        http: egress::client(),
        endpoints: endpoints.expect("well-formed addresses"),
        keys: Keys::parse(keys).expect("well-formed keys"),
    };
    router(Api {
        table,
        recordings: Recordings::new(&testing::config(nowhere).await, "recordings".to_owned()),
        sealer: sealing::testing::sealer().await,
        carrier: AnyCarrier::new(&providers),
        prices: Prices::default(),
        public_url: "https://api.example.com".to_owned(),
        media_url: Some("wss://media.example.com/media".to_owned()),
        egress_policy: EgressPolicy::PublicOnly,
        retention: Duration::from_hours(90 * 24),
        now: system::now,
        random: system::random_u128,
    })
}
