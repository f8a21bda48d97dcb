//! Conversion between the telephone's audio (mu-law at 8 kHz) and a browser's (linear at 16 kHz).
//!
//! A half-band filter of 23 taps (windowed sinc, Hamming) keeps what is audible up to 3.3 kHz, and delays by less than a
//! millisecond. A converter belongs to one direction of one stream: it remembers the samples that the next audio needs.

use switchboard_model::recording;
use switchboard_providers::audio::AudioFormat;

use crate::samples::samples;

/// The taps at odd distances from the middle, in units of 1/32,768. Those at even distances are zero, the middle is half.
const TAPS: [i32; 6] = [10_298, -3_013, 1_377, -628, 249, -91];
/// The distance of the last tap, in samples at 16 kHz.
const REACH: usize = 2 * TAPS.len() - 1;

/// Converts audio that comes piece by piece.
#[derive(Debug)]
pub(crate) struct Converter {
    direction: Direction,
    /// Samples from the first that the next output needs.
    window: Vec<i32>,
    /// The audio that was converted last.
    converted: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Same,
    ToTelephone,
    ToWideband,
}

impl Converter {
    /// Both formats are the telephone's or [`AudioFormat::WIDEBAND`].
    pub(crate) fn between(from: AudioFormat, to: AudioFormat) -> Self {
        let (direction, silence) = match (from, to) {
            (AudioFormat::WIDEBAND, AudioFormat::TELEPHONE) => (Direction::ToTelephone, REACH),
            (AudioFormat::TELEPHONE, AudioFormat::WIDEBAND) => (Direction::ToWideband, TAPS.len() - 1),
            _ => {
                debug_assert_eq!(from, to);
                (Direction::Same, 0)
            }
        };
        Self { direction, window: vec![0; silence], converted: vec![] }
    }

    /// Whether audio is returned as it is.
    pub(crate) fn is_identity(&self) -> bool {
        self.direction == Direction::Same
    }

    /// Converts the next audio.
    pub(crate) fn convert<'a>(&'a mut self, audio: &'a [u8]) -> &'a [u8] {
        self.converted.clear();
        let used = match self.direction {
            Direction::Same => return audio,
            Direction::ToTelephone => {
                self.window.extend(samples(AudioFormat::WIDEBAND, audio).map(i32::from));
                self.halve()
            }
            Direction::ToWideband => {
                self.window.extend(samples(AudioFormat::TELEPHONE, audio).map(i32::from));
                self.double()
            }
        };
        self.window.drain(..used);
        &self.converted
    }

    /// Filters, and takes every second sample. Returns the number of samples that are no longer needed.
    fn halve(&mut self) -> usize {
        let mut at = 0;
        while let Some(window) = self.window.get(at..=at + 2 * REACH) {
            let sides: i32 = TAPS
                .iter()
                .enumerate()
                .map(|(tap, weight)| weight * (window[REACH - 1 - 2 * tap] + window[REACH + 1 + 2 * tap]))
                .sum();
            let sample = (16_384 * window[REACH] + sides) >> 15;
            self.converted.push(recording::encode(saturated(sample)));
            at += 2;
        }
        at
    }

    /// Puts a sample between each two. Returns the number of samples that are no longer needed.
    fn double(&mut self) -> usize {
        let middle = TAPS.len() - 1;
        let mut at = 0;
        while let Some(window) = self.window.get(at..at + 2 * TAPS.len()) {
            let between: i32 = TAPS
                .iter()
                .enumerate()
                .map(|(tap, weight)| weight * (window[middle - tap] + window[middle + 1 + tap]))
                .sum();
            for sample in [window[middle], between >> 14] {
                self.converted.extend(saturated(sample).to_le_bytes());
            }
            at += 1;
        }
        at
    }
}

fn saturated(sample: i32) -> i16 {
    i16::try_from(sample).unwrap_or(if sample < 0 { i16::MIN } else { i16::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TELEPHONE: AudioFormat = AudioFormat::TELEPHONE;
    const WIDEBAND: AudioFormat = AudioFormat::WIDEBAND;

    /// A second of a tone in linear samples.
    #[expect(clippy::cast_possible_truncation, reason = "the amplitude fits")]
    fn tone(hertz: f64, rate: u32) -> Vec<i16> {
        let sample = |at: u32| {
            (8_000.0 * (std::f64::consts::TAU * hertz * f64::from(at) / f64::from(rate)).sin()) as i16
        };
        (0..rate).map(sample).collect()
    }

    fn wideband(samples: &[i16]) -> Vec<u8> {
        samples.iter().flat_map(|sample| sample.to_le_bytes()).collect()
    }

    /// Converts in frames of 20 ms.
    fn converted(from: AudioFormat, to: AudioFormat, audio: &[u8]) -> Vec<i16> {
        let mut converter = Converter::between(from, to);
        let frame = usize::try_from(from.bytes_per_second() / 50).unwrap();
        let audio: Vec<u8> =
            audio.chunks(frame).flat_map(|frame| converter.convert(frame).to_vec()).collect();
        samples(to, &audio).collect()
    }

    /// The root mean square, without the beginning.
    fn level(samples: &[i16]) -> f64 {
        let samples = &samples[100..];
        let power: f64 = samples.iter().map(|sample| f64::from(*sample).powi(2)).sum();
        (power / f64::from(u32::try_from(samples.len()).unwrap())).sqrt()
    }

    #[test]
    fn speech_frequencies_keep_their_level() {
        for hertz in [200.0, 1_000.0, 3_000.0] {
            let down = converted(WIDEBAND, TELEPHONE, &wideband(&tone(hertz, 16_000)));
            assert!((7_990..=8_000).contains(&down.len()), "{}", down.len());
            let ratio = level(&down) / level(&tone(hertz, 16_000));
            assert!((0.93..1.05).contains(&ratio), "{hertz} Hz down: {ratio}");
            let mu_law: Vec<u8> = tone(hertz, 8_000).into_iter().map(recording::encode).collect();
            let up = converted(TELEPHONE, WIDEBAND, &mu_law);
            assert!((15_980..=16_000).contains(&up.len()), "{}", up.len());
            let ratio = level(&up) / level(&tone(hertz, 8_000));
            assert!((0.93..1.05).contains(&ratio), "{hertz} Hz up: {ratio}");
        }
    }

    #[test]
    fn high_frequencies_do_not_come_back_as_low_ones() {
        let down = converted(WIDEBAND, TELEPHONE, &wideband(&tone(6_000.0, 16_000)));
        let ratio = level(&down) / level(&tone(6_000.0, 16_000));
        assert!(ratio < 0.02, "{ratio}");
    }

    #[test]
    fn audio_of_the_same_format_is_left_alone() {
        let mut converter = Converter::between(TELEPHONE, TELEPHONE);
        assert!(converter.is_identity());
        assert_eq!(converter.convert(&[1, 2, 3]), [1, 2, 3]);
    }

    #[test]
    fn the_loudest_audio_is_not_turned_over() {
        let loud: Vec<i16> =
            (0..16_000).map(|at| if at / 8 % 2 == 0 { i16::MAX } else { i16::MIN }).collect();
        let down = converted(WIDEBAND, TELEPHONE, &wideband(&loud));
        let jumps =
            down.windows(2).filter(|pair| i32::from(pair[0]).abs_diff(i32::from(pair[1])) > 60_000).count();
        assert!(jumps < down.len() / 3, "{jumps}");
    }
}
