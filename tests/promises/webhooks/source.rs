//! Conversations whose events are written straight into the table, as a worker does, without speech.

use harness::Stack;
use reqwest::Method;
use serde_json::{Value, json};
use switchboard_model::{
    agents::AgentConfig,
    conversations::{Conversation, EndedReason, JournalEntry, LegState, Snapshot, State},
    costs::{Prices, Usage},
    event_names::EventName,
    ids::ConversationId,
    webhooks::{Webhook, WebhookMethod},
};
use switchboard_runtime as system;

use crate::table::StackTable;

/// A conversation that goes on until it is told to end.
pub(crate) struct Source {
    pub(crate) table: StackTable,
    snapshot: Snapshot,
}

impl Source {
    /// A started conversation of the stack's account.
    pub(crate) async fn new(stack: &Stack, urls: &[(&str, WebhookMethod)]) -> Self {
        Self::of(StackTable::of(stack), urls).await
    }

    /// One of the account that `table` names.
    pub(crate) async fn of(table: StackTable, urls: &[(&str, WebhookMethod)]) -> Self {
        let now = system::now();
        let id = ConversationId::new(now, system::random_u128());
        let (to, from) = ("+14155550100".parse().unwrap(), "+14155550199".parse().unwrap());
        let mut conversation = Conversation::outbound(id, table.account, None, to, from, now);
        conversation.legs.caller_mut().state = LegState::Answered { answered_at: now };
        conversation.state = State::Started { started_at: now };
        let webhook = |(url, method): &(&str, WebhookMethod)| Webhook {
            events: EventName::ALL.to_vec(),
            url: (*url).to_owned(),
            method: *method,
            headers: Some([("authorization".to_owned(), "Bearer customers-secret".to_owned())].into()),
            filter: None,
        };
        let agent = AgentConfig { webhooks: urls.iter().map(webhook).collect(), ..AgentConfig::default() };
        let snapshot = Snapshot { conversation, agent };
        table.table.create_conversation(&snapshot).await.unwrap();
        Self { table, snapshot }
    }

    pub(crate) fn id(&self) -> ConversationId {
        self.snapshot.conversation.id
    }

    /// Writes this many speech events at once.
    pub(crate) async fn emit(&mut self, events: usize) {
        let entry = JournalEntry {
            at: system::now(),
            name: EventName::SpeechStarted,
            data: json!({ "role": "user" }),
            message: None,
            faults: vec![],
        };
        let Snapshot { conversation, agent } = &self.snapshot;
        let change = conversation.append(agent, &vec![entry; events], &Usage::default()).unwrap();
        self.table.table.commit(conversation, &change).await.unwrap();
        self.snapshot.conversation = change.conversation;
    }

    /// Ends the conversation. Returns the number of its events.
    pub(crate) async fn end(self) -> u64 {
        let Snapshot { conversation, agent } = &self.snapshot;
        let (usage, prices) = (Usage::default(), Prices::default());
        let reason = EndedReason::UserEnded;
        let change = conversation.end(agent, reason, &[], &usage, &prices, system::now()).unwrap();
        self.table.table.commit(conversation, &change).await.unwrap();
        change.conversation.next_sequence - 1
    }
}

/// A delivery as the event log shows it.
pub(crate) async fn delivery(
    stack: &Stack,
    id: ConversationId,
    sequence: u64,
    webhook: usize,
) -> anyhow::Result<Value> {
    let path = format!("/conversations/{id}/events?limit=1&index={sequence}");
    let log = stack.send(Method::GET, &path, None).await?.body;
    Ok(log["items"][0]["deliveries"][webhook].clone())
}
