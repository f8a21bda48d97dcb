//! The agent's audio between the voice and the carrier, by clause.
//!
//! Clauses are synthesized at the same time and may be sent again, so they neither arrive nor leave in the order of their
//! numbers. Audio that was sent is kept for a while, because a false interruption sends it again.

use std::collections::BTreeMap;

use switchboard_dialogue::ClauseId;
use switchboard_model::recording;

/// Sent audio that is kept for a rewind, in bytes: 2 s, twice the 400 ms that are sent ahead and the longest word.
const KEPT: usize = 16_000;
/// Amplitude below any speech: -46 dB of full scale.
const QUIET: u16 = 164;

/// The audio of all clauses that are not forgotten.
#[derive(Debug, Default)]
pub(crate) struct OutgoingAudio {
    clauses: BTreeMap<ClauseId, Track>,
}

#[derive(Debug, Default)]
struct Track {
    audio: Vec<u8>,
    sent: usize,
}

impl OutgoingAudio {
    /// Appends audio to a clause.
    pub(crate) fn add(&mut self, clause: ClauseId, audio: &[u8]) {
        self.clauses.entry(clause).or_default().audio.extend_from_slice(audio);
    }

    /// The silence at the end of a clause, in bytes.
    pub(crate) fn silence(&self, clause: ClauseId) -> usize {
        let audio = self.clauses.get(&clause).map_or(&[][..], |track| &track.audio);
        let is_quiet = |byte: &&u8| recording::decode(**byte).unsigned_abs() < QUIET;
        audio.iter().rev().take_while(is_quiet).count()
    }

    /// Takes the next audio of a clause to send it: `bytes`, or less if there is no more.
    pub(crate) fn take(&mut self, clause: ClauseId, bytes: usize) -> &[u8] {
        self.forget_before(clause);
        let Some(track) = self.clauses.get_mut(&clause) else { return &[] };
        let start = track.sent;
        track.sent = track.audio.len().min(start.saturating_add(bytes));
        &track.audio[start..track.sent]
    }

    /// Puts the last `bytes` that were taken of a clause back.
    pub(crate) fn rewind(&mut self, clause: ClauseId, bytes: usize) {
        if let Some(track) = self.clauses.get_mut(&clause) {
            track.sent = track.sent.saturating_sub(bytes);
        }
    }

    /// Drops all audio.
    pub(crate) fn clear(&mut self) {
        self.clauses.clear();
    }

    /// Drops the clauses that were sent completely, once enough audio was sent after them.
    fn forget_before(&mut self, clause: ClauseId) {
        let mut kept = 0;
        let is_old = |other: &ClauseId, track: &Track| *other != clause && track.sent == track.audio.len();
        let old: Vec<_> = self
            .clauses
            .iter()
            .rev()
            .filter(|(other, track)| {
                kept += track.sent;
                is_old(other, track) && kept - track.sent >= KEPT
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
    use super::*;

    #[test]
    fn a_rewind_sends_audio_again() {
        let mut outgoing = OutgoingAudio::default();
        outgoing.add(ClauseId(0), &[1, 2, 3, 4]);
        assert_eq!(outgoing.take(ClauseId(0), 3), [1, 2, 3]);
        outgoing.rewind(ClauseId(0), 2);
        outgoing.add(ClauseId(0), &[5]);
        assert_eq!(outgoing.take(ClauseId(0), 9), [2, 3, 4, 5]);
        assert_eq!(outgoing.take(ClauseId(0), 1), [0; 0]);
        assert_eq!(outgoing.take(ClauseId(7), 1), [0; 0]);
        outgoing.rewind(ClauseId(7), 1);
    }

    #[test]
    fn silence_is_measured_at_the_end_of_a_clause() {
        let mut outgoing = OutgoingAudio::default();
        outgoing.add(ClauseId(0), &[0xFF, 0x90, 0xFF, 0x90, 0xFF]);
        outgoing.add(ClauseId(0), &[0x7E, 0xFF]);
        assert_eq!(outgoing.silence(ClauseId(0)), 3);
        assert_eq!(outgoing.silence(ClauseId(1)), 0);
    }

    #[test]
    fn audio_beyond_a_rewind_is_dropped() {
        let mut outgoing = OutgoingAudio::default();
        for clause in 0..10 {
            outgoing.add(ClauseId(clause), &[0; 10_000]);
            assert_eq!(outgoing.take(ClauseId(clause), 10_000).len(), 10_000);
        }
        assert!(outgoing.clauses.len() <= 3, "{:?}", outgoing.clauses.keys());
    }
}
