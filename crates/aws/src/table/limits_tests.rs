//! Limits, counters and claims against a server that speaks DynamoDB's protocol.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use switchboard_model::{
    accounts::{Account, Limits, Token},
    agents::AgentConfig,
    conversations::{
        Conversation, EndedReason, InvalidTransition, LegId, RejectReason, Snapshot, Transition,
    },
    costs::{Prices, Usd},
    idempotency::{Answer, Claim},
    ids::{AccountId, ConversationId, PhoneNumberId, RequestId},
    limits::{Counters, MAX_WAITING, Rate},
    phone_numbers::{E164, OwnAccount, PhoneNumber},
    secrets::Sealed,
    time::Timestamp,
};
use tokio::task::JoinSet;

use super::{
    Admission, Begun, CallStart, Claimed, Outcome, Queued, Table, testing,
    tests::{account, at, carrier_call, queued},
};

fn ids(snapshot: &Snapshot) -> (AccountId, ConversationId) {
    (snapshot.conversation.account_id, snapshot.conversation.id)
}

/// The numbers of waiting and live calls.
async fn counted(table: &Table, account: AccountId) -> (i64, i64) {
    let Counters { waiting, live, .. } = table.counters(account).await.unwrap();
    (waiting, live)
}

fn dial(snapshot: &Snapshot, now: Timestamp) -> Result<Transition, InvalidTransition> {
    snapshot.conversation.mark_dialing(LegId::CALLER, &snapshot.agent, "hash".into(), now)
}

fn end(snapshot: &Snapshot) -> Result<Transition, InvalidTransition> {
    let Snapshot { conversation, agent } = snapshot;
    let (usage, prices) = (&conversation.usage, Prices::default());
    conversation.end(agent, EndedReason::UserEnded, &[], usage, &prices, at(9))
}

/// Several calls of one account, stored.
async fn calls(table: &Table, count: usize) -> (AccountId, Vec<Snapshot>) {
    let account = account();
    let calls: Vec<_> = (0..count).map(|_| queued(account)).collect();
    for call in &calls {
        assert_eq!(table.queue_call(call).await.unwrap(), Queued::Stored);
    }
    (account, calls)
}

async fn try_dial(table: &Table, limits: &Limits, call: &Snapshot, now: Timestamp) -> bool {
    let (account, id) = ids(call);
    let start = CallStart { deployment: Rate::carrier_calls(1_000), at: now };
    match table.dial(limits, start, account, id, |snapshot| dial(snapshot, now)).await.unwrap() {
        Admission::Admitted(outcome) => {
            assert!(matches!(*outcome, Outcome::Changed(_)), "{outcome:?}");
            true
        }
        Admission::MustWait(_) => false,
    }
}

async fn finish(table: &Table, call: &Snapshot) {
    let (account, id) = ids(call);
    let outcome = table.transition(account, id, end).await.unwrap();
    assert!(matches!(outcome, Outcome::Changed(_)), "{outcome:?}");
}

fn many() -> Limits {
    Limits { live_calls: 1_000, calls_per_second: 1_000, ..Limits::default() }
}

#[tokio::test]
async fn a_call_is_counted_once_in_every_state() {
    let table = testing::new_table().await;
    let (account, calls) = calls(&table, 1).await;
    let id = calls[0].conversation.id;
    assert_eq!(counted(&table, account).await, (1, 0));
    assert!(try_dial(&table, &many(), &calls[0], at(1)).await);
    assert_eq!(counted(&table, account).await, (0, 1));
    let change = |table: Table, change: fn(&Conversation) -> Result<Transition, InvalidTransition>| async move {
        table.transition(account, id, |now| change(&now.conversation)).await.unwrap()
    };
    assert!(matches!(
        change(table.clone(), |now| now.return_to_queue(LegId::CALLER)).await,
        Outcome::Changed(_)
    ));
    assert_eq!(counted(&table, account).await, (1, 0));
    assert!(try_dial(&table, &many(), &calls[0], at(2)).await);
    for step in [
        |now: &Conversation| now.mark_ringing(LegId::CALLER, &carrier_call("CA1"), at(2)),
        |now: &Conversation| now.record_placed(LegId::CALLER, &carrier_call("CA1")),
    ] {
        let _ = change(table.clone(), step).await;
        assert_eq!(counted(&table, account).await, (0, 1));
    }
    finish(&table, &calls[0]).await;
    assert_eq!(counted(&table, account).await, (0, 0));
    // It has ended, and a second end returns no slot.
    let again = table.transition(account, id, end).await.unwrap();
    assert!(matches!(again, Outcome::Unchanged(_)), "{again:?}");
    assert_eq!(counted(&table, account).await, (0, 0));
}

#[tokio::test]
async fn a_call_that_ends_before_it_is_placed_no_longer_waits() {
    let table = testing::new_table().await;
    let (account, calls) = calls(&table, 2).await;
    let rejected = |now: &Snapshot| {
        now.conversation.reject(LegId::CALLER, &now.agent, RejectReason::Failed, &Prices::default(), at(5))
    };
    let outcome = table.transition(account, calls[0].conversation.id, rejected).await.unwrap();
    assert!(matches!(outcome, Outcome::Changed(_)), "{outcome:?}");
    assert_eq!(counted(&table, account).await, (1, 0));
    let before = table.conversation(account, calls[1].conversation.id).await.unwrap().unwrap();
    table.commit(&before.conversation, &end(&before).unwrap()).await.unwrap();
    assert_eq!(counted(&table, account).await, (0, 0));
}

#[tokio::test]
async fn a_call_waits_until_a_slot_is_returned() {
    let table = testing::new_table().await;
    let limits = Limits { live_calls: 2, ..many() };
    let (account, calls) = calls(&table, 4).await;
    let mut dialled = Vec::new();
    for call in &calls {
        dialled.push(try_dial(&table, &limits, call, at(1)).await);
    }
    assert_eq!(dialled, [true, true, false, false]);
    let waiting = table.conversation(account, calls[2].conversation.id).await.unwrap().unwrap();
    assert_eq!(waiting.conversation, calls[2].conversation, "nothing is written");
    finish(&table, &calls[0]).await;
    assert!(try_dial(&table, &limits, &calls[3], at(2)).await);
    assert!(!try_dial(&table, &limits, &calls[2], at(3)).await);
    assert_eq!(counted(&table, account).await, (1, 2));
}

/// The first transition of a new inbound call that an agent takes.
fn arriving(account: AccountId, number: u128) -> Transition {
    let id = ConversationId::new(at(0), number);
    let (to, from) = ("+14155550199".parse().unwrap(), "+14155550100".parse().unwrap());
    let ringing = Conversation::inbound(id, account, to, from, carrier_call(&format!("CA{number}")), at(0));
    ringing.accept_inbound(&AgentConfig::default(), "hash".into(), vec![], vec![], at(1)).unwrap()
}

#[tokio::test]
async fn inbound_and_outbound_calls_do_not_take_each_others_slots() {
    let table = testing::new_table().await;
    let limits = Limits { live_calls: 1, inbound_calls: 2, ..many() };
    let (account, calls) = calls(&table, 2).await;
    assert!(try_dial(&table, &limits, &calls[0], at(1)).await);
    let agent = AgentConfig::default();
    let begin = async |number| table.begin(&arriving(account, number), &agent, &limits).await.unwrap();
    assert_eq!(
        [begin(901).await, begin(902).await, begin(903).await],
        [Begun::Stored, Begun::Stored, Begun::Full]
    );
    assert_eq!(begin(901).await, Begun::Exists);
    assert!(table.conversation(account, ConversationId::new(at(0), 903)).await.unwrap().is_none());
    assert_eq!(table.counters(account).await.unwrap().inbound, 2);
    assert_eq!(counted(&table, account).await, (1, 1));
    assert!(!try_dial(&table, &limits, &calls[1], at(2)).await);
    finish(&table, &calls[0]).await;
    assert!(try_dial(&table, &limits, &calls[1], at(3)).await);

    let ended = Snapshot { conversation: arriving(account, 901).conversation, agent: agent.clone() };
    finish(&table, &ended).await;
    assert_eq!(table.counters(account).await.unwrap().inbound, 1);
    assert_eq!(begin(903).await, Begun::Stored);
    // A started minute of an inbound call; the outbound call was not answered.
    let spent = async |now| table.spent(account, now).await.unwrap();
    assert_eq!(spent(at(9)).await, Usd::from_micros(12_500));
    assert_eq!(spent(at(9).after(Duration::from_hours(24))).await, Usd::ZERO);
}

#[tokio::test]
async fn requests_about_calls_to_one_number_are_limited() {
    let table = testing::new_table().await;
    let limits = Limits { inbound_calls: 10, ..Limits::default() };
    let number = |random| {
        let (id, number) = (PhoneNumberId::new(at(0), random), "+14155550199".parse().unwrap());
        PhoneNumber::coming(id, account(), number, None, at(0))
    };
    let (one, other) = (number(1), number(2));
    let other = PhoneNumber { account_id: one.account_id, ..other };
    for _ in 0..10 {
        assert_eq!(table.take_inbound_request(&one, &limits, at(0)).await.unwrap(), None);
    }
    assert_eq!(table.take_inbound_request(&one, &limits, at(0)).await.unwrap(), Some(Duration::from_secs(1)));
    assert_eq!(table.take_inbound_request(&other, &limits, at(0)).await.unwrap(), None);
    assert_eq!(table.take_inbound_request(&one, &limits, at(1)).await.unwrap(), None);
}

#[tokio::test]
async fn calls_start_no_faster_than_the_limit() {
    let table = testing::new_table().await;
    let limits = Limits { calls_per_second: 2, ..many() };
    let (_, calls) = calls(&table, 5).await;
    let mut dialled = Vec::new();
    for (call, now) in calls.iter().zip([at(1), at(1), at(1), at(2), at(2)]) {
        dialled.push(try_dial(&table, &limits, call, now).await);
    }
    assert_eq!(dialled, [true, true, false, true, true]);
}

#[tokio::test]
async fn each_account_at_the_carrier_has_its_own_calls_per_second() {
    let table = testing::new_table().await;
    let limits = Limits { calls_per_second: 1, ..many() };
    let dialled = async |call: &Snapshot, seconds| {
        let ((account, id), now) = (ids(call), at(seconds));
        let start = CallStart { deployment: Rate::carrier_calls(2), at: now };
        let admission = table.dial(&limits, start, account, id, |snapshot| dial(snapshot, now)).await;
        matches!(admission.unwrap(), Admission::Admitted(_))
    };
    // Three accounts of ours, one account at the carrier.
    let mut calls = vec![];
    for _ in 0..3 {
        let call = queued(account());
        assert_eq!(table.queue_call(&call).await.unwrap(), Queued::Stored);
        calls.push(call);
    }
    let [one, two, three] = &calls[..] else { panic!("three") };
    assert!(dialled(one, 1).await && dialled(two, 1).await);
    assert!(!dialled(three, 1).await, "the carrier's account starts two per second");
    // Numbers of two accounts of ours that were imported from two accounts at the carrier, and from one.
    let mut imported = vec![];
    for (n, sid) in [(1, "AC8"), (2, "AC9"), (3, "AC9")] {
        let mut call = queued(account());
        let (account, id) = ids(&call);
        let (to, from): (E164, E164) =
            ("+14155550100".parse().unwrap(), format!("+1415555019{n}").parse().unwrap());
        let sealed = Sealed { key: String::new(), nonce: String::new(), text: String::new() };
        let own = OwnAccount { account_sid: sid.to_owned(), auth_token: sealed };
        let number =
            PhoneNumber::coming(PhoneNumberId::new(at(0), n), account, from.clone(), Some(own), at(0));
        table.add_phone_number(&number).await.unwrap();
        call.conversation = Conversation::outbound(id, account, None, to, from, at(0)).with_own_carrier(true);
        assert_eq!(table.queue_call(&call).await.unwrap(), Queued::Stored);
        imported.push(call);
    }
    assert!(dialled(&imported[0], 1).await && dialled(&imported[1], 1).await);
    assert!(!dialled(&imported[2], 1).await, "the customer's account starts one per second");
    assert!(dialled(&imported[2], 2).await && dialled(three, 2).await);
}

#[tokio::test]
async fn concurrent_calls_take_no_more_slots_than_the_limit() {
    let table = contended().await;
    let limits = Limits { live_calls: 5, ..many() };
    let (account, calls) = calls(&table, 12).await;
    let mut tasks = JoinSet::new();
    for call in calls {
        let (table, limits) = (table.clone(), limits.clone());
        tasks.spawn(async move { try_dial(&table, &limits, &call, at(1)).await });
    }
    let dialled = tasks.join_all().await.into_iter().filter(|dialled| *dialled).count();
    assert_eq!((dialled, counted(&table, account).await), (5, (7, 5)));
}

#[tokio::test]
async fn fifty_concurrent_ends_return_all_slots() {
    let table = contended().await;
    let (account, calls) = calls(&table, 50).await;
    // An account starts twenty calls a second at most.
    for (number, call) in (0..).zip(&calls) {
        assert!(try_dial(&table, &many(), call, at(1 + number)).await);
    }
    assert_eq!(counted(&table, account).await, (0, 50));
    let mut tasks = JoinSet::new();
    for call in calls {
        let table = table.clone();
        tasks.spawn(async move { finish(&table, &call).await });
    }
    tasks.join_all().await;
    assert_eq!(counted(&table, account).await, (0, 0));
}

#[tokio::test]
async fn the_number_of_waiting_calls_is_limited() {
    let table = testing::new_table().await;
    let (account, calls) = calls(&table, 1).await;
    testing::set_waiting(&table, account, i64::from(MAX_WAITING) - 1).await;
    let last = queued(account);
    assert_eq!(table.queue_call(&last).await.unwrap(), Queued::Stored);
    let refused = queued(account);
    assert_eq!(table.queue_call(&refused).await.unwrap(), Queued::TooMany);
    let (account, id) = ids(&refused);
    assert_eq!(table.conversation(account, id).await.unwrap(), None);
    // A repeated request for a stored call is not counted again.
    assert_eq!(table.queue_call(&last).await.unwrap(), Queued::Exists);
    finish(&table, &calls[0]).await;
    assert_eq!(table.queue_call(&refused).await.unwrap(), Queued::Stored);
}

#[tokio::test]
async fn requests_are_counted_per_account_until_the_stated_time() {
    let table = testing::new_table().await;
    let (one, other) = (account(), account());
    let limits = Limits { requests_per_second: 2, ..Limits::default() };
    let ask = async |account, ms| {
        let now = Timestamp::from_millis(at(0).as_millis() + ms);
        table.take_request(account, &limits, 1, now).await.unwrap()
    };
    for _ in 0..4 {
        assert_eq!(ask(one, 0).await, None);
    }
    assert_eq!(ask(one, 100).await, Some(Duration::from_millis(400)));
    assert_eq!(ask(other, 100).await, None);
    assert_eq!(ask(one, 500).await, None);
    assert_eq!(ask(one, 500).await, Some(Duration::from_millis(500)));
    assert_eq!(ask(one, 60_000).await, None);
}

#[tokio::test]
async fn concurrent_requests_take_no_more_tokens_than_the_bucket_holds() {
    let table = testing::new_table().await;
    let (account, limits) = (account(), Limits { requests_per_second: 5, ..Limits::default() });
    let mut tasks = JoinSet::new();
    for _ in 0..30 {
        let (table, limits) = (table.clone(), limits.clone());
        tasks.spawn(async move { table.take_request(account, &limits, 1, at(0)).await.unwrap() });
    }
    let went_on = tasks.join_all().await.into_iter().filter(Option::is_none).count();
    assert_eq!(went_on, 10);
}

#[tokio::test]
async fn limits_are_the_defaults_until_they_are_set() {
    let table = testing::new_table().await;
    let id = account();
    assert!(!table.set_limits(id, &many()).await.unwrap(), "there is no such account");
    assert_eq!(table.limits(id).await.unwrap(), Limits::default());
    let account = Account::new(id, "Bakery".into(), at(0), "whsec_".into());
    table.create_account(&account, &Token::new([1; 32])).await.unwrap();
    let limits = Limits { destination_countries: Some(vec!["+1".into(), "+49".into()]), ..many() };
    assert!(table.set_limits(id, &limits).await.unwrap());
    assert_eq!(table.limits(id).await.unwrap(), limits);
    assert_eq!(table.account(id).await.unwrap(), Some(Account { limits, ..account }));
}

fn claim(holder: &str, body: &str, now: Timestamp) -> Claim {
    let random = holder.bytes().map(u128::from).sum();
    Claim::new(RequestId::new(now, random), body.into(), holder.into(), now)
}

#[tokio::test]
async fn a_key_belongs_to_its_first_request_until_the_response() {
    let (table, account) = (testing::new_table().await, account());
    let first = claim("first", "body", at(0));
    let ask =
        async |holder, body, now| table.claim(account, "key", claim(holder, body, now), now).await.unwrap();
    assert_eq!(ask("first", "body", at(0)).await, Claimed::New(first.clone()));
    assert_eq!(ask("second", "body", at(1)).await, Claimed::Running);
    assert_eq!(ask("second", "other", at(1)).await, Claimed::OtherBody);
    let answer = Answer { status: 200, body: r#"{"id":"cnv_1"}"#.into() };
    table.answer_claim(account, "key", &first, answer.clone(), None).await.unwrap();
    for now in [at(2), at(86_399)] {
        assert_eq!(ask("third", "body", now).await, Claimed::Answered(answer.clone()));
        assert_eq!(ask("third", "other", now).await, Claimed::OtherBody);
    }
    assert!(
        matches!(ask("fourth", "other", at(86_400)).await, Claimed::New(_)),
        "a day later it is forgotten"
    );
    let stranger =
        table.claim(self::account(), "key", claim("stranger", "body", at(2)), at(2)).await.unwrap();
    assert!(matches!(stranger, Claimed::New(_)));
}

#[tokio::test]
async fn an_abandoned_key_goes_to_one_other_request_with_the_same_id() {
    let (table, account) = (testing::new_table().await, account());
    let first = claim("first", "body", at(0));
    let ask =
        async |holder, body, now| table.claim(account, "key", claim(holder, body, now), now).await.unwrap();
    assert_eq!(ask("first", "body", at(0)).await, Claimed::New(first.clone()));
    // The first holder died; two other requests find out at the same time.
    let (one, two) = tokio::join!(ask("one", "body", at(60)), ask("two", "body", at(60)));
    let again: Vec<_> = [one, two]
        .into_iter()
        .filter_map(|claimed| match claimed {
            Claimed::Again(claim) => Some(claim),
            Claimed::Running => None,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(again.len(), 1);
    assert_eq!((again[0].request, again[0].ttl), (first.request, first.ttl));
    // It was alive, but has lost the key: its response is not stored.
    let answer = Answer { status: 200, body: "{}".into() };
    table.answer_claim(account, "key", &first, answer, None).await.unwrap();
    table.forget_claim(account, "key", &first).await.unwrap();
    assert_eq!(ask("three", "body", at(61)).await, Claimed::Running);
    table.abandon_claim(account, "key", &again[0], at(62)).await.unwrap();
    assert!(
        matches!(ask("four", "body", at(62)).await, Claimed::Again(claim) if claim.request == first.request)
    );
}

#[tokio::test]
async fn a_deleted_claim_allows_another_body() {
    let (table, account) = (testing::new_table().await, account());
    let first = claim("first", "body", at(0));
    let claimed = table.claim(account, "key", first.clone(), at(0)).await.unwrap();
    assert_eq!(claimed, Claimed::New(first.clone()));
    table.forget_claim(account, "key", &first).await.unwrap();
    let second = claim("second", "other", at(1));
    assert_eq!(table.claim(account, "key", second.clone(), at(1)).await.unwrap(), Claimed::New(second));
}

/// A table whose transactions conflict as on AWS: one that arrives while another is in progress is cancelled.
async fn contended() -> Table {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let database =
        ConflictingDatabase { url: testing::database().await, in_progress: Arc::default(), client };
    let router = Router::new().fallback(conflict).with_state(database);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::runtime::Handle::current().spawn(async move { axum::serve(listener, router).await });
    testing::table_at(&url).await
}

#[derive(Clone)]
struct ConflictingDatabase {
    url: String,
    in_progress: Arc<AtomicBool>,
    client: Client<HttpConnector, Body>,
}

async fn conflict(State(database): State<ConflictingDatabase>, mut request: Request) -> Response {
    let target = request.headers().get("x-amz-target").unwrap().to_str().unwrap();
    let is_transaction = target.ends_with("TransactWriteItems");
    if is_transaction {
        if database.in_progress.swap(true, Ordering::SeqCst) {
            let conflict = r#"{
                "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
                "CancellationReasons": [{ "Code": "None" }, { "Code": "TransactionConflict" }]
            }"#;
            return (
                StatusCode::BAD_REQUEST,
                [(header::CONTENT_TYPE, "application/x-amz-json-1.0")],
                conflict,
            )
                .into_response();
        }
        // The duration of a transaction.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    *request.uri_mut() = database.url.parse().unwrap();
    let response = database.client.request(request).await.unwrap().map(Body::new);
    if is_transaction {
        database.in_progress.store(false, Ordering::SeqCst);
    }
    response
}
