use std::time::Duration;

use serde_json::{Value, json};
use switchboard_model::{
    agents::AgentConfig,
    conversations::{Conversation, EndedReason, LegState, Snapshot, State, Status},
    costs::{Prices, Usage},
    ids::ConversationId,
};

use crate::world::{Answer, CALLED, Event, FOREIGN_TOKEN, NUMBER, World, at};

/// Stores a call created at this second, in this state.
async fn call(world: &World, second: i64, status: Status) {
    let id = ConversationId::new(at(second), 1);
    let (to, from) = (CALLED.parse().unwrap(), NUMBER.parse().unwrap());
    let mut conversation = Conversation::outbound(id, world.account, None, to, from, at(second));
    let agent = AgentConfig::default();
    if status != Status::Queued {
        conversation.legs.caller_mut().state = LegState::Answered { answered_at: at(second) };
        conversation.state = State::Started { started_at: at(second) };
    }
    if status == Status::Ended {
        let (usage, prices) = (Usage::default(), Prices::default());
        let ended = conversation.end(&agent, EndedReason::UserEnded, &[], &usage, &prices, at(second + 60));
        conversation = ended.unwrap().conversation;
    }
    world.table.create_conversation(&Snapshot { conversation, agent }).await.unwrap();
}

async fn page(world: &World, query: &str) -> Answer {
    world.get(&format!("/conversations{query}")).await
}

/// The seconds at which the listed calls were created.
fn seconds(page: &Value) -> Vec<i64> {
    let created = |item: &Value| item["created_at"].as_str().unwrap().to_owned();
    let second = |created: String| (0..60).find(|second| at(*second).to_string() == created).unwrap();
    page["items"].as_array().unwrap().iter().map(created).map(second).collect()
}

#[tokio::test]
async fn conversations_are_listed_without_their_messages() {
    let world = World::new().await;
    world.ended_call().await;
    let id = crate::world::CONVERSATION;
    let mut shown = world.get(&format!("/conversations/{id}")).await.json();
    assert!(!shown["messages"].take().as_array().unwrap().is_empty());
    let page = page(&world, "").await;
    assert_eq!(page.json(), json!({ "items": [shown], "index": 1, "has_more": false }));
    assert!(page.body.contains(r#""messages":null"#), "{}", page.body);
    let theirs = world.send(Event::get("/conversations").by_token(FOREIGN_TOKEN)).await;
    insta::assert_snapshot!(theirs.line(), @r#"200 {"items":[],"index":1,"has_more":false}"#);
}

#[tokio::test]
async fn a_list_is_filtered_by_status_and_time_newest_first() {
    let world = World::new().await;
    for (second, status) in
        [Status::Ended, Status::Queued, Status::Ended, Status::Started, Status::Ended].into_iter().enumerate()
    {
        call(&world, i64::try_from(second).unwrap(), status).await;
    }
    for (query, expected, has_more) in [
        ("", vec![4, 3, 2, 1, 0], false),
        ("?status=ended", vec![4, 2, 0], false),
        ("?status=queued", vec![1], false),
        ("?status=started", vec![3], false),
        ("?limit=2", vec![4, 3], true),
        ("?limit=2&index=2", vec![2, 1], true),
        ("?limit=2&index=3", vec![0], false),
        ("?limit=5", vec![4, 3, 2, 1, 0], false),
        // There are more calls, but none with this status.
        ("?status=ended&limit=2", vec![4, 2], true),
        ("?status=ended&limit=2&index=2", vec![0], false),
        ("?status=ended&limit=3", vec![4, 2, 0], false),
        ("?status=queued&limit=1", vec![1], false),
        ("?index=100", vec![], false),
        ("?index=10000&limit=1", vec![], false),
        ("?created_after=2026-11-22T15:04:07.123Z", vec![4, 3], false),
        ("?created_after=2026-11-22T15:04:07.123%2B00:00", vec![4, 3], false),
        ("?created_after=2026-11-22T15:04:07.123000%2B0000", vec![4, 3], false),
        ("?created_after=2026-11-22T15:04:07.123000+0000", vec![4, 3], false),
        ("?created_after=2026-11-22T15:04:07.123000", vec![4, 3], false),
        ("?created_after=2026-11-22T16:04:07.123%2B01:00", vec![4, 3], false),
        ("?created_after=2026-11-22", vec![4, 3, 2, 1, 0], false),
        ("?created_before=2026-11-22", vec![], false),
        ("?created_before=2026-11-22T15:04:06.123Z", vec![0], false),
        (
            "?created_after=2026-11-22T15:04:05.123Z&created_before=2026-11-22T15:04:08.123Z&limit=1",
            vec![2],
            true,
        ),
        ("?created_after=2026-11-22T15:04:08Z&created_before=2026-11-22T15:04:07Z", vec![], false),
        ("?created_after=2026-11-22T15:04:05.123Z&status=ended&limit=1&index=2", vec![2], false),
        ("?unknown=1", vec![4, 3, 2, 1, 0], false),
    ] {
        let page = page(&world, query).await;
        assert_eq!(page.status, 200, "{query}: {}", page.body);
        assert_eq!(
            (seconds(&page.json()), &page.json()["has_more"]),
            (expected, &json!(has_more)),
            "{query}"
        );
    }
}

#[tokio::test]
async fn an_impossible_list_names_every_wrong_parameter() {
    let world = World::new().await;
    for (query, wrong) in [
        ("?status=over", vec!["status"]),
        ("?status=", vec!["status"]),
        ("?status=dialing", vec!["status"]),
        ("?created_before=yesterday", vec!["created_before"]),
        ("?created_after=2026-11-22T25:00:00Z", vec!["created_after"]),
        ("?created_after=1795339800", vec!["created_after"]),
        ("?limit=101", vec!["limit"]),
        ("?limit=0", vec!["limit"]),
        ("?index=0", vec!["index"]),
        ("?index=101", vec!["index"]),
        ("?index=10001&limit=1", vec!["index"]),
        (
            "?index=a&limit=b&status=c&created_after=d&created_before=e",
            vec!["status", "created_before", "created_after", "index", "limit"],
        ),
    ] {
        let answer = page(&world, query).await;
        assert_eq!(answer.status, 422, "{query}: {}", answer.body);
        let body = answer.json();
        let locs: Vec<&Value> =
            body["detail"].as_array().unwrap().iter().map(|error| &error["loc"]).collect();
        let wrong: Vec<Value> = wrong.iter().map(|name| json!(["query", name])).collect();
        assert_eq!(locs, wrong.iter().collect::<Vec<_>>(), "{query}");
    }
    insta::assert_snapshot!(page(&world, "?status=over&created_before=x").await.line(), @r#"422 {"detail":[{"loc":["query","status"],"msg":"Input should be 'queued', 'started' or 'ended'","type":"enum"},{"loc":["query","created_before"],"msg":"Input should be a valid datetime, such as 2026-11-22T09:30:00Z","type":"datetime_parsing"}]}"#);
}

#[tokio::test]
async fn an_expired_conversation_is_not_found() {
    let world = World::new().await;
    world.ended_call().await;
    let id = crate::world::CONVERSATION;
    let path = format!("/conversations/{id}");
    let mut snapshot = world.table.conversation(world.account, id.parse().unwrap()).await.unwrap().unwrap();
    for (kept, status) in [(1, 200), (0, 404)] {
        world
            .table
            .delete_conversation(world.account, id.parse().unwrap(), switchboard_runtime::now())
            .await
            .unwrap();
        snapshot.conversation = snapshot.conversation.with_retention(Duration::from_secs(kept));
        world.table.create_conversation(&snapshot).await.unwrap();
        for event in [
            Event::get(&path),
            Event::get(&format!("{path}/events")),
            Event::of("POST", &format!("{path}/end")),
        ] {
            assert_eq!(world.send(event).await.status, status);
        }
        let listed = page(&world, "").await.json()["items"].as_array().unwrap().len();
        assert_eq!(listed, usize::from(status == 200));
    }
    assert_eq!(world.send(Event::of("DELETE", &path)).await.status, 404);
}

#[tokio::test]
async fn a_conversation_expires_after_the_retention() {
    let world = World::new().await;
    let body = json!({ "from_number": NUMBER, "to_number": CALLED, "agent_config": {} });
    let id: ConversationId = world.create(&body).await.json()["id"].as_str().unwrap().parse().unwrap();
    let stored = world.table.conversation(world.account, id).await.unwrap().unwrap().conversation;
    assert_eq!(stored.expires_at, Some(at(crate::world::RETENTION_SECONDS)));
}
