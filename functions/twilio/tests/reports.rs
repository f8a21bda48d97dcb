//! Reports of the carrier, from the sample event to the stored conversation.

#![cfg(test)]

use std::time::Duration;

use aws::store::{Store, testing};
use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Request, StatusCode},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use domain::{
    agents::AgentConfig,
    conversations::{Conversation, Snapshot, State},
    ids::{AccountId, ConversationId},
    time::Timestamp,
};
use hmac::{Hmac, KeyInit, Mac};
use proptest::{prelude::*, strategy::ValueTree as _, test_runner::TestRunner};
use sha1::Sha1;
use tower::ServiceExt;
use twilio::{Callbacks, reports};
use vendors::{
    Secret,
    twilio::callbacks::{StatusCallback, parse_form},
};

const SAMPLE: &str = include_str!("../../../events/http_twilio_status.json");
/// The sample is signed with this token, for this address.
const TOKEN: &str = "test_auth_token_000";
const PUBLIC_URL: &str = "https://a1b2c3d4e5.execute-api.us-east-1.amazonaws.com";
const ACCOUNT: &str = "acc_01JD8Q2M7X4T6R9V1B3C5D7E9F";
const CONVERSATION: &str = "cnv_01JD8QA1B2C3D4E5F6G7H8J9K0";
const SID: &str = "CA0123456789abcdef0123456789abcdef";

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_795_359_840_000 + seconds * 1_000)
}

/// The sample's conversation, just handed to the carrier.
fn dialled() -> Snapshot {
    let (id, account) = (CONVERSATION.parse().unwrap(), ACCOUNT.parse().unwrap());
    let (to, from) = ("+14155550100".parse().unwrap(), "+14155550199".parse().unwrap());
    let agent = AgentConfig::default();
    let queued = Conversation::outbound(id, account, None, to, from, at(0));
    Snapshot { conversation: queued.dial(&agent, "00".repeat(32), at(1)).unwrap().conversation, agent }
}

struct World {
    router: Router,
    store: Store,
}

impl World {
    async fn new() -> Self {
        let store = testing::store().await;
        store.create_conversation(&dialled()).await.unwrap();
        Self { router: router(store.clone()), store }
    }

    async fn report(&self, fields: &str) -> (StatusCode, String) {
        send(&self.router, signed(&path(ACCOUNT, CONVERSATION), fields)).await
    }

    async fn conversation(&self) -> Conversation {
        let (account, id) = ids();
        self.store.conversation(account, id).await.unwrap().unwrap().conversation
    }

    async fn event_names(&self) -> Vec<&'static str> {
        let (account, id) = ids();
        self.store
            .events(account, id, 0, 100)
            .await
            .unwrap()
            .0
            .iter()
            .map(|event| event.name.as_str())
            .collect()
    }
}

fn ids() -> (AccountId, ConversationId) {
    (ACCOUNT.parse().unwrap(), CONVERSATION.parse().unwrap())
}

fn router(store: Store) -> Router {
    twilio::router(Callbacks { store, auth_token: Secret::new(TOKEN), public_url: PUBLIC_URL.to_owned() })
}

fn path(account: &str, conversation: &str) -> String {
    format!("/twilio/{account}/{conversation}/status")
}

fn signed(path: &str, body: &str) -> Request<Body> {
    let mut parameters: Vec<(String, String)> =
        form_urlencoded::parse(body.as_bytes()).into_owned().collect();
    parameters.sort();
    let mut mac = Hmac::<Sha1>::new_from_slice(TOKEN.as_bytes()).unwrap();
    mac.update(format!("{PUBLIC_URL}{path}").as_bytes());
    for (name, value) in parameters {
        mac.update(name.as_bytes());
        mac.update(value.as_bytes());
    }
    request(path, body, &BASE64_STANDARD.encode(mac.finalize().into_bytes()))
}

fn request(path: &str, body: &str, signature: &str) -> Request<Body> {
    Request::post(path)
        .header("content-type", "application/x-www-form-urlencoded")
        .header("x-twilio-signature", signature)
        .body(Body::from(body.to_owned()))
        .unwrap()
}

async fn send(router: &Router, request: Request<Body>) -> (StatusCode, String) {
    let response = router.clone().oneshot(request).await.unwrap();
    let status = response.status();
    let body = to_bytes(response.into_body(), 10_000).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

fn fields(status: &str, more: &str) -> String {
    format!("CallSid={SID}&CallStatus={status}{more}")
}

#[tokio::test]
async fn the_sample_of_an_answered_call_arrives_through_the_gateway() {
    let world = World::new().await;
    let request = lambda_http::request::from_str(SAMPLE).unwrap();
    let (parts, body) = request.into_parts();
    let request = Request::from_parts(parts, Body::from(body.to_vec()));
    assert_eq!(send(&world.router, request).await, (StatusCode::OK, String::new()));
    let conversation = world.conversation().await;
    assert!(matches!(conversation.state, State::Answered { .. }), "{conversation:?}");
    assert_eq!(conversation.carrier_call_id.as_deref(), Some(SID));
    assert_eq!(world.event_names().await, ["phone_call:accepted"]);
}

#[tokio::test]
async fn whoever_is_not_the_carrier_learns_nothing() {
    let world = World::new().await;
    let (here, ringing) = (path(ACCOUNT, CONVERSATION), fields("ringing", ""));
    let unknown = path(ACCOUNT, "cnv_01JD8QA1B2C3D4E5F6G7H8J9K1");
    let foreign = path("acc_01JD8Q2M7X4T6R9V1B3C5D7E9G", CONVERSATION);
    let other = signed(&unknown, &ringing).headers()["x-twilio-signature"].to_str().unwrap().to_owned();
    let unsigned = Request::post(&here).body(Body::from(ringing.clone())).unwrap();
    let mut answers = vec![send(&world.router, unsigned).await];
    for signature in ["", "AAAA", "not base64", &other] {
        answers.push(send(&world.router, request(&here, &ringing, signature)).await);
    }
    for path in [unknown, foreign, path("acc_1", "cnv_1"), path("a%20b", "%FF"), format!("{here}?more=1")] {
        answers.push(send(&world.router, request(&path, &ringing, "AAAA")).await);
    }
    for path in [path(ACCOUNT, "cnv_01JD8QA1B2C3D4E5F6G7H8J9K1"), path("acc_1", "cnv_1")] {
        answers.push(send(&world.router, signed(&path, &ringing)).await);
    }
    for answer in answers {
        assert_eq!(answer, (StatusCode::FORBIDDEN, r#"{"detail":"Forbidden"}"#.to_owned()));
    }
    assert_eq!(world.conversation().await.state, State::Dialing);
}

#[tokio::test]
async fn a_call_goes_its_way_report_by_report() {
    let world = World::new().await;
    for (status, state) in
        [("queued", "Dialing"), ("initiated", "Dialing"), ("ringing", "Ringing"), ("in-progress", "Answered")]
    {
        for _ in 0..2 {
            assert_eq!(world.report(&fields(status, "")).await, (StatusCode::OK, String::new()));
            let reached = format!("{:?}", world.conversation().await.state);
            assert!(reached.starts_with(state), "{status}: {reached}");
        }
    }
    assert_eq!(world.report(&fields("completed", "&CallDuration=3")).await.0, StatusCode::OK);
    assert_eq!(world.event_names().await, ["phone_call:accepted", "conversation:ended"]);
}

#[tokio::test]
async fn a_call_that_is_not_taken_is_rejected_once_with_its_reason() {
    for (status, reason) in [
        ("busy", "busy"),
        ("no-answer", "no_answer"),
        ("failed", "failed"),
        ("canceled", "canceled"),
        ("completed", "failed"),
    ] {
        let world = World::new().await;
        for _ in 0..2 {
            assert_eq!(world.report(&fields(status, "")).await.0, StatusCode::OK);
        }
        let (account, id) = ids();
        let (events, _) = world.store.events(account, id, 0, 100).await.unwrap();
        assert_eq!(world.event_names().await, ["phone_call:rejected", "conversation:ended"], "{status}");
        assert_eq!(events[0].data["reason"], reason);
    }
}

#[tokio::test]
async fn a_worker_that_holds_the_call_is_told_of_its_end() {
    let world = World::new().await;
    let (account, id) = ids();
    let started = world
        .store
        .transition(account, id, |now| now.conversation.started(&now.agent, SID, at(5)))
        .await
        .unwrap();
    assert!(matches!(started, aws::store::Outcome::Changed(_)));
    assert_eq!(world.report(&fields("completed", "&CallDuration=42")).await.0, StatusCode::OK);
    let conversation = world.conversation().await;
    assert!(matches!(conversation.state, State::Started { .. }));
    assert_eq!(conversation.notes.carrier_seconds, Some(42));
    let noted = conversation.notes.carrier_ended_at;
    assert_eq!(world.report(&fields("completed", "&CallDuration=42")).await.0, StatusCode::OK);
    assert_eq!(world.conversation().await.notes.carrier_ended_at, noted);
}

#[tokio::test]
async fn what_is_no_report_changes_nothing() {
    let world = World::new().await;
    assert_eq!(world.report("CallStatus=busy").await.0, StatusCode::BAD_REQUEST);
    assert_eq!(world.report(&fields("parked", "")).await.0, StatusCode::OK);
    let big = fields("busy", &format!("&x={}", "x".repeat(70_000)));
    assert_eq!(world.report(&big).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    let (status, body) = send(&world.router, signed("/twilio/other", &fields("busy", ""))).await;
    assert_eq!((status, body.as_str()), (StatusCode::NOT_FOUND, r#"{"detail":"Not Found"}"#));
    assert_eq!(world.conversation().await.state, State::Dialing);
}

#[tokio::test]
async fn a_report_of_another_call_changes_nothing() {
    let world = World::new().await;
    assert_eq!(world.report(&fields("ringing", "")).await.0, StatusCode::OK);
    let other = fields("busy", "").replace("cdef&", "0000&");
    assert_eq!(world.report(&other).await.0, StatusCode::OK);
    assert_eq!(world.conversation().await.state, State::Ringing);
}

#[tokio::test]
async fn a_report_that_cannot_be_stored_is_not_taken() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let away = router(Store::new(&testing::config(&url).await, "switchboard".to_owned()));
    let (status, body) = send(&away, signed(&path(ACCOUNT, CONVERSATION), &fields("ringing", ""))).await;
    assert_eq!(
        (status, body.as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, r#"{"detail":"Service Unavailable"}"#)
    );
}

/// One thing that happens to a call that was dialled.
#[derive(Debug, Clone)]
enum Happens {
    Report(String),
    /// Its media stream reaches a worker.
    Stream,
}

fn read(fields: &str) -> StatusCallback {
    StatusCallback::read(&parse_form(fields.as_bytes())).unwrap()
}

/// Every report three times, in any order, with the stream somewhere among them.
fn lives() -> impl Strategy<Value = Vec<Happens>> {
    let answered = vec!["initiated", "ringing", "in-progress", "completed"];
    let ends = prop_oneof![
        2 => Just(answered),
        1 => prop::sample::select(vec!["busy", "no-answer", "failed", "canceled"])
            .prop_map(|end| vec!["initiated", "ringing", end]),
    ];
    (ends, prop::sample::select(vec!["", "&CallDuration=0", "&CallDuration=42"])).prop_flat_map(
        |(statuses, more)| {
            let mut life: Vec<Happens> = statuses
                .iter()
                .cycle()
                .take(statuses.len() * 3)
                .map(|status| Happens::Report(fields(status, if *status == "completed" { more } else { "" })))
                .collect();
            if statuses.contains(&"in-progress") {
                life.push(Happens::Stream);
            }
            Just(life).prop_shuffle()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn reports_in_any_order_end_a_call_once(life in lives()) {
        let mut snapshot = dialled();
        let mut events = vec![];
        for (second, happens) in (10..).zip(&life) {
            let change = match happens {
                Happens::Report(fields) => reports::change(&snapshot, &read(fields), at(second)),
                Happens::Stream => snapshot.conversation.started(&snapshot.agent, SID, at(second)),
            };
            if let Ok(change) = change {
                snapshot.conversation = change.conversation;
                events.extend(change.events);
            }
        }
        // The worker ends what it holds.
        if let State::Started { .. } = snapshot.conversation.state {
            let Snapshot { conversation, agent } = &snapshot;
            let ended = conversation.end(
                agent,
                domain::conversations::EndedReason::UserEnded,
                &[],
                &conversation.usage,
                &domain::costs::Prices::default(),
                at(100),
            );
            events.extend(ended.unwrap().events);
        }
        let count = |name: &str| events.iter().filter(|event| event.name.as_str() == name).count();
        prop_assert_eq!(count("conversation:ended"), 1);
        prop_assert!(count("phone_call:rejected") <= 1);
        prop_assert_eq!(count("phone_call:rejected") + count("phone_call:accepted"), 1);
        prop_assert_eq!(events.last().unwrap().name.as_str(), "conversation:ended");
        let sequences: Vec<u64> = events.iter().map(|event| event.sequence).collect();
        prop_assert_eq!(sequences, (2..2 + events.len() as u64).collect::<Vec<_>>());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_that_arrive_at_the_same_time_end_a_call_once() {
    // The same lives as above, all at once against a real store.
    let mut runner = TestRunner::deterministic();
    for _ in 0..5 {
        let world = World::new().await;
        let life = lives().new_tree(&mut runner).unwrap().current();
        let mut reports = tokio::task::JoinSet::new();
        for happens in life {
            if let Happens::Report(fields) = happens {
                let router = world.router.clone();
                reports
                    .spawn(async move { send(&router, signed(&path(ACCOUNT, CONVERSATION), &fields)).await });
            }
        }
        while let Some(answer) = reports.join_next().await {
            assert_eq!(answer.unwrap(), (StatusCode::OK, String::new()));
        }
        let names = world.event_names().await;
        assert_eq!(names.iter().filter(|name| **name == "conversation:ended").count(), 1, "{names:?}");
        assert!(names.iter().filter(|name| **name == "phone_call:rejected").count() <= 1, "{names:?}");
    }
}

#[test]
fn a_call_that_ended_before_its_answer_was_reported_counts_as_answered() {
    let snapshot = dialled();
    let change = reports::change(&snapshot, &read(&fields("completed", "&CallDuration=42")), at(60)).unwrap();
    let names: Vec<&str> = change.events.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(names, ["phone_call:accepted", "conversation:ended"]);
    assert_eq!(change.conversation.answered_at(), Some(at(18)));
    let (_, _, cost) = change.conversation.ended().unwrap();
    let telephony = cost.telephony.as_ref().unwrap();
    assert_eq!(Duration::from_millis(telephony.ms), Duration::from_secs(42));
}
