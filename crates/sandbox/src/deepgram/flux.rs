//! `GET /v2/listen`: live transcription with Flux models, which end the speaker's turns themselves.
//!
//! The offline engine knows nothing of turns: here a silence ends one, the longer the higher the threshold.

mod options;
mod turns;

use std::{sync::Arc, time::Duration};

use axum::{
    Extension,
    extract::{
        Query, State,
        ws::{CloseFrame, Message, WebSocketUpgrade, close_code, rejection::WebSocketUpgradeRejection},
    },
    response::{IntoResponse, Response},
};
use futures_util::{Sink, SinkExt as _, Stream, StreamExt as _};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use self::{options::FluxOptions, turns::Turns};
use super::{
    api::{RequestId, Server},
    listen::ignore,
    recogniser::{Recogniser, RecogniserEvent},
};
use crate::faults::{Disruption, Treatment};

/// A stream without audio is closed after this time; there is no `KeepAlive`.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// A client that reads nothing for this long is disconnected.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);

/// The handler of the route.
pub(super) async fn listen(
    State(server): State<Arc<Server>>,
    Extension(id): Extension<RequestId>,
    Extension(service): Extension<Treatment<Value>>,
    Query(query): Query<Vec<(String, String)>>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let options = match FluxOptions::parse(&query) {
        Ok(options) => options,
        Err(refusal) => return refusal.with(&id),
    };
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade.max_message_size(1 << 20).max_frame_size(1 << 20),
        Err(rejection) => return rejection.into_response(),
    };
    let (speech, stop) = (server.speech.clone(), server.stop.clone());
    upgrade.on_upgrade(async move |socket| {
        let (mut sink, mut stream) = socket.split();
        let closed = if service.disruption == Some(Disruption::Silent) {
            ignore(&mut stream, &stop).await;
            None
        } else {
            let recogniser = Recogniser::new(speech, options.encoding, options.silence);
            let turns = Turns::new(options, id.0);
            run(recogniser, turns, service.disruption, &mut stream, &mut sink, &stop).await
        };
        // Without a close frame the connection is cut.
        if let Some(close) = closed {
            // The client may be gone already.
            drop(timeout(SEND_TIMEOUT, sink.send(Message::Close(Some(close)))).await);
        }
    })
}

/// A text message of the client. `KeepAlive` and `Finalize` are of the first version only.
#[derive(Deserialize)]
#[serde(tag = "type")]
enum Control {
    CloseStream,
    ForceEndTurn,
    /// Refused: this server cannot change a stream.
    Configure,
}

/// Moves messages between the socket, the turns and the engine. Returns the close frame to send; `None` if the client
/// is gone, or a disruption was due at the first words.
async fn run<E>(
    mut recogniser: Recogniser,
    mut turns: Turns,
    disruption: Option<Disruption>,
    stream: &mut (impl Stream<Item = Result<Message, E>> + Unpin),
    sink: &mut (impl Sink<Message> + Unpin),
    stop: &CancellationToken,
) -> Option<CloseFrame> {
    let mut deadline = Instant::now() + IDLE_TIMEOUT;
    let mut messages = vec![turns.connected()];
    loop {
        for message in messages.drain(..) {
            if disruption.is_some() && message["transcript"].as_str().is_some_and(|text| !text.is_empty()) {
                if disruption != Some(Disruption::Break) {
                    ignore(stream, stop).await;
                }
                return None;
            }
            let sent = timeout(SEND_TIMEOUT, sink.send(Message::text(message.to_string()))).await;
            let Ok(Ok(())) = sent else { return None };
        }
        let heard = tokio::select! {
            biased;
            () = stop.cancelled() => return Some(close(close_code::AWAY, "the server stops")),
            heard = recogniser.recognised() => match heard {
                Some(heard) => heard,
                None => return Some(close(close_code::ERROR, "NET-0000: the speech engine failed")),
            },
            message = timeout_at(deadline, stream.next()) => match message {
                Err(_) => {
                    return Some(close(close_code::ERROR, "NET-0001: no audio within the timeout window"));
                }
                Ok(None | Some(Err(_) | Ok(Message::Close(_)))) => return None,
                Ok(Some(Ok(Message::Ping(_) | Message::Pong(_)))) => continue,
                Ok(Some(Ok(Message::Binary(bytes)))) => {
                    deadline = Instant::now() + IDLE_TIMEOUT;
                    if bytes.is_empty() { recogniser.close() } else { recogniser.audio(&bytes) }
                }
                Ok(Some(Ok(Message::Text(text)))) => match serde_json::from_str(&text) {
                    Ok(Control::CloseStream) => recogniser.close(),
                    Ok(Control::ForceEndTurn) => {
                        turns.force();
                        recogniser.finalize()
                    }
                    Ok(Control::Configure) => {
                        messages.push(turns.not_configured());
                        continue;
                    }
                    Err(_) => {
                        let error = Message::text(turns.unparsable().to_string());
                        drop(timeout(SEND_TIMEOUT, sink.send(error)).await);
                        return Some(close(close_code::POLICY, "UNPARSABLE_CLIENT_MESSAGE"));
                    }
                },
            },
        };
        let is_closed = heard.contains(&RecogniserEvent::Closed);
        let position = recogniser.position();
        for heard in heard {
            turns.on(heard, position, &mut messages);
        }
        turns.update(position, &mut messages);
        if is_closed {
            for message in messages.drain(..) {
                let sent = timeout(SEND_TIMEOUT, sink.send(Message::text(message.to_string()))).await;
                let Ok(Ok(())) = sent else { return None };
            }
            return Some(close(close_code::NORMAL, ""));
        }
    }
}

fn close(code: u16, reason: &'static str) -> CloseFrame {
    CloseFrame { code, reason: reason.into() }
}
