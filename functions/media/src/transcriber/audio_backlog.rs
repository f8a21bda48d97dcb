//! The last seconds of a call's audio: what another session of the transcriber hears again, and when it was said.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use switchboard_dialogue::CallTime;

/// So much is kept, in bytes: 5 s.
const KEPT: u64 = 40_000;
/// So much of it is handed over at once, in bytes: 200 ms.
const CHUNK: usize = 1_600;

/// A place in the audio that was handed over in this call, in bytes (eighths of a millisecond).
pub(super) type Position = u64;

/// The last seconds of audio.
#[derive(Debug, Default)]
pub(super) struct AudioBacklog {
    frames: VecDeque<Frame>,
    /// Where the audio ends.
    end: Position,
    /// Where the last words ended that will not change any more.
    settled: Position,
}

#[derive(Debug)]
struct Frame {
    start: Position,
    /// When it came, that is, when its last sample was said.
    at: CallTime,
    audio: Bytes,
}

impl Frame {
    fn end(&self) -> Position {
        self.start + self.audio.len() as u64
    }
}

impl AudioBacklog {
    /// The next frame, which came at `at`.
    pub(super) fn push(&mut self, at: CallTime, audio: Bytes) {
        let frame = Frame { start: self.end, at, audio };
        self.end = frame.end();
        self.frames.push_back(frame);
        while self.frames.front().is_some_and(|first| self.end - first.start > KEPT) {
            self.frames.pop_front();
        }
    }

    /// All words up to here are final; none: the transcriber does not say where they ended, and had it all.
    pub(super) fn settle(&mut self, position: Option<Position>) {
        self.settled = self.settled.max(position.unwrap_or(self.end).min(self.end));
    }

    /// What is kept behind the final words, and where it begins: whole frames, put together.
    pub(super) fn unsettled(&self) -> (Position, Vec<Bytes>) {
        let mut start = self.end;
        let mut chunks: Vec<Vec<u8>> = vec![];
        for frame in self.frames.iter().filter(|frame| frame.start >= self.settled) {
            start = start.min(frame.start);
            match chunks.last_mut() {
                Some(chunk) if chunk.len() + frame.audio.len() <= CHUNK => {
                    chunk.extend_from_slice(&frame.audio);
                }
                _ => chunks.push(frame.audio.to_vec()),
            }
        }
        (start, chunks.into_iter().map(Bytes::from).collect())
    }

    /// When this was said. What is no longer kept is counted back from what is.
    pub(super) fn time(&self, position: Position) -> CallTime {
        let ends_behind = self.frames.partition_point(|frame| frame.end() < position);
        let Some(frame) = self.frames.get(ends_behind).or(self.frames.back()) else {
            return CallTime::default();
        };
        let before = Duration::from_micros(frame.end().saturating_sub(position) * 125);
        CallTime(frame.at.0.saturating_sub(u64::try_from(before.as_micros()).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> CallTime {
        CallTime(ms * 1_000)
    }

    /// So many frames, each of its own number; the first one is complete at 1,020 ms.
    fn kept(frames: u64) -> AudioBacklog {
        let mut kept = AudioBacklog::default();
        for number in 0..frames {
            let frame = vec![u8::try_from(number % 250).unwrap(); 160];
            kept.push(ms(1_020 + 20 * number), frame.into());
        }
        kept
    }

    fn heard_again(kept: &AudioBacklog) -> (Position, Vec<u8>) {
        let (start, chunks) = kept.unsettled();
        assert!(chunks.iter().all(|chunk| !chunk.is_empty() && chunk.len() <= CHUNK));
        (start, chunks.concat())
    }

    #[test]
    fn the_last_five_seconds_are_kept() {
        assert_eq!(heard_again(&kept(0)), (0, vec![]));
        assert_eq!(heard_again(&kept(250)).0, 0);
        let (start, audio) = heard_again(&kept(1_000));
        assert_eq!((start, audio.len()), (750 * 160, 40_000));
        assert_eq!((audio[0], audio[39_999]), (0, 249));
    }

    #[test]
    fn what_was_understood_is_not_heard_again() {
        let mut kept = kept(100);
        kept.settle(Some(50 * 160 - 10));
        assert_eq!(heard_again(&kept), (50 * 160, (50..100_u8).flat_map(|number| [number; 160]).collect()));
        // In the middle of a frame.
        kept.settle(Some(60 * 160 + 1));
        assert_eq!(heard_again(&kept).0, 61 * 160);
        kept.settle(Some(40 * 160));
        assert_eq!(heard_again(&kept).0, 61 * 160, "what is final stays final");
        kept.settle(None);
        assert_eq!(heard_again(&kept), (100 * 160, vec![]));
        kept.settle(Some(1 << 40));
        kept.push(ms(5_000), vec![7; 160].into());
        assert_eq!(heard_again(&kept), (100 * 160, vec![7; 160]), "the future is not settled");
    }

    #[test]
    fn the_time_of_a_word_is_when_its_audio_came() {
        let mut kept = kept(10);
        assert_eq!(kept.time(0), ms(1_000));
        assert_eq!(kept.time(160), ms(1_020));
        assert_eq!(kept.time(240), ms(1_030));
        // A gap of a second on the way.
        kept.push(ms(2_220), vec![0; 160].into());
        assert_eq!((kept.time(1_600), kept.time(1_680)), (ms(1_200), ms(2_210)));
        assert_eq!(kept.time(999_999), ms(2_220), "nothing lies in the future");
        assert_eq!(AudioBacklog::default().time(5), CallTime(0));
    }

    #[test]
    fn words_from_before_what_is_kept_have_a_time_too() {
        assert_eq!(kept(1_000).time(700 * 160), ms(1_000 + 700 * 20));
    }
}
