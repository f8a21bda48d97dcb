//! No item of the table holds a secret in plain text, and a deletion leaves none.

use std::{collections::BTreeMap, future::ready};

use futures_util::FutureExt as _;
use switchboard_model::{
    accounts::{Account, Token},
    agents::{Agent, AgentConfig},
    conversations::Snapshot,
    deliveries::{Attempt, Delivery},
    event_names::EventName,
    idempotency::{Answer, Claim},
    ids::{AgentId, ConversationId, EventId, PhoneNumberId, RequestId},
    lists::{Created, Listing, Page},
    phone_numbers::PhoneNumber,
    webhooks::{Webhook, WebhookMethod},
};

use super::{
    Claimed, Table,
    testing::{self, MemoryDatabase},
    tests::{account, at, queued},
};
use crate::{sealing, testing::config_of};

const SECRET: &str = "Bearer of-the-customer";

fn webhook(url: &str) -> Webhook {
    Webhook {
        events: vec![EventName::Ended],
        url: url.to_owned(),
        method: WebhookMethod::Post,
        headers: Some(BTreeMap::from([("authorization".to_owned(), SECRET.to_owned())])),
        filter: None,
    }
}

fn agent() -> AgentConfig {
    AgentConfig { webhooks: vec![webhook("https://a.example/")], ..AgentConfig::default() }
}

/// Every item, as one text.
async fn everything(table: &Table) -> String {
    let all = table.client.scan().table_name(&table.name).send().await.unwrap();
    format!("{:?}", all.items())
}

/// A table with a call, an agent, a number and an answer, each with the secret header, and the table without a sealer.
async fn stored() -> (Table, Table, Account, Snapshot, Agent, PhoneNumber) {
    let plain = testing::new_table().await;
    let table = plain.clone().sealing(sealing::testing::sealer().await);
    let owner = Account::new(account(), "Bakery".into(), at(0), "whsec_AAAA".into());
    table.create_account(&owner, &Token::new([1; 32])).await.unwrap();
    let mut call = queued(owner.id);
    call.agent = agent();
    table.create_conversation(&call).await.unwrap();
    let stored = Agent::new(AgentId::new(at(0), 1), owner.id, agent(), at(0));
    table.create_agent(&stored).await.unwrap();
    let number = PhoneNumber::coming(
        PhoneNumberId::new(at(0), 1),
        owner.id,
        "+14155550199".parse().unwrap(),
        None,
        at(0),
    );
    let number = PhoneNumber { webhooks: agent().webhooks, ..number.arrived("PN1".to_owned()) };
    table.add_phone_number(&number).await.unwrap();
    (table, plain, owner, call, stored, number)
}

#[tokio::test]
async fn no_item_holds_a_signing_secret_or_a_webhooks_header() {
    let (table, plain, owner, call, agent, number) = stored().await;
    table.rotate_signing_secret(owner.id, "whsec_BBBB".into(), at(1)).await.unwrap().unwrap();
    let claim = Claim::new(RequestId::new(at(0), 1), "hash".into(), "holder".into(), at(0));
    let Claimed::New(claim) = table.claim(owner.id, "key", claim, at(0)).await.unwrap() else {
        panic!("new")
    };
    let answer = Answer { status: 201, body: format!("{{\"headers\":\"{SECRET}\"}}") };
    table.answer_claim(owner.id, "key", &claim, answer.clone(), None).await.unwrap();
    let items = everything(&table).await;
    assert!(!items.contains(SECRET) && !items.contains("whsec_"), "{items}");
    assert!(items.contains("https://a.example/"));

    let read = table.account(owner.id).await.unwrap().unwrap();
    assert_eq!(read.signing_secrets(at(1)).collect::<Vec<_>>(), ["whsec_BBBB", "whsec_AAAA"]);
    let ids = (call.conversation.account_id, call.conversation.id);
    assert_eq!(table.conversation(ids.0, ids.1).await.unwrap().as_ref(), Some(&call));
    let all = Listing { created: Created::default(), page: Page { index: 1, limit: 10 } };
    assert_eq!(table.conversations(owner.id, None, all).await.unwrap().0, [call]);
    assert_eq!(table.agent(owner.id, agent.id).await.unwrap().as_ref(), Some(&agent));
    assert_eq!(table.agents(owner.id, all).await.unwrap().0, std::slice::from_ref(&agent));
    assert_eq!(table.phone_number(owner.id, &number.phone_number).await.unwrap(), Some(number.clone()));
    assert_eq!(table.phone_numbers(owner.id, all).await.unwrap().0, std::slice::from_ref(&number));
    let again = Claim::new(RequestId::new(at(0), 2), "hash".into(), "other".into(), at(1));
    assert_eq!(table.claim(owner.id, "key", again, at(1)).await.unwrap(), Claimed::Answered(answer));

    // A function without a sealer reads the rest, and loses nothing when it writes.
    let opaque = plain.phone_number(owner.id, &number.phone_number).await.unwrap().unwrap();
    assert_ne!(opaque.webhooks, number.webhooks);
    let changed = plain.change_phone_number(&opaque, opaque.clone()).await.unwrap();
    let read = table.phone_number(owner.id, &number.phone_number).await.unwrap().unwrap();
    assert_eq!((read.version, read.webhooks), (changed.version, number.webhooks));
}

#[tokio::test]
async fn headers_that_are_moved_to_another_url_cannot_be_read() {
    let (table, plain, owner, _, _, number) = stored().await;
    let mut opaque = plain.phone_number(owner.id, &number.phone_number).await.unwrap().unwrap();
    opaque.webhooks[0].url = "https://attacker.example/".to_owned();
    plain.change_phone_number(&opaque.clone(), opaque).await.unwrap();
    assert!(table.phone_number(owner.id, &number.phone_number).await.is_err());
}

#[tokio::test]
async fn a_changed_agent_keeps_its_headers_and_has_them_sealed() {
    let (table, _, owner, _, agent, _) = stored().await;
    let change = |config: &AgentConfig| {
        let mut config = config.clone();
        config.webhooks.push(webhook("https://b.example/"));
        Ok::<_, ()>(config)
    };
    let changed = table.change_agent(owner.id, agent.id, at(2), change).await.unwrap().unwrap().unwrap();
    assert_eq!(changed.config.webhooks.len(), 2);
    assert_eq!(table.agent(owner.id, agent.id).await.unwrap(), Some(changed.clone()));
    assert!(!everything(&table).await.contains(SECRET));
    assert_eq!(table.delete_agent(owner.id, agent.id).await.unwrap(), Some(changed));
}

#[tokio::test]
async fn a_deletion_empties_the_answer_of_its_idempotency_key_and_keeps_the_key_used() {
    let table = testing::new_table().await;
    let call = queued(account());
    let (owner, id): (_, ConversationId) = (call.conversation.account_id, call.conversation.id);
    table.create_conversation(&call).await.unwrap();
    let claim = |n: u128| Claim::new(RequestId::new(at(0), n), "hash".into(), format!("holder {n}"), at(0));
    let Claimed::New(first) = table.claim(owner, "key", claim(1), at(0)).await.unwrap() else {
        panic!("new")
    };
    let answer = Answer { status: 201, body: r#"{"to_number":"+14155550100"}"#.to_owned() };
    table.answer_claim(owner, "key", &first, answer, Some(id)).await.unwrap();
    table.delete_conversation(owner, id, at(1)).await.unwrap();
    assert!(table.is_deleted(owner, id).await.unwrap());
    let items = everything(&table).await;
    assert!(!items.contains("+14155550100"), "{items}");
    let Claimed::Answered(answer) = table.claim(owner, "key", claim(2), at(1)).await.unwrap() else {
        panic!("a late repetition must not call again")
    };
    assert_eq!(answer.status, 404);
}

#[tokio::test]
async fn a_delivery_that_is_recorded_during_a_deletion_is_deleted_too() {
    let database = MemoryDatabase::new();
    let service = database.clone();
    let config = config_of(move |request| ready(Some(service.execute(&request))).boxed());
    let (table, call) = (MemoryDatabase::table(&config).await, queued(account()));
    let (owner, id) = (call.conversation.account_id, call.conversation.id);
    table.create_conversation(&call).await.unwrap();
    let mut delivery = Delivery::new(EventId::new(at(0), 1), 1, 0, at(0));
    delivery.attempts.push(Attempt { at: at(0), status: Some(200), latency_ms: 1, answer: None });
    // Recorded after the other items were deleted, and before the state is.
    let slow = config_of(move |request| {
        let (database, table, call) = (database.clone(), table.clone(), call.clone());
        let delivery = delivery.clone();
        async move {
            if request.target.as_ref().is_some_and(|target| target.ends_with("TransactWriteItems")) {
                table.record_delivery(&call.conversation, None, &delivery).await.unwrap();
            }
            Some(database.execute(&request))
        }
        .boxed()
    });
    let table = MemoryDatabase::client(&slow);
    table.delete_conversation(owner, id, at(1)).await.unwrap();
    assert_eq!(table.deliveries(owner, id, 1, 1).await.unwrap(), []);
    assert!(table.is_deleted(owner, id).await.unwrap());
}

#[tokio::test]
async fn without_the_key_service_only_what_is_sealed_cannot_be_read() {
    let (_, plain, owner, call, agent, _) = stored().await;
    let mut bare = queued(owner.id);
    bare.agent = AgentConfig::default();
    plain.create_conversation(&bare).await.unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let away = sealing::Sealer::new(&testing::config(&url).await, "sealing".to_owned());
    let table = plain.sealing(away);
    let ids = |call: &Snapshot| (call.conversation.account_id, call.conversation.id);
    let (account, id) = ids(&bare);
    assert_eq!(table.conversation(account, id).await.unwrap(), Some(bare));
    let (account, id) = ids(&call);
    assert!(table.conversation(account, id).await.unwrap_err().is_transient());
    assert!(table.agent(owner.id, agent.id).await.unwrap_err().is_transient());
    assert!(table.account(owner.id).await.unwrap_err().is_transient());
    assert_eq!(table.limits(owner.id).await.unwrap(), owner.limits);
}
