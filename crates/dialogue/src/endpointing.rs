//! Is the user's turn over, and which words are new.
//!
//! The ends race and the first one wins: the transcriber's own signal (a little later when the text
//! sounds unfinished), or a while without words, for streams that never finalise what they heard.

use std::time::Duration;

use super::CallTime;

/// Without further words a turn ends after this, whatever the transcriber says or does not say.
pub(super) const SILENCE: Duration = Duration::from_secs(3);
/// A number or a conjunction at the end: probably more is coming.
pub(super) const UNFINISHED: Duration = Duration::from_millis(500);
/// A transcriber settles its interim words within this (Deepgram: 3 to 5 s); afterwards the same
/// words are said anew.
const SETTLING: Duration = Duration::from_secs(5);

/// Words after which people go on. Not "so" and "that": they often end a sentence.
const CONJUNCTIONS: [&str; 11] =
    ["and", "or", "but", "because", "if", "nor", "unless", "until", "whether", "while", "although"];

/// How a transcriber that does not format numbers writes digits. Two in a row are part of a number.
const SPOKEN_DIGITS: [&str; 11] =
    ["zero", "oh", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];

/// What the user says until it is answered.
#[derive(Default)]
pub(super) struct Turn {
    /// Settled words.
    finals: String,
    /// Words that the next text of the transcriber replaces.
    interim: String,
    began_at: Option<CallTime>,
    last_words_at: CallTime,
    spoken_until: CallTime,
    /// When the turn ends because the transcriber said so.
    signalled: Option<CallTime>,
    /// Interim words with which the turn before ended: their final is still to come, and says
    /// nothing new.
    counted: Option<Counted>,
}

struct Counted {
    text: String,
    until: CallTime,
}

/// A turn that is over.
pub(super) struct Spoken {
    pub(super) text: String,
    pub(super) started_at: CallTime,
    pub(super) ended_at: CallTime,
}

/// What a text of the transcriber adds to what is known.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fresh<'a> {
    /// It was counted when the last turn ended.
    Nothing,
    /// These words.
    Words(&'a str),
    /// Interim words of the last turn were understood wrongly.
    Corrected {
        /// The wrong ones.
        counted: String,
        /// What stands instead.
        text: &'a str,
        /// What of it goes beyond them.
        more: &'a str,
    },
}

impl Turn {
    /// Whether the user has begun to say something.
    pub(super) fn is_open(&self) -> bool {
        self.began_at.is_some()
    }

    /// Whether there is anything to answer.
    pub(super) fn has_words(&self) -> bool {
        !self.finals.is_empty() || !self.interim.is_empty()
    }

    /// The beginning of speech was heard.
    pub(super) fn begin(&mut self, at: CallTime) {
        if !self.has_words() {
            self.began_at = Some(at);
        }
        // Whoever goes on speaking is not finished.
        self.signalled = None;
    }

    /// Leaves out of `text` what was already counted in the turn before.
    pub(super) fn fresh<'a>(&mut self, at: CallTime, text: &'a str, is_final: bool) -> Fresh<'a> {
        let Some(counted) = self.counted.take().filter(|counted| at <= counted.until) else {
            return Fresh::Words(text);
        };
        let (known, new) = (plain_words(&counted.text), plain_words(text));
        let rest = after_words(text, known.len());
        let fresh = if new.starts_with(&known) {
            if rest.is_empty() { Fresh::Nothing } else { Fresh::Words(rest) }
        } else if self.is_open() {
            // Speech began again since, so these are other words.
            Fresh::Words(text)
        } else if known.starts_with(&new) {
            Fresh::Nothing
        } else if is_final {
            return Fresh::Corrected { counted: counted.text, text, more: rest };
        } else if rest.is_empty() {
            Fresh::Nothing
        } else {
            Fresh::Words(rest)
        };
        if !is_final {
            self.counted = Some(counted);
        }
        fresh
    }

    /// Words were understood; `text` is not empty.
    pub(super) fn hear(&mut self, at: CallTime, text: &str, is_final: bool, spoken_until: Option<CallTime>) {
        self.began_at.get_or_insert(at);
        self.last_words_at = at;
        self.spoken_until = spoken_until.unwrap_or(at).min(at);
        // A final that only settles the interim does not undo a signal.
        if plain_words(&self.interim) != plain_words(text) {
            self.signalled = None;
        }
        self.interim.clear();
        let into = if is_final { &mut self.finals } else { &mut self.interim };
        if !into.is_empty() {
            into.push(' ');
        }
        into.push_str(text);
    }

    /// Since when there is speech that may be none, as there are no words of it.
    pub(super) fn wordless_since(&self) -> Option<CallTime> {
        self.began_at.filter(|_| !self.has_words())
    }

    /// It was a cough: true is returned if one had begun.
    pub(super) fn forget(&mut self) -> bool {
        !self.has_words() && self.began_at.take().is_some()
    }

    /// The transcriber says that the turn is over. Without words it was a cough: true is returned if
    /// one had begun.
    pub(super) fn signal(&mut self, at: CallTime) -> bool {
        if self.has_words() {
            let last = if self.interim.is_empty() { &self.finals } else { &self.interim };
            let wait = if sounds_unfinished(last) { UNFINISHED } else { Duration::ZERO };
            self.signalled.get_or_insert(at + wait);
            return false;
        }
        self.forget()
    }

    /// The turn is over, whatever it sounds like.
    pub(super) fn is_complete(&mut self, at: CallTime) {
        self.signalled = Some(at);
    }

    /// What the turn's words would be with this text.
    pub(super) fn with(&self, text: &str) -> String {
        format!("{} {text}", self.finals)
    }

    /// When the last of its words was spoken.
    pub(super) fn spoken_until(&self) -> CallTime {
        self.spoken_until
    }

    /// What was said in it so far.
    pub(super) fn text(&self) -> String {
        self.with(&self.interim)
    }

    /// When the turn ends, if nothing more happens.
    pub(super) fn due(&self) -> Option<CallTime> {
        let silence = self.has_words().then(|| self.last_words_at + SILENCE)?;
        Some(self.signalled.map_or(silence, |signalled| signalled.min(silence)))
    }

    /// Ends the turn; none if nothing was said in it.
    pub(super) fn take(&mut self, at: CallTime) -> Option<Spoken> {
        let mut turn = std::mem::take(self);
        let began_at = turn.began_at?;
        if !turn.has_words() {
            self.counted = turn.counted;
            return None;
        }
        if turn.interim.is_empty() {
            self.counted = turn.counted;
        } else {
            if !turn.finals.is_empty() {
                turn.finals.push(' ');
            }
            turn.finals.push_str(&turn.interim);
            self.counted = Some(Counted { text: turn.interim, until: at + SETTLING });
        }
        let ended_at = turn.spoken_until;
        Some(Spoken { text: turn.finals, started_at: began_at.min(ended_at), ended_at })
    }
}

/// Whether somebody who says this is probably going on.
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

/// The words without case and punctuation, which a final often adds to its interim.
pub(super) fn plain_words(text: &str) -> Vec<String> {
    let plain =
        |word: &str| word.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
    text.split_whitespace().map(plain).filter(|word: &String| !word.is_empty()).collect()
}

/// What follows the first `count` words that have a letter or a digit.
fn after_words(text: &str, count: usize) -> &str {
    let mut rest = text.trim_start();
    let mut left = count;
    while left > 0 && !rest.is_empty() {
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        if rest[..end].contains(char::is_alphanumeric) {
            left -= 1;
        }
        rest = rest[end..].trim_start();
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> CallTime {
        CallTime(ms * 1000)
    }

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

    #[test]
    fn interims_replace_each_other_and_finals_add_up() {
        let mut turn = Turn::default();
        turn.hear(ms(100), "I", false, None);
        turn.hear(ms(200), "I would", false, None);
        turn.hear(ms(300), "I would like", true, Some(ms(250)));
        turn.hear(ms(400), "two", false, None);
        turn.hear(ms(500), "two cakes", true, Some(ms(450)));
        assert!(!turn.signal(ms(600)));
        assert_eq!(turn.due(), Some(ms(600)));
        let spoken = turn.take(ms(600)).unwrap();
        assert_eq!(spoken.text, "I would like two cakes");
        assert_eq!((spoken.started_at, spoken.ended_at), (ms(100), ms(450)));
        assert!(!turn.is_open());
    }

    #[test]
    fn the_first_of_the_ends_wins() {
        let mut turn = Turn::default();
        turn.hear(ms(0), "my number is 415", true, None);
        assert_eq!(turn.due(), Some(ms(3000)));
        turn.signal(ms(300));
        turn.signal(ms(700));
        assert_eq!(turn.due(), Some(ms(800)), "a second signal does not put it off");
        turn.hear(ms(750), "555", false, None);
        assert_eq!(turn.due(), Some(ms(3750)), "but words do");
        turn.signal(ms(3500));
        assert_eq!(turn.due(), Some(ms(3750)));
    }

    #[test]
    fn a_final_that_settles_the_interim_does_not_put_the_end_off() {
        let mut turn = Turn::default();
        turn.hear(ms(0), "it is 7", false, None);
        turn.signal(ms(100));
        turn.hear(ms(200), "It is 7.", true, None);
        assert_eq!(turn.due(), Some(ms(600)));
    }

    #[test]
    fn a_cough_is_no_turn() {
        let mut turn = Turn::default();
        assert!(!turn.signal(ms(50)));
        turn.begin(ms(100));
        assert_eq!(turn.due(), None);
        assert!(turn.signal(ms(200)));
        assert!(!turn.is_open());
    }

    #[test]
    fn counted_interim_words_are_not_counted_again() {
        let ended = |interim: &str| {
            let mut turn = Turn::default();
            turn.hear(ms(0), interim, false, None);
            turn.take(ms(1000)).unwrap();
            turn
        };
        let (soon, late) = (ms(1500), ms(7000));
        assert_eq!(ended("what time").fresh(soon, "What time?", true), Fresh::Nothing);
        assert_eq!(ended("what time").fresh(soon, "What", false), Fresh::Nothing);
        assert_eq!(ended("what time").fresh(soon, "What time is it?", true), Fresh::Words("is it?"));
        assert_eq!(ended("what time").fresh(late, "What time?", true), Fresh::Words("What time?"));
        let corrected = Fresh::Corrected { counted: "five five".into(), text: "55", more: "" };
        assert_eq!(ended("five five").fresh(soon, "55", true), corrected);
        let mut turn = ended("five five");
        turn.begin(ms(1200));
        assert_eq!(turn.fresh(soon, "no", true), Fresh::Words("no"), "speech began again");
        let mut turn = ended("yes");
        assert_eq!(turn.fresh(soon, "yes", false), Fresh::Nothing);
        assert_eq!(turn.fresh(soon, "Yes.", true), Fresh::Nothing);
        assert_eq!(turn.fresh(soon, "Yes.", true), Fresh::Words("Yes."), "settled once, said again");
    }
}
