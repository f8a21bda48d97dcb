//! Leases and due items, against a server that speaks DynamoDB's protocol.

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::json;
use switchboard_model::{
    conversations::{
        Conversation, EndedReason, InvalidTransition, Lease, LegId, LegState, RejectReason, Snapshot, State,
        Transition, UtteranceProgress,
    },
    costs::{Prices, Usage},
    ids::{AccountId, ConversationId},
    time::Timestamp,
};
use tokio::task::JoinSet;

use super::{
    DueItem, Outcome, Table, TableError, items, testing,
    tests::{account, answering, at, carrier_call, queued, said, started},
    transactions::Guard,
};
use crate::keys;

/// Account and id of a conversation.
fn key(snapshot: &Snapshot) -> (AccountId, ConversationId) {
    (snapshot.conversation.account_id, snapshot.conversation.id)
}

fn lease(holder: &str, now: Timestamp) -> Lease {
    Lease::new(holder.into(), now)
}

fn speaking(mut lease: Lease) -> Lease {
    lease.utterance = Some(UtteranceProgress {
        kind: switchboard_model::messages::MessageKind::Speech,
        heard: "We close".into(),
        unheard: "at six.".into(),
        started_at: at(3),
    });
    lease
}

fn append(now: &Snapshot) -> Result<Transition, InvalidTransition> {
    now.conversation.append(&now.agent, &[said("Hello")], &Usage::default())
}

fn end(now: &Snapshot, ended_at: Timestamp) -> Result<Transition, InvalidTransition> {
    let reason = EndedReason::Unknown;
    now.conversation.end(
        &now.agent,
        reason,
        &[said("Goodbye")],
        &Usage::default(),
        &Prices::default(),
        ended_at,
    )
}

/// A started conversation whose lease `holder` took at second 2.
async fn held(table: &Table, holder: &str) -> (AccountId, ConversationId) {
    let snapshot = started(table).await;
    let (account, id) = key(&snapshot);
    assert!(table.take_lease(account, id, &lease(holder, at(2))).await.unwrap());
    (account, id)
}

/// All conversations in the index `due`, at any time.
async fn all_due(table: &Table) -> Vec<DueItem> {
    table.due(at(1_000_000), 1_000).await.unwrap()
}

async fn messages(table: &Table, (account, id): (AccountId, ConversationId)) -> usize {
    table.messages(account, id).await.unwrap().len()
}

#[tokio::test]
async fn a_lease_reads_back_as_it_was_written() {
    let table = testing::new_table().await;
    let (account, id) = held(&table, "first").await;
    assert_eq!(table.lease(account, id).await.unwrap(), Some(lease("first", at(2))));
    let renewed = speaking(lease("first", at(17)));
    assert!(table.renew_lease(account, id, &renewed).await.unwrap());
    assert_eq!(table.lease(account, id).await.unwrap(), Some(renewed));
}

#[tokio::test]
async fn a_checkpoint_renews_the_lease_and_leaves_the_index_alone() {
    let table = testing::new_table().await;
    let (account, id) = held(&table, "first").await;
    let due = DueItem { account, conversation: id, due_at: at(62) };
    for later in [speaking(lease("first", at(9))), lease("first", at(10))] {
        assert!(table.checkpoint_lease(account, id, &later).await.unwrap());
        assert_eq!(table.lease(account, id).await.unwrap(), Some(later));
        assert_eq!(all_due(&table).await, [due]);
    }
    let later = lease("first", at(12));
    assert!(table.take_lease(account, id, &lease("second", at(11))).await.unwrap());
    assert!(!table.checkpoint_lease(account, id, &later).await.unwrap(), "it was taken");
    let (missing, _) = key(&queued(super::tests::account()));
    assert!(!table.checkpoint_lease(missing, id, &later).await.unwrap());
}

#[tokio::test]
async fn a_taken_lease_cannot_be_renewed_or_released_by_its_old_holder() {
    let table = testing::new_table().await;
    let (account, id) = held(&table, "first").await;
    let second = lease("second", at(5));
    assert!(table.take_lease(account, id, &second).await.unwrap());
    assert!(!table.renew_lease(account, id, &lease("first", at(17))).await.unwrap());
    table.release_lease(account, id, &lease("first", at(17))).await.unwrap();
    assert_eq!(table.lease(account, id).await.unwrap(), Some(second));
}

#[tokio::test]
async fn a_released_lease_keeps_its_words_and_is_due_soon() {
    let table = testing::new_table().await;
    let (account, id) = held(&table, "first").await;
    let last = speaking(Lease { until: at(3_600), ..lease("first", at(17)) });
    table.release_lease(account, id, &last).await.unwrap();
    let released = table.lease(account, id).await.unwrap().unwrap();
    assert_eq!(released.until, at(37));
    assert_eq!((released.holder, released.utterance), (last.holder, last.utterance));
    let due = table.due(released.until, 10).await.unwrap();
    assert_eq!(due, [DueItem { account, conversation: id, due_at: released.until }]);
}

#[tokio::test]
async fn an_ended_or_missing_conversation_has_no_lease_to_take() {
    let table = testing::new_table().await;
    let snapshot = started(&table).await;
    let (owner, id) = key(&snapshot);
    let stranger = account();
    assert!(!table.take_lease(stranger, id, &lease("first", at(2))).await.unwrap());
    assert!(!table.renew_lease(owner, id, &lease("first", at(2))).await.unwrap());
    let ended = table.transition(owner, id, |now| end(now, at(9))).await.unwrap();
    assert!(matches!(ended, Outcome::Changed(_)), "{ended:?}");
    assert!(!table.take_lease(owner, id, &lease("late", at(9))).await.unwrap());
    assert_eq!(table.lease(owner, id).await.unwrap(), None);
    assert_eq!(table.lease(stranger, id).await.unwrap(), None);
    assert_eq!(all_due(&table).await, []);
}

#[tokio::test]
async fn a_lost_lease_refuses_the_whole_write() {
    let table = testing::new_table().await;
    let (account, id) = held(&table, "first").await;
    let written = table.transition_as("first", account, id, append).await.unwrap();
    assert!(matches!(written, Outcome::Changed(_)), "{written:?}");
    assert!(table.take_lease(account, id, &lease("second", at(5))).await.unwrap());
    let before = table.conversation(account, id).await.unwrap().unwrap();
    for change in [append, |now: &Snapshot| end(now, at(9))] {
        assert_eq!(table.transition_as("first", account, id, change).await.unwrap(), Outcome::LostLease);
    }
    assert_eq!(table.conversation(account, id).await.unwrap(), Some(before));
    assert_eq!(messages(&table, (account, id)).await, 1);
    assert_eq!(table.events(account, id, 0, 10).await.unwrap().0.len(), 1);
}

#[tokio::test]
async fn a_transition_of_a_holder_needs_its_lease() {
    let table = testing::new_table().await;
    let (account, id) = key(&started(&table).await);
    assert_eq!(table.transition_as("first", account, id, append).await.unwrap(), Outcome::LostLease);
}

#[tokio::test]
async fn an_admitted_worker_gets_the_lease_in_the_same_write() {
    let table = testing::new_table().await;
    let mut snapshot = queued(account());
    let conversation = &mut snapshot.conversation;
    conversation.state = State::Connecting;
    conversation.legs.caller_mut().state = LegState::Answered { answered_at: at(1) };
    conversation.legs.caller_mut().media_token_sha256 = Some("00ff".into());
    table.create_conversation(&snapshot).await.unwrap();
    let (account, id) = key(&snapshot);
    let first = lease("first", at(2));
    let start = |now: &Snapshot| {
        now.conversation.mark_started(LegId::CALLER, &now.agent, &carrier_call("CA1"), at(2))
    };
    let outcome = table.transition_taking(&first, account, id, start).await.unwrap();
    assert!(matches!(outcome, Outcome::Changed(_)), "{outcome:?}");
    assert_eq!(table.lease(account, id).await.unwrap(), Some(first));
    assert_eq!(all_due(&table).await, [DueItem { account, conversation: id, due_at: at(62) }]);

    let resume = |now: &Snapshot| now.conversation.begin_resume(LegId::CALLER, "11ee".into(), at(9));
    let outcome = table.transition(account, id, resume).await.unwrap();
    assert!(matches!(outcome, Outcome::Changed(_)), "{outcome:?}");
    let (second, late) = (lease("second", at(5)), lease("late", at(6)));
    let resumed = |now: &Snapshot| now.conversation.mark_resumed(LegId::CALLER);
    let outcome = table.transition_taking(&second, account, id, resumed).await.unwrap();
    assert!(matches!(outcome, Outcome::Changed(_)), "{outcome:?}");
    let outcome = table.transition_taking(&late, account, id, resumed).await.unwrap();
    assert!(matches!(outcome, Outcome::Unchanged(_)), "the token is used up: {outcome:?}");
    assert_eq!(table.lease(account, id).await.unwrap(), Some(second));
}

#[tokio::test]
async fn only_the_holder_of_a_live_lease_ends_the_conversation() {
    let table = testing::new_table().await;
    let (account, id) = held(&table, "first").await;
    let other = |ended_at| table.transition(account, id, move |now| end(now, ended_at));
    assert_eq!(other(at(61)).await.unwrap(), Outcome::LostLease);
    assert_eq!(messages(&table, (account, id)).await, 0);
    let note = |now: &Snapshot| now.conversation.request_end(at(61));
    let noted = table.transition(account, id, note).await.unwrap();
    assert!(matches!(noted, Outcome::Changed(_)), "{noted:?}");
    // The lease ends at second 62.
    let ended = other(at(62)).await.unwrap();
    assert!(matches!(ended, Outcome::Changed(_)), "{ended:?}");
    let late = table.transition_as("first", account, id, append).await.unwrap();
    assert!(matches!(late, Outcome::Unchanged(_)), "{late:?}");
    assert_eq!(messages(&table, (account, id)).await, 1);
}

#[tokio::test]
async fn an_ended_conversation_is_not_due() {
    let table = testing::new_table().await;
    let waiting = queued(account());
    table.create_conversation(&waiting).await.unwrap();
    let (by_holder, by_other) = (held(&table, "first").await, held(&table, "second").await);
    assert_eq!(all_due(&table).await.len(), 3);

    let reject = |now: &Snapshot| {
        now.conversation.reject(LegId::CALLER, &now.agent, RejectReason::Failed, &Prices::default(), at(9))
    };
    let (account, id) = key(&waiting);
    let outcomes = [
        table.transition(account, id, reject).await.unwrap(),
        table.transition_as("first", by_holder.0, by_holder.1, |now| end(now, at(9))).await.unwrap(),
        table.transition(by_other.0, by_other.1, |now| end(now, at(999))).await.unwrap(),
    ];
    for outcome in outcomes {
        assert!(matches!(outcome, Outcome::Changed(_)), "{outcome:?}");
    }
    assert_eq!(all_due(&table).await, []);
    for (account, id) in [by_holder, by_other] {
        assert_eq!(table.lease(account, id).await.unwrap(), None);
        assert!(!table.renew_lease(account, id, &lease("first", at(9))).await.unwrap());
        table.postpone(account, id, at(99)).await.unwrap();
    }
    assert_eq!(all_due(&table).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_ends_end_a_conversation_once() {
    let table = testing::new_table().await;
    for _ in 0..10 {
        let (account, id) = held(&table, "first").await;
        let mut enders = JoinSet::new();
        for ender in 0..4 {
            let table = table.clone();
            enders.spawn(async move {
                let change = |now: &Snapshot| end(now, at(100));
                match ender {
                    0 => table.transition_as("first", account, id, change).await.unwrap(),
                    _ => table.transition(account, id, change).await.unwrap(),
                }
            });
        }
        let outcomes = enders.join_all().await;
        let changed = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Changed(_)));
        assert_eq!(changed.count(), 1, "{outcomes:?}");
        assert_eq!(messages(&table, (account, id)).await, 1);
    }
    assert_eq!(all_due(&table).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn renewals_and_transitions_of_a_holder_do_not_conflict() {
    let table = testing::new_table().await;
    let (account, id) = held(&table, "first").await;
    let (heart, journal) = (table.clone(), table.clone());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        for beat in 0..30 {
            assert!(heart.renew_lease(account, id, &lease("first", at(beat))).await.unwrap());
        }
    });
    tasks.spawn(async move {
        for _ in 0..30 {
            let outcome = journal.transition_as("first", account, id, append).await.unwrap();
            assert!(matches!(outcome, Outcome::Changed(_)), "{outcome:?}");
        }
    });
    tasks.join_all().await;
    assert_eq!(messages(&table, (account, id)).await, 30);
    assert_eq!(table.lease(account, id).await.unwrap(), Some(lease("first", at(29))));
}

#[tokio::test]
async fn every_state_is_due_at_its_deadline() {
    let table = testing::new_table().await;
    let states = [
        (LegState::Waiting, State::Queued),
        (LegState::Dialing { dialed_at: at(1) }, State::Connecting),
        (LegState::Ringing { dialed_at: at(1) }, State::Connecting),
        (LegState::Answered { answered_at: at(1) }, State::Connecting),
        (LegState::Answered { answered_at: at(1) }, State::Started { started_at: at(2) }),
    ];
    for (leg, state) in states {
        let mut snapshot = queued(account());
        snapshot.conversation.state = state;
        snapshot.conversation.legs.caller_mut().state = leg;
        table.create_conversation(&snapshot).await.unwrap();
        let found =
            all_due(&table).await.into_iter().find(|due| due.conversation == snapshot.conversation.id);
        assert_eq!(
            found.map(|due| due.due_at),
            snapshot.conversation.due_at(),
            "{:?}",
            snapshot.conversation
        );
    }
}

#[tokio::test]
async fn due_conversations_are_listed_once_oldest_first() {
    let table = testing::new_table().await;
    // Leases that end at the seconds 60, 61, ..., the newest stored first.
    let mut expected = vec![];
    for second in (0..12).rev() {
        let (account, conversation) = key(&started(&table).await);
        assert!(table.take_lease(account, conversation, &lease("first", at(second))).await.unwrap());
        expected.insert(0, DueItem { account, conversation, due_at: at(second + 60) });
    }
    // Every second one is due by its state as well, later than by its lease.
    for due in expected.iter().step_by(2) {
        let over = |now: &Snapshot| now.conversation.record_carrier_end(LegId::CALLER, None, at(60));
        let outcome = table.transition(due.account, due.conversation, over).await.unwrap();
        assert!(matches!(outcome, Outcome::Changed(_)), "{outcome:?}");
    }
    assert_eq!(table.due(at(59), 100).await.unwrap(), []);
    assert_eq!(table.due(at(64), 100).await.unwrap(), expected[..5]);
    assert_eq!(table.due(at(100), 100).await.unwrap(), expected);
    assert_eq!(table.due(at(100), 7).await.unwrap(), expected[..7]);
    assert_eq!(table.due(at(100), 0).await.unwrap(), []);
}

#[tokio::test]
async fn a_postponed_conversation_is_due_at_the_new_time() {
    let table = testing::new_table().await;
    let (bad, good) = (held(&table, "first").await, held(&table, "second").await);
    let over = |now: &Snapshot| now.conversation.record_carrier_end(LegId::CALLER, None, at(10));
    for (account, id) in [bad, good] {
        let outcome = table.transition(account, id, over).await.unwrap();
        assert!(matches!(outcome, Outcome::Changed(_)), "{outcome:?}");
    }
    let before = table.conversation(bad.0, bad.1).await.unwrap();
    table.postpone(bad.0, bad.1, at(500)).await.unwrap();
    let due = |second| {
        let table = &table;
        async move {
            table
                .due(at(second), 10)
                .await
                .unwrap()
                .into_iter()
                .map(|due| due.conversation)
                .collect::<Vec<_>>()
        }
    };
    assert_eq!(due(499).await, [good.1]);
    assert_eq!(due(500).await, [good.1, bad.1]);
    // A postponement changes neither the conversation nor its lease, and never makes them due sooner.
    assert_eq!(table.conversation(bad.0, bad.1).await.unwrap(), before);
    assert_eq!(table.lease(bad.0, bad.1).await.unwrap(), Some(lease("first", at(2))));
    table.postpone(bad.0, bad.1, at(400)).await.unwrap();
    assert_eq!(due(499).await, [good.1]);
    assert!(table.renew_lease(bad.0, bad.1, &lease("first", at(17))).await.unwrap());
    assert_eq!(due(77).await, [good.1, bad.1]);
}

#[tokio::test]
async fn postponing_a_missing_conversation_writes_nothing() {
    let table = testing::new_table().await;
    let snapshot = queued(account());
    let (account, id) = key(&snapshot);
    table.postpone(account, id, at(9)).await.unwrap();
    assert_eq!(all_due(&table).await, []);
    table.create_conversation(&snapshot).await.unwrap();
}

#[tokio::test]
async fn an_item_that_names_no_conversation_does_not_hide_the_others() {
    let table = testing::new_table().await;
    let (account, conversation) = held(&table, "first").await;
    let put = table.client.put_item().table_name(&table.name);
    let pk = keys::conversation_pk(account, conversation);
    put.set_item(Some(items::key("acc_of_a_newer_version".into(), "DELIVERY")))
        .item("due_pk", AttributeValue::S(keys::DueList::Conversations.pk(&pk)))
        .item("due_at", items::millis(at(0)))
        .send()
        .await
        .unwrap();
    assert_eq!(table.due(at(62), 1).await.unwrap(), [DueItem { account, conversation, due_at: at(62) }]);
}

#[tokio::test]
async fn the_states_of_150_conversations_are_read_at_once() {
    let table = testing::new_table().await;
    let owner = account();
    let mut keys = vec![];
    for _ in 0..150 {
        let snapshot = queued(owner);
        table.create_conversation(&snapshot).await.unwrap();
        keys.push(key(&snapshot));
    }
    // One is given twice, and one does not exist.
    keys.push(keys[0]);
    keys.push((account(), keys[0].1));
    let mut found: Vec<ConversationId> = table
        .states(&keys)
        .await
        .unwrap()
        .iter()
        .map(|conversation: &Conversation| conversation.id)
        .collect();
    found.sort_unstable();
    let mut expected: Vec<ConversationId> = keys[..150].iter().map(|(_, id)| *id).collect();
    expected.sort_unstable();
    assert_eq!(found, expected);
    assert_eq!(table.states(&[]).await.unwrap(), []);
}

#[tokio::test]
async fn unreadable_states_are_left_out() {
    let table = testing::new_table().await;
    let (good, bad) = (started(&table).await, started(&table).await);
    let (account, id) = key(&bad);
    let broken = table.client.update_item().table_name(&table.name);
    broken
        .set_key(Some(items::key(keys::conversation_pk(account, id), keys::STATE)))
        .update_expression("SET legs[0].resumes = :text")
        .expression_attribute_values(":text", AttributeValue::S("many".into()))
        .send()
        .await
        .unwrap();
    assert_eq!(table.states(&[key(&good), key(&bad)]).await.unwrap(), [good.conversation]);
}

#[tokio::test]
async fn an_unavailable_or_busy_table_is_a_transient_error() {
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let away = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    let body = r#"{"__type":"com.amazonaws.dynamodb.v20120810#ThrottlingException","message":"slow down"}"#;
    let busy = answering(400, body).await;
    let snapshot = queued(account());
    let (account, id) = key(&snapshot);
    for (url, kind) in [(away, "Unavailable"), (busy, "Throttled")] {
        let table = Table::new(&testing::config(&url).await, "switchboard".into());
        let lease = lease("first", at(2));
        let errors = tokio::join!(
            async { table.renew_lease(account, id, &lease).await.unwrap_err() },
            async { table.take_lease(account, id, &lease).await.unwrap_err() },
            async { table.release_lease(account, id, &lease).await.unwrap_err() },
            async { table.lease(account, id).await.unwrap_err() },
            async { table.states(&[(account, id)]).await.unwrap_err() },
            async { table.due(at(9), 10).await.unwrap_err() },
            async { table.postpone(account, id, at(9)).await.unwrap_err() },
            async { table.transition_as("first", account, id, append).await.unwrap_err() },
        );
        for error in <[TableError; 8]>::from(errors) {
            assert!(error.is_transient() && format!("{error:?}").starts_with(kind), "{error:?}");
        }
    }
    for error in [TableError::TooLarge, TableError::Corrupt("STATE")] {
        assert!(!error.is_transient(), "{error:?}");
    }
}

#[tokio::test]
async fn a_cancelled_transaction_tells_a_guard_from_a_conflict() {
    let refused = json!({ "Code": "ConditionalCheckFailed", "Message": "because" });
    for (reasons, expected) in [
        (json!([{ "Code": "None" }, refused]), Ok(false)),
        (json!([refused, { "Code": "None" }]), Err("Conflict")),
        (json!([refused, refused]), Ok(false)),
        (json!([{ "Code": "None" }, { "Code": "TransactionConflict" }]), Err("Conflict")),
    ] {
        let body = json!({
            "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
            "Message": "Transaction cancelled",
            "CancellationReasons": reasons,
        });
        let url = answering(400, &body.to_string()).await;
        let table = Table::new(&testing::config(&url).await, "switchboard".into());
        let item = |holder| items::lease_item("acc#cnv".into(), &lease(holder, at(2))).unwrap();
        let writes = vec![table.put(item("a")), table.put_new(item("b")).guarded_by(Guard::Forbidden)];
        let written = table.transact(writes).await.map(|guard| guard.is_none());
        let written = written.map_err(|error| format!("{error:?}"));
        assert_eq!(written, expected.map_err(str::to_owned), "{reasons}");
    }
}
