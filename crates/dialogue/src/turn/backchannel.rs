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

/// Words with which people answer the telephone, by language. Beside them every backchannel word is one.
const ANSWERS: [(&str, &[&str]); 8] = [
    ("en", &["hello", "hi", "hey", "morning", "afternoon", "evening", "speaking"]),
    ("de", &["hallo", "guten", "tag", "morgen", "abend", "moin", "servus", "grüß", "gott", "bitte", "hi"]),
    ("fr", &["allô", "allo", "bonjour", "bonsoir", "salut", "jécoute"]),
    (
        "es",
        &["hola", "diga", "dígame", "digame", "bueno", "buenos", "buenas", "días", "tardes", "noches", "aló"],
    ),
    ("it", &["pronto", "ciao", "buongiorno", "buonasera", "salve"]),
    ("nl", &["hallo", "hoi", "goedemorgen", "goedemiddag", "goedenavond", "goedendag", "dag"]),
    ("pt", &["alô", "alo", "olá", "ola", "oi", "estou", "bom", "boa", "dia", "tarde", "noite"]),
    ("sv", &["hallå", "hej", "hejsan", "goddag", "god", "morgon"]),
];

/// Whether `text` only answers the telephone: "Hello?", "Yes, hello." False in a language without a list.
pub(crate) fn answers_telephone(language: &str, text: &str) -> bool {
    let (Some(backchannel), Some(answers)) =
        (language::entry(&WORDS, language), language::entry(&ANSWERS, language))
    else {
        return false;
    };
    let words = plain_words(text);
    let is_known = |word: &String| backchannel.contains(&word.as_str()) || answers.contains(&word.as_str());
    (1..=MAX_WORDS).contains(&words.len()) && words.iter().all(is_known)
}

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
    fn answering_the_telephone_differs_from_a_question() {
        for (language, text, is) in [
            ("en", "Hello?", true),
            ("en-GB", "Yes, good morning.", true),
            ("en", "Hello, who is this?", false),
            ("en", "No.", false),
            ("de", "Ja, guten Tag.", true),
            ("fr", "Allô oui", true),
            ("es", "¿Bueno?", true),
            ("it", "Pronto.", true),
            ("pt", "Alô?", true),
            ("ja", "もしもし", false),
        ] {
            assert_eq!(answers_telephone(language, text), is, "{language}: {text}");
        }
    }

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
