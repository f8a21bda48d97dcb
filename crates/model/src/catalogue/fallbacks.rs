//! Which providers serve an agent: the ones it names, or their fallbacks.
//!
//! A model, voice or vendor that no longer answers, or has no adapter yet, stays a valid choice: the conversation's
//! snapshot keeps it, its costs name the provider that served, and `GET /` lists [`fallbacks`].

use serde::Serialize;

use super::{ROWS, Service, row};
use crate::agents::{AgentConfig, LanguageModel, ModelSettings, RimeVoice, Transcriber, Voice};

/// One row of the fallback table. `*` at the end of a name stands for any ending.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fallback {
    /// `language_model`, `transcriber` or `voice`.
    pub role: &'static str,
    /// `provider/model` in the agent's configuration.
    pub asked: String,
    /// `provider/model` that serves it.
    pub served: String,
}

/// The fallback table. The first row that matches a name counts.
#[must_use]
pub fn fallbacks() -> Vec<Fallback> {
    let rules = ROWS.iter().flat_map(|row| row.fallbacks.iter().map(move |rule| (row, rule)));
    rules
        .map(|(row, rule)| Fallback {
            role: row.service.as_str(),
            asked: format!("{}/{}", row.provider, rule.name),
            served: format!("{}/{}", rule.provider, rule.model),
        })
        .collect()
}

/// The providers that serve an agent.
#[derive(Debug, Clone, PartialEq)]
pub struct ResolvedProviders {
    /// The language model.
    pub language_model: LanguageModel,
    /// The transcriber.
    pub transcriber: Transcriber,
    /// The voice.
    pub voice: Voice,
}

impl ResolvedProviders {
    /// The vendor's name of the transcriber's model.
    #[must_use]
    pub fn transcriber_model(&self) -> &str {
        transcriber_model(&self.transcriber)
    }

    /// The vendor's name of the voice.
    #[must_use]
    pub fn voice_model(&self) -> &str {
        voice_model(&self.voice)
    }
}

/// Replaces the agent's providers by their fallbacks, where they have one.
#[must_use]
pub fn resolve(agent: &AgentConfig) -> ResolvedProviders {
    ResolvedProviders {
        language_model: resolve_language_model(&agent.language_model),
        transcriber: resolve_transcriber(&agent.transcriber),
        voice: resolve_voice(&agent.voice),
    }
}

fn resolve_language_model(named: &LanguageModel) -> LanguageModel {
    let settings = named.settings();
    let Some((provider, model)) = fallback(Service::LanguageModel, named.provider(), &settings.model) else {
        return named.clone();
    };
    // The customer's key is for the vendor that the agent names.
    let credential_id = settings.credential_id.filter(|_| named.provider() == provider);
    LanguageModel::Openai(ModelSettings { model: model.into(), credential_id, ..settings.clone() })
}

fn resolve_transcriber(named: &Transcriber) -> Transcriber {
    let fallback = fallback(Service::Transcriber, named.provider(), transcriber_model(named));
    let Some((_, model)) = fallback else { return named.clone() };
    let language = match named {
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

fn resolve_voice(named: &Voice) -> Voice {
    match fallback(Service::Voice, named.provider(), voice_model(named)) {
        Some((_, model)) => Voice::Deepgram { model: model.into(), credential_id: None },
        None => named.clone(),
    }
}

/// The provider and model that serve in the place of another.
fn fallback(service: Service, provider: &str, model: &str) -> Option<(&'static str, &'static str)> {
    let rule = row(service, provider)?.fallback(model)?;
    Some((rule.provider, rule.model))
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

    fn resolved_model(model: &str) -> String {
        let settings = ModelSettings { model: model.into(), ..ModelSettings::default() };
        resolve_language_model(&LanguageModel::Openai(settings)).settings().model.clone()
    }

    #[test]
    fn retired_models_fall_back_and_live_ones_do_not() {
        for retired in ["gpt-3.5-turbo", "gpt-3.5-turbo-16k", "gpt-4", "gpt-4-turbo", "gpt-4-0613"] {
            assert_eq!(resolved_model(retired), "gpt-6-luna", "{retired}");
        }
        for live in ["gpt-4o", "gpt-4.1", "gpt-6-sol", "my-own-model"] {
            assert_eq!(resolved_model(live), live);
        }
    }

    #[test]
    fn a_vendor_without_an_adapter_falls_back() {
        let google = LanguageModel::Google(ModelSettings {
            model: "gemini-3.8-flash".into(),
            ..ModelSettings::default()
        });
        assert_eq!(resolve_language_model(&google).provider(), "openai");
        let azure = Transcriber::Azure { languages: vec!["fr-FR".into()], credential_id: None };
        assert!(
            matches!(resolve_transcriber(&azure), Transcriber::Deepgram { language, .. } if language == "fr-FR")
        );
        let rime = RimeVoice {
            speaker: "lyra".into(),
            speed_alpha: 1.0,
            reduce_latency: false,
            credential_id: None,
        };
        for voice in [Voice::Rime(rime.clone()), Voice::Rimeai(rime)] {
            assert_eq!(resolve_voice(&voice).provider(), "deepgram");
        }
    }

    #[test]
    fn a_retired_voice_falls_back_to_a_similar_one() {
        let susan = |model: &str| Voice::Playht {
            model: model.into(),
            speed: 1.0,
            temperature: None,
            text_guidance: None,
            style_guidance: None,
            credential_id: None,
        };
        assert!(
            matches!(resolve_voice(&susan("susan")), Voice::Deepgram { model, .. } if model == "aura-2-thalia-en")
        );
        assert!(
            matches!(resolve_voice(&susan("william")), Voice::Deepgram { model, .. } if model == "aura-2-arcas-en")
        );
    }

    #[test]
    fn every_fallback_is_the_one_that_the_rule_names() {
        for row in ROWS {
            for rule in row.fallbacks {
                let provider = match row.service {
                    Service::LanguageModel => "openai",
                    _ => "deepgram",
                };
                assert_eq!(rule.provider, provider, "resolve() builds another provider than {rule:?}");
            }
        }
    }

    #[test]
    fn the_table_lists_providers_with_their_models() {
        let table = fallbacks();
        assert_eq!(table.len(), 20);
        let row =
            |role, asked: &str, served: &str| Fallback { role, asked: asked.into(), served: served.into() };
        assert_eq!(table[0], row("language_model", "openai/gpt-3.5*", "openai/gpt-6-luna"));
        assert_eq!(table[4], row("transcriber", "azure/*", "deepgram/nova-3"));
        assert_eq!(table[19], row("voice", "rime/*", "deepgram/aura-2-thalia-en"));
    }
}
