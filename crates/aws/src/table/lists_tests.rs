use std::collections::BTreeSet;

use aws_sdk_dynamodb::types::AttributeValue;
use switchboard_model::{
    agents::{Agent, AgentConfig},
    conversations::{EndedReason, LegId, Snapshot, Status},
    costs::{Prices, Usage},
    ids::{AccountId, AgentId, ConversationId},
    lists::{Created, Listing, Page},
    webhooks::{Webhook, WebhookMethod},
};
use tokio::task::JoinSet;

use super::{
    Table, testing,
    tests::{account, at, carrier_call, queued, said, started},
};
use crate::keys;

fn page(index: u64, limit: usize) -> Listing {
    Listing { created: Created::default(), page: Page { index, limit } }
}

/// Stores a call that was requested at this second and has this status.
async fn call(table: &Table, account: AccountId, second: i64, status: Status) -> ConversationId {
    let mut snapshot = queued(account);
    let conversation = &mut snapshot.conversation;
    conversation.created_at = at(second);
    conversation.id = ConversationId::new(at(second), switchboard_runtime::random_u128());
    snapshot.agent.prompt = Some(format!("call of second {second}"));
    table.create_conversation(&snapshot).await.unwrap();
    if status != Status::Queued {
        advance(table, &snapshot, status).await;
    }
    snapshot.conversation.id
}

async fn advance(table: &Table, Snapshot { conversation, agent }: &Snapshot, status: Status) {
    let (account, id) = (conversation.account_id, conversation.id);
    let dialed = conversation.mark_dialing(LegId::CALLER, agent, "00".into(), at(1)).unwrap();
    table.commit(conversation, &dialed).await.unwrap();
    let begun = dialed.conversation.mark_started(LegId::CALLER, agent, &carrier_call("CA1"), at(2)).unwrap();
    table.commit(&dialed.conversation, &begun).await.unwrap();
    if status == Status::Ended {
        let usage = Usage::default();
        let _ = table
            .transition(account, id, |now| {
                let conversation = &now.conversation;
                conversation.end(agent, EndedReason::UserEnded, &[], &usage, &Prices::default(), at(3))
            })
            .await
            .unwrap();
    }
}

async fn ids(
    table: &Table,
    account: AccountId,
    status: Option<Status>,
    listing: Listing,
) -> (Vec<ConversationId>, bool) {
    let (found, has_more) = table.conversations(account, status, listing).await.unwrap();
    (found.iter().map(|snapshot| snapshot.conversation.id).collect(), has_more)
}

/// Eleven calls of two accounts in all statuses. Returns those of the first account, newest first.
async fn calls(table: &Table) -> (AccountId, Vec<(ConversationId, Status)>) {
    let (ours, theirs) = (account(), account());
    let mut calls = vec![];
    for second in 0..11 {
        let status = Status::ALL[[2, 0, 2, 1, 2, 0, 0, 2, 1, 2, 0][usize::try_from(second).unwrap()]];
        // Two of them in the same millisecond.
        calls.push((second, call(table, ours, second.max(1), status).await, status));
        call(table, theirs, second, status).await;
    }
    calls.sort_by_key(|(second, id, _)| std::cmp::Reverse(((*second).max(1), *id)));
    (ours, calls.into_iter().map(|(_, id, status)| (id, status)).collect())
}

#[tokio::test]
async fn pages_of_any_size_add_up_to_the_list() {
    let table = testing::new_table().await;
    let (account, calls) = calls(&table).await;
    for status in [None].into_iter().chain(Status::ALL.map(Some)) {
        let all: Vec<_> = calls
            .iter()
            .filter(|call| status.is_none_or(|status| status == call.1))
            .map(|call| call.0)
            .collect();
        for limit in 1..=all.len() + 1 {
            for (number, expected) in all.chunks(limit).enumerate() {
                let index = number as u64 + 1;
                let is_last = (number + 1) * limit >= all.len();
                let found = ids(&table, account, status, page(index, limit)).await;
                assert_eq!(found, (expected.to_vec(), !is_last), "{status:?}, page {index} of {limit}");
            }
        }
        assert_eq!(ids(&table, account, status, page(3, 100)).await, (vec![], false));
    }
}

#[tokio::test]
async fn bounds_of_a_time_range_are_excluded() {
    let table = testing::new_table().await;
    let account = account();
    let mut calls = vec![];
    for second in 0..5 {
        calls.push(call(&table, account, second, Status::Queued).await);
    }
    let of = |after: Option<i64>, before: Option<i64>| Listing {
        created: Created { after: after.map(at), before: before.map(at) },
        ..page(1, 100)
    };
    for (after, before, expected) in [
        (Some(1), Some(4), vec![3, 2]),
        (Some(3), None, vec![4]),
        (None, Some(1), vec![0]),
        (Some(4), None, vec![]),
        (None, Some(0), vec![]),
        (Some(3), Some(1), vec![]),
        (Some(-9_000_000_000), Some(9_000_000_000), vec![4, 3, 2, 1, 0]),
        (None, Some(-99_000_000_000), vec![]),
        (Some(-99_000_000_000), None, vec![4, 3, 2, 1, 0]),
    ] {
        let expected: Vec<_> = expected.into_iter().map(|second: usize| calls[second]).collect();
        assert_eq!(
            ids(&table, account, None, of(after, before)).await,
            (expected, false),
            "{after:?} {before:?}"
        );
    }
}

#[tokio::test]
async fn a_call_is_listed_with_its_state_and_configuration() {
    let table = testing::new_table().await;
    let account = account();
    let first = call(&table, account, 1, Status::Started).await;
    let second = call(&table, account, 2, Status::Queued).await;
    let (found, _) = table.conversations(account, None, page(1, 100)).await.unwrap();
    for (listed, id) in found.into_iter().zip([second, first]) {
        assert_eq!(Some(listed), table.conversation(account, id).await.unwrap());
    }
}

#[tokio::test]
async fn a_half_deleted_conversation_is_not_listed() {
    let table = testing::new_table().await;
    let account = account();
    let call = call(&table, account, 1, Status::Ended).await;
    let config = vec![table.delete(keys::conversation_pk(account, call), keys::CONFIG)];
    table.write(config).await.unwrap();
    assert_eq!(ids(&table, account, None, page(1, 100)).await, (vec![], false));
    assert_eq!(table.conversation(account, call).await.unwrap(), None);
}

#[tokio::test]
async fn agents_are_listed_by_creation_time() {
    let table = testing::new_table().await;
    let (ours, theirs) = (account(), account());
    let mut agents = vec![];
    for second in 0..5 {
        let agent = Agent::new(AgentId::new(at(second), 7), ours, AgentConfig::default(), at(second));
        table.create_agent(&agent).await.unwrap();
        agents.insert(0, agent);
    }
    let again = table.create_agent(&agents[0]).await;
    assert!(matches!(again, Err(super::TableError::Conflict)), "{again:?}");
    // A change does not move it in the list.
    let config = AgentConfig { prompt: Some("Be brief.".into()), ..AgentConfig::default() };
    let changed =
        table.change_agent(ours, agents[3].id, at(9), |_| Ok::<_, ()>(config.clone())).await.unwrap();
    agents[3] = Agent { config, updated_at: at(9), ..agents[3].clone() };
    assert_eq!(changed, Some(Ok(agents[3].clone())));

    assert_eq!(table.agents(ours, page(1, 100)).await.unwrap(), (agents.clone(), false));
    assert_eq!(table.agents(ours, page(2, 2)).await.unwrap(), (agents[2..4].to_vec(), true));
    assert_eq!(table.agents(theirs, page(1, 100)).await.unwrap(), (vec![], false));

    assert_eq!(table.delete_agent(theirs, agents[0].id).await.unwrap(), None);
    assert_eq!(table.delete_agent(ours, agents[0].id).await.unwrap(), Some(agents[0].clone()));
    assert_eq!(table.delete_agent(ours, agents[0].id).await.unwrap(), None);
    assert_eq!(table.agent(ours, agents[0].id).await.unwrap(), None);
    assert_eq!(table.agents(ours, page(1, 100)).await.unwrap(), (agents[1..].to_vec(), false));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_concurrent_change_of_an_agent_is_lost() {
    let table = testing::new_table().await;
    let owner = account();
    let agent = Agent::new(AgentId::new(at(0), 1), owner, AgentConfig::default(), at(0));
    table.create_agent(&agent).await.unwrap();
    let mut writers = JoinSet::new();
    for writer in 0..5 {
        let (table, id) = (table.clone(), agent.id);
        writers.spawn(async move {
            let add = |config: &AgentConfig| {
                let mut config = config.clone();
                config.metadata.insert(writer.to_string(), String::new());
                Ok::<_, ()>(config)
            };
            table.change_agent(owner, id, at(1), add).await.unwrap().unwrap().unwrap();
        });
    }
    while let Some(written) = writers.join_next().await {
        written.unwrap();
    }
    let changed = table.agent(owner, agent.id).await.unwrap().unwrap();
    assert_eq!(changed.config.metadata.len(), 5);
}

#[tokio::test]
async fn a_refused_change_writes_nothing() {
    let table = testing::new_table().await;
    let agent = Agent::new(AgentId::new(at(0), 1), account(), AgentConfig::default(), at(0));
    let (owner, id) = (agent.account_id, agent.id);
    let none = table.change_agent(owner, id, at(1), |config| Ok::<_, ()>(config.clone())).await.unwrap();
    assert_eq!(none, None);
    table.create_agent(&agent).await.unwrap();
    let refused = table.change_agent(owner, id, at(1), |_| Err("no")).await.unwrap();
    assert_eq!(refused, Some(Err("no")));
    assert_eq!(table.agent(owner, id).await.unwrap(), Some(agent));
}

/// The sort keys of all items of a conversation, each with its time to live.
async fn left(table: &Table, Snapshot { conversation, .. }: &Snapshot) -> Vec<(String, Option<String>)> {
    let pk = keys::conversation_pk(conversation.account_id, conversation.id);
    let text = |value: &AttributeValue| value.as_s().or(value.as_n()).unwrap().clone();
    let query = table.client.query().table_name(&table.name).key_condition_expression("pk = :pk");
    let found = query.expression_attribute_values(":pk", AttributeValue::S(pk)).send().await.unwrap();
    found.items().iter().map(|item| (text(&item["sk"]), item.get("ttl").map(text))).collect()
}

/// Besides their keys, the packs hold nothing of the conversation. They expire within a day.
async fn assert_only_empty_packs_are_left(table: &Table, Snapshot { conversation, .. }: &Snapshot) {
    let pk = keys::conversation_pk(conversation.account_id, conversation.id);
    let query = table.client.query().table_name(&table.name).key_condition_expression("pk = :pk");
    let found = query.expression_attribute_values(":pk", AttributeValue::S(pk)).send().await.unwrap();
    let expires = at(9 + 24 * 3_600).as_millis() / 1_000;
    for item in found.items() {
        let mut item = item.clone();
        assert!(item["sk"].as_s().unwrap().starts_with(keys::EVENT), "{item:?}");
        assert_eq!(item.remove("ttl"), Some(AttributeValue::N(expires.to_string())));
        assert_eq!(item.remove("events"), Some(AttributeValue::S("[]".into())));
        item.retain(|name, _| !["pk", "sk", "first"].contains(&name.as_str()));
        assert!(item.is_empty(), "{item:?}");
    }
}

/// A conversation of many messages that has ended.
async fn talkative(table: &Table) -> Snapshot {
    let before = started(table).await;
    let Snapshot { conversation, agent } = &before;
    let mut now = conversation.clone();
    for word in 0..60 {
        let appended = now.append(agent, &[said(&word.to_string())], &Usage::default()).unwrap();
        table.commit(&now, &appended).await.unwrap();
        now = appended.conversation;
    }
    let (account, id) = (conversation.account_id, conversation.id);
    let _ = table
        .transition(account, id, |now| {
            let usage = Usage::default();
            now.conversation.end(agent, EndedReason::UserEnded, &[], &usage, &Prices::default(), at(9))
        })
        .await
        .unwrap();
    before
}

#[tokio::test]
async fn a_deletion_removes_one_conversation_completely() {
    let table = testing::new_table().await;
    let (call, other) = (talkative(&table).await, talkative(&table).await);
    let before = left(&table, &other).await;
    assert!(before.len() > 60, "{}", before.len());
    let (account, id) = (call.conversation.account_id, call.conversation.id);
    for _ in 0..2 {
        table.delete_conversation(account, id, at(9)).await.unwrap();
        assert_only_empty_packs_are_left(&table, &call).await;
        assert_eq!(table.conversation(account, id).await.unwrap(), None);
        assert_eq!(ids(&table, account, None, page(1, 100)).await, (vec![], false));
    }
    assert_eq!(left(&table, &other).await, before);
}

#[tokio::test]
async fn an_interrupted_deletion_is_completed_by_the_next() {
    let table = testing::new_table().await;
    let call = talkative(&table).await;
    let (account, id) = (call.conversation.account_id, call.conversation.id);
    let some: Vec<_> = (1..20).map(|number| keys::numbered_sk(keys::EVENT, number)).collect();
    for sk in some {
        table.write(vec![table.delete(keys::conversation_pk(account, id), &sk)]).await.unwrap();
    }
    assert!(table.conversation(account, id).await.unwrap().is_some());
    table.delete_conversation(account, id, at(9)).await.unwrap();
    assert_only_empty_packs_are_left(&table, &call).await;
}

#[tokio::test]
async fn every_item_of_a_conversation_expires_with_it() {
    let table = testing::new_table().await;
    let mut snapshot = queued(account());
    snapshot.conversation = snapshot.conversation.with_retention(std::time::Duration::from_secs(100));
    snapshot.agent.webhooks.push(Webhook {
        events: vec![],
        url: "https://example.com/".into(),
        method: WebhookMethod::Post,
        headers: None,
        filter: None,
    });
    table.create_conversation(&snapshot).await.unwrap();
    advance(&table, &snapshot, Status::Started).await;
    let (account, id) = (snapshot.conversation.account_id, snapshot.conversation.id);
    let _ = table
        .transition(account, id, |now| now.conversation.append(&now.agent, &[said("Hi")], &Usage::default()))
        .await
        .unwrap();
    let found = left(&table, &snapshot).await;
    let kinds: BTreeSet<_> = found.iter().map(|(sk, _)| sk.split('#').next().unwrap()).collect();
    assert_eq!(kinds, ["CHECK", "CONFIG", "EVT", "STATE"].into());
    let seconds = (at(100).as_millis() / 1_000).to_string();
    assert!(found.iter().all(|(_, ttl)| ttl.as_ref() == Some(&seconds)), "{found:?}");

    let kept = talkative(&table).await;
    assert!(left(&table, &kept).await.iter().all(|(_, ttl)| ttl.is_none()));
}
