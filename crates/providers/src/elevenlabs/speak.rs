//! `ElevenLabs` voices: `wss .../v1/text-to-speech/{voice}/multi-stream-input`, one websocket per call.
//!
//! [`Speak`] is the synthesizer. A session has a task that owns its websocket (`connection.rs`), because the websocket
//! lives on while no clause is polled; the clauses' streams receive from it. Characters are billed when the text is
//! sent.

use std::time::Duration;

use futures_util::{
    FutureExt, StreamExt,
    future::{self, BoxFuture},
    stream,
};
use reqwest::Url;
use switchboard_model::{agents, catalogue::voice_yields};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, timeout},
};

pub use super::connection::Timing;
use super::{
    VENDOR,
    connection::{ClauseRequest, Connection, Reply, Speaking},
    target::{Target, Voice},
};
use crate::{
    Error, Providers, Secret,
    audio::AudioFormat,
    synthesizer::{CallContext, SpeechEvent, SpeechStream, Synthesizer, TIMEOUTS, VoiceSession},
    unusable::Unusable,
};

/// Clauses that wait for the ones before them. The dialogue has two ahead.
const MAX_WAITING: usize = 16;
/// Events of a clause that the call has not taken: some seconds of audio. The connection is not read meanwhile.
const MAX_EVENTS: usize = 64;
/// Time between two reports that a clause waits for another one.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

impl Default for Timing {
    fn default() -> Self {
        Self { keep_alive: Duration::from_secs(15), write: Duration::from_secs(2), clause: TIMEOUTS }
    }
}

/// One voice with one key.
#[derive(Debug, Clone)]
pub struct Speak {
    base: Url,
    key: Secret,
    voice: Voice,
    timing: Timing,
}

impl Speak {
    /// For the configured server and key.
    ///
    /// # Errors
    /// There is no key, or the configuration names another vendor.
    pub fn new(
        providers: &Providers,
        configuration: &agents::Voice,
        timing: Timing,
    ) -> Result<Self, Unusable> {
        let voice = Voice::of(configuration).ok_or_else(|| Unusable::no_adapter(configuration.provider()))?;
        let (base, key) = (providers.endpoints.of(VENDOR).clone(), providers.key(VENDOR)?);
        Ok(Self { base, key, voice, timing })
    }
}

impl Synthesizer for Speak {
    /// Nothing: the connection belongs to a session, which opens it when it begins.
    fn connect_ahead(&self, _call: &CallContext) -> BoxFuture<'static, ()> {
        future::ready(()).boxed()
    }

    fn speaks(&self, format: AudioFormat) -> bool {
        voice_yields(VENDOR, format)
    }

    /// Begins to connect.
    ///
    /// # Panics
    /// It is not called by a task of a runtime.
    fn open(&self, call: &CallContext) -> Box<dyn VoiceSession> {
        let target = Target::new(self.base.clone(), self.key.clone(), self.voice.clone(), call);
        let (requests, waiting) = mpsc::channel(MAX_WAITING);
        let (speaking, mut tasks) = (Speaking::default(), JoinSet::new());
        tasks.spawn(Connection::new(target, self.timing, waiting, speaking.clone()).run());
        Box::new(Session { requests, speaking, clauses: 0, _tasks: tasks })
    }
}

/// A voice in one call. Dropping it closes the connection.
struct Session {
    requests: mpsc::Sender<ClauseRequest>,
    speaking: Speaking,
    /// The number of clauses so far.
    clauses: u64,
    _tasks: JoinSet<()>,
}

impl VoiceSession for Session {
    fn request(&mut self, clause: &str) -> SpeechStream {
        let (events, replies) = mpsc::channel(MAX_EVENTS);
        self.clauses += 1;
        let request =
            ClauseRequest { text: clause.to_owned(), number: self.clauses, at: Instant::now(), events };
        let clause = Clause {
            number: self.clauses,
            request: Some((self.requests.clone(), request)),
            speaking: self.speaking.clone(),
            replies,
            is_over: false,
        };
        stream::unfold(clause, |mut clause| async { Some((clause.next().await?, clause)) }).boxed()
    }
}

/// A clause whose speech is awaited.
struct Clause {
    number: u64,
    /// None once it has been made.
    request: Option<(mpsc::Sender<ClauseRequest>, ClauseRequest)>,
    speaking: Speaking,
    replies: mpsc::Receiver<Reply>,
    is_over: bool,
}

impl Clause {
    async fn next(&mut self) -> Option<Result<SpeechEvent, Error>> {
        if self.is_over {
            return None;
        }
        if let Some((requests, mut request)) = self.request.take() {
            request.at = Instant::now();
            if requests.try_send(request).is_err() {
                self.is_over = true;
                return Some(Err(Error::unavailable(VENDOR, "too many clauses wait")));
            }
        }
        let reply = loop {
            if let Ok(reply) = timeout(REPORT_INTERVAL, self.replies.recv()).await {
                break reply;
            }
            if self.speaking.is_other_than(self.number) {
                return Some(Ok(SpeechEvent::Queued));
            }
        };
        let last = match reply {
            Some(Reply::Event(event)) => return Some(Ok(event)),
            Some(Reply::Failed(error)) => Some(Err(error)),
            Some(Reply::Complete) => None,
            None => Some(Err(Error::unavailable(VENDOR, "its session ended within a clause"))),
        };
        self.is_over = true;
        last
    }
}
