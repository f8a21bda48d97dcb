//! Compares spoken and recognised text, word by word.

use serde_json::Value;

/// A repetition of this many words in a row is no coincidence.
const RUN: usize = 4;

/// All words under `field` of these records, in one text.
pub fn texts(records: &[Value], field: &str) -> String {
    records.iter().filter_map(|record| record[field].as_str()).collect::<Vec<_>>().join(" ")
}

/// The first words in a row that a text has twice.
pub fn heard_twice(text: &str) -> Option<String> {
    let words = words(text);
    let runs: Vec<&[String]> = words.windows(RUN).collect();
    // A run does not repeat what it overlaps with.
    let again = |(at, run): &(usize, &&[String])| runs.iter().skip(at + RUN).any(|other| other == *run);
    runs.iter().enumerate().find(again).map(|(_, run)| run.join(" "))
}

/// The share of words that must be changed, added or dropped to make one text into the other.
#[expect(clippy::cast_precision_loss, reason = "a call has far fewer than 2^52 words")]
pub fn word_errors(said: &str, heard: &str) -> f64 {
    let (said, heard) = (words(said), words(heard));
    // Levenshtein's distance, row by row.
    let mut row: Vec<usize> = (0..=heard.len()).collect();
    for (i, word) in said.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, other) in heard.iter().enumerate() {
            let changed = diagonal + usize::from(word != other);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[heard.len()] as f64 / said.len().max(1) as f64
}

fn words(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_alphanumeric() && c != '\'')
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .map(|word| if word == "6" { "six".to_owned() } else { word })
        .collect()
}
