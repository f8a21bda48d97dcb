//! The agent's audio between the synthesizer and the carrier, by clause.
//!
//! Clauses are synthesized at the same time and may be sent again, so they neither arrive nor leave in the order of
//! their numbers. The engine counts time and this module converts it to bytes. Audio that was sent is kept for a while,
//! because the agent sends it again after a false interruption.

use std::{collections::BTreeMap, time::Duration};

use switchboard_dialogue::ClauseId;
use switchboard_providers::audio::AudioFormat;

use crate::samples::samples;

/// Length of sent audio that is kept for a rewind: twice the 400 ms that are sent ahead and the longest word.
const KEPT: Duration = Duration::from_secs(2);
/// Amplitude below any speech: -46 dB of full scale.
const QUIET: u16 = 164;

/// The audio of all clauses that are not forgotten.
#[derive(Debug)]
pub(crate) struct OutgoingAudio {
    format: AudioFormat,
    clauses: BTreeMap<ClauseId, ClauseAudio>,
}

/// Audio of one clause, in bytes.
#[derive(Debug, Default)]
struct ClauseAudio {
    audio: Vec<u8>,
    sent: usize,
}

impl OutgoingAudio {
    /// For audio of this format.
    pub(crate) fn new(format: AudioFormat) -> Self {
        Self { format, clauses: BTreeMap::new() }
    }

    /// Appends audio to a clause. Returns the length of this audio.
    pub(crate) fn add(&mut self, clause: ClauseId, audio: &[u8]) -> Duration {
        self.clauses.entry(clause).or_default().audio.extend_from_slice(audio);
        self.format.duration_of(audio.len() as u64)
    }

    /// Length of the silence at the end of a clause.
    pub(crate) fn trailing_silence(&self, clause: ClauseId) -> Duration {
        let audio = self.clauses.get(&clause).map_or(&[][..], |clause| &clause.audio);
        let is_quiet = |sample: &i16| sample.unsigned_abs() < QUIET;
        let count = samples(self.format, audio).rev().take_while(is_quiet).count() as u64;
        self.format.duration_of(count * self.format.encoding.bytes_per_sample())
    }

    /// Takes the next audio of a clause to send it: as much as `length`, or less if there is no more.
    pub(crate) fn take(&mut self, clause: ClauseId, length: Duration) -> &[u8] {
        self.forget_before(clause);
        let bytes = self.bytes_in(length);
        let Some(clause) = self.clauses.get_mut(&clause) else { return &[] };
        let start = clause.sent;
        clause.sent = clause.audio.len().min(start.saturating_add(bytes));
        &clause.audio[start..clause.sent]
    }

    /// Puts the last audio that was taken of a clause back.
    pub(crate) fn rewind(&mut self, clause: ClauseId, length: Duration) {
        let bytes = self.bytes_in(length);
        if let Some(clause) = self.clauses.get_mut(&clause) {
            clause.sent = clause.sent.saturating_sub(bytes);
        }
    }

    fn bytes_in(&self, length: Duration) -> usize {
        usize::try_from(self.format.bytes_in(length)).unwrap_or(usize::MAX)
    }

    /// Drops all audio.
    pub(crate) fn clear(&mut self) {
        self.clauses.clear();
    }

    /// Drops the clauses that were sent completely, once enough audio was sent after them.
    fn forget_before(&mut self, clause: ClauseId) {
        let (mut kept, limit) = (0, self.bytes_in(KEPT));
        let is_old =
            |other: &ClauseId, audio: &ClauseAudio| *other != clause && audio.sent == audio.audio.len();
        let old: Vec<_> = self
            .clauses
            .iter()
            .rev()
            .filter(|(other, audio)| {
                kept += audio.sent;
                is_old(other, audio) && kept - audio.sent >= limit
            })
            .map(|(other, _)| *other)
            .collect();
        for clause in old {
            self.clauses.remove(&clause);
        }
    }
}

#[cfg(test)]
mod tests {
    use switchboard_providers::audio::Encoding;

    use super::*;

    const FORMAT: AudioFormat = AudioFormat::TELEPHONE;

    fn bytes(count: u64) -> Duration {
        FORMAT.duration_of(count)
    }

    #[test]
    fn a_rewind_sends_audio_again() {
        let mut outgoing = OutgoingAudio::new(FORMAT);
        assert_eq!(outgoing.add(ClauseId(0), &[1, 2, 3, 4]), bytes(4));
        assert_eq!(outgoing.take(ClauseId(0), bytes(3)), [1, 2, 3]);
        outgoing.rewind(ClauseId(0), bytes(2));
        outgoing.add(ClauseId(0), &[5]);
        assert_eq!(outgoing.take(ClauseId(0), bytes(9)), [2, 3, 4, 5]);
        assert_eq!(outgoing.take(ClauseId(0), bytes(1)), [0; 0]);
        assert_eq!(outgoing.take(ClauseId(7), bytes(1)), [0; 0]);
        outgoing.rewind(ClauseId(7), bytes(1));
    }

    #[test]
    fn silence_is_measured_at_the_end_of_a_clause() {
        let mut outgoing = OutgoingAudio::new(FORMAT);
        outgoing.add(ClauseId(0), &[0xFF, 0x90, 0xFF, 0x90, 0xFF]);
        outgoing.add(ClauseId(0), &[0x7E, 0xFF]);
        assert_eq!(outgoing.trailing_silence(ClauseId(0)), bytes(3));
        assert_eq!(outgoing.trailing_silence(ClauseId(1)), Duration::ZERO);
    }

    #[test]
    fn wideband_audio_is_counted_in_its_own_samples() {
        let format = AudioFormat { encoding: Encoding::Pcm16, sample_rate: 16_000 };
        let mut outgoing = OutgoingAudio::new(format);
        let sample = Duration::from_nanos(62_500);
        assert_eq!(outgoing.add(ClauseId(0), &[0, 0x40, 1, 0, 0xFF, 0xFF]), 3 * sample);
        assert_eq!(outgoing.trailing_silence(ClauseId(0)), 2 * sample);
        assert_eq!(outgoing.take(ClauseId(0), 2 * sample), [0, 0x40, 1, 0]);
        outgoing.rewind(ClauseId(0), sample);
        assert_eq!(outgoing.take(ClauseId(0), sample), [1, 0]);
    }

    #[test]
    fn audio_beyond_a_rewind_is_dropped() {
        let mut outgoing = OutgoingAudio::new(FORMAT);
        for clause in 0..10 {
            let length = outgoing.add(ClauseId(clause), &[0; 10_000]);
            assert_eq!(outgoing.take(ClauseId(clause), length).len(), 10_000);
        }
        assert!(outgoing.clauses.len() <= 3, "{:?}", outgoing.clauses.keys());
    }
}
