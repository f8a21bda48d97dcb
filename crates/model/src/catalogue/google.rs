//! Google Gemini. No adapter yet.

use super::{Model, Price, Row, Service, openai};

pub(super) static LANGUAGE_MODEL: Row = Row {
    provider: "google",
    service: Service::LanguageModel,
    about: "Google Gemini.",
    adapter: None,
    models: &[
        Model::new("gemini-3.5-flash-lite*", Price::millis_per_million_tokens(300, 30, 2_500)),
        Model::new("gemini-3.1-flash-lite*", Price::millis_per_million_tokens(250, 25, 1_500)),
        Model::new("gemini-2.5*", FLASH).retired(2026, 10, 16),
        Model::new("gemini-2.0*", FLASH).retired(2026, 6, 1),
        Model::new("gemini*", FLASH),
    ],
    unlisted: FLASH,
    fallbacks: &[openai::by_luna("*")],
    successor: None,
};

const FLASH: Price = Price::millis_per_million_tokens(750, 75, 3_750);
