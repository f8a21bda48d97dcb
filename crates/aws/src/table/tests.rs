//! The table against a server that speaks DynamoDB's protocol.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use switchboard_model::{
    accounts::{Account, Token},
    agents::{Agent, AgentConfig, Function, LanguageModel, ModelSettings, Tool, ToolKind},
    carriers::{CarrierCallId, CarrierName},
    catalogue::Service,
    conversations::{
        Conversation, EndedReason, JournalEntry, LegId, LegState, RejectReason, ReportedEnd, Snapshot, State,
        WorkerSignals,
    },
    costs::{CharacterCost, CostBreakdown, Prices, ServedCost, TimedCost, TokenCost, Usage, Usd},
    event_names::EventName,
    ids::{AccountId, AgentId, ConversationId, PhoneNumberId},
    messages::{Message, Role},
    phone_numbers::{E164, PhoneNumber},
    time::Timestamp,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinSet,
};

use super::{MAX_ITEMS, Outcome, Table, TableError, testing};
use switchboard_runtime as system;

pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_795_339_800_120 + seconds * 1_000)
}

pub(super) fn account() -> AccountId {
    AccountId::new(at(0), system::random_u128())
}

fn number(text: &str) -> E164 {
    text.parse().unwrap()
}

pub(super) fn carrier_call(id: &str) -> CarrierCallId {
    CarrierCallId::new(CarrierName::default(), id).unwrap()
}

pub(super) fn queued(account: AccountId) -> Snapshot {
    let id = ConversationId::new(at(0), system::random_u128());
    let (to, from) = (number("+14155550100"), number("+14155550199"));
    Snapshot {
        conversation: Conversation::outbound(id, account, None, to, from, at(0)),
        agent: AgentConfig::default(),
    }
}

/// A stored conversation in the state `started`.
pub(super) async fn started(table: &Table) -> Snapshot {
    let mut snapshot = queued(account());
    snapshot.conversation.legs.caller_mut().state = LegState::Answered { answered_at: at(1) };
    snapshot.conversation.state = State::Started { started_at: at(2) };
    table.create_conversation(&snapshot).await.unwrap();
    snapshot
}

pub(super) fn said(text: &str) -> JournalEntry {
    let message = Message {
        kind: switchboard_model::messages::MessageKind::HoldPhrase,
        role: Role::User,
        content: text.to_owned(),
        started_at: at(3),
        ended_at: at(4),
        interrupted: false,
    };
    JournalEntry {
        at: at(4),
        name: EventName::MessageSent,
        data: Value::Null,
        message: Some(message),
        faults: vec![],
    }
}

fn usd(text: &str) -> Usd {
    serde_json::from_value(json!(text)).unwrap()
}

fn cost() -> CostBreakdown {
    let timed = |provider: &str, cost| TimedCost {
        provider: provider.into(),
        cost: usd(cost),
        ms: u64::from(u32::MAX),
        estimated: false,
    };
    CostBreakdown {
        total: usd("12345678.000001"),
        agent: timed("voiceos", "0"),
        language_model: TokenCost {
            provider: "openai".into(),
            cost: usd("0.1"),
            input_tokens: 9_007_199_254_740_993,
            output_tokens: 0,
            estimated: true,
        },
        transcriber: timed("deepgram", "0.000001"),
        voice: CharacterCost {
            provider: "deepgram".into(),
            cost: usd("0.3"),
            characters: 7,
            estimated: false,
        },
        telephony: None,
        served_by: vec![ServedCost {
            role: Service::Voice,
            provider: "deepgram".into(),
            model: "aura-2-thalia-en".into(),
            cost: usd("0.3"),
            estimated: false,
        }],
    }
}

#[tokio::test]
async fn every_state_reads_back_as_it_was_written() {
    let table = testing::new_table().await;
    let ended = |answered_at, started_at, ended_reason, telephony| {
        let ended_at = at(9);
        let cost = Box::new(CostBreakdown { telephony, ..cost() });
        (
            LegState::Ended { answered_at, ended_at },
            State::Ended { started_at, ended_at, ended_reason, cost, quality: None },
        )
    };
    let carrier = TimedCost { provider: "twilio".into(), cost: usd("0.014"), ms: 1, estimated: false };
    let states = [
        (LegState::Waiting, State::Queued),
        (LegState::Dialing { dialed_at: at(1) }, State::Connecting),
        (LegState::Ringing { dialed_at: at(1) }, State::Connecting),
        (LegState::Answered { answered_at: at(1) }, State::Connecting),
        (LegState::Answered { answered_at: at(1) }, State::Started { started_at: at(2) }),
        ended(None, None, EndedReason::Unknown, None),
        ended(Some(at(1)), None, EndedReason::UserEnded, Some(carrier.clone())),
        ended(Some(at(1)), Some(at(2)), EndedReason::AgentEnded, Some(carrier)),
    ];
    for (leg, state) in states {
        let mut bare = queued(account());
        bare.conversation.state = state;
        bare.conversation.legs.caller_mut().state = leg;
        let mut full = queued(account());
        full.conversation.state = bare.conversation.state.clone();
        full.conversation.agent_id = Some(AgentId::new(at(0), 5));
        let caller = full.conversation.legs.caller_mut();
        caller.state = leg;
        caller.media_token_sha256 = Some("00ff".into());
        caller.resumes = 2;
        caller.reported_end = Some(ReportedEnd { at: at(8), seconds: Some(7) });
        let call = caller.phone_call.as_mut().unwrap();
        call.imported = true;
        call.answered_by = Some("human".into());
        call.carrier_call_id = Some(carrier_call("CA1"));
        full.conversation.signals = WorkerSignals { end_requested_at: Some(at(7)) };
        full.conversation.usage =
            Usage { input_tokens: u64::MAX, tokens_estimated: true, ..Usage::default() };
        bare.conversation.legs.caller_mut().phone_call = None;
        for snapshot in [bare, full] {
            table.create_conversation(&snapshot).await.unwrap();
            let (account, id) = (snapshot.conversation.account_id, snapshot.conversation.id);
            assert_eq!(table.conversation(account, id).await.unwrap(), Some(snapshot));
        }
    }
}

#[tokio::test]
async fn an_agent_reads_back_with_numbers_and_depths_of_json() {
    let table = testing::new_table().await;
    let mut deep = json!({ "maximum": 1e300, "minimum": -0.1, "": "" });
    for _ in 0..40 {
        deep = json!({ "properties": deep });
    }
    let function =
        Function { name: "f".into(), description: None, parameters: Some(deep.as_object().unwrap().clone()) };
    let tools = vec![Tool { kind: ToolKind::Function, function }];
    let settings = ModelSettings { tools, temperature: 0.1, ..ModelSettings::default() };
    let config = AgentConfig { language_model: LanguageModel::Openai(settings), ..AgentConfig::default() };
    let (owner, id) = (account(), AgentId::new(at(0), 1));

    let agent = Agent::new(id, owner, config.clone(), at(0));
    table.create_agent(&agent).await.unwrap();
    assert_eq!(table.agent(owner, id).await.unwrap(), Some(agent));
    assert_eq!(table.agent(account(), id).await.unwrap(), None);

    let snapshot = Snapshot { agent: config, ..queued(owner) };
    table.create_conversation(&snapshot).await.unwrap();
    let read = table.conversation(owner, snapshot.conversation.id).await.unwrap();
    assert_eq!(read, Some(snapshot));
}

#[tokio::test]
async fn an_event_reads_back_with_any_json() {
    let table = testing::new_table().await;
    let before = started(&table).await;
    let data = json!({ "name": "f", "arguments": { "": [1e300, null, "", "é🎂"] } });
    let entry = JournalEntry {
        at: at(3),
        name: EventName::FunctionCallTriggered,
        data: data.clone(),
        message: None,
        faults: vec![],
    };
    let appended = before.conversation.append(&before.agent, &[entry], &Usage::default()).unwrap();
    table.commit(&before.conversation, &appended).await.unwrap();
    let (account, id) = (before.conversation.account_id, before.conversation.id);
    let (events, _) = table.events(account, id, 0, 10).await.unwrap();
    assert_eq!(events, appended.events);
    assert_eq!(events[0].data, data);
}

#[tokio::test]
async fn a_token_opens_its_account_only() {
    let table = testing::new_table().await;
    let account = Account::new(account(), "Bakery".into(), at(0), "whsec_".into());
    let token = Token::new([1; 32]);
    table.create_account(&account, &token).await.unwrap();
    assert_eq!(table.account_of_token(&token).await.unwrap(), Some(account.id));
    assert_eq!(table.account_of_token(&Token::new([2; 32])).await.unwrap(), None);
    let again = table.create_account(&account, &Token::new([3; 32])).await;
    assert!(matches!(again, Err(TableError::Conflict)), "{again:?}");
    assert_eq!(
        table.account_of_token(&Token::new([3; 32])).await.unwrap(),
        None,
        "nothing is written by halves"
    );
}

#[tokio::test]
async fn a_number_has_one_owner() {
    let table = testing::new_table().await;
    let (first, second, ours) = (account(), account(), number("+14155550199"));
    let owned = |random, account| {
        let id = PhoneNumberId::new(at(0), random);
        PhoneNumber::coming(id, account, ours.clone(), None, at(0)).arrived("PN1".into())
    };
    table.add_phone_number(&owned(1, first)).await.unwrap();
    for account in [first, second] {
        let again = table.add_phone_number(&owned(2, account)).await;
        assert!(matches!(again, Err(TableError::Conflict)), "{again:?}");
    }
    assert!(table.owns_phone_number(first, &ours).await.unwrap());
    assert!(!table.owns_phone_number(second, &ours).await.unwrap());
    assert!(!table.owns_phone_number(first, &number("+14155550198")).await.unwrap());
}

#[tokio::test]
async fn another_account_sees_nothing_of_a_conversation() {
    let table = testing::new_table().await;
    let before = started(&table).await;
    let entries = [said("Hello")];
    let appended = before.conversation.append(&before.agent, &entries, &Usage::default()).unwrap();
    table.commit(&before.conversation, &appended).await.unwrap();
    let (stranger, id) = (account(), before.conversation.id);
    assert_eq!(table.conversation(stranger, id).await.unwrap(), None);
    assert_eq!(table.messages(stranger, id).await.unwrap(), []);
    assert_eq!(table.events(stranger, id, 0, 10).await.unwrap(), (vec![], false));
    let outcome =
        table.transition(stranger, id, |_| unreachable!("there is nothing to change")).await.unwrap();
    assert_eq!(outcome, Outcome::NotFound);
}

#[tokio::test]
async fn a_second_write_from_the_same_state_conflicts() {
    let table = testing::new_table().await;
    let before = started(&table).await;
    let (account, id) = (before.conversation.account_id, before.conversation.id);
    let change = |text| before.conversation.append(&before.agent, &[said(text)], &Usage::default()).unwrap();
    table.commit(&before.conversation, &change("first")).await.unwrap();
    let second = table.commit(&before.conversation, &change("second")).await;
    assert!(matches!(second, Err(TableError::Conflict)), "{second:?}");
    let messages = table.messages(account, id).await.unwrap();
    assert_eq!(messages.iter().map(|message| message.content.as_str()).collect::<Vec<_>>(), ["first"]);
}

#[tokio::test]
async fn a_transition_that_is_not_allowed_writes_nothing() {
    let table = testing::new_table().await;
    let before = started(&table).await;
    let (account, id) = (before.conversation.account_id, before.conversation.id);
    let outcome = table
        .transition(account, id, |now| {
            now.conversation.reject(LegId::CALLER, &now.agent, RejectReason::Busy, &Prices::default(), at(9))
        })
        .await
        .unwrap();
    assert_eq!(outcome, Outcome::Unchanged(before));
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_concurrent_writers_number_without_gaps() {
    let table = testing::new_table().await;
    let before = started(&table).await;
    let (account, id) = (before.conversation.account_id, before.conversation.id);
    let mut writers = JoinSet::new();
    for writer in 0..20 {
        let table = table.clone();
        writers.spawn(async move {
            let entry = said(&writer.to_string());
            let outcome = table
                .transition(account, id, |now| {
                    now.conversation.append(&now.agent, std::slice::from_ref(&entry), &now.conversation.usage)
                })
                .await;
            assert!(matches!(outcome, Ok(Outcome::Changed(_))), "{outcome:?}");
        });
    }
    while let Some(written) = writers.join_next().await {
        written.unwrap();
    }
    let (events, has_more) = table.events(account, id, 0, 100).await.unwrap();
    assert!(!has_more);
    assert_eq!(events.iter().map(|event| event.sequence).collect::<Vec<_>>(), (1..=20).collect::<Vec<_>>());
    let messages = table.messages(account, id).await.unwrap();
    let heard: BTreeSet<String> = messages.into_iter().map(|message| message.content).collect();
    assert_eq!(heard, (0..20).map(|writer| writer.to_string()).collect());
    let after = table.conversation(account, id).await.unwrap().unwrap().conversation;
    assert_eq!(
        (after.next_sequence, after.next_message, after.version),
        (21, 21, before.conversation.version + 20)
    );
}

#[tokio::test]
async fn events_are_read_in_pages_of_any_size() {
    let table = testing::new_table().await;
    let before = started(&table).await;
    let (account, id) = (before.conversation.account_id, before.conversation.id);
    let entries: Vec<JournalEntry> = (0..25)
        .map(|_| JournalEntry {
            at: at(3),
            name: EventName::SpeechStarted,
            data: Value::Null,
            message: None,
            faults: vec![],
        })
        .collect();
    let appended = before.conversation.append(&before.agent, &entries, &Usage::default()).unwrap();
    table.commit(&before.conversation, &appended).await.unwrap();
    for (offset, limit, first, last, more) in
        [(0, 10, 1, 10, true), (10, 10, 11, 20, true), (20, 10, 21, 25, false), (15, 10, 16, 25, false)]
    {
        let (events, has_more) = table.events(account, id, offset, limit).await.unwrap();
        let sequences: Vec<u64> = events.iter().map(|event| event.sequence).collect();
        assert_eq!((sequences, has_more), ((first..=last).collect(), more), "{offset}+{limit}");
    }
    assert_eq!(table.events(account, id, 25, 10).await.unwrap(), (vec![], false));
    assert_eq!(table.events(account, id, u64::MAX, 10).await.unwrap(), (vec![], false));
}

#[tokio::test]
async fn messages_beyond_one_page_of_the_table_are_read() {
    let table = testing::new_table().await;
    let mut before = started(&table).await;
    let (account, id) = (before.conversation.account_id, before.conversation.id);
    // A page holds 1 MB; a message is stored in its event as well.
    let long = "word ".repeat(30_000);
    for _ in 0..9 {
        let appended = before.conversation.append(&before.agent, &[said(&long)], &Usage::default()).unwrap();
        table.commit(&before.conversation, &appended).await.unwrap();
        before.conversation = appended.conversation;
    }
    assert_eq!(table.messages(account, id).await.unwrap().len(), 9);
    let (events, has_more) = table.events(account, id, 0, 8).await.unwrap();
    assert_eq!((events.len(), has_more), (8, true));
}

#[tokio::test]
async fn a_transaction_of_more_than_100_items_is_too_large() {
    let table = testing::new_table().await;
    let before = started(&table).await;
    let (account, id) = (before.conversation.account_id, before.conversation.id);
    let change = |events: usize, bytes: usize| {
        let entry = JournalEntry {
            at: at(3),
            name: EventName::SpeechStarted,
            data: json!("x".repeat(bytes)),
            message: None,
            faults: vec![],
        };
        before.conversation.append(&before.agent, &vec![entry; events], &Usage::default()).unwrap()
    };
    // Each needs an item of its own.
    let refused = table.commit(&before.conversation, &change(MAX_ITEMS, 150_000)).await;
    assert!(matches!(refused, Err(TableError::TooLarge)), "{refused:?}");
    assert_eq!(table.events(account, id, 0, 10).await.unwrap(), (vec![], false));
    table.commit(&before.conversation, &change(2 * MAX_ITEMS, 10)).await.unwrap();
    assert_eq!(table.events(account, id, 0, 300).await.unwrap().0.len(), 2 * MAX_ITEMS);
}

#[tokio::test]
async fn an_item_above_the_limit_of_the_table_is_too_large() {
    let table = testing::new_table().await;
    let before = started(&table).await;
    let change = before
        .conversation
        .append(&before.agent, &[said(&"x".repeat(410 * 1024))], &Usage::default())
        .unwrap();
    let refused = table.commit(&before.conversation, &change).await;
    assert!(matches!(refused, Err(TableError::TooLarge)), "{refused:?}");
    let config = AgentConfig { prompt: Some("x".repeat(410 * 1024)), ..AgentConfig::default() };
    let agent = Agent::new(AgentId::new(at(0), 1), account(), config, at(0));
    let refused = table.create_agent(&agent).await;
    assert!(matches!(refused, Err(TableError::TooLarge)), "{refused:?}");
}

#[tokio::test]
async fn throttled_and_unavailable_are_told_apart() {
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    let table = Table::new(&testing::config(&url).await, "switchboard".into());
    let away = table.owns_phone_number(account(), &number("+14155550199")).await;
    assert!(matches!(away, Err(TableError::Unavailable(_))), "{away:?}");

    let body = r#"{"__type":"com.amazonaws.dynamodb.v20120810#ThrottlingException","message":"slow down"}"#;
    let table = Table::new(&testing::config(&answering(400, body).await).await, "switchboard".into());
    let throttled = table.owns_phone_number(account(), &number("+14155550199")).await;
    assert!(matches!(throttled, Err(TableError::Throttled(_))), "{throttled:?}");
    let throttled = table.create_conversation(&queued(account())).await;
    assert!(matches!(throttled, Err(TableError::Throttled(_))), "{throttled:?}");

    let body = r#"{"__type":"com.amazonaws.dynamodb.v20120810#AccessDeniedException","message":"no"}"#;
    let table = Table::new(&testing::config(&answering(400, body).await).await, "switchboard".into());
    let refused = table.create_conversation(&queued(account())).await;
    assert!(matches!(refused, Err(TableError::Refused(_))), "{refused:?}");
}

#[tokio::test]
async fn a_cancelled_transaction_is_classified_by_its_reasons() {
    for (code, expected) in [
        ("ConditionalCheckFailed", "Conflict"),
        ("TransactionConflict", "Conflict"),
        ("ThrottlingError", "Throttled"),
        ("ValidationError", "Refused"),
    ] {
        let body = json!({
            "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
            "Message": "Transaction cancelled",
            "CancellationReasons": [{ "Code": "None" }, { "Code": code, "Message": "because" }],
        });
        let url = answering(400, &body.to_string()).await;
        let table = Table::new(&testing::config(&url).await, "switchboard".into());
        let error = table.create_conversation(&queued(account())).await.unwrap_err();
        assert!(format!("{error:?}").starts_with(expected), "{code}: {error:?}");
    }
}

/// A service that gives the same response to every request.
pub(super) async fn answering(status: u16, body: &str) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answer = format!(
        "HTTP/1.1 {status} Answer\r\ncontent-type: application/x-amz-json-1.0\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    tokio::runtime::Handle::current().spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut request = vec![0; 64 * 1024];
            // The requests of these tests fit into one segment on loopback.
            let _ = socket.read(&mut request).await;
            let _ = socket.write_all(answer.as_bytes()).await;
            let _ = socket.shutdown().await;
        }
    });
    url
}
