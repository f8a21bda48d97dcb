//! A transcriber whose sessions break, are refused, or return nothing.

use std::time::Duration;

use switchboard_model::{
    agents::AgentConfig, conversations::EndedReason, event_names::EventName, messages::Role,
    webhooks::Webhook,
};

use crate::{prelude::*, support::agents::webhook};

const FRAME: usize = 160;

/// Sends a frame that is filled with this byte.
async fn send_frame(phone: &Phone, byte: u8) {
    phone.send_audio(0, &[byte; FRAME]).await;
}

/// Waits until a session has received a frame that is filled with this byte.
async fn until_sent(world: &World, session: usize, byte: u8) {
    let has = |audio: &Vec<u8>| audio.contains(&byte);
    world.providers.until("the frame", |requests| requests.session_audio.get(session).is_some_and(has)).await;
}

#[tokio::test(start_paused = true)]
async fn untranscribed_audio_is_sent_to_the_next_session() {
    // An event that a webhook receives is stored at once.
    let speech = Webhook { events: vec![EventName::SpeechStarted], ..webhook("https://bakery.example/") };
    let world = World::new(AgentConfig { webhooks: vec![speech], ..quiet() }, FAST_VOICE).await;
    let worker = world.worker();
    let phone = Phone::connect(&worker.address).await;
    world.providers.until("half a second", |requests| requests.audio_bytes > 4_000).await;
    for byte in 1..20 {
        send_frame(&phone, byte).await;
    }
    until_sent(&world, 0, 19).await;
    world.providers.break_sessions();
    until_sent(&world, 1, 19).await;
    let audio = world.providers.requests().session_audio;
    assert!(audio[1].starts_with(&audio[0]), "all audio, in order");

    // These words end in the middle of a frame of the second session.
    let at = audio[1].iter().position(|byte| *byte == 10).unwrap();
    let end = Duration::from_micros(125 * (at as u64 + 8));
    let before = world.conversation.load().await;
    world.providers.transcribe_until("One to ten,", end, false);
    send_frame(&phone, 21).await;
    until_sent(&world, 1, 21).await;
    world.conversation.until("transcribed", |then| then.next_sequence > before.next_sequence).await;
    let broken_at = now();
    world.providers.break_sessions();
    until_sent(&world, 2, 21).await;
    let again = &world.providers.requests().session_audio[2];
    assert_eq!(again[0], 11, "the first frame behind those words");
    assert!(again.starts_with(&world.providers.requests().session_audio[1][at + FRAME..]));

    world.providers.respond_with(Response::Words("Thank you."));
    world.providers.transcribe_until("eleven to twenty.", Duration::from_millis(200), true);
    let messages = world.conversation.until_messages(2).await;
    assert_eq!(messages[0].content, "One to ten, eleven to twenty.");
    assert!(
        messages[0].ended_at < broken_at,
        "the time of the words is that of their audio, not of the third session"
    );

    phone.send(STOP).await;
    assert_eq!(world.conversation.ended().await.1, EndedReason::UserEnded);
    let faults = world.conversation.faults().await;
    let of = |what: &str| {
        faults
            .iter()
            .filter(|fault| fault.starts_with("transcriber deepgram: ") && fault.contains(what))
            .count()
    };
    assert_eq!((of("connection was lost"), of("connected again after ")), (2, 2), "{faults:?}");
}

#[tokio::test(start_paused = true)]
async fn the_audio_of_all_sessions_is_billed() {
    let world = World::new(quiet(), FAST_VOICE).await;
    let worker = world.worker();
    let phone = Phone::connect(&worker.address).await;
    world.providers.until("half a second", |requests| requests.audio_bytes > 4_000).await;
    world.providers.break_sessions();
    world
        .providers
        .until("another session", |requests| {
            requests.session_audio.len() == 2 && requests.audio_bytes > 12_000
        })
        .await;
    phone.send(STOP).await;
    let (ended, _) = world.conversation.ended().await;
    let (_, _, cost) = ended.ended().unwrap();
    let sent = world.providers.requests().audio_bytes / 8;
    // The last frame of a broken session may have been queued.
    assert!((sent..sent + 40).contains(&cost.transcriber.ms), "{} of {sent} ms", cost.transcriber.ms);
}

#[tokio::test(start_paused = true)]
async fn audio_waits_for_a_transcriber_that_connects_late() {
    let world = World::new(quiet(), FAST_VOICE).await;
    for status in [503, 429] {
        world.providers.refuse_session(status);
    }
    let worker = world.worker();
    let phone = Phone::connect(&worker.address).await;
    world.conversation.started().await;
    for byte in 1..20 {
        send_frame(&phone, byte).await;
    }
    until_sent(&world, 0, 19).await;
    let audio = &world.providers.requests().session_audio[0];
    let mut said: Vec<_> = audio.iter().copied().filter(|byte| (1..20).contains(byte)).collect();
    said.dedup();
    assert_eq!(said, (1..20).collect::<Vec<_>>());
    world.providers.respond_with(Response::Words("At six."));
    world.providers.transcribe("What time do you close?").await;
    assert_eq!(world.conversation.until_messages(2).await[1].content, "At six.");
    let faults = world.conversation.faults().await;
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert_eq!(faults[0], "transcriber deepgram: it answered the handshake with 503");
    assert!(faults[1].starts_with("transcriber deepgram: connected again after "), "{faults:?}");
}

#[tokio::test(start_paused = true)]
async fn a_rejected_key_ends_the_call_with_a_fault() {
    let world = World::new(quiet(), FAST_VOICE).await;
    world.providers.refuse_session(401);
    let worker = world.worker();
    let phone = Phone::connect(&worker.address).await;
    assert_eq!(world.conversation.ended().await.1, EndedReason::Unknown);
    phone.closed().await;
    let faults = world.conversation.faults().await;
    assert_eq!(faults[0], "transcriber deepgram: refused the request (401)", "{faults:?}");
}

#[tokio::test(start_paused = true)]
async fn a_session_without_transcripts_is_replaced() {
    let world = World::new(quiet(), FAST_VOICE).await;
    let worker = world.worker();
    let phone = Phone::connect(&worker.address).await;
    world.providers.until("a session", |requests| requests.open_sessions == 1).await;
    phone.speak_frames(60).await;
    world.providers.until("another session", |requests| requests.session_audio.len() == 2).await;
    let first = world.providers.requests().session_audio[0].clone();
    world.providers.until("the same audio", |requests| requests.session_audio[1].len() > first.len()).await;
    assert!(world.providers.requests().session_audio[1].starts_with(&first));
    world.providers.until("one session", |requests| requests.open_sessions == 1).await;

    world.providers.respond_with(Response::Words("Take your time."));
    world.providers.transcribe("Wait a moment, please.").await;
    let messages = world.conversation.until_messages(2).await;
    let said: Vec<_> = messages.iter().map(|message| (message.role, message.content.as_str())).collect();
    let answer = [(Role::User, "Wait a moment, please."), (Role::Agent, "Take your time.")];
    assert!(said.ends_with(&answer), "{said:?}");
    phone.send(STOP).await;
    world.conversation.ended().await;
    let faults = world.conversation.faults().await;
    assert!(faults.iter().any(|fault| fault.starts_with("transcriber deepgram: ")), "{faults:?}");
}
