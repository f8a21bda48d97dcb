//! Sending a request twice.

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

use crate::world::{Answer, CALLED, Event, NUMBER, STRANGERS_NUMBER, STRANGERS_TOKEN, World, api, send};

const PATH: &str = "/conversations/create_phone_call";

fn body(prompt: &str) -> String {
    json!({ "from_number": NUMBER, "to_number": CALLED, "agent_config": { "prompt": prompt } }).to_string()
}

fn create(key: &str, prompt: &str) -> Event {
    Event::create(&body(prompt)).with("idempotency-key", key)
}

/// The API with a clock that goes and ids that differ.
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
async fn the_same_request_is_answered_the_same_and_makes_one_conversation() {
    let world = World::new().await;
    let api = real(&world).await;
    let first = send(&api, create("order-4711", "Be brief")).await;
    assert_eq!(first.status, 200, "{}", first.body);
    let second = send(&api, create("order-4711", "Be brief")).await;
    assert_eq!((second.status, &second.body), (200, &first.body));
    assert_eq!(second.header("content-type"), Some("application/json"));
    assert_eq!(stored(&api).await, [first.json()["id"].clone()]);
    // Not even when the conversation has changed meanwhile.
    let id = first.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(send(&api, Event::of("POST", &format!("/conversations/{id}/end"))).await.status, 200);
    assert_eq!(send(&api, create("order-4711", "Be brief")).await.body, first.body);
    for other in [create("order-4712", "Be brief"), Event::create(&body("Be brief"))] {
        assert_ne!(send(&api, other).await.json()["id"], first.json()["id"]);
    }
}

#[tokio::test]
async fn a_key_stands_for_one_body_of_one_account_on_one_route() {
    let world = World::new().await;
    let api = real(&world).await;
    let first = send(&api, create("k", "Be brief")).await;
    let answer = send(&api, create("k", "Be long")).await;
    insta::assert_snapshot!(answer.line(), @r#"409 {"detail":"This Idempotency-Key was used with another body"}"#);
    assert_eq!(answer.header("retry-after"), None);
    let theirs = body("Be brief").replace(NUMBER, STRANGERS_NUMBER);
    let theirs = Event::create(&theirs).with("idempotency-key", "k").by_token(STRANGERS_TOKEN);
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
async fn of_twenty_at_once_one_makes_a_conversation_and_all_others_show_it() {
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
async fn a_request_that_was_refused_leaves_its_key_to_a_better_one() {
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
async fn while_the_first_one_runs_the_others_are_told_to_come_again() {
    let world = World::new().await;
    let api = real(&world).await;
    claimed(&world, "k", system::now()).await;
    assert_still_running(&send(&api, create("k", "Be brief")).await);
    assert!(stored(&api).await.is_empty());
}

/// A request claimed a key at this time, and was not heard of again.
async fn claimed(world: &World, key: &str, at: Timestamp) -> RequestId {
    let request = RequestId::new(at, system::random_u128());
    let claim = Claim::new(request, sha256_hex(body("Be brief")), "another".into(), at);
    let key = Key::parse(key.as_bytes()).unwrap().sha256(PATH);
    let claimed = world.table.claim(world.account, &key, claim, at).await.unwrap();
    assert!(matches!(claimed, Claimed::New(_)), "{claimed:?}");
    request
}

#[tokio::test]
async fn after_a_crash_the_next_one_finds_what_the_first_one_made() {
    let world = World::new().await;
    let api = real(&world).await;
    let a_minute_ago = Timestamp::from_millis(system::now().as_millis() - 61_000);
    // This one died before it stored anything.
    let request = claimed(&world, "early", a_minute_ago).await;
    let answer = send(&api, create("early", "Be brief")).await;
    assert_eq!(answer.json()["id"], json!(ConversationId::of_request(request)), "{}", answer.body);
    // This one after it had stored the conversation, before it stored its answer.
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
async fn a_request_that_failed_may_be_sent_again_at_once() {
    // Its ids are all the same, so a second conversation cannot be stored.
    let world = World::new().await;
    let first = world.send(Event::create(&body("Be brief"))).await;
    assert_eq!(first.status, 200, "{}", first.body);
    assert_eq!(world.send(create("k", "Be brief")).await.status, 503);
    // Nobody knows what the failed one made: the next one looks.
    let again = world.send(create("k", "Be brief")).await;
    assert_eq!((again.status, again.body), (200, first.body));
}

#[tokio::test]
async fn a_key_that_is_none_is_refused() {
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
async fn where_nothing_is_made_a_key_means_nothing() {
    let world = World::new().await;
    world.queued_call().await;
    let end = Event::of("POST", &format!("/conversations/{}/end", crate::world::CONVERSATION));
    for _ in 0..2 {
        assert_eq!(world.send(end.clone().with("idempotency-key", "two words")).await.status, 200);
    }
}
