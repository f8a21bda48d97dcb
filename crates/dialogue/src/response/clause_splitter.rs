//! Splits the model's text into clauses, the unit that is sent to the synthesizer.
//!
//! The synthesizer begins with the first clause while the model still writes the next one. So the first cut comes
//! as early as it sounds natural, later ones at the end of a sentence. Markup is removed by `spoken_text`.

use crate::spoken_text::{link, speakable};

/// Minimum length of a clause, in characters: "Yes," alone would sound cut off.
const SHORTEST: usize = 12;
/// Maximum length of a clause, in characters: the audio of a longer one would come later, and more of it would be
/// wasted by a barge-in.
const LONGEST: usize = 200;
/// How far the splitter looks, in bytes: enough for the longest clause in any script, and for what follows it. It
/// bounds the work per clause and per call of `push`, whatever the text.
const LOOKAHEAD: usize = 5 * LONGEST;

/// Maximum length of a link that is still being written, in bytes: text behind a bracket is held back so long.
const LONGEST_LINK: usize = 240;

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
    text: String,
    /// Where the rest begins: behind the last clause.
    start: usize,
    has_split: bool,
}

impl ClauseSplitter {
    /// Appends text.
    pub(crate) fn push(&mut self, text: &str) {
        // One removal per push: a removal per clause would make long texts quadratic.
        self.text.drain(..self.start);
        self.start = 0;
        // A clause does not begin with white space.
        self.text.push_str(if self.text.is_empty() { text.trim_start() } else { text });
    }

    /// Removes the next clause, once its end is certain.
    pub(crate) fn next_clause(&mut self) -> Option<String> {
        let rest = self.text[self.start..].trim_start();
        self.start = self.text.len() - rest.len();
        let window = &rest[..rest.floor_char_boundary(LOOKAHEAD)];
        let end = clause_end(window, !self.has_split, window.len() < rest.len())?;
        self.has_split = true;
        let clause = rest[..end].trim_end().to_owned();
        self.start += end;
        Some(clause)
    }

    /// Removes the rest of a text that is complete, after the last `next_clause`.
    pub(crate) fn rest(&mut self) -> Option<String> {
        let text = std::mem::take(&mut self.text);
        let rest = text[std::mem::take(&mut self.start)..].trim();
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

/// The end of the first clause of `text`, in bytes; none if more text may still change it. `is_window`: the text goes
/// on, and nothing behind it is looked at.
fn clause_end(text: &str, first: bool, is_window: bool) -> Option<usize> {
    let (mut comma, mut space) = (None, None);
    let mut closers = Closers::default();
    let mut link_end = 0;
    for (length, (index, c)) in text.char_indices().enumerate() {
        // A link is never cut: only its text is spoken.
        if index < link_end {
            continue;
        }
        if c == '[' {
            let after = &text[index + 1..];
            match link(after) {
                Some((_, behind)) => link_end = text.len() - behind.len(),
                None if !is_window && may_become_link(after) => return None,
                None => {}
            }
        }
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
            '.' | '!' | '?' | '\u{2026}' if !starts_with_space(&text[closers.closed(text, end)..]) => {}
            '.' => match ends_sentence(&text[..index], &text[end..]) {
                Some(true) => return Some(closers.closed(text, end)),
                Some(false) => {}
                // The next word decides, unless it is too far away.
                None if is_window => return Some(closers.closed(text, end)),
                None => return None,
            },
            '!' | '?' | '\u{2026}' => return Some(closers.closed(text, end)),
            ',' | ';' | ':' | '\u{2014}' | '\u{2013}' => {
                let end = closers.closed(text, end);
                if starts_with_space(&text[end..]) {
                    if first {
                        return Some(end);
                    }
                    comma = Some(end);
                }
            }
            _ => {}
        }
    }
    // More than the longest clause is in sight, in a script of many bytes per character.
    is_window.then(|| comma.or(space).unwrap_or(text.len()))
}

/// Whether more text may make this, behind a bracket, a link.
fn may_become_link(text: &str) -> bool {
    let is_open = match text.split_once(']') {
        None => true,
        Some((_, address)) => address.is_empty() || address.starts_with('('),
    };
    is_open && text.len() < LONGEST_LINK && !text.contains('\n')
}

fn starts_with_space(text: &str) -> bool {
    text.starts_with(char::is_whitespace)
}

/// Remembers the last run of marks and brackets, so that a long one is read once and not again for each of its marks.
#[derive(Default)]
struct Closers {
    from: usize,
    to: usize,
}

impl Closers {
    /// See [`closed`]; `end` is never less than before.
    fn closed(&mut self, text: &str, end: usize) -> usize {
        if !(self.from..self.to).contains(&end) {
            (self.from, self.to) = (end, closed(text, end));
        }
        self.to
    }
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
    fn splitting_takes_time_in_proportion_to_the_text() {
        // Each of these took minutes when the splitter looked at the whole text again for each clause or part.
        let length = 1 << 20;
        for part in ["Yes, I am here.\n", ".", " ", "Hello my friend. ", "a", "! ", "\n"] {
            let text = format!("Hello my friend.{}", part.repeat(length / part.len()));
            let mut splitter = ClauseSplitter::default();
            let mut characters = 0;
            for parts in text.as_bytes().chunks(64 * 1024) {
                splitter.push(std::str::from_utf8(parts).unwrap());
                while let Some(clause) = splitter.next_clause() {
                    characters += clause.len();
                }
            }
            characters += splitter.rest().map_or(0, |rest| rest.len());
            assert!(characters <= text.len());
        }
        for part in [".", " ", "a"] {
            let mut splitter = ClauseSplitter::default();
            splitter.push("Hello my friend.");
            for _ in 0..length / 32 {
                splitter.push(part);
                while splitter.next_clause().is_some() {}
            }
        }
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
    fn a_link_is_not_split() {
        let text = "Please have a look at [our opening hours, prices. And more](https://example.com/a, b) today, or [call";
        check(
            text,
            &[
                "Please have a look at [our opening hours, prices. And more](https://example.com/a, b) today,",
                "or [call",
            ],
        );
        let long = format!("See [{}](x.", "word, and so on ".repeat(30));
        assert!(split_by(&long, 7).len() > 2, "what is no link is not held back for ever");
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
        fn splitting_neither_loses_nor_adds_text(text in "[a-zA-Z0-9 .,!?\n*(\\[\\]<>é\u{1f600}\u{3002}]{0,400}", size in 1usize..50) {
            let plain = |text: &str| text.split_whitespace().collect::<String>();
            let clauses = split_by(&text, size);
            prop_assert_eq!(plain(&clauses.concat()), plain(&text));
            prop_assert!(clauses.iter().all(|clause| !clause.is_empty() && clause.chars().count() <= LONGEST + 1));
        }
    }
}
