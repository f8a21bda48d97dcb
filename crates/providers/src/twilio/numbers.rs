//! Phone numbers over REST: those on sale, and those of an account.

use std::time::Duration;

use http::Method;
use reqwest::RequestBuilder;
use serde::Deserialize;
use switchboard_model::phone_numbers::{E164, PhoneNumber};

use super::{
    account::{Account, is_sid},
    overrides::{with_retries, without_overrides},
    refusals::{NOT_FOUND, lost, lost_order, refusal, refused_order, unnamed_order},
};
use crate::{
    Error,
    carrier::{
        calls::OrderError,
        numbers::{CallRouting, NumberOnSale, OwnedNumber},
    },
};

/// Searching takes the carrier a second or two, buying as long.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Where numbers are searched, ISO 3166-1 alpha-2.
const COUNTRY: &str = "US";

pub(super) async fn search(
    account: &Account,
    contains: Option<&str>,
    limit: usize,
) -> Result<Vec<NumberOnSale>, Error> {
    let limit = limit.to_string();
    let mut query = vec![("VoiceEnabled", "true"), ("PageSize", &*limit)];
    query.extend(contains.map(|contains| ("Contains", contains)));
    let resource = format!("AvailablePhoneNumbers/{COUNTRY}/Local.json");
    let response = request(account, Method::GET, &resource).query(&query).send().await.map_err(lost)?;
    if !response.status().is_success() {
        return Err(refusal(response).await.0);
    }
    let page: PageOnSale = response.json().await.map_err(lost)?;
    let readable = |number: ResourceOnSale| {
        let ResourceOnSale { phone_number, postal_code, iso_country } = number;
        Some(NumberOnSale { phone_number: phone_number.parse().ok()?, postal_code, iso_country })
    };
    Ok(page.available_phone_numbers.into_iter().filter_map(readable).collect())
}

pub(super) async fn buy(
    account: &Account,
    number: &E164,
    name: &str,
    routing: CallRouting<'_>,
) -> Result<String, OrderError> {
    let mut form = vec![("PhoneNumber", number.as_str().to_owned()), ("FriendlyName", name.to_owned())];
    form.extend(form_of(routing));
    let request = request(account, Method::POST, "IncomingPhoneNumbers.json").form(&form);
    let response = request.send().await.map_err(lost_order)?;
    if !response.status().is_success() {
        return Err(refused_order(response).await);
    }
    let bought: Resource = response.json().await.map_err(lost_order)?;
    if is_sid(NUMBER, &bought.sid) {
        return Ok(bought.sid);
    }
    Err(unnamed_order("the answer names no number"))
}

pub(super) async fn find(account: &Account, number: &E164) -> Result<Option<OwnedNumber>, Error> {
    let request = request(account, Method::GET, "IncomingPhoneNumbers.json");
    let response = request.query(&[("PhoneNumber", number.as_str())]).send().await.map_err(lost)?;
    if !response.status().is_success() {
        return Err(refusal(response).await.0);
    }
    let page: PageOwned = response.json().await.map_err(lost)?;
    // The API matches any part of a number.
    let mut found = page.incoming_phone_numbers.into_iter().filter(|found| is_sid(NUMBER, &found.sid));
    let found = found.find(|found| found.phone_number == number.as_str());
    Ok(found.map(|Resource { sid, friendly_name, voice_url, .. }| OwnedNumber {
        id: sid,
        name: friendly_name,
        voice_url: voice_url.unwrap_or_default(),
    }))
}

pub(super) async fn find_purchase(account: &Account, number: &PhoneNumber) -> Result<Option<String>, Error> {
    let found = find(account, &number.phone_number).await?;
    Ok(found.filter(|found| found.name == number.friendly_name()).map(|found| found.id))
}

pub(super) async fn route(account: &Account, id: &str, routing: CallRouting<'_>) -> Result<bool, Error> {
    // An application or a trunk of the account takes precedence over the URL, without an error.
    let mut form = form_of(routing);
    form.extend([("VoiceApplicationSid", String::new()), ("TrunkSid", String::new())]);
    change(account, Method::POST, id, |request| request.form(&form)).await
}

pub(super) async fn unroute(account: &Account, number: &PhoneNumber) -> Result<bool, Error> {
    let found = find(account, &number.phone_number).await?;
    let path = PhoneNumber::voice_path(number.account_id);
    match found.filter(|found| without_overrides(&found.voice_url).ends_with(&path)) {
        Some(found) => {
            let form = form_of(CallRouting::NONE);
            change(account, Method::POST, &found.id, |request| request.form(&form)).await
        }
        None => Ok(false),
    }
}

pub(super) async fn release(account: &Account, number: &PhoneNumber) -> Result<bool, Error> {
    let id = match &number.carrier.sid {
        Some(id) => Some(id.clone()),
        None => find_purchase(account, number).await?,
    };
    match id {
        Some(id) => change(account, Method::DELETE, &id, |request| request).await,
        None => Ok(false),
    }
}

/// Changes a number; false if the account does not have it.
async fn change(
    account: &Account,
    method: Method,
    id: &str,
    fill: impl FnOnce(RequestBuilder) -> RequestBuilder,
) -> Result<bool, Error> {
    if !is_sid(NUMBER, id) {
        return Ok(false);
    }
    let request = fill(request(account, method, &format!("IncomingPhoneNumbers/{id}.json")));
    let response = request.send().await.map_err(lost)?;
    if response.status().is_success() {
        return Ok(true);
    }
    match refusal(response).await {
        (_, NOT_FOUND) => Ok(false),
        (error, _) => Err(error),
    }
}

fn request(account: &Account, method: Method, resource: &str) -> RequestBuilder {
    account.request(method, resource, TIMEOUT)
}

fn form_of(routing: CallRouting<'_>) -> Vec<(&'static str, String)> {
    vec![
        ("VoiceUrl", with_retries(routing.voice_url)),
        ("VoiceMethod", "POST".to_owned()),
        ("VoiceFallbackUrl", with_retries(routing.fallback_url)),
        ("VoiceFallbackMethod", "POST".to_owned()),
        ("StatusCallback", with_retries(routing.status_callback)),
        ("StatusCallbackMethod", "POST".to_owned()),
    ]
}

/// Prefix of the ids of numbers.
const NUMBER: &str = "PN";

#[derive(Deserialize)]
struct PageOnSale {
    available_phone_numbers: Vec<ResourceOnSale>,
}

#[derive(Deserialize)]
struct ResourceOnSale {
    phone_number: String,
    postal_code: Option<String>,
    iso_country: Option<String>,
}

#[derive(Deserialize)]
struct PageOwned {
    incoming_phone_numbers: Vec<Resource>,
}

#[derive(Deserialize)]
struct Resource {
    sid: String,
    phone_number: String,
    #[serde(default)]
    friendly_name: String,
    #[serde(default)]
    voice_url: Option<String>,
}
