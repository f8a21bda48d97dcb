//! Live transcription: `GET` of a websocket, with a turn of the protocol after the other.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension,
    extract::{
        OriginalUri, Query, State,
        ws::{
            CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code,
            rejection::WebSocketUpgradeRejection,
        },
    },
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until, timeout};

use super::{admission::Server, phrases::Phrases, usp};
use crate::{
    deepgram::recogniser::{Encoding, Recogniser, RecogniserEvent},
    faults::{Disruption, Treatment},
    speech::Speech,
};

/// The path for one language.
pub(super) const CONVERSATION: &str = "/speech/recognition/conversation/cognitiveservices/v1";
/// The path that can tell languages apart.
pub(super) const UNIVERSAL: &str = "/stt/speech/universal/v2";

/// Maximum life of a connection.
const MAX_CONNECTION: Duration = Duration::from_mins(10);
/// A client that reads nothing for this long is disconnected.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);
/// Silence that ends a phrase unless the client asks for another one.
const SEGMENTATION: Duration = Duration::from_millis(650);

/// The requested options.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Options {
    is_detailed: bool,
    /// Whether languages may be told apart.
    identifies_languages: bool,
}

impl Options {
    fn parse(path: &str, query: &[(String, String)], headers: &HeaderMap) -> Result<Self, StatusCode> {
        let get =
            |name: &str| query.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let connection_id = headers.get("x-connectionid").and_then(|id| id.to_str().ok());
        if !connection_id.is_some_and(usp::is_id) {
            return Err(StatusCode::BAD_REQUEST);
        }
        // The vendor's own client names the languages here, too.
        let identifies_languages = get("lidEnabled").is_some_and(|enabled| enabled != "false");
        let is_locale = |language: &str| language.len() >= 5 && language.contains('-');
        let is_named = get("language").is_some_and(is_locale);
        let is_valid = if path == UNIVERSAL { is_named || identifies_languages } else { is_named };
        let is_detailed = match get("format") {
            None | Some("simple") => false,
            Some("detailed") => true,
            Some(_) => return Err(StatusCode::BAD_REQUEST),
        };
        let profanity = matches!(get("profanity"), None | Some("masked" | "removed" | "raw"));
        if is_valid && profanity {
            Ok(Self { is_detailed, identifies_languages })
        } else {
            Err(StatusCode::BAD_REQUEST)
        }
    }
}

/// The handler of the routes.
pub(super) async fn listen(
    State(server): State<Arc<Server>>,
    Extension(service): Extension<Treatment<Value>>,
    OriginalUri(uri): OriginalUri,
    Query(query): Query<Vec<(String, String)>>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let options = match Options::parse(uri.path(), &query, &headers) {
        Ok(options) => options,
        Err(status) => return status.into_response(),
    };
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade.protocols(["USP"]).max_message_size(1 << 20).max_frame_size(1 << 20),
        Err(rejection) => return rejection.into_response(),
    };
    upgrade.on_upgrade(async move |mut socket| {
        if service.disruption == Some(Disruption::Silent) {
            ignore(&mut socket, &server).await;
            return;
        }
        let stream = Stream {
            options,
            speech: server.speech.clone(),
            disruption: service.disruption,
            is_configured: false,
            turn: None,
        };
        // Without a close frame the connection is cut.
        if let Some(close) = stream.run(&mut socket, &server).await {
            // The client may be gone already.
            drop(timeout(SEND_TIMEOUT, socket.send(Message::Close(Some(close)))).await);
        }
    })
}

/// Reads and ignores everything until the client leaves.
async fn ignore(socket: &mut WebSocket, server: &Server) {
    server.stop.run_until_cancelled(async { while let Some(Ok(_)) = socket.recv().await {} }).await;
}

/// One connection.
struct Stream {
    options: Options,
    speech: Speech,
    disruption: Option<Disruption>,
    /// Whether `speech.config` came.
    is_configured: bool,
    turn: Option<ProtocolTurn>,
}

/// A turn of the protocol.
struct ProtocolTurn {
    request_id: String,
    recogniser: Recogniser,
    phrases: Phrases,
    has_header: bool,
    is_closing: bool,
}

/// Messages to send, or the mistake of the client.
type Reaction = Result<Vec<(&'static str, Value)>, &'static str>;

impl Stream {
    /// Returns the close frame to send; none if the client is gone, or a disruption was due at the first words.
    async fn run(mut self, socket: &mut WebSocket, server: &Server) -> Option<CloseFrame> {
        let ends_at = Instant::now() + MAX_CONNECTION;
        loop {
            let recognised = async {
                match &mut self.turn {
                    Some(turn) => turn.recogniser.recognised().await,
                    None => std::future::pending().await,
                }
            };
            let reaction = tokio::select! {
                biased;
                () = server.stop.cancelled() => return Some(close(close_code::AWAY, "the server stops")),
                () = sleep_until(ends_at) => return Some(close(close_code::NORMAL, "the connection is too old")),
                heard = recognised => match heard {
                    Some(heard) => Ok(self.tell(&heard)),
                    None => return Some(close(close_code::ERROR, "the speech engine failed")),
                },
                message = socket.recv() => match message {
                    None | Some(Err(_) | Ok(Message::Close(_))) => return None,
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                    Some(Ok(Message::Text(text))) => usp::text(&text).and_then(|message| self.text(&message)),
                    Some(Ok(Message::Binary(bytes))) => {
                        usp::binary(&bytes).and_then(|message| self.audio(&message))
                    }
                },
            };
            let messages = match reaction {
                Ok(messages) => messages,
                Err(mistake) => return Some(close(close_code::INVALID, mistake)),
            };
            for (path, body) in messages {
                let has_words = body.get("Text").or_else(|| body.get("DisplayText")).is_some();
                if has_words && let Some(disruption) = self.disruption {
                    if disruption != Disruption::Break {
                        ignore(socket, server).await;
                    }
                    return None;
                }
                let request_id = self.turn.as_ref().map_or("", |turn| &turn.request_id);
                let message = Message::text(usp::answer(path, request_id, &body));
                let Ok(Ok(())) = timeout(SEND_TIMEOUT, socket.send(message)).await else { return None };
                if path == "turn.end" {
                    self.turn = None;
                }
            }
        }
    }

    fn text(&mut self, message: &usp::Message<'_>) -> Reaction {
        let body: Value = serde_json::from_slice(message.body).map_err(|_| "the body is not JSON")?;
        match message.path {
            "speech.config" => {
                if body["context"]["system"]["version"].as_str().is_none() {
                    return Err("speech.config needs the version of the client");
                }
                self.is_configured = true;
                Ok(vec![])
            }
            "speech.context" => {
                if !self.is_configured {
                    return Err("speech.config must come first");
                }
                if self.turn.is_some() {
                    return Err("the last turn is not over");
                }
                self.turn = Some(self.begin(message.request_id, &body)?);
                Ok(vec![("turn.start", json!({"context": {"serviceTag": crate::ids::uuid()}}))])
            }
            "telemetry" => Ok(vec![]),
            _ => Err("the path of a text message is unknown"),
        }
    }

    fn begin(&self, request_id: &str, context: &Value) -> Result<ProtocolTurn, &'static str> {
        let languages = context["languageId"]["languages"].as_array();
        if let Some(languages) = languages {
            if !self.options.identifies_languages {
                return Err("language identification needs lidEnabled");
            }
            let most = if context["languageId"]["mode"] == "DetectContinuous" { 10 } else { 4 };
            let mut primaries: Vec<&str> =
                languages.iter().filter_map(|language| language.as_str()?.split('-').next()).collect();
            primaries.sort_unstable();
            primaries.dedup();
            if primaries.len() != languages.len() || !(1..=most).contains(&languages.len()) {
                return Err("languages must be different ones, four at the beginning or ten continuously");
            }
        }
        let language = languages.and_then(|languages| languages.first()?.as_str()).map(str::to_owned);
        let detection = &context["phraseDetection"];
        // The vendor's clients write the name of the mode, and of its member, in their own ways.
        let mode = detection["mode"].as_str().unwrap_or("Conversation");
        if !mode.eq_ignore_ascii_case("conversation") {
            return Err("this server knows the mode Conversation only");
        }
        let members = detection.as_object();
        let settings = members.and_then(|members| {
            members
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case("conversation"))
                .map(|(_, settings)| settings)
        });
        let silence = match settings.map(|settings| &settings["segmentation"]["segmentationSilenceTimeoutMs"])
        {
            None | Some(Value::Null) => SEGMENTATION,
            Some(ms) => match ms.as_u64() {
                Some(ms @ 100..=5_000) => Duration::from_millis(ms),
                _ => return Err("segmentationSilenceTimeoutMs must be from 100 to 5000"),
            },
        };
        Ok(ProtocolTurn {
            request_id: request_id.to_owned(),
            recogniser: Recogniser::new(self.speech.clone(), Encoding::Mulaw, silence),
            phrases: Phrases::new(self.options.is_detailed, language),
            has_header: false,
            is_closing: false,
        })
    }

    fn audio(&mut self, message: &usp::Message<'_>) -> Reaction {
        if message.path != "audio" {
            return Err("the path of a binary message must be audio");
        }
        // Audio of a turn that is over is late.
        let Some(turn) = self.turn.as_mut().filter(|turn| turn.request_id == message.request_id) else {
            return Ok(vec![]);
        };
        if turn.is_closing {
            return Err("the audio of the turn was over");
        }
        let heard = match (message.body, turn.has_header) {
            ([], _) => {
                turn.is_closing = true;
                turn.recogniser.close()
            }
            (header, false) => {
                if message.content_type != Some("audio/x-wav") {
                    return Err("the first audio of a turn must be audio/x-wav");
                }
                turn.recogniser.set_encoding(usp::read_wav(header)?);
                turn.has_header = true;
                turn.recogniser.audio(&header[44..])
            }
            (audio, true) => turn.recogniser.audio(audio),
        };
        Ok(self.tell(&heard))
    }

    /// The messages for what was heard, and for the end of the turn.
    fn tell(&mut self, heard: &[RecogniserEvent]) -> Vec<(&'static str, Value)> {
        let Some(turn) = &mut self.turn else { return vec![] };
        let mut messages: Vec<_> = heard.iter().filter_map(|heard| turn.phrases.on(heard)).collect();
        if heard.contains(&RecogniserEvent::Closed) {
            messages.extend(turn.phrases.end(turn.recogniser.position()));
            messages.push(("turn.end", json!({})));
        }
        messages
    }
}

fn close(code: u16, reason: &'static str) -> CloseFrame {
    CloseFrame { code, reason: reason.into() }
}
