//! The websocket server: accepts the carrier's streams, and drains them when the worker stops.

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
use switchboard_providers::twilio::media_stream::MAX_FRAME_BYTES;
use tokio::{net::TcpListener, task::JoinSet, time::sleep};

use crate::{media_stream, stream, worker::Worker};

/// How long calls may take to be handed over when the worker is told to stop; whoever runs it ends it by
/// force 20 s later (`StopTimeout` in the template).
pub const DRAIN: Duration = Duration::from_secs(100);

/// Of a carrier's socket, in bytes: eight frames.
const READ_BUFFER: usize = 4 * 1024;

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
    watching.spawn(async move { watched.signals.watch(&watched.store).await });
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
                return worker.tasks.track_future(media_stream::turn_away(socket)).await;
            };
            let (tasks, shutdown) = (worker.tasks.clone(), worker.shutdown.clone());
            tasks.track_future(Box::pin(stream::serve(worker, socket, shutdown))).await;
            drop(permit);
        },
    )
}
