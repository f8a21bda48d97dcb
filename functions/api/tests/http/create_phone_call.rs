use serde_json::{Value, json};
use switchboard_model::{agents::AgentConfig, conversations::State};

use crate::world::{AGENT, CALLED, Event, NUMBER, World};

const CREATE: &str = include_str!("../../../../events/http_create_phone_call.json");

#[tokio::test]
async fn the_sample_request_queues_a_call_with_all_defaults() {
    let world = World::new().await;
    let answer = world.send(Event::sample(CREATE)).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("x-request-id"), Some("FzQx1hKpIAMEV9A="));
    insta::assert_json_snapshot!(answer.json(), @r#"
    {
      "account_id": "acc_01JD8Q2M7X4T6R9V1B3C5D7E9F",
      "agent_config": {
        "disclosure": null,
        "hooks": [
          {
            "events": [
              "function_call:triggered"
            ],
            "filter": null,
            "instructions": [
              {
                "instruction": "hang_up"
              }
            ]
          }
        ],
        "initial_message": "Hello, this is Ada from the corner bakery. Your cake is ready. Do you have any questions?",
        "language_model": {
          "credential_id": null,
          "max_tokens": 300,
          "model": "gpt-4o",
          "provider": "openai",
          "temperature": 0.0,
          "tools": [
            {
              "function": {
                "description": "Ends the call.",
                "name": "end_call",
                "parameters": {
                  "properties": {},
                  "type": "object"
                }
              },
              "type": "function"
            }
          ]
        },
        "max_duration_seconds": 600,
        "metadata": {
          "order": "4711"
        },
        "prompt": "You are Ada, who calls customers of the corner bakery when their order is ready. Answer briefly. When the customer says goodbye, say goodbye and call end_call.",
        "recording": true,
        "transcriber": {
          "credential_id": null,
          "keywords": [],
          "language": "en",
          "model": "nova-3",
          "provider": "deepgram"
        },
        "voice": {
          "credential_id": null,
          "model": "aura-2-thalia-en",
          "provider": "deepgram"
        },
        "webhooks": [
          {
            "events": [
              "conversation:ended"
            ],
            "filter": null,
            "headers": null,
            "method": "POST",
            "url": "https://bakery.example.com/calls"
          }
        ]
      },
      "agent_id": null,
      "cost_breakdown": null,
      "created_at": "2026-11-22T15:04:05.123Z",
      "ended_at": null,
      "ended_reason": null,
      "id": "cnv_01M81WJAR30000000000000001",
      "messages": [],
      "phone_call": {
        "from_number": "+14155550199",
        "provider": "twilio",
        "to_number": "+14155550100"
      },
      "quality": null,
      "started_at": null,
      "status": "queued",
      "type": "outbound_phone_call",
      "uri": "https://api.example.com/conversations/cnv_01M81WJAR30000000000000001"
    }
    "#);
}

#[tokio::test]
async fn a_created_conversation_is_stored_and_shown() {
    let world = World::new().await;
    let created = world.send(Event::sample(CREATE)).await;
    let id = created.json()["id"].as_str().unwrap().to_owned();
    let stored = world.table.conversation(world.account, id.parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(stored.conversation.state, State::Queued);
    assert_eq!(json!(stored.agent), created.json()["agent_config"]);
    assert_eq!(world.get(&format!("/conversations/{id}")).await.body, created.body);
}

#[tokio::test]
async fn the_agent_comes_with_the_request_or_from_the_table() {
    let world = World::new().await;
    let stored = AgentConfig { prompt: Some("Be brief".to_owned()), ..AgentConfig::default() };
    world.put_agent(&stored).await;
    let base = json!({ "from_number": NUMBER, "to_number": CALLED });
    for (given, agent_id, prompt) in [
        (json!({ "agent_id": AGENT }), json!(AGENT), json!("Be brief")),
        (json!({ "agent_id": AGENT, "agent_config": null }), json!(AGENT), json!("Be brief")),
        (json!({ "agent_id": AGENT, "agent_config": {} }), Value::Null, Value::Null),
        (json!({ "agent_id": null, "agent_config": { "prompt": "Sing" } }), Value::Null, json!("Sing")),
        (json!({ "agent_config": {} }), Value::Null, Value::Null),
    ] {
        // Every request gets the same id, so each call needs a table of its own.
        let world = World::new().await;
        world.put_agent(&stored).await;
        let mut body = base.clone();
        body.as_object_mut().unwrap().extend(given.as_object().unwrap().clone());
        let answer = world.create(&body).await;
        assert_eq!(answer.status, 200, "{body}: {}", answer.body);
        let conversation = answer.json();
        assert_eq!(conversation["agent_id"], agent_id, "{body}");
        assert_eq!(conversation["agent_config"]["prompt"], prompt, "{body}");
    }
    insta::assert_snapshot!(world.create(&base).await.line(), @r#"422 {"detail":[{"loc":["body","agent_config"],"msg":"Either agent_config or agent_id is required","type":"missing"}]}"#);
}

#[tokio::test]
async fn wrong_fields_and_unknown_references_are_named_at_once() {
    let world = World::new().await;
    let answer = world
        .create(&json!({
            "from_number": "+14155550111",
            "to_number": "0100",
            "agent_id": AGENT,
            "agent_config": {
                "prompt": 1,
                "max_duration_seconds": 0,
                "voice": { "provider": "playht", "speed": 0, "credential_id": "crd_01JD9XQ4T0000000000000000A" },
                "language_model": { "temperature": 2.5 },
                "transcriber": { "provider": "nobody", "credential_id": "crd_1" },
                "webhooks": [{ "events": [], "url": "http://example.com" }],
                "hooks": [{ "events": ["speech:ended"], "filter": "speech = 1", "instructions": [] }],
                "metadata": { "order": 7 },
            },
        }))
        .await;
    assert_eq!(answer.status, 422);
    insta::assert_snapshot!(lines(&answer.json()), @r#"
    ["body","to_number"] "value_error" "not a phone number in E.164 form, such as +14155550100"
    ["body","agent_config","prompt"] "string_type" "Input should be a valid string"
    ["body","agent_config","voice","speed"] "greater_than" "Input should be greater than 0"
    ["body","agent_config","language_model","temperature"] "less_than_equal" "Input should be less than or equal to 2"
    ["body","agent_config","transcriber","provider"] "union_tag_invalid" "Unknown provider: should be 'deepgram' or 'azure'"
    ["body","agent_config","transcriber","credential_id"] "not_found" "Does not exist in this account"
    ["body","agent_config","max_duration_seconds"] "greater_than" "Input should be greater than 0"
    ["body","agent_config","webhooks",0,"events"] "too_short" "List should have at least 1 item, not 0"
    ["body","agent_config","webhooks",0,"url"] "url_scheme" "URL scheme should be 'https'"
    ["body","agent_config","webhooks",0,"method"] "missing" "Field required"
    ["body","agent_config","hooks",0,"filter"] "value_error" "line 1, column 8: unexpected '= '"
    ["body","agent_config","metadata","order"] "string_type" "Input should be a valid string"
    ["body","from_number"] "not_found" "Does not exist in this account"
    ["body","agent_id"] "not_found" "Does not exist in this account"
    ["body","agent_config","voice","credential_id"] "not_found" "Does not exist in this account"
    "#);
}

#[tokio::test]
async fn a_body_that_is_no_object_is_one_wrong_field() {
    let world = World::new().await;
    for body in [json!([]), json!(null), json!("text"), json!(1)] {
        let answer = world.create(&body).await;
        insta::allow_duplicates! {
            insta::assert_snapshot!(answer.line(), @r#"422 {"detail":[{"loc":["body"],"msg":"Input should be an object","type":"model_attributes_type"}]}"#);
        }
    }
}

#[tokio::test]
async fn unknown_fields_are_ignored_and_not_shown() {
    let world = World::new().await;
    let answer = world
        .create(&json!({
            "from_number": NUMBER,
            "to_number": CALLED,
            "unheard_of": 1,
            "agent_config": {
                "unheard_of": 1,
                "voice": { "provider": "deepgram", "unheard_of": 1 },
                "webhooks": [{ "events": ["message:sent"], "url": "https://example.com", "method": "GET", "unheard_of": 1 }],
            },
        }))
        .await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(!answer.body.contains("unheard_of"), "{}", answer.body);
}

#[tokio::test]
async fn a_rejected_request_stores_nothing() {
    let world = World::new().await;
    let answer =
        world.create(&json!({ "from_number": NUMBER, "to_number": "0100", "agent_config": {} })).await;
    assert_eq!(answer.status, 422);
    // The id that the conversation would have.
    let id = switchboard_model::ids::ConversationId::new(crate::world::at(0), 1);
    assert_eq!(world.get(&format!("/conversations/{id}")).await.status, 404);
}

/// A line per wrong field.
fn lines(body: &Value) -> String {
    let line = |error: &Value| format!("{} {} {}\n", error["loc"], error["type"], error["msg"]);
    body["detail"].as_array().unwrap().iter().map(line).collect()
}

#[tokio::test]
async fn only_countries_of_owned_numbers_are_called() {
    let world = World::new().await;
    for (to_number, status) in [("+12025550143", 200), ("+442079460000", 422), ("+8821612345678", 422)] {
        let body = json!({ "from_number": NUMBER, "to_number": to_number, "agent_config": {} });
        let answer = world.send(Event::create(&body.to_string())).await;
        assert_eq!(answer.status, status, "{to_number}: {}", answer.body);
        if status == 422 {
            let error = &answer.json()["detail"][0];
            assert_eq!(
                (&error["loc"], &error["type"]),
                (&json!(["body", "to_number"]), &json!("country_not_allowed"))
            );
        }
    }
}
