//! Rime, under both of its names. No adapter yet.

use super::{FallbackRule, Price, Row, Service, deepgram::by_aura};

/// By the name in the API's documentation.
pub(super) static RIMEAI_VOICE: Row = voice("rimeai", "Rime, by the name in the API's documentation.");

/// By the name that the official client uses.
pub(super) static RIME_VOICE: Row = voice("rime", "Rime, by the name in the official client.");

const FALLBACKS: &[FallbackRule] = &[by_aura("*", "aura-2-thalia-en")];

const fn voice(provider: &'static str, about: &'static str) -> Row {
    Row {
        provider,
        service: Service::Voice,
        about,
        adapter: None,
        models: &[],
        unlisted: Price::per_thousand_characters(50),
        fallbacks: FALLBACKS,
        successor: None,
    }
}
