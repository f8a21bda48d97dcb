//! A chain of transcribers.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream};
use tokio::time::timeout;

use super::{Candidate, Chain, ProviderOutages, attempts::Attempts};
use crate::{
    Error,
    audio::AudioFormat,
    transcriber::{AudioSink, Transcriber, TranscriberSession, TranscriptEvent},
};

/// Maximum time of a handshake while another transcriber can be asked.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(2);
/// A transcriber whose sessions return no word so many times in a row has failed the call.
const WORDLESS_SESSIONS: u32 = 3;

/// The transcribers of one call.
pub struct ChainedTranscriber {
    chain: Arc<Chain<dyn Transcriber>>,
    /// Whether a final transcript of the candidate ends the turn: it does not detect the end of turns, and the first of the
    /// chain does.
    ends_turns: Arc<[bool]>,
    /// Sessions in a row that returned no word.
    wordless: Arc<AtomicU32>,
}

impl ChainedTranscriber {
    /// In the order in which they are asked; each says whether it detects the end of turns.
    #[must_use]
    pub fn new(candidates: Vec<(Candidate<dyn Transcriber>, bool)>, outages: ProviderOutages) -> Self {
        let detects = candidates.first().is_some_and(|(_, detects_turns)| *detects_turns);
        let ends_turns = candidates.iter().map(|(_, detects_turns)| detects && !detects_turns).collect();
        let candidates = candidates.into_iter().map(|(candidate, _)| candidate).collect();
        Self { chain: Chain::new(candidates, outages), ends_turns, wordless: Arc::default() }
    }
}

impl Transcriber for ChainedTranscriber {
    fn connect_for(
        &self,
        format: AudioFormat,
    ) -> BoxFuture<'static, Result<(AudioSink, TranscriberSession), Error>> {
        let chain = Arc::clone(&self.chain);
        let (ends_turns, wordless) = (Arc::clone(&self.ends_turns), Arc::clone(&self.wordless));
        async move {
            let mut attempts = Attempts::new(Arc::clone(&chain));
            if wordless.load(Ordering::Relaxed) >= WORDLESS_SESSIONS && attempts.has_other() {
                attempts.leave(&format!("it returned no word in {WORDLESS_SESSIONS} sessions"));
                wordless.store(0, Ordering::Relaxed);
            }
            loop {
                let place = attempts.place();
                let connecting = chain.candidates[place].provider.connect_for(format);
                let connected = if attempts.has_other() {
                    timeout(HANDSHAKE_TIMEOUT, connecting).await.ok()
                } else {
                    Some(connecting.await)
                };
                match connected {
                    Some(Ok((sink, events))) => {
                        wordless.fetch_add(1, Ordering::Relaxed);
                        let sink = sink.served_by(chain.report(place));
                        let session = Session {
                            chain,
                            place,
                            attempts,
                            events,
                            ends_turn: ends_turns[place],
                            wordless,
                        };
                        return Ok((sink, session.into_stream()));
                    }
                    Some(Err(error)) => {
                        if !attempts.fail(&error) {
                            return Err(error);
                        }
                    }
                    None => {
                        attempts.time_out(HANDSHAKE_TIMEOUT);
                    }
                }
            }
        }
        .boxed()
    }
}

/// A session of one of the transcribers.
struct Session {
    chain: Arc<Chain<dyn Transcriber>>,
    place: usize,
    attempts: Attempts<dyn Transcriber>,
    events: TranscriberSession,
    ends_turn: bool,
    wordless: Arc<AtomicU32>,
}

impl Session {
    fn into_stream(self) -> TranscriberSession {
        let events = stream::unfold(self, |mut session| async {
            let events = session.next().await?;
            Some((stream::iter(events), session))
        });
        events.flatten().boxed()
    }

    async fn next(&mut self) -> Option<Vec<Result<TranscriptEvent, Error>>> {
        let event = match self.events.next().await? {
            Ok(event) => event,
            // Connecting again would not help: unless another one serves.
            Err(error) if !error.is_retryable() && self.attempts.has_other() => {
                self.attempts.fail(&error);
                return Some(vec![Err(error.retryable())]);
            }
            Err(error) => return Some(vec![Err(error)]),
        };
        let mut events = vec![];
        let is_final = matches!(event, TranscriptEvent::Transcript { is_final: true, .. });
        if matches!(event, TranscriptEvent::Transcript { .. }) && self.wordless.swap(0, Ordering::Relaxed) > 0
        {
            self.chain.record_success(self.place);
        }
        events.push(Ok(event));
        if is_final && self.ends_turn {
            events.push(Ok(TranscriptEvent::TurnEnded));
        }
        Some(events)
    }
}
