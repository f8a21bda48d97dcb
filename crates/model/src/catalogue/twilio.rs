//! Twilio: list prices of calls.
//!
//! The carrier's pricing API has each account's own prices. A country that is not listed is counted like the United
//! States, which is too little for most.

use rust_decimal::Decimal;

use super::{Adapter, CallPrices, Capabilities, Connection, Price, Row, Service, prices::usd};
use crate::phone_numbers::E164;

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
    adapter: Some(Adapter { connection: &CONNECTION, capabilities: Capabilities::Carrier }),
    models: &[],
    unlisted: Price::Call,
    fallbacks: &[],
    successor: None,
};

/// Outbound calls, by calling code: ten-thousandths of a dollar per started minute. The longest match counts.
const OUTBOUND: &[(&str, u32)] = &[("+1", 140)];
const UNLISTED_OUTBOUND: u32 = 140;

/// Inbound calls, by the beginning of the called number: ten-thousandths of a dollar per started minute. The longest
/// match counts; the longer ones are toll-free numbers, for which the called side pays.
const INBOUND: &[(&str, u32)] = &[
    ("+1", 85),
    ("+1800", 220),
    ("+1833", 220),
    ("+1844", 220),
    ("+1855", 220),
    ("+1866", 220),
    ("+1877", 220),
    ("+1888", 220),
];
const UNLISTED_INBOUND: u32 = 85;

/// Media streams, in ten-thousandths of a dollar per started minute.
const MEDIA_STREAM: u32 = 40;

/// Answering machine detection, in ten-thousandths of a dollar per call.
const MACHINE_DETECTION: u32 = 75;

/// The prices of an outbound call to `to`.
#[must_use]
pub fn outbound_call(to: &E164, detects_machines: bool) -> CallPrices {
    let per_call = if detects_machines { usd(MACHINE_DETECTION, 4) } else { Decimal::ZERO };
    CallPrices { per_started_minute: with_stream(find(OUTBOUND, to).unwrap_or(UNLISTED_OUTBOUND)), per_call }
}

/// The prices of a call to our number `to`.
#[must_use]
pub fn inbound_call(to: &E164) -> CallPrices {
    let per_started_minute = with_stream(find(INBOUND, to).unwrap_or(UNLISTED_INBOUND));
    CallPrices { per_started_minute, per_call: Decimal::ZERO }
}

const fn with_stream(call: u32) -> Decimal {
    usd(call + MEDIA_STREAM, 4)
}

fn find(table: &[(&str, u32)], number: &E164) -> Option<u32> {
    let listed = table.iter().filter(|(prefix, _)| number.as_str().starts_with(prefix));
    listed.max_by_key(|(prefix, _)| prefix.len()).map(|(_, price)| *price)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_includes_its_media_stream() {
        let outbound = outbound_call(&"+14155550100".parse().unwrap(), false);
        assert_eq!(outbound.per_started_minute.to_string(), "0.0180");
        let inbound = |number: &str| inbound_call(&number.parse().unwrap()).per_started_minute.to_string();
        assert_eq!(
            (inbound("+14155550199").as_str(), inbound("+18885550199").as_str()),
            ("0.0125", "0.0260")
        );
    }

    #[test]
    fn machine_detection_is_paid_by_the_call() {
        let to = "+14155550100".parse().unwrap();
        assert_eq!(outbound_call(&to, true).per_call.to_string(), "0.0075");
        assert_eq!(outbound_call(&to, false).per_call, Decimal::ZERO);
    }
}
