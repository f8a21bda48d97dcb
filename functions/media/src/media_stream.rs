//! The media stream of a carrier or a browser: reads its messages as events, and writes audio, marks and clears.
//!
//! A task of its own writes, so that the call's loop never waits for the other side. The format of the messages is in
//! [`switchboard_providers::carrier::media_stream`].

use std::{pin::Pin, time::Duration};

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket};
use bytes::Bytes;
use futures_util::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use serde_json::Value;
use switchboard_dialogue::{CallTime, Mark};
use switchboard_model::{
    event_names::EventName,
    ids::{AccountId, ConversationId},
};
use switchboard_providers::{
    AnyMediaStream,
    audio::AudioFormat,
    carrier::{
        CarrierCallId,
        media_stream::{InboundFrame, MediaStreamCodec as _},
    },
    web::WebMediaStream,
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, Sleep, sleep_until, timeout},
};
use tracing::Instrument as _;

use crate::pace::Pace;

/// Messages waiting to be written: the 400 ms of audio that are sent ahead are 20, with marks between them; the rest
/// lets the socket pause for 2 s. When the queue is full the other side has stopped reading, and the stream counts
/// as lost.
const QUEUED_MESSAGES: usize = 128;
/// Events of the conversation waiting to be written to a browser: those of about ten seconds. When the queue is full the
/// browser reads slowly, and loses the newest event: audio goes first.
const QUEUED_EVENTS: usize = 64;
/// Maximum time between two messages, without pings. The carrier sends 50 frames a second, also while the caller is
/// silent.
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
    /// Ends [`SILENCE_TIMEOUT`] after the last message that was known when it was set.
    silence: Pin<Box<Sleep>>,
    /// The parts that a browser's stream has besides.
    browser: Option<Browser>,
}

/// The browser's part of a stream.
#[derive(Debug)]
struct Browser {
    events: mpsc::Sender<Utf8Bytes>,
    /// Tells the writer how to close.
    closing: watch::Sender<Option<Closing>>,
    pace: Pace,
    /// Resumes the call on another socket.
    resume_token: Option<String>,
}

/// The reason why the worker closes a stream. A browser reads it in the closing frame; a carrier gets none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closing {
    /// The conversation is over.
    Ended,
    /// Another worker continues the call: the browser resumes it.
    HandedOver,
    /// Another socket has the call.
    Replaced,
    /// The token is unknown or used, or the conversation has ended.
    Refused,
    /// The worker takes no more calls, or cannot reach the table. The token is still valid.
    TryAgain,
    /// The call cannot begin.
    Failed,
    /// Audio came faster than it can be heard.
    TooFast,
    /// A message is no text.
    NotText,
    /// The first messages are no valid start.
    NoStart(&'static str),
}

impl Closing {
    /// The websocket's code (RFC 6455, section 7.4; from 4000 ours) and the reason.
    fn frame(self) -> CloseFrame {
        let (code, reason) = match self {
            Self::Ended => (1000, "the conversation has ended"),
            Self::HandedOver => (1012, "resume the call with its token"),
            Self::Replaced => (4001, "another socket has the call"),
            Self::Refused => (4003, "the token is not valid"),
            Self::TryAgain => (1013, "try again with the same token"),
            Self::Failed => (1011, "the call cannot begin"),
            Self::TooFast => (1008, "audio came faster than twice real time"),
            Self::NotText => (1008, "a message was no text"),
            Self::NoStart(reason) => (1003, reason),
        };
        CloseFrame { code, reason: Utf8Bytes::from_static(reason) }
    }
}

/// The call of a stream, from the parameters that the carrier received when the call was placed or answered.
pub(crate) struct StreamParameters {
    pub(crate) account: AccountId,
    pub(crate) conversation: ConversationId,
    /// Admits one stream.
    pub(crate) token: String,
    /// None for a browser.
    pub(crate) call: Option<CarrierCallId>,
    /// The carrier's id of the stream; none for a browser.
    pub(crate) sid: Option<String>,
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
        let (events, queued_events) = mpsc::channel(QUEUED_EVENTS);
        let (closing, closes_with) = watch::channel(None);
        let mut writer = JoinSet::new();
        writer.spawn(write(sink, queue, queued_events, closes_with).in_current_span());
        let pace = Pace::new(Instant::now());
        let is_browser = matches!(codec, AnyMediaStream::Web(_));
        let browser = is_browser.then(|| Browser { events, closing, pace, resume_token: None });
        let last_message_at = Instant::now();
        let silence = Box::pin(sleep_until(last_message_at + SILENCE_TIMEOUT));
        Self { incoming, outgoing, writer, codec, last_message_at, silence, browser }
    }

    /// Gives a browser the token with which it resumes the call.
    pub(crate) fn offer_resume(&mut self, token: String) {
        if let Some(browser) = &mut self.browser {
            let message = Utf8Bytes::from(WebMediaStream::resume(&token));
            browser.resume_token = Some(token);
            // The queue is full only if the browser does not read, and then the stream is lost.
            let _ = self.outgoing.try_send(message);
        }
    }

    /// Sends a browser an event of the conversation.
    pub(crate) fn send_event(&mut self, name: EventName, data: impl FnOnce() -> Value) {
        if let Some(browser) = &self.browser {
            let message = WebMediaStream::event(name.as_str(), &data());
            let _ = browser.events.try_send(Utf8Bytes::from(message));
        }
    }

    /// The format of the audio in both directions.
    pub(crate) fn format(&self) -> AudioFormat {
        self.codec.audio_format()
    }

    /// The next event. Cancel-safe.
    pub(crate) async fn next(&mut self) -> MediaEvent {
        loop {
            let message = tokio::select! {
                biased;
                message = self.incoming.next() => message,
                () = &mut self.silence => {
                    // Messages do not move it, so that a frame costs no timer.
                    let end = self.last_message_at + SILENCE_TIMEOUT;
                    if Instant::now() < end {
                        self.silence.as_mut().reset(end);
                        continue;
                    }
                    None
                }
            };
            let Some(Ok(message)) = message else { return MediaEvent::Lost };
            let now = Instant::now();
            let text = match message {
                Message::Text(text) => text,
                // A browser that closes hangs up. A carrier that does asks how the call goes on.
                Message::Close(_) if self.browser.is_some() => return MediaEvent::Stopped,
                Message::Close(_) => return MediaEvent::Lost,
                Message::Binary(_) if self.browser.is_some() => {
                    return give_up(self.browser.as_ref(), Closing::NotText);
                }
                // The library answers pings.
                Message::Binary(_) | Message::Ping(_) | Message::Pong(_) => {
                    if is_in_pace(self.browser.as_mut(), now, Duration::ZERO) {
                        continue;
                    }
                    return give_up(self.browser.as_ref(), Closing::TooFast);
                }
            };
            self.last_message_at = now;
            let format = self.codec.audio_format();
            let frame = self.codec.parse(&text);
            let audio = match &frame {
                Ok(InboundFrame::Media { audio, .. }) => format.duration_of(audio.len() as u64),
                _ => Duration::ZERO,
            };
            if !is_in_pace(self.browser.as_mut(), now, audio) {
                return give_up(self.browser.as_ref(), Closing::TooFast);
            }
            match frame {
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
                Err(error) => tracing::warn!(%error, "message of the media stream not understood"),
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
    pub(crate) async fn close(mut self, closing: Closing) {
        if closing == Closing::HandedOver
            && let Some(token) = self.browser.as_mut().and_then(|browser| browser.resume_token.take())
        {
            self.offer_resume(token);
        }
        let Self { mut incoming, outgoing, mut writer, browser, .. } = self;
        drop(outgoing);
        let Some(Browser { events, closing: closes_with, .. }) = browser else {
            return close_writer(&mut writer).await;
        };
        drop(events);
        closes_with.send_modify(|reason| *reason = reason.or(Some(closing)));
        // A socket that is closed with unread messages is reset, and the browser would not read the reason.
        let read_rest = async { while let Some(Ok(_)) = incoming.next().await {} };
        let _ = timeout(WRITE_TIMEOUT, async { tokio::join!(close_writer(&mut writer), read_rest) }).await;
    }
}

/// Whether a message with this much audio may come at `now`. A carrier's always may.
fn is_in_pace(browser: Option<&mut Browser>, now: Instant, audio: Duration) -> bool {
    browser.is_none_or(|browser| browser.pace.admits(now, audio))
}

/// Gives a browser's stream up. The call may be resumed on another socket.
fn give_up(browser: Option<&Browser>, closing: Closing) -> MediaEvent {
    tracing::warn!(?closing, "media stream of a browser given up");
    if let Some(browser) = browser {
        browser.closing.send_replace(Some(closing));
    }
    MediaEvent::Lost
}

async fn close_writer(writer: &mut JoinSet<()>) {
    // The writer limits the time of each message; this limits the time of all.
    if timeout(WRITE_TIMEOUT, writer.join_next()).await.is_err() {
        tracing::warn!("media stream not closed in time");
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
        call: Some(start.call?),
        sid: Some(start.stream_id),
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

/// Writes the messages of `queue`, and events while there are none. When both have ended, it closes the socket.
async fn write(
    mut sink: SplitSink<WebSocket, Message>,
    mut queue: mpsc::Receiver<Utf8Bytes>,
    mut events: mpsc::Receiver<Utf8Bytes>,
    closes_with: watch::Receiver<Option<Closing>>,
) {
    loop {
        let message = tokio::select! {
            biased;
            Some(message) = queue.recv() => message,
            Some(event) = events.recv() => event,
            else => break,
        };
        if !matches!(timeout(WRITE_TIMEOUT, sink.send(Message::Text(message))).await, Ok(Ok(()))) {
            return;
        }
    }
    let closing = *closes_with.borrow();
    let closed = async {
        if let Some(closing) = closing {
            sink.send(Message::Close(Some(closing.frame()))).await?;
        }
        sink.close().await
    };
    let _ = timeout(WRITE_TIMEOUT, closed).await;
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
