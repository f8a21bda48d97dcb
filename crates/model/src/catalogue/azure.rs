//! Azure Speech: transcription and neural voices.

use std::time::Duration;

use super::{
    Adapter, Capabilities, Connection, Model, Price, Row, Service, TranscriberCapabilities,
    VoiceCapabilities,
    languages::{canonical, is_same_language, primary},
};
use crate::audio::{AudioFormat, Encoding};

/// A resource has one region, which is part of the address; each service of the region has a host of its own.
const CONNECTION: Connection = Connection {
    provider: "azure",
    keys: &["azure_api_key"],
    is_required: false,
    url_variable: "AZURE_API_URL",
    // A key is valid in one region. The portal shows this endpoint beside the key.
    default_url: "https://eastus.api.cognitive.microsoft.com",
    opt_out_variable: None,
};

pub(super) static TRANSCRIBER: Row = Row {
    provider: "azure",
    service: Service::Transcriber,
    about: "Azure real-time speech to text.",
    adapter: Some(Adapter {
        connection: &CONNECTION,
        capabilities: Capabilities::Transcriber(TranscriberCapabilities {
            // A phrase comes half a second after its last word; not measured.
            settles_within: Duration::from_secs(5),
            // Of the vendor's first hypothesis; not measured.
            words_within: Duration::from_secs(1),
            detects_turns: true,
            understands_turns: false,
            formats: &[AudioFormat::TELEPHONE, AudioFormat::WIDEBAND],
            max_key_term_tokens: None,
        }),
    }),
    models: &[
        // One dollar an hour, as published in November 2026.
        Model::new(ONE_LANGUAGE, Price::per_minute(167)),
        // Thirty cents more an hour for language identification.
        Model::new(SEVERAL_LANGUAGES, Price::per_minute(217)),
    ],
    unlisted: Price::per_minute(217),
    fallbacks: &[],
    successor: None,
};

// Customers see them in the costs of a conversation.
const ONE_LANGUAGE: &str = "speech-to-text";
const SEVERAL_LANGUAGES: &str = "speech-to-text-with-language-identification";

/// The vendor has one model; its price depends on the number of languages.
pub(super) fn tariff(languages: &[String]) -> &'static str {
    if served_locales(languages).len() > 1 { SEVERAL_LANGUAGES } else { ONE_LANGUAGE }
}

/// Maximum number of languages that are told apart.
const MAX_LANGUAGES: usize = 10;

/// The region of a language that is named without one. All others are named like their language (`de-DE`).
#[rustfmt::skip]
const REGIONS: &[(&str, &str)] = &[
    ("en", "en-US"), ("af", "af-ZA"), ("am", "am-ET"), ("ar", "ar-EG"), ("bn", "bn-IN"), ("bs", "bs-BA"), ("ca", "ca-ES"),
    ("cs", "cs-CZ"), ("cy", "cy-GB"), ("da", "da-DK"), ("el", "el-GR"), ("et", "et-EE"), ("eu", "eu-ES"), ("fa", "fa-IR"),
    ("fil", "fil-PH"), ("ga", "ga-IE"), ("gl", "gl-ES"), ("gu", "gu-IN"), ("he", "he-IL"), ("hi", "hi-IN"), ("hy", "hy-AM"),
    ("ja", "ja-JP"), ("ka", "ka-GE"), ("kk", "kk-KZ"), ("km", "km-KH"), ("kn", "kn-IN"), ("ko", "ko-KR"), ("lo", "lo-LA"),
    ("ml", "ml-IN"), ("mr", "mr-IN"), ("ms", "ms-MY"), ("my", "my-MM"), ("nb", "nb-NO"), ("ne", "ne-NP"), ("no", "nb-NO"),
    ("pa", "pa-IN"), ("pt", "pt-BR"), ("si", "si-LK"), ("sl", "sl-SI"), ("sq", "sq-AL"), ("sr", "sr-RS"), ("sv", "sv-SE"),
    ("sw", "sw-KE"), ("ta", "ta-IN"), ("te", "te-IN"), ("tl", "fil-PH"), ("uk", "uk-UA"), ("ur", "ur-IN"), ("vi", "vi-VN"),
    ("zh", "zh-CN"), ("zu", "zu-ZA"), ("multi", "en-US"),
];

/// The locales that a session asks for: each language once, with its region, and as many as the vendor takes. At least
/// one.
#[must_use]
pub fn served_locales(languages: &[String]) -> Vec<String> {
    let mut served: Vec<String> = vec![];
    for language in languages.iter().map(|language| language.trim()).filter(|language| !language.is_empty()) {
        let locale = locale(language);
        let is_new = served.iter().all(|other| !is_same_language(other, &locale));
        if is_new && served.len() < MAX_LANGUAGES {
            served.push(locale);
        }
    }
    if served.is_empty() {
        served.push("en-US".into());
    }
    served
}

fn locale(language: &str) -> String {
    // Its locales name no script.
    let tag = canonical(language);
    let parts =
        tag.split('-').enumerate().filter(|(place, part)| *place == 0 || !matches!(part.len(), 0 | 4));
    let tag = parts.map(|(_, part)| part).collect::<Vec<_>>().join("-");
    if tag.is_empty() {
        return "en-US".to_owned();
    }
    // It has no locale of Latin America as a whole.
    if tag == "es-419" {
        return "es-MX".to_owned();
    }
    // Norwegian is Bokmål there, whatever the tag.
    let tag = if primary(&tag) == "no" { "no".to_owned() } else { tag };
    if tag.contains('-') {
        return tag;
    }
    let listed = REGIONS.iter().find(|(listed, _)| *listed == tag);
    listed.map_or_else(|| format!("{tag}-{}", tag.to_ascii_uppercase()), |(_, locale)| (*locale).to_owned())
}

/// The audio that voices yield without conversion and without a header.
const VOICE_FORMATS: &[AudioFormat] = &[
    AudioFormat::TELEPHONE,
    AudioFormat { encoding: Encoding::Pcm16, sample_rate: 8_000 },
    AudioFormat { encoding: Encoding::Pcm16, sample_rate: 16_000 },
    AudioFormat { encoding: Encoding::Pcm16, sample_rate: 24_000 },
    AudioFormat { encoding: Encoding::Pcm16, sample_rate: 48_000 },
];

pub(super) static VOICE: Row = Row {
    provider: "azure",
    service: Service::Voice,
    about: "Azure neural voices.",
    adapter: Some(Adapter {
        connection: &CONNECTION,
        capabilities: Capabilities::Voice(VoiceCapabilities { formats: VOICE_FORMATS, word_times: false }),
    }),
    // 30 and 16 USD per million characters (sources differ on 15 or 16), list prices of November 2026.
    models: &[
        Model::new("*:DragonHD*", Price::per_thousand_characters(30)),
        Model::new("*", Price::per_thousand_characters(16)),
    ],
    unlisted: Price::per_thousand_characters(30),
    fallbacks: &[],
    successor: None,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_asks_for_each_language_once_and_for_ten_at_most() {
        let served = |languages: &[&str]| {
            served_locales(&languages.iter().map(|language| (*language).to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(served(&["en-US", "en-GB", "fr"]), ["en-US", "fr-FR"]);
        assert_eq!(served(&["sv", "DE", "pt-PT"]), ["sv-SE", "de-DE", "pt-PT"]);
        assert_eq!(
            served(&["pt_br", "EN-gb", "es-419", "no-NO", "et", "ca"]),
            ["pt-BR", "en-GB", "es-MX", "nb-NO", "et-EE", "ca-ES"]
        );
        assert_eq!(served(&[" "]), ["en-US"]);
        let many: Vec<String> = ('a'..='z').map(|letter| format!("{letter}{letter}")).collect();
        assert_eq!(served_locales(&many).len(), 10);
        assert_eq!(tariff(&many), SEVERAL_LANGUAGES);
        assert_eq!(tariff(&["en-US".into(), "en-GB".into()]), ONE_LANGUAGE);
    }
}
