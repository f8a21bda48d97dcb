//! The carrier's end of a bidirectional media stream: a websocket client in real time.
//!
//! Every 20 ms it sends one frame of the person, silence included, and plays one frame of the queued audio to them.
//! [`Playback`] is the queue, [`Party`] the person.

use std::{borrow::Cow, fmt::Write as _, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use futures_util::{SinkExt as _, StreamExt as _};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::{
    net::TcpStream,
    time::{Instant, MissedTickBehavior, interval, timeout},
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async_with_config,
    tungstenite::{
        self, Message,
        client::IntoClientRequest as _,
        http::HeaderValue,
        protocol::{CloseFrame, WebSocketConfig, frame::coding::CloseCode},
    },
};
use tokio_util::sync::CancellationToken;

use super::{
    callbacks,
    line::CallLine,
    party::Party,
    playback::{Full, Playback},
    twiml,
};
use crate::{
    audio::{FRAME_BYTES, SILENCE},
    ids,
};

/// One step: a frame in each direction.
const STEP: Duration = Duration::from_millis(20);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A server that reads nothing for this long counts as lost.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for the server to answer the close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Maximum size of a message; half an hour of audio is not sent in one.
const MESSAGE_LIMIT: usize = 4 * 1024 * 1024;

/// The `StreamError` of a stream that its server closed, although the next verb follows.
const CLOSED_BY_SERVER: &str = "31921 Stream - WebSocket - Close Error";

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// The end of a stream, from the point of view of the call.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The server closed or lost it, or it was never open: the next verb follows.
    Closed,
    PersonHungUp,
    /// The call was ended or redirected.
    Interrupted,
}

/// The failure of a stream, with Twilio's code.
#[derive(Debug)]
struct Failure {
    code: u32,
    message: String,
}

impl Failure {
    fn new(code: u32, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

impl From<Full> for Failure {
    fn from(_: Full) -> Self {
        Self::new(31951, "more audio or marks than can be queued")
    }
}

/// A message of the server.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Incoming<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(borrow)]
    stream_sid: Cow<'a, str>,
    #[serde(borrow)]
    media: Option<Payload<'a>>,
    mark: Option<Mark>,
}

#[derive(Deserialize)]
struct Payload<'a> {
    #[serde(borrow)]
    payload: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Mark {
    name: Option<String>,
}

/// Connects the call to a server until either side, or the person, ends the stream.
pub(super) async fn run(
    line: &CallLine<'_>,
    stream: &twiml::Stream,
    party: &mut Party,
    interrupt: &CancellationToken,
) -> End {
    let sid = ids::sid("MZ");
    let connecting = Box::pin(connect(line, &stream.url));
    let result = match interrupt.run_until_cancelled(connecting).await {
        None => return End::Interrupted,
        Some(Err(failure)) => Err(failure),
        Some(Ok(socket)) => {
            line.call.state().media.streams += 1;
            line.report_stream(stream, &sid, "stream-started", None).await;
            party.connected();
            let mut session = Session::new(line, &sid, socket);
            let end = session.run(&stream.parameters, party, interrupt).await;
            let hung_up = matches!(end, Ok(End::PersonHungUp | End::Interrupted));
            session.close(hung_up, end.as_ref().err()).await;
            end
        }
    };
    match result {
        Ok(End::Closed) => {
            let reports = line.carrier.rudeness().reports_of_closed_stream();
            for report in reports {
                let error = (*report == "stream-error").then(|| CLOSED_BY_SERVER.to_owned());
                line.report_stream(stream, &sid, report, error).await;
            }
            End::Closed
        }
        Ok(end) => {
            line.report_stream(stream, &sid, "stream-stopped", None).await;
            end
        }
        Err(Failure { code, message }) => {
            line.report_stream(stream, &sid, "stream-error", Some(format!("{code} {message}"))).await;
            line.call.record_error(code, message);
            End::Closed
        }
    }
}

async fn connect(line: &CallLine<'_>, url: &str) -> Result<Socket, Failure> {
    // Twilio ignores the query of a stream's URL without a warning.
    let url = url.split(['?', '#']).next().unwrap_or(url);
    if !url.starts_with("wss://") && !url.starts_with("ws://") {
        return Err(Failure::new(31922, "the URL's scheme is not wss"));
    }
    let mut request = url.into_client_request().map_err(|error| Failure::new(31923, error.to_string()))?;
    let signature = callbacks::signature::<&str, &str>(&line.call.account.auth_token, url, &[]);
    let signature = HeaderValue::try_from(signature).expect("base64 is ASCII");
    request.headers_mut().insert("x-twilio-signature", signature);
    request.headers_mut().insert("user-agent", HeaderValue::from_static("Twilio.TmeWs/1.0"));
    let config =
        WebSocketConfig::default().max_message_size(Some(MESSAGE_LIMIT)).max_frame_size(Some(MESSAGE_LIMIT));
    // Without the option Nagle's algorithm would hold back frames.
    let connected = timeout(CONNECT_TIMEOUT, connect_async_with_config(request, Some(config), true)).await;
    match connected {
        Ok(Ok((socket, _))) => Ok(socket),
        Ok(Err(tungstenite::Error::Http(response))) => {
            Err(Failure::new(31920, format!("the handshake was answered {}", response.status())))
        }
        Ok(Err(tungstenite::Error::Tls(error))) => Err(Failure::new(31910, error.to_string())),
        Ok(Err(error)) => Err(Failure::new(31902, error.to_string())),
        Err(_) => Err(Failure::new(31901, "connect timeout")),
    }
}

/// A connected stream.
struct Session<'a> {
    line: &'a CallLine<'a>,
    sid: &'a str,
    socket: Socket,
    playback: Playback,
    /// The sequence number of the next message; `connected` has none.
    sequence: u64,
    /// Number of media messages sent.
    chunks: u64,
    /// The encoded payload of silence.
    silence: String,
    /// The buffer for decoded audio.
    decoded: Vec<u8>,
    /// When the agent's audio ran out, unless a mark or a clear ended it.
    ran_out: Option<Instant>,
    /// Whether the agent's last message was audio.
    is_speaking: bool,
}

impl<'a> Session<'a> {
    fn new(line: &'a CallLine<'a>, sid: &'a str, socket: Socket) -> Self {
        Self {
            line,
            sid,
            socket,
            playback: Playback::default(),
            sequence: 1,
            chunks: 0,
            silence: BASE64_STANDARD.encode([SILENCE; FRAME_BYTES]),
            decoded: Vec::new(),
            ran_out: None,
            is_speaking: false,
        }
    }

    async fn run(
        &mut self,
        parameters: &[(String, String)],
        party: &mut Party,
        interrupt: &CancellationToken,
    ) -> Result<End, Failure> {
        self.send(json!({ "event": "connected", "protocol": "Call", "version": "1.0.0" }).to_string())
            .await?;
        let parameters: Map<_, _> =
            parameters.iter().map(|(k, v)| (k.clone(), Value::from(v.as_str()))).collect();
        let start = json!({
            "accountSid": self.line.call.account.sid,
            "callSid": self.line.call.sid,
            "streamSid": self.sid,
            "tracks": ["inbound"],
            "mediaFormat": { "encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1 },
            "customParameters": parameters,
        });
        let start = self.event("start", &start);
        self.send(start).await?;
        let mut steps = interval(STEP);
        // After a delay the missed steps are made up at once, as real time requires.
        steps.set_missed_tick_behavior(MissedTickBehavior::Burst);
        loop {
            tokio::select! {
                biased;
                () = interrupt.cancelled() => return Ok(End::Interrupted),
                now = steps.tick() => {
                    if self.step(now, party).await? {
                        return Ok(End::PersonHungUp);
                    }
                }
                () = party.recognised() => {}
                message = self.socket.next() => {
                    if let Some(end) = self.receive(message, party).await? {
                        return Ok(end);
                    }
                }
            }
        }
    }

    /// Advances by 20 ms; returns true if the person has hung up.
    async fn step(&mut self, now: Instant, party: &mut Party) -> Result<bool, Failure> {
        let (mut heard, mut said) = ([SILENCE; FRAME_BYTES], [SILENCE; FRAME_BYTES]);
        let marks: Vec<_> = self.playback.step(&mut heard).collect();
        // A step that is made up for was delayed on this side, and what came meanwhile is not read yet.
        let is_on_time = now.elapsed() < 2 * STEP;
        if self.is_speaking && self.ran_out.is_none() && is_on_time && self.playback.is_empty() {
            // The last frame plays for one more step.
            self.ran_out = Some(now + STEP);
        }
        let step = party.step(now, &heard, &mut said);
        let media = self.media(&said);
        self.line.call.state().media.frames_sent += 1;
        let mut others: Vec<_> = step.keys.into_iter().map(|key| self.dtmf(key)).collect();
        others.extend(marks.into_iter().map(|name| self.mark(&name)));
        let socket = &mut self.socket;
        in_time(async {
            socket.feed(Message::text(media)).await?;
            for other in others {
                socket.feed(Message::text(other)).await?;
            }
            socket.flush().await
        })
        .await?;
        Ok(step.hung_up)
    }

    /// Formatted by hand, because every call sends fifty of these a second.
    fn media(&mut self, said: &[u8; FRAME_BYTES]) -> String {
        self.chunks += 1;
        let timestamp = self.chunks * 20;
        let (sequence, stream, chunk) = (self.sequence, self.sid, self.chunks);
        self.sequence += 1;
        let mut text = String::with_capacity(420);
        write!(
            text,
            r#"{{"event":"media","sequenceNumber":"{sequence}","streamSid":"{stream}","media":{{"track":"inbound","chunk":"{chunk}","timestamp":"{timestamp}","payload":""#
        )
        .expect("a string can always be written to");
        if said == &[SILENCE; FRAME_BYTES] {
            text.push_str(&self.silence);
        } else {
            BASE64_STANDARD.encode_string(said, &mut text);
        }
        text.push_str("\"}}");
        text
    }

    fn mark(&mut self, name: &str) -> String {
        self.event("mark", &json!({ "name": name }))
    }

    fn dtmf(&mut self, key: char) -> String {
        self.event("dtmf", &json!({ "track": "inbound_track", "digit": key.to_string() }))
    }

    /// Any message but `connected`; its body is a member with the name of the event.
    fn event(&mut self, event: &str, body: &Value) -> String {
        let sequence = self.sequence.to_string();
        self.sequence += 1;
        json!({ "event": event, "sequenceNumber": sequence, "streamSid": self.sid, event: body }).to_string()
    }

    async fn receive(
        &mut self,
        message: Option<Result<Message, tungstenite::Error>>,
        party: &mut Party,
    ) -> Result<Option<End>, Failure> {
        match message {
            Some(Ok(Message::Text(text))) => self.obey(&text, party).await.map(|()| None),
            Some(Ok(Message::Binary(_))) => Err(Failure::new(31950, "binary message")),
            Some(Ok(Message::Close(_))) => Ok(Some(End::Closed)),
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Ok(None),
            Some(Err(error @ (tungstenite::Error::Protocol(_) | tungstenite::Error::Utf8(_)))) => {
                // tungstenite reports a connection that ends without a close frame as a protocol error, too.
                let reset = tungstenite::error::ProtocolError::ResetWithoutClosingHandshake;
                let lost = matches!(&error, tungstenite::Error::Protocol(why) if *why == reset);
                Err(Failure::new(if lost { 31903 } else { 31924 }, error.to_string()))
            }
            Some(Err(error)) => Err(Failure::new(31903, error.to_string())),
            None => Err(Failure::new(31903, "the connection was lost")),
        }
    }

    /// Twilio only warns of an invalid message. Here it ends the stream, so that tests notice it.
    async fn obey(&mut self, text: &str, party: &mut Party) -> Result<(), Failure> {
        let invalid = |why: &str| Failure::new(31951, format!("invalid message: {why}"));
        let message: Incoming<'_> =
            serde_json::from_str(text).map_err(|error| invalid(&error.to_string()))?;
        if message.stream_sid != self.sid {
            return Err(invalid("the streamSid is of another stream"));
        }
        match &*message.event {
            "media" => {
                let media = message.media.ok_or_else(|| invalid("no media.payload"))?;
                self.decoded.clear();
                let decoded = BASE64_STANDARD.decode_vec(media.payload.as_bytes(), &mut self.decoded);
                decoded.map_err(|_| invalid("media.payload is not base64"))?;
                self.playback.queue(&self.decoded)?;
                party.arrived(&self.decoded);
                let gap = self.ran_out.take().map(|at| at.elapsed()).unwrap_or_default();
                self.is_speaking = true;
                let mut state = self.line.call.state();
                let gap_ms = u64::try_from(gap.as_millis()).unwrap_or(u64::MAX);
                state.media.longest_gap_ms = state.media.longest_gap_ms.max(gap_ms);
                state.media.frames_received += 1;
                state.media.bytes_received += self.decoded.len() as u64;
            }
            "mark" => {
                (self.is_speaking, self.ran_out) = (false, None);
                self.line.call.state().media.marks += 1;
                party.marked();
                // A mark without a name is ignored, as by Twilio.
                let Some(name) = message.mark.and_then(|mark| mark.name) else { return Ok(()) };
                if let Some(name) = self.playback.mark(name)? {
                    let mark = self.mark(&name);
                    self.send(mark).await?;
                }
            }
            "clear" => {
                (self.is_speaking, self.ran_out) = (false, None);
                self.line.call.state().media.clears += 1;
                party.cleared();
                let marks: Vec<_> = self.playback.clear().collect();
                for name in marks {
                    let mark = self.mark(&name);
                    self.send(mark).await?;
                }
            }
            other => return Err(invalid(&format!("unknown event {other}"))),
        }
        Ok(())
    }

    async fn send(&mut self, text: String) -> Result<(), Failure> {
        in_time(self.socket.send(Message::text(text))).await
    }

    /// Sends `stop` if the call has ended or was redirected, and closes the socket. The close handshake runs in a task of
    /// its own, so that a slow server does not delay the call.
    async fn close(mut self, hung_up: bool, failure: Option<&Failure>) {
        if hung_up {
            let stop = json!({ "accountSid": self.line.call.account.sid, "callSid": self.line.call.sid });
            let stop = self.event("stop", &stop);
            // The server may be gone already.
            let _ = self.send(stop).await;
        }
        let mut socket = self.socket;
        let frame = match failure {
            Some(Failure { code: 31950 | 31951 | 31924, message }) => {
                // A close frame has room for 123 bytes.
                let reason: String = message.chars().take(30).collect();
                CloseFrame { code: CloseCode::Protocol, reason: reason.into() }
            }
            _ => CloseFrame { code: CloseCode::Normal, reason: "".into() },
        };
        let closing = async move {
            let _ = socket.close(Some(frame)).await;
            while let Some(Ok(_)) = socket.next().await {}
        };
        self.line.carrier.tasks.spawn(timeout(CLOSE_TIMEOUT, closing));
    }
}

async fn in_time(sending: impl Future<Output = Result<(), tungstenite::Error>>) -> Result<(), Failure> {
    match timeout(SEND_TIMEOUT, sending).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Failure::new(31903, error.to_string())),
        Err(_) => Err(Failure::new(31903, "the server reads no messages")),
    }
}
