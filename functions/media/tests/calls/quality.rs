//! The quality of a conversation: measured by the worker, and stored with its end.

use switchboard_model::conversations::EndedReason;

use crate::prelude::*;

const LONG: &str =
    "We are open from eight in the morning until six in the evening, and on Saturday until noon.";

#[tokio::test(start_paused = true)]
async fn an_ended_conversation_has_its_quality() {
    let world = World::new(quiet(), SLOW_VOICE).await;
    let worker = world.worker();
    let phone = Phone::connect(&worker.address).await;
    world.providers.respond_with(Response::Words(LONG));
    world.providers.transcribe("What time do you close?").await;
    phone.until("a second of speech", |received| received.sent_ms() > 1_400).await;
    phone.speak(|| phone.received().has(&Frame::Clear)).await;
    world.providers.respond_with(Response::Words("Take your time."));
    world.providers.transcribe("Wait a moment, please.").await;
    world.conversation.until_messages(4).await;
    assert_eq!(world.conversation.load().await.quality(), None, "it is measured at the end");

    phone.send(STOP).await;
    let (ended, reason) = world.conversation.ended().await;
    assert_eq!(reason, EndedReason::UserEnded);
    let quality = ended.quality().unwrap();
    // The caller's words of this test have no audio, so only their number and the stop are compared.
    assert!(quality.estimated);
    assert_eq!(quality.turns, 2, "{quality:?}");
    assert!(quality.yield_ms.is_some() && quality.turn_score.is_some(), "{quality:?}");
}
