//! A panic ends one call, and a worker stops in time.

use std::time::Duration;

use switchboard_model::{
    conversations::{EndedReason, State},
    messages::Role,
};

use crate::prelude::*;

const GREETING: &str = "Hello, this is Ada from the corner bakery. Your cake is ready for you. We are open until \
                        six in the evening.";
const ANOTHER: &str = "cnv_01JD8QA1B2C3D4E5F6G7H8J9K1";

#[tokio::test(start_paused = true)]
async fn a_panic_ends_its_call_alone() {
    let world = World::new(quiet(), FAST_VOICE).await;
    let another = ANOTHER.parse().unwrap();
    world.conversation.answer(another, quiet()).await;
    let worker = world.worker();
    let phones = [
        Phone::connect(&worker.address).await,
        Phone::with(&worker.address, "conversation_id", ANOTHER).await,
    ];
    world.providers.until("both calls", |requests| requests.open_sessions == 2).await;
    // The first generation panics.
    world.providers.respond_with(Response::Panic);
    world.providers.respond_with(Response::Words("At six."));
    world.providers.transcribe("What time do you close?").await;
    let [one, other] = &phones;
    tokio::select! {
        _ = one.closed() => {}
        _ = other.closed() => {}
    }

    let mut ends = vec![];
    for (id, phone) in [world.conversation.id, another].into_iter().zip(&phones) {
        if phone.received().closed.is_some() {
            // The stream breaks with the call, and the end is written after that.
            let ended = world.conversation.poll("an end", async || {
                let conversation = world.conversation.load_other(id).await;
                conversation.ended().map(|(_, reason, _)| reason)
            });
            ends.push(ended.await);
            let (events, _) =
                world.conversation.table.events(world.conversation.account, id, 0, 100).await.unwrap();
            assert_eq!(events.last().unwrap().name.as_str(), "conversation:ended");
            assert!(world.conversation.table.lease(world.conversation.account, id).await.unwrap().is_none());
        } else {
            phone.until("the answer", |received| received.played == 1).await;
            let other = world.conversation.load_other(id).await;
            assert!(matches!(other.state, State::Started { .. }), "the other call continues");
        }
    }
    assert_eq!(world.carrier.ended_calls().len(), 1);
    assert_eq!(ends, [EndedReason::Unknown]);
    worker.stop().await.unwrap();
    let mut said = vec![];
    for id in [world.conversation.id, another] {
        said.extend(world.conversation.table.messages(world.conversation.account, id).await.unwrap());
    }
    said.retain(|message| message.role == Role::Agent);
    assert_eq!(said.iter().map(|message| message.content.as_str()).collect::<Vec<_>>(), ["At six."]);
}

#[tokio::test(start_paused = true)]
async fn a_worker_gives_up_when_its_drain_time_is_over() {
    let world = World::new(greeting(GREETING), SLOW_VOICE).await;
    let worker = world.worker_with(10, Duration::from_secs(1));
    let phone = Phone::connect(&worker.address).await;
    phone.until("speech", |received| received.sent_ms() > 500).await;
    // The table fails, so the worker tries to store the heard words for a minute.
    world.set_table_fault(TableFault::Unreachable);
    let error = worker.stop().await.unwrap_err();
    assert_eq!(error.to_string(), "calls were still live after 1s");
}
