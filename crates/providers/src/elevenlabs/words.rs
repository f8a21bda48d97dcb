//! Word times from the vendor's times of characters. Pure.
//!
//! An alignment times the characters of a part of the text from the first sample of the audio in the same message: of
//! that audio, or of all the audio that follows for the part, whose messages then have no alignment. Both begin at
//! the audio received before. A word may be split over two alignments.

use std::time::Duration;

use super::messages::Alignment;
use crate::synthesizer::WordTime;

/// How many words of the text may be missing before the one that is found.
const MAX_MISSING: usize = 3;

/// The words of one clause, as far as they are timed.
#[derive(Debug)]
pub(super) struct Words {
    text: Vec<String>,
    /// The index of the first word of the text that was not found yet.
    next: usize,
    /// The characters of the word that is not complete, its start and its end so far.
    partial: String,
    starts: Duration,
    ends: Duration,
}

impl Words {
    pub(super) fn of(clause: &str) -> Self {
        let text = clause.split_whitespace().map(str::to_owned).collect();
        Self { text, next: 0, partial: String::new(), starts: Duration::ZERO, ends: Duration::ZERO }
    }

    /// Whether the last word of the clause is timed.
    pub(super) fn are_complete(&self) -> bool {
        self.next == self.text.len()
    }

    /// The words that an alignment completes. Its audio begins at `offset` in the clause.
    pub(super) fn add(&mut self, alignment: &Alignment, offset: Duration) -> Vec<WordTime> {
        let mut found = vec![];
        for (characters, start, duration) in alignment.characters() {
            if characters.trim().is_empty() {
                found.extend(self.complete());
                continue;
            }
            let starts = offset + start;
            if self.partial.is_empty() {
                self.starts = starts;
            }
            self.partial.push_str(characters);
            self.ends = starts + duration;
            // The space behind a word may come in a later alignment.
            if self.text.get(self.next) == Some(&self.partial) {
                found.extend(self.complete());
            }
        }
        found
    }

    /// The word that has ended, if it stands in the text.
    fn complete(&mut self) -> Option<WordTime> {
        let word = std::mem::take(&mut self.partial);
        let ahead = self.text[self.next..].iter().take(1 + MAX_MISSING);
        let skipped = ahead.into_iter().position(|expected| !word.is_empty() && *expected == word)?;
        self.next += skipped + 1;
        Some(WordTime { word, start: self.starts, end: self.ends })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An alignment in which every character takes 10 ms, from `start` on.
    fn alignment(text: &str, start: u32) -> Alignment {
        let chars: Vec<String> = text.chars().map(String::from).collect();
        let starts = (0..chars.len())
            .zip(0_u32..)
            .map(|(_, index)| f64::from(start) + 10.0 * f64::from(index))
            .collect();
        Alignment { durations: vec![10.0; chars.len()], starts, chars }
    }

    fn times(words: Vec<WordTime>) -> Vec<(String, u128, u128)> {
        words.into_iter().map(|word| (word.word, word.start.as_millis(), word.end.as_millis())).collect()
    }

    #[test]
    fn characters_become_words() {
        let mut words = Words::of("We close at six.");
        let found = words.add(&alignment(" We close at six. ", 0), Duration::ZERO);
        let expected = [("We", 10, 30), ("close", 40, 90), ("at", 100, 120), ("six.", 130, 170)];
        assert_eq!(times(found), expected.map(|(word, start, end)| (word.to_owned(), start, end)));
        assert!(words.are_complete());
    }

    #[test]
    fn a_word_may_be_split_over_two_alignments() {
        let mut words = Words::of("The close is near");
        assert_eq!(times(words.add(&alignment("The clo", 0), Duration::ZERO)), [("The".to_owned(), 0, 30)]);
        let rest = times(words.add(&alignment("se is near ", 0), Duration::from_millis(70)));
        assert_eq!(rest[0], ("close".to_owned(), 40, 90));
        assert_eq!(rest[2], ("near".to_owned(), 130, 170));
    }

    #[test]
    fn words_that_do_not_stand_in_the_text_are_left_out() {
        let mut words = Words::of("It costs 5 euros today");
        let found = times(words.add(&alignment("It costs five euros today ", 0), Duration::ZERO));
        let found: Vec<&str> = found.iter().map(|(word, ..)| word.as_str()).collect();
        assert_eq!(found, ["It", "costs", "euros", "today"]);
    }

    #[test]
    fn a_malformed_alignment_is_no_error() {
        let mut words = Words::of("Hi");
        let broken = Alignment {
            chars: vec!["H".into(), "i".into()],
            starts: vec![f64::NAN, -5.0],
            durations: vec![1e300, -1.0],
        };
        assert_eq!(times(words.add(&broken, Duration::ZERO)).len(), 1);
        assert!(
            words
                .add(&Alignment { chars: vec!["x".into()], ..Alignment::default() }, Duration::ZERO)
                .is_empty()
        );
    }
}
