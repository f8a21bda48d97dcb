//! The websocket of one call: opened with the call, kept open while nothing is said, opened again after a break.
//!
//! [`Connection::run`] is the task of a [`speak`](super::speak) session. It takes one clause after the other. A clause is
//! a context of its own: its text is flushed at once, and the context is closed as soon as all of its characters are timed
//! or its first audio came without times, because only a closed context says when it is complete. A clause that is
//! dropped before is closed at once. Audio of other contexts is ignored.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until, timeout, timeout_at},
};
use tokio_tungstenite::tungstenite::{self, Message};

use super::{
    VENDOR,
    messages::{ClientMessage, ServerMessage},
    refusals::{self, Failure, Remedy},
    target::Target,
    words::Words,
};
use crate::{
    Error, StreamTimeouts,
    egress::{self, WebSocket},
    synthesizer::SpeechEvent,
};

/// The context that is open as long as the connection: the vendor closes a connection without messages.
const KEPT_OPEN: &str = "kept-open";
/// The vendor allows five contexts at a time: the one that is kept open, the clause's, and dropped ones that it has not
/// ended yet.
const MAX_ENDING: usize = 3;
/// Attempts to open a lost connection again before the next clause needs it.
const MAX_REOPENINGS: u32 = 3;
/// The wait after the first failure; it doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// Maximum time that a clause waits for a vendor that has too many requests.
const MAX_DELAY: Duration = Duration::from_secs(8);
/// Silence within a clause after which its context is closed though some of its characters are not timed.
const PAUSE: Duration = Duration::from_millis(250);
/// Maximum size of a clause's audio: two minutes at 16 kHz and 16 bits. A server that never ends must not fill the memory.
const MAX_CLAUSE_BYTES: usize = 4 * 1024 * 1024;

/// The time-outs of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Time without a message of ours after which one is sent. The vendor closes after 20 s by default.
    pub keep_alive: Duration,
    /// Maximum time to write a message.
    pub write: Duration,
    /// Of a clause.
    pub clause: StreamTimeouts,
}

/// A clause to be spoken.
pub(super) struct ClauseRequest {
    pub(super) text: String,
    /// Its number in the session, from one on.
    pub(super) number: u64,
    /// When it was made.
    pub(super) at: Instant,
    /// Bounded; dropping the receiver cancels the clause.
    pub(super) events: mpsc::Sender<Reply>,
}

/// A message of the connection to a clause's stream.
pub(super) enum Reply {
    Event(SpeechEvent),
    /// The last one, if the clause failed.
    Failed(Error),
    /// The last one, if the clause is complete.
    Complete,
}

/// The number of the clause that a connection speaks; zero while it speaks none.
#[derive(Clone, Default)]
pub(super) struct Speaking(Arc<AtomicU64>);

impl Speaking {
    fn set(&self, number: u64) {
        self.0.store(number, Ordering::Relaxed);
    }

    /// Whether a clause waits for another one.
    pub(super) fn is_other_than(&self, number: u64) -> bool {
        let now = self.0.load(Ordering::Relaxed);
        now != 0 && now != number
    }
}

pub(super) struct Connection {
    target: Target,
    timing: Timing,
    requests: mpsc::Receiver<ClauseRequest>,
    speaking: Speaking,
    /// When the last clause ended.
    ended_at: Option<Instant>,
    socket: Option<Socket>,
    /// Whether the last connection failed for good.
    is_refused: bool,
    /// Why the vendor ended the connection between two clauses, if it failed for good: the next clause reports it.
    refusal: Option<Failure>,
    /// The number of contexts so far.
    contexts: u64,
    active: Option<Context>,
}

/// The context of the clause that is spoken.
struct Context {
    id: String,
    is_closed: bool,
}

/// The state of a clause whose speech arrives.
struct Progress {
    words: Words,
    is_counted: bool,
    bytes: usize,
}

impl Connection {
    pub(super) fn new(
        target: Target,
        timing: Timing,
        requests: mpsc::Receiver<ClauseRequest>,
        speaking: Speaking,
    ) -> Self {
        Self {
            target,
            timing,
            requests,
            speaking,
            ended_at: None,
            socket: None,
            is_refused: false,
            refusal: None,
            contexts: 0,
            active: None,
        }
    }

    /// Speaks clauses until the session is dropped.
    pub(super) async fn run(mut self) {
        // Ahead of the first clause, which reports what is wrong.
        let _ = self.connect().await;
        while let Some(request) = self.next_request().await {
            let events = request.events.clone();
            self.speaking.set(request.number);
            if self.ended_at.is_some_and(|ended| ended > request.at) {
                // Its time begins now.
                let _ = events.try_send(Reply::Event(SpeechEvent::Queued));
            }
            tokio::select! {
                biased;
                () = events.closed() => self.cancel().await,
                spoken = self.speak(&request) => {
                    // The session may be gone.
                    let _ = events.send(spoken.map_or_else(Reply::Failed, |()| Reply::Complete)).await;
                }
            }
            self.active = None;
            self.speaking.set(0);
            self.ended_at = Some(Instant::now());
        }
    }

    /// Keeps the connection open until there is a clause; none once the session is dropped.
    async fn next_request(&mut self) -> Option<ClauseRequest> {
        let mut reopenings = 0;
        loop {
            let Some(socket) = &mut self.socket else {
                if self.is_refused || reopenings >= MAX_REOPENINGS {
                    return self.requests.recv().await;
                }
                tokio::select! {
                    biased;
                    request = self.requests.recv() => return request,
                    () = sleep(if reopenings == 0 { Duration::ZERO } else { backoff(reopenings - 1) }) => {}
                }
                reopenings += 1;
                let _ = self.connect().await;
                continue;
            };
            let keep_alive_at = socket.idle_since + self.timing.keep_alive;
            let failure = tokio::select! {
                biased;
                request = self.requests.recv() => return request,
                message = socket.receive() => message.err(),
                () = sleep_until(keep_alive_at) => {
                    socket.keep_alive(self.timing.write).await.err()
                }
            };
            if let Some(failure) = failure {
                self.socket = None;
                self.is_refused = !failure.error.is_retryable();
                self.refusal = Some(failure).filter(|_| self.is_refused);
            }
        }
    }

    async fn connect(&mut self) -> Result<(), Failure> {
        self.socket = None;
        let connected = self.try_connect().await;
        self.is_refused = connected.as_ref().is_err_and(|failure| !failure.error.is_retryable());
        self.socket = Some(connected?);
        Ok(())
    }

    async fn try_connect(&self) -> Result<Socket, Failure> {
        let request = self.target.request().map_err(|error| Failure { error, remedy: Remedy::None })?;
        let socket = egress::connect(request).await.map_err(refusals::of_handshake)?;
        let mut socket =
            Socket { stream: socket, ending: vec![], idle_since: Instant::now(), is_silent: false };
        let begin = ClientMessage::begin(KEPT_OPEN, self.target.settings());
        socket.write(&[begin], self.timing.write).await?;
        Ok(socket)
    }

    /// Ends the context of a dropped clause.
    async fn cancel(&mut self) {
        let (Some(context), Some(socket)) = (self.active.take(), &mut self.socket) else { return };
        let closed = if context.is_closed {
            Ok(())
        } else {
            socket.write(&[ClientMessage::close(&context.id)], self.timing.write).await
        };
        socket.ending.push(context.id);
        if closed.is_err() {
            self.socket = None;
        }
    }

    /// Speaks one clause. It is repeated, and repaired, as long as nothing of it was heard.
    async fn speak(&mut self, request: &ClauseRequest) -> Result<(), Error> {
        let began = Instant::now();
        let mut progress = Progress { words: Words::of(&request.text), is_counted: false, bytes: 0 };
        let (mut is_repeated, mut waits) = (false, 0);
        loop {
            let Err(failure) = self.attempt(request, &mut progress).await else { return Ok(()) };
            self.active = None;
            self.socket = None;
            if progress.bytes > 0 {
                return Err(failure.error);
            }
            match failure.remedy {
                Remedy::Without(parameter) if self.target.leave_out(parameter) => {}
                Remedy::Reconnect if !is_repeated => is_repeated = true,
                Remedy::Wait(at_least) => {
                    let wait = at_least.max(backoff(waits));
                    if began.elapsed() + wait > MAX_DELAY {
                        return Err(failure.error);
                    }
                    waits += 1;
                    send(request, SpeechEvent::Delayed).await;
                    sleep(wait).await;
                }
                _ => return Err(failure.error),
            }
        }
    }

    async fn attempt(&mut self, request: &ClauseRequest, progress: &mut Progress) -> Result<(), Failure> {
        let first = self.timing.clause.first;
        let deadline = Instant::now() + first;
        let silent = |waited| Failure { error: Error::silent(VENDOR, waited), remedy: Remedy::None };
        if let Some(refusal) = self.refusal.take() {
            return Err(refusal);
        }
        if self.socket.as_ref().is_none_or(|socket| socket.ending.len() >= MAX_ENDING) {
            timeout_at(deadline, self.connect()).await.map_err(|_| silent(first))??;
        }
        let Some(socket) = &mut self.socket else { return Err(refusals::ended()) };
        self.contexts += 1;
        let context =
            self.active.insert(Context { id: format!("clause-{}", self.contexts), is_closed: false });
        // The vendor wants a space behind a text.
        let text = format!("{} ", request.text.trim());
        let begin = ClientMessage::begin(&context.id, self.target.settings());
        socket.write(&[begin, ClientMessage::speak(&context.id, &text)], self.timing.write).await?;
        if !std::mem::replace(&mut progress.is_counted, true) {
            // It does not report what it bills: the characters of the text.
            let count = request.text.chars().count() as u64;
            send(request, SpeechEvent::Characters { count, estimated: true }).await;
        }
        let mut last = Instant::now();
        loop {
            let (limit, waited) = match (progress.bytes, context.is_closed) {
                (0, _) => (deadline, first),
                (_, false) => (last + PAUSE.min(self.timing.clause.idle), PAUSE),
                (_, true) => (last + self.timing.clause.idle, self.timing.clause.idle),
            };
            let message = match timeout_at(limit, socket.receive()).await {
                Ok(message) => message?,
                Err(_) if progress.bytes > 0 && !context.is_closed => {
                    socket.write(&[ClientMessage::close(&context.id)], self.timing.write).await?;
                    context.is_closed = true;
                    continue;
                }
                Err(_) => return Err(silent(waited)),
            };
            let ServerMessage::Speech { context_id, audio, alignment, is_final } = message else { continue };
            if context_id != context.id {
                continue;
            }
            last = Instant::now();
            let is_timed = alignment.is_some();
            if let Some(alignment) = alignment {
                let offset = self.target.format.duration_of(progress.bytes as u64);
                let words = progress.words.add(&alignment, offset);
                if !words.is_empty() {
                    send(request, SpeechEvent::Words(words)).await;
                }
            }
            progress.bytes += audio.len();
            if progress.bytes > MAX_CLAUSE_BYTES {
                let error = Error::unavailable(VENDOR, "its speech is too long");
                return Err(Failure { error, remedy: Remedy::None });
            }
            let is_audible = !audio.is_empty();
            if is_audible {
                send(request, SpeechEvent::Audio(audio)).await;
            }
            if is_final {
                self.active = None;
                return if progress.bytes > 0 { Ok(()) } else { Err(empty()) };
            }
            if is_audible && !context.is_closed && (!is_timed || progress.words.are_complete()) {
                socket.write(&[ClientMessage::close(&context.id)], self.timing.write).await?;
                context.is_closed = true;
            }
        }
    }
}

/// A used-up quota can look like a successful clause without audio.
fn empty() -> Failure {
    Failure { error: Error::unavailable(VENDOR, "its speech was empty"), remedy: Remedy::None }
}

/// Waits while the call does not take events; a dropped clause takes none.
async fn send(request: &ClauseRequest, event: SpeechEvent) {
    let _ = request.events.send(Reply::Event(event)).await;
}

fn backoff(failures: u32) -> Duration {
    FIRST_WAIT.saturating_mul(2_u32.saturating_pow(failures)).min(LONGEST_WAIT)
}

/// An open websocket.
struct Socket {
    stream: WebSocket,
    /// Contexts of dropped clauses that the vendor has not ended.
    ending: Vec<String>,
    /// When the last message was sent.
    idle_since: Instant,
    /// Whether nothing was received since the last keep-alive.
    is_silent: bool,
}

impl Socket {
    /// Writes messages together.
    async fn write(&mut self, messages: &[ClientMessage<'_>], limit: Duration) -> Result<(), Failure> {
        let writing = async {
            for message in messages {
                self.stream.feed(Message::text(message.json())).await?;
            }
            self.stream.flush().await
        };
        let written = timeout(limit, writing).await;
        self.idle_since = Instant::now();
        match written {
            // A closed connection gives its reason in the close frame, which is read next.
            Ok(Ok(()) | Err(tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed)) => {
                Ok(())
            }
            Ok(Err(error)) => Err(refusals::broken(error)),
            Err(_) => {
                let error = Error::unavailable(VENDOR, "it does not read");
                Err(Failure { error, remedy: Remedy::Reconnect })
            }
        }
    }

    /// Resets the vendor's time-out, and pings: a connection that answers neither is lost.
    async fn keep_alive(&mut self, limit: Duration) -> Result<(), Failure> {
        if std::mem::replace(&mut self.is_silent, true) {
            return Err(refusals::ended());
        }
        self.write(&[ClientMessage::keep_alive(KEPT_OPEN)], limit).await?;
        let ping = timeout(limit, self.stream.send(Message::Ping(Bytes::new()))).await;
        match ping {
            Ok(sent) => sent.map_err(refusals::broken),
            Err(_) => Err(refusals::ended()),
        }
    }

    /// The next message. Cancel-safe.
    async fn receive(&mut self) -> Result<ServerMessage, Failure> {
        loop {
            let message = match self.stream.next().await {
                None | Some(Err(tungstenite::Error::ConnectionClosed)) => return Err(refusals::ended()),
                Some(Err(error)) => return Err(refusals::broken(error)),
                Some(Ok(message)) => message,
            };
            self.is_silent = false;
            match message {
                Message::Close(frame) => return Err(refusals::of_close(frame.as_ref())),
                Message::Text(text) => {
                    let unreadable = |error| Failure { error, remedy: Remedy::None };
                    let message = ServerMessage::read(&text).map_err(unreadable)?;
                    if let ServerMessage::Refused(explanation) = &message {
                        return Err(refusals::of_message(explanation));
                    }
                    if let ServerMessage::Speech { context_id, is_final: true, .. } = &message {
                        self.ending.retain(|ending| ending != context_id);
                    }
                    return Ok(message);
                }
                _ => {}
            }
        }
    }
}
