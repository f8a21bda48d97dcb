//! A call that nobody takes ends all the same, once, and says why.

use harness::shared;
use serde_json::json;

async fn not_taken(to: &str, reason: &str, ended_reason: &str) {
    let stack = shared();
    let id = stack.call(to, json!({ "initial_message": "Hello?" })).await.unwrap();
    let conversation = stack.ended(&id).await.unwrap();
    assert_eq!(conversation["ended_reason"], ended_reason);
    assert_eq!(conversation["started_at"], json!(null));
    assert_eq!(conversation["messages"], json!([]));
    assert_eq!(conversation["cost_breakdown"]["total"].as_f64(), Some(0.0));
    assert_eq!(
        stack.event_names(&id).await.unwrap(),
        ["phone_call:connection_requested", "phone_call:rejected", "conversation:ended"]
    );
    assert_eq!(stack.events(&id).await.unwrap()[1]["data"]["reason"], reason);
}

#[tokio::test]
async fn a_busy_line_is_rejected() {
    not_taken("+14155550150", "busy", "user_ended").await;
    // The official client's test calls this number as well, with callbacks that its own server answers with 200.
    let calls = shared().carrier_calls("+14155550150").await.unwrap();
    let ours = calls.iter().filter(|call| call["callbacks"][0]["http_status"] == 204);
    assert_eq!(ours.count(), 1, "it was dialled once");
}

#[tokio::test]
async fn an_unanswered_call_is_rejected() {
    not_taken("+14155550151", "no_answer", "unknown").await;
}

#[tokio::test]
async fn a_call_refused_by_the_carrier_is_rejected() {
    not_taken("+14155550152", "failed", "unknown").await;
}
