//! The API answers as it is documented, through the real gateway.

use harness::shared;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

#[tokio::test]
async fn a_created_conversation_is_shown() {
    let stack = shared();
    let agent = json!({ "initial_message": "Hello?", "metadata": { "order": "42" } });
    let id = stack.call("+14155550152", agent).await.unwrap();
    let shown = stack.send(Method::GET, &format!("/conversations/{id}"), None).await.unwrap();
    assert_eq!(shown.status, StatusCode::OK);
    let conversation = shown.body;
    assert_eq!(conversation["id"], id.as_str());
    assert_eq!(conversation["uri"], format!("{}/conversations/{id}", stack.address("api_url")));
    assert_eq!(conversation["account_id"], stack.address("account_id"));
    assert_eq!(conversation["phone_call"]["provider"], "twilio");
    assert_eq!(conversation["phone_call"]["to_number"], "+14155550152");
    let config = &conversation["agent_config"];
    assert_eq!(config["metadata"], json!({ "order": "42" }));
    assert_eq!(config["max_duration_seconds"], 600, "defaults are filled in");
    assert_eq!(config["voice"]["provider"], "deepgram");
    stack.ended(&id).await.unwrap();
}

#[tokio::test]
async fn every_wrong_field_is_reported_at_once() {
    let body = json!({
        "from_number": "+14155550198",
        "to_number": "0100",
        "agent_config": {
            "language_model": { "temperature": 3 },
            "webhooks": [{ "events": ["conversation:ended"], "url": "https://example.com", "method": "POST", "filter": "duration = 1" }],
        },
    });
    let answer = shared().send(Method::POST, "/conversations/create_phone_call", Some(body)).await.unwrap();
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    let places: Vec<Value> =
        answer.body["detail"].as_array().unwrap().iter().map(|error| error["loc"].clone()).collect();
    for place in [
        json!(["body", "to_number"]),
        json!(["body", "agent_config", "language_model", "temperature"]),
        json!(["body", "agent_config", "webhooks", 0, "filter"]),
    ] {
        assert!(places.contains(&place), "{place} is not among {places:?}");
    }
}

#[tokio::test]
async fn a_from_number_of_another_account_is_refused() {
    let body = json!({ "from_number": "+14155550198", "to_number": "+14155550100", "agent_config": {} });
    let answer = shared().send(Method::POST, "/conversations/create_phone_call", Some(body)).await.unwrap();
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(answer.body["detail"][0]["loc"], json!(["body", "from_number"]));
}

#[tokio::test]
async fn an_unknown_token_is_refused() {
    let token = format!("sk_{}", "0".repeat(32));
    let answer = shared().send_as(&token, Method::GET, "/conversations/cnv_1", None).await.unwrap();
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert!(answer.body["detail"].is_string());
}

#[tokio::test]
async fn an_unknown_conversation_is_not_found() {
    let stack = shared();
    for path in ["/conversations/cnv_01ARZ3NDEKTSV4RRFFQ69G5FAV", "/conversations/nonsense"] {
        let answer = stack.send(Method::GET, path, None).await.unwrap();
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
        assert!(answer.body["detail"].is_string());
    }
}

#[tokio::test]
async fn a_forged_callback_changes_nothing() {
    let stack = shared();
    let id = stack.call("+14155550151", json!({})).await.unwrap();
    let url = format!("{}/twilio/{}/{id}/status", stack.address("api_url"), stack.address("account_id"));
    let forged = reqwest::Client::builder()
        .no_proxy()
        .build()
        .unwrap()
        .post(url)
        .header("X-Twilio-Signature", "Zm9yZ2Vk")
        .form(&[("CallStatus", "completed"), ("CallSid", "CA00000000000000000000000000000001")])
        .send()
        .await
        .unwrap();
    assert_eq!(forged.status(), StatusCode::FORBIDDEN);
    stack.ended(&id).await.unwrap();
    let events = stack.events(&id).await.unwrap();
    assert_eq!(events[1]["data"]["reason"], "no_answer", "it rang on until nobody answered");
}
