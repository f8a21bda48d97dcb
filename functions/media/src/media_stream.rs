//! The carrier's media stream: reads its messages as events, and writes audio, marks and clears.
//!
//! A task of its own writes, so that the call's loop never waits for the carrier. The format of the messages is in
//! [`switchboard_providers::carrier::media_stream`].

use std::time::Duration;

use axum::extract::ws::{Message, Utf8Bytes, WebSocket};
use bytes::Bytes;
use futures_util::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use switchboard_dialogue::{CallTime, Mark};
use switchboard_model::ids::{AccountId, ConversationId};
use switchboard_providers::{
    AnyMediaStream,
    audio::AudioFormat,
    carrier::{
        CarrierCallId,
        media_stream::{InboundFrame, MediaStreamCodec as _},
    },
};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, timeout, timeout_at},
};
use tracing::Instrument as _;

/// Messages waiting to be written: the 400 ms of audio that are sent ahead are 20, with marks between them; the rest
/// lets the socket pause for 2 s. When the queue is full the carrier has stopped reading, and the stream counts as
/// lost.
const QUEUED_MESSAGES: usize = 128;
/// Maximum time between two messages. The carrier sends 50 frames a second, also while the caller is silent.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum time to write one message, and to close the socket.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// One call's media stream.
#[derive(Debug)]
pub(crate) struct MediaStream {
    incoming: SplitStream<WebSocket>,
    outgoing: mpsc::Sender<Utf8Bytes>,
    writer: JoinSet<()>,
    codec: AnyMediaStream,
    last_message_at: Instant,
}

/// The call of a stream, from the parameters that the carrier received when the call was placed or answered.
pub(crate) struct StreamParameters {
    pub(crate) account: AccountId,
    pub(crate) conversation: ConversationId,
    /// Admits one stream.
    pub(crate) token: String,
    pub(crate) call: CarrierCallId,
    /// The carrier's id of the stream.
    pub(crate) sid: String,
}

/// An event of the stream.
#[derive(Debug)]
pub(crate) enum MediaEvent {
    /// The caller's audio, and its place on the stream's own time line.
    Media { at: CallTime, audio: Bytes },
    /// The audio before this mark was played or cleared.
    Played(Mark),
    /// A key was pressed.
    Dtmf(char),
    /// The carrier ended the stream: the caller or the worker hung up.
    Stopped,
    /// The socket broke, or nothing came for [`SILENCE_TIMEOUT`].
    Lost,
}

impl MediaStream {
    /// A stream whose start was read.
    pub(crate) fn new(socket: WebSocket, codec: AnyMediaStream) -> Self {
        let (sink, incoming) = socket.split();
        let (outgoing, queue) = mpsc::channel(QUEUED_MESSAGES);
        let mut writer = JoinSet::new();
        writer.spawn(write(sink, queue).in_current_span());
        Self { incoming, outgoing, writer, codec, last_message_at: Instant::now() }
    }

    /// The format of the audio in both directions.
    pub(crate) fn format(&self) -> AudioFormat {
        self.codec.audio_format()
    }

    /// The next event. Cancel-safe.
    pub(crate) async fn next(&mut self) -> MediaEvent {
        loop {
            let next = timeout_at(self.last_message_at + SILENCE_TIMEOUT, self.incoming.next());
            let Ok(Some(Ok(message))) = next.await else { return MediaEvent::Lost };
            self.last_message_at = Instant::now();
            let text = match message {
                Message::Text(text) => text,
                Message::Close(_) => return MediaEvent::Lost,
                // The library answers pings.
                Message::Binary(_) | Message::Ping(_) | Message::Pong(_) => continue,
            };
            match self.codec.parse(&text) {
                Ok(InboundFrame::Media { timestamp, audio }) => {
                    let at = CallTime(u64::try_from(timestamp.as_micros()).unwrap_or(u64::MAX));
                    return MediaEvent::Media { at, audio: Bytes::copy_from_slice(audio) };
                }
                Ok(InboundFrame::Mark { name }) => {
                    if let Some(mark) = parse_mark(&name) {
                        return MediaEvent::Played(mark);
                    }
                }
                Ok(InboundFrame::Dtmf { digit }) => {
                    if let Some(digit) = digit.chars().next() {
                        return MediaEvent::Dtmf(digit);
                    }
                }
                Ok(InboundFrame::Stop) => return MediaEvent::Stopped,
                Ok(InboundFrame::Connected | InboundFrame::Start(_) | InboundFrame::Unknown) => {}
                Err(error) => tracing::warn!(%error, "message of the carrier not understood"),
            }
        }
    }

    /// Sends audio, which plays after all audio before it. False if the queue is full.
    #[must_use]
    pub(crate) fn media(&mut self, audio: &[u8]) -> bool {
        let message = Utf8Bytes::from(self.codec.media(audio));
        self.outgoing.try_send(message).is_ok()
    }

    /// Sends a mark, which comes back when the audio before it was played. False if the queue is full.
    #[must_use]
    pub(crate) fn mark(&mut self, mark: Mark) -> bool {
        let message = Utf8Bytes::from(self.codec.mark(&format!("{}:{}", mark.clears, mark.number)));
        self.outgoing.try_send(message).is_ok()
    }

    /// Drops the audio that was not played. False if the queue is full.
    #[must_use]
    pub(crate) fn clear(&mut self) -> bool {
        let message = Utf8Bytes::from(self.codec.clear());
        self.outgoing.try_send(message).is_ok()
    }

    /// Writes the queued messages and closes the socket.
    pub(crate) async fn close(self) {
        let Self { outgoing, mut writer, .. } = self;
        drop(outgoing);
        // The writer limits the time of each message; this limits the time of all.
        if timeout(WRITE_TIMEOUT, writer.join_next()).await.is_err() {
            tracing::warn!("media stream not closed in time");
        }
    }
}

/// Reads up to the message that names the call. `None` if it does not come in time or names no call of ours.
pub(crate) async fn read_start(
    socket: &mut WebSocket,
    codec: &mut AnyMediaStream,
    limit: Duration,
) -> Option<StreamParameters> {
    timeout(limit, next_start(socket, codec)).await.ok()?
}

async fn next_start(socket: &mut WebSocket, codec: &mut AnyMediaStream) -> Option<StreamParameters> {
    let start = loop {
        match socket.recv().await?.ok()? {
            Message::Text(text) => match codec.parse(&text).ok()? {
                InboundFrame::Start(start) => break start,
                InboundFrame::Connected | InboundFrame::Unknown => {}
                _ => return None,
            },
            Message::Ping(_) | Message::Pong(_) => {}
            Message::Binary(_) | Message::Close(_) => return None,
        }
    };
    let parameter = |name: &str| start.parameters.get(name);
    Some(StreamParameters {
        account: parameter("account_id")?.parse().ok()?,
        conversation: parameter("conversation_id")?.parse().ok()?,
        token: parameter("token")?.clone(),
        call: start.call?,
        sid: start.stream_id,
    })
}

/// Closes a stream that is not admitted, with the websocket's closing handshake: the carrier then goes on with its
/// TwiML.
pub(crate) async fn turn_away(mut socket: WebSocket) {
    let close = async {
        socket.send(Message::Close(None)).await?;
        // Reads until the carrier closes too: a socket closed with unread messages is reset.
        while socket.recv().await.transpose()?.is_some() {}
        Ok::<_, axum::Error>(())
    };
    if !matches!(timeout(WRITE_TIMEOUT, close).await, Ok(Ok(()))) {
        tracing::warn!("refused media stream not closed in time");
    }
}

async fn write(mut sink: SplitSink<WebSocket, Message>, mut queue: mpsc::Receiver<Utf8Bytes>) {
    while let Some(message) = queue.recv().await {
        if !matches!(timeout(WRITE_TIMEOUT, sink.send(Message::Text(message))).await, Ok(Ok(()))) {
            return;
        }
    }
    let _ = timeout(WRITE_TIMEOUT, sink.close()).await;
}

/// A mark of ours; `None` for any other name.
fn parse_mark(name: &str) -> Option<Mark> {
    let (generation, number) = name.split_once(':')?;
    Some(Mark { clears: generation.parse().ok()?, number: number.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_parsed_from_its_name() {
        assert_eq!(parse_mark("2:17"), Some(Mark { clears: 2, number: 17 }));
        for foreign in ["", "17", "a:b", "1:", "1:-2"] {
            assert_eq!(parse_mark(foreign), None, "{foreign}");
        }
    }
}
