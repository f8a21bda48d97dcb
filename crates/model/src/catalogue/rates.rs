//! The rates at which an agent's providers are billed.

use jiff::civil::Date;
use rust_decimal::Decimal;

use super::{Model, Price, Service, StandIn, TokenPrices, azure, deepgram, resolve, row, rows};
use crate::agents::{AgentConfig, Transcriber};

/// The rates of an agent's providers, as they are served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderRates {
    /// Per million tokens.
    pub language_model: Rate<TokenPrices>,
    /// USD per minute of audio.
    pub transcriber: Rate<Decimal>,
    /// USD per thousand characters.
    pub voice: Rate<Decimal>,
    /// The models that have these rates.
    pub models: ServedModels,
    /// The language of the conversation, which has a part in the price of a transcriber.
    pub language: String,
    /// The day whose prices these are.
    pub day: Date,
}

/// The vendors' names of an agent's models.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServedModels {
    /// The language model.
    pub language_model: String,
    /// The transcriber; empty if its vendor has one only.
    pub transcriber: String,
    /// The voice.
    pub voice: String,
}

impl ServedModels {
    /// The model of a service; empty for a carrier.
    #[must_use]
    pub fn of(&self, service: Service) -> &str {
        match service {
            Service::Carrier => "",
            Service::LanguageModel => &self.language_model,
            Service::Transcriber => &self.transcriber,
            Service::Voice => &self.voice,
        }
    }
}

/// The prices of one provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate<P> {
    /// The provider's name.
    pub provider: &'static str,
    /// Its list price.
    pub price: P,
    /// The customer's own key or account is used: the vendor bills the customer, and the deployment nothing.
    pub is_own_account: bool,
    /// Whether the catalogue knows the price; else it is the highest one of the provider.
    pub is_known: bool,
}

/// The rates of the providers that serve `agent` on this day, as the catalogue chooses them.
#[must_use]
pub fn rates(agent: &AgentConfig, today: Date) -> ProviderRates {
    let resolved = resolve(agent, today);
    let (model, transcriber, voice) = (&resolved.language_model, &resolved.transcriber, &resolved.voice);
    let settings = model.settings();
    let (transcriber_model, language) = match transcriber {
        // Billed is what is sent.
        Transcriber::Deepgram { model, language, .. } => deepgram::nearest_model(model, language),
        Transcriber::Azure { languages, .. } => (azure::tariff(languages), ""),
    };
    ProviderRates {
        language_model: token_rate(
            (model.provider(), &settings.model),
            today,
            settings.credential_id.is_some(),
        ),
        transcriber: rate(
            (Service::Transcriber, transcriber.provider(), transcriber_model),
            (language, today),
            transcriber.credential_id().is_some(),
        ),
        voice: rate(
            (Service::Voice, voice.provider(), resolved.voice_model()),
            ("", today),
            voice.credential_id().is_some(),
        ),
        models: ServedModels {
            language_model: settings.model.clone(),
            transcriber: transcriber_model.to_owned(),
            voice: resolved.voice_model().to_owned(),
        },
        language: transcriber.language().to_owned(),
        day: today,
    }
}

/// The same rates with those of a stand-in in its service. Stand-ins use the deployment's keys.
#[must_use]
pub fn stand_in_rates(rates: &ProviderRates, stand_in: &StandIn) -> ProviderRates {
    let StandIn { service, provider, model } = stand_in;
    let (mut rates, day) = (rates.clone(), rates.day);
    let Some(row) = row(*service, provider) else { return rates };
    match service {
        Service::LanguageModel => rates.language_model = token_rate((row.provider, model), day, false),
        Service::Transcriber => {
            let (model, language) = match row.provider {
                "deepgram" => deepgram::nearest_model(model, &rates.language),
                _ => (model.as_str(), rates.language.as_str()),
            };
            rates.transcriber = self::rate((*service, row.provider, model), (language, day), false);
        }
        Service::Voice => rates.voice = self::rate((*service, row.provider, model), ("", day), false),
        Service::Carrier => {}
    }
    rates
}

fn token_rate((provider, model): (&'static str, &str), day: Date, is_own_account: bool) -> Rate<TokenPrices> {
    let is_known = is_listed(Service::LanguageModel, provider, model);
    Rate { provider, price: tokens(provider, model, day), is_own_account, is_known }
}

fn rate(
    (service, provider, model): (Service, &'static str, &str),
    (language, day): (&str, Date),
    is_own_account: bool,
) -> Rate<Decimal> {
    let is_known = is_listed(service, provider, model);
    Rate { provider, price: scalar((service, provider, model), language, day), is_own_account, is_known }
}

/// A model's prices on a day; of one that is not listed, those of its row.
fn tokens(provider: &str, model: &str, day: Date) -> TokenPrices {
    let listed = listed(Service::LanguageModel, provider, model).map(|model| model.price_on(day));
    match listed.or_else(|| row(Service::LanguageModel, provider).map(|row| row.unlisted)) {
        Some(Price::Tokens(prices)) => prices,
        _ => TokenPrices::default(),
    }
}

/// A model in the catalogue. A server that speaks another vendor's protocol may serve any vendor's language model, so one
/// that its provider does not list is looked for in the other rows.
fn listed(service: Service, provider: &str, model: &str) -> Option<&'static Model> {
    let own = row(service, provider);
    let others = rows(service).filter(|_| service == Service::LanguageModel);
    own.into_iter().chain(others).find_map(|row| row.model(model))
}

/// Whether the price of a model is known. A vendor whose models are not listed has one price for all.
pub(super) fn is_listed(service: Service, provider: &str, model: &str) -> bool {
    row(service, provider).is_none_or(|row| row.models.is_empty())
        || listed(service, provider, model).is_some()
}

fn scalar((service, provider, model): (Service, &str, &str), language: &str, day: Date) -> Decimal {
    match row(service, provider).map(|row| row.price(model, language, day)) {
        Some(Price::Minute(price) | Price::ThousandCharacters(price)) => price,
        _ => Decimal::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;
    use crate::{
        agents::{LanguageModel, ModelSettings},
        catalogue::PRICES_AS_OF,
    };

    #[test]
    fn the_first_matching_model_is_priced() {
        assert_eq!(tokens("openai", "gpt-4o-mini", PRICES_AS_OF).input.to_string(), "0.150");
        assert_eq!(tokens("openai", "gpt-4o-2024-08-06", PRICES_AS_OF).output.to_string(), "10.000");
        assert_eq!(tokens("openai", "gemini-3.8-flash", PRICES_AS_OF).input.to_string(), "0.750");
    }

    #[test]
    fn a_price_holds_from_its_first_day_on() {
        let google = |model: &str| {
            LanguageModel::Google(ModelSettings { model: model.into(), ..ModelSettings::default() })
        };
        let rates_on = |model: &str, day| {
            rates(&AgentConfig { language_model: google(model), ..AgentConfig::default() }, day)
        };
        let output = |model: &str, day| rates_on(model, day).language_model.price.output.to_string();
        let (last, first) = (date(2026, 12, 31), date(2027, 1, 1));
        assert_eq!(output("gemini-3.8-flash", last), "3.750");
        assert_eq!(output("gemini-3.8-flash", first), "7.500");
        assert_eq!(output("gemini-2.5-flash", first), "7.500", "served by its successor at that day's price");
        assert_eq!(output("gemini-3.5-flash-lite", first), output("gemini-3.5-flash-lite", last));
        let stand_in = StandIn {
            service: Service::LanguageModel,
            provider: "google".into(),
            model: "gemini-3.6-flash".into(),
        };
        let of_openai =
            |day| stand_in_rates(&rates(&AgentConfig::default(), day), &stand_in).language_model.price.input;
        assert_eq!(
            (of_openai(last).to_string(), of_openai(first).to_string()),
            ("0.750".into(), "1.500".into())
        );
    }

    #[test]
    fn announced_prices_are_in_order_and_later_than_the_list() {
        for model in super::super::ROWS.iter().flat_map(|row| row.models) {
            let days: Vec<_> =
                [PRICES_AS_OF].into_iter().chain(model.later_prices.iter().map(|(day, _)| *day)).collect();
            assert!(days.is_sorted_by(|one, next| one < next), "{model:?}");
            assert!(
                model.later_prices.is_empty() || model.language_prices.is_empty(),
                "{model:?}: no day by language"
            );
        }
    }

    #[test]
    fn an_unlisted_model_is_never_the_cheapest() {
        let now = jiff::civil::date(2026, 11, 30);
        let unlisted = tokens("openai", "something-new", now);
        let live = super::super::models(Service::LanguageModel, "openai").iter();
        let live = live.filter(|model| model.retires_on.is_none_or(|retired| retired > now));
        for model in live {
            let Price::Tokens(prices) = model.price else { panic!("{model:?}") };
            assert!(prices.output <= unlisted.output, "{model:?}");
        }
        assert!(!is_listed(Service::LanguageModel, "openai", "something-new"));
        assert!(is_listed(Service::LanguageModel, "openai", "gemini-3.8-flash"));
    }

    #[test]
    fn a_transcriber_is_billed_as_it_is_served() {
        let price = |model: &str, language: &str| {
            let transcriber = Transcriber::Deepgram {
                model: model.into(),
                language: language.into(),
                keywords: vec![],
                credential_id: None,
            };
            let agent = AgentConfig { transcriber, ..AgentConfig::default() };
            rates(&agent, jiff::civil::date(2026, 11, 30)).transcriber.price.to_string()
        };
        assert_eq!(price("nova-3", "en"), "0.0048");
        assert_eq!(price("nova-3", "multi"), "0.0058");
        assert_eq!(price("nova-3", "sw"), "0.0058", "served by multi");
        assert_eq!(price("flux-general-en", "en"), "0.0065");
        assert_eq!(price("flux-general-multi", "fr"), "0.0078");
        assert_eq!(price("flux-general-en", "sv"), "0.0048", "served by nova-3");
    }

    #[test]
    fn language_identification_has_a_price() {
        let price = |languages: &[&str]| {
            let languages = languages.iter().map(|language| (*language).to_owned()).collect();
            let transcriber = Transcriber::Azure { languages, credential_id: None };
            let agent = AgentConfig { transcriber, ..AgentConfig::default() };
            rates(&agent, jiff::civil::date(2026, 11, 30)).transcriber.price.to_string()
        };
        assert_eq!((price(&["en-US"]).as_str(), price(&["en-US", "fr-FR"]).as_str()), ("0.0167", "0.0217"));
    }

    #[test]
    fn an_unlisted_model_costs_the_price_of_its_row() {
        assert_eq!(tokens("openai", "something-new", PRICES_AS_OF).output.to_string(), "12.000");
        let voice = |model| scalar((Service::Voice, "deepgram", model), "", PRICES_AS_OF).to_string();
        assert_eq!(
            (voice("aura-2-thalia-en").as_str(), voice("aura-asteria-en").as_str()),
            ("0.030", "0.015")
        );
        assert_eq!(voice("something-new"), "0.030");
        let transcriber =
            |model| scalar((Service::Transcriber, "deepgram", model), "en", PRICES_AS_OF).to_string();
        assert_eq!(
            (transcriber("nova-2-meeting").as_str(), transcriber("whisper").as_str()),
            ("0.0058", "0.0048")
        );
    }
}
