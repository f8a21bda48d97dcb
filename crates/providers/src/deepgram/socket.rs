//! The websocket of a transcription, in either version of the protocol: the handshake, its refusals, and how it is closed.

use http::{HeaderValue, StatusCode, header};
use reqwest::Url;
use tokio_tungstenite::tungstenite::{self, client::IntoClientRequest, protocol::CloseFrame};

use super::VENDOR;
use crate::{
    Error, Secret,
    egress::{self, WebSocket},
    endpoints::join,
    refusal::{self, Explanation, Verdict},
};

/// The address of a websocket below the base URL.
pub(super) fn url(base: &Url, path: &str) -> Url {
    let mut url = join(base, path);
    let scheme = if url.scheme() == "http" { "ws" } else { "wss" };
    url.set_scheme(scheme).expect("http and ws are of one kind, so the scheme can be changed");
    url
}

/// Connects and authenticates.
pub(super) async fn open(url: &Url, key: &Secret) -> Result<WebSocket, Error> {
    let mut request = url
        .as_str()
        .into_client_request()
        .map_err(|error| Error::rejected(VENDOR, "bad_request", &error.to_string()))?;
    let mut key = HeaderValue::try_from(format!("Token {}", key.reveal())).map_err(|_| {
        Error::rejected(VENDOR, "bad_key", "the key holds characters that no header can carry")
    })?;
    key.set_sensitive(true);
    request.headers_mut().insert(header::AUTHORIZATION, key);
    request.headers_mut().insert(header::USER_AGENT, HeaderValue::from_static(egress::USER_AGENT));
    egress::connect(request).await.map_err(refused)
}

/// The error for a handshake that failed.
fn refused(error: tungstenite::Error) -> Error {
    let tungstenite::Error::Http(response) = &error else {
        return Error::broken(VENDOR, "no connection", error);
    };
    let (status, headers) = (response.status(), response.headers());
    // A handshake has no body; Deepgram explains itself in a header.
    let message = headers.get("dg-error").and_then(|value| value.to_str().ok());
    let explanation = Explanation { message: message.map(str::to_owned), ..Explanation::default() };
    match refusal::handshake_verdict(status, headers, &explanation) {
        Verdict::Retry { after } => {
            let reason = match status {
                StatusCode::TOO_MANY_REQUESTS => "too many sessions at once".to_owned(),
                _ => format!("it answered the handshake with {}", status.as_u16()),
            };
            Error::Unavailable { vendor: VENDOR, reason, retry_after: after, source: None }
        }
        Verdict::DropParameter(_) | Verdict::FallBack | Verdict::GiveUp => {
            Error::rejected(VENDOR, status.as_str(), message.unwrap_or("no explanation"))
        }
    }
}

pub(super) fn is_normal(frame: &CloseFrame) -> bool {
    matches!(u16::from(frame.code), 1000 | 1001 | 1005)
}

/// 1008: the audio or the request is wrong. 1011: Deepgram failed.
pub(super) fn closed(frame: &CloseFrame) -> Error {
    let code = u16::from(frame.code);
    match code {
        1008 => Error::rejected(VENDOR, code, &frame.reason),
        _ => Error::unavailable_because(VENDOR, &format!("it closed with {code}"), &frame.reason),
    }
}
