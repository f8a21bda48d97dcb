//! Backchannel: "uh-huh" and the like show that the caller listens, and do not interrupt the agent.

use super::transcript::plain_words;
use crate::language;

/// Maximum length of backchannel, in words.
const MAX_WORDS: usize = 3;

/// Backchannel words by language (the first part of a BCP-47 tag), as a transcriber writes them, without case and
/// punctuation. Words that interrupt ("no", "stop") or answer a question of the agent are left out.
const WORDS: [(&str, &[&str]); 8] = [
    (
        "en",
        &[
            "uhhuh", "aha", "mhm", "mmhm", "mmhmm", "mm", "hm", "hmm", "uh", "um", "ah", "oh", "yeah", "yes",
            "yep", "ok", "okay", "right", "sure", "alright", "great", "good", "cool", "i", "see", "got",
            "it",
        ],
    ),
    (
        "de",
        &[
            "mhm", "hm", "hmm", "äh", "ähm", "ah", "aha", "oh", "ja", "jaja", "ok", "okay", "genau", "gut",
            "klar", "verstehe",
        ],
    ),
    (
        "fr",
        &["mhm", "hm", "hmm", "euh", "ah", "oh", "oui", "ouais", "ok", "okay", "daccord", "bien", "voilà"],
    ),
    ("es", &["mhm", "hm", "hmm", "eh", "ah", "oh", "sí", "si", "ok", "okay", "vale", "ya", "claro", "bien"]),
    ("it", &["mhm", "hm", "hmm", "eh", "ah", "oh", "sì", "si", "ok", "okay", "certo", "bene", "capito"]),
    ("nl", &["mhm", "hm", "hmm", "eh", "ah", "oh", "ja", "ok", "okay", "oké", "goed", "precies"]),
    ("pt", &["mhm", "hm", "hmm", "eh", "ah", "oh", "sim", "ok", "okay", "tá", "certo", "bem", "claro"]),
    ("sv", &["mhm", "hm", "hmm", "eh", "ah", "oh", "ja", "jo", "ok", "okej", "okay", "precis", "bra"]),
];

/// Whether `text` has only backchannel words. False in a language without a list.
pub(crate) fn is_backchannel(language: &str, text: &str) -> bool {
    let Some(known) = language::entry(&WORDS, language) else { return false };
    let words = plain_words(text);
    (1..=MAX_WORDS).contains(&words.len()) && words.iter().all(|word| known.contains(&word.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backchannel_differs_from_words_that_want_a_reply() {
        for (language, text, is) in [
            ("en", "Uh-huh.", true),
            ("en", "Aha.", true),
            ("en-US", "Yeah, okay.", true),
            ("en", "I see.", true),
            ("en", "Got it, great", true),
            ("en", "No.", false),
            ("en", "Yes, but wait", false),
            ("en", "yeah yeah yeah yeah", false),
            ("en", "", false),
            ("de", "Ja, genau.", true),
            ("de", "Ja, morgen", false),
            ("fr", "D'accord.", true),
            ("es", "Sí, claro", true),
            ("ja", "okay", false),
            ("", "okay", false),
        ] {
            assert_eq!(is_backchannel(language, text), is, "{language}: {text}");
        }
    }
}
