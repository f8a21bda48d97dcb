//! Azure Speech: transcription and neural voices. No adapter yet.

use super::{FallbackRule, Price, Row, Service, deepgram::by_aura};

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

pub(super) static VOICE: Row = Row {
    provider: "azure",
    service: Service::Voice,
    about: "Azure neural voices.",
    adapter: None,
    models: &[],
    unlisted: Price::per_thousand_characters(16),
    fallbacks: &[by_aura("*", "aura-2-thalia-en")],
    successor: None,
};
