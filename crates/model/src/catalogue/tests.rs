//! Invariants of every row.

use std::collections::BTreeSet;

use super::*;
use crate::{carriers::CarrierName, credentials::Provider};

#[test]
fn every_fallback_ends_at_a_provider_with_an_adapter() {
    for row in ROWS {
        for rule in row.fallbacks {
            let server = super::row(row.service, rule.provider).expect("the server has a row");
            assert!(server.adapter.is_some(), "{rule:?} ends at a provider without an adapter");
            assert_eq!(server.fallback(rule.model), None, "{rule:?} is served by a fallback itself");
        }
    }
}

#[test]
fn a_provider_without_an_adapter_falls_back_for_every_name() {
    for row in ROWS.iter().filter(|row| row.adapter.is_none()) {
        assert_eq!(row.fallbacks.last().map(|rule| rule.name), Some("*"), "{}", row.provider);
    }
}

#[test]
fn every_model_and_fallback_can_be_reached() {
    for row in ROWS {
        let models: Vec<&str> = row.models.iter().map(|model| model.name).collect();
        let fallbacks: Vec<&str> = row.fallbacks.iter().map(|rule| rule.name).collect();
        for names in [models, fallbacks] {
            for (index, name) in names.iter().enumerate() {
                let sample = name.trim_end_matches('*');
                let first = names.iter().position(|other| matches(other, sample));
                assert_eq!(first, Some(index), "{name} is hidden by an earlier row of {}", row.provider);
            }
        }
    }
}

#[test]
fn rows_keys_and_variables_are_unique() {
    let mut rows = BTreeSet::new();
    assert!(ROWS.iter().all(|row| rows.insert((row.service, row.provider))));
    let connections = connections();
    let keys: Vec<_> = connections.iter().flat_map(|connection| connection.keys).collect();
    assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), keys.len());
    let variables: BTreeSet<_> = connections.iter().map(|connection| connection.url_variable).collect();
    assert_eq!(variables.len(), connections.len());
}

#[test]
fn a_row_has_the_price_and_capabilities_of_its_service() {
    for row in ROWS {
        let later = row.models.iter().flat_map(|model| model.later_prices).map(|(_, price)| *price);
        let prices = row.models.iter().map(|model| model.price).chain(later).chain([row.unlisted]);
        for price in prices {
            let fits = match row.service {
                Service::Carrier => matches!(price, Price::Call(_)),
                Service::LanguageModel => matches!(price, Price::Tokens(_)),
                Service::Transcriber => matches!(price, Price::Minute(_)),
                Service::Voice => matches!(price, Price::ThousandCharacters(_)),
            };
            assert!(fits, "{price:?} of {}", row.provider);
        }
        let Some(adapter) = row.adapter else { continue };
        assert_eq!(connection(row.provider), Some(adapter.connection));
        assert_eq!(connection(adapter.connection.provider), Some(adapter.connection));
        assert!(matches!(
            (row.service, adapter.capabilities),
            (Service::Carrier, Capabilities::Carrier)
                | (Service::LanguageModel, Capabilities::LanguageModel)
                | (Service::Transcriber, Capabilities::Transcriber(_))
                | (Service::Voice, Capabilities::Voice(_))
        ));
    }
}

#[test]
fn every_carrier_is_catalogued_with_its_prices() {
    let names: Vec<&str> = CarrierName::ALL.iter().map(|carrier| carrier.as_str()).collect();
    assert_eq!(names, providers(Service::Carrier));
    assert!(names.iter().all(|name| call_tariff(name).is_some()));
    assert_eq!(call_tariff("deepgram"), None);
}

#[test]
fn a_customer_can_store_a_key_of_every_provider_of_an_agent() {
    let mut names: Vec<&str> = vec![];
    for row in ROWS.iter().filter(|row| row.service != Service::Carrier) {
        if !names.contains(&row.provider) {
            names.push(row.provider);
        }
    }
    assert_eq!(names, Provider::ALL.map(Provider::as_str));
}

#[test]
fn a_template_parameter_is_named_like_the_variable() {
    let names = |connection: &Connection| (connection.url_variable, connection.template_parameter());
    assert_eq!(connection("openai").map(names), Some(("OPENAI_API_URL", "OpenaiApiUrl".into())));
}

#[test]
fn services_list_their_providers_in_the_order_of_the_api() {
    assert_eq!(providers(Service::LanguageModel), ["openai", "google"]);
    assert_eq!(providers(Service::Transcriber), ["deepgram", "azure"]);
    assert_eq!(providers(Service::Voice), ["playht", "elevenlabs", "azure", "rimeai", "rime", "deepgram"]);
}

#[test]
fn a_model_has_its_languages_and_its_last_day() {
    let nova_3 = row(Service::Transcriber, "deepgram").unwrap().model("nova-3").unwrap();
    assert!(nova_3.languages.contains("de") && !nova_3.languages.contains("de-DE"));
    let retired =
        models(Service::LanguageModel, "openai").iter().find(|model| model.name == "gpt-4").unwrap();
    assert_eq!(retired.retires_on, Some(jiff::civil::date(2026, 10, 23)));
}

#[test]
fn only_a_transcriber_with_an_adapter_has_capabilities() {
    assert!(transcriber_capabilities("deepgram", "nova-3").is_some_and(|nova| !nova.understands_turns));
    assert!(
        transcriber_capabilities("deepgram", "flux-general-en").is_some_and(|flux| flux.understands_turns)
    );
    assert!(transcriber_capabilities("azure", "").is_some_and(|azure| azure.detects_turns));
    assert_eq!(transcriber_capabilities("acme", ""), None);
}

#[test]
fn a_language_may_have_a_price_of_its_own() {
    const PRICES: &[(&str, Price)] = &[("multi", Price::per_minute(58))];
    let model = Model { language_prices: PRICES, ..Model::new("nova-9", Price::per_minute(48)) };
    assert_eq!(model.price_in("multi", PRICES_AS_OF), Price::per_minute(58));
    assert_eq!(model.price_in("en", PRICES_AS_OF), Price::per_minute(48));
}
