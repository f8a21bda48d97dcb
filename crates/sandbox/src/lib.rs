#![doc = include_str!("../README.md")]

pub mod audio;
mod azure;
mod callers;
mod canned;
mod clock;
mod deepgram;
mod elevenlabs;
mod faults;
mod google;
mod hard_wired;
mod ids;
mod openai;
mod playht;
mod rime;
mod script;
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
pub use hard_wired::{HardWiredVendors, serve_hard_wired};
pub use twilio::{CUSTOMER_ACCOUNT_SID, CUSTOMER_AUTH_TOKEN, CUSTOMER_NUMBER, OWNED_NUMBER};

/// Time limit for calls and connections to end in [`Sandbox::stop`].
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// The engine that recognises and synthesizes speech in the sandbox.
#[derive(Clone)]
pub enum Engines {
    /// The speech service at this base URL (see [`speech`]): real speech, recognised from its audio.
    Offline(String),
    /// No engine: canned audio, and callers for a load test.
    Canned(Arc<Load>),
}

/// A simulated vendor, and how a client reaches it.
#[derive(Debug, Clone)]
pub struct Vendor {
    /// The vendor's name in the API of Switchboard.
    pub name: &'static str,
    /// The base URL of its server, with the path that the vendor's own base URL has. The endpoints for tests lie below
    /// `/sandbox` of the same server.
    pub url: String,
    /// The keys that its server accepts, by their names in a deployment's provider keys. They are not secret: they open
    /// only loopback servers.
    pub keys: &'static [(&'static str, &'static str)],
}

/// Running servers, each on a loopback port of its own. Dropping the sandbox stops them without waiting.
pub struct Sandbox {
    /// Every vendor, each with its server.
    pub vendors: Vec<Vendor>,
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
    pub async fn start(engines: Engines) -> anyhow::Result<Self> {
        let tasks = TaskTracker::new();
        let stop = CancellationToken::new();
        let stop_on_drop = stop.clone().drop_guard();
        let speech = match &engines {
            Engines::Offline(url) => speech::Speech::connect(url)?,
            Engines::Canned(load) => speech::Speech::canned(load.clone())?,
        };
        let callers = callers::Callers::new(speech.clone())?;
        let carrier = Arc::new(twilio::Carrier::new(
            twilio::Account::of_deployment(),
            callers,
            tasks.clone(),
            stop.clone(),
        )?);
        let model = match engines {
            Engines::Offline(_) => openai::router(openai::API_KEY.to_owned(), &stop),
            Engines::Canned(load) => canned::router(load, openai::API_KEY),
        };
        let azure = azure::router(speech.clone(), azure::API_KEY.to_owned(), &stop);
        let elevenlabs = elevenlabs::router(speech.clone(), &stop);
        let rime = rime::router(speech.clone(), rime::API_KEY.to_owned(), &stop);
        let playht = playht::router(speech.clone(), playht::API_KEY.to_owned(), &stop);
        let speech = deepgram::router(speech, deepgram::API_KEY.to_owned(), &stop);
        let vendors = vec![
            Vendor {
                name: "twilio",
                url: serve(twilio::router(&carrier), &tasks, &stop).await?,
                keys: twilio::KEYS,
            },
            Vendor { name: "deepgram", url: serve(speech, &tasks, &stop).await?, keys: deepgram::KEYS },
            Vendor {
                name: "google",
                url: serve(google::router(google::API_KEY.to_owned(), &stop), &tasks, &stop).await?
                    + "/v1beta",
                keys: google::KEYS,
            },
            Vendor { name: "azure", url: serve(azure, &tasks, &stop).await?, keys: azure::KEYS },
            Vendor { name: "rime", url: serve(rime, &tasks, &stop).await?, keys: rime::KEYS },
            Vendor { name: "playht", url: serve(playht, &tasks, &stop).await?, keys: playht::KEYS },
            Vendor { name: "openai", url: serve(model, &tasks, &stop).await? + "/v1", keys: openai::KEYS },
            Vendor {
                name: "elevenlabs",
                url: serve(elevenlabs, &tasks, &stop).await?,
                keys: elevenlabs::KEYS,
            },
        ];
        Ok(Self { vendors, carrier, tasks, stop, _stop_on_drop: stop_on_drop })
    }

    /// Connects a number that an account owns: sets the URL of its TwiML and of its status callback. Returns the carrier's
    /// id of the number, or `None` if no account owns it.
    #[must_use]
    pub fn connect_number(
        &self,
        number: &str,
        voice_url: &str,
        fallback_url: &str,
        status_callback: &str,
    ) -> Option<String> {
        self.carrier.connect_number(number, voice_url, fallback_url, status_callback)
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
