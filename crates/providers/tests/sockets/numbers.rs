use std::sync::{Arc, Mutex};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri, header},
};
use serde_json::json;
use switchboard_model::{
    ids::{AccountId, PhoneNumberId},
    phone_numbers::{CallAccount, CarrierAccount, E164, PhoneNumber},
    time::Timestamp,
};
use switchboard_providers::{
    AnyCarrier, Error, Secret,
    carrier::{
        Carrier as _,
        calls::OrderError,
        numbers::{CallRouting, NumberOnSale, OwnedNumber},
    },
    twilio::Twilio,
};

use crate::support::{SHORT, Server, nowhere};

const SID: &str = "PN00000000000000000000000000000001";
const ROUTING: CallRouting<'_> = CallRouting {
    voice_url: "https://a.example/in",
    fallback_url: "https://a.example/fallback",
    status_callback: "https://a.example/status",
};

/// A received request: method, URL, form, and user name.
type Seen = Arc<Mutex<Vec<String>>>;

/// A carrier that answers everything with this.
async fn answering(status: u16, body: &'static str) -> (Server, AnyCarrier, Seen) {
    let seen = Seen::default();
    let answer =
        async move |State(seen): State<Seen>, method: Method, uri: Uri, headers: HeaderMap, form: Bytes| {
            let (asker, form) =
                (headers[header::AUTHORIZATION].to_str().unwrap(), String::from_utf8_lossy(&form));
            seen.lock().unwrap().push(format!("{method} {uri} {form} {asker}"));
            (StatusCode::from_u16(status).unwrap(), body)
        };
    let server = Server::http(Router::new().fallback(answer).with_state(seen.clone())).await;
    let carrier = AnyCarrier::new(&server.providers());
    (server, carrier, seen)
}

fn number() -> E164 {
    "+14155550200".parse().unwrap()
}

fn own() -> CarrierAccount {
    CarrierAccount { account_sid: "AC9".to_owned(), auth_token: Secret::new("theirs") }
}

#[tokio::test]
async fn unreadable_numbers_are_left_out_of_a_search() {
    let body = r#"{"available_phone_numbers":[
        {"phone_number":"+14155550200","postal_code":"94102","iso_country":"US","capabilities":{"voice":true}},
        {"phone_number":"41555","postal_code":null,"iso_country":null},
        {"phone_number":"+14155550201","postal_code":null,"iso_country":"US"}]}"#;
    let (_server, carrier, seen) = answering(200, body).await;
    let found = carrier.search_numbers(Some("+1415*"), 3).await.unwrap();
    let us = Some("US".to_owned());
    assert_eq!(found.len(), 2);
    let first = NumberOnSale { phone_number: number(), postal_code: Some("94102".into()), iso_country: us };
    assert_eq!((&found[0], &found[1].postal_code), (&first, &None));
    let asked = "GET /2010-04-01/Accounts/AC1/AvailablePhoneNumbers/US/Local.json\
                 ?VoiceEnabled=true&PageSize=3&Contains=%2B1415*  Basic QUMxOnRva2Vu";
    assert_eq!(*seen.lock().unwrap(), [asked]);
}

#[tokio::test]
async fn a_number_is_bought_and_routed_in_one_request() {
    let (_server, carrier, seen) =
        answering(201, r#"{"sid":"PN00000000000000000000000000000001","phone_number":"+14155550200"}"#).await;
    assert_eq!(carrier.buy_number(&number(), "mine", ROUTING).await.unwrap(), SID);
    let asked = "POST /2010-04-01/Accounts/AC1/IncomingPhoneNumbers.json \
                 PhoneNumber=%2B14155550200&FriendlyName=mine&VoiceUrl=https%3A%2F%2Fa.example%2Fin<>&VoiceMethod=POST\
                 &VoiceFallbackUrl=https%3A%2F%2Fa.example%2Ffallback<>&VoiceFallbackMethod=POST\
                 &StatusCallback=https%3A%2F%2Fa.example%2Fstatus<>&StatusCallbackMethod=POST Basic QUMxOnRva2Vu";
    // One 5xx must not end a call.
    let asked = asked.replace("<>", "%23rc%3D3%26rt%3D8000%26rp%3D5xx%2Cct%2Crt");
    assert_eq!(*seen.lock().unwrap(), [asked]);
}

#[tokio::test]
async fn a_failed_purchase_says_whether_it_was_taken() {
    let bought = async |status, body| {
        let (_server, carrier, _) = answering(status, body).await;
        carrier.buy_number(&number(), "mine", ROUTING).await
    };
    let refused = bought(400, r#"{"code":21422,"message":"+14155550200 is not available"}"#).await;
    let Err(OrderError::Refused { code, message }) = refused else { panic!("{refused:?}") };
    assert_eq!((code, message.contains("555")), (21422, false), "{message}");
    assert!(matches!(bought(429, "{}").await, Err(OrderError::NotNow(_))));
    for status in [401, 403] {
        let refused = bought(status, r#"{"code":20003,"message":"Authenticate"}"#).await;
        assert!(matches!(refused, Err(OrderError::Unauthorized(Error::Rejected { .. }))), "{refused:?}");
    }
    for (status, body) in [(500, ""), (201, "<html>"), (201, r#"{"sid":"../x","phone_number":""}"#)] {
        assert!(matches!(bought(status, body).await, Err(OrderError::Uncertain(_))), "{status} {body}");
    }
    let away = AnyCarrier::new(&nowhere().providers).buy_number(&number(), "mine", ROUTING).await;
    assert!(matches!(away, Err(OrderError::NotNow(_))), "{away:?}");
    let closing = Server::raw(|socket| async move { drop(socket) }).await;
    let lost =
        Twilio::new(&closing.providers()).with_timeout(SHORT).buy_number(&number(), "mine", ROUTING).await;
    assert!(matches!(lost, Err(OrderError::Uncertain(_))), "{lost:?}");
}

#[tokio::test]
async fn a_number_is_found_by_its_full_digits() {
    let body = r#"{"incoming_phone_numbers":[
        {"sid":"PN00000000000000000000000000000009","phone_number":"+141555502001","friendly_name":"other"},
        {"sid":"PN00000000000000000000000000000001","phone_number":"+14155550200","friendly_name":"mine"}]}"#;
    let (_server, carrier, seen) = answering(200, body).await;
    let mine = OwnedNumber { id: SID.to_owned(), name: "mine".to_owned(), voice_url: String::new() };
    assert_eq!(carrier.through_own(&own()).find_number(&number()).await.unwrap(), Some(mine));
    assert_eq!(carrier.find_number(&"+14155550201".parse().unwrap()).await.unwrap(), None);
    let asked = seen.lock().unwrap()[0].clone();
    assert!(
        asked.starts_with("GET /2010-04-01/Accounts/AC9/IncomingPhoneNumbers.json?PhoneNumber=%2B1"),
        "{asked}"
    );
    assert!(asked.ends_with("Basic QUM5OnRoZWlycw=="), "by the customer's own account: {asked}");
}

/// A number of an account of ours, known to the carrier by this id or by its name only.
fn owned(sid: Option<&str>) -> PhoneNumber {
    let at = Timestamp::from_millis(0);
    let coming = PhoneNumber::coming(PhoneNumberId::new(at, 1), AccountId::new(at, 2), number(), None, at);
    match sid {
        Some(sid) => coming.arrived(sid.to_owned()),
        None => coming,
    }
}

#[tokio::test]
async fn releasing_an_unknown_number_changes_nothing() {
    let (_server, carrier, seen) = answering(204, "").await;
    assert!(carrier.release_number(&owned(Some(SID))).await.unwrap());
    assert!(carrier.route_number(SID, ROUTING).await.unwrap());
    assert!(
        !carrier.release_number(&owned(Some("../../other"))).await.unwrap(),
        "nothing else may stand in a path"
    );
    let seen = seen.lock().unwrap().clone();
    assert_eq!(seen.len(), 2);
    assert!(
        seen[0].starts_with(&format!("DELETE /2010-04-01/Accounts/AC1/IncomingPhoneNumbers/{SID}.json "))
    );
    assert!(seen[1].contains("&VoiceApplicationSid=&TrunkSid= "), "they would win over the URL: {seen:?}");

    let (_server, carrier, _) = answering(404, r#"{"code":20404,"message":"not found"}"#).await;
    assert!(!carrier.release_number(&owned(Some(SID))).await.unwrap());
    let (_server, carrier, _) = answering(503, "").await;
    assert!(matches!(carrier.release_number(&owned(Some(SID))).await, Err(Error::Unavailable { .. })));
    let (_server, carrier, _) = answering(401, r#"{"code":20003,"message":"Authenticate"}"#).await;
    assert!(matches!(carrier.find_number(&number()).await, Err(Error::Rejected { .. })));
}

#[tokio::test]
async fn only_our_purchases_and_routes_are_taken_back() {
    let listed = |name: &str, voice_url: &str| {
        let number = json!({
            "sid": SID, "phone_number": "+14155550200", "friendly_name": name, "voice_url": voice_url,
        });
        json!({ "incoming_phone_numbers": [number] }).to_string().leak() as &'static str
    };
    let number = owned(None);
    let path = PhoneNumber::voice_path(number.account_id);
    for (name, voice_url, released, cut) in [
        (number.friendly_name(), format!("https://api.example.com{path}#rc=3"), true, true),
        ("another purchase".to_owned(), "https://customer.example.com".to_owned(), false, false),
    ] {
        let (_server, carrier, seen) = answering(200, listed(&name, &voice_url)).await;
        assert_eq!(carrier.release_number(&number).await.unwrap(), released);
        assert_eq!(carrier.unroute_number(&number).await.unwrap(), cut);
        let changed = seen.lock().unwrap().iter().filter(|line| !line.starts_with("GET")).count();
        assert_eq!(changed, usize::from(released) + usize::from(cut));
    }
}

#[tokio::test]
async fn a_call_goes_through_the_account_it_belongs_to() {
    let (server, _, seen) = answering(200, "{}").await;
    let carrier = AnyCarrier::new(&server.providers());
    let call = carrier.call_id("CA00000000000000000000000000000001").unwrap();
    for account in [CallAccount::Deployments, CallAccount::Customers(own())] {
        carrier.through(&account).unwrap().hang_up(&call).await.unwrap();
    }
    assert!(carrier.through(&CallAccount::Gone).is_none());
    let seen = seen.lock().unwrap().clone();
    assert!(seen[0].contains("/Accounts/AC1/Calls/CA") && seen[0].ends_with("QUMxOnRva2Vu"), "{seen:?}");
    assert!(seen[1].contains("/Accounts/AC9/Calls/CA") && seen[1].ends_with("QUM5OnRoZWlycw=="), "{seen:?}");
}
