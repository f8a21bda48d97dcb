//! Azure real-time transcription: the "universal speech protocol" over a websocket.
//!
//! [`Listen`] is the transcriber; `turn.rs` reads, without any IO, the messages of a turn of the protocol. The vendor
//! ends such a turn now and then, and a connection after ten minutes; a session begins another turn, or opens another
//! connection ahead, and sends what was not recognised again. Frames are sent as the vendor's own clients send them
//! (Speech SDK 1.53).

mod connection;
mod turn;

use std::{collections::VecDeque, time::Duration};

use bytes::{Bytes, BytesMut};
use futures_util::{
    FutureExt, StreamExt,
    future::{BoxFuture, OptionFuture},
    stream,
};
use reqwest::Url;
use serde_json::{Value, json};
use switchboard_model::catalogue::azure::served_locales;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};
use tokio_tungstenite::tungstenite::{self, Message};

use self::{
    connection::Connection,
    turn::{Reply, Turn, length},
};
use super::{VENDOR, endpoint, usp};
use crate::{
    Error, Providers, Secret,
    audio::AudioFormat,
    transcriber::{AudioSink, Transcriber, TranscriberSession, TranscriptEvent},
    unusable::Unusable,
};

/// The format of the audio that a session is sent, unless it is opened for [`AudioFormat::WIDEBAND`].
const FORMAT: AudioFormat = AudioFormat::TELEPHONE;

/// Length of a message of audio, as the vendor's clients send it.
const CHUNK: Duration = Duration::from_millis(100);

/// Silence after speech, in milliseconds, that ends a phrase. Shorter pauses are within a sentence.
const SEGMENTATION_MS: u32 = 500;

/// The time-outs of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Maximum time to write a message.
    pub write: Duration,
    /// Maximum time from the beginning of a turn to the server's answer.
    pub start: Duration,
    /// Maximum time without any message from the server; it is pinged after half of it.
    pub silence: Duration,
    /// Maximum time from the last audio to the last words.
    pub finish: Duration,
    /// Age of a connection at which another one is opened. The vendor closes it after ten minutes.
    pub renew: Duration,
    /// Maximum time that another connection waits for a pause of the speaker.
    pub pause: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            write: Duration::from_secs(2),
            start: Duration::from_secs(5),
            silence: Duration::from_secs(10),
            finish: Duration::from_secs(5),
            renew: Duration::from_mins(9),
            pause: Duration::from_secs(20),
        }
    }
}

/// Azure's transcriber with its languages and one key.
#[derive(Debug, Clone)]
pub struct Listen {
    url: Url,
    /// The settings of every turn.
    context: String,
    key: Secret,
    timing: Timing,
    format: AudioFormat,
}

impl Listen {
    /// For the configured server and key. Several languages are told apart while the caller speaks.
    ///
    /// # Errors
    /// There is no key.
    pub fn new(providers: &Providers, languages: &[String], timing: Timing) -> Result<Self, Unusable> {
        let locales = served_locales(languages);
        let mut url = endpoint::listen_url(providers.endpoints.of(VENDOR), locales.len() > 1);
        match &locales[..] {
            [locale] => url.query_pairs_mut().append_pair("language", locale),
            _ => url.query_pairs_mut().append_pair("lidEnabled", "true"),
        };
        // The agent hears what the caller says, without asterisks.
        url.query_pairs_mut().append_pair("format", "simple").append_pair("profanity", "raw");
        let context = speech_context(&locales).to_string();
        Ok(Self { url, context, key: providers.key(VENDOR)?, timing, format: FORMAT })
    }

    fn with_format(self, format: AudioFormat) -> Self {
        if format == AudioFormat::WIDEBAND { Self { format, ..self } } else { self }
    }

    async fn open(self) -> Result<(AudioSink, TranscriberSession), Error> {
        let connection = Connection::open(&self.url, &self.key, self.timing.write).await?;
        let (sink, audio) = AudioSink::new(VENDOR);
        let sink = sink.of_format(self.format);
        let (now, format) = (Instant::now(), self.format);
        let mut session = Session {
            connection,
            next: Next::None,
            renew_at: now + self.timing.renew,
            listen: self,
            audio,
            chunk: BytesMut::new(),
            turn: Turn::new(format),
            started_by: None,
            last_received: now,
            pinged: false,
            bytes_sent: 0,
            finish_by: None,
            ready: VecDeque::new(),
            over: false,
        };
        session.connection.configure(format).await?;
        session.begin_turn().await?;
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

/// The body of `speech.context`.
fn speech_context(locales: &[String]) -> Value {
    let segmentation = json!({"mode": "Custom", "segmentationSilenceTimeoutMs": SEGMENTATION_MS});
    let mut detection = json!({"mode": "Conversation", "conversation": {"segmentation": segmentation}});
    let [locale] = locales else {
        return json!({
            "languageId": {
                "languages": locales,
                "mode": "DetectContinuous",
                "onSuccess": {"action": "Recognize"},
                "onUnknown": {"action": "None"},
                "priority": "PrioritizeLatency",
            },
            "phraseDetection": detection,
            "phraseOutput": {"interimResults": {"resultType": "Auto"}, "phraseResults": {"resultType": "Always"}},
        });
    };
    detection["language"] = json!(locale);
    json!({"phraseDetection": detection})
}

/// Another connection, for when the present one is old.
enum Next {
    None,
    Opening(BoxFuture<'static, Result<Connection, Error>>),
    /// It is used at the next pause of the speaker, and at this time in any case.
    Open(Box<Connection>, Instant),
}

/// An open session. It does its work while its stream is polled.
struct Session {
    listen: Listen,
    connection: Connection,
    next: Next,
    /// When another connection is opened.
    renew_at: Instant,
    audio: mpsc::Receiver<Bytes>,
    /// Audio that is no whole message yet.
    chunk: BytesMut,
    turn: Turn,
    /// When the server must have taken the turn; none once it has.
    started_by: Option<Instant>,
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
                if let Err(error) = Box::pin(session.step()).await {
                    session.end(Some(error));
                }
            }
        })
        .boxed()
    }

    /// Moves one message in either direction.
    async fn step(&mut self) -> Result<(), Error> {
        let timing = self.listen.timing;
        let silence = if self.pinged { timing.silence } else { timing.silence / 2 };
        let silent_at = self.last_received + silence;
        let is_listening = self.finish_by.is_none();
        let (opening, switch_by) = match &mut self.next {
            Next::None => (None, None),
            Next::Opening(opening) => (Some(opening), None),
            Next::Open(_, switch_by) => (None, Some(*switch_by)),
        };
        let may_renew = is_listening && opening.is_none() && switch_by.is_none();
        if let Some(switch_by) = switch_by
            && is_listening
            && (self.turn.is_quiet() || Instant::now() >= switch_by)
        {
            return self.switch().await;
        }
        tokio::select! {
            biased;
            frame = self.audio.recv(), if is_listening => match frame {
                Some(frame) => self.take(&frame).await,
                None => self.finish().await,
            },
            message = self.connection.next() => {
                self.last_received = Instant::now();
                self.pinged = false;
                self.receive(message).await
            }
            Some(opened) = OptionFuture::from(opening) => {
                self.next = match opened {
                    Ok(connection) => Next::Open(Box::new(connection), Instant::now() + timing.pause),
                    // The present connection still works; when it is closed, the session ends.
                    Err(_) => Next::None,
                };
                self.renew_at = Instant::now() + timing.pause;
                Ok(())
            }
            () = sleep_until(self.renew_at), if may_renew => {
                let Listen { url, key, .. } = self.listen.clone();
                let opening = async move { Connection::open(&url, &key, timing.write).await };
                self.next = Next::Opening(opening.boxed());
                Ok(())
            }
            () = sleep_until(switch_by.unwrap_or(silent_at)), if switch_by.is_some() && is_listening => Ok(()),
            () = sleep_until(self.started_by.unwrap_or(silent_at)), if self.started_by.is_some() => {
                Err(Error::silent(VENDOR, timing.start))
            }
            () = sleep_until(silent_at) => {
                if self.pinged {
                    return Err(Error::silent(VENDOR, timing.silence));
                }
                self.pinged = true;
                self.connection.write(Message::Ping(Bytes::new())).await
            }
            () = sleep_until(self.finish_by.unwrap_or(silent_at)), if self.finish_by.is_some() => {
                // All transcripts have been passed on.
                self.end(None);
                Ok(())
            }
        }
    }

    /// Sends audio once it is a whole message.
    async fn take(&mut self, frame: &[u8]) -> Result<(), Error> {
        self.chunk.extend_from_slice(frame);
        let is_whole = self.listen.format.duration_of(length(&self.chunk)) >= CHUNK;
        if is_whole { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> Result<(), Error> {
        let audio = self.chunk.split().freeze();
        if audio.is_empty() {
            return Ok(());
        }
        self.turn.sent(audio.clone());
        self.send(&audio).await
    }

    async fn send(&mut self, audio: &[u8]) -> Result<(), Error> {
        self.bytes_sent += length(audio);
        self.connection.audio(None, audio).await
    }

    /// Ends the audio. The last words follow, and the end of the turn.
    async fn finish(&mut self) -> Result<(), Error> {
        self.finish_by = Some(Instant::now() + self.listen.timing.finish);
        self.flush().await?;
        self.connection.audio(None, &[]).await
    }

    /// Begins a turn of the protocol with the audio that the last one did not recognise.
    async fn begin_turn(&mut self) -> Result<(), Error> {
        self.started_by = Some(Instant::now() + self.listen.timing.start);
        self.connection.begin_turn(&self.listen.context).await?;
        self.connection.audio(Some("audio/x-wav"), &usp::wav_header(self.listen.format)).await?;
        for audio in self.turn.begin() {
            self.send(&audio).await?;
        }
        Ok(())
    }

    /// Continues on the other connection. Dropping the old one closes it.
    async fn switch(&mut self) -> Result<(), Error> {
        let Next::Open(connection, _) = std::mem::replace(&mut self.next, Next::None) else { return Ok(()) };
        self.connection = *connection;
        let now = Instant::now();
        (self.renew_at, self.last_received, self.pinged) = (now + self.listen.timing.renew, now, false);
        self.connection.configure(self.listen.format).await?;
        self.begin_turn().await
    }

    async fn receive(&mut self, message: Option<Result<Message, tungstenite::Error>>) -> Result<(), Error> {
        match message {
            Some(Ok(Message::Text(text))) => self.read(&text).await,
            Some(Ok(Message::Close(Some(frame)))) if !connection::is_normal(&frame) => {
                Err(connection::closed(&frame))
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

    async fn read(&mut self, text: &str) -> Result<(), Error> {
        let Some(message) = usp::read(text) else { return Ok(()) };
        // Late words of an old turn were sent again in this one.
        if !message.request_id.eq_ignore_ascii_case(self.connection.request_id()) {
            return Ok(());
        }
        let mut events = Vec::new();
        let reply = self.turn.on(&message.path, message.body, &mut events)?;
        self.ready.extend(events.into_iter().map(Ok));
        match reply {
            Reply::None => Ok(()),
            Reply::Started => {
                self.started_by = None;
                Ok(())
            }
            Reply::Ended if self.finish_by.is_some() => {
                self.end(None);
                Ok(())
            }
            Reply::Ended => self.begin_turn().await,
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
        // The vendor reports no usage.
        let audio = self.listen.format.duration_of(self.bytes_sent);
        self.ready.push_back(Ok(TranscriptEvent::Usage { audio, estimated: true }));
        self.ready.extend(error.map(Err));
        self.over = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_language_is_named_and_several_are_told_apart() {
        let one = speech_context(&["de-DE".into()]);
        assert_eq!(one["phraseDetection"]["language"], "de-DE");
        assert_eq!(
            one["phraseDetection"]["conversation"]["segmentation"]["segmentationSilenceTimeoutMs"],
            500
        );
        assert!(one.get("languageId").is_none());
        let several = speech_context(&["en-US".into(), "es-ES".into()]);
        assert_eq!(several["languageId"]["languages"], json!(["en-US", "es-ES"]));
        assert_eq!(several["languageId"]["mode"], "DetectContinuous");
        assert!(several["phraseDetection"].get("language").is_none());
    }
}
