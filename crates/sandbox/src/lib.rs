//! The world around a phone agent, simulated on real sockets: a carrier with people on its lines, and the
//! providers that hear, think and speak.
//!
//! Everything here speaks the true wire protocols and knows nothing of the system that is connected to it:
//! no code is shared with the adapters, so that an error in them shows. Start reading at [`Sandbox::start`];
//! the carrier is in `carrier`, the people in `caller`.

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

/// How long [`Sandbox::stop`] waits for calls and connections to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// What the sandbox needs to know of its surroundings.
///
/// Not `Debug`: it holds keys.
#[derive(Clone)]
pub struct Config {
    /// Who hears and speaks.
    pub engines: Engines,
    /// The carrier's one account: `AC` and 32 hexadecimal digits.
    pub twilio_account_sid: String,
    /// The account's secret: password of its REST requests, key of its signatures.
    pub twilio_auth_token: String,
    /// The key the Deepgram server accepts.
    pub deepgram_api_key: String,
    /// The key the OpenAI server accepts.
    pub openai_api_key: String,
}

/// Who hears and speaks in the sandbox.
#[derive(Clone)]
pub enum Engines {
    /// The speech service at this base URL (see [`speech`]): real speech, recognised by its sound.
    Offline(String),
    /// Nobody: canned audio, and callers who only load the system.
    Canned(Arc<Load>),
}

/// The running servers, each on a loopback port of its own. Dropping it stops them without waiting.
pub struct Sandbox {
    /// Base URL of the carrier: Twilio's REST API, and the inspection at `/sandbox/calls`.
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
    /// Binds and serves every server. The speech service is first asked when a call rings.
    ///
    /// # Errors
    /// If no loopback port can be bound, or an HTTP client cannot be built.
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

    /// Says what the carrier asks, and where it tells of the end, when somebody calls a number that an account
    /// owns; the carrier's id of it. None if nobody owns it.
    #[must_use]
    pub fn wire(&self, number: &str, voice_url: &str, status_callback: &str) -> Option<String> {
        self.carrier.wire(number, voice_url, status_callback)
    }

    /// Ends all calls and servers, and waits for them, at most five seconds.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        if timeout(STOP_TIMEOUT, self.tasks.wait()).await.is_err() {
            tracing::warn!("sandbox tasks still ran after {STOP_TIMEOUT:?}");
        }
    }
}

/// Serves on a free loopback port until the token is cancelled; the server's base URL.
async fn serve(router: Router, tasks: &TaskTracker, stop: &CancellationToken) -> anyhow::Result<String> {
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("no loopback port can be bound")?;
    let url = format!("http://{}", listener.local_addr()?);
    // Nagle's algorithm would hold back tokens and audio; a socket that refuses works all the same.
    let listener = listener.tap_io(|socket| drop(socket.set_nodelay(true)));
    let stopped = stop.clone().cancelled_owned();
    let server = axum::serve(listener, router).with_graceful_shutdown(stopped).into_future();
    tasks.spawn(async move {
        if let Err(error) = server.await {
            tracing::error!(%error, "a sandbox server failed");
        }
    });
    Ok(url)
}
