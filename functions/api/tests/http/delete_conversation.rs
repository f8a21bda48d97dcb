use serde_json::json;
use switchboard_api::router;

use crate::world::{Answer, CONVERSATION, Event, World, api, send};

fn path() -> String {
    format!("/conversations/{CONVERSATION}")
}

async fn delete(world: &World) -> Answer {
    world.send(Event::of("DELETE", &path())).await
}

fn store_objects(world: &World) {
    let mut objects = world.objects.lock().unwrap();
    for key in ["recording.wav", "pieces/000000000000", "pieces/000000080000", "replay/1.jsonl"] {
        objects.insert(format!("{}/{CONVERSATION}/{key}", world.account), (&b"RIFF"[..]).into());
    }
    // Another conversation, whose id has this one's as a prefix.
    objects.insert(format!("{}/{CONVERSATION}0/recording.wav", world.account), (&b"RIFF"[..]).into());
}

#[tokio::test]
async fn a_deleted_conversation_leaves_nothing() {
    let world = World::new().await;
    world.ended_call().await;
    store_objects(&world);
    let shown = world.get(&path()).await;
    let deleted = delete(&world).await;
    assert_eq!(deleted, shown);
    assert!(!deleted.json()["messages"].as_array().unwrap().is_empty());
    let path = path();
    for event in [
        Event::get(&path),
        Event::get(&format!("{path}/events")),
        Event::get(&format!("{path}/recording")),
        Event::of("POST", &format!("{path}/end")),
        Event::of("DELETE", &path),
    ] {
        assert_eq!(world.send(event).await.line(), r#"404 {"detail":"Not found"}"#);
    }
    assert_eq!(world.get("/conversations").await.json()["items"], json!([]));
    let left: Vec<String> = world.objects.lock().unwrap().keys().cloned().collect();
    assert_eq!(left, [format!("{}/{CONVERSATION}0/recording.wav", world.account)]);
    let id = CONVERSATION.parse().unwrap();
    assert_eq!(world.table.messages(world.account, id).await.unwrap(), []);
    assert_eq!(world.table.events(world.account, id, 0, 10).await.unwrap().0, []);
}

#[tokio::test]
async fn a_live_conversation_is_not_deleted() {
    for is_started in [false, true] {
        let world = World::new().await;
        if is_started {
            world.started_call().await;
        } else {
            world.queued_call().await;
        }
        store_objects(&world);
        let before = world.get(&path()).await;
        let refused = delete(&world).await;
        insta::allow_duplicates! {
            insta::assert_snapshot!(refused.line(), @r#"409 {"detail":"Only a conversation that has ended can be deleted: end it first"}"#);
        }
        assert_eq!(world.get(&path()).await, before);
        assert_eq!(world.objects.lock().unwrap().len(), 5);
    }
}

#[tokio::test]
async fn a_repeated_request_completes_an_interrupted_deletion() {
    let world = World::new().await;
    world.ended_call().await;
    store_objects(&world);
    let nobody = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let without_bucket = router(api(world.table.clone(), &nobody).await);
    let failed = send(&without_bucket, Event::of("DELETE", &path())).await;
    assert_eq!(failed.status, 503, "{}", failed.body);
    assert_eq!(world.get(&path()).await.status, 200);
    assert_eq!(delete(&world).await.status, 200);
    assert_eq!(world.get(&path()).await.status, 404);
    assert_eq!(world.objects.lock().unwrap().len(), 1);
}
