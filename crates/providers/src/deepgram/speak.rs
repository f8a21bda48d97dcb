//! Deepgram Aura: `POST /v1/speak`, whose response body is the audio.
//!
//! Not its websocket: that guarantees audio only after a flush, and allows some 20 flushes a minute. A request on a
//! pooled connection needs no handshake and is cancelled by dropping it. Aura keeps no context between clauses, so
//! the session of a call holds nothing but its request.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream};
use http::{StatusCode, header};
use reqwest::Url;
use serde_json::json;
use switchboard_model::catalogue::voice_yields;
use tokio::time::{Instant, timeout, timeout_at};

use super::{
    VENDOR,
    throttle::{self, KeyThrottle, Slot},
};
use crate::{
    Error, Providers, Secret, StreamTimeouts,
    audio::{AudioFormat, Encoding},
    egress,
    endpoints::join,
    refusal::{self, Explanation, Verdict},
    synthesizer::{CallContext, SpeechEvent, SpeechStream, Synthesizer, VoiceSession},
    unusable::Unusable,
};

/// One Aura voice with one key.
#[derive(Debug, Clone)]
pub struct Speak {
    http: reqwest::Client,
    base: Url,
    model: String,
    key: Secret,
    throttle: Arc<KeyThrottle>,
    opts_out: bool,
    timeouts: StreamTimeouts,
}

impl Speak {
    /// For the configured server and key. `model` is a voice such as `aura-2-thalia-en`.
    ///
    /// # Errors
    /// There is no key.
    pub fn new(providers: &Providers, model: &str, timeouts: StreamTimeouts) -> Result<Self, Unusable> {
        let (base, key) = (providers.endpoints.of(VENDOR).clone(), providers.key(VENDOR)?);
        Ok(Self {
            http: providers.http.clone(),
            throttle: KeyThrottle::of(base.as_str(), &key),
            base,
            model: model.to_owned(),
            key,
            opts_out: providers.endpoints.opts_out(VENDOR),
            timeouts,
        })
    }

    pub(super) fn url(&self, format: AudioFormat) -> Url {
        let mut url = speak_url(&self.base, &self.model, format);
        if self.opts_out {
            url.query_pairs_mut().append_pair(super::OPT_OUT.0, super::OPT_OUT.1);
        }
        url
    }
}

impl Synthesizer for Speak {
    fn connect_ahead(&self, _call: &CallContext) -> BoxFuture<'static, ()> {
        let (http, base) = (self.http.clone(), self.base.clone());
        async move { egress::open_ahead(&http, &base).await }.boxed()
    }

    fn speaks(&self, format: AudioFormat) -> bool {
        voice_yields(VENDOR, format)
    }

    fn open(&self, call: &CallContext) -> Box<dyn VoiceSession> {
        Box::new(Session { url: self.url(call.format), voice: self.clone(), running: Arc::default() })
    }
}

/// A voice in one call.
struct Session {
    url: Url,
    voice: Speak,
    /// Shared with each clause that is not over.
    running: Arc<()>,
}

impl VoiceSession for Session {
    fn request(&mut self, clause: &str) -> SpeechStream {
        let Speak { http, key, timeouts, throttle, .. } = &self.voice;
        let request = http
            .post(self.url.clone())
            .header(header::AUTHORIZATION, format!("Token {}", key.reveal()))
            .json(&json!({"text": clause}));
        let is_ahead = Arc::strong_count(&self.running) > 1;
        let waiting = Waiting {
            request,
            counted: u64::try_from(clause.chars().count()).unwrap_or(u64::MAX),
            timeouts: *timeouts,
            throttle: Arc::clone(throttle),
            slot: Arc::clone(throttle).slot(is_ahead).boxed(),
            is_ahead,
            since: None,
            refusals: 0,
        };
        let clause = Some((Clause::Waiting(Box::new(waiting)), Arc::clone(&self.running)));
        let speech = stream::unfold(clause, |clause| async {
            let (clause, running) = clause?;
            let (event, rest) = clause.next().await?;
            Some((event, rest.map(|rest| (rest, running))))
        });
        speech.boxed()
    }
}

/// Maximum time that a clause waits for its turn. A refusal that asks for longer fails it at once.
const MAX_DELAY: Duration = Duration::from_secs(8);
/// Time between two reports of a clause that waits.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// Maximum size of a clause's audio: two minutes at 16 kHz and 16 bits. A server that never ends must not fill the memory.
const MAX_CLAUSE_BYTES: usize = 4 * 1024 * 1024;

/// A clause from its request to the end of its audio.
enum Clause {
    Waiting(Box<Waiting>),
    Open(Box<Body>, Slot),
}

/// A clause that waits for a slot of its key.
struct Waiting {
    request: reqwest::RequestBuilder,
    counted: u64,
    timeouts: StreamTimeouts,
    throttle: Arc<KeyThrottle>,
    slot: BoxFuture<'static, Slot>,
    is_ahead: bool,
    /// When it was first polled.
    since: Option<Instant>,
    refusals: u32,
}

/// The refusal of a request that is to be repeated.
struct Throttled {
    after: Option<Duration>,
    error: Error,
}

impl Clause {
    /// The next event, and the rest of the clause.
    async fn next(self) -> Option<(Result<SpeechEvent, Error>, Option<Self>)> {
        match self {
            Self::Waiting(waiting) => Some(waiting.next().await),
            Self::Open(mut body, slot) => match body.read().await {
                Ok(audio) => audio.map(|audio| (Ok(SpeechEvent::Audio(audio)), Some(Self::Open(body, slot)))),
                Err(error) => Some((Err(error), None)),
            },
        }
    }
}

impl Waiting {
    async fn next(mut self: Box<Self>) -> (Result<SpeechEvent, Error>, Option<Clause>) {
        let since = *self.since.get_or_insert_with(Instant::now);
        let Ok(slot) = timeout(REPORT_EVERY, &mut self.slot).await else {
            if since.elapsed() >= MAX_DELAY {
                let error = Error::unavailable(VENDOR, "too many requests at once");
                return (Err(error), None);
            }
            return (Ok(SpeechEvent::Delayed), Some(Clause::Waiting(self)));
        };
        let request = self.request.try_clone().expect("a request whose body is not a stream can be cloned");
        match open(request, self.counted, self.timeouts).await {
            Ok((body, characters)) => (Ok(characters), Some(Clause::Open(Box::new(body), slot))),
            Err(Throttled { after: Some(after), .. }) if since.elapsed() + after <= MAX_DELAY => {
                self.throttle.pause(after.max(throttle::backoff(self.refusals)));
                self.refusals += 1;
                drop(slot);
                self.slot = Arc::clone(&self.throttle).slot(self.is_ahead).boxed();
                (Ok(SpeechEvent::Delayed), Some(Clause::Waiting(self)))
            }
            Err(Throttled { error, .. }) => (Err(error), None),
        }
    }
}

fn speak_url(base: &Url, model: &str, format: AudioFormat) -> Url {
    let encoding = match format.encoding {
        Encoding::MuLaw => "mulaw",
        Encoding::Pcm16 => "linear16",
    };
    let mut url = join(base, "/v1/speak");
    url.query_pairs_mut()
        .append_pair("model", model)
        .append_pair("encoding", encoding)
        .append_pair("sample_rate", &format.sample_rate.to_string())
        // The default container is WAV, whose header is heard as a click.
        .append_pair("container", "none");
    url
}

/// Sends the request. Returns the response, and the characters that it costs.
async fn open(
    request: reqwest::RequestBuilder,
    counted: u64,
    timeouts: StreamTimeouts,
) -> Result<(Body, SpeechEvent), Throttled> {
    let deadline = Instant::now() + timeouts.first;
    let failed = |error| Throttled { after: None, error };
    let response = match timeout_at(deadline, request.send()).await {
        Ok(sent) => sent.map_err(|error| failed(lost(error)))?,
        Err(_) => return Err(failed(Error::silent(VENDOR, timeouts.first))),
    };
    if !response.status().is_success() {
        let is_throttled = response.status() == StatusCode::TOO_MANY_REQUESTS;
        let error = refused(response).await;
        let after = (is_throttled && error.is_retryable()).then(|| error.retry_after().unwrap_or_default());
        return Err(Throttled { after, error });
    }
    let headers = response.headers();
    if headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"))
    {
        return Err(failed(Error::unavailable(VENDOR, "it answered with a text instead of audio")));
    }
    let reported = headers.get("dg-char-count").and_then(|count| count.to_str().ok()?.parse().ok());
    let characters =
        SpeechEvent::Characters { count: reported.unwrap_or(counted), estimated: reported.is_none() };
    let waiting_for = timeouts.first;
    let body = Body { response, deadline, waiting_for, idle: timeouts.idle, bytes: 0 };
    Ok((body, characters))
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
            match timeout_at(self.deadline, self.response.chunk()).await {
                Err(_) => return Err(Error::silent(VENDOR, self.waiting_for)),
                Ok(Err(error)) => return Err(lost(error)),
                Ok(Ok(None)) if self.bytes == 0 => {
                    return Err(Error::unavailable(VENDOR, "its speech was empty"));
                }
                Ok(Ok(None)) => return Ok(None),
                Ok(Ok(Some(audio))) if audio.is_empty() => {}
                Ok(Ok(Some(audio))) => {
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
    let verdict = refusal::verdict(status, &headers, &explanation, &[]);
    let code = explanation.code.as_deref();
    match verdict {
        Verdict::Retry { after } => {
            let reason = crate::error::shorten(&format!("{} {}", status.as_u16(), code.unwrap_or_default()));
            Error::Unavailable { vendor: VENDOR, reason, retry_after: after, source: None }
        }
        Verdict::DropParameter(_) | Verdict::FallBack | Verdict::GiveUp => Error::rejected(
            VENDOR,
            code.unwrap_or(status.as_str()),
            explanation.message.as_deref().unwrap_or_default(),
        ),
    }
}
