#![doc = include_str!("../README.md")]

pub mod audio;
mod callers;
mod canned;
mod clock;
mod deepgram;
mod faults;
mod ids;
mod openai;
pub mod speech;
mod twilio;

use std::{future::IntoFuture as _, net::Ipv4Addr, sync::Arc, time::Duration};

use anyhow::Context as _;
use axum::{Router, serve::ListenerExt as _};
use tokio::{net::TcpListener, time::timeout};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

pub use canned::{Load, Measured, Percentiles};
pub use twilio::{CUSTOMER_ACCOUNT_SID, CUSTOMER_AUTH_TOKEN, CUSTOMER_NUMBER, OWNED_NUMBER};

/// Time limit for calls and connections to end in [`Sandbox::stop`].
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// The configuration of a sandbox. Not `Debug`: it holds keys.
#[derive(Clone)]
pub struct Config {
    /// The speech engines.
    pub engines: Engines,
    /// The carrier's account of the deployment: `AC` and 32 hexadecimal digits.
    pub twilio_account_sid: String,
    /// The account's auth token: the password of its REST requests, and the key of its signatures.
    pub twilio_auth_token: String,
    /// The key that the Deepgram server accepts.
    pub deepgram_api_key: String,
    /// The key that the OpenAI server accepts.
    pub openai_api_key: String,
}

/// What recognises and synthesizes speech in the sandbox.
#[derive(Clone)]
pub enum Engines {
    /// The speech service at this base URL (see [`speech`]): real speech, recognised from its audio.
    Offline(String),
    /// No engine: canned audio, and callers for a load test.
    Canned(Arc<Load>),
}

/// Running servers, each on a loopback port of its own. Dropping the sandbox stops them without waiting.
pub struct Sandbox {
    /// Base URL of the carrier: Twilio's REST API, and the inspection endpoints below `/sandbox`.
    pub twilio_url: String,
    /// Base URL of the Deepgram server.
    pub deepgram_url: String,
    /// Base URL of the OpenAI server; ends in `/v1`.
    pub openai_url: String,
    carrier: Arc<twilio::Carrier>,
    tasks: TaskTracker,
    stop: CancellationToken,
    _stop_on_drop: DropGuard,
}

impl Sandbox {
    /// Starts every server. The speech service is not used before a call rings.
    ///
    /// # Errors
    /// No loopback port can be opened, or an HTTP client cannot be created.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        let tasks = TaskTracker::new();
        let stop = CancellationToken::new();
        let stop_on_drop = stop.clone().drop_guard();
        let speech = match &config.engines {
            Engines::Offline(url) => speech::Speech::connect(url)?,
            Engines::Canned(load) => speech::Speech::canned(load.clone())?,
        };
        let account =
            twilio::Account { sid: config.twilio_account_sid, auth_token: config.twilio_auth_token };
        let callers = callers::Callers::new(speech.clone())?;
        let carrier = Arc::new(twilio::Carrier::new(account, callers, tasks.clone(), stop.clone())?);
        let deepgram = deepgram::router(speech, config.deepgram_api_key, &stop);
        let openai = match config.engines {
            Engines::Offline(_) => openai::router(config.openai_api_key, &stop),
            Engines::Canned(load) => canned::router(load, &config.openai_api_key),
        };
        Ok(Self {
            twilio_url: serve(twilio::router(&carrier), &tasks, &stop).await?,
            deepgram_url: serve(deepgram, &tasks, &stop).await?,
            openai_url: serve(openai, &tasks, &stop).await? + "/v1",
            carrier,
            tasks,
            stop,
            _stop_on_drop: stop_on_drop,
        })
    }

    /// Connects a number that an account owns: sets the URL of its TwiML and of its status callback. Returns the carrier's
    /// id of the number, or `None` if no account owns it.
    #[must_use]
    pub fn connect_number(&self, number: &str, voice_url: &str, status_callback: &str) -> Option<String> {
        self.carrier.connect_number(number, voice_url, status_callback)
    }

    /// Ends all calls and servers, and waits for them for at most five seconds.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        if timeout(STOP_TIMEOUT, self.tasks.wait()).await.is_err() {
            tracing::warn!("sandbox tasks still running after {STOP_TIMEOUT:?}");
        }
    }
}

/// Serves on a free loopback port until the token is cancelled; returns the base URL.
async fn serve(router: Router, tasks: &TaskTracker, stop: &CancellationToken) -> anyhow::Result<String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("opening a loopback port")?;
    let url = format!("http://{}", listener.local_addr()?);
    // Without the option Nagle's algorithm would hold back tokens and audio; a refusal is harmless.
    let listener = listener.tap_io(|socket| drop(socket.set_nodelay(true)));
    let stopped = stop.clone().cancelled_owned();
    let server = axum::serve(listener, router).with_graceful_shutdown(stopped).into_future();
    tasks.spawn(async move {
        if let Err(error) = server.await {
            tracing::error!(%error, "sandbox server failed");
        }
    });
    Ok(url)
}
