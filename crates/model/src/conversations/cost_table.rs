//! Whole calls whose cost was calculated by hand: the arithmetic is in `cost_table.json`, and is calculated again here.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::{Value, json};

use super::*;
use crate::{
    carriers::{CarrierCallId, CarrierName},
    conversations::LegId,
    costs::Usd,
    ids::{AccountId, ConversationId},
};

const TABLE: &str = include_str!("cost_table.json");

/// USD per minute of the deployment's agent in all calls.
const AGENT_PER_MINUTE: &str = "0.05";

/// One call.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Call {
    name: String,
    direction: String,
    to: Option<String>,
    /// The day of the call, if the prices of another one than that of the list are meant.
    day: Option<String>,
    #[serde(default)]
    imported: bool,
    /// The parts of the agent that differ from the default.
    #[serde(default)]
    agent: Value,
    /// From the answer to the start of the media, and from there to the end.
    milliseconds: [i64; 2],
    /// The members of the usage that are not zero.
    usage: Value,
    /// `arithmetic = result` by part. A part that is not named costs nothing.
    cost: BTreeMap<String, String>,
    /// The total, to the tenth of a cent.
    total: String,
    /// The provider of each part that is not the default one.
    #[serde(default)]
    served: BTreeMap<String, String>,
    /// The parts whose cost is an estimate.
    #[serde(default)]
    estimated: Vec<String>,
}

#[test]
fn calls_cost_what_was_calculated_by_hand() {
    let calls: Vec<Call> = serde_json::from_str(TABLE).unwrap();
    assert!(calls.len() >= 16);
    for call in &calls {
        check(call);
    }
}

fn check(call: &Call) {
    let name = &call.name;
    let cost = breakdown(call);
    let telephony = cost.telephony.as_ref();
    let parts = [
        ("agent", cost.agent.cost, cost.agent.provider.as_str(), cost.agent.estimated),
        (
            "language_model",
            cost.language_model.cost,
            cost.language_model.provider.as_str(),
            cost.language_model.estimated,
        ),
        (
            "transcriber",
            cost.transcriber.cost,
            cost.transcriber.provider.as_str(),
            cost.transcriber.estimated,
        ),
        ("voice", cost.voice.cost, cost.voice.provider.as_str(), cost.voice.estimated),
        (
            "telephony",
            telephony.map_or(Usd::ZERO, |telephony| telephony.cost),
            telephony.map_or("none", |telephony| telephony.provider.as_str()),
            telephony.is_some_and(|telephony| telephony.estimated),
        ),
    ];
    let defaults = ["voiceos", "openai", "deepgram", "deepgram", "twilio"];
    let mut sum = Decimal::ZERO;
    for ((part, cost, provider, estimated), default) in parts.into_iter().zip(defaults) {
        let by_hand = call.cost.get(part).map_or(Decimal::ZERO, |text| calculate(name, text));
        assert_eq!(cost, Usd::rounded(by_hand), "{name}: {part}");
        sum += by_hand;
        let served = call.served.get(part).map_or(default, String::as_str);
        assert_eq!(provider, served, "{name}: {part}");
        assert_eq!(estimated, call.estimated.iter().any(|one| one == part), "{name}: {part}");
    }
    let tenth_of_a_cent = |amount: Decimal| amount.round_dp(3).normalize();
    assert_eq!(tenth_of_a_cent(sum), call.total.parse::<Decimal>().unwrap().normalize(), "{name}");
    let total: Decimal = serde_json::from_value(json!(cost.total)).unwrap();
    assert_eq!(tenth_of_a_cent(total), tenth_of_a_cent(sum), "{name}");
    let served = cost.served_by.iter().map(|one| one.cost).fold(Usd::ZERO, std::ops::Add::add);
    assert_eq!(served, cost.language_model.cost + cost.transcriber.cost + cost.voice.cost, "{name}");
}

/// Calculates `1000 * 0.10 / 1000000 + 2 * 0.5 = 1.0001`, and checks the result that stands there.
fn calculate(name: &str, text: &str) -> Decimal {
    let (arithmetic, result) = text.split_once('=').unwrap_or_else(|| panic!("{name}: {text}"));
    let number = |text: &str| text.trim().parse::<Decimal>().unwrap_or_else(|_| panic!("{name}: {text}"));
    let product = |term: &str| {
        let mut factors = term.split('/');
        let product = factors.next().unwrap().split('*').map(number).product::<Decimal>();
        factors.map(number).fold(product, |product, divisor| product / divisor)
    };
    let sum: Decimal = arithmetic.split('+').map(product).sum();
    assert_eq!(Usd::rounded(sum), Usd::rounded(number(result)), "{name}: {text}");
    sum
}

fn breakdown(call: &Call) -> CostBreakdown {
    let noon = |day: &str| format!("{day}T12:00:00Z").parse::<jiff::Timestamp>().unwrap().as_millisecond();
    let begins = call.day.as_deref().map_or(1_796_040_000_000, noon);
    let at = |ms| Timestamp::from_millis(begins + ms);
    let agent: AgentConfig = merged(&json!(AgentConfig::default()), &call.agent);
    let usage = merged(&json!(crate::costs::Usage::default()), &call.usage);
    let (id, account) = (ConversationId::new(at(0), 1), AccountId::new(at(0), 2));
    let [ringing, talking] = call.milliseconds;
    let prices = Prices { agent_per_minute: AGENT_PER_MINUTE.parse().unwrap() };
    let carrier_call = CarrierCallId::new(CarrierName::Twilio, "CA1").unwrap();
    let other = "+14155550199".parse().unwrap();
    let to = || call.to.as_deref().unwrap().parse().unwrap();
    let answered = match call.direction.as_str() {
        "web" => {
            let rates = catalogue::rates(&agent, at(0).date());
            let ms = u64::try_from(talking).unwrap();
            return costs::breakdown(&usage, &rates, &prices, ms, &[]);
        }
        "inbound" => Conversation::inbound(id, account, to(), other, carrier_call.clone(), at(0))
            .with_own_carrier(call.imported)
            .accept_inbound(&agent, String::new(), vec![], vec![], at(0)),
        _ => Conversation::outbound(id, account, None, to(), other, at(0))
            .with_own_carrier(call.imported)
            .mark_dialing(LegId::CALLER, &agent, String::new(), at(0))
            .and_then(|dialing| {
                dialing.conversation.mark_answered(LegId::CALLER, &agent, &carrier_call, at(0))
            }),
    };
    let mut started = answered.unwrap().conversation;
    if talking > 0 {
        let start = started.mark_started(LegId::CALLER, &agent, &carrier_call, at(ringing));
        started = start.unwrap().conversation;
    }
    started.usage = usage;
    started.cost(&agent, &prices, at(ringing + talking))
}

/// The members of `changes` in the place of those of `base`.
fn merged<T: serde::de::DeserializeOwned>(base: &Value, changes: &Value) -> T {
    let mut merged = base.clone();
    for (name, value) in changes.as_object().into_iter().flatten() {
        merged[name] = value.clone();
    }
    // A stand-in's usage has the members that are not zero, too.
    for stand_in in merged.get_mut("stand_ins").and_then(Value::as_array_mut).into_iter().flatten() {
        let mut used = json!(crate::costs::Usage::default());
        for (name, value) in stand_in["used"].as_object().into_iter().flatten() {
            used[name] = value.clone();
        }
        stand_in["used"] = used;
    }
    serde_json::from_value(merged).unwrap()
}
