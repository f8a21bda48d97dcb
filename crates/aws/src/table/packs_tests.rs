//! Packs: what a worker appends, what another one cannot, and what version 0.1.0 stored.

use std::{
    future::ready,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use aws_sdk_dynamodb::types::AttributeValue;
use futures_util::FutureExt as _;
use serde_json::{Value, json};
use switchboard_model::{
    conversations::{Conversation, EndedReason, JournalEntry, Snapshot, Transition},
    costs::{Prices, Usage},
    event_names::EventName,
    function_rounds::{AnsweredCall, FunctionRound},
    messages::MessageKind,
};
use tokio::runtime::Handle;

use super::{
    Appended, Outcome, Table, TableError, items,
    testing::{self, MemoryDatabase},
    tests::{account, at, said, started},
};
use crate::{keys, testing::config_of};
use switchboard_model::conversations::{InvalidTransition, Lease};

fn speech() -> JournalEntry {
    let data = json!({ "role": "user" });
    JournalEntry {
        at: at(3),
        name: EventName::SpeechStarted,
        data,
        message: None,
        faults: vec!["slow".into()],
    }
}

fn appended(before: &Conversation, agent: &Snapshot, entries: &[JournalEntry]) -> Transition {
    let usage = Usage { characters: before.next_sequence, ..Usage::default() };
    before.append(&agent.agent, entries, &usage).unwrap()
}

async fn read(table: &Table, of: &Conversation) -> Conversation {
    table.conversation(of.account_id, of.id).await.unwrap().unwrap().conversation
}

async fn sequences(table: &Table, of: &Conversation) -> Vec<u64> {
    let (events, _) = table.events(of.account_id, of.id, 0, 100).await.unwrap();
    events.iter().map(|event| event.sequence).collect()
}

/// A started conversation whose lease `holder` has.
async fn held(table: &Table, holder: &str) -> Snapshot {
    let snapshot = started(table).await;
    let (account, id) = (snapshot.conversation.account_id, snapshot.conversation.id);
    assert!(table.take_lease(account, id, &Lease::new(holder.into(), at(2))).await.unwrap());
    table.conversation(account, id).await.unwrap().unwrap()
}

#[tokio::test]
async fn what_a_worker_appends_reads_back_and_its_state_is_not_written() {
    let table = testing::new_table().await;
    let snapshot = held(&table, "first").await;
    let mut before = snapshot.conversation.clone();
    let mut events = vec![];
    for entries in [vec![speech(), said("Hello"), speech()], vec![said("At six?")]] {
        let change = appended(&before, &snapshot, &entries);
        assert_eq!(table.append("first", &before, &change).await.unwrap(), Appended::Stored);
        // Its response was lost.
        assert_eq!(table.append("first", &before, &change).await.unwrap(), Appended::Stored);
        before = change.conversation;
        events.extend(change.events);
    }
    let (account, id) = (before.account_id, before.id);
    assert_eq!(table.events(account, id, 0, 100).await.unwrap(), (events, false));
    let messages = table.messages(account, id).await.unwrap();
    let said: Vec<_> = messages.iter().map(|message| (&*message.content, message.kind)).collect();
    assert_eq!(said, [("Hello", MessageKind::HoldPhrase), ("At six?", MessageKind::HoldPhrase)]);
    let found = read(&table, &before).await;
    assert_eq!(found.progress(), before.progress());
    assert_eq!(found.version, snapshot.conversation.version);
    for (offset, limit) in [(0, 2), (1, 2), (2, 1), (3, 9)] {
        let (page, has_more) = table.events(account, id, offset, limit).await.unwrap();
        let expected: Vec<u64> = (offset + 1..=4).take(limit).collect();
        assert_eq!(page.iter().map(|event| event.sequence).collect::<Vec<_>>(), expected);
        assert_eq!(has_more, offset + (limit as u64) < 4, "{offset}+{limit}");
    }
}

#[tokio::test]
async fn function_calls_are_stored_with_events_for_the_next_worker_alone() {
    let table = testing::new_table().await;
    let snapshot = held(&table, "first").await;
    let before = &snapshot.conversation;
    let (account, id) = (before.account_id, before.id);
    let round = |result: &str| FunctionRound {
        at: at(3),
        said: Some("One moment.".into()),
        calls: vec![AnsweredCall {
            id: "fc_1".into(),
            name: "look_up".into(),
            arguments: "{}".into(),
            result: result.into(),
            provider_state: Some(json!({ "signature": "secret thoughts" })),
        }],
    };
    let change = appended(before, &snapshot, &[speech()]);
    let huge = table.append_with("first", before, &change, &[round(&"x".repeat(400_000))]).await;
    assert!(matches!(huge, Err(TableError::TooLarge)), "{huge:?}");
    let rounds = [round("three"), round("four")];
    for _ in 0..2 {
        // The second time as if the response had been lost.
        let stored = table.append_with("first", before, &change, &rounds).await.unwrap();
        assert_eq!(stored, Appended::Stored);
    }
    assert_eq!(table.transcript(account, id).await.unwrap(), (vec![], rounds.to_vec()));
    assert_eq!(table.messages(account, id).await.unwrap(), []);
    let (events, _) = table.events(account, id, 0, 100).await.unwrap();
    assert_eq!(events, change.events);
    assert!(!format!("{events:?}").contains("secret thoughts"));
}

#[tokio::test]
async fn a_worker_that_lost_the_conversation_appends_nothing() {
    let table = testing::new_table().await;
    let snapshot = held(&table, "first").await;
    let first = &snapshot.conversation;
    let (account, id) = (first.account_id, first.id);
    let late = appended(first, &snapshot, &[said("too late")]);
    let lease = Lease::new("second".into(), at(5));
    let taken = table.transition_taking(&lease, account, id, |now| {
        let conversation = Conversation { version: now.conversation.version + 1, ..now.conversation.clone() };
        Ok(Transition { conversation, events: vec![], messages: vec![] })
    });
    let Outcome::Changed(Snapshot { conversation: second, .. }) = taken.await.unwrap() else { panic!() };
    assert_eq!(table.append("first", first, &late).await.unwrap(), Appended::LostLease);
    assert_eq!(sequences(&table, first).await, [0; 0]);
    let next = appended(&second, &snapshot, &[said("in time")]);
    assert_eq!(table.append("second", &second, &next).await.unwrap(), Appended::Stored);
    assert_eq!(table.append("first", first, &late).await.unwrap(), Appended::LostLease);
    assert_eq!(sequences(&table, first).await, [1]);
    assert_eq!(read(&table, first).await.progress(), next.conversation.progress());
    // A third one takes it, and nobody has spoken since.
    for holder in ["third", "fourth"] {
        assert!(table.take_lease(account, id, &Lease::new(holder.into(), at(9))).await.unwrap());
    }
    let fourth = read(&table, first).await;
    let more = appended(&next.conversation, &snapshot, &[speech()]);
    assert_eq!(table.append("second", &next.conversation, &more).await.unwrap(), Appended::LostLease);
    let more = appended(&fourth, &snapshot, &[speech(), speech()]);
    assert_eq!(table.append("fourth", &fourth, &more).await.unwrap(), Appended::Stored);
    assert_eq!(sequences(&table, first).await, [1, 2, 3]);
    assert_eq!(table.events(account, id, 1, 1).await.unwrap().0[0].sequence, 2);
}

#[tokio::test]
async fn a_worker_appends_nothing_to_a_deleted_conversation_wherever_it_stopped() {
    let table = testing::new_table().await;
    let snapshot = held(&table, "first").await;
    let (account, id) = (snapshot.conversation.account_id, snapshot.conversation.id);
    // A worker may have been frozen after any of these writes.
    let mut known = vec![snapshot.conversation.clone()];
    for entries in [vec![said("Hello"), speech()], vec![said("At six?")]] {
        let before = &known[known.len() - 1];
        let change = appended(before, &snapshot, &entries);
        assert_eq!(table.append("first", before, &change).await.unwrap(), Appended::Stored);
        known.push(change.conversation);
    }
    assert!(table.take_lease(account, id, &Lease::new("second".into(), at(5))).await.unwrap());
    known.push(read(&table, &known[0]).await);
    let ended = table.transition_as("second", account, id, |now| {
        let (reason, prices) = (EndedReason::Unknown, Prices::default());
        now.conversation.end(&now.agent, reason, &[], &Usage::default(), &prices, at(9))
    });
    assert!(matches!(ended.await.unwrap(), Outcome::Changed(_)));
    table.delete_conversation(account, id, at(20)).await.unwrap();
    for before in &known {
        let late = appended(before, &snapshot, &[said("too late")]);
        assert_eq!(table.append("first", before, &late).await.unwrap(), Appended::LostLease);
    }
    assert_eq!(sequences(&table, &known[0]).await, [0; 0]);
    assert_eq!(table.messages(account, id).await.unwrap(), []);
    assert!(table.is_deleted(account, id).await.unwrap());
}

#[tokio::test]
async fn packs_without_a_message_are_not_sent_to_a_reader_of_messages() {
    let database = MemoryDatabase::new();
    let received = Arc::new(AtomicUsize::new(0));
    let counted = received.clone();
    let config = config_of(move |request| {
        let response = database.execute(&request);
        counted.fetch_add(response.body.len(), Ordering::Relaxed);
        ready(Some(response)).boxed()
    });
    let table = MemoryDatabase::table(&config).await;
    let mut snapshot = held(&table, "first").await;
    let (account, id) = (snapshot.conversation.account_id, snapshot.conversation.id);
    let long = JournalEntry { data: json!("x".repeat(150_000)), ..speech() };
    for entry in [said("Hello"), long.clone(), long.clone(), said("At six?"), long] {
        let before = snapshot.conversation.clone();
        let change = appended(&before, &snapshot, &[entry]);
        assert_eq!(table.append("first", &before, &change).await.unwrap(), Appended::Stored);
        snapshot.conversation = change.conversation;
    }
    received.store(0, Ordering::Relaxed);
    let messages = table.messages(account, id).await.unwrap();
    assert_eq!(messages.iter().map(|message| &*message.content).collect::<Vec<_>>(), ["Hello", "At six?"]);
    let received = received.load(Ordering::Relaxed);
    assert!(received < 5_000, "{received} bytes");
}

#[tokio::test]
async fn events_after_any_number_of_takeovers_without_an_event_are_found() {
    let table = testing::new_table().await;
    let mut snapshot = held(&table, "first").await;
    let (account, id) = (snapshot.conversation.account_id, snapshot.conversation.id);
    for round in 0..3_u64 {
        for holder in 0..20 {
            assert!(table.take_lease(account, id, &Lease::new(holder.to_string(), at(5))).await.unwrap());
        }
        snapshot = table.conversation(account, id).await.unwrap().unwrap();
        let change = appended(&snapshot.conversation, &snapshot, &[speech()]);
        assert_eq!(table.append("19", &snapshot.conversation, &change).await.unwrap(), Appended::Stored);
        for (offset, limit) in (0..=round).flat_map(|offset| [(offset, 1), (offset, 2), (offset, 9)]) {
            let (events, has_more) = table.events(account, id, offset, limit).await.unwrap();
            let expected: Vec<u64> = (offset + 1..=round + 1).take(limit).collect();
            assert_eq!(events.iter().map(|event| event.sequence).collect::<Vec<_>>(), expected);
            assert_eq!(has_more, offset + (limit as u64) < round + 1, "{offset}+{limit} of {round}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_takeover_that_races_with_an_append_sees_it() {
    let table = testing::new_table().await;
    let snapshot = held(&table, "first").await;
    let first = &snapshot.conversation;
    let (account, id) = (first.account_id, first.id);
    let mut known = vec![];
    let change = appended(first, &snapshot, &[said("just in time")]);
    let stored = std::sync::Arc::new(std::sync::Mutex::new(false));
    // The first worker writes between the read and the write of the second.
    for _ in 0..2 {
        let lease = Lease::new("second".into(), at(5));
        let (other, before, change, stored) = (table.clone(), first.clone(), change.clone(), stored.clone());
        let outcome = table
            .transition_taking(&lease, account, id, |now| {
                known.push(now.conversation.next_sequence);
                if !std::mem::replace(&mut *stored.lock().unwrap(), true) {
                    let (other, before, change) = (other.clone(), before.clone(), change.clone());
                    let append = async move { other.append("first", &before, &change).await };
                    let written = tokio::task::block_in_place(|| Handle::current().block_on(append));
                    assert_eq!(written.unwrap(), Appended::Stored);
                }
                let version = now.conversation.version + 1;
                let conversation = Conversation { version, ..now.conversation.clone() };
                Ok::<_, InvalidTransition>(Transition { conversation, events: vec![], messages: vec![] })
            })
            .await
            .unwrap();
        assert!(matches!(outcome, Outcome::Changed(_)));
    }
    assert_eq!(known, [1, 2, 2]);
}

#[tokio::test]
async fn an_event_that_no_item_can_hold_is_refused_before_others_of_its_write_are_stored() {
    let table = testing::new_table().await;
    let snapshot = held(&table, "first").await;
    let before = &snapshot.conversation;
    let huge = JournalEntry { data: json!("x".repeat(400_000)), ..speech() };
    let long = JournalEntry { data: json!("x".repeat(150_000)), ..speech() };
    let change = appended(before, &snapshot, &[speech(), huge]);
    let refused = table.append("first", before, &change).await;
    assert!(matches!(refused, Err(TableError::TooLarge)), "{refused:?}");
    assert_eq!(sequences(&table, before).await, [0; 0]);
    let change = appended(before, &snapshot, &[long.clone(), said("a"), long.clone(), said("b"), long]);
    for _ in 0..2 {
        assert_eq!(table.append("first", before, &change).await.unwrap(), Appended::Stored);
    }
    assert_eq!(sequences(&table, before).await, [1, 2, 3, 4, 5]);
    assert_eq!(read(&table, before).await.progress(), change.conversation.progress());
}

#[tokio::test]
async fn the_items_of_version_0_1_0_are_read() {
    let table = testing::new_table().await;
    let snapshot = started(&table).await;
    let conversation = Conversation { next_sequence: 2, next_message: 2, ..snapshot.conversation.clone() };
    let pk = keys::conversation_pk(conversation.account_id, conversation.id);
    let message = json!({
        "role": "user", "content": "Hello", "started_at": at(3), "ended_at": at(4), "interrupted": false,
    });
    let text = |text: &str| AttributeValue::S(text.to_owned());
    let id = switchboard_model::ids::EventId::of(conversation.id, 1, at(4));
    let event = items::Item::new(
        pk.clone(),
        "EVT#000001",
        &json!({ "id": id, "event": "message:sent", "sequence": 1, "created_at": at(4), "webhooks": [0] }),
    );
    let mut event = event.unwrap().into_attributes();
    event.insert("data".into(), text(&json!({ "message": message }).to_string()));
    let mut stored = message.clone();
    stored["kind"] = Value::from("speech");
    let stored = items::Item::new(pk, "MSG#000001", &stored).unwrap();
    table.write(vec![table.put(event.into()), table.put(stored)]).await.unwrap();
    table.write(vec![table.put(items::state_item(&conversation).unwrap())]).await.unwrap();

    assert_eq!(read(&table, &conversation).await, conversation);
    let change = appended(&conversation, &snapshot, &[said("Goodbye")]);
    table.commit(&conversation, &change).await.unwrap();
    assert_eq!(sequences(&table, &conversation).await, [1, 2]);
    let messages = table.messages(conversation.account_id, conversation.id).await.unwrap();
    assert_eq!(messages.iter().map(|message| &*message.content).collect::<Vec<_>>(), ["Hello", "Goodbye"]);
    let (events, _) = table.events(conversation.account_id, conversation.id, 0, 1).await.unwrap();
    assert_eq!((events[0].id, &events[0].data["message"]), (id, &message));
    assert_ne!(conversation.account_id, account());
}
