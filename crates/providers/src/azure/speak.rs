//! Azure neural voices: `POST .../cognitiveservices/v1`, whose response body is the audio.
//!
//! A request on a pooled connection needs no handshake and is cancelled by dropping it. The vendor keeps no context
//! between clauses. It does not report the characters that it bills, so they are counted here.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream};
use http::{HeaderMap, StatusCode, header};
use reqwest::Url;
use switchboard_model::catalogue::voice_yields;
use tokio::time::{Instant, sleep, timeout_at};

use super::{
    VENDOR, authorization, refusal_of_key, service_url,
    ssml::{Document, Voice},
};
use crate::{
    Error, Providers, Secret, StreamTimeouts,
    audio::{AudioFormat, Encoding},
    egress,
    refusal::{self, Explanation, Verdict},
    synthesizer::{CallContext, SpeechEvent, SpeechStream, Synthesizer, VoiceSession},
    unusable::Unusable,
};

/// Maximum time that a clause waits for its turn. A refusal that asks for longer fails it at once.
const MAX_DELAY: Duration = Duration::from_secs(8);
/// The wait after the first refusal that names none; it doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// Maximum size of a clause's audio: two minutes at 16 kHz and 16 bits. A server that never ends must not fill the memory.
const MAX_CLAUSE_BYTES: usize = 4 * 1024 * 1024;

/// One neural voice with one key.
#[derive(Debug, Clone)]
pub struct Speak {
    http: reqwest::Client,
    url: Url,
    voice: Voice,
    key: Secret,
    timeouts: StreamTimeouts,
}

impl Speak {
    /// For the configured address and key. `name` is a voice such as `en-US-AvaMultilingualNeural`; `pitch` and `rate` are
    /// in per cent.
    ///
    /// # Errors
    /// There is no key.
    pub fn new(
        providers: &Providers,
        name: &str,
        pitch: i8,
        rate: i8,
        timeouts: StreamTimeouts,
    ) -> Result<Self, Unusable> {
        let url = service_url(providers.endpoints.of(VENDOR), "tts", "/cognitiveservices/v1");
        let voice = Voice { name: name.to_owned(), pitch, rate };
        Ok(Self { http: providers.http.clone(), url, voice, key: providers.key(VENDOR)?, timeouts })
    }
}

impl Synthesizer for Speak {
    fn connect_ahead(&self, _call: &CallContext) -> BoxFuture<'static, ()> {
        let (http, url) = (self.http.clone(), self.url.clone());
        async move { egress::open_ahead(&http, &url).await }.boxed()
    }

    fn speaks(&self, format: AudioFormat) -> bool {
        voice_yields(VENDOR, format)
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
        let waiting = Waiting {
            document: self.voice.voice.document(clause),
            format: output_format(self.format),
            voice: self.voice.clone(),
            since: None,
            refusals: 0,
            pause: Duration::ZERO,
        };
        let clause = Some(Clause::Waiting(Box::new(waiting)));
        stream::unfold(clause, |clause| async { clause?.next().await }).boxed()
    }
}

/// A clause from its request to the end of its audio.
enum Clause {
    Waiting(Box<Waiting>),
    Open(Box<Body>),
}

impl Clause {
    /// The next event, and the rest of the clause.
    async fn next(self) -> Option<(Result<SpeechEvent, Error>, Option<Self>)> {
        match self {
            Self::Waiting(waiting) => Some(waiting.next().await),
            Self::Open(mut body) => match body.read().await {
                Ok(audio) => audio.map(|audio| (Ok(SpeechEvent::Audio(audio)), Some(Self::Open(body)))),
                Err(error) => Some((Err(error), None)),
            },
        }
    }
}

/// A clause whose request is not accepted yet.
struct Waiting {
    document: Document,
    format: &'static str,
    voice: Speak,
    /// When it was first polled.
    since: Option<Instant>,
    refusals: u32,
    /// The wait before the next request.
    pause: Duration,
}

impl Waiting {
    async fn next(mut self: Box<Self>) -> (Result<SpeechEvent, Error>, Option<Clause>) {
        let since = *self.since.get_or_insert_with(Instant::now);
        sleep(self.pause).await;
        match self.open().await {
            Ok(body) => {
                let characters = SpeechEvent::Characters { count: self.document.billed, estimated: true };
                (Ok(characters), Some(Clause::Open(Box::new(body))))
            }
            Err(Refused { retry_after: Some(after), error }) => {
                let backoff =
                    FIRST_WAIT.saturating_mul(2_u32.saturating_pow(self.refusals)).min(LONGEST_WAIT);
                self.pause = after.max(backoff);
                self.refusals += 1;
                if since.elapsed() + self.pause > MAX_DELAY {
                    return (Err(error), None);
                }
                (Ok(SpeechEvent::Delayed), Some(Clause::Waiting(self)))
            }
            Err(Refused { error, .. }) => (Err(error), None),
        }
    }

    async fn open(&self) -> Result<Body, Refused> {
        let Speak { http, url, key, timeouts, .. } = &self.voice;
        let failed = |error| Refused { retry_after: None, error };
        let (name, key) = authorization(key).map_err(failed)?;
        let request = http
            .post(url.clone())
            .header(name, key)
            .header(header::CONTENT_TYPE, "application/ssml+xml")
            .header("x-microsoft-outputformat", self.format)
            .body(self.document.text.clone());
        let deadline = Instant::now() + timeouts.first;
        let response = match timeout_at(deadline, request.send()).await {
            Ok(sent) => sent.map_err(|error| failed(lost(error)))?,
            Err(_) => return Err(failed(Error::silent(VENDOR, timeouts.first))),
        };
        if !response.status().is_success() {
            let (status, headers) = (response.status(), response.headers().clone());
            return Err(refused(status, &headers, &egress::error_body(response).await));
        }
        Ok(Body { response, deadline, waiting_for: timeouts.first, idle: timeouts.idle, bytes: 0 })
    }
}

/// A request that was not accepted.
struct Refused {
    /// Set if the same request is to be repeated: at least how much later.
    retry_after: Option<Duration>,
    error: Error,
}

/// The meaning of a status other than 2xx. The explanation is a line of text, or missing.
fn refused(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Refused {
    let mut explanation = Explanation::read(body);
    if explanation.message.is_none() {
        let text = String::from_utf8_lossy(body).trim().to_owned();
        explanation.message = (!text.is_empty() && !text.starts_with('<')).then_some(text);
    }
    let message = refusal_of_key(status).or(explanation.message.as_deref());
    let code = match status {
        StatusCode::UNSUPPORTED_MEDIA_TYPE => "unsupported_format",
        StatusCode::BAD_REQUEST
            if message.is_some_and(|text| text.to_lowercase().contains("unsupported voice")) =>
        {
            "voice_not_found"
        }
        _ => status.as_str(),
    };
    match refusal::verdict(status, headers, &explanation, &[]) {
        Verdict::Retry { after } => {
            let retry_after = after.or_else(|| egress::retry_after(headers));
            let is_throttled = status == StatusCode::TOO_MANY_REQUESTS;
            let reason = crate::error::shorten(&format!("{code}: {}", message.unwrap_or("no explanation")));
            let error = Error::Unavailable { vendor: VENDOR, reason, retry_after, source: None };
            Refused { retry_after: is_throttled.then(|| retry_after.unwrap_or_default()), error }
        }
        Verdict::DropParameter(_) | Verdict::FallBack | Verdict::GiveUp => {
            let error = Error::rejected(VENDOR, code, message.unwrap_or("no explanation"));
            Refused { retry_after: None, error }
        }
    }
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
                // A locale that the voice does not speak is answered like this.
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

/// The vendor's name of a format without a header, whose bytes would be heard as a click. The catalogue lists those that
/// it has.
fn output_format(format: AudioFormat) -> &'static str {
    match (format.encoding, format.sample_rate) {
        (Encoding::MuLaw, _) => "raw-8khz-8bit-mono-mulaw",
        (Encoding::Pcm16, 8_000) => "raw-8khz-16bit-mono-pcm",
        (Encoding::Pcm16, 24_000) => "raw-24khz-16bit-mono-pcm",
        (Encoding::Pcm16, 48_000) => "raw-48khz-16bit-mono-pcm",
        (Encoding::Pcm16, _) => "raw-16khz-16bit-mono-pcm",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(status: u16, headers: &[(&'static str, &'static str)], body: &str) -> Refused {
        let headers =
            headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        refused(StatusCode::from_u16(status).unwrap(), &headers, body.as_bytes())
    }

    #[test]
    fn refusals_are_repeated_or_given_up_with_a_reason() {
        for (status, body, is_retryable, text) in [
            (400, "Unsupported voice en-US-NobodyNeural.", false, "voice_not_found"),
            (400, "SSML is not valid", false, "400"),
            (401, "", false, "(401): the key is not valid at this endpoint"),
            (403, "<html>", false, "(403): the key may not"),
            (415, "", false, "unsupported_format"),
            (429, "", true, "429"),
            (502, "<html>", true, "502"),
            (503, "busy", true, "503: busy"),
        ] {
            let Refused { error, retry_after } = judged(status, &[], body);
            assert_eq!(error.is_retryable(), is_retryable, "{status}");
            assert_eq!(retry_after.is_some(), status == 429, "{status}");
            assert!(!error.without_explanation().contains("busy"), "its words may be the caller's: {error}");
            // The stored keys are read again, and other calls do not ask it.
            assert_eq!(error.is_unauthorized(), matches!(status, 401 | 403), "{status}");
            assert!(error.to_string().contains(text) && !error.to_string().contains('<'), "{error}");
        }
        let wait = judged(429, &[("retry-after", "2")], "").retry_after;
        assert_eq!(wait, Some(Duration::from_secs(2)));
    }
}
