use serde_json::{Value, json};

use crate::world::{
    AGENT, Answer, CALLED, CONVERSATION, Event, NUMBER, STRANGERS_NUMBER, STRANGERS_TOKEN, World,
};

/// Every route with an id in its path, and what may follow it.
const ROUTES: [&str; 6] =
    ["", "/recording", "/events", "/events?index=1&limit=1", "/events?limit=0", "/events?index=10000"];

#[tokio::test]
async fn an_id_that_is_unknown_malformed_or_foreign_looks_the_same() {
    let world = World::new().await;
    world.ended_call().await;
    let recording = format!("{}/{CONVERSATION}/recording.wav", world.account);
    world.objects.lock().unwrap().insert(recording, (&b"RIFF"[..]).into());
    let unknown = world.get("/conversations/cnv_01JD8QA1B2C3D4E5F6G7H8J9K1").await;
    insta::assert_snapshot!(unknown.line(), @r#"404 {"detail":"Not found"}"#);
    for route in ROUTES {
        let path = format!("/conversations/{CONVERSATION}{route}");
        assert_ne!(world.get(&path).await.status, 404, "its owner sees {path}");
        assert_eq!(world.send(Event::get(&path).by_token(STRANGERS_TOKEN)).await, unknown, "{path}");
        for id in [
            "cnv_01JD8QA1B2C3D4E5F6G7H8J9K1",
            "cnv_01jd8qa1b2c3d4e5f6g7h8j9k0",
            "cnv_01JD8QA1B2C3D4E5F6G7H8J9K00",
            "cnv_",
            "01JD8QA1B2C3D4E5F6G7H8J9K0",
            "agt_01JD8QA1B2C3D4E5F6G7H8J9K0",
            "nonsense",
            "%FF",
            // The gateway may pass on the path decoded.
            "a b",
            "käse",
            "<>",
            &"0".repeat(2_000),
        ] {
            let path = format!("/conversations/{id}{route}");
            assert_eq!(world.get(&path).await, unknown, "{path}");
        }
    }
}

#[tokio::test]
async fn what_a_body_names_must_be_the_accounts_own() {
    let world = World::new().await;
    world.put_agent(&domain::agents::AgentConfig::default()).await;
    let body =
        |from: &str, agent: &str| json!({ "from_number": from, "to_number": CALLED, "agent_id": agent });
    let ask =
        async |token: &str, body: Value| world.send(Event::create(&body.to_string()).by_token(token)).await;
    let mine = ask(crate::world::TOKEN, body(NUMBER, AGENT)).await;
    assert_eq!(mine.status, 200, "{}", mine.body);

    let agents: Vec<Answer> = vec![
        ask(STRANGERS_TOKEN, body(STRANGERS_NUMBER, AGENT)).await,
        ask(STRANGERS_TOKEN, body(STRANGERS_NUMBER, "agt_01JD9XQ4T0000000000000000B")).await,
        ask(STRANGERS_TOKEN, body(STRANGERS_NUMBER, "nonsense")).await,
    ];
    for answer in agents {
        insta::allow_duplicates! {
            insta::assert_snapshot!(answer.line(), @r#"422 {"detail":[{"loc":["body","agent_id"],"msg":"Does not exist in this account","type":"not_found"}]}"#);
        }
    }
    let given = |from: &str| json!({ "from_number": from, "to_number": CALLED, "agent_config": {} });
    let foreign = ask(STRANGERS_TOKEN, given(NUMBER)).await;
    insta::assert_snapshot!(foreign.line(), @r#"422 {"detail":[{"loc":["body","from_number"],"msg":"Does not exist in this account","type":"not_found"}]}"#);
    assert_eq!(ask(STRANGERS_TOKEN, given("+14155550111")).await, foreign);
}
