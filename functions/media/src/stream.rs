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
use serde_json::Value;
use switchboard_model::{
    event_names::EventName,
    ids::{AccountId, ConversationId},
};
use switchboard_providers::{AnyMediaStream, carrier::CarrierCallId};
use switchboard_runtime::spans;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::{
    admission::{self, StreamAdmission},
    call::Call,
    conversation_key::ConversationKey,
    media_stream::{self, Closing, MediaStream, StreamParameters},
    teardown,
    unadmitted::Place,
    worker::Worker,
};

/// Maximum time for the carrier to send the message that names the call; it comes with the handshake.
const START_TIMEOUT: Duration = Duration::from_secs(3);

/// Serves one media stream to its end. `place` is its place among the sockets that are not admitted, `key` the call
/// that its handshake was signed for.
pub(crate) async fn serve(
    worker: Arc<Worker>,
    mut socket: WebSocket,
    (place, key): (Place, (AccountId, ConversationId)),
    shutdown: CancellationToken,
) {
    let mut codec = worker.carrier.media_stream_codec();
    let Some(start) = media_stream::read_start(&mut socket, &mut codec, START_TIMEOUT).await else {
        tracing::warn!("media stream refused: it does not name a call");
        if let Some(_closing) = place.turn_away() {
            media_stream::turn_away(socket).await;
        }
        return;
    };
    if key != (start.account, start.conversation) {
        tracing::warn!("media stream refused: it names another call than its handshake");
        if let Some(_closing) = place.turn_away() {
            media_stream::turn_away(socket).await;
        }
        return;
    }
    serve_start(&worker, socket, codec, start, place, &shutdown).await;
}

/// Serves a stream whose start was read, to its end.
pub(crate) async fn serve_start(
    worker: &Worker,
    socket: WebSocket,
    codec: AnyMediaStream,
    start: StreamParameters,
    place: Place,
    shutdown: &CancellationToken,
) {
    let call_sid = start.call.as_ref().map_or("", CarrierCallId::id);
    let span = spans::call(start.account, start.conversation, call_sid);
    // On the heap: the future of a whole call is large.
    Box::pin(serve_call(worker, socket, codec, start, place, shutdown)).instrument(span).await;
}

async fn refuse(place: Place, stream: MediaStream, reason: Closing) {
    if let Some(_closing) = place.turn_away() {
        stream.close(reason).await;
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
    let mut stream = MediaStream::new(socket, codec);
    let call = start.call.as_ref();
    let key = ConversationKey { account: start.account, conversation: start.conversation };
    let (admitted, resources) = match admission::admit(worker, &start, key, stream.format()).await {
        Ok(StreamAdmission::Admitted(admitted, resources)) => (admitted, *resources),
        Ok(StreamAdmission::Refused) => {
            tracing::warn!("media stream refused: its token is not valid");
            return refuse(place, stream, Closing::Refused).await;
        }
        Ok(StreamAdmission::Full) => {
            tracing::warn!("media stream refused: the worker is at its limit of calls");
            worker.counts.refused.fetch_add(1, Ordering::Relaxed);
            return refuse(place, stream, Closing::TryAgain).await;
        }
        Ok(StreamAdmission::WithoutProviders(lease, conversation)) => {
            teardown::abandon(worker, &conversation, call, lease.holder()).await;
            return stream.close(Closing::Failed).await;
        }
        Err(error) => {
            tracing::error!(%error, "admission failed");
            return refuse(place, stream, Closing::TryAgain).await;
        }
    };
    drop(place);
    let admitted_at = Instant::now();
    let is_takeover = admitted.takeover.is_some();
    worker.counts.taken_over.fetch_add(u64::from(is_takeover), Ordering::Relaxed);
    tracing::info!(is_takeover, "media stream admitted");
    let conversation = &admitted.snapshot.conversation;
    let holder = resources.lease.holder().to_owned();
    if let Some(token) = &admitted.resume_token {
        stream.offer_resume(token.clone());
        if conversation.started_at() == Some(admitted.began_at) {
            stream.send_event(EventName::Started, || Value::Null);
        }
    }
    let running = Call::new(worker, &admitted, stream, resources);
    // A panic ends this call alone.
    let outcome = if let Ok(finished) = Box::pin(AssertUnwindSafe(running.run(shutdown)).catch_unwind()).await
    {
        let outcome = finished.outcome.name();
        teardown::close(worker, conversation, call, finished).await;
        outcome
    } else {
        teardown::abandon(worker, conversation, call, &holder).await;
        "panicked"
    };
    let held_ms = u64::try_from(admitted_at.elapsed().as_millis()).unwrap_or(u64::MAX);
    tracing::info!(outcome, held_ms, "media stream closed");
}
