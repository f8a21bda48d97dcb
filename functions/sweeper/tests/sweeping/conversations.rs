//! Conversations past their deadline, and their recordings.

use std::time::Duration;

use switchboard_aws::{queue::CallMessage, table::TableError};
use switchboard_model::{
    audio::AudioFormat,
    conversations::{EndedReason, Lease, LegId, UtteranceProgress},
    costs::{Prices, Usage},
};
use switchboard_runtime as system;
use switchboard_sweeper::Swept;

use crate::{
    HOUR, MINUTE,
    world::{self, World, ago, sid},
};

#[tokio::test]
async fn an_item_that_is_not_due_is_not_read() {
    let world = World::new().await;
    world.queued(1, MINUTE).await;
    world.dialing(2, MINUTE, None).await;
    world.started(3, 10 * MINUTE, &Lease::new("a".into(), system::now())).await;
    assert_eq!(world.sweep().await, Swept::default());
    assert!(world.requests().is_empty());
}

#[tokio::test]
async fn a_call_that_was_never_placed_ends_without_the_carrier() {
    let world = World::new().await;
    world.queued(1, HOUR + 30).await;
    let swept = world.sweep().await;
    assert_eq!((swept.looked_at, swept.ended, swept.failed), (1, 1, 0));
    // No sweep has looked at it since it was two minutes old.
    assert!((3_510..3_540).contains(&swept.lag.as_secs()), "{swept:?}");
    assert_eq!(world.events(1).await, ["phone_call:rejected", "conversation:ended"]);
    assert!(world.requests().is_empty());
    assert_eq!(world.sweep().await, Swept::default(), "it is not due any more");
}

#[tokio::test]
async fn calls_that_wait_wake_the_dialer_once_and_are_put_off() {
    let world = World::new().await;
    for n in 0..30 {
        world.queued(n, 3 * MINUTE + i64::from(n)).await;
    }
    let swept = world.sweep().await;
    assert_eq!((swept.looked_at, swept.ended, swept.failed), (30, 0, 0));
    let (account_id, _) = World::ids(0);
    assert_eq!(world.carrier().calls_queued, [CallMessage::Wake { account_id }]);
    assert!(world.requests().is_empty(), "the carrier knows nothing of them");
    assert_eq!(world.sweep().await.looked_at, 0);
    let late = system::now().after(Duration::from_secs(121));
    assert_eq!(world.sweeper.backend.table.due(late, 100).await.unwrap().len(), 30);
}

#[tokio::test]
async fn an_overdue_call_ends_by_the_carriers_status() {
    for (status, duration, names, reason, hung_up) in [
        ("busy", "", ["phone_call:rejected", "conversation:ended"], EndedReason::UserEnded, false),
        ("no-answer", "", ["phone_call:rejected", "conversation:ended"], EndedReason::Unknown, false),
        ("ringing", "", ["phone_call:rejected", "conversation:ended"], EndedReason::Unknown, true),
        ("in-progress", "", ["phone_call:accepted", "conversation:ended"], EndedReason::Unknown, true),
        ("completed", "42", ["phone_call:accepted", "conversation:ended"], EndedReason::UserEnded, false),
    ] {
        let world = World::new().await;
        world.dialing(1, 3 * MINUTE, Some(&sid(1))).await;
        world.carrier().calls.insert(sid(1), (status.to_owned(), duration.to_owned()));
        assert_eq!(world.sweep().await.ended, 1, "{status}");
        assert_eq!(world.events(1).await[1..], names, "{status}");
        assert_eq!(world.conversation(1).await.ended().unwrap().1, reason, "{status}");
        assert_eq!(world.carrier().hung_up.contains(&sid(1)), hung_up, "{status}");
    }
}

#[tokio::test]
async fn a_call_in_the_carriers_queue_waits_and_then_rings() {
    let world = World::new().await;
    world.dialing(1, 50 * MINUTE, Some(&sid(1))).await;
    world.carrier().calls.insert(sid(1), ("queued".to_owned(), String::new()));
    assert_eq!(world.sweep().await.ended, 0);
    let due = world.conversation(1).await.due_at().unwrap();
    assert!(due > ago(-MINUTE), "two minutes from now: {due}");
    // It was requested more than an hour ago.
    world.dialing(2, HOUR + MINUTE, Some(&sid(2))).await;
    world.carrier().calls.insert(sid(2), ("queued".to_owned(), String::new()));
    assert_eq!(world.sweep().await.ended, 1);
    assert_eq!(world.carrier().hung_up, [sid(2)]);
    assert_eq!(world.events(2).await[1..], ["phone_call:rejected", "conversation:ended"]);
}

#[tokio::test]
async fn a_call_that_the_carrier_does_not_know_ends_as_failed() {
    let world = World::new().await;
    world.dialing(1, 3 * MINUTE, Some(&sid(1))).await;
    assert_eq!(world.sweep().await.ended, 1);
    assert_eq!(world.events(1).await[1..], ["phone_call:rejected", "conversation:ended"]);
}

#[tokio::test]
async fn a_call_without_an_id_is_found_by_its_numbers_and_not_hung_up() {
    for (placed, answered) in [(0, false), (1, true), (2, false)] {
        let world = World::new().await;
        world.dialing(1, 3 * MINUTE, None).await;
        for n in 1..=placed {
            world.carrier().calls.insert(sid(n), ("in-progress".to_owned(), String::new()));
        }
        assert_eq!(world.sweep().await.ended, 1);
        let first = if answered { "phone_call:accepted" } else { "phone_call:rejected" };
        assert_eq!(world.events(1).await[1], first, "{placed} calls");
        assert!(world.carrier().hung_up.is_empty(), "it may be another conversation's");
        let conversation = world.conversation(1).await;
        let known = conversation.legs.caller().carrier_call_id().map(|call| call.id().to_owned());
        assert_eq!(known, answered.then(|| sid(1)), "{placed} calls");
    }
}

#[tokio::test]
async fn a_call_of_a_dead_worker_ends_with_its_checkpoint() {
    let mut world = World::new().await;
    world.sweeper.prices = Prices { agent_per_minute: "0.05".parse().unwrap() };
    let speaking = UtteranceProgress {
        kind: switchboard_model::messages::MessageKind::Speech,
        heard: "Your cake is".into(),
        unheard: "ready.".into(),
        started_at: ago(2 * MINUTE),
    };
    let lease = Lease { utterance: Some(speaking), ..Lease::new("a".into(), ago(90)) };
    world.started(1, 5 * MINUTE, &lease).await;
    world.carrier().calls.insert(sid(1), ("in-progress".to_owned(), String::new()));

    let swept = world.sweep().await;
    assert_eq!((swept.ended, swept.failed), (1, 0));
    assert!((30..35).contains(&swept.lag.as_secs()), "{swept:?}");
    assert_eq!(world.carrier().hung_up, [sid(1)]);
    assert_eq!(world.events(1).await[3..], ["message:sent", "conversation:ended"]);
    let messages = world.messages(1).await;
    assert_eq!((messages[0].content.as_str(), messages[0].interrupted), ("Your cake is", true));
    let conversation = world.conversation(1).await;
    let (_, reason, cost) = conversation.ended().unwrap();
    assert_eq!((reason, cost.voice.characters), (EndedReason::Unknown, 1_000));
    assert!((0.17..0.18).contains(&cost.agent.cost.to_f64()), "until its last heartbeat: {cost:?}");
    let joined = Swept { joined: 1, ..Swept::default() };
    assert_eq!(world.sweep().await, joined, "its lease is gone, and its recording complete");
    assert_eq!(world.sweep().await, Swept::default());
}

#[tokio::test]
async fn the_recording_of_a_dead_workers_call_is_joined() {
    let world = World::new().await;
    let mut lease = Lease::new("a".into(), ago(10 * MINUTE));
    lease.until = ago(9 * MINUTE);
    world.started(1, 10 * MINUTE, &lease).await;
    let (account, id) = World::ids(1);
    for piece in 0..40_u64 {
        let audio = vec![0x80_u8; 16];
        world
            .sweeper
            .recordings
            .put_piece(account, id, (AudioFormat::TELEPHONE, piece * 8), audio)
            .await
            .unwrap();
    }
    assert_eq!(world.sweep().await.ended, 1);
    assert_eq!(world.sweep().await.joined, 1);
    let keys: Vec<String> = world.objects.lock().unwrap().keys().cloned().collect();
    assert_eq!(keys, [format!("{account}/{id}/recording.wav")]);
    assert_eq!(world.objects.lock().unwrap()[&keys[0]].len(), 44 + 40 * 32);
    assert_eq!(world.sweep().await.joined, 0, "it is joined once");
}

#[tokio::test]
async fn conversations_that_wait_for_the_grace_hold_up_no_other() {
    let mut world = World::new().await;
    for n in 1..=10 {
        world
            .started(
                n,
                10 * MINUTE,
                &Lease { until: ago(8 * MINUTE), ..Lease::new("a".into(), ago(9 * MINUTE)) },
            )
            .await;
    }
    world.dialing(11, 3 * MINUTE, None).await;
    world.sweeper.grace = std::time::Duration::from_secs(4);
    let sweeper = world.sweeper.clone();
    let (swept, ()) = tokio::join!(sweeper.sweep(), async {
        while world.conversation(11).await.ended().is_none() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        for n in 1..=10 {
            assert!(world.conversation(n).await.ended().is_none(), "its worker may come back");
        }
    });
    assert_eq!(swept.unwrap().ended, 11);
}

#[tokio::test]
async fn a_worker_that_renews_after_an_outage_of_the_table_keeps_its_call() {
    let mut world = World::new().await;
    world.sweeper.grace = Duration::from_secs(2);
    let (account, alive) = World::ids(1);
    let (_, dead) = World::ids(2);
    for n in [1, 2] {
        // The table was away for longer than a lease.
        world.started(n, 5 * MINUTE, &Lease::new("a".into(), ago(90))).await;
        world.carrier().calls.insert(sid(n), ("in-progress".to_owned(), String::new()));
    }
    let table = &world.sweeper.backend.table;
    let renewal = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(table.renew_lease(account, alive, &Lease::new("a".into(), system::now())).await.unwrap());
    };
    let (swept, ()) = tokio::join!(world.sweep(), renewal);
    assert_eq!((swept.looked_at, swept.ended, swept.failed), (2, 1, 0));
    assert_eq!(world.carrier().hung_up, [sid(2)]);
    assert!(world.conversation(1).await.ended().is_none());
    assert!(table.conversation(account, dead).await.unwrap().unwrap().conversation.ended().is_some());
}

#[tokio::test]
async fn a_live_lease_is_not_touched_whatever_the_carrier_reports() {
    let world = World::new().await;
    world.started(1, 5 * MINUTE, &Lease::new("a".into(), ago(10))).await;
    world
        .change(1, |snapshot| snapshot.conversation.record_carrier_end(LegId::CALLER, Some(9), ago(30)))
        .await;
    assert_eq!((world.sweep().await.looked_at, world.sweep().await.looked_at), (1, 0), "once, then put off");
    assert!(world.conversation(1).await.ended().is_none());
}

#[tokio::test]
async fn an_item_that_fails_is_postponed_and_blocks_no_other() {
    let world = World::new().await;
    world.dialing(1, 5 * MINUTE, Some("no-id")).await;
    world.dialing(2, 4 * MINUTE, Some(&sid(2))).await;
    world.carrier().calls.insert(sid(2), ("ringing".to_owned(), String::new()));
    world.carrier().stubborn = true;
    world.queued(3, HOUR + 1).await;
    let swept = world.sweep().await;
    assert_eq!((swept.looked_at, swept.ended, swept.failed), (3, 1, 2));
    assert!(world.conversation(3).await.ended().is_some());
    assert_eq!(world.sweep().await, Swept::default(), "they are put off");
}

#[tokio::test]
async fn while_the_carrier_is_silent_calls_end_only_after_an_hour() {
    let world = World::new().await;
    world.carrier().away = true;
    world.dialing(1, 3 * MINUTE, Some(&sid(1))).await;
    world.dialing(2, HOUR + 3 * MINUTE, Some(&sid(2))).await;
    let swept = world.sweep().await;
    assert_eq!((swept.looked_at, swept.ended, swept.failed), (2, 1, 1));
    assert!(world.conversation(1).await.ended().is_none());
    assert_eq!(world.events(2).await[1..], ["phone_call:rejected", "conversation:ended"]);
}

#[tokio::test]
async fn a_table_that_cannot_be_read_fails_the_sweep() {
    let mut world = World::new().await;
    world.sweeper.backend.table = world::no_store().await;
    assert!(matches!(world.sweeper.sweep().await, Err(TableError::Unavailable(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_concurrent_sweeps_end_each_of_many_calls_once() {
    let world = World::new().await;
    for n in 0..230 {
        world.queued(n, HOUR + 1 + i64::from(n)).await;
    }
    let (one, two) = tokio::join!(world.sweep(), world.sweep());
    assert_eq!((one.ended + two.ended, one.failed + two.failed), (230, 0));
    for n in 0..230 {
        assert_eq!(world.events(n).await, ["phone_call:rejected", "conversation:ended"], "{n}");
    }
    assert_eq!(world.sweep().await, Swept::default());
}

/// A worker, a report and a sweep end the conversation at the same time: the first write decides.
#[tokio::test(flavor = "multi_thread")]
async fn a_concurrent_worker_report_and_sweep_end_a_call_once() {
    let world = World::new().await;
    for n in 0..50 {
        let lease = Lease { until: ago(1), ..Lease::new("a".into(), ago(90)) };
        world.started(n, 5 * MINUTE, &lease).await;
        world.carrier().calls.insert(sid(n), ("in-progress".to_owned(), String::new()));
        let (account, id) = World::ids(n);
        let table = &world.sweeper.backend.table;
        let used = Usage { characters: 2_000, ..Usage::default() };
        let worker = table.transition_as("a", account, id, |now| {
            let (agent, prices) = (&now.agent, Prices::default());
            now.conversation.end(agent, EndedReason::AgentEnded, &[], &used, &prices, system::now())
        });
        let report = table.transition(account, id, |now| {
            now.conversation.record_carrier_end(LegId::CALLER, Some(9), system::now())
        });
        let (swept, worker, report) = tokio::join!(world.sweep(), worker, report);
        let (_, _) = (worker.unwrap(), report.unwrap());
        let names = world.events(n).await;
        let ends = names.iter().filter(|name| **name == "conversation:ended").count();
        assert_eq!((ends, names.last().copied()), (1, Some("conversation:ended")), "{names:?}");
        let conversation = world.conversation(n).await;
        let (_, reason, cost) = conversation.ended().unwrap();
        let expected = if reason == EndedReason::AgentEnded { 2_000 } else { 1_000 };
        assert_eq!(cost.voice.characters, expected, "round {n}: {swept:?}");
        assert!(world.sweeper.backend.table.lease(account, id).await.unwrap().is_none());
    }
    assert_eq!(world.sweep().await.lag, Duration::ZERO);
}
