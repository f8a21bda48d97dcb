//! What is measured, and what others find out while the call goes on.

use std::time::Duration;

use switchboard_filters::Filter;
use switchboard_model::{
    agents::{AgentConfig, Hook, Instruction},
    conversations::{Conversation, EndedReason},
    events::EventName,
};

use crate::world::{Answer, FAST, Phone, STOP, World, greeting, quiet};

#[tokio::test]
async fn the_log_says_how_long_the_caller_waited_for_answers() {
    let world = World::new(greeting("Hello, this is Ada."), FAST).await;
    let worker = world.worker().await;
    let phone = Phone::connect(worker.address).await;
    world.until_messages(1).await;
    for turn in 1..=2 {
        world.vendors.answer_with(Answer::Words("At six."));
        world.vendors.hear("What time do you close?").await;
        world.until_messages(1 + 2 * turn).await;
    }
    phone.send(STOP).await;
    assert_eq!(world.ended().await.1, EndedReason::UserEnded);
    let events = world.events().await;
    let last = events.last().unwrap();
    assert_eq!(last.name, EventName::Ended);
    let [note] = &last.faults[..] else { panic!("{:?}", last.faults) };
    assert!(note.starts_with("2 answers: response p50 "), "{note}");
    let slowest = events.iter().filter_map(|event| event.data["latency"]["response_ms"].as_u64()).max();
    assert!(note.contains(&format!("p95 {} ms (transcript ", slowest.unwrap())), "{note}");
    let others: Vec<_> = events[..events.len() - 1].iter().flat_map(|event| &event.faults).collect();
    assert!(others.is_empty(), "nothing failed: {others:?}");
}

#[tokio::test]
async fn a_call_without_answers_has_no_such_note() {
    let world = World::new(quiet(), FAST).await;
    let worker = world.worker().await;
    let phone = Phone::connect(worker.address).await;
    world.started().await;
    phone.send(STOP).await;
    world.ended().await;
    assert_eq!(world.notes().await, [""; 0]);
}

#[tokio::test]
async fn a_machine_that_answered_is_known_to_the_filters_of_what_happens_next() {
    let hook = Hook {
        events: vec![EventName::SpeechStarted],
        filter: Some(Filter::parse("phone_call.answered_by == 'machine_start'").unwrap()),
        instructions: vec![Instruction::HangUp],
    };
    let agent = AgentConfig { hooks: vec![hook], ..greeting("Hello, this is Ada.") };
    let world = World::new(agent, FAST).await;
    let worker = world.worker().await;
    let phone = Phone::connect(worker.address).await;
    world.until_messages(1).await;
    world.vendors.answer_with(Answer::Words("At six."));
    world.vendors.hear("What time do you close?").await;
    world.until_messages(3).await;
    assert_eq!(phone.seen().closed, None, "nobody knows yet");

    let call = world.conversation().await.carrier_call_id.unwrap();
    world.change(|before| before.conversation.record_answered_by(&call, "machine_start")).await;
    let mut messages = 3;
    // The worker looks once a second.
    while world.conversation().await.ended().is_none() {
        world.vendors.answer_with(Answer::Words("At six."));
        world.vendors.hear_until("And on Sunday?", Duration::from_secs(1), true);
        messages += 2;
        let is_so = |now: &Conversation| now.next_message > messages || now.ended().is_some();
        world.until("answered or over", is_so).await;
    }
    assert_eq!(world.ended().await.1, EndedReason::AgentEnded);
}
