//! Where the model's text is cut into clauses, and how a clause is read aloud.
//!
//! The voice begins with the first clause while the model still writes the next one. So the first cut
//! comes as early as the ear allows, the later ones at the end of a sentence.

/// Fewer characters are not worth a clause of their own: "Yes," sounds cut off.
const SHORTEST: usize = 12;
/// Longer sentences are cut within: the voice answers sooner, and less is lost when it is cancelled.
const LONGEST: usize = 200;

/// Words whose full stop does not end a sentence. Dotted ones ("e.g.", "a.m.") follow a rule.
const ABBREVIATIONS: [&str; 34] = [
    "dr", "mr", "mrs", "ms", "mx", "prof", "st", "sr", "jr", "vs", "etc", "inc", "ltd", "co", "corp", "dept",
    "approx", "est", "fig", "gen", "gov", "hon", "lt", "col", "capt", "sgt", "rev", "mt", "ave", "blvd",
    "rd", "bros", "tel", "ext",
];
/// Abbreviations only before a number: "No. 5" against "No. We do not."
const BEFORE_NUMBERS: [&str; 4] = ["no", "nr", "p", "vol"];

/// Cuts a growing text.
#[derive(Debug, Default)]
pub(super) struct Cutter {
    rest: String,
    cut_once: bool,
}

impl Cutter {
    /// Takes in more text.
    pub(super) fn push(&mut self, text: &str) {
        self.rest.push_str(text);
    }

    /// The next clause, if it is certain where it ends.
    pub(super) fn next_clause(&mut self) -> Option<String> {
        let start = self.rest.len() - self.rest.trim_start().len();
        let end = clause_end(&self.rest[start..], !self.cut_once)?;
        self.cut_once = true;
        let clause = self.rest[start..start + end].trim_end().to_owned();
        self.rest.drain(..start + end);
        Some(clause)
    }

    /// What is left when the text is complete; call it after the last `next_clause`.
    pub(super) fn rest(&mut self) -> Option<String> {
        let rest = std::mem::take(&mut self.rest);
        let rest = rest.trim();
        (!rest.is_empty()).then(|| rest.to_owned())
    }
}

/// How a whole text is spoken: exactly the texts that [`super::Output::Synthesize`] will carry, one after the
/// other. Empty if nothing of it can be said.
#[must_use]
pub fn clauses(text: &str) -> Vec<String> {
    let mut cutter = Cutter::default();
    cutter.push(text);
    let clauses = std::iter::from_fn(|| cutter.next_clause().or_else(|| cutter.rest()));
    clauses.filter_map(|clause| speakable(&clause)).collect()
}

/// Where the first clause of `text` ends, in bytes.
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
                // What comes next decides.
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

/// Where the marks, quotes and brackets end that belong to what is before `end`.
fn closed(text: &str, end: usize) -> usize {
    let closers = [
        '.', '!', '?', '\u{2026}', '"', '\'', ')', ']', '\u{201d}', '\u{2019}', '\u{bb}', '*', '_', '`', '~',
    ];
    text.len() - text[end..].trim_start_matches(closers).len()
}

/// Whether a full stop between these ends a sentence; none: it depends on text still to come.
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

/// What of a clause is read aloud: without the marks of Markdown, without emoji, in one line. None if
/// nothing of it can be said.
pub(super) fn speakable(text: &str) -> Option<String> {
    let mut spoken = String::with_capacity(text.len());
    for line in text.lines() {
        let line = line.trim();
        // A rule, a table's ruler, or the fence of a code block.
        let is_ruler = line.chars().all(|c| "-*_=|:+ ".contains(c));
        if is_ruler || line.starts_with("```") {
            continue;
        }
        let line = line.trim_start_matches(['#', '>']).trim_start();
        let line =
            ["- ", "* ", "+ ", "\u{2022} "].iter().find_map(|mark| line.strip_prefix(mark)).unwrap_or(line);
        spoken.push(' ');
        read_line(line, &mut spoken);
    }
    let spoken = spoken.split_whitespace().collect::<Vec<_>>().join(" ");
    spoken.contains(char::is_alphanumeric).then_some(spoken)
}

fn read_line(line: &str, spoken: &mut String) {
    let mut before = ' ';
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        let next = after.chars().next().unwrap_or(' ');
        rest = after;
        match c {
            // [text](address) is read as its text; so is an image.
            '!' if next == '[' && link(&after[1..]).is_some() => {}
            '[' => match link(after) {
                Some((label, behind)) => {
                    read_line(label, spoken);
                    rest = behind;
                }
                None => spoken.push(c),
            },
            // Between digits it means "times".
            '*' if before.is_numeric() && next.is_numeric() => spoken.push(c),
            // Within a word it is a name's.
            '_' if before.is_alphanumeric() && next.is_alphanumeric() => spoken.push(c),
            '*' | '_' | '`' | '~' => {}
            '|' => spoken.push(' '),
            c if is_emoji(c) => {}
            c => spoken.push(c),
        }
        before = c;
    }
}

/// The text of a link whose opening bracket is just before `text`, and what follows the link.
fn link(text: &str) -> Option<(&str, &str)> {
    let (label, address) = text.split_once("](")?;
    let (_, behind) = address.split_once(')')?;
    (!label.contains('[')).then_some((label, behind))
}

/// Pictures, arrows and what joins them (Unicode blocks; no digit or letter is among them).
fn is_emoji(c: char) -> bool {
    matches!(c,
        '\u{200d}' | '\u{20e3}' | '\u{fe00}'..='\u{fe0f}' | '\u{2190}'..='\u{21ff}' | '\u{2300}'..='\u{23ff}'
        | '\u{25a0}'..='\u{27bf}' | '\u{2900}'..='\u{297f}' | '\u{2b00}'..='\u{2bff}'
        | '\u{1f000}'..='\u{1faff}' | '\u{e0020}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The clauses of a text that comes in pieces of `size` characters.
    fn cut_by(text: &str, size: usize) -> Vec<String> {
        let mut cutter = Cutter::default();
        let mut clauses = vec![];
        for piece in text.chars().collect::<Vec<_>>().chunks(size) {
            cutter.push(&piece.iter().collect::<String>());
            clauses.extend(std::iter::from_fn(|| cutter.next_clause()));
        }
        clauses.extend(cutter.rest());
        clauses
    }

    #[track_caller]
    fn check(text: &str, clauses: &[&str]) {
        for size in [1, 3, 1000] {
            assert_eq!(cut_by(text, size), clauses, "in pieces of {size}");
        }
    }

    #[test]
    fn the_first_clause_ends_early_and_the_others_with_their_sentence() {
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
    fn a_short_word_is_no_clause_of_its_own_unless_the_text_ends() {
        check("Yes, of course. Ok.", &["Yes, of course.", "Ok."]);
        check("Yes. We do that every day.", &["Yes. We do that every day."]);
        check("Yes,", &["Yes,"]);
    }

    #[test]
    fn a_full_stop_within_a_sentence_does_not_cut_it() {
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
    fn a_full_stop_between_sentences_cuts() {
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
    fn a_long_sentence_is_cut_at_a_comma_or_else_at_a_space() {
        let long =
            format!("Good morning to you. Well, {}, {}", "word ".repeat(30).trim_end(), "word ".repeat(30));
        let clauses = cut_by(&long, 7);
        assert_eq!(clauses[0], "Good morning to you.");
        assert!(clauses[1].ends_with("word,"), "{clauses:?}");
        let endless = cut_by(&"a".repeat(450), 50);
        assert_eq!(endless.iter().map(String::len).collect::<Vec<_>>(), [200, 200, 50]);
    }

    #[test]
    fn marks_and_emoji_are_not_read() {
        for (written, spoken) in [
            ("**Yes!** We _do_ `that` \u{1f600}\u{fe0f} daily", "Yes! We do that daily"),
            (
                "## Prices\n- Bread: 3 \u{20ac}\n* Cake: *much* more",
                "Prices Bread: 3 \u{20ac} Cake: much more",
            ),
            ("See [our page](https://example.com/a_b) now", "See our page now"),
            ("![a cake](x.png) is it", "a cake is it"),
            ("3*4 is 12, snake_case, -5 degrees, #5", "3*4 is 12, snake_case, -5 degrees, #5"),
            ("| Tea | 2 |\n|---|---|\n```json\nx\n```", "Tea 2 x"),
            ("a [b] c ![", "a [b] c !["),
        ] {
            assert_eq!(speakable(written).as_deref(), Some(spoken), "{written}");
        }
        for silent in ["", " ", "...", "\u{1f389}!", "**", "---", "\u{1f1e9}\u{1f1ea}"] {
            assert_eq!(speakable(silent), None, "{silent}");
        }
    }

    proptest! {
        #[test]
        fn nothing_is_lost_or_added_by_cutting(text in "[a-zA-Z0-9 .,!?\n*é\u{1f600}\u{3002}]{0,400}", size in 1usize..50) {
            let plain = |text: &str| text.split_whitespace().collect::<String>();
            let clauses = cut_by(&text, size);
            prop_assert_eq!(plain(&clauses.concat()), plain(&text));
            prop_assert!(clauses.iter().all(|clause| !clause.is_empty() && clause.chars().count() <= LONGEST + 1));
        }

        #[test]
        fn any_text_can_be_read(text in "\\PC{0,200}") {
            if let Some(spoken) = speakable(&text) {
                prop_assert!(spoken.contains(char::is_alphanumeric));
                prop_assert_eq!(spoken.trim(), &spoken);
            }
        }
    }
}
