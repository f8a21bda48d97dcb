//! The vendors' names of the models and voices that an agent names.

use super::{azure, rime};
use crate::agents::{RimeVoice, Transcriber, Voice};

pub(super) fn transcriber_model(transcriber: &Transcriber) -> &str {
    match transcriber {
        Transcriber::Deepgram { model, .. } => model,
        Transcriber::Azure { languages, .. } => azure::tariff(languages),
    }
}

pub(super) fn voice_model(voice: &Voice) -> &str {
    match voice {
        Voice::Playht { model, .. } | Voice::Azure { model, .. } | Voice::Deepgram { model, .. } => model,
        Voice::Elevenlabs { voice_id, .. } => voice_id,
        Voice::Rimeai(RimeVoice { speaker, .. }) | Voice::Rime(RimeVoice { speaker, .. }) => {
            rime::model_of(speaker)
        }
    }
}

/// The name of a voice or speaker, as the vendor knows it.
#[must_use]
pub fn spoken_voice(voice: &Voice) -> &str {
    match voice {
        Voice::Rimeai(RimeVoice { speaker, .. }) | Voice::Rime(RimeVoice { speaker, .. }) => speaker,
        _ => voice_model(voice),
    }
}

/// The name by which the vendor bills a voice.
pub(super) fn billed_voice(voice: &Voice) -> &str {
    match voice {
        Voice::Elevenlabs { model_id, .. } => model_id,
        _ => voice_model(voice),
    }
}
