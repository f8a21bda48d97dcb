//! Detects whether telephone audio contains a voice.
//!
//! Recognisers write words for any short sound. But every word has a vowel, and a vowel repeats itself from one pulse of
//! the voice to the next, which a cough does not.

use crate::audio::{FRAME_BYTES, decode, ratio};

/// Samples that are compared with later ones: 30 ms.
const WINDOW: usize = 240;
/// Samples from one pulse of a voice to the next: 60 to 400 Hz.
const PERIODS: std::ops::Range<usize> = 20..134;
/// Minimum correlation in a vowel; 1 is equality.
const ALIKE: f32 = 0.7;
/// Steps of 20 ms in a row that make a vowel. The shortest word has six, noise at most one.
const VOWEL: usize = 3;
/// The mean square below which a window is silent: -46 dBFS.
const SILENT: f32 = 164.0 * 164.0;

/// Whether any part of the audio is voiced.
pub(crate) fn has_voice(mulaw: &[u8]) -> bool {
    let samples: Vec<f32> = mulaw.iter().map(|&byte| f32::from(decode(byte))).collect();
    let mut run = 0;
    samples.windows(WINDOW + PERIODS.end).step_by(FRAME_BYTES).any(|span| {
        run = if is_voiced(span) { run + 1 } else { 0 };
        run >= VOWEL
    })
}

fn is_voiced(span: &[f32]) -> bool {
    let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    let window = &span[..WINDOW];
    let energy = product(window, window);
    if energy < SILENT * ratio(WINDOW, 1) {
        return false;
    }
    PERIODS.into_iter().any(|period| {
        let later = &span[period..][..WINDOW];
        let scale = (energy * product(later, later)).sqrt();
        product(window, later) >= ALIKE * scale && scale > 0.0
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::{SILENCE, encode, to_sample};

    /// A sawtooth, like the pulses of vocal cords, of this length.
    fn voice(pitch: f32, ms: usize) -> Vec<u8> {
        let sample = |n| 8000.0 * ((pitch * ratio(n, 8000)) % 1.0 - 0.5);
        (0..8 * ms).map(|n| encode(to_sample(sample(n)))).collect()
    }

    #[test]
    fn a_short_vowel_of_any_pitch_is_voiced() {
        for pitch in [70.0, 120.0, 250.0, 390.0] {
            let audio = [vec![SILENCE; 1600], voice(pitch, 130), vec![SILENCE; 960]].concat();
            assert!(has_voice(&audio), "{pitch} Hz");
        }
    }

    #[test]
    fn silence_noise_and_clicks_are_not_voiced() {
        let mut state = 1_u32;
        let noise: Vec<u8> = (0..16_000)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                state.to_be_bytes()[0] & 0x9F
            })
            .collect();
        assert!(!has_voice(&noise));
        assert!(!has_voice(&[SILENCE; 16_000]));
        assert!(!has_voice(&voice(120.0, 40)));
        assert!(!has_voice(&[]));
    }
}
