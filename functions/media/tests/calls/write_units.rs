//! The writes of a call of three minutes, from its request to its last webhook delivery: how many write units they cost,
//! and how many go to one partition key in a deployment of ten thousand calls.

use std::{collections::BTreeMap, time::Duration};

use switchboard_aws::{capacity::Tally, table::testing};
use switchboard_model::{
    accounts::Limits,
    agents::AgentConfig,
    conversations::{Conversation, Snapshot, Transition},
    deliveries::{Attempt, Delivery, DeliveryStatus},
    event_names::EventName,
    ids::{AccountId, ConversationId},
    limits::MAX_CALLS_PER_SECOND,
    time::Timestamp,
    webhooks::Webhook,
};
use tokio::time::sleep;

use crate::{prelude::*, support::agents::webhook};

/// Live calls of the deployment.
const CALLS: u32 = 10_000;
/// The budgets: write units per minute of a call, and writes per second of one partition key.
const UNITS_PER_MINUTE: f64 = 60.0;
const WRITES_PER_SECOND: f64 = 100.0;

/// The write units of in-flight slots in a minute of a call. `the_slots_of_deliveries_stay_within_their_write_units` in
/// `functions/webhook_delivery` measures that they cost no more.
const SLOT_UNITS_PER_MINUTE: f64 = 0.3;
/// Live calls of a worker: half of its hundred.
const CALLS_OF_WORKER: f64 = 50.0;

/// Bytes of audio for each character: 15 characters per second, an unhurried voice.
const VOICE: usize = 533;
const LENGTH: Duration = Duration::from_mins(3);
/// Time that the caller takes for a question, with the pauses before it and after it.
const QUESTION: Duration = Duration::from_millis(2_500 + 1_000 + 1_000);
const URL: &str = "https://bakery.example/hooks";

const TURNS: [(&str, &str); 4] = [
    (
        "What time do you close on Saturday?",
        "On Saturday we close at six in the evening. Can I help you with anything else?",
    ),
    ("And do you have a parking lot?", "There is a car park around the corner, next to the old town hall."),
    (
        "Could you keep the cake until then?",
        "Of course. Your cake is in the fridge, and it has your name on it.",
    ),
    ("How much was it again, please?", "It is thirty-four dollars and fifty cents, and you can pay by card."),
];

/// A customer's agent: a prompt of 1.5 KB, and a webhook for the messages and the life of the call.
fn agent() -> AgentConfig {
    let webhook = Webhook {
        events: vec![EventName::Started, EventName::MessageSent, EventName::Ended],
        ..webhook(URL)
    };
    let prompt =
        "You are Ada, who works at the corner bakery. Answer in one or two short sentences. ".repeat(18);
    AgentConfig {
        prompt: Some(prompt),
        webhooks: vec![webhook],
        ..greeting(
            "Hello, this is Ada from the corner bakery. Your cake is ready. Do you have any questions?",
        )
    }
}

/// Runs the call: the worker itself, and the writes of the other functions around it.
async fn run(agent: AgentConfig) -> World {
    let world = World::new(agent, VOICE).await;
    let (account, id, table) = (world.conversation.account, world.conversation.id, &world.conversation.table);
    // The request to the API; the carrier's id of the call, its reports of the ringing and of who answered.
    table.take_request(account, &Limits::default(), 1, now()).await.unwrap();
    for _ in 0..3 {
        let change = |Snapshot { conversation, .. }: &Snapshot| {
            let conversation = Conversation { version: conversation.version + 1, ..conversation.clone() };
            Ok(Transition { conversation, events: vec![], messages: vec![] })
        };
        world.conversation.change(change).await;
    }
    let worker = world.worker();
    let phone = Phone::connect(&worker.address).await;
    world.conversation.until_messages(1).await;
    let began = tokio::time::Instant::now();
    let mut messages = 1;
    for (question, answer) in TURNS.iter().cycle() {
        if began.elapsed() > LENGTH {
            break;
        }
        sleep(QUESTION).await;
        world.providers.respond_with(Response::Words(answer));
        world.providers.transcribe(question).await;
        messages += 2;
        world.conversation.until_messages(messages).await;
    }
    phone.send(STOP).await;
    world.conversation.ended().await;

    // The delivery function, without the in-flight slots: see `SLOT_UNITS_PER_MINUTE`.
    let (conversation, events) = (world.conversation.load().await, world.conversation.events().await);
    for event in events.iter().filter(|event| !event.webhooks.is_empty()) {
        let attempt =
            Attempt { at: event.created_at, status: Some(200), latency_ms: 42, answer: Some("ok".into()) };
        let delivery = Delivery::new(event.id, event.sequence, 0, event.created_at);
        let delivered = delivery.after(attempt, None, switchboard_runtime::backoff::jitter());
        assert_eq!(delivered.status, DeliveryStatus::Delivered);
        table.record_delivery(&conversation, None, &delivered).await.unwrap();
    }
    // The sweeper's check for lost first attempts.
    let later = now().after(Duration::from_mins(20));
    for check in table.due_checks(later, 10).await.unwrap() {
        let (lost, run) = testing::lost_first_attempts(table, &check, later).await.unwrap();
        assert_eq!((lost.len(), run.again_at()), (0, None));
        table.settle_check(&run).await.unwrap();
    }
    assert_eq!(conversation.account_id, account);
    assert_eq!(conversation.id, id);
    world
}

fn breakdown(tally: &Tally) -> String {
    let lines = tally
        .kinds()
        .into_iter()
        .map(|(kind, sum)| format!("{kind}: {} writes, {} units", sum.writes, sum.units));
    lines.collect::<Vec<_>>().join("\n")
}

#[expect(clippy::cast_precision_loss, reason = "units of one call")]
fn per_minute(units: u64) -> f64 {
    units as f64 * 60.0 / LENGTH.as_secs_f64()
}

/// The worker's reports in a minute of a call: one in ten seconds.
fn reports_per_minute() -> f64 {
    60.0 / 10.0 / CALLS_OF_WORKER
}

/// The units of the account itself, which the world of the test makes, and of the worker.
fn of_new_account(tally: &Tally) -> u64 {
    let kinds = tally.kinds().into_iter();
    // The worker's own reports are counted below.
    let starts = ["ACCOUNT", "TOKEN", "acc_", "arn:"];
    let is_account = |kind: &str| starts.iter().any(|start| kind.starts_with(start));
    kinds.filter(|(kind, _)| is_account(kind)).map(|(_, sum)| sum.units).sum()
}

#[tokio::test(start_paused = true)]
async fn a_call_costs_at_most_sixty_write_units_a_minute() {
    let tally = run(agent()).await.tally();
    let units =
        per_minute(tally.units() - of_new_account(&tally)) + SLOT_UNITS_PER_MINUTE + reports_per_minute();
    eprintln!("{units:.1} units per minute\n{}", breakdown(&tally));
    assert!(units <= UNITS_PER_MINUTE, "{units:.1} units per minute\n{}", breakdown(&tally));
}

#[tokio::test(start_paused = true)]
async fn no_partition_key_takes_a_hundred_writes_a_second_of_ten_thousand_calls() {
    let world = run(agent()).await;
    let (account, id) = (world.conversation.account, world.conversation.id);
    let conversation = format!("{account}#{id}");
    let rate = |writes: u64| {
        #[expect(clippy::cast_precision_loss, reason = "writes of one call")]
        let writes = writes as f64;
        writes / LENGTH.as_secs_f64()
    };
    // The calls on the busiest partition key of the index of due items.
    let mut shards = BTreeMap::<String, u32>::new();
    for n in 0..CALLS {
        let at = Timestamp::from_millis(1_795_339_800_000 + i64::from(n) * 18);
        let id = ConversationId::new(at, u128::from(n) * 0x9e37_79b9_7f4a_7c15);
        *shards.entry(testing::due_key(AccountId::new(at, u128::from(n % 100)), id)).or_default() += 1;
    }
    let busiest_shard = f64::from(*shards.values().max().unwrap());
    // One account has so many calls that it starts the most per second that an account may.
    let of_account = f64::from(MAX_CALLS_PER_SECOND) * LENGTH.as_secs_f64();
    for (place, key, sum) in world.tally().keys() {
        let calls = match (place, key) {
            ("table", key) if key == conversation => 1.0,
            ("due", key) if key.starts_with("DUE#EVENTS#") => busiest_shard / 8.0 * 1.5,
            ("due", _) => busiest_shard,
            // Two writes made the account.
            ("table", key) if key == account.to_string() => {
                of_account * rate(sum.writes - 2) / rate(sum.writes)
            }
            (_, key) if key.starts_with(&account.to_string()) => of_account,
            // Each worker reports to the same key.
            ("table", "WORKERS") => f64::from(CALLS) / CALLS_OF_WORKER,
            // The account and its token are made once.
            ("table", key) if key.starts_with("TOKEN#") => continue,
            (_, "ACCOUNTS") => continue,
            (place, key) => panic!("{place} {key}: say how many calls write to this key"),
        };
        let busiest = rate(sum.writes) * calls;
        eprintln!("{place} {key}: {busiest:.1} writes per second");
        assert!(busiest < WRITES_PER_SECOND, "{place} {key}: {busiest:.1} writes per second");
    }
}
