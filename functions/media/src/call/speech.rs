//! Has clauses spoken: by the voice, or from a clip.

use std::{collections::VecDeque, pin::Pin};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use switchboard_dialogue::{ClauseId, Input, ProviderRole};
use switchboard_providers::voices::SpeechEvent;

use super::Call;

/// Clauses that are being spoken.
pub(super) type Speeches = Pin<Box<dyn Stream<Item = (ClauseId, Spoken)> + Send>>;

/// What the voice delivers of a clause.
pub(super) enum Spoken {
    Audio(Bytes),
    Characters(u64),
    Finished,
    Failed(switchboard_providers::Error),
}

impl Call<'_> {
    pub(super) fn speak(&mut self, clause: ClauseId, text: &str, inputs: &mut VecDeque<Input>) {
        if let Some(audio) = self.clips.get(text) {
            self.outgoing.add(clause, audio);
            let bytes = u32::try_from(audio.len()).unwrap_or(u32::MAX);
            let silence = self.outgoing.silence(clause);
            inputs.extend([Input::VoiceAudio { clause, bytes }, Input::VoiceFinished { clause, silence }]);
            return;
        }
        let Some(voice) = &self.voice else {
            inputs.push_back(Input::VoiceFailed { clause });
            return;
        };
        let speech = voice.speak(text).map(move |event| match event {
            Ok(SpeechEvent::Audio(audio)) => (clause, Spoken::Audio(audio)),
            Ok(SpeechEvent::Characters { count, .. }) => (clause, Spoken::Characters(count)),
            Err(error) => (clause, Spoken::Failed(error)),
        });
        // A failed speech ends with its error; the engine takes no more of that clause after it.
        let finished = futures_util::stream::once(async move { (clause, Spoken::Finished) });
        self.at_voice.insert(clause);
        self.speaking.push(Box::pin(speech.chain(finished)));
    }

    pub(super) fn voice_says(&mut self, clause: ClauseId, spoken: Spoken) {
        match spoken {
            Spoken::Characters(count) => self.usage.characters += count,
            Spoken::Audio(audio) => {
                let bytes = u32::try_from(audio.len()).unwrap_or(u32::MAX);
                self.outgoing.add(clause, &audio);
                self.feed(Input::VoiceAudio { clause, bytes });
            }
            Spoken::Finished => {
                self.at_voice.remove(&clause);
                let silence = self.outgoing.silence(clause);
                self.feed(Input::VoiceFinished { clause, silence });
            }
            Spoken::Failed(error) => {
                tracing::warn!(conversation = %self.address.conversation, %error, "the voice failed");
                if self.at_voice.remove(&clause) {
                    self.faults.failed(ProviderRole::Synthesizer, &error);
                }
                self.feed(Input::VoiceFailed { clause });
            }
        }
    }
}
