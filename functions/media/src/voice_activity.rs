//! Does a frame of the caller's audio sound like speech, and how loud is it.
//!
//! What is decided with it is in [`switchboard_dialogue`]; here are only transcriber. The network behind it hears
//! 16 kHz, so telephone audio is interpolated; without that it would quietly be wrong.

use std::{collections::VecDeque, time::Duration};

use earshot::Detector;
use switchboard_dialogue::{CallTime, Input};
use switchboard_model::recording;

/// Samples that the network takes at a time: 16 ms.
const WINDOW: usize = 256;
/// A window with this score is speech.
const SPEECH: f32 = 0.5;
/// Quieter frames are no speech, and the network need not look at them.
const FLOOR_DB: i16 = -50;
/// What the agent said this long ago can still come back: 400 ms are sent ahead, and an echo takes up to 300.
const ECHO: Duration = Duration::from_millis(700);
/// Silence, in dB.
const SILENT_DB: i16 = -96;

/// A frame of the caller's, as far as it can be judged without words.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame {
    pub(crate) is_speech: bool,
    /// In dB relative to full scale.
    level_db: i16,
    /// How loud the agent was lately.
    agent_level_db: i16,
}

impl From<Frame> for Input {
    fn from(Frame { is_speech, level_db, agent_level_db }: Frame) -> Self {
        Self::Frame { is_speech, level_db, agent_level_db }
    }
}

/// The caller's side, and what of the agent's may be in it.
pub(crate) struct VoiceActivity {
    detector: Box<Detector>,
    window: [i16; WINDOW],
    filled: usize,
    last: i16,
    is_speech: bool,
    agent: AgentLevel,
}

impl VoiceActivity {
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

    /// Audio of the agent that was just sent.
    pub(crate) fn sent(&mut self, now: CallTime, mulaw: &[u8]) {
        self.agent.sent(now, mulaw);
    }

    /// A frame of the caller's.
    pub(crate) fn frame(&mut self, now: CallTime, mulaw: &[u8]) -> Frame {
        let (is_speech, level_db) = self.hears(mulaw);
        Frame { is_speech, level_db, agent_level_db: self.agent.loudest_db(now) }
    }

    /// Whether the frame sounds like speech, and its level. A window that is not full yet says what the
    /// one before said.
    fn hears(&mut self, mulaw: &[u8]) -> (bool, i16) {
        let level = level_db(mulaw);
        if level < FLOOR_DB {
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

/// The agent's side: how loud it was lately.
#[derive(Default)]
struct AgentLevel {
    /// When something was sent, and its level.
    sent: VecDeque<(CallTime, i16)>,
}

impl AgentLevel {
    fn sent(&mut self, now: CallTime, mulaw: &[u8]) {
        self.forget(now);
        self.sent.push_back((now, level_db(mulaw)));
    }

    /// The loudest of what may come back as an echo.
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

/// Root mean square in dB relative to full scale; a constant offset is not heard, and does not count.
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
    fn silence_is_silent_and_a_full_square_wave_is_at_full_scale() {
        assert_eq!(level_db(&[0xFF; 160]), SILENT_DB);
        assert_eq!(level_db(&[]), SILENT_DB);
        assert_eq!(level_db(&[[0x00, 0x80]; 80].concat()), 0);
    }

    #[test]
    fn silence_and_noise_are_no_speech() {
        let mut transcriber = VoiceActivity::new();
        let mut noise = 1_u32;
        for _ in 0..200 {
            assert_eq!(transcriber.hears(&[0xFF; 160]), (false, SILENT_DB));
        }
        let heard = (0..200).filter(|_| {
            let frame: Vec<u8> = (0..160)
                .map(|_| {
                    noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    // Quiet hiss: small values of both signs.
                    (noise >> 24) as u8 | 0x60
                })
                .collect();
            transcriber.hears(&frame).0
        });
        assert!(heard.count() < 20, "hiss is not speech");
    }

    #[test]
    fn what_was_sent_is_forgotten_when_no_echo_of_it_can_come() {
        let mut agent = AgentLevel::default();
        let at = |ms: u64| CallTime(ms * 1000);
        agent.sent(at(0), &[[0x00, 0x80]; 80].concat());
        agent.sent(at(100), &[0xFF; 160]);
        assert_eq!(agent.loudest_db(at(700)), 0);
        assert_eq!(agent.loudest_db(at(701)), SILENT_DB);
        assert_eq!(agent.loudest_db(at(2000)), SILENT_DB);
    }
}
