//! `POST /conversations/create_web_call`.

use serde_json::{Value, json};
use switchboard_api::{Api, router};
use switchboard_aws::table::{Begun, Claimed, Outcome};
use switchboard_model::{
    accounts::{Limits, sha256_hex},
    agents::AgentConfig,
    conversations::{Conversation, ConversationType, EndedReason, LegId, Snapshot, State, Transition},
    costs::Prices,
    idempotency::{Claim, Key},
    ids::{ConversationId, RequestId},
};
use switchboard_runtime as system;

use crate::world::{AGENT, Event, World, api, at, send};

const PATH: &str = "/conversations/create_web_call";

fn create(body: &Value) -> Event {
    Event::of("POST", PATH).with_body(body)
}

/// The token of a URL, after a check of everything before it.
fn token(answer: &Value) -> &str {
    let url = answer["web_call"]["url"].as_str().unwrap();
    let (account, id) = (answer["account_id"].as_str().unwrap(), answer["id"].as_str().unwrap());
    let token = url.strip_prefix(&format!("wss://media.example.com/media/web/{account}/{id}/")).unwrap();
    assert!(token.len() == 64 && token.bytes().all(|byte| byte.is_ascii_hexdigit()), "{url}");
    token
}

#[tokio::test]
async fn a_web_call_waits_for_its_browser() {
    let world = World::new().await;
    let answer = world.send(create(&json!({ "agent_config": { "initial_message": "Hello." } }))).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let created = answer.json();
    let token = token(&created);
    for (member, value) in [
        ("type", json!("web_call")),
        ("status", json!("queued")),
        ("phone_call", Value::Null),
        ("agent_id", Value::Null),
        ("messages", json!([])),
        ("cost_breakdown", Value::Null),
    ] {
        assert_eq!(created[member], value, "{member}");
    }
    assert_eq!(created["agent_config"]["initial_message"], "Hello.");
    assert_eq!(created["web_call"]["expires_at"], json!(at(60)));

    let id = created["id"].as_str().unwrap().parse().unwrap();
    let stored = world.table.conversation(world.account, id).await.unwrap().unwrap().conversation;
    assert_eq!((stored.kind, &stored.state), (ConversationType::WebCall, &State::Connecting));
    assert_eq!(stored.legs.invited(&sha256_hex(token)).map(|leg| leg.id), Some(LegId::CALLER));
    assert!(!serde_json::to_string(&stored).unwrap().contains(token), "the table has the hash only");
    assert_eq!(world.table.counters(world.account).await.unwrap().inbound, 1);
    let due: Vec<_> =
        world.table.due(at(61), 10).await.unwrap().iter().map(|item| item.conversation).collect();
    assert_eq!(due, [stored.id], "the sweeper ends it unless it is opened");

    let shown = world.get(&format!("/conversations/{id}")).await.json();
    assert_eq!(
        (&shown["type"], &shown["phone_call"], shown.get("web_call")),
        (&json!("web_call"), &Value::Null, None)
    );
}

#[tokio::test]
async fn a_stored_agent_takes_a_web_call() {
    let world = World::new().await;
    world.put_agent(&AgentConfig { initial_message: Some("Hi.".to_owned()), ..AgentConfig::default() }).await;
    let created = world.send(create(&json!({ "agent_id": AGENT }))).await.json();
    assert_eq!(
        (&created["agent_id"], &created["agent_config"]["initial_message"]),
        (&json!(AGENT), &json!("Hi."))
    );
    let answer = world.send(create(&json!({}))).await;
    assert_eq!((answer.status, &answer.json()["detail"][0]["loc"]), (422, &json!(["body", "agent_config"])));
}

#[tokio::test]
async fn web_calls_share_the_limit_of_inbound_calls() {
    let world = World::new().await;
    let limits = Limits { inbound_calls: 1, requests_per_second: 1_000, ..Limits::default() };
    assert!(world.table.set_limits(world.account, &limits).await.unwrap());
    let api =
        router(Api { random: system::random_u128, ..api(world.table.clone(), "http://127.0.0.1:1").await });
    let first = send(&api, create(&json!({ "agent_config": {} }))).await.json();
    let answer = send(&api, create(&json!({ "agent_config": {} }))).await;
    insta::assert_snapshot!(answer.line(), @r#"429 {"detail":"This account has reached its limit of live inbound and web calls; end one, or try again later"}"#);
    assert_eq!(answer.header("retry-after"), Some("10"));
    let end = format!("/conversations/{}/end", first["id"].as_str().unwrap());
    let ended = send(&api, Event::of("POST", &end)).await;
    assert_eq!(ended.status, 200, "{}", ended.body);
    let ended = ended.json();
    assert_eq!((&ended["status"], &ended["ended_reason"]), (&json!("ended"), &json!("agent_ended")));
    assert_eq!(ended["cost_breakdown"]["telephony"], Value::Null);
    assert_eq!(send(&api, create(&json!({ "agent_config": {} }))).await.status, 200, "its slot was returned");
}

#[tokio::test]
async fn a_repeated_request_has_the_same_url() {
    let world = World::new().await;
    let request = || create(&json!({ "agent_config": {} })).with("idempotency-key", "page-1");
    let first = world.send(request()).await;
    assert_eq!((first.status, world.send(request()).await.body), (200, first.body));
    assert_eq!(world.table.counters(world.account).await.unwrap().inbound, 1);
}

/// A call that a request with this key created, and died before it could answer.
async fn created_without_answer(world: &World, key: &str) -> ConversationId {
    let (request, body) = (RequestId::new(at(-61), system::random_u128()), json!({ "agent_config": {} }));
    let claim = Claim::new(request, sha256_hex(body.to_string()), "dead".into(), at(-61));
    let key = Key::parse(key.as_bytes()).unwrap().sha256(PATH);
    let claimed = world.table.claim(world.account, &key, claim, at(-61)).await.unwrap();
    assert!(matches!(claimed, Claimed::New(_)), "{claimed:?}");
    let id = ConversationId::of_request(request);
    let conversation = Conversation::web(id, world.account, None, sha256_hex("lost"), at(-1));
    let change = Transition { conversation, events: vec![], messages: vec![] };
    let begun = world.table.begin(&change, &AgentConfig::default(), &Limits::default()).await.unwrap();
    assert_eq!(begun, Begun::Stored);
    id
}

#[tokio::test]
async fn a_request_after_a_crash_gets_another_url() {
    let world = World::new().await;
    let repeat = |key: &str| create(&json!({ "agent_config": {} })).with("idempotency-key", key);
    let id = created_without_answer(&world, "waiting").await;
    let answer = world.send(repeat("waiting")).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let created = answer.json();
    assert_eq!((&created["id"], &created["web_call"]["expires_at"]), (&json!(id), &json!(at(59))));
    let stored = world.table.conversation(world.account, id).await.unwrap().unwrap().conversation;
    assert!(stored.legs.invited(&sha256_hex(token(&created))).is_some(), "the new URL works");
    assert!(stored.legs.invited(&sha256_hex("lost")).is_none(), "the lost one does not");

    let id = created_without_answer(&world, "opened").await;
    let open = |Snapshot { conversation, agent }: &Snapshot| {
        conversation.mark_web_admitted(LegId::CALLER, agent, "next".into(), at(0))
    };
    let opened = world.table.transition(world.account, id, open).await.unwrap();
    assert!(matches!(opened, Outcome::Changed(_)), "{opened:?}");
    let created = world.send(repeat("opened")).await.json();
    assert_eq!((&created["status"], &created["web_call"]), (&json!("started"), &Value::Null));
}

#[tokio::test]
async fn a_deployment_without_a_worker_takes_no_web_calls() {
    let world = World::new().await;
    let api = Api { media_url: None, ..api(world.table.clone(), "http://127.0.0.1:1").await };
    let answer = send(&router(api), create(&json!({ "agent_config": {} }))).await;
    assert_eq!(answer.status, 503, "{}", answer.body);
    assert_eq!(world.table.counters(world.account).await.unwrap().inbound, 0);
}

#[tokio::test]
async fn an_unopened_web_call_ends_as_unknown() {
    let world = World::new().await;
    let created = world.send(create(&json!({ "agent_config": {} }))).await.json();
    let id = created["id"].as_str().unwrap().parse().unwrap();
    let end = |Snapshot { conversation, agent }: &Snapshot| {
        let (usage, prices) = (&conversation.usage, Prices::default());
        conversation.end(agent, EndedReason::Unknown, &[], usage, &prices, at(70))
    };
    let ended = world.table.transition(world.account, id, end).await.unwrap();
    assert!(matches!(ended, Outcome::Changed(_)), "{ended:?}");
    let shown = world.get(&format!("/conversations/{id}")).await.json();
    assert_eq!((&shown["ended_reason"], &shown["started_at"]), (&json!("unknown"), &Value::Null));
    assert_eq!(
        (&shown["cost_breakdown"]["telephony"], &shown["cost_breakdown"]["total"]),
        (&Value::Null, &json!(0.0))
    );
}
