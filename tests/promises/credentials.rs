//! A customer's own keys serve the customer's calls; no other key replaces them.

use harness::{baker, share_machine, shared};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

/// The key that the sandbox's servers accept.
const OPENAI_KEY: &str = "sandbox-openai-key";
const DEEPGRAM_KEY: &str = "sandbox-deepgram-key";

/// Stores a key through the API; the credential's id.
async fn store(provider: &str, api_key: &str) -> String {
    let body = json!({ "provider": provider, "api_key": api_key });
    let answer = shared().send(Method::POST, "/credentials", Some(body)).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert_eq!(answer.body["last4"], api_key[api_key.len() - 4..]);
    assert!(!answer.body.to_string().contains(api_key), "{}", answer.body);
    answer.body["id"].as_str().unwrap().to_owned()
}

/// The baker, served with these credentials.
fn served_with(openai: &str, deepgram: &str) -> Value {
    let mut agent = baker();
    agent["language_model"]["credential_id"] = json!(openai);
    agent["transcriber"] = json!({ "provider": "deepgram", "credential_id": deepgram });
    agent["voice"] =
        json!({ "provider": "deepgram", "model": "aura-2-thalia-en", "credential_id": deepgram });
    agent
}

#[tokio::test]
async fn providers_with_the_customers_key_cost_nothing() {
    let _machine = share_machine().await;
    let stack = shared();
    let (openai, deepgram) = (store("openai", OPENAI_KEY).await, store("deepgram", DEEPGRAM_KEY).await);
    let id = stack.call("+14155550162", served_with(&openai, &deepgram)).await.unwrap();
    let ended = stack.ended(&id).await.unwrap();
    assert_eq!(ended["ended_reason"], "agent_ended", "{ended}");
    assert!(ended["messages"].as_array().unwrap().len() >= 4, "{ended}");
    let cost = &ended["cost_breakdown"];
    for part in ["language_model", "transcriber", "voice"] {
        assert_eq!(cost[part]["cost"], json!(0.0), "{cost}");
    }
    assert!(cost["language_model"]["input_tokens"].as_u64().unwrap() > 0, "{cost}");
    assert!(cost["telephony"]["cost"].as_f64().unwrap() > 0.0, "{cost}");
}

#[tokio::test]
async fn a_wrong_key_is_named_and_only_another_vendor_serves_in_its_place() {
    let _machine = share_machine().await;
    let stack = shared();
    let (openai, deepgram) = (store("openai", OPENAI_KEY).await, store("deepgram", "wrong-key-1234").await);
    let id = stack.call("+14155550163", served_with(&openai, &deepgram)).await.unwrap();
    let ended = stack.ended(&id).await.unwrap();
    let cost = &ended["cost_breakdown"];
    for part in ["transcriber", "voice"] {
        assert_ne!(cost[part]["provider"], "deepgram", "never with the deployment's key: {cost}");
    }
    let notes = json!(stack.events(&id).await.unwrap()).to_string();
    for role in ["transcriber", "voice"] {
        assert!(notes.contains(&format!("{role} deepgram with {deepgram}: refused the request")), "{notes}");
    }
}

#[tokio::test]
async fn a_call_with_a_deleted_credential_ends_at_once() {
    let stack = shared();
    let (openai, deepgram) = (store("openai", OPENAI_KEY).await, store("deepgram", DEEPGRAM_KEY).await);
    let agent = served_with(&openai, &deepgram);
    let stored = stack.send(Method::POST, "/agents", Some(agent)).await.unwrap().body;
    let path = format!("/credentials/{deepgram}");
    let deleted = stack.send(Method::DELETE, &path, None).await.unwrap();
    assert_eq!((deleted.status, &deleted.body["id"]), (StatusCode::OK, &json!(deepgram)));
    let body = json!({
        "from_number": stack.address("from_number"), "to_number": "+14155550164", "agent_id": stored["id"],
    });
    let call = stack.send(Method::POST, "/conversations/create_phone_call", Some(body)).await.unwrap();
    let ended = stack.ended(call.body["id"].as_str().unwrap()).await.unwrap();
    assert_eq!(ended["ended_reason"], "unknown", "{ended}");
    assert_eq!(ended["messages"], json!([]));
}
