use std::time::Duration;

use switchboard_model::{
    conversations::Conversation,
    event_names::EventName,
    ids::ConversationId,
    lists::{Created, Page},
    phone_numbers::OwnAccount,
    webhooks::{Webhook, WebhookMethod},
};

use super::*;
use crate::{sealing, table::testing::new_table};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_795_339_800_000 + seconds * 1_000)
}

fn account(random: u128) -> AccountId {
    AccountId::new(at(0), random)
}

fn e164(last: u32) -> E164 {
    format!("+1415555{last:04}").parse().unwrap()
}

fn coming(account_random: u128, last: u32, seconds: i64) -> PhoneNumber {
    let id = PhoneNumberId::new(at(seconds), last.into());
    PhoneNumber::coming(id, account(account_random), e164(last), None, at(seconds))
}

async fn listed(table: &Table, account_random: u128) -> Vec<E164> {
    let listing = Listing { created: Created::default(), page: Page { index: 1, limit: 100 } };
    let (numbers, has_more) = table.phone_numbers(account(account_random), listing).await.unwrap();
    assert!(!has_more);
    numbers.into_iter().map(|number| number.phone_number).collect()
}

#[tokio::test]
async fn a_reserved_number_is_taken_but_not_usable() {
    let table = new_table().await;
    let number = coming(1, 200, 0);
    table.add_phone_number(&number).await.unwrap();
    for again in [coming(1, 200, 1), coming(2, 200, 1)] {
        assert!(matches!(table.add_phone_number(&again).await, Err(TableError::Conflict)));
    }
    assert_eq!(table.phone_number(account(1), &e164(200)).await.unwrap(), Some(number.clone()));
    assert_eq!(table.phone_number(account(2), &e164(200)).await.unwrap(), None);
    assert!(!table.owns_phone_number(account(1), &e164(200)).await.unwrap());
    assert!(!table.has_bought_number_in(account(1), "+1").await.unwrap());
    assert_eq!(listed(&table, 1).await, []);

    let sid = "PN1".to_owned();
    let owned = table.change_phone_number(&number, number.clone().arrived(sid)).await.unwrap();
    assert!(owned.is_owned() && owned.version == 2);
    assert!(table.owns_phone_number(account(1), &e164(200)).await.unwrap());
    assert!(table.has_bought_number_in(account(1), "+1").await.unwrap());
    assert!(!table.has_bought_number_in(account(1), "+44").await.unwrap());
    assert!(!table.has_bought_number_in(account(2), "+1").await.unwrap());
    assert_eq!(listed(&table, 1).await, [e164(200)]);
    assert_eq!(listed(&table, 2).await, []);
}

#[tokio::test]
async fn one_of_two_concurrent_changes_of_a_number_conflicts() {
    let table = new_table().await;
    let number = coming(1, 200, 0).arrived("PN1".into());
    table.add_phone_number(&number).await.unwrap();
    let webhook = Webhook {
        events: vec![EventName::ConnectionRequested],
        url: "https://example.com".into(),
        method: WebhookMethod::Post,
        headers: None,
        filter: None,
    };
    let agent = Some(AgentId::new(at(0), 7));
    let changed = PhoneNumber { inbound_agent_id: agent, webhooks: vec![webhook], ..number.clone() };
    let written = table.change_phone_number(&number, changed).await.unwrap();
    assert_eq!(table.phone_number(account(1), &e164(200)).await.unwrap(), Some(written.clone()));
    let late = table.change_phone_number(&number, number.clone()).await;
    assert!(matches!(late, Err(TableError::Conflict)));
    assert!(matches!(table.remove_phone_number(&number).await, Err(TableError::Conflict)));
    table.remove_phone_number(&written).await.unwrap();
    assert_eq!(listed(&table, 1).await, []);
    table.add_phone_number(&coming(2, 200, 5)).await.unwrap();
}

#[tokio::test]
async fn an_incomplete_purchase_is_due_until_it_is_removed() {
    let table = new_table().await;
    let leaving = coming(1, 201, 0).arrived("PN1".into()).leaving(at(20));
    for number in [coming(1, 200, 10), leaving, coming(2, 202, 0).arrived("PN2".into())] {
        table.add_phone_number(&number).await.unwrap();
    }
    let due = async |seconds| table.due_phone_numbers(at(seconds), 10).await.unwrap();
    assert_eq!(due(129).await, []);
    assert_eq!(due(130).await, [(account(1), e164(200))]);
    assert_eq!(due(140).await, [(account(1), e164(200)), (account(1), e164(201))]);
    table.postpone_phone_number(account(1), &e164(200), at(200)).await.unwrap();
    assert_eq!(due(199).await, [(account(1), e164(201))]);
    assert_eq!(table.due_phone_numbers(at(200), 1).await.unwrap().len(), 1);
    assert_eq!(listed(&table, 1).await, []);
}

#[tokio::test]
async fn a_call_of_an_imported_number_uses_the_customers_account() {
    let (table, seals) = (new_table().await, sealing::testing::sealer().await);
    let id = PhoneNumberId::new(at(0), 1);
    let sealed = seals.seal((account(1), &id.to_string()), &Secret::new("token")).await.unwrap();
    let own = OwnAccount { account_sid: "AC9".into(), auth_token: sealed };
    let number = PhoneNumber::coming(id, account(1), e164(190), Some(own), at(0)).arrived("PN1".into());
    table.add_phone_number(&number).await.unwrap();
    assert_eq!(table.phone_number(account(1), &e164(190)).await.unwrap(), Some(number.clone()));
    assert!(!table.has_bought_number_in(account(1), "+1").await.unwrap(), "it opens no country");
    assert_eq!(table.count_phone_numbers(account(1)).await.unwrap(), 1);

    let call = |imported| {
        let id = ConversationId::new(at(0), 1);
        Conversation::outbound(id, account(1), None, e164(100), e164(190), at(0)).with_own_carrier(imported)
    };
    let through =
        async |imported| table.call_account(&seals, account(1), call(imported).legs.caller()).await.unwrap();
    let customers = CarrierAccount { account_sid: "AC9".into(), auth_token: Secret::new("token") };
    assert_eq!(through(true).await, CallAccount::Customers(customers));
    assert_eq!(through(false).await, CallAccount::Deployments);
    table.remove_phone_number(&number).await.unwrap();
    assert_eq!(through(true).await, CallAccount::Gone);
    assert_eq!(through(false).await, CallAccount::Deployments);
    assert_eq!(number.due_at(), None);
    assert_eq!(number.leaving(at(0)).due_at(), Some(at(0).after(Duration::from_mins(2))));
}
