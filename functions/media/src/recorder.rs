//! The recording of a live call: the caller's audio, and the agent's audio as far as it played.
//!
//! Both sides lie on one time line, counted in samples since the stream began. The agent's audio is sent ahead of time
//! and may be dropped by a clear, so only past audio is final. Final audio leaves in pieces of ten seconds, so that a
//! crash loses at most the last piece. This module stores nothing: see `uploader.rs`.

use std::{mem, time::Duration};

use bytes::Bytes;
use switchboard_dialogue::CallTime;
use switchboard_providers::audio::AudioFormat;

/// Length of a piece.
pub(crate) const PIECE: Duration = Duration::from_secs(10);
/// Maximum delay of a frame of the caller.
const LATE: Duration = Duration::from_secs(1);

/// Channels: the caller's and the agent's.
const SIDES: usize = 2;

/// The part of a recording that has not left yet.
#[derive(Debug)]
pub(crate) struct Recorder {
    format: AudioFormat,
    /// Both sides from `taken` on, interleaved; silence where nothing was recorded.
    audio: Vec<u8>,
    /// End of each side, in samples from `taken` on.
    caller_end: usize,
    agent_end: usize,
    /// Samples of each side that left in pieces.
    taken: usize,
    /// Start of this stream on the conversation's time line, in samples.
    offset: u64,
}

/// A channel: its place in a pair of samples.
#[derive(Debug, Clone, Copy)]
enum Side {
    Caller = 0,
    Agent = 1,
}

/// Interleaved audio in the stream's format: caller, agent, caller, and so on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RecordingPiece {
    pub(crate) format: AudioFormat,
    /// Start on the conversation's time line, in samples.
    pub(crate) start: u64,
    pub(crate) audio: Bytes,
}

impl Recorder {
    /// For a stream that begins `elapsed` after the conversation did.
    pub(crate) fn new(format: AudioFormat, elapsed: Duration) -> Self {
        let mut recorder = Self { format, audio: vec![], caller_end: 0, agent_end: 0, taken: 0, offset: 0 };
        recorder.offset = recorder.samples(elapsed) as u64;
        recorder.audio.reserve_exact(recorder.capacity());
        recorder
    }

    /// Records the caller's audio at the carrier's own time stamp. Audio from the future, and audio for a piece that
    /// left, is dropped.
    pub(crate) fn record_caller(&mut self, now: CallTime, at: CallTime, audio: &[u8]) {
        let (now, at) = (self.sample_at(now), self.sample_at(at));
        if at <= now + self.samples(LATE) {
            self.write(Side::Caller, at, audio);
        }
    }

    /// Records the agent's audio when it is sent: it plays after all audio before it.
    pub(crate) fn record_agent(&mut self, now: CallTime, audio: &[u8]) {
        let at = self.sample_at(now).max(self.taken + self.agent_end);
        self.write(Side::Agent, at, audio);
    }

    /// Drops the agent's audio that has not played yet.
    pub(crate) fn clear_agent(&mut self, now: CallTime) {
        let played = self.sample_at(now).saturating_sub(self.taken).min(self.agent_end);
        let (width, silence) = (self.width(), self.format.encoding.silence());
        let dropped = &mut self.audio[SIDES * width * played..SIDES * width * self.agent_end];
        for pair in dropped.chunks_exact_mut(SIDES * width) {
            pair[Side::Agent as usize * width..].fill(silence);
        }
        self.agent_end = played;
    }

    /// The next piece, once nothing in it can change.
    pub(crate) fn next_piece(&mut self, now: CallTime) -> Option<RecordingPiece> {
        let piece = self.samples(PIECE);
        (self.sample_at(now) >= self.taken + piece + self.samples(LATE)).then(|| self.take(piece))
    }

    /// The last pieces, when the call is over.
    pub(crate) fn finish(mut self, now: CallTime) -> Vec<RecordingPiece> {
        self.clear_agent(now);
        let mut left = self.caller_end.max(self.agent_end);
        let mut pieces = vec![];
        while left > 0 {
            let length = left.min(self.samples(PIECE));
            pieces.push(self.take(length));
            left -= length;
        }
        pieces
    }

    fn take(&mut self, length: usize) -> RecordingPiece {
        self.extend_to(length);
        let bytes = SIDES * self.width() * length;
        let mut rest = Vec::with_capacity(self.capacity());
        rest.extend_from_slice(&self.audio[bytes..]);
        let mut audio = mem::replace(&mut self.audio, rest);
        audio.truncate(bytes);
        let piece = RecordingPiece {
            format: self.format,
            start: self.offset + self.taken as u64,
            audio: audio.into(),
        };
        self.taken += length;
        self.caller_end = self.caller_end.saturating_sub(length);
        self.agent_end = self.agent_end.saturating_sub(length);
        piece
    }

    /// Writes `audio` at a sample of the stream; the part that left in a piece is dropped.
    fn write(&mut self, side: Side, at: usize, audio: &[u8]) {
        let width = self.width();
        let length = audio.len() / width;
        let skipped = self.taken.saturating_sub(at).min(length);
        let (audio, start) = (&audio[width * skipped..width * length], at.max(self.taken) - self.taken);
        let end = start + length - skipped;
        self.extend_to(end);
        let pairs = self.audio[SIDES * width * start..].chunks_exact_mut(SIDES * width);
        let place = side as usize * width;
        for (pair, sample) in pairs.zip(audio.chunks_exact(width)) {
            pair[place..place + width].copy_from_slice(sample);
        }
        let side_end = match side {
            Side::Caller => &mut self.caller_end,
            Side::Agent => &mut self.agent_end,
        };
        *side_end = end.max(*side_end);
    }

    /// Extends both sides to this many samples.
    fn extend_to(&mut self, samples: usize) {
        let length = self.audio.len().max(SIDES * self.width() * samples);
        self.audio.resize(length, self.format.encoding.silence());
    }

    /// Bytes of a sample.
    fn width(&self) -> usize {
        usize::try_from(self.format.encoding.bytes_per_sample()).unwrap_or(1)
    }

    /// The most that is recorded before a piece leaves, in bytes.
    fn capacity(&self) -> usize {
        SIDES * self.width() * self.samples(PIECE + LATE + LATE / 2)
    }

    fn sample_at(&self, at: CallTime) -> usize {
        self.samples(Duration::from_micros(at.0))
    }

    fn samples(&self, length: Duration) -> usize {
        let samples = length.as_micros() * u128::from(self.format.sample_rate) / 1_000_000;
        // Half, so that sums cannot overflow.
        usize::try_from(samples).unwrap_or(usize::MAX).min(usize::MAX / 4)
    }
}

#[cfg(test)]
mod tests {
    use switchboard_providers::audio::Encoding;

    use super::*;

    /// The byte of silence in telephone audio.
    const SILENCE: u8 = 0xFF;

    fn ms(ms: u64) -> CallTime {
        CallTime(ms * 1_000)
    }

    fn recorder() -> Recorder {
        Recorder::new(AudioFormat::TELEPHONE, Duration::ZERO)
    }

    /// Both sides of the joined pieces.
    fn sides(pieces: &[RecordingPiece]) -> (Vec<u8>, Vec<u8>) {
        let audio: Vec<u8> = pieces.iter().flat_map(|piece| piece.audio.to_vec()).collect();
        audio.chunks(2).map(|pair| (pair[0], pair[1])).unzip()
    }

    #[test]
    fn gaps_are_silent_on_both_sides() {
        let mut recorder = recorder();
        recorder.record_caller(ms(20), ms(0), &[1; 160]);
        recorder.record_caller(ms(60), ms(40), &[2; 160]);
        recorder.record_agent(ms(20), &[9; 160]);
        let (caller, agent) = sides(&recorder.finish(ms(60)));
        assert_eq!(caller, [[1; 160], [SILENCE; 160], [2; 160]].concat());
        assert_eq!(agent, [[SILENCE; 160], [9; 160], [SILENCE; 160]].concat());
    }

    #[test]
    fn a_clear_removes_audio_that_did_not_play() {
        let mut recorder = recorder();
        recorder.record_agent(ms(0), &[1; 1_600]);
        recorder.record_agent(ms(20), &[2; 1_600]);
        recorder.clear_agent(ms(250));
        recorder.record_agent(ms(300), &[3; 160]);
        let (_, agent) = sides(&recorder.finish(ms(320)));
        assert_eq!(agent, [vec![1; 1_600], vec![2; 400], vec![SILENCE; 400], vec![3; 160]].concat());
    }

    #[test]
    fn audio_that_never_played_is_not_recorded() {
        let mut recorder = recorder();
        recorder.record_agent(ms(0), &[1; 3_200]);
        let (_, agent) = sides(&recorder.finish(ms(100)));
        assert_eq!(agent, [1; 800]);
    }

    #[test]
    fn settled_pieces_join_without_a_gap() {
        let mut recorder = recorder();
        let mut pieces = vec![];
        for frame in 0..1_200_u64 {
            recorder.record_caller(
                ms(frame * 20 + 20),
                ms(frame * 20),
                &[u8::try_from(frame % 250).unwrap(); 160],
            );
            pieces.extend(recorder.next_piece(ms(frame * 20 + 20)));
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
    fn a_later_stream_starts_later_on_the_time_line() {
        let mut recorder = Recorder::new(AudioFormat::TELEPHONE, Duration::from_millis(12_500));
        recorder.record_caller(ms(20), ms(0), &[1; 160]);
        assert_eq!(recorder.finish(ms(20))[0].start, 100_000);
    }

    #[test]
    fn frames_from_the_future_are_dropped() {
        let mut recorder = recorder();
        recorder.record_caller(ms(20), CallTime(u64::MAX), &[1; 160]);
        recorder.record_caller(ms(20), ms(60_000), &[1; 160]);
        assert_eq!(recorder.finish(ms(20)), []);
    }

    #[test]
    fn a_late_frame_loses_the_part_that_left() {
        let mut recorder = recorder();
        recorder.record_caller(ms(20), ms(0), &[1; 160]);
        assert!(recorder.next_piece(ms(11_000)).is_some());
        recorder.record_caller(ms(11_000), ms(9_990), &[7; 160]);
        let (caller, _) = sides(&recorder.finish(ms(11_000)));
        assert_eq!(caller, [7; 80]);
    }

    #[test]
    fn wideband_audio_is_interleaved_by_whole_samples() {
        let format = AudioFormat { encoding: Encoding::Pcm16, sample_rate: 16_000 };
        let mut recorder = Recorder::new(format, Duration::from_secs(1));
        recorder.record_caller(ms(20), ms(0), &[1, 2, 3, 4]);
        recorder.record_agent(ms(0), &[5, 6]);
        let [piece] = &recorder.finish(ms(20))[..] else { panic!("one piece") };
        assert_eq!((piece.start, &piece.audio[..]), (16_000, &[1, 2, 5, 6, 3, 4, 0, 0][..]));
    }
}
