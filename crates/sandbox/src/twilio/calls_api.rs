//! The resource `Calls` of the REST API: create, fetch, list, update.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Extension, Form, Path, Query, State},
    http::StatusCode,
};
use reqwest::Url;
use serde_json::{Value, json};
use tokio::{sync::mpsc::error::TrySendError, time::timeout};

use super::{
    account::Account,
    api::{API_VERSION, Answer, Fields, Refusal, field, is_e164, is_web_url, national, path, rfc_2822},
    call_record::{
        Call, Command, Detection, Direction, Instructions, Request, Status, StatusEvent, TIME_LIMIT_DEFAULT,
        TIMEOUT_DEFAULT,
    },
    call_task,
    carrier::Carrier,
    special_numbers::{REFUSED, UNANSWERED},
};
use crate::clock;

/// Time until the missing response ends with an error; no client waits that long.
const UNANSWERED_FOR: Duration = Duration::from_mins(1);
/// Maximum length of the parameter `Twiml`, in characters.
const TWIML_LIMIT: usize = 4000;
const TIME_LIMIT_MAX: Duration = Duration::from_hours(24);
const PAGE_SIZE: usize = 50;
const PAGE_SIZE_MAX: usize = 1000;

pub(super) async fn create(
    State(carrier): State<Arc<Carrier>>,
    Extension(account): Extension<Arc<Account>>,
    Form(fields): Form<Fields>,
) -> Answer {
    let request = validate(&carrier, &account, &fields)?;
    let (call, commands) = carrier.calls().create(account, Direction::Outbound, request, clock::now());
    let body = resource(&carrier, &call);
    carrier.tasks.spawn(call_task::run(carrier.clone(), call.clone(), commands));
    if call.request.to == UNANSWERED {
        let _ = timeout(UNANSWERED_FOR, carrier.stop.cancelled()).await;
        return Err(Refusal::new(StatusCode::GATEWAY_TIMEOUT, 20504, "the answer was lost"));
    }
    Ok((StatusCode::CREATED, Json(body)))
}

pub(super) async fn fetch(
    State(carrier): State<Arc<Carrier>>,
    Extension(account): Extension<Arc<Account>>,
    Path((_, call)): Path<(String, String)>,
) -> Answer {
    let call = find(&carrier, &account, &call)?;
    Ok((StatusCode::OK, Json(resource(&carrier, &call))))
}

pub(super) async fn update(
    State(carrier): State<Arc<Carrier>>,
    Extension(account): Extension<Arc<Account>>,
    Path((_, call)): Path<(String, String)>,
    Form(fields): Form<Fields>,
) -> Answer {
    let call = find(&carrier, &account, &call)?;
    let status = call.state().status;
    let command = match field(&fields, "Status") {
        Some("completed") if !status.is_final() => Command::End,
        Some("canceled") if matches!(status, Status::Queued | Status::Ringing) => Command::End,
        Some(asked @ ("completed" | "canceled")) => {
            let message = format!("Call is {}, it cannot become {asked}.", status.as_str());
            return Err(Refusal::invalid(21220, message));
        }
        Some(other) => {
            return Err(Refusal::invalid(20001, format!("Status {other} is not completed or canceled")));
        }
        None if status == Status::InProgress => Command::Redirect(instructions(&fields)?),
        None => return Err(Refusal::invalid(21220, "Call is not in-progress. Cannot redirect.")),
    };
    match call.commands.try_send(command) {
        Ok(()) => Ok((StatusCode::OK, Json(resource(&carrier, &call)))),
        // The task has ended meanwhile, or is about to.
        Err(TrySendError::Closed(_) | TrySendError::Full(_)) => {
            Err(Refusal::invalid(21220, "Call is already being changed."))
        }
    }
}

pub(super) async fn list(
    State(carrier): State<Arc<Carrier>>,
    Extension(account): Extension<Arc<Account>>,
    Query(fields): Query<Fields>,
) -> Answer {
    let number =
        |name: &str, default| field(&fields, name).and_then(|text| text.parse().ok()).unwrap_or(default);
    let (page, size) = (number("Page", 0), number("PageSize", PAGE_SIZE).clamp(1, PAGE_SIZE_MAX));
    let mut calls = carrier.calls().all();
    calls.retain(|call| {
        let wanted = |name: &str, value: &str| field(&fields, name).is_none_or(|wanted| wanted == value);
        let status = call.state().status.as_str();
        call.account.sid == account.sid
            && wanted("To", &call.request.to)
            && wanted("From", &call.request.from)
            && wanted("Status", status)
    });
    let start = page.saturating_mul(size).min(calls.len());
    let end = start.saturating_add(size).min(calls.len());
    let uri = |page: usize| {
        let mut query = Url::parse("http://carrier/").expect("this is a URL");
        let kept = fields.iter().filter(|(name, _)| !matches!(&**name, "Page" | "PageSize"));
        query.query_pairs_mut().extend_pairs(kept).extend_pairs(
            [("PageSize", size), ("Page", page)].map(|(name, value)| (name, value.to_string())),
        );
        format!("{}?{}", path(&account, "Calls.json"), query.query().unwrap_or_default())
    };
    let resources: Vec<_> = calls[start..end].iter().map(|call| resource(&carrier, call)).collect();
    let body = json!({
        "calls": resources,
        "page": page,
        "page_size": size,
        "start": start,
        "end": end.saturating_sub(1),
        "uri": uri(page),
        "first_page_uri": uri(0),
        "previous_page_uri": page.checked_sub(1).map(uri),
        "next_page_uri": (end < calls.len()).then(|| uri(page + 1)),
    });
    Ok((StatusCode::OK, Json(body)))
}

fn find(carrier: &Carrier, account: &Account, file: &str) -> Result<Arc<Call>, Refusal> {
    let call = file.strip_suffix(".json").and_then(|sid| carrier.calls().get(sid));
    let own = call.filter(|call| call.account.sid == account.sid);
    own.ok_or_else(|| Refusal::not_found(&path(account, &format!("Calls/{file}"))))
}

fn validate(carrier: &Carrier, account: &Account, fields: &Fields) -> Result<Request, Refusal> {
    let to = field(fields, "To").ok_or_else(|| Refusal::invalid(21201, "No 'To' number is specified"))?;
    let from =
        field(fields, "From").ok_or_else(|| Refusal::invalid(21213, "Caller phone number is required"))?;
    if !is_e164(to) {
        return Err(Refusal::invalid(
            21211,
            format!("The phone number you are attempting to call, {to}, is not valid."),
        ));
    }
    if !is_e164(from) {
        return Err(Refusal::invalid(
            21212,
            format!("The source phone number provided, {from}, is not valid."),
        ));
    }
    if carrier.numbers().owned(account, from).is_none() {
        let message =
            format!("The source phone number provided, {from}, is not yet verified for your account.");
        return Err(Refusal::invalid(21210, message));
    }
    let instructions = instructions(fields)?;
    let status_callback = field(fields, "StatusCallback");
    if status_callback.is_some_and(|url| !is_web_url(url)) {
        return Err(Refusal::invalid(21609, "The StatusCallback URL is not a valid URL."));
    }
    if to == REFUSED {
        // The nearest to "the carrier will not make this call": the destination is blocked.
        return Err(Refusal::invalid(21216, format!("Account not allowed to call {to}")));
    }
    Ok(Request {
        to: to.to_owned(),
        from: from.to_owned(),
        instructions,
        fallback: None,
        status_callback: status_callback.map(str::to_owned),
        events: events(fields)?,
        timeout: seconds(fields, "Timeout")?.unwrap_or(TIMEOUT_DEFAULT),
        time_limit: seconds(fields, "TimeLimit")?.unwrap_or(TIME_LIMIT_DEFAULT).min(TIME_LIMIT_MAX),
        detection: detection(fields)?,
    })
}

/// Reads `Url` or `Twiml`; like at Twilio, `Url` prevails.
fn instructions(fields: &Fields) -> Result<Instructions, Refusal> {
    match (field(fields, "Url"), field(fields, "Twiml")) {
        (Some(url), _) if is_web_url(url) => {
            Ok(Instructions::At { url: url.to_owned(), get: field(fields, "Method") == Some("GET") })
        }
        (Some(url), _) => Err(Refusal::invalid(21205, format!("Url is not a valid URL: {url}"))),
        (None, Some(twiml)) if twiml.chars().count() <= TWIML_LIMIT => {
            Ok(Instructions::Inline(twiml.to_owned()))
        }
        (None, Some(_)) => Err(Refusal::invalid(20001, format!("Twiml has over {TWIML_LIMIT} characters"))),
        (None, None) => Err(Refusal::invalid(21205, "Url parameter is required.")),
    }
}

/// The requested callback events; `completed` by default. Several names in one value are one unknown name.
fn events(fields: &Fields) -> Result<Vec<StatusEvent>, Refusal> {
    let names = fields.iter().filter(|(key, _)| key == "StatusCallbackEvent").map(|(_, value)| value);
    let events: Option<Vec<_>> = names.map(|name| StatusEvent::parse(name)).collect();
    match events {
        Some(events) if events.is_empty() => Ok(vec![StatusEvent::Completed]),
        Some(events) => Ok(events),
        None => Err(Refusal::invalid(21626, "Invalid StatusCallbackEvents specified")),
    }
}

/// Reads `MachineDetection`, `AsyncAmd`, `AsyncAmdStatusCallback` and `AsyncAmdStatusCallbackMethod`.
fn detection(fields: &Fields) -> Result<Option<Detection>, Refusal> {
    let refused = |name: &str, why: &str| Err(Refusal::invalid(20001, format!("{name} {why}")));
    match field(fields, "MachineDetection") {
        None => return Ok(None),
        Some("Enable") => {}
        Some("DetectMessageEnd") => {
            return refused("MachineDetection", "DetectMessageEnd is not simulated");
        }
        Some(_) => return refused("MachineDetection", "must be Enable or DetectMessageEnd"),
    }
    if field(fields, "AsyncAmd") != Some("true") {
        return refused("AsyncAmd", "must be true: only asynchronous detection is simulated");
    }
    if !matches!(field(fields, "AsyncAmdStatusCallbackMethod"), None | Some("POST")) {
        return refused("AsyncAmdStatusCallbackMethod", "must be POST");
    }
    let callback = field(fields, "AsyncAmdStatusCallback");
    if callback.is_some_and(|url| !is_web_url(url)) {
        return refused("AsyncAmdStatusCallback", "is not a valid URL");
    }
    Ok(Some(Detection { callback: callback.map(str::to_owned) }))
}

fn seconds(fields: &Fields, name: &str) -> Result<Option<Duration>, Refusal> {
    let number = field(fields, name).map(str::parse).transpose();
    let number =
        number.map_err(|_| Refusal::invalid(20001, format!("{name} must be a number of seconds")))?;
    Ok(number.map(Duration::from_secs))
}

/// A call as a resource.
fn resource(carrier: &Carrier, call: &Call) -> Value {
    let state = call.state();
    let uri = |file: String| path(&call.account, &format!("Calls/{}{file}", call.sid));
    let ours = match call.direction {
        Direction::Inbound => &call.request.to,
        Direction::Outbound => &call.request.from,
    };
    let phone_number_sid = carrier.numbers().get(ours).map(|number| number.sid.clone());
    let parts = ["notifications", "recordings", "streams", "events"];
    let parts: serde_json::Map<_, _> = parts
        .into_iter()
        .map(|name| {
            (name.to_owned(), uri(format!("/{}{}.json", name[..1].to_uppercase(), &name[1..])).into())
        })
        .collect();
    json!({
        "sid": call.sid,
        "account_sid": call.account.sid,
        "api_version": API_VERSION,
        "to": call.request.to,
        "to_formatted": national(&call.request.to),
        "from": call.request.from,
        "from_formatted": national(&call.request.from),
        "phone_number_sid": phone_number_sid,
        "parent_call_sid": null,
        "status": state.status.as_str(),
        "direction": call.direction.as_str(),
        "date_created": rfc_2822(call.created),
        "date_updated": rfc_2822(state.updated),
        "start_time": state.answered.map(rfc_2822),
        "end_time": state.ended.map(rfc_2822),
        "duration": state.duration.map(|seconds| seconds.to_string()),
        // Twilio rates a real call minutes after its end; this one never.
        "price": null,
        "price_unit": "USD",
        "answered_by": state.answered_by,
        "annotation": null,
        "caller_name": null,
        "forwarded_from": null,
        "group_sid": null,
        "queue_time": "0",
        "trunk_sid": null,
        "uri": uri(".json".to_owned()),
        "subresource_uris": parts,
    })
}
