//! A worker, a carrier callback and the sweeper end one conversation at the same time: it ends once.

use std::time::{Duration, Instant};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use futures_util::future::join_all;
use harness::{Stack, shared};
use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::StatusCode;
use serde_json::Value;
use sha1::Sha1;
use switchboard_aws::table::Outcome;
use switchboard_model::{
    agents::AgentConfig,
    carriers::{CarrierCallId, CarrierName},
    conversations::{
        Conversation, EndedReason, JournalEntry, Lease, LegState, Snapshot, State, Transition,
        UtteranceProgress,
    },
    costs::{Prices, Usage},
    event_names::EventName,
    ids::{AccountId, ConversationId},
    messages::{Message, Role},
    time::Timestamp,
};
use switchboard_runtime as system;
use tokio::time::sleep;

use crate::table::StackTable;

const ROUNDS: usize = 200;
/// Rounds that happen at the same time, spread over as long as the last sweep took: so it meets worker and
/// report in another moment each time.
const AT_ONCE: u32 = 25;
/// How long the first sweep is taken to take.
const FIRST_SWEEP: Duration = Duration::from_millis(500);
/// The sandbox carrier's auth token, which signs its callbacks.
const SANDBOX_TOKEN: &str = "sandbox-twilio-token";
/// Usage at the worker's last checkpoint, and at its end.
const CHECKPOINT: Usage = used(1_000);
const FULL: Usage = used(2_000);

const fn used(characters: u64) -> Usage {
    Usage {
        input_tokens: 0,
        cached_input_tokens: 0,
        cache_write_tokens: 0,
        output_tokens: 0,
        tokens_estimated: false,
        transcriber_estimated: false,
        characters_estimated: false,
        stand_ins: vec![],
        transcriber_ms: 0,
        characters,
    }
}

fn ago(seconds: i64) -> Timestamp {
    Timestamp::from_millis(system::now().as_millis() - seconds * 1_000)
}

fn call(round: usize) -> String {
    format!("CA{round:032x}")
}

/// A live conversation whose worker was heard of the last time so many seconds ago, in mid-sentence.
async fn started(table: &StackTable, round: usize, heard_of: i64) -> ConversationId {
    let (account, at) = (table.account, ago(300));
    let id = ConversationId::new(at, system::random_u128());
    let (to, from) = (format!("+1415556{round:04}").parse().unwrap(), "+14155550199".parse().unwrap());
    let mut conversation = Conversation::outbound(id, account, None, to, from, at);
    conversation.legs.caller_mut().state = LegState::Answered { answered_at: ago(299) };
    conversation.state = State::Started { started_at: ago(298) };
    let call = CarrierCallId::new(CarrierName::Twilio, &call(round)).unwrap();
    conversation.legs.caller_mut().phone_call.as_mut().unwrap().carrier_call_id = Some(call);
    conversation.usage = CHECKPOINT;
    let snapshot = Snapshot { conversation, agent: AgentConfig::default() };
    table.table.create_conversation(&snapshot).await.unwrap();
    let speaking = UtteranceProgress {
        kind: switchboard_model::messages::MessageKind::Speech,
        heard: "Your cake".into(),
        unheard: "is ready.".into(),
        started_at: ago(100),
    };
    let lease = Lease { utterance: Some(speaking), ..Lease::new("worker".into(), ago(heard_of)) };
    let taken = table.table.transition_taking(&lease, account, id, |now| {
        let conversation = Conversation { version: now.conversation.version + 1, ..now.conversation.clone() };
        Ok(Transition { conversation, events: vec![], messages: vec![] })
    });
    assert!(matches!(taken.await.unwrap(), Outcome::Changed(_)));
    id
}

/// The worker's end: it has the last words, and all that was used.
async fn end_as_the_worker(table: &StackTable, id: ConversationId) -> Outcome {
    let message = Message {
        kind: switchboard_model::messages::MessageKind::Speech,
        role: Role::Agent,
        content: "Your cake is ready.".into(),
        started_at: ago(100),
        ended_at: ago(1),
        interrupted: false,
    };
    let words = [JournalEntry {
        at: ago(1),
        name: EventName::MessageSent,
        data: Value::Null,
        message: Some(message),
        faults: vec![],
    }];
    let end = table.table.transition_as("worker", table.account, id, |now| {
        let (agent, prices, now_at) = (&now.agent, Prices::default(), system::now());
        now.conversation.end(agent, EndedReason::AgentEnded, &words, &FULL, &prices, now_at)
    });
    end.await.unwrap()
}

/// The carrier's report that the call is over, signed as the carrier signs.
async fn report(stack: &Stack, http: &reqwest::Client, table: &StackTable, id: ConversationId, round: usize) {
    let url = format!("{}/twilio/{}/{id}/status", stack.address("api_url"), table.account);
    let form = [("CallDuration", "9"), ("CallSid", &*call(round)), ("CallStatus", "completed")];
    let mut mac = Hmac::<Sha1>::new_from_slice(SANDBOX_TOKEN.as_bytes()).unwrap();
    mac.update(url.as_bytes());
    // In the order of their names.
    for (name, value) in form {
        mac.update(format!("{name}{value}").as_bytes());
    }
    let signature = BASE64_STANDARD.encode(mac.finalize().into_bytes());
    let sent = http.post(&url).header("X-Twilio-Signature", signature).form(&form).send().await.unwrap();
    assert_eq!(sent.status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn worker_callback_and_sweeper_together_end_a_call_once() {
    let stack = shared();
    // An account of its own, since no call of these was ever counted as live.
    let account = AccountId::new(system::now(), system::random_u128());
    let table = &StackTable { account, ..StackTable::of(stack) };
    let http = &reqwest::Client::builder().no_proxy().build().unwrap();
    let (mut won, mut sweep) = ([0, 0], FIRST_SWEEP);
    for group in (0..ROUNDS).collect::<Vec<_>>().chunks(AT_ONCE as usize) {
        // Every third worker is still counted on; of the others the lease has just run out.
        let heard_of = |round: usize| if round.is_multiple_of(3) { 5 } else { 61 };
        let ids = join_all(group.iter().map(|round| started(table, *round, heard_of(*round)))).await;
        let rounds = (0..AT_ONCE).zip(group).zip(&ids).map(async |((place, round), id)| {
            sleep(sweep * place / AT_ONCE).await;
            tokio::join!(end_as_the_worker(table, *id), report(stack, http, table, *id, *round)).0
        });
        let sweeps = async {
            let begun = Instant::now();
            let (one, other) = tokio::join!(stack.sweep(), stack.sweep());
            one.and(other).unwrap();
            begun.elapsed()
        };
        let (ends, took) = tokio::join!(join_all(rounds), sweeps);
        sweep = took;
        for ((round, id), end) in group.iter().zip(ids).zip(ends) {
            let is_workers = matches!(end, Outcome::Changed(_));
            assert!(
                is_workers || heard_of(*round) > 60,
                "only its worker ends a call that it holds: {end:?}"
            );
            won[usize::from(is_workers)] += 1;
            let conversation =
                table.table.conversation(table.account, id).await.unwrap().unwrap().conversation;
            let (_, reason, cost) = conversation.ended().unwrap();
            let (events, _) = table.table.events(table.account, id, 0, 100).await.unwrap();
            let sequence: Vec<_> = events.iter().map(|event| event.sequence).collect();
            assert_eq!(sequence, (1..conversation.next_sequence).collect::<Vec<_>>());
            let names: Vec<_> = events.iter().map(|event| event.name.as_str()).collect();
            assert_eq!(names, ["message:sent", "conversation:ended"]);
            let messages = table.table.messages(table.account, id).await.unwrap();
            let said: Vec<_> = messages.iter().map(|message| message.content.as_str()).collect();
            let (words, usage) =
                if is_workers { ("Your cake is ready.", FULL) } else { ("Your cake", CHECKPOINT) };
            assert_eq!((said, cost.voice.characters), (vec![words], usage.characters));
            assert_eq!(reason == EndedReason::AgentEnded, is_workers);
            assert!(table.table.lease(table.account, id).await.unwrap().is_none());
        }
    }
    eprintln!("ended by the sweep and by the worker: {won:?}");
}
