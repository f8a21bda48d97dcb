//! Placing, watching and ending calls over REST.

use std::{fmt, time::Duration};

use http::StatusCode;
use reqwest::Url;
use serde::{Deserialize, Deserializer};
use switchboard_model::{
    phone_numbers::{CallAccount, CarrierAccount},
    time::Timestamp,
};

use super::{CallSid, CallStatus, callbacks::rfc2822};
use crate::{Error, Providers, Secret, egress, endpoints::join, error::shorten};

pub(super) const VENDOR: &str = "twilio";

/// The carrier's own answer takes some 200 ms; placing a call may take it seconds when it is busy.
const TIMEOUT: Duration = Duration::from_secs(10);

/// "Not found": an id that never was, or a call purged long ago.
const NOT_FOUND: u32 = 20404;

/// "Call is not in-progress": there is nothing left to end.
const NOT_IN_PROGRESS: u32 = 21220;

/// How long after it was asked for a call may have been placed: the request's own patience, with a margin.
const PLACED_WITHIN: Duration = Duration::from_secs(30);

/// How far the carrier's clock may be behind ours, its fractions of seconds included.
const CLOCKS_DIFFER: Duration = Duration::from_secs(3);

/// Calls of one carrier account.
#[derive(Debug, Clone)]
pub struct Calls {
    /// Placing a call must not be repeated unknowingly, so connections are not reused.
    http: reqwest::Client,
    twilio: Url,
    account_sid: Secret,
    auth_token: Secret,
    timeout: Duration,
}

/// A call to place.
#[derive(Clone, Copy)]
pub struct CreateCall<'a> {
    /// Whom to call, E.164.
    pub to: &'a str,
    /// The caller's number, E.164; must belong to the account.
    pub from: &'a str,
    /// What to do once answered, at most 4,000 characters.
    pub twiml: &'a str,
    /// Where every change of status is reported.
    pub status_callback: &'a str,
    /// Where the carrier reports whether a person answered, while the call goes on. None: it does not look,
    /// which costs extra.
    pub detection_callback: Option<&'a str>,
    /// How long it may ring; whole seconds, at most 600. The carrier may take 5 s more.
    pub ring_timeout: Duration,
    /// How long it may last from the answer; whole seconds. None: the carrier's 4 h.
    pub time_limit: Option<Duration>,
}

impl fmt::Debug for CreateCall<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CreateCall([redacted])")
    }
}

/// Why there is no call, as far as that is known.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// The carrier will not place this call, now or later.
    #[error("the carrier refused the call ({code}): {message}")]
    Refused {
        /// The carrier's code, such as 21211 for a number that cannot be; the HTTP status if it gave none.
        code: u32,
        /// Its explanation.
        message: String,
    },
    /// The carrier did not look at it; try later.
    #[error("the carrier takes no more requests for now")]
    TooManyRequests {
        /// When it said.
        retry_after: Option<Duration>,
    },
    /// The request never left; try later.
    #[error("the carrier could not be reached")]
    NotSent(#[source] reqwest::Error),
    /// It may have been placed: its answer was lost or cannot be understood. Trying again might dial twice.
    #[error("whether the call was placed is unknown: {reason}")]
    Unknown {
        /// What is known.
        reason: String,
        /// What lies beneath, if anything does.
        #[source]
        source: Option<reqwest::Error>,
    },
}

/// What the carrier knows of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallState {
    /// Where it stands.
    pub status: CallStatus,
    /// From the answer to the end; none before the end.
    pub duration: Option<Duration>,
    /// When it was answered.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// The verdict of machine detection (`human`, `machine_start`, ...), if it ran.
    pub answered_by: Option<String>,
}

impl Calls {
    /// The deployment's own account.
    #[must_use]
    pub fn new(providers: &Providers) -> Self {
        Self::with_timeout(providers, TIMEOUT)
    }

    /// The same with another patience; connecting is always limited to [`egress::CONNECT_TIMEOUT`].
    #[must_use]
    pub fn with_timeout(providers: &Providers, timeout: Duration) -> Self {
        Self {
            http: egress::single_use_client(),
            twilio: providers.endpoints.twilio.clone(),
            account_sid: providers.keys.twilio_account_sid.clone(),
            auth_token: providers.keys.twilio_auth_token.clone(),
            timeout,
        }
    }

    /// Those of a customer's own account.
    #[must_use]
    pub fn of(&self, account: &CarrierAccount) -> Self {
        Self {
            account_sid: Secret::new(&account.account_sid),
            auth_token: account.auth_token.clone(),
            ..self.clone()
        }
    }

    /// Those of the account that a call goes through; none if nobody can reach that any more.
    #[must_use]
    pub fn through(&self, account: &CallAccount) -> Option<Self> {
        match account {
            CallAccount::Deployments => Some(self.clone()),
            CallAccount::Customers(own) => Some(self.of(own)),
            CallAccount::Gone => None,
        }
    }

    /// Places a call. It exists, and will be reported to the status callback, from before this returns.
    pub async fn create(&self, call: CreateCall<'_>) -> Result<CallSid, CreateError> {
        let ring_timeout = call.ring_timeout.as_secs().to_string();
        let time_limit = call.time_limit.map(|limit| limit.as_secs().to_string());
        let mut form = vec![
            ("To", call.to),
            ("From", call.from),
            ("Twiml", call.twiml),
            ("Timeout", &ring_timeout),
            ("StatusCallback", call.status_callback),
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
            self.request(http::Method::POST, ".json").form(&form).send().await.map_err(|error| {
                let error = error.without_url();
                if error.is_connect() {
                    return CreateError::NotSent(error);
                }
                CreateError::Unknown { reason: "the answer was lost".to_owned(), source: Some(error) }
            })?;
        let status = response.status();
        if status == StatusCode::TOO_MANY_REQUESTS {
            return Err(CreateError::TooManyRequests {
                retry_after: egress::retry_after(response.headers()),
            });
        }
        if status.is_client_error() {
            let Described { code, message } = described(response).await;
            return Err(CreateError::Refused { code, message });
        }
        if !status.is_success() {
            let reason = format!("the carrier answered with {}", status.as_u16());
            return Err(CreateError::Unknown { reason, source: None });
        }
        let resource: CallResource = response.json().await.map_err(|error| CreateError::Unknown {
            reason: "the answer cannot be read".to_owned(),
            source: Some(error.without_url()),
        })?;
        resource
            .sid
            .parse()
            .map_err(|_| CreateError::Unknown { reason: "the answer names no call".to_owned(), source: None })
    }

    /// Ends a call, whatever its state. One that is over already, or unknown, counts as ended.
    pub async fn hang_up(&self, sid: &CallSid) -> Result<(), Error> {
        self.update(sid, &[("Status", "completed")]).await.map(drop)
    }

    /// Withdraws a call that nobody has answered yet. False if it was answered or is over already.
    pub async fn cancel(&self, sid: &CallSid) -> Result<bool, Error> {
        self.update(sid, &[("Status", "canceled")]).await
    }

    /// Sends a live call to the instructions that `url` answers with, from whatever it is doing. False if
    /// it was not answered yet or is over already, or is unknown.
    pub async fn redirect(&self, sid: &CallSid, url: &str) -> Result<bool, Error> {
        self.update(sid, &[("Url", url), ("Method", "POST")]).await
    }

    /// The calls between two numbers that were placed at `since` or within half a minute after: those that
    /// a request whose answer was lost may have placed. More than one: nobody can tell which.
    pub async fn find(
        &self,
        to: &str,
        from: &str,
        since: Timestamp,
    ) -> Result<Vec<(CallSid, CallState)>, Error> {
        // Newest first. The filter knows whole days only, and a call that has not begun has none: so the
        // page is as long as it may be, and the time is looked at here.
        let query = [("To", to), ("From", from), ("PageSize", "1000")];
        let response = self.request(http::Method::GET, ".json").query(&query).send().await.map_err(lost)?;
        if !response.status().is_success() {
            return Err(refusal(response).await.0);
        }
        let list: CallList = response.json().await.map_err(lost)?;
        // The carrier says seconds, and its clock is not ours.
        let is_candidate = |created: Timestamp| {
            created.after(CLOCKS_DIFFER) >= since && created <= since.after(PLACED_WITHIN)
        };
        let found = list.calls.into_iter().filter_map(|call| {
            let created = rfc2822(&call.date_created)?;
            let sid = call.sid.parse().ok()?;
            is_candidate(created).then(|| (sid, call.into()))
        });
        Ok(found.collect())
    }

    /// What the carrier knows of a call; none: it does not know it.
    pub async fn fetch(&self, sid: &CallSid) -> Result<Option<CallState>, Error> {
        let response = self.request(http::Method::GET, &format!("/{sid}.json")).send().await.map_err(lost)?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        if !response.status().is_success() {
            return Err(refusal(response).await.0);
        }
        let resource: CallResource = response.json().await.map_err(lost)?;
        Ok(Some(resource.into()))
    }

    /// Whether it made a difference.
    async fn update(&self, sid: &CallSid, form: &[(&str, &str)]) -> Result<bool, Error> {
        let request = self.request(http::Method::POST, &format!("/{sid}.json")).form(form);
        let response = request.send().await.map_err(lost)?;
        if response.status().is_success() {
            return Ok(true);
        }
        match refusal(response).await {
            (_, NOT_FOUND | NOT_IN_PROGRESS) => Ok(false),
            (error, _) => Err(error),
        }
    }

    fn request(&self, method: http::Method, suffix: &str) -> reqwest::RequestBuilder {
        let path = format!("/2010-04-01/Accounts/{}/Calls{suffix}", self.account_sid.reveal());
        self.http
            .request(method, join(&self.twilio, &path))
            .basic_auth(self.account_sid.reveal(), Some(self.auth_token.reveal()))
            .timeout(self.timeout)
    }
}

pub(super) fn lost(error: reqwest::Error) -> Error {
    let reason = if error.is_connect() { "no connection" } else { "the answer was lost" };
    Error::broken(VENDOR, reason, error.without_url())
}

pub(super) async fn refusal(response: reqwest::Response) -> (Error, u32) {
    let status = response.status();
    let retry_after = egress::retry_after(response.headers());
    let Described { code, message } = described(response).await;
    let error = if egress::is_transient(status) {
        Error::Unavailable {
            vendor: VENDOR,
            reason: format!("{} ({code})", status.as_u16()),
            retry_after,
            source: None,
        }
    } else {
        Error::rejected(VENDOR, code, &message)
    };
    (error, code)
}

/// `{"code", "message", "more_info", "status"}`.
#[derive(Deserialize)]
pub(super) struct Described {
    pub(super) code: u32,
    pub(super) message: String,
}

/// The carrier's explanation. Its texts quote numbers, which must not reach a log, so digits are masked.
pub(super) async fn described(response: reqwest::Response) -> Described {
    let status = response.status();
    let body = egress::error_body(response).await;
    let found = serde_json::from_slice(&body).unwrap_or_else(|_| match status {
        StatusCode::NOT_FOUND => Described { code: NOT_FOUND, message: "not found".to_owned() },
        _ => Described { code: u32::from(status.as_u16()), message: "no explanation".to_owned() },
    });
    let masked: String = found.message.chars().map(|c| if c.is_ascii_digit() { '#' } else { c }).collect();
    Described { code: found.code, message: shorten(&masked) }
}

/// A call as the carrier shows it; what is not known yet is null.
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

impl From<CallResource> for CallState {
    fn from(call: CallResource) -> Self {
        Self {
            status: CallStatus::read(&call.status),
            duration: call.duration.parse().ok().map(Duration::from_secs),
            started_at: rfc2822(&call.start_time),
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
