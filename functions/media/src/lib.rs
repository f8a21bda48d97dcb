//! The media worker: holds the realtime side of calls, one task per call.
//!
//! The carrier opens a websocket per call at `/media` and sends the caller's audio; the worker sends
//! the agent's. Start at [`serve`], then `call.rs`: the loop of one call. What is said and when is
//! decided by [`switchboard_dialogue`]; the files here move bytes between it and the sockets.
//!
//! A call outlives its worker: one that stops hands its calls over, one that dies leaves a lease that
//! says what it was saying, and the carrier connects the call to another.
//!
//! - `admission.rs`, `closing.rs`: the beginning and the end of a stream
//! - `providing.rs`: with whose keys the providers are used
//! - `carrier.rs`: the carrier's side of the socket
//! - `clips.rs`: what need not be spoken
//! - `hearing.rs`: the transcriber, kept connected
//! - `tools.rs`: functions that the model calls
//! - `voice_activity.rs`: whether the caller makes a sound that is speech
//! - `estimate.rs`: tokens nobody else counted
//! - `faults.rs`, `turns.rs`: which providers failed, and how long the caller waited
//! - `journal.rs`, `conversation_log.rs`: what is written down
//! - `holding.rs`, `notes.rs`: whose call it is, and what others want of it
//! - `recorder.rs`, `keeper.rs`: the recording

mod address;
mod admission;
mod call;
mod carrier;
mod clips;
mod closing;
mod config;
mod conversation_log;
mod dialogue;
mod estimate;
mod faults;
mod hearing;
mod holding;
mod journal;
mod keeper;
mod notes;
mod outgoing;
mod providing;
mod recorder;
mod tools;
mod turns;
mod voice_activity;

use std::{sync::Arc, time::Duration};

use anyhow::bail;
use axum::{
    Router,
    extract::{State, WebSocketUpgrade},
    http::StatusCode,
    response::Response,
    routing::get,
    serve::ListenerExt,
};
use switchboard_aws::{
    clips::Clips, provider_keys::ProviderKeys, recordings::Recordings, sealing::Sealer, store::Store,
};
use switchboard_model::costs::Prices;
use switchboard_providers::{
    Providers,
    keys::Keys,
    twilio::{Calls, media_stream::MAX_FRAME_BYTES},
    webhooks::Sender,
};
use tokio::{net::TcpListener, sync::Semaphore, task::JoinSet, time::sleep};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::config::Config;
use self::{clips::Library, notes::Notes};

/// How long calls may take to be handed over when the worker is told to stop; whoever runs it ends it by
/// force 20 s later (`StopTimeout` in the template).
pub const DRAIN: Duration = Duration::from_secs(100);

/// Of a carrier's socket, in bytes: eight frames.
const READ_BUFFER: usize = 4 * 1024;

/// What all calls share.
#[derive(Debug)]
pub struct Worker {
    store: Store,
    recordings: Recordings,
    /// Greetings and phrases that were spoken before.
    clips: Library,
    /// Opens the customers' secrets.
    sealer: Sealer,
    providers: Providers,
    calls: Calls,
    /// To the customers' endpoints.
    sender: Sender,
    prices: Prices,
    notes: Notes,
    /// One permit per call that may still be let in.
    room: Arc<Semaphore>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

impl Worker {
    /// Makes the clients and reads the deployment's provider keys.
    ///
    /// # Errors
    /// The keys cannot be read.
    pub async fn new(config: &Config) -> anyhow::Result<Self> {
        let sdk = switchboard_aws::sdk_config().await;
        let keys = Keys::parse(ProviderKeys::load(&sdk, &config.keys_secret).await?.json())?;
        let http = switchboard_providers::egress::client();
        let providers = Providers { http, endpoints: config.endpoints.clone(), keys };
        let store = Store::new(&sdk, config.table.clone());
        let recordings = Recordings::new(&sdk, config.bucket.clone());
        let clips = Clips::new(&sdk, config.bucket.clone());
        let sealer = Sealer::new(&sdk, config.sealing_key.clone());
        let sender = Sender::new(config.egress_policy);
        Ok(Self::from_parts(
            store,
            (recordings, clips),
            sealer,
            providers,
            sender,
            config.prices.clone(),
            config.max_calls,
        ))
    }

    /// A worker over clients that are made already, which lets in at most `max_calls` at once.
    #[must_use]
    pub fn from_parts(
        store: Store,
        (recordings, clips): (Recordings, Clips),
        sealer: Sealer,
        providers: Providers,
        sender: Sender,
        prices: Prices,
        max_calls: usize,
    ) -> Self {
        Self {
            store,
            recordings,
            clips: Library::new(clips),
            sealer,
            calls: Calls::new(&providers),
            providers,
            sender,
            prices,
            notes: Notes::default(),
            room: Arc::new(Semaphore::new(max_calls)),
            tasks: TaskTracker::new(),
            shutdown: CancellationToken::new(),
        }
    }
}

/// Serves streams until `stop` resolves, then hands every call over, within `drain`: the word being said
/// is finished, and the carrier connects the call to another worker.
///
/// # Errors
/// The socket failed, or calls were still live when the time to drain was over.
pub async fn serve(
    listener: TcpListener,
    worker: Worker,
    stop: impl Future<Output = ()> + Send + 'static,
    drain: Duration,
) -> anyhow::Result<()> {
    let worker = Arc::new(worker);
    let router = Router::new()
        .route("/health", get(health))
        .route("/media", get(media))
        .with_state(Arc::clone(&worker));
    let mut watching = JoinSet::new();
    let watched = Arc::clone(&worker);
    watching.spawn(async move { watched.notes.watch(&watched.store).await });
    let shutdown = worker.shutdown.clone();
    let stopping = async move {
        stop.await;
        shutdown.cancel();
    };
    // Nagle's algorithm would hold back each frame until the carrier has acknowledged the one before.
    let listener = listener.tap_io(|socket| {
        if let Err(error) = socket.set_nodelay(true) {
            tracing::warn!(%error, "frames may be held back");
        }
    });
    let serving = async {
        // Also waits for connections that are no streams, or not yet.
        axum::serve(listener, router).with_graceful_shutdown(stopping).await?;
        worker.tasks.close();
        worker.tasks.wait().await;
        Ok(())
    };
    let too_late = async {
        worker.shutdown.cancelled().await;
        sleep(drain).await;
    };
    tokio::select! {
        served = serving => served,
        () = too_late => bail!("calls were still live after {drain:?}"),
    }
}

/// Alive. A worker without room is healthy all the same: whoever watches would replace it, and cut
/// the calls it holds.
async fn health() -> StatusCode {
    StatusCode::OK
}

/// A stream of the carrier. Without room it is accepted and closed at once, so that the carrier goes
/// on with its instructions; refusing it would be an error to the carrier, and end the call.
async fn media(State(worker): State<Arc<Worker>>, upgrade: WebSocketUpgrade) -> Response {
    // The library's own buffer for reading is 128 KiB, held for the whole call; a frame has 500 bytes.
    let upgrade = upgrade.read_buffer_size(READ_BUFFER);
    upgrade.max_message_size(MAX_FRAME_BYTES).max_frame_size(MAX_FRAME_BYTES).on_upgrade(
        async move |socket| {
            let Ok(permit) = Arc::clone(&worker.room).try_acquire_owned() else {
                tracing::warn!("no room for another call");
                return worker.tasks.track_future(carrier::turn_away(socket)).await;
            };
            let (tasks, shutdown) = (worker.tasks.clone(), worker.shutdown.clone());
            tasks.track_future(Box::pin(admission::serve(worker, socket, shutdown))).await;
            drop(permit);
        },
    )
}
