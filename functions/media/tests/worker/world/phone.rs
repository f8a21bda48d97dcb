//! The carrier's end of one stream: sends the caller's silence, plays what comes in real time and says
//! when a mark is reached.

use std::{collections::VecDeque, net::SocketAddr, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{
    net::TcpStream,
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout},
};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};

use super::vendors::PATIENCE;

pub(crate) const CONNECTED: &str = include_str!("../../../../../events/media_stream_connected.json");
pub(crate) const START: &str = include_str!("../../../../../events/media_stream_start.json");
pub(crate) const MEDIA: &str = include_str!("../../../../../events/media_stream_media.json");
pub(crate) const STOP: &str = include_str!("../../../../../events/media_stream_stop.json");

const FRAME: Duration = Duration::from_millis(20);

/// What the worker sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Frame {
    Media(Vec<u8>),
    Mark(String),
    Clear,
}

/// How a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closing {
    /// With a close frame.
    Clean,
    /// The connection just ended.
    Broken,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    pub(crate) frames: Vec<(Instant, Frame)>,
    /// Marks that were played, or cleared.
    pub(crate) played: usize,
    pub(crate) closed: Option<Closing>,
}

impl Seen {
    /// All audio, cleared or not.
    pub(crate) fn audio(&self) -> Vec<u8> {
        let mut audio = vec![];
        for (_, frame) in &self.frames {
            if let Frame::Media(bytes) = frame {
                audio.extend_from_slice(bytes);
            }
        }
        audio
    }

    /// Milliseconds of audio that were sent. All but the last 400 have been played.
    pub(crate) fn sent_ms(&self) -> usize {
        self.audio().len() / 8
    }

    pub(crate) fn has(&self, frame: &Frame) -> bool {
        self.frames.iter().any(|(_, seen)| seen == frame)
    }

    pub(crate) fn marks(&self) -> usize {
        self.frames.iter().filter(|(_, frame)| matches!(frame, Frame::Mark(_))).count()
    }
}

pub(crate) struct Phone {
    /// When the stream's first message was sent: nothing was played before.
    pub(crate) began: Instant,
    seen: watch::Receiver<Seen>,
    messages: mpsc::Sender<Message>,
    _task: JoinSet<()>,
}

impl Phone {
    /// Connects, and says nothing.
    pub(crate) async fn silent(worker: SocketAddr) -> Self {
        let connecting = connect_async(format!("ws://{worker}/media"));
        let (socket, _) = timeout(PATIENCE, connecting).await.unwrap().unwrap();
        let (sender, seen) = watch::channel(Seen::default());
        let (messages, waiting) = mpsc::channel(16);
        let mut task = JoinSet::new();
        task.spawn(drive(socket, waiting, sender));
        Self { began: Instant::now(), seen, messages, _task: task }
    }

    /// Connects the sample's stream with another token.
    pub(crate) async fn with_token(worker: SocketAddr, token: &str) -> Self {
        Self::with(worker, "token", token).await
    }

    /// Connects the sample's stream with another parameter.
    pub(crate) async fn with(worker: SocketAddr, parameter: &str, value: &str) -> Self {
        let mut start: Value = serde_json::from_str(START).unwrap();
        start["start"]["customParameters"][parameter] = json!(value);
        let phone = Self::silent(worker).await;
        phone.send(CONNECTED).await;
        phone.send(&start.to_string()).await;
        phone
    }

    /// Connects the sample's stream.
    pub(crate) async fn connect(worker: SocketAddr) -> Self {
        let phone = Self::silent(worker).await;
        phone.send(CONNECTED).await;
        phone.send(START).await;
        phone
    }

    pub(crate) async fn send(&self, message: &str) {
        self.messages.send(Message::text(message)).await.unwrap();
    }

    /// Waits until what came is as expected.
    pub(crate) async fn until(&self, expected: &str, is_so: impl FnMut(&Seen) -> bool) {
        let mut seen = self.seen.clone();
        let waited = matches!(timeout(PATIENCE, seen.wait_for(is_so)).await, Ok(Ok(_)));
        assert!(waited, "not seen: {expected}");
    }

    /// Waits until the worker has closed the stream, for so long.
    pub(crate) async fn closed_within(&self, patience: Duration) -> Closing {
        let mut seen = self.seen.clone();
        let closed = timeout(patience, seen.wait_for(|seen| seen.closed.is_some())).await;
        closed.expect("the stream is closed in time").unwrap().closed.unwrap()
    }

    pub(crate) async fn closed(&self) -> Closing {
        self.closed_within(PATIENCE).await
    }

    pub(crate) fn seen(&self) -> Seen {
        self.seen.borrow().clone()
    }
}

/// Runs until the worker closes the stream.
async fn drive(
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    mut waiting: mpsc::Receiver<Message>,
    seen: watch::Sender<Seen>,
) {
    let (mut sink, mut stream) = socket.split();
    let mut ticks = interval(FRAME);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut started = None;
    let mut plays_until = Instant::now();
    let mut marks: VecDeque<(Instant, Value)> = VecDeque::new();
    let mut closing = Closing::Broken;
    loop {
        let mark_at = marks.front().map_or_else(Instant::now, |(at, _)| *at);
        // What cannot be sent any more is not missed: the stream's end is seen by reading.
        tokio::select! {
            message = stream.next() => match message {
                Some(Ok(Message::Text(text))) => {
                    let message: Value = serde_json::from_str(&text).unwrap();
                    let now = Instant::now();
                    plays_until = plays_until.max(now);
                    let frame = match message["event"].as_str().unwrap() {
                        "media" => {
                            let payload = message["media"]["payload"].as_str().unwrap();
                            let audio = BASE64_STANDARD.decode(payload).unwrap();
                            plays_until += Duration::from_micros(125 * audio.len() as u64);
                            Frame::Media(audio)
                        }
                        "mark" => {
                            marks.push_back((plays_until, message.clone()));
                            Frame::Mark(message["mark"]["name"].as_str().unwrap().to_owned())
                        }
                        "clear" => {
                            plays_until = now;
                            for (at, _) in &mut marks {
                                *at = now;
                            }
                            Frame::Clear
                        }
                        other => panic!("the carrier does not know {other}"),
                    };
                    seen.send_modify(|seen| seen.frames.push((now, frame)));
                }
                Some(Ok(Message::Close(_))) => closing = Closing::Clean,
                Some(Ok(_)) => {}
                Some(Err(_)) | None => break,
            },
            Some(message) = waiting.recv() => {
                if message.to_text().is_ok_and(|text| text.contains("\"start\"")) {
                    started = Some(0);
                }
                let _ = sink.send(message).await;
            }
            _ = ticks.tick() => if let Some(frames) = &mut started {
                let _ = sink.send(Message::text(silence(*frames))).await;
                *frames += 1;
            },
            () = sleep_until(mark_at), if !marks.is_empty() => {
                if let Some((_, mark)) = marks.pop_front() {
                    let _ = sink.send(Message::text(mark.to_string())).await;
                    seen.send_modify(|seen| seen.played += 1);
                }
            }
        }
    }
    seen.send_modify(|seen| seen.closed = Some(closing));
}

/// The sample's frame, later.
fn silence(frame: u64) -> String {
    let mut media: Value = serde_json::from_str(MEDIA).unwrap();
    media["media"]["chunk"] = json!((frame + 1).to_string());
    media["media"]["timestamp"] = json!((frame * 20).to_string());
    media.to_string()
}
