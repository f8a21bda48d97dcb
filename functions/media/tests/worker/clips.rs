//! What was spoken before is not spoken again.

use std::time::Duration;

use crate::world::{Answer, FAST, Hoarse, Phone, World, greeting};

const GREETING: &str = "Hello, this is Ada. Do you have any questions?";
const ANOTHER: &str = "cnv_01JD8QA1B2C3D4E5F6G7H8J9K1";
/// No tone of the voice's.
const CLIP: u8 = 0x42;

/// Keeps clips of all that an agent may say, but for what it thinks of itself: how long they are together.
fn keep_clips(world: &World, agent: &switchboard_model::agents::AgentConfig) -> usize {
    let mut greeting = 0;
    for (place, set) in switchboard_calls::clip_sets(agent).into_iter().enumerate() {
        let audio: Vec<_> = set.texts.iter().map(|text| vec![CLIP; text.len() * 160]).collect();
        if place == 0 {
            greeting = audio.concat().len();
        }
        let key = format!("clips/{}/{}", world.account, set.key());
        world.objects.lock().unwrap().insert(key, set.encode(&audio).unwrap().into());
    }
    greeting
}

#[tokio::test]
async fn the_greeting_comes_from_its_clip_while_the_voice_is_not_asked() {
    let agent = greeting(GREETING);
    let world = World::new(agent.clone(), FAST).await;
    let length = keep_clips(&world, &agent);
    // A voice that takes longer than anybody waits.
    world.vendors.go_hoarse(Hoarse::Silent);
    let worker = world.worker().await;
    let phone = Phone::connect(worker.address).await;
    let messages = world.until_messages(1).await;
    assert_eq!((messages[0].content.as_str(), messages[0].interrupted), (GREETING, false));
    assert_eq!(phone.seen().audio(), vec![CLIP; length]);
    assert_eq!(world.vendors.seen().spoken, [""; 0]);
    // It began before a voice that is asked would have been given up.
    let began = phone.seen().frames[0].0 - phone.began;
    assert!(began < Duration::from_secs(2), "{began:?}");

    phone.send(crate::world::STOP).await;
    let (ended, _) = world.ended().await;
    assert_eq!(ended.ended().unwrap().2.voice.characters, 0, "nothing of it was paid for in this call");
}

#[tokio::test]
async fn calls_that_go_on_at_the_same_time_share_their_clips() {
    let agent = greeting(GREETING);
    let world = World::new(agent.clone(), FAST).await;
    let length = keep_clips(&world, &agent);
    world.call(ANOTHER.parse().unwrap(), agent).await;
    let worker = world.worker().await;
    let first = Phone::connect(worker.address).await;
    world.until_messages(1).await;
    world.objects.lock().unwrap().clear();
    let second = Phone::with(worker.address, "conversation_id", ANOTHER).await;
    second.until("all of the greeting", |seen| seen.audio().len() == length).await;
    assert_eq!(second.seen().audio(), first.seen().audio());
    assert_eq!(world.vendors.seen().spoken, [""; 0]);
}

#[tokio::test]
async fn a_phrase_comes_from_its_clip_too_and_an_answer_from_the_voice() {
    let agent = greeting(GREETING);
    let world = World::new(agent.clone(), FAST).await;
    keep_clips(&world, &agent);
    let worker = world.worker().await;
    let phone = Phone::connect(worker.address).await;
    world.until_messages(1).await;
    for _ in 0..4 {
        world.vendors.answer_with(Answer::Failure);
    }
    world.vendors.hear("What time do you close?").await;
    let messages = world.until_messages(3).await;
    assert!(messages[2].content.starts_with("I'm sorry"), "{messages:?}");
    assert_eq!(world.vendors.seen().spoken, [""; 0]);
    assert!(phone.seen().audio().iter().all(|byte| *byte == CLIP));
}

#[tokio::test]
async fn without_clips_the_voice_speaks() {
    let world = World::new(greeting(GREETING), FAST).await;
    let worker = world.worker().await;
    let _phone = Phone::connect(worker.address).await;
    assert_eq!(world.until_messages(1).await[0].content, GREETING);
    assert_eq!(crate::world::in_order(&world.vendors.seen().spoken, GREETING), GREETING);
}

#[tokio::test]
async fn what_is_no_clip_is_not_played() {
    let agent = greeting(GREETING);
    let world = World::new(agent.clone(), FAST).await;
    for set in switchboard_calls::clip_sets(&agent) {
        let key = format!("clips/{}/{}", world.account, set.key());
        world.objects.lock().unwrap().insert(key, "not one".into());
    }
    let worker = world.worker().await;
    let _phone = Phone::connect(worker.address).await;
    assert_eq!(world.until_messages(1).await[0].content, GREETING);
    assert_eq!(crate::world::in_order(&world.vendors.seen().spoken, GREETING), GREETING);
}
