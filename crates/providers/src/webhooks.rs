//! Webhook requests: one signed HTTP request to a customer's endpoint, and its response.
//!
//! This module knows nothing of retries, queues and events' contents. The egress policy
//! ([`switchboard_model::egress_policy`]) says which addresses may be called; the SSRF guard (`egress/guard.rs`)
//! enforces it for every connection. Start with [`WebhookClient::send`].

use std::{error, fmt, io, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use switchboard_contract::{events::payload::Payload, signature};
use switchboard_model::{
    deliveries::{self, Attempt},
    egress_policy::{BadUrl, EgressPolicy},
    time::Timestamp,
    webhooks::Webhook,
};
use tokio::time::{Instant, timeout};

use crate::{egress, error::shorten, response_text::response_text};

/// Headers of a customer that are not sent: hop-by-hop headers (RFC 9110, section 7.6.1), those that frame or route the
/// message, and `accept-encoding`, because a compressed response could not be read.
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

/// Sends webhook requests under one egress policy. Every request opens its own connection.
#[derive(Debug, Clone)]
pub struct WebhookClient {
    egress_policy: EgressPolicy,
    http: reqwest::Client,
    max_body_bytes: usize,
}

/// One event for one webhook.
#[derive(Clone, Copy)]
pub struct WebhookRequest<'a> {
    /// The URL and the customer's own headers. Headers that we set ourselves, and `RESERVED` ones, are left out.
    pub webhook: &'a Webhook,
    /// The content, which determines the HTTP method.
    pub payload: &'a Payload,
    /// `webhook-id`: the same for every attempt ([`deliveries::webhook_id`]).
    pub id: &'a str,
    /// Signing secrets; each adds a signature. Without any, nothing is sent.
    pub secrets: &'a [&'a str],
    /// For `webhook-timestamp`.
    pub now: Timestamp,
    /// Maximum time from the DNS lookup to the last byte that is read.
    pub timeout: Duration,
}

/// The response of an endpoint, whatever its status. A redirect is not followed and counts as a response.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookResponse {
    /// The HTTP status.
    pub status: u16,
    /// At most the first 16 KiB of the body, unless the client reads more.
    pub text: String,
    /// The body may be longer than that.
    pub is_cut: bool,
    /// `Retry-After`: how long the endpoint asks the client to wait.
    pub retry_after: Option<Duration>,
}

/// Why there is no response, in words for the customer. The texts never contain the address that a name resolved to:
/// that would map the internal network.
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

impl fmt::Debug for WebhookRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookRequest").field("id", &self.id).finish_non_exhaustive()
    }
}

impl fmt::Debug for WebhookResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookResponse").field("status", &self.status).finish_non_exhaustive()
    }
}

impl WebhookClient {
    /// A client that connects only to addresses that the policy allows.
    #[must_use]
    pub fn new(egress_policy: EgressPolicy) -> Self {
        Self::with(egress_policy, egress::guarded_client(egress_policy))
    }

    /// The policy of this client.
    #[must_use]
    pub fn egress_policy(&self) -> EgressPolicy {
        self.egress_policy
    }

    fn with(egress_policy: EgressPolicy, http: reqwest::Client) -> Self {
        Self { egress_policy, http, max_body_bytes: egress::MAX_BODY_BYTES }
    }

    /// The same client, which reads at most this many bytes of a response.
    #[must_use]
    pub fn reading_at_most(self, max_body_bytes: usize) -> Self {
        Self { max_body_bytes, ..self }
    }

    /// Signs and sends an event once. Returns the attempt for the event log, with the beginning of the response
    /// (secrets redacted) or the error in words for the customer, and the response if there was one. Dropping the
    /// future closes the connection.
    pub async fn send(&self, request: WebhookRequest<'_>) -> (Attempt, Option<WebhookResponse>) {
        let began = Instant::now();
        let sent = self.request(&request).await;
        let (status, words) = match &sent {
            Ok(answer) => (Some(answer.status), answer.text.clone()),
            Err(error) => (None, error.to_string()),
        };
        let secrets = request.webhook.headers.iter().flatten().map(|(_, value)| &**value);
        let answer = Some(deliveries::kept(&words, secrets));
        let latency_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        (Attempt { at: request.now, status, latency_ms, answer }, sent.ok())
    }

    async fn request(&self, request: &WebhookRequest<'_>) -> Result<WebhookResponse, SendError> {
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
            egress::read_beginning(&mut response, self.max_body_bytes, &mut body).await?;
            let (status, retry_after) =
                (response.status().as_u16(), egress::requested_wait(response.headers()));
            let (text, is_cut) = response_text(response.headers(), &body, self.max_body_bytes);
            Ok(WebhookResponse { status, text, is_cut, retry_after })
        };
        match timeout(request.timeout, Box::pin(answered)).await {
            Ok(answered) => answered.map_err(|error| send_error(&error)),
            Err(_) => Err(SendError::TimedOut(request.timeout)),
        }
    }
}

/// The headers of a request; ours take precedence over the customer's.
fn headers(request: &WebhookRequest<'_>, signed: &str) -> Result<HeaderMap, SendError> {
    let WebhookRequest { webhook, payload, id, secrets, now, .. } = *request;
    if secrets.is_empty() {
        return Err(SendError::Unsigned);
    }
    let mut headers = HeaderMap::new();
    for (name, value) in webhook.headers.iter().flatten() {
        // Headers that HTTP cannot carry were refused when the webhook was stored.
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

/// The cause beneath an error of the HTTP client, without the addresses that the error contains.
fn send_error(error: &reqwest::Error) -> SendError {
    let mut next: Option<&(dyn error::Error + 'static)> = Some(error);
    while let Some(cause) = next {
        if cause.is::<egress::NotAllowed>() {
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
        // `io::Error::source` skips the error that it wraps.
        let wrapped = io.and_then(io::Error::get_ref).map(|inner| inner as &(dyn error::Error + 'static));
        next = wrapped.or_else(|| cause.source());
    }
    if error.is_connect() { SendError::Unreachable } else { SendError::Broken }
}

#[cfg(test)]
#[path = "webhooks_tests.rs"]
mod tests;
