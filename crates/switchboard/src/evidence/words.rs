//! Compares words as a listener does: without case and punctuation, and with numbers in any notation.
//!
//! The word error rate is the number of words to change, add or drop in order to turn the heard text into the said
//! one, divided by the number of words said.

use strsim::generic_levenshtein;

/// The digits; every number is compared digit by digit, so that "24", "twenty-four" and "two four" are the same.
const DIGITS: [&str; 10] = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];
/// 10 to 19.
const TEENS: [&str; 10] = [
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
];
/// 20 to 90.
const TENS: [&str; 8] = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];

/// The counts of one comparison, or of several added up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct WordErrors {
    /// Words said.
    pub(crate) words: usize,
    /// Words changed, added or dropped.
    pub(crate) errors: usize,
}

impl WordErrors {
    /// Compares the said with the heard text.
    pub(crate) fn between(said: &str, heard: &str) -> Self {
        let (said, heard) = (words(said), words(heard));
        Self { words: said.len(), errors: generic_levenshtein(&said, &heard) }
    }

    /// Adds two comparisons.
    pub(crate) fn and(self, other: Self) -> Self {
        Self { words: self.words + other.words, errors: self.errors + other.errors }
    }

    /// The word error rate. It is 1 if no word was said, because then nothing was proved.
    #[expect(clippy::cast_precision_loss, reason = "a call has far fewer than 2^52 words")]
    pub(crate) fn rate(self) -> f64 {
        if self.words == 0 { 1.0 } else { self.errors as f64 / self.words as f64 }
    }
}

/// Splits a text into words, without case and punctuation; numbers become digits, e-mail addresses the words in
/// which they are spoken.
pub(crate) fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = vec![];
    let text = text.to_lowercase().replace('@', " at ").replace("e-mail", "email");
    for token in text.split_whitespace() {
        let (token, dollars) =
            token.strip_prefix('$').map_or((token, None), |amount| (amount, Some("dollars")));
        let parts: Vec<&str> = token.split('.').collect();
        for (index, part) in parts.iter().enumerate() {
            // The dot of "example.com", but not that of "p.m." or "3.50", nor a full stop.
            let letters = |part: &str| part.chars().filter(|c| c.is_alphabetic()).count() > 1;
            if index > 0 && letters(parts[index - 1]) && letters(part) {
                words.push("dot".to_owned());
            }
            words.extend(plain(part));
        }
        words.extend(dollars.map(str::to_owned));
    }
    digit_by_digit(words)
}

/// Splits into runs of letters and runs of digits.
fn plain(part: &str) -> Vec<String> {
    let mut words: Vec<String> = vec![];
    let mut last = None;
    for c in part.chars().map(|c| if c == '’' { '\'' } else { c }) {
        let kind = match c {
            c if c.is_numeric() => Some(true),
            c if c.is_alphabetic() || c == '\'' => Some(false),
            _ => None,
        };
        match (words.last_mut(), kind) {
            (Some(word), Some(_)) if kind == last => word.push(c),
            (_, Some(_)) => words.push(c.to_string()),
            (_, None) => {}
        }
        last = kind;
    }
    words.iter().map(|word| word.trim_matches('\'').to_owned()).filter(|word| !word.is_empty()).collect()
}

fn digit_by_digit(words: Vec<String>) -> Vec<String> {
    let place = |list: &[&str], word: &str| list.iter().position(|known| *known == word);
    let mut spelt = vec![];
    let mut words = words.into_iter().peekable();
    while let Some(word) = words.next() {
        if word.chars().all(|c| c.is_ascii_digit()) {
            spelt.extend(
                word.chars()
                    .filter_map(|c| c.to_digit(10))
                    .map(|digit| DIGITS[digit as usize])
                    .map(str::to_owned),
            );
        } else if let Some(unit) = place(&TEENS, &word) {
            spelt.extend([DIGITS[1], DIGITS[unit]].map(str::to_owned));
        } else if let Some(ten) = place(&TENS, &word) {
            let unit = words.next_if(|next| place(&DIGITS[1..], next).is_some());
            spelt.extend([DIGITS[ten + 2].to_owned(), unit.unwrap_or_else(|| DIGITS[0].to_owned())]);
        } else {
            spelt.push(match word.as_str() {
                "oh" => DIGITS[0].to_owned(),
                "ok" => "okay".to_owned(),
                "a" | "p" if words.next_if(|next| next == "m").is_some() => format!("{word}m"),
                _ => word,
            });
        }
    }
    spelt
}

/// The place in a text at which a phrase occurs with the fewest wrong words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PhraseMatch {
    /// The number of wrong words.
    pub(crate) errors: usize,
    /// The number of words of the text up to the end of the phrase, at the first such place.
    pub(crate) end: usize,
    /// The same at the last such place.
    pub(crate) last_end: usize,
}

/// Finds `phrase` in `text`.
pub(crate) fn find(phrase: &[String], text: &[String]) -> PhraseMatch {
    // Levenshtein's distance with a free beginning and end in the text, which `strsim` does not have.
    let mut row = vec![0; text.len() + 1];
    for (i, word) in phrase.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, other) in text.iter().enumerate() {
            let substituted = diagonal + usize::from(word != other);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    let errors = row.iter().copied().min().unwrap_or(0);
    let is_best = |place: &usize| *place == errors;
    let end = row.iter().position(is_best).unwrap_or(0);
    PhraseMatch { errors, end, last_end: row.iter().rposition(is_best).unwrap_or(0) }
}

/// Returns the end of the first exact occurrence, as a number of words.
pub(crate) fn find_exact(phrase: &[String], text: &[String]) -> Option<usize> {
    if phrase.is_empty() {
        return Some(0);
    }
    text.windows(phrase.len()).position(|window| window == phrase).map(|start| start + phrase.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_punctuation_and_digits_are_no_errors() {
        for (said, heard) in [
            ("We close at six, don't we?", "we close at 6 don't we"),
            ("It is twenty four dollars.", "It is $24."),
            ("An e-mail", "an email"),
            ("Call 415-555-0100.", "call four one five fifty-five five oh one oh oh"),
            ("ada@example.com", "Ada at example dot com."),
            ("At 6pm, or at nineteen.", "at six PM or at 19"),
            ("It’s OK", "it's okay"),
            ("Is it open at 5 p.m.?", "is it open at five pm"),
        ] {
            assert_eq!(WordErrors::between(said, heard).errors, 0, "{:?} {:?}", words(said), words(heard));
        }
    }

    #[test]
    fn every_changed_added_and_dropped_word_counts() {
        assert_eq!(WordErrors::between("one two three", "one too three"), WordErrors { words: 3, errors: 1 });
        assert_eq!(WordErrors::between("one two three", "one three").errors, 1);
        assert_eq!(WordErrors::between("one three", "one two three").errors, 1);
        assert_eq!(WordErrors::between("one two", "").errors, 2);
        assert_eq!(WordErrors::between("", "noise").errors, 1);
    }

    #[test]
    fn a_silent_call_proves_nothing() {
        assert!((WordErrors::default().rate() - 1.0).abs() < f64::EPSILON);
        let both = WordErrors { words: 3, errors: 1 }.and(WordErrors { words: 7, errors: 0 });
        assert!((both.rate() - 0.1).abs() < f64::EPSILON);
    }

    #[test]
    fn a_phrase_is_found_where_it_fits_best() {
        let text = words("hello we close that six in the evening we close at six");
        assert_eq!(find(&words("we close at six"), &text), PhraseMatch { errors: 0, end: 12, last_end: 12 });
        assert_eq!(find(&words("in the morning"), &text), PhraseMatch { errors: 1, end: 7, last_end: 8 });
        assert_eq!(find(&words("goodbye"), &[]), PhraseMatch { errors: 1, end: 0, last_end: 0 });
        assert_eq!(find_exact(&words("in the evening"), &text), Some(8));
        assert_eq!(find_exact(&words("the morning"), &text), None);
    }
}
