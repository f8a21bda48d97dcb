//! The heard-words ledger: what is stored of the agent is what was heard of it.
//!
//! The agent's channel of the recording is cut where the stored messages begin and end, and recognised: each
//! cut must say what the message says. And nothing may be heard that no message has.
//!
//! What a false ledger does wrong it does at the edges: a sentence that was cut off is stored whole, or its
//! last words are missing. What a recogniser gets wrong lies anywhere: of this one 2 to 5 words of a hundred
//! on clear speech, more where it meets names and amounts. So a message's edges are checked strictly, to the
//! word, and its inside with patience.

use std::ops::Range;

use serde_json::{Value, json};
use switchboard_model::messages::Message;
use switchboard_sandbox::{audio, speech::Speech};

use crate::evidence::{
    recording::{AUDIBLE, Recording, loudness},
    words::{WordErrors, distance, find, words},
};

/// Utterance at either edge of a message that may be stored though they were not heard.
const MISSING: usize = 1;
/// Utterance there that may be heard though they are not stored. A recogniser makes a whole word of the one that
/// was cut in its middle; and where in its audio a word lies is estimated, of a voice that does not say it.
const MORE: usize = MISSING + 1;
/// One wrong word in so many is the recogniser's own.
const WORDS_PER_ERROR: usize = 5;
/// Of messages as short as this a recogniser has no context: they are not checked at the edges.
const SHORT: usize = 3;
/// Silence around a cut, without which recognisers swallow the first word.
const AROUND_MS: usize = 200;
/// What is heard so long before or after a message still belongs to it: the rest of a word that was cut.
const MARGIN_MS: i64 = 700;
/// So much sound that no message has is speech.
const SPEECH_MS: usize = 500;
/// Loudness is looked at in steps of this.
const STEP_MS: usize = 50;

/// A message of the agent against the recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HeardCheck {
    pub(super) stored: String,
    pub(super) recognised: String,
    pub(super) interrupted: bool,
    /// Utterance stored, and how many of them differ.
    pub(super) errors: WordErrors,
    /// What is wrong with it.
    pub(super) fault: Option<String>,
}

impl HeardCheck {
    fn new(stored: String, recognised: String, interrupted: bool) -> Self {
        let errors = WordErrors::between(&stored, &recognised);
        let fault = fault(&stored, &recognised, interrupted);
        Self { stored, recognised, interrupted, errors, fault }
    }

    /// For machines.
    pub(super) fn json(&self) -> Value {
        let Self { stored, recognised, interrupted, errors: WordErrors { words, errors }, fault } = self;
        json!({
            "stored": stored, "recognised": recognised, "interrupted": interrupted,
            "words": words, "errors": errors, "ok": fault.is_none(),
        })
    }
}

/// Recognises each message's part of the recording, which began at `began` (milliseconds since 1970).
///
/// # Errors
///
/// The speech service does not answer.
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

/// What is heard of the agent that no message has: from when to when, in milliseconds of the recording.
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

/// Where a message lies in the recording, with so many milliseconds on either side.
fn range(recording: &Recording, began: i64, message: &Message, margin: i64) -> Range<usize> {
    let at = |ms: i64| usize::try_from(ms - began).unwrap_or(0) * samples_per_ms(recording);
    let end = at(message.ended_at.as_millis() + margin).min(recording.agent.len());
    at(message.started_at.as_millis() - margin).min(end)..end
}

fn samples_per_ms(recording: &Recording) -> usize {
    usize::try_from(recording.rate / 1_000).unwrap_or(1).max(1)
}

/// What is wrong with a message of which this was recognised.
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
    let errors = distance(&stored, &recognised);
    let allowed = inside + if interrupted { MORE } else { 0 };
    (errors > allowed).then(|| format!("{errors} of its {} words differ", stored.len()))
}

#[cfg(test)]
mod tests {
    use switchboard_model::{messages::Role, time::Timestamp};

    use super::*;

    #[test]
    fn a_message_must_say_what_was_heard_to_the_word_at_its_edges() {
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
    fn what_is_heard_and_not_stored_is_found() {
        let mut agent = vec![0_i16; 10 * 8_000];
        agent[8_000..24_000].fill(8_000);
        let mut recording = Recording { rate: 8_000, caller: vec![], agent };
        let message = Message {
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
