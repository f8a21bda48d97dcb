//! The worker's HTTP server: accepts the carrier's media streams, and drains them when the worker stops.

use std::{
    fmt::Debug,
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use anyhow::bail;
use axum::{
    Router,
    extract::{
        ConnectInfo, Path, State,
        ws::{WebSocket, WebSocketUpgrade},
    },
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
    routing::get,
    serve::{Listener, ListenerExt as _},
};
use switchboard_calls::media_url;
use switchboard_model::ids::{AccountId, ConversationId};
use switchboard_providers::carrier::media_stream::MAX_FRAME_BYTES;
use switchboard_runtime::spans;
use tokio::{
    net::{TcpListener, TcpSocket},
    task::JoinSet,
    time::{sleep, timeout},
};
use tracing::{Instrument as _, Span};

use crate::{
    browser::{self, UrlParts},
    fleet,
    media_stream::{self, Closing},
    stream,
    unadmitted::{PeerAddress, PeerListener, Place, UnadmittedSockets},
    worker::Worker,
};

/// Maximum time to hand all calls over once the worker is to stop. The container is killed 20 s later
/// (`StopTimeout` in the template).
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(100);

/// Maximum time to verify a handshake: two reads of the table, and one of the key service.
const VERIFY_TIMEOUT: Duration = Duration::from_secs(4);

/// Read buffer of a media stream's socket, in bytes: eight frames of 500 bytes. The library's default of 128 KiB would
/// be held for the whole call.
const READ_BUFFER: usize = 4 * 1024;

/// Send buffer of a media stream's socket, in bytes; the kernel doubles it. It holds one or two seconds of frames. The
/// default grows to megabytes, which are minutes of audio: a carrier that does not read would not be noticed, and would
/// play old audio when it reads again.
const SEND_BUFFER: u32 = 16 * 1024;
/// Connections that may wait to be accepted.
const BACKLOG: u32 = 1_024;

/// Listens at `address` for media streams.
///
/// # Errors
/// The address cannot be bound.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    // Accepted connections inherit it.
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

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
        .route("/live", get(live))
        .route("/health", get(health))
        .route("/media/{account_id}/{conversation_id}", get(media_of))
        .route("/media/web/{account}/{conversation}/{token}", get(web))
        .with_state(Arc::clone(&worker));
    let mut polling = JoinSet::new();
    let polled = Arc::clone(&worker);
    polling.spawn(async move { polled.signals.run(&polled.table).await });
    let (reporting, drain) = (Arc::clone(&worker), worker.shutdown.clone());
    let mut reports = JoinSet::new();
    reports.spawn(async move { fleet::report(&reporting, &drain).await });
    let shutdown = worker.shutdown.clone();
    let stopping = async move {
        tokio::select! {
            () = stop => {}
            // The platform is about to stop it.
            () = shutdown.cancelled() => {}
        }
        shutdown.cancel();
    };
    let serving = async {
        // This also waits for connections that have not become media streams.
        let service = router.into_make_service_with_connect_info::<PeerAddress>();
        axum::serve(PeerListener(listener), service).with_graceful_shutdown(stopping).await?;
        worker.tasks.close();
        worker.tasks.wait().await;
        // Its report is removed meanwhile.
        while reports.join_next().await.is_some() {}
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

/// The container's own health check: a worker that does not answer is replaced.
async fn live() -> StatusCode {
    StatusCode::OK
}

/// The load balancer's health check: whether this worker takes another call. A full worker is no target for new streams,
/// and must not be replaced for it: the template has ECS ignore this check (`HealthCheckGracePeriodSeconds`), and ask
/// `/live` instead.
async fn health(State(worker): State<Arc<Worker>>) -> StatusCode {
    let is_full = worker.permits.available_permits() == 0;
    if is_full || worker.shutdown.is_cancelled() { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK }
}

/// Asks a worker at `address` whether it lives, for the health check of its container: the image holds no other program.
///
/// # Errors
/// It does not answer in five seconds, or with another status than 200.
pub fn probe(address: SocketAddr) -> io::Result<()> {
    let limit = Duration::from_secs(5);
    let mut socket = TcpStream::connect_timeout(&address, limit)?;
    socket.set_read_timeout(Some(limit))?;
    socket.set_write_timeout(Some(limit))?;
    socket.write_all(b"GET /live HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut status = [0; 12];
    socket.read_exact(&mut status)?;
    if status == *b"HTTP/1.1 200" { Ok(()) } else { Err(io::Error::other("the worker is not healthy")) }
}

/// A stream of a conversation that its path names. The carrier has signed the handshake, or it is refused.
async fn media_of(
    State(worker): State<Arc<Worker>>,
    Path(key): Path<(AccountId, ConversationId)>,
    ConnectInfo(peer): ConnectInfo<PeerAddress>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    let mut entry = enter(&worker, &worker.unadmitted, peer, &headers);
    if entry.is_ok() {
        let url = media_url(&worker.media_url, key.0, key.1);
        let verifying = worker.carrier.verify_stream(url, headers, key);
        match timeout(VERIFY_TIMEOUT, verifying).await {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => {
                worker.counts.refused.fetch_add(1, Ordering::Relaxed);
                spans::job(key.0, key.1)
                    .in_scope(|| tracing::warn!("handshake without a valid signature refused"));
                return StatusCode::FORBIDDEN.into_response();
            }
            // The carrier goes on with its document, and asks again.
            Ok(Err(_)) | Err(_) => entry = Err(NoEntry::NotVerified),
        }
    }
    let (serving, shutdown) = (Arc::clone(&worker), worker.shutdown.clone());
    let serve = move |socket, place| stream::serve(serving, socket, (place, key), shutdown);
    let span = spans::job(key.0, key.1);
    accept(&worker, &worker.unadmitted, entry, span, upgrade, serve, media_stream::turn_away)
}

/// The media stream of a browser, from any origin.
async fn web(
    State(worker): State<Arc<Worker>>,
    ConnectInfo(peer): ConnectInfo<PeerAddress>,
    Path(url): Path<UrlParts>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    let key = browser::key(&url);
    let entry = enter(&worker, &worker.unadmitted_browsers, peer, &headers);
    let (serving, shutdown) = (Arc::clone(&worker), worker.shutdown.clone());
    let serve = move |socket, place| browser::serve(serving, socket, url, place, shutdown);
    let turn_away = |socket| browser::turn_away(socket, Closing::TryAgain);
    let span = key.map_or_else(Span::none, |(account, conversation)| spans::job(account, conversation));
    accept(&worker, &worker.unadmitted_browsers, entry, span, upgrade, serve, turn_away)
}

/// The reason why a socket gets no place among those that are not admitted.
#[derive(Debug, Clone, Copy)]
enum NoEntry {
    TooMany,
    /// The table or the key service did not answer.
    NotVerified,
}

/// A place among the sockets of `pool`, which are not admitted.
fn enter(
    worker: &Worker,
    pool: &UnadmittedSockets,
    peer: PeerAddress,
    headers: &HeaderMap,
) -> Result<Place, NoEntry> {
    let forwarded = worker.trusts_forwarded_for.then(|| PeerAddress::forwarded(headers)).flatten();
    pool.enter(forwarded.unwrap_or(peer)).ok_or(NoEntry::TooMany)
}

/// A handshake of a media stream, with the limits of its socket.
pub fn limit_frames(upgrade: WebSocketUpgrade) -> WebSocketUpgrade {
    let upgrade = upgrade.read_buffer_size(READ_BUFFER);
    upgrade.max_message_size(MAX_FRAME_BYTES).max_frame_size(MAX_FRAME_BYTES)
}

/// Accepts a media stream. A socket gets a call's permit only once its token is accepted; until then it has a place in
/// a small pool. Without one, the stream is accepted and closed at once, so that the carrier goes on with its TwiML;
/// a refused handshake would be an error to the carrier, and end the call.
fn accept<Serving, TurningAway>(
    worker: &Worker,
    pool: &UnadmittedSockets,
    entry: Result<Place, NoEntry>,
    span: Span,
    upgrade: WebSocketUpgrade,
    serve: impl FnOnce(WebSocket, Place) -> Serving + Send + 'static,
    turn_away: impl FnOnce(WebSocket) -> TurningAway + Send + 'static,
) -> Response
where
    Serving: Future<Output = ()> + Send + 'static,
    TurningAway: Future<Output = ()> + Send + 'static,
{
    let tasks = worker.tasks.clone();
    let upgrade = limit_frames(upgrade);
    let reason = match entry {
        Ok(place) => {
            return upgrade.on_upgrade(async move |socket| {
                tasks.track_future(Box::pin(serve(socket, place).instrument(span))).await;
            });
        }
        Err(reason) => reason,
    };
    worker.counts.refused.fetch_add(1, Ordering::Relaxed);
    span.in_scope(|| match reason {
        NoEntry::TooMany => tracing::warn!("media stream refused: too many streams are not admitted yet"),
        NoEntry::NotVerified => tracing::warn!("media stream refused: handshake not verified in time"),
    });
    let Some(place) = pool.turn_away() else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    upgrade.on_upgrade(async move |socket| {
        tasks.track_future(turn_away(socket).instrument(span)).await;
        drop(place);
    })
}
