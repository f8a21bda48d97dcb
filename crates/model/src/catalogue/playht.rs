//! `PlayHT`, whose service ended in December 2025. The fallbacks are named by voice.

use super::{Price, Row, Service, deepgram::by_aura};

pub(super) static VOICE: Row = Row {
    provider: "playht",
    service: Service::Voice,
    about: "PlayHT (its service ended in 2025; a fallback serves).",
    adapter: None,
    models: &[],
    unlisted: Price::per_thousand_characters(0),
    fallbacks: &[
        by_aura("william", "aura-2-arcas-en"),
        by_aura("arthur", "aura-2-draco-en"),
        by_aura("dylan", "aura-2-apollo-en"),
        by_aura("oliver", "aura-2-orpheus-en"),
        by_aura("*", "aura-2-thalia-en"),
    ],
    successor: None,
};
