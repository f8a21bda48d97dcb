//! The fallback table of `GET /`: who serves in the place of whom, and when.

use jiff::civil::Date;
use serde::Serialize;

use super::{ROWS, Row, Service, chains, elevenlabs};

/// One row of the fallback table. `*` at the end of a name stands for any ending.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fallback {
    /// `language_model`, `transcriber` or `voice`.
    pub role: &'static str,
    /// `provider/model` in the agent's configuration.
    pub asked: String,
    /// `provider/model` that serves it.
    pub served: String,
    /// When it serves.
    pub when: Occasion,
    /// The first day of the fallback, `YYYY-MM-DD` in UTC, which may be to come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

/// When a fallback serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Occasion {
    /// Always.
    Always,
    /// From the day on on which the vendor retires the model.
    Retired,
    /// While the provider fails, and in a deployment that has no key for it. A voice depends on the language, too; this
    /// is the one for English.
    Unavailable,
}

/// The fallback table. The first row that matches a name and can serve counts.
#[must_use]
pub fn fallbacks() -> Vec<Fallback> {
    ROWS.iter().copied().flat_map(of_row).collect()
}

fn of_row(row: &'static Row) -> Vec<Fallback> {
    let fallback = |name, provider: &str, model: &str, when, from: Option<Date>| Fallback {
        role: row.service.as_str(),
        asked: format!("{}/{name}", row.provider),
        served: format!("{provider}/{model}"),
        when,
        from: from.map(|date| date.to_string()),
    };
    let when = if row.adapter.is_some() { Occasion::Unavailable } else { Occasion::Always };
    let rules = row.fallbacks.iter();
    let rules = rules.map(|rule| fallback(rule.name, rule.provider, rule.model, when, None));
    let retired = row.models.iter().filter_map(|model| {
        Some(fallback(model.name, row.provider, row.successor?, Occasion::Retired, Some(model.retires_on?)))
    });
    let is_elevenlabs = row.service == Service::Voice && row.provider == "elevenlabs";
    let premade = elevenlabs::PREMADE
        .iter()
        .filter(|_| is_elevenlabs)
        .map(|voice| fallback(voice.name, "deepgram", voice.aura, Occasion::Retired, Some(voice.retires_on)));
    let mut all: Vec<_> = rules.chain(retired).chain(premade).collect();
    if let Some(adapter) = row.adapter {
        let stand_ins = chains::order(row.service).into_iter().filter(|(provider, _)| {
            let other = super::row(row.service, provider).and_then(|row| row.adapter);
            other.is_some_and(|other| other.connection != adapter.connection)
        });
        all.extend(stand_ins.map(|(provider, model)| {
            let model = if model.is_empty() { "*" } else { &model };
            fallback("*", provider, model, Occasion::Unavailable, None)
        }));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_lists_providers_with_their_models() {
        let table = fallbacks();
        let row = |role, asked: &str, served: &str, when, from: Option<&str>| Fallback {
            role,
            asked: asked.into(),
            served: served.into(),
            when,
            from: from.map(str::to_owned),
        };
        let luna = "openai/gpt-6-luna";
        let retired = |model: &str, day| row("language_model", model, luna, Occasion::Retired, Some(day));
        assert!(table.contains(&retired("openai/gpt-3.5*", "2026-10-23")));
        assert!(table.contains(&retired("openai/o3", "2026-12-11")));
        for (role, asked, served) in [
            ("language_model", "google/*", luna),
            ("transcriber", "azure/*", "deepgram/nova-3"),
            ("voice", "rime/*", "deepgram/aura-2-thalia-en"),
        ] {
            let is_it = |row: &&Fallback| (row.role, row.asked.as_str()) == (role, asked);
            assert_eq!(table.iter().find(is_it).map(|row| row.served.as_str()), Some(served));
        }
        assert!(table.iter().all(|row| row.asked.split('/').next() != row.served.split('/').next()
            || row.when == Occasion::Retired));
    }
}
