//! Calls while the table cannot be reached, and providers that fail for good.

use std::time::Duration;

use switchboard_model::{
    conversations::{EndedReason, Lease, Snapshot},
    costs::Prices,
    messages::Role,
};
use tokio::time::{Instant, sleep};

use crate::prelude::*;

#[tokio::test(start_paused = true)]
async fn a_call_ends_when_its_transcriber_is_lost() {
    let world = World::new(quiet(), FAST_VOICE).await;
    let worker = world.worker();
    let phone = Phone::connect(&worker.address).await;
    world.providers.until("a session", |requests| requests.open_sessions == 1).await;
    world.providers.close_transcriber();
    let (ended, reason) = world.conversation.ended().await;
    phone.closed().await;
    assert_eq!(reason, EndedReason::Unknown);
    assert_eq!(world.carrier.ended_calls()[0], ended.legs.caller().carrier_call_id().unwrap().id());
}

#[tokio::test(start_paused = true)]
async fn a_model_that_fails_twice_is_apologised_for() {
    let world = World::new(quiet(), FAST_VOICE).await;
    let worker = world.worker();
    let _phone = Phone::connect(&worker.address).await;
    world.providers.respond_with(Response::Failure);
    world.providers.respond_with(Response::Failure);
    world.providers.transcribe("What time do you close?").await;
    let messages = world.conversation.until_messages(2).await;
    assert_eq!(world.providers.requests().generations.len(), 2);
    assert!(messages[1].content.starts_with("I'm sorry"), "{messages:?}");

    world.providers.respond_with(Response::Words("At six."));
    world.providers.transcribe("When do you close?").await;
    assert_eq!(world.conversation.until_messages(4).await[3].content, "At six.");
}

/// Runs a call of four turns, during which the table has this fault.
async fn is_stored_afterwards(fault: TableFault) {
    let world = World::new(greeting("Hello, this is Ada."), FAST_VOICE).await;
    let worker = world.worker();
    let phone = Phone::connect(&worker.address).await;
    world.conversation.until_messages(1).await;
    let mut expected = vec![(Role::Agent, "Hello, this is Ada.")];
    for turn in ["One.", "Two.", "Three.", "Four."] {
        if turn == "Two." {
            world.set_table_fault(fault);
        }
        world.providers.respond_with(Response::Words(turn));
        world.providers.transcribe("Go on, please.").await;
        expected.extend([(Role::User, "Go on, please."), (Role::Agent, turn)]);
        // The caller hears the response, whether it is stored or not.
        let said = expected.iter().filter(|(role, _)| *role == Role::Agent).count();
        phone.until("another mark", |received| received.marks() == said).await;
        phone.until("the end of it", |received| received.played == said).await;
        if turn == "One." {
            world.conversation.until_messages(3).await;
        }
    }
    assert_eq!(phone.received().closed, None, "the call continues");
    if fault == TableFault::Unreachable {
        assert_eq!(world.conversation.messages().await.len(), 3, "nothing is stored meanwhile");
        world.set_table_fault(TableFault::None);
    }
    world.conversation.until_messages(9).await;
    phone.send(STOP).await;
    assert_eq!(world.conversation.ended().await.1, EndedReason::UserEnded);
    let said = world.conversation.messages().await;
    let said: Vec<_> = said.iter().map(|message| (message.role, message.content.as_str())).collect();
    assert_eq!(said, expected);
    let events = world.conversation.events().await;
    let ends = events.iter().filter(|event| event.name.as_str() == "conversation:ended").count();
    assert_eq!((ends, events.iter().filter(|event| event.name.as_str() == "message:sent").count()), (1, 9));
}

#[tokio::test(start_paused = true)]
async fn a_call_continues_without_the_table_and_is_stored_later() {
    is_stored_afterwards(TableFault::Unreachable).await;
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_response_was_lost_is_not_repeated() {
    is_stored_afterwards(TableFault::LosesResponses).await;
}

/// Longer than the heartbeats of a lease, shorter than the lease.
const HALF_A_MINUTE: Duration = Duration::from_secs(30);
/// Longer than a lease.
const LONG_OUTAGE: Duration = Duration::from_secs(100);

#[tokio::test(start_paused = true)]
async fn half_a_minute_without_the_table_loses_nothing() {
    an_outage_loses_nothing(HALF_A_MINUTE).await;
}

#[tokio::test(start_paused = true)]
async fn an_outage_longer_than_the_lease_loses_nothing() {
    assert!(LONG_OUTAGE > Lease::DURATION);
    an_outage_loses_nothing(LONG_OUTAGE).await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_ended_during_a_long_outage_ends_once() {
    let world = World::new(greeting("Hello, this is Ada."), FAST_VOICE).await;
    let worker = world.worker();
    let phone = Phone::connect(&worker.address).await;
    world.conversation.until_messages(1).await;
    world.set_table_fault(TableFault::Unreachable);
    world.providers.respond_with(Response::Words("At six."));
    world.providers.transcribe("What time do you close?").await;
    phone.until("the answer", |received| received.played == 2).await;
    sleep(LONG_OUTAGE).await;
    assert_eq!(phone.received().closed, None, "the caller is served meanwhile");
    // The sweeper reaches the table first.
    let ended = |snapshot: &Snapshot| {
        let Snapshot { conversation, agent } = snapshot;
        let (usage, prices) = (&conversation.usage, Prices::default());
        conversation.end(agent, EndedReason::Unknown, &[], usage, &prices, now())
    };
    world.conversation.change(ended).await;
    world.set_table_fault(TableFault::None);
    phone.closed_within(Duration::from_secs(5)).await;
    worker.stop().await.unwrap();
    assert_eq!(world.conversation.ended().await.1, EndedReason::Unknown);
    assert_eq!(world.conversation.messages().await.len(), 1, "an ended conversation is not written to");
    let names: Vec<_> = world.conversation.events().await.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(names.last(), Some(&"conversation:ended"));
    assert_eq!(names.iter().filter(|name| **name == "conversation:ended").count(), 1);
    assert_eq!(world.providers.requests().open_sessions, 0);
}

async fn an_outage_loses_nothing(length: Duration) {
    const TURNS: [&str; 4] = [
        "On Saturday we close at six in the evening.",
        "On Sunday we are closed all day long.",
        "Your cake is in the window for everybody to see.",
        "We are around the corner from the old town hall.",
    ];
    let world = World::new(greeting("Hello, this is Ada."), SLOW_VOICE).await;
    let worker = world.worker();
    let phone = Phone::connect(&worker.address).await;
    world.conversation.until_messages(1).await;
    let held = world.conversation.lease().await.unwrap();
    world.set_table_fault(TableFault::Unreachable);
    let closed = Instant::now();
    let mut expected = vec![(Role::Agent, "Hello, this is Ada.")];
    for turn in TURNS.into_iter().cycle() {
        let is_last = closed.elapsed() > length;
        world.providers.respond_with(Response::Words(turn));
        world.providers.transcribe("Go on, please.").await;
        expected.extend([(Role::User, "Go on, please."), (Role::Agent, turn)]);
        let said = expected.iter().filter(|(role, _)| *role == Role::Agent).count();
        phone.until("the end of what is said", |received| received.played == said).await;
        if is_last {
            break;
        }
    }
    let spoken: usize = world.providers.requests().clauses.iter().map(|text| text.len() * SLOW_VOICE).sum();
    assert!(phone.received().audio().len() >= spoken, "every word was sent");
    assert_eq!(phone.received().closed, None, "the call continues");
    assert_eq!(world.conversation.messages().await.len(), 1, "nothing is stored meanwhile");

    world.set_table_fault(TableFault::None);
    let messages = world.conversation.until_messages(expected.len() as u64).await;
    let written: Vec<_> = messages.iter().map(|message| (message.role, message.content.as_str())).collect();
    assert_eq!(written, expected, "all of them, in order");
    let still = world.conversation.lease().await.unwrap();
    assert_eq!(still.holder, held.holder);
    phone.send(STOP).await;
    assert_eq!(world.conversation.ended().await.1, EndedReason::UserEnded);
    let names: Vec<_> = world.conversation.events().await.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(names.iter().filter(|name| **name == "message:sent").count(), expected.len());
    assert_eq!(names.iter().filter(|name| **name == "conversation:ended").count(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_end_without_the_table_is_stored_later() {
    let world = World::new(greeting("Hello, this is Ada."), FAST_VOICE).await;
    let worker = world.worker();
    let phone = Phone::connect(&worker.address).await;
    world.conversation.until_messages(1).await;
    world.set_table_fault(TableFault::Unreachable);
    phone.send(STOP).await;
    world.providers.until("the end of the session", |requests| requests.open_sessions == 0).await;
    assert_eq!(phone.received().closed, None, "the stream is not closed before the end is stored");
    world.set_table_fault(TableFault::None);
    phone.closed().await;
    assert_eq!(world.conversation.ended().await.1, EndedReason::UserEnded);
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_cannot_be_stored_takes_no_others_with_it() {
    let world = World::new(quiet(), FAST_VOICE).await;
    let worker = world.worker();
    let phone = Phone::connect(&worker.address).await;
    world.conversation.started().await;
    world.set_table_fault(TableFault::Refuses("Two."));
    for (said, turn) in ["One.", "Two.", "Three."].into_iter().enumerate() {
        world.providers.respond_with(Response::Words(turn));
        world.providers.transcribe("Go on, please.").await;
        phone.until("the end of it", |received| received.played == said + 1).await;
    }
    phone.send(STOP).await;
    assert_eq!(world.conversation.ended().await.1, EndedReason::UserEnded);
    let messages = world.conversation.messages().await;
    let said = messages.iter().filter(|message| message.role == Role::Agent);
    assert_eq!(said.map(|message| message.content.as_str()).collect::<Vec<_>>(), ["One.", "Three."]);
    assert_eq!(messages.iter().filter(|message| message.role == Role::User).count(), 3);
    let faults = world.conversation.faults().await;
    assert!(faults.iter().any(|fault| fault.ends_with("could not be stored")), "{faults:?}");
    let sequences: Vec<_> = world.conversation.events().await.iter().map(|event| event.sequence).collect();
    assert_eq!(sequences, (1..=sequences.len() as u64).collect::<Vec<_>>(), "no gap");
}
