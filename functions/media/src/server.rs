//! The worker's HTTP server: accepts the carrier's media streams, and drains them when the worker stops.

use std::{fmt::Debug, sync::Arc, time::Duration};

use anyhow::bail;
use axum::{
    Router,
    extract::{ConnectInfo, Path, State, WebSocketUpgrade},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
    routing::get,
    serve::{Listener, ListenerExt as _},
};
use switchboard_providers::carrier::media_stream::MAX_FRAME_BYTES;
use tokio::{net::TcpListener, task::JoinSet, time::sleep};

use crate::{
    browser::{self, UrlParts},
    media_stream::{self, Closing},
    stream,
    unadmitted::{PeerAddress, PeerListener},
    worker::Worker,
};

/// Maximum time to hand all calls over once the worker is to stop. The container is killed 20 s later
/// (`StopTimeout` in the template).
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(100);

/// Read buffer of a media stream's socket, in bytes: eight frames of 500 bytes. The library's default of 128 KiB would
/// be held for the whole call.
const READ_BUFFER: usize = 4 * 1024;

/// A TCP listener whose connections send each frame at once: Nagle's algorithm would delay a frame until the carrier
/// has acknowledged the one before.
pub fn without_delay(listener: TcpListener) -> impl Listener<Addr: Debug> {
    listener.tap_io(|socket| {
        if let Err(error) = socket.set_nodelay(true) {
            tracing::warn!(%error, "TCP_NODELAY not set");
        }
    })
}

/// Serves media streams until `stop` resolves, then hands every call over: the agent finishes its word, and the carrier
/// connects the call to another worker.
///
/// # Errors
/// The listener failed, or calls were still live after `drain_timeout`.
pub async fn serve<L>(
    listener: L,
    worker: Worker,
    stop: impl Future<Output = ()> + Send + 'static,
    drain_timeout: Duration,
) -> anyhow::Result<()>
where
    L: Listener<Addr: Debug>,
{
    let worker = Arc::new(worker);
    let router = Router::new()
        .route("/health", get(health))
        .route("/media", get(media))
        .route("/media/web/{account}/{conversation}/{token}", get(web))
        .with_state(Arc::clone(&worker));
    let mut polling = JoinSet::new();
    let polled = Arc::clone(&worker);
    polling.spawn(async move { polled.signals.run(&polled.table).await });
    let shutdown = worker.shutdown.clone();
    let stopping = async move {
        stop.await;
        shutdown.cancel();
    };
    let serving = async {
        // This also waits for connections that have not become media streams.
        let service = router.into_make_service_with_connect_info::<PeerAddress>();
        axum::serve(PeerListener(listener), service).with_graceful_shutdown(stopping).await?;
        worker.tasks.close();
        worker.tasks.wait().await;
        Ok(())
    };
    let drain_ended = async {
        worker.shutdown.cancelled().await;
        sleep(drain_timeout).await;
    };
    tokio::select! {
        served = serving => served,
        () = drain_ended => bail!("calls were still live after {drain_timeout:?}"),
    }
}

/// The load balancer's health check. A worker at its limit of calls is healthy: an unhealthy one would be replaced, and
/// its calls cut off.
async fn health() -> StatusCode {
    StatusCode::OK
}

/// Accepts the media stream of a browser, from any origin. What is said of [`media`] holds here too.
async fn web(
    State(worker): State<Arc<Worker>>,
    ConnectInfo(peer): ConnectInfo<PeerAddress>,
    Path(url): Path<UrlParts>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    let forwarded = worker.trusts_forwarded_for.then(|| PeerAddress::forwarded(&headers)).flatten();
    let upgrade = upgrade.read_buffer_size(READ_BUFFER);
    let upgrade = upgrade.max_message_size(MAX_FRAME_BYTES).max_frame_size(MAX_FRAME_BYTES);
    if let Some(place) = worker.unadmitted.enter(forwarded.unwrap_or(peer)) {
        return upgrade.on_upgrade(async move |socket| {
            let (tasks, shutdown) = (worker.tasks.clone(), worker.shutdown.clone());
            tasks.track_future(Box::pin(browser::serve(worker, socket, url, place, shutdown))).await;
        });
    }
    tracing::warn!("media stream of a browser refused: too many streams are not admitted yet");
    let Some(place) = worker.unadmitted.turn_away() else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    upgrade.on_upgrade(async move |socket| {
        worker.tasks.track_future(browser::turn_away(socket, Closing::TryAgain)).await;
        drop(place);
    })
}

/// Accepts a media stream. A socket gets a call's permit only once its token is accepted; until then it has a place in
/// a small pool. If that is full, the stream is accepted and closed at once, so that the carrier goes on with its TwiML;
/// a refused handshake would be an error to the carrier, and end the call.
async fn media(
    State(worker): State<Arc<Worker>>,
    ConnectInfo(peer): ConnectInfo<PeerAddress>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    let forwarded = worker.trusts_forwarded_for.then(|| PeerAddress::forwarded(&headers)).flatten();
    let upgrade = upgrade.read_buffer_size(READ_BUFFER);
    let upgrade = upgrade.max_message_size(MAX_FRAME_BYTES).max_frame_size(MAX_FRAME_BYTES);
    if let Some(place) = worker.unadmitted.enter(forwarded.unwrap_or(peer)) {
        return upgrade.on_upgrade(async move |socket| {
            let (tasks, shutdown) = (worker.tasks.clone(), worker.shutdown.clone());
            tasks.track_future(Box::pin(stream::serve(worker, socket, place, shutdown))).await;
        });
    }
    tracing::warn!("media stream refused: too many streams are not admitted yet");
    let Some(place) = worker.unadmitted.turn_away() else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    upgrade.on_upgrade(async move |socket| {
        worker.tasks.track_future(media_stream::turn_away(socket)).await;
        drop(place);
    })
}
