//! PlayHT speech: `POST /api/v2/tts/stream`, whose response body is the audio.
//!
//! The vendor's own service ended in December 2025. The voice is used only if the deployment names another server.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream};
use http::{StatusCode, header};
use reqwest::Url;
use serde_json::{Value, json};
use switchboard_model::{
    agents::Voice,
    catalogue::{self, playht::voice_id},
};
use tokio::time::{Instant, timeout_at};

use super::VENDOR;
use crate::{
    Error, Providers, StreamTimeouts,
    audio::{AudioFormat, Encoding},
    egress,
    endpoints::join,
    refusal::{self, Explanation, Verdict},
    synthesizer::{CallContext, SpeechEvent, SpeechStream, Synthesizer, VoiceSession},
    unusable::Unusable,
};

/// The engine of the names that the API lists, and the one that answers fastest.
const ENGINE: &str = "PlayHT2.0-turbo";

/// Maximum size of a clause's audio: two minutes at 16 kHz and 16 bits. A server that never ends must not fill the memory.
const MAX_CLAUSE_BYTES: usize = 4 * 1024 * 1024;

/// A voice with the keys of one user.
#[derive(Clone)]
pub struct Speak {
    http: reqwest::Client,
    base: Url,
    /// The values of the headers `Authorization` and `X-User-Id`.
    authorization: header::HeaderValue,
    user_id: header::HeaderValue,
    /// The settings of the voice in the body of a request.
    settings: Value,
    timeouts: StreamTimeouts,
}

impl Speak {
    /// For the configured server and keys.
    ///
    /// # Errors
    /// The voice is not one of this vendor's, there are no keys, or there is no server.
    pub fn new(providers: &Providers, voice: &Voice, timeouts: StreamTimeouts) -> Result<Self, Unusable> {
        let Voice::Playht { model, speed, temperature, text_guidance, style_guidance, .. } = voice else {
            return Err(Unusable::no_adapter(voice.provider()));
        };
        let Some(connection) = catalogue::connection(VENDOR) else {
            return Err(Unusable::no_adapter(VENDOR));
        };
        let base = providers.endpoints.of(VENDOR).clone();
        if !providers.has_server(connection) {
            return Err(Unusable::no_server(VENDOR, connection.url_variable));
        }
        let [key, user_id] = connection.keys else { return Err(Unusable::no_adapter(VENDOR)) };
        let header = |name: &'static str, scheme: &str| {
            let key = providers.keys.get(name).ok_or_else(|| Unusable::missing_key(VENDOR, name))?;
            // The keys were checked to have no characters that a header cannot carry.
            header::HeaderValue::try_from(format!("{scheme}{}", key.reveal()))
                .map_err(|_| Unusable::missing_key(VENDOR, name))
        };
        let (mut authorization, user_id) = (header(key, "Bearer ")?, header(user_id, "")?);
        authorization.set_sensitive(true);
        let mut settings = json!({"voice": voice_id(model), "voice_engine": ENGINE, "speed": speed});
        for (name, value) in [
            ("temperature", temperature),
            ("text_guidance", text_guidance),
            ("style_guidance", style_guidance),
        ] {
            if let Some(value) = value {
                settings[name] = json!(value);
            }
        }
        Ok(Self { http: providers.http.clone(), base, authorization, user_id, settings, timeouts })
    }

    fn request(&self, clause: &str, format: AudioFormat) -> reqwest::RequestBuilder {
        let (output_format, accept) = match format.encoding {
            Encoding::MuLaw => ("mulaw", "audio/basic"),
            Encoding::Pcm16 => ("raw", "audio/raw"),
        };
        let mut body = self.settings.clone();
        body["text"] = json!(clause);
        body["output_format"] = json!(output_format);
        body["sample_rate"] = json!(format.sample_rate);
        self.http
            .post(join(&self.base, "/api/v2/tts/stream"))
            .header(header::AUTHORIZATION, self.authorization.clone())
            .header("x-user-id", self.user_id.clone())
            .header(header::ACCEPT, accept)
            .json(&body)
    }
}

impl Synthesizer for Speak {
    fn connect_ahead(&self, _call: &CallContext) -> BoxFuture<'static, ()> {
        let (http, base) = (self.http.clone(), self.base.clone());
        async move { egress::open_ahead(&http, &base).await }.boxed()
    }

    fn speaks(&self, format: AudioFormat) -> bool {
        catalogue::voice_yields(VENDOR, format)
    }

    fn open(&self, call: &CallContext) -> Box<dyn VoiceSession> {
        Box::new(Session { voice: self.clone(), format: call.format })
    }
}

/// A voice in one call.
struct Session {
    voice: Speak,
    format: AudioFormat,
}

impl VoiceSession for Session {
    fn request(&mut self, clause: &str) -> SpeechStream {
        let request = self.voice.request(clause, self.format);
        let count = u64::try_from(clause.chars().count()).unwrap_or(u64::MAX);
        let characters = SpeechEvent::Characters { count, estimated: true };
        let timeouts = self.voice.timeouts;
        let waiting = State::Waiting(Box::new((request, characters)), timeouts);
        stream::unfold(waiting, |state| async {
            match state {
                State::Waiting(waiting, timeouts) => {
                    let (request, characters) = *waiting;
                    match open(request, timeouts).await {
                        Ok(body) => Some((Ok(characters), State::Speaking(Box::new(body)))),
                        Err(error) => Some((Err(error), State::Over)),
                    }
                }
                State::Speaking(mut body) => match body.read().await {
                    Ok(audio) => Some((Ok(SpeechEvent::Audio(audio?)), State::Speaking(body))),
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
    Waiting(Box<(reqwest::RequestBuilder, SpeechEvent)>, StreamTimeouts),
    Speaking(Box<Body>),
    Over,
}

async fn open(request: reqwest::RequestBuilder, timeouts: StreamTimeouts) -> Result<Body, Error> {
    let deadline = Instant::now() + timeouts.first;
    let silent = |_| Error::silent(VENDOR, timeouts.first);
    let response = timeout_at(deadline, request.send()).await.map_err(silent)?.map_err(lost)?;
    if !response.status().is_success() {
        return Err(refused(response).await);
    }
    let headers = response.headers();
    if headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"))
    {
        return Err(Error::unavailable(VENDOR, "it answered with a text instead of audio"));
    }
    Ok(Body { response, deadline, waiting_for: timeouts.first, idle: timeouts.idle, bytes: 0 })
}

/// A response that is being read.
struct Body {
    response: reqwest::Response,
    /// When the next chunk must be here.
    deadline: Instant,
    waiting_for: Duration,
    idle: Duration,
    /// Size of the audio so far.
    bytes: usize,
}

impl Body {
    async fn read(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            let chunk = timeout_at(self.deadline, self.response.chunk());
            match chunk.await.map_err(|_| Error::silent(VENDOR, self.waiting_for))?.map_err(lost)? {
                None if self.bytes == 0 => return Err(Error::unavailable(VENDOR, "its speech was empty")),
                None => return Ok(None),
                Some(audio) if audio.is_empty() => {}
                Some(audio) => {
                    self.bytes += audio.len();
                    if self.bytes > MAX_CLAUSE_BYTES {
                        return Err(Error::unavailable(VENDOR, "its speech is too long"));
                    }
                    self.waiting_for = self.idle;
                    self.deadline = Instant::now() + self.idle;
                    return Ok(Some(audio));
                }
            }
        }
    }
}

fn lost(error: reqwest::Error) -> Error {
    let reason = if error.is_connect() { "no connection" } else { "the connection was lost" };
    Error::broken(VENDOR, reason, error.without_url())
}

/// The error for a status other than 2xx.
async fn refused(response: reqwest::Response) -> Error {
    let (status, headers) = (response.status(), response.headers().clone());
    let explanation = Explanation::read(&egress::error_body(response).await);
    match refusal::verdict(status, &headers, &explanation, &[]) {
        Verdict::Retry { after } => {
            let reason = match status {
                StatusCode::TOO_MANY_REQUESTS => "too many requests at once".to_owned(),
                _ => format!("it answered with {}", status.as_u16()),
            };
            Error::Unavailable { vendor: VENDOR, reason, retry_after: after, source: None }
        }
        Verdict::DropParameter(_) | Verdict::FallBack | Verdict::GiveUp => Error::rejected(
            VENDOR,
            explanation.code.as_deref().unwrap_or(status.as_str()),
            explanation.message.as_deref().unwrap_or_default(),
        ),
    }
}
