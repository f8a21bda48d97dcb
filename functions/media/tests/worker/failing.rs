//! Vendors and a table that fail.

use std::time::Duration;

use switchboard_model::{conversations::EndedReason, messages::Role};
use tokio::time::Instant;

use crate::world::{Answer, FAST, Phone, STOP, UNHURRIED, Way, World, greeting, quiet};

#[tokio::test]
async fn a_call_that_nobody_can_hear_any_more_ends() {
    let world = World::new(quiet(), FAST).await;
    let worker = world.worker().await;
    let phone = Phone::connect(worker.address).await;
    world.vendors.until("a session", |seen| seen.sessions == 1).await;
    world.vendors.stop_listening();
    let (ended, reason) = world.ended().await;
    phone.closed().await;
    assert_eq!(reason, EndedReason::Unknown);
    assert_eq!(world.vendors.seen().changed[0].0, ended.carrier_call_id.unwrap());
}

#[tokio::test]
async fn a_model_that_fails_twice_is_excused() {
    let world = World::new(quiet(), FAST).await;
    let worker = world.worker().await;
    let _phone = Phone::connect(worker.address).await;
    world.vendors.answer_with(Answer::Failure);
    world.vendors.answer_with(Answer::Failure);
    world.vendors.hear("What time do you close?").await;
    let messages = world.until_messages(2).await;
    assert_eq!(world.vendors.seen().asked.len(), 2);
    assert!(messages[1].content.starts_with("I'm sorry"), "{messages:?}");

    world.vendors.answer_with(Answer::Words("At six."));
    world.vendors.hear("When do you close?").await;
    assert_eq!(world.until_messages(4).await[3].content, "At six.");
}

/// What is said while the table is `away` is stored when it is back.
async fn is_written_afterwards(away: Way) {
    let world = World::new(greeting("Hello, this is Ada."), FAST).await;
    let worker = world.worker().await;
    let phone = Phone::connect(worker.address).await;
    world.until_messages(1).await;
    let mut expected = vec![(Role::Agent, "Hello, this is Ada.")];
    for turn in ["One.", "Two.", "Three.", "Four."] {
        if turn == "Two." {
            world.gate.set(away);
        }
        world.vendors.answer_with(Answer::Words(turn));
        world.vendors.hear("Go on, please.").await;
        expected.extend([(Role::User, "Go on, please."), (Role::Agent, turn)]);
        // It is heard to its end, whether it is stored or not.
        let said = expected.iter().filter(|(role, _)| *role == Role::Agent).count();
        phone.until("another mark", |seen| seen.marks() == said).await;
        phone.until("the end of it", |seen| seen.played == said).await;
        if turn == "One." {
            world.until_messages(3).await;
        }
    }
    assert_eq!(phone.seen().closed, None, "the call goes on");
    if away == Way::Closed {
        assert_eq!(world.messages().await.len(), 3, "nothing is written meanwhile");
        world.gate.set(Way::Open);
    }
    world.until_messages(9).await;
    phone.send(STOP).await;
    assert_eq!(world.ended().await.1, EndedReason::UserEnded);
    let said = world.messages().await;
    let said: Vec<_> = said.iter().map(|message| (message.role, message.content.as_str())).collect();
    assert_eq!(said, expected);
    let events = world.events().await;
    let ends = events.iter().filter(|event| event.name.as_str() == "conversation:ended").count();
    assert_eq!((ends, events.iter().filter(|event| event.name.as_str() == "message:sent").count()), (1, 9));
}

#[tokio::test]
async fn while_the_table_is_away_the_call_goes_on_and_all_is_written_afterwards() {
    is_written_afterwards(Way::Closed).await;
}

#[tokio::test]
async fn what_was_written_although_the_answer_was_lost_is_not_written_again() {
    is_written_afterwards(Way::Unanswered).await;
}

/// Longer than a lease's heartbeats, shorter than the lease.
const HALF_A_MINUTE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_table_that_is_away_for_half_a_minute_costs_neither_audio_nor_words() {
    const TURNS: [&str; 4] = [
        "On Saturday we close at six in the evening.",
        "On Sunday we are closed all day long.",
        "Your cake is in the window for everybody to see.",
        "We are around the corner from the old town hall.",
    ];
    let world = World::new(greeting("Hello, this is Ada."), UNHURRIED).await;
    let worker = world.worker().await;
    let phone = Phone::connect(worker.address).await;
    world.until_messages(1).await;
    let held = world.table.lease(world.account, world.id).await.unwrap().unwrap();
    world.gate.set(Way::Closed);
    let closed = Instant::now();
    let mut expected = vec![(Role::Agent, "Hello, this is Ada.")];
    for turn in TURNS.into_iter().cycle() {
        let is_last = closed.elapsed() > HALF_A_MINUTE;
        world.vendors.answer_with(Answer::Words(turn));
        world.vendors.hear("Go on, please.").await;
        expected.extend([(Role::User, "Go on, please."), (Role::Agent, turn)]);
        let said = expected.iter().filter(|(role, _)| *role == Role::Agent).count();
        phone.until("the end of what is said", |seen| seen.played == said).await;
        if is_last {
            break;
        }
    }
    let spoken: usize = world.vendors.seen().spoken.iter().map(|text| text.len() * UNHURRIED).sum();
    assert!(phone.seen().audio().len() >= spoken, "every word was sent");
    assert_eq!(phone.seen().closed, None, "the call goes on");
    assert_eq!(world.messages().await.len(), 1, "nothing is written meanwhile");

    world.gate.set(Way::Open);
    let messages = world.until_messages(expected.len() as u64).await;
    let written: Vec<_> = messages.iter().map(|message| (message.role, message.content.as_str())).collect();
    assert_eq!(written, expected, "in order, and nothing is missing");
    let still = world.table.lease(world.account, world.id).await.unwrap().unwrap();
    assert_eq!(still.holder, held.holder);
    phone.send(STOP).await;
    assert_eq!(world.ended().await.1, EndedReason::UserEnded);
    // Without gaps.
    let names: Vec<_> = world.events().await.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(names.iter().filter(|name| **name == "message:sent").count(), expected.len());
    assert_eq!(names.iter().filter(|name| **name == "conversation:ended").count(), 1);
}

#[tokio::test]
async fn an_end_that_comes_while_the_table_is_away_is_written_afterwards() {
    let world = World::new(greeting("Hello, this is Ada."), FAST).await;
    let worker = world.worker().await;
    let phone = Phone::connect(worker.address).await;
    world.until_messages(1).await;
    world.gate.set(Way::Closed);
    phone.send(STOP).await;
    world.vendors.until("the end of the session", |seen| seen.sessions == 0).await;
    assert_eq!(phone.seen().closed, None, "it is not closed before its end is written");
    world.gate.set(Way::Open);
    phone.closed().await;
    assert_eq!(world.ended().await.1, EndedReason::UserEnded);
}
