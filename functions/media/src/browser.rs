//! A browser's media stream, up to its start. Its URL names the call, and holds the token that opens it; the token that
//! resumes it is in the start.

use std::{sync::Arc, time::Duration};

use axum::extract::ws::{Message, WebSocket};
use switchboard_model::ids::{AccountId, ConversationId};
use switchboard_providers::{
    AnyMediaStream,
    carrier::media_stream::{InboundFrame, MediaStreamCodec as _},
    web::WebMediaStream,
};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::{
    media_stream::{Closing, MediaStream, StreamParameters},
    stream,
    unadmitted::Place,
    worker::Worker,
};

/// Maximum time to send the start. A page asks for the microphone before it opens the socket.
const START_TIMEOUT: Duration = Duration::from_secs(5);

/// The names in the path of a browser's URL, and its token.
pub(crate) type UrlParts = (String, String, String);

/// The call that a browser's URL names; `None` if it names none of ours.
pub(crate) fn key((account, conversation, _): &UrlParts) -> Option<(AccountId, ConversationId)> {
    account.parse().ok().zip(conversation.parse().ok())
}

/// Serves one browser's stream to its end. `place` is its place among the sockets that are not admitted.
pub(crate) async fn serve(
    worker: Arc<Worker>,
    mut socket: WebSocket,
    url: UrlParts,
    place: Place,
    shutdown: CancellationToken,
) {
    let mut codec = AnyMediaStream::Web(WebMediaStream::default());
    let start = match key(&url) {
        None => Err(Closing::Refused),
        Some(key) => read_start(&mut socket, &mut codec, key, url.2).await,
    };
    match start {
        Ok(start) => stream::serve_start(&worker, socket, codec, start, place, &shutdown).await,
        Err(closing) => {
            tracing::warn!(?closing, "media stream of a browser refused");
            if let Some(_closing) = place.turn_away() {
                turn_away(socket, closing).await;
            }
        }
    }
}

/// Closes a socket that does not become a call.
pub(crate) async fn turn_away(socket: WebSocket, closing: Closing) {
    MediaStream::new(socket, AnyMediaStream::Web(WebMediaStream::default())).close(closing).await;
}

async fn read_start(
    socket: &mut WebSocket,
    codec: &mut AnyMediaStream,
    (account, conversation): (AccountId, ConversationId),
    token: String,
) -> Result<StreamParameters, Closing> {
    let reading = async {
        loop {
            let text = match socket.recv().await {
                Some(Ok(Message::Text(text))) => text,
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                Some(Ok(Message::Binary(_) | Message::Close(_)) | Err(_)) | None => {
                    return Err(Closing::NoStart("the first messages should be `connected` and `start`"));
                }
            };
            match codec.parse(&text) {
                Ok(InboundFrame::Start(start)) => return Ok(start),
                Ok(InboundFrame::Connected | InboundFrame::Unknown) => {}
                Ok(_) => return Err(Closing::NoStart("the start should come before other messages")),
                Err(malformed) => return Err(Closing::NoStart(malformed.reason)),
            }
        }
    };
    let late = Closing::NoStart("the start did not come within 5 s");
    let mut start = timeout(START_TIMEOUT, reading).await.unwrap_or(Err(late))?;
    let token = start.parameters.remove("token").unwrap_or(token);
    Ok(StreamParameters { account, conversation, token, call: None, sid: None })
}
