//! The rates at which an agent's providers are billed.

use rust_decimal::Decimal;

use super::{Price, Service, TokenPrices, resolve, row, rows};
use crate::agents::AgentConfig;

/// The rates of an agent's providers, as they are served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderRates {
    /// Per million tokens.
    pub language_model: Rate<TokenPrices>,
    /// USD per minute of audio.
    pub transcriber: Rate<Decimal>,
    /// USD per thousand characters.
    pub voice: Rate<Decimal>,
}

/// What one provider charges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate<P> {
    /// The provider's name.
    pub provider: &'static str,
    /// Its list price.
    pub price: P,
    /// The customer's own key or account is used: the vendor bills the customer, and the deployment nothing.
    pub is_own_account: bool,
}

/// The rates of the providers that serve `agent`.
#[must_use]
pub fn rates(agent: &AgentConfig) -> ProviderRates {
    let resolved = resolve(agent);
    let (model, transcriber, voice) = (&resolved.language_model, &resolved.transcriber, &resolved.voice);
    let model_settings = model.settings();
    ProviderRates {
        language_model: Rate {
            provider: model.provider(),
            price: tokens(model.provider(), &model_settings.model),
            is_own_account: model_settings.credential_id.is_some(),
        },
        transcriber: Rate {
            provider: transcriber.provider(),
            price: scalar(
                Service::Transcriber,
                transcriber.provider(),
                resolved.transcriber_model(),
                transcriber.language(),
            ),
            is_own_account: transcriber.credential_id().is_some(),
        },
        voice: Rate {
            provider: voice.provider(),
            price: scalar(Service::Voice, voice.provider(), resolved.voice_model(), ""),
            is_own_account: voice.credential_id().is_some(),
        },
    }
}

/// A model's prices. A server that speaks another vendor's protocol may serve any vendor's model, so a model that its
/// provider does not list is looked for in the other rows.
fn tokens(provider: &str, model: &str) -> TokenPrices {
    let own = row(Service::LanguageModel, provider);
    let listed = own.into_iter().chain(rows(Service::LanguageModel)).find_map(|row| row.model(model));
    let price = listed.map(|model| model.price).or(own.map(|row| row.unlisted));
    match price {
        Some(Price::Tokens(prices)) => prices,
        _ => TokenPrices::default(),
    }
}

fn scalar(service: Service, provider: &str, model: &str, language: &str) -> Decimal {
    match row(service, provider).map(|row| row.price(model, language)) {
        Some(Price::Minute(price) | Price::ThousandCharacters(price)) => price,
        _ => Decimal::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_matching_model_is_priced() {
        assert_eq!(tokens("openai", "gpt-4o-mini").input.to_string(), "0.150");
        assert_eq!(tokens("openai", "gpt-4o-2024-08-06").output.to_string(), "10.000");
        assert_eq!(tokens("openai", "gemini-3.8-flash").input.to_string(), "0.750");
    }

    #[test]
    fn an_unlisted_model_costs_the_price_of_its_row() {
        assert_eq!(tokens("openai", "something-new"), tokens("openai", "gpt-6-luna"));
        let voice = |model| scalar(Service::Voice, "deepgram", model, "").to_string();
        assert_eq!(
            (voice("aura-2-thalia-en").as_str(), voice("aura-asteria-en").as_str()),
            ("0.030", "0.015")
        );
        assert_eq!(voice("something-new"), "0.030");
        let transcriber = |model| scalar(Service::Transcriber, "deepgram", model, "en").to_string();
        assert_eq!(
            (transcriber("nova-2-meeting").as_str(), transcriber("whisper").as_str()),
            ("0.0058", "0.0048")
        );
    }
}
