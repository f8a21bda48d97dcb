//! The block `voice` of an agent's configuration.

use std::{ops::Bound, sync::LazyLock};

use switchboard_model::{
    agents::{RimeVoice, Voice},
    catalogue::{self, Service},
    ids::CredentialId,
};

use super::CREDENTIAL;
use crate::{
    declaration::{Members, Record, types},
    references::References,
    validation::{Read, Rejected},
};

static PROVIDERS: LazyLock<Vec<(&str, &str)>> =
    LazyLock::new(|| catalogue::described_providers(Service::Voice));

/// `current` is the block that this one replaces.
pub(super) fn voice<'c>(current: &'c Voice, references: &'c References) -> Record<'c, Voice> {
    let about = "A voice and its settings.";
    // An absent block has another default: `Voice::default`.
    let record = Record::by_provider("Voice", about, &PROVIDERS, Some("playht"), move |members| {
        // Every provider takes a credential, so it is checked even if the provider is unknown.
        let provider = members.provider();
        let credential_id = members.optional("credential_id", references.credential(provider), CREDENTIAL);
        let provider = provider?;
        let kept = stored_name(current, provider);
        match provider {
            "elevenlabs" => elevenlabs(members, kept, credential_id),
            "azure" => azure(members, kept, credential_id),
            "rimeai" => members.include(&rime(kept, credential_id)).map(Voice::Rimeai),
            "rime" => members.include(&rime(kept, credential_id)).map(Voice::Rime),
            "deepgram" => deepgram(members, kept, credential_id),
            "playht" => playht(members, kept, credential_id),
            _ => Err(Rejected),
        }
    });
    record.last("credential_id")
}

/// The name of the voice that is stored, if it is one of `provider`.
fn stored_name<'c>(current: &'c Voice, provider: &str) -> Option<&'c str> {
    match (current, provider) {
        (Voice::Playht { model, .. }, "playht")
        | (Voice::Azure { model, .. }, "azure")
        | (Voice::Deepgram { model, .. }, "deepgram") => Some(model),
        (Voice::Elevenlabs { voice_id, .. }, "elevenlabs") => Some(voice_id),
        // One provider with two names.
        (Voice::Rimeai(voice) | Voice::Rime(voice), "rimeai" | "rime") => Some(&voice.speaker),
        _ => None,
    }
}

fn playht(
    members: &mut Members<'_>,
    kept: Option<&str>,
    credential_id: Read<Option<CredentialId>>,
) -> Read<Voice> {
    let model = members.or(
        "model",
        types::name_or(kept.unwrap_or("susan").to_owned()),
        "susan".into(),
        "A name such as `susan`, or a voice id.",
    );
    let speed = (Bound::Excluded(0.0), Bound::Included(5.0));
    let speed = members.or("speed", types::number(speed), 1.0, "0 < speed <= 5.");
    let temperature = members.optional("temperature", types::number(0.0..=2.0), "0 to 2.");
    let text_guidance = members.optional("text_guidance", types::number(1.0..=2.0), "1 to 2.");
    let style_guidance = members.optional("style_guidance", types::number(1.0..=30.0), "1 to 30.");
    Ok(Voice::Playht {
        model: model?,
        speed: speed?,
        temperature: temperature?,
        text_guidance: text_guidance?,
        style_guidance: style_guidance?,
        credential_id: credential_id?,
    })
}

fn elevenlabs(
    members: &mut Members<'_>,
    kept: Option<&str>,
    credential_id: Read<Option<CredentialId>>,
) -> Read<Voice> {
    let voice_id = members.or(
        "voice_id",
        types::name_or(kept.unwrap_or("rachel").to_owned()),
        "rachel".into(),
        "A name such as `rachel`, or a voice id.",
    );
    let model_id = members.or(
        "model_id",
        types::non_empty_text(),
        "eleven_turbo_v2".into(),
        "Such as `eleven_turbo_v2`.",
    );
    let optimize_latency = members.or("optimize_latency", types::integer(0..=4), 3, "0 to 4.");
    let use_speaker_boost =
        members.or("use_speaker_boost", types::boolean(), false, "Closer to the original voice, but slower.");
    let similarity_boost = members.or("similarity_boost", types::number(0.0..=1.0), 0.5, "0 to 1.");
    let stability = members.or("stability", types::number(0.0..=1.0), 0.5, "0 to 1.");
    Ok(Voice::Elevenlabs {
        voice_id: voice_id?,
        model_id: model_id?,
        optimize_latency: optimize_latency?,
        use_speaker_boost: use_speaker_boost?,
        similarity_boost: similarity_boost?,
        stability: stability?,
        credential_id: credential_id?,
    })
}

fn azure(
    members: &mut Members<'_>,
    kept: Option<&str>,
    credential_id: Read<Option<CredentialId>>,
) -> Read<Voice> {
    let model = members.or(
        "model",
        types::name_or(kept.unwrap_or("en-US-AvaMultilingualNeural").to_owned()),
        "en-US-AvaMultilingualNeural".into(),
        "Such as `en-US-AvaMultilingualNeural`.",
    );
    let pitch = members.or("pitch", types::integer(-20..=20), 0, "-20 to 20, per cent.");
    let rate = members.or("rate", types::integer(-50..=50), 0, "-50 to 50, per cent.");
    Ok(Voice::Azure { model: model?, pitch: pitch?, rate: rate?, credential_id: credential_id? })
}

fn rime(kept: Option<&str>, credential_id: Read<Option<CredentialId>>) -> Record<'_, RimeVoice> {
    Record::new("RimeVoice", "The settings of a Rime voice.", move |members| {
        let speaker = members.or(
            "speaker",
            types::name_or(kept.unwrap_or("lyra").to_owned()),
            "lyra".into(),
            "Such as `lyra`.",
        );
        let speed_alpha = members.or("speed_alpha", types::number(0.5..=2.0), 1.0, "0.5 to 2.");
        let reduce_latency =
            members.or("reduce_latency", types::boolean(), false, "Trades quality for speed.");
        Ok(RimeVoice {
            speaker: speaker?,
            speed_alpha: speed_alpha?,
            reduce_latency: reduce_latency?,
            credential_id: credential_id?,
        })
    })
}

fn deepgram(
    members: &mut Members<'_>,
    kept: Option<&str>,
    credential_id: Read<Option<CredentialId>>,
) -> Read<Voice> {
    let model = members.or(
        "model",
        types::name_or(kept.unwrap_or("aura-2-thalia-en").to_owned()),
        "aura-2-thalia-en".into(),
        "Such as `aura-2-thalia-en`.",
    );
    Ok(Voice::Deepgram { model: model?, credential_id: credential_id? })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::agents::tests::read;

    #[test]
    fn every_provider_of_the_catalogue_has_a_block() {
        for provider in catalogue::providers(Service::Voice) {
            let body = json!({ "voice": { "provider": provider } });
            assert_eq!(read(&body).unwrap().voice.provider(), provider);
        }
    }
}
