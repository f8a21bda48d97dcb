//! `/phone_numbers`: search, purchase, import, change, deletion.

use serde_json::{Value, json};
use switchboard_model::phone_numbers::E164;

use crate::world::{
    AGENT, AVAILABLE, Answer, CALLED, Event, FOREIGN_NUMBER, FOREIGN_TOKEN, Fault, NUMBER, OWN_ACCOUNT,
    OWN_NUMBER, OWN_TOKEN, World,
};

async fn post(world: &World, path: &str, body: Value) -> Answer {
    world.send(Event::of("POST", path).with_body(&body)).await
}

async fn buy(world: &World, number: &str) -> Answer {
    post(world, "/phone_numbers/buy", json!({ "phone_number": number })).await
}

async fn import(world: &World, number: &str, token: &str) -> Answer {
    let body = json!({ "phone_number": number, "account_sid": OWN_ACCOUNT, "auth_token": token });
    let answer = post(world, "/phone_numbers/import", body).await;
    assert!(!answer.body.contains(OWN_TOKEN), "{}", answer.body);
    answer
}

/// The path with which a number is released at the carrier.
fn releasing(number: &str) -> String {
    format!("{}?release_phone_number=true", path(number))
}

fn path(number: &str) -> String {
    format!("/phone_numbers/{}", number.replace('+', "%2B"))
}

async fn is_stored(world: &World, number: &str) -> bool {
    let number: E164 = number.parse().unwrap();
    world.table.phone_number(world.account, &number).await.unwrap().is_some()
}

#[tokio::test]
async fn a_number_is_found_bought_shown_and_released() {
    let world = World::new().await;
    let found = world.get("/phone_numbers/buy?contains=415&limit=1").await;
    assert_eq!(
        found.json(),
        json!([{ "provider": "twilio", "phone_number": AVAILABLE[0], "postal_code": "94102", "iso_country": "US" }])
    );
    let bought = buy(&world, AVAILABLE[0]).await;
    assert_eq!(bought.status, 200, "{}", bought.body);
    insta::assert_json_snapshot!(bought.json(), @r#"
    {
      "account_id": "acc_01JD8Q2M7X4T6R9V1B3C5D7E9F",
      "created_at": "2026-11-22T15:04:05.123Z",
      "id": "num_01M81WJAR30000000000000001",
      "inbound_agent_id": null,
      "phone_number": "+14155550200",
      "telephony": {
        "account_sid": null,
        "auth_token": null,
        "phone_number_sid": "PN00000000000000000000014155550200",
        "provider": "twilio"
      },
      "updated_at": "2026-11-22T15:04:05.123Z",
      "uri": "https://api.example.com/phone_numbers/%2B14155550200",
      "webhooks": []
    }
    "#);
    let (sid, name, voice_url) = world.carrier().numbers[AVAILABLE[0]].clone();
    assert_eq!(sid, bought.json()["telephony"]["phone_number_sid"]);
    assert!(name.contains(bought.json()["id"].as_str().unwrap()));
    let (voice_url, _overrides) = voice_url.split_once('#').unwrap();
    assert_eq!(voice_url, format!("https://api.example.com/twilio/{}/inbound", world.account));

    // The gateway may decode the path.
    for path in [path(AVAILABLE[0]), format!("/phone_numbers/{}", AVAILABLE[0])] {
        assert_eq!(world.get(&path).await, bought);
    }
    let page = world.get("/phone_numbers").await.json();
    let items = page["items"].as_array().unwrap();
    let listed: Vec<_> = items.iter().map(|item| item["phone_number"].as_str().unwrap()).collect();
    assert_eq!(listed, [NUMBER, AVAILABLE[0]], "of the same moment, by their ids");

    assert_eq!(world.send(Event::of("DELETE", &releasing(AVAILABLE[0]))).await, bought);
    assert!(!world.carrier().numbers.contains_key(AVAILABLE[0]), "it is given back");
    for method in ["GET", "DELETE"] {
        assert_eq!(world.send(Event::of(method, &path(AVAILABLE[0]))).await.status, 404);
    }
    assert_eq!(buy(&world, AVAILABLE[0]).await.status, 200, "anybody can have it again");
}

#[tokio::test]
async fn any_number_is_bought_until_none_is_left() {
    let world = World::new().await;
    for expected in AVAILABLE {
        let bought = post(&world, "/phone_numbers/buy", json!({ "provider": "twilio" })).await;
        assert_eq!((bought.status, bought.json()["phone_number"].clone()), (200, json!(expected)));
    }
    let sold_out = post(&world, "/phone_numbers/buy", json!({})).await;
    assert_eq!((sold_out.status, sold_out.json()["detail"][0]["type"].clone()), (422, json!("not_on_sale")));
}

#[tokio::test]
async fn a_refused_purchase_leaves_no_reservation() {
    let world = World::new().await;
    for owned in [NUMBER, FOREIGN_NUMBER] {
        let refused = buy(&world, owned).await;
        assert_eq!(refused.line(), r#"409 {"detail":"This number is owned already"}"#);
    }
    let refused = buy(&world, "+14155550299").await;
    assert_eq!(
        (refused.status, refused.json()["detail"][0]["loc"].clone()),
        (422, json!(["body", "phone_number"]))
    );
    assert!(!is_stored(&world, "+14155550299").await);

    world.carrier().fault = Some(Fault::Down);
    let key = |event: Event| event.with("idempotency-key", "one");
    let event = Event::of("POST", "/phone_numbers/buy").with_body(&json!({ "phone_number": AVAILABLE[0] }));
    assert_eq!(world.send(key(event.clone())).await.status, 503);
    world.carrier().fault = None;
    let bought = world.send(key(event)).await;
    assert_eq!(bought.status, 200, "{}", bought.body);
}

#[tokio::test]
async fn a_purchase_with_a_lost_answer_is_found_again() {
    let world = World::new().await;
    world.carrier().fault = Some(Fault::AnswerLost);
    assert_eq!(buy(&world, AVAILABLE[0]).await.status, 200);
    assert!(is_stored(&world, AVAILABLE[0]).await);

    world.carrier().fault = Some(Fault::AnswerAndPurchaseLost);
    let event = Event::of("POST", "/phone_numbers/buy").with_body(&json!({ "phone_number": AVAILABLE[1] }));
    let world_two = World::new().await;
    world_two.carrier().fault = Some(Fault::AnswerAndPurchaseLost);
    let event = event.with("idempotency-key", "two");
    assert!((500..=503).contains(&world_two.send(event.clone()).await.status));
    assert_eq!(world_two.get(&path(AVAILABLE[1])).await.status, 404, "nobody can use it yet");
    world_two.carrier().fault = None;
    let bought = world_two.send(event.clone()).await;
    assert_eq!(bought.status, 200, "{}", bought.body);
    assert_eq!(world_two.send(event).await.body, bought.body);
    let requests = world_two.carrier().requests.clone();
    assert_eq!(requests.iter().filter(|line| line.contains("POST .json")).count(), 1, "{requests:?}");
}

#[tokio::test]
async fn a_patch_keeps_absent_fields_and_checks_its_agent() {
    let world = World::new().await;
    world.put_agent(&switchboard_model::agents::AgentConfig::default()).await;
    let patch = async |body: Value| world.send(Event::of("PATCH", &path(NUMBER)).with_body(&body)).await;
    let webhook = json!({
        "events": ["phone_call:connection_requested"], "url": "https://bakery.example.com", "method": "POST",
        "headers": { "authorization": "x" }, "filter": "phone_call.from_number != ''",
    });
    let changed = patch(json!({ "inbound_agent_id": AGENT, "webhooks": [webhook] })).await;
    assert_eq!(changed.status, 200, "{}", changed.body);
    assert_eq!(changed.json()["inbound_agent_id"], AGENT);
    assert_eq!(changed.json()["webhooks"], json!([webhook]));
    assert_eq!(patch(json!({ "unknown": 1 })).await.json(), changed.json());
    let cleared = patch(json!({ "inbound_agent_id": null })).await.json();
    assert_eq!((&cleared["inbound_agent_id"], &cleared["webhooks"]), (&Value::Null, &json!([webhook])));
    assert_eq!(patch(json!({ "webhooks": null })).await.json()["webhooks"], json!([]));
    let wrong = patch(json!({
        "inbound_agent_id": "agt_01JD9XQ4T0000000000000000B",
        "webhooks": [{ "events": ["conversation:ended"], "url": "http://bakery.example.com", "method": "POST" }],
    }));
    let wrong = wrong.await;
    let kinds: Vec<_> =
        wrong.json()["detail"].as_array().unwrap().iter().map(|error| error["type"].clone()).collect();
    assert_eq!((wrong.status, kinds), (422, vec![json!("enum"), json!("url_scheme"), json!("not_found")]));
}

#[tokio::test]
async fn an_imported_number_is_checked_and_never_released() {
    let world = World::new().await;
    for (number, token, field) in
        [(OWN_NUMBER, "wrong", "auth_token"), ("+14155550191", OWN_TOKEN, "phone_number")]
    {
        let refused = import(&world, number, token).await;
        assert_eq!((refused.status, refused.json()["detail"][0]["loc"][1].clone()), (422, json!(field)));
        assert!(!is_stored(&world, number).await);
    }
    let imported = import(&world, OWN_NUMBER, OWN_TOKEN).await;
    assert_eq!(imported.status, 200, "{}", imported.body);
    let telephony = &imported.json()["telephony"];
    assert_eq!((&telephony["account_sid"], &telephony["auth_token"]), (&json!(OWN_ACCOUNT), &Value::Null));
    let voice_url = world.carrier().numbers[OWN_NUMBER].2.clone();
    let (voice_url, _overrides) = voice_url.split_once('#').unwrap();
    assert_eq!(voice_url, format!("https://api.example.com/twilio/{}/inbound", world.account));
    assert_eq!(import(&world, OWN_NUMBER, OWN_TOKEN).await.status, 409);
    let body = json!({ "phone_number": OWN_NUMBER, "account_sid": OWN_ACCOUNT, "auth_token": OWN_TOKEN });
    let again = Event::of("POST", "/phone_numbers/import").with_body(&body).by_token(FOREIGN_TOKEN);
    assert_eq!(world.send(again).await.status, 409, "nor for another account");

    let call =
        world.create(&json!({ "from_number": OWN_NUMBER, "to_number": CALLED, "agent_config": {} })).await;
    assert_eq!(call.status, 200, "{}", call.body);
    let id = call.json()["id"].as_str().unwrap().parse().unwrap();
    let stored = world.table.conversation(world.account, id).await.unwrap().unwrap().conversation;
    assert!(stored.legs.caller().phone_call.as_ref().unwrap().imported);

    assert_eq!(world.send(Event::of("DELETE", &path(OWN_NUMBER))).await.body, imported.body);
    assert_eq!(world.carrier().numbers[OWN_NUMBER].2, "", "its wires are cut");
    assert_eq!(world.get(&path(OWN_NUMBER)).await.status, 404);
}

#[tokio::test]
async fn a_number_is_deleted_without_a_release_and_taken_by_the_next_purchase() {
    let world = World::new().await;
    for query in ["", "?release_phone_number=false", "?release_phone_number=0"] {
        let bought = buy(&world, AVAILABLE[1]).await;
        assert_eq!(bought.status, 200, "{}", bought.body);
        let keeping = format!("{}{query}", path(AVAILABLE[1]));
        assert_eq!(world.send(Event::of("DELETE", &keeping)).await.body, bought.body);
        assert_eq!(world.carrier().numbers[AVAILABLE[1]].2, "", "its callbacks are removed");
        assert!(!is_stored(&world, AVAILABLE[1]).await);
        assert_eq!(world.get(&path(AVAILABLE[1])).await.status, 404);
    }
    let pooled = world.table.pooled_numbers().await.unwrap();
    assert_eq!(pooled.iter().map(|number| number.phone_number.as_str()).collect::<Vec<_>>(), [AVAILABLE[1]]);

    let on_sale = async |query: &str| -> Vec<String> {
        let found = world.get(&format!("/phone_numbers/buy{query}")).await.json();
        let found = found.as_array().unwrap().iter();
        found.map(|number| number["phone_number"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(on_sale("").await, [AVAILABLE[1], AVAILABLE[0]], "the pool first");
    assert_eq!(on_sale("?contains=0201").await[0], AVAILABLE[1]);
    assert_ne!(on_sale("?contains=0200").await[0], AVAILABLE[1]);

    let orders = || world.carrier().requests.iter().filter(|line| line.contains("POST .json")).count();
    let before = orders();
    let any =
        world.send(Event::of("POST", "/phone_numbers/buy").with_body(&json!({})).by_token(FOREIGN_TOKEN));
    let any = any.await;
    assert_eq!((any.status, any.json()["phone_number"].clone()), (200, json!(AVAILABLE[1])));
    assert_eq!(orders(), before, "nothing is bought");
    let voice_url = world.carrier().numbers[AVAILABLE[1]].2.clone();
    let (voice_url, _overrides) = voice_url.split_once('#').unwrap();
    assert_eq!(
        voice_url,
        format!("https://api.example.com/twilio/{}/inbound", crate::world::other_account())
    );
    assert_eq!(world.table.pooled_numbers().await.unwrap(), []);
    assert_eq!(buy(&world, AVAILABLE[1]).await.status, 409);
}

#[tokio::test]
async fn a_pooled_number_that_the_carrier_lost_is_bought_again() {
    let world = World::new().await;
    assert_eq!(buy(&world, AVAILABLE[0]).await.status, 200);
    assert_eq!(world.send(Event::of("DELETE", &path(AVAILABLE[0]))).await.status, 200);
    world.carrier().numbers.remove(AVAILABLE[0]);
    let bought = buy(&world, AVAILABLE[0]).await;
    assert_eq!(bought.status, 200, "{}", bought.body);
    assert!(world.carrier().numbers.contains_key(AVAILABLE[0]));
}

#[tokio::test]
async fn a_number_that_the_carrier_does_not_have_is_not_pooled() {
    let world = World::new().await;
    let odd = format!("{}?release_phone_number=perhaps", path(NUMBER));
    let odd = world.send(Event::of("DELETE", &odd)).await;
    assert_eq!(
        (odd.status, odd.json()["detail"][0]["loc"].clone()),
        (422, json!(["query", "release_phone_number"]))
    );
    assert_eq!(world.send(Event::of("DELETE", &path(NUMBER))).await.status, 200);
    assert_eq!(world.table.pooled_numbers().await.unwrap(), []);
}
