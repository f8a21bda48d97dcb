//! Speech synthesis and recognition by the offline engines: a client of the Python speech service.
//!
//! The engines are Python packages, so they run in a small HTTP service of their own (`python/speech_service.py`).
//! This module converts telephone audio to the engines' formats and back. Only audio and text cross the border, so a
//! transcript comes from the audio alone.

mod sentences;
pub(crate) mod voicing;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, bail};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::OnceCell;

pub(crate) use self::sentences::sentences;
use crate::{audio, canned::Load};

/// The program of the speech service. It needs a Python with the engines installed, prints the line
/// `{"url": "http://127.0.0.1:PORT"}` when it is ready, and ends when its stdin closes.
pub const SPEECH_SERVICE: &str = include_str!("../../python/speech_service.py");

/// Samples per second of synthesized speech.
const SPOKEN_RATE: u32 = 24_000;

/// Samples per second of audio to recognise.
const HEARD_RATE: u32 = 16_000;

/// Time limit for a request: a long utterance takes seconds on a busy machine, and shorter ones overtake it.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(2);

/// Number of texts whose audio is kept, the newest ones; and the longest such text. At 16 characters a second that is a
/// minute, or a megabyte of telephone audio.
const KEPT: usize = 64;
const LONGEST_KEPT: usize = 1_000;

/// A connection to the speech service. Clones share it, and the kept audio.
#[derive(Debug, Clone)]
pub struct Speech {
    client: reqwest::Client,
    url: String,
    spoken: Arc<Mutex<VecDeque<Spoken>>>,
    /// Replaces the service.
    canned: Option<Arc<Load>>,
}

/// The audio of a text. Requests for the same text that arrive meanwhile wait for it.
#[derive(Debug)]
struct Spoken {
    said: Said,
    sound: Arc<OnceCell<Vec<i16>>>,
}

/// Everything that determines the audio.
#[derive(Debug, Clone, PartialEq)]
struct Said {
    text: String,
    speed: f32,
    rate: u32,
}

#[derive(Deserialize)]
struct Transcription {
    text: String,
}

impl Speech {
    /// Creates a client of the service at this base URL. Sends nothing yet.
    ///
    /// # Errors
    /// The HTTP client cannot be created.
    pub fn connect(url: &str) -> anyhow::Result<Self> {
        let client = local_client(ANSWER_TIMEOUT)?;
        Ok(Self { client, url: url.trim_end_matches('/').to_owned(), spoken: Arc::default(), canned: None })
    }

    /// Creates a client without a service: canned transcripts and canned audio.
    ///
    /// # Errors
    /// The HTTP client cannot be created.
    pub(crate) fn canned(load: Arc<Load>) -> anyhow::Result<Self> {
        Ok(Self { canned: Some(load), ..Self::connect("")? })
    }

    /// The load test that this belongs to, if speech is canned.
    pub(crate) fn load(&self) -> Option<&Arc<Load>> {
        self.canned.as_ref()
    }

    /// Synthesizes a text as 8 kHz mu-law. `speed` 1.0 is the voice's own pace, 2.0 twice as fast.
    ///
    /// # Errors
    /// The service did not respond, or refused the text.
    pub async fn synthesize(&self, text: &str, speed: f32) -> anyhow::Result<Vec<u8>> {
        let samples = self.synthesize_linear(text, speed, audio::SAMPLE_RATE).await?;
        Ok(samples.into_iter().map(audio::encode).collect())
    }

    /// Synthesizes a text as linear samples at this rate. Concurrent requests for the same text are synthesized once.
    ///
    /// # Errors
    /// The service did not respond, or refused the text.
    pub async fn synthesize_linear(&self, text: &str, speed: f32, rate: u32) -> anyhow::Result<Vec<i16>> {
        if let Some(load) = &self.canned {
            return Ok(load.speak(text, rate));
        }
        let said = Said { text: text.to_owned(), speed, rate };
        if text.len() > LONGEST_KEPT {
            return self.speak(&said).await;
        }
        let sound = self.sound(&said);
        // The same text always gives the same audio. After a failure the next waiting request tries again.
        sound.get_or_try_init(|| self.speak(&said)).await.cloned()
    }

    /// The place for the audio of this text.
    fn sound(&self, said: &Said) -> Arc<OnceCell<Vec<i16>>> {
        // No operation under the lock can leave the list half changed.
        let mut spoken = self.spoken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = spoken.iter().find(|known| known.said == *said) {
            return known.sound.clone();
        }
        spoken.truncate(KEPT - 1);
        let sound = Arc::<OnceCell<_>>::default();
        spoken.push_front(Spoken { said: said.clone(), sound: sound.clone() });
        sound
    }

    async fn speak(&self, said: &Said) -> anyhow::Result<Vec<i16>> {
        let request = self.client.post(format!("{}/synthesize", self.url));
        let response = request.json(&json!({ "text": said.text, "speed": said.speed })).send().await;
        let bytes = checked(response.context("the speech service did not respond")?).await?.bytes().await?;
        let samples = bytes.as_chunks().0.iter().map(|sample| i16::from_le_bytes(*sample)).collect();
        resampled(samples, SPOKEN_RATE, said.rate).await
    }

    /// Recognises 8 kHz mu-law; the result is empty if no words are heard.
    ///
    /// # Errors
    /// The service did not respond, or failed.
    pub async fn transcribe(&self, mulaw: &[u8]) -> anyhow::Result<String> {
        if let Some(load) = &self.canned {
            return Ok(load.transcribe());
        }
        let samples = mulaw.iter().map(|&byte| audio::decode(byte)).collect();
        let mulaw = mulaw.to_vec();
        if !tokio::task::spawn_blocking(move || voicing::has_voice(&mulaw)).await? {
            return Ok(String::new());
        }
        let wide = resampled(samples, audio::SAMPLE_RATE, HEARD_RATE).await?;
        let body: Vec<u8> = wide.into_iter().flat_map(i16::to_le_bytes).collect();
        let response = self.client.post(format!("{}/transcribe", self.url)).body(body).send().await;
        let response = checked(response.context("the speech service did not respond")?).await?;
        Ok(response.json::<Transcription>().await?.text)
    }
}

/// Resamples on a blocking thread, because an unoptimized build takes 10 ms for a second of speech.
async fn resampled(samples: Vec<i16>, from: u32, to: u32) -> anyhow::Result<Vec<i16>> {
    Ok(tokio::task::spawn_blocking(move || audio::resample(&samples, from, to)).await?)
}

async fn checked(response: reqwest::Response) -> anyhow::Result<reqwest::Response> {
    let status = response.status();
    if !status.is_success() {
        bail!("the speech service answered {status}: {}", response.text().await.unwrap_or_default());
    }
    Ok(response)
}

/// Creates an HTTP client for servers on this machine: plain HTTP, no proxy.
///
/// # Errors
/// The client cannot be created.
pub(crate) fn local_client(timeout: Duration) -> anyhow::Result<reqwest::Client> {
    // reqwest requires a TLS configuration even for plain HTTP; without roots it trusts no server.
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    // The service closes idle connections after a minute, so they must not be reused by then.
    let pool = Duration::from_secs(30);
    let client = reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy().pool_idle_timeout(pool);
    Ok(client.connect_timeout(Duration::from_secs(2)).timeout(timeout).build()?)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::{Router, http::StatusCode, routing::post};
    use tokio::{net::TcpListener, task::JoinSet};

    use super::*;

    /// A service that fails at first and then returns one sample; and the number of requests to it.
    async fn service(failures: usize, tasks: &mut JoinSet<()>) -> (Speech, Arc<AtomicUsize>) {
        let asked = Arc::<AtomicUsize>::default();
        let count = asked.clone();
        let speak = async move || {
            if count.fetch_add(1, Ordering::SeqCst) < failures {
                return Err(StatusCode::INTERNAL_SERVER_ERROR);
            }
            Ok(vec![1, 0])
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().route("/synthesize", post(speak));
        tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
        (Speech::connect(&url).unwrap(), asked)
    }

    #[tokio::test]
    async fn concurrent_requests_for_a_text_synthesize_it_once() {
        let mut tasks = JoinSet::new();
        let (speech, asked) = service(0, &mut tasks).await;
        let (one, two) = tokio::join!(speech.synthesize("Hello.", 1.0), speech.synthesize("Hello.", 1.0));
        assert_eq!(one.unwrap(), two.unwrap());
        speech.clone().synthesize("Hello.", 1.0).await.unwrap();
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        // Another pace gives other audio.
        speech.synthesize("Hello.", 1.5).await.unwrap();
        assert_eq!(asked.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn failures_are_not_kept_and_old_audio_is_dropped() {
        let mut tasks = JoinSet::new();
        let (speech, asked) = service(1, &mut tasks).await;
        assert!(speech.synthesize("Hello.", 1.0).await.is_err());
        for text in 0..=KEPT {
            speech.synthesize(&text.to_string(), 1.0).await.unwrap();
        }
        speech.synthesize(&"long ".repeat(LONGEST_KEPT), 1.0).await.unwrap();
        assert_eq!(speech.spoken.lock().unwrap().len(), KEPT);
        let before = asked.load(Ordering::SeqCst);
        speech.synthesize(&KEPT.to_string(), 1.0).await.unwrap();
        assert_eq!(asked.load(Ordering::SeqCst), before, "the newest are kept");
        speech.synthesize("0", 1.0).await.unwrap();
        assert_eq!(asked.load(Ordering::SeqCst), before + 1, "the oldest are not");
    }
}
