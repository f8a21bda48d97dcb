//! `ElevenLabs`. No adapter yet. The fallbacks are named by voice.

use super::{Model, Price, Row, Service, deepgram::by_aura};

pub(super) static VOICE: Row = Row {
    provider: "elevenlabs",
    service: Service::Voice,
    about: "ElevenLabs.",
    adapter: None,
    models: &[Model::new("eleven_multilingual*", Price::per_thousand_characters(100))],
    unlisted: Price::per_thousand_characters(50),
    fallbacks: &[
        by_aura("adam", "aura-2-zeus-en"),
        by_aura("paul", "aura-2-arcas-en"),
        by_aura("drew", "aura-2-apollo-en"),
        by_aura("clyde", "aura-2-zeus-en"),
        by_aura("dave", "aura-2-draco-en"),
        by_aura("fin", "aura-2-orpheus-en"),
        by_aura("*", "aura-2-thalia-en"),
    ],
    successor: None,
};
