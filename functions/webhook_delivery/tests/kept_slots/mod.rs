//! In-flight slots that a process keeps for its next batches, and messages that are repeated meanwhile.

use std::time::Duration;

use switchboard_model::{
    deliveries::{Admission, DeliveryStatus, host_of, slot_name},
    ids::AccountId,
    time::Timestamp,
};
use switchboard_webhook_delivery::KeptSlots;

use crate::world::{Reply, World};

/// Minimum time for which a process keeps a slot.
const KEPT: Duration = Duration::from_secs(18);

/// A world whose process may keep slots: its account has had many responses.
async fn world() -> World {
    let world = Box::pin(World::new()).await;
    let responses: Vec<_> = (0..40).map(|n| (format!("earlier {n}"), true)).collect();
    let (account, _) = receiver(&world);
    world.webhooks.table.return_account_slots(account, &responses, now()).await.unwrap();
    world
}

fn now() -> Timestamp {
    switchboard_runtime::now()
}

/// The account, and the host of the first webhook.
fn receiver(world: &World) -> (AccountId, String) {
    (world.snapshot.conversation.account_id, host_of(&world.snapshot.agent.webhooks[0].url))
}

/// From now on the next messages reach another process, which has kept nothing.
fn in_another_process(world: &mut World) {
    world.webhooks.kept_slots = KeptSlots::default();
}

#[tokio::test]
async fn a_kept_slot_serves_the_next_batch_of_its_process() {
    let mut world = world().await;
    world.handle(&[world.job(1, 0, 1)]).await;
    let (account, host) = receiver(&world);
    let others: Vec<_> = (0..9).map(|n| format!("other {n}")).collect();
    let (taken, _) = world.webhooks.table.take_slots(account, &host, &others, now()).await.unwrap();
    assert_eq!(taken, [Admission::Admitted; 9]);
    world.handle(&[world.job(2, 0, 1)]).await;
    assert_eq!((world.received().len(), world.queued()), (2, vec![]));
    in_another_process(&mut world);
    world.handle(&[world.job(3, 0, 1)]).await;
    assert_eq!((world.received().len(), world.queued().len()), (0, 1), "the host has no free slot");
}

#[tokio::test]
async fn the_next_attempt_finds_a_slot_while_that_of_the_last_one_is_kept() {
    let mut world = world().await;
    world.replies([Reply::status(500, "")]);
    world.handle(&[world.job(1, 0, 1)]).await;
    in_another_process(&mut world);
    world.handle(&[world.job(1, 0, 2)]).await;
    let delivered = world.delivery(1, 0).await.unwrap();
    assert_eq!((world.received().len(), delivered.status), (2, DeliveryStatus::Delivered));
    // A customer requests a redelivery, too.
    let again = delivered.clone().again(now());
    let conversation = &world.snapshot.conversation;
    world.webhooks.table.redeliver(conversation, Some(&delivered), &again).await.unwrap();
    in_another_process(&mut world);
    world.handle(&[world.job(1, 0, again.attempt)]).await;
    assert_eq!(world.received().len(), 1);
}

#[tokio::test]
async fn a_message_that_comes_twice_in_a_batch_is_sent_once() {
    let world = world().await;
    world.handle(&[world.job(1, 0, 1), world.job(2, 0, 1)]).await;
    assert_eq!(world.received().len(), 2);
    let job = world.job(3, 0, 1);
    assert_eq!(world.handle(&[job, job]).await, Vec::<String>::new());
    assert_eq!((world.received().len(), world.queued()), (1, vec![]));
}

#[tokio::test]
async fn an_attempt_that_the_sweeper_may_repeat_takes_a_slot_of_its_own() {
    let mut world = world().await;
    world.handle(&[world.job(1, 0, 1)]).await;
    assert_eq!(world.received().len(), 1);
    let ago = i64::try_from(Duration::from_mins(16).as_millis()).unwrap();
    world.event_at(2, Timestamp::from_millis(now().as_millis() - ago)).await;
    // Another process makes the attempt.
    let (account, host) = receiver(&world);
    let name = slot_name(world.snapshot.conversation.id, 2, 0, 1);
    let (taken, _) = world.webhooks.table.take_slots(account, &host, &[name], now()).await.unwrap();
    assert_eq!(taken, [Admission::Admitted]);
    world.handle(&[world.job(2, 0, 1)]).await;
    assert_eq!((world.received().len(), world.queued().len()), (0, 1), "it is postponed");
}

/// The budget of write units for in-flight slots in a minute of a call, which `functions/media/tests/calls/write_units.rs`
/// counts.
const UNITS_PER_MINUTE: f64 = 0.3;

#[tokio::test]
async fn the_slots_of_deliveries_stay_within_their_write_units() {
    let mut world = world().await;
    let before = world.slot_units();
    // An account of a hundred calls has some 20 deliveries a second of 200 ms: four processes.
    let processes: [KeptSlots; 4] = std::array::from_fn(|_| KeptSlots::default());
    for sequence in 1..=20 {
        let process = usize::try_from(sequence).unwrap() % processes.len();
        world.webhooks.kept_slots = processes[process].clone();
        world.handle(&[world.job(sequence, 0, 1)]).await;
    }
    assert_eq!(world.received().len(), 20);
    let after = world.slot_units();
    let [of_hosts, of_account] = [after[0] - before[0], after[1] - before[1]];
    assert!(of_hosts > 0 && of_account > 0, "both are counted");
    let units = f64::from(u32::try_from(of_hosts + of_account).unwrap());
    let per_minute = units * 60.0 / KEPT.as_secs_f64() / 100.0;
    assert!(per_minute <= UNITS_PER_MINUTE, "{per_minute:.2} units per minute");
}
