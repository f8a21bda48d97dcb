//! Chains: which providers stand in for one that fails or has no key, in their order.
//!
//! A chain has one entry per vendor. An entry that speaks the conversation's language comes before one that does not. The
//! vendor that the agent names never stands in for itself: a customer's key is not replaced by the deployment's key for
//! the same vendor. A model or voice that its vendor has retired by the call's date does not stand in.

use std::fmt;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::{
    Connection, Service, deepgram,
    fallbacks::{resolve, resolve_language_model, resolve_voice},
    names, row,
    stand_ins::{is_mans_voice, stand_in_transcriber, stand_in_voice},
};
use crate::agents::{AgentConfig, LanguageModel, ModelSettings, Transcriber, Voice};

/// Whether the deployment has the keys of a vendor.
pub type HasKeys<'a> = &'a (dyn Fn(&Connection) -> bool + Sync);

/// The providers that may serve one role of a call, the agent's own one first.
#[derive(Debug, Clone, PartialEq)]
pub struct Chain<T> {
    /// The one that the agent names, or its fallback.
    pub named: T,
    /// Whether the named one has a key: the customer's or the deployment's.
    pub has_key: bool,
    /// The others, in the order in which they are tried. All of them use the deployment's keys.
    pub stand_ins: Vec<T>,
}

impl<T> Chain<T> {
    /// Whether the named one cannot serve, and another one can.
    #[must_use]
    pub fn is_replaced(&self) -> bool {
        !self.has_key && !self.stand_ins.is_empty()
    }

    /// The provider that serves at first.
    #[must_use]
    pub fn first(&self) -> &T {
        if self.is_replaced() { &self.stand_ins[0] } else { &self.named }
    }
}

/// A provider that serves in the place of the one that the catalogue chooses for the agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StandIn {
    /// Its part.
    pub service: Service,
    /// Its name in the catalogue.
    pub provider: String,
    /// The vendor's name of the model or voice.
    pub model: String,
}

impl StandIn {
    /// A language model.
    #[must_use]
    pub fn language_model(model: &LanguageModel) -> Self {
        Self::new(Service::LanguageModel, model.provider(), &model.settings().model)
    }

    /// A transcriber.
    #[must_use]
    pub fn transcriber(transcriber: &Transcriber) -> Self {
        Self::new(Service::Transcriber, transcriber.provider(), names::transcriber_model(transcriber))
    }

    /// A voice.
    #[must_use]
    pub fn voice(voice: &Voice) -> Self {
        Self::new(Service::Voice, voice.provider(), names::billed_voice(voice))
    }

    fn new(service: Service, provider: &str, model: &str) -> Self {
        Self { service, provider: provider.to_owned(), model: model.to_owned() }
    }
}

impl fmt::Display for StandIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Azure has one model, which the tariffs stand for.
        match (self.service, self.model.as_str()) {
            (Service::Transcriber, _) if self.provider == "azure" => f.write_str(&self.provider),
            (_, "") => f.write_str(&self.provider),
            (_, model) => write!(f, "{} ({model})", self.provider),
        }
    }
}

/// The voice with which the agent's calls of this day begin in a deployment that has these keys, and which stand-in it is, if it is
/// one.
#[must_use]
pub fn first_voice(agent: &AgentConfig, today: Date, has_keys: HasKeys<'_>) -> (Voice, Option<StandIn>) {
    let named = resolve(agent, today).voice;
    let chain = voice_chain(&named, agent.transcriber.language(), today, has_keys);
    let first = chain.first().clone();
    let stand_in = chain.is_replaced().then(|| StandIn::voice(&first));
    (first, stand_in)
}

/// The language models that stand in for others, with their vendors: fast ones.
const LANGUAGE_MODELS: &[(&str, &str)] = &[("openai", "gpt-6-luna"), ("google", "gemini-3.5-flash-lite")];

/// The transcribers that stand in for others.
const TRANSCRIBERS: &[&str] = &["deepgram", "azure"];

/// The vendors whose voices stand in for others.
const VOICES: &[&str] = &["deepgram", "azure", "elevenlabs", "rimeai"];

/// The chain of a language model on this day.
#[must_use]
pub fn language_model_chain(
    named: &LanguageModel,
    today: Date,
    has_keys: HasKeys<'_>,
) -> Chain<LanguageModel> {
    let settings = named.settings();
    let stand_ins = LANGUAGE_MODELS.iter().filter_map(|(provider, model)| {
        let settings = ModelSettings { model: (*model).into(), credential_id: None, ..settings.clone() };
        match *provider {
            "openai" => Some(LanguageModel::Openai(settings)),
            "google" => Some(LanguageModel::Google(settings)),
            _ => None,
        }
    });
    let stand_ins = stand_ins
        .filter(|one| serves(Service::LanguageModel, one.provider(), named.provider(), has_keys))
        // Its vendor's successor, if there is one.
        .map(|one| resolve_language_model(&one, today))
        .collect();
    let has_key =
        settings.credential_id.is_some() || has_key(Service::LanguageModel, named.provider(), has_keys);
    Chain { named: named.clone(), has_key, stand_ins }
}

/// The chain of a transcriber.
#[must_use]
pub fn transcriber_chain(named: &Transcriber, has_keys: HasKeys<'_>) -> Chain<Transcriber> {
    let language = match named {
        Transcriber::Azure { languages, .. } if deepgram::tells_apart(languages) => "multi",
        _ => named.language(),
    };
    let stand_ins = TRANSCRIBERS
        .iter()
        .filter(|provider| serves(Service::Transcriber, provider, named.provider(), has_keys))
        .filter_map(|provider| stand_in_transcriber(provider, language));
    Chain {
        has_key: named.credential_id().is_some() || has_key(Service::Transcriber, named.provider(), has_keys),
        stand_ins: in_language_first(stand_ins),
        named: named.clone(),
    }
}

/// The chain of a voice in a conversation in `language` on this day.
#[must_use]
pub fn voice_chain(named: &Voice, language: &str, today: Date, has_keys: HasKeys<'_>) -> Chain<Voice> {
    let is_man = is_mans_voice(named);
    let stand_ins = VOICES
        .iter()
        .filter(|provider| serves(Service::Voice, provider, named.provider(), has_keys))
        .filter_map(|provider| stand_in_voice(provider, named, language, is_man))
        // The voice that serves in its place is in the chain already.
        .filter(|(voice, _)| resolve_voice(voice, language, today).provider() == voice.provider());
    Chain {
        has_key: named.credential_id().is_some() || has_key(Service::Voice, named.provider(), has_keys),
        stand_ins: in_language_first(stand_ins),
        named: named.clone(),
    }
}

/// The order in which the vendors of a service stand in for others, each with the model that serves English.
pub(super) fn order(service: Service) -> Vec<(&'static str, String)> {
    let english = |provider: &&'static str| {
        let voice = stand_in_voice(provider, &Voice::default(), "en", false)?.0;
        Some((*provider, names::voice_model(&voice).to_owned()))
    };
    match service {
        Service::LanguageModel => {
            LANGUAGE_MODELS.iter().map(|(provider, model)| (*provider, (*model).to_owned())).collect()
        }
        Service::Transcriber => TRANSCRIBERS
            .iter()
            .filter_map(|provider| {
                let model = match &stand_in_transcriber(provider, "en")?.0 {
                    Transcriber::Deepgram { model, .. } => model.clone(),
                    Transcriber::Azure { .. } => String::new(),
                };
                Some((*provider, model))
            })
            .collect(),
        Service::Voice => VOICES.iter().filter_map(english).collect(),
        Service::Carrier => vec![],
    }
}

/// Whether `provider` can stand in for `named`: another vendor, with an adapter and the deployment's keys.
fn serves(service: Service, provider: &str, named: &str, has_keys: HasKeys<'_>) -> bool {
    let Some(adapter) = row(service, provider).and_then(|row| row.adapter) else { return false };
    vendor(service, named) != adapter.connection.provider && has_keys(adapter.connection)
}

fn has_key(service: Service, provider: &str, has_keys: HasKeys<'_>) -> bool {
    row(service, provider).and_then(|row| row.adapter).is_some_and(|adapter| has_keys(adapter.connection))
}

/// The vendor behind a provider's name: Rime has two names.
fn vendor(service: Service, provider: &str) -> &str {
    row(service, provider).and_then(|row| row.adapter).map_or(provider, |adapter| adapter.connection.provider)
}

/// Those in the conversation's language, then the others.
fn in_language_first<T>(all: impl Iterator<Item = (T, bool)>) -> Vec<T> {
    let (mut first, others): (Vec<_>, Vec<_>) = all.partition(|(_, speaks_it)| *speaks_it);
    first.extend(others);
    first.into_iter().map(|(one, _)| one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TODAY: Date = jiff::civil::date(2026, 11, 30);

    /// The chain of a voice when all vendors have keys, without the question of which of them have an adapter.
    fn voices(named: &Voice, language: &str) -> Vec<String> {
        let is_man = is_mans_voice(named);
        let all = VOICES.iter().filter_map(|provider| stand_in_voice(provider, named, language, is_man));
        let name = |voice: &Voice| match voice {
            Voice::Rimeai(voice) => voice.speaker.clone(),
            voice => names::voice_model(voice).to_owned(),
        };
        in_language_first(all).iter().map(name).collect()
    }

    fn azure(model: &str) -> Voice {
        Voice::Azure { model: model.into(), pitch: 0, rate: 0, credential_id: None }
    }

    #[test]
    fn voices_stand_in_by_language_and_sex() {
        let woman = azure("en-US-AvaMultilingualNeural");
        assert_eq!(
            voices(&woman, "en-GB"),
            ["aura-2-thalia-en", "en-US-AvaMultilingualNeural", "sarah", "lyra"]
        );
        let man = azure("de-DE-ConradNeural");
        assert_eq!(voices(&man, "de")[..3], ["aura-2-julius-de", "de-DE-ConradNeural", "adam"]);
        let elevenlabs = |voice_id: &str| Voice::Elevenlabs {
            voice_id: voice_id.into(),
            model_id: "eleven_flash_v2_5".into(),
            optimize_latency: 3,
            use_speaker_boost: false,
            similarity_boost: 0.5,
            stability: 0.5,
            credential_id: None,
        };
        assert_eq!(voices(&elevenlabs("dave"), "en")[1], "en-US-AndrewMultilingualNeural");
        assert_eq!(voices(&elevenlabs("rachel"), "en")[0], "aura-2-thalia-en");
        // No Aura voice speaks Swedish: those who do come first.
        assert_eq!(
            voices(&elevenlabs("rachel"), "sv"),
            ["sv-SE-SofieNeural", "sarah", "aura-2-thalia-en", "lyra"]
        );
    }

    #[test]
    fn every_language_of_the_api_has_a_stand_in_that_speaks_it() {
        for language in [
            "en", "fr", "es", "de", "it", "nl", "pt", "ru", "ja", "cs", "da", "el", "hi", "id", "ko", "no",
            "pl", "sv", "tr", "uk",
        ] {
            let speaks = VOICES.iter().filter_map(|provider| {
                stand_in_voice(provider, &Voice::default(), language, false).filter(|(_, speaks)| *speaks)
            });
            assert!(speaks.count() >= 2, "{language}");
            assert!(stand_in_transcriber("azure", language).is_some_and(|(_, knows)| knows), "{language}");
        }
        assert!(!stand_in_transcriber("azure", "multi").unwrap().1);
    }

    #[test]
    fn a_vendor_never_stands_in_for_itself() {
        let all: HasKeys<'_> = &|_| true;
        let voice = voice_chain(&Voice::default(), "en", TODAY, all);
        assert!(voice.stand_ins.iter().all(|voice| voice.provider() != "deepgram"));
        let model = language_model_chain(&LanguageModel::default(), TODAY, all);
        assert!(model.stand_ins.iter().all(|model| model.provider() != "openai"));
        let transcriber = transcriber_chain(&Transcriber::default(), all);
        assert!(transcriber.stand_ins.iter().all(|one| one.provider() != "deepgram"));
    }

    #[test]
    fn only_vendors_with_keys_and_an_adapter_stand_in() {
        let named = azure("en-US-AvaMultilingualNeural");
        let none = voice_chain(&named, "en", TODAY, &|_| false);
        assert_eq!((none.stand_ins.len(), none.has_key, none.is_replaced()), (0, false, false));
        assert_eq!(none.first(), &named);
        let one = voice_chain(&named, "en", TODAY, &|connection| connection.provider == "deepgram");
        assert!(one.is_replaced());
        assert_eq!(one.first(), &Voice::default());
        for service in [Service::LanguageModel, Service::Transcriber, Service::Voice] {
            for (provider, _) in order(service) {
                assert!(row(service, provider).is_some(), "{provider}");
            }
        }
    }

    #[test]
    fn a_customers_key_counts_as_a_key() {
        let credential_id = Some(crate::ids::CredentialId::new(crate::time::Timestamp::from_millis(0), 1));
        let named = Voice::Deepgram { model: "aura-2-zeus-en".into(), credential_id };
        let chain = voice_chain(&named, "en", TODAY, &|_| false);
        assert!(chain.has_key && !chain.is_replaced());
    }

    #[test]
    fn a_retired_voice_does_not_stand_in() {
        let providers = |today| {
            let chain = voice_chain(&azure("en-US-AvaMultilingualNeural"), "en", today, &|_| true);
            chain.stand_ins.iter().map(Voice::provider).collect::<Vec<_>>()
        };
        assert_eq!(providers(TODAY), ["deepgram", "elevenlabs", "rimeai"]);
        // The premade voices of ElevenLabs end with the year.
        assert_eq!(providers(jiff::civil::date(2026, 12, 31)), ["deepgram", "rimeai"]);
    }

    #[test]
    fn no_stand_in_is_retired_on_its_day() {
        let named = [LanguageModel::Openai, LanguageModel::Google].map(|of| of(ModelSettings::default()));
        for year in 2026..2040 {
            let today = jiff::civil::date(year, 12, 31);
            for one in named.iter().flat_map(|named| language_model_chain(named, today, &|_| true).stand_ins)
            {
                assert_eq!(resolve_language_model(&one, today), one, "{today}");
            }
        }
    }

    #[test]
    fn a_stand_in_speaks_the_language_in_its_vendors_form() {
        let transcriber = |languages: &str| Transcriber::Azure {
            languages: vec![languages.to_owned()],
            credential_id: None,
        };
        let deepgram =
            |language: &str| match &transcriber_chain(&transcriber(language), &|_| true).stand_ins[..] {
                [Transcriber::Deepgram { model, language, .. }] => format!("{model} {language}"),
                other => panic!("{other:?}"),
            };
        for (language, served) in [
            ("pt-BR", "nova-3 pt-BR"),
            ("en_gb", "nova-3 en-GB"),
            ("fr-BE", "nova-3 fr"),
            ("tr-TR", "nova-2 tr"),
            ("sw-KE", "nova-3 multi"),
        ] {
            assert_eq!(deepgram(language), served);
        }
        for (language, locale) in
            [("pt", "pt-BR"), ("en_gb", "en-GB"), ("es-419", "es-MX"), ("nb-NO", "nb-NO"), ("zh", "zh-CN")]
        {
            let named = Transcriber::Deepgram {
                model: "nova-3".into(),
                language: language.into(),
                keywords: vec![],
                credential_id: None,
            };
            let [Transcriber::Azure { languages, .. }] = &transcriber_chain(&named, &|_| true).stand_ins[..]
            else {
                panic!("{language}")
            };
            assert_eq!(languages[..], [locale]);
        }
        let both = Transcriber::Azure {
            languages: ["fr-FR", "en-US"].map(str::to_owned).to_vec(),
            credential_id: None,
        };
        assert!(matches!(&transcriber_chain(&both, &|_| true).stand_ins[0],
            Transcriber::Deepgram { language, .. } if language == "multi"));
        assert!(!stand_in_transcriber("deepgram", "sw").unwrap().1, "one that knows it comes first");
        assert_eq!(voices(&Voice::default(), "nb_NO")[0], "nb-NO-PernilleNeural");
    }
}
