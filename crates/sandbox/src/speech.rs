//! Offline speaking and hearing: the client of the Python speech service.
//!
//! The engines are Python packages, so they live in a small HTTP service of their own
//! (`python/speech_service.py`); here telephone audio becomes what they want and back. Nothing but audio
//! and text passes: whoever transcribes has only what was heard.

use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::Deserialize;
use serde_json::json;

use crate::audio;

/// The program of the speech service. Started with the Python of an environment that has the engines, it
/// prints one line `{"url": "http://127.0.0.1:PORT"}` when it is ready and ends when its stdin closes.
pub const SPEECH_SERVICE: &str = include_str!("../python/speech_service.py");

/// Samples per second the service speaks with.
const SPOKEN_RATE: u32 = 24_000;

/// Samples per second the service hears.
const HEARD_RATE: u32 = 16_000;

/// A long utterance on a busy machine takes a few seconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// A connection to the speech service; clones share it.
#[derive(Debug, Clone)]
pub struct Speech {
    client: reqwest::Client,
    url: String,
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
        Ok(Self { client, url: url.trim_end_matches('/').to_owned() })
    }

    /// Speaks a text: 8 kHz mu-law. `speed` 1.0 is the voice's own pace, 2.0 twice as fast.
    ///
    /// # Errors
    /// If the service cannot be reached or refuses the text.
    pub async fn synthesize(&self, text: &str, speed: f32) -> anyhow::Result<Vec<u8>> {
        let samples = self.synthesize_linear(text, speed, audio::SAMPLE_RATE).await?;
        Ok(samples.into_iter().map(audio::encode).collect())
    }

    /// Speaks a text: linear samples, so many per second.
    ///
    /// # Errors
    /// If the service cannot be reached or refuses the text.
    pub async fn synthesize_linear(&self, text: &str, speed: f32, rate: u32) -> anyhow::Result<Vec<i16>> {
        let request = self.client.post(format!("{}/synthesize", self.url));
        let response = request.json(&json!({ "text": text, "speed": speed })).send().await;
        let bytes = checked(response.context("the speech service cannot be reached")?).await?.bytes().await?;
        let samples = bytes.as_chunks().0.iter().map(|sample| i16::from_le_bytes(*sample)).collect();
        resampled(samples, SPOKEN_RATE, rate).await
    }

    /// The words in a piece of 8 kHz mu-law; empty if none are heard.
    ///
    /// # Errors
    /// If the service cannot be reached or fails.
    pub async fn transcribe(&self, mulaw: &[u8]) -> anyhow::Result<String> {
        let samples = mulaw.iter().map(|&byte| audio::decode(byte)).collect();
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
