//! A websocket to `/ws3`, which synthesizes one clause at a time, and the few that a call keeps open.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{SinkExt, StreamExt};
use http::{HeaderValue, StatusCode, header};
use reqwest::Url;
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, timeout_at};
use tokio_tungstenite::tungstenite::{self, Message, client::IntoClientRequest};

use super::VENDOR;
use crate::{
    Error, Secret,
    egress::{self, WebSocket},
    refusal::{self, Explanation, Verdict},
};

/// A socket that was idle for longer is not used again: the server may have closed it.
const MAX_IDLE: Duration = Duration::from_secs(30);
/// Sockets that are kept: of the clause that is spoken, and of the one after it.
const MAX_KEPT: usize = 2;

/// The sockets of a voice that no clause uses.
#[derive(Debug, Clone, Default)]
pub(super) struct Pool(Arc<Mutex<Idle>>);

#[derive(Debug, Default)]
struct Idle {
    /// Sessions whose clauses may use the sockets.
    sessions: usize,
    sockets: Vec<(Url, Socket, Instant)>,
}

impl Pool {
    /// A socket with this address, which has the settings of its clauses.
    pub(super) fn take(&self, url: &Url) -> Option<Socket> {
        let idle = &mut self.locked().sockets;
        idle.retain(|(.., since)| since.elapsed() < MAX_IDLE);
        let place = idle.iter().rposition(|(of, ..)| of == url)?;
        Some(idle.remove(place).1)
    }

    fn locked(&self) -> MutexGuard<'_, Idle> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session begins to use the sockets.
    pub(super) fn begin_session(&self) {
        self.locked().sessions += 1;
    }

    /// A session ends. The last one closes all sockets.
    pub(super) fn end_session(&self) {
        let mut idle = self.locked();
        idle.sessions = idle.sessions.saturating_sub(1);
        if idle.sessions == 0 {
            idle.sockets.clear();
        }
    }

    pub(super) fn put(&self, url: &Url, socket: Socket) {
        let idle = &mut self.locked().sockets;
        if idle.len() < MAX_KEPT {
            idle.push((url.clone(), socket, Instant::now()));
        }
    }
}

/// A message of the server.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(super) enum ServerMessage {
    #[serde(rename_all = "camelCase")]
    Chunk {
        /// Base64.
        data: String,
        context_id: Option<String>,
    },
    #[serde(rename_all = "camelCase")]
    Timestamps {
        #[serde(rename = "word_timestamps")]
        words: WordTimestamps,
        context_id: Option<String>,
    },
    #[serde(rename_all = "camelCase")]
    Done { context_id: Option<String> },
    Error {
        #[serde(default)]
        message: String,
    },
    #[serde(other)]
    Unknown,
}

/// Seconds.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct WordTimestamps {
    pub(super) words: Vec<String>,
    pub(super) start: Vec<f64>,
    pub(super) end: Vec<f64>,
}

/// An open websocket.
#[derive(Debug)]
pub(super) struct Socket(Box<WebSocket>);

impl Socket {
    /// Connects and authenticates.
    pub(super) async fn open(url: &Url, key: &Secret) -> Result<Self, Error> {
        let mut request = url
            .as_str()
            .into_client_request()
            .map_err(|error| Error::rejected(VENDOR, "bad_request", &error.to_string()))?;
        let mut key = HeaderValue::try_from(format!("Bearer {}", key.reveal())).map_err(|_| {
            Error::rejected(VENDOR, "bad_key", "the key holds characters that no header can carry")
        })?;
        key.set_sensitive(true);
        request.headers_mut().insert(header::AUTHORIZATION, key);
        request.headers_mut().insert(header::USER_AGENT, HeaderValue::from_static(egress::USER_AGENT));
        egress::connect(request).await.map(|socket| Self(Box::new(socket))).map_err(refused)
    }

    /// Asks for the speech of a clause, whose messages have this id.
    pub(super) async fn request(&mut self, clause: &str, id: &str, deadline: Instant) -> Result<(), Error> {
        // A space ends the last word.
        let text = json!({"text": format!("{clause} "), "contextId": id});
        for message in [text, json!({"operation": "flush"})] {
            match timeout_at(deadline, self.0.send(Message::text(message.to_string()))).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Err(Error::broken(VENDOR, "the connection was lost", error)),
                Err(_) => return Err(Error::unavailable(VENDOR, "it does not read")),
            }
        }
        Ok(())
    }

    /// The next message; none if the server has closed the connection. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Option<ServerMessage>, Error> {
        loop {
            match self.0.next().await {
                Some(Ok(Message::Text(text))) => {
                    // Messages of an unknown type, now or in a later version, hold no audio.
                    return Ok(Some(serde_json::from_str(&text).unwrap_or(ServerMessage::Unknown)));
                }
                Some(Ok(Message::Close(frame))) => {
                    let Some(frame) =
                        frame.filter(|frame| !matches!(u16::from(frame.code), 1000 | 1001 | 1005))
                    else {
                        return Ok(None);
                    };
                    let code = u16::from(frame.code);
                    return Err(match code {
                        1003 | 1007 | 1008 => Error::rejected(VENDOR, code, &frame.reason),
                        _ => Error::unavailable_because(
                            VENDOR,
                            &format!("it closed with {code}"),
                            &frame.reason,
                        ),
                    });
                }
                Some(Ok(_)) => {}
                None | Some(Err(tungstenite::Error::ConnectionClosed)) => return Ok(None),
                Some(Err(error)) => return Err(Error::broken(VENDOR, "the connection was lost", error)),
            }
        }
    }
}

/// The error for a handshake that failed.
fn refused(error: tungstenite::Error) -> Error {
    let tungstenite::Error::Http(response) = &error else {
        return Error::broken(VENDOR, "no connection", error);
    };
    let (status, body) = (response.status(), response.body().as_deref().unwrap_or_default());
    let explanation = Explanation::read(body);
    match refusal::handshake_verdict(status, response.headers(), &explanation) {
        Verdict::Retry { after } => {
            let reason = match status {
                StatusCode::TOO_MANY_REQUESTS => "too many clauses at once".to_owned(),
                _ => format!("it answered the handshake with {}", status.as_u16()),
            };
            Error::Unavailable { vendor: VENDOR, reason, retry_after: after, source: None }
        }
        Verdict::DropParameter(_) | Verdict::FallBack | Verdict::GiveUp => {
            let message = explanation.message.as_deref().unwrap_or("no explanation");
            Error::rejected(VENDOR, status.as_str(), message)
        }
    }
}
