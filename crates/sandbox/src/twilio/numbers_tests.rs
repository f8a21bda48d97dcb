//! Numbers that are bought, connected, called and released.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::{
    CUSTOMER_ACCOUNT_SID, CUSTOMER_AUTH_TOKEN, CUSTOMER_NUMBER,
    tests::{ACCOUNT, World},
};

const NUMBERS: &str = "IncomingPhoneNumbers.json";

async fn ring(world: &World, to: &str) -> StatusCode {
    let url = format!("{}/sandbox/calls", world.carrier_url);
    let body = json!({ "from": "+14155550100", "to": to });
    world.client.post(url).json(&body).send().await.unwrap().status()
}

#[tokio::test]
async fn a_number_on_sale_is_bought_once_and_can_be_released() {
    let world = World::start().await;
    let search = format!(
        "/2010-04-01/Accounts/{ACCOUNT}/AvailablePhoneNumbers/US/Local.json?Contains=55502*0&PageSize=2"
    );
    let found = async || {
        let page = world.get(&search).await;
        let numbers = page["available_phone_numbers"].as_array().unwrap();
        numbers.iter().map(|number| number["phone_number"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(found().await, ["+14155550200", "+14155550210"]);
    let form =
        [("PhoneNumber", "+14155550200"), ("FriendlyName", "mine"), ("VoiceUrl", "https://a.example/in")];
    let (status, bought) = world.post(NUMBERS, &form).await;
    assert_eq!((status, &bought["voice_url"]), (StatusCode::CREATED, &json!("https://a.example/in")));
    assert_eq!((&bought["friendly_name"], &bought["account_sid"]), (&json!("mine"), &json!(ACCOUNT)));
    assert_eq!(found().await, ["+14155550210", "+14155550220"]);
    for (form, code) in [
        (&form[..1], 21422),
        (&[("PhoneNumber", "+14155550199")], 21422),
        (&[("PhoneNumber", "4155550201")], 21421),
        (&[("FriendlyName", "x")], 21404),
    ] {
        let (status, error) = world.post(NUMBERS, form).await;
        assert_eq!((status, &error["code"]), (StatusCode::BAD_REQUEST, &json!(code)));
    }
    let list = format!("/2010-04-01/Accounts/{ACCOUNT}/{NUMBERS}?PhoneNumber=%2B14155550200");
    assert_eq!(world.get(&list).await["incoming_phone_numbers"], json!([bought]));
    let call = [("To", "+14155550151"), ("From", "+14155550200"), ("Twiml", "<Response/>")];
    assert_eq!(world.post("Calls.json", &call).await.0, StatusCode::CREATED, "it may be called from");

    let url = format!("{}{}", world.carrier_url, bought["uri"].as_str().unwrap());
    let release = || world.client.delete(&url).basic_auth(ACCOUNT, Some("token")).send();
    assert_eq!(release().await.unwrap().status(), StatusCode::NO_CONTENT);
    assert_eq!(release().await.unwrap().status(), StatusCode::NOT_FOUND);
    assert_eq!(found().await[0], "+14155550200");
    assert_eq!(world.post("Calls.json", &call).await.1["code"], 21210);
}

#[tokio::test]
async fn the_customers_account_sees_only_its_own_number() {
    let world = World::start().await;
    let url = |account: &str| format!("{}/2010-04-01/Accounts/{account}/{NUMBERS}", world.carrier_url);
    let get = async |account: &str, password: &str| {
        let request = world.client.get(url(account)).basic_auth(CUSTOMER_ACCOUNT_SID, Some(password));
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    let (status, page) = get(CUSTOMER_ACCOUNT_SID, CUSTOMER_AUTH_TOKEN).await;
    let numbers = page["incoming_phone_numbers"].as_array().unwrap();
    assert_eq!((status, numbers.len(), &numbers[0]["phone_number"]), (200, 1, &json!(CUSTOMER_NUMBER)));
    assert_eq!(get(ACCOUNT, CUSTOMER_AUTH_TOKEN).await.0, 404);
    assert_eq!(get(CUSTOMER_ACCOUNT_SID, "token").await.0, 401);
    let call = [("To", "+14155550151"), ("From", CUSTOMER_NUMBER), ("Twiml", "<Response/>")];
    assert_eq!(world.post("Calls.json", &call).await.1["code"], 21210, "not ours to call from");
}

#[tokio::test]
async fn a_call_to_a_connected_number_asks_its_url_and_reports_its_end() {
    let mut world = World::start().await;
    assert_eq!(ring(&world, "+14155550201").await, StatusCode::NOT_FOUND);
    // The application responds with <Hangup/>, so the call is answered and ends.
    let (voice, status) =
        (format!("{}/resume", world.application_url), format!("{}/status", world.application_url));
    let form = [("PhoneNumber", "+14155550201"), ("VoiceUrl", &*voice), ("StatusCallback", &*status)];
    assert_eq!(world.post(NUMBERS, &form).await.0, StatusCode::CREATED);
    assert_eq!(ring(&world, "+14155550201").await, StatusCode::CREATED);
    let asked = world.webhook().await;
    assert_eq!((asked.field("CallStatus"), asked.field("Direction")), ("ringing", "inbound"));
    assert_eq!((asked.field("From"), asked.field("To")), ("+14155550100", "+14155550201"));
    let sid = asked.field("CallSid").to_owned();
    let over = world.webhook().await;
    assert_eq!((over.field("CallSid"), over.field("CallStatus")), (&*sid, "completed"));
    let call = world.get(&format!("/2010-04-01/Accounts/{ACCOUNT}/Calls/{sid}.json")).await;
    assert_eq!((&call["direction"], &call["status"]), (&json!("inbound"), &json!("completed")));
}

#[tokio::test]
async fn a_failing_url_is_repeated_as_its_overrides_say_and_then_the_fallback_decides() {
    let mut world = World::start().await;
    let url = |leaf: &str| format!("{}/{leaf}", world.application_url);
    let (voice, fallback, status) = (url("broken#rc=2&rp=5xx,ct"), url("reject"), url("status"));
    let form = [
        ("PhoneNumber", "+14155550201"),
        ("VoiceUrl", &*voice),
        ("VoiceFallbackUrl", &*fallback),
        ("StatusCallback", &*status),
    ];
    world.post(NUMBERS, &form).await;
    ring(&world, "+14155550201").await;
    let broken = "/broken ringing";
    assert_eq!(world.reports().await, [broken, broken, broken, "/reject ringing", "/status no-answer"]);
}

#[tokio::test]
async fn a_rejected_call_is_never_answered() {
    let mut world = World::start().await;
    let (voice, status) =
        (format!("{}/reject", world.application_url), format!("{}/status", world.application_url));
    let form = [("PhoneNumber", "+14155550201"), ("VoiceUrl", &*voice), ("StatusCallback", &*status)];
    world.post(NUMBERS, &form).await;
    ring(&world, "+14155550201").await;
    assert_eq!(world.reports().await, ["/reject ringing", "/status no-answer"]);
    let calls = world.get("/sandbox/calls").await;
    assert_eq!(calls["calls"][0]["answered_at_ms"], Value::Null);
}
