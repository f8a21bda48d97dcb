//! The resources `AvailablePhoneNumbers` and `IncomingPhoneNumbers` of the REST API.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Extension, Form, Path, Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use super::{
    account::Account,
    api::{API_VERSION, Answer, Fields, Refusal, field, is_e164, is_web_url, national, path, rfc_2822},
    carrier::Carrier,
    numbers::{Number, Numbers, stock},
};
use crate::clock;

const PAGE_SIZE: usize = 50;
const PAGE_SIZE_MAX: usize = 1000;

/// `GET AvailablePhoneNumbers/{country}/Local.json`.
pub(super) async fn available(
    State(carrier): State<Arc<Carrier>>,
    Extension(account): Extension<Arc<Account>>,
    Path((_, country)): Path<(String, String)>,
    Query(fields): Query<Fields>,
) -> Answer {
    let resource = format!("AvailablePhoneNumbers/{country}/Local.json");
    if country != "US" {
        return Err(Refusal::not_found(&path(&account, &resource)));
    }
    let contains = field(&fields, "Contains");
    if contains.is_some_and(|pattern| !(2..=16).contains(&pattern.len())) {
        return Err(Refusal::invalid(21451, "The Contains parameter must be 2 to 16 characters."));
    }
    let size = page_size(&fields);
    let carriers = carrier.numbers();
    let numbers: Vec<_> = stock()
        .filter(|number| carriers.is_on_sale(number))
        .filter(|number| contains.is_none_or(|pattern| matches(pattern, number)))
        .take(size)
        .map(|number| {
            json!({
                "friendly_name": national(&number),
                "phone_number": number,
                "lata": "722",
                "locality": "San Francisco",
                "rate_center": "SNFC CNTRL",
                "latitude": "37.780000",
                "longitude": "-122.420000",
                "region": "CA",
                "postal_code": "94102",
                "iso_country": "US",
                "address_requirements": "none",
                "beta": false,
                "capabilities": { "voice": true, "SMS": false, "MMS": false },
            })
        })
        .collect();
    let uri = path(&account, &resource);
    Ok((StatusCode::OK, Json(json!({ "available_phone_numbers": numbers, "uri": uri }))))
}

/// Whether a number matches a pattern: `*` is any digit; a `+` at the beginning or a `$` at the end anchors the pattern
/// there.
fn matches(pattern: &str, number: &str) -> bool {
    let (pattern, at_end) = pattern.strip_suffix('$').map_or((pattern, false), |pattern| (pattern, true));
    let (pattern, at_start) = pattern.strip_prefix('+').map_or((pattern, false), |pattern| (pattern, true));
    let (pattern, digits) = (pattern.as_bytes(), &number.as_bytes()[1..]);
    let places = 0..=digits.len().saturating_sub(pattern.len());
    pattern.len() <= digits.len()
        && places
            .filter(|place| !at_start || *place == 0)
            .filter(|place| !at_end || place + pattern.len() == digits.len())
            .any(|place| {
                pattern.iter().zip(&digits[place..]).all(|(wanted, digit)| *wanted == b'*' || wanted == digit)
            })
}

/// `GET IncomingPhoneNumbers.json`.
pub(super) async fn list(
    State(carrier): State<Arc<Carrier>>,
    Extension(account): Extension<Arc<Account>>,
    Query(fields): Query<Fields>,
) -> Answer {
    let wanted = |name: &str, value: &str| field(&fields, name).is_none_or(|wanted| value == wanted);
    let size = page_size(&fields);
    let numbers: Vec<_> = carrier
        .numbers()
        .of(&account)
        // Twilio finds a number by any part of it.
        .filter(|number| field(&fields, "PhoneNumber").is_none_or(|part| number.e164.contains(part)))
        .filter(|number| wanted("FriendlyName", &number.friendly_name))
        .take(size)
        .map(resource)
        .collect();
    let uri = path(&account, "IncomingPhoneNumbers.json");
    let body = json!({
        "end": numbers.len().saturating_sub(1),
        "incoming_phone_numbers": numbers,
        "page": 0,
        "page_size": size,
        "start": 0,
        "uri": uri,
        "first_page_uri": uri,
        "previous_page_uri": null,
        "next_page_uri": null,
    });
    Ok((StatusCode::OK, Json(body)))
}

/// `POST IncomingPhoneNumbers.json`: buys a number.
pub(super) async fn buy(
    State(carrier): State<Arc<Carrier>>,
    Extension(account): Extension<Arc<Account>>,
    Form(fields): Form<Fields>,
) -> Answer {
    let wanted = field(&fields, "PhoneNumber")
        .ok_or_else(|| Refusal::invalid(21404, "PhoneNumber or AreaCode is required"))?;
    if !is_e164(wanted) {
        return Err(Refusal::invalid(21421, format!("{wanted} is not a valid phone number.")));
    }
    check(&fields)?;
    let mut numbers = carrier.numbers();
    if !numbers.is_on_sale(wanted) {
        return Err(Refusal::invalid(21422, format!("{wanted} is not available.")));
    }
    let number = numbers.add(&account, wanted, clock::now());
    set(number, &fields);
    Ok((StatusCode::CREATED, Json(resource(number))))
}

/// `GET IncomingPhoneNumbers/{sid}.json`.
pub(super) async fn fetch(
    State(carrier): State<Arc<Carrier>>,
    Extension(account): Extension<Arc<Account>>,
    Path((_, file)): Path<(String, String)>,
) -> Answer {
    let mut numbers = carrier.numbers();
    let number = find(&mut numbers, &account, &file)?;
    Ok((StatusCode::OK, Json(resource(number))))
}

/// `POST IncomingPhoneNumbers/{sid}.json`.
pub(super) async fn update(
    State(carrier): State<Arc<Carrier>>,
    Extension(account): Extension<Arc<Account>>,
    Path((_, file)): Path<(String, String)>,
    Form(fields): Form<Fields>,
) -> Answer {
    let mut numbers = carrier.numbers();
    let number = find(&mut numbers, &account, &file)?;
    check(&fields)?;
    set(number, &fields);
    number.updated = clock::now();
    Ok((StatusCode::OK, Json(resource(number))))
}

/// `DELETE IncomingPhoneNumbers/{sid}.json`.
pub(super) async fn release(
    State(carrier): State<Arc<Carrier>>,
    Extension(account): Extension<Arc<Account>>,
    Path((_, file)): Path<(String, String)>,
) -> Response {
    let mut numbers = carrier.numbers();
    let number = match find(&mut numbers, &account, &file) {
        Ok(number) => number.e164.clone(),
        Err(refusal) => return refusal.into_response(),
    };
    numbers.release(&number);
    StatusCode::NO_CONTENT.into_response()
}

fn find<'n>(numbers: &'n mut Numbers, account: &Account, file: &str) -> Result<&'n mut Number, Refusal> {
    let number = file.strip_suffix(".json").and_then(|sid| numbers.by_sid(account, sid));
    number.ok_or_else(|| Refusal::not_found(&path(account, &format!("IncomingPhoneNumbers/{file}"))))
}

fn check(fields: &Fields) -> Result<(), Refusal> {
    for (name, code) in [("VoiceUrl", 21502), ("VoiceFallbackUrl", 21503), ("StatusCallback", 21609)] {
        if field(fields, name).is_some_and(|url| !is_web_url(url)) {
            return Err(Refusal::invalid(code, format!("{name} is not valid")));
        }
    }
    Ok(())
}

/// An empty value clears the field.
fn set(number: &mut Number, fields: &Fields) {
    for (name, value) in fields {
        let place = match name.as_str() {
            "FriendlyName" => &mut number.friendly_name,
            "VoiceUrl" => &mut number.voice_url,
            "VoiceMethod" => &mut number.voice_method,
            "VoiceFallbackUrl" => &mut number.voice_fallback_url,
            "VoiceFallbackMethod" => &mut number.voice_fallback_method,
            "StatusCallback" => &mut number.status_callback,
            _ => continue,
        };
        place.clone_from(value);
    }
}

fn page_size(fields: &Fields) -> usize {
    let asked = field(fields, "PageSize").and_then(|size| size.parse().ok());
    asked.unwrap_or(PAGE_SIZE).clamp(1, PAGE_SIZE_MAX)
}

fn resource(number: &Number) -> Value {
    let Number { sid, account_sid, e164, friendly_name, .. } = number;
    json!({
        "sid": sid,
        "account_sid": account_sid,
        "phone_number": e164,
        "friendly_name": friendly_name,
        "api_version": API_VERSION,
        "capabilities": { "voice": true, "sms": false, "mms": false, "fax": false },
        "beta": false,
        "origin": "twilio",
        "status": "in-use",
        "voice_url": number.voice_url,
        "voice_method": number.voice_method,
        "voice_fallback_url": number.voice_fallback_url,
        "voice_fallback_method": number.voice_fallback_method,
        "voice_application_sid": null,
        "voice_caller_id_lookup": false,
        "voice_receive_mode": "voice",
        "status_callback": number.status_callback,
        "status_callback_method": "POST",
        "sms_url": "",
        "sms_method": "POST",
        "trunk_sid": null,
        "address_sid": null,
        "bundle_sid": null,
        "address_requirements": "none",
        "date_created": rfc_2822(number.created),
        "date_updated": rfc_2822(number.updated),
        "uri": format!("/{API_VERSION}/Accounts/{account_sid}/IncomingPhoneNumbers/{sid}.json"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_anywhere_unless_it_is_anchored() {
        for (pattern, fits) in [
            ("0200", true),
            ("415", true),
            ("+1415", true),
            ("1415", true),
            ("+415", false),
            ("0200$", true),
            ("020$", false),
            ("5*5", true),
            ("41******00", true),
            ("999", false),
            ("000014155550200", false),
        ] {
            assert_eq!(matches(pattern, "+14155550200"), fits, "{pattern}");
        }
    }
}
