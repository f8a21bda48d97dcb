//! Twilio: telephone calls.
//!
//! The carrier's pricing API has each account's own prices. A country that is not listed is counted at the highest price
//! that the carrier has for landlines and mobiles, so that no spend limit is passed unseen.

use super::{Adapter, CallTariff, Capabilities, Connection, Price, Row, Service};

const CONNECTION: Connection = Connection {
    provider: "twilio",
    keys: &["twilio_account_sid", "twilio_auth_token"],
    // The token checks the signatures of callbacks, so no process may run without it.
    is_required: true,
    url_variable: "TWILIO_API_URL",
    default_url: "https://api.twilio.com",
    opt_out_variable: None,
};

pub(super) static CARRIER: Row = Row {
    provider: "twilio",
    service: Service::Carrier,
    about: "Twilio Programmable Voice.",
    adapter: Some(Adapter { connection: &CONNECTION, capabilities: Capabilities::Carrier }),
    models: &[],
    unlisted: Price::Call(&TARIFF),
    fallbacks: &[],
    successor: None,
};

const TARIFF: CallTariff = CallTariff {
    outbound: &[("+1", 140)],
    // Half a dollar: few countries cost more, and those that do are satellite networks and small islands.
    unlisted_outbound: 5_000,
    // The longer ones are toll-free numbers, for which the called side pays.
    inbound: &[
        ("+1", 85),
        ("+1800", 220),
        ("+1833", 220),
        ("+1844", 220),
        ("+1855", 220),
        ("+1866", 220),
        ("+1877", 220),
        ("+1888", 220),
    ],
    unlisted_inbound: 220,
    media_stream: 40,
    machine_detection: 75,
};

#[cfg(test)]
mod tests {
    use rust_decimal::Decimal;

    use super::*;

    #[test]
    fn a_call_includes_its_media_stream() {
        let outbound = TARIFF.outbound_call(&"+14155550100".parse().unwrap(), false);
        assert_eq!(outbound.per_started_minute.to_string(), "0.0180");
        let inbound =
            |number: &str| TARIFF.inbound_call(&number.parse().unwrap()).per_started_minute.to_string();
        assert_eq!(
            (inbound("+14155550199").as_str(), inbound("+18885550199").as_str()),
            ("0.0125", "0.0260")
        );
    }

    #[test]
    fn an_unlisted_country_costs_the_highest_price() {
        let outbound = TARIFF.outbound_call(&"+4930901820".parse().unwrap(), false).per_started_minute;
        let inbound = TARIFF.inbound_call(&"+4930901820".parse().unwrap()).per_started_minute;
        assert_eq!((outbound.to_string().as_str(), inbound.to_string().as_str()), ("0.5040", "0.0260"));
        assert!(TARIFF.outbound.iter().all(|(_, price)| *price <= TARIFF.unlisted_outbound));
        assert!(TARIFF.inbound.iter().all(|(_, price)| *price <= TARIFF.unlisted_inbound));
    }

    #[test]
    fn machine_detection_is_paid_by_the_call() {
        let to = "+14155550100".parse().unwrap();
        assert_eq!(TARIFF.outbound_call(&to, true).per_call.to_string(), "0.0075");
        assert_eq!(TARIFF.outbound_call(&to, false).per_call, Decimal::ZERO);
    }
}
