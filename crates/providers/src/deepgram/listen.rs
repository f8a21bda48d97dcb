//! Deepgram live transcription, `wss .../v1/listen`.
//!
//! [`Listen`] is the transcriber; `turn.rs` decides, without any IO, which transcripts of a turn are out and when
//! the turn is over.

mod turn;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{FutureExt, SinkExt, StreamExt, future::BoxFuture, stream};
use reqwest::Url;
use switchboard_model::catalogue::deepgram::{endpointing_ms, key_terms, nearest_model, takes_key_terms};
use tokio::{
    sync::{Notify, mpsc},
    time::{Instant, sleep_until, timeout},
};
use tokio_tungstenite::tungstenite::{self, Message};

use self::turn::{Reply, ServerMessage, Turn};
use super::{VENDOR, socket};
use crate::{
    Error, Providers, Secret,
    audio::AudioFormat,
    egress::WebSocket,
    transcriber::{AudioSink, Transcriber, TranscriberSession, TranscriptEvent},
    unusable::Unusable,
};

/// The format of the audio that a session is sent, unless it is opened for another one.
pub(super) const FORMAT: AudioFormat = AudioFormat::TELEPHONE;
/// The parameters of [`FORMAT`], and those of the other one: linear samples are little-endian.
const FORMAT_PARAMETERS: &str = "encoding=mulaw&sample_rate=8000";
const WIDEBAND_PARAMETERS: &str = "encoding=linear16&sample_rate=16000";

/// Silence between words, in milliseconds, that ends a turn where noise defeats endpointing. Deepgram's minimum.
const UTTERANCE_END_MS: &str = "1000";

const FINALIZE: &str = r#"{"type":"Finalize"}"#;

/// The part of an agent's configuration that concerns the transcriber.
#[derive(Debug, Clone, Copy)]
pub struct Settings<'a> {
    /// Such as `nova-3`.
    pub model: &'a str,
    /// A BCP-47 tag, or `multi`.
    pub language: &'a str,
    /// Words to expect; nova-2 and older models take a weight, as in `word:2`.
    pub key_terms: &'a [String],
}

/// The time-outs of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Time without audio after which a `KeepAlive` is sent; Deepgram closes after 10 s.
    pub keep_alive: Duration,
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
            keep_alive: Duration::from_secs(4),
            write: Duration::from_secs(2),
            silence: Duration::from_secs(10),
            finish: Duration::from_secs(5),
        }
    }
}

/// Deepgram's transcriber with one model and one key.
#[derive(Debug, Clone)]
pub struct Listen {
    url: Url,
    key: Secret,
    timing: Timing,
    format: AudioFormat,
}

impl Listen {
    /// For the configured server and key.
    ///
    /// # Errors
    /// There is no key.
    pub fn new(providers: &Providers, settings: &Settings<'_>, timing: Timing) -> Result<Self, Unusable> {
        let mut url = listen_url(providers.endpoints.of(VENDOR), settings);
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
        let finalize = Arc::new(Notify::new());
        let (sink, audio) = AudioSink::with_finalize(VENDOR, Arc::clone(&finalize));
        let sink = sink.of_format(self.format);
        let now = Instant::now();
        let session = Session {
            socket,
            audio,
            finalize,
            timing: self.timing,
            turn: Turn::default(),
            last_sent: now,
            last_received: now,
            pinged: false,
            format: self.format,
            bytes_sent: 0,
            finish_by: None,
            usage_reported: false,
            ready: VecDeque::new(),
            over: false,
        };
        Ok((sink, session.into_stream()))
    }
}

impl Transcriber for Listen {
    fn connect_for(
        &self,
        format: AudioFormat,
    ) -> BoxFuture<'static, Result<(AudioSink, TranscriberSession), Error>> {
        self.clone().with_format(format).open().boxed()
    }
}

/// The same address, for [`AudioFormat::WIDEBAND`] instead of [`FORMAT`].
pub(super) fn in_wideband(mut url: Url) -> Url {
    let query = url.query().map(|query| query.replacen(FORMAT_PARAMETERS, WIDEBAND_PARAMETERS, 1));
    url.set_query(query.as_deref());
    url
}

fn listen_url(base: &Url, settings: &Settings<'_>) -> Url {
    let mut url = socket::url(base, "/v1/listen");
    let (model, language) = nearest_model(settings.model, settings.language);
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs([
        ("encoding", "mulaw"),
        ("sample_rate", &FORMAT.sample_rate.to_string()),
        ("channels", "1"),
        ("model", model),
        ("language", language),
        ("interim_results", "true"),
        ("endpointing", &endpointing_ms(language).to_string()),
        ("utterance_end_ms", UTTERANCE_END_MS),
        ("vad_events", "true"),
        ("punctuate", "true"),
        ("smart_format", "true"),
    ]);
    let takes_weights = !takes_key_terms(model);
    for term in
        key_terms(model, settings.key_terms).iter().map(|term| term.trim()).filter(|term| !term.is_empty())
    {
        if takes_weights {
            query.append_pair("keywords", term);
        } else {
            query.append_pair("keyterm", without_weight(term));
        }
    }
    // Deepgram wants %20 within a key term; a plus sign in one is %2B already.
    url.set_query(Some(&query.finish().replace('+', "%20")));
    url
}

/// `espresso:2` becomes `espresso`; `terms: of use` stays.
pub(super) fn without_weight(term: &str) -> &str {
    match term.rsplit_once(':') {
        Some((word, weight)) if !word.is_empty() && weight.parse::<f32>().is_ok() => word,
        _ => term,
    }
}

/// An open session. It does its work while its stream is polled.
struct Session {
    socket: WebSocket,
    audio: mpsc::Receiver<Bytes>,
    /// The client's requests for the final words.
    finalize: Arc<Notify>,
    timing: Timing,
    turn: Turn,
    /// When audio or a `KeepAlive` was last sent.
    last_sent: Instant,
    last_received: Instant,
    /// Whether the server was pinged since its last message.
    pinged: bool,
    format: AudioFormat,
    bytes_sent: u64,
    /// When the last words must be here; set once the audio is over.
    finish_by: Option<Instant>,
    usage_reported: bool,
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
        let keep_alive_at = self.last_sent + self.timing.keep_alive;
        let silence = if self.pinged { self.timing.silence } else { self.timing.silence / 2 };
        let silent_at = self.last_received + silence;
        let finish_by = self.finish_by;
        tokio::select! {
            biased;
            frame = self.audio.recv(), if finish_by.is_none() => if let Some(frame) = frame {
                self.bytes_sent += u64::try_from(frame.len()).unwrap_or(0);
                self.last_sent = Instant::now();
                self.write(Message::Binary(frame)).await
            } else {
                self.finish_by = Some(Instant::now() + self.timing.finish);
                self.write(Message::text(r#"{"type":"CloseStream"}"#)).await
            },
            () = self.finalize.notified(), if finish_by.is_none() => match self.turn.finalize() {
                Reply::None => Ok(()),
                Reply::Finalize => self.write(Message::text(FINALIZE)).await,
            },
            message = self.socket.next() => {
                self.last_received = Instant::now();
                self.pinged = false;
                self.receive(message).await
            }
            () = sleep_until(keep_alive_at), if finish_by.is_none() => {
                self.last_sent = Instant::now();
                self.write(Message::text(r#"{"type":"KeepAlive"}"#)).await
            }
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

    async fn receive(&mut self, message: Option<Result<Message, tungstenite::Error>>) -> Result<(), Error> {
        match message {
            Some(Ok(Message::Text(text))) => {
                // Messages of an unknown type, now or in a later version, hold no transcript.
                let message = serde_json::from_str(&text).unwrap_or(ServerMessage::Unknown);
                let mut events = Vec::new();
                let reply = self.turn.on(message, &mut events)?;
                self.usage_reported |=
                    events.iter().any(|event| matches!(event, TranscriptEvent::Usage { .. }));
                self.ready.extend(events.into_iter().map(Ok));
                match reply {
                    Reply::None => Ok(()),
                    Reply::Finalize => self.write(Message::text(FINALIZE)).await,
                }
            }
            Some(Ok(Message::Close(frame))) => match frame {
                Some(frame) if !socket::is_normal(&frame) => Err(socket::closed(&frame)),
                _ => self.end_of_connection(),
            },
            Some(Ok(_)) => Ok(()),
            None | Some(Err(tungstenite::Error::ConnectionClosed)) => self.end_of_connection(),
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
        if !self.usage_reported {
            let audio = self.format.duration_of(self.bytes_sent);
            self.ready.push_back(Ok(TranscriptEvent::Usage { audio, estimated: true }));
        }
        self.ready.extend(error.map(Err));
        self.over = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(model: &str, language: &str, key_terms: &[&str]) -> String {
        let key_terms: Vec<String> = key_terms.iter().map(ToString::to_string).collect();
        let base = Url::parse("https://api.deepgram.com").unwrap();
        let url = listen_url(&base, &Settings { model, language, key_terms: &key_terms });
        let (address, query) = url.as_str().split_once('?').unwrap();
        assert_eq!(address, "wss://api.deepgram.com/v1/listen");
        query.to_owned()
    }

    #[test]
    fn nova_3_takes_key_terms_without_weights() {
        assert_eq!(
            query("nova-3", "en", &["Ada:2", "corner bakery", "a+b", "terms: of use", " "]),
            "encoding=mulaw&sample_rate=8000&channels=1&model=nova-3&language=en&interim_results=true\
             &endpointing=300&utterance_end_ms=1000&vad_events=true&punctuate=true&smart_format=true\
             &keyterm=Ada&keyterm=corner%20bakery&keyterm=a%2Bb&keyterm=terms%3A%20of%20use"
        );
    }

    #[test]
    fn wideband_audio_changes_its_parameters_only() {
        let settings = Settings { model: "nova-3", language: "en", key_terms: &[] };
        let base = Url::parse("https://api.deepgram.com").unwrap();
        let url = listen_url(&base, &settings);
        let timing = Timing::default();
        let listen = Listen { url: url.clone(), key: Secret::new("key"), timing, format: FORMAT };
        assert_eq!(listen.clone().with_format(FORMAT).url, url);
        let wideband = listen.with_format(AudioFormat::WIDEBAND);
        let query = url.query().unwrap().split_once("&channels").unwrap().1;
        assert_eq!(
            wideband.url.query().unwrap(),
            format!("encoding=linear16&sample_rate=16000&channels{query}")
        );
        assert_eq!(wideband.format, AudioFormat::WIDEBAND);
    }

    #[test]
    fn several_languages_at_once_need_a_shorter_silence() {
        let multi = query("nova-3", "multi", &[]);
        assert!(multi.contains("&language=multi&") && multi.contains("&endpointing=100&"), "{multi}");
        assert!(query("nova-3", "fr-FR", &[]).contains("&language=fr&interim_results=true&endpointing=300&"));
    }

    #[test]
    fn key_terms_stay_within_the_vendors_limit() {
        let term = "x".repeat(300);
        let query = query("nova-3", "en", &[term.as_str(); 20]);
        assert_eq!(query.matches("&keyterm=").count(), 5, "a hundred tokens each");
    }

    #[test]
    fn older_models_take_keywords_with_their_weights() {
        let query = query("nova-2-phonecall", "en-GB", &["Ada:2"]);
        assert!(query.contains("model=nova-2-phonecall&language=en&"), "{query}");
        assert!(query.ends_with("&keywords=Ada%3A2"), "{query}");
    }
}
