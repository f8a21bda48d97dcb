//! One websocket of a session: the handshake, its refusals, and the messages that we send.

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use futures_util::{SinkExt, StreamExt};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use jiff::{SignedDuration, Timestamp, fmt::rfc2822};
use reqwest::Url;
use serde_json::json;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::{
    self, Message, client::IntoClientRequest, handshake::client::generate_key, protocol::CloseFrame,
};

use crate::{
    Error, Secret,
    audio::AudioFormat,
    azure::{
        VENDOR, authorization, refusal_of_key,
        usp::{self, Headers},
    },
    egress::{self, WebSocket},
    refusal::{self, Explanation, Verdict},
};

/// An open websocket, and the turn that runs on it.
pub(super) struct Connection {
    socket: WebSocket,
    clock: ServerClock,
    request_id: String,
    write: Duration,
}

/// The time of day by the server, which wants it in every message.
#[derive(Clone, Copy)]
struct ServerClock {
    at_handshake: Timestamp,
    since: Instant,
}

impl ServerClock {
    fn new(handshake: &HeaderMap) -> Self {
        let date = handshake.get(header::DATE).and_then(|date| date.to_str().ok());
        let at_handshake = date.and_then(|date| rfc2822::parse(date).ok()).map(|date| date.timestamp());
        Self { at_handshake: at_handshake.unwrap_or_default(), since: Instant::now() }
    }

    fn now(self) -> String {
        let passed = SignedDuration::try_from(self.since.elapsed()).unwrap_or_default();
        let now = self.at_handshake.saturating_add(passed).unwrap_or(self.at_handshake);
        format!("{now:.3}")
    }
}

/// Thirty-two random hexadecimal digits.
fn random_id() -> String {
    let random = BASE64_STANDARD.decode(generate_key()).ok().and_then(|bytes| bytes.try_into().ok());
    let random: [u8; 16] = random.expect("a websocket's key is 16 bytes in base64");
    format!("{:032x}", u128::from_be_bytes(random))
}

impl Connection {
    /// Connects and authenticates.
    pub(super) async fn open(url: &Url, key: &Secret, write: Duration) -> Result<Self, Error> {
        let mut request = url
            .as_str()
            .into_client_request()
            .map_err(|error| Error::rejected(VENDOR, "bad_request", &error.to_string()))?;
        let (name, key) = authorization(key)?;
        let headers = request.headers_mut();
        headers.insert(name, key);
        let connection_id =
            HeaderValue::try_from(random_id()).expect("hexadecimal digits are a header's value");
        headers.insert("x-connectionid", connection_id);
        headers.insert(header::USER_AGENT, HeaderValue::from_static(egress::USER_AGENT));
        let (socket, handshake) = egress::connect_for_answer(request).await.map_err(refused)?;
        Ok(Self { socket, clock: ServerClock::new(handshake.headers()), request_id: random_id(), write })
    }

    /// The id of the present turn.
    pub(super) fn request_id(&self) -> &str {
        &self.request_id
    }

    /// The next message of the server. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<Result<Message, tungstenite::Error>> {
        self.socket.next().await
    }

    /// Says who we are, and the format of the audio; once, before the first turn.
    pub(super) async fn configure(&mut self, format: AudioFormat) -> Result<(), Error> {
        let AudioFormat { encoding, sample_rate } = format;
        let (rate, bits) = (sample_rate.to_string(), (8 * encoding.bytes_per_sample()).to_string());
        let source =
            json!({"type": "Stream", "samplerate": rate, "bitspersample": bits, "channelcount": "1"});
        let body = json!({"context": {
            "system": {"name": "Switchboard", "version": env!("CARGO_PKG_VERSION"), "build": "Rust", "lang": "Rust"},
            "os": {"platform": "Linux", "name": "Linux", "version": ""},
            "audio": {"source": source},
        }});
        self.text("speech.config", &body.to_string()).await
    }

    /// Begins a turn with these settings. Its audio begins with a header.
    pub(super) async fn begin_turn(&mut self, context: &str) -> Result<(), Error> {
        self.request_id = random_id();
        self.text("speech.context", context).await
    }

    /// Sends audio of the turn; none at all ends its audio.
    pub(super) async fn audio(
        &mut self,
        content_type: Option<&'static str>,
        audio: &[u8],
    ) -> Result<(), Error> {
        let timestamp = self.clock.now();
        let headers =
            Headers { path: "audio", request_id: &self.request_id, timestamp: &timestamp, content_type };
        let message = Message::Binary(usp::binary(headers, audio));
        self.write(message).await
    }

    async fn text(&mut self, path: &'static str, body: &str) -> Result<(), Error> {
        let timestamp = self.clock.now();
        let content_type = Some("application/json");
        let headers = Headers { path, request_id: &self.request_id, timestamp: &timestamp, content_type };
        let message = Message::text(usp::text(headers, body));
        self.write(message).await
    }

    pub(super) async fn write(&mut self, message: Message) -> Result<(), Error> {
        match timeout(self.write, self.socket.send(message)).await {
            // A closed connection gives its reason in the close frame, which is read next.
            Ok(Ok(()) | Err(tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed)) => {
                Ok(())
            }
            Ok(Err(error)) => Err(Error::broken(VENDOR, "the connection was lost", error)),
            Err(_) => Err(Error::unavailable(VENDOR, "it does not read")),
        }
    }
}

/// The error for a handshake that failed. Azure explains itself by the status alone.
fn refused(error: tungstenite::Error) -> Error {
    let tungstenite::Error::Http(response) = &error else {
        return Error::broken(VENDOR, "no connection", error);
    };
    let status = response.status();
    match refusal::handshake_verdict(status, response.headers(), &Explanation::default()) {
        Verdict::Retry { after } => {
            let reason = match status {
                StatusCode::TOO_MANY_REQUESTS => "too many sessions at once".to_owned(),
                _ => format!("it answered the handshake with {}", status.as_u16()),
            };
            Error::Unavailable { vendor: VENDOR, reason, retry_after: after, source: None }
        }
        Verdict::DropParameter(_) | Verdict::FallBack | Verdict::GiveUp => {
            let message = refusal_of_key(status).unwrap_or(match status {
                StatusCode::NOT_FOUND => "there is no transcription at this endpoint",
                StatusCode::BAD_REQUEST => "it does not transcribe with these settings, such as the language",
                _ => "no explanation",
            });
            Error::rejected(VENDOR, status.as_str(), message)
        }
    }
}

pub(super) fn is_normal(frame: &CloseFrame) -> bool {
    matches!(u16::from(frame.code), 1000 | 1001 | 1005)
}

/// 1002, 1003, 1007 and 4000: the request is wrong, as the vendor's own clients see it. 1008: the key is.
pub(super) fn closed(frame: &CloseFrame) -> Error {
    let code = u16::from(frame.code);
    match code {
        // Like a handshake that is refused: the stored keys are read again.
        1008 => Error::rejected(VENDOR, "401", &frame.reason),
        1002 | 1003 | 1007 | 4000 => Error::rejected(VENDOR, code, &frame.reason),
        4429 => Error::unavailable(VENDOR, "too many sessions at once"),
        _ => Error::unavailable_because(VENDOR, &format!("it closed with {code}"), &frame.reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_thirty_two_hexadecimal_digits_and_random() {
        let (one, other) = (random_id(), random_id());
        assert!(one.len() == 32 && one.bytes().all(|byte| byte.is_ascii_hexdigit()), "{one}");
        assert_ne!(one, other);
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_of_day_is_the_servers() {
        let date = HeaderValue::from_static("Mon, 30 Nov 2026 19:34:40 GMT");
        let clock = ServerClock::new(&HeaderMap::from_iter([(header::DATE, date)]));
        tokio::time::advance(Duration::from_millis(257)).await;
        assert_eq!(clock.now(), "2026-11-30T19:34:40.257Z");
    }
}
