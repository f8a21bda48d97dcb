//! A chain of voices.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::future::BoxFuture;

use super::{
    Candidate, Chain, ProviderOutages,
    stream::{ChainEvent, Stage, in_turn},
};
use crate::{
    audio::AudioFormat,
    stand_in_report::StandInReport,
    synthesizer::{
        CallContext, SharedSession, SpeechEvent, SpeechStream, Synthesizer, VoiceSession, shared, synthesize,
    },
};

/// Maximum time to the first audio of a voice while another one can be asked. A good voice takes less than half a second.
const FIRST_EVENT_TIMEOUT: Duration = Duration::from_millis(1_500);

/// The voices of one call.
pub struct ChainedVoice(Arc<Chain<dyn Synthesizer>>);

impl ChainedVoice {
    /// In the order in which they are asked. Each of them yields the audio of the call.
    #[must_use]
    pub fn new(candidates: Vec<Candidate<dyn Synthesizer>>, outages: ProviderOutages) -> Self {
        Self(Chain::new(candidates, outages))
    }
}

impl Synthesizer for ChainedVoice {
    fn connect_ahead(&self, call: &CallContext) -> BoxFuture<'static, ()> {
        self.0.candidates[self.0.best()].provider.connect_ahead(call)
    }

    fn speaks(&self, format: AudioFormat) -> bool {
        self.0.candidates.iter().all(|candidate| candidate.provider.speaks(format))
    }

    fn open(&self, call: &CallContext) -> Box<dyn VoiceSession> {
        let mut sessions: Vec<_> = self.0.candidates.iter().map(|_| None).collect();
        // Some voices connect when they are opened.
        let best = self.0.best();
        sessions[best] = Some(shared(self.0.candidates[best].provider.open(call)));
        Box::new(ChainedSession {
            chain: Arc::clone(&self.0),
            call: call.clone(),
            sessions: Arc::new(Mutex::new(sessions)),
        })
    }
}

/// The voices in one call. The best one is opened with it, the others for their first clause.
struct ChainedSession {
    chain: Arc<Chain<dyn Synthesizer>>,
    call: CallContext,
    sessions: Sessions,
}

/// The sessions of the candidates that are open.
type Sessions = Arc<Mutex<Vec<Option<SharedSession>>>>;

impl VoiceSession for ChainedSession {
    fn request(&mut self, clause: &str) -> SpeechStream {
        let (chain, call, sessions) =
            (Arc::clone(&self.chain), self.call.clone(), Arc::clone(&self.sessions));
        let clause = clause.to_owned();
        let speak = move |place: usize| {
            // No session can panic half way through.
            let mut sessions = sessions.lock().unwrap_or_else(PoisonError::into_inner);
            for (other, session) in sessions.iter_mut().enumerate() {
                // Its connection would stay open for the rest of the call.
                if other != place && chain.has_failed(other) {
                    *session = None;
                }
            }
            let session =
                sessions[place].get_or_insert_with(|| shared(chain.candidates[place].provider.open(&call)));
            synthesize(session, &clause)
        };
        in_turn(Arc::clone(&self.chain), speak, FIRST_EVENT_TIMEOUT)
    }
}

impl ChainEvent for SpeechEvent {
    fn fallback(fallback: StandInReport) -> Self {
        Self::Fallback(fallback)
    }

    fn stage(&self) -> Stage {
        match self {
            Self::Characters { .. } | Self::Fallback(_) => Stage::Accepted,
            Self::Delayed | Self::Queued => Stage::Waiting,
            Self::Audio(_) | Self::Words(_) => Stage::Serving,
        }
    }
}
