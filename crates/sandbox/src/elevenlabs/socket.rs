//! The websockets: one context (`stream-input`), or up to five at a time (`multi-stream-input`).
//!
//! The socket's task reads messages and writes speech. Each context has a task that speaks its texts in their order, and
//! ends with the final message.

use std::{collections::HashMap, sync::Arc};

use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use futures_util::{SinkExt as _, StreamExt as _, stream::SplitSink};
use serde_json::Value;
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Duration, Instant, timeout, timeout_at},
};

use super::{
    alignment::TimedSpeech,
    api::{Refusal, Server},
    messages::{self, ClientMessage},
    options::{Format, SocketOptions},
};
use crate::{faults::Disruption, speech::sentences};

/// Contexts that a connection may have at a time.
const MAX_CONTEXTS: usize = 5;
/// Characters that are collected before the first of them are spoken, unless the client asks for them.
const FIRST_CHUNK: usize = 120;
/// A client that reads nothing for this long is disconnected.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);
/// Texts of a context that wait for the ones before them.
const MAX_TEXTS: usize = 64;
/// Messages of all contexts that wait to be written.
const MAX_OUTPUTS: usize = 64;
/// Length of the audio of a message, in milliseconds.
const CHUNK_MS: usize = 400;

/// A client's connection.
pub(super) struct Connection {
    pub(super) server: Arc<Server>,
    pub(super) options: SocketOptions,
    pub(super) key: String,
    pub(super) has_contexts: bool,
}

/// A message that a context's task sends.
enum Output {
    Speech(Value),
    /// The last message of the context with this name.
    Final(String),
    Refused(Refusal),
    /// The connection is cut on purpose.
    Cut,
}

/// The end of a connection. None: it is cut.
type End = Option<(Option<Refusal>, CloseFrame)>;

struct Context {
    /// Text that is not spoken yet.
    buffer: String,
    texts: mpsc::Sender<String>,
}

impl Connection {
    /// Serves until either side ends the connection.
    pub(super) async fn serve(self, socket: WebSocket, refused: Option<Refusal>) {
        let (mut sink, mut stream) = socket.split();
        let end = match refused {
            Some(refusal) => Some(policy(refusal)),
            None => self.run(&mut sink, &mut stream).await,
        };
        let Some((event, close)) = end else { return };
        let event = event.map(|refusal| Message::text(refusal.event().to_string()));
        for message in event.into_iter().chain([Message::Close(Some(close))]) {
            // The client may be gone already.
            drop(timeout(SEND_TIMEOUT, sink.send(message)).await);
        }
        // Until the client has closed too: a connection that is cut with unread messages may lose the refusal.
        let closing = async { while let Some(Ok(_)) = stream.next().await {} };
        drop(timeout(SEND_TIMEOUT, self.server.stop.run_until_cancelled(closing)).await);
    }

    async fn run(
        &self,
        sink: &mut SplitSink<WebSocket, Message>,
        stream: &mut (impl futures_util::Stream<Item = Result<Message, axum::Error>> + Unpin),
    ) -> End {
        let (outputs, mut ready) = mpsc::channel(MAX_OUTPUTS);
        // Contexts that have not sent their final message; those that were closed have no entry to write to.
        let mut contexts: HashMap<String, Option<Context>> = HashMap::new();
        let mut tasks = JoinSet::new();
        let mut deadline = Instant::now() + self.options.inactivity_timeout;
        let mut is_closing = false;
        loop {
            if is_closing && contexts.is_empty() {
                return Some((None, CloseFrame { code: close_code::NORMAL, reason: "".into() }));
            }
            tokio::select! {
                biased;
                () = self.server.stop.cancelled() => {
                    return Some((None, CloseFrame { code: close_code::AWAY, reason: "the server stops".into() }));
                }
                Some(output) = ready.recv() => {
                    let message = match output {
                        Output::Speech(message) => message,
                        Output::Final(name) => {
                            contexts.remove(&name);
                            messages::last(self.has_contexts.then_some(name.as_str()))
                        }
                        Output::Refused(refusal) => return Some(policy(refusal)),
                        Output::Cut => return None,
                    };
                    let sent = timeout(SEND_TIMEOUT, sink.send(Message::text(message.to_string()))).await;
                    let Ok(Ok(())) = sent else { return None };
                }
                message = timeout_at(deadline, stream.next()), if !is_closing => match message {
                    Err(_) => return Some(policy(Refusal::new(
                        axum::http::StatusCode::REQUEST_TIMEOUT,
                        "input_timeout_exceeded",
                        "This connection was closed: input timeout exceeded.",
                    ))),
                    Ok(None | Some(Err(_) | Ok(Message::Close(_)))) => return None,
                    Ok(Some(Ok(Message::Text(text)))) => {
                        deadline = Instant::now() + self.options.inactivity_timeout;
                        match self.on(&text, &mut contexts, &outputs, &mut tasks) {
                            Ok(closes) => is_closing = closes,
                            Err(refusal) => return Some(policy(refusal)),
                        }
                    }
                    Ok(Some(Ok(Message::Binary(_)))) => {
                        return Some(policy(Refusal::message("messages must be text")));
                    }
                    Ok(Some(Ok(Message::Ping(_) | Message::Pong(_)))) => {}
                },
            }
        }
    }

    /// Takes a message; whether the client ends the connection.
    fn on(
        &self,
        text: &str,
        contexts: &mut HashMap<String, Option<Context>>,
        outputs: &mpsc::Sender<Output>,
        tasks: &mut JoinSet<()>,
    ) -> Result<bool, Refusal> {
        let message = ClientMessage::read(text)?;
        if !self.has_contexts
            && (message.context_id.is_some() || message.close_context || message.close_socket)
        {
            return Err(Refusal::message("this endpoint has no contexts"));
        }
        if message.close_socket {
            for context in contexts.values_mut() {
                // Flushed text is still spoken.
                drop(context.take());
            }
            return Ok(true);
        }
        let name = message.context_id.clone().unwrap_or_else(|| "default".to_owned());
        let text = message.text.clone().unwrap_or_default();
        if message.close_context {
            match contexts.get_mut(&name) {
                Some(context) => drop(context.take()),
                None => return Err(Refusal::message("there is no such context to close")),
            }
            return Ok(false);
        }
        if !matches!(contexts.get(&name), Some(Some(_))) {
            // The space is what opens a context; its settings cannot be given later.
            if message.voice_settings.is_none() && self.has_contexts {
                return Err(Refusal::message("voice_settings field must be provided in the first message"));
            }
            if text != " " {
                return Err(Refusal::message("the text of the first message must be a single space"));
            }
            if contexts.len() >= MAX_CONTEXTS || contexts.contains_key(&name) {
                return Err(Refusal::new(
                    axum::http::StatusCode::CONFLICT,
                    "max_active_conversations",
                    format!(
                        "Maximum simultaneous contexts per WebSocket connection exceeded ({MAX_CONTEXTS}). Please \
                         close an existing context before opening a new one."
                    ),
                ));
            }
            let (texts, waiting) = mpsc::channel(MAX_TEXTS);
            let voice = ContextVoice {
                server: Arc::clone(&self.server),
                key: self.key.clone(),
                format: self.options.format,
                is_synchronous: self.options.sync_alignment,
                name: name.clone(),
                shown: self.has_contexts.then(|| name.clone()),
                outputs: outputs.clone(),
            };
            tasks.spawn(voice.speak(waiting));
            contexts.insert(name, Some(Context { buffer: String::new(), texts }));
            return Ok(false);
        }
        let Some(Some(context)) = contexts.get_mut(&name) else { return Ok(false) };
        if message.begins() {
            return Err(Refusal::message("voice_settings can only be set in the first message of a context"));
        }
        // Without contexts, an empty text ends the only one. With them it keeps one alive.
        let is_end = !self.has_contexts && message.text.as_deref() == Some("");
        context.buffer.push_str(&text);
        let characters = context.buffer.chars().count();
        let is_enough = message.triggers(characters) || characters >= FIRST_CHUNK;
        if is_end || self.options.auto_mode || is_enough {
            let spoken = std::mem::take(&mut context.buffer);
            if !spoken.trim().is_empty() && context.texts.try_send(spoken).is_err() {
                return Err(Refusal::message("too many texts wait in this context"));
            }
        }
        if is_end {
            drop(contexts.get_mut(&name).and_then(Option::take));
        }
        Ok(is_end)
    }
}

fn policy(refusal: Refusal) -> (Option<Refusal>, CloseFrame) {
    let reason: String = refusal.message.chars().take(100).collect();
    (Some(refusal), CloseFrame { code: close_code::POLICY, reason: reason.into() })
}

/// The task of a context.
struct ContextVoice {
    server: Arc<Server>,
    key: String,
    format: Format,
    is_synchronous: bool,
    name: String,
    /// The name in messages.
    shown: Option<String>,
    outputs: mpsc::Sender<Output>,
}

impl ContextVoice {
    /// Speaks the texts until the context is closed.
    async fn speak(self, mut texts: mpsc::Receiver<String>) {
        while let Some(text) = texts.recv().await {
            // A fault concerns one text: the connection lives as long as the call.
            let spoken = match self.server.admit(&self.key) {
                Ok(disruption) => self.speak_text(&text, disruption).await,
                Err(refusal) => Err(Output::Refused(refusal)),
            };
            if let Err(output) = spoken {
                self.send(output).await;
                return;
            }
        }
        self.send(Output::Final(self.name.clone())).await;
    }

    async fn speak_text(&self, text: &str, disruption: Option<Disruption>) -> Result<(), Output> {
        let Ok(_permit) = self.server.concurrency.try_acquire() else {
            return Err(Output::Refused(Refusal::concurrency()));
        };
        if disruption == Some(Disruption::Silent) {
            std::future::pending::<()>().await;
        }
        for sentence in sentences(text) {
            let speech = &self.server.speech;
            let samples =
                speech.synthesize_linear(&sentence, 1.0, self.format.rate).await.map_err(|error| {
                    tracing::warn!(%error, "speech engine failed");
                    Output::Refused(Refusal::new(
                        axum::http::StatusCode::INTERNAL_SERVER_ERROR,
                        "internal_server_error",
                        "the speech engine failed",
                    ))
                })?;
            let speech = TimedSpeech::new(&format!("{sentence} "), samples, self.format.rate);
            let chunk = CHUNK_MS * self.format.rate as usize / 1_000;
            let length = if disruption.is_some() { speech.samples.len() / 2 } else { speech.samples.len() };
            for from in (0..length).step_by(chunk) {
                let until = length.min(from + chunk);
                let is_last = until == speech.samples.len();
                let alignment = match (self.is_synchronous, from) {
                    (true, _) => speech.alignment(from, (!is_last).then_some(until)),
                    (false, 0) => speech.alignment(0, None),
                    (false, _) => None,
                };
                let audio = self.format.bytes(&speech.samples[from..until]);
                self.send(Output::Speech(messages::speech(
                    self.shown.as_deref(),
                    &audio,
                    alignment.as_ref(),
                )))
                .await;
            }
            match disruption {
                None => {}
                Some(Disruption::Break) => return Err(Output::Cut),
                Some(_) => std::future::pending().await,
            }
        }
        Ok(())
    }

    async fn send(&self, output: Output) {
        // The connection may be over.
        let _ = self.outputs.send(output).await;
    }
}
