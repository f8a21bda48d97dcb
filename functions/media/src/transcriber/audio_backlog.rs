//! The last seconds of the caller's audio. The next session receives them again, and the times of words come from them.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use switchboard_dialogue::CallTime;
use switchboard_providers::audio::AudioFormat;

/// Maximum length of the backlog.
const CAPACITY: Duration = Duration::from_secs(5);
/// Maximum length of one message that is sent again.
const CHUNK: Duration = Duration::from_millis(200);

/// Frames of audio with their arrival times. A position is the length of the audio before it, since the call began;
/// lost frames do not count.
#[derive(Debug)]
pub(super) struct AudioBacklog {
    format: AudioFormat,
    frames: VecDeque<Frame>,
    /// End of the audio.
    end: Duration,
    /// End of the last final transcript.
    transcribed: Duration,
}

#[derive(Debug)]
struct Frame {
    start: Duration,
    end: Duration,
    /// When it arrived, which is when its last sample was spoken.
    at: CallTime,
    audio: Bytes,
}

impl AudioBacklog {
    /// An empty backlog.
    pub(super) fn new(format: AudioFormat) -> Self {
        Self { format, frames: VecDeque::new(), end: Duration::ZERO, transcribed: Duration::ZERO }
    }

    /// Appends a frame that arrived at `at`.
    pub(super) fn push(&mut self, at: CallTime, audio: Bytes) {
        let start = self.end;
        self.end = start + self.format.duration_of(audio.len() as u64);
        self.frames.push_back(Frame { start, end: self.end, at, audio });
        while self.frames.front().is_some_and(|first| self.end.saturating_sub(first.start) > CAPACITY) {
            self.frames.pop_front();
        }
    }

    /// Marks the audio up to `position` as transcribed; `None` marks all of it, for a transcriber that gives no times.
    pub(super) fn mark_transcribed(&mut self, position: Option<Duration>) {
        self.transcribed = self.transcribed.max(position.unwrap_or(self.end).min(self.end));
    }

    /// The audio behind the last final transcript, and its start: whole frames, joined into messages.
    pub(super) fn untranscribed(&self) -> (Duration, Vec<Bytes>) {
        let chunk_bytes = usize::try_from(self.format.bytes_in(CHUNK)).unwrap_or(usize::MAX);
        let mut start = self.end;
        let mut chunks: Vec<Vec<u8>> = vec![];
        for frame in self.frames.iter().filter(|frame| frame.start >= self.transcribed) {
            start = start.min(frame.start);
            match chunks.last_mut() {
                Some(chunk) if chunk.len() + frame.audio.len() <= chunk_bytes => {
                    chunk.extend_from_slice(&frame.audio);
                }
                _ => chunks.push(frame.audio.to_vec()),
            }
        }
        (start, chunks.into_iter().map(Bytes::from).collect())
    }

    /// When the audio at `position` was spoken. Times before the backlog are extrapolated from its first frame.
    pub(super) fn time(&self, position: Duration) -> CallTime {
        let ends_behind = self.frames.partition_point(|frame| frame.end < position);
        let Some(frame) = self.frames.get(ends_behind).or(self.frames.back()) else {
            return CallTime::default();
        };
        let before = frame.end.saturating_sub(position);
        CallTime(frame.at.0.saturating_sub(u64::try_from(before.as_micros()).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The position of a byte.
    fn position(byte: u64) -> Duration {
        AudioFormat::TELEPHONE.duration_of(byte)
    }

    fn ms(ms: u64) -> CallTime {
        CallTime(ms * 1_000)
    }

    /// A backlog of `frames` frames, each filled with its number; the first one arrives at 1,020 ms.
    fn backlog(frames: u64) -> AudioBacklog {
        let mut backlog = AudioBacklog::new(AudioFormat::TELEPHONE);
        for number in 0..frames {
            let frame = vec![u8::try_from(number % 250).unwrap(); 160];
            backlog.push(ms(1_020 + 20 * number), frame.into());
        }
        backlog
    }

    /// The audio that is sent again, and its start in bytes.
    fn sent_again(backlog: &AudioBacklog) -> (u64, Vec<u8>) {
        let (start, chunks) = backlog.untranscribed();
        assert!(chunks.iter().all(|chunk| !chunk.is_empty() && chunk.len() <= 1_600));
        (AudioFormat::TELEPHONE.bytes_in(start), chunks.concat())
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
        backlog.mark_transcribed(Some(position(50 * 160 - 10)));
        assert_eq!(sent_again(&backlog), (50 * 160, (50..100_u8).flat_map(|number| [number; 160]).collect()));
        // In the middle of a frame.
        backlog.mark_transcribed(Some(position(60 * 160 + 1)));
        assert_eq!(sent_again(&backlog).0, 61 * 160);
        backlog.mark_transcribed(Some(position(40 * 160)));
        assert_eq!(sent_again(&backlog).0, 61 * 160, "final audio stays final");
        backlog.mark_transcribed(None);
        assert_eq!(sent_again(&backlog), (100 * 160, vec![]));
        backlog.mark_transcribed(Some(position(1 << 40)));
        backlog.push(ms(5_000), vec![7; 160].into());
        assert_eq!(sent_again(&backlog), (100 * 160, vec![7; 160]), "the future is not transcribed");
    }

    #[test]
    fn a_words_time_is_the_arrival_of_its_audio() {
        let mut backlog = backlog(10);
        assert_eq!(backlog.time(position(0)), ms(1_000));
        assert_eq!(backlog.time(position(160)), ms(1_020));
        assert_eq!(backlog.time(position(240)), ms(1_030));
        // A gap of a second on the way.
        backlog.push(ms(2_220), vec![0; 160].into());
        assert_eq!((backlog.time(position(1_600)), backlog.time(position(1_680))), (ms(1_200), ms(2_210)));
        assert_eq!(backlog.time(position(999_999)), ms(2_220), "nothing lies in the future");
        assert_eq!(AudioBacklog::new(AudioFormat::TELEPHONE).time(position(5)), CallTime(0));
    }

    #[test]
    fn times_before_the_backlog_are_extrapolated() {
        assert_eq!(backlog(1_000).time(position(700 * 160)), ms(1_000 + 700 * 20));
    }
}
