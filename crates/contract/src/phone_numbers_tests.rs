use serde_json::{Value, json};

use super::*;
use switchboard_model::{
    ids::{AccountId, PhoneNumberId},
    time::Timestamp,
};

fn errors_of<T>(read: Result<T, Vec<FieldError>>) -> Value {
    let errors = read.err().unwrap_or_default();
    errors.iter().map(|error| json!([error.loc[1..], error.kind])).collect()
}

fn number() -> PhoneNumber {
    let at = Timestamp::from_millis(0);
    let (id, account) = (PhoneNumberId::new(at, 1), AccountId::new(at, 2));
    PhoneNumber::coming(id, account, "+14155550199".parse().unwrap(), None, at)
}

#[test]
fn available_numbers_are_searched_by_digits() {
    for (query, errors) in [
        (json!({}), json!([])),
        (json!({ "contains": 415, "limit": 5 }), json!([])),
        (json!({ "contains": "+1415*55" }), json!([])),
        (json!({ "contains": "" }), json!([])),
        (json!({ "contains": "(415) 555-01" }), json!([])),
        (json!({ "contains": "4" }), json!([[["contains"], "value_error"]])),
        (json!({ "contains": "(4)" }), json!([[["contains"], "value_error"]])),
        (json!({ "contains": "FLOWERS" }), json!([[["contains"], "value_error"]])),
        (json!({ "limit": 101 }), json!([[["limit"], "less_than_equal"]])),
    ] {
        assert_eq!(errors_of(SearchNumbers::read(&query)), errors, "{query}");
    }
}

#[test]
fn punctuation_is_no_part_of_the_searched_digits() {
    let contains = |text: &str| SearchNumbers::read(&json!({ "contains": text })).unwrap().contains;
    assert_eq!(contains("+1 (415) 555-01"), Some("+141555501".to_owned()));
    assert_eq!(contains("4*5"), Some("4*5".to_owned()));
    assert_eq!((contains(""), contains(" -")), (None, None));
    assert_eq!(SearchNumbers::read(&json!({})).unwrap().limit, 10);
}

#[test]
fn a_flag_is_read_as_fastapi_reads_it() {
    let read = |value: Value| DeleteNumber::read(&json!({ "release_phone_number": value }));
    for (value, expected) in [
        (json!("true"), true),
        (json!("True"), true),
        (json!("TRUE"), true),
        (json!(1), true),
        (json!("yes"), true),
        (json!("on"), true),
        (json!("T"), true),
        (json!("y"), true),
        (json!("false"), false),
        (json!("FALSE"), false),
        (json!(0), false),
        (json!("no"), false),
        (json!("Off"), false),
        (json!("f"), false),
        (json!("N"), false),
    ] {
        assert_eq!(read(value.clone()), Ok(DeleteNumber { release: expected }), "{value}");
    }
    for value in [json!("perhaps"), json!(2), json!(""), json!("01"), json!(" true")] {
        assert_eq!(
            errors_of(read(value.clone())),
            json!([[["release_phone_number"], "bool_parsing"]]),
            "{value}"
        );
    }
}

#[test]
fn a_number_is_bought_of_the_only_carrier() {
    for (body, errors) in [
        (json!({}), json!([])),
        (json!({ "provider": "twilio", "phone_number": null }), json!([])),
        (json!({ "phone_number": "+14155550171" }), json!([])),
        (
            json!({ "provider": "nobody", "phone_number": "1" }),
            json!([[["provider"], "enum"], [["phone_number"], "value_error"]]),
        ),
    ] {
        assert_eq!(errors_of(BuyNumber::read(&body).into_valid()), errors, "{body}");
    }
}

#[test]
fn an_import_needs_an_account_that_fits_into_a_path() {
    let sid = format!("AC{}", "0".repeat(32));
    let good = json!({ "phone_number": "+14155550190", "account_sid": sid, "auth_token": "t" });
    assert_eq!(errors_of(ImportNumber::read(&good).into_valid()), json!([]));
    let bad = json!({ "account_sid": "AC1/../../x", "auth_token": "a b" });
    let errors = json!([
        [["phone_number"], "missing"],
        [["account_sid"], "value_error"],
        [["auth_token"], "value_error"]
    ]);
    assert_eq!(errors_of(ImportNumber::read(&bad).into_valid()), errors);
}

#[test]
fn an_absent_field_stays_and_a_null_one_is_cleared() {
    let webhook = json!({ "events": ["phone_call:connection_requested"], "url": "https://a.example", "method": "POST" });
    let agent = "agt_01JD9XQ4T0000000000000000A";
    let body = json!({ "inbound_agent_id": agent, "webhooks": [webhook] });
    let checked = update(&number(), &body, EgressPolicy::PublicOnly);
    assert_eq!(checked.references.len(), 1);
    let changed = checked.into_valid().unwrap();
    assert_eq!((changed.inbound_agent_id, changed.webhooks.len()), (Some(agent.parse().unwrap()), 1));
    let patch = |body: Value| update(&changed, &body, EgressPolicy::PublicOnly).into_valid().unwrap();
    assert_eq!(patch(json!({})), changed);
    let cleared = patch(json!({ "inbound_agent_id": null, "webhooks": null }));
    assert_eq!((cleared.inbound_agent_id, cleared.webhooks.len()), (None, 0));
}

#[test]
fn a_numbers_webhook_receives_inbound_calls_only() {
    let body = json!({
        "inbound_agent_id": 7,
        "webhooks": [{ "events": ["conversation:ended"], "url": "http://a.example", "method": "PUT" }],
    });
    let errors = json!([
        [["inbound_agent_id"], "string_type"],
        [["webhooks", 0, "events", 0], "enum"],
        [["webhooks", 0, "url"], "url_scheme"],
        [["webhooks", 0, "method"], "enum"]
    ]);
    assert_eq!(errors_of(update(&number(), &body, EgressPolicy::PublicOnly).into_valid()), errors);
    let webhook =
        json!({ "events": ["phone_call:connection_requested"], "url": "https://a.example", "method": "GET" });
    let body = json!({ "webhooks": vec![webhook; 11] });
    let errors = errors_of(update(&number(), &body, EgressPolicy::PublicOnly).into_valid());
    assert_eq!(errors, json!([[["webhooks"], "too_long"]]));
}
