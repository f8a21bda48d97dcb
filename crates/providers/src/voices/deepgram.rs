//! Deepgram Aura: `POST /v1/speak`, audio streamed back in the answer's body.
//!
//! Not its websocket: that guarantees audio only after a flush, and flushes are limited to some 20 a
//! minute, while a request on a pooled connection costs no handshake and is cancelled by dropping it.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use http::header;
use reqwest::Url;
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, timeout_at};

use super::{Speech, SpeechEvent};
use crate::{Error, Patience, Providers, Secret, egress, endpoints::join};

const VENDOR: &str = "deepgram";

/// One voice of one server.
#[derive(Debug, Clone)]
pub struct Synthesizer {
    http: reqwest::Client,
    url: Url,
    key: Secret,
    patience: Patience,
}

impl Synthesizer {
    /// `model` is such as `aura-2-thalia-en`.
    #[must_use]
    pub fn new(providers: &Providers, model: &str, patience: Patience) -> Self {
        let mut url = join(&providers.endpoints.deepgram, "/v1/speak");
        url.query_pairs_mut()
            .append_pair("model", model)
            .append_pair("encoding", "mulaw")
            .append_pair("sample_rate", "8000")
            // The default is a WAV header, heard as a click.
            .append_pair("container", "none");
        Self { http: providers.http.clone(), url, key: providers.keys.deepgram_api_key.clone(), patience }
    }

    /// See [`super::Synthesizer::speak`].
    #[must_use]
    pub fn speak(&self, text: &str) -> Speech {
        let request = self
            .http
            .post(self.url.clone())
            .header(header::AUTHORIZATION, format!("Token {}", self.key.reveal()))
            .json(&json!({"text": text}));
        let counted = u64::try_from(text.chars().count()).unwrap_or(u64::MAX);
        stream::once(open(request, counted, self.patience)).map_ok(Body::into_stream).try_flatten().boxed()
    }
}

async fn open(request: reqwest::RequestBuilder, counted: u64, patience: Patience) -> Result<Body, Error> {
    let deadline = Instant::now() + patience.first;
    let response = match timeout_at(deadline, request.send()).await {
        Ok(sent) => sent.map_err(lost)?,
        Err(_) => return Err(Error::silent(VENDOR, patience.first)),
    };
    if !response.status().is_success() {
        return Err(refusal(response).await);
    }
    let headers = response.headers();
    if headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"))
    {
        return Err(Error::unavailable(VENDOR, "it answered with a text instead of audio"));
    }
    let reported = headers.get("dg-char-count").and_then(|count| count.to_str().ok()?.parse().ok());
    let characters =
        SpeechEvent::Characters { count: reported.unwrap_or(counted), estimated: reported.is_none() };
    let waiting_for = patience.first;
    Ok(Body {
        response,
        characters: Some(characters),
        deadline,
        waiting_for,
        idle: patience.idle,
        silent: true,
    })
}

/// Audio that is coming in.
struct Body {
    response: reqwest::Response,
    characters: Option<SpeechEvent>,
    /// When the next piece must be here.
    deadline: Instant,
    waiting_for: Duration,
    idle: Duration,
    /// Nothing was heard yet.
    silent: bool,
}

impl Body {
    fn into_stream(self) -> impl futures_util::Stream<Item = Result<SpeechEvent, Error>> + Send {
        stream::unfold(Some(self), |body| async {
            let mut body = body?;
            if let Some(characters) = body.characters.take() {
                return Some((Ok(characters), Some(body)));
            }
            match body.read().await {
                Ok(audio) => audio.map(|audio| (Ok(SpeechEvent::Audio(audio)), Some(body))),
                Err(error) => Some((Err(error), None)),
            }
        })
    }

    async fn read(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            match timeout_at(self.deadline, self.response.chunk()).await {
                Err(_) => return Err(Error::silent(VENDOR, self.waiting_for)),
                Ok(Err(error)) => return Err(lost(error)),
                Ok(Ok(None)) if self.silent => {
                    return Err(Error::unavailable(VENDOR, "its speech was empty"));
                }
                Ok(Ok(None)) => return Ok(None),
                Ok(Ok(Some(audio))) if audio.is_empty() => {}
                Ok(Ok(Some(audio))) => {
                    self.silent = false;
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

/// `{"err_code", "err_msg", "request_id"}`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Described {
    err_code: String,
    err_msg: String,
}

async fn refusal(response: reqwest::Response) -> Error {
    let status = response.status();
    let retry_after = egress::retry_after(response.headers());
    let body = egress::error_body(response).await;
    let Described { err_code, err_msg } = serde_json::from_slice(&body).unwrap_or_default();
    if egress::is_transient(status) {
        let reason = crate::error::shorten(&format!("{} {err_code}", status.as_u16()));
        return Error::Unavailable { vendor: VENDOR, reason, retry_after, source: None };
    }
    Error::rejected(VENDOR, if err_code.is_empty() { status.as_str() } else { &err_code }, &err_msg)
}
