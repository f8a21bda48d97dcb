//! Endpointing: is the user's turn over?
//!
//! Two ends race, and the first one wins: the transcriber detects the end of the turn (it counts a little later if
//! the text sounds unfinished and the transcriber goes by silence alone), or no words come for a while.

use std::time::Duration;

use crate::{call_time::CallTime, settings::TranscriberProfile, timing::TURN_SILENCE};

/// Without turn detection a turn ends after this long without words.
const SILENCE_WITHOUT_DETECTION: Duration = Duration::from_secs(1);
/// Extra wait when the text ends with a number or a conjunction: more is probably coming.
const UNFINISHED_WAIT: Duration = Duration::from_millis(500);

/// Words that rarely end a sentence. "So" and "that" are left out: they often do.
const CONJUNCTIONS: [&str; 11] =
    ["and", "or", "but", "because", "if", "nor", "unless", "until", "whether", "while", "although"];

/// Digits as a transcriber writes them if it does not format numbers. Two in a row are part of a number.
const SPOKEN_DIGITS: [&str; 11] =
    ["zero", "oh", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];

/// The ends of the current turn.
#[derive(Debug)]
pub(super) struct Endpointing {
    detects_turns: bool,
    understands_turns: bool,
    /// The end by silence.
    silence: CallTime,
    /// The end by detection, if the transcriber reported one.
    detected: Option<CallTime>,
}

impl Endpointing {
    pub(super) fn new(transcriber: &TranscriberProfile) -> Self {
        let TranscriberProfile { detects_turns, understands_turns, .. } = *transcriber;
        Self { detects_turns, understands_turns, silence: CallTime::default(), detected: None }
    }

    /// When the turn ends, if it has words.
    pub(super) fn due(&self) -> CallTime {
        self.detected.map_or(self.silence, |detected| detected.min(self.silence))
    }

    /// The transcriber delivered words: the silence begins anew. New words (`is_news`) revoke a detected end.
    pub(super) fn words(&mut self, at: CallTime, text: &str, is_news: bool) {
        self.silence = if self.detects_turns {
            at + TURN_SILENCE
        } else {
            at + SILENCE_WITHOUT_DETECTION + unfinished_wait(text)
        };
        if is_news {
            self.revoke();
        }
    }

    /// The transcriber detected the end of a turn whose latest words are `text`. A second detection does not put
    /// the end off.
    pub(super) fn end_detected(&mut self, at: CallTime, text: &str) {
        let wait = if self.understands_turns { Duration::ZERO } else { unfinished_wait(text) };
        self.detected.get_or_insert(at + wait);
    }

    /// Ends the turn now, even if it sounds unfinished.
    pub(super) fn mark_complete(&mut self, at: CallTime) {
        self.detected = Some(at);
    }

    /// The turn goes on: a detected end does not count.
    pub(super) fn revoke(&mut self) {
        self.detected = None;
    }

    /// Prepares for the next turn.
    pub(super) fn reset(&mut self) {
        (self.silence, self.detected) = (CallTime::default(), None);
    }
}

/// How much longer to wait for the end of a turn with these words.
fn unfinished_wait(text: &str) -> Duration {
    if sounds_unfinished(text) { UNFINISHED_WAIT } else { Duration::ZERO }
}

/// Whether the user probably goes on after these words.
fn sounds_unfinished(text: &str) -> bool {
    // A transcriber that punctuates puts a full stop behind half a number too.
    let text = text.trim_end_matches(['.', ',', ';', ':', '-', '\u{2026}', ' ']);
    let last = text.rsplit(char::is_whitespace).next().unwrap_or_default();
    let row = text.rsplit([' ', '-']).map(|word| word.trim_end_matches([',', '.'])).take(2);
    let is_digit = |word: &str| SPOKEN_DIGITS.iter().any(|digit| digit.eq_ignore_ascii_case(word));
    last.ends_with(|c: char| c.is_numeric())
        || row.filter(|word| is_digit(word)).count() == 2
        || CONJUNCTIONS.iter().any(|word| word.eq_ignore_ascii_case(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_and_conjunctions_sound_unfinished() {
        for text in [
            "my number is 4 1 5",
            "It is 415.",
            "It is four one five",
            "Five, Five,",
            "two cakes and",
            "yes, But,",
            "if",
        ] {
            assert!(sounds_unfinished(text), "{text}");
        }
        for text in ["two cakes", "only one", "Is it 5?", "I think so.", "the band", "", "..."] {
            assert!(!sounds_unfinished(text), "{text}");
        }
    }
}
