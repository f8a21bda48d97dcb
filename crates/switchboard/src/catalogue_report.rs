//! `switchboard providers`: the catalogue, and who serves each provider in this environment.

use std::io::Write as _;

use jiff::civil::Date;
use serde_json::{Value, json};
use switchboard_model::catalogue::{
    self, Fallback, Model, Occasion, PRICES_AS_OF, Price, ROWS, Row, Service,
};
use switchboard_runtime::{Vars, now};

use crate::devstack::{HostEnvironment, Source, key_variable};
use crate::operate::output::table;

/// Lists the providers.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Prints the list.
///
/// # Errors
///
/// An address in the environment is none, or the output cannot be written.
pub(crate) fn run(arguments: &Args) -> anyhow::Result<()> {
    let host = HostEnvironment::read(&Vars::from_env());
    let report = Report::new(&host, now().date())?;
    let mut out = std::io::stdout().lock();
    if arguments.json {
        writeln!(out, "{:#}", report.json())?;
    } else {
        write!(out, "{}", report.text())?;
    }
    Ok(())
}

/// The catalogue as seen from one environment on one day.
struct Report {
    providers: Vec<Provider>,
    fallbacks: Vec<Fallback>,
    today: Date,
}

/// A row of the catalogue.
struct Provider {
    row: &'static Row,
    /// None: the row has no adapter.
    source: Option<Source>,
    has_key: bool,
}

impl Report {
    fn new(host: &HostEnvironment, today: Date) -> anyhow::Result<Self> {
        let provider = |row: &&'static Row| {
            let Some(adapter) = row.adapter else {
                return Ok(Provider { row, source: None, has_key: false });
            };
            let has_key = host.keys_of(adapter.connection).is_some();
            Ok(Provider { row, source: Some(Source::of(adapter.connection, host)?), has_key })
        };
        let providers = ROWS.iter().map(provider).collect::<anyhow::Result<_>>()?;
        Ok(Self { providers, fallbacks: catalogue::fallbacks(), today })
    }

    fn text(&self) -> String {
        let providers = self.providers.iter().map(|provider| {
            let row = provider.row;
            let source =
                provider.source.as_ref().map_or_else(|| "no adapter".to_owned(), ToString::to_string);
            let key = if provider.has_key { "set" } else { "-" };
            [name(row), source, key.to_owned(), provider.variables().join(" ")]
        });
        let models = self.providers.iter().flat_map(|provider| {
            let row = provider.row;
            let listed = row.models.iter().map(move |model| {
                [name(row), model.name.to_owned(), self.price(model), self.last_day(model)]
            });
            listed.chain([[name(row), "(other models)".to_owned(), price(row.unlisted), String::new()]])
        });
        let fallbacks = self.fallbacks.iter().map(|Fallback { role, asked, served, when, from }| {
            let when = match (when, from) {
                (_, Some(date)) => format!("from {date}"),
                (Occasion::Unavailable, None) => "it fails, or has no key".to_owned(),
                (Occasion::Always | Occasion::Retired, None) => "always".to_owned(),
            };
            [(*role).to_owned(), asked.clone(), served.clone(), when]
        });
        format!(
            "{}\n{}\nList prices as published on {PRICES_AS_OF}.\n\n{}",
            table(["PROVIDER", "HERE", "KEY", "VARIABLES"], providers, ""),
            table(["PROVIDER", "MODEL", "PRICE (USD)", "LAST DAY"], models, ""),
            table(["FALLBACK OF", "ASKED", "SERVED", "WHEN"], fallbacks, "")
        )
    }

    /// The price today, and those that are announced.
    fn price(&self, model: &Model) -> String {
        let later = model.later_prices.iter().filter(|(first, _)| *first > self.today);
        later.fold(price(model.price_on(self.today)), |text, (first, later)| {
            format!("{text}; from {first} {}", price(*later))
        })
    }

    fn last_day(&self, model: &Model) -> String {
        let Some(date) = model.retires_on else { return String::new() };
        if date <= self.today { format!("{date} (past)") } else { date.to_string() }
    }

    fn json(&self) -> Value {
        let providers = self.providers.iter().map(|provider| {
            let row = provider.row;
            let models = row.models.iter().map(|model| {
                let later = model.later_prices.iter().filter(|(first, _)| *first > self.today);
                let later = later
                    .map(|(first, price)| json!({ "from": first.to_string(), "price": price_json(*price) }));
                json!({
                    "model": model.name, "price": price_json(model.price_on(self.today)),
                    "later_prices": later.collect::<Vec<_>>(),
                    "retires_on": model.retires_on.map(|date| date.to_string()),
                })
            });
            json!({
                "service": row.service.as_str(), "provider": row.provider,
                "served_by": provider.source, "has_key": provider.has_key,
                "variables": provider.variables(), "models": models.collect::<Vec<_>>(),
                "price_of_other_models": price_json(row.unlisted), "successor": row.successor,
            })
        });
        json!({
            "date": self.today.to_string(), "prices_as_of": PRICES_AS_OF.to_string(),
            "providers": providers.collect::<Vec<_>>(), "fallbacks": self.fallbacks,
        })
    }
}

impl Provider {
    /// The variables that make it real: its keys and its address.
    fn variables(&self) -> Vec<String> {
        let Some(adapter) = self.row.adapter else { return vec![] };
        let keys = adapter.connection.keys.iter().map(|key| key_variable(key));
        keys.chain([adapter.connection.url_variable.to_owned()]).collect()
    }
}

fn name(row: &Row) -> String {
    let service = match row.service {
        Service::LanguageModel => "model",
        service => service.as_str(),
    };
    format!("{service} {}", row.provider)
}

fn price(price: Price) -> String {
    match price {
        Price::Tokens(prices) => format!(
            "{} in, {} cached, {} out per million tokens",
            prices.input.normalize(),
            prices.cached_input.normalize(),
            prices.output.normalize()
        ),
        Price::Minute(minute) => format!("{} a minute", minute.normalize()),
        Price::ThousandCharacters(thousand) => format!("{} per thousand characters", thousand.normalize()),
        Price::Call(_) => "by number".to_owned(),
    }
}

fn price_json(price: Price) -> Value {
    match price {
        Price::Tokens(prices) => json!({
            "per": "million tokens", "input": prices.input.to_string(),
            "cached_input": prices.cached_input.to_string(), "cache_write": prices.cache_write.to_string(),
            "output": prices.output.to_string(),
        }),
        Price::Minute(minute) => json!({ "per": "minute", "price": minute.to_string() }),
        Price::ThousandCharacters(thousand) => {
            json!({ "per": "thousand characters", "price": thousand.to_string() })
        }
        Price::Call(_) => json!({ "per": "call" }),
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    fn report<const N: usize>(variables: [(&str, &str); N]) -> Report {
        report_on(date(2026, 11, 30), variables)
    }

    fn report_on<const N: usize>(today: Date, variables: [(&str, &str); N]) -> Report {
        Report::new(&HostEnvironment::read(&Vars::from(variables)), today).unwrap()
    }

    fn provider(report: &Value, service: &str, provider: &str) -> Value {
        let all = report["providers"].as_array().unwrap();
        all.iter().find(|row| row["service"] == service && row["provider"] == provider).unwrap().clone()
    }

    #[test]
    fn every_row_is_listed_with_its_models_and_fallbacks() {
        let report = report([]);
        let (text, json) = (report.text(), report.json());
        for row in ROWS {
            let listed = provider(&json, row.service.as_str(), row.provider);
            assert_eq!(listed["models"].as_array().unwrap().len(), row.models.len());
            assert_eq!(listed["served_by"].is_null(), row.adapter.is_none());
            assert!(text.contains(&name(row)), "{}", row.provider);
        }
        assert_eq!(json["fallbacks"].as_array().unwrap().len(), catalogue::fallbacks().len());
        assert!(text.contains("0.75 in, 0.075 cached, 3.75 out per million tokens"), "{text}");
        assert!(text.contains("2026-10-16 (past)") && text.contains("2027-05-07\n"), "{text}");
    }

    #[test]
    fn prices_are_those_of_the_day_and_the_announced_ones_have_theirs() {
        let model = |report: &Report| {
            let google = provider(&report.json(), "language_model", "google");
            let models = google["models"].as_array().unwrap();
            models.iter().find(|model| model["model"] == "gemini-3.8-flash*").unwrap().clone()
        };
        let (before, after) = (report([]), report_on(date(2027, 1, 1), []));
        assert_eq!(before.json()["prices_as_of"], "2026-11-30");
        assert!(before.text().contains("List prices as published on 2026-11-30."));
        assert!(
            before.text().contains("3.75 out per million tokens; from 2027-01-01 1.5 in"),
            "{}",
            before.text()
        );
        let announced = &model(&before)["later_prices"][0];
        assert_eq!(
            (&announced["from"], &announced["price"]["output"]),
            (&json!("2027-01-01"), &json!("7.500"))
        );
        assert_eq!(model(&after)["price"], announced["price"]);
        assert_eq!(model(&after)["later_prices"], json!([]));
    }

    #[test]
    fn a_key_or_an_address_is_seen_and_no_key_is_shown() {
        let json =
            report([("GOOGLE_API_KEY", "secret-1"), ("OPENAI_API_URL", "http://127.0.0.1:11434/v1/")]).json();
        let google = provider(&json, "language_model", "google");
        assert_eq!((&google["served_by"], &google["has_key"]), (&json!("vendor"), &json!(true)));
        assert_eq!(google["variables"], json!(["GOOGLE_API_KEY", "GOOGLE_API_URL"]));
        let openai = provider(&json, "language_model", "openai");
        assert_eq!(openai["served_by"], json!({"address": "http://127.0.0.1:11434/v1"}));
        assert_eq!(openai["has_key"], json!(false));
        assert_eq!(provider(&json, "voice", "deepgram")["served_by"], "sandbox");
        let keys = [("PLAYHT_API_KEY", "secret-2"), ("PLAYHT_USER_ID", "u")];
        let json = report(keys).json();
        let playht = provider(&json, "voice", "playht");
        assert_eq!(playht["served_by"], "sandbox", "its service has ended");
        assert!(!json.to_string().contains("secret-1"));
    }
}
