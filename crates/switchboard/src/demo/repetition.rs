//! Finds words that the caller heard twice.

use crate::evidence::words;

/// Minimum number of repeated words in a row that cannot be a coincidence.
const RUN: usize = 4;

/// The first words that occur twice; `None` if there are none.
pub(super) fn first(heard: &str) -> Option<String> {
    let words = words::words(heard);
    let runs: Vec<&[String]> = words.windows(RUN).collect();
    // A run that overlaps with itself, such as "no, no, no, no, no", is no repetition.
    let again = |(at, run): &(usize, &&[String])| runs.iter().skip(at + RUN).any(|other| other == *run);
    runs.iter().enumerate().find(again).map(|(_, run)| run.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_words_that_occur_again_are_a_repetition() {
        let new = "On Saturday we close at six in the evening. Thank you for ordering with us.";
        assert_eq!(first(new), None);
        assert_eq!(first(&format!("{new} On Sunday we close at six.")), Some("we close at six".into()));
        assert_eq!(first("No, no, no, no, no, no!"), None);
        assert_eq!(first("short"), None);
    }
}
