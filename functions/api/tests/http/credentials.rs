//! `/credentials`: customers' own keys.

use serde_json::{Value, json};
use switchboard_api::{Api, router};
use switchboard_aws::{sealing::Sealer, table::testing};
use switchboard_model::credentials::Provider;
use switchboard_runtime as system;

use crate::world::{
    Answer, CALLED, CREDENTIAL, Event, FOREIGN_TOKEN, NUMBER, World, api, at, credential_id, send,
};

const KEY: &str = "sk-0123456789abcdef";

async fn create(world: &World, body: &Value) -> Answer {
    let answer = world.send(Event::of("POST", "/credentials").with_body(body)).await;
    assert!(!answer.body.contains(KEY), "{}", answer.body);
    answer
}

#[tokio::test]
async fn a_credential_is_never_shown_with_its_key() {
    let world = World::new().await;
    let base_url = "https://models.example.com/v1";
    let answer = create(&world, &json!({ "provider": "openai", "api_key": KEY, "base_url": base_url })).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let credential = answer.json();
    insta::assert_json_snapshot!(credential, @r#"
    {
      "account_id": "acc_01JD8Q2M7X4T6R9V1B3C5D7E9F",
      "created_at": "2026-11-22T15:04:05.123Z",
      "id": "crd_01M81WJAR30000000000000001",
      "last4": "cdef",
      "provider": "openai",
      "uri": "https://api.example.com/credentials/crd_01M81WJAR30000000000000001"
    }
    "#);
    let path = format!("/credentials/{}", credential["id"].as_str().unwrap());
    assert_eq!(world.get(&path).await, answer);
    let page = world.get("/credentials").await.json();
    assert_eq!(page, json!({ "items": [credential], "index": 1, "has_more": false }));
    assert_eq!(world.send(Event::of("DELETE", &path)).await, answer);
    for event in [Event::get(&path), Event::of("DELETE", &path)] {
        assert_eq!(world.send(event).await.line(), r#"404 {"detail":"Not found"}"#);
    }
    assert_eq!(world.get("/credentials").await.json()["items"], json!([]));
}

#[tokio::test]
async fn the_stored_key_opens_to_the_given_one() {
    let world = World::new().await;
    let id = create(&world, &json!({ "provider": "deepgram", "api_key": KEY })).await.json()["id"].take();
    let id = id.as_str().unwrap();
    let stored = world.table.credential(world.account, id.parse().unwrap()).await.unwrap();
    let (credential, sealed) = stored.unwrap();
    assert_eq!(world.sealer.open((world.account, id), &sealed).await.unwrap().reveal(), KEY);
    assert!(!format!("{credential:?} {sealed:?}").contains(KEY));
}

#[tokio::test]
async fn every_wrong_field_is_named_and_none_is_quoted() {
    let world = World::new().await;
    for (body, expected) in [
        (json!({}), json!([[["body", "provider"], "missing"], [["body", "api_key"], "missing"]])),
        (
            json!({ "provider": "twilio", "api_key": format!("{KEY} {KEY}") }),
            json!([[["body", "provider"], "enum"], [["body", "api_key"], "value_error"]]),
        ),
        (
            json!({ "provider": "openai", "api_key": KEY, "region": "westeurope", "base_url": "https://10.0.0.1/" }),
            json!([[["body", "region"], "value_error"], [["body", "base_url"], "value_error"]]),
        ),
        (json!([KEY]), json!([[["body"], "model_attributes_type"]])),
    ] {
        let answer = create(&world, &body).await;
        assert_eq!(answer.status, 422, "{}", answer.body);
        let errors = answer.json()["detail"].as_array().unwrap().clone();
        let errors: Vec<_> = errors.iter().map(|error| json!([error["loc"], error["type"]])).collect();
        assert_eq!(json!(errors), expected);
    }
    assert_eq!(world.get("/credentials").await.json()["items"], json!([]));
}

#[tokio::test]
async fn a_repeated_request_stores_one_credential() {
    let world = World::new().await;
    let event = || {
        let event = Event::of("POST", "/credentials").with("idempotency-key", "first");
        event.with_body(&json!({ "provider": "openai", "api_key": KEY }))
    };
    let (first, second) = (world.send(event()).await, world.send(event()).await);
    assert_eq!((first.status, &first.body), (200, &second.body));
    assert_eq!(world.get("/credentials").await.json()["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_credential_serves_its_own_provider_only() {
    let world = World::new().await;
    world.put_credential(Provider::Rime).await;
    let api = api(world.table.clone(), "http://127.0.0.1:1").await;
    let api = router(Api { random: system::random_u128, ..api });
    for (voice, expected) in [
        (json!({ "provider": "rime", "credential_id": CREDENTIAL }), Value::Null),
        (json!({ "provider": "rimeai", "credential_id": CREDENTIAL }), Value::Null),
        (json!({ "credential_id": CREDENTIAL }), json!("Should be a credential of 'playht'")),
        (
            json!({ "provider": "deepgram", "credential_id": CREDENTIAL }),
            json!("Should be a credential of 'deepgram'"),
        ),
    ] {
        let config = json!({ "voice": voice });
        let call = json!({ "from_number": NUMBER, "to_number": CALLED, "agent_config": config });
        for (path, body, within) in [
            ("/agents", config, json!(["body", "voice", "credential_id"])),
            (
                "/conversations/create_phone_call",
                call,
                json!(["body", "agent_config", "voice", "credential_id"]),
            ),
        ] {
            let answer = send(&api, Event::of("POST", path).with_body(&body)).await;
            let accepted = expected.is_null();
            assert_eq!(answer.status, if accepted { 200 } else { 422 }, "{body}: {}", answer.body);
            if !accepted {
                let error = answer.json()["detail"][0].take();
                assert_eq!((&error["loc"], &error["msg"]), (&within, &expected));
            }
        }
    }
}

#[tokio::test]
async fn credentials_are_listed_to_their_account_only() {
    let world = World::new().await;
    world.put_credential(Provider::Openai).await;
    let owners = world.get("/credentials?limit=1").await.json();
    assert_eq!(owners["items"][0]["id"], credential_id().to_string());
    assert_eq!(owners["items"][0]["created_at"], json!(at(0)));
    let theirs = world.send(Event::get("/credentials").by_token(FOREIGN_TOKEN)).await;
    assert_eq!(theirs.line(), r#"200 {"items":[],"index":1,"has_more":false}"#);
}

#[tokio::test]
async fn a_key_that_cannot_be_sealed_is_not_stored() {
    let world = World::new().await;
    let sealer = Sealer::new(&testing::config("http://127.0.0.1:1").await, "sealing".to_owned());
    let broken = router(Api { sealer, ..api(world.table.clone(), "http://127.0.0.1:1").await });
    let body = json!({ "provider": "openai", "api_key": KEY });
    let answer = send(&broken, Event::of("POST", "/credentials").with_body(&body)).await;
    assert_eq!(answer.line(), r#"503 {"detail":"The service is not available now; try again"}"#);
    assert_eq!(world.get("/credentials").await.json()["items"], json!([]));
}
