//! The carrier's websocket: frames in as facts and bytes, audio and marks out.

use std::time::Duration;

use axum::extract::ws::{Message, Utf8Bytes, WebSocket};
use bytes::Bytes;
use futures_util::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use switchboard_dialogue::{CallTime, Mark};
use switchboard_model::ids::{AccountId, ConversationId};
use switchboard_providers::twilio::{
    CallSid,
    media_stream::{self, Frames, Inbound},
};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, timeout, timeout_at},
};

/// Frames waiting to be written: the 400 ms that are sent ahead, marks between them, and room for the
/// socket to catch its breath. When it is full the other side has stopped reading.
const WAITING: usize = 128;
/// The carrier sends 50 frames a second, silence included: after this long without any it is gone.
const SILENCE: Duration = Duration::from_secs(10);
/// How long one frame may take to be written, and the socket to be closed.
const WRITE: Duration = Duration::from_secs(5);

/// One call's stream.
#[derive(Debug)]
pub(crate) struct MediaStream {
    incoming: SplitStream<WebSocket>,
    outgoing: mpsc::Sender<Utf8Bytes>,
    writer: JoinSet<()>,
    frames: Frames,
    audio: Vec<u8>,
    /// When the last message came.
    heard_at: Instant,
}

/// Which call a stream belongs to, as the carrier was told when the call was placed.
pub(crate) struct StreamStart {
    pub(crate) account: AccountId,
    pub(crate) conversation: ConversationId,
    pub(crate) token: String,
    pub(crate) call: CallSid,
    /// The stream itself.
    pub(crate) sid: String,
}

/// What the carrier sends.
#[derive(Debug)]
pub(crate) enum StreamEvent {
    /// The caller's audio and where it lies on the stream's own time line.
    Media { at: CallTime, audio: Bytes },
    /// Everything before this mark was played, or thrown away.
    Played(Mark),
    /// A key was pressed.
    Key(char),
    /// The carrier says that the stream is over: the other side hung up, or we did.
    Stopped,
    /// The socket broke, or nothing came for too long.
    Lost,
}

impl MediaStream {
    /// Reads up to the stream's start, within `patience`; gives the socket back if what comes is no
    /// stream of ours.
    pub(crate) async fn accept(
        mut socket: WebSocket,
        patience: Duration,
    ) -> Result<(Self, StreamStart), Box<WebSocket>> {
        let Ok(Some(stream)) = timeout(patience, read_start(&mut socket)).await else {
            return Err(Box::new(socket));
        };
        let (sink, incoming) = socket.split();
        let (outgoing, waiting) = mpsc::channel(WAITING);
        let mut writer = JoinSet::new();
        writer.spawn(write(sink, waiting));
        let frames = Frames::new(&stream.sid);
        Ok((Self { incoming, outgoing, writer, frames, audio: vec![], heard_at: Instant::now() }, stream))
    }

    /// The next thing that matters. Safe to cancel.
    pub(crate) async fn next(&mut self) -> StreamEvent {
        loop {
            let next = timeout_at(self.heard_at + SILENCE, self.incoming.next());
            let Ok(Some(Ok(message))) = next.await else { return StreamEvent::Lost };
            self.heard_at = Instant::now();
            let text = match message {
                Message::Text(text) => text,
                Message::Close(_) => return StreamEvent::Lost,
                // Pings are answered by the library.
                Message::Binary(_) | Message::Ping(_) | Message::Pong(_) => continue,
            };
            match media_stream::parse(&text) {
                Ok(Inbound::Media { timestamp, payload }) => {
                    if media_stream::decode(&payload, &mut self.audio).is_ok() {
                        let at = CallTime(u64::try_from(timestamp.as_micros()).unwrap_or(u64::MAX));
                        return StreamEvent::Media { at, audio: Bytes::copy_from_slice(&self.audio) };
                    }
                }
                Ok(Inbound::Mark { name }) => {
                    if let Some(mark) = read_mark(&name) {
                        return StreamEvent::Played(mark);
                    }
                }
                Ok(Inbound::Dtmf { digit }) => {
                    if let Some(key) = digit.chars().next() {
                        return StreamEvent::Key(key);
                    }
                }
                Ok(Inbound::Stop) => return StreamEvent::Stopped,
                Ok(Inbound::Connected | Inbound::Start(_) | Inbound::Unknown) => {}
                Err(error) => tracing::warn!(%error, "a frame of the carrier could not be read"),
            }
        }
    }

    /// Has the carrier play audio behind what it holds. False if it takes no more.
    #[must_use]
    pub(crate) fn media(&mut self, mulaw: &[u8]) -> bool {
        let frame = Utf8Bytes::from(self.frames.media(mulaw));
        self.outgoing.try_send(frame).is_ok()
    }

    /// Has the carrier say when it has played what it holds. False if it takes no more.
    #[must_use]
    pub(crate) fn mark(&mut self, mark: Mark) -> bool {
        let frame = Utf8Bytes::from(self.frames.mark(&format!("{}:{}", mark.clears, mark.number)));
        self.outgoing.try_send(frame).is_ok()
    }

    /// Has the carrier throw away what it holds. False if it takes no more.
    #[must_use]
    pub(crate) fn clear(&mut self) -> bool {
        let frame = Utf8Bytes::from(self.frames.clear());
        self.outgoing.try_send(frame).is_ok()
    }

    /// Writes what waits and closes the socket.
    pub(crate) async fn close(self) {
        let Self { outgoing, mut writer, .. } = self;
        drop(outgoing);
        // The writer bounds each of its writes; this bounds all of them.
        if timeout(WRITE, writer.join_next()).await.is_err() {
            tracing::warn!("the carrier's socket did not close");
        }
    }
}

/// A stream and the call it belongs to; none if it does not begin as one of ours does.
async fn read_start(socket: &mut WebSocket) -> Option<StreamStart> {
    let start = loop {
        match socket.recv().await?.ok()? {
            Message::Text(text) => match media_stream::parse(&text).ok()? {
                Inbound::Start(start) => break start,
                Inbound::Connected | Inbound::Unknown => {}
                _ => return None,
            },
            Message::Ping(_) | Message::Pong(_) => {}
            Message::Binary(_) | Message::Close(_) => return None,
        }
    };
    let parameter = |name: &str| start.custom_parameters.get(name);
    Some(StreamStart {
        account: parameter("account_id")?.parse().ok()?,
        conversation: parameter("conversation_id")?.parse().ok()?,
        token: parameter("token")?.clone(),
        call: start.call_sid.parse().ok()?,
        sid: start.stream_sid,
    })
}

/// Closes a stream that is not let in, in order: the carrier then goes on with its instructions.
pub(crate) async fn turn_away(mut socket: WebSocket) {
    let close = async {
        socket.send(Message::Close(None)).await?;
        // Until the carrier closes too: with frames of it unread, ours would be a broken connection.
        while socket.recv().await.transpose()?.is_some() {}
        Ok::<_, axum::Error>(())
    };
    if !matches!(timeout(WRITE, close).await, Ok(Ok(()))) {
        tracing::warn!("a stream that was turned away did not close");
    }
}

async fn write(mut sink: SplitSink<WebSocket, Message>, mut waiting: mpsc::Receiver<Utf8Bytes>) {
    while let Some(frame) = waiting.recv().await {
        if !matches!(timeout(WRITE, sink.send(Message::Text(frame))).await, Ok(Ok(()))) {
            return;
        }
    }
    let _ = timeout(WRITE, sink.close()).await;
}

fn read_mark(name: &str) -> Option<Mark> {
    let (generation, number) = name.split_once(':')?;
    Some(Mark { clears: generation.parse().ok()?, number: number.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_from_its_name_and_foreign_names_are_none() {
        assert_eq!(read_mark("2:17"), Some(Mark { clears: 2, number: 17 }));
        for foreign in ["", "17", "a:b", "1:", "1:-2"] {
            assert_eq!(read_mark(foreign), None, "{foreign}");
        }
    }
}
