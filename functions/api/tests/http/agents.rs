use serde_json::{Value, json};
use switchboard_model::{
    agents::{Agent, AgentConfig},
    ids::AgentId,
};

use crate::world::{AGENT, Answer, CALLED, CONVERSATION, Event, FOREIGN_TOKEN, NUMBER, World, agent_id, at};

const UNKNOWN_CREDENTIAL: &str = "crd_01JD9XQ4T0000000000000000A";

async fn create(world: &World, body: &Value) -> Answer {
    world.send(Event::of("POST", "/agents").with_body(body)).await
}

async fn patch(world: &World, body: &Value) -> Answer {
    world.send(Event::of("PATCH", &format!("/agents/{AGENT}")).with_body(body)).await
}

fn everything() -> Value {
    json!({
        "initial_message": "Hello, this is Ada.",
        "prompt": "You are Ada, of the corner bakery.",
        "voice": { "provider": "azure", "model": "en-US-AvaMultilingualNeural", "pitch": -3, "rate": 5, "credential_id": null },
        "language_model": {
            "provider": "openai", "model": "gpt-4o", "temperature": 0.5, "max_tokens": 100, "credential_id": null,
            "tools": [{ "type": "function", "function": { "name": "a", "description": null, "parameters": null } }],
        },
        "transcriber": { "provider": "azure", "languages": ["en-US", "fr-FR"], "credential_id": null },
        "max_duration_seconds": 60,
        "webhooks": [{
            "events": ["message:sent"], "url": "https://bakery.example.com/calls", "method": "POST",
            "headers": { "authorization": "Basic c2VjcmV0" }, "filter": null,
        }],
        "hooks": [{
            "events": ["function_call:triggered"], "filter": null, "instructions": [{ "instruction": "hang_up" }],
        }],
        "metadata": { "shop": "corner" },
        "recording": false,
    })
}

#[tokio::test]
async fn an_empty_agent_has_every_default() {
    let world = World::new().await;
    let answer = create(&world, &json!({})).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let mut agent = answer.json();
    assert_eq!(world.get(&format!("/agents/{}", agent["id"].as_str().unwrap())).await, answer);
    let page = world.get("/agents").await.json();
    assert_eq!(page, json!({ "items": [agent], "index": 1, "has_more": false }));
    for (name, value) in json!(AgentConfig::default()).as_object().unwrap() {
        assert_eq!(agent.as_object_mut().unwrap().remove(name).as_ref(), Some(value), "{name}");
    }
    insta::assert_json_snapshot!(agent, @r#"
    {
      "account_id": "acc_01JD8Q2M7X4T6R9V1B3C5D7E9F",
      "created_at": "2026-11-22T15:04:05.123Z",
      "id": "agt_01M81WJAR30000000000000001",
      "updated_at": "2026-11-22T15:04:05.123Z",
      "uri": "https://api.example.com/agents/agt_01M81WJAR30000000000000001"
    }
    "#);
}

#[tokio::test]
async fn an_agent_is_shown_as_it_was_given() {
    let world = World::new().await;
    let agent = create(&world, &everything()).await.json();
    for (name, value) in everything().as_object().unwrap() {
        assert_eq!(&agent[name], value, "{name}");
    }
}

#[tokio::test]
async fn a_patch_changes_the_given_fields_only() {
    let world = World::new().await;
    let path = format!("/agents/{AGENT}");
    let config = serde_json::from_value(everything()).unwrap();
    world.table.create_agent(&Agent::new(agent_id(), world.account, config, at(-60))).await.unwrap();
    let mut expected = world.get(&path).await.json();
    expected["updated_at"] = json!(at(0));
    let body = json!({ "prompt": "Be brief.", "max_duration_seconds": 600, "metadata": { "a": "b" } });
    for (name, value) in body.as_object().unwrap() {
        expected[name] = value.clone();
    }
    assert_eq!(patch(&world, &body).await.json(), expected);

    let cleared = json!({
        "initial_message": null, "voice": null, "max_duration_seconds": null, "webhooks": null, "recording": null,
    });
    let defaults = json!(AgentConfig::default());
    for name in ["initial_message", "voice", "webhooks", "recording"] {
        expected[name] = defaults[name].clone();
    }
    expected["max_duration_seconds"] = Value::Null;
    assert_eq!(patch(&world, &cleared).await.json(), expected);
    assert_eq!(patch(&world, &json!({})).await.json(), expected);
    assert_eq!(patch(&world, &json!({ "id": "x", "unheard_of": 1 })).await.json(), expected);
    assert_eq!(world.get(&path).await.json(), expected);
}

#[tokio::test]
async fn a_rejected_body_stores_and_changes_nothing() {
    let world = World::new().await;
    world.put_agent(&AgentConfig::default()).await;
    let before = world.get("/agents").await;
    let wrong = json!({
        "prompt": 1,
        "voice": { "provider": "playht", "speed": 6, "credential_id": UNKNOWN_CREDENTIAL },
        "language_model": { "tools": [{ "type": "function", "function": { "name": "a b" } }] },
        "transcriber": { "credential_id": "nonsense" },
        "webhooks": [{ "events": ["message:sent", "nothing"], "url": "https://10.0.0.1/", "method": "POST" }],
    });
    let answers = [create(&world, &wrong).await, patch(&world, &wrong).await];
    for answer in answers {
        assert_eq!(answer.status, 422);
        let lines = answer.json()["detail"].as_array().unwrap().iter().fold(String::new(), |lines, error| {
            lines + &format!("{} {} {}\n", error["loc"], error["type"], error["msg"])
        });
        insta::allow_duplicates! {
            insta::assert_snapshot!(lines, @r#"
            ["body","prompt"] "string_type" "Input should be a valid string"
            ["body","voice","speed"] "less_than_equal" "Input should be less than or equal to 5"
            ["body","language_model","tools",0,"function","name"] "string_pattern_mismatch" "String should match pattern '^[A-Za-z0-9_]{1,63}$'"
            ["body","transcriber","credential_id"] "not_found" "Does not exist in this account"
            ["body","webhooks",0,"events",1] "enum" "Input should be 'phone_call:connection_requested', 'phone_call:rejected', 'phone_call:accepted', 'conversation:started', 'conversation:duration', 'conversation:ended', 'speech:started', 'speech:ended', 'message:generated', 'message:sent' or 'function_call:triggered'"
            ["body","webhooks",0,"url"] "value_error" "URL should point to a public address"
            ["body","voice","credential_id"] "not_found" "Does not exist in this account"
            "#);
        }
    }
    assert_eq!(world.get("/agents").await, before);
}

#[tokio::test]
async fn an_agent_is_at_most_40_kib() {
    let world = World::new().await;
    let large = json!({ "prompt": "a".repeat(40 * 1024) });
    let answer = create(&world, &large).await;
    insta::assert_snapshot!(answer.line(), @r#"422 {"detail":[{"loc":["body"],"msg":"agent_config should be at most 40 KiB of JSON","type":"too_long"}]}"#);
    world.put_agent(&AgentConfig::default()).await;
    assert_eq!(patch(&world, &large).await, answer);
}

#[tokio::test]
async fn a_page_that_exceeds_the_answer_limit_is_rejected() {
    let world = World::new().await;
    // Twice in JSON, and four times in the string in which the gateway gets it.
    let config = AgentConfig { prompt: Some("\"".repeat(20_000)), ..AgentConfig::default() };
    for second in 0..100 {
        let id = AgentId::new(at(second), 1);
        world.table.create_agent(&Agent::new(id, world.account, config.clone(), at(0))).await.unwrap();
    }
    let answer = world.get("/agents").await;
    insta::assert_snapshot!(answer.line(), @r#"422 {"detail":[{"loc":["query","limit"],"msg":"The items of this page are too large together: ask for fewer","type":"less_than"}]}"#);
    assert_eq!(world.get("/agents?limit=50").await.json()["items"].as_array().unwrap().len(), 50);
}

#[tokio::test]
async fn create_and_update_reject_unreadable_bodies_alike() {
    let world = World::new().await;
    world.put_agent(&AgentConfig::default()).await;
    for (method, path) in [("POST", "/agents".to_owned()), ("PATCH", format!("/agents/{AGENT}"))] {
        let event = Event::of(method, &path).with_body(&json!({}));
        for (event, status) in [
            (event.clone().without("content-type"), 415),
            (event.clone().with_text("{"), 400),
            (Event::of(method, &path), 400),
            (event.clone().with_text(&" ".repeat(257 * 1024)), 413),
            (event.clone().with_text("[]"), 422),
            (event, 200),
        ] {
            let answer = world.send(event).await;
            assert_eq!(answer.status, status, "{method}: {}", answer.body);
        }
    }
}

#[tokio::test]
async fn a_deleted_agent_stays_in_its_conversations() {
    let world = World::new().await;
    let config = AgentConfig { prompt: Some("You are Ada.".into()), ..AgentConfig::default() };
    world.put_agent(&config).await;
    let call = json!({ "from_number": NUMBER, "to_number": CALLED, "agent_id": AGENT });
    let held = world.create(&call).await.json();
    let path = format!("/agents/{AGENT}");
    let agent = world.get(&path).await;
    assert_eq!(world.send(Event::of("DELETE", &path)).await, agent);
    for event in [
        Event::get(&path),
        Event::of("DELETE", &path),
        Event::of("PATCH", &path).with_body(&json!({ "prompt": "Be brief." })),
    ] {
        assert_eq!(world.send(event).await.line(), r#"404 {"detail":"Not found"}"#);
    }
    assert_eq!(world.get("/agents").await.json()["items"], json!([]));
    assert_eq!(world.create(&call).await.json()["detail"][0]["loc"], json!(["body", "agent_id"]));

    let shown = world.get(&format!("/conversations/{}", held["id"].as_str().unwrap())).await.json();
    assert_eq!(shown["agent_id"], AGENT);
    assert_eq!(shown["agent_config"], json!(config));
    assert_ne!(shown["id"], CONVERSATION, "the call is one of its own");
}

#[tokio::test]
async fn agents_are_listed_newest_first_to_their_account() {
    let world = World::new().await;
    for second in 0..5 {
        let id = AgentId::new(at(second), 1);
        let agent = Agent::new(id, world.account, AgentConfig::default(), at(second));
        world.table.create_agent(&agent).await.unwrap();
    }
    for (query, seconds, has_more) in [
        ("", vec![4, 3, 2, 1, 0], false),
        ("?limit=2", vec![4, 3], true),
        ("?limit=2&index=3", vec![0], false),
        ("?limit=5", vec![4, 3, 2, 1, 0], false),
        (
            "?created_after=2026-11-22T15:04:06.123Z&created_before=2026-11-22T15:04:09.123Z",
            vec![3, 2],
            false,
        ),
        ("?status=started", vec![4, 3, 2, 1, 0], false),
    ] {
        let page = world.get(&format!("/agents{query}")).await.json();
        let made: Vec<&str> = page["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|agent| agent["created_at"].as_str().unwrap())
            .collect();
        let seconds: Vec<String> = seconds.into_iter().map(|second| at(second).to_string()).collect();
        assert_eq!(made, seconds, "{query}");
        assert_eq!(page["has_more"], has_more, "{query}");
    }
    let theirs = world.send(Event::get("/agents").by_token(FOREIGN_TOKEN)).await;
    assert_eq!(theirs.line(), r#"200 {"items":[],"index":1,"has_more":false}"#);
}
