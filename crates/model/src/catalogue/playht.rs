//! `PlayHT`, whose service ended in December 2025. A server of the deployment's may speak its protocol; else the fallbacks
//! serve, which are named by voice.

use super::{Adapter, Capabilities, Connection, Price, Row, Service, VoiceCapabilities, deepgram::by_aura};
use crate::audio::{AudioFormat, Encoding};

pub(super) const CONNECTION: Connection = Connection {
    provider: "playht",
    keys: &["playht_api_key", "playht_user_id"],
    is_required: false,
    url_variable: "PLAYHT_API_URL",
    // Nothing answers here any more: this address means that there is no server.
    default_url: "https://api.play.ht",
    opt_out_variable: None,
};

pub(super) static VOICE: Row = Row {
    provider: "playht",
    service: Service::Voice,
    about: "PlayHT (its service ended in 2025; a fallback serves).",
    adapter: Some(Adapter {
        connection: &CONNECTION,
        capabilities: Capabilities::Voice(VoiceCapabilities {
            formats: &[
                AudioFormat::TELEPHONE,
                AudioFormat { encoding: Encoding::Pcm16, sample_rate: 8_000 },
                AudioFormat { encoding: Encoding::Pcm16, sample_rate: 16_000 },
                AudioFormat { encoding: Encoding::Pcm16, sample_rate: 24_000 },
            ],
            word_times: false,
        }),
    }),
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

/// The voices that the API names and the vendor's ids of them, as they stand in published code. The ids of phoebe, dylan
/// and madelyn are not known.
const VOICE_IDS: [(&str, &str); 6] = [
    (
        "susan",
        "s3://mockingbird-prod/susan_vo_commercials_0f4fa663-6eba-4582-be1e-2d5bde798f1c/voices/speaker/manifest.json",
    ),
    (
        "william",
        "s3://mockingbird-prod/william_vo_narrative_0eacdff5-6243-4e26-8b3b-66e03458c1d1/voices/speaker/manifest.json",
    ),
    ("arthur", "s3://peregrine-voices/arthur ads parrot saad/manifest.json"),
    (
        "ayla",
        "s3://mockingbird-prod/ayla_vo_narrative_d8199dfd-b50f-40c7-9d99-e203ba5f4152/voices/speaker/manifest.json",
    ),
    ("oliver", "s3://peregrine-voices/oliver_narrative2_parrot_saad/manifest.json"),
    ("sophia", "s3://voice-cloning-zero-shot/1f44b3e7-22ea-4c2e-87d0-b4d9c8f1d47d/sophia/manifest.json"),
];

/// The vendor's id of a voice; the name itself if it is none of the API's names.
#[must_use]
pub fn voice_id(model: &str) -> &str {
    VOICE_IDS.iter().find(|(name, _)| *name == model).map_or(model, |(_, id)| id)
}
