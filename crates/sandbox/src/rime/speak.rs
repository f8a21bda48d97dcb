//! `GET /ws3`: text in, audio and the times of words out, as JSON.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension,
    extract::{
        Query, State,
        ws::{
            CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code,
            rejection::WebSocketUpgradeRejection,
        },
    },
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::timeout};

use super::{
    Server,
    options::{Options, Segment},
    refusal,
};
use crate::{
    audio,
    faults::{Disruption, Treatment},
};

/// A client that reads nothing for this long is disconnected.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of audio in a chunk: 200 ms.
const CHUNK_BYTES: usize = 1_600;
/// Maximum length of the buffered text, in characters.
const MAX_CHARS: usize = 2_000;

/// A message of the client.
#[derive(Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Request {
    #[serde(rename_all = "camelCase")]
    Text {
        text: String,
        context_id: Option<String>,
    },
    Operation {
        operation: Operation,
    },
}

#[derive(Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Operation {
    Flush,
    Clear,
    Eos,
}

/// The handler of the route.
pub(super) async fn speak(
    State(server): State<Arc<Server>>,
    Extension(service): Extension<Treatment<Value>>,
    Query(query): Query<Vec<(String, String)>>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let options = match Options::parse(&query) {
        Ok(options) => options,
        Err(message) => return refusal(StatusCode::BAD_REQUEST, &message),
    };
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade.max_message_size(64 * 1024).max_frame_size(64 * 1024),
        Err(rejection) => return rejection.into_response(),
    };
    upgrade.on_upgrade(async move |mut socket| {
        let stream = Stream {
            options,
            disruption: service.disruption,
            text: String::new(),
            context_id: None,
            clauses: JoinSet::new(),
            waiting: vec![],
        };
        // Without a close frame the connection is cut.
        if let Some(close) = stream.run(&mut socket, &server).await {
            // The client may be gone already.
            drop(timeout(SEND_TIMEOUT, socket.send(Message::Close(Some(close)))).await);
        }
    })
}

/// A synthesized clause.
struct Clause {
    text: String,
    context_id: Option<String>,
    audio: anyhow::Result<Vec<i16>>,
}

/// One connection.
struct Stream {
    options: Options,
    disruption: Option<Disruption>,
    /// Text that is not synthesized yet, and its context.
    text: String,
    context_id: Option<String>,
    /// The clause that is being synthesized, and those behind it.
    clauses: JoinSet<Clause>,
    waiting: Vec<(String, Option<String>)>,
}

impl Stream {
    /// Returns the close frame to send; none if the client is gone, or a disruption was due.
    async fn run(mut self, socket: &mut WebSocket, server: &Server) -> Option<CloseFrame> {
        let mut is_ending = false;
        loop {
            if self.clauses.is_empty() {
                if !self.waiting.is_empty() {
                    let (text, context_id) = self.waiting.remove(0);
                    let (speech, speed) = (server.speech.clone(), self.options.speed);
                    let rate = self.options.linear_rate.unwrap_or(audio::SAMPLE_RATE);
                    self.clauses.spawn(async move {
                        let audio = speech.synthesize_linear(&text, speed, rate).await;
                        Clause { text, context_id, audio }
                    });
                } else if is_ending {
                    return Some(close(close_code::NORMAL, ""));
                }
            }
            let messages = tokio::select! {
                biased;
                () = server.stop.cancelled() => return Some(close(close_code::AWAY, "the server stops")),
                Some(Ok(clause)) = self.clauses.join_next() => {
                    let messages = self.messages(&clause);
                    if let Some(disruption) = self.disruption {
                        return disrupt(socket, messages, disruption, server).await;
                    }
                    messages
                }
                message = socket.recv() => match message {
                    None | Some(Err(_) | Ok(Message::Close(_))) => return None,
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                    Some(Ok(Message::Binary(_))) => vec![error("binary messages are not understood")],
                    Some(Ok(Message::Text(_))) if is_ending => continue,
                    Some(Ok(Message::Text(text))) => match serde_json::from_str(&text) {
                        Ok(Request::Text { text, context_id }) => self.take(&text, context_id),
                        Ok(Request::Operation { operation }) => {
                            if operation == Operation::Clear {
                                self.text.clear();
                                self.waiting.clear();
                                self.clauses.abort_all();
                                self.clauses.detach_all();
                            } else {
                                self.flush();
                            }
                            is_ending = operation == Operation::Eos;
                            vec![]
                        }
                        Err(_) => vec![error("the message is neither a text nor an operation")],
                    },
                },
            };
            for message in messages {
                let sent = timeout(SEND_TIMEOUT, socket.send(Message::text(message.to_string()))).await;
                let Ok(Ok(())) = sent else { return None };
            }
        }
    }

    fn take(&mut self, text: &str, context_id: Option<String>) -> Vec<Value> {
        self.text.push_str(text);
        self.context_id = context_id;
        if self.text.chars().count() > MAX_CHARS {
            self.text.clear();
            return vec![error("the text is too long")];
        }
        let is_sentence = self.text.trim_end().ends_with(['.', '!', '?']);
        match self.options.segment {
            Segment::Immediate => self.flush(),
            Segment::BySentence if is_sentence => self.flush(),
            Segment::BySentence | Segment::Never => {}
        }
        vec![]
    }

    fn flush(&mut self) {
        let text = std::mem::take(&mut self.text).trim().to_owned();
        if text.chars().any(char::is_alphanumeric) {
            self.waiting.push((text, self.context_id.clone()));
        }
    }

    fn messages(&self, clause: &Clause) -> Vec<Value> {
        let Ok(samples) = &clause.audio else {
            return vec![error("internal error: the speech engine failed")];
        };
        let (rate, sound): (_, Vec<u8>) = match self.options.linear_rate {
            None => (audio::SAMPLE_RATE, samples.iter().map(|sample| audio::encode(*sample)).collect()),
            Some(rate) => (rate, samples.iter().flat_map(|sample| sample.to_le_bytes()).collect()),
        };
        let length = u32::try_from(samples.len()).unwrap_or(u32::MAX);
        let length = Duration::from_secs(1) * length / rate;
        let id = json!(clause.context_id);
        let mut messages = vec![];
        if self.options.tells_words {
            let times = word_times(&clause.text, length);
            messages.push(json!({"type": "timestamps", "word_timestamps": times, "contextId": id}));
        }
        messages.extend(
            sound.chunks(CHUNK_BYTES).map(
                |chunk| json!({"type": "chunk", "data": BASE64_STANDARD.encode(chunk), "contextId": id}),
            ),
        );
        messages.push(json!({"type": "done", "contextId": id}));
        messages
    }
}

/// Sends half of the audio or nothing; then the connection is cut, or stays open.
async fn disrupt(
    socket: &mut WebSocket,
    messages: Vec<Value>,
    disruption: Disruption,
    server: &Server,
) -> Option<CloseFrame> {
    let half = if disruption == Disruption::Silent { 0 } else { messages.len() / 2 };
    for message in messages.into_iter().take(half) {
        let sent = timeout(SEND_TIMEOUT, socket.send(Message::text(message.to_string()))).await;
        let Ok(Ok(())) = sent else { return None };
    }
    if disruption != Disruption::Break {
        server.stop.run_until_cancelled(async { while let Some(Ok(_)) = socket.recv().await {} }).await;
    }
    None
}

/// The times of words, in proportion to their length.
fn word_times(text: &str, duration: Duration) -> Value {
    let words: Vec<&str> = text.split_whitespace().collect();
    let length = |word: &str| u32::try_from(word.chars().count() + 1).unwrap_or(u32::MAX);
    let total = words.iter().map(|word| length(word)).sum::<u32>().max(1);
    let (mut passed, mut starts, mut ends) = (0, vec![], vec![]);
    for word in &words {
        starts.push((duration * passed / total).as_secs_f64());
        passed += length(word);
        ends.push((duration * passed / total).as_secs_f64());
    }
    json!({"words": words, "start": starts, "end": ends})
}

fn error(message: &str) -> Value {
    json!({"type": "error", "message": message})
}

fn close(code: u16, reason: &'static str) -> CloseFrame {
    CloseFrame { code, reason: reason.into() }
}
