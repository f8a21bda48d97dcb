//! Azure Speech: transcription and neural voices.

use super::{Adapter, Capabilities, Connection, FallbackRule, Model, Price, Row, Service, VoiceCapabilities};
use crate::audio::{AudioFormat, Encoding};

/// A resource has one region, which is part of the address; each service of the region has a host of its own.
const CONNECTION: Connection = Connection {
    provider: "azure",
    keys: &["azure_api_key"],
    is_required: false,
    url_variable: "AZURE_API_URL",
    default_url: "https://eastus.api.cognitive.microsoft.com",
    opt_out_variable: None,
};

pub(super) static TRANSCRIBER: Row = Row {
    provider: "azure",
    service: Service::Transcriber,
    about: "Azure real-time speech to text.",
    adapter: None,
    models: &[],
    unlisted: Price::per_minute(167),
    fallbacks: &[FallbackRule { name: "*", provider: "deepgram", model: "nova-3" }],
    successor: None,
};

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
