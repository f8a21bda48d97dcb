//! The admission of streams, and the beginning of calls.

use std::time::Duration;

use switchboard_aws::table::Outcome;
use switchboard_model::{
    accounts::sha256_hex,
    conversations::{EndedReason, LegId, Snapshot, State},
    costs::{Prices, Usage},
    messages::Role,
};

use switchboard_media::DRAIN_TIMEOUT;

use crate::prelude::*;

const GREETING: &str = "Hello, this is Ada from the corner bakery. Your cake is ready.";

#[tokio::test(start_paused = true)]
async fn a_call_is_greeted_in_real_time_and_ended_by_the_carrier() {
    let world = World::new(greeting(GREETING), SLOW_VOICE).await;
    let worker = world.worker();
    let phone = Phone::connect(&worker.address).await;
    let started = world.conversation.started().await;
    assert_eq!(started.legs.caller().media_token_sha256, None, "the token is used up");
    assert!(world.conversation.lease().await.is_some());
    for other in [MEDIA, include_str!("../../../../events/media_stream_mark.json")] {
        phone.send(other).await;
    }

    let messages = world.conversation.until_messages(1).await;
    assert_eq!((messages[0].role, messages[0].content.as_str()), (Role::Agent, GREETING));
    assert!(!messages[0].interrupted);
    {
        let received = phone.received();
        assert!(received.marks() > 0);
        let mut sent = Duration::ZERO;
        for (at, frame) in &received.frames {
            let Frame::Media(audio) = frame else { continue };
            assert_eq!(audio.len() % 160, 0, "frames of 20 ms");
            sent += Duration::from_micros(125 * audio.len() as u64);
            // Nothing played before the stream began, so this is a lower bound of the audio sent ahead.
            let ahead = sent.saturating_sub(at.duration_since(phone.began));
            assert!(ahead <= Duration::from_millis(400), "{ahead:?} ahead");
        }
        let spoken: usize =
            world.providers.requests().clauses.iter().map(|text| text.len() * SLOW_VOICE).sum();
        assert!(received.audio().len() >= spoken, "the whole greeting was sent");
    }

    phone.send(STOP).await;
    let (ended, reason) = world.conversation.ended().await;
    phone.closed().await;
    assert_eq!(reason, EndedReason::UserEnded);
    let (_, _, cost) = ended.ended().unwrap();
    assert!(cost.agent.ms >= 2_000 && cost.agent.cost.to_f64() > 0.0);
    let characters: usize = world.providers.requests().clauses.iter().map(String::len).sum();
    assert_eq!(cost.voice.characters, characters as u64);
    assert_eq!(cost.transcriber.ms, world.providers.requests().audio_bytes / 8);
    assert!(cost.transcriber.ms >= 1_000);
    assert_eq!(world.conversation.messages().await, messages);
    assert_eq!(world.conversation.lease().await, None);
    assert_eq!(world.carrier.ended_calls(), [""; 0], "the caller hung up");
    let names: Vec<_> = world.conversation.events().await.iter().map(|event| event.name.as_str()).collect();
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

#[tokio::test(start_paused = true)]
async fn heard_words_are_stored_when_the_caller_hangs_up() {
    let world = World::new(greeting(GREETING), SLOW_VOICE).await;
    let worker = world.worker();
    let phone = Phone::connect(&worker.address).await;
    phone.until("a second of speech", |received| received.sent_ms() > 1_400).await;
    phone.send(STOP).await;
    assert_eq!(world.conversation.ended().await.1, EndedReason::UserEnded);
    let messages = world.conversation.messages().await;
    assert_eq!(messages.len(), 1);
    assert!(messages[0].interrupted);
    assert!(GREETING.starts_with(&messages[0].content), "{messages:?}");
    assert!((10..GREETING.len() - 10).contains(&messages[0].content.len()), "{messages:?}");
}

#[tokio::test(start_paused = true)]
async fn a_wrong_token_or_conversation_is_refused() {
    let world = World::new(quiet(), FAST_VOICE).await;
    let worker = world.worker();
    let before = (world.conversation.load().await, world.conversation.events().await);
    for (parameter, value) in [
        ("token", "mt_vutsrqponmlkjihgfedcba9876543210"),
        ("token", ""),
        ("conversation_id", "cnv_01JD8QA1B2C3D4E5F6G7H8J9K1"),
        ("account_id", "acc_01JD8Q2M7X4T6R9V1B3C5D7E9G"),
        ("account_id", "nobody"),
    ] {
        let phone = Phone::with(&worker.address, parameter, value).await;
        let closing = phone.closed_within(Duration::from_secs(5)).await;
        assert_eq!((closing, phone.received().frames), (Closing::Clean, vec![]), "{parameter}");
    }
    assert_eq!((world.conversation.load().await, world.conversation.events().await), before);
    assert_eq!(world.conversation.lease().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_used_expired_or_foreign_token_opens_no_provider_session() {
    const ENDED: &str = "cnv_01JD8QA1B2C3D4E5F6G7H8J9K1";
    const FOREIGN: &str = "acc_01JD8Q2M7X4T6R9V1B3C5D7E9G";
    let world = World::new(quiet(), FAST_VOICE).await;
    // Its deadline passed before its stream came.
    world.conversation.answer(ENDED.parse().unwrap(), quiet()).await;
    let end =
        world.conversation.table.transition(world.conversation.account, ENDED.parse().unwrap(), |now_at| {
            let Snapshot { conversation, agent } = now_at;
            let (usage, prices) = (Usage::default(), Prices::default());
            conversation.end(agent, EndedReason::Unknown, &[], &usage, &prices, now())
        });
    assert!(matches!(end.await.unwrap(), Outcome::Changed(_)));
    let worker = world.worker();
    let phone = Phone::connect(&worker.address).await;
    world.providers.until("the call", |requests| requests.open_sessions == 1).await;
    for (parameter, value) in [
        ("token", "mt_0123456789abcdefghijklmnopqrstuv"),
        ("conversation_id", ENDED),
        ("account_id", FOREIGN),
    ] {
        let refused = Phone::with(&worker.address, parameter, value).await;
        assert_eq!(refused.closed_within(Duration::from_secs(5)).await, Closing::Clean, "{parameter}");
    }
    let requests = world.providers.requests();
    assert_eq!((requests.session_audio.len(), requests.open_sessions), (1, 1), "the first stream's alone");
    assert_eq!((requests.generations.len(), requests.clauses.len()), (0, 0));
    assert_eq!(phone.received().closed, None);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_names_no_call_is_closed() {
    let world = World::new(quiet(), FAST_VOICE).await;
    let worker = world.worker();
    let before = world.conversation.load().await;
    let talks_at_once = Phone::silent(&worker.address).await;
    talks_at_once.send(MEDIA).await;
    talks_at_once.closed_within(Duration::from_secs(5)).await;
    // The carrier's time to name the call is over.
    let silent = Phone::silent(&worker.address).await;
    silent.closed().await;
    assert_eq!(silent.began.elapsed().as_secs(), 3);
    assert_eq!(world.conversation.load().await, before);
}

#[tokio::test(start_paused = true)]
async fn a_token_is_for_one_stream() {
    let world = World::new(greeting(GREETING), SLOW_VOICE).await;
    let worker = world.worker();
    let phone = Phone::connect(&worker.address).await;
    world.conversation.started().await;
    let lease = world.conversation.lease().await.unwrap();
    Phone::connect(&worker.address).await.closed_within(Duration::from_secs(5)).await;
    let held = world.conversation.lease().await.unwrap();
    assert_eq!(held.holder, lease.holder, "the first stream keeps the call");
    assert_eq!(world.conversation.until_messages(1).await[0].content, GREETING);
    assert_eq!(phone.received().closed, None);
}

#[tokio::test(start_paused = true)]
async fn of_two_streams_with_one_token_one_is_admitted() {
    let world = World::new(greeting("Hello."), FAST_VOICE).await;
    let (one, other) = (world.worker(), world.worker());
    let (first, second) = tokio::join!(Phone::connect(&one.address), Phone::connect(&other.address));
    let closed = tokio::select! {
        _ = first.closed() => &first,
        _ = second.closed() => &second,
    };
    assert_eq!(closed.received().frames, []);
    assert_eq!(world.conversation.until_messages(1).await[0].content, "Hello.");
    let names: Vec<_> = world.conversation.events().await.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(names.iter().filter(|name| **name == "conversation:started").count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_worker_at_its_limit_closes_streams_at_once() {
    let world = World::new(quiet(), FAST_VOICE).await;
    let full = world.worker_with(0, DRAIN_TIMEOUT);
    let before = world.conversation.load().await;
    let turned_away = Phone::connect(&full.address).await;
    assert_eq!(turned_away.closed_within(Duration::from_secs(5)).await, Closing::Clean);
    assert_eq!(world.conversation.load().await, before, "the token is not used up");

    let worker = world.worker_with(1, DRAIN_TIMEOUT);
    let phone = Phone::connect(&worker.address).await;
    world.conversation.started().await;
    phone.send(STOP).await;
    phone.closed().await;
    world.conversation.ended().await;
    assert!(matches!(world.conversation.load().await.state, State::Ended { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_a_full_worker_refused_begins_with_its_next_stream() {
    const TOKEN: &str = "mt_vutsrqponmlkjihgfedcba9876543210";
    let world = World::new(greeting("Hello."), FAST_VOICE).await;
    Phone::connect(&world.worker_with(0, DRAIN_TIMEOUT).address).await.closed().await;
    // The carrier asks how the call goes on.
    let next = |before: &Snapshot| {
        before.conversation.begin_resume(LegId::CALLER, sha256_hex(TOKEN), switchboard_runtime::now())
    };
    world.conversation.change(next).await;
    let worker = world.worker();
    let _phone = Phone::with_token(&worker.address, TOKEN).await;
    let messages = world.conversation.until_messages(1).await;
    assert_eq!((messages.len(), messages[0].content.as_str()), (1, "Hello."));
}

#[tokio::test(start_paused = true)]
async fn streams_without_a_token_take_no_call_slot() {
    let world = World::new(quiet(), FAST_VOICE).await;
    let worker = world.worker_with(1, DRAIN_TIMEOUT);
    let mut idle = vec![];
    for _ in 0..8 {
        idle.push(Phone::silent(&worker.address).await);
        idle.push(Phone::with_token(&worker.address, "mt_vutsrqponmlkjihgfedcba9876543210").await);
    }
    let phone = Phone::connect(&worker.address).await;
    world.conversation.started().await;
    assert_eq!(phone.received().closed, None);
}

#[tokio::test(start_paused = true)]
async fn one_address_cannot_fill_the_pool_for_long() {
    let world = World::new(quiet(), FAST_VOICE).await;
    let worker = world.worker();
    let mut idle = vec![];
    for _ in 0..32 {
        idle.push(Phone::silent(&worker.address).await);
    }
    let refused = Phone::silent(&worker.address).await;
    assert_eq!(refused.closed_within(Duration::from_secs(1)).await, Closing::Clean);
    for phone in idle {
        phone.closed_within(Duration::from_secs(4)).await;
    }
    let phone = Phone::connect(&worker.address).await;
    world.conversation.started().await;
    assert_eq!(phone.received().closed, None);
}

#[tokio::test(start_paused = true)]
async fn browsers_cannot_keep_the_carrier_out() {
    let world = World::new(quiet(), FAST_VOICE).await;
    let worker = world.worker();
    let mut idle = vec![];
    for number in 0..40 {
        let path = format!("/web/acc_01JD8Q2M7X4T6R9V1B3C5D7E9F/cnv_01JD8QA1B2C3D4E5F6G7H8J9K0/{number}");
        idle.push(Phone::browser_at(&worker.address, &path).await);
    }
    let refused = idle.last().unwrap();
    assert_eq!(refused.closed_within(Duration::from_secs(1)).await, Closing::Clean);
    assert_eq!(refused.received().close_frame.unwrap().0, 1013, "their own pool is full");
    let phone = Phone::connect(&worker.address).await;
    world.conversation.started().await;
    assert_eq!(phone.received().closed, None);
    assert_eq!(idle[0].received().closed, None);
}
