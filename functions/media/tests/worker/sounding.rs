//! What the caller's side sounds like before anybody has understood a word, and the keys that are pressed.

use std::time::Duration;

use base64::Engine as _;
use serde_json::{Value, json};
use switchboard_dialogue::{Input, replay};
use switchboard_model::messages::Role;
use tokio::time::interval;

use crate::world::{Answer, FAST, Frame, MEDIA, Phone, STOP, UNHURRIED, World, greeting, quiet};

/// "Wait a moment, please": 1.4 s of mu-law.
const SPEECH: &[u8] = include_bytes!("wait_a_moment.ulaw");
const LONG: &str = "We close at six in the evening. On Sundays we are open from eight until noon, and on public \
                    holidays we are closed. In the summer we close at seven.";

/// Speaks into the phone, in real time, until `is_enough`.
pub(crate) async fn speak(phone: &Phone, mut is_enough: impl FnMut() -> bool) {
    let mut media: Value = serde_json::from_str(MEDIA).unwrap();
    let mut tick = interval(Duration::from_millis(20));
    for (number, frame) in SPEECH.chunks(160).cycle().enumerate() {
        if is_enough() {
            return;
        }
        tick.tick().await;
        media["media"]["payload"] = json!(base64::engine::general_purpose::STANDARD.encode(frame));
        media["media"]["timestamp"] = json!((number * 20).to_string());
        phone.send(&media.to_string()).await;
    }
}

#[tokio::test]
async fn a_sound_stops_the_agent_and_without_words_it_goes_on_where_it_stopped() {
    let world = World::new(quiet(), UNHURRIED).await;
    let worker = world.worker().await;
    let phone = Phone::connect(worker.address).await;
    world.vendors.answer_with(Answer::Words(LONG));
    world.vendors.hear("What time do you close?").await;
    phone.until("a second of speech", |seen| seen.sent_ms() > 1_400).await;

    speak(&phone, || phone.seen().has(&Frame::Clear)).await;
    let messages = world.until_messages(2).await;
    assert_eq!((messages[1].content.as_str(), messages[1].interrupted), (LONG, false), "it said all of it");
    let seen = phone.seen();
    let spoken: usize = world.vendors.seen().spoken.iter().map(|text| text.len() * UNHURRIED).sum();
    assert!(seen.audio().len() > spoken, "what was thrown away was sent again");
    assert!(seen.audio().len() < spoken + 8_000, "and no more than that");
}

#[tokio::test]
async fn words_after_a_sound_take_the_floor() {
    let world = World::new(quiet(), UNHURRIED).await;
    let worker = world.worker().await;
    let phone = Phone::connect(worker.address).await;
    world.vendors.answer_with(Answer::Words(LONG));
    world.vendors.hear("What time do you close?").await;
    phone.until("a second of speech", |seen| seen.sent_ms() > 1_400).await;

    speak(&phone, || phone.seen().has(&Frame::Clear)).await;
    world.vendors.answer_with(Answer::Words("Take your time."));
    world.vendors.hear("Wait a moment, please.").await;
    let messages = world.until_messages(4).await;
    assert!(messages[1].interrupted && LONG.starts_with(&messages[1].content), "{:?}", messages[1].content);
    assert_eq!(messages[2].content, "Wait a moment, please.");
    assert_eq!(messages[3].content, "Take your time.");
}

#[tokio::test]
async fn keys_that_are_pressed_are_what_the_user_says() {
    let world = World::new(quiet(), FAST).await;
    let worker = world.worker().await;
    let phone = Phone::connect(worker.address).await;
    world.started().await;
    world.vendors.answer_with(Answer::Words("Thank you."));
    let sample = include_str!("../../../../events/media_stream_dtmf.json");
    let mut key: Value = serde_json::from_str(sample).unwrap();
    for digit in ["4", "2", "#"] {
        key["dtmf"]["digit"] = json!(digit);
        phone.send(&key.to_string()).await;
    }
    let messages = world.until_messages(2).await;
    assert_eq!((messages[0].role, messages[0].content.as_str()), (Role::User, "42"));
    assert_eq!(messages[1].content, "Thank you.");
}

#[tokio::test]
async fn the_log_of_a_call_replays_to_the_same_decisions() {
    let world = World::new(greeting("Hello, this is Ada. Do you have any questions?"), FAST).await;
    let worker = world.worker().await;
    let phone = Phone::connect(worker.address).await;
    world.until_messages(1).await;
    world.vendors.answer_with(Answer::Words("On Saturday we close at six."));
    world.vendors.hear("What time do you close?").await;
    world.until_messages(3).await;
    phone.send(STOP).await;
    world.ended().await;

    let log = world.object(|key| key.contains("/replay/"));
    let log = replay::Log::parse(std::str::from_utf8(&log).unwrap()).unwrap();
    assert!(log.steps.len() > 10);
    assert_eq!(log.difference(), None);
}

#[tokio::test]
async fn of_a_caller_whom_nobody_interrupts_the_engine_is_told_speech_and_its_end_alone() {
    let world = World::new(quiet(), FAST).await;
    let worker = world.worker().await;
    let phone = Phone::connect(worker.address).await;
    world.vendors.until("a second of silence", |seen| seen.heard > 8_000).await;
    let mut frames = 0;
    speak(&phone, || {
        frames += 1;
        frames > 50
    })
    .await;
    phone.send(STOP).await;
    world.ended().await;

    let log = world.object(|key| key.contains("/replay/"));
    let log = replay::Log::parse(std::str::from_utf8(&log).unwrap()).unwrap();
    let speech: Vec<bool> = log
        .steps
        .iter()
        .filter_map(|step| match step.input {
            Input::Frame { is_speech, .. } => Some(is_speech),
            _ => None,
        })
        .collect();
    assert!(speech.iter().filter(|speech| **speech).count() > 10, "{speech:?}");
    assert!(speech[0], "not the silence before");
    assert!(speech.windows(2).all(|pair| pair[0] || pair[1]), "one frame ends it: {speech:?}");
}
