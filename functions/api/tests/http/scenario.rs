use serde_json::json;

use crate::world::{CONVERSATION, Event, World};

fn request() -> Event {
    Event::get(&format!("/conversations/{CONVERSATION}/scenario"))
}

#[tokio::test]
async fn a_call_that_has_ended_is_a_scenario() {
    let world = World::new().await;
    world.ended_call().await;
    let answer = world.send(request()).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let scenario = answer.json();
    let messages = json!([
        { "role": "agent", "says": "Hello, this is", "interrupted": true },
        { "role": "user", "says": "Great, thank you. Goodbye." },
    ]);
    assert_eq!(scenario["expect"], json!({ "messages": messages, "functions": [], "ended": "user_ended" }));
    let acts = scenario["caller"]["acts"].as_array().unwrap();
    assert_eq!(acts[0]["say"], "Great, thank you. Goodbye.");
    assert_eq!(acts[1]["hang_up"], true);
    assert_eq!(scenario["agent_config"]["webhooks"], json!([]), "it must not reach the customer's endpoints");
    assert!(!answer.body.contains("credential_id"), "{}", answer.body);
}

#[tokio::test]
async fn a_live_call_and_one_that_never_started_are_conflicts() {
    let world = World::new().await;
    world.started_call().await;
    insta::assert_snapshot!(world.send(request()).await.line(), @r#"409 {"detail":"Only a conversation that has ended is a scenario: end it first"}"#);
    let world = World::new().await;
    world.queued_call().await;
    let ended = world.send(Event::of("POST", &format!("/conversations/{CONVERSATION}/end"))).await;
    assert_eq!(ended.status, 200, "{}", ended.body);
    insta::assert_snapshot!(world.send(request()).await.line(), @r#"409 {"detail":"The conversation never started: there is nothing to repeat"}"#);
}
