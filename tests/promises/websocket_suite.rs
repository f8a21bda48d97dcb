//! The websocket of the media worker passes the Autobahn test suite: framing, UTF-8, closing, limits.
//!
//! The suite needs a server that echoes. It is built of the worker's listener and limits; the protocol of the worker's
//! own endpoints begins above them.

use std::net::SocketAddr;

use axum::{
    Router,
    extract::ws::{Message, WebSocket, WebSocketUpgrade},
    routing::get,
};
use switchboard_media::{limit_frames, listen, without_delay};
use tokio::task::{JoinSet, spawn_blocking};

use crate::official_clients::check;

/// The longest message that the worker takes, in bytes (docs/web-calls.md).
const MAX_MESSAGE: &str = "65536";
/// The result: all cases without compression, and without the messages that are longer.
const CASES: &str = "261 cases, 0 failed";

async fn echo(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        let is_content = matches!(message, Message::Text(_) | Message::Binary(_));
        if is_content && socket.send(message).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_media_socket_passes_the_autobahn_suite() {
    let upgrade = async |upgrade: WebSocketUpgrade| limit_frames(upgrade).on_upgrade(echo);
    let router = Router::new().route("/", get(upgrade));
    let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut server = JoinSet::new();
    server.spawn(async move { axum::serve(without_delay(listener), router).await });
    let printed =
        spawn_blocking(move || check("websocket_check.py", &[&address, MAX_MESSAGE])).await.unwrap();
    assert_eq!(printed.trim_end(), CASES);
}
