//! Who is let in, and how a call begins.

use std::time::Duration;

use switchboard_model::{
    conversations::{EndedReason, State},
    messages::Role,
};

use crate::world::{Closing, FAST, Frame, MEDIA, PATIENCE, Phone, STOP, UNHURRIED, World, greeting, quiet};

const GREETING: &str = "Hello, this is Ada from the corner bakery. Your cake is ready.";

#[tokio::test]
async fn a_stream_is_let_in_greeted_in_real_time_and_ended_by_the_carrier() {
    let world = World::new(greeting(GREETING), UNHURRIED).await;
    let worker = world.worker().await;
    let phone = Phone::connect(worker.address).await;
    let started = world.started().await;
    assert_eq!(started.media_token_sha256, None, "a token is for one use");
    assert!(world.table.lease(world.account, world.id).await.unwrap().is_some());
    for other in [MEDIA, include_str!("../../../../events/media_stream_mark.json")] {
        phone.send(other).await;
    }

    let messages = world.until_messages(1).await;
    assert_eq!((messages[0].role, messages[0].content.as_str()), (Role::Agent, GREETING));
    assert!(!messages[0].interrupted);
    {
        let seen = phone.seen();
        assert!(seen.marks() > 0);
        let mut sent = Duration::ZERO;
        for (at, frame) in &seen.frames {
            let Frame::Media(audio) = frame else { continue };
            assert_eq!(audio.len() % 160, 0, "frames of 20 ms");
            sent += Duration::from_micros(125 * audio.len() as u64);
            // Nothing was played before the stream began, so this is the least that it can be ahead.
            let ahead = sent.saturating_sub(at.duration_since(phone.began));
            assert!(ahead <= Duration::from_millis(400), "{ahead:?} ahead");
        }
        let spoken: usize = world.vendors.seen().spoken.iter().map(|text| text.len() * UNHURRIED).sum();
        assert!(seen.audio().len() >= spoken, "all of it came");
    }

    phone.send(STOP).await;
    let (ended, reason) = world.ended().await;
    phone.closed().await;
    assert_eq!(reason, EndedReason::UserEnded);
    let (_, _, cost) = ended.ended().unwrap();
    assert!(cost.agent.ms >= 2_000 && cost.agent.cost.to_f64() > 0.0);
    let characters: usize = world.vendors.seen().spoken.iter().map(String::len).sum();
    assert_eq!(cost.voice.characters, characters as u64);
    assert_eq!(cost.transcriber.ms, world.vendors.seen().heard / 8);
    assert!(cost.transcriber.ms >= 1_000);
    assert_eq!(world.messages().await, messages);
    assert_eq!(world.table.lease(world.account, world.id).await.unwrap(), None);
    assert_eq!(world.vendors.seen().changed, [], "nobody has to hang up on who hung up");
    let names: Vec<_> = world.events().await.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "phone_call:connection_requested",
            "phone_call:accepted",
            "conversation:started",
            "speech:started",
            "speech:ended",
            "message:sent",
            "conversation:ended"
        ]
    );
}

#[tokio::test]
async fn only_the_words_that_were_heard_stay_when_the_caller_hangs_up() {
    let world = World::new(greeting(GREETING), UNHURRIED).await;
    let worker = world.worker().await;
    let phone = Phone::connect(worker.address).await;
    phone.until("a second of speech", |seen| seen.sent_ms() > 1_400).await;
    phone.send(STOP).await;
    assert_eq!(world.ended().await.1, EndedReason::UserEnded);
    let messages = world.messages().await;
    assert_eq!(messages.len(), 1);
    assert!(messages[0].interrupted);
    assert!(GREETING.starts_with(&messages[0].content), "{messages:?}");
    assert!((10..GREETING.len() - 10).contains(&messages[0].content.len()), "{messages:?}");
}

#[tokio::test]
async fn a_stream_with_a_wrong_token_or_of_an_unknown_conversation_is_not_let_in() {
    let world = World::new(quiet(), FAST).await;
    let worker = world.worker().await;
    let before = (world.conversation().await, world.events().await);
    for (parameter, value) in [
        ("token", "mt_vutsrqponmlkjihgfedcba9876543210"),
        ("token", ""),
        ("conversation_id", "cnv_01JD8QA1B2C3D4E5F6G7H8J9K1"),
        ("account_id", "acc_01JD8Q2M7X4T6R9V1B3C5D7E9G"),
        ("account_id", "nobody"),
    ] {
        let phone = Phone::with(worker.address, parameter, value).await;
        let closing = phone.closed_within(Duration::from_secs(5)).await;
        assert_eq!((closing, phone.seen().frames), (Closing::Clean, vec![]), "{parameter}");
    }
    assert_eq!((world.conversation().await, world.events().await), before);
    assert_eq!(world.table.lease(world.account, world.id).await.unwrap(), None);
}

#[tokio::test]
async fn a_stream_that_does_not_say_which_call_it_is_is_closed() {
    let world = World::new(quiet(), FAST).await;
    let worker = world.worker().await;
    let before = world.conversation().await;
    let talks_at_once = Phone::silent(worker.address).await;
    talks_at_once.send(MEDIA).await;
    talks_at_once.closed_within(Duration::from_secs(5)).await;
    // As long as the carrier may take.
    Phone::silent(worker.address).await.closed_within(PATIENCE).await;
    assert_eq!(world.conversation().await, before);
}

#[tokio::test]
async fn a_token_opens_one_stream_only() {
    let world = World::new(greeting(GREETING), UNHURRIED).await;
    let worker = world.worker().await;
    let phone = Phone::connect(worker.address).await;
    world.started().await;
    let lease = world.table.lease(world.account, world.id).await.unwrap().unwrap();
    Phone::connect(worker.address).await.closed_within(Duration::from_secs(5)).await;
    let held = world.table.lease(world.account, world.id).await.unwrap().unwrap();
    assert_eq!(held.holder, lease.holder, "the first stream keeps the call");
    assert_eq!(world.until_messages(1).await[0].content, GREETING);
    assert_eq!(phone.seen().closed, None);
}

#[tokio::test]
async fn of_two_streams_with_the_same_token_at_once_one_is_let_in() {
    let world = World::new(greeting("Hello."), FAST).await;
    let (one, other) = (world.worker().await, world.worker().await);
    let (first, second) = tokio::join!(Phone::connect(one.address), Phone::connect(other.address));
    let closed = tokio::select! {
        _ = first.closed() => &first,
        _ = second.closed() => &second,
    };
    assert_eq!(closed.seen().frames, []);
    assert_eq!(world.until_messages(1).await[0].content, "Hello.");
    let names: Vec<_> = world.events().await.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(names.iter().filter(|name| **name == "conversation:started").count(), 1);
}

#[tokio::test]
async fn a_full_worker_accepts_a_stream_and_closes_it_at_once() {
    let world = World::new(quiet(), FAST).await;
    let worker = world.worker_for(1).await;
    let phone = Phone::connect(worker.address).await;
    let before = world.started().await;
    let turned_away = Phone::silent(worker.address).await;
    // Before it has said a word.
    assert_eq!(turned_away.closed_within(Duration::from_secs(5)).await, Closing::Clean);
    assert_eq!(world.conversation().await, before);
    assert_eq!(phone.seen().closed, None);

    phone.send(STOP).await;
    phone.closed().await;
    world.ended().await;
    assert!(matches!(world.conversation().await.state, State::Ended { .. }));
}
