//! Placing, watching and ending calls over REST.

use std::time::Duration;

use http::Method;
use reqwest::RequestBuilder;
use serde::{Deserialize, Deserializer};
use switchboard_model::{phone_numbers::E164, time::Timestamp};

use super::{
    account::Account,
    overrides::with_retries,
    refusals::{NOT_FOUND, NOT_IN_PROGRESS, lost, lost_order, refusal, refused_order, unnamed_order},
    values::{call_id, call_status, rfc2822},
};
use crate::{
    Error,
    carrier::{
        CarrierCallId,
        calls::{CarrierCall, OrderError, PlaceCall},
    },
};

/// An answer takes some 200 ms as a rule; placing a call may take seconds when the carrier is busy.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How long after it was ordered a call may have been placed: the request's own time limit, with a margin.
const PLACED_WITHIN: Duration = Duration::from_secs(30);

/// How far the carrier's clock may be behind ours, its fractions of seconds included.
const CLOCK_SKEW: Duration = Duration::from_secs(3);

pub(super) async fn place(account: &Account, call: PlaceCall<'_>) -> Result<CarrierCallId, OrderError> {
    let (ring_timeout, status_callback) =
        (call.ring_timeout.as_secs().to_string(), with_retries(call.status_callback));
    let time_limit = call.time_limit.map(|limit| limit.as_secs().to_string());
    let mut form = vec![
        ("To", call.to),
        ("From", call.from),
        ("Twiml", &call.document.body),
        ("Timeout", &ring_timeout),
        ("StatusCallback", &*status_callback),
    ];
    form.extend(
        ["initiated", "ringing", "answered", "completed"].map(|event| ("StatusCallbackEvent", event)),
    );
    form.extend(time_limit.as_deref().map(|limit| ("TimeLimit", limit)));
    if let Some(callback) = call.detection_callback {
        let detection = [("MachineDetection", "Enable"), ("AsyncAmd", "true")];
        form.extend(detection.into_iter().chain([("AsyncAmdStatusCallback", callback)]));
    }

    let response =
        request(account, Method::POST, "Calls.json").form(&form).send().await.map_err(lost_order)?;
    if !response.status().is_success() {
        return Err(refused_order(response).await);
    }
    let resource: CallResource = response.json().await.map_err(lost_order)?;
    call_id(&resource.sid).map_err(|_| unnamed_order("the answer names no call"))
}

pub(super) async fn hang_up(account: &Account, call: &CarrierCallId) -> Result<(), Error> {
    update(account, call, &[("Status", "completed")]).await.map(drop)
}

pub(super) async fn redirect(account: &Account, call: &CarrierCallId, url: &str) -> Result<bool, Error> {
    update(account, call, &[("Url", url), ("Method", "POST")]).await
}

pub(super) async fn find(
    account: &Account,
    to: &E164,
    from: &E164,
    since: Timestamp,
) -> Result<Vec<(CarrierCallId, CarrierCall)>, Error> {
    // Newest first. The API's filter knows whole days only, and a call that has not begun has no start time: so
    // the page has the maximum size, and the time is compared here.
    let query = [("To", to.as_str()), ("From", from.as_str()), ("PageSize", "1000")];
    let response = request(account, Method::GET, "Calls.json").query(&query).send().await.map_err(lost)?;
    if !response.status().is_success() {
        return Err(refusal(response).await.0);
    }
    let list: CallList = response.json().await.map_err(lost)?;
    // The carrier states whole seconds, by its own clock.
    let is_candidate =
        |created: Timestamp| created.after(CLOCK_SKEW) >= since && created <= since.after(PLACED_WITHIN);
    let found = list.calls.into_iter().filter_map(|call| {
        let created = rfc2822(&call.date_created)?;
        let id = call_id(&call.sid).ok()?;
        is_candidate(created).then(|| (id, call.into()))
    });
    Ok(found.collect())
}

pub(super) async fn fetch(account: &Account, call: &CarrierCallId) -> Result<Option<CarrierCall>, Error> {
    let response = request(account, Method::GET, &resource_of(call)).send().await.map_err(lost)?;
    if response.status() == http::StatusCode::NOT_FOUND {
        return Ok(None);
    }
    if !response.status().is_success() {
        return Err(refusal(response).await.0);
    }
    let resource: CallResource = response.json().await.map_err(lost)?;
    Ok(Some(resource.into()))
}

/// Changes a call; false if there is nothing left to change.
async fn update(account: &Account, call: &CarrierCallId, form: &[(&str, &str)]) -> Result<bool, Error> {
    let request = request(account, Method::POST, &resource_of(call)).form(form);
    let response = request.send().await.map_err(lost)?;
    if response.status().is_success() {
        return Ok(true);
    }
    match refusal(response).await {
        (_, NOT_FOUND | NOT_IN_PROGRESS) => Ok(false),
        (error, _) => Err(error),
    }
}

fn request(account: &Account, method: Method, resource: &str) -> RequestBuilder {
    account.request(method, resource, TIMEOUT)
}

fn resource_of(call: &CarrierCallId) -> String {
    format!("Calls/{}.json", call.id())
}

/// A call as the API shows it; unknown members are null.
#[derive(Deserialize)]
struct CallResource {
    #[serde(default, deserialize_with = "text")]
    sid: String,
    #[serde(default, deserialize_with = "text")]
    status: String,
    #[serde(default, deserialize_with = "text")]
    duration: String,
    #[serde(default, deserialize_with = "text")]
    start_time: String,
    #[serde(default, deserialize_with = "text")]
    end_time: String,
    #[serde(default, deserialize_with = "text")]
    date_created: String,
    #[serde(default, deserialize_with = "text")]
    answered_by: String,
}

/// A page of calls, newest first.
#[derive(Deserialize)]
struct CallList {
    calls: Vec<CallResource>,
}

impl From<CallResource> for CarrierCall {
    fn from(call: CallResource) -> Self {
        Self {
            status: call_status(&call.status),
            duration: call.duration.parse().ok().map(Duration::from_secs),
            answered_at: rfc2822(&call.start_time),
            ended_at: rfc2822(&call.end_time),
            answered_by: Some(call.answered_by).filter(|verdict| !verdict.is_empty()),
        }
    }
}

/// A string; anything else counts as empty.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(match serde_json::Value::deserialize(deserializer)? {
        serde_json::Value::String(text) => text,
        serde_json::Value::Number(number) => number.to_string(),
        _ => String::new(),
    })
}
