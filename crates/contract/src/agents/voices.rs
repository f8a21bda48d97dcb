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

pub(super) fn voice(references: &References) -> Record<'_, Voice> {
    let about = "A voice and its settings.";
    // An absent block has another default: `Voice::default`.
    let record = Record::by_provider("Voice", about, &PROVIDERS, Some("playht"), |members| {
        // Every provider takes a credential, so it is checked even if the provider is unknown.
        let provider = members.provider();
        let credential_id = members.optional("credential_id", references.credential(provider), CREDENTIAL);
        match provider? {
            "elevenlabs" => elevenlabs(members, credential_id),
            "azure" => azure(members, credential_id),
            "rimeai" => members.flatten(&rime(credential_id, references)).map(Voice::Rimeai),
            "rime" => members.flatten(&rime(credential_id, references)).map(Voice::Rime),
            "deepgram" => deepgram(members, credential_id),
            "playht" => playht(members, credential_id),
            _ => Err(Rejected),
        }
    });
    record.last("credential_id")
}

fn playht(members: &mut Members<'_>, credential_id: Read<Option<CredentialId>>) -> Read<Voice> {
    let model = members.or(
        "model",
        types::non_empty_text(),
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

fn elevenlabs(members: &mut Members<'_>, credential_id: Read<Option<CredentialId>>) -> Read<Voice> {
    let voice_id = members.or(
        "voice_id",
        types::non_empty_text(),
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

fn azure(members: &mut Members<'_>, credential_id: Read<Option<CredentialId>>) -> Read<Voice> {
    let model = members.or(
        "model",
        types::non_empty_text(),
        "en-US-AvaMultilingualNeural".into(),
        "Such as `en-US-AvaMultilingualNeural`.",
    );
    let pitch = members.or("pitch", types::integer(-20..=20), 0, "-20 to 20, per cent.");
    let rate = members.or("rate", types::integer(-50..=50), 0, "-50 to 50, per cent.");
    Ok(Voice::Azure { model: model?, pitch: pitch?, rate: rate?, credential_id: credential_id? })
}

fn rime(credential_id: Read<Option<CredentialId>>, references: &References) -> Record<'_, RimeVoice> {
    Record::new("RimeVoice", "The settings of a Rime voice.", move |members| {
        let speaker = members.or("speaker", types::non_empty_text(), "lyra".into(), "Such as `lyra`.");
        let speed_alpha = members.or("speed_alpha", types::number(0.5..=2.0), 1.0, "0.5 to 2.");
        let reduce_latency =
            members.or("reduce_latency", types::boolean(), false, "Trades quality for speed.");
        let credential_id = if members.is_described() {
            members.optional("credential_id", references.credential(Err(Rejected)), CREDENTIAL)
        } else {
            credential_id
        };
        Ok(RimeVoice {
            speaker: speaker?,
            speed_alpha: speed_alpha?,
            reduce_latency: reduce_latency?,
            credential_id: credential_id?,
        })
    })
}

fn deepgram(members: &mut Members<'_>, credential_id: Read<Option<CredentialId>>) -> Read<Voice> {
    let model = members.or(
        "model",
        types::non_empty_text(),
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
