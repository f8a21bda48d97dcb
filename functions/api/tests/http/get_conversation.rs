use serde_json::{Value, json};

use crate::world::{CONVERSATION, Event, World};

const SHOW: &str = include_str!("../../../../events/http_get_conversation.json");

#[tokio::test]
async fn an_ended_conversation_has_messages_and_a_cost() {
    let world = World::new().await;
    world.ended_call().await;
    let answer = world.send(Event::sample(SHOW)).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let mut conversation = answer.json();
    // The configuration is in the snapshot of `create_phone_call.rs`.
    let agent = conversation.as_object_mut().unwrap().remove("agent_config").unwrap();
    assert_eq!(agent["webhooks"][0]["headers"], json!({ "authorization": "Basic c2VjcmV0" }));
    assert!(conversation.as_object_mut().unwrap().remove("quality").unwrap().is_object());
    insta::assert_json_snapshot!(conversation, @r#"
    {
      "account_id": "acc_01JD8Q2M7X4T6R9V1B3C5D7E9F",
      "agent_id": null,
      "cost_breakdown": {
        "agent": {
          "cost": 0.075,
          "estimated": false,
          "provider": "voiceos",
          "seconds": 90.0
        },
        "language_model": {
          "cost": 0.000151,
          "estimated": false,
          "input_tokens": 1234,
          "output_tokens": 56,
          "provider": "openai"
        },
        "served_by": [
          {
            "cost": 0.000151,
            "estimated": false,
            "model": "gpt-6-luna",
            "provider": "openai",
            "role": "language_model"
          },
          {
            "cost": 0.007198,
            "estimated": false,
            "model": "nova-3",
            "provider": "deepgram",
            "role": "transcriber"
          },
          {
            "cost": 0.00234,
            "estimated": false,
            "model": "aura-2-thalia-en",
            "provider": "deepgram",
            "role": "voice"
          }
        ],
        "telephony": {
          "cost": 0.036,
          "estimated": false,
          "provider": "twilio",
          "seconds": 91.0
        },
        "total": 0.120689,
        "transcriber": {
          "cost": 0.007198,
          "estimated": false,
          "provider": "deepgram",
          "seconds": 89.98
        },
        "voice": {
          "characters": 78,
          "cost": 0.00234,
          "estimated": false,
          "provider": "deepgram"
        }
      },
      "created_at": "2026-11-22T15:04:05.123Z",
      "ended_at": "2026-11-22T15:05:41.123Z",
      "ended_reason": "user_ended",
      "id": "cnv_01JD8QA1B2C3D4E5F6G7H8J9K0",
      "messages": [
        {
          "content": "Hello, this is Ada. Your cake is",
          "ended_at": "2026-11-22T15:04:14.123Z",
          "interrupted": true,
          "role": "agent",
          "started_at": "2026-11-22T15:04:12.123Z"
        },
        {
          "content": "Great, thank you. Goodbye.",
          "ended_at": "2026-11-22T15:04:17.123Z",
          "interrupted": false,
          "role": "user",
          "started_at": "2026-11-22T15:04:15.123Z"
        }
      ],
      "phone_call": {
        "from_number": "+14155550199",
        "provider": "twilio",
        "to_number": "+14155550100"
      },
      "started_at": "2026-11-22T15:04:11.123Z",
      "status": "ended",
      "type": "outbound_phone_call",
      "uri": "https://api.example.com/conversations/cnv_01JD8QA1B2C3D4E5F6G7H8J9K0"
    }
    "#);
}

#[tokio::test]
async fn an_ended_conversation_has_its_quality() {
    let world = World::new().await;
    world.ended_call().await;
    let conversation = world.send(Event::sample(SHOW)).await.json();
    insta::assert_json_snapshot!(conversation["quality"], @r#"
    {
      "agent_interruptions": 0,
      "backchannels": null,
      "dead_air": [
        {
          "from": "2026-11-22T15:04:20.123Z",
          "to": "2026-11-22T15:04:24.123Z",
          "whose": "user"
        }
      ],
      "estimated": true,
      "noises": {
        "ignored": 1,
        "total": 2
      },
      "response_ms": {
        "max": 900,
        "p50": 610,
        "p90": 900
      },
      "response_rate": 1.0,
      "talk_over_ms": 380,
      "turn_score": 0.94,
      "turns": 3,
      "version": 1,
      "yield_ms": {
        "max": 380,
        "p50": 380
      },
      "yield_rate": 1.0
    }
    "#);
}

#[tokio::test]
async fn a_live_conversation_has_messages_and_no_end() {
    let world = World::new().await;
    world.started_call().await;
    let conversation = world.send(Event::sample(SHOW)).await.json();
    assert_eq!(conversation["status"], "started");
    assert_eq!(conversation["started_at"], "2026-11-22T15:04:11.123Z");
    assert_eq!(conversation["messages"].as_array().unwrap().len(), 2);
    for name in ["ended_at", "ended_reason", "cost_breakdown", "quality"] {
        assert!(conversation.as_object().unwrap()[name].is_null(), "{name}");
    }
}

#[tokio::test]
async fn the_parts_of_a_cost_are_its_total() {
    let world = World::new().await;
    world.ended_call().await;
    let cost = world.get(&format!("/conversations/{CONVERSATION}")).await.json()["cost_breakdown"].take();
    let parts = ["agent", "language_model", "transcriber", "voice", "telephony"];
    let millionths = |dollars: &Value| (dollars.as_f64().unwrap() * 1e6).round();
    let sum: f64 = parts.iter().map(|part| millionths(&cost[part]["cost"])).sum();
    assert!((sum - millionths(&cost["total"])).abs() < 0.5, "{cost}");
}
