//! Word error rate: how many words must be changed, added or dropped to make what was heard into what
//! was said, over the number of words said.

/// Counts of one comparison; add several up for a rate over all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Errors {
    /// Words said.
    pub(super) words: usize,
    /// Words changed, added or dropped.
    pub(super) errors: usize,
}

impl Errors {
    /// Compares without regard to case and punctuation, numbers up to twelve being words.
    pub(super) fn between(said: &str, heard: &str) -> Self {
        let (said, heard) = (words(said), words(heard));
        Self { words: said.len(), errors: distance(&said, &heard) }
    }

    /// Both together.
    pub(super) fn and(self, other: Self) -> Self {
        Self { words: self.words + other.words, errors: self.errors + other.errors }
    }

    /// The rate; 1 where nothing was said at all, since then nothing was proved either.
    #[expect(clippy::cast_precision_loss, reason = "a call has far fewer than 2^52 words")]
    pub(super) fn rate(self) -> f64 {
        if self.words == 0 { 1.0 } else { self.errors as f64 / self.words as f64 }
    }
}

/// The words of a text, without case and punctuation, numbers up to twelve spelt out.
pub(super) fn words(text: &str) -> Vec<String> {
    const NUMBERS: [&str; 13] = [
        "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
        "twelve",
    ];
    text.split(|c: char| !c.is_alphanumeric() && c != '\'')
        .map(|word| word.trim_matches('\'').to_lowercase())
        .filter(|word| !word.is_empty())
        .map(|word| match word.parse::<usize>().ok().and_then(|number| NUMBERS.get(number)) {
            Some(number) => (*number).to_owned(),
            None => word,
        })
        .collect()
}

/// Levenshtein's distance, over words.
fn distance(from: &[String], to: &[String]) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, word) in from.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, other) in to.iter().enumerate() {
            let substituted = diagonal + usize::from(word != other);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_punctuation_and_digits_are_no_errors() {
        assert_eq!(Errors::between("We close at six, don't we?", "we close at 6 don't we").errors, 0);
    }

    #[test]
    fn every_changed_added_and_dropped_word_counts() {
        assert_eq!(Errors::between("one two three", "one too three"), Errors { words: 3, errors: 1 });
        assert_eq!(Errors::between("one two three", "one three").errors, 1);
        assert_eq!(Errors::between("one three", "one two three").errors, 1);
        assert_eq!(Errors::between("one two", "").errors, 2);
        assert_eq!(Errors::between("", "noise").errors, 1);
    }

    #[test]
    fn a_silent_call_proves_nothing() {
        assert!((Errors::default().rate() - 1.0).abs() < f64::EPSILON);
        let both = Errors { words: 3, errors: 1 }.and(Errors { words: 7, errors: 0 });
        assert!((both.rate() - 0.1).abs() < f64::EPSILON);
    }
}
