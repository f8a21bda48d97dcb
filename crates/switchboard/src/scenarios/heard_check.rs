//! Checks that the stored messages of the agent are the words that were heard.
//!
//! The agent's channel of the recording is cut where each stored message begins and ends, and recognised: each cut
//! must contain the words of its message. Outside the messages the agent must be silent.
//!
//! An error of our bookkeeping lies at the edges of a message: an interrupted sentence is stored whole, or its last
//! words are missing. An error of the recogniser lies anywhere: 2 to 5 words of a hundred on clear speech, more in
//! names and amounts. So the edges are checked to the word, and the inside with a tolerance.

use std::ops::Range;

use serde_json::{Value, json};
use strsim::generic_levenshtein;
use switchboard_model::messages::Message;
use switchboard_sandbox::{audio, speech::Speech};

use crate::evidence::{
    recording::{AUDIBLE, Recording, loudness},
    words::{WordErrors, find, words},
};

/// Words at either edge of a message that may be stored without being heard.
const MISSING: usize = 1;
/// Words at either edge that may be heard without being stored. A recogniser completes a word that was cut, and the
/// place of a word in the audio is estimated for a voice without word times.
const MORE: usize = MISSING + 1;
/// Words per tolerated error inside a message.
const WORDS_PER_ERROR: usize = 5;
/// Messages up to this many words are not checked at the edges: they give the recogniser no context.
const SHORT: usize = 3;
/// Silence added around a cut; without it recognisers lose the first word.
const AROUND_MS: usize = 200;
/// Audio this close to a message belongs to it: the rest of a word that was cut.
const MARGIN_MS: i64 = 700;
/// Sound outside all messages counts as speech from this length on.
const SPEECH_MS: usize = 500;
/// Step in which loudness is measured.
const STEP_MS: usize = 50;

/// A message of the agent against the recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HeardCheck {
    pub(super) stored: String,
    pub(super) recognised: String,
    pub(super) interrupted: bool,
    /// Words stored, and how many of them differ.
    pub(super) errors: WordErrors,
    /// The difference, if the message fails.
    pub(super) fault: Option<String>,
}

impl HeardCheck {
    fn new(stored: String, recognised: String, interrupted: bool) -> Self {
        let errors = WordErrors::between(&stored, &recognised);
        let fault = fault(&stored, &recognised, interrupted);
        Self { stored, recognised, interrupted, errors, fault }
    }

    /// The check as JSON.
    pub(super) fn json(&self) -> Value {
        let Self { stored, recognised, interrupted, errors: WordErrors { words, errors }, fault } = self;
        json!({
            "stored": stored, "recognised": recognised, "interrupted": interrupted,
            "words": words, "errors": errors, "ok": fault.is_none(),
        })
    }
}

/// Recognises the part of the recording that belongs to each message. The recording began at `began` (milliseconds
/// since 1970).
///
/// # Errors
///
/// The speech service did not respond.
pub(super) async fn check(
    speech: &Speech,
    recording: &Recording,
    began: i64,
    messages: &[Message],
) -> anyhow::Result<Vec<HeardCheck>> {
    let mut checked = vec![];
    for message in messages {
        let around = vec![audio::SILENCE; AROUND_MS * samples_per_ms(recording)];
        let range = range(recording, began, message, 0);
        let cut: Vec<u8> = recording.agent[range].iter().map(|sample| audio::encode(*sample)).collect();
        let recognised = speech.transcribe(&[&around[..], &cut, &around].concat()).await?;
        checked.push(HeardCheck::new(message.content.clone(), recognised, message.interrupted));
    }
    Ok(checked)
}

/// The speech of the agent outside all messages, in milliseconds of the recording.
pub(super) fn unstored(recording: &Recording, began: i64, messages: &[Message]) -> Option<Range<usize>> {
    let stored: Vec<_> = messages.iter().map(|message| range(recording, began, message, MARGIN_MS)).collect();
    let step = STEP_MS * samples_per_ms(recording);
    let mut loud: Vec<usize> = vec![];
    for (index, part) in recording.agent.chunks(step).enumerate() {
        let is_stored = stored.iter().any(|range| range.contains(&(index * step)));
        if !is_stored && loudness(part) > AUDIBLE {
            loud.push(index * STEP_MS);
        }
    }
    let (first, last) = (*loud.first()?, *loud.last()?);
    (loud.len() * STEP_MS >= SPEECH_MS).then_some(first..last + STEP_MS)
}

/// The samples of a message, widened by `margin` milliseconds on either side.
fn range(recording: &Recording, began: i64, message: &Message, margin: i64) -> Range<usize> {
    let at = |ms: i64| usize::try_from(ms - began).unwrap_or(0) * samples_per_ms(recording);
    let end = at(message.ended_at.as_millis() + margin).min(recording.agent.len());
    at(message.started_at.as_millis() - margin).min(end)..end
}

fn samples_per_ms(recording: &Recording) -> usize {
    usize::try_from(recording.rate / 1_000).unwrap_or(1).max(1)
}

/// The difference between a message and its recognised words, if it is more than the recogniser's own error.
fn fault(stored: &str, recognised: &str, interrupted: bool) -> Option<String> {
    let (mut stored, mut recognised) = (words(stored), words(recognised));
    let inside = (stored.len() / WORDS_PER_ERROR).max(1);
    if stored.len() > SHORT {
        for edge in ["end", "beginning"] {
            let missing = stored.len() - find(&recognised, &stored).last_end;
            let more = recognised.len() - find(&stored, &recognised).last_end;
            if missing > MISSING {
                return Some(format!("at its {edge} {missing} words are stored that were not heard"));
            }
            if more > MORE {
                return Some(format!("at its {edge} {more} words were heard that are not stored"));
            }
            stored.reverse();
            recognised.reverse();
        }
    }
    let errors = generic_levenshtein(&stored, &recognised);
    let allowed = inside + if interrupted { MORE } else { 0 };
    (errors > allowed).then(|| format!("{errors} of its {} words differ", stored.len()))
}

#[cfg(test)]
mod tests {
    use switchboard_model::{messages::Role, time::Timestamp};

    use super::*;

    #[test]
    fn a_message_must_match_to_the_word_at_its_edges() {
        let said = "On Saturday we close at six in the evening. Can I help you with anything else?";
        for (stored, recognised, interrupted) in [
            (said, "on Saturday, we close at 6 in the evening. can I help you with anything else", false),
            (said, "on saturday we clothes at six in the evening can I help you with anything else", false),
            ("On Saturday we close at six", "On Saturday we close at six in", true),
            ("On Saturday we close at six", "On Saturday we close at six in thee", true),
            ("On Saturday we close at six", "On Saturday we close at", true),
            ("On Saturday we close at six", "On Saturday we close at sick", true),
            ("Yes.", "Yeah.", false),
            ("Goodbye.", "", true),
        ] {
            assert_eq!(fault(stored, recognised, interrupted), None, "{stored} {recognised}");
        }
        for (stored, recognised, interrupted, expected) in [
            (
                "On Saturday we close at six",
                "On Saturday we",
                true,
                "at its end 3 words are stored that were not heard",
            ),
            (
                "On Saturday we close",
                "On Saturday we close at six in",
                true,
                "at its end 3 words were heard that are not stored",
            ),
            (
                "we close at six",
                "Well on Saturday we close at six",
                false,
                "at its beginning 3 words were heard",
            ),
            (
                said,
                "On Saturday we closed that sick in the evening can I held you with anything",
                false,
                "5 of its 16 words differ",
            ),
            ("Good morning.", "We close at six.", false, "4 of its 2 words differ"),
        ] {
            let fault = fault(stored, recognised, interrupted).unwrap_or_default();
            assert!(fault.starts_with(expected), "{stored} {recognised}: {fault}");
        }
    }

    #[test]
    fn speech_outside_all_messages_is_found() {
        let mut agent = vec![0_i16; 10 * 8_000];
        agent[8_000..24_000].fill(8_000);
        let mut recording = Recording { rate: 8_000, caller: vec![], agent };
        let message = Message {
            kind: switchboard_model::messages::MessageKind::Speech,
            role: Role::Agent,
            content: "Hello.".into(),
            started_at: Timestamp::from_millis(1_001_000),
            ended_at: Timestamp::from_millis(1_003_000),
            interrupted: false,
        };
        let messages = [message];
        assert_eq!(range(&recording, 1_000_000, &messages[0], 0), 8_000..24_000);
        assert_eq!(unstored(&recording, 1_000_000, &messages), None);
        assert_eq!(unstored(&recording, 1_000_000, &[]), Some(1_000..3_000));
        // The rest of a word that was cut off is not a sentence.
        recording.agent[24_000..27_000].fill(8_000);
        assert_eq!(unstored(&recording, 1_000_000, &messages), None);
        recording.agent[40_000..48_000].fill(8_000);
        assert_eq!(unstored(&recording, 1_000_000, &messages), Some(5_000..6_000));
    }
}
