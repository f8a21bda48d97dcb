//! Calls customers' endpoints: one request, one answer.
//!
//! What is sent and whether it is sent again is decided elsewhere. Where a URL may lead is decided by
//! [`switchboard_model::egress_policy`] and held by the connector (`egress/guard.rs`).

use std::{error, fmt, io, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use switchboard_contract::{events::payload::Payload, signature};
use switchboard_model::{
    agents::Webhook,
    deliveries::{self, Attempt},
    egress_policy::{BadUrl, EgressPolicy},
    time::Timestamp,
};
use tokio::time::{Instant, timeout};

use crate::{egress, error::shorten};

/// A customer's headers that are not sent: those of the connection (RFC 9110, section 7.6.1), those that
/// say where the message ends or goes, and the one that asks for an answer we could not read.
const RESERVED: [&str; 13] = [
    "accept-encoding",
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Calls customers' endpoints. Every request has a connection of its own.
#[derive(Debug, Clone)]
pub struct Sender {
    egress_policy: EgressPolicy,
    http: reqwest::Client,
}

/// One event for one webhook.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// Where to, with the customer's own headers. Those that are ours to set, or the connection's, are
    /// left out.
    pub webhook: &'a Webhook,
    /// What, and so by which method.
    pub payload: &'a Payload,
    /// `webhook-id`: the same for every attempt ([`deliveries::webhook_id`]).
    pub id: &'a str,
    /// Each of them signs. Nothing is sent that none has signed.
    pub secrets: &'a [&'a str],
    /// The time of day, for `webhook-timestamp`.
    pub now: Timestamp,
    /// How long all of it may take, from the look-up of the name to the last byte that is read.
    pub timeout: Duration,
}

/// What a receiver answered, whatever its status. A redirect is an answer like any other.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The first 16 KiB.
    pub body: Vec<u8>,
    /// `Retry-After`: how long the receiver asks to be left alone.
    pub retry_after: Option<Duration>,
}

/// Why there is no answer, in words for the customer. Nothing in them says where a name led.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum SendError {
    #[error("not called: {0}")]
    Refused(#[from] BadUrl),
    #[error("not called: it could not be signed")]
    Unsigned,
    #[error("the host's name could not be resolved")]
    Unresolved,
    #[error("the connection was refused")]
    ConnectionRefused,
    #[error("the host could not be reached")]
    Unreachable,
    #[error("no secure connection: {0}")]
    Tls(String),
    #[error("the connection ended before there was a whole answer in HTTP")]
    Broken,
    #[error("no whole answer within {} seconds", .0.as_secs())]
    TimedOut(Duration),
}

impl fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("id", &self.id).finish_non_exhaustive()
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("status", &self.status).finish_non_exhaustive()
    }
}

impl Sender {
    /// A sender that calls such receivers and no others.
    #[must_use]
    pub fn new(egress_policy: EgressPolicy) -> Self {
        Self::with(egress_policy, egress::guarded_client(egress_policy))
    }

    /// Which receivers it calls.
    #[must_use]
    pub fn egress_policy(&self) -> EgressPolicy {
        self.egress_policy
    }

    fn with(egress_policy: EgressPolicy, http: reqwest::Client) -> Self {
        Self { egress_policy, http }
    }

    /// Signs and sends an event once. The answer, if there was one, comes with what is kept of the attempt:
    /// the answer's beginning without secrets, or what went wrong in words for the customer. Dropped, it
    /// closes its connection.
    pub async fn send(&self, request: Request<'_>) -> (Attempt, Option<Answer>) {
        let began = Instant::now();
        let sent = self.answer(&request).await;
        let (status, words) = match &sent {
            Ok(answer) => (Some(answer.status), String::from_utf8_lossy(&answer.body).into_owned()),
            Err(error) => (None, error.to_string()),
        };
        let secrets = request.webhook.headers.iter().flatten().map(|(_, value)| &**value);
        let answer = Some(deliveries::kept(&words, secrets));
        let latency_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        (Attempt { at: request.now, status, latency_ms, answer }, sent.ok())
    }

    async fn answer(&self, request: &Request<'_>) -> Result<Answer, SendError> {
        let mut url = self.egress_policy.url(&request.webhook.url)?;
        let signed = request.payload.signed(&request.webhook.url);
        let headers = headers(request, &signed)?;
        let sending = match request.payload {
            Payload::Query(_) => {
                url.set_query(Some(&signed));
                self.http.get(url)
            }
            Payload::Json(json) => self.http.post(url).body(json.clone()),
        };
        let answered = async {
            let mut response = sending.headers(headers).send().await?;
            let mut body = Vec::new();
            egress::read_beginning(&mut response, &mut body).await?;
            let (status, retry_after) = (response.status().as_u16(), egress::asked_wait(response.headers()));
            Ok(Answer { status, body, retry_after })
        };
        match timeout(request.timeout, Box::pin(answered)).await {
            Ok(answered) => answered.map_err(|error| explained(&error)),
            Err(_) => Err(SendError::TimedOut(request.timeout)),
        }
    }
}

/// Ours win over the customer's.
fn headers(request: &Request<'_>, signed: &str) -> Result<HeaderMap, SendError> {
    let Request { webhook, payload, id, secrets, now, .. } = *request;
    if secrets.is_empty() {
        return Err(SendError::Unsigned);
    }
    let mut headers = HeaderMap::new();
    for (name, value) in webhook.headers.iter().flatten() {
        // What HTTP cannot carry was refused when it was stored.
        let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value.as_bytes()))
        else {
            continue;
        };
        if !name.as_str().starts_with("webhook-") && !RESERVED.contains(&name.as_str()) {
            headers.insert(name, value);
        }
    }
    if let Payload::Json(_) = payload {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    headers.insert(header::USER_AGENT, HeaderValue::from_static(egress::USER_AGENT));
    let timestamp = now.as_millis().div_euclid(1_000);
    let signature = signature::sign(secrets.iter().copied(), id, timestamp, signed);
    let value = |text: &str| text.parse::<HeaderValue>().map_err(|_| SendError::Unsigned);
    headers.insert("webhook-id", value(id)?);
    headers.insert("webhook-timestamp", timestamp.into());
    headers.insert("webhook-signature", value(&signature)?);
    Ok(headers)
}

/// What lies beneath an error of the client, without the addresses it tells.
fn explained(error: &reqwest::Error) -> SendError {
    let mut next: Option<&(dyn error::Error + 'static)> = Some(error);
    while let Some(cause) = next {
        if cause.is::<egress::Refused>() {
            return BadUrl::NotPublic.into();
        }
        if cause.is::<egress::Unresolved>() {
            return SendError::Unresolved;
        }
        if let Some(cause) = cause.downcast_ref::<rustls::Error>() {
            return SendError::Tls(shorten(&cause.to_string()));
        }
        let io = cause.downcast_ref::<io::Error>();
        match io.map(io::Error::kind) {
            Some(io::ErrorKind::ConnectionRefused) => return SendError::ConnectionRefused,
            Some(io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) => return SendError::Broken,
            _ => {}
        }
        // An IO error does not count what it wraps among its sources.
        let wrapped = io.and_then(io::Error::get_ref).map(|inner| inner as &(dyn error::Error + 'static));
        next = wrapped.or_else(|| cause.source());
    }
    if error.is_connect() { SendError::Unreachable } else { SendError::Broken }
}

#[cfg(test)]
#[path = "webhooks_tests.rs"]
mod tests;
