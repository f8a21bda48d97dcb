//! The handshake and the admission of streams.

use std::time::Duration;

use switchboard_model::{
    conversations::{EndedReason, Snapshot, Transition},
    ids::PhoneNumberId,
    messages::Role,
    phone_numbers::{OwnAccount, PhoneNumber},
};
use switchboard_providers::Secret;

use crate::{
    prelude::*,
    support::phone::{CONNECTED, PATH, START},
    world::now,
};

const GREETING: &str = "Hello, this is Ada from the corner bakery. Your cake is ready.";

#[tokio::test]
async fn a_stream_is_admitted_greeted_and_ended_by_the_carrier() {
    let world = World::new(greeting(GREETING), SLOW_VOICE).await;
    let worker = world.worker().await;
    let phone = Phone::connect(&worker.address).await;
    let started = world.conversation.started().await;
    assert_eq!(started.legs.caller().media_token_sha256, None, "the token is used up");
    let messages = world.conversation.until_messages(1).await;
    assert_eq!((messages[0].role, messages[0].content.as_str()), (Role::Agent, GREETING));
    let received = phone.received();
    let mut sent = Duration::ZERO;
    for (at, frame) in &received.frames {
        let Frame::Media(audio) = frame else { continue };
        sent += Duration::from_micros(125 * audio.len() as u64);
        // Nothing played before the stream began, so this is a lower bound of the audio sent ahead.
        let ahead = sent.saturating_sub(at.duration_since(phone.began));
        assert!(ahead <= Duration::from_millis(400), "{ahead:?} ahead");
    }

    phone.send(STOP).await;
    let (ended, reason) = world.conversation.ended().await;
    phone.closed().await;
    assert_eq!(reason, EndedReason::UserEnded);
    let (_, _, cost) = ended.ended().unwrap();
    let characters: usize = world.vendors.requests().clauses.iter().map(String::len).sum();
    assert_eq!(cost.voice.characters, characters as u64);
    assert_eq!(cost.transcriber.ms, world.vendors.requests().audio_bytes / 8);
    assert_eq!(world.conversation.lease().await, None);
    assert_eq!(world.vendors.requests().changed_calls, [], "the caller hung up");
    // The recording is joined before the stream is closed.
    worker.stop().await.unwrap();
    assert!(world.object(|key| key.ends_with("recording.wav")).len() > 2 * 16_000);
}

#[tokio::test]
async fn a_stream_with_a_wrong_token_is_closed_with_a_handshake() {
    let world = World::new(quiet(), FAST_VOICE).await;
    let worker = world.worker().await;
    let before = world.conversation.load().await;
    let phone = Phone::with_token(&worker.address, "mt_vutsrqponmlkjihgfedcba9876543210").await;
    assert_eq!(phone.closed_within(Duration::from_secs(5)).await, Closing::Clean);
    assert_eq!(phone.received().frames, []);
    assert_eq!(world.conversation.load().await, before);
}

#[tokio::test]
async fn of_two_workers_one_admits_a_token() {
    let world = World::new(greeting("Hello."), FAST_VOICE).await;
    let (one, other) = (world.worker().await, world.worker().await);
    let (first, second) = tokio::join!(Phone::connect(&one.address), Phone::connect(&other.address));
    let closed = tokio::select! {
        _ = first.closed() => &first,
        _ = second.closed() => &second,
    };
    assert_eq!(closed.received().frames, []);
    assert_eq!(world.conversation.until_messages(1).await[0].content, "Hello.");
    let events = world.conversation.events().await;
    assert_eq!(events.iter().filter(|event| event.name.as_str() == "conversation:started").count(), 1);
}

#[tokio::test]
async fn a_worker_at_its_limit_closes_streams_at_once() {
    let world = World::new(quiet(), FAST_VOICE).await;
    let full = world.worker_with(0, switchboard_media::DRAIN_TIMEOUT).await;
    let turned_away = Phone::connect(&full.address).await;
    assert_eq!(turned_away.closed_within(Duration::from_secs(5)).await, Closing::Clean);
    let worker = world.worker().await;
    let phone = Phone::connect(&worker.address).await;
    world.conversation.started().await;
    assert_eq!(phone.received().closed, None);
}

/// The signatures of the sample's stream with the deployment's token and with a customer's.
const SIGNED: &str = "xBTS7zVtoAtZG6Q7Mcni/HhQFP8=";
const SIGNED_BY_CUSTOMER: &str = "y5bpRyhaDM940f8tRfCfkFUy788=";

#[tokio::test]
async fn a_handshake_that_the_carrier_did_not_sign_is_refused() {
    let world = World::new(quiet(), FAST_VOICE).await;
    let worker = world.worker().await;
    let refused = async |path: &str, signature| Phone::at(&worker.address, path, signature).await.err();
    assert_eq!(refused("media", None).await, Some(404), "a path that names no conversation");
    for signature in [None, Some(""), Some("AAAA"), Some(SIGNED_BY_CUSTOMER)] {
        assert_eq!(refused(PATH, signature).await, Some(403), "{signature:?}");
    }
    let other = PATH.replace("9K0", "9K1");
    assert_eq!(refused(&other, Some(SIGNED)).await, Some(403), "signed for another conversation");
    let phone = Phone::at(&worker.address, PATH, Some(SIGNED)).await.unwrap();
    phone.send(CONNECTED).await;
    phone.send(START).await;
    world.conversation.started().await;
}

#[tokio::test]
async fn a_signed_stream_cannot_start_another_conversation() {
    let world = World::new(quiet(), FAST_VOICE).await;
    let worker = world.worker().await;
    let phone = Phone::at(&worker.address, PATH, Some(SIGNED)).await.unwrap();
    phone.send(CONNECTED).await;
    phone.send(&START.replace("9K0", "9K1")).await;
    assert_eq!(phone.closed_within(Duration::from_secs(5)).await, Closing::Clean);
    assert_eq!(phone.received().frames, []);
}

#[tokio::test]
async fn a_stream_of_an_imported_number_is_signed_with_the_customers_token() {
    let world = World::new(quiet(), FAST_VOICE).await;
    let table = &world.conversation.table;
    let call = world.conversation.load().await;
    let own_number = call.legs.caller().phone_call.as_ref().unwrap().own_number().clone();
    let id = PhoneNumberId::new(now(), 1);
    let token =
        world.sealer.seal((call.account_id, &id.to_string()), &Secret::new("own-token")).await.unwrap();
    let own = OwnAccount { account_sid: format!("AC{:032}", 9), auth_token: token };
    let number = PhoneNumber::coming(id, call.account_id, own_number, Some(own), now());
    table.add_phone_number(&number.arrived(format!("PN{:032}", 1))).await.unwrap();
    let imported = |snapshot: &Snapshot| {
        let mut conversation = snapshot.conversation.clone();
        conversation.version += 1;
        conversation.legs.caller_mut().phone_call.as_mut().unwrap().imported = true;
        Ok(Transition { conversation, events: vec![], messages: vec![] })
    };
    world.conversation.change(imported).await;
    let worker = world.worker().await;
    let phone = Phone::at(&worker.address, PATH, Some(SIGNED_BY_CUSTOMER)).await.unwrap();
    phone.send(CONNECTED).await;
    phone.send(START).await;
    world.conversation.started().await;
}

#[tokio::test]
async fn a_handshake_that_cannot_be_verified_leaves_the_call_to_the_carriers_document() {
    let world = World::new(quiet(), FAST_VOICE).await;
    let worker = world.worker().await;
    world.lose_table();
    let phone = Phone::at(&worker.address, PATH, Some(SIGNED_BY_CUSTOMER)).await.unwrap();
    assert_eq!(phone.closed_within(Duration::from_secs(10)).await, Closing::Clean);
}
