//! Frames that the carrier never sends: ignored, or the end of their stream, and never of the worker.

use std::time::Duration;

use serde_json::{Value, json};
use switchboard_model::conversations::{EndedReason, State};

use crate::prelude::*;

/// Larger than any frame of the carrier.
const MEGABYTE: usize = 1 << 20;

/// The sample's frame, of another stream.
fn of_another_stream(sample: &str) -> String {
    let mut frame: Value = serde_json::from_str(sample).unwrap();
    frame["streamSid"] = json!("MZffffffffffffffffffffffffffffffff");
    frame.to_string()
}

#[tokio::test(start_paused = true)]
async fn unreadable_and_foreign_frames_of_a_call_are_ignored() {
    let world = World::new(greeting("Hello, this is Ada."), SLOW_VOICE).await;
    let worker = world.worker();
    let phone = Phone::connect(&worker.address).await;
    world.conversation.started().await;
    let before = world.conversation.lease().await.unwrap();
    for frame in [
        "",
        "{",
        "[]",
        "null",
        r#"{"event":7}"#,
        r#"{"event":"media"}"#,
        r#"{"event":"media","media":{"payload":"*"}}"#,
        r#"{"event":"mark","mark":{}}"#,
        r#"{"event":"dtmf","dtmf":{"digit":""}}"#,
        r#"{"event":"unknown","media":[]}"#,
        &"[".repeat(1_000),
        // Once more what came before the call.
        CONNECTED,
        START,
        &of_another_stream(START),
        &of_another_stream(MEDIA),
        &of_another_stream(STOP),
    ] {
        phone.send(frame).await;
    }
    phone.send_binary(vec![0xff; 1_000]).await;
    phone.send_binary(vec![]).await;
    let messages = world.conversation.until_messages(1).await;
    assert_eq!(messages[0].content, "Hello, this is Ada.");
    assert_eq!(phone.received().closed, None, "the call goes on");
    assert_eq!(world.conversation.lease().await.unwrap().holder, before.holder);
    world.providers.respond_with(Response::Words("At six."));
    world.providers.transcribe("What time do you close?").await;
    phone.until("an answer", |received| received.played == 2).await;
    phone.send(STOP).await;
    assert_eq!(world.conversation.ended().await.1, EndedReason::UserEnded);
    worker.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_frame_of_a_megabyte_costs_the_stream_and_no_other() {
    const ANOTHER: &str = "cnv_01JD8QA1B2C3D4E5F6G7H8J9K1";
    let payload = "A".repeat(MEGABYTE);
    let text = format!(r#"{{"event":"media","media":{{"payload":"{payload}"}}}}"#);
    for is_text in [true, false] {
        let world = World::new(quiet(), FAST_VOICE).await;
        world.conversation.answer(ANOTHER.parse().unwrap(), quiet()).await;
        let worker = world.worker();
        let phone = Phone::connect(&worker.address).await;
        let other = Phone::with(&worker.address, "conversation_id", ANOTHER).await;
        world.providers.until("both calls", |requests| requests.open_sessions == 2).await;
        if is_text {
            phone.send(&text).await;
        } else {
            phone.send_binary(vec![0; MEGABYTE]).await;
        }
        phone.closed_within(Duration::from_secs(5)).await;
        world.providers.until("one call", |requests| requests.open_sessions == 1).await;
        // The carrier connects the call again.
        assert!(matches!(world.conversation.load().await.state, State::Started { .. }));
        assert_eq!(world.carrier.ended_calls(), [""; 0]);
        other.speak_frames(10).await;
        assert_eq!(other.received().closed, None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_begins_with_anything_else_is_closed() {
    let world = World::new(quiet(), FAST_VOICE).await;
    let worker = world.worker();
    let before = world.conversation.load().await;
    for frame in
        ["{", "[]", r#"{"event":"start"}"#, STOP, MEDIA, r#"{"event":"start","start":{"streamSid":7}}"#]
    {
        let phone = Phone::silent(&worker.address).await;
        phone.send(frame).await;
        phone.closed_within(Duration::from_secs(5)).await;
    }
    for bytes in [vec![], vec![0; MEGABYTE]] {
        let phone = Phone::silent(&worker.address).await;
        phone.send_binary(bytes).await;
        phone.closed_within(Duration::from_secs(5)).await;
    }
    assert_eq!(world.conversation.load().await, before);
    assert_eq!(world.providers.requests().session_audio.len(), 0, "no provider was asked");
    // The worker serves on.
    let phone = Phone::connect(&worker.address).await;
    world.conversation.started().await;
    assert_eq!(phone.received().closed, None);
}
