//! `OpenAI`.

use super::{Adapter, Capabilities, Connection, Model, Price, Row, Service};

const CONNECTION: Connection = Connection {
    provider: "openai",
    keys: &["openai_api_key"],
    is_required: false,
    url_variable: "OPENAI_API_URL",
    default_url: "https://api.openai.com/v1",
    opt_out_variable: None,
};

/// The price of `gpt-6-luna`. From 5.6 on, cache writes cost a quarter more than other input.
const LUNA: Price = Price::millis_per_million_tokens(100, 10, 500).with_cache_writes(125);

/// The price of a model that is not listed: that of the dearest one that is not retired, so that an unknown cost is
/// never shown too low.
const UNLISTED: Price = TERRA_5_6;

pub(super) static LANGUAGE_MODEL: Row = Row {
    provider: "openai",
    service: Service::LanguageModel,
    about: "OpenAI, or a server that speaks its protocol.",
    adapter: Some(Adapter { connection: &CONNECTION, capabilities: Capabilities::LanguageModel }),
    models: &[
        Model::new("gpt-6-luna*", LUNA),
        Model::new(
            "gpt-6-sol*",
            Price::millis_per_million_tokens(2_000, 200, 10_000).with_cache_writes(2_500),
        ),
        Model::new(
            "gpt-6.1-sol*",
            Price::millis_per_million_tokens(2_000, 100, 10_000).with_cache_writes(2_500),
        ),
        Model::new(
            "gpt-6.1-terra*",
            Price::millis_per_million_tokens(1_000, 50, 5_000).with_cache_writes(1_250),
        ),
        Model::new("gpt-5.6-luna*", Price::millis_per_million_tokens(200, 20, 1_200).with_cache_writes(250)),
        Model::new("gpt-5.6-terra*", TERRA_5_6),
        Model::new("gpt-5.1*", GPT_5).retired(2027, 4, 1),
        Model::new("gpt-5", GPT_5).retired(2026, 12, 11),
        Model::new("gpt-5-2025*", GPT_5).retired(2026, 12, 11),
        Model::new("gpt-5-chat-latest", GPT_5),
        Model::new("gpt-5-mini*", Price::millis_per_million_tokens(250, 25, 2_000)).retired(2026, 12, 11),
        Model::new("gpt-5-nano*", Price::millis_per_million_tokens(50, 5, 400)).retired(2026, 12, 11),
        Model::new("gpt-4o-mini*", Price::millis_per_million_tokens(150, 75, 600)).retired(2027, 1, 14),
        Model::new("gpt-4o-2024-05-13", GPT_4O).retired(2026, 10, 23),
        Model::new("gpt-4o*", GPT_4O).retired(2027, 1, 14),
        Model::new("gpt-4.1-mini*", Price::millis_per_million_tokens(400, 100, 1_600)).retired(2027, 1, 14),
        Model::new("gpt-4.1-nano*", Price::millis_per_million_tokens(100, 25, 400)).retired(2026, 10, 23),
        Model::new("gpt-4.1*", GPT_4_1).retired(2027, 1, 14),
        Model::new("gpt-4-turbo*", Price::millis_per_million_tokens(10_000, 10_000, 30_000))
            .retired(2026, 10, 23),
        Model::new("gpt-4-*", GPT_4).retired(2026, 10, 23),
        Model::new("gpt-4", GPT_4).retired(2026, 10, 23),
        Model::new("gpt-3.5*", Price::millis_per_million_tokens(500, 500, 1_500)).retired(2026, 10, 23),
        Model::new("o1", O1).retired(2026, 10, 23),
        Model::new("o1-*", O1).retired(2026, 10, 23),
        Model::new("o3-mini*", O3_MINI).retired(2026, 10, 23),
        Model::new("o3", O3).retired(2026, 12, 11),
        Model::new("o3-*", O3).retired(2026, 12, 11),
        Model::new("o4-mini*", Price::millis_per_million_tokens(1_100, 275, 4_400)).retired(2026, 10, 23),
    ],
    unlisted: UNLISTED,
    fallbacks: &[],
    // The vendor advises dearer ones for some: gpt-5.6-terra for gpt-3.5-turbo, gpt-5.6-sol for gpt-4 and gpt-4-turbo.
    successor: Some("gpt-6-luna"),
};

const TERRA_5_6: Price = Price::millis_per_million_tokens(2_000, 200, 12_000).with_cache_writes(2_500);
const GPT_5: Price = Price::millis_per_million_tokens(1_250, 125, 10_000);
const O1: Price = Price::millis_per_million_tokens(15_000, 7_500, 60_000);
const O3: Price = Price::millis_per_million_tokens(2_000, 500, 8_000);
const O3_MINI: Price = Price::millis_per_million_tokens(1_100, 550, 4_400);
const GPT_4: Price = Price::millis_per_million_tokens(30_000, 30_000, 60_000);
const GPT_4O: Price = Price::millis_per_million_tokens(2_500, 1_250, 10_000);
const GPT_4_1: Price = Price::millis_per_million_tokens(2_000, 500, 8_000);
