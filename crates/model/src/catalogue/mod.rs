//! The catalogue of providers: one row per (provider, service), one file per vendor.
//!
//! A row has the vendor's models with their retirement dates, languages and prices, its fallbacks, and, if this
//! project has an adapter, the names of its keys and its address. The deployment's keys, the endpoints, the fallback
//! table of `GET /`, the costs and the lists of the API all derive from [`ROWS`]. Everything here is data and
//! look-ups: no look-up fails, and an unknown model is served as it is and priced by its row.
//!
//! Start with [`Row`], then read a vendor's file. [`resolve`] decides which providers serve an agent.

mod adjustments;
pub mod azure;
mod chains;
pub mod deepgram;
pub mod elevenlabs;
mod fallback_table;
mod fallbacks;
mod google;
mod languages;
mod names;
mod openai;
pub mod playht;
mod prices;
mod rates;
pub mod rime;
mod stand_ins;
mod twilio;

#[cfg(test)]
mod tests;

use std::time::Duration;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

pub use self::adjustments::Adjustment;
pub use self::chains::{
    Chain, HasKeys, StandIn, first_voice, language_model_chain, transcriber_chain, voice_chain,
};
pub use self::fallback_table::{Fallback, Occasion, fallbacks};
pub use self::fallbacks::{ResolvedProviders, resolve, served_transcriber_model};
pub use self::languages::Languages;
pub use self::names::spoken_voice;
pub use self::prices::{CallPrices, CallTariff, PRICES_AS_OF, Price, TokenPrices};
pub use self::rates::{ProviderRates, Rate, ServedModels, rates, stand_in_rates};
use crate::audio::AudioFormat;

/// Every row. Within a service, in the order in which the API lists the providers.
pub static ROWS: &[&Row] = &[
    &openai::LANGUAGE_MODEL,
    &google::LANGUAGE_MODEL,
    &deepgram::TRANSCRIBER,
    &azure::TRANSCRIBER,
    &playht::VOICE,
    &elevenlabs::VOICE,
    &azure::VOICE,
    &rime::RIMEAI_VOICE,
    &rime::RIME_VOICE,
    &deepgram::VOICE,
    &twilio::CARRIER,
];

/// The part that a provider plays in a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Service {
    /// Places and receives telephone calls.
    Carrier,
    /// Decides what the agent says.
    LanguageModel,
    /// Turns the caller's speech into text.
    Transcriber,
    /// Turns the agent's text into speech.
    Voice,
}

impl Service {
    /// The name in the API and in the fallback table.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Carrier => "carrier",
            Self::LanguageModel => "language_model",
            Self::Transcriber => "transcriber",
            Self::Voice => "voice",
        }
    }
}

/// One provider in one service.
#[derive(Debug)]
pub struct Row {
    /// The provider's name in the API, such as `deepgram`.
    pub provider: &'static str,
    /// The service.
    pub service: Service,
    /// The description in the API's reference.
    pub about: &'static str,
    /// The adapter; none: the provider is a valid choice that a fallback serves.
    pub adapter: Option<Adapter>,
    /// The vendor's models. The first row that matches a name counts.
    pub models: &'static [Model],
    /// The price of a model that is not listed.
    pub unlisted: Price,
    /// Models, voices or all names that another provider serves. The first row that matches a name counts.
    pub fallbacks: &'static [FallbackRule],
    /// The provider's model that serves in the place of its retired ones, from their last day on; none: they are sent
    /// as they are, and refused.
    pub successor: Option<&'static str>,
}

/// An adapter in `crates/providers`: how to reach the vendor, and what it can do.
#[derive(Debug, Clone, Copy)]
pub struct Adapter {
    /// How to reach the vendor; the same for all services of one vendor.
    pub connection: &'static Connection,
    /// Capabilities of the adapter.
    pub capabilities: Capabilities,
}

/// How a deployment reaches a vendor.
#[derive(Debug, PartialEq, Eq)]
pub struct Connection {
    /// The vendor's name; of several, the one that its keys have.
    pub provider: &'static str,
    /// The members of the deployment's provider keys that hold the vendor's keys.
    pub keys: &'static [&'static str],
    /// Whether a process refuses to start without the keys. Else a missing key is a provider fault of the call that
    /// needs it.
    pub is_required: bool,
    /// The environment variable with another base URL.
    pub url_variable: &'static str,
    /// The vendor's own base URL; paths are appended to its path.
    pub default_url: &'static str,
    /// The environment variable that, if `true`, forbids the vendor to train its models with the calls; none: the vendor
    /// has no such switch in its requests.
    pub opt_out_variable: Option<&'static str>,
}

impl Connection {
    /// Whether the vendor's own service has ended: nothing answers at its own base URL, and only another server can serve.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self == &playht::CONNECTION
    }

    /// The parameter of `template.yaml` with another base URL: the words of the variable in camel case.
    #[must_use]
    pub fn template_parameter(&self) -> String {
        let capitalised = |word: &str| {
            let (first, rest) = word.split_at(word.len().min(1));
            format!("{first}{}", rest.to_lowercase())
        };
        self.url_variable.split('_').map(capitalised).collect()
    }
}

/// Capabilities of an adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capabilities {
    /// Of a carrier.
    Carrier,
    /// Of a language model.
    LanguageModel,
    /// Of a transcriber.
    Transcriber(TranscriberCapabilities),
    /// Of a voice.
    Voice(VoiceCapabilities),
}

/// Capabilities of a transcriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TranscriberCapabilities {
    /// The longest time from an interim transcript to its final one.
    pub settles_within: Duration,
    /// The usual longest time from the end of speech to its words.
    pub words_within: Duration,
    /// Whether it decides by itself that the caller has finished.
    pub detects_turns: bool,
    /// Whether it decides so by what the caller says, and not by silence alone: then nothing waits for more words.
    pub understands_turns: bool,
    /// The audio it takes.
    pub formats: &'static [AudioFormat],
    /// The most tokens of all key terms of a session together; none: it takes no key terms.
    pub max_key_term_tokens: Option<u32>,
}

/// Capabilities of a voice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VoiceCapabilities {
    /// The audio it yields.
    pub formats: &'static [AudioFormat],
    /// Whether it says when each word is spoken.
    pub word_times: bool,
}

/// A model or a family of models.
#[derive(Debug)]
pub struct Model {
    /// The vendor's name; `*` at its end stands for any ending, and one at its beginning too for any beginning.
    pub name: &'static str,
    /// The first day on which the vendor refuses it, as announced; none: no date is known.
    pub retires_on: Option<Date>,
    /// The languages it takes.
    pub languages: Languages,
    /// Its list price on [`PRICES_AS_OF`].
    pub price: Price,
    /// Announced list prices, each with the first day on which it holds, in the order of the days.
    pub later_prices: &'static [(Date, Price)],
    /// Other prices for some languages.
    pub language_prices: &'static [(&'static str, Price)],
    /// Its own capabilities as a transcriber; none: those of its row.
    pub transcriber: Option<&'static TranscriberCapabilities>,
}

/// A provider that serves in the place of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FallbackRule {
    /// The model or voice that is replaced; `*` at its end stands for any ending.
    pub name: &'static str,
    /// The provider that serves.
    pub provider: &'static str,
    /// Its model or voice.
    pub model: &'static str,
}

impl Model {
    const fn new(name: &'static str, price: Price) -> Self {
        Self {
            name,
            retires_on: None,
            languages: Languages::Any,
            price,
            later_prices: &[],
            language_prices: &[],
            transcriber: None,
        }
    }

    const fn retired(self, year: i16, month: i8, day: i8) -> Self {
        Self { retires_on: Some(jiff::civil::date(year, month, day)), ..self }
    }

    const fn speaks(self, languages: &'static [&'static str]) -> Self {
        Self { languages: Languages::Listed(languages), ..self }
    }

    /// Prices that are announced: each with its first day, in order.
    const fn then(self, later_prices: &'static [(Date, Price)]) -> Self {
        Self { later_prices, ..self }
    }

    /// The list price on a day, where the language makes no difference.
    #[must_use]
    pub fn price_on(&self, day: Date) -> Price {
        let begun = self.later_prices.iter().take_while(|(first, _)| *first <= day);
        begun.last().map_or(self.price, |(_, price)| *price)
    }

    fn price_in(&self, language: &str, day: Date) -> Price {
        let listed = self.language_prices.iter().find(|(listed, _)| *listed == language);
        listed.map_or_else(|| self.price_on(day), |(_, price)| *price)
    }
}

impl Row {
    /// The row of a model; none if it is not listed.
    #[must_use]
    pub fn model(&self, name: &str) -> Option<&'static Model> {
        self.models.iter().find(|model| matches(model.name, name))
    }

    /// The list price of a model in a language on a day.
    #[must_use]
    pub fn price(&self, model: &str, language: &str, day: Date) -> Price {
        self.model(model).map_or(self.unlisted, |model| model.price_in(language, day))
    }

    fn fallback(&self, model: &str) -> Option<&'static FallbackRule> {
        self.fallbacks.iter().find(|rule| matches(rule.name, model))
    }

    /// The day from which the successor serves instead of `model`, and the successor.
    fn retirement(&self, model: &str) -> Option<(Date, &'static str)> {
        Some((self.model(model)?.retires_on?, self.successor?))
    }
}

/// The row of a provider in a service.
#[must_use]
pub fn row(service: Service, provider: &str) -> Option<&'static Row> {
    rows(service).find(|row| row.provider == provider)
}

/// The rows of a service.
pub fn rows(service: Service) -> impl Iterator<Item = &'static Row> {
    ROWS.iter().copied().filter(move |row| row.service == service)
}

/// The providers of a service that an agent may name.
#[must_use]
pub fn providers(service: Service) -> Vec<&'static str> {
    rows(service).map(|row| row.provider).collect()
}

/// The providers of a service that an agent may name, with their descriptions.
#[must_use]
pub fn described_providers(service: Service) -> Vec<(&'static str, &'static str)> {
    rows(service).map(|row| (row.provider, row.about)).collect()
}

/// The listed models of a service's provider; families end in `*`.
#[must_use]
pub fn models(service: Service, provider: &str) -> &'static [Model] {
    row(service, provider).map_or(&[], |row| row.models)
}

/// The list prices of a carrier's calls; none if the catalogue has no such carrier.
#[must_use]
pub fn call_tariff(carrier: &str) -> Option<&'static CallTariff> {
    match row(Service::Carrier, carrier)?.unlisted {
        Price::Call(tariff) => Some(tariff),
        _ => None,
    }
}

/// Capabilities of a transcriber with this model; none if it has no adapter.
#[must_use]
pub fn transcriber_capabilities(provider: &str, model: &str) -> Option<TranscriberCapabilities> {
    let row = row(Service::Transcriber, provider)?;
    match row.adapter?.capabilities {
        Capabilities::Transcriber(capabilities) => {
            Some(row.model(model).and_then(|model| model.transcriber).copied().unwrap_or(capabilities))
        }
        _ => None,
    }
}

/// Whether a voice has an adapter and yields this audio.
#[must_use]
pub fn voice_yields(provider: &str, format: AudioFormat) -> bool {
    let adapter = row(Service::Voice, provider).and_then(|row| row.adapter);
    matches!(adapter.map(|adapter| adapter.capabilities),
        Some(Capabilities::Voice(voice)) if voice.formats.contains(&format))
}

/// The connections of all vendors with an adapter, each once.
#[must_use]
pub fn connections() -> Vec<&'static Connection> {
    let mut connections: Vec<&'static Connection> = vec![];
    for adapter in ROWS.iter().filter_map(|row| row.adapter) {
        if !connections.contains(&adapter.connection) {
            connections.push(adapter.connection);
        }
    }
    connections
}

/// The connection of a vendor, by any of its names; none if it has no adapter.
#[must_use]
pub fn connection(provider: &str) -> Option<&'static Connection> {
    let mut rows = ROWS.iter().filter(|row| row.provider == provider);
    rows.find_map(|row| row.adapter).map(|adapter| adapter.connection)
}

/// Whether `pattern` names `name`.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*').map(|begins| (begins.strip_prefix('*'), begins)) {
        Some((Some(part), _)) => name.contains(part),
        Some((None, begins)) => name.starts_with(begins),
        None => pattern == name,
    }
}
