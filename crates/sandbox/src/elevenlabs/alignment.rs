//! When the characters of a text are spoken in its audio. Pure.
//!
//! The engine does not say it, so each character takes the same share of the sound between the silences at both ends.

use serde_json::{Value, json};

/// Quieter samples are silence: -46 dB of full scale.
const SILENCE: u16 = 164;

/// The audio of one sentence with the times of its characters.
#[derive(Debug)]
pub(super) struct TimedSpeech {
    pub(super) samples: Vec<i16>,
    rate: u32,
    /// Each character with its first sample and the one behind its last.
    characters: Vec<(char, usize, usize)>,
}

impl TimedSpeech {
    pub(super) fn new(text: &str, samples: Vec<i16>, rate: u32) -> Self {
        let is_loud = |sample: &i16| sample.unsigned_abs() > SILENCE;
        let first = samples.iter().position(is_loud).unwrap_or(0);
        let last = samples.iter().rposition(is_loud).map_or(samples.len(), |last| last + 1);
        let count = text.chars().count().max(1);
        let at = |index: usize| first + (last - first) * index / count;
        let characters = text.chars().enumerate().map(|(index, c)| (c, at(index), at(index + 1))).collect();
        Self { samples, rate, characters }
    }

    /// The alignment of the characters that begin within these samples, from the first of them on; of all without an end.
    pub(super) fn alignment(&self, from: usize, until: Option<usize>) -> Option<Value> {
        let within = self
            .characters
            .iter()
            .filter(|(_, start, _)| *start >= from && until.is_none_or(|until| *start < until));
        let rate = self.rate as usize;
        let millis = |samples: usize| (samples * 1_000 + rate / 2) / rate;
        let (mut chars, mut starts, mut durations) = (vec![], vec![], vec![]);
        for (c, start, end) in within {
            chars.push(c.to_string());
            starts.push(millis(start - from));
            durations.push(millis(end - from) - millis(start - from));
        }
        let alignment = json!({ "chars": chars, "charStartTimesMs": starts, "charDurationsMs": durations });
        (!chars.is_empty()).then_some(alignment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tenth of a second of silence, a second of sound, and silence again.
    fn speech(text: &str) -> TimedSpeech {
        let samples = [vec![0; 800], vec![4_000; 8_000], vec![0; 1_600]].concat();
        TimedSpeech::new(text, samples, 8_000)
    }

    #[test]
    fn characters_share_the_sound_between_the_silences() {
        let whole = speech("Hi you.   ").alignment(0, None).unwrap();
        assert_eq!(whole["chars"].as_array().unwrap().len(), 10);
        assert_eq!(whole["charStartTimesMs"][0], 100);
        assert_eq!(whole["charStartTimesMs"][9], 1_000);
        assert_eq!(whole["charDurationsMs"][9], 100);
    }

    #[test]
    fn the_times_of_a_part_begin_at_the_part() {
        let speech = speech("Hi you.   ");
        let first = speech.alignment(0, Some(2_400)).unwrap();
        assert_eq!(first["chars"], serde_json::json!(["H", "i"]));
        let second = speech.alignment(2_400, Some(4_800)).unwrap();
        assert_eq!(second["chars"][0], " ");
        assert_eq!(second["charStartTimesMs"][0], 0);
        assert_eq!(speech.alignment(9_600, Some(10_400)), None);
    }
}
