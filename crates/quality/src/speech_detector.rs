//! Speech in one channel of a recording, by its level against the channel's own background.
//!
//! A level is enough here: the agent's channel has a synthesized voice on silence, and for the caller's channel the
//! script, or the engine's events, say what a sound was.

use crate::timeline::{SEGMENT_GAP_MS, Span};

/// Length of a frame.
const FRAME_MS: u32 = 10;
/// Speech is at least this loud, in dB relative to full scale.
const AUDIBLE_DB: f64 = -42.0;
/// Speech is at least this much louder than the background.
const ABOVE_BACKGROUND_DB: f64 = 12.0;
/// Background below this level is silence.
const SILENCE_DB: f64 = -72.0;
/// The background follows a quieter frame at once, and a louder one by so many dB per frame: 3 dB per second.
const RISE_DB: f64 = 0.03;
/// Frames of speech within a stretch that begin a segment: a click is shorter.
const ONSET_FRAMES: u32 = 3;
/// Frames without speech that end a stretch before it has become a segment.
const ONSET_GAP_FRAMES: u32 = 3;

/// Finds the spans of speech in the samples of one channel. They may come in pieces of any length; the state has a
/// constant size.
#[derive(Debug, Clone)]
pub struct SpeechDetector {
    samples_per_frame: usize,
    /// The begun frame: the sum of its squares, and the number of its samples.
    energy: f64,
    samples: usize,
    /// The number of complete frames.
    frame: u32,
    background_db: f64,
    stretch: Option<Stretch>,
}

/// A stretch of frames, most of them speech.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    first: u32,
    /// The last frame of speech.
    last: u32,
    speech_frames: u32,
}

impl SpeechDetector {
    /// A detector for `rate` samples per second.
    pub fn new(rate: u32) -> Self {
        let samples_per_frame = usize::try_from(rate * FRAME_MS / 1_000).unwrap_or(1).max(1);
        Self {
            samples_per_frame,
            energy: 0.0,
            samples: 0,
            frame: 0,
            background_db: SILENCE_DB,
            stretch: None,
        }
    }

    /// Reads the next samples, and adds the spans that they complete.
    pub fn push(&mut self, samples: &[i16], found: &mut Vec<Span>) {
        for sample in samples {
            self.energy += (f64::from(*sample) / 32_768.0).powi(2);
            self.samples += 1;
            if self.samples == self.samples_per_frame {
                self.end_frame(found);
            }
        }
    }

    /// Ends the recording.
    pub fn finish(mut self, found: &mut Vec<Span>) {
        found.extend(self.stretch.take().and_then(Stretch::span));
    }

    /// The length of the samples so far, in whole frames.
    pub fn length_ms(&self) -> u32 {
        self.frame * FRAME_MS
    }

    fn end_frame(&mut self, found: &mut Vec<Span>) {
        let count = u32::try_from(self.samples_per_frame).unwrap_or(u32::MAX);
        let level_db = (10.0 * (self.energy / f64::from(count)).log10()).max(SILENCE_DB);
        (self.energy, self.samples) = (0.0, 0);
        let is_speech = level_db >= AUDIBLE_DB.max(self.background_db + ABOVE_BACKGROUND_DB);
        self.background_db = level_db.min(self.background_db + RISE_DB);
        let frame = self.frame;
        self.frame = frame.saturating_add(1);
        if is_speech {
            let stretch = self.stretch.get_or_insert(Stretch { first: frame, last: frame, speech_frames: 0 });
            stretch.last = frame;
            stretch.speech_frames += 1;
        } else if let Some(stretch) = self.stretch
            && frame - stretch.last >= stretch.longest_gap()
        {
            found.extend(stretch.span());
            self.stretch = None;
        }
    }
}

impl Stretch {
    fn is_segment(self) -> bool {
        self.speech_frames >= ONSET_FRAMES
    }

    /// Frames without speech after which it is over.
    fn longest_gap(self) -> u32 {
        if self.is_segment() { SEGMENT_GAP_MS / FRAME_MS } else { ONSET_GAP_FRAMES }
    }

    fn span(self) -> Option<Span> {
        self.is_segment().then(|| Span::new(self.first * FRAME_MS, (self.last + 1) * FRAME_MS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A square wave of a level between -100 and 0 dB, in pieces of seconds.
    fn tone(rate: u32, parts: &[(f64, i16)]) -> Vec<i16> {
        let mut samples = vec![];
        for (seconds, amplitude) in parts {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few seconds")]
            let count = (seconds * f64::from(rate)) as usize;
            samples.extend((0..count).map(|n| if n / 8 % 2 == 0 { *amplitude } else { -amplitude }));
        }
        samples
    }

    fn detect(rate: u32, samples: &[i16], piece: usize) -> Vec<(u32, u32)> {
        let (mut detector, mut found) = (SpeechDetector::new(rate), vec![]);
        for piece in samples.chunks(piece) {
            detector.push(piece, &mut found);
        }
        detector.finish(&mut found);
        found.iter().map(|span| (span.from_ms, span.to_ms)).collect()
    }

    #[test]
    fn speech_is_found_at_any_rate_and_in_pieces_of_any_length() {
        for rate in [8_000, 16_000] {
            let samples =
                tone(rate, &[(0.5, 0), (0.6, 3_000), (0.25, 0), (0.4, 3_000), (0.5, 0), (0.2, 2_000)]);
            for piece in [1, 77, 160, samples.len()] {
                assert_eq!(detect(rate, &samples, piece), [(500, 1_750), (2_250, 2_450)], "{rate} {piece}");
            }
        }
    }

    #[test]
    fn clicks_and_steady_noise_are_no_speech() {
        assert_eq!(detect(8_000, &tone(8_000, &[(0.5, 0), (0.02, 9_000), (0.5, 0)]), 160), []);
        // -50 dB under everything, and a voice of -20 dB on it.
        let samples = tone(8_000, &[(1.0, 100), (0.5, 3_000), (1.0, 100)]);
        assert_eq!(detect(8_000, &samples, 160), [(1_000, 1_500)]);
        // The background is learned: hum of -35 dB counts at first, and stops counting.
        let found = detect(8_000, &tone(8_000, &[(60.0, 580), (1.0, 8_000), (1.0, 580)]), 160);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].1 < 10_000, "{found:?}");
        assert_eq!(found[1], (60_000, 61_000));
    }

    #[test]
    fn the_state_does_not_grow_with_the_recording() {
        let (mut detector, mut found) = (SpeechDetector::new(8_000), vec![]);
        let minute = tone(8_000, &[(30.0, 3_000), (30.0, 0)]);
        for _ in 0..60 {
            detector.push(&minute, &mut found);
        }
        assert_eq!((found.len(), detector.length_ms()), (60, 3_600_000));
        assert!(size_of_val(&detector) < 128);
    }
}
