//! Checks for lost first attempts.

use serde_json::json;
use switchboard_model::{
    backoff::Jitter,
    conversations::{EndedReason, Snapshot},
    costs::Prices,
};

use super::{
    Check, DeliveryKey,
    deliveries_tests::{World, attempt},
    testing,
    tests::{account, at, queued},
};

impl World {
    async fn due_check(&self, seconds: i64) -> Option<Check> {
        self.table.due_checks(at(seconds), 100).await.unwrap().pop()
    }

    /// The first attempts that a check finds lost at this time, if one is due, and whether there is another one.
    async fn lost(&self, seconds: i64) -> Option<(Vec<DeliveryKey>, bool)> {
        let check = self.due_check(seconds).await?;
        let (lost, run) = testing::lost_first_attempts(&self.table, &check, at(seconds)).await?;
        self.table.settle_check(&run).await.unwrap();
        Some((lost, run.again_at().is_some()))
    }

    /// The first attempts at these events for both webhooks.
    fn keys(&self, sequences: impl IntoIterator<Item = u64>) -> Vec<DeliveryKey> {
        let keys = sequences.into_iter().flat_map(|sequence| [self.key(sequence, 0), self.key(sequence, 1)]);
        keys.collect()
    }

    async fn record_all(&self, keys: &[DeliveryKey]) {
        for key in keys {
            self.record(None, &self.fresh(key.sequence, key.webhook)).await.unwrap();
        }
    }

    async fn end(&self) {
        let Snapshot { conversation, agent } = &self.snapshot;
        let (reason, prices) = (EndedReason::UserEnded, Prices::default());
        let end = conversation.end(agent, reason, &[], &conversation.usage, &prices, at(20)).unwrap();
        self.table.commit(conversation, &end).await.unwrap();
    }
}

fn sequences(keys: &[DeliveryKey]) -> Vec<u64> {
    keys.iter().map(|key| key.sequence).collect()
}

#[tokio::test]
async fn lost_first_attempts_are_found_until_each_webhook_of_an_ended_conversation_has_one() {
    let world = World::new().await;
    assert_eq!(world.lost(899).await, None);
    assert_eq!(world.lost(900).await, Some((vec![], true)), "the events are three seconds younger");
    assert_eq!(world.lost(1_799).await, None, "a quarter of an hour later");
    let failed = world.fresh(1, 1).after(attempt(500), None, Jitter::new(7));
    world.record(None, &failed).await.unwrap();
    let mut all = world.keys(1..=12);
    all.retain(|key| *key != world.key(1, 1));
    assert_eq!(world.lost(1_800).await, Some((all.clone(), true)));
    assert_eq!(world.lost(1_800).await, None);
    all.retain(|key| *key != world.key(3, 0));
    world.record_all(&all).await;
    assert_eq!(world.lost(2_699).await, None);
    assert_eq!(world.lost(2_700).await, Some((vec![world.key(3, 0)], true)));
    // The pause grows with the age of the event.
    assert_eq!(world.lost(3_600).await, Some((vec![], true)));
    assert_eq!(world.lost(4_500).await, Some((vec![world.key(3, 0)], true)));
    world.record_all(&[world.key(3, 0)]).await;
    assert_eq!(world.lost(5_400).await, Some((vec![], true)), "the conversation goes on");
    world.end().await;
    assert_eq!(world.lost(6_300).await, Some((vec![], false)));
    assert_eq!(world.lost(1_000_000).await, None, "that was the last check");
}

#[tokio::test]
async fn a_check_without_new_events_passes_over_none_of_the_later_ones() {
    let mut world = World::without_events().await;
    for seconds in [900, 1_800] {
        assert_eq!(world.lost(seconds).await, Some((vec![], true)), "a call that waits");
    }
    for round in 1..=2 {
        let now = 1_800 * round;
        world.append(at(now), &json!(null), 1).await;
        let sequence = u64::try_from(round).unwrap();
        assert_eq!(world.lost(now + 900).await, Some((world.keys([sequence]), true)));
        world.record_all(&world.keys([sequence])).await;
        assert_eq!(world.lost(now + 1_800).await, Some((vec![], true)));
    }
}

#[tokio::test]
async fn a_conversation_of_many_pages_is_checked_to_its_end() {
    let mut world = World::without_events().await;
    for _ in 0..6 {
        world.append(at(3), &json!("x".repeat(60_000)), 6).await;
    }
    world.end().await;
    let check = world.due_check(1_800).await.unwrap();
    let mut run = world.table.begin_check(&check, at(1_800)).await.unwrap().unwrap();
    let (mut pages, mut lost) = (0, vec![]);
    while let Some(page) = world.table.lost_first_attempts(&mut run).await.unwrap() {
        pages += 1;
        lost.extend(page.deliveries());
    }
    assert!(pages > 1, "{pages}");
    assert_eq!(lost, world.keys(1..=36));
    world.table.settle_check(&run).await.unwrap();
    world.record_all(&world.keys(1..=35)).await;
    assert_eq!(world.lost(2_700).await, Some((world.keys([36]), true)));
    world.record_all(&world.keys([36])).await;
    assert_eq!(world.lost(4_500).await, Some((vec![], false)));
}

#[tokio::test]
async fn an_open_event_neither_delays_those_after_it_nor_is_queued_in_every_check() {
    let mut world = World::new().await;
    let mut others = world.keys(1..=12);
    others.retain(|key| *key != world.key(1, 0));
    world.record_all(&others).await;
    let mut queued = vec![];
    for quarter in 1..=16 {
        let (lost, _) = world.lost(900 * quarter).await.unwrap();
        queued.extend(sequences(&lost).into_iter().map(|sequence| (quarter, sequence)));
        if quarter == 6 {
            world.append(at(900 * quarter), &json!(null), 1).await;
        }
    }
    let both = |quarter| [(quarter, 13), (quarter, 13)];
    let expected = [[(2, 1), (3, 1)], [(5, 1), (9, 1)], both(7), both(8), both(10), both(14)];
    let mut expected = expected.concat();
    expected.sort_unstable();
    assert_eq!(queued, expected);
}

#[tokio::test]
async fn a_check_that_another_run_claimed_is_left_alone() {
    let world = World::new().await;
    let check = world.due_check(1_800).await.unwrap();
    let begin = async || world.table.begin_check(&check, at(1_800)).await.unwrap();
    let (mut first, mut second) = (begin().await.unwrap(), begin().await.unwrap());
    assert!(world.table.claim_check(&mut first, at(1_920)).await.unwrap());
    assert!(!world.table.claim_check(&mut second, at(1_921)).await.unwrap());
    let third = begin().await;
    assert!(third.is_none(), "it is not due");
    assert!(world.table.lost_first_attempts(&mut first).await.unwrap().is_some_and(|lost| !lost.is_empty()));
    world.table.settle_check(&first).await.unwrap();
    assert_eq!(world.due_check(2_699).await, None);
    assert_eq!(world.due_check(2_700).await, Some(check));
}

#[tokio::test]
async fn a_check_that_was_paused_goes_on_and_the_next_one_begins_at_the_first_open_event() {
    let world = World::new().await;
    let check = world.due_check(1_800).await.unwrap();
    let (lost, run) = testing::lost_first_attempts(&world.table, &check, at(1_800)).await.unwrap();
    assert_eq!(lost, world.keys(1..=12));
    world.table.pause_check(&run, 5, at(1_900)).await.unwrap();
    assert_eq!(world.lost(1_899).await, None);
    assert_eq!(world.lost(1_900).await, Some((world.keys(5..=12), true)));
    world.record_all(&world.keys(2..=12)).await;
    assert_eq!(world.lost(2_699).await, None);
    assert_eq!(world.lost(2_700).await, Some((world.keys([1]), true)));
}

#[tokio::test]
async fn a_conversation_without_webhooks_has_no_check() {
    let table = testing::new_table().await;
    table.create_conversation(&queued(account())).await.unwrap();
    assert_eq!(table.due_checks(at(1_000_000), 100).await.unwrap(), []);
}
