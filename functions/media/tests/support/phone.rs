//! The carrier's or the browser's end of one stream: sends the caller's silence, plays the agent's audio in real time, and returns marks
//! when they are reached.

use std::{collections::VecDeque, net::SocketAddr, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use futures_util::{SinkExt, StreamExt};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha1::Sha1;
use switchboard_model::ids::{AccountId, ConversationId};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout},
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{self, Message, client::IntoClientRequest, http::HeaderValue},
};
use tokio_util::sync::CancellationToken;

use super::TEST_TIMEOUT;

pub(crate) const CONNECTED: &str = include_str!("../../../../events/media_stream_connected.json");
pub(crate) const START: &str = include_str!("../../../../events/media_stream_start.json");
pub(crate) const MEDIA: &str = include_str!("../../../../events/media_stream_media.json");
pub(crate) const STOP: &str = include_str!("../../../../events/media_stream_stop.json");

/// The path of the sample's stream.
pub(crate) const PATH: &str = "media/acc_01JD8Q2M7X4T6R9V1B3C5D7E9F/cnv_01JD8QA1B2C3D4E5F6G7H8J9K0";
/// The URL of the workers, as the carrier is given it, and the token with which the carrier signs.
pub(crate) const MEDIA_URL: &str = "wss://media.example.com/media";
const AUTH_TOKEN: &str = "t";

const FRAME: Duration = Duration::from_millis(20);

/// "Wait a moment, please": 1.4 s of mu-law.
const SPEECH: &[u8] = include_bytes!("wait_a_moment.ulaw");

/// The address of a worker.
pub(crate) trait Address: Sync {
    /// Connects to the worker.
    fn connect(&self) -> impl Future<Output = impl AsyncRead + AsyncWrite + Send + Unpin + 'static> + Send;
}

impl Address for SocketAddr {
    async fn connect(&self) -> impl AsyncRead + AsyncWrite + Send + Unpin + 'static {
        TcpStream::connect(self).await.unwrap()
    }
}

/// A message of the worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Frame {
    Media(Vec<u8>),
    Mark(String),
    Clear,
    /// To a browser: an event of the conversation.
    Event(String, Value),
    /// To a browser: the token that resumes the call.
    Resume(String),
}

/// The end of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closing {
    /// With a close frame.
    Clean,
    /// The connection ended without a close frame.
    Broken,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Received {
    pub(crate) frames: Vec<(Instant, Frame)>,
    /// Marks that were played or cleared.
    pub(crate) played: usize,
    pub(crate) closed: Option<Closing>,
    /// Code and reason of the worker's close frame; empty to a carrier.
    pub(crate) close_frame: Option<(u16, String)>,
}

impl Received {
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
        self.frames.iter().any(|(_, received)| received == frame)
    }

    /// The last token that resumes the call.
    pub(crate) fn resume_token(&self) -> Option<String> {
        self.frames.iter().rev().find_map(|(_, frame)| match frame {
            Frame::Resume(token) => Some(token.clone()),
            _ => None,
        })
    }

    /// The names of the events that a browser was told of.
    pub(crate) fn events(&self) -> Vec<&str> {
        let events = self.frames.iter().filter_map(|(_, frame)| match frame {
            Frame::Event(name, _) => Some(name.as_str()),
            _ => None,
        });
        events.collect()
    }

    pub(crate) fn marks(&self) -> usize {
        self.frames.iter().filter(|(_, frame)| matches!(frame, Frame::Mark(_))).count()
    }
}

pub(crate) struct Phone {
    /// When the stream's first message was sent: nothing was played before.
    pub(crate) began: Instant,
    received: watch::Receiver<Received>,
    messages: mpsc::Sender<Message>,
    /// Frames that are sent in place of the silence.
    speech: mpsc::Sender<&'static [u8]>,
    frozen: CancellationToken,
    is_browser: bool,
    task: JoinSet<()>,
}

/// The start of a browser, which resumes a call if it has a token.
pub(crate) fn browser_start(encoding: &str, sample_rate: u32, token: Option<&str>) -> String {
    let format = json!({ "encoding": encoding, "sampleRate": sample_rate, "channels": 1 });
    json!({ "event": "start", "start": { "mediaFormat": format, "token": token } }).to_string()
}

impl Phone {
    /// Connects the sample's stream without sending a message.
    pub(crate) async fn silent(worker: &impl Address) -> Self {
        Self::at(worker, PATH, Some(&signature(PATH))).await.unwrap()
    }

    /// A browser that opens this path below `/media` with the telephone's format. It sends an origin, as browsers do.
    pub(crate) async fn browser(worker: &impl Address, path: &str, token: Option<&str>) -> Self {
        let phone = Self::browser_at(worker, path).await;
        phone.send(r#"{"event":"connected"}"#).await;
        phone.send(&browser_start("audio/x-mulaw", 8_000, token)).await;
        phone
    }

    /// A browser that opens this path below `/media`, without sending a message.
    pub(crate) async fn browser_at(worker: &impl Address, path: &str) -> Self {
        let origin = [("origin", "https://shop.example")];
        Self::open(worker, &format!("media{path}"), &origin, true).await.unwrap()
    }

    /// Connects to this path with this signature, without sending a message. The error is the status of the refusal.
    pub(crate) async fn at(worker: &impl Address, path: &str, signature: Option<&str>) -> Result<Self, u16> {
        let signature: Vec<_> =
            signature.map(|signature| ("x-twilio-signature", signature)).into_iter().collect();
        Self::open(worker, path, &signature, false).await
    }

    async fn open(
        worker: &impl Address,
        path: &str,
        headers: &[(&'static str, &str)],
        is_browser: bool,
    ) -> Result<Self, u16> {
        let mut request = format!("ws://worker/{path}").into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, HeaderValue::from_str(value).unwrap());
        }
        let handshake = async { client_async(request, worker.connect().await).await };
        let socket = match timeout(TEST_TIMEOUT, handshake).await.unwrap() {
            Ok((socket, _)) => socket,
            Err(tungstenite::Error::Http(response)) => return Err(response.status().as_u16()),
            Err(error) => panic!("{error}"),
        };
        let (sender, received) = watch::channel(Received::default());
        let (messages, queue) = mpsc::channel(16);
        let (speech, spoken) = mpsc::channel(SPEECH.len());
        let mut task = JoinSet::new();
        let frozen = CancellationToken::new();
        task.spawn(drive(socket, queue, spoken, sender, frozen.clone(), is_browser));
        Ok(Self { began: Instant::now(), received, messages, speech, frozen, is_browser, task })
    }

    /// Connects the sample's stream with another token.
    pub(crate) async fn with_token(worker: &impl Address, token: &str) -> Self {
        Self::with(worker, "token", token).await
    }

    /// Connects the sample's stream with another parameter.
    pub(crate) async fn with(worker: &impl Address, parameter: &str, value: &str) -> Self {
        let mut start: Value = serde_json::from_str(START).unwrap();
        start["start"]["customParameters"][parameter] = json!(value);
        let parameter = |name: &str| start["start"]["customParameters"][name].as_str().unwrap();
        let (account, conversation) = (parameter("account_id"), parameter("conversation_id"));
        let are_ids = account.parse::<AccountId>().is_ok() && conversation.parse::<ConversationId>().is_ok();
        let path = if are_ids { format!("media/{account}/{conversation}") } else { PATH.to_owned() };
        let phone = Self::at(worker, &path, Some(&signature(&path))).await.unwrap();
        phone.send(CONNECTED).await;
        phone.send(&start.to_string()).await;
        phone
    }

    /// Connects the sample's stream.
    pub(crate) async fn connect(worker: &impl Address) -> Self {
        let phone = Self::silent(worker).await;
        phone.send(CONNECTED).await;
        phone.send(START).await;
        phone
    }

    pub(crate) async fn send(&self, message: &str) {
        self.messages.send(Message::text(message)).await.unwrap();
    }

    /// Sends a frame that the carrier never sends.
    pub(crate) async fn send_binary(&self, bytes: Vec<u8>) {
        self.messages.send(Message::binary(bytes)).await.unwrap();
    }

    /// Sends a ping without content.
    pub(crate) async fn ping(&self) {
        self.messages.send(Message::Ping(vec![].into())).await.unwrap();
    }

    /// Sends a frame of this audio.
    pub(crate) async fn send_audio(&self, timestamp_ms: usize, audio: &[u8]) {
        if self.is_browser {
            return self.send(&browser_media(timestamp_ms as u64, audio)).await;
        }
        let mut media: Value = serde_json::from_str(MEDIA).unwrap();
        media["media"]["payload"] = json!(BASE64_STANDARD.encode(audio));
        media["media"]["timestamp"] = json!(timestamp_ms.to_string());
        self.send(&media.to_string()).await;
    }

    /// Says "Wait a moment, please" in place of the silence. Returns at once.
    pub(crate) fn say(&self) {
        for frame in SPEECH.chunks(160) {
            self.speech.try_send(frame).unwrap();
        }
    }

    /// Speaks in real time beside the silence, until `is_enough`.
    pub(crate) async fn speak(&self, mut is_enough: impl FnMut() -> bool) {
        let mut ticks = interval(FRAME);
        for (number, frame) in SPEECH.chunks(160).cycle().enumerate() {
            if is_enough() {
                return;
            }
            ticks.tick().await;
            self.send_audio(number * 20, frame).await;
        }
    }

    /// Speaks this many frames in real time.
    pub(crate) async fn speak_frames(&self, count: usize) {
        let mut frames = 0;
        let is_enough = || {
            frames += 1;
            frames > count
        };
        self.speak(is_enough).await;
    }

    /// Closes the socket as a page does.
    pub(crate) async fn hang_up(&self) {
        self.messages.send(Message::Close(None)).await.unwrap();
    }

    /// Breaks the connection without a close frame.
    pub(crate) async fn break_off(mut self) {
        self.task.shutdown().await;
    }

    /// Stops reading and writing. The connection stays open.
    pub(crate) fn freeze(&self) {
        self.frozen.cancel();
    }

    /// Waits until the worker's messages are as expected.
    pub(crate) async fn until(&self, expected: &str, is_so: impl FnMut(&Received) -> bool) {
        let mut received = self.received.clone();
        let waited = matches!(timeout(TEST_TIMEOUT, received.wait_for(is_so)).await, Ok(Ok(_)));
        assert!(waited, "not received: {expected}");
    }

    /// Waits until the worker has closed the stream, at most this long.
    pub(crate) async fn closed_within(&self, limit: Duration) -> Closing {
        let mut received = self.received.clone();
        let closed = timeout(limit, received.wait_for(|received| received.closed.is_some())).await;
        closed.expect("the stream is closed in time").unwrap().closed.unwrap()
    }

    pub(crate) async fn closed(&self) -> Closing {
        self.closed_within(TEST_TIMEOUT).await
    }

    pub(crate) fn received(&self) -> Received {
        self.received.borrow().clone()
    }
}

/// The carrier's signature of a handshake with this path.
fn signature(path: &str) -> String {
    let mut mac = Hmac::<Sha1>::new_from_slice(AUTH_TOKEN.as_bytes()).unwrap();
    mac.update(MEDIA_URL.strip_suffix("media").unwrap().as_bytes());
    mac.update(path.as_bytes());
    BASE64_STANDARD.encode(mac.finalize().into_bytes())
}

/// Runs until the worker closes the stream.
async fn drive<S: AsyncRead + AsyncWrite + Unpin>(
    socket: WebSocketStream<S>,
    mut queue: mpsc::Receiver<Message>,
    mut spoken: mpsc::Receiver<&'static [u8]>,
    received: watch::Sender<Received>,
    frozen: CancellationToken,
    is_browser: bool,
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
        // A failed send is ignored: reading reports the end of the stream.
        tokio::select! {
            () = frozen.cancelled() => std::future::pending().await,
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
                        "conversation" if is_browser => {
                            let name = message["name"].as_str().unwrap().to_owned();
                            Frame::Event(name, message["data"].clone())
                        }
                        "resume" if is_browser => {
                            Frame::Resume(message["token"].as_str().unwrap().to_owned())
                        }
                        other => panic!("the other side does not know {other}"),
                    };
                    received.send_modify(|received| received.frames.push((now, frame)));
                }
                Some(Ok(Message::Close(frame))) => {
                    closing = Closing::Clean;
                    let frame = frame.map(|frame| (frame.code.into(), frame.reason.to_string()));
                    received.send_modify(|received| received.close_frame = frame);
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => break,
            },
            Some(message) = queue.recv() => {
                if message.to_text().is_ok_and(|text| text.contains("\"start\"")) {
                    started = Some(0);
                }
                let _ = sink.send(message).await;
            }
            _ = ticks.tick() => if let Some(frames) = &mut started {
                let audio = spoken.try_recv().unwrap_or(&[0xFF; 160]);
                let timestamp_ms = *frames * 20;
                let frame = if is_browser { browser_media(timestamp_ms, audio) } else { media(timestamp_ms, audio) };
                let _ = sink.send(Message::text(frame)).await;
                *frames += 1;
            },
            () = sleep_until(mark_at), if !marks.is_empty() => {
                if let Some((_, mark)) = marks.pop_front() {
                    let _ = sink.send(Message::text(mark.to_string())).await;
                    received.send_modify(|received| received.played += 1);
                }
            }
        }
    }
    received.send_modify(|received| received.closed = Some(closing));
}

fn browser_media(timestamp_ms: u64, audio: &[u8]) -> String {
    let media = json!({ "timestamp": timestamp_ms, "payload": BASE64_STANDARD.encode(audio) });
    json!({ "event": "media", "media": media }).to_string()
}

/// The sample's frame with this audio and a later time.
fn media(timestamp_ms: u64, audio: &[u8]) -> String {
    let mut media: Value = serde_json::from_str(MEDIA).unwrap();
    media["media"]["chunk"] = json!((timestamp_ms / 20 + 1).to_string());
    media["media"]["timestamp"] = json!(timestamp_ms.to_string());
    media["media"]["payload"] = json!(BASE64_STANDARD.encode(audio));
    media.to_string()
}
