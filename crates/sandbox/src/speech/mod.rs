//! Offline speaking and hearing: the client of the Python speech service.
//!
//! The engines are Python packages, so they live in a small HTTP service of their own
//! (`python/speech_service.py`); here telephone audio becomes what they want and back. Nothing but audio
//! and text passes: whoever transcribes has only what was heard.

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

use crate::{audio, canned::Load};

/// The program of the speech service. Started with the Python of an environment that has the engines, it
/// prints one line `{"url": "http://127.0.0.1:PORT"}` when it is ready and ends when its stdin closes.
pub const SPEECH_SERVICE: &str = include_str!("../../python/speech_service.py");

/// Samples per second the service speaks with.
const SPOKEN_RATE: u32 = 24_000;

/// Samples per second the service hears.
const HEARD_RATE: u32 = 16_000;

/// A long utterance takes a few seconds on a busy machine, and lets shorter ones go first.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(2);

/// Texts whose sound is kept, the newest ones. At 16 characters a second the longest is a minute, a
/// megabyte of telephone audio.
const KEPT: usize = 64;
const LONGEST_KEPT: usize = 1_000;

/// A connection to the speech service; clones share it, and what was spoken.
#[derive(Debug, Clone)]
pub struct Speech {
    client: reqwest::Client,
    url: String,
    spoken: Arc<Mutex<VecDeque<Spoken>>>,
    /// In place of the service.
    canned: Option<Arc<Load>>,
}

/// What a text sounded like, or is about to: who asks meanwhile waits for the same sound.
#[derive(Debug)]
struct Spoken {
    said: Said,
    sound: Arc<OnceCell<Vec<i16>>>,
}

/// All that makes a sound what it is.
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
    /// A client of the service at this base URL. Nothing is sent yet.
    ///
    /// # Errors
    /// If the HTTP client cannot be built.
    pub fn connect(url: &str) -> anyhow::Result<Self> {
        let client = local_client(ANSWER_TIMEOUT)?;
        Ok(Self { client, url: url.trim_end_matches('/').to_owned(), spoken: Arc::default(), canned: None })
    }

    /// Without a service: whatever is heard is understood, whatever is said sounds alike, at once.
    ///
    /// # Errors
    /// If the HTTP client cannot be built.
    pub(crate) fn canned(load: Arc<Load>) -> anyhow::Result<Self> {
        Ok(Self { canned: Some(load), ..Self::connect("")? })
    }

    /// What all canned speech is part of, if this is canned.
    pub(crate) fn load(&self) -> Option<&Arc<Load>> {
        self.canned.as_ref()
    }

    /// Speaks a text: 8 kHz mu-law. `speed` 1.0 is the voice's own pace, 2.0 twice as fast.
    ///
    /// # Errors
    /// If the service cannot be reached or refuses the text.
    pub async fn synthesize(&self, text: &str, speed: f32) -> anyhow::Result<Vec<u8>> {
        let samples = self.synthesize_linear(text, speed, audio::SAMPLE_RATE).await?;
        Ok(samples.into_iter().map(audio::encode).collect())
    }

    /// Speaks a text: linear samples, so many per second. What many ask for is spoken once.
    ///
    /// # Errors
    /// If the service cannot be reached or refuses the text.
    pub async fn synthesize_linear(&self, text: &str, speed: f32, rate: u32) -> anyhow::Result<Vec<i16>> {
        if let Some(load) = &self.canned {
            return Ok(load.speak(text, rate));
        }
        let said = Said { text: text.to_owned(), speed, rate };
        if text.len() > LONGEST_KEPT {
            return self.speak(&said).await;
        }
        let sound = self.sound(&said);
        // The same text always sounds the same. After a failure the next one who waits asks again.
        sound.get_or_try_init(|| self.speak(&said)).await.cloned()
    }

    /// Where the sound of this is, or will be.
    fn sound(&self, said: &Said) -> Arc<OnceCell<Vec<i16>>> {
        // Nothing that is done under the lock can leave the list half changed.
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
        let bytes = checked(response.context("the speech service cannot be reached")?).await?.bytes().await?;
        let samples = bytes.as_chunks().0.iter().map(|sample| i16::from_le_bytes(*sample)).collect();
        resampled(samples, SPOKEN_RATE, said.rate).await
    }

    /// The words in a piece of 8 kHz mu-law; empty if none are heard.
    ///
    /// # Errors
    /// If the service cannot be reached or fails.
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
        let response = checked(response.context("the speech service cannot be reached")?).await?;
        Ok(response.json::<Transcription>().await?.text)
    }
}

/// Samples at another rate, off the threads that pace audio: unoptimised it takes 10 ms a second of speech.
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

/// An HTTP client for servers on this machine: plain HTTP only, no proxy.
///
/// # Errors
/// If the client cannot be built.
pub(crate) fn local_client(timeout: Duration) -> anyhow::Result<reqwest::Client> {
    // reqwest wants a TLS configuration even if TLS is never spoken; without roots it trusts nobody.
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    // The service closes idle connections after a minute: they must not be used any more by then.
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

    /// A service that fails at first, then gives one sample; and how often it was asked.
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
    async fn a_text_is_spoken_once_for_all_who_ask_also_at_the_same_time() {
        let mut tasks = JoinSet::new();
        let (speech, asked) = service(0, &mut tasks).await;
        let (one, two) = tokio::join!(speech.synthesize("Hello.", 1.0), speech.synthesize("Hello.", 1.0));
        assert_eq!(one.unwrap(), two.unwrap());
        speech.clone().synthesize("Hello.", 1.0).await.unwrap();
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        // Another pace is another sound.
        speech.synthesize("Hello.", 1.5).await.unwrap();
        assert_eq!(asked.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_failure_is_not_kept_and_neither_is_more_than_there_is_room_for() {
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
