//! The recording of a call as it goes on: what the caller said beside what the agent was heard saying.
//!
//! Both sides are laid on one time line, counted in samples since media began (8,000 a second). The
//! agent's audio is sent ahead of time and may be thrown away by a `clear`, so only what lies in the
//! past is settled; settled audio leaves in pieces of ten seconds, so that a crash loses no more.

use std::{mem, time::Duration};

use bytes::Bytes;
use switchboard_dialogue::CallTime;
use switchboard_model::recording::SILENCE;

/// Samples in a piece: 10 s.
const PIECE: usize = 80_000;
/// How far behind the clock a frame of the caller may still arrive: 1 s.
const LATE: usize = 8_000;

/// As much as is ever laid before a piece leaves, both sides together: no more need be allocated.
const ROOM: usize = SIDES * (PIECE + LATE + LATE / 2);
/// The caller's and the agent's, sample by sample.
const SIDES: usize = 2;

/// One call's recording in the making.
#[derive(Debug)]
pub(crate) struct Recorder {
    /// Both sides from `taken` on, interleaved; each is silent where nothing was laid.
    audio: Vec<u8>,
    /// Where the audio of each side ends, in samples from `taken` on.
    caller_end: usize,
    agent_end: usize,
    /// Samples that left in pieces.
    taken: usize,
    /// Where this stream's media began on the conversation's own time line, in samples.
    offset: u64,
}

/// Whose audio it is: its place in a pair of samples.
#[derive(Debug, Clone, Copy)]
enum Side {
    Caller = 0,
    Agent = 1,
}

/// Interleaved mu-law audio (caller, agent, caller, ...) and where it begins on the conversation's own
/// time line, in samples.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RecordingPiece {
    pub(crate) start: u64,
    pub(crate) audio: Bytes,
}

impl Recorder {
    /// For a stream that begins this long after the conversation did.
    pub(crate) fn beginning_at(elapsed: Duration) -> Self {
        let offset = samples(CallTime::default() + elapsed) as u64;
        Self { audio: Vec::with_capacity(ROOM), caller_end: 0, agent_end: 0, taken: 0, offset }
    }

    /// The caller's audio, by the carrier's own time stamp. What claims to lie in the future or was
    /// already taken is left out.
    pub(crate) fn heard(&mut self, now: CallTime, at: CallTime, audio: &[u8]) {
        let (now, at) = (samples(now), samples(at));
        if at <= now + LATE {
            self.lay(Side::Caller, at, audio);
        }
    }

    /// The agent's audio as it is sent: it plays when all that was sent before has played.
    pub(crate) fn sent(&mut self, now: CallTime, audio: &[u8]) {
        let at = samples(now).max(self.taken + self.agent_end);
        self.lay(Side::Agent, at, audio);
    }

    /// What was sent and has not played is thrown away.
    pub(crate) fn cleared(&mut self, now: CallTime) {
        let played = samples(now).saturating_sub(self.taken).min(self.agent_end);
        let thrown_away = &mut self.audio[SIDES * played..SIDES * self.agent_end];
        for pair in thrown_away.chunks_exact_mut(SIDES) {
            pair[Side::Agent as usize] = SILENCE;
        }
        self.agent_end = played;
    }

    /// The next piece, once nothing in it can change any more.
    pub(crate) fn piece(&mut self, now: CallTime) -> Option<RecordingPiece> {
        (samples(now) >= self.taken + PIECE + LATE).then(|| self.take(PIECE))
    }

    /// What is left when the call is over.
    pub(crate) fn finish(mut self, now: CallTime) -> Vec<RecordingPiece> {
        self.cleared(now);
        let mut left = self.caller_end.max(self.agent_end);
        let mut pieces = vec![];
        while left > 0 {
            let length = left.min(PIECE);
            pieces.push(self.take(length));
            left -= length;
        }
        pieces
    }

    fn take(&mut self, length: usize) -> RecordingPiece {
        self.reach(length);
        let mut rest = Vec::with_capacity(ROOM);
        rest.extend_from_slice(&self.audio[SIDES * length..]);
        let mut audio = mem::replace(&mut self.audio, rest);
        audio.truncate(SIDES * length);
        let piece = RecordingPiece { start: self.offset + self.taken as u64, audio: audio.into() };
        self.taken += length;
        self.caller_end = self.caller_end.saturating_sub(length);
        self.agent_end = self.agent_end.saturating_sub(length);
        piece
    }

    /// Writes `audio` at a sample since media began; what was taken already is left out.
    fn lay(&mut self, side: Side, at: usize, audio: &[u8]) {
        let skipped = self.taken.saturating_sub(at).min(audio.len());
        let (audio, start) = (&audio[skipped..], at.max(self.taken) - self.taken);
        let end = start + audio.len();
        self.reach(end);
        for (pair, byte) in self.audio[SIDES * start..].chunks_exact_mut(SIDES).zip(audio) {
            pair[side as usize] = *byte;
        }
        let laid = match side {
            Side::Caller => &mut self.caller_end,
            Side::Agent => &mut self.agent_end,
        };
        *laid = end.max(*laid);
    }

    /// Makes room for so many samples of both sides.
    fn reach(&mut self, samples: usize) {
        let length = self.audio.len().max(SIDES * samples);
        self.audio.resize(length, SILENCE);
    }
}

fn samples(at: CallTime) -> usize {
    usize::try_from(at.0 / 125).unwrap_or(usize::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> CallTime {
        CallTime(ms * 1_000)
    }

    fn recorder() -> Recorder {
        Recorder::beginning_at(Duration::ZERO)
    }

    /// The two sides of all pieces together.
    fn sides(pieces: &[RecordingPiece]) -> (Vec<u8>, Vec<u8>) {
        let audio: Vec<u8> = pieces.iter().flat_map(|piece| piece.audio.to_vec()).collect();
        audio.chunks(2).map(|pair| (pair[0], pair[1])).unzip()
    }

    #[test]
    fn gaps_are_silent_and_both_sides_keep_their_time() {
        let mut recorder = recorder();
        recorder.heard(ms(20), ms(0), &[1; 160]);
        recorder.heard(ms(60), ms(40), &[2; 160]);
        recorder.sent(ms(20), &[9; 160]);
        let (caller, agent) = sides(&recorder.finish(ms(60)));
        assert_eq!(caller, [[1; 160], [SILENCE; 160], [2; 160]].concat());
        assert_eq!(agent, [[SILENCE; 160], [9; 160], [SILENCE; 160]].concat());
    }

    #[test]
    fn audio_sent_ahead_plays_one_after_the_other_and_a_clear_takes_back_what_was_not_heard() {
        let mut recorder = recorder();
        recorder.sent(ms(0), &[1; 1_600]);
        recorder.sent(ms(20), &[2; 1_600]);
        recorder.cleared(ms(250));
        recorder.sent(ms(300), &[3; 160]);
        let (_, agent) = sides(&recorder.finish(ms(320)));
        assert_eq!(agent, [vec![1; 1_600], vec![2; 400], vec![SILENCE; 400], vec![3; 160]].concat());
    }

    #[test]
    fn what_never_played_is_not_in_the_recording() {
        let mut recorder = recorder();
        recorder.sent(ms(0), &[1; 3_200]);
        let (_, agent) = sides(&recorder.finish(ms(100)));
        assert_eq!(agent, [1; 800]);
    }

    #[test]
    fn pieces_leave_only_when_settled_and_join_without_a_seam() {
        let mut recorder = recorder();
        let mut pieces = vec![];
        for frame in 0..1_200_u64 {
            recorder.heard(ms(frame * 20 + 20), ms(frame * 20), &[u8::try_from(frame % 250).unwrap(); 160]);
            pieces.extend(recorder.piece(ms(frame * 20 + 20)));
        }
        assert_eq!(pieces.len(), 2, "24 s hold two settled pieces");
        pieces.extend(recorder.finish(ms(24_000)));
        assert_eq!(pieces.iter().map(|piece| piece.start).collect::<Vec<_>>(), [0, 80_000, 160_000]);
        let (caller, agent) = sides(&pieces);
        assert_eq!(caller.len(), 24 * 8_000);
        assert!(
            caller
                .chunks(160)
                .enumerate()
                .all(|(frame, audio)| audio.iter().all(|b| usize::from(*b) == frame % 250))
        );
        assert!(agent.iter().all(|byte| *byte == SILENCE));
    }

    #[test]
    fn a_later_stream_of_the_same_call_has_its_own_place() {
        let mut recorder = Recorder::beginning_at(Duration::from_millis(12_500));
        recorder.heard(ms(20), ms(0), &[1; 160]);
        assert_eq!(recorder.finish(ms(20))[0].start, 100_000);
    }

    #[test]
    fn frames_with_impossible_times_neither_grow_the_recording_nor_break_it() {
        let mut recorder = recorder();
        recorder.heard(ms(20), CallTime(u64::MAX), &[1; 160]);
        recorder.heard(ms(20), ms(60_000), &[1; 160]);
        assert_eq!(recorder.finish(ms(20)), []);
    }

    #[test]
    fn a_frame_for_a_piece_that_already_left_is_dropped_where_it_overlaps() {
        let mut recorder = recorder();
        recorder.heard(ms(20), ms(0), &[1; 160]);
        assert!(recorder.piece(ms(11_000)).is_some());
        recorder.heard(ms(11_000), ms(9_990), &[7; 160]);
        let (caller, _) = sides(&recorder.finish(ms(11_000)));
        assert_eq!(caller, [7; 80]);
    }
}
