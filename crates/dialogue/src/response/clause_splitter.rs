//! Splits the model's text into clauses, the unit that is sent to the synthesizer.
//!
//! The synthesizer begins with the first clause while the model still writes the next one. So the first cut comes
//! as early as it sounds natural, later ones at the end of a sentence. Markup is removed by `spoken_text`.

use crate::spoken_text::speakable;

/// Minimum length of a clause, in characters: "Yes," alone would sound cut off.
const SHORTEST: usize = 12;
/// Maximum length of a clause, in characters: the audio of a longer one would come later, and more of it would be
/// wasted by a barge-in.
const LONGEST: usize = 200;

/// Words whose full stop does not end a sentence. Dotted ones ("e.g.", "a.m.") follow a rule.
const ABBREVIATIONS: [&str; 34] = [
    "dr", "mr", "mrs", "ms", "mx", "prof", "st", "sr", "jr", "vs", "etc", "inc", "ltd", "co", "corp", "dept",
    "approx", "est", "fig", "gen", "gov", "hon", "lt", "col", "capt", "sgt", "rev", "mt", "ave", "blvd",
    "rd", "bros", "tel", "ext",
];
/// Abbreviations only before a number: "No. 5" against "No. We do not."
const BEFORE_NUMBERS: [&str; 4] = ["no", "nr", "p", "vol"];

/// Splits a growing text.
#[derive(Debug, Default)]
pub(crate) struct ClauseSplitter {
    rest: String,
    has_split: bool,
}

impl ClauseSplitter {
    /// Appends text.
    pub(crate) fn push(&mut self, text: &str) {
        self.rest.push_str(text);
    }

    /// Removes the next clause, once its end is certain.
    pub(crate) fn next_clause(&mut self) -> Option<String> {
        let start = self.rest.len() - self.rest.trim_start().len();
        let end = clause_end(&self.rest[start..], !self.has_split)?;
        self.has_split = true;
        let clause = self.rest[start..start + end].trim_end().to_owned();
        self.rest.drain(..start + end);
        Some(clause)
    }

    /// Removes the rest of a text that is complete, after the last `next_clause`.
    pub(crate) fn rest(&mut self) -> Option<String> {
        let rest = std::mem::take(&mut self.rest);
        let rest = rest.trim();
        (!rest.is_empty()).then(|| rest.to_owned())
    }
}

/// The clauses of a complete text: exactly the texts that [`Output::Synthesize`](crate::Output::Synthesize) will
/// carry, in this order. Empty if nothing of the text can be said.
#[must_use]
pub fn clauses(text: &str) -> Vec<String> {
    let mut splitter = ClauseSplitter::default();
    splitter.push(text);
    let clauses = std::iter::from_fn(|| splitter.next_clause().or_else(|| splitter.rest()));
    clauses.filter_map(|clause| speakable(&clause)).collect()
}

/// The end of the first clause of `text`, in bytes; none if more text may still change it.
fn clause_end(text: &str, first: bool) -> Option<usize> {
    let (mut comma, mut space) = (None, None);
    for (length, (index, c)) in text.char_indices().enumerate() {
        if length >= LONGEST {
            return comma.or(space).or(Some(index));
        }
        let end = index + c.len_utf8();
        if c.is_whitespace() && length > 0 {
            space = Some(index);
        }
        if length + 1 < SHORTEST {
            continue;
        }
        match c {
            '\n' | '\u{3002}' | '\u{ff01}' | '\u{ff1f}' => return Some(end),
            '.' | '!' | '?' | '\u{2026}' if !may_follow_mark(text, end) => {}
            '.' => match ends_sentence(&text[..index], &text[end..]) {
                Some(true) => return Some(closed(text, end)),
                Some(false) => {}
                // The next word decides.
                None => return None,
            },
            '!' | '?' | '\u{2026}' => return Some(closed(text, end)),
            ',' | ';' | ':' | '\u{2014}' | '\u{2013}' => {
                let end = closed(text, end);
                if text[end..].starts_with(char::is_whitespace) {
                    if first {
                        return Some(end);
                    }
                    comma = Some(end);
                }
            }
            _ => {}
        }
    }
    None
}

/// Whether white space follows the mark that ends at `end`, with the marks and brackets after it.
fn may_follow_mark(text: &str, end: usize) -> bool {
    text[closed(text, end)..].starts_with(char::is_whitespace)
}

/// Where the marks, quotes and brackets end that directly follow `end`: they belong to the text before it.
fn closed(text: &str, end: usize) -> usize {
    let closers = [
        '.', '!', '?', '\u{2026}', '"', '\'', ')', ']', '\u{201d}', '\u{2019}', '\u{bb}', '*', '_', '`', '~',
    ];
    text.len() - text[end..].trim_start_matches(closers).len()
}

/// Whether a full stop between these ends a sentence; none if that depends on text still to come.
fn ends_sentence(before: &str, after: &str) -> Option<bool> {
    let word = before.rsplit(|c: char| c.is_whitespace() || "([\"'*_\u{201c}".contains(c)).next()?;
    let is = |abbreviations: &[&str]| abbreviations.iter().any(|known| known.eq_ignore_ascii_case(word));
    // "e.g", "a.m", "U.S", and the "J" of a name; but "so do I."
    let dotted =
        word.split('.').all(|part| part.chars().count() == 1 && part.chars().all(char::is_alphabetic));
    if is(&ABBREVIATIONS) || (dotted && word != "I") {
        return Some(false);
    }
    let after = &after[closed(after, 0)..];
    let next = after.trim_start().chars().next();
    if next.is_none() && after.contains('\n') {
        return Some(true);
    }
    let next = next?;
    Some(!(next.is_lowercase() || (next.is_numeric() && is(&BEFORE_NUMBERS))))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The clauses of a text that arrives `size` characters at a time.
    fn split_by(text: &str, size: usize) -> Vec<String> {
        let mut splitter = ClauseSplitter::default();
        let mut clauses = vec![];
        for part in text.chars().collect::<Vec<_>>().chunks(size) {
            splitter.push(&part.iter().collect::<String>());
            clauses.extend(std::iter::from_fn(|| splitter.next_clause()));
        }
        clauses.extend(splitter.rest());
        clauses
    }

    #[track_caller]
    fn check(text: &str, clauses: &[&str]) {
        for size in [1, 3, 1000] {
            assert_eq!(split_by(text, size), clauses, "{size} characters at a time");
        }
    }

    #[test]
    fn the_first_clause_ends_early_and_others_with_their_sentence() {
        check(
            "On Saturday we close at six, in the evening. Can I help you, or not? Then goodbye, my friend!",
            &[
                "On Saturday we close at six,",
                "in the evening.",
                "Can I help you, or not?",
                "Then goodbye, my friend!",
            ],
        );
    }

    #[test]
    fn a_short_word_is_a_clause_only_at_the_end_of_the_text() {
        check("Yes, of course. Ok.", &["Yes, of course.", "Ok."]);
        check("Yes. We do that every day.", &["Yes. We do that every day."]);
        check("Yes,", &["Yes,"]);
    }

    #[test]
    fn a_full_stop_within_a_sentence_does_not_split_it() {
        for text in [
            "That costs 3.50 euros and no more.",
            "Please talk to Dr. Who about this.",
            "We have bread, e.g. Rye and spelt.".replace("bread, ", "breads ").as_str(),
            "We are open from 8 a.m. Monday to Friday.",
            "The parcel is in No. 5 as always.",
            "She is called J. Smith by everybody.",
            "We live in the U.S. Navy's old house.",
            "It takes five min. at the most.",
            "Look at www.example.com for the rest.",
            "Well then... let me have a look.",
        ] {
            check(text, &[text]);
        }
    }

    #[test]
    fn a_full_stop_between_sentences_splits() {
        check("I told them no. We closed.", &["I told them no.", "We closed."]);
        check("So would do I. Well then.", &["So would do I.", "Well then."]);
        check("That is 3.50. Anything else?", &["That is 3.50.", "Anything else?"]);
        check(
            "He said \u{201c}we are closed.\u{201d} Sorry.",
            &["He said \u{201c}we are closed.\u{201d}", "Sorry."],
        );
        check("First of all:\nBread is here.\n\nCake", &["First of all:", "Bread is here.", "Cake"]);
        check("Are you sure?! Very well.", &["Are you sure?!", "Very well."]);
    }

    #[test]
    fn a_long_sentence_is_split_at_a_comma_or_else_at_a_space() {
        let long =
            format!("Good morning to you. Well, {}, {}", "word ".repeat(30).trim_end(), "word ".repeat(30));
        let clauses = split_by(&long, 7);
        assert_eq!(clauses[0], "Good morning to you.");
        assert!(clauses[1].ends_with("word,"), "{clauses:?}");
        let endless = split_by(&"a".repeat(450), 50);
        assert_eq!(endless.iter().map(String::len).collect::<Vec<_>>(), [200, 200, 50]);
    }

    proptest! {
        #[test]
        fn splitting_neither_loses_nor_adds_text(text in "[a-zA-Z0-9 .,!?\n*é\u{1f600}\u{3002}]{0,400}", size in 1usize..50) {
            let plain = |text: &str| text.split_whitespace().collect::<String>();
            let clauses = split_by(&text, size);
            prop_assert_eq!(plain(&clauses.concat()), plain(&text));
            prop_assert!(clauses.iter().all(|clause| !clause.is_empty() && clause.chars().count() <= LONGEST + 1));
        }
    }
}
