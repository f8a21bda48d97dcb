//! The carrier's webhooks: signing and sending.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use axum::http::HeaderValue;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};

use super::{account::Account, call_record::Call, carrier::Carrier};

/// Twilio's default limit for a webhook, including its retry.
const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(15);
/// Maximum number of bytes that are read of a response, far more than any document has.
const ANSWER_LIMIT: usize = 64 * 1024;

/// Callbacks of one call that wait to be sent. When the queue is full, the call waits.
pub(super) const QUEUE: usize = 32;

/// Names and values of a form, in the order in which they are sent.
pub(super) type Form = Vec<(&'static str, String)>;

/// A callback to send.
#[derive(Debug)]
pub(super) struct Callback {
    pub(super) url: String,
    /// The status of the call, the event of the stream, or the verdict of detection.
    pub(super) status: &'static str,
    pub(super) form: Form,
}

/// `X-Twilio-Signature` of a request to this URL with these form parameters: HMAC-SHA1 over the URL and every
/// distinct name and value, in byte order.
pub(super) fn signature<N: AsRef<str>, V: AsRef<str>>(token: &str, url: &str, form: &[(N, V)]) -> String {
    let mut mac = Hmac::<Sha1>::new_from_slice(token.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(url.as_bytes());
    let sorted: BTreeSet<_> = form.iter().map(|(name, value)| (name.as_ref(), value.as_ref())).collect();
    for (name, value) in sorted {
        mac.update(name.as_bytes());
        mac.update(value.as_bytes());
    }
    BASE64_STANDARD.encode(mac.finalize().into_bytes())
}

/// Sends the callbacks of a call until the queue is closed, and records the responses: one after the other, unless the
/// carrier is rude (see [`super::rudeness`]).
pub(super) async fn deliver(carrier: &Carrier, call: &Arc<Call>, mut queue: mpsc::Receiver<Callback>) {
    let mut late = FuturesUnordered::new();
    let mut is_open = true;
    while is_open || !late.is_empty() {
        let callback = tokio::select! {
            biased;
            () = carrier.stop.cancelled() => return,
            callback = queue.recv(), if is_open => callback,
            Some(()) = late.next() => continue,
        };
        let Some(callback) = callback else {
            is_open = false;
            continue;
        };
        let copies = carrier.rudeness().copies();
        let Some(copies) = copies else {
            tokio::select! {
                biased;
                () = carrier.stop.cancelled() => return,
                () = send(carrier, call, &callback) => {}
            }
            continue;
        };
        let callback = Arc::new(callback);
        for delay in copies {
            let callback = Arc::clone(&callback);
            late.push(async move {
                sleep(delay).await;
                send(carrier, call, &callback).await;
            });
        }
    }
}

async fn send(carrier: &Carrier, call: &Call, callback: &Callback) {
    let answer = request(carrier, &call.account, &callback.url, false, &callback.form).await;
    if let Err(error) = &answer {
        tracing::warn!(call_sid = call.sid, callback.status, error, "callback not delivered");
    }
    call.record_callback(callback.status, answer.ok().map(|answer| answer.status));
}

/// The response of a webhook.
pub(super) struct Answer {
    /// HTTP status.
    pub(super) status: u16,
    pub(super) body: String,
}

/// The connection overrides of a URL: its fragment. Others than these are ignored.
struct Overrides {
    /// `rc`: how often a request is repeated.
    retries: u32,
    /// `rt`: maximum time until a response.
    read_timeout: Duration,
    /// `rp`: what is repeated, of `ct`, `rt`, `4xx` and `5xx`.
    policy: String,
}

impl Overrides {
    /// Without any, a request is repeated once, and only if the connection fails.
    fn of(url: &str) -> Self {
        let fragment = url.split_once('#').map_or("", |(_, fragment)| fragment);
        let of = |name| fragment.split('&').find_map(|part| part.strip_prefix(name));
        let read_timeout = of("rt=").and_then(|value| value.parse().ok());
        Self {
            retries: of("rc=").and_then(|value| value.parse().ok()).unwrap_or(1).min(5),
            read_timeout: read_timeout.map_or(WEBHOOK_TIMEOUT, Duration::from_millis),
            policy: of("rp=").unwrap_or("ct").to_owned(),
        }
    }

    fn repeats(&self, outcome: &Result<Answer, Failure>) -> bool {
        let case = match outcome {
            Ok(answer) => match answer.status {
                400..500 => "4xx",
                500.. => "5xx",
                _ => return false,
            },
            Err(Failure::TimedOut) => "rt",
            Err(Failure::Request(error)) if error.is_connect() => "ct",
            Err(Failure::Request(_)) => return false,
        };
        self.policy.split(',').any(|named| named == case || named == "all")
    }
}

/// A request without a response.
enum Failure {
    TimedOut,
    Request(reqwest::Error),
}

/// Sends a request signed for an account: POST with a form, or GET with the same values in the query. The URL's connection
/// overrides say how often it is repeated.
pub(super) async fn request(
    carrier: &Carrier,
    account: &Account,
    url: &str,
    get: bool,
    form: &Form,
) -> Result<Answer, String> {
    let exchange = async {
        let overrides = Overrides::of(url);
        let mut tries = 0;
        loop {
            let outcome =
                match timeout(overrides.read_timeout, attempt(carrier, account, url, get, form)).await {
                    Ok(outcome) => outcome.map_err(Failure::Request),
                    Err(_elapsed) => Err(Failure::TimedOut),
                };
            tries += 1;
            if tries > overrides.retries || !overrides.repeats(&outcome) {
                return outcome;
            }
        }
    };
    match timeout(WEBHOOK_TIMEOUT, exchange).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(Failure::Request(error))) => Err(error.without_url().to_string()),
        Ok(Err(Failure::TimedOut)) => Err("no answer in the time of its overrides".to_owned()),
        Err(_) => Err(format!("no answer in {} s", WEBHOOK_TIMEOUT.as_secs())),
    }
}

async fn attempt(
    carrier: &Carrier,
    account: &Account,
    url: &str,
    get: bool,
    form: &Form,
) -> Result<Answer, reqwest::Error> {
    // The fragment is for Twilio itself (connection overrides), so it is neither sent nor signed.
    let url = url.split('#').next().unwrap_or(url);
    let token = &account.auth_token;
    let mut request = if get { carrier.http.get(url).query(form) } else { carrier.http.post(url).form(form) };
    request = request.header("User-Agent", "TwilioProxy/1.1");
    let mut request = request.build()?;
    let signed = if get {
        signature::<&str, &str>(token, request.url().as_str(), &[])
    } else {
        signature(token, url, form)
    };
    let signed = HeaderValue::try_from(signed).expect("base64 is ASCII");
    request.headers_mut().insert("X-Twilio-Signature", signed);
    let mut response = carrier.http.execute(request).await?;
    let status = response.status().as_u16();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        body.extend_from_slice(&chunk);
        if body.len() > ANSWER_LIMIT {
            break;
        }
    }
    Ok(Answer { status, body: String::from_utf8_lossy(&body).into_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "test_auth_token_000";
    const FORM: [(&str, &str); 5] = [
        ("CallSid", "CA00000000000000000000000000000001"),
        ("CallStatus", "completed"),
        ("From", "+15005550006"),
        ("To", "+15005550001"),
        ("CallDuration", "42"),
    ];

    #[test]
    fn a_form_is_signed_as_twilio_does() {
        let url = "https://voice.example.com/twilio/status?tenant=t1";
        assert_eq!(signature(TOKEN, url, &FORM), "pSqB5dvXEpgO2dPCa/P7Zg4vsMo=");
        let url = "https://voice.example.com:443/twilio/status?tenant=t1";
        assert_eq!(signature(TOKEN, url, &FORM), "+HMrYVBfHLjWYpWo1hVDbSZ1Css=");
    }

    #[test]
    fn order_and_repetition_do_not_change_a_signature() {
        let url = "https://voice.example.com/twilio/status?tenant=t1";
        let mut form = FORM.to_vec();
        form.reverse();
        form.push(("CallDuration", "42"));
        assert_eq!(signature(TOKEN, url, &form), "pSqB5dvXEpgO2dPCa/P7Zg4vsMo=");
    }

    #[test]
    fn a_websocket_and_a_get_are_signed_by_their_url_alone() {
        let sign = |url| signature::<&str, &str>(TOKEN, url, &[]);
        assert_eq!(sign("wss://voice.example.com/media"), "WC7Vw87xkVnTtq/IgVxelSQQAoQ=");
        assert_eq!(sign("wss://voice.example.com/media/"), "hUhUi4CxvPanfMe2JaUZ9j08il8=");
        let url = "https://voice.example.com/twilio/answer?CallSid=CA1&From=%2B15005550006";
        assert_eq!(sign(url), "nKx3cMr+868CTI08ujIalwY40lw=");
    }
}
