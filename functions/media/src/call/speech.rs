//! The agent's speech: clauses at the synthesizer, and their audio until it is sent.

use std::{
    collections::{BTreeSet, VecDeque},
    pin::Pin,
    time::Duration,
};

use bytes::Bytes;
use futures_util::{
    Stream, StreamExt, future,
    stream::{self, SelectAll},
};
use switchboard_dialogue::{ClauseId, Input, PlacedWord, ProviderRole};
use switchboard_model::costs::Usage;
use switchboard_providers::{
    Error,
    audio::AudioFormat,
    synthesizer::{self, CallContext, SpeechEvent, VoiceSession},
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
    /// When words are audible, from synthesizers that report it.
    Words(Vec<PlacedWord>),
    /// The clause waits for its turn at the synthesizer.
    Delayed,
    /// The last one, also after an error.
    Finished,
    Failed(Error),
}

type ClauseEvents = Pin<Box<dyn Stream<Item = (ClauseId, ClauseEvent)> + Send>>;

/// Synthesizes clauses. A clause that has a clip is not synthesized again.
pub(super) struct ClauseSynthesis<'a> {
    voice: Box<dyn VoiceSession>,
    provider: &'static str,
    clips: &'a CallClips,
    running: SelectAll<ClauseEvents>,
    /// Clauses that the engine has requested and that are not complete.
    awaited: BTreeSet<ClauseId>,
    audio: OutgoingAudio,
    format: AudioFormat,
    /// Whether a clause had to wait for its turn, which is recorded once.
    was_delayed: bool,
}

impl<'a> ClauseSynthesis<'a> {
    /// Opens the voice's session of a call with audio of this format. A voice that does not speak it speaks the
    /// telephone's.
    pub(super) fn new(providers: &CallProviders, clips: &'a CallClips, format: AudioFormat) -> Self {
        let format = if providers.voice.speaks(format) { format } else { AudioFormat::TELEPHONE };
        let language = providers.resolved.transcriber.language().to_owned();
        Self {
            voice: providers.voice.open(&CallContext { format, language }),
            provider: providers.resolved.voice.provider(),
            clips,
            running: SelectAll::new(),
            format,
            awaited: BTreeSet::new(),
            audio: OutgoingAudio::new(format),
            was_delayed: false,
        }
    }

    /// The format of its audio.
    pub(super) fn format(&self) -> AudioFormat {
        self.format
    }

    /// Starts a clause. A clip is complete at once.
    pub(super) fn synthesize(&mut self, clause: ClauseId, text: &str, inputs: &mut VecDeque<Input>) {
        if let Some(audio) = self.clips.get(text) {
            let audio = self.audio.add(clause, audio);
            let trailing_silence = self.audio.trailing_silence(clause);
            inputs.extend([
                Input::VoiceAudio { clause, audio },
                Input::VoiceFinished { clause, trailing_silence },
            ]);
            return;
        }
        let mut spoken = SpokenText::new(text);
        let events = self.voice.synthesize(text).filter_map(move |event| {
            future::ready(match event {
                Ok(SpeechEvent::Audio(audio)) => Some((clause, ClauseEvent::Audio(audio))),
                Ok(SpeechEvent::Characters { count, .. }) => Some((clause, ClauseEvent::Characters(count))),
                Ok(SpeechEvent::Words(words)) => Some((clause, ClauseEvent::Words(spoken.place(&words)))),
                Ok(SpeechEvent::Delayed) => Some((clause, ClauseEvent::Delayed)),
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
                let audio = self.audio.add(clause, &audio);
                Some(Input::VoiceAudio { clause, audio })
            }
            ClauseEvent::Words(words) => Some(Input::VoiceWords { clause, words }),
            ClauseEvent::Delayed => {
                if !std::mem::replace(&mut self.was_delayed, true) {
                    faults.record(ProviderRole::Synthesizer, "too many requests at once, so words come late");
                }
                Some(Input::VoiceDelayed { clause })
            }
            ClauseEvent::Finished => {
                self.awaited.remove(&clause);
                let trailing_silence = self.audio.trailing_silence(clause);
                Some(Input::VoiceFinished { clause, trailing_silence })
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

    /// The engine gave up on the clause it waited for. It waits for clauses in their order, so this is the first one. A
    /// later failure of the clause is not recorded as another fault.
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
    pub(super) fn take(&mut self, clause: ClauseId, audio: Duration) -> &[u8] {
        self.audio.take(clause, audio)
    }

    /// Puts the last audio that was taken back: it is sent again.
    pub(super) fn rewind(&mut self, clause: ClauseId, audio: Duration) {
        self.audio.rewind(clause, audio);
    }
}

/// A clause's text, and the end of the words that were placed in it.
struct SpokenText {
    text: String,
    placed: usize,
}

impl SpokenText {
    fn new(text: &str) -> Self {
        Self { text: text.to_owned(), placed: 0 }
    }

    /// Finds words in the text, each behind the one before. A word that the synthesizer writes differently is left out.
    fn place(&mut self, words: &[synthesizer::WordTime]) -> Vec<PlacedWord> {
        let place = |word: &synthesizer::WordTime| {
            let index = self.text[self.placed..].find(&word.word)?;
            self.placed += index + word.word.len();
            let text_end = u32::try_from(self.placed).ok()?;
            Some(PlacedWord { text_end, starts: word.start, ends: word.end })
        };
        words.iter().filter_map(place).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_placed_in_the_text_in_their_order() {
        let word = |word: &str, ms| synthesizer::WordTime {
            word: word.into(),
            start: Duration::from_millis(ms),
            end: Duration::from_millis(ms + 100),
        };
        let mut spoken = SpokenText::new("At six, at six.");
        let first = spoken.place(&[word("At", 0), word("six", 200), word("six o'clock", 300)]);
        assert_eq!(first.iter().map(|word| word.text_end).collect::<Vec<_>>(), [2, 6]);
        let second = spoken.place(&[word("at", 400), word("six.", 600)]);
        assert_eq!(second.iter().map(|word| word.text_end).collect::<Vec<_>>(), [10, 15]);
        assert_eq!(
            (second[1].starts, second[1].ends),
            (Duration::from_millis(600), Duration::from_millis(700))
        );
    }
}
