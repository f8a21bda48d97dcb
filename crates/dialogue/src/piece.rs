//! One clause on its way from the text to the ear.

use std::time::Duration;

use super::{CallTime, ClauseId};

/// Telephone audio: 8,000 bytes a second.
pub(super) const MICROS_PER_BYTE: u64 = 125;
/// 20 ms.
pub(super) const FRAME_BYTES: u64 = 160;
/// A mark that is not back this long after its audio should have been played never comes.
pub(super) const MARK_LOST: Duration = Duration::from_secs(2);
/// About 15 characters a second: how long a clause will be while its audio is not complete.
const BYTES_PER_CHARACTER: u64 = 530;

/// A clause on its way.
#[derive(Default)]
pub(super) struct Piece {
    pub(super) text: String,
    pub(super) stage: Stage,
    pub(super) asked_at: CallTime,
    pub(super) failed_once: bool,
    /// Bytes the voice delivered.
    pub(super) received: u64,
    /// How many of the last of them are the pause behind the words.
    pub(super) silence: u64,
    pub(super) first_audio_at: CallTime,
    pub(super) last_audio_at: CallTime,
    pub(super) sent: u64,
    pub(super) plays_until: CallTime,
    pub(super) mark: Option<u32>,
    pub(super) marked_at: Option<CallTime>,
}

/// What the voice does with a clause.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Stage {
    /// It was not asked yet.
    #[default]
    Waiting,
    /// It was asked; audio may come.
    AtVoice(ClauseId),
    /// It delivered everything.
    Spoken(ClauseId),
    /// It broke off after some audio.
    CutShort(ClauseId),
    /// It could not speak it.
    Dropped,
}

impl Piece {
    pub(super) fn new(text: String) -> Self {
        Self { text, ..Self::default() }
    }

    /// Its number, if audio of it may be sent.
    pub(super) fn clause(&self) -> Option<ClauseId> {
        match self.stage {
            Stage::AtVoice(clause) | Stage::Spoken(clause) | Stage::CutShort(clause) => Some(clause),
            Stage::Waiting | Stage::Dropped => None,
        }
    }

    /// Whether the voice has delivered what it will deliver.
    fn is_complete(&self) -> bool {
        matches!(self.stage, Stage::Spoken(_) | Stage::CutShort(_))
    }

    /// Whether it was asked for, and nothing of it was sent yet.
    pub(super) fn is_ahead(&self) -> bool {
        self.clause().is_some() && self.sent == 0
    }

    /// Whether all of it was sent.
    pub(super) fn is_sent(&self) -> bool {
        self.is_complete() && self.sent == self.received
    }

    /// How many bytes can be sent if they may play for so long: whole frames, but for its end.
    pub(super) fn sendable(&self, room: Duration) -> u64 {
        let room = u64::try_from(room.as_micros()).unwrap_or(u64::MAX) / MICROS_PER_BYTE;
        let available = self.received - self.sent;
        if self.is_complete() && available <= room {
            available
        } else {
            available.min(room) / FRAME_BYTES * FRAME_BYTES
        }
    }

    /// When it is sure that all of it was played, as far as is known now; it was sent.
    pub(super) fn over_at(&self) -> CallTime {
        let wait = if self.marked_at.is_some() { Duration::ZERO } else { MARK_LOST };
        self.plays_until + wait
    }

    /// Whether nothing more is to be done for it.
    pub(super) fn is_over(&self, at: CallTime) -> bool {
        self.stage == Stage::Dropped || (self.is_sent() && self.over_at() <= at)
    }

    /// How many characters it has, and how many bytes of audio they take, as far as is known now.
    fn extent(&self) -> (u64, u64) {
        let characters = self.text.chars().count() as u64;
        let estimate = characters * BYTES_PER_CHARACTER;
        let is_whole = matches!(self.stage, Stage::Spoken(_));
        (characters, if is_whole { self.received - self.silence } else { self.received.max(estimate) })
    }

    /// Where in its audio the word ends that is being said at `bytes`; there, between two words.
    pub(super) fn word_end(&self, bytes: u64) -> u64 {
        let (characters, total) = self.extent();
        if bytes == 0 || bytes >= total || characters == 0 {
            return bytes;
        }
        // Where the character with this number begins.
        let place = |length: usize| {
            let place = (length as u128 * u128::from(total)).div_ceil(u128::from(characters));
            u64::try_from(place).unwrap_or(u64::MAX)
        };
        let spaces = self.text.chars().enumerate().filter(|(_, c)| c.is_whitespace());
        let next = spaces.map(|(length, _)| length).find(|length| place(length + 1) >= bytes);
        next.map_or(total, place).max(bytes)
    }

    /// Where in its audio the word begins that is being said at `bytes`; there, between two words.
    pub(super) fn word_start(&self, bytes: u64) -> u64 {
        let words = self.words(bytes).chars().count() as u64;
        let (characters, total) = self.extent();
        if words == 0 || characters == 0 {
            return 0;
        }
        // Behind the space; in whole frames, as they were sent.
        let start = u128::from(words + 1) * u128::from(total) / u128::from(characters);
        (u64::try_from(start).unwrap_or(u64::MAX) / FRAME_BYTES * FRAME_BYTES).min(bytes)
    }

    /// The words that end within so many bytes of its audio.
    pub(super) fn words(&self, bytes: u64) -> &str {
        let (characters, total) = self.extent();
        if bytes >= total {
            return if bytes == 0 { "" } else { &self.text };
        }
        let heard = u128::from(characters) * u128::from(bytes) / u128::from(total.max(1));
        let mut end = 0;
        for (length, (index, c)) in self.text.char_indices().enumerate() {
            if length as u128 > heard {
                break;
            }
            if c.is_whitespace() {
                end = index;
            }
        }
        &self.text[..end]
    }
}

/// How long so many bytes play.
pub(super) fn playing_time(bytes: u64) -> Duration {
    Duration::from_micros(bytes.saturating_mul(MICROS_PER_BYTE))
}
