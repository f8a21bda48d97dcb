//! `Idempotency-Key`: repeated requests.

use axum::Router;
use futures_util::future::join_all;
use serde_json::{Value, json};
use switchboard_api::{Api, router};
use switchboard_aws::table::{Claimed, Queued};
use switchboard_model::{
    accounts::sha256_hex,
    agents::AgentConfig,
    conversations::{Conversation, Snapshot},
    idempotency::{Claim, Key},
    ids::{ConversationId, RequestId},
    time::Timestamp,
};
use switchboard_runtime as system;

use crate::world::{Answer, CALLED, Event, FOREIGN_NUMBER, FOREIGN_TOKEN, NUMBER, World, api, send};

const PATH: &str = "/conversations/create_phone_call";

fn body(prompt: &str) -> String {
    json!({ "from_number": NUMBER, "to_number": CALLED, "agent_config": { "prompt": prompt } }).to_string()
}

fn create(key: &str, prompt: &str) -> Event {
    Event::create(&body(prompt)).with("idempotency-key", key)
}

/// The API with a real clock and random ids.
async fn real(world: &World) -> Router {
    let api = api(world.table.clone(), "http://127.0.0.1:1").await;
    router(Api { now: system::now, random: system::random_u128, ..api })
}

/// The ids of all conversations.
async fn stored(api: &Router) -> Vec<Value> {
    let answer = send(api, Event::get("/conversations")).await.json();
    answer["items"].as_array().unwrap().iter().map(|item| item["id"].clone()).collect()
}

fn assert_still_running(answer: &Answer) {
    insta::allow_duplicates! {
        insta::assert_snapshot!(answer.line(), @r#"409 {"detail":"A request with this Idempotency-Key is still running"}"#);
    }
    assert_eq!(answer.header("retry-after"), Some("1"));
}

#[tokio::test]
async fn a_repeated_request_has_one_answer_and_one_conversation() {
    let world = World::new().await;
    let api = real(&world).await;
    let first = send(&api, create("order-4711", "Be brief")).await;
    assert_eq!(first.status, 200, "{}", first.body);
    let second = send(&api, create("order-4711", "Be brief")).await;
    assert_eq!((second.status, &second.body), (200, &first.body));
    assert_eq!(second.header("content-type"), Some("application/json"));
    assert_eq!(stored(&api).await, [first.json()["id"].clone()]);
    // The answer stays the same after the conversation has changed.
    let id = first.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(send(&api, Event::of("POST", &format!("/conversations/{id}/end"))).await.status, 200);
    assert_eq!(send(&api, create("order-4711", "Be brief")).await.body, first.body);
    for other in [create("order-4712", "Be brief"), Event::create(&body("Be brief"))] {
        assert_ne!(send(&api, other).await.json()["id"], first.json()["id"]);
    }
}

#[tokio::test]
async fn a_key_belongs_to_one_body_account_and_route() {
    let world = World::new().await;
    let api = real(&world).await;
    let first = send(&api, create("k", "Be brief")).await;
    let answer = send(&api, create("k", "Be long")).await;
    insta::assert_snapshot!(answer.line(), @r#"409 {"detail":"This Idempotency-Key was used with another body"}"#);
    assert_eq!(answer.header("retry-after"), None);
    let theirs = body("Be brief").replace(NUMBER, FOREIGN_NUMBER);
    let theirs = Event::create(&theirs).with("idempotency-key", "k").by_token(FOREIGN_TOKEN);
    let theirs = send(&api, theirs).await;
    assert_eq!(theirs.status, 200, "{}", theirs.body);
    assert_ne!(theirs.json()["id"], first.json()["id"]);
    let agent = Event::of("POST", "/agents").with_body(&json!({})).with("idempotency-key", "k");
    let made = send(&api, agent.clone()).await;
    assert_eq!(made.status, 200, "{}", made.body);
    assert_eq!(send(&api, agent).await.body, made.body);
    assert_eq!(send(&api, Event::get("/agents")).await.json()["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn twenty_concurrent_requests_create_one_conversation() {
    let world = World::new().await;
    let api = real(&world).await;
    let answers = join_all((0..20).map(|_| send(&api, create("k", "Be brief")))).await;
    let (shown, others): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 200);
    let stored = stored(&api).await;
    assert_eq!(stored.len(), 1);
    assert!(!shown.is_empty());
    for answer in &shown {
        assert_eq!((&answer.json()["id"], &answer.body), (&stored[0], &shown[0].body));
    }
    others.iter().for_each(assert_still_running);
}

#[tokio::test]
async fn a_rejected_request_frees_its_key() {
    let world = World::new().await;
    let api = real(&world).await;
    for (event, status) in [
        (Event::create("not json"), 400),
        (Event::create("{}"), 422),
        (Event::create("{}").with("content-type", "text/plain"), 415),
        (Event::create(&" ".repeat(257 * 1024)), 413),
        (create("k", "Be brief"), 200),
    ] {
        let answer = send(&api, event.with("idempotency-key", "k")).await;
        assert_eq!(answer.status, status, "{}", answer.body);
    }
    assert_eq!(stored(&api).await.len(), 1);
}

#[tokio::test]
async fn a_repeated_request_waits_for_a_running_one() {
    let world = World::new().await;
    let api = real(&world).await;
    claimed(&world, "k", system::now()).await;
    assert_still_running(&send(&api, create("k", "Be brief")).await);
    assert!(stored(&api).await.is_empty());
}

/// Claims a key at this time for a request that dies.
async fn claimed(world: &World, key: &str, at: Timestamp) -> RequestId {
    let request = RequestId::new(at, system::random_u128());
    let claim = Claim::new(request, sha256_hex(body("Be brief")), "another".into(), at);
    let key = Key::parse(key.as_bytes()).unwrap().sha256(PATH);
    let claimed = world.table.claim(world.account, &key, claim, at).await.unwrap();
    assert!(matches!(claimed, Claimed::New(_)), "{claimed:?}");
    request
}

#[tokio::test]
async fn a_request_after_a_crash_finds_the_created_item() {
    let world = World::new().await;
    let api = real(&world).await;
    let a_minute_ago = Timestamp::from_millis(system::now().as_millis() - 61_000);
    // This request died before it stored anything.
    let request = claimed(&world, "early", a_minute_ago).await;
    let answer = send(&api, create("early", "Be brief")).await;
    assert_eq!(answer.json()["id"], json!(ConversationId::of_request(request)), "{}", answer.body);
    // This request died after it had stored the conversation, before it stored its answer.
    let request = claimed(&world, "late", a_minute_ago).await;
    let id = ConversationId::of_request(request);
    let (to, from) = (CALLED.parse().unwrap(), NUMBER.parse().unwrap());
    let conversation = Conversation::outbound(id, world.account, None, to, from, a_minute_ago);
    let snapshot = Snapshot { conversation, agent: AgentConfig::default() };
    assert_eq!(world.table.queue_call(&snapshot).await.unwrap(), Queued::Stored);
    let answers = join_all((0..3).map(|_| send(&api, create("late", "Be brief")))).await;
    for answer in answers {
        assert_eq!((answer.status, &answer.json()["id"]), (200, &json!(id)), "{}", answer.body);
    }
    assert_eq!(stored(&api).await.len(), 2);
}

#[tokio::test]
async fn a_failed_request_may_be_repeated_at_once() {
    // Every request gets the same id, so a second conversation cannot be stored.
    let world = World::new().await;
    let first = world.send(Event::create(&body("Be brief"))).await;
    assert_eq!(first.status, 200, "{}", first.body);
    assert_eq!(world.send(create("k", "Be brief")).await.status, 503);
    // The failed request may have created the item: the next one checks.
    let again = world.send(create("k", "Be brief")).await;
    assert_eq!((again.status, again.body), (200, first.body));
}

#[tokio::test]
async fn an_invalid_key_is_rejected() {
    let world = World::new().await;
    for key in ["", "two words", "schlüssel", &"x".repeat(256)] {
        let answer = world.send(create(key, "Be brief")).await;
        insta::allow_duplicates! {
            insta::assert_snapshot!(answer.line(), @r#"422 {"detail":[{"loc":["header","Idempotency-Key"],"msg":"Should be 1 to 255 visible ASCII characters","type":"value_error"}]}"#);
        }
    }
    let nobody = world.send(create("", "Be brief").without("authorization")).await;
    assert_eq!(nobody.status, 401);
    assert_eq!(world.send(create(&"x".repeat(255), "Be brief")).await.status, 200);
}

#[tokio::test]
async fn a_key_is_ignored_where_no_item_is_created() {
    let world = World::new().await;
    world.queued_call().await;
    let end = Event::of("POST", &format!("/conversations/{}/end", crate::world::CONVERSATION));
    for _ in 0..2 {
        assert_eq!(world.send(end.clone().with("idempotency-key", "two words")).await.status, 200);
    }
}
