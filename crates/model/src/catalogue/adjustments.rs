//! The settings of an agent that are served differently, in words for the event log.

use jiff::civil::Date;

use super::{
    Service, azure, deepgram, elevenlabs,
    names::{billed_voice, transcriber_model, voice_model},
    rates, row,
};
use crate::agents::{AgentConfig, LanguageModel, Transcriber, Voice};

/// How long before a model's last day its users are warned, in days.
const WARNING_DAYS: i32 = 30;

/// A setting of an agent that is served differently: its vendor does not take it, or another vendor serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adjustment {
    /// The service that it concerns.
    pub service: Service,
    /// For the agent's owner; names of models and languages only.
    pub text: String,
}

/// Records the providers that are replaced as a whole, because they have no adapter.
pub(super) fn replaced_providers(
    agent: &AgentConfig,
    language_model: &LanguageModel,
    transcriber: &Transcriber,
    voice: &Voice,
) -> Vec<Adjustment> {
    let named = &agent.language_model;
    let roles = [
        (
            Service::LanguageModel,
            (named.provider(), named.settings().credential_id),
            (language_model.provider(), language_model.settings().model.as_str()),
        ),
        (
            Service::Transcriber,
            (agent.transcriber.provider(), agent.transcriber.credential_id()),
            (transcriber.provider(), transcriber_model(transcriber)),
        ),
        (
            Service::Voice,
            (agent.voice.provider(), agent.voice.credential_id()),
            (voice.provider(), voice_model(voice)),
        ),
    ];
    let replaced = roles.into_iter().filter(|(_, (named, _), (served, _))| named != served);
    let texts = replaced.map(|(service, (named, own), (_, model))| Adjustment {
        service,
        text: match own {
            None => format!("{model} serves in place of {named}"),
            Some(own) => {
                format!("{model} serves in place of {named}, with the deployment's key: {own} is not used")
            }
        },
    });
    texts.collect()
}

/// Records models that are billed to the deployment at a price that the catalogue does not know.
pub(super) fn unlisted_prices(
    language_model: &LanguageModel,
    transcriber: &Transcriber,
    voice: &Voice,
) -> impl Iterator<Item = Adjustment> {
    let settings = language_model.settings();
    let used = [
        (Service::LanguageModel, language_model.provider(), settings.model.as_str(), settings.credential_id),
        (
            Service::Transcriber,
            transcriber.provider(),
            transcriber_model(transcriber),
            transcriber.credential_id(),
        ),
        (Service::Voice, voice.provider(), billed_voice(voice), voice.credential_id()),
    ];
    let unlisted = used.into_iter().filter(|(service, provider, model, own)| {
        own.is_none() && !rates::is_listed(*service, provider, model)
    });
    let texts = unlisted.map(|(service, _, model, _)| Adjustment {
        service,
        text: format!("the price of {model} is not known, so its cost is an estimate"),
    });
    texts.collect::<Vec<_>>().into_iter()
}

pub(super) fn language_model_adjustments(named: &LanguageModel, today: Date) -> Vec<Adjustment> {
    let model = &named.settings().model;
    let retirement = row(Service::LanguageModel, named.provider()).and_then(|row| row.retirement(model));
    let Some((from, successor)) = retirement else { return vec![] };
    let days = (from - today).get_days();
    let text = match days {
        ..=0 => format!("{model} is served by {successor}: its vendor has retired it"),
        1..=WARNING_DAYS => {
            format!("{model} is retired by its vendor on {from}; {successor} serves from then on")
        }
        _ => return vec![],
    };
    vec![Adjustment { service: Service::LanguageModel, text }]
}

/// Records a voice's model that another one serves, and a voice that is about to be retired.
pub(super) fn voice_adjustments(named: &Voice, served: &Voice, today: Date) -> Vec<Adjustment> {
    let (Voice::Elevenlabs { model_id: asked, .. }, Voice::Elevenlabs { model_id: sent, voice_id, .. }) =
        (named, served)
    else {
        return vec![];
    };
    let model = (asked != sent).then(|| format!("{asked} is served by {sent}"));
    let retiring = elevenlabs::premade_voice(voice_id)
        .filter(|_| served.credential_id().is_none())
        .filter(|voice| (1..=WARNING_DAYS).contains(&(voice.retires_on - today).get_days()));
    let retiring = retiring.map(|voice| {
        format!(
            "{} is retired by its vendor on {}; {} serves from then on",
            voice.name, voice.retires_on, voice.aura
        )
    });
    let texts = model.into_iter().chain(retiring);
    texts.map(|text| Adjustment { service: Service::Voice, text }).collect()
}

/// Cuts what the vendor would refuse.
pub(super) fn adjust_transcriber(transcriber: &mut Transcriber) -> Vec<Adjustment> {
    let (model, language, keywords) = match transcriber {
        Transcriber::Deepgram { model, language, keywords, .. } => (model, language, keywords),
        Transcriber::Azure { languages, .. } => return adjust_languages(languages),
    };
    let (served_model, served_language) = deepgram::nearest_model(model, language);
    let pairs = [(model.as_str(), served_model), (language.as_str(), served_language)];
    let changed = pairs.into_iter().filter(|(asked, served)| asked != served);
    let mut texts: Vec<_> = changed.map(|(asked, served)| format!("{asked} is served by {served}")).collect();
    let (asked, taken) = (keywords.len(), deepgram::key_terms(served_model, keywords).len());
    if taken < asked {
        texts.push(format!("only the first {taken} of {asked} keywords are used"));
        keywords.truncate(taken);
    }
    texts.into_iter().map(|text| Adjustment { service: Service::Transcriber, text }).collect()
}

/// Replaces the languages by those that the vendor takes.
fn adjust_languages(languages: &mut Vec<String>) -> Vec<Adjustment> {
    let served = azure::served_locales(languages);
    if served == *languages {
        return vec![];
    }
    let (asked, text) = (languages.join(", "), served.join(", "));
    *languages = served;
    vec![Adjustment { service: Service::Transcriber, text: format!("{asked} is served by {text}") }]
}
