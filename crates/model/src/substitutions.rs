//! Who serves what was asked for but no longer answers, or has no adapter here yet.
//!
//! Such models, voices and vendors stay valid input: the conversation's snapshot keeps what was
//! asked, its cost names who served, and the service document lists [`TABLE`].

use serde::Serialize;

use crate::agents::{AgentConfig, LanguageModel, ModelSettings, RimeVoice, Transcriber, Voice};

/// One row: what is asked for and what serves it. `*` at the end of a name stands for any ending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Substitution {
    /// `language_model`, `transcriber` or `voice`.
    pub role: &'static str,
    /// `provider/model` as it is asked for.
    pub asked: &'static str,
    /// `provider/model` that serves it.
    pub served: &'static str,
}

const fn row(role: &'static str, asked: &'static str, served: &'static str) -> Substitution {
    Substitution { role, asked, served }
}

/// Every substitution in force. The first row that matches counts.
pub const TABLE: &[Substitution] = &[
    row("language_model", "openai/gpt-3.5*", "openai/gpt-6-luna"),
    row("language_model", "openai/gpt-4-*", "openai/gpt-6-luna"),
    row("language_model", "openai/gpt-4", "openai/gpt-6-luna"),
    row("language_model", "google/*", "openai/gpt-6-luna"),
    row("transcriber", "azure/*", "deepgram/nova-3"),
    row("voice", "playht/william", "deepgram/aura-2-arcas-en"),
    row("voice", "playht/arthur", "deepgram/aura-2-draco-en"),
    row("voice", "playht/dylan", "deepgram/aura-2-apollo-en"),
    row("voice", "playht/oliver", "deepgram/aura-2-orpheus-en"),
    row("voice", "playht/*", "deepgram/aura-2-thalia-en"),
    row("voice", "elevenlabs/adam", "deepgram/aura-2-zeus-en"),
    row("voice", "elevenlabs/paul", "deepgram/aura-2-arcas-en"),
    row("voice", "elevenlabs/drew", "deepgram/aura-2-apollo-en"),
    row("voice", "elevenlabs/clyde", "deepgram/aura-2-zeus-en"),
    row("voice", "elevenlabs/dave", "deepgram/aura-2-draco-en"),
    row("voice", "elevenlabs/fin", "deepgram/aura-2-orpheus-en"),
    row("voice", "elevenlabs/*", "deepgram/aura-2-thalia-en"),
    row("voice", "azure/*", "deepgram/aura-2-thalia-en"),
    row("voice", "rimeai/*", "deepgram/aura-2-thalia-en"),
    row("voice", "rime/*", "deepgram/aura-2-thalia-en"),
];

/// Who really thinks, hears and speaks for an agent.
#[derive(Debug, Clone, PartialEq)]
pub struct Serving {
    /// The language model.
    pub language_model: LanguageModel,
    /// The transcriber.
    pub transcriber: Transcriber,
    /// The voice.
    pub voice: Voice,
}

impl Serving {
    /// The vendor's name of the model that hears.
    #[must_use]
    pub fn transcriber_model(&self) -> &str {
        transcriber_model(&self.transcriber)
    }

    /// The vendor's name of the model that speaks.
    #[must_use]
    pub fn voice_model(&self) -> &str {
        voice_model(&self.voice)
    }
}

/// Who serves `agent`.
#[must_use]
pub fn serving(agent: &AgentConfig) -> Serving {
    Serving {
        language_model: serving_model(&agent.language_model),
        transcriber: serving_transcriber(&agent.transcriber),
        voice: serving_voice(&agent.voice),
    }
}

fn serving_model(asked: &LanguageModel) -> LanguageModel {
    let settings = asked.settings();
    let Some(model) = served("language_model", asked.provider(), &settings.model) else {
        return asked.clone();
    };
    // The customer's key is for the vendor that was asked, not for the one that serves.
    let credential_id = settings.credential_id.filter(|_| asked.provider() == "openai");
    LanguageModel::Openai(ModelSettings { model: model.into(), credential_id, ..settings.clone() })
}

fn serving_transcriber(asked: &Transcriber) -> Transcriber {
    let Some(model) = served("transcriber", asked.provider(), transcriber_model(asked)) else {
        return asked.clone();
    };
    let language = match asked {
        Transcriber::Azure { languages, .. } => languages.first().map_or("en", String::as_str),
        Transcriber::Deepgram { language, .. } => language,
    };
    Transcriber::Deepgram {
        model: model.into(),
        language: language.into(),
        keywords: vec![],
        credential_id: None,
    }
}

fn serving_voice(asked: &Voice) -> Voice {
    match served("voice", asked.provider(), voice_model(asked)) {
        Some(model) => Voice::Deepgram { model: model.into(), credential_id: None },
        None => asked.clone(),
    }
}

/// The model (of the one vendor that has an adapter in this role) that serves what was asked.
fn served(role: &str, provider: &str, model: &str) -> Option<&'static str> {
    let asked = format!("{provider}/{model}");
    let row = TABLE.iter().find(|row| {
        row.role == role
            && match row.asked.strip_suffix('*') {
                Some(prefix) => asked.starts_with(prefix),
                None => asked == row.asked,
            }
    })?;
    row.served.split_once('/').map(|(_, model)| model)
}

fn transcriber_model(transcriber: &Transcriber) -> &str {
    match transcriber {
        Transcriber::Deepgram { model, .. } => model,
        Transcriber::Azure { .. } => "",
    }
}

fn voice_model(voice: &Voice) -> &str {
    match voice {
        Voice::Playht { model, .. } | Voice::Azure { model, .. } | Voice::Deepgram { model, .. } => model,
        Voice::Elevenlabs { voice_id, .. } => voice_id,
        Voice::Rimeai(RimeVoice { speaker, .. }) | Voice::Rime(RimeVoice { speaker, .. }) => speaker,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served_model(model: &str) -> String {
        let settings = ModelSettings { model: model.into(), ..ModelSettings::default() };
        serving_model(&LanguageModel::Openai(settings)).settings().model.clone()
    }

    #[test]
    fn retired_models_are_served_by_todays_small_one_and_live_ones_by_themselves() {
        for retired in ["gpt-3.5-turbo", "gpt-3.5-turbo-16k", "gpt-4", "gpt-4-turbo", "gpt-4-0613"] {
            assert_eq!(served_model(retired), "gpt-6-luna", "{retired}");
        }
        for live in ["gpt-4o", "gpt-4.1", "gpt-6-sol", "my-own-model"] {
            assert_eq!(served_model(live), live);
        }
    }

    #[test]
    fn every_vendor_without_an_adapter_has_a_substitute_with_one() {
        let google = LanguageModel::Google(ModelSettings {
            model: "gemini-3.8-flash".into(),
            ..ModelSettings::default()
        });
        assert_eq!(serving_model(&google).provider(), "openai");
        let azure = Transcriber::Azure { languages: vec!["fr-FR".into()], credential_id: None };
        assert!(
            matches!(serving_transcriber(&azure), Transcriber::Deepgram { language, .. } if language == "fr-FR")
        );
        let rime = RimeVoice {
            speaker: "lyra".into(),
            speed_alpha: 1.0,
            reduce_latency: false,
            credential_id: None,
        };
        for voice in [Voice::Rime(rime.clone()), Voice::Rimeai(rime)] {
            assert_eq!(serving_voice(&voice).provider(), "deepgram");
        }
    }

    #[test]
    fn a_voice_of_like_character_serves_a_retired_one() {
        let susan = |model: &str| Voice::Playht {
            model: model.into(),
            speed: 1.0,
            temperature: None,
            text_guidance: None,
            style_guidance: None,
            credential_id: None,
        };
        assert!(
            matches!(serving_voice(&susan("susan")), Voice::Deepgram { model, .. } if model == "aura-2-thalia-en")
        );
        assert!(
            matches!(serving_voice(&susan("william")), Voice::Deepgram { model, .. } if model == "aura-2-arcas-en")
        );
    }

    #[test]
    fn every_row_serves_with_a_provider_that_has_an_adapter_and_is_not_served_itself() {
        for row in TABLE {
            let (provider, model) = row.served.split_once('/').unwrap();
            assert!(matches!(
                (row.role, provider),
                ("language_model", "openai") | ("transcriber" | "voice", "deepgram")
            ));
            assert_eq!(served(row.role, provider, model), None, "{row:?} chains");
        }
    }
}
