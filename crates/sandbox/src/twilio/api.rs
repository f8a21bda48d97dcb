//! The conventions of the REST API: fields of requests, errors, and the forms of numbers and times.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use reqwest::Url;
use serde_json::{Value, json};

use super::account::Account;

/// The version in the path of every resource.
pub(super) const API_VERSION: &str = "2010-04-01";

/// Names and values of a form or a query, in order; a name may repeat.
pub(super) type Fields = Vec<(String, String)>;
pub(super) type Answer = Result<(StatusCode, Json<Value>), Refusal>;

/// An error in Twilio's form.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    code: u32,
    message: String,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, code: u32, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    pub(super) fn invalid(code: u32, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    pub(super) fn not_found(path: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, 20404, format!("The requested resource {path} was not found"))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self { status, code, message } = self;
        let more_info = format!("https://www.twilio.com/docs/errors/{code}");
        let body =
            json!({ "code": code, "message": message, "more_info": more_info, "status": status.as_u16() });
        (status, Json(body)).into_response()
    }
}

pub(super) fn path(account: &Account, resource: &str) -> String {
    format!("/{API_VERSION}/Accounts/{}/{resource}", account.sid)
}

/// The first value of a field, unless it is empty.
pub(super) fn field<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    fields.iter().find(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value.as_str())
}

pub(super) fn is_e164(number: &str) -> bool {
    number.strip_prefix('+').is_some_and(|digits| {
        (8..=15).contains(&digits.len())
            && !digits.starts_with('0')
            && digits.bytes().all(|b| b.is_ascii_digit())
    })
}

/// Whether a text is an absolute HTTP URL without an underscore in its host.
pub(super) fn is_web_url(text: &str) -> bool {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    url.is_some_and(|url| url.host_str().is_some_and(|host| !host.contains('_')))
}

/// Formats a time like `Mon, 02 Nov 2026 08:00:00 +0000`.
pub(super) fn rfc_2822(time: Timestamp) -> String {
    time.strftime("%a, %d %b %Y %H:%M:%S +0000").to_string()
}

/// Formats a North American number like `(415) 555-0100`; leaves others as they are.
pub(super) fn national(number: &str) -> String {
    match number.strip_prefix("+1").filter(|rest| rest.len() == 10) {
        Some(rest) => format!("({}) {}-{}", &rest[..3], &rest[3..6], &rest[6..]),
        None => number.to_owned(),
    }
}
