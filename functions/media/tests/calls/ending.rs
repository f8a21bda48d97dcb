//! Calls that are ended by a customer, the carrier or another worker; and the joined recording.

use std::{sync::atomic::Ordering, time::Duration};

use switchboard_model::conversations::{EndedReason, Lease, LegId};
use tokio::time::Instant;

use crate::prelude::*;

#[tokio::test(start_paused = true)]
async fn a_requested_end_takes_at_most_two_seconds() {
    let world = World::new(quiet(), FAST_VOICE).await;
    let worker = world.worker();
    let phone = Phone::connect(&worker.address).await;
    world.conversation.started().await;
    let requested = Instant::now();
    world.conversation.change(|before| before.conversation.request_end(now())).await;
    phone.closed_within(Duration::from_secs(5)).await;
    let (ended, reason) = world.conversation.ended().await;
    assert_eq!(reason, EndedReason::AgentEnded);
    assert_eq!(world.carrier.ended_calls()[0], ended.legs.caller().carrier_call_id().unwrap().id());
    let took = requested.elapsed();
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_carrier_end_ends_the_call_while_its_stream_is_open() {
    let world = World::new(quiet(), FAST_VOICE).await;
    let worker = world.worker();
    let phone = Phone::connect(&worker.address).await;
    world.conversation.started().await;
    world
        .conversation
        .change(|before| before.conversation.record_carrier_end(LegId::CALLER, Some(3), now()))
        .await;
    phone.closed_within(Duration::from_secs(5)).await;
    assert_eq!(world.conversation.ended().await.1, EndedReason::UserEnded);
    assert_eq!(world.carrier.ended_calls(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_lost_its_lease_falls_silent_and_writes_nothing() {
    const LONG: &str = "We close at six in the evening. On Sundays we are open from eight until noon, and on \
                        public holidays we are closed. In the summer we close at seven. In winter at five.";
    let world = World::new(greeting(LONG), SLOW_VOICE).await;
    let worker = world.worker();
    let phone = Phone::connect(&worker.address).await;
    phone.until("speech", |received| received.sent_ms() > 500).await;
    let other = Lease::new("another".into(), now());
    assert!(
        world
            .conversation
            .table
            .take_lease(world.conversation.account, world.conversation.id, &other)
            .await
            .unwrap()
    );
    let before = (
        world.conversation.load().await,
        world.conversation.events().await,
        world.conversation.messages().await,
    );
    phone.closed_within(Duration::from_secs(5)).await;
    assert!(phone.received().sent_ms() < LONG.len() * SLOW_VOICE / 8, "the agent stopped in the middle");
    worker.stop().await.unwrap();
    assert_eq!(
        (
            world.conversation.load().await,
            world.conversation.events().await,
            world.conversation.messages().await
        ),
        before
    );
    assert_eq!(world.conversation.lease().await, Some(other));
    assert_eq!(world.carrier.ended_calls(), [""; 0], "the call belongs to the other worker");
}

#[tokio::test(start_paused = true)]
async fn a_refused_write_ends_the_workers_call_without_a_hang_up() {
    let world = World::new(quiet(), FAST_VOICE).await;
    let worker = world.worker();
    let phone = Phone::connect(&worker.address).await;
    world.conversation.started().await;
    let other = Lease::new("another".into(), now());
    assert!(
        world
            .conversation
            .table
            .take_lease(world.conversation.account, world.conversation.id, &other)
            .await
            .unwrap()
    );
    let before = (
        world.conversation.load().await,
        world.conversation.events().await,
        world.conversation.messages().await,
    );
    world.providers.respond_with(Response::Words("At six."));
    world.providers.transcribe("What time do you close?").await;
    phone.closed_within(Duration::from_secs(5)).await;
    worker.stop().await.unwrap();
    assert_eq!(
        (
            world.conversation.load().await,
            world.conversation.events().await,
            world.conversation.messages().await
        ),
        before
    );
    assert_eq!(world.carrier.ended_calls(), [""; 0], "the call belongs to the other worker");
}

#[tokio::test(start_paused = true)]
async fn a_bucket_that_is_away_for_a_while_loses_nothing_of_the_recording() {
    for is_back in [true, false] {
        let world = World::new(greeting("Hello, this is Ada."), FAST_VOICE).await;
        let worker = world.worker();
        let phone = Phone::connect(&worker.address).await;
        world.conversation.until_messages(1).await;
        world.bucket_is_away.store(true, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs(28)).await;
        world.bucket_is_away.store(!is_back, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs(9)).await;
        phone.send(STOP).await;
        world.conversation.ended().await;
        worker.stop().await.unwrap();
        let events = world.conversation.events().await;
        let faults = &events.last().unwrap().faults;
        let gap = faults.iter().find(|fault| fault.starts_with("recording:"));
        assert_eq!(gap.is_none(), is_back, "{faults:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_recording_is_one_file_of_the_calls_length() {
    let world = World::new(greeting("Hello, this is Ada."), FAST_VOICE).await;
    let worker = world.worker();
    let phone = Phone::connect(&worker.address).await;
    world.conversation.until_messages(1).await;
    phone.send(STOP).await;
    let (ended, _) = world.conversation.ended().await;
    // The recording is joined after the end.
    worker.stop().await.unwrap();
    let objects = world.objects.lock().unwrap();
    let keys: Vec<_> = objects.keys().filter(|key| !key.contains("/replay/")).collect();
    assert_eq!(keys, [&format!("{}/{}/recording.wav", world.conversation.account, world.conversation.id)]);
    let lasted = ended.ended().unwrap().0.since(ended.started_at().unwrap());
    let samples = objects.values().next().unwrap().len() as u64 / 4;
    let recorded = Duration::from_micros(samples * 1_000_000 / 8_000);
    assert!(recorded.abs_diff(lasted) < Duration::from_millis(500), "{recorded:?} of {lasted:?}");
}
