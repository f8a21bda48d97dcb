//! `ElevenLabs`: voices over its multi-context websocket. Models, prices and premade voices as published in November 2026.
//!
//! An agent names a voice and a model. The price is the model's; what is retired is the voice.

use jiff::civil::{Date, date};

use super::{
    Adapter, Capabilities, Connection, Model, Price, Row, Service, VoiceCapabilities,
    languages::{is_same_language, primary},
};
use crate::audio::{AudioFormat, Encoding};

const CONNECTION: Connection = Connection {
    provider: "elevenlabs",
    keys: &["elevenlabs_api_key"],
    is_required: false,
    url_variable: "ELEVENLABS_API_URL",
    default_url: "https://api.elevenlabs.io",
    opt_out_variable: None,
};

/// The audio that it yields without conversion, in all plans.
const FORMATS: &[AudioFormat] = &[
    AudioFormat::TELEPHONE,
    AudioFormat { encoding: Encoding::Pcm16, sample_rate: 8_000 },
    AudioFormat { encoding: Encoding::Pcm16, sample_rate: 16_000 },
    AudioFormat { encoding: Encoding::Pcm16, sample_rate: 24_000 },
];

/// The newer price list has 0.04 and 0.08 for some plans; pay as you go is 0.05 and 0.10.
const FLASH: Price = Price::per_thousand_characters(50);
const MULTILINGUAL: Price = Price::per_thousand_characters(100);

pub(super) static VOICE: Row = Row {
    provider: "elevenlabs",
    service: Service::Voice,
    about: "ElevenLabs.",
    adapter: Some(Adapter {
        connection: &CONNECTION,
        capabilities: Capabilities::Voice(VoiceCapabilities { formats: FORMATS, word_times: true }),
    }),
    models: &[
        Model::new("eleven_flash*", FLASH),
        Model::new("eleven_turbo*", FLASH),
        Model::new("eleven_multilingual*", MULTILINGUAL),
    ],
    unlisted: MULTILINGUAL,
    fallbacks: &[],
    successor: None,
};

/// A voice that every account had, by its name in the API.
#[derive(Debug)]
pub(super) struct PremadeVoice {
    pub(super) name: &'static str,
    id: &'static str,
    /// The first day on which accounts do not have it. Some accounts have kept it in their library.
    pub(super) retires_on: Date,
    /// The Aura voice that serves from then on.
    pub(super) aura: &'static str,
}

const fn premade(name: &'static str, id: &'static str, retires_on: Date, aura: &'static str) -> PremadeVoice {
    PremadeVoice { name, id, retires_on, aura }
}

/// The first of them answer 402 or 404 since 2026; the vendor takes the rest away at the end of that year.
const LEGACY_END: Date = date(2026, 1, 1);
const DEFAULT_END: Date = date(2026, 12, 31);

/// The names that the API knows.
pub(super) static PREMADE: &[PremadeVoice] = &[
    premade("rachel", "21m00Tcm4TlvDq8ikWAM", LEGACY_END, "aura-2-thalia-en"),
    premade("adam", "pNInz6obpgDQGcFmaJgB", DEFAULT_END, "aura-2-zeus-en"),
    premade("paul", "5Q0t7uMcjvnagumLfvZi", LEGACY_END, "aura-2-arcas-en"),
    premade("drew", "29vD33N1CtxCmqQRPOHJ", LEGACY_END, "aura-2-apollo-en"),
    premade("clyde", "2EiwWnXFnvU5JabPnv8n", LEGACY_END, "aura-2-zeus-en"),
    premade("dave", "CYw3kZ02Hs0563khs1Fj", LEGACY_END, "aura-2-draco-en"),
    premade("sarah", "EXAVITQu4vr4xnSDxMaL", DEFAULT_END, "aura-2-thalia-en"),
    premade("fin", "D38z5RcWu1voky8WS1ja", LEGACY_END, "aura-2-orpheus-en"),
];

/// A premade voice by its name or its id.
pub(super) fn premade_voice(voice: &str) -> Option<&'static PremadeVoice> {
    PREMADE.iter().find(|premade| premade.id == voice || premade.name.eq_ignore_ascii_case(voice))
}

/// The vendor's id of a voice: of one of the names of the API, or `voice` itself.
#[must_use]
pub fn voice_id(voice: &str) -> &str {
    premade_voice(voice).map_or(voice, |premade| premade.id)
}

/// The model that is sent for `model` in a conversation in `language`: the successor of one that the vendor has
/// replaced or does not serve over this websocket, and one that speaks the language.
#[must_use]
pub fn served_model<'a>(model: &'a str, language: &str) -> &'a str {
    let served = match model {
        // Flash is the drop-in replacement of Turbo, and the same price.
        "eleven_turbo_v2" | "eleven_turbo_v2_5" | "eleven_v4_turbo" => "eleven_flash_v2_5",
        "eleven_monolingual_v1" => "eleven_flash_v2",
        "eleven_multilingual_v1" => "eleven_multilingual_v2",
        // They speak another protocol (text to dialogue), or HTTP only.
        _ if model.starts_with("eleven_v3") || model.starts_with("eleven_v4") => "eleven_multilingual_v2",
        _ => model,
    };
    // Speaks English only.
    if served == "eleven_flash_v2" && !matches!(primary(language), "" | "en") {
        return "eleven_flash_v2_5";
    }
    served
}

/// The languages of the v2.5 models, which can be held to one of them by `language_code`.
#[rustfmt::skip]
const LANGUAGES: &[&str] = &[
    "ar", "bg", "cs", "da", "de", "el", "en", "es", "fi", "fil", "fr", "hi", "hr", "hu", "id", "it", "ja", "ko", "ms", "nl",
    "no", "pl", "pt", "ro", "ru", "sk", "sv", "ta", "tr", "uk", "vi", "zh",
];

/// A language as the vendor names it; none if it does not speak it.
pub(super) fn spoken_language(language: &str) -> Option<&'static str> {
    LANGUAGES.iter().copied().find(|listed| is_same_language(listed, language))
}

/// The `language_code` for a conversation in `language`: regional tags give errors or silence, and models before v2.5
/// refuse it. None: the model hears it from the text.
#[must_use]
pub fn language_code(model: &str, language: &str) -> Option<&'static str> {
    spoken_language(language).filter(|_| model.ends_with("_v2_5"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_becomes_an_id_and_an_id_stays() {
        assert_eq!(voice_id("sarah"), "EXAVITQu4vr4xnSDxMaL");
        assert_eq!(voice_id("EXAVITQu4vr4xnSDxMaL"), "EXAVITQu4vr4xnSDxMaL");
        assert_eq!(voice_id("a-cloned-voice"), "a-cloned-voice");
    }

    #[test]
    fn a_replaced_model_is_served_by_its_successor() {
        for (model, language, served) in [
            ("eleven_turbo_v2", "en", "eleven_flash_v2_5"),
            ("eleven_turbo_v2_5", "de-DE", "eleven_flash_v2_5"),
            ("eleven_monolingual_v1", "en-US", "eleven_flash_v2"),
            ("eleven_monolingual_v1", "de", "eleven_flash_v2_5"),
            ("eleven_multilingual_v1", "de", "eleven_multilingual_v2"),
            ("eleven_v3", "en", "eleven_multilingual_v2"),
            ("eleven_v4_turbo", "en", "eleven_flash_v2_5"),
            ("eleven_flash_v2_5", "en", "eleven_flash_v2_5"),
            ("eleven_something_new", "en", "eleven_something_new"),
        ] {
            assert_eq!(served_model(model, language), served, "{model} {language}");
        }
    }

    #[test]
    fn only_models_that_take_a_language_are_sent_one() {
        assert_eq!(language_code("eleven_flash_v2_5", "de-DE"), Some("de"));
        assert_eq!(language_code("eleven_flash_v2_5", "pt_BR"), Some("pt"));
        assert_eq!(language_code("eleven_flash_v2_5", "nb-NO"), Some("no"));
        for (model, language) in
            [("eleven_flash_v2", "en"), ("eleven_multilingual_v2", "de"), ("eleven_flash_v2_5", "multi")]
        {
            assert_eq!(language_code(model, language), None, "{model} {language}");
        }
    }
}
