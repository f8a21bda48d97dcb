//! Voice activity detection (VAD): whether a frame of the caller's audio is speech, and how loud it is.
//!
//! The engine decides about barge-in with it; this module only measures. The neural network expects 16 kHz, so audio of
//! 8 kHz is interpolated: the network would accept it as it is, and be wrong.

use std::{collections::VecDeque, time::Duration};

use earshot::Detector;
use switchboard_dialogue::{CallTime, Input};
use switchboard_model::recording;
use switchboard_providers::audio::{AudioFormat, Encoding};

use crate::samples::samples;

/// Sample rate of the network, in hertz.
const NETWORK_RATE: u32 = 16_000;
/// Samples of one prediction: 16 ms at 16 kHz.
const WINDOW: usize = 256;
/// Minimum score of a window that is speech.
const SPEECH: f32 = 0.5;
/// Level in dB below which a frame is not speech, and the network is not run.
const MIN_SPEECH_DB: i16 = -50;
/// Maximum time from sending audio to its echo: 400 ms that are sent ahead, and 300 ms of the network.
const ECHO: Duration = Duration::from_millis(700);
/// An echo is at least this much weaker than the agent's audio, as the engine sees it.
const ECHO_MARGIN_DB: i16 = 3;
/// Level of silence, in dB.
const SILENT_DB: i16 = -96;

/// The measurements of one frame.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FrameActivity {
    pub(crate) is_speech: bool,
    /// In dB relative to full scale.
    level_db: i16,
    /// Level of the agent's audio that may be in it as an echo.
    agent_level_db: i16,
}

impl FrameActivity {
    /// Whether it is speech, and not an echo of the agent's, who may be audible.
    pub(crate) fn is_callers(self, is_agent_audible: bool) -> bool {
        self.is_speech && (!is_agent_audible || self.level_db >= self.agent_level_db - ECHO_MARGIN_DB)
    }
}

impl From<FrameActivity> for Input {
    fn from(FrameActivity { is_speech, level_db, agent_level_db }: FrameActivity) -> Self {
        Self::Frame { is_speech, level_db, agent_level_db }
    }
}

/// Detects speech in the caller's audio.
pub(crate) struct VoiceActivityDetector {
    format: AudioFormat,
    detector: Box<Detector>,
    window: [i16; WINDOW],
    filled: usize,
    last: i16,
    is_speech: bool,
    agent: AgentLevel,
}

impl VoiceActivityDetector {
    /// For audio of this format, at 8 or 16 kHz.
    pub(crate) fn new(format: AudioFormat) -> Self {
        debug_assert!([NETWORK_RATE, NETWORK_RATE / 2].contains(&format.sample_rate), "{format:?}");
        Self {
            format,
            detector: Detector::default_boxed(),
            window: [0; WINDOW],
            filled: 0,
            last: 0,
            is_speech: false,
            agent: AgentLevel::default(),
        }
    }

    /// Records audio of the agent that was just sent.
    pub(crate) fn record_agent(&mut self, now: CallTime, audio: &[u8]) {
        self.agent.record(now, level_db(self.format, audio));
    }

    /// Measures the caller's next frame.
    pub(crate) fn detect(&mut self, now: CallTime, audio: &[u8]) -> FrameActivity {
        let (is_speech, level_db) = self.measure(audio);
        FrameActivity { is_speech, level_db, agent_level_db: self.agent.loudest_db(now) }
    }

    /// Whether the frame is speech, and its level. While a window is not full, the one before it counts.
    fn measure(&mut self, audio: &[u8]) -> (bool, i16) {
        let level = level_db(self.format, audio);
        if level < MIN_SPEECH_DB {
            self.filled = 0;
            self.is_speech = false;
            return (false, level);
        }
        let is_narrowband = self.format.sample_rate < NETWORK_RATE;
        for sample in samples(self.format, audio) {
            if is_narrowband {
                self.window[self.filled] = i16::midpoint(self.last, sample);
                self.filled += 1;
            }
            self.last = sample;
            self.window[self.filled] = sample;
            self.filled += 1;
            if self.filled == WINDOW {
                self.filled = 0;
                self.is_speech = self.detector.predict_i16(&self.window) >= SPEECH;
            }
        }
        (self.is_speech, level)
    }
}

/// The recent levels of the agent's audio.
#[derive(Default)]
struct AgentLevel {
    /// When audio was sent, and its level.
    sent: VecDeque<(CallTime, i16)>,
}

impl AgentLevel {
    fn record(&mut self, now: CallTime, level_db: i16) {
        self.forget(now);
        self.sent.push_back((now, level_db));
    }

    /// The loudest level that may come back as an echo.
    fn loudest_db(&mut self, now: CallTime) -> i16 {
        self.forget(now);
        self.sent.iter().map(|(_, level)| *level).max().unwrap_or(SILENT_DB)
    }

    fn forget(&mut self, now: CallTime) {
        while self.sent.front().is_some_and(|(at, _)| now.since(*at) > ECHO) {
            self.sent.pop_front();
        }
    }
}

/// Number, sum and sum of squares of samples.
fn sums(samples: impl Iterator<Item = i16>) -> (i64, i64, i64) {
    samples
        .map(i64::from)
        .fold((0, 0, 0), |(count, sum, squares), sample| (count + 1, sum + sample, squares + sample * sample))
}

/// Root mean square in dB relative to full scale. A constant offset is inaudible and does not count.
#[expect(clippy::cast_possible_truncation, reason = "between -96 and 0")]
#[expect(clippy::cast_precision_loss, reason = "below 2^31")]
fn level_db(format: AudioFormat, audio: &[u8]) -> i16 {
    // Every frame in both directions passes here, so each encoding has a loop of its own.
    let (count, sum, squares) = match format.encoding {
        Encoding::MuLaw => sums(audio.iter().map(|byte| recording::decode(*byte))),
        Encoding::Pcm16 => sums(samples(format, audio)),
    };
    let count = count.max(1);
    let variance = squares / count - (sum / count).pow(2);
    if variance < 1 {
        return SILENT_DB;
    }
    (10.0 * (variance as f64 / (32_768.0 * 32_768.0)).log10()).round() as i16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_relative_to_full_scale() {
        assert_eq!(level_db(AudioFormat::TELEPHONE, &[0xFF; 160]), SILENT_DB);
        assert_eq!(level_db(AudioFormat::TELEPHONE, &[]), SILENT_DB);
        assert_eq!(level_db(AudioFormat::TELEPHONE, &[[0x00, 0x80]; 80].concat()), 0);
        let wideband = AudioFormat { encoding: Encoding::Pcm16, sample_rate: 16_000 };
        let square = [i16::MAX.to_le_bytes(), i16::MIN.to_le_bytes()].concat().repeat(80);
        assert_eq!(level_db(wideband, &square), 0);
    }

    #[test]
    fn silence_and_noise_are_not_speech() {
        let mut detector = VoiceActivityDetector::new(AudioFormat::TELEPHONE);
        let mut noise = 1_u32;
        for _ in 0..200 {
            assert_eq!(detector.measure(&[0xFF; 160]), (false, SILENT_DB));
        }
        let speech = (0..200).filter(|_| {
            let frame: Vec<u8> = (0..160)
                .map(|_| {
                    noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    // Quiet hiss: small values of both signs.
                    (noise >> 24) as u8 | 0x60
                })
                .collect();
            detector.measure(&frame).0
        });
        assert!(speech.count() < 20, "hiss is not speech");
    }

    #[test]
    fn levels_are_forgotten_when_their_echo_is_over() {
        let mut agent = AgentLevel::default();
        let at = |ms: u64| CallTime(ms * 1000);
        agent.record(at(0), 0);
        agent.record(at(100), SILENT_DB);
        assert_eq!(agent.loudest_db(at(700)), 0);
        assert_eq!(agent.loudest_db(at(701)), SILENT_DB);
        assert_eq!(agent.loudest_db(at(2000)), SILENT_DB);
    }
}
