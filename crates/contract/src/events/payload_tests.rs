use std::collections::BTreeMap;

use super::*;
use switchboard_model::{
    conversations::State,
    costs::Prices,
    ids::{AgentId, ConversationId},
    phone_numbers::E164,
};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_795_339_800_000 + seconds * 1_000)
}

fn number(text: &str) -> E164 {
    text.parse().unwrap()
}

fn agent() -> AgentConfig {
    let webhook = Webhook {
        events: EventName::ALL.to_vec(),
        url: "https://example.com/hook".into(),
        method: WebhookMethod::Post,
        headers: Some(BTreeMap::from([("authorization".into(), "Bearer customer's".into())])),
        filter: None,
    };
    AgentConfig {
        webhooks: vec![webhook],
        metadata: BTreeMap::from([("order".into(), "42".into())]),
        ..AgentConfig::default()
    }
}

fn conversation(state: State) -> Conversation {
    let conversation = Conversation::outbound(
        ConversationId::new(at(0), 1),
        AccountId::new(at(0), 2),
        Some(AgentId::new(at(0), 3)),
        number("+14155550100"),
        number("+14155550199"),
        at(0),
    );
    Conversation { state, ..conversation }
}

fn event(name: EventName, data: Value) -> Event {
    let mut event: Event = serde_json::from_value(json!({
        "id": EventId::of(ConversationId::new(at(0), 1), 7, at(7)),
        "event": name,
        "sequence": 7,
        "created_at": at(7),
        "data": null,
        "webhooks": [0],
    }))
    .unwrap();
    event.data = data;
    event
}

fn started() -> State {
    State::Started { started_at: at(5) }
}

#[test]
fn a_post_carries_event_conversation_and_data() {
    let event = event(EventName::SpeechStarted, json!({ "role": "user" }));
    let conversation = conversation(started());
    let Payload::Json(body) = Payload::new(&event, &conversation, &agent(), WebhookMethod::Post, None) else {
        panic!("a POST has a body");
    };
    let body: Value = serde_json::from_str(&body).unwrap();
    let expected = json!({
        "id": event.id,
        "event": "speech:started",
        "created_at": "2026-11-22T09:30:07.000Z",
        "sequence": 7,
        "account_id": conversation.account_id,
        "conversation": {
            "id": conversation.id,
            "type": "outbound_phone_call",
            "status": "started",
            "agent_id": conversation.agent_id,
            "phone_call": {
                "provider": "twilio",
                "to_number": "+14155550100",
                "from_number": "+14155550199",
            },
            "metadata": { "order": "42" },
        },
        "data": { "role": "user" },
    });
    assert_eq!(body, expected);
}

#[test]
fn a_retry_has_the_content_of_the_first_attempt() {
    let data = json!({ "message": { "role": "user", "content": "Hello" } });
    let event = event(EventName::MessageSent, data);
    let live = conversation(started());
    let ended_reason = switchboard_model::conversations::EndedReason::AgentEnded;
    let cost = Box::new(live.cost(&agent(), &Prices::default(), at(9)));
    let over = conversation(State::Ended {
        started_at: Some(at(5)),
        ended_at: at(9),
        ended_reason,
        cost,
        quality: None,
    });
    let sent = |conversation| Payload::new(&event, conversation, &agent(), WebhookMethod::Post, None);
    assert!(sent(&live) == sent(&over));
}

#[test]
fn the_end_has_the_conversation_without_headers() {
    let event = event(EventName::Ended, json!({ "ended_reason": "agent_ended" }));
    let conversation = conversation(started());
    let agent = agent();
    assert!(needs_conversation(event.name, &agent.webhooks[0]));
    let snapshot = switchboard_model::conversations::Snapshot {
        conversation: conversation.clone(),
        agent: agent.clone(),
    };
    let view = ConversationView::new("https://api.example.com", snapshot, Some(vec![]));
    let Payload::Json(body) = Payload::new(&event, &conversation, &agent, WebhookMethod::Post, Some(view))
    else {
        panic!("a POST has a body");
    };
    assert!(!body.contains("customer's"));
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["conversation"]["status"], "ended");
    assert_eq!(body["data"]["ended_reason"], "agent_ended");
    let full = &body["data"]["conversation"];
    assert_eq!(full["id"], json!(conversation.id));
    assert_eq!(full["agent_config"]["webhooks"][0]["url"], "https://example.com/hook");
    assert_eq!(full["agent_config"]["webhooks"][0]["headers"], json!(null));
}

#[test]
fn a_get_has_the_flattened_event_in_its_query() {
    let long = "é".repeat(MAX_VALUE_BYTES);
    let data = json!({
        "message": { "role": "agent", "content": "Hi & bye?", "interrupted": false },
        "duration": 3,
        "list": [1],
        "none": null,
        "long": long,
    });
    let event = event(EventName::MessageSent, data);
    let conversation = conversation(started());
    let payload = Payload::new(&event, &conversation, &agent(), WebhookMethod::Get, None);
    let Payload::Query(query) = &payload else { panic!("a GET has a query") };
    let mut pairs: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let cut = pairs.iter().position(|(name, _)| name == "long").map(|at| pairs.remove(at).1).unwrap();
    assert_eq!(cut, "é".repeat(MAX_VALUE_BYTES / 2));
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let expected = [
        pair("event", "message:sent"),
        pair("id", &event.id.to_string()),
        pair("sequence", "7"),
        pair("conversation_id", &conversation.id.to_string()),
        pair("duration", "3"),
        pair("message.content", "Hi & bye?"),
        pair("message.interrupted", "false"),
        pair("message.role", "agent"),
    ];
    assert_eq!(pairs, expected);
    assert_eq!(payload.signed("https://example.com/hook"), query.as_str());
    assert_eq!(payload.signed("https://example.com/hook?a=1"), format!("a=1&{query}"));
}
