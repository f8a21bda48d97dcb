//! Who else ends a call, and what becomes of its recording.

use std::time::Duration;

use switchboard_model::{
    conversations::{EndedReason, Lease},
    recording::SAMPLE_RATE,
};
use tokio::time::Instant;

use crate::world::{Answer, FAST, Phone, STOP, UNHURRIED, World, greeting, now, quiet};

#[tokio::test]
async fn a_call_whose_end_is_requested_ends_within_two_seconds() {
    let world = World::new(quiet(), FAST).await;
    let worker = world.worker().await;
    let phone = Phone::connect(worker.address).await;
    world.started().await;
    let requested = Instant::now();
    world.change(|before| before.conversation.request_end(now())).await;
    phone.closed_within(Duration::from_secs(5)).await;
    let (ended, reason) = world.ended().await;
    assert_eq!(reason, EndedReason::AgentEnded);
    assert_eq!(world.vendors.seen().changed[0].0, ended.carrier_call_id.unwrap());
    let took = requested.elapsed();
    assert!(took < Duration::from_secs(3), "{took:?}");
}

#[tokio::test]
async fn a_call_that_the_carrier_says_is_over_ends_although_its_stream_does_not() {
    let world = World::new(quiet(), FAST).await;
    let worker = world.worker().await;
    let phone = Phone::connect(worker.address).await;
    world.started().await;
    world.change(|before| before.conversation.record_carrier_end(Some(3), now())).await;
    phone.closed_within(Duration::from_secs(5)).await;
    assert_eq!(world.ended().await.1, EndedReason::UserEnded);
    assert_eq!(world.vendors.seen().changed, []);
}

#[tokio::test]
async fn a_worker_whose_lease_was_taken_falls_silent_and_writes_no_more() {
    const LONG: &str = "We close at six in the evening. On Sundays we are open from eight until noon, and on \
                        public holidays we are closed. In the summer we close at seven. In winter at five.";
    let world = World::new(greeting(LONG), UNHURRIED).await;
    let worker = world.worker().await;
    let phone = Phone::connect(worker.address).await;
    phone.until("speech", |seen| seen.sent_ms() > 500).await;
    let other = Lease::new("another".into(), now());
    assert!(world.table.take_lease(world.account, world.id, &other).await.unwrap());
    let before = (world.conversation().await, world.events().await, world.messages().await);
    phone.closed_within(Duration::from_secs(5)).await;
    assert!(phone.seen().sent_ms() < LONG.len() * UNHURRIED / 8, "it stopped in the middle");
    worker.stop().await.unwrap();
    assert_eq!((world.conversation().await, world.events().await, world.messages().await), before);
    assert_eq!(world.table.lease(world.account, world.id).await.unwrap(), Some(other));
    assert_eq!(world.vendors.seen().changed, [], "the call is another's to hang up");
}

#[tokio::test]
async fn a_worker_that_learns_by_a_write_that_its_lease_was_taken_does_not_hang_up() {
    let world = World::new(quiet(), FAST).await;
    let worker = world.worker().await;
    let phone = Phone::connect(worker.address).await;
    world.started().await;
    let other = Lease::new("another".into(), now());
    assert!(world.table.take_lease(world.account, world.id, &other).await.unwrap());
    let before = (world.conversation().await, world.events().await, world.messages().await);
    world.vendors.answer_with(Answer::Words("At six."));
    world.vendors.hear("What time do you close?").await;
    phone.closed_within(Duration::from_secs(5)).await;
    worker.stop().await.unwrap();
    assert_eq!((world.conversation().await, world.events().await, world.messages().await), before);
    assert_eq!(world.vendors.seen().changed, [], "the call is another's to hang up");
}

#[tokio::test]
async fn the_recording_is_one_file_as_long_as_the_call() {
    let world = World::new(greeting("Hello, this is Ada."), FAST).await;
    let worker = world.worker().await;
    let phone = Phone::connect(worker.address).await;
    world.until_messages(1).await;
    phone.send(STOP).await;
    let (ended, _) = world.ended().await;
    // Joining comes after the end.
    worker.stop().await.unwrap();
    let objects = world.objects.lock().unwrap();
    let keys: Vec<_> = objects.keys().filter(|key| !key.contains("/replay/")).collect();
    assert_eq!(keys, [&format!("{}/{}/recording.wav", world.account, world.id)]);
    let lasted = ended.ended().unwrap().0.since(ended.started_at().unwrap());
    let samples = objects.values().next().unwrap().len() as u64 / 4;
    let recorded = Duration::from_micros(samples * 1_000_000 / u64::from(SAMPLE_RATE));
    assert!(recorded.abs_diff(lasted) < Duration::from_millis(500), "{recorded:?} of {lasted:?}");
}
