//! Sounds of the caller before there is a transcript, DTMF, and the replay log.

use serde_json::{Value, json};
use switchboard_dialogue::{Input, replay};
use switchboard_model::messages::Role;

use crate::prelude::*;

const LONG: &str = "We close at six in the evening. On Sundays we are open from eight until noon, and on public \
                    holidays we are closed. In the summer we close at seven.";

#[tokio::test(start_paused = true)]
async fn after_a_false_interruption_the_agent_continues() {
    let world = World::new(quiet(), SLOW_VOICE).await;
    let worker = world.worker();
    let phone = Phone::connect(&worker.address).await;
    world.providers.respond_with(Response::Words(LONG));
    world.providers.transcribe("What time do you close?").await;
    phone.until("a second of speech", |received| received.sent_ms() > 1_400).await;

    phone.speak(|| phone.received().has(&Frame::Clear)).await;
    let messages = world.conversation.until_messages(2).await;
    assert_eq!(
        (messages[1].content.as_str(), messages[1].interrupted),
        (LONG, false),
        "the agent said all of it"
    );
    let received = phone.received();
    let spoken: usize = world.providers.requests().clauses.iter().map(|text| text.len() * SLOW_VOICE).sum();
    assert!(received.audio().len() > spoken, "cleared audio was sent again");
    assert!(received.audio().len() < spoken + 8_000, "only cleared audio was sent again");
}

#[tokio::test(start_paused = true)]
async fn words_after_a_sound_are_a_barge_in() {
    let world = World::new(quiet(), SLOW_VOICE).await;
    let worker = world.worker();
    let phone = Phone::connect(&worker.address).await;
    world.providers.respond_with(Response::Words(LONG));
    world.providers.transcribe("What time do you close?").await;
    phone.until("a second of speech", |received| received.sent_ms() > 1_400).await;

    phone.speak(|| phone.received().has(&Frame::Clear)).await;
    world.providers.respond_with(Response::Words("Take your time."));
    world.providers.transcribe("Wait a moment, please.").await;
    let messages = world.conversation.until_messages(4).await;
    assert!(messages[1].interrupted && LONG.starts_with(&messages[1].content), "{:?}", messages[1].content);
    assert_eq!(messages[2].content, "Wait a moment, please.");
    assert_eq!(messages[3].content, "Take your time.");
}

#[tokio::test(start_paused = true)]
async fn dtmf_digits_are_the_users_message() {
    let world = World::new(quiet(), FAST_VOICE).await;
    let worker = world.worker();
    let phone = Phone::connect(&worker.address).await;
    world.conversation.started().await;
    world.providers.respond_with(Response::Words("Thank you."));
    let sample = include_str!("../../../../events/media_stream_dtmf.json");
    let mut key: Value = serde_json::from_str(sample).unwrap();
    for digit in ["4", "2", "#"] {
        key["dtmf"]["digit"] = json!(digit);
        phone.send(&key.to_string()).await;
    }
    let messages = world.conversation.until_messages(2).await;
    assert_eq!((messages[0].role, messages[0].content.as_str()), (Role::User, "42"));
    assert_eq!(messages[1].content, "Thank you.");
}

#[tokio::test(start_paused = true)]
async fn the_replay_log_replays_to_the_same_outputs() {
    let world = World::new(greeting("Hello, this is Ada. Do you have any questions?"), FAST_VOICE).await;
    let worker = world.worker();
    let phone = Phone::connect(&worker.address).await;
    world.conversation.until_messages(1).await;
    world.providers.respond_with(Response::Words("On Saturday we close at six."));
    world.providers.transcribe("What time do you close?").await;
    world.conversation.until_messages(3).await;
    phone.send(STOP).await;
    world.conversation.ended().await;

    let log = world.object(|key| key.contains("/replay/"));
    let log = replay::Log::parse(std::str::from_utf8(&log).unwrap()).unwrap();
    assert!(log.steps.len() > 10);
    assert_eq!(log.difference(), None);
}

#[tokio::test(start_paused = true)]
async fn the_engine_gets_no_frames_of_silence() {
    let world = World::new(quiet(), FAST_VOICE).await;
    let worker = world.worker();
    let phone = Phone::connect(&worker.address).await;
    world.providers.until("a second of silence", |requests| requests.audio_bytes > 8_000).await;
    phone.speak_frames(50).await;
    phone.send(STOP).await;
    world.conversation.ended().await;

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
    assert!(speech[0], "frames of silence before the speech are not fed");
    assert!(
        speech.windows(2).all(|pair| pair[0] || pair[1]),
        "one frame of silence ends the speech: {speech:?}"
    );
}
