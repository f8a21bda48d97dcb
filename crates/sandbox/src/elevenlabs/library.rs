//! The voices of the account, the models and the formats, as the vendor lists them in November 2026.

use serde_json::{Value, json};

/// Voices of the account: two default ones, which the vendor takes away at the end of 2026, and two of its own. Premade
/// voices of before are in no account any more.
pub(super) const VOICES: &[(&str, &str, &str)] = &[
    ("EXAVITQu4vr4xnSDxMaL", "Sarah", "premade"),
    ("pNInz6obpgDQGcFmaJgB", "Adam", "premade"),
    ("sandboxVoiceAda00001", "Ada", "cloned"),
    ("sandboxVoiceBen00002", "Ben", "cloned"),
];

/// Models that the websockets serve.
pub(super) const MODELS: &[&str] = &[
    "eleven_flash_v2_5",
    "eleven_flash_v2",
    "eleven_turbo_v2_5",
    "eleven_turbo_v2",
    "eleven_multilingual_v2",
];

#[rustfmt::skip]
const LANGUAGES: &[&str] = &[
    "ar", "bg", "cs", "da", "de", "el", "en", "es", "fi", "fil", "fr", "hi", "hr", "hu", "id", "it", "ja", "ko", "ms", "nl",
    "no", "pl", "pt", "ro", "ru", "sk", "sv", "ta", "tr", "uk", "vi", "zh",
];

pub(super) fn has_voice(id: &str) -> bool {
    VOICES.iter().any(|(known, ..)| *known == id)
}

/// Whether a model can be held to a language: only those of v2.5.
pub(super) fn takes_language(model: &str, language: &str) -> bool {
    model.ends_with("_v2_5") && LANGUAGES.contains(&language)
}

/// The list of `GET /v1/voices`.
pub(super) fn voices() -> Value {
    let voice = |(id, name, category): &(&str, &str, &str)| json!({"voice_id": id, "name": name, "category": category});
    json!({ "voices": VOICES.iter().map(voice).collect::<Vec<_>>() })
}

/// The list of `GET /v1/models`.
pub(super) fn models() -> Value {
    let model = |id: &&str| json!({"model_id": id, "name": id, "can_do_text_to_speech": true});
    MODELS.iter().map(model).collect()
}
