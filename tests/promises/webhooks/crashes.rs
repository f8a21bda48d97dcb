//! No event is lost when functions are killed, and no receiver waits for another that hangs.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use harness::{Stack, kill, own_machine, share_machine, shared};
use switchboard_model::{time::Timestamp, webhooks::WebhookMethod};
use switchboard_runtime as system;
use tokio::time::sleep;

use super::{
    receiver::{Got, Manner, Receiver},
    source::Source,
};

/// Kills of each function.
const KILLS: usize = 50;
/// Interval between two events.
const EVERY: Duration = Duration::from_millis(200);
/// Response time of the receiver: a function waits for it most of the time.
const SLOW: Duration = Duration::from_millis(250);
/// Maximum time from the start of a process to its kill: within its first batch.
const WITHIN_MS: u64 = 400;
/// Interval between two polls for new processes.
const LOOK: Duration = Duration::from_millis(20);
/// Messages of a killed function become visible after 180 s, and may then wait for an in-flight slot.
const CALM: Duration = Duration::from_mins(6);
/// Maximum p99 of the time from an event to its arrival at a healthy receiver.
const HEALTHY: Duration = Duration::from_secs(5);

/// Kills every process of some functions soon after it was started, which it is to work on a batch; each
/// function until it has been killed so often.
async fn kill_soon(stack: &Stack, functions: &[&str]) {
    let mut killed: BTreeMap<&str, usize> = functions.iter().map(|function| (*function, 0)).collect();
    let mut dying: BTreeMap<u32, Instant> = BTreeMap::new();
    while killed.values().any(|times| *times < KILLS) {
        for (name, pid) in stack.function_processes() {
            let Some(times) = functions
                .iter()
                .find(|function| name.contains(**function))
                .and_then(|function| killed.get_mut(function))
                .filter(|times| **times < KILLS)
            else {
                continue;
            };
            let random = u64::from(u16::from_ne_bytes(system::random())) % WITHIN_MS;
            let at = *dying.entry(pid).or_insert_with(|| Instant::now() + Duration::from_millis(random));
            if Instant::now() >= at {
                *times += usize::from(kill(pid));
            }
        }
        sleep(LOOK).await;
    }
}

fn ids(got: &[Got]) -> BTreeMap<String, usize> {
    got.iter().fold(BTreeMap::new(), |mut ids, got| {
        *ids.entry(got.header("webhook-id").to_owned()).or_default() += 1;
        ids
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_arrives_despite_fifty_kills_of_each_function() {
    let _machine = own_machine().await;
    let stack = &Stack::start().unwrap();
    let mut endpoints = vec![];
    for _ in 0..4 {
        let slow = Manner::Answers(200, String::new(), "", SLOW);
        endpoints.push(Receiver::start(slow).await);
    }
    let urls: Vec<_> = endpoints.iter().map(|one| (one.url.as_str(), WebhookMethod::Post)).collect();
    let mut source = Source::new(stack, &urls).await;
    let begun = Instant::now();
    let stop = AtomicBool::new(false);
    let events = async {
        while !stop.load(Ordering::SeqCst) {
            source.emit(1).await;
            sleep(EVERY).await;
        }
        source.end().await
    };
    let kills = async {
        kill_soon(stack, &["Relay", "WebhookDelivery"]).await;
        stop.store(true, Ordering::SeqCst);
        begun.elapsed()
    };
    let (events, killed_for) = tokio::join!(events, kills);
    let expected = usize::try_from(events).unwrap();

    let all = async |_: &Stack| {
        let arrived = endpoints.iter().all(|receiver| ids(&receiver.got()).len() >= expected);
        Ok(arrived.then_some(()))
    };
    stack.wait(CALM, "events are missing", all).await.unwrap();
    let mut repeated = 0;
    for (webhook, receiver) in endpoints.iter().enumerate() {
        let got = receiver.got();
        let ids = ids(&got);
        assert_eq!(ids.len(), expected, "no event has two ids");
        assert!(ids.keys().all(|id| id.ends_with(&format!("_{webhook}"))));
        let sequences: BTreeSet<_> = got.iter().map(|got| got.json()["sequence"].as_u64().unwrap()).collect();
        assert_eq!(sequences, (1..=events).collect());
        repeated += got.len() - ids.len();
    }
    eprintln!(
        "{events} events to 4 webhooks, {KILLS} kills each in {killed_for:?}, all there after {:?}, {repeated} twice",
        begun.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_receiver_delays_no_other() {
    let (stack, _machine) = (shared(), share_machine().await);
    let (hanging, healthy) = (Receiver::start(Manner::Hangs).await, Receiver::answering(200).await);
    let urls = [(hanging.url.as_str(), WebhookMethod::Post), (&healthy.url, WebhookMethod::Post)];
    let mut source = Source::new(stack, &urls).await;
    let begun = Instant::now();
    let mut expected = 1;
    // Long enough for the breaker to open and to let one through.
    while begun.elapsed() < Duration::from_secs(50) {
        source.emit(1).await;
        expected += 1;
        sleep(EVERY).await;
    }
    source.end().await;
    let all = async |_: &Stack| Ok(Some(healthy.got()).filter(|got| ids(got).len() == expected));
    let got = stack.wait(CALM, "events are missing", all).await.unwrap();
    assert_eq!(got.len(), expected, "each came once");
    let mut latencies: Vec<_> = got
        .iter()
        .map(|got| {
            let happened: Timestamp = got.json()["created_at"].as_str().unwrap().parse().unwrap();
            got.at.since(happened)
        })
        .collect();
    latencies.sort();
    let percentile = |share: usize| latencies[(latencies.len() - 1) * share / 100];
    eprintln!(
        "{expected} events beside a hanging receiver: p50 {:?}, p99 {:?}, at most {:?}; it was asked {} times",
        percentile(50),
        percentile(99),
        percentile(100),
        hanging.got().len()
    );
    assert!(percentile(99) < HEALTHY, "{:?}", percentile(99));
    // First every in-flight slot is taken, then one by one.
    assert!(hanging.got().len() < 20, "{}", hanging.got().len());
}
