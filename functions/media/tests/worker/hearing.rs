//! A transcriber whose sessions break, are refused, or hear nothing.

use std::time::Duration;

use axum::http::StatusCode;
use base64::Engine as _;
use serde_json::{Value, json};
use switchboard_model::{conversations::EndedReason, messages::Role};

use crate::{
    sounding::speak,
    world::{Answer, FAST, MEDIA, Phone, STOP, World, now, quiet},
};

const FRAME: usize = 160;

/// A frame that is like no other.
async fn say(phone: &Phone, byte: u8) {
    let mut media: Value = serde_json::from_str(MEDIA).unwrap();
    media["media"]["payload"] = json!(base64::engine::general_purpose::STANDARD.encode([byte; FRAME]));
    phone.send(&media.to_string()).await;
}

/// Waits until a session has got such a frame.
async fn until_heard(world: &World, session: usize, byte: u8) {
    let has = |audio: &Vec<u8>| audio.contains(&byte);
    world.vendors.until("the frame", |seen| seen.audio.get(session).is_some_and(has)).await;
}

#[tokio::test]
async fn what_a_broken_session_did_not_understand_is_heard_by_the_next_one() {
    let world = World::new(quiet(), FAST).await;
    let worker = world.worker().await;
    let phone = Phone::connect(worker.address).await;
    world.vendors.until("half a second", |seen| seen.heard > 4_000).await;
    for byte in 1..20 {
        say(&phone, byte).await;
    }
    until_heard(&world, 0, 19).await;
    world.vendors.cut();
    until_heard(&world, 1, 19).await;
    let audio = world.vendors.seen().audio;
    assert!(audio[1].starts_with(&audio[0]), "all of it, in its order");

    // Words that ended in the middle of a frame of the second session.
    let at = audio[1].iter().position(|byte| *byte == 10).unwrap();
    let end = Duration::from_micros(125 * (at as u64 + 8));
    let before = world.conversation().await;
    world.vendors.hear_until("One to ten,", end, false);
    say(&phone, 21).await;
    until_heard(&world, 1, 21).await;
    world.until("understood", |then| then.next_sequence > before.next_sequence).await;
    let cut_at = now();
    world.vendors.cut();
    until_heard(&world, 2, 21).await;
    let again = &world.vendors.seen().audio[2];
    assert_eq!(again[0], 11, "the frame behind those words");
    assert!(again.starts_with(&world.vendors.seen().audio[1][at + FRAME..]));

    world.vendors.answer_with(Answer::Words("Thank you."));
    world.vendors.hear_until("eleven to twenty.", Duration::from_millis(200), true);
    let messages = world.until_messages(2).await;
    assert_eq!(messages[0].content, "One to ten, eleven to twenty.");
    assert!(messages[0].ended_at < cut_at, "not dated by the third session's beginning");

    phone.send(STOP).await;
    assert_eq!(world.ended().await.1, EndedReason::UserEnded);
    let notes = world.notes().await;
    let of = |what: &str| {
        notes.iter().filter(|note| note.starts_with("transcriber deepgram: ") && note.contains(what)).count()
    };
    assert_eq!((of("connection was lost"), of("connected again after ")), (2, 2), "{notes:?}");
}

#[tokio::test]
async fn what_is_paid_for_is_what_all_sessions_got() {
    let world = World::new(quiet(), FAST).await;
    let worker = world.worker().await;
    let phone = Phone::connect(worker.address).await;
    world.vendors.until("half a second", |seen| seen.heard > 4_000).await;
    world.vendors.cut();
    world.vendors.until("another session", |seen| seen.audio.len() == 2 && seen.heard > 12_000).await;
    phone.send(STOP).await;
    let (ended, _) = world.ended().await;
    let (_, _, cost) = ended.ended().unwrap();
    let heard = world.vendors.seen().heard / 8;
    // Of a session that breaks the last frames may have been on the wire.
    assert!((heard..heard + 500).contains(&cost.transcriber.ms), "{} of {heard} ms", cost.transcriber.ms);
}

#[tokio::test]
async fn a_transcriber_that_cannot_be_reached_at_first_hears_what_was_said_meanwhile() {
    let world = World::new(quiet(), FAST).await;
    for status in [StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS] {
        world.vendors.refuse_listening(status);
    }
    let worker = world.worker().await;
    let phone = Phone::connect(worker.address).await;
    world.started().await;
    for byte in 1..20 {
        say(&phone, byte).await;
    }
    until_heard(&world, 0, 19).await;
    let audio = &world.vendors.seen().audio[0];
    let mut said: Vec<_> = audio.iter().copied().filter(|byte| (1..20).contains(byte)).collect();
    said.dedup();
    assert_eq!(said, (1..20).collect::<Vec<_>>());
    world.vendors.answer_with(Answer::Words("At six."));
    world.vendors.hear("What time do you close?").await;
    assert_eq!(world.until_messages(2).await[1].content, "At six.");
    let notes = world.notes().await;
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert_eq!(notes[0], "transcriber deepgram: it answered the handshake with 503");
    assert!(notes[1].starts_with("transcriber deepgram: connected again after "), "{notes:?}");
}

#[tokio::test]
async fn a_transcriber_that_does_not_take_the_key_ends_the_call_and_is_named() {
    let world = World::new(quiet(), FAST).await;
    world.vendors.refuse_listening(StatusCode::UNAUTHORIZED);
    let worker = world.worker().await;
    let phone = Phone::connect(worker.address).await;
    assert_eq!(world.ended().await.1, EndedReason::Unknown);
    phone.closed().await;
    let notes = world.notes().await;
    assert_eq!(notes[0], "transcriber deepgram: refused the request (401)", "{notes:?}");
}

#[tokio::test]
async fn a_session_that_is_open_but_deaf_is_replaced_by_one_that_hears_the_same() {
    let world = World::new(quiet(), FAST).await;
    let worker = world.worker().await;
    let phone = Phone::connect(worker.address).await;
    world.vendors.until("a session", |seen| seen.sessions == 1).await;
    let mut frames = 0;
    speak(&phone, || {
        frames += 1;
        frames > 60
    })
    .await;
    world.vendors.until("another session", |seen| seen.audio.len() == 2).await;
    let deaf = world.vendors.seen().audio[0].clone();
    world.vendors.until("the same", |seen| seen.audio[1].len() > deaf.len()).await;
    assert!(world.vendors.seen().audio[1].starts_with(&deaf));
    world.vendors.until("one session", |seen| seen.sessions == 1).await;

    world.vendors.answer_with(Answer::Words("Take your time."));
    world.vendors.hear("Wait a moment, please.").await;
    let messages = world.until_messages(2).await;
    let said: Vec<_> = messages.iter().map(|message| (message.role, message.content.as_str())).collect();
    let answer = [(Role::User, "Wait a moment, please."), (Role::Agent, "Take your time.")];
    assert!(said.ends_with(&answer), "{said:?}");
    phone.send(STOP).await;
    world.ended().await;
    let notes = world.notes().await;
    assert!(notes.iter().any(|note| note.starts_with("transcriber deepgram: ")), "{notes:?}");
}
