//! Faults of the language model and the voice: the caller hears a response, the call continues, and an event names the
//! provider.

use std::time::Duration;

use switchboard_model::messages::Role;

use crate::prelude::*;

/// Runs a call with a fault in the first of two responses.
async fn survives(response: Option<Response>, voice: Option<VoiceFault>, expected: &str) {
    let world = World::new(quiet(), FAST_VOICE).await;
    let worker = world.worker();
    let _phone = Phone::connect(&worker.address).await;
    world.conversation.started().await;
    for response in response.into_iter().chain([Response::Words("At six in the evening.")]) {
        world.providers.respond_with(response);
    }
    if let Some(fault) = voice {
        world.providers.fail_voice(fault);
    }
    world.providers.transcribe("What time do you close?").await;
    let said = |messages: &[switchboard_model::messages::Message]| {
        let said = messages.iter().filter(|message| message.role == Role::Agent);
        said.map(|message| message.content.clone()).collect::<Vec<_>>()
    };
    let mut count = 2;
    let mut messages = world.conversation.until_messages(count).await;
    while !said(&messages).iter().any(|words| words.starts_with("At six")) {
        count += 1;
        messages = world.conversation.until_messages(count).await;
    }

    world.providers.respond_with(Response::Words("On Sunday we are closed."));
    world.providers.transcribe("And on Sunday?").await;
    while said(&messages).last().is_none_or(|words| words != "On Sunday we are closed.") {
        count += 1;
        messages = world.conversation.until_messages(count).await;
    }
    let faults = world.conversation.faults().await;
    let named = faults.iter().filter(|fault| fault.starts_with(expected)).count();
    assert_eq!(named, 1, "{faults:?}");
    assert!(faults.iter().all(|fault| !fault.contains("six")), "no transcript: {faults:?}");
}

#[tokio::test(start_paused = true)]
async fn a_model_error_is_retried() {
    survives(Some(Response::Failure), None, "language model openai: error (500)").await;
}

#[tokio::test(start_paused = true)]
async fn a_model_rate_limit_is_retried() {
    survives(Some(Response::Busy), None, "language model openai: error (429)").await;
}

#[tokio::test(start_paused = true)]
async fn a_silent_model_is_retried() {
    survives(Some(Response::Silence), None, "language model openai: ").await;
}

#[tokio::test(start_paused = true)]
async fn a_broken_generation_is_retried() {
    survives(Some(Response::Broken("We")), None, "language model openai: the connection was lost").await;
}

#[tokio::test(start_paused = true)]
async fn a_stalled_generation_is_retried() {
    survives(Some(Response::Stalled("We")), None, "language model openai: ").await;
}

/// Asks a question that the model answers without end; the call goes on afterwards.
async fn goes_on_after(response: Response, expected: &str) {
    let world = World::new(quiet(), FAST_VOICE).await;
    let worker = world.worker();
    let _phone = Phone::connect(&worker.address).await;
    world.conversation.started().await;
    world.providers.respond_with(response);
    world.providers.transcribe("Tell me everything.").await;
    // The agent says all that was taken of the response.
    tokio::time::sleep(Duration::from_secs(45)).await;
    let messages = world.conversation.until_messages(2).await;
    assert!(!messages[1].interrupted, "what was taken is said to its end");
    assert!(messages[1].content.len() <= 32 * 1024);
    world.providers.respond_with(Response::Words("At six in the evening."));
    world.providers.transcribe("What time do you close?").await;
    assert_eq!(world.conversation.until_messages(4).await[3].content, "At six in the evening.");
    let faults = world.conversation.faults().await;
    assert!(faults.iter().any(|fault| fault == expected), "{faults:?}");
}

#[tokio::test(start_paused = true)]
async fn an_endless_response_is_cut() {
    let expected = "language model openai: its response was too long, and was cut";
    goes_on_after(Response::Endless("We bake bread. "), expected).await;
}

#[tokio::test(start_paused = true)]
async fn a_response_of_more_than_a_minute_is_cut() {
    let expected = "language model openai: its response took more than 60 s";
    goes_on_after(Response::Dripping("We bake bread. "), expected).await;
}

#[tokio::test(start_paused = true)]
async fn a_voice_error_is_retried() {
    survives(None, Some(VoiceFault::Refused), "voice deepgram: 503").await;
}

#[tokio::test(start_paused = true)]
async fn a_voice_rate_limit_is_retried() {
    survives(None, Some(VoiceFault::Busy), "voice deepgram: 429").await;
}

#[tokio::test(start_paused = true)]
async fn a_silent_voice_is_retried() {
    survives(None, Some(VoiceFault::Silent), "voice deepgram: ").await;
}

#[tokio::test(start_paused = true)]
async fn broken_speech_is_retried() {
    survives(None, Some(VoiceFault::Broken), "voice deepgram: ").await;
}

#[tokio::test(start_paused = true)]
async fn stalled_speech_is_retried() {
    survives(None, Some(VoiceFault::Stalled), "voice deepgram: ").await;
}
