//! Response times on the last event, and a verdict that arrives during the call.

use std::time::Duration;

use switchboard_filters::Filter;
use switchboard_model::{
    agents::AgentConfig,
    conversations::{Conversation, EndedReason, LegId},
    event_names::EventName,
    hooks::{Hook, Instruction},
};

use crate::prelude::*;

#[tokio::test(start_paused = true)]
async fn the_last_event_has_the_response_times() {
    let world = World::new(greeting("Hello, this is Ada."), FAST_VOICE).await;
    let worker = world.worker();
    let phone = Phone::connect(&worker.address).await;
    world.conversation.until_messages(1).await;
    for turn in 1..=2 {
        world.providers.respond_with(Response::Words("At six."));
        world.providers.transcribe("What time do you close?").await;
        world.conversation.until_messages(1 + 2 * turn).await;
    }
    phone.send(STOP).await;
    assert_eq!(world.conversation.ended().await.1, EndedReason::UserEnded);
    let events = world.conversation.events().await;
    let last = events.last().unwrap();
    assert_eq!(last.name, EventName::Ended);
    let [note] = &last.faults[..] else { panic!("{:?}", last.faults) };
    assert!(note.starts_with("2 answers: response p50 "), "{note}");
    let slowest = events.iter().filter_map(|event| event.data["latency"]["response_ms"].as_u64()).max();
    assert!(note.contains(&format!("p95 {} ms (transcript ", slowest.unwrap())), "{note}");
    let others: Vec<_> = events[..events.len() - 1].iter().flat_map(|event| &event.faults).collect();
    assert!(others.is_empty(), "nothing failed: {others:?}");
}

#[tokio::test(start_paused = true)]
async fn a_call_without_responses_has_no_response_times() {
    let world = World::new(quiet(), FAST_VOICE).await;
    let worker = world.worker();
    let phone = Phone::connect(&worker.address).await;
    world.conversation.started().await;
    phone.send(STOP).await;
    world.conversation.ended().await;
    assert_eq!(world.conversation.faults().await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn filters_see_the_verdict_on_who_answered() {
    let hook = Hook {
        events: vec![EventName::SpeechStarted],
        filter: Some(Filter::parse("phone_call.answered_by == 'machine_start'").unwrap()),
        instructions: vec![Instruction::HangUp],
    };
    let agent = AgentConfig { hooks: vec![hook], ..greeting("Hello, this is Ada.") };
    let world = World::new(agent, FAST_VOICE).await;
    let worker = world.worker();
    let phone = Phone::connect(&worker.address).await;
    world.conversation.until_messages(1).await;
    world.providers.respond_with(Response::Words("At six."));
    world.providers.transcribe("What time do you close?").await;
    world.conversation.until_messages(3).await;
    assert_eq!(phone.received().closed, None, "there is no verdict yet");

    let call = world.conversation.load().await.legs.caller().carrier_call_id().unwrap().clone();
    world
        .conversation
        .change(|before| before.conversation.record_answered_by(LegId::CALLER, &call, "machine_start"))
        .await;
    let mut messages = 3;
    // The worker reads its signals once a second.
    while world.conversation.load().await.ended().is_none() {
        world.providers.respond_with(Response::Words("At six."));
        world.providers.transcribe_until("And on Sunday?", Duration::from_secs(1), true);
        messages += 2;
        let is_so = |now: &Conversation| now.next_message > messages || now.ended().is_some();
        world.conversation.until("answered or over", is_so).await;
    }
    assert_eq!(world.conversation.ended().await.1, EndedReason::AgentEnded);
}
