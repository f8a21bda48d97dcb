//! Items as the table stores them, read back as the relay reads the table's stream.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::Value;
use switchboard_model::{
    agents::AgentConfig,
    conversations::{Conversation, EndedReason, LegId, RejectReason, State, Transition},
    costs::{Prices, Usd},
    deliveries::Delivery,
    event_names::EventName,
    events::Event,
    ids::EventId,
};

use super::{
    items::{self, Item},
    packs, testing,
    tests::{account, at, queued},
};
use crate::{
    keys::{self, DeliveryKey},
    outbox::{self, DecodeError, EndedConversation, Job, Kind, decode},
    queue::{CallJob, DeliveryJob},
};

type Attributes = HashMap<String, AttributeValue>;

fn conversation() -> Conversation {
    queued(account()).conversation
}

fn event(conversation: &Conversation, webhooks: &[usize]) -> Event {
    Event {
        id: EventId::of(conversation.id, 3, at(3)),
        name: EventName::SpeechStarted,
        sequence: 3,
        created_at: at(3),
        data: Value::Null,
        webhooks: webhooks.to_vec(),
        synchronous: None,
        number_webhook_calls: vec![],
        faults: vec![],
    }
}

fn redelivery(conversation: &Conversation) -> Delivery {
    Delivery::new(EventId::of(conversation.id, 3, at(3)), 3, 2, at(3)).again(at(4))
}

fn call_item(conversation: &Conversation) -> Attributes {
    items::state_item(conversation).unwrap().into_attributes()
}

fn event_item(conversation: &Conversation, webhooks: &[usize]) -> Attributes {
    let before = Conversation { next_sequence: 3, ..conversation.clone() };
    let events = [vec![], webhooks.to_vec(), vec![]].into_iter().zip(3..);
    let events = events.map(|(webhooks, sequence)| Event { sequence, ..event(conversation, &webhooks) });
    let change = Transition { conversation: before.clone(), events: events.collect(), messages: vec![] };
    let mut packs = packs::of_transition(&before, &change, None).unwrap();
    assert_eq!(packs.len(), 1);
    packs.remove(0).into_attributes()
}

fn delivery_item(conversation: &Conversation) -> Item {
    items::delivery_item(conversation, &redelivery(conversation)).unwrap()
}

fn redelivery_item(conversation: &Conversation) -> Attributes {
    delivery_item(conversation).with(outbox::ATTRIBUTE, outbox::REDELIVERY.to_owned()).into_attributes()
}

fn jobs(event_name: &str, item: Attributes) -> Vec<Job> {
    decode(event_name, &item.into()).unwrap()
}

#[test]
fn a_queued_call_reads_back_when_it_is_inserted() {
    let conversation = conversation();
    let job = CallJob { account_id: conversation.account_id, conversation_id: conversation.id };
    assert_eq!(jobs("INSERT", call_item(&conversation)), [Job::Call(job)]);
    assert_eq!(jobs("MODIFY", call_item(&conversation)), []);
    let started = State::Started { started_at: at(2) };
    assert_eq!(jobs("INSERT", call_item(&Conversation { state: started, ..conversation })), []);
}

#[test]
fn an_ended_conversation_reads_back_with_reason_and_cost() {
    let conversation = conversation();
    let account = conversation.account_id;
    let (agent, prices) = (AgentConfig::default(), Prices::default());
    let ended = conversation.reject(LegId::CALLER, &agent, RejectReason::Busy, &prices, at(5)).unwrap();
    let mut ended = ended.conversation;
    let State::Ended { cost, .. } = &mut ended.state else { panic!("{ended:?}") };
    cost.total = Usd::from_micros(42_000);
    let item = call_item(&ended);
    let (reason, cost) = (EndedReason::UserEnded, Usd::from_micros(42_000));
    let job = Job::Ended(EndedConversation { account_id: account, reason, cost });
    assert_eq!(jobs("MODIFY", item.clone()), [job]);
    assert_eq!(jobs("INSERT", item.clone()), []);
    assert_eq!(jobs("REMOVE", item), []);
}

#[test]
fn an_event_reads_back_as_a_first_attempt_per_webhook() {
    let conversation = conversation();
    let job = |webhook| {
        let (account_id, conversation_id) = (conversation.account_id, conversation.id);
        Job::Delivery(DeliveryJob { account_id, conversation_id, sequence: 4, webhook, attempt: 1 })
    };
    assert_eq!(jobs("INSERT", event_item(&conversation, &[0, 2])), [job(0), job(2)]);
    assert_eq!(jobs("MODIFY", event_item(&conversation, &[0, 2])), []);
    assert_eq!(jobs("INSERT", event_item(&conversation, &[])), []);
}

#[test]
fn an_event_of_version_0_1_0_reads_back() {
    let conversation = conversation();
    let list = |numbers: &[&str]| {
        AttributeValue::L(numbers.iter().map(|number| AttributeValue::N((*number).to_owned())).collect())
    };
    let mut item = items::key(keys::conversation_pk(conversation.account_id, conversation.id), "EVT#000003");
    item.insert("sequence".into(), AttributeValue::N("3".into()));
    item.insert("webhooks".into(), list(&["0", "2"]));
    item.insert("outbox".into(), AttributeValue::S("webhooks".into()));
    let found = jobs("INSERT", item);
    let webhooks = found.iter().map(|job| match job {
        Job::Delivery(DeliveryJob { sequence: 3, webhook, attempt: 1, .. }) => Some(*webhook),
        _ => None,
    });
    assert_eq!(webhooks.collect::<Vec<_>>(), [Some(0), Some(2)]);
}

#[test]
fn a_redelivery_reads_back_as_its_next_attempt() {
    let conversation = conversation();
    let (account, id) = (conversation.account_id, conversation.id);
    let key = DeliveryKey { account, conversation: id, sequence: 3, webhook: 2 };
    let job = Job::Delivery(DeliveryJob::new(key, redelivery(&conversation).attempt));
    assert_eq!(jobs("INSERT", redelivery_item(&conversation)), [job]);
    assert_eq!(jobs("MODIFY", redelivery_item(&conversation)), [job]);
    assert_eq!(jobs("MODIFY", delivery_item(&conversation).into_attributes()), [], "a recorded attempt");
}

#[test]
fn a_removed_item_has_no_jobs() {
    let conversation = conversation();
    for item in [Attributes::new(), event_item(&conversation, &[0]), redelivery_item(&conversation)] {
        assert_eq!(jobs("REMOVE", item), []);
    }
}

#[test]
fn an_unreadable_item_of_the_outbox_is_an_error_of_its_kind() {
    let conversation = conversation();
    let (account_id, conversation_id) = (conversation.account_id, conversation.id);
    let event = event_item(&conversation, &[0]);
    let redelivery = redelivery_item(&conversation);
    let kinds = [
        (Kind::QueuedCall, call_item(&conversation)),
        (Kind::Event, event.clone()),
        (Kind::Redelivery, redelivery.clone()),
    ];
    for (kind, mut item) in kinds {
        item.insert("pk".into(), AttributeValue::S("acc_?#cnv_?".into()));
        let error = decode("INSERT", &item.into()).unwrap_err();
        assert_eq!((error, error.conversation()), (DecodeError::Key(kind), None));
    }
    for (kind, mut item, attribute) in
        [(Kind::Event, event, "events"), (Kind::Redelivery, redelivery, "attempt")]
    {
        item.insert(attribute.into(), AttributeValue::S("+14155550100".into()));
        let error = decode("INSERT", &item.clone().into()).unwrap_err();
        assert_eq!(error, DecodeError::Attributes { kind, account_id, conversation_id });
        assert_eq!(error.conversation(), Some((account_id, conversation_id)));
        assert!(!error.to_string().contains("+1415"), "{error}");
        item.remove(attribute);
        assert_eq!(decode("INSERT", &item.into()).unwrap_err(), error);
    }
}

#[tokio::test]
async fn a_postponed_redelivery_leaves_the_outbox() {
    let (table, conversation) = (testing::new_table().await, conversation());
    let delivery = redelivery(&conversation);
    let (account, id) = (conversation.account_id, conversation.id);
    let key = DeliveryKey { account, conversation: id, sequence: 3, webhook: 2 };
    table.redeliver(&conversation, None, &delivery).await.unwrap();
    let stored = async || {
        let (pk, sk) = key.item();
        jobs("MODIFY", table.get(pk, sk).await.unwrap().unwrap().into_attributes())
    };
    assert_eq!(stored().await.len(), 1);
    table.postpone_delivery(key, at(3_600)).await.unwrap();
    assert_eq!(stored().await, []);
}
