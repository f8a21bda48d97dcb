//! Faults of the vendors' protocols, and their names in the events. `tests/calls` tests the handling of each fault.

use std::time::Duration;

use axum::http::StatusCode;
use switchboard_model::conversations::EndedReason;

use crate::prelude::*;

/// Runs a call with a fault in the first response. The caller hears the second one.
async fn survives(response: Option<Response>, voice: Option<VoiceFault>, expected: &str) {
    let world = World::new(quiet(), FAST_VOICE).await;
    let worker = world.worker().await;
    let _phone = Phone::connect(&worker.address).await;
    for response in response.into_iter().chain([Response::Words("At six in the evening.")]) {
        world.vendors.respond_with(response);
    }
    if let Some(fault) = voice {
        world.vendors.fail_voice(fault);
    }
    world.vendors.transcribe("What time do you close?").await;
    let is_heard = async || {
        let messages = world.conversation.messages().await;
        messages.iter().any(|message| message.content.starts_with("At six")).then_some(())
    };
    world.conversation.poll("the second response", is_heard).await;
    let faults = world.conversation.faults().await;
    assert_eq!(faults.iter().filter(|fault| fault.starts_with(expected)).count(), 1, "{faults:?}");
    assert!(faults.iter().all(|fault| !fault.contains("six")), "no transcript: {faults:?}");
}

#[tokio::test]
async fn a_model_error_is_named() {
    survives(Some(Response::Failure), None, "language model openai: error (500)").await;
}

#[tokio::test]
async fn a_model_rate_limit_is_named() {
    survives(Some(Response::Busy), None, "language model openai: error (429)").await;
}

#[tokio::test]
async fn a_broken_generation_is_named() {
    survives(Some(Response::Broken("We")), None, "language model openai: the connection was lost").await;
}

#[tokio::test]
async fn a_voice_error_is_named() {
    survives(None, Some(VoiceFault::Refused), "voice deepgram: 503").await;
}

#[tokio::test]
async fn broken_speech_is_named() {
    survives(None, Some(VoiceFault::Broken), "voice deepgram: ").await;
}

#[tokio::test]
async fn a_broken_session_is_replaced_and_named() {
    let world = World::new(quiet(), FAST_VOICE).await;
    world.vendors.refuse_session(StatusCode::SERVICE_UNAVAILABLE);
    let worker = world.worker().await;
    let phone = Phone::connect(&worker.address).await;
    world.vendors.until("half a second", |requests| requests.audio_bytes > 4_000).await;
    world.vendors.break_sessions();
    world.vendors.until("another session", |requests| requests.session_audio.len() == 2).await;
    world
        .vendors
        .until("all of its audio", |requests| {
            requests.session_audio[1].len() > requests.session_audio[0].len()
        })
        .await;
    let audio = world.vendors.requests().session_audio;
    assert!(audio[1].starts_with(&audio[0]), "untranscribed audio is sent again");
    world.vendors.respond_with(Response::Words("Thank you."));
    world.vendors.transcribe_until("Hello?", Duration::from_millis(200), true);
    world.conversation.until_messages(2).await;
    phone.send(STOP).await;
    let (ended, reason) = world.conversation.ended().await;
    assert_eq!(reason, EndedReason::UserEnded);
    let (_, _, cost) = ended.ended().unwrap();
    let sent = world.vendors.requests().audio_bytes / 8;
    // The last frames of a broken session may have been lost on the way.
    assert!((sent..sent + 500).contains(&cost.transcriber.ms), "{} of {sent} ms", cost.transcriber.ms);
    let faults = world.conversation.faults().await;
    assert_eq!(faults[0], "transcriber deepgram: it answered the handshake with 503");
    let count = |what: &str| faults.iter().filter(|fault| fault.contains(what)).count();
    assert_eq!((count("connection was lost"), count("connected again after ")), (1, 2), "{faults:?}");
}

#[tokio::test]
async fn a_rejected_key_ends_the_call_with_a_fault() {
    let world = World::new(quiet(), FAST_VOICE).await;
    world.vendors.refuse_session(StatusCode::UNAUTHORIZED);
    let worker = world.worker().await;
    let phone = Phone::connect(&worker.address).await;
    assert_eq!(world.conversation.ended().await.1, EndedReason::Unknown);
    phone.closed().await;
    let faults = world.conversation.faults().await;
    assert_eq!(faults[0], "transcriber deepgram: refused the request (401)", "{faults:?}");
}
