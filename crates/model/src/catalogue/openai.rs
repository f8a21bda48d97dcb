//! `OpenAI`.

use super::{Adapter, Capabilities, Connection, FallbackRule, Model, Price, Row, Service};

const CONNECTION: Connection = Connection {
    provider: "openai",
    keys: &["openai_api_key"],
    is_required: false,
    url_variable: "OPENAI_API_URL",
    default_url: "https://api.openai.com/v1",
};

/// The price of `gpt-6-luna`, and of a model that is not listed.
pub(super) const SMALL: Price = Price::millis_per_million_tokens(100, 10, 500);

pub(super) static LANGUAGE_MODEL: Row = Row {
    provider: "openai",
    service: Service::LanguageModel,
    adapter: Some(Adapter { connection: &CONNECTION, capabilities: Capabilities::LanguageModel }),
    models: &[
        Model::new("gpt-6-luna*", SMALL),
        Model::new("gpt-6-sol*", Price::millis_per_million_tokens(2_000, 200, 10_000)),
        Model::new("gpt-6.1-sol*", Price::millis_per_million_tokens(2_000, 100, 10_000)),
        Model::new("gpt-6.1-terra*", Price::millis_per_million_tokens(1_000, 50, 5_000)),
        Model::new("gpt-5.6-luna*", Price::millis_per_million_tokens(200, 20, 1_200)),
        Model::new("gpt-5.6-terra*", Price::millis_per_million_tokens(2_000, 200, 12_000)),
        Model::new("gpt-5.1*", SMALL).retired(2027, 4, 1),
        Model::new("gpt-5", SMALL).retired(2026, 12, 11),
        Model::new("gpt-5-mini*", SMALL).retired(2026, 12, 11),
        Model::new("gpt-5-nano*", SMALL).retired(2026, 12, 11),
        Model::new("gpt-4o-mini*", Price::millis_per_million_tokens(150, 75, 600)).retired(2027, 1, 14),
        Model::new("gpt-4o-2024-05-13", GPT_4O).retired(2026, 10, 23),
        Model::new("gpt-4o*", GPT_4O).retired(2027, 1, 14),
        Model::new("gpt-4.1-mini*", Price::millis_per_million_tokens(400, 100, 1_600)).retired(2027, 1, 14),
        Model::new("gpt-4.1-nano*", GPT_4_1).retired(2026, 10, 23),
        Model::new("gpt-4.1*", GPT_4_1).retired(2027, 1, 14),
        Model::new("gpt-4-turbo*", Price::millis_per_million_tokens(10_000, 10_000, 30_000))
            .retired(2026, 10, 23),
        Model::new("gpt-4*", Price::millis_per_million_tokens(30_000, 30_000, 60_000)).retired(2026, 10, 23),
        Model::new("gpt-3.5-turbo*", Price::millis_per_million_tokens(500, 500, 1_500)).retired(2026, 10, 23),
        Model::new("o1*", SMALL).retired(2026, 10, 23),
        Model::new("o3-mini*", SMALL).retired(2026, 10, 23),
        Model::new("o3*", SMALL).retired(2026, 12, 11),
        Model::new("o4-mini*", SMALL).retired(2026, 10, 23),
    ],
    unlisted: SMALL,
    fallbacks: &[by_luna("gpt-3.5*"), by_luna("gpt-4-*"), by_luna("gpt-4")],
};

const GPT_4O: Price = Price::millis_per_million_tokens(2_500, 1_250, 10_000);
const GPT_4_1: Price = Price::millis_per_million_tokens(2_000, 500, 8_000);

/// The vendor's own successor of its retired chat models.
pub(super) const fn by_luna(name: &'static str) -> FallbackRule {
    FallbackRule { name, provider: "openai", model: "gpt-6-luna" }
}
