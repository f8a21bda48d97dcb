//! Google Gemini: language models.
//!
//! Prices of the paid tier, standard, with prompts of up to 200,000 tokens, and last days: ai.google.dev/gemini-api/docs
//! (pricing, deprecations), November 2026. Google calls its dates the earliest possible.

use jiff::civil::{Date, date};

use super::{Adapter, Capabilities, Connection, Model, Price, Row, Service};

const CONNECTION: Connection = Connection {
    provider: "google",
    keys: &["google_api_key"],
    is_required: false,
    url_variable: "GOOGLE_API_URL",
    default_url: "https://generativelanguage.googleapis.com/v1beta",
    // The paid tier is not trained on.
    opt_out_variable: None,
};

pub(super) static LANGUAGE_MODEL: Row = Row {
    provider: "google",
    service: Service::LanguageModel,
    about: "Google Gemini.",
    adapter: Some(Adapter { connection: &CONNECTION, capabilities: Capabilities::LanguageModel }),
    models: &[
        Model::new("gemini-4-argon*", Price::millis_per_million_tokens(4_000, 200, 20_000)),
        Model::new("gemini-4-neon*", Price::millis_per_million_tokens(3_000, 150, 15_000)),
        Model::new("gemini-4-hydrogen*", Price::millis_per_million_tokens(1_500, 75, 7_500)),
        Model::new("gemini-3.8-flash*", FLASH).then(FLASH_LATER),
        Model::new("gemini-3.7-flash*", FLASH).then(FLASH_LATER),
        Model::new("gemini-3.6-flash*", FLASH).then(FLASH_LATER),
        Model::new("gemini-3.5-flash-lite*", Price::millis_per_million_tokens(300, 30, 2_500)),
        // Google serves it by 3.6.
        Model::new("gemini-3.5-flash*", FLASH).then(FLASH_LATER),
        Model::new("gemini-3.1-flash-lite-preview*", FLASH_LITE_3_1).retired(2026, 5, 25),
        Model::new("gemini-3.1-flash-lite*", FLASH_LITE_3_1).retired(2027, 5, 7),
        Model::new("gemini-3.1-pro*", PRO_3_1),
        Model::new("gemini-3-pro*", PRO_3_1).retired(2026, 3, 9),
        Model::new("gemini-3-flash*", Price::millis_per_million_tokens(500, 50, 3_000)),
        Model::new("gemini-2.5*", FLASH).retired(2026, 10, 16),
        Model::new("gemini-2.0*", FLASH).retired(2026, 6, 1),
        Model::new("gemini-1*", FLASH).retired(2025, 9, 29),
    ],
    // The dearest of the live ones.
    unlisted: Price::millis_per_million_tokens(4_000, 200, 20_000),
    fallbacks: &[],
    successor: Some("gemini-3.8-flash"),
};

/// A price that was announced until the end of 2026.
const FLASH: Price = Price::millis_per_million_tokens(750, 75, 3_750);
const FLASH_LATER: &[(Date, Price)] =
    &[(date(2027, 1, 1), Price::millis_per_million_tokens(1_500, 150, 7_500))];
const FLASH_LITE_3_1: Price = Price::millis_per_million_tokens(250, 25, 1_500);
const PRO_3_1: Price = Price::millis_per_million_tokens(2_000, 200, 12_000);
