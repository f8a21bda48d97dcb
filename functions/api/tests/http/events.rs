use std::{
    pin::pin,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use switchboard_aws::table::DeliveryKey;
use switchboard_model::{
    accounts::Limits,
    backoff::Jitter,
    deliveries::{Attempt, Delivery},
};
use tokio::time::timeout;

use crate::world::{Answer, CONVERSATION, Event, FOREIGN_TOKEN, World, at, conversation_id};

async fn page(world: &World, query: &str) -> Answer {
    world.get(&format!("/conversations/{CONVERSATION}/events{query}")).await
}

fn sequences(page: &Answer) -> Vec<u64> {
    let page = page.json();
    let items = page["items"].as_array().unwrap();
    items.iter().map(|item| item["sequence"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn the_log_has_every_event_with_its_data_oldest_first() {
    let world = World::new().await;
    world.ended_call().await;
    let log = page(&world, "").await.json();
    assert_eq!((&log["index"], &log["has_more"]), (&json!(1), &json!(false)));
    let items = log["items"].as_array().unwrap();
    let names: Vec<&str> = items.iter().map(|item| item["event"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        [
            "phone_call:connection_requested",
            "phone_call:accepted",
            "conversation:started",
            "message:sent",
            "message:sent",
            "conversation:ended"
        ]
    );
    assert!(items[2]["data"].is_null());
    assert_eq!(items[3]["data"]["message"]["interrupted"], true);
    insta::assert_json_snapshot!(items[1], @r#"
    {
      "created_at": "2026-11-22T15:04:10.123Z",
      "data": {
        "phone_call": {
          "from_number": "+14155550199",
          "provider": "twilio",
          "to_number": "+14155550100"
        }
      },
      "deliveries": [
        {
          "attempts": [],
          "method": "POST",
          "next_attempt_at": null,
          "status": "pending",
          "url": "https://bakery.example.com/calls",
          "webhook": 0
        }
      ],
      "event": "phone_call:accepted",
      "id": "evt_01M81WJFMBY4YFE2QMMDP89T55",
      "sequence": 2
    }
    "#);
}

#[tokio::test]
async fn the_last_event_has_the_conversation_without_headers() {
    let world = World::new().await;
    world.ended_call().await;
    let data = page(&world, "").await.json()["items"][5]["data"].take();
    assert_eq!(data["ended_reason"], "user_ended");
    let mut shown = world.get(&format!("/conversations/{CONVERSATION}")).await.json();
    let headers = shown["agent_config"]["webhooks"][0]["headers"].take();
    assert_eq!(headers, json!({ "authorization": "Basic c2VjcmV0" }));
    assert_eq!(data["conversation"], shown);
}

#[tokio::test]
async fn a_queued_call_has_no_events() {
    let world = World::new().await;
    world.queued_call().await;
    insta::assert_snapshot!(page(&world, "").await.line(), @r#"200 {"items":[],"index":1,"has_more":false}"#);
}

#[tokio::test]
async fn the_log_is_paged() {
    let world = World::new().await;
    world.ended_call().await;
    for (query, found, has_more) in [
        ("?limit=4", vec![1, 2, 3, 4], true),
        ("?limit=4&index=1", vec![1, 2, 3, 4], true),
        ("?index=2&limit=4", vec![5, 6], false),
        ("?index=3&limit=4", vec![], false),
        // The last page is full.
        ("?index=2&limit=3", vec![4, 5, 6], false),
        ("?limit=6", vec![1, 2, 3, 4, 5, 6], false),
        ("?index=6&limit=1", vec![6], false),
        ("?index=100&limit=100", vec![], false),
        ("?index=10000&limit=1", vec![], false),
        ("?after=0", vec![1, 2, 3, 4, 5, 6], false),
        ("?after=2&limit=2", vec![3, 4], true),
        ("?after=2&limit=2&index=2", vec![5, 6], false),
        ("?after=6", vec![], false),
        ("?after=9007199254740991&index=100", vec![], false),
        ("?after=5&wait=20", vec![6], false),
        ("?unknown=1", vec![1, 2, 3, 4, 5, 6], false),
    ] {
        let page = page(&world, query).await;
        assert_eq!(page.status, 200, "{query}: {}", page.body);
        assert_eq!(sequences(&page), found, "{query}");
        assert_eq!(page.json()["has_more"], has_more, "{query}");
    }
}

/// Less than the longest wait.
const SOON: Duration = Duration::from_secs(15);

#[tokio::test]
async fn an_event_ends_the_wait_for_it() {
    let world = World::new().await;
    world.started_call().await;
    let mut waiting = pin!(page(&world, "?after=5&wait=20"));
    assert!(timeout(Duration::from_millis(300), &mut waiting).await.is_err(), "it waits");
    world.end_call().await;
    let answer = timeout(SOON, waiting).await.unwrap();
    assert_eq!((answer.status, sequences(&answer)), (200, vec![6]));
    assert_eq!(answer.json()["items"][0]["data"]["conversation"]["status"], "ended");
}

#[tokio::test]
async fn an_ended_conversation_is_answered_at_once() {
    let world = World::new().await;
    world.started_call().await;
    // No event can end this wait.
    let mut waiting = pin!(page(&world, "?after=1000&wait=20"));
    assert!(timeout(Duration::from_millis(300), &mut waiting).await.is_err(), "it waits");
    world.end_call().await;
    let answers = [
        timeout(SOON, waiting).await.unwrap(),
        timeout(SOON, page(&world, "?after=1000&wait=20")).await.unwrap(),
        timeout(SOON, page(&world, "?after=6&wait=20")).await.unwrap(),
    ];
    for answer in answers {
        assert_eq!(answer.line(), r#"200 {"items":[],"index":1,"has_more":false}"#);
    }
}

#[tokio::test]
async fn a_wait_without_an_event_ends_with_an_empty_page_and_counts_its_seconds() {
    let world = World::new().await;
    world.started_call().await;
    // Ten requests may come together, and the clock stands still: one, four for each second, and one more.
    let limits = Limits { requests_per_second: 5, ..Limits::default() };
    assert!(world.table.set_limits(world.account, &limits).await.unwrap());
    let began = Instant::now();
    let answer = page(&world, "?after=5&wait=2").await;
    assert_eq!(answer.line(), r#"200 {"items":[],"index":1,"has_more":false}"#);
    assert!(began.elapsed() >= Duration::from_secs(2));
    assert_eq!(page(&world, "?wait=20").await.status, 200, "a request that need not wait counts once");
    assert_eq!(page(&world, "").await.status, 429);
}

#[tokio::test]
async fn a_wait_ends_where_the_accounts_requests_are_used_up() {
    let world = World::new().await;
    world.started_call().await;
    let limits = Limits { requests_per_second: 1, ..Limits::default() };
    assert!(world.table.set_limits(world.account, &limits).await.unwrap());
    let answer = timeout(SOON, page(&world, "?after=5&wait=20")).await.unwrap();
    assert_eq!(answer.line(), r#"429 {"detail":"Too many requests"}"#);
    assert_eq!(answer.header("retry-after"), Some("1"));
}

#[tokio::test]
async fn a_foreign_conversation_is_not_waited_for() {
    let world = World::new().await;
    world.queued_call().await;
    let request = Event::get(&format!("/conversations/{CONVERSATION}/events?wait=20"));
    let answer = timeout(SOON, world.send(request.by_token(FOREIGN_TOKEN))).await.unwrap();
    assert_eq!(answer.status, 404);
}

#[tokio::test]
async fn an_impossible_page_names_every_wrong_parameter() {
    let world = World::new().await;
    world.ended_call().await;
    for (query, wrong) in [
        ("?limit=0", vec!["limit"]),
        ("?limit=101", vec!["limit"]),
        ("?limit=-1", vec!["limit"]),
        ("?limit=many", vec!["limit"]),
        ("?limit=", vec!["limit"]),
        ("?limit=1.5", vec!["limit"]),
        ("?limit=99999999999999999999", vec!["limit"]),
        ("?index=0", vec!["index"]),
        ("?index=101", vec!["index"]),
        ("?index=5001&limit=2", vec!["index"]),
        ("?index=9223372036854775807&limit=100", vec!["index"]),
        ("?after=-1", vec!["after"]),
        ("?after=9007199254740992", vec!["after"]),
        ("?after=evt_1", vec!["after"]),
        ("?wait=21", vec!["wait"]),
        ("?wait=-1", vec!["wait"]),
        ("?wait=0.5", vec!["wait"]),
        ("?after=&wait=&limit=0", vec!["after", "wait", "limit"]),
        ("?index=0&limit=0", vec!["index", "limit"]),
    ] {
        let answer = page(&world, query).await;
        assert_eq!(answer.status, 422, "{query}: {}", answer.body);
        let body = answer.json();
        let locs: Vec<&Value> =
            body["detail"].as_array().unwrap().iter().map(|error| &error["loc"]).collect();
        let wrong: Vec<Value> = wrong.iter().map(|name| json!(["query", name])).collect();
        assert_eq!(locs, wrong.iter().collect::<Vec<_>>(), "{query}");
    }
    insta::assert_snapshot!(page(&world, "?limit=101").await.line(), @r#"422 {"detail":[{"loc":["query","limit"],"msg":"Input should be less than or equal to 100","type":"less_than_equal"}]}"#);
    insta::assert_snapshot!(page(&world, "?index=101").await.line(), @r#"422 {"detail":[{"loc":["query","index"],"msg":"index * limit should be at most 10000","type":"less_than_equal"}]}"#);
}

async fn redeliver(world: &World, event: &str) -> Answer {
    let path = format!("/conversations/{CONVERSATION}/events/{event}/redeliver");
    world.send(Event::of("POST", &path)).await
}

#[tokio::test]
async fn the_log_has_every_attempt() {
    let world = World::new().await;
    world.ended_call().await;
    let call = world.table.conversation(world.account, conversation_id()).await.unwrap().unwrap();
    let (events, _) = world.table.events(world.account, conversation_id(), 0, 10).await.unwrap();
    let event = &events[1];
    let attempt = |second, status, answer: &str| Attempt {
        at: at(second),
        status,
        latency_ms: 1_042,
        answer: Some(answer.to_owned()),
    };
    let failed =
        Delivery::new(event.id, 2, 0, at(5)).after(attempt(5, None, "no answer"), None, Jitter::new(0));
    world.table.record_delivery(&call.conversation, None, &failed).await.unwrap();
    let middle = Jitter::new(u32::MAX / 2 + 1);
    let again = failed.clone().after(attempt(11, Some(503), "closed"), None, middle);
    world.table.record_delivery(&call.conversation, Some(&failed), &again).await.unwrap();
    let log = page(&world, "?limit=2").await.json();
    insta::assert_json_snapshot!(log["items"][1]["deliveries"], @r#"
    [
      {
        "attempts": [
          {
            "answer": "no answer",
            "at": "2026-11-22T15:04:10.123Z",
            "latency_ms": 1042,
            "status": null
          },
          {
            "answer": "closed",
            "at": "2026-11-22T15:04:16.123Z",
            "latency_ms": 1042,
            "status": 503
          }
        ],
        "method": "POST",
        "next_attempt_at": "2026-11-22T15:04:47.165Z",
        "status": "pending",
        "url": "https://bakery.example.com/calls",
        "webhook": 0
      }
    ]
    "#);
}

#[tokio::test]
async fn an_event_is_redelivered_to_every_matched_webhook() {
    let world = World::new().await;
    world.ended_call().await;
    let log = page(&world, "").await.json();
    let id = log["items"][1]["id"].as_str().unwrap();
    let (account, conversation) = (world.account, conversation_id());
    let key = DeliveryKey { account, conversation, sequence: 2, webhook: 0 };
    for attempt in [3, 5] {
        let answer = redeliver(&world, id).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let item = answer.json();
        assert_eq!(item["id"], id);
        let delivery = &item["deliveries"][0];
        assert_eq!((&delivery["status"], &delivery["next_attempt_at"]), (&json!("pending"), &json!(at(0))));
        let stored = world.table.delivery(key).await.unwrap().unwrap();
        assert_eq!((stored.attempt, stored.first_attempt), (attempt, attempt));
    }
    // No webhook matched this one.
    let answer = redeliver(&world, log["items"][2]["id"].as_str().unwrap()).await.json();
    assert_eq!(answer["deliveries"], json!([]));
    let end = redeliver(&world, log["items"][5]["id"].as_str().unwrap()).await.json();
    assert_eq!(end["data"], log["items"][5]["data"]);
}

#[tokio::test]
async fn an_event_of_another_conversation_is_not_found() {
    let world = World::new().await;
    world.queued_call().await;
    let not_found = world.get("/conversations/cnv_01JD8QA1B2C3D4E5F6G7H8J9K1").await;
    for event in ["evt_01M81WJFMBY4YFE2QMMDP89T55", "evt_1", "x"] {
        let answer = redeliver(&world, event).await;
        assert_eq!((answer.status, &answer.body), (404, &not_found.body), "{event}");
    }
}
