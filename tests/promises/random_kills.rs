//! Workers and functions are killed at random during three hundred calls. Every call ends once; nothing is
//! lost or done twice.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use futures_util::{StreamExt, future::join_all, stream};
use harness::{Stack, kill, own_machine};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use switchboard_aws::table::DueItem;
use switchboard_model::{
    accounts::Limits,
    conversations::{Conversation, State},
    ids::ConversationId,
};
use tokio::{sync::Mutex, time::sleep};

use crate::table::StackTable;

const CALLS: usize = 300;
/// Requests that run at the same time.
const AT_ONCE: usize = 8;
/// Interval between two kills; one kill in this many hits a media worker, the others a function.
const KILL_EVERY: Duration = Duration::from_millis(250);
const WORKER: u64 = 25;
/// Kills continue for this long after the last request, while most calls are under way.
const AFTERWARDS: Duration = Duration::from_secs(5);
/// Seed of the order of kills.
const SEED: u64 = 0x5EED_CA11;
/// A message that a slow function gave back waits for minutes, too.
const AGAIN_AFTER: Duration = Duration::from_secs(20);
/// Conversations that are read at the same time: the emulator answers one after the other.
const READS_AT_ONCE: usize = 8;
/// Time limit for all calls to end after the last kill.
const CALM: Duration = Duration::from_mins(4);

/// An agent that says nothing and hangs up after a few seconds, so that no speech engine is needed.
fn listener() -> Value {
    json!({ "max_duration_seconds": 4, "recording": false })
}

/// A sequence that is the same in every run (xorshift64).
struct Lots(u64);

impl Lots {
    fn draw(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }

    fn one_of<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        let place = usize::try_from(self.draw(all.len().max(1) as u64)).unwrap();
        all.get(place)
    }
}

/// Requests calls until `count` were accepted, and returns their ids. A request without a response is repeated
/// with another number, since the first call may have been stored.
async fn ask(stack: &Stack, numbers: &AtomicUsize, accepted: &Mutex<Vec<String>>) {
    loop {
        let to = format!("+1415555{:04}", 1_000 + numbers.fetch_add(1, Ordering::SeqCst));
        let body = json!({
            "from_number": stack.address("from_number"), "to_number": to, "agent_config": listener(),
        });
        let answer = stack.send(Method::POST, "/conversations/create_phone_call", Some(body)).await;
        let mut accepted = accepted.lock().await;
        if accepted.len() >= CALLS {
            return;
        }
        if let Ok(answer) = answer.as_ref()
            && answer.status == StatusCode::OK
        {
            accepted.push(answer.body["id"].as_str().unwrap().to_owned());
        } else if let Ok(answer) = &answer {
            assert!(answer.status.is_server_error(), "{}: {}", answer.status, answer.body);
        }
    }
}

/// Kills processes until it is stopped. Returns the number of kills by kind.
async fn kill_around(stack: &Stack, stop: &AtomicBool) -> BTreeMap<String, usize> {
    let (mut lots, mut killed) = (Lots(SEED), BTreeMap::new());
    while !stop.load(Ordering::SeqCst) {
        sleep(KILL_EVERY).await;
        let victim = if lots.draw(WORKER) == 0 {
            let workers = stack.workers().unwrap();
            lots.one_of(&workers).map(|worker| ("media".to_owned(), worker.pid))
        } else {
            // First which function, so that those of which few run are not spared.
            let processes = stack.function_processes();
            let names: Vec<_> =
                processes.iter().map(|(name, _)| name).collect::<BTreeSet<_>>().into_iter().collect();
            let name = lots.one_of(&names).map(|name| (*name).clone());
            let of_it: Vec<_> = processes.iter().filter(|(other, _)| Some(other) == name.as_ref()).collect();
            lots.one_of(&of_it).map(|process| (*process).clone())
        };
        if let Some((name, pid)) = victim
            && kill(pid)
        {
            *killed.entry(name).or_default() += 1;
        }
    }
    killed
}

/// Runs the sweeper over and over, as if minutes passed. The next sweep repeats the work of a killed one.
async fn sweep_around(stack: &Stack, stop: &AtomicBool) {
    while !stop.load(Ordering::SeqCst) {
        let _ = stack.sweep().await;
        sleep(Duration::from_secs(1)).await;
    }
}

async fn live_calls(stack: &Stack) -> usize {
    let calls = stack.all_carrier_calls().await.unwrap();
    calls.iter().filter(|call| call["settled"] != true).count()
}

/// Reads a conversation. The emulator, busy with functions that start again, may take longer than a request may:
/// then it is asked again, within the same time limit as everything that comes after the kills.
async fn load(table: &StackTable, item: &DueItem) -> Conversation {
    let asked = Instant::now();
    loop {
        match table.table.conversation(item.account, item.conversation).await {
            Ok(found) => return found.unwrap().conversation,
            Err(error) => {
                assert!(asked.elapsed() < CALM, "{error}");
                sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

/// Brings every conversation to its end. The work of a killed function would be repeated without help, but only after
/// minutes: a message when its visibility timeout is over, a call that was marked and perhaps never dialled at its
/// deadline. So this queues waiting calls once more, and moves the deadlines of the others into the past.
async fn come_to_an_end(stack: &Stack, table: &StackTable) {
    let (calm, mut again) = (Instant::now(), BTreeMap::<_, Instant>::new());
    loop {
        let due = table.due().await;
        if due.is_empty() {
            return;
        }
        assert!(calm.elapsed() < CALM, "not ended: {due:?}");
        let is_quiet = live_calls(stack).await == 0;
        let reading = stream::iter(&due).map(|item| load(table, item)).buffered(READS_AT_ONCE);
        let conversations: Vec<_> = reading.collect().await;
        let waiting: Vec<_> = conversations
            .iter()
            .filter(|conversation| matches!(conversation.state, State::Queued))
            .map(|conversation| conversation.id)
            .collect();
        let is_due = |id: &&ConversationId| again.get(*id).is_none_or(|at| at.elapsed() > AGAIN_AFTER);
        let late: Vec<_> = waiting.iter().filter(is_due).copied().collect();
        again.extend(late.iter().map(|id| (*id, Instant::now())));
        let account = table.account.to_string();
        let queued = late.iter().map(|id| stack.queue_again(account.clone(), id.to_string()));
        for queued in join_all(queued).await {
            queued.unwrap();
        }
        if is_quiet && waiting.is_empty() {
            join_all(due.iter().map(|item| table.time_passes(item.conversation))).await;
            stack.sweep().await.unwrap();
        } else {
            sleep(Duration::from_secs(1)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_hundred_calls_end_once_each_under_random_kills() {
    let _machine = own_machine().await;
    let stack = &Stack::start().unwrap();
    let table = StackTable::of(stack);
    let limits = Limits {
        live_calls: u32::MAX,
        calls_per_second: 1_000,
        requests_per_second: 1_000,
        ..Limits::default()
    };
    assert!(table.table.set_limits(table.account, &limits).await.unwrap());
    let begun = Instant::now();
    let (numbers, accepted, stop) = (AtomicUsize::new(0), Mutex::default(), AtomicBool::new(false));
    let asking = async {
        join_all((0..AT_ONCE).map(|_| ask(stack, &numbers, &accepted))).await;
        sleep(AFTERWARDS).await;
        stop.store(true, Ordering::SeqCst);
    };
    let ((), killed, ()) = tokio::join!(asking, kill_around(stack, &stop), sweep_around(stack, &stop));
    let accepted = accepted.into_inner();
    let kills_lasted = begun.elapsed();
    come_to_an_end(stack, &table).await;
    eprintln!(
        "{} calls in {kills_lasted:?}, all over after {:?}; killed: {killed:?}",
        accepted.len(),
        begun.elapsed()
    );

    let counters = table.table.counters(table.account).await.unwrap();
    assert_eq!((counters.waiting, counters.live), (0, 0), "each conversation that ended gave its slot back");
    // Each was killed often enough to matter.
    for name in ["Api", "Relay", "Dialer", "CarrierCallbacks", "Sweeper", "media"] {
        let times: usize = killed.iter().filter(|(other, _)| other.contains(name)).map(|(_, n)| n).sum();
        assert!(times > 1, "{name} was killed {times} times: {killed:?}");
    }
    let mut started = 0;
    for id in &accepted {
        let id = id.parse().unwrap();
        let conversation = table.table.conversation(table.account, id).await.unwrap().unwrap().conversation;
        assert!(conversation.ended().is_some(), "{conversation:?}");
        let (events, has_more) = table.table.events(table.account, id, 0, 100).await.unwrap();
        assert!(!has_more);
        let sequence: Vec<_> = events.iter().map(|event| event.sequence).collect();
        assert_eq!(sequence, (1..conversation.next_sequence).collect::<Vec<_>>(), "none is missing");
        let names: Vec<_> = events.iter().map(|event| event.name.as_str()).collect();
        for name in
            ["conversation:ended", "conversation:started", "phone_call:accepted", "phone_call:rejected"]
        {
            let times = names.iter().filter(|other| **other == name).count();
            assert!(times <= 1, "{name}: {names:?}");
        }
        assert_eq!(names.last(), Some(&"conversation:ended"));
        started += usize::from(names.contains(&"conversation:started"));
    }
    assert!(started > CALLS / 2, "{started} calls came to talking");
    let calls = stack.all_carrier_calls().await.unwrap();
    let mut dialled: BTreeMap<&str, usize> = BTreeMap::new();
    for call in &calls {
        *dialled.entry(call["to"].as_str().unwrap()).or_default() += 1;
    }
    dialled.retain(|_, times| *times > 1);
    assert_eq!(dialled, BTreeMap::new(), "dialled more than once");
}
