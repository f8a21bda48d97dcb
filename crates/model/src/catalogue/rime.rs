//! Rime, one vendor under both of its names.

use super::{
    Adapter, Capabilities, Connection, Model, Price, Row, Service, VoiceCapabilities,
    languages::is_same_language,
};
use crate::audio::{AudioFormat, Encoding};

const CONNECTION: Connection = Connection {
    provider: "rime",
    keys: &["rime_api_key"],
    is_required: false,
    url_variable: "RIME_API_URL",
    default_url: "https://users-ws.rime.ai",
    opt_out_variable: None,
};

/// By the name in the API's documentation.
pub(super) static RIMEAI_VOICE: Row = voice("rimeai", "Rime, by the name in the API's documentation.");

/// By the name that the official client uses.
pub(super) static RIME_VOICE: Row = voice("rime", "Rime, by the name in the official client.");

const fn voice(provider: &'static str, about: &'static str) -> Row {
    Row {
        provider,
        service: Service::Voice,
        about,
        adapter: Some(Adapter {
            connection: &CONNECTION,
            capabilities: Capabilities::Voice(VoiceCapabilities {
                formats: &[
                    AudioFormat::TELEPHONE,
                    AudioFormat { encoding: Encoding::Pcm16, sample_rate: 8_000 },
                    AudioFormat { encoding: Encoding::Pcm16, sample_rate: 16_000 },
                    AudioFormat { encoding: Encoding::Pcm16, sample_rate: 24_000 },
                ],
                // Of coda in English and Spanish only.
                word_times: true,
            }),
        }),
        models: MODELS,
        unlisted: Price::per_thousand_characters(50),
        fallbacks: &[],
        successor: None,
    }
}

/// As published in May 2026. Arcana, at 0.04, was retired on 2026-08-15, and coda answers for it.
const MODELS: &[Model] = &[
    Model::new(CODA, Price::per_thousand_characters(50)),
    Model::new(MIST, Price::per_thousand_characters(30)),
];

const CODA: &str = "coda";
const MIST: &str = "mistv3";

/// The speakers of the mist models, of all versions. Those of arcana and all others are asked of coda.
const MIST_SPEAKERS: [&str; 2] = ["cove", "luna"];

/// The model that has a speaker.
#[must_use]
pub fn model_of(speaker: &str) -> &'static str {
    let speaker = speaker.to_ascii_lowercase();
    // The speakers of the first version are named like `young_male_unmarked-1`.
    if MIST_SPEAKERS.contains(&speaker.as_str()) || speaker.contains("_unmarked") { MIST } else { CODA }
}

/// The vendor's tag of a language that it has to be told. None for English, its default, and for languages that not all of
/// its models speak: it refuses those.
#[must_use]
pub fn language_tag(language: &str) -> Option<&'static str> {
    ["de", "es", "fr", "hi"].into_iter().find(|tag| is_same_language(tag, language))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retired_models_are_not_asked_for() {
        for (speaker, model) in
            [("lyra", "coda"), ("celeste", "coda"), ("Cove", "mistv3"), ("young_male_unmarked-1", "mistv3")]
        {
            assert_eq!(model_of(speaker), model, "{speaker}");
        }
    }

    #[test]
    fn only_languages_of_all_models_are_named() {
        assert_eq!(language_tag("fr-CA"), Some("fr"));
        assert_eq!((language_tag("en-US"), language_tag("multi"), language_tag("sv")), (None, None, None));
    }
}
