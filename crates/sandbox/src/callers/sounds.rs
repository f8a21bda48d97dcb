//! Sounds without words: those that a person makes, and the echo and noise of their line. All of them are computed, and
//! equal every time.

use std::{collections::VecDeque, f32::consts::TAU};

use bytes::Bytes;

use super::scripts::{Echo, Sound};
use crate::audio::{FRAME_BYTES, SAMPLE_RATE, SILENCE, decode, encode, index, ratio, to_sample};

/// Full scale of a sample.
const FULL: f32 = 32_768.0;

impl Sound {
    /// The sound in mu-law.
    pub(super) fn audio(self) -> Bytes {
        let samples = match self {
            Self::Cough => cough(),
            Self::Hum => hum(),
            Self::Beep => beep(),
        };
        samples.into_iter().map(|sample| encode(to_sample(sample * FULL))).collect()
    }
}

/// Two loud bursts of breath without a voice: 340 ms.
fn cough() -> Vec<f32> {
    let mut noise = Noise::new();
    let mut throat = [(800.0, 0.83), (1300.0, 0.77)].map(Resonator::new);
    (0..samples(340))
        .map(|n| {
            let t = seconds(n);
            // Each burst starts abruptly and fades.
            let (since, length) = if t < 0.15 { (t, 0.15) } else { (t - 0.15, 0.19) };
            let envelope = (since / 0.006).min(1.0) * (1.0 - since / length).max(0.0).powf(0.7);
            let breath = envelope * noise.next();
            throat.iter_mut().map(|formant| formant.filter(breath)).sum::<f32>() * 0.26
        })
        .collect()
}

/// A second of a voice with the mouth closed.
fn hum() -> Vec<f32> {
    let mut phase = 0.0;
    (0..samples(1000))
        .map(|n| {
            let t = seconds(n);
            let envelope = (t / 0.08).min(1.0) * ((1.0 - t) / 0.15).clamp(0.0, 1.0);
            let pitch = 125.0 + 6.0 * (TAU * 3.0 * t).sin();
            phase = (phase + pitch / 8000.0) % 1.0;
            let harmonics = [(1.0, 1.0), (2.0, 0.7), (3.0, 0.35), (4.0, 0.12), (8.0, 0.05), (17.0, 0.03)];
            let voice: f32 = harmonics.iter().map(|(k, level)| level * (TAU * k * phase).sin()).sum();
            envelope * voice * 0.12
        })
        .collect()
}

/// The tone of an answering machine: half a second of 1 kHz.
fn beep() -> Vec<f32> {
    (0..samples(500)).map(|n| 0.3 * (TAU * 1000.0 * seconds(n)).sin()).collect()
}

fn samples(ms: usize) -> usize {
    ms * index(SAMPLE_RATE) / 1000
}

fn seconds(sample: usize) -> f32 {
    ratio(sample, index(SAMPLE_RATE))
}

/// A formant: a resonance at one frequency.
struct Resonator {
    gain: f32,
    feedback: [f32; 2],
    last: [f32; 2],
}

impl Resonator {
    /// A resonance at a frequency in Hz; the nearer `decay` is to one, the longer it lasts.
    fn new((frequency, decay): (f32, f32)) -> Self {
        let feedback = [2.0 * decay * (TAU * frequency / 8000.0).cos(), -decay * decay];
        Self { gain: 2.0 * (1.0 - decay), feedback, last: [0.0; 2] }
    }

    fn filter(&mut self, input: f32) -> f32 {
        let output = self.gain * input + self.feedback[0] * self.last[0] + self.feedback[1] * self.last[1];
        self.last = [output, self.last[0]];
        output
    }
}

/// White noise from a xorshift generator with a fixed seed.
struct Noise(u32);

impl Noise {
    fn new() -> Self {
        Self(0x9E37_79B9)
    }

    /// A value between -1 and 1.
    fn next(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        let [high, low, ..] = self.0.to_be_bytes();
        f32::from(i16::from_be_bytes([high, low])) / FULL
    }
}

/// The effects of a person's line on their audio: an echo of the agent, and noise.
pub(crate) struct LineEffects {
    /// Gain of the echo; zero without one.
    echo: f32,
    /// Frames that will return as echo, the oldest first.
    coming: VecDeque<[u8; FRAME_BYTES]>,
    /// The largest sample of the noise; zero without noise.
    hiss: f32,
    noise: Noise,
}

impl LineEffects {
    pub(crate) fn new(echo: Option<Echo>, noise_db: Option<f32>) -> Self {
        let gain = |db: f32| 10.0_f32.powf(db / 20.0);
        let delay = echo.map_or(0, Echo::frames);
        Self {
            echo: echo.map_or(0.0, |echo| gain(echo.db)),
            coming: vec![[SILENCE; FRAME_BYTES]; delay].into(),
            // The level of uniform noise is its largest sample divided by the square root of three.
            hiss: noise_db.map_or(0.0, |db| gain(db) * FULL * 3.0_f32.sqrt()),
            noise: Noise::new(),
        }
    }

    /// Advances by 20 ms: adds the effects to `said`; `heard` is the agent's audio.
    pub(crate) fn step(&mut self, heard: &[u8; FRAME_BYTES], said: &mut [u8; FRAME_BYTES]) {
        if self.echo == 0.0 && self.hiss == 0.0 {
            return;
        }
        self.coming.push_back(*heard);
        let back = self.coming.pop_front().unwrap_or([SILENCE; FRAME_BYTES]);
        for (said, back) in said.iter_mut().zip(back) {
            let sum = f32::from(decode(*said))
                + self.echo * f32::from(decode(back))
                + self.hiss * self.noise.next();
            *said = encode(to_sample(sum));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        audio::{Segment, Segmenter, duration},
        speech::voicing::has_voice,
    };

    const QUIET: [u8; FRAME_BYTES] = [SILENCE; FRAME_BYTES];

    /// Root mean square in dB, relative to full scale.
    fn level(mulaw: &[u8]) -> f32 {
        let sum: f32 = mulaw.iter().map(|&byte| f32::from(decode(byte)).powi(2)).sum();
        10.0 * (sum / ratio(mulaw.len(), 1) / FULL / FULL).log10()
    }

    #[test]
    fn a_sound_has_its_documented_length_and_the_level_of_speech() {
        for (sound, ms) in [(Sound::Cough, 340), (Sound::Hum, 1000), (Sound::Beep, 500)] {
            let audio = sound.audio();
            assert_eq!(duration(audio.len()).as_millis(), ms, "{sound:?}");
            assert!((-25.0..-10.0).contains(&level(&audio)), "{sound:?}: {} dB", level(&audio));
            assert_eq!(audio, sound.audio(), "always the same");
        }
    }

    #[test]
    fn a_cough_is_one_utterance_by_its_energy() {
        let mut segmenter = Segmenter::new(std::time::Duration::from_millis(300));
        let found = segmenter.push(&[&Sound::Cough.audio()[..], &[SILENCE; 8000]].concat());
        assert!(matches!(found[..], [Segment::Started { .. }, Segment::Ended { .. }]), "{found:?}");
    }

    #[test]
    fn a_cough_has_no_voice_and_a_hum_has() {
        assert!(!has_voice(&Sound::Cough.audio()));
        assert!(has_voice(&Sound::Hum.audio()));
    }

    #[test]
    fn an_echo_returns_late_and_attenuated() {
        let echo = serde_json::from_str(r#"{ "db": -20, "delay_ms": 60 }"#).unwrap();
        let mut effects = LineEffects::new(Some(echo), None);
        let tone: [u8; FRAME_BYTES] = Sound::Beep.audio()[..FRAME_BYTES].try_into().unwrap();
        let mut step = |heard: &[u8; FRAME_BYTES], mut said: [u8; FRAME_BYTES]| {
            effects.step(heard, &mut said);
            said
        };
        assert_eq!(step(&tone, QUIET), QUIET);
        assert_eq!(step(&QUIET, tone), tone, "what is said is heard as it is");
        assert_eq!(step(&QUIET, QUIET), QUIET);
        let difference = level(&step(&QUIET, QUIET)) - level(&tone);
        assert!((difference + 20.0).abs() < 0.5, "{difference} dB");
        assert_eq!(step(&QUIET, QUIET), QUIET);
    }

    #[test]
    fn noise_has_the_configured_level() {
        for db in [-60.0, -55.0, -48.0] {
            let mut effects = LineEffects::new(None, Some(db));
            let mut audio = Vec::new();
            for _ in 0..50 {
                let mut said = QUIET;
                effects.step(&QUIET, &mut said);
                audio.extend(said);
            }
            assert!((level(&audio) - db).abs() < 1.0, "{} dB, not {db}", level(&audio));
        }
    }

    #[test]
    fn a_line_without_effects_adds_nothing() {
        let mut effects = LineEffects::new(None, None);
        let mut said = QUIET;
        effects.step(&[0x80; FRAME_BYTES], &mut said);
        assert_eq!(said, QUIET);
    }
}
