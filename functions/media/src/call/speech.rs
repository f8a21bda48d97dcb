//! The agent's speech: clauses at the voice, and their audio until it is sent.

use std::{
    collections::{BTreeSet, VecDeque},
    pin::Pin,
};

use bytes::Bytes;
use futures_util::{
    Stream, StreamExt, future,
    stream::{self, SelectAll},
};
use switchboard_dialogue::{ClauseId, Input, ProviderRole};
use switchboard_model::costs::Usage;
use switchboard_providers::{
    Error,
    audio::AudioFormat,
    synthesizer::{CallContext, SpeechEvent, VoiceSession},
};

use crate::{
    call_providers::CallProviders,
    clips::CallClips,
    outgoing_audio::OutgoingAudio,
    provider_faults::{ProviderFaults, fault},
};

/// An event of one clause.
pub(super) enum ClauseEvent {
    Audio(Bytes),
    Characters(u64),
    /// The last one, also after an error.
    Finished,
    Failed(Error),
}

type ClauseEvents = Pin<Box<dyn Stream<Item = (ClauseId, ClauseEvent)> + Send>>;

/// Synthesizes clauses, from clips where there are some.
pub(super) struct Speech<'a> {
    voice: Box<dyn VoiceSession>,
    provider: &'static str,
    clips: &'a CallClips,
    running: SelectAll<ClauseEvents>,
    /// Clauses for which the engine waits.
    awaited: BTreeSet<ClauseId>,
    audio: OutgoingAudio,
}

impl<'a> Speech<'a> {
    /// Opens the voice's session of this call.
    pub(super) fn new(providers: &CallProviders, clips: &'a CallClips, format: AudioFormat) -> Self {
        let language = providers.resolved.transcriber.language().to_owned();
        Self {
            voice: providers.voice.open(&CallContext { format, language }),
            provider: providers.resolved.voice.provider(),
            clips,
            running: SelectAll::new(),
            awaited: BTreeSet::new(),
            audio: OutgoingAudio::default(),
        }
    }

    /// Starts a clause. A clip is complete at once.
    pub(super) fn synthesize(&mut self, clause: ClauseId, text: &str, inputs: &mut VecDeque<Input>) {
        if let Some(audio) = self.clips.get(text) {
            self.audio.add(clause, audio);
            let bytes = u32::try_from(audio.len()).unwrap_or(u32::MAX);
            let silence = self.audio.silence(clause);
            inputs.extend([Input::VoiceAudio { clause, bytes }, Input::VoiceFinished { clause, silence }]);
            return;
        }
        let events = self.voice.synthesize(text).filter_map(move |event| {
            future::ready(match event {
                Ok(SpeechEvent::Audio(audio)) => Some((clause, ClauseEvent::Audio(audio))),
                Ok(SpeechEvent::Characters { count, .. }) => Some((clause, ClauseEvent::Characters(count))),
                // The engine counts heard words in proportion to the audio.
                Ok(SpeechEvent::Words(_)) => None,
                Err(error) => Some((clause, ClauseEvent::Failed(error))),
            })
        });
        // After a failure the engine ignores the rest of the clause.
        let finished = stream::once(async move { (clause, ClauseEvent::Finished) });
        self.awaited.insert(clause);
        self.running.push(Box::pin(events.chain(finished)));
    }

    /// The next event; none while nothing is synthesized. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<(ClauseId, ClauseEvent)> {
        self.running.next().await
    }

    /// Accounts for an event, and converts it for the engine.
    pub(super) fn apply(
        &mut self,
        (clause, event): (ClauseId, ClauseEvent),
        usage: &mut Usage,
        faults: &mut ProviderFaults,
    ) -> Option<Input> {
        match event {
            ClauseEvent::Characters(count) => {
                usage.characters += count;
                None
            }
            ClauseEvent::Audio(audio) => {
                let bytes = u32::try_from(audio.len()).unwrap_or(u32::MAX);
                self.audio.add(clause, &audio);
                Some(Input::VoiceAudio { clause, bytes })
            }
            ClauseEvent::Finished => {
                self.awaited.remove(&clause);
                let silence = self.audio.silence(clause);
                Some(Input::VoiceFinished { clause, silence })
            }
            ClauseEvent::Failed(error) => {
                tracing::warn!(provider = self.provider, error = fault(&error), "synthesis failed");
                if self.awaited.remove(&clause) {
                    faults.record_error(ProviderRole::Synthesizer, &error);
                }
                Some(Input::VoiceFailed { clause })
            }
        }
    }

    /// The engine gave up on the clause it waited for. It waits for clauses in their order, so that is the first one; a
    /// later failure of it is no fault of its own.
    pub(super) fn give_up_awaited(&mut self) {
        self.awaited.pop_first();
    }

    /// Cancels all clauses and drops their audio.
    pub(super) fn cancel(&mut self) {
        self.running.clear();
        self.awaited.clear();
        self.audio.clear();
    }

    /// Takes the next audio of a clause, at most this much.
    pub(super) fn take(&mut self, clause: ClauseId, bytes: u32) -> &[u8] {
        self.audio.take(clause, bytes)
    }

    /// Puts the last audio that was taken back: it is sent again.
    pub(super) fn rewind(&mut self, clause: ClauseId, bytes: u32) {
        self.audio.rewind(clause, bytes);
    }
}
