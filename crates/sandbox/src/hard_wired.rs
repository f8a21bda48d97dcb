//! The yardstick of a load test: an agent that is wired to three vendors and does nothing else.
//!
//! It reads the carrier's stream, sends the audio to the transcriber, the transcript to the model and each sentence to
//! the voice, and plays what comes back, in frames of 20 ms at most 400 ms ahead of real time, with a mark behind each
//! sentence. Words of the caller clear what is queued. It has no voice activity detection, recording, replay log, table,
//! events, fallbacks or time-outs: a media worker does all of that besides, and costs accordingly more.

use std::{borrow::Cow, collections::VecDeque, time::Duration};

use anyhow::Context as _;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use serde::Deserialize;
use serde_json::json;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep_until},
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, accept_async, connect_async_with_config,
    tungstenite::{Message, client::IntoClientRequest as _, http::HeaderValue},
};

use crate::{
    audio::{self, FRAME_BYTES},
    deepgram, openai,
};

const GREETING: &str = "Hello, this is the agent that answers everything. What would you like to know?";
const AHEAD: Duration = Duration::from_millis(400);
/// Sentences and pieces of audio on their way within a call.
const QUEUE: usize = 64;
const LISTEN: &str = "/v1/listen?encoding=mulaw&sample_rate=8000&channels=1&model=nova-3&language=en\
                      &interim_results=true&endpointing=300&vad_events=true&punctuate=true";
const SPEAK: &str = "/v1/speak?model=aura-2-thalia-en&encoding=mulaw&sample_rate=8000&container=none";

/// The base URLs of the agent's vendors, as the sandbox serves them.
#[derive(Debug, Clone)]
pub struct HardWiredVendors {
    /// Of the transcriber and the voice.
    pub deepgram: String,
    /// Of the model.
    pub openai: String,
}

/// Answers every media stream that connects. Returns only with an error.
///
/// # Errors
/// The listener fails.
pub async fn serve_hard_wired(listener: TcpListener, vendors: HardWiredVendors) -> anyhow::Result<()> {
    let client = reqwest::Client::builder().no_proxy().tcp_nodelay(true).build()?;
    let mut calls = JoinSet::new();
    loop {
        let (socket, _) = listener.accept().await?;
        let agent = Agent { client: client.clone(), vendors: vendors.clone() };
        calls.spawn(async move {
            if let Err(error) = agent.serve(socket).await {
                tracing::warn!(error = format!("{error:#}"), "hard-wired call ended");
            }
        });
    }
}

#[derive(Clone)]
struct Agent {
    client: reqwest::Client,
    vendors: HardWiredVendors,
}

/// A part of the speech.
enum Spoken {
    Audio(Bytes),
    SentenceEnds,
}

#[derive(Deserialize)]
struct Incoming<'a> {
    event: &'a str,
    #[serde(borrow, rename = "streamSid")]
    stream_sid: Option<Cow<'a, str>>,
    #[serde(borrow)]
    media: Option<Media<'a>>,
}

#[derive(Deserialize)]
struct Media<'a> {
    payload: &'a str,
}

#[derive(Deserialize)]
struct Results {
    #[serde(default)]
    channel: Channel,
    #[serde(default)]
    speech_final: bool,
}

#[derive(Deserialize, Default)]
struct Channel {
    alternatives: Vec<Alternative>,
}

#[derive(Deserialize)]
struct Alternative {
    transcript: String,
}

#[derive(Deserialize)]
struct Chunk {
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    delta: Delta,
}

#[derive(Deserialize)]
struct Delta {
    #[serde(default)]
    content: String,
}

/// Audio that is not sent yet, and the time until which the audio that was sent plays.
#[derive(Default)]
struct Outgoing {
    queue: VecDeque<Spoken>,
    plays_until: Option<Instant>,
}

impl Agent {
    async fn serve(self, socket: TcpStream) -> anyhow::Result<()> {
        socket.set_nodelay(true)?;
        let mut carrier = accept_async(socket).await?;
        let mut transcriber = self.listen().await?;
        let (speaks, mut spoken) = mpsc::channel(QUEUE);
        let mut reply = JoinSet::new();
        reply.spawn(self.clone().say(GREETING.to_owned(), speaks.clone()));
        let (mut outgoing, mut stream_sid) = (Outgoing::default(), String::new());
        loop {
            let due = outgoing.due();
            tokio::select! {
                message = carrier.next() => {
                    let Message::Text(text) = message.context("the carrier left")?? else { continue };
                    let Ok(incoming) = serde_json::from_str::<Incoming<'_>>(&text) else { continue };
                    match (incoming.event, incoming.media) {
                        ("media", Some(media)) => {
                            let audio = BASE64_STANDARD.decode(media.payload)?;
                            transcriber.send(Message::binary(audio)).await?;
                        }
                        ("start", _) => stream_sid = incoming.stream_sid.unwrap_or_default().into_owned(),
                        ("stop", _) => return Ok(()),
                        _ => {}
                    }
                }
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    for text in outgoing.take_due(&stream_sid) {
                        carrier.send(Message::text(text)).await?;
                    }
                }
                message = transcriber.next() => {
                    let Message::Text(text) = message.context("the transcriber left")?? else { continue };
                    let Ok(results) = serde_json::from_str::<Results>(&text) else { continue };
                    let Some(heard) = results.channel.alternatives.into_iter().next() else { continue };
                    if heard.transcript.is_empty() {
                        continue;
                    }
                    reply.abort_all();
                    while spoken.try_recv().is_ok() {}
                    if outgoing.clear() {
                        carrier.send(Message::text(json!({ "event": "clear", "streamSid": stream_sid }).to_string())).await?;
                    }
                    if results.speech_final {
                        reply.spawn(self.clone().answer(heard.transcript, speaks.clone()));
                    }
                }
                Some(piece) = spoken.recv() => outgoing.queue.push_back(piece),
                Some(_) = reply.join_next() => {}
            }
        }
    }

    async fn listen(&self) -> anyhow::Result<WebSocketStream<MaybeTlsStream<TcpStream>>> {
        let url = format!("{}{LISTEN}", self.vendors.deepgram.replacen("http", "ws", 1));
        let mut request = url.into_client_request()?;
        let key = HeaderValue::try_from(format!("Token {}", deepgram::API_KEY))?;
        request.headers_mut().insert("authorization", key);
        Ok(connect_async_with_config(request, None, true).await?.0)
    }

    /// Asks the model, and says each sentence of its answer while the next one is generated.
    async fn answer(self, heard: String, speaks: mpsc::Sender<Spoken>) {
        let (sentences, mut waiting) = mpsc::channel::<String>(QUEUE);
        let generate = async {
            // A sentence that is not finished is said as far as it goes.
            let _ = self.generate(&heard, &sentences).await;
            drop(sentences);
        };
        let speak = async {
            while let Some(sentence) = waiting.recv().await {
                self.clone().say(sentence, speaks.clone()).await;
            }
        };
        tokio::join!(generate, speak);
    }

    async fn generate(&self, heard: &str, sentences: &mpsc::Sender<String>) -> anyhow::Result<()> {
        let request = json!({
            "model": "gpt-6-luna",
            "stream": true,
            "messages": [
                { "role": "system", "content": "You answer every question about a number in two sentences." },
                { "role": "user", "content": heard },
            ],
        });
        let url = format!("{}/chat/completions", self.vendors.openai);
        let response = self.client.post(url).bearer_auth(openai::API_KEY).json(&request).send().await?;
        let (mut body, mut unread, mut text) = (response.bytes_stream(), Vec::new(), String::new());
        while let Some(bytes) = body.next().await {
            unread.extend_from_slice(&bytes?);
            while let Some(end) = unread.windows(2).position(|pair| pair == b"\n\n") {
                let event: Vec<u8> = unread.drain(..end + 2).collect();
                let chunk = event.strip_prefix(b"data: ").map(serde_json::from_slice::<Chunk>);
                let Some(Ok(chunk)) = chunk else { continue };
                text.extend(chunk.choices.into_iter().map(|choice| choice.delta.content));
                // The space behind a full stop proves the end of a sentence.
                if let Some(end) = text.find(". ") {
                    let rest = text.split_off(end + 2);
                    sentences.send(std::mem::replace(&mut text, rest)).await?;
                }
            }
        }
        sentences.send(text).await?;
        Ok(())
    }

    async fn say(self, sentence: String, speaks: mpsc::Sender<Spoken>) {
        let request = self.client.post(format!("{}{SPEAK}", self.vendors.deepgram));
        let request = request.header("authorization", format!("Token {}", deepgram::API_KEY));
        let Ok(response) = request.json(&json!({ "text": sentence })).send().await else { return };
        let mut body = response.bytes_stream();
        // The call may be over.
        while let Some(Ok(audio)) = body.next().await {
            let _ = speaks.send(Spoken::Audio(audio)).await;
        }
        let _ = speaks.send(Spoken::SentenceEnds).await;
    }
}

impl Outgoing {
    /// When the next frame is due; none if nothing is queued.
    fn due(&self) -> Option<Instant> {
        let plays_until = self.plays_until.unwrap_or_else(Instant::now);
        (!self.queue.is_empty()).then(|| plays_until.checked_sub(AHEAD).unwrap_or(plays_until))
    }

    /// The messages that are due.
    fn take_due(&mut self, stream_sid: &str) -> Vec<String> {
        let now = Instant::now();
        let mut messages = vec![];
        while let Some(next) = self.queue.front_mut() {
            match next {
                Spoken::SentenceEnds => {
                    messages.push(format!(
                        r#"{{"event":"mark","streamSid":"{stream_sid}","mark":{{"name":"end"}}}}"#
                    ));
                }
                Spoken::Audio(audio) if !audio.is_empty() => {
                    let plays_until = self.plays_until.map_or(now, |at| at.max(now));
                    if plays_until > now + AHEAD {
                        break;
                    }
                    let frame = audio.split_to(audio.len().min(FRAME_BYTES));
                    self.plays_until = Some(plays_until + audio::duration(frame.len()));
                    let mut text = String::with_capacity(320);
                    text.push_str(r#"{"event":"media","streamSid":""#);
                    text.push_str(stream_sid);
                    text.push_str(r#"","media":{"payload":""#);
                    BASE64_STANDARD.encode_string(&frame, &mut text);
                    text.push_str("\"}}");
                    messages.push(text);
                    continue;
                }
                Spoken::Audio(_) => {}
            }
            self.queue.pop_front();
        }
        messages
    }

    /// Drops everything; whether some of it was still playing.
    fn clear(&mut self) -> bool {
        self.queue.clear();
        self.plays_until.take().is_some_and(|until| until > Instant::now())
    }
}
