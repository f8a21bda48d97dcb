use rust_decimal::Decimal;
use switchboard_filters::Filter;

use super::*;
use crate::{
    agents::{LanguageModel, ModelSettings, Transcriber, Voice},
    carriers::{CarrierCallId, CarrierName},
    conversations::{Conversation, EndedReason, LegId},
    costs::{Usage, Usd},
    event_names::EventName,
    hooks::Hook,
    ids::{AccountId, ConversationId, CredentialId},
};

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(1_795_339_800_000 + ms)
}

fn call() -> CarrierCallId {
    CarrierCallId::new(CarrierName::Twilio, "CA1").unwrap()
}

/// A call to the United States, answered after 3 s, its media flowing half a second later.
fn started(agent: &AgentConfig) -> Conversation {
    let (id, account) = (ConversationId::new(at(0), 1), AccountId::new(at(0), 2));
    let (to, from) = ("+14155550100".parse().unwrap(), "+14155550199".parse().unwrap());
    let conversation = Conversation::outbound(id, account, None, to, from, at(0));
    let conversation =
        conversation.mark_dialing(LegId::CALLER, agent, String::new(), at(0)).unwrap().conversation;
    let conversation =
        conversation.mark_answered(LegId::CALLER, agent, &call(), at(3_000)).unwrap().conversation;
    conversation.mark_started(LegId::CALLER, agent, &call(), at(3_500)).unwrap().conversation
}

fn cost(agent: &AgentConfig, usage: &Usage, prices: &Prices, ended_at: Timestamp) -> CostBreakdown {
    let end = started(agent).end(agent, EndedReason::AgentEnded, &[], usage, prices, ended_at).unwrap();
    end.conversation.ended().unwrap().2.clone()
}

const USAGE: Usage = Usage {
    input_tokens: 3_000,
    cached_input_tokens: 1_000,
    cache_write_tokens: 0,
    output_tokens: 400,
    tokens_estimated: false,
    transcriber_estimated: false,
    characters_estimated: false,
    stand_ins: Vec::new(),
    transcriber_ms: 61_000,
    characters: 500,
};

#[test]
fn each_part_is_priced_by_its_own_measure() {
    let prices = Prices { agent_per_minute: Decimal::new(6, 2) };
    let cost = cost(&AgentConfig::default(), &USAGE, &prices, at(63_500));
    // 60 s of conversation at 0.06 a minute
    assert_eq!((cost.agent.ms, cost.agent.cost.to_string().as_str()), (60_000, "0.060000"));
    // 2,000 at 0.10, 1,000 cached at 0.01, 400 out at 0.50, each a million
    assert_eq!(cost.language_model.cost.to_string(), "0.000410");
    // 61 s at 0.0048 a minute
    assert_eq!(cost.transcriber.cost.to_string(), "0.004880");
    // 500 characters at 0.03 a thousand
    assert_eq!(cost.voice.cost.to_string(), "0.015000");
    // 60.5 s from the answer are two started minutes at 0.014 + 0.004
    let telephony = cost.telephony.unwrap();
    assert_eq!((telephony.ms, telephony.cost.to_string().as_str()), (60_500, "0.036000"));
    assert_eq!(cost.total.to_string(), "0.116290");
}

#[test]
fn machine_detection_costs_extra_on_an_answered_outbound_call() {
    let hook = |filter: &str| Hook {
        events: vec![EventName::Started],
        filter: Some(Filter::parse(filter).unwrap()),
        instructions: vec![],
    };
    let agent = |filter| AgentConfig { hooks: vec![hook(filter)], ..AgentConfig::default() };
    let (asks, asks_not) = (agent("phone_call.answered_by == 'fax'"), agent("metadata.answered_by == 'fax'"));
    let telephony = |agent| cost(agent, &USAGE, &Prices::default(), at(63_500)).telephony.unwrap().cost;
    assert_eq!(telephony(&asks_not).to_string(), "0.036000");
    assert_eq!(telephony(&asks).to_string(), "0.043500");
    let mut own = started(&asks).with_own_carrier(true);
    assert_eq!(own.cost(&asks, &Prices::default(), at(63_500)).telephony.unwrap().cost, Usd::ZERO);
    own = started(&asks);
    own.legs.caller_mut().phone_call.as_mut().unwrap().direction = Direction::Inbound;
    let inbound = own.cost(&asks, &Prices::default(), at(63_500)).telephony.unwrap();
    assert_eq!(inbound.cost, own.cost(&asks_not, &Prices::default(), at(63_500)).telephony.unwrap().cost);
    let leg = own.legs.caller_mut();
    leg.state = LegState::Waiting;
    leg.phone_call.as_mut().unwrap().direction = Direction::Outbound;
    assert_eq!(own.cost(&asks, &Prices::default(), at(63_500)).telephony.unwrap().cost, Usd::ZERO);
}

#[test]
fn the_total_is_the_exact_sum_of_the_rounded_parts() {
    for characters in 0..200 {
        let usage =
            Usage { characters, input_tokens: characters * 7, transcriber_ms: characters * 333, ..USAGE };
        let cost = cost(
            &AgentConfig::default(),
            &usage,
            &Prices::default(),
            at(4_000 + 31 * characters.cast_signed()),
        );
        let parts = [
            cost.agent.cost,
            cost.language_model.cost,
            cost.transcriber.cost,
            cost.voice.cost,
            cost.telephony.unwrap().cost,
        ];
        assert_eq!(cost.total, parts.into_iter().fold(Usd::ZERO, std::ops::Add::add));
    }
}

#[test]
fn a_provider_with_the_customers_key_is_measured_and_free() {
    let credential_id = Some(CredentialId::new(at(0), 3));
    let keywords = vec![];
    let agent = AgentConfig {
        voice: Voice::Deepgram { model: "aura-2-thalia-en".into(), credential_id },
        transcriber: Transcriber::Deepgram {
            model: "nova-3".into(),
            language: "en".into(),
            keywords,
            credential_id,
        },
        language_model: LanguageModel::Openai(ModelSettings { credential_id, ..ModelSettings::default() }),
        ..AgentConfig::default()
    };
    let cost = cost(&agent, &USAGE, &Prices::default(), at(10_000));
    assert_eq!((cost.language_model.cost, cost.language_model.input_tokens), (Usd::ZERO, 3_000));
    assert_eq!((cost.transcriber.cost, cost.transcriber.ms), (Usd::ZERO, 61_000));
    assert_eq!((cost.voice.cost, cost.voice.characters), (Usd::ZERO, 500));
}

#[test]
fn the_successor_of_a_retired_model_is_used_with_the_same_key() {
    let credential_id = Some(CredentialId::new(at(0), 3));
    let retired = ModelSettings { model: "gpt-4".into(), credential_id, ..ModelSettings::default() };
    let agent = AgentConfig { language_model: LanguageModel::Openai(retired), ..AgentConfig::default() };
    assert_eq!(cost(&agent, &USAGE, &Prices::default(), at(10_000)).language_model.cost, Usd::ZERO);
}

#[test]
fn an_inbound_call_is_priced_by_our_number_unless_imported() {
    let agent = AgentConfig::default();
    let (id, account) = (ConversationId::new(at(0), 1), AccountId::new(at(0), 2));
    let (to, from) = ("+14155550199".parse().unwrap(), "+14155550100".parse().unwrap());
    let ringing = Conversation::inbound(id, account, to, from, call(), at(0));
    for (imported, cost) in [(false, "0.025000"), (true, "0.000000")] {
        let call = ringing.clone().with_own_carrier(imported);
        let taken = call.accept_inbound(&agent, String::new(), vec![], vec![], at(0)).unwrap().conversation;
        let telephony = taken.cost(&agent, &Prices::default(), at(60_500)).telephony.unwrap();
        assert_eq!((telephony.ms, telephony.cost.to_string().as_str()), (60_500, cost));
    }
}
