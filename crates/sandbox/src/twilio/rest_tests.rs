//! The REST API: refusals, and the list of calls.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::{
    OWNED_NUMBER,
    tests::{ACCOUNT, TOKEN, World},
};

#[tokio::test]
async fn a_request_with_a_wrong_token_or_account_is_refused() {
    let world = World::start().await;
    let calls = |account: &str| format!("{}/2010-04-01/Accounts/{account}/Calls.json", world.carrier_url);
    let cases = [(ACCOUNT, "wrong", 401, 20003), ("AC0", TOKEN, 404, 20404)];
    for (account, password, status, code) in cases {
        let request = world.client.get(calls(account)).basic_auth(ACCOUNT, Some(password));
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status);
        assert!(answer.headers().contains_key("Twilio-Request-Id"));
        let error: Value = answer.json().await.unwrap();
        assert_eq!((&error["code"], &error["status"]), (&json!(code), &json!(status)));
    }
}

#[tokio::test]
async fn a_wrong_call_is_refused_with_twilios_code() {
    let world = World::start().await;
    let good = [("To", "+14155550100"), ("From", OWNED_NUMBER), ("Twiml", "<Response/>")];
    let long = "x".repeat(4001);
    let cases = [
        ("To", "", 21201),
        ("To", "4155550100", 21211),
        ("To", "+14155550152", 21216),
        ("From", "", 21213),
        ("From", "bakery", 21212),
        ("From", "+14155550100", 21210),
        ("Twiml", "", 21205),
        ("Twiml", &long, 20001),
        ("Url", "voice.example.com", 21205),
        ("StatusCallback", "https://under_score.example.com/", 21609),
        ("StatusCallbackEvent", "initiated ringing", 21626),
        ("Timeout", "soon", 20001),
    ];
    for (name, value, code) in cases {
        let mut form = good.to_vec();
        form.retain(|(key, _)| *key != name);
        form.push((name, value));
        let (status, error) = world.post("Calls.json", &form).await;
        assert_eq!(
            (status, &error["code"]),
            (StatusCode::BAD_REQUEST, &json!(code)),
            "{name}={value}: {error}"
        );
    }
    assert_eq!(world.get("/sandbox/calls").await["calls"], json!([]), "nothing was dialled");
}

#[tokio::test]
async fn calls_are_listed_newest_first_by_number_and_by_page() {
    let world = World::start().await;
    let first = world.dial("+14155550151", "<Response/>").await;
    let second = world.dial("+14155550151", "<Response/>").await;
    world.dial("+14155550150", "<Response/>").await;
    let list = format!("/2010-04-01/Accounts/{ACCOUNT}/Calls.json?To=%2B14155550151&PageSize=1");
    let page = world.get(&list).await;
    assert_eq!(page["calls"][0]["sid"], second);
    let page = world.get(page["next_page_uri"].as_str().unwrap()).await;
    assert_eq!(page["calls"][0]["sid"], first);
    assert_eq!(page["next_page_uri"], Value::Null);
}
