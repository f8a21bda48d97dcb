//! The models of live transcription and the languages each takes, as published in November 2026.
//!
//! A pair that is not listed is refused, a regional variant too: `fr-FR` is not `fr`.

/// The refusal of an unknown model, and of a language that a model does not take.
pub(super) const NO_SUCH_COMBINATION: &str = "No such model/language/tier combination found.";

const PLAIN_ENGLISH: &[&str] = &["en", "en-US"];
const ENGLISH: &[&str] = &["en", "en-US", "en-AU", "en-GB", "en-IN", "en-NZ"];

#[rustfmt::skip]
const NOVA_3: &[&str] = &[
    "multi", "en", "en-US", "en-AU", "en-GB", "en-IN", "en-NZ", "de", "de-CH", "es", "es-419", "fr", "fr-CA", "it", "nl",
    "nl-BE", "pt", "pt-BR", "pt-PT", "hi", "ja", "ko", "ko-KR", "sv", "sv-SE", "da", "da-DK", "zh", "zh-CN", "zh-TW",
    "th", "th-TH",
];

#[rustfmt::skip]
const NOVA_2: &[&str] = &[
    "multi", "en", "en-US", "en-AU", "en-GB", "en-IN", "en-NZ", "bg", "ca", "cs", "da", "da-DK", "de", "de-CH", "el", "es",
    "es-419", "et", "fi", "fr", "fr-CA", "hi", "hu", "id", "it", "ja", "ko", "ko-KR", "lt", "lv", "ms", "nl", "nl-BE", "no",
    "pl", "pt", "pt-BR", "pt-PT", "ro", "ru", "sk", "sv", "sv-SE", "th", "th-TH", "tr", "uk", "vi", "zh", "zh-CN",
    "zh-HK", "zh-TW",
];

/// The models for one trade.
const NOVA_2_TRADES: [&str; 9] = [
    "atc",
    "automotive",
    "conversationalai",
    "drivethru",
    "finance",
    "medical",
    "meeting",
    "phonecall",
    "video",
];

/// Maximum number of tokens of all key terms of a request.
pub(super) const MAX_KEY_TERM_TOKENS: usize = 500;

/// Estimates the tokens of a key term: four characters each.
pub(super) fn key_term_tokens(term: &str) -> usize {
    term.split_whitespace().map(|word| word.chars().count().div_ceil(4)).sum()
}

/// Whether the model exists and takes the language.
pub(super) fn takes(model: &str, language: &str) -> bool {
    let languages = match model {
        "nova-3" | "nova-3-general" => NOVA_3,
        "nova-3-medical" => ENGLISH,
        "nova-2" | "nova-2-general" => NOVA_2,
        "nova" | "enhanced" | "base" => PLAIN_ENGLISH,
        _ => match model.strip_prefix("nova-2-") {
            Some(trade) if NOVA_2_TRADES.contains(&trade) => PLAIN_ENGLISH,
            _ => &[],
        },
    };
    languages.contains(&language)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_regional_variant_must_be_listed() {
        for (model, language) in
            [("nova-3", "fr"), ("nova-3", "en-GB"), ("nova-3", "multi"), ("nova-2-meeting", "en-US")]
        {
            assert!(takes(model, language), "{model} {language}");
        }
        for (model, language) in [
            ("nova-3", "fr-FR"),
            ("nova-3", "de-DE"),
            ("nova-3", "en-CA"),
            ("nova-3-medical", "fr"),
            ("nova-2-phonecall", "en-GB"),
            ("nova-2-phonecall", "fr"),
            ("nova-9", "en"),
            ("flux-general-en", "en"),
        ] {
            assert!(!takes(model, language), "{model} {language}");
        }
    }
}
