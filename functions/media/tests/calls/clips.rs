//! Clips: audio that was synthesized before the call.

use std::time::Duration;

use crate::prelude::*;

const GREETING: &str = "Hello, this is Ada. Do you have any questions?";
const ANOTHER: &str = "cnv_01JD8QA1B2C3D4E5F6G7H8J9K1";
/// A byte that is no tone of the voice.
const CLIP: u8 = 0x42;

/// Stores the clips of an agent, and returns the length of the greeting in bytes.
fn store_clips(world: &World, agent: &switchboard_model::agents::AgentConfig) -> usize {
    let mut greeting = 0;
    for (place, set) in switchboard_calls::clip_sets(agent, &agent.voice).into_iter().enumerate() {
        let audio: Vec<_> = set.texts.iter().map(|text| vec![CLIP; text.len() * 160]).collect();
        if place == 0 {
            greeting = audio.concat().len();
        }
        let key = format!("clips/{}/{}", world.conversation.account, set.key());
        world.objects.lock().unwrap().insert(key, set.encode(&audio).unwrap().into());
    }
    greeting
}

#[tokio::test(start_paused = true)]
async fn the_greeting_is_played_from_its_clip() {
    let agent = greeting(GREETING);
    let world = World::new(agent.clone(), FAST_VOICE).await;
    let length = store_clips(&world, &agent);
    world.providers.fail_voice(VoiceFault::Silent);
    let worker = world.worker();
    let phone = Phone::connect(&worker.address).await;
    let messages = world.conversation.until_messages(1).await;
    assert_eq!((messages[0].content.as_str(), messages[0].interrupted), (GREETING, false));
    assert_eq!(phone.received().audio(), vec![CLIP; length]);
    assert_eq!(world.providers.requests().clauses, [""; 0]);
    let began = phone.received().frames[0].0 - phone.began;
    assert!(began < Duration::from_secs(2), "{began:?}");

    phone.send(STOP).await;
    let (ended, _) = world.conversation.ended().await;
    assert_eq!(ended.ended().unwrap().2.voice.characters, 0, "a clip has no cost in this call");
}

#[tokio::test(start_paused = true)]
async fn live_calls_share_their_clips() {
    let agent = greeting(GREETING);
    let world = World::new(agent.clone(), FAST_VOICE).await;
    let length = store_clips(&world, &agent);
    world.conversation.answer(ANOTHER.parse().unwrap(), agent).await;
    let worker = world.worker();
    let first = Phone::connect(&worker.address).await;
    world.conversation.until_messages(1).await;
    world.objects.lock().unwrap().clear();
    let second = Phone::with(&worker.address, "conversation_id", ANOTHER).await;
    second.until("all of the greeting", |received| received.audio().len() == length).await;
    assert_eq!(second.received().audio(), first.received().audio());
    assert_eq!(world.providers.requests().clauses, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn an_apology_is_played_from_its_clip() {
    let agent = greeting(GREETING);
    let world = World::new(agent.clone(), FAST_VOICE).await;
    store_clips(&world, &agent);
    let worker = world.worker();
    let phone = Phone::connect(&worker.address).await;
    world.conversation.until_messages(1).await;
    for _ in 0..4 {
        world.providers.respond_with(Response::Failure);
    }
    world.providers.transcribe("What time do you close?").await;
    let messages = world.conversation.until_messages(3).await;
    assert!(messages[2].content.starts_with("I'm sorry"), "{messages:?}");
    assert_eq!(world.providers.requests().clauses, [""; 0]);
    assert!(phone.received().audio().iter().all(|byte| *byte == CLIP));
}

#[tokio::test(start_paused = true)]
async fn without_clips_the_voice_synthesizes_the_greeting() {
    let world = World::new(greeting(GREETING), FAST_VOICE).await;
    let worker = world.worker();
    let _phone = Phone::connect(&worker.address).await;
    assert_eq!(world.conversation.until_messages(1).await[0].content, GREETING);
    assert_eq!(in_order(&world.providers.requests().clauses, GREETING), GREETING);
}

#[tokio::test(start_paused = true)]
async fn a_malformed_clip_is_not_played() {
    let agent = greeting(GREETING);
    let world = World::new(agent.clone(), FAST_VOICE).await;
    for set in switchboard_calls::clip_sets(&agent, &agent.voice) {
        let key = format!("clips/{}/{}", world.conversation.account, set.key());
        world.objects.lock().unwrap().insert(key, "not one".into());
    }
    let worker = world.worker();
    let _phone = Phone::connect(&worker.address).await;
    assert_eq!(world.conversation.until_messages(1).await[0].content, GREETING);
    assert_eq!(in_order(&world.providers.requests().clauses, GREETING), GREETING);
}
