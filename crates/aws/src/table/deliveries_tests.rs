//! Deliveries and hosts against a server that speaks DynamoDB's protocol.

use std::time::Duration;

use serde_json::Value;
use switchboard_model::{
    accounts::{Account, Token},
    agents::AgentConfig,
    backoff::Jitter,
    conversations::{JournalEntry, LegState, Snapshot, State},
    costs::Usage,
    deliveries::{Admission, Attempt, Delivery, DeliveryStatus, MAX_IN_FLIGHT, SMALLEST_WINDOW},
    event_names::EventName,
    events::Event,
    ids::AccountId,
    time::Timestamp,
    webhooks::{Webhook, WebhookMethod},
};
use tokio::task::JoinSet;

use super::{
    DeliveryKey, Outgoing, Table, TableError, testing,
    tests::{account, at, queued},
};
use switchboard_runtime as system;

impl Table {
    async fn take_at_host(
        &self,
        owner: AccountId,
        host: &str,
        slots: &[String],
        now: Timestamp,
    ) -> Result<Vec<Admission>, TableError> {
        Ok(self.take_host_slots(owner, host, slots, now).await?.0)
    }

    async fn take_of_account(
        &self,
        owner: AccountId,
        host: &str,
        slots: &[String],
        now: Timestamp,
    ) -> Result<Vec<Admission>, TableError> {
        Ok(self.take_window_slots(owner, host, slots, now).await?.0)
    }
}

/// A conversation with events that match the webhooks of its agent, and its account.
pub(super) struct World {
    pub(super) table: Table,
    pub(super) snapshot: Snapshot,
    events: Vec<Event>,
}

impl World {
    /// With twelve events.
    pub(super) async fn new() -> Self {
        let mut world = Self::without_events().await;
        world.append(at(3), &Value::Null, 12).await;
        world
    }

    pub(super) async fn without_events() -> Self {
        let table = testing::new_table().await;
        let owner = Account::new(account(), "Bakery".into(), at(0), "whsec_AAAA".into());
        table.create_account(&owner, &Token::new(system::random())).await.unwrap();
        let webhook = Webhook {
            events: vec![EventName::SpeechStarted],
            url: "https://example.com/".into(),
            method: WebhookMethod::Post,
            headers: None,
            filter: None,
        };
        let agent = AgentConfig { webhooks: vec![webhook.clone(), webhook], ..AgentConfig::default() };
        let mut snapshot = Snapshot { agent, ..queued(owner.id) };
        snapshot.conversation.legs.caller_mut().state = LegState::Answered { answered_at: at(1) };
        snapshot.conversation.state = State::Started { started_at: at(2) };
        table.create_conversation(&snapshot).await.unwrap();
        Self { table, snapshot, events: vec![] }
    }

    pub(super) async fn append(&mut self, at: Timestamp, data: &Value, count: usize) {
        let Snapshot { conversation, agent } = &self.snapshot;
        let (name, data) = (EventName::SpeechStarted, data.clone());
        let entry = JournalEntry { at, name, data, message: None, faults: vec![] };
        let appended = conversation.append(agent, &vec![entry; count], &Usage::default()).unwrap();
        self.table.commit(conversation, &appended).await.unwrap();
        self.snapshot.conversation = appended.conversation;
        self.events.extend(appended.events);
    }

    pub(super) fn fresh(&self, sequence: u64, webhook: usize) -> Delivery {
        let event = &self.events[usize::try_from(sequence).unwrap() - 1];
        Delivery::new(event.id, sequence, webhook, event.created_at)
    }

    pub(super) fn key(&self, sequence: u64, webhook: usize) -> DeliveryKey {
        let conversation = &self.snapshot.conversation;
        DeliveryKey { account: conversation.account_id, conversation: conversation.id, sequence, webhook }
    }

    async fn outgoing(&self, sequence: u64, webhook: usize) -> Option<Outgoing> {
        self.table.outgoing(self.key(sequence, webhook)).await.unwrap()
    }

    pub(super) async fn record(&self, before: Option<&Delivery>, after: &Delivery) -> Result<(), TableError> {
        self.table.record_delivery(&self.snapshot.conversation, before, after).await
    }

    async fn due(&self, seconds: i64) -> Vec<DeliveryKey> {
        self.table.due_deliveries(at(seconds), 100).await.unwrap()
    }
}

pub(super) fn attempt(status: u16) -> Attempt {
    Attempt { at: at(10), status: Some(status), latency_ms: 42, answer: Some("thanks".into()) }
}

#[tokio::test]
async fn an_attempt_reads_its_event_and_the_last_record() {
    let world = World::new().await;
    let outgoing = world.outgoing(2, 1).await.unwrap();
    assert_eq!(outgoing.event, world.events[1]);
    assert_eq!(outgoing.snapshot, world.snapshot);
    assert_eq!(outgoing.account.id, world.snapshot.conversation.account_id);
    assert_eq!((outgoing.delivery, outgoing.is_stopped), (None, false));

    let failed = world.fresh(2, 1).after(attempt(500), None, Jitter::new(7));
    world.record(None, &failed).await.unwrap();
    let delivered = failed.clone().after(attempt(200), None, Jitter::new(7));
    world.record(Some(&failed), &delivered).await.unwrap();
    assert_eq!(world.outgoing(2, 1).await.unwrap().delivery, Some(delivered));
    assert_eq!(world.outgoing(2, 0).await.unwrap().delivery, None, "the other webhook's");
    assert!(world.outgoing(13, 0).await.is_none(), "there is no such event");
}

#[tokio::test]
async fn a_second_record_conflicts_unless_it_is_the_same() {
    let world = World::new().await;
    let failed = world.fresh(1, 0).after(attempt(500), None, Jitter::new(7));
    world.record(None, &failed).await.unwrap();
    // As after a lost response of the table.
    world.record(None, &failed).await.unwrap();
    let other = world.fresh(1, 0).after(attempt(503), None, Jitter::new(7));
    assert!(matches!(world.record(None, &other).await, Err(TableError::Conflict)));
    let delivered = failed.clone().after(attempt(200), None, Jitter::new(7));
    world.record(Some(&failed), &delivered).await.unwrap();
    let late = failed.clone().after(attempt(500), None, Jitter::new(7));
    assert!(matches!(world.record(Some(&failed), &late).await, Err(TableError::Conflict)));
    assert_eq!(world.outgoing(1, 0).await.unwrap().delivery, Some(delivered));
}

#[tokio::test]
async fn a_410_ends_deliveries_of_this_conversation_to_this_webhook() {
    let world = World::new().await;
    let gone = world.fresh(1, 0).after(attempt(410), None, Jitter::new(7));
    assert_eq!(gone.status, DeliveryStatus::Stopped);
    world.record(None, &gone).await.unwrap();
    assert!(world.outgoing(2, 0).await.unwrap().is_stopped);
    assert!(!world.outgoing(2, 1).await.unwrap().is_stopped);
}

#[tokio::test]
async fn deliveries_are_read_in_the_order_of_their_events() {
    let world = World::new().await;
    for (sequence, webhook) in [(11, 1), (2, 0), (2, 1), (10, 0), (12, 0), (1, 0)] {
        let delivery = world.fresh(sequence, webhook).after(attempt(200), None, Jitter::new(7));
        world.record(None, &delivery).await.unwrap();
    }
    let DeliveryKey { account, conversation, .. } = world.key(0, 0);
    let found = world.table.deliveries(account, conversation, 2, 11).await.unwrap();
    let keys: Vec<_> = found.iter().map(|delivery| (delivery.sequence, delivery.webhook)).collect();
    assert_eq!(keys, [(2, 0), (2, 1), (10, 0), (11, 1)]);
    let one = world.table.delivery(world.key(11, 1)).await.unwrap();
    assert_eq!(one.as_ref(), found.last());
    assert_eq!(world.table.delivery(world.key(11, 0)).await.unwrap(), None);
}

#[tokio::test]
async fn a_delivery_is_due_until_it_ends_in_a_list_of_its_own() {
    let world = World::new().await;
    let mut delivery = world.fresh(3, 1);
    let mut before = None;
    for _ in 0..5 {
        delivery = delivery.after(attempt(500), None, Jitter::new(u32::MAX));
        world.record(before.as_ref(), &delivery).await.unwrap();
        before = Some(delivery.clone());
    }
    // The fifth delay, half an hour and 20 % jitter, after the attempt at 10 s.
    assert_eq!(world.due(10 + 35 * 60).await, []);
    assert_eq!(world.due(10 + 37 * 60).await, [world.key(3, 1)]);
    assert_eq!(world.table.due(at(10 + 37 * 60), 100).await.unwrap(), []);
    world.table.postpone_delivery(world.key(3, 1), at(10 + 50 * 60)).await.unwrap();
    assert_eq!(world.due(10 + 49 * 60).await, []);
    assert_eq!(world.due(10 + 51 * 60).await, [world.key(3, 1)]);
    let delivered = delivery.clone().after(attempt(200), None, Jitter::new(0));
    world.record(Some(&delivery), &delivered).await.unwrap();
    assert_eq!(world.due(100_000).await, []);
    world.table.postpone_delivery(world.key(3, 1), at(0)).await.unwrap();
    world.table.forget_delivery(world.key(3, 1)).await.unwrap();
    assert_eq!(world.outgoing(3, 1).await.unwrap().delivery, None);
}

#[tokio::test]
async fn a_redelivery_is_due_in_case_its_message_is_lost() {
    let world = World::new().await;
    let again = world.fresh(1, 0).again(at(20));
    world.table.redeliver(&world.snapshot.conversation, None, &again).await.unwrap();
    assert_eq!(world.outgoing(1, 0).await.unwrap().delivery, Some(again.clone()));
    assert_eq!(world.due(20 + 16 * 60).await, [world.key(1, 0)]);
    let twice = again.clone().again(at(21));
    world.table.redeliver(&world.snapshot.conversation, Some(&again), &twice).await.unwrap();
    let late = twice.again(at(22));
    let refused = world.table.redeliver(&world.snapshot.conversation, Some(&again), &late).await;
    assert!(matches!(refused, Err(TableError::Conflict)));
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_of_many_concurrent_attempts_get_a_slot() {
    let world = World::new().await;
    let owner = world.snapshot.conversation.account_id;
    let mut asking = JoinSet::new();
    for asker in 0..8 {
        let table = world.table.clone();
        asking.spawn(async move {
            let slots: Vec<_> = (0..3).map(|n| format!("{asker}/{n}")).collect();
            let admissions = table.take_at_host(owner, "example.com:443", &slots, at(0)).await.unwrap();
            slots.into_iter().zip(admissions).collect::<Vec<_>>()
        });
    }
    let answers: Vec<_> = asking.join_all().await.into_iter().flatten().collect();
    let admitted: Vec<_> = answers
        .iter()
        .filter(|(_, admission)| *admission == Admission::Admitted)
        .map(|(slot, _)| (slot.clone(), true))
        .collect();
    assert!(admitted.len() <= MAX_IN_FLIGHT && !admitted.is_empty(), "{answers:?}");
    let ask = |host: &'static str, n: usize| {
        let slots: Vec<_> = (0..n).map(|n| format!("more/{n}")).collect();
        let table = world.table.clone();
        async move {
            let answers = table.take_at_host(owner, host, &slots, at(1)).await.unwrap();
            answers.iter().filter(|admission| **admission == Admission::Admitted).count()
        }
    };
    assert_eq!(ask("example.org:443", 20).await, MAX_IN_FLIGHT, "another host has its own places");
    assert_eq!(ask("example.com:443", 20).await, MAX_IN_FLIGHT - admitted.len());
    world.table.return_slots(owner, "example.com:443", &admitted, at(1)).await.unwrap();
    let more: Vec<_> = (20..40).map(|n| format!("more/{n}")).collect();
    let answers = world.table.take_at_host(owner, "example.com:443", &more, at(2)).await.unwrap();
    let count = answers.iter().filter(|admission| **admission == Admission::Admitted).count();
    assert_eq!(count, admitted.len());
}

#[tokio::test]
async fn hosts_share_the_window_of_their_account() {
    let world = World::new().await;
    let owner = world.snapshot.conversation.account_id;
    let table = &world.table;
    let mut admitted = vec![];
    // One receiver behind as many names as it likes.
    for n in 0..4 {
        let host = format!("{n}.example.com:443");
        let slots: Vec<_> = (0..4).map(|slot| format!("{n}/{slot}")).collect();
        let at_host = table.take_at_host(owner, &host, &slots, at(0)).await.unwrap();
        assert_eq!(at_host, [Admission::Admitted; 4]);
        let of_account = table.take_of_account(owner, &host, &slots, at(0)).await.unwrap();
        let slots = slots.into_iter().zip(of_account);
        admitted
            .extend(slots.filter(|(_, it)| *it == Admission::Admitted).map(|(slot, _)| (host.clone(), slot)));
    }
    assert_eq!(admitted.len(), SMALLEST_WINDOW);
    // Those that were refused left nothing at their hosts.
    let more: Vec<_> = (0..10).map(|n| format!("x/{n}")).collect();
    assert_eq!(
        table.take_at_host(owner, "3.example.com:443", &more, at(0)).await.unwrap(),
        [Admission::Admitted; 10]
    );
    let other = account();
    assert_eq!(
        table.take_of_account(other, "h", &more, at(0)).await.unwrap(),
        [Admission::Admitted; SMALLEST_WINDOW]
    );
    let returned: Vec<_> = admitted.into_iter().map(|(_, slot)| (slot, true)).collect();
    table.return_account_slots(owner, &returned, at(1)).await.unwrap();
    let many: Vec<_> = (0..30).map(|n| format!("y/{n}")).collect();
    let admissions = table.take_of_account(owner, "h", &many, at(1)).await.unwrap();
    assert_eq!(admissions.iter().filter(|it| **it == Admission::Admitted).count(), 2 * SMALLEST_WINDOW);
}

#[tokio::test]
async fn a_silent_host_opens_the_circuit_for_the_whole_account() {
    let world = World::new().await;
    let owner = world.snapshot.conversation.account_id;
    for n in 0..5 {
        let slot = vec![n.to_string()];
        assert_eq!(
            world.table.take_at_host(owner, "h:1", &slot, at(n)).await.unwrap(),
            [Admission::Admitted]
        );
        world.table.return_slots(owner, "h:1", &[(n.to_string(), false)], at(n)).await.unwrap();
    }
    let until = at(4).after(Duration::from_secs(30));
    let slot = vec!["x".to_owned()];
    assert_eq!(world.table.take_at_host(owner, "h:1", &slot, at(5)).await.unwrap(), [Admission::Open(until)]);
    assert_eq!(
        world.table.take_at_host(account(), "h:1", &slot, at(5)).await.unwrap(),
        [Admission::Admitted]
    );
}
