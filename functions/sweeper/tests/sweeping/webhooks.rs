//! Webhook attempts that are due, and first attempts whose messages were lost.

use std::time::Duration;

use switchboard_aws::table::testing;
use switchboard_model::{
    backoff::Jitter,
    deliveries::{Attempt, Delivery},
    ids::EventId,
};
use switchboard_runtime as system;

use crate::{
    HOUR, MINUTE,
    world::{World, ago},
};

/// A delivery of the conversation's `sequence`-th event that failed this many times, the last one this many
/// seconds ago.
async fn failed(world: &World, sequence: u64, times: usize, seconds: i64) -> Delivery {
    let (_, id) = World::ids(1);
    let conversation = world.conversation(1).await;
    let at = ago(seconds);
    let mut delivery = Delivery::new(EventId::of(id, sequence, at), sequence, 0, at);
    for _ in 0..times {
        let attempt = Attempt { at, status: Some(500), latency_ms: 0, answer: None };
        delivery = delivery.after(attempt, None, Jitter::new(u32::MAX / 2));
    }
    world.sweeper.backend.table.record_delivery(&conversation, None, &delivery).await.unwrap();
    delivery
}

#[tokio::test]
async fn a_delivery_is_queued_after_a_long_wait_or_a_lost_message() {
    let world = World::new().await;
    world.queued(1, MINUTE).await;
    // In order: a wait of half an hour is over; it is not; the message of a short wait is lost; it may still arrive.
    let due = failed(&world, 1, 5, 31 * MINUTE).await;
    failed(&world, 2, 5, 29 * MINUTE).await;
    let lost = failed(&world, 3, 1, 16 * MINUTE).await;
    failed(&world, 4, 1, 14 * MINUTE).await;
    failed(&world, 5, 10, HOUR).await;

    let swept = world.sweep().await;
    assert_eq!((swept.queued, swept.looked_at), (2, 0));
    let mut queued = world.carrier().queued.clone();
    queued.sort_by_key(|job| job.sequence);
    let attempts: Vec<_> = queued.iter().map(|job| (job.sequence, job.webhook, job.attempt)).collect();
    assert_eq!(attempts, [(1, 0, due.attempt), (3, 0, lost.attempt)]);
    assert_eq!((queued[0].account_id, queued[0].conversation_id), World::ids(1));
    assert_eq!(world.sweep().await.queued, 0, "it is not queued every minute");

    // Its message is lost again.
    let again =
        world.sweeper.backend.table.due_deliveries(system::now().after(Duration::from_mins(16)), 100).await;
    assert_eq!(again.unwrap().iter().filter(|item| [1, 3].contains(&item.sequence)).count(), 2);
}

#[tokio::test]
async fn lost_first_attempts_are_queued_until_they_are_recorded() {
    let world = World::new().await;
    world.eventful(1, 16 * MINUTE, 3).await;
    let table = &world.sweeper.backend.table;
    failed(&world, 1, 1, MINUTE).await;

    assert_eq!(world.sweep().await.queued, 2);
    let queued = || -> Vec<_> {
        world.carrier().queued.iter().map(|job| (job.sequence, job.webhook, job.attempt)).collect()
    };
    assert_eq!(queued(), [(2, 0, 1), (3, 0, 1)]);
    assert_eq!(world.sweep().await.queued, 0, "they are not queued every minute");

    let lost = async |minutes| {
        let then = system::now().after(Duration::from_mins(minutes));
        let due = table.due_checks(then, 100).await.unwrap();
        let check = due.first()?;
        let (lost, _) = testing::lost_first_attempts(table, check, then).await.unwrap();
        Some(lost.iter().map(|key| key.sequence).collect::<Vec<_>>())
    };
    assert_eq!(lost(14).await, None);
    failed(&world, 2, 1, MINUTE).await;
    // Its message is lost again.
    assert_eq!(lost(17).await, Some(vec![3]));
    failed(&world, 3, 1, MINUTE).await;
    assert_eq!(lost(17).await, Some(vec![]));
}

#[tokio::test]
async fn first_attempts_that_cannot_be_queued_block_no_other() {
    let world = World::new().await;
    let (first, second) = (World::ids(1).1, World::ids(2).1);
    world.eventful(1, 17 * MINUTE, 3).await;
    world.eventful(2, 16 * MINUTE, 3).await;
    world.carrier().unqueued = Some((first, 2));
    assert_eq!(world.sweep().await.queued, 5);
    let mut queued: Vec<_> =
        world.carrier().queued.iter().map(|job| (job.conversation_id, job.sequence)).collect();
    queued.sort_unstable();
    assert_eq!(queued, [(first, 1), (first, 3), (second, 1), (second, 2), (second, 3)]);
    world.carrier().unqueued = None;
    assert_eq!(world.sweep().await.queued, 0, "it is put off");
    let late = system::now().after(Duration::from_mins(3));
    let table = &world.sweeper.backend.table;
    let [again] = &table.due_checks(late, 100).await.unwrap()[..] else { panic!("that of the first one") };
    let (lost, _) = testing::lost_first_attempts(table, again, late).await.unwrap();
    assert_eq!(lost.iter().map(|key| key.sequence).collect::<Vec<_>>(), [2, 3], "the first was sent");
}

#[tokio::test]
async fn a_check_goes_on_where_the_queue_failed() {
    let world = World::new().await;
    world.eventful(1, 16 * MINUTE, 45).await;
    world.carrier().batches_left = Some(2);
    assert_eq!(world.sweep().await.queued, 20);
    let table = &world.sweeper.backend.table;
    let late = system::now().after(Duration::from_mins(3));
    let due = table.due_checks(late, 100).await.unwrap();
    let (lost, _) = testing::lost_first_attempts(table, &due[0], late).await.unwrap();
    assert_eq!(lost.iter().map(|key| key.sequence).collect::<Vec<_>>(), (21..=45).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_sweeps_queue_a_lost_first_attempt_once() {
    let world = World::new().await;
    for n in 0..20 {
        world.eventful(n, 16 * MINUTE, 3).await;
    }
    let (one, two) = tokio::join!(world.sweep(), world.sweep());
    assert_eq!(one.queued + two.queued, 60);
    let mut queued: Vec<_> =
        world.carrier().queued.iter().map(|job| (job.conversation_id, job.sequence)).collect();
    queued.sort_unstable();
    queued.dedup();
    assert_eq!(queued.len(), 60);
}

#[tokio::test]
async fn a_delivery_that_cannot_be_queued_blocks_no_other() {
    let world = World::new().await;
    world.queued(1, MINUTE).await;
    for sequence in 1..=3 {
        failed(&world, sequence, 5, 32 * MINUTE).await;
    }
    world.carrier().unqueued = Some((World::ids(1).1, 2));
    assert_eq!(world.sweep().await.queued, 2);
    let late =
        world.sweeper.backend.table.due_deliveries(system::now().after(Duration::from_mins(3)), 100).await;
    assert_eq!(late.unwrap().iter().map(|item| item.sequence).collect::<Vec<_>>(), [2], "put off");
}
