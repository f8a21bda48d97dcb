use serde_json::json;

use crate::world::{CONVERSATION, Event, TOKEN, World};

#[tokio::test]
async fn a_missing_or_wrong_token_is_a_401() {
    let world = World::new().await;
    world.ended_call().await;
    let show = Event::get(&format!("/conversations/{CONVERSATION}"));
    let mut events = vec![show.clone().without("authorization")];
    for value in [
        "",
        "Bearer",
        "Bearer ",
        TOKEN,
        "Basic c2VjcmV0OnNlY3JldA==",
        &format!("Token {TOKEN}"),
        &format!("Bearer {TOKEN}0"),
        &format!("Bearer {}", TOKEN.to_uppercase()),
        &format!("Bearer sk_{}", "0".repeat(32)),
        "Bearer schlüssel",
    ] {
        events.push(show.clone().with("authorization", value));
    }
    for event in events {
        let answer = world.send(event.clone()).await;
        insta::allow_duplicates! {
            insta::assert_snapshot!(answer.line(), @r#"401 {"detail":"Not authenticated"}"#);
        }
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"), "{event}");
        assert_eq!(answer.header("content-type"), Some("application/json"), "{event}");
    }
}

#[tokio::test]
async fn the_scheme_of_a_token_may_have_any_case() {
    let world = World::new().await;
    world.queued_call().await;
    let show = Event::get(&format!("/conversations/{CONVERSATION}"));
    for scheme in ["Bearer", "bearer", "BEARER"] {
        let answer = world.send(show.clone().with("authorization", &format!("{scheme} {TOKEN}"))).await;
        assert_eq!(answer.status, 200, "{scheme}");
    }
}

#[tokio::test]
async fn a_request_is_authenticated_before_it_is_checked() {
    let world = World::new().await;
    world.ended_call().await;
    let missing = world.send(Event::get("/conversations/cnv_1").without("authorization")).await;
    assert_eq!(missing.status, 401);
    let mut events = vec![
        Event::create("not json"),
        Event::create(&json!({}).to_string()),
        Event::create(&" ".repeat(257 * 1024)),
        Event::create("{}").with("content-type", "text/plain"),
        Event::create_from_bytes(&[0xFF]),
    ];
    for path in ["", "/recording", "/scenario", "/events", "/events?limit=0"] {
        events.push(Event::get(&format!("/conversations/{CONVERSATION}{path}")));
        events.push(Event::get(&format!("/conversations/nonsense{path}")));
    }
    for event in events {
        let answer = world.send(event.clone().without("authorization")).await;
        assert_eq!(answer, missing, "{event}");
    }
}
