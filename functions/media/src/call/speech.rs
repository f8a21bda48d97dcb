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
use switchboard_model::{catalogue::StandIn, costs::Usage};
use switchboard_providers::{
    Error,
    audio::AudioFormat,
    stand_in_report::StandInReport,
    synthesizer::{self, SpeechEvent, VoiceSession},
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
    /// Characters that a provider bills, and whether they are counted here.
    Characters {
        count: u64,
        estimated: bool,
        by: Option<StandIn>,
    },
    /// Another provider speaks the clause.
    Fallback(StandInReport),
    /// When words are audible, from synthesizers that report it.
    Words(Vec<PlacedWord>),
    /// The clause waits for its turn at the synthesizer.
    Delayed,
    /// The clause waits for another one.
    Queued,
    /// The last one, also after an error.
    Finished,
    Failed(Error),
}

type ClauseEvents = Pin<Box<dyn Stream<Item = (ClauseId, ClauseEvent)> + Send>>;

/// Synthesizes clauses. A clause that has a clip is not synthesized again.
pub(super) struct ClauseSynthesis<'a> {
    voice: Box<dyn VoiceSession>,
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
    /// Opens the voice's session of a call with audio of this format.
    pub(super) fn new(providers: &CallProviders, clips: &'a CallClips, format: AudioFormat) -> Self {
        let context = providers.voice_context(format);
        let format = context.format;
        Self {
            voice: providers.voice.open(&context),
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
        let (mut spoken, mut by) = (SpokenText::new(text), None);
        let events = self.voice.synthesize(text).filter_map(move |event| {
            future::ready(match event {
                Ok(SpeechEvent::Audio(audio)) => Some((clause, ClauseEvent::Audio(audio))),
                Ok(SpeechEvent::Characters { count, estimated }) => {
                    let by: Option<StandIn> = by.clone();
                    Some((clause, ClauseEvent::Characters { count, estimated, by }))
                }
                Ok(SpeechEvent::Fallback(fallback)) => {
                    by.clone_from(&fallback.stand_in);
                    Some((clause, ClauseEvent::Fallback(fallback)))
                }
                Ok(SpeechEvent::Words(words)) => Some((clause, ClauseEvent::Words(spoken.place(&words)))),
                Ok(SpeechEvent::Delayed) => Some((clause, ClauseEvent::Delayed)),
                Ok(SpeechEvent::Queued) => Some((clause, ClauseEvent::Queued)),
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
            ClauseEvent::Characters { count, estimated, by } => {
                let usage = usage.of(by.as_ref());
                usage.characters += count;
                usage.characters_estimated |= estimated;
                None
            }
            ClauseEvent::Fallback(fallback) => {
                let has_failed = !fallback.failed.is_empty();
                faults.record_fallback(ProviderRole::Synthesizer, &fallback);
                // The next provider has its own time.
                has_failed.then_some(Input::VoiceDelayed { clause })
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
            ClauseEvent::Queued => Some(Input::VoiceDelayed { clause }),
            ClauseEvent::Finished => {
                self.awaited.remove(&clause);
                let trailing_silence = self.audio.trailing_silence(clause);
                Some(Input::VoiceFinished { clause, trailing_silence })
            }
            ClauseEvent::Failed(error) => {
                let provider = faults.provider(ProviderRole::Synthesizer);
                tracing::warn!(provider, error = fault(&error), "synthesis failed");
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

/// Whether a character continues a word that it stands beside: a letter or a digit of a script that separates words.
fn joins(c: char) -> bool {
    c.is_alphanumeric() && c < '\u{e00}'
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
    /// Punctuation belongs to the word before it.
    fn place(&mut self, words: &[synthesizer::WordTime]) -> Vec<PlacedWord> {
        let place = |word: &synthesizer::WordTime| {
            let rest = &self.text[self.placed..];
            let (index, _) = rest.match_indices(&word.word).find(|(index, _)| {
                let (before, behind) = (&rest[..*index], &rest[index + word.word.len()..]);
                !before.ends_with(joins) && !behind.starts_with(joins)
            })?;
            let behind = &rest[index + word.word.len()..];
            let punctuation = behind.find(|c: char| c.is_whitespace() || c.is_alphanumeric());
            self.placed += index + word.word.len() + punctuation.unwrap_or(behind.len());
            let text_end = u32::try_from(self.placed).ok()?;
            Some(PlacedWord { text_end, starts: word.start, ends: word.end })
        };
        words.iter().filter(|word| !word.word.is_empty()).filter_map(place).collect()
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
        assert_eq!(first.iter().map(|word| word.text_end).collect::<Vec<_>>(), [2, 7], "with the comma");
        let second = spoken.place(&[word("at", 400), word("six.", 600)]);
        assert_eq!(second.iter().map(|word| word.text_end).collect::<Vec<_>>(), [10, 15]);
        assert_eq!(
            (second[1].starts, second[1].ends),
            (Duration::from_millis(600), Duration::from_millis(700))
        );
    }

    #[test]
    fn a_word_is_not_found_within_another_one() {
        let word = |word: &str| synthesizer::WordTime {
            word: word.into(),
            start: Duration::ZERO,
            end: Duration::from_millis(100),
        };
        let ends = |text: &str, words: &[&str]| {
            let words: Vec<_> = words.iter().map(|text| word(text)).collect();
            SpokenText::new(text).place(&words).iter().map(|word| word.text_end).collect::<Vec<_>>()
        };
        assert_eq!(ends("That category, a cat.", &["a", "cat"]), [16, 21]);
        assert_eq!(ends("\u{4f60}\u{597d}\u{3002}", &["\u{4f60}", "\u{597d}"]), [3, 9]);
        assert_eq!(ends("Hello there", &["", "there"]), [11]);
    }
}
