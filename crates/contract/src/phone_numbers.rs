//! What clients say of numbers.

use crate::{
    agents,
    validation::{Field, Read, Reference},
};
use switchboard_model::phone_numbers::{E164, PhoneNumber};
use switchboard_model::{agents::Webhook, egress_policy::EgressPolicy, events::EventName, secrets::Secret};

/// The most numbers on sale that one answer lists, and how many unless told otherwise.
pub const MAX_ON_SALE: i64 = 100;
/// See [`MAX_ON_SALE`].
pub const USUAL_ON_SALE: i64 = 20;
/// The most webhooks of a number: all of them are called at once, and waited for.
const MAX_WEBHOOKS: usize = 10;

/// The query of `GET /phone_numbers/buy`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchNumbers {
    /// Digits that stand in the number; `*` stands for any one digit.
    pub contains: Option<String>,
    /// The most that are listed.
    pub limit: usize,
}

/// The body of `POST /phone_numbers/buy`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuyNumber {
    /// Which; none: any.
    pub phone_number: Option<E164>,
}

/// The body of `POST /phone_numbers/import`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportNumber {
    /// Which.
    pub phone_number: E164,
    /// The customer's own account at the carrier.
    pub account_sid: String,
    /// What opens it.
    pub auth_token: Secret,
}

impl SearchNumbers {
    /// Reads the query.
    pub fn parse(query: &Field<'_>) -> Read<Self> {
        let object = query.object()?;
        let contains = object.optional("contains", |field| {
            // A text of digits comes as a number.
            let text = field.value().as_str().map_or_else(|| field.value().to_string(), str::to_owned);
            let is_pattern = text.bytes().all(|byte| byte.is_ascii_digit() || b"+*".contains(&byte));
            if is_pattern && (2..=16).contains(&text.len()) {
                return Ok(text);
            }
            field.fail("value_error", "Should be 2 to 16 digits, or * for any digit")
        });
        let limit = object.or("limit", USUAL_ON_SALE, |field| field.integer(1..=MAX_ON_SALE));
        let limit: i64 = limit?;
        Ok(Self { contains: contains?, limit: usize::try_from(limit).unwrap_or(1) })
    }
}

impl BuyNumber {
    /// Reads the body.
    pub fn parse(body: &Field<'_>) -> Read<Self> {
        let object = body.object()?;
        let provider = object.or("provider", (), |field| field.choice(&[("twilio", ())]));
        let phone_number = object.optional("phone_number", Field::parsed);
        provider?;
        Ok(Self { phone_number: phone_number? })
    }
}

impl ImportNumber {
    /// Reads the body.
    pub fn parse(body: &Field<'_>) -> Read<Self> {
        let object = body.object()?;
        let phone_number = object.required("phone_number", Field::parsed);
        let account_sid = object.required("account_sid", |field| {
            let text = field.str()?;
            let digits = text.strip_prefix("AC").unwrap_or_default();
            // It becomes part of a path, so nothing else may pass.
            if digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Ok(text.to_owned());
            }
            field.fail("value_error", "Should be AC and 32 hexadecimal digits")
        });
        let auth_token = object.required("auth_token", |field| {
            let text = field.name()?;
            if text.len() <= 256 && text.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Ok(Secret::new(text));
            }
            field.fail("value_error", "Should be at most 256 visible ASCII characters without spaces")
        });
        Ok(Self { phone_number: phone_number?, account_sid: account_sid?, auth_token: auth_token? })
    }
}

/// A number, changed by the body of `PATCH /phone_numbers/{phone_number}`: a member that is present
/// has its new value, null takes it away, an absent one stays as it is. The agent it names is to be
/// looked up.
pub fn patched(number: &PhoneNumber, body: &Field<'_>, egress_policy: EgressPolicy) -> Read<PhoneNumber> {
    let object = body.object()?;
    let inbound_agent_id = match object.member("inbound_agent_id") {
        None => Ok(number.inbound_agent_id),
        Some(_) => object.optional("inbound_agent_id", |field| {
            let id = field.id()?;
            field.refer(Reference::Agent(id));
            Ok(id)
        }),
    };
    let webhooks = match object.member("webhooks") {
        None => Ok(number.webhooks.clone()),
        Some(_) => object.or("webhooks", vec![], |field| webhooks(field, egress_policy)),
    };
    Ok(PhoneNumber { inbound_agent_id: inbound_agent_id?, webhooks: webhooks?, ..number.clone() })
}

fn webhooks(field: &Field<'_>, egress_policy: EgressPolicy) -> Read<Vec<Webhook>> {
    const EVENTS: [(&str, EventName); 1] =
        [(EventName::ConnectionRequested.as_str(), EventName::ConnectionRequested)];
    let read = agents::webhooks(field, &EVENTS, egress_policy);
    if field.value().as_array().is_some_and(|webhooks| webhooks.len() > MAX_WEBHOOKS) {
        return field.fail("too_long", format!("A number should have at most {MAX_WEBHOOKS} webhooks"));
    }
    read
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::validation::Checks;
    use switchboard_model::{
        ids::{AccountId, PhoneNumberId},
        time::Timestamp,
    };

    fn errors_of<T>(body: &Value, read: impl FnOnce(&Field<'_>) -> Read<T>) -> Value {
        let checks = Checks::default();
        let read_something = read(&Field::body(body, &checks)).is_ok();
        let errors: Vec<_> =
            checks.into_errors().into_iter().map(|error| json!([error.loc[1..], error.kind])).collect();
        assert_eq!(read_something, errors.is_empty());
        json!(errors)
    }

    fn number() -> PhoneNumber {
        let at = Timestamp::from_millis(0);
        let (id, account) = (PhoneNumberId::new(at, 1), AccountId::new(at, 2));
        PhoneNumber::coming(id, account, "+14155550199".parse().unwrap(), None, at)
    }

    #[test]
    fn numbers_on_sale_are_searched_by_digits() {
        for (query, errors) in [
            (json!({}), json!([])),
            (json!({ "contains": 415, "limit": 5 }), json!([])),
            (json!({ "contains": "+1415*55" }), json!([])),
            (json!({ "contains": "4" }), json!([[["contains"], "value_error"]])),
            (json!({ "contains": "FLOWERS" }), json!([[["contains"], "value_error"]])),
            (json!({ "limit": 101 }), json!([[["limit"], "less_than_equal"]])),
        ] {
            assert_eq!(errors_of(&query, SearchNumbers::parse), errors, "{query}");
        }
    }

    #[test]
    fn any_number_can_be_bought_and_only_of_the_one_carrier() {
        for (body, errors) in [
            (json!({}), json!([])),
            (json!({ "provider": "twilio", "phone_number": null }), json!([])),
            (json!({ "phone_number": "+14155550171" }), json!([])),
            (
                json!({ "provider": "nobody", "phone_number": "1" }),
                json!([[["provider"], "enum"], [["phone_number"], "value_error"]]),
            ),
        ] {
            assert_eq!(errors_of(&body, BuyNumber::parse), errors, "{body}");
        }
    }

    #[test]
    fn an_import_needs_an_account_that_can_stand_in_a_path() {
        let sid = format!("AC{}", "0".repeat(32));
        let good = json!({ "phone_number": "+14155550190", "account_sid": sid, "auth_token": "t" });
        assert_eq!(errors_of(&good, ImportNumber::parse), json!([]));
        let bad = json!({ "account_sid": "AC1/../../x", "auth_token": "a b" });
        let errors = json!([
            [["phone_number"], "missing"],
            [["account_sid"], "value_error"],
            [["auth_token"], "value_error"]
        ]);
        assert_eq!(errors_of(&bad, ImportNumber::parse), errors);
    }

    #[test]
    fn a_change_keeps_what_is_absent_and_clears_what_is_null() {
        let checks = Checks::default();
        let webhook = json!({ "events": ["phone_call:connection_requested"], "url": "https://a.example", "method": "POST" });
        let agent = "agt_01JD9XQ4T0000000000000000A";
        let body = json!({ "inbound_agent_id": agent, "webhooks": [webhook] });
        let changed = patched(&number(), &Field::body(&body, &checks), EgressPolicy::PublicOnly).unwrap();
        assert_eq!(checks.references().len(), 1);
        assert_eq!((changed.inbound_agent_id, changed.webhooks.len()), (Some(agent.parse().unwrap()), 1));
        let patch = |body: Value| {
            let checks = Checks::default();
            patched(&changed, &Field::body(&body, &checks), EgressPolicy::PublicOnly).unwrap()
        };
        assert_eq!(patch(json!({})), changed);
        let cleared = patch(json!({ "inbound_agent_id": null, "webhooks": null }));
        assert_eq!((cleared.inbound_agent_id, cleared.webhooks.len()), (None, 0));
    }

    #[test]
    fn a_numbers_webhooks_hear_of_nothing_but_calls_that_come_in() {
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
        assert_eq!(errors_of(&body, |field| patched(&number(), field, EgressPolicy::PublicOnly)), errors);
        let webhook = json!({ "events": ["phone_call:connection_requested"], "url": "https://a.example", "method": "GET" });
        let body = json!({ "webhooks": vec![webhook; 11] });
        let errors = errors_of(&body, |field| patched(&number(), field, EgressPolicy::PublicOnly));
        assert_eq!(errors, json!([[["webhooks"], "too_long"]]));
    }
}
