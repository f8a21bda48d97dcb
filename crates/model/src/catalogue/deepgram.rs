//! Deepgram: live transcription and Aura voices.

use std::time::Duration;

use super::{
    Adapter, Capabilities, Connection, FallbackRule, Model, Price, Row, Service, TranscriberCapabilities,
    VoiceCapabilities,
};
use crate::audio::{AudioFormat, Encoding};

const CONNECTION: Connection = Connection {
    provider: "deepgram",
    keys: &["deepgram_api_key"],
    is_required: false,
    url_variable: "DEEPGRAM_API_URL",
    default_url: "https://api.deepgram.com",
};

/// The audio that both services take and yield without conversion.
const FORMATS: &[AudioFormat] = &[
    AudioFormat::TELEPHONE,
    AudioFormat { encoding: Encoding::Pcm16, sample_rate: 8_000 },
    AudioFormat { encoding: Encoding::Pcm16, sample_rate: 16_000 },
    AudioFormat { encoding: Encoding::Pcm16, sample_rate: 24_000 },
    AudioFormat { encoding: Encoding::Pcm16, sample_rate: 48_000 },
];

/// The price of `nova-3`, and of a transcription model that is not listed.
const NOVA_3: Price = Price::per_minute(48);

pub(super) static TRANSCRIBER: Row = Row {
    provider: "deepgram",
    service: Service::Transcriber,
    adapter: Some(Adapter {
        connection: &CONNECTION,
        capabilities: Capabilities::Transcriber(TranscriberCapabilities {
            // Three to five seconds, measured; `smart_format` alone may hold a final for three.
            settles_within: Duration::from_secs(5),
            // 300 to 700 ms, measured.
            words_within: Duration::from_millis(700),
            detects_turns: true,
            formats: FORMATS,
            max_key_term_tokens: Some(500),
        }),
    }),
    models: &[
        Model::new("flux-general-multi*", Price::per_minute(78))
            .speaks(&["multi", "de", "en", "es", "fr", "hi", "it", "ja", "nl", "pt", "ru"]),
        Model::new("flux*", Price::per_minute(65)).speaks(ENGLISH),
        Model::new("nova-3-medical*", NOVA_3).speaks(ENGLISH),
        Model::new("nova-3*", NOVA_3).speaks(NOVA_3_LANGUAGES),
        Model::new("nova-2-general*", NOVA_2),
        // The models for one trade (telephone calls, meetings, medicine).
        Model::new("nova-2-*", NOVA_2).speaks(&["en", "en-US"]),
        Model::new("nova-2*", NOVA_2),
    ],
    unlisted: NOVA_3,
    fallbacks: &[],
};

const NOVA_2: Price = Price::per_minute(58);

const ENGLISH: &[&str] = &["en", "en-US", "en-AU", "en-GB", "en-IN", "en-NZ"];

#[rustfmt::skip]
const NOVA_3_LANGUAGES: &[&str] = &[
    "multi", "en", "en-US", "en-AU", "en-GB", "en-IN", "en-NZ", "de", "de-CH", "es", "es-419", "fr", "fr-CA", "it", "nl",
    "nl-BE", "pt", "pt-BR", "pt-PT", "hi", "ja", "ko", "ko-KR", "sv", "sv-SE", "da", "da-DK", "zh", "zh-CN", "zh-TW",
    "th", "th-TH",
];

pub(super) static VOICE: Row = Row {
    provider: "deepgram",
    service: Service::Voice,
    adapter: Some(Adapter {
        connection: &CONNECTION,
        capabilities: Capabilities::Voice(VoiceCapabilities { formats: FORMATS, word_times: false }),
    }),
    models: &[
        Model::new("aura-2*", Price::per_thousand_characters(30)),
        Model::new("aura-*", Price::per_thousand_characters(15)),
    ],
    unlisted: UNLISTED_VOICE,
    fallbacks: &[],
};

/// The price of a voice that is not listed.
pub(super) const UNLISTED_VOICE: Price = Price::per_thousand_characters(30);

/// A fallback to an Aura voice.
pub(super) const fn by_aura(name: &'static str, model: &'static str) -> FallbackRule {
    FallbackRule { name, provider: "deepgram", model }
}

/// The model and language that a session asks for. A model whose protocol has no adapter, or that does not know the
/// language, is replaced by the nearest one that does: a call never fails for it.
#[must_use]
pub fn nearest_model<'a>(model: &'a str, language: &'a str) -> (&'a str, &'a str) {
    let is_english = language == "en" || language.starts_with("en-");
    match model {
        // Flux speaks /v2/listen, which has no adapter.
        "flux-general-multi" => ("nova-3", "multi"),
        _ if model.starts_with("flux") => ("nova-3", language),
        _ if !is_english && model != "nova-2-general" && model.starts_with("nova-2-") => ("nova-2", language),
        _ if !is_english && model == "nova-3-medical" => ("nova-3", language),
        _ => (model, language),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unservable_model_is_replaced_by_its_nearest_kin() {
        assert_eq!(nearest_model("nova-2-meeting", "fr"), ("nova-2", "fr"));
        assert_eq!(nearest_model("nova-2-meeting", "en-US"), ("nova-2-meeting", "en-US"));
        assert_eq!(nearest_model("nova-2-general", "fr"), ("nova-2-general", "fr"));
        assert_eq!(nearest_model("nova-3-medical", "de"), ("nova-3", "de"));
        assert_eq!(nearest_model("flux-general-en", "en"), ("nova-3", "en"));
        assert_eq!(nearest_model("flux-general-multi", "en"), ("nova-3", "multi"));
    }
}
