//! Calls that wait for the limits of their account.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use serde_json::{Value, json};
use switchboard_aws::{
    queue::{CallJob, CallMessage},
    table::{Outcome, Table},
};
use switchboard_model::{
    accounts::Limits,
    agents::AgentConfig,
    conversations::{EndedReason, LegState, Snapshot, State},
    costs::Prices,
    fleet::WorkerReport,
    ids::{AccountId, ConversationId},
};
use switchboard_runtime as system;

use crate::world::{self, Answer, World, failures};

const CALLS: usize = 200;
const LIVE: usize = 5;

/// The message that Lambda stops: the sixteenth of a chain.
const LONGEST_CHAIN: u32 = 16;

async fn limit(world: &World, live_calls: u32, calls_per_second: u32) {
    let account = world.job.account_id;
    let limits = Limits { live_calls, calls_per_second, ..world.table.limits(account).await.unwrap() };
    assert!(world.table.set_limits(account, &limits).await.unwrap());
}

async fn end(table: &Table, account: AccountId, id: ConversationId) {
    let end = |now: &Snapshot| {
        let (usage, prices) = (&now.conversation.usage, Prices::default());
        now.conversation.end(&now.agent, EndedReason::UserEnded, &[], usage, &prices, system::now())
    };
    let ended = table.transition(account, id, end).await.unwrap();
    assert!(matches!(ended, Outcome::Changed(_)), "{ended:?}");
}

/// Takes the messages that the dialer has queued.
fn queued(world: &World) -> Vec<Value> {
    std::mem::take(&mut world.seen().messages)
}

#[tokio::test]
async fn two_hundred_waiting_calls_are_all_dialled_without_polling() {
    let world = World::new(AgentConfig::default()).await;
    limit(&world, u32::try_from(LIVE).unwrap(), 1_000_000).await;
    let account = world.job.account_id;
    let mut calls = vec![world.job.conversation_id];
    while calls.len() < CALLS {
        calls.push(world.another_call().await.0);
    }
    let place = |conversation_id| CallMessage::place(CallJob { account_id: account, conversation_id });
    let mut messages: VecDeque<_> = calls.iter().copied().map(place).collect();
    let (mut live, mut dialled) = (VecDeque::new(), BTreeMap::<ConversationId, usize>::new());
    let (mut rounds, mut handled) = (0, 0);
    while dialled.len() < CALLS {
        // A round: the queue is worked off, then one call ends, which the relay reports.
        while let Some(message) = messages.pop_front() {
            let body = serde_json::to_string(&message).unwrap();
            assert!(world.send("m", &body).await.is_empty());
            handled += 1;
            if let CallMessage::Place { job, hops } = message {
                assert!(hops < LONGEST_CHAIN);
                let conversation = world
                    .table
                    .conversation(account, job.conversation_id)
                    .await
                    .unwrap()
                    .unwrap()
                    .conversation;
                if matches!(conversation.legs.caller().state, LegState::Dialing { .. })
                    && !live.contains(&conversation.id)
                {
                    live.push_back(conversation.id);
                    *dialled.entry(conversation.id).or_default() += 1;
                }
            }
            let sent = queued(&world);
            messages.extend(
                sent.iter()
                    .map(|sent| CallMessage::from_body(sent["MessageBody"].as_str().unwrap()).unwrap()),
            );
        }
        assert!(live.len() <= LIVE);
        let first = live.pop_front().expect("a call is live while others wait");
        end(&world.table, account, first).await;
        messages.push_back(CallMessage::Wake { account_id: account });
        rounds += 1;
        assert!(rounds <= CALLS);
    }
    assert!(rounds > 16, "{rounds}");
    assert!(dialled.values().all(|times| *times == 1));
    assert_eq!(world.seen().calls.len(), CALLS);
    // Each call has its first message, that of its wake, and the wake itself.
    assert!(handled <= 3 * CALLS, "{handled}");
}

#[tokio::test]
async fn woken_calls_are_queued_at_the_pace_of_the_account() {
    let world = World::new(AgentConfig::default()).await;
    for _ in 1..7 {
        world.another_call().await;
    }
    limit(&world, 20, 2).await;
    assert!(world.wake().await.is_empty());
    let delays: Vec<_> =
        queued(&world).iter().map(|message| message["DelaySeconds"].as_i64().unwrap_or(0)).collect();
    assert_eq!(delays, [0, 0, 1, 1, 2, 2, 3]);
}

#[tokio::test]
async fn calls_are_queued_at_the_pace_of_the_carrier() {
    let mut world = World::new(AgentConfig::default()).await;
    world.dialer.calls_per_second = 2;
    for _ in 1..5 {
        world.another_call().await;
    }
    for _ in 0..3 {
        world.imported_call().await;
    }
    limit(&world, 200, 1_000).await;
    assert!(world.wake().await.is_empty());
    let mut delays: Vec<_> =
        queued(&world).iter().map(|message| message["DelaySeconds"].as_i64().unwrap_or(0)).collect();
    delays.sort_unstable();
    // Those of imported numbers do not go through the deployment's account.
    assert_eq!(delays, [0, 0, 0, 0, 0, 1, 1, 2]);
}

#[tokio::test]
async fn calls_beyond_the_rate_of_the_carrier_are_postponed_the_more_there_are() {
    const WAITING: usize = 40;
    let mut world = World::new(AgentConfig::default()).await;
    world.dialer.calls_per_second = 1;
    limit(&world, 200, 1_000).await;
    let mut messages = vec![world::sample()];
    while messages.len() < WAITING {
        messages.push(world.another_call().await.1);
    }
    for message in messages {
        assert!(failures(&world.dialer.handle(world::event(&message)).await).is_empty());
    }
    assert!(!world.seen().calls.is_empty());
    let later = queued(&world);
    assert!(later.len() > WAITING / 2, "{}", later.len());
    let longest = later.iter().map(|message| message["DelaySeconds"].as_i64().unwrap_or(0)).max();
    assert!(longest > Some(5), "{longest:?}");
}

#[tokio::test]
async fn a_call_that_was_postponed_too_often_leaves_the_queue_and_is_due() {
    let world = World::new(AgentConfig::default()).await;
    let mut message = CallMessage::place(world.job);
    let mut sent = 0;
    loop {
        world.next_answer(Answer::Status(429));
        assert!(world.send("m", &serde_json::to_string(&message).unwrap()).await.is_empty());
        let Some(next) = queued(&world).pop() else { break };
        message = CallMessage::from_body(next["MessageBody"].as_str().unwrap()).unwrap();
        sent += 1;
        assert!(sent < LONGEST_CHAIN);
    }
    assert_eq!(sent, 12);
    let conversation = world.conversation().await;
    assert_eq!(conversation.state, State::Queued);
    let (account, id) = (world.job.account_id, world.job.conversation_id);
    let due = world.table.due(conversation.due_at().unwrap(), 10).await.unwrap();
    assert_eq!(due.iter().map(|due| (due.account, due.conversation)).collect::<Vec<_>>(), [(account, id)]);
    // The sweeper wakes the account.
    assert!(world.wake().await.is_empty());
    let woken = queued(&world).pop().unwrap();
    assert_eq!(
        CallMessage::from_body(woken["MessageBody"].as_str().unwrap()),
        Some(CallMessage::place(world.job))
    );
}

#[tokio::test]
async fn no_call_is_dialled_while_no_worker_has_room() {
    let world = World::new(AgentConfig::default()).await;
    let report =
        |live| WorkerReport { id: "a".to_owned(), live, capacity: 5, at: system::now(), draining: false };
    world.table.report_worker(&report(5)).await.unwrap();
    assert!(world.deliver().await.is_empty());
    assert!(world.seen().calls.is_empty());
    assert_eq!(world.conversation().await.state, State::Queued);
    let later = queued(&world);
    assert_eq!(later.len(), 1, "it is tried again");
    world.table.report_worker(&report(4)).await.unwrap();
    // The only worker stops.
    assert!(world.table.mark_worker_draining("a").await.unwrap());
    assert!(world.send("m", later[0]["MessageBody"].as_str().unwrap()).await.is_empty());
    assert!(world.seen().calls.is_empty());
    let later = queued(&world);
    let another = WorkerReport { id: "b".to_owned(), ..report(4) };
    world.table.report_worker(&another).await.unwrap();
    assert!(world.send("m", later[0]["MessageBody"].as_str().unwrap()).await.is_empty());
    assert_eq!(world.seen().calls.len(), 1);
}

#[tokio::test]
async fn a_waiting_call_has_one_message_however_often_its_account_is_woken() {
    let world = World::new(AgentConfig::default()).await;
    for _ in 1..7 {
        world.another_call().await;
    }
    limit(&world, 20, 1).await;
    for expected in [7, 0, 0] {
        assert!(world.wake().await.is_empty());
        assert_eq!(queued(&world).len(), expected);
    }
    // The first one is dialled, which takes the token of this second. The second one is postponed, and keeps its message.
    assert!(world.deliver().await.is_empty());
    assert_eq!(world.seen().calls.len(), 1);
    assert!(world.wake().await.is_empty());
    assert_eq!(queued(&world), Vec::<Value>::new());
}

#[tokio::test]
async fn a_slot_that_is_returned_while_a_call_leaves_the_queue_is_used() {
    let world = World::new(AgentConfig::default()).await;
    limit(&world, 1, 1_000).await;
    let account = world.job.account_id;
    let (live, event) = world.another_call().await;
    assert!(failures(&world.dialer.handle(world::event(&event)).await).is_empty());
    assert_eq!(world.counted().await, (1, 1));
    let (id, until) = (world.job.conversation_id, system::now().after(Duration::from_mins(1)));
    assert!(world.table.claim_message(account, id, system::now(), until).await.unwrap());
    // The other call ends after the counters were read, and its wake finds that this call still has a message.
    let (table, other) = (world.table.clone(), world.dialer.clone());
    let mut wake = world::sample();
    wake["Records"][0]["body"] = json!(json!({ "account_id": account }).to_string());
    let dialer = world.dialer_with(move |request| {
        let (table, other, wake) = (table.clone(), other.clone(), wake.clone());
        let releases = String::from_utf8_lossy(&request.body).contains("REMOVE message_until");
        Box::pin(async move {
            if releases {
                end(&table, account, live).await;
                assert!(failures(&other.handle(world::event(&wake)).await).is_empty());
            }
        })
    });
    assert!(failures(&dialer.handle(world::event(&world::sample())).await).is_empty());
    let sent = queued(&world);
    assert_eq!(sent.len(), 1, "{sent:?}");
    let message = CallMessage::from_body(sent[0]["MessageBody"].as_str().unwrap());
    assert_eq!(message, Some(CallMessage::Wake { account_id: account }));
    assert!(world.wake().await.is_empty());
    assert_eq!(queued(&world).len(), 1, "the call is queued");
}

#[tokio::test]
async fn a_call_that_returns_to_the_queue_frees_its_slot_for_the_others() {
    let world = World::new(AgentConfig::default()).await;
    world.another_call().await;
    limit(&world, 1, 1_000).await;
    world.next_answer(Answer::Status(429));
    assert!(world.deliver().await.is_empty());
    let sent: Vec<_> = queued(&world)
        .iter()
        .map(|sent| CallMessage::from_body(sent["MessageBody"].as_str().unwrap()).unwrap())
        .collect();
    let woken = CallMessage::Wake { account_id: world.job.account_id };
    assert!(sent.contains(&woken) && sent.len() == 2, "{sent:?}");
}

#[tokio::test]
async fn a_queued_call_is_not_dialled_beyond_the_spend_limit() {
    let world = World::new(AgentConfig::default()).await;
    let account = world.job.account_id;
    let limits = Limits { daily_spend_usd: 0, ..world.table.limits(account).await.unwrap() };
    assert!(world.table.set_limits(account, &limits).await.unwrap());
    assert!(world.deliver().await.is_empty());
    assert!(world.seen().calls.is_empty());
    assert_eq!(world.conversation().await.state, State::Queued);
    assert_eq!(queued(&world), Vec::<Value>::new(), "the sweeper wakes the account");
    let limits = Limits { daily_spend_usd: 1, ..limits };
    assert!(world.table.set_limits(account, &limits).await.unwrap());
    assert!(world.deliver().await.is_empty());
    assert_eq!(world.seen().calls.len(), 1);
}
