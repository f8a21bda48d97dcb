//! One media stream: finds its call, admits it, runs the call and closes the stream.
//!
//! Everything from the stream's first message on runs in the call's span, so each log line carries the ids of the
//! account, the conversation and the carrier's call.

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use axum::extract::ws::WebSocket;
use futures_util::FutureExt;
use switchboard_model::ids::{AccountId, ConversationId};
use switchboard_providers::AnyMediaStream;
use switchboard_runtime::spans;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::{
    admission::{self, StreamAdmission},
    call::Call,
    conversation_key::ConversationKey,
    media_stream::{self, MediaStream, StreamParameters},
    teardown,
    unadmitted::Place,
    worker::Worker,
};

/// Maximum time for the carrier to send the message that names the call; it comes with the handshake.
const START_TIMEOUT: Duration = Duration::from_secs(3);

/// Serves one media stream to its end. `place` is its place among the sockets that are not admitted, `key` the call that its
/// handshake was signed for.
pub(crate) async fn serve(
    worker: Arc<Worker>,
    mut socket: WebSocket,
    (place, key): (Place, Option<(AccountId, ConversationId)>),
    shutdown: CancellationToken,
) {
    let mut codec = worker.carrier.media_stream_codec();
    let Some(start) = media_stream::read_start(&mut socket, &mut codec, START_TIMEOUT).await else {
        tracing::warn!("media stream refused: it does not name a call");
        if let Some(_closing) = change_pool(&worker, place) {
            media_stream::turn_away(socket).await;
        }
        return;
    };
    if key.is_some_and(|key| key != (start.account, start.conversation)) {
        tracing::warn!("media stream refused: it names another call than its handshake");
        if let Some(_closing) = change_pool(&worker, place) {
            media_stream::turn_away(socket).await;
        }
        return;
    }
    let span = spans::call(start.account, start.conversation, start.call.id());
    // On the heap: the future of a whole call is large.
    Box::pin(serve_call(&worker, socket, codec, start, place, &shutdown)).instrument(span).await;
}

/// Moves a socket that was refused to the pool of those that are being closed: a peer that does not close keeps none of
/// the places of sockets that are not admitted yet. `None` if that pool is full.
fn change_pool(worker: &Worker, place: Place) -> Option<Place> {
    drop(place);
    worker.unadmitted.turn_away()
}

async fn refuse(worker: &Worker, place: Place, stream: MediaStream) {
    if let Some(_closing) = change_pool(worker, place) {
        stream.close().await;
    }
}

async fn serve_call(
    worker: &Worker,
    socket: WebSocket,
    codec: AnyMediaStream,
    start: StreamParameters,
    place: Place,
    shutdown: &CancellationToken,
) {
    let stream = MediaStream::new(socket, codec);
    let key = ConversationKey { account: start.account, conversation: start.conversation };
    let (admitted, resources) = match admission::admit(worker, &start, key, stream.format()).await {
        Ok(StreamAdmission::Admitted(admitted, resources)) => (admitted, resources),
        Ok(StreamAdmission::Refused) => {
            tracing::warn!("media stream refused: its token is not valid");
            return refuse(worker, place, stream).await;
        }
        Ok(StreamAdmission::Full) => {
            tracing::warn!("media stream refused: the worker is at its limit of calls");
            worker.counts.refused.fetch_add(1, Ordering::Relaxed);
            return refuse(worker, place, stream).await;
        }
        Ok(StreamAdmission::WithoutProviders(lease, conversation)) => {
            teardown::abandon(worker, &conversation, &start.call, lease.holder()).await;
            return stream.close().await;
        }
        Err(error) => {
            tracing::error!(%error, "admission failed");
            return refuse(worker, place, stream).await;
        }
    };
    drop(place);
    let admitted_at = Instant::now();
    let is_takeover = admitted.takeover.is_some();
    worker.counts.taken_over.fetch_add(u64::from(is_takeover), Ordering::Relaxed);
    tracing::info!(is_takeover, "media stream admitted");
    let conversation = &admitted.snapshot.conversation;
    let holder = resources.lease.holder().to_owned();
    let call = Call::new(worker, &admitted, stream, resources);
    // A panic ends this call alone.
    let outcome = if let Ok(finished) = AssertUnwindSafe(call.run(shutdown)).catch_unwind().await {
        let outcome = finished.outcome.name();
        teardown::close(worker, conversation, &start.call, finished).await;
        outcome
    } else {
        teardown::abandon(worker, conversation, &start.call, &holder).await;
        "panicked"
    };
    let held_ms = u64::try_from(admitted_at.elapsed().as_millis()).unwrap_or(u64::MAX);
    tracing::info!(outcome, held_ms, "media stream closed");
}
