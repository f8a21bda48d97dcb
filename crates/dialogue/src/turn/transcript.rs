//! The words of a turn: finals add up, an interim replaces the interim before it.
//!
//! A turn may end with an interim, whose final comes later. Such words are remembered for a while, so that they do
//! not count twice.

use std::time::Duration;

use crate::call_time::CallTime;

/// Maximum length of the finals of a turn, and of an interim: half an hour of speech.
const MAX_BYTES: usize = 32 * 1024;

/// The words of the current turn.
#[derive(Debug)]
pub(super) struct Transcript {
    /// Maximum time between an interim and its final.
    settles_within: Duration,
    finals: String,
    interim: String,
    /// The interim that the turn before ended with.
    counted: Option<CountedInterim>,
}

#[derive(Debug)]
struct CountedInterim {
    text: String,
    /// Afterwards the same words count as said again.
    until: CallTime,
}

/// The part of a transcript that was not counted before.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fresh<'a> {
    /// Nothing: all of it was counted when the last turn ended.
    Nothing,
    /// These words.
    Words(&'a str),
    /// The interim that the last turn ended with was wrong.
    Corrected {
        /// The interim.
        counted: String,
        /// Its final.
        text: &'a str,
        /// The end of the final: the words beyond the interim's length.
        more: &'a str,
    },
}

impl Transcript {
    pub(super) fn new(settles_within: Duration) -> Self {
        Self { settles_within, finals: String::new(), interim: String::new(), counted: None }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.finals.is_empty() && self.interim.is_empty()
    }

    /// The latest words.
    pub(super) fn last(&self) -> &str {
        if self.interim.is_empty() { &self.finals } else { &self.interim }
    }

    pub(super) fn text(&self) -> String {
        self.text_with(&self.interim)
    }

    pub(super) fn text_with(&self, text: &str) -> String {
        format!("{} {text}", self.finals)
    }

    /// The part of `text` that was not counted in the turn before. `is_open`: another turn has begun since.
    pub(super) fn fresh<'a>(
        &mut self,
        at: CallTime,
        text: &'a str,
        is_final: bool,
        is_open: bool,
    ) -> Fresh<'a> {
        let Some(counted) = self.counted.take().filter(|counted| at <= counted.until) else {
            return Fresh::Words(text);
        };
        let (known, new) = (plain_words(&counted.text), plain_words(text));
        let rest = after_words(text, known.len());
        let fresh = if new.starts_with(&known) {
            if rest.is_empty() { Fresh::Nothing } else { Fresh::Words(rest) }
        } else if is_open {
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

    /// Forgets the interim.
    pub(super) fn withdraw(&mut self) {
        self.interim.clear();
    }

    /// Adds an interim or a final; false if it only confirms the interim before it.
    pub(super) fn add(&mut self, text: &str, is_final: bool) -> bool {
        let is_news = plain_words(&self.interim) != plain_words(text);
        self.interim.clear();
        let into = if is_final { &mut self.finals } else { &mut self.interim };
        if !into.is_empty() {
            into.push(' ');
        }
        into.push_str(text);
        into.truncate(into.floor_char_boundary(MAX_BYTES));
        is_news
    }

    /// Ends the turn; none if it has no words.
    pub(super) fn take(&mut self, at: CallTime) -> Option<String> {
        let mut text = std::mem::take(&mut self.finals);
        let interim = std::mem::take(&mut self.interim);
        if !interim.is_empty() {
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(&interim);
            self.counted = Some(CountedInterim { text: interim, until: at + self.settles_within });
        }
        (!text.is_empty()).then_some(text)
    }
}

/// The words without case and punctuation: a final often adds those to its interim.
pub(super) fn plain_words(text: &str) -> Vec<String> {
    let plain =
        |word: &str| word.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
    text.split_whitespace().map(plain).filter(|word: &String| !word.is_empty()).collect()
}

/// The text behind the first `count` words that have a letter or a digit.
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
