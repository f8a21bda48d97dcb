//! Voice activity detection (VAD): whether a frame of the caller's audio is speech, and how loud it is.
//!
//! The engine decides about barge-in with it; this module only measures. The neural network behind it expects 16 kHz, so
//! telephone audio is interpolated: at 8 kHz it would be wrong without any sign of it.

use std::{collections::VecDeque, time::Duration};

use earshot::Detector;
use switchboard_dialogue::{CallTime, Input};
use switchboard_model::recording;

/// Samples of one prediction: 16 ms at 16 kHz.
const WINDOW: usize = 256;
/// Minimum score of a window that is speech.
const SPEECH: f32 = 0.5;
/// Level in dB below which a frame is not speech, whatever the network would say.
const MIN_SPEECH_DB: i16 = -50;
/// Maximum time from sending audio to its echo: 400 ms that are sent ahead, and 300 ms of the network.
const ECHO: Duration = Duration::from_millis(700);
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

impl From<FrameActivity> for Input {
    fn from(FrameActivity { is_speech, level_db, agent_level_db }: FrameActivity) -> Self {
        Self::Frame { is_speech, level_db, agent_level_db }
    }
}

/// Detects speech in the caller's audio.
pub(crate) struct VoiceActivityDetector {
    detector: Box<Detector>,
    window: [i16; WINDOW],
    filled: usize,
    last: i16,
    is_speech: bool,
    agent: AgentLevel,
}

impl VoiceActivityDetector {
    pub(crate) fn new() -> Self {
        Self {
            detector: Detector::default_boxed(),
            window: [0; WINDOW],
            filled: 0,
            last: 0,
            is_speech: false,
            agent: AgentLevel::default(),
        }
    }

    /// Records audio of the agent that was just sent.
    pub(crate) fn record_agent(&mut self, now: CallTime, mulaw: &[u8]) {
        self.agent.record(now, mulaw);
    }

    /// Measures the caller's next frame.
    pub(crate) fn detect(&mut self, now: CallTime, mulaw: &[u8]) -> FrameActivity {
        let (is_speech, level_db) = self.measure(mulaw);
        FrameActivity { is_speech, level_db, agent_level_db: self.agent.loudest_db(now) }
    }

    /// Whether the frame is speech, and its level. While a window is not full, the one before it counts.
    fn measure(&mut self, mulaw: &[u8]) -> (bool, i16) {
        let level = level_db(mulaw);
        if level < MIN_SPEECH_DB {
            self.filled = 0;
            self.is_speech = false;
            return (false, level);
        }
        for &byte in mulaw {
            let sample = recording::decode(byte);
            let between = i16::midpoint(self.last, sample);
            self.last = sample;
            self.window[self.filled] = between;
            self.window[self.filled + 1] = sample;
            self.filled += 2;
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
    fn record(&mut self, now: CallTime, mulaw: &[u8]) {
        self.forget(now);
        self.sent.push_back((now, level_db(mulaw)));
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

/// Root mean square in dB relative to full scale. A constant offset is inaudible and does not count.
#[expect(clippy::cast_possible_truncation, reason = "between -96 and 0")]
#[expect(clippy::cast_precision_loss, reason = "below 2^31")]
fn level_db(mulaw: &[u8]) -> i16 {
    let count = i64::try_from(mulaw.len()).unwrap_or(i64::MAX).max(1);
    let (sum, squares) = mulaw
        .iter()
        .map(|&byte| i64::from(recording::decode(byte)))
        .fold((0, 0), |(sum, squares), sample| (sum + sample, squares + sample * sample));
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
        assert_eq!(level_db(&[0xFF; 160]), SILENT_DB);
        assert_eq!(level_db(&[]), SILENT_DB);
        assert_eq!(level_db(&[[0x00, 0x80]; 80].concat()), 0);
    }

    #[test]
    fn silence_and_noise_are_not_speech() {
        let mut detector = VoiceActivityDetector::new();
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
        agent.record(at(0), &[[0x00, 0x80]; 80].concat());
        agent.record(at(100), &[0xFF; 160]);
        assert_eq!(agent.loudest_db(at(700)), 0);
        assert_eq!(agent.loudest_db(at(701)), SILENT_DB);
        assert_eq!(agent.loudest_db(at(2000)), SILENT_DB);
    }
}
