//! A customer's own number is used with the customer's own account at the carrier.

use harness::{share_machine, shared};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::inbound_calls::{answered, done, path, ring};

/// The sandbox's account that stands for a customer's own.
const ACCOUNT: &str = "AC11111111111111111111111111111111";
const TOKEN: &str = "sandbox-customer-token";
const NUMBER: &str = "+14155550190";

#[tokio::test]
async fn an_imported_number_uses_the_customers_own_carrier_account() {
    let (_machine, stack, to) = (share_machine().await, shared(), "+14155550195");
    let import = |token: &str| json!({ "phone_number": NUMBER, "account_sid": ACCOUNT, "auth_token": token });
    let wrong = stack.send(Method::POST, "/phone_numbers/import", Some(import("guessed"))).await.unwrap();
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(wrong.body["detail"][0]["loc"], json!(["body", "auth_token"]));
    let number = done(stack, Method::POST, "/phone_numbers/import", Some(import(TOKEN))).await;
    assert_eq!(number["telephony"]["account_sid"], ACCOUNT);
    assert!(!number.to_string().contains(TOKEN));

    let agent = json!({ "initial_message": "Hello.", "max_duration_seconds": 3 });
    let call = json!({ "from_number": NUMBER, "to_number": to, "agent_config": agent });
    let call = done(stack, Method::POST, "/conversations/create_phone_call", Some(call)).await;
    let conversation = stack.ended(call["id"].as_str().unwrap()).await.unwrap();
    assert_eq!(conversation["ended_reason"], "agent_ended", "hung up through that account");
    assert_ne!(conversation["started_at"], Value::Null);
    let telephony = &conversation["cost_breakdown"]["telephony"];
    assert_eq!(telephony["cost"].as_f64(), Some(0.0));
    assert!(telephony["seconds"].as_f64().unwrap() > 0.0);
    let seen = stack.settled_call(to).await.unwrap();
    assert_eq!(seen["account_sid"], ACCOUNT, "it was placed with the customer's credentials");
    let reports = seen["callbacks"].as_array().unwrap();
    // Signed with the customer's token.
    assert!(reports.iter().all(|report| report["http_status"] == 200), "{seen}");

    assert!(ring(stack, "+14155550100", NUMBER).await);
    let rejected = answered(stack, NUMBER).await;
    assert_eq!(rejected["type"], "inbound_phone_call");
    assert_eq!(rejected["cost_breakdown"]["telephony"]["cost"].as_f64(), Some(0.0));
    let seen = stack.settled_call(NUMBER).await.unwrap();
    assert_eq!((&seen["account_sid"], &seen["error"]), (&json!(ACCOUNT), &Value::Null));

    done(stack, Method::DELETE, &path(NUMBER), None).await;
    assert!(!ring(stack, "+14155550100", NUMBER).await, "nobody is asked any more");
}
