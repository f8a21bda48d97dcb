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
use switchboard_model::agents;
use tokio::{sync::mpsc, task::JoinSet};

pub use super::connection::Timing;
use super::{
    VENDOR,
    connection::{ClauseRequest, Connection},
    target::{Target, Voice},
};
use crate::{
    Error, Providers, Secret,
    synthesizer::{CallContext, SpeechStream, Synthesizer, TIMEOUTS, VoiceSession},
    unusable::Unusable,
};

/// Clauses that wait for the ones before them. The dialogue has two ahead.
const MAX_WAITING: usize = 16;
/// Events of a clause that the call has not taken: some seconds of audio. The connection is not read meanwhile.
const MAX_EVENTS: usize = 64;

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
    fn connect_ahead(&self) -> BoxFuture<'static, ()> {
        future::ready(()).boxed()
    }

    /// Begins to connect.
    ///
    /// # Panics
    /// It is not called by a task of a runtime.
    fn open(&self, call: &CallContext) -> Box<dyn VoiceSession> {
        let target = Target::new(self.base.clone(), self.key.clone(), self.voice.clone(), call);
        let (requests, waiting) = mpsc::channel(MAX_WAITING);
        let mut tasks = JoinSet::new();
        tasks.spawn(Connection::new(target, self.timing, waiting).run());
        Box::new(Session { requests, _tasks: tasks })
    }
}

/// A voice in one call. Dropping it closes the connection.
struct Session {
    requests: mpsc::Sender<ClauseRequest>,
    _tasks: JoinSet<()>,
}

impl VoiceSession for Session {
    fn request(&mut self, clause: &str) -> SpeechStream {
        let (events, speech) = mpsc::channel(MAX_EVENTS);
        let request = ClauseRequest { text: clause.to_owned(), events };
        let requests = self.requests.clone();
        let asked = stream::once(async move { requests.try_send(request) }).filter_map(|asked| {
            let error = Error::unavailable(VENDOR, "too many clauses wait");
            future::ready(asked.is_err().then_some(Err(error)))
        });
        let speech = stream::unfold(speech, |mut speech| async { Some((speech.recv().await?, speech)) });
        asked.chain(speech).boxed()
    }
}
