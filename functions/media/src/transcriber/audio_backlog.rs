//! The last seconds of the caller's audio: sent again to the next session, and the source of the words' times.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use switchboard_dialogue::CallTime;

/// Maximum size of the backlog, in bytes: 5 s.
const CAPACITY: u64 = 40_000;
/// Maximum size of one message that is sent again, in bytes: 200 ms.
const CHUNK: usize = 1_600;

/// A place in the audio of the call, in bytes.
pub(super) type Position = u64;

/// Frames of audio with their arrival times.
#[derive(Debug, Default)]
pub(super) struct AudioBacklog {
    frames: VecDeque<Frame>,
    /// End of the audio.
    end: Position,
    /// End of the last final transcript.
    transcribed: Position,
}

#[derive(Debug)]
struct Frame {
    start: Position,
    /// When it arrived, which is when its last sample was spoken.
    at: CallTime,
    audio: Bytes,
}

impl Frame {
    fn end(&self) -> Position {
        self.start + self.audio.len() as u64
    }
}

impl AudioBacklog {
    /// Appends a frame that arrived at `at`.
    pub(super) fn push(&mut self, at: CallTime, audio: Bytes) {
        let frame = Frame { start: self.end, at, audio };
        self.end = frame.end();
        self.frames.push_back(frame);
        while self.frames.front().is_some_and(|first| self.end - first.start > CAPACITY) {
            self.frames.pop_front();
        }
    }

    /// Marks the audio up to `position` as transcribed; `None` marks all of it, for a transcriber that gives no times.
    pub(super) fn mark_transcribed(&mut self, position: Option<Position>) {
        self.transcribed = self.transcribed.max(position.unwrap_or(self.end).min(self.end));
    }

    /// The audio behind the last final transcript, and its start: whole frames, joined into messages.
    pub(super) fn untranscribed(&self) -> (Position, Vec<Bytes>) {
        let mut start = self.end;
        let mut chunks: Vec<Vec<u8>> = vec![];
        for frame in self.frames.iter().filter(|frame| frame.start >= self.transcribed) {
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

    /// When the audio at `position` was spoken. Times before the backlog are extrapolated from its first frame.
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

    /// A backlog of `frames` frames, each filled with its number; the first one arrives at 1,020 ms.
    fn backlog(frames: u64) -> AudioBacklog {
        let mut backlog = AudioBacklog::default();
        for number in 0..frames {
            let frame = vec![u8::try_from(number % 250).unwrap(); 160];
            backlog.push(ms(1_020 + 20 * number), frame.into());
        }
        backlog
    }

    fn sent_again(backlog: &AudioBacklog) -> (Position, Vec<u8>) {
        let (start, chunks) = backlog.untranscribed();
        assert!(chunks.iter().all(|chunk| !chunk.is_empty() && chunk.len() <= CHUNK));
        (start, chunks.concat())
    }

    #[test]
    fn the_last_five_seconds_are_kept() {
        assert_eq!(sent_again(&backlog(0)), (0, vec![]));
        assert_eq!(sent_again(&backlog(250)).0, 0);
        let (start, audio) = sent_again(&backlog(1_000));
        assert_eq!((start, audio.len()), (750 * 160, 40_000));
        assert_eq!((audio[0], audio[39_999]), (0, 249));
    }

    #[test]
    fn transcribed_audio_is_not_sent_again() {
        let mut backlog = backlog(100);
        backlog.mark_transcribed(Some(50 * 160 - 10));
        assert_eq!(sent_again(&backlog), (50 * 160, (50..100_u8).flat_map(|number| [number; 160]).collect()));
        // In the middle of a frame.
        backlog.mark_transcribed(Some(60 * 160 + 1));
        assert_eq!(sent_again(&backlog).0, 61 * 160);
        backlog.mark_transcribed(Some(40 * 160));
        assert_eq!(sent_again(&backlog).0, 61 * 160, "final audio stays final");
        backlog.mark_transcribed(None);
        assert_eq!(sent_again(&backlog), (100 * 160, vec![]));
        backlog.mark_transcribed(Some(1 << 40));
        backlog.push(ms(5_000), vec![7; 160].into());
        assert_eq!(sent_again(&backlog), (100 * 160, vec![7; 160]), "the future is not transcribed");
    }

    #[test]
    fn a_words_time_is_the_arrival_of_its_audio() {
        let mut backlog = backlog(10);
        assert_eq!(backlog.time(0), ms(1_000));
        assert_eq!(backlog.time(160), ms(1_020));
        assert_eq!(backlog.time(240), ms(1_030));
        // A gap of a second on the way.
        backlog.push(ms(2_220), vec![0; 160].into());
        assert_eq!((backlog.time(1_600), backlog.time(1_680)), (ms(1_200), ms(2_210)));
        assert_eq!(backlog.time(999_999), ms(2_220), "nothing lies in the future");
        assert_eq!(AudioBacklog::default().time(5), CallTime(0));
    }

    #[test]
    fn times_before_the_backlog_are_extrapolated() {
        assert_eq!(backlog(1_000).time(700 * 160), ms(1_000 + 700 * 20));
    }
}
