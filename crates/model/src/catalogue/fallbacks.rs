//! Which providers serve an agent: the ones it names, or their fallbacks.
//!
//! A model, voice or vendor that no longer answers, or has no adapter yet, stays a valid choice: the conversation's
//! snapshot keeps it, and its costs name the provider that served. Which providers stand in for one that fails is the
//! chain's part.

use jiff::civil::Date;

use super::{
    Service,
    adjustments::{
        Adjustment, adjust_transcriber, language_model_adjustments, replaced_providers, unlisted_prices,
        voice_adjustments,
    },
    deepgram, elevenlabs,
    names::{billed_voice, transcriber_model, voice_model},
    row,
};
use crate::agents::{AgentConfig, LanguageModel, ModelSettings, Transcriber, Voice};

/// The providers that serve an agent.
#[derive(Debug, Clone, PartialEq)]
pub struct ResolvedProviders {
    /// The language model.
    pub language_model: LanguageModel,
    /// The transcriber.
    pub transcriber: Transcriber,
    /// The voice.
    pub voice: Voice,
    /// The settings that are served differently from what the agent asks for.
    pub adjustments: Vec<Adjustment>,
}

impl ResolvedProviders {
    /// The vendor's name of the transcriber's model, as it is sent.
    #[must_use]
    pub fn transcriber_model(&self) -> &str {
        served_transcriber_model(&self.transcriber)
    }

    /// The vendor's name of what the voice is billed by: the voice, or its model.
    #[must_use]
    pub fn voice_model(&self) -> &str {
        billed_voice(&self.voice)
    }
}

/// The vendor's name of a transcriber's model, as it is sent.
#[must_use]
pub fn served_transcriber_model(transcriber: &Transcriber) -> &str {
    match transcriber {
        Transcriber::Deepgram { model, language, .. } => deepgram::nearest_model(model, language).0,
        Transcriber::Azure { .. } => transcriber_model(transcriber),
    }
}

/// Replaces the agent's providers by their fallbacks, where they have one on this day.
#[must_use]
pub fn resolve(agent: &AgentConfig, today: Date) -> ResolvedProviders {
    let language_model = resolve_language_model(&agent.language_model, today);
    let mut transcriber = resolve_transcriber(&agent.transcriber);
    let voice = resolve_voice(&agent.voice, agent.transcriber.language(), today);
    let mut adjustments = language_model_adjustments(&agent.language_model, today);
    adjustments.extend(replaced_providers(agent, &language_model, &transcriber, &voice));
    adjustments.extend(adjust_transcriber(&mut transcriber));
    adjustments.extend(voice_adjustments(&agent.voice, &voice, today));
    adjustments.extend(unlisted_prices(&language_model, &transcriber, &voice));
    ResolvedProviders { language_model, transcriber, voice, adjustments }
}

pub(super) fn resolve_language_model(named: &LanguageModel, today: Date) -> LanguageModel {
    let settings = named.settings();
    let retired = || {
        let row = row(Service::LanguageModel, named.provider())?;
        let (from, successor) = row.retirement(&settings.model)?;
        (from <= today).then_some((row.provider, successor))
    };
    let fallback = fallback(Service::LanguageModel, named.provider(), &settings.model).or_else(retired);
    let Some((provider, model)) = fallback else { return named.clone() };
    // The customer's key is for the vendor that the agent names.
    let credential_id = settings.credential_id.filter(|_| named.provider() == provider);
    let settings = ModelSettings { model: model.into(), credential_id, ..settings.clone() };
    match provider {
        "google" => LanguageModel::Google(settings),
        _ => LanguageModel::Openai(settings),
    }
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

pub(super) fn resolve_voice(named: &Voice, language: &str, today: Date) -> Voice {
    let fallback = fallback(Service::Voice, named.provider(), voice_model(named)).map(|(_, model)| model);
    if let Some(model) = fallback.or_else(|| retired_premade(named, today)) {
        return Voice::Deepgram { model: deepgram::voice_in(language, model).into(), credential_id: None };
    }
    let mut voice = named.clone();
    if let Voice::Elevenlabs { model_id, .. } = &mut voice {
        *model_id = elevenlabs::served_model(model_id, language).to_owned();
    }
    voice
}

/// The voice that serves instead of a premade one that accounts do not have any more. A customer's own account may have
/// kept it.
fn retired_premade(named: &Voice, today: Date) -> Option<&'static str> {
    let Voice::Elevenlabs { voice_id, credential_id: None, .. } = named else { return None };
    let premade = elevenlabs::premade_voice(voice_id).filter(|voice| voice.retires_on <= today);
    premade.map(|voice| voice.aura)
}

/// The provider and model that always serve in the place of another: of a vendor without an adapter. Those of a vendor with
/// one serve if it cannot.
fn fallback(service: Service, provider: &str, model: &str) -> Option<(&'static str, &'static str)> {
    let rule = row(service, provider).filter(|row| row.adapter.is_none())?.fallback(model)?;
    Some((rule.provider, rule.model))
}

#[cfg(test)]
mod tests {
    use super::{
        super::{ROWS, chains::voice_chain, rates},
        *,
    };
    use crate::agents::RimeVoice;

    const TODAY: Date = jiff::civil::date(2026, 11, 30);

    fn agent(model: &str) -> AgentConfig {
        let settings = ModelSettings { model: model.into(), ..ModelSettings::default() };
        AgentConfig { language_model: LanguageModel::Openai(settings), ..AgentConfig::default() }
    }

    fn resolved_model(model: &str, today: Date) -> String {
        resolve(&agent(model), today).language_model.settings().model.clone()
    }

    #[test]
    fn a_retired_model_falls_back_from_its_last_day_on() {
        for retired in [
            "gpt-3.5-turbo",
            "gpt-3.5-turbo-16k",
            "gpt-4",
            "gpt-4-turbo",
            "gpt-4-0613",
            "gpt-4o-2024-05-13",
            "gpt-4.1-nano",
            "o1",
            "o1-2024-12-17",
            "o3-mini",
            "o4-mini",
        ] {
            assert_eq!(resolved_model(retired, TODAY), "gpt-6-luna", "{retired}");
            let before = jiff::civil::date(2026, 10, 22);
            assert_eq!(resolved_model(retired, before), retired);
        }
        for (ending, last, first) in [
            ("gpt-5", (2026, 12, 10), (2026, 12, 11)),
            ("gpt-5-mini", (2026, 12, 10), (2026, 12, 11)),
            ("gpt-5-nano", (2026, 12, 10), (2026, 12, 11)),
            ("o3", (2026, 12, 10), (2026, 12, 11)),
            ("gpt-4o", (2027, 1, 13), (2027, 1, 14)),
            ("gpt-4.1-mini", (2027, 1, 13), (2027, 1, 14)),
        ] {
            let day = |(year, month, day)| jiff::civil::date(year, month, day);
            assert_eq!(resolved_model(ending, day(last)), ending);
            assert_eq!(resolved_model(ending, day(first)), "gpt-6-luna", "{ending}");
        }
        for live in ["gpt-6-sol", "gpt-6-luna", "gpt-5-chat-latest", "o1lama", "my-own-model"] {
            assert_eq!(resolved_model(live, jiff::civil::date(2030, 1, 1)), live);
        }
    }

    #[test]
    fn a_retirement_is_recorded_and_announced_a_month_ahead() {
        let adjustments = |model, today| {
            let adjustments = resolve(&agent(model), today).adjustments;
            adjustments.into_iter().map(|adjustment| adjustment.text).collect::<Vec<_>>()
        };
        assert_eq!(adjustments("o1", TODAY), ["o1 is served by gpt-6-luna: its vendor has retired it"]);
        let announced = "gpt-5 is retired by its vendor on 2026-12-11; gpt-6-luna serves from then on";
        assert_eq!(adjustments("gpt-5", TODAY), [announced]);
        assert_eq!(adjustments("gpt-5", jiff::civil::date(2026, 11, 10)), [""; 0]);
        assert_eq!(adjustments("gpt-6-luna", TODAY), [""; 0]);
    }

    #[test]
    fn a_retired_model_is_served_by_its_own_vendor() {
        let settings = |model: &str| ModelSettings { model: model.into(), ..ModelSettings::default() };
        let served = |model| resolve_language_model(&LanguageModel::Google(settings(model)), TODAY);
        assert_eq!(served("gemini-2.5-flash"), LanguageModel::Google(settings("gemini-3.8-flash")));
        assert_eq!(served("gemini-3.1-flash-lite"), LanguageModel::Google(settings("gemini-3.1-flash-lite")));
    }

    #[test]
    fn a_vendor_without_an_adapter_falls_back() {
        let azure = Transcriber::Azure { languages: vec!["fr-FR".into()], credential_id: None };
        assert_eq!(resolve_transcriber(&azure), azure);
        let rime = RimeVoice {
            speaker: "lyra".into(),
            speed_alpha: 1.0,
            reduce_latency: false,
            credential_id: None,
        };
        for voice in [Voice::Rime(rime.clone()), Voice::Rimeai(rime)] {
            assert_eq!(resolve_voice(&voice, "en", TODAY), voice);
        }
    }

    #[test]
    fn a_voice_whose_vendor_has_no_key_is_served_by_a_similar_one_of_the_language() {
        let served = |model: &str, language: &str| {
            let named = Voice::Playht {
                model: model.into(),
                speed: 1.0,
                temperature: None,
                text_guidance: None,
                style_guidance: None,
                credential_id: None,
            };
            let has_keys = |connection: &super::super::Connection| connection.provider == "deepgram";
            let named = resolve_voice(&named, language, TODAY);
            voice_model(voice_chain(&named, language, TODAY, &has_keys).first()).to_owned()
        };
        assert_eq!(served("susan", "en"), "aura-2-thalia-en");
        assert_eq!(served("william", "en-GB"), "aura-2-arcas-en");
        assert_eq!(served("susan", "de-DE"), "aura-2-viktoria-de");
        assert_eq!(served("william", "de"), "aura-2-julius-de");
        assert_eq!(served("susan", "fr-CA"), "aura-2-agathe-fr");
        for without_a_voice in ["multi", "sv", ""] {
            assert_eq!(served("susan", without_a_voice), "aura-2-thalia-en");
        }
    }

    #[test]
    fn a_named_voice_is_not_replaced_for_its_language() {
        let named = Voice::Deepgram { model: "aura-2-thalia-en".into(), credential_id: None };
        assert_eq!(resolve_voice(&named, "de", TODAY), named);
    }

    #[test]
    fn every_mens_voice_of_the_fallbacks_is_known() {
        let feminine = "aura-2-thalia-en";
        let rules = ROWS.iter().filter(|row| row.service == Service::Voice).flat_map(|row| row.fallbacks);
        let served = rules.map(|rule| rule.model).chain(elevenlabs::PREMADE.iter().map(|voice| voice.aura));
        for model in served {
            let german = deepgram::voice_in("de", model);
            assert_eq!(german == "aura-2-viktoria-de", model == feminine, "{model}");
        }
    }

    fn elevenlabs_voice(
        voice_id: &str,
        model_id: &str,
        credential_id: Option<crate::ids::CredentialId>,
    ) -> Voice {
        Voice::Elevenlabs {
            voice_id: voice_id.into(),
            model_id: model_id.into(),
            optimize_latency: 3,
            use_speaker_boost: false,
            similarity_boost: 0.5,
            stability: 0.5,
            credential_id,
        }
    }

    #[test]
    fn a_retired_premade_voice_is_served_by_an_aura_voice() {
        let served = |voice_id: &str, day: (i16, i8, i8)| {
            let named = elevenlabs_voice(voice_id, "eleven_turbo_v2", None);
            voice_model(&resolve_voice(&named, "en", jiff::civil::date(day.0, day.1, day.2))).to_owned()
        };
        assert_eq!(served("rachel", (2026, 11, 30)), "aura-2-thalia-en");
        assert_eq!(served("clyde", (2026, 11, 30)), "aura-2-zeus-en");
        assert_eq!(served("adam", (2026, 12, 30)), "adam");
        assert_eq!(served("adam", (2026, 12, 31)), "aura-2-zeus-en");
        assert_eq!(served("pNInz6obpgDQGcFmaJgB", (2026, 12, 31)), "aura-2-zeus-en");
        assert_eq!(served("cloned", (2030, 1, 1)), "cloned");
        let own = crate::ids::CredentialId::new(crate::time::Timestamp::from_millis(0), 0);
        let kept = elevenlabs_voice("rachel", "eleven_flash_v2_5", Some(own));
        assert_eq!(resolve_voice(&kept, "en", TODAY), kept, "the customer's account may have it");
    }

    #[test]
    fn a_voice_model_that_another_one_serves_is_recorded() {
        let adjustments = |voice_id: &str, model_id: &str, today| {
            let voice = elevenlabs_voice(voice_id, model_id, None);
            let resolved = resolve(&AgentConfig { voice, ..AgentConfig::default() }, today);
            resolved.adjustments.into_iter().map(|adjustment| adjustment.text).collect::<Vec<_>>()
        };
        let replaced = "eleven_turbo_v2 is served by eleven_flash_v2_5";
        assert_eq!(adjustments("cloned", "eleven_turbo_v2", TODAY), [replaced]);
        assert_eq!(adjustments("cloned", "eleven_flash_v2_5", TODAY), [""; 0]);
        let retiring = "sarah is retired by its vendor on 2026-12-31; aura-2-thalia-en serves from then on";
        assert_eq!(adjustments("sarah", "eleven_flash_v2_5", jiff::civil::date(2026, 12, 1)), [retiring]);
    }

    #[test]
    fn a_voice_is_billed_by_its_model() {
        let price = |model_id: &str| {
            let voice = elevenlabs_voice("cloned", model_id, None);
            let rates = rates::rates(&AgentConfig { voice, ..AgentConfig::default() }, TODAY);
            rates.voice.price.to_string()
        };
        assert_eq!(price("eleven_turbo_v2"), "0.050");
        assert_eq!(price("eleven_multilingual_v2"), "0.100");
    }

    #[test]
    fn a_language_that_the_vendor_refuses_is_recorded() {
        let adjustments = |model: &str, language: &str| {
            let transcriber = Transcriber::Deepgram {
                model: model.into(),
                language: language.into(),
                keywords: vec![],
                credential_id: None,
            };
            let agent = AgentConfig { transcriber, ..AgentConfig::default() };
            resolve(&agent, TODAY)
                .adjustments
                .into_iter()
                .map(|adjustment| adjustment.text)
                .collect::<Vec<_>>()
        };
        assert_eq!(adjustments("nova-3", "en"), [""; 0]);
        assert_eq!(adjustments("nova-3", "fr-FR"), ["fr-FR is served by fr"]);
        assert_eq!(adjustments("flux-general-en", "en-GB"), [""; 0]);
        let both = ["flux-general-en is served by flux-general-multi", "de-DE is served by de"];
        assert_eq!(adjustments("flux-general-en", "de-DE"), both);
        assert_eq!(adjustments("flux-general-en", "sv"), ["flux-general-en is served by nova-3"]);
    }

    #[test]
    fn languages_that_are_not_told_apart_are_recorded() {
        let languages = ["en-US", "en-GB", "fr"].map(str::to_owned).to_vec();
        let transcriber = Transcriber::Azure { languages, credential_id: None };
        let resolved = resolve(&AgentConfig { transcriber, ..AgentConfig::default() }, TODAY);
        let text = "en-US, en-GB, fr is served by en-US, fr-FR".to_owned();
        assert_eq!(resolved.adjustments, [Adjustment { service: Service::Transcriber, text }]);
        assert_eq!(resolved.transcriber.language(), "en-US");
    }

    #[test]
    fn an_unknown_price_is_recorded_unless_the_customer_pays() {
        let unknown = agent("my-own-model");
        let text = "the price of my-own-model is not known, so its cost is an estimate".to_owned();
        let expected = [Adjustment { service: Service::LanguageModel, text }];
        assert_eq!(resolve(&unknown, TODAY).adjustments, expected);
        let settings = ModelSettings {
            credential_id: Some(crate::ids::CredentialId::new(crate::time::Timestamp::from_millis(0), 0)),
            ..unknown.language_model.settings().clone()
        };
        let own = AgentConfig { language_model: LanguageModel::Openai(settings), ..unknown };
        assert_eq!(resolve(&own, TODAY).adjustments, []);
    }

    #[test]
    fn keywords_beyond_the_vendors_limit_are_cut_and_recorded() {
        let transcriber = Transcriber::Deepgram {
            model: "nova-2".into(),
            language: "en".into(),
            keywords: vec!["cake".into(); 120],
            credential_id: None,
        };
        let resolved = resolve(&AgentConfig { transcriber, ..AgentConfig::default() }, TODAY);
        let text = "only the first 100 of 120 keywords are used".to_owned();
        assert_eq!(resolved.adjustments, [Adjustment { service: Service::Transcriber, text }]);
        assert!(
            matches!(resolved.transcriber, Transcriber::Deepgram { keywords, .. } if keywords.len() == 100)
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
}
