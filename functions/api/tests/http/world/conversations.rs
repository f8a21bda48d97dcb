//! Conversations, agents and credentials of the account.

use serde_json::Value;
use switchboard_aws::table::Outcome;
use switchboard_contract::credentials::CreateCredential;
use switchboard_model::{
    agents::{Agent, AgentConfig},
    carriers::{CarrierCallId, CarrierName},
    conversations::{
        Conversation, EndedReason, InvalidTransition, JournalEntry, LegId, Noises, Quality, ResponseTimes,
        Silence, SilentSide, Snapshot, Transition, YieldTimes,
    },
    costs::{Prices, Usage},
    credentials::Provider,
    event_names::EventName,
    messages::{Message, Role},
    secrets::Secret,
    webhooks::{Webhook, WebhookMethod},
};

use super::{CALLED, NUMBER, World, agent_id, at, conversation_id, credential_id};

impl World {
    /// Stores an agent of the account's.
    pub(crate) async fn put_agent(&self, agent: &AgentConfig) {
        let agent = Agent::new(agent_id(), self.account, agent.clone(), at(0));
        // It replaces the previous one.
        self.table.delete_agent(self.account, agent.id).await.unwrap();
        self.table.create_agent(&agent).await.unwrap();
    }

    /// Stores a credential of the account's.
    pub(crate) async fn put_credential(&self, provider: Provider) {
        let (id, api_key) = (credential_id(), Secret::new("sk-of-the-customer"));
        let sealed = self.sealer.seal((self.account, &id.to_string()), &api_key).await.unwrap();
        let new = CreateCredential { provider, api_key, region: None, user_id: None, base_url: None };
        self.table.create_credential(&new.credential(id, self.account, at(0)), sealed).await.unwrap();
    }

    /// The sample's conversation, just stored.
    pub(crate) async fn queued_call(&self) {
        let (to, from) = (CALLED.parse().unwrap(), NUMBER.parse().unwrap());
        let conversation = Conversation::outbound(conversation_id(), self.account, None, to, from, at(0));
        let snapshot = Snapshot { conversation, agent: agent() };
        self.table.create_conversation(&snapshot).await.unwrap();
    }

    /// The sample's conversation, with a message of each side.
    pub(crate) async fn started_call(&self) {
        self.queued_call().await;
        self.change(|call| {
            call.conversation.mark_dialing(LegId::CALLER, &call.agent, "00".repeat(32), at(1))
        })
        .await;
        self.change(|call| {
            call.conversation.mark_answered(LegId::CALLER, &call.agent, &call_id("CA1"), at(5))
        })
        .await;
        self.change(|call| {
            call.conversation.mark_started(LegId::CALLER, &call.agent, &call_id("CA1"), at(6))
        })
        .await;
        let said = [
            said(Role::Agent, "Hello, this is Ada. Your cake is", 7, true),
            said(Role::User, "Great, thank you. Goodbye.", 10, false),
        ];
        self.change(|call| call.conversation.append(&call.agent, &said, &usage())).await;
    }

    /// The sample's conversation, ended after a minute and a half.
    pub(crate) async fn ended_call(&self) {
        self.started_call().await;
        self.end_call().await;
    }

    /// Ends the sample's started conversation: its sixth event.
    pub(crate) async fn end_call(&self) {
        let prices = Prices { agent_per_minute: "0.05".parse().unwrap() };
        self.change(|call| {
            let Snapshot { conversation, agent } = call;
            let end = conversation.end(agent, EndedReason::UserEnded, &[], &usage(), &prices, at(96))?;
            Ok(end.with_quality(Some(quality())))
        })
        .await;
    }

    pub(crate) async fn change(
        &self,
        change: impl FnMut(&Snapshot) -> Result<Transition, InvalidTransition>,
    ) {
        let outcome = self.table.transition(self.account, conversation_id(), change).await.unwrap();
        assert!(matches!(outcome, Outcome::Changed(_)), "{outcome:?}");
    }
}

/// All defaults, and a webhook with a secret.
fn agent() -> AgentConfig {
    let headers = [("authorization".to_owned(), "Basic c2VjcmV0".to_owned())];
    let webhook = Webhook {
        events: vec![EventName::Accepted, EventName::Ended],
        url: "https://bakery.example.com/calls".to_owned(),
        method: WebhookMethod::Post,
        headers: Some(headers.into()),
        filter: None,
    };
    AgentConfig { webhooks: vec![webhook], ..AgentConfig::default() }
}

fn quality() -> Quality {
    Quality {
        version: 1,
        estimated: true,
        turns: 3,
        response_ms: Some(ResponseTimes { p50: 610, p90: 900, max: 900 }),
        yield_ms: Some(YieldTimes { p50: 380, max: 380 }),
        response_rate: Some(1.0),
        yield_rate: Some(1.0),
        agent_interruptions: 0,
        backchannels: None,
        noises: Some(Noises { total: 2, ignored: 1 }),
        talk_over_ms: 380,
        dead_air: vec![Silence { from: at(15), to: at(19), whose: SilentSide::User }],
        turn_score: Some(0.94),
    }
}

fn usage() -> Usage {
    Usage {
        input_tokens: 1_234,
        cached_input_tokens: 0,
        cache_write_tokens: 0,
        output_tokens: 56,
        tokens_estimated: false,
        transcriber_estimated: false,
        characters_estimated: false,
        stand_ins: vec![],
        transcriber_ms: 89_980,
        characters: 78,
    }
}

fn said(role: Role, content: &str, second: i64, interrupted: bool) -> JournalEntry {
    let content = content.to_owned();
    let message = Message {
        kind: switchboard_model::messages::MessageKind::Speech,
        role,
        content,
        started_at: at(second),
        ended_at: at(second + 2),
        interrupted,
    };
    JournalEntry {
        at: at(second + 2),
        name: EventName::MessageSent,
        data: Value::Null,
        message: Some(message),
        faults: vec![],
    }
}

pub(crate) fn call_id(id: &str) -> CarrierCallId {
    CarrierCallId::new(CarrierName::Twilio, id).unwrap()
}
