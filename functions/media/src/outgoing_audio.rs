//! The agent's audio on its way to the carrier, by clause.
//!
//! Clauses are spoken at the same time and may be asked for again, so they neither come nor are sent in
//! the order of their numbers. What was sent is kept for a while, since it may be taken back.

use std::collections::BTreeMap;

use switchboard_dialogue::ClauseId;
use switchboard_model::recording;

/// How much of what was sent is kept, in bytes: what is sent ahead (400 ms) and the longest word, twice.
const KEPT: usize = 16_000;
/// Quieter than any speech: -46 dB of full scale.
const QUIET: u16 = 164;

/// Audio the voice delivered.
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
    /// More audio of a clause.
    pub(crate) fn add(&mut self, clause: ClauseId, audio: &[u8]) {
        self.clauses.entry(clause).or_default().audio.extend_from_slice(audio);
    }

    /// How many of the last bytes of a clause are silence.
    pub(crate) fn silence(&self, clause: ClauseId) -> u32 {
        let audio = self.clauses.get(&clause).map_or(&[][..], |track| &track.audio);
        let is_quiet = |byte: &&u8| recording::decode(**byte).unsigned_abs() < QUIET;
        u32::try_from(audio.iter().rev().take_while(is_quiet).count()).unwrap_or(u32::MAX)
    }

    /// The next bytes of a clause; fewer if there are no more.
    pub(crate) fn take(&mut self, clause: ClauseId, bytes: u32) -> &[u8] {
        self.forget_before(clause);
        let Some(track) = self.clauses.get_mut(&clause) else { return &[] };
        let start = track.sent;
        track.sent = track.audio.len().min(start.saturating_add(bytes as usize));
        &track.audio[start..track.sent]
    }

    /// The last bytes that were taken of a clause come again.
    pub(crate) fn take_back(&mut self, clause: ClauseId, bytes: u32) {
        if let Some(track) = self.clauses.get_mut(&clause) {
            track.sent = track.sent.saturating_sub(bytes as usize);
        }
    }

    /// Nothing of it is wanted any more.
    pub(crate) fn clear(&mut self) {
        self.clauses.clear();
    }

    /// Lets go of clauses that were sent wholly, once enough was sent after them.
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
    fn what_was_taken_can_be_taken_back_and_comes_again() {
        let mut outgoing = OutgoingAudio::default();
        outgoing.add(ClauseId(0), &[1, 2, 3, 4]);
        assert_eq!(outgoing.take(ClauseId(0), 3), [1, 2, 3]);
        outgoing.take_back(ClauseId(0), 2);
        outgoing.add(ClauseId(0), &[5]);
        assert_eq!(outgoing.take(ClauseId(0), 9), [2, 3, 4, 5]);
        assert_eq!(outgoing.take(ClauseId(0), 1), [0; 0]);
        assert_eq!(outgoing.take(ClauseId(7), 1), [0; 0]);
        outgoing.take_back(ClauseId(7), 1);
    }

    #[test]
    fn the_pause_behind_the_words_is_told_from_them() {
        let mut outgoing = OutgoingAudio::default();
        outgoing.add(ClauseId(0), &[0xFF, 0x90, 0xFF, 0x90, 0xFF]);
        outgoing.add(ClauseId(0), &[0x7E, 0xFF]);
        assert_eq!(outgoing.silence(ClauseId(0)), 3);
        assert_eq!(outgoing.silence(ClauseId(1)), 0);
    }

    #[test]
    fn what_cannot_be_taken_back_any_more_is_not_kept() {
        let mut outgoing = OutgoingAudio::default();
        for clause in 0..10 {
            outgoing.add(ClauseId(clause), &[0; 10_000]);
            assert_eq!(outgoing.take(ClauseId(clause), 10_000).len(), 10_000);
        }
        assert!(outgoing.clauses.len() <= 3, "{:?}", outgoing.clauses.keys());
    }
}
