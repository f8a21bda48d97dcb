//! One clause, from its text to the end of its audio.
//!
//! A clause counts the audio that the synthesizer delivered and the audio that was sent to the carrier. It knows the
//! words in a length of its audio: by the synthesizer's word times, otherwise in proportion to characters.

use std::time::Duration;

use crate::{
    call_time::{CallTime, FRAME, micros, share, whole_frames},
    types::{ClauseId, PlacedWord},
};

/// A mark that has not returned this long after the end of its audio is lost.
const MARK_LOST_AFTER: Duration = Duration::from_secs(2);
/// Estimated length of speech per character, while a clause's audio is not complete: about 15 characters a second.
const PER_CHARACTER: Duration = Duration::from_micros(66_250);

/// A clause and its audio.
#[derive(Debug, Default)]
pub(super) struct Clause {
    pub(super) text: String,
    pub(super) stage: Stage,
    pub(super) requested_at: CallTime,
    pub(super) failed_once: bool,
    /// Audio that the synthesizer delivered.
    pub(super) received: Duration,
    /// The part at its end that is silence.
    pub(super) trailing_silence: Duration,
    pub(super) first_audio_at: CallTime,
    pub(super) last_audio_at: CallTime,
    /// Audio that was sent to the carrier.
    pub(super) sent: Duration,
    /// When the audio that was sent will have been played.
    pub(super) plays_until: CallTime,
    pub(super) mark: Option<u32>,
    pub(super) marked_at: Option<CallTime>,
    /// When its words are audible, as far as the synthesizer has reported; in the order of the text.
    word_times: Vec<PlacedWord>,
}

/// The state of a clause at the synthesizer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Stage {
    /// Not requested yet.
    #[default]
    Waiting,
    /// Requested; audio may arrive.
    Requested(ClauseId),
    /// All audio was delivered.
    Complete(ClauseId),
    /// Synthesis failed after some audio.
    CutShort(ClauseId),
    /// Synthesis failed without audio, or the clause is not to be said any more.
    Dropped,
}

impl Clause {
    pub(super) fn new(text: String) -> Self {
        Self { text, ..Self::default() }
    }

    /// A clause that is dropped at its first failure.
    pub(super) fn without_retry(text: String) -> Self {
        Self { failed_once: true, ..Self::new(text) }
    }

    /// Its number, if audio of it may be sent.
    pub(super) fn id(&self) -> Option<ClauseId> {
        match self.stage {
            Stage::Requested(id) | Stage::Complete(id) | Stage::CutShort(id) => Some(id),
            Stage::Waiting | Stage::Dropped => None,
        }
    }

    /// Whether the synthesizer has delivered all that it will deliver.
    fn is_complete(&self) -> bool {
        matches!(self.stage, Stage::Complete(_) | Stage::CutShort(_))
    }

    /// Whether it was requested, and nothing of it was sent.
    pub(super) fn is_ahead(&self) -> bool {
        self.id().is_some() && self.sent.is_zero()
    }

    /// Whether all of it was sent.
    pub(super) fn is_sent(&self) -> bool {
        self.is_complete() && self.sent == self.received
    }

    /// How much audio can be sent if `room` is left: whole frames, except at its end.
    pub(super) fn sendable(&self, room: Duration) -> Duration {
        let available = self.received.saturating_sub(self.sent);
        if self.is_complete() && available <= room { available } else { whole_frames(available.min(room)) }
    }

    /// When it counts as played: after its audio if the mark is back, otherwise once the mark counts as lost. For
    /// clauses that were sent completely.
    pub(super) fn over_at(&self) -> CallTime {
        let wait = if self.marked_at.is_some() { Duration::ZERO } else { MARK_LOST_AFTER };
        self.plays_until + wait
    }

    /// Whether it was dropped, or counts as played.
    pub(super) fn is_over(&self, at: CallTime) -> bool {
        self.stage == Stage::Dropped || (self.is_sent() && self.over_at() <= at)
    }

    /// Whether it can no longer change: it was dropped, or its mark has returned and all of it was played.
    pub(super) fn is_settled(&self, at: CallTime) -> bool {
        let is_marked = self.mark.is_some() && self.marked_at.is_some();
        self.stage == Stage::Dropped || (is_marked && self.is_over(at))
    }

    /// Adds word times of the synthesizer. Entries that do not fit the text or the order are left out.
    pub(super) fn add_word_times(&mut self, words: Vec<PlacedWord>) {
        for word in words {
            let (text_end, ends) =
                self.word_times.last().map_or((0, Duration::ZERO), |last| (last.text_end, last.ends));
            let is_in_order = word.text_end > text_end && word.starts >= ends && word.ends >= word.starts;
            if is_in_order && self.text.is_char_boundary(word.text_end as usize) {
                self.word_times.push(word);
            }
        }
    }

    /// Its number of characters, and the length of their audio; an estimate until all audio was delivered.
    fn extent(&self) -> (u64, Duration) {
        let characters = self.text.chars().count() as u64;
        let audio = if matches!(self.stage, Stage::Complete(_)) {
            self.received.saturating_sub(self.trailing_silence)
        } else {
            let estimate = PER_CHARACTER.saturating_mul(u32::try_from(characters).unwrap_or(u32::MAX));
            self.received.max(estimate)
        };
        (characters, audio)
    }

    /// The estimate for what follows the words whose times are known: from there on, words are taken to be as long
    /// as they have characters.
    fn estimate(&self) -> Estimate {
        let (characters, audio) = self.extent();
        let known = self.word_times.last();
        let text_end = known.map_or(0, |word| word.text_end as usize);
        let known_characters = self.text[..text_end].chars().count() as u64;
        let known_audio = known.map_or(Duration::ZERO, |word| word.ends);
        Estimate {
            text_end,
            characters: known_characters,
            audio: known_audio,
            rest_characters: characters - known_characters,
            rest_audio: audio.saturating_sub(known_audio),
        }
    }

    /// The word times up to `played`, and the one after them.
    fn word_times_at(&self, played: Duration) -> (&[PlacedWord], Option<&PlacedWord>) {
        let ended = self.word_times.partition_point(|word| word.ends <= played);
        (&self.word_times[..ended], self.word_times.get(ended))
    }

    /// Where in its audio the word ends that is audible at `played`; there, between two words.
    pub(super) fn word_end(&self, played: Duration) -> Duration {
        let (characters, audio) = self.extent();
        if played.is_zero() || played >= audio || characters == 0 {
            return played;
        }
        match self.word_times_at(played) {
            (ended, _) if ended.last().is_some_and(|word| word.ends == played) => played,
            (_, Some(word)) => word.ends.max(played),
            (_, None) => {
                let estimate = self.estimate();
                let spaces = self.text.chars().enumerate().filter(|(_, c)| c.is_whitespace());
                let mut ends =
                    spaces.map(|(index, _)| index as u64).skip_while(|index| *index < estimate.characters);
                let next = ends.find(|index| estimate.begins(index + 1) >= played);
                next.map_or(audio, |index| estimate.begins(index)).max(played)
            }
        }
    }

    /// Where in its audio the word begins that is audible at `played`; there, between two words. In whole frames,
    /// as it was sent.
    pub(super) fn word_start(&self, played: Duration) -> Duration {
        let heard = self.words(played);
        let (characters, _) = self.extent();
        if heard.is_empty() || characters == 0 {
            return Duration::ZERO;
        }
        let (ended, next) = self.word_times_at(played);
        // Without a time, behind the space.
        let start = next.map_or_else(
            || self.estimate().begins_exactly(heard.chars().count() as u64 + 1),
            |word| word.starts,
        );
        let (start, heard_until) =
            (whole_frames(start), ended.last().map_or(Duration::ZERO, |word| word.ends));
        // The frame may begin within the word before, which was heard already.
        let start = if start < heard_until { start + FRAME } else { start };
        start.min(played)
    }

    /// The words that end within so much of its audio. A synthesizer that times words times each one before its audio:
    /// a word without a time may be estimated only once all times are here.
    pub(super) fn words(&self, played: Duration) -> &str {
        let is_timed = !self.word_times.is_empty();
        if is_timed && !matches!(self.stage, Stage::Complete(_)) {
            let (ended, _) = self.word_times_at(played);
            return &self.text[..ended.last().map_or(0, |word| word.text_end as usize)];
        }
        let (_, audio) = self.extent();
        if played >= audio {
            return if played.is_zero() { "" } else { &self.text };
        }
        if let (ended, Some(_)) = self.word_times_at(played) {
            return &self.text[..ended.last().map_or(0, |word| word.text_end as usize)];
        }
        let estimate = self.estimate();
        let heard = estimate.characters_at(played);
        let mut end = estimate.text_end;
        for (length, (index, c)) in self.text.char_indices().enumerate() {
            if length as u64 > heard {
                break;
            }
            if c.is_whitespace() {
                end = end.max(index);
            }
        }
        &self.text[..end]
    }
}

/// A part of a clause whose words are placed in proportion to their characters.
struct Estimate {
    /// Where it begins in the text, in bytes.
    text_end: usize,
    /// Where it begins in the text, in characters.
    characters: u64,
    /// Where it begins in the audio.
    audio: Duration,
    rest_characters: u64,
    rest_audio: Duration,
}

impl Estimate {
    /// Where in the audio the character with this number begins, rounded up to what an audio format can express.
    fn begins(&self, character: u64) -> Duration {
        self.audio + share(self.rest_audio, character - self.characters, self.rest_characters.max(1))
    }

    /// The same, rounded down to microseconds.
    fn begins_exactly(&self, character: u64) -> Duration {
        let part = u128::from(character.saturating_sub(self.characters));
        let offset = part * self.rest_audio.as_micros() / u128::from(self.rest_characters.max(1));
        self.audio + Duration::from_micros(u64::try_from(offset).unwrap_or(u64::MAX))
    }

    /// How many characters of the clause end within so much of its audio.
    fn characters_at(&self, played: Duration) -> u64 {
        let audio = u128::from(micros(self.rest_audio).max(1));
        let part = played.saturating_sub(self.audio).as_micros();
        let heard = u128::from(self.rest_characters) * part / audio;
        self.characters + u64::try_from(heard).unwrap_or(u64::MAX)
    }
}
