//! Deepgram live transcription with Flux models, `wss .../v2/listen`: the model itself ends the caller's turns.
//!
//! [`Flux`] is the transcriber; `turn.rs` reads the messages without any IO. The protocol has no `KeepAlive` and no
//! `Finalize`: while no audio arrives a session is sent silence, else a turn would never end.

mod turn;

use std::{collections::VecDeque, time::Duration};

use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt, SinkExt, StreamExt, future::BoxFuture, stream};
use reqwest::Url;
use switchboard_model::catalogue::deepgram::{FLUX_TURN_TIMEOUT, key_terms, nearest_model};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until, timeout},
};
use tokio_tungstenite::tungstenite::{self, Message};

use self::turn::{ServerMessage, Turn};
use super::{
    VENDOR,
    listen::{FORMAT, Settings, in_wideband, without_weight},
    socket,
};
use crate::{
    Error, Providers, Secret,
    audio::AudioFormat,
    egress::WebSocket,
    transcriber::{AudioSink, Transcriber, TranscriberSession, TranscriptEvent},
    unusable::Unusable,
};

/// Length of a message of audio, as the vendor advises.
const CHUNK: Duration = Duration::from_millis(80);

/// The decisions of the model about turns, and the time-outs of a session.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Timing {
    /// Confidence, 0.5 to 1, at which a turn ends. None: the vendor's default, 0.7.
    pub end_confidence: Option<f32>,
    /// Confidence, 0.3 to 0.9, at which the end is expected. None: never, because the engine prepares no replies.
    pub expect_confidence: Option<f32>,
    /// Silence that ends a turn in any case, 0.5 to 60 s.
    pub turn_timeout: Duration,
    /// Time without audio after which a session is sent silence.
    pub gap: Duration,
    /// Maximum time to write a message.
    pub write: Duration,
    /// Maximum time without any message from the server; it is pinged after half of it.
    pub silence: Duration,
    /// Maximum time from the last audio to the last words.
    pub finish: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            end_confidence: None,
            expect_confidence: None,
            turn_timeout: FLUX_TURN_TIMEOUT,
            gap: Duration::from_millis(500),
            write: Duration::from_secs(2),
            silence: Duration::from_secs(10),
            finish: Duration::from_secs(5),
        }
    }
}

/// Deepgram's transcriber with one Flux model and one key.
#[derive(Debug, Clone)]
pub struct Flux {
    url: Url,
    key: Secret,
    timing: Timing,
    format: AudioFormat,
}

impl Flux {
    /// For the configured server and key.
    ///
    /// # Errors
    /// There is no key.
    pub fn new(providers: &Providers, settings: &Settings<'_>, timing: Timing) -> Result<Self, Unusable> {
        let mut url = listen_url(providers.endpoints.of(VENDOR), settings, &timing);
        if providers.endpoints.opts_out(VENDOR) {
            url.query_pairs_mut().append_pair(super::OPT_OUT.0, super::OPT_OUT.1);
        }
        Ok(Self { url, key: providers.key(VENDOR)?, timing, format: FORMAT })
    }

    #[cfg(test)]
    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    fn with_format(mut self, format: AudioFormat) -> Self {
        if format == AudioFormat::WIDEBAND {
            self.url = in_wideband(self.url);
            self.format = format;
        }
        self
    }

    async fn open(self) -> Result<(AudioSink, TranscriberSession), Error> {
        let socket = socket::open(&self.url, &self.key).await?;
        let (sink, audio) = AudioSink::new(VENDOR);
        let sink = sink.of_format(self.format);
        let now = Instant::now();
        let session = Session {
            socket,
            audio,
            timing: self.timing,
            format: self.format,
            turn: Turn::default(),
            chunk: BytesMut::new(),
            last_audio: now,
            last_received: now,
            pinged: false,
            bytes_sent: 0,
            finish_by: None,
            ready: VecDeque::new(),
            over: false,
        };
        Ok((sink, session.into_stream()))
    }
}

impl Transcriber for Flux {
    fn connect_for(
        &self,
        format: AudioFormat,
    ) -> BoxFuture<'static, Result<(AudioSink, TranscriberSession), Error>> {
        self.clone().with_format(format).open().boxed()
    }
}

fn listen_url(base: &Url, settings: &Settings<'_>, timing: &Timing) -> Url {
    let mut url = socket::url(base, "/v2/listen");
    let (model, language) = nearest_model(settings.model, settings.language);
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs([
        ("model", model),
        ("encoding", "mulaw"),
        ("sample_rate", &FORMAT.sample_rate.to_string()),
        ("eot_timeout_ms", &timing.turn_timeout.as_millis().to_string()),
    ]);
    for (name, confidence) in
        [("eot_threshold", timing.end_confidence), ("eager_eot_threshold", timing.expect_confidence)]
    {
        if let Some(confidence) = confidence {
            query.append_pair(name, &confidence.to_string());
        }
    }
    if model.starts_with("flux-general-multi") && language != "multi" {
        query.append_pair("language_hint", language);
    }
    for term in
        key_terms(model, settings.key_terms).iter().map(|term| term.trim()).filter(|term| !term.is_empty())
    {
        query.append_pair("keyterm", without_weight(term));
    }
    // Deepgram wants %20 within a key term; a plus sign in one is %2B already.
    url.set_query(Some(&query.finish().replace('+', "%20")));
    url
}

/// An open session. It does its work while its stream is polled.
struct Session {
    socket: WebSocket,
    audio: mpsc::Receiver<Bytes>,
    timing: Timing,
    format: AudioFormat,
    turn: Turn,
    /// Audio that is no whole message yet.
    chunk: BytesMut,
    /// When audio was last sent.
    last_audio: Instant,
    last_received: Instant,
    /// Whether the server was pinged since its last message.
    pinged: bool,
    bytes_sent: u64,
    /// When the last words must be here; set once the audio is over.
    finish_by: Option<Instant>,
    ready: VecDeque<Result<TranscriptEvent, Error>>,
    over: bool,
}

impl Session {
    fn into_stream(self) -> TranscriberSession {
        stream::unfold(self, |mut session| async {
            loop {
                if let Some(event) = session.ready.pop_front() {
                    return Some((event, session));
                }
                if session.over {
                    return None;
                }
                if let Err(error) = session.step().await {
                    session.end(Some(error));
                }
            }
        })
        .boxed()
    }

    /// Moves one message in either direction.
    async fn step(&mut self) -> Result<(), Error> {
        let gap_at = self.last_audio + self.timing.gap;
        let silence = if self.pinged { self.timing.silence } else { self.timing.silence / 2 };
        let silent_at = self.last_received + silence;
        let finish_by = self.finish_by;
        tokio::select! {
            biased;
            frame = self.audio.recv(), if finish_by.is_none() => match frame {
                Some(frame) => self.take(&frame).await,
                None => self.finish().await,
            },
            message = self.socket.next() => {
                self.last_received = Instant::now();
                self.pinged = false;
                self.receive(message)
            }
            () = sleep_until(gap_at), if finish_by.is_none() => self.fill(gap_at).await,
            () = sleep_until(silent_at) => {
                if self.pinged {
                    return Err(Error::silent(VENDOR, self.timing.silence));
                }
                self.pinged = true;
                self.write(Message::Ping(Bytes::new())).await
            }
            () = sleep_until(finish_by.unwrap_or(silent_at)), if finish_by.is_some() => {
                // All transcripts have been passed on.
                self.end(None);
                Ok(())
            }
        }
    }

    /// Sends audio once it is a whole message.
    async fn take(&mut self, frame: &[u8]) -> Result<(), Error> {
        self.last_audio = Instant::now();
        self.chunk.extend_from_slice(frame);
        let length = u64::try_from(self.chunk.len()).unwrap_or(u64::MAX);
        if self.format.duration_of(length) < CHUNK { Ok(()) } else { self.flush().await }
    }

    /// Sends silence for the time without audio.
    async fn fill(&mut self, until: Instant) -> Result<(), Error> {
        self.flush().await?;
        let gap = self.format.bytes_in(self.timing.gap);
        self.last_audio = until;
        self.turn.pad(self.format.duration_of(gap));
        let bytes = usize::try_from(gap).unwrap_or_default();
        self.send(Bytes::from(vec![self.format.encoding.silence(); bytes])).await
    }

    async fn flush(&mut self) -> Result<(), Error> {
        let audio = self.chunk.split().freeze();
        // An empty message ends the stream.
        if audio.is_empty() { Ok(()) } else { self.send(audio).await }
    }

    async fn send(&mut self, audio: Bytes) -> Result<(), Error> {
        self.bytes_sent += u64::try_from(audio.len()).unwrap_or(0);
        self.write(Message::Binary(audio)).await
    }

    async fn finish(&mut self) -> Result<(), Error> {
        self.finish_by = Some(Instant::now() + self.timing.finish);
        self.flush().await?;
        self.write(Message::text(r#"{"type":"CloseStream"}"#)).await
    }

    async fn write(&mut self, message: Message) -> Result<(), Error> {
        match timeout(self.timing.write, self.socket.send(message)).await {
            // A closed connection gives its reason in the close frame, which is read next.
            Ok(Ok(()) | Err(tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed)) => {
                Ok(())
            }
            Ok(Err(error)) => Err(Error::broken(VENDOR, "the connection was lost", error)),
            Err(_) => Err(Error::unavailable(VENDOR, "it does not read")),
        }
    }

    fn receive(&mut self, message: Option<Result<Message, tungstenite::Error>>) -> Result<(), Error> {
        match message {
            Some(Ok(Message::Text(text))) => {
                // Messages of an unknown type, now or in a later version, hold no transcript.
                let message = serde_json::from_str(&text).unwrap_or(ServerMessage::Unknown);
                let mut events = Vec::new();
                self.turn.on(message, &mut events)?;
                self.ready.extend(events.into_iter().map(Ok));
                Ok(())
            }
            Some(Ok(Message::Close(Some(frame)))) if !socket::is_normal(&frame) => {
                Err(socket::closed(&frame))
            }
            Some(Ok(Message::Close(_)) | Err(tungstenite::Error::ConnectionClosed)) | None => {
                self.end_of_connection()
            }
            Some(Ok(_)) => Ok(()),
            // After the last audio, a broken connection is an ordinary end.
            Some(Err(_)) if self.finish_by.is_some() => self.end_of_connection(),
            Some(Err(error)) => Err(Error::broken(VENDOR, "the connection was lost", error)),
        }
    }

    fn end_of_connection(&mut self) -> Result<(), Error> {
        if self.finish_by.is_none() {
            return Err(Error::unavailable(VENDOR, "it ended the session"));
        }
        self.end(None);
        Ok(())
    }

    fn end(&mut self, error: Option<Error>) {
        // This protocol does not report the usage.
        let audio = self.format.duration_of(self.bytes_sent);
        self.ready.push_back(Ok(TranscriptEvent::Usage { audio, estimated: true }));
        self.ready.extend(error.map(Err));
        self.over = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(model: &str, language: &str, key_terms: &[&str], timing: &Timing) -> String {
        let key_terms: Vec<String> = key_terms.iter().map(ToString::to_string).collect();
        let base = Url::parse("https://api.deepgram.com").unwrap();
        listen_url(&base, &Settings { model, language, key_terms: &key_terms }, timing).to_string()
    }

    #[test]
    fn a_model_for_one_language_has_no_hint() {
        assert_eq!(
            url("flux-general-en", "en-GB", &["Ada:2", "corner bakery"], &Timing::default()),
            "wss://api.deepgram.com/v2/listen?model=flux-general-en&encoding=mulaw&sample_rate=8000\
             &eot_timeout_ms=3000&keyterm=Ada&keyterm=corner%20bakery"
        );
    }

    #[test]
    fn a_model_for_several_languages_is_told_the_one() {
        let timing = Timing { end_confidence: Some(0.8), expect_confidence: Some(0.5), ..Timing::default() };
        assert_eq!(
            url("flux-general-multi", "fr-FR", &[], &timing),
            "wss://api.deepgram.com/v2/listen?model=flux-general-multi&encoding=mulaw&sample_rate=8000\
             &eot_timeout_ms=3000&eot_threshold=0.8&eager_eot_threshold=0.5&language_hint=fr"
        );
        assert!(!url("flux-general-multi", "multi", &[], &timing).contains("language_hint"));
    }
}
