//! Rime speech, `wss .../ws3`: audio and the times of words as JSON.
//!
//! [`Speak`] is the voice. The protocol's `clear` drops the clauses of a whole connection, so every clause that is being
//! synthesized has a connection of its own, and dropping a clause closes it. A finished clause leaves its connection to
//! the next one.

use std::{mem, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream};
use reqwest::Url;
use switchboard_model::{
    agents::RimeVoice,
    catalogue::{
        rime::{language_tag, model_of},
        voice_yields,
    },
};
use tokio::time::{Instant, timeout_at};

use super::{
    VENDOR,
    socket::{Pool, ServerMessage, Socket, WordTimestamps},
};
use crate::{
    Error, Providers, Secret, StreamTimeouts,
    audio::{AudioFormat, Encoding},
    endpoints::join,
    synthesizer::{CallContext, SpeechEvent, SpeechStream, Synthesizer, VoiceSession, WordTime},
    unusable::Unusable,
};

/// Maximum size of a clause's audio: two minutes at 16 kHz and 16 bits. A server that never ends must not fill the memory.
const MAX_CLAUSE_BYTES: usize = 4 * 1024 * 1024;

/// A voice of Rime with one key.
#[derive(Debug, Clone)]
pub struct Speak {
    base: Url,
    key: Secret,
    voice: RimeVoice,
    timeouts: StreamTimeouts,
    /// The connections that no clause uses: opened ahead, or left by a clause.
    idle: Pool,
}

impl Speak {
    /// For the configured server and key.
    ///
    /// # Errors
    /// There is no key.
    pub fn new(providers: &Providers, voice: &RimeVoice, timeouts: StreamTimeouts) -> Result<Self, Unusable> {
        Ok(Self {
            base: providers.endpoints.of(VENDOR).clone(),
            key: providers.key(VENDOR)?,
            voice: voice.clone(),
            timeouts,
            idle: Pool::default(),
        })
    }

    fn url(&self, format: AudioFormat, language: &str) -> Url {
        let mut url = join(&self.base, "/ws3");
        let scheme = if url.scheme() == "http" { "ws" } else { "wss" };
        url.set_scheme(scheme).expect("http and ws are of one kind, so the scheme can be changed");
        let RimeVoice { speaker, speed_alpha, reduce_latency, .. } = &self.voice;
        let model = model_of(speaker);
        let encoding = match format.encoding {
            Encoding::MuLaw => "mulaw",
            Encoding::Pcm16 => "pcm",
        };
        let mut query = url.query_pairs_mut();
        query
            .append_pair("speaker", speaker)
            .append_pair("modelId", model)
            .append_pair("audioFormat", encoding)
            .append_pair("samplingRate", &format.sample_rate.to_string())
            // A clause is synthesized as a whole, when it is flushed.
            .append_pair("segment", "never");
        if let Some(language) = language_tag(language) {
            query.append_pair("lang", language);
        }
        if (speed_alpha - 1.0).abs() > f64::EPSILON {
            query.append_pair("speedAlpha", &speed_alpha.to_string());
        }
        // The other models have no such setting.
        if *reduce_latency && model.starts_with("mist") {
            query.append_pair("reduceLatency", "true");
        }
        drop(query);
        url
    }
}

impl Synthesizer for Speak {
    fn connect_ahead(&self, call: &CallContext) -> BoxFuture<'static, ()> {
        let (url, key, pool) = (self.url(call.format, &call.language), self.key.clone(), self.idle.clone());
        async move {
            // If this fails, the first clause connects itself.
            if let Ok(socket) = Socket::open(&url, &key).await {
                pool.put(&url, socket);
            }
        }
        .boxed()
    }

    fn speaks(&self, format: AudioFormat) -> bool {
        voice_yields(VENDOR, format)
    }

    fn open(&self, call: &CallContext) -> Box<dyn VoiceSession> {
        let url = self.url(call.format, &call.language);
        self.idle.begin_session();
        Box::new(Session { url, voice: self.clone(), clauses: 0 })
    }
}

/// A voice in one call.
struct Session {
    url: Url,
    voice: Speak,
    clauses: u64,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.voice.idle.end_session();
    }
}

impl VoiceSession for Session {
    fn request(&mut self, clause: &str) -> SpeechStream {
        self.clauses += 1;
        let clause = Clause {
            id: format!("clause-{}", self.clauses),
            url: self.url.clone(),
            key: self.voice.key.clone(),
            pool: self.voice.idle.clone(),
            timeouts: self.voice.timeouts,
            text: clause.to_owned(),
            deadline: Instant::now(),
            waiting_for: self.voice.timeouts.first,
            bytes: 0,
            words: Words::default(),
        };
        stream::unfold(State::Waiting(Box::new(clause)), |state| async {
            match state {
                State::Waiting(mut clause) => {
                    clause.deadline = Instant::now() + clause.timeouts.first;
                    match clause.ask().await {
                        Ok(socket) => {
                            let count = u64::try_from(clause.text.chars().count()).unwrap_or(u64::MAX);
                            let characters = SpeechEvent::Characters { count, estimated: true };
                            Some((Ok(characters), State::Speaking(clause, socket)))
                        }
                        Err(error) => Some((Err(error), State::Over)),
                    }
                }
                State::Speaking(mut clause, mut socket) => match clause.read(&mut socket).await {
                    Ok(Some(event)) => Some((Ok(event), State::Speaking(clause, socket))),
                    Ok(None) => {
                        clause.pool.put(&clause.url, socket);
                        None
                    }
                    Err(error) => Some((Err(error), State::Over)),
                },
                State::Over => None,
            }
        })
        .boxed()
    }
}

/// A clause from its request to the end of its audio.
enum State {
    Waiting(Box<Clause>),
    Speaking(Box<Clause>, Socket),
    Over,
}

struct Clause {
    id: String,
    url: Url,
    key: Secret,
    pool: Pool,
    timeouts: StreamTimeouts,
    text: String,
    /// When the next message must be here.
    deadline: Instant,
    waiting_for: Duration,
    /// Size of the audio so far.
    bytes: usize,
    words: Words,
}

impl Clause {
    /// Sends the request on an idle connection, or on a new one.
    async fn ask(&mut self) -> Result<Socket, Error> {
        if let Some(mut socket) = self.pool.take(&self.url)
            && !is_closed(&mut socket)
            && socket.request(&self.text, &self.id, self.deadline).await.is_ok()
        {
            return Ok(socket);
        }
        let opening = Socket::open(&self.url, &self.key);
        let silent = |_| Error::silent(VENDOR, self.timeouts.first);
        let mut socket = timeout_at(self.deadline, opening).await.map_err(silent)??;
        socket.request(&self.text, &self.id, self.deadline).await?;
        Ok(socket)
    }

    /// The next event; none after the last one.
    async fn read(&mut self, socket: &mut Socket) -> Result<Option<SpeechEvent>, Error> {
        loop {
            let message = timeout_at(self.deadline, socket.next());
            let message = message.await.map_err(|_| Error::silent(VENDOR, self.waiting_for))??;
            let Some(message) = message else {
                return Err(Error::unavailable(VENDOR, "it closed the connection within a clause"));
            };
            let is_mine = |id: &Option<String>| id.as_ref().is_none_or(|id| *id == self.id);
            match message {
                ServerMessage::Chunk { data, context_id } if is_mine(&context_id) => {
                    let audio = BASE64_STANDARD
                        .decode(data)
                        .map_err(|_| Error::unavailable(VENDOR, "its audio is not base64"))?;
                    if audio.is_empty() {
                        continue;
                    }
                    self.bytes += audio.len();
                    if self.bytes > MAX_CLAUSE_BYTES {
                        return Err(Error::unavailable(VENDOR, "its speech is too long"));
                    }
                    self.waiting_for = self.timeouts.idle;
                    self.deadline = Instant::now() + self.timeouts.idle;
                    return Ok(Some(SpeechEvent::Audio(Bytes::from(audio))));
                }
                ServerMessage::Timestamps { words, context_id } if is_mine(&context_id) => {
                    let words = self.words.take(words);
                    if !words.is_empty() {
                        return Ok(Some(SpeechEvent::Words(words)));
                    }
                }
                ServerMessage::Done { context_id } if is_mine(&context_id) => {
                    if self.bytes == 0 {
                        return Err(Error::unavailable(VENDOR, "its speech was empty"));
                    }
                    return Ok(None);
                }
                ServerMessage::Error { message } => return Err(failure(&message)),
                // Of a clause that ended before on this connection.
                _ => {}
            }
        }
    }
}

/// Whether the server has closed an idle connection. What it said meanwhile belongs to no clause.
fn is_closed(socket: &mut Socket) -> bool {
    loop {
        match socket.next().now_or_never() {
            None => return false,
            Some(Ok(Some(_))) => {}
            Some(Ok(None) | Err(_)) => return true,
        }
    }
}

/// The error for an error message. It has no code.
fn failure(message: &str) -> Error {
    let lower = message.to_lowercase();
    let is_transient =
        ["rate", "limit", "concurren", "capacity", "internal", "timeout", "unavailable", "try again"];
    if is_transient.iter().any(|word| lower.contains(word)) {
        Error::unavailable_because(VENDOR, "it failed", message)
    } else {
        Error::rejected(VENDOR, "error", message)
    }
}

/// The times of a clause's words so far.
#[derive(Default)]
struct Words {
    /// End of the last word, in seconds.
    end: f64,
    /// Beginning of the part that the times of a message count from.
    base: f64,
}

impl Words {
    /// The words of a message. A server may begin to count anew within a clause.
    fn take(&mut self, timestamps: WordTimestamps) -> Vec<WordTime> {
        let WordTimestamps { words, start, end } = timestamps;
        if start.first().is_some_and(|start| self.base + start + 0.001 < self.end) {
            self.base = self.end;
        }
        let mut times: Vec<WordTime> = vec![];
        for ((word, start), end) in words.into_iter().zip(start).zip(end) {
            let at = |seconds: f64| Duration::try_from_secs_f64(self.base + seconds).unwrap_or_default();
            let (start, until) = (at(start), at(end));
            self.end = self.end.max(self.base + if end.is_finite() { end } else { 0.0 });
            let word = word.trim();
            match times.last_mut() {
                // Punctuation of its own belongs to the word before it.
                Some(last) if !word.chars().any(char::is_alphanumeric) => {
                    let mut joined = mem::take(&mut last.word);
                    joined.push_str(word);
                    (last.word, last.end) = (joined, until.max(last.end));
                }
                None if !word.chars().any(char::is_alphanumeric) => {}
                _ => times.push(WordTime { word: word.to_owned(), start, end: until.max(start) }),
            }
        }
        times
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voice(speaker: &str, speed_alpha: f64) -> RimeVoice {
        RimeVoice { speaker: speaker.into(), speed_alpha, reduce_latency: true, credential_id: None }
    }

    fn url(voice: RimeVoice, language: &str) -> String {
        let base = Url::parse("https://users-ws.rime.ai").unwrap();
        let timeouts = crate::synthesizer::TIMEOUTS;
        let speak = Speak { base, key: Secret::new("k"), voice, timeouts, idle: Pool::default() };
        speak.url(AudioFormat::TELEPHONE, language).to_string()
    }

    #[test]
    fn the_model_follows_the_speaker() {
        assert_eq!(
            url(voice("lyra", 1.0), "en-GB"),
            "wss://users-ws.rime.ai/ws3?speaker=lyra&modelId=coda&audioFormat=mulaw&samplingRate=8000&segment=never"
        );
        assert!(url(voice("lyra", 1.0), "fr-FR").ends_with("&segment=never&lang=fr"));
        assert_eq!(
            url(voice("cove", 0.9), "multi"),
            "wss://users-ws.rime.ai/ws3?speaker=cove&modelId=mistv3&audioFormat=mulaw&samplingRate=8000&segment=never\
             &speedAlpha=0.9&reduceLatency=true"
        );
    }

    #[test]
    fn times_of_words_go_on_where_a_server_counts_anew() {
        let mut words = Words::default();
        let mut take = |texts: &[&str], start: &[f64], end: &[f64]| {
            let words = words.take(WordTimestamps {
                words: texts.iter().map(ToString::to_string).collect(),
                start: start.to_vec(),
                end: end.to_vec(),
            });
            words
                .into_iter()
                .map(|time| (time.word, time.start.as_millis(), time.end.as_millis()))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            take(&["Hello", ",", " Ada"], &[0.0, 0.4, 0.5], &[0.4, 0.45, 0.75]),
            [("Hello,".to_owned(), 0, 450), ("Ada".to_owned(), 500, 750)]
        );
        assert_eq!(take(&["how"], &[0.75], &[1.0]), [("how".to_owned(), 750, 1_000)]);
        assert_eq!(take(&["are"], &[0.0], &[0.25]), [("are".to_owned(), 1_000, 1_250)]);
        assert_eq!(take(&["odd"], &[f64::NAN], &[f64::INFINITY]), [("odd".to_owned(), 0, 0)]);
    }

    #[test]
    fn an_error_message_is_retryable_or_not() {
        let failed = failure("Rate limit exceeded: my card is lost");
        assert!(failed.is_retryable());
        assert_eq!(failed.without_explanation(), "it failed", "its words may be the caller's");
        assert!(!failure("Unknown speaker").is_retryable());
    }
}
