//! What a client sees of what is stored.

use domain::{
    agents::AgentConfig,
    conversations::{Conversation, ConversationType, EndedReason, PhoneCall, Snapshot, Status},
    costs::{CharacterCost, CostBreakdown, TimedCost, TokenCost},
    events::{Event, EventName},
    ids::{AccountId, AgentId, ConversationId, EventId},
    messages::Message,
    phone_numbers::E164,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::errors::ApiError;

/// A conversation.
#[derive(Serialize)]
pub(crate) struct ConversationView {
    id: ConversationId,
    uri: String,
    account_id: AccountId,
    #[serde(rename = "type")]
    kind: ConversationType,
    status: Status,
    created_at: Timestamp,
    started_at: Option<Timestamp>,
    ended_at: Option<Timestamp>,
    ended_reason: Option<EndedReason>,
    agent_id: Option<AgentId>,
    agent_config: AgentConfig,
    messages: Vec<Message>,
    phone_call: Option<PhoneCallView>,
    cost_breakdown: Option<CostView>,
}

#[derive(Serialize)]
struct PhoneCallView {
    provider: &'static str,
    to_number: E164,
    from_number: E164,
    #[serde(skip_serializing_if = "Option::is_none")]
    answered_by: Option<String>,
}

/// Money as JSON numbers, in USD.
#[derive(Serialize)]
struct CostView {
    total: f64,
    agent: TimedView,
    language_model: TokensView,
    transcriber: TimedView,
    voice: CharactersView,
    telephony: Option<TimedView>,
}

#[derive(Serialize)]
struct TimedView {
    provider: String,
    cost: f64,
    seconds: f64,
}

#[derive(Serialize)]
struct TokensView {
    provider: String,
    cost: f64,
    input_tokens: u64,
    output_tokens: u64,
}

#[derive(Serialize)]
struct CharactersView {
    provider: String,
    cost: f64,
    characters: u64,
}

/// An event of the log.
#[derive(Serialize)]
pub(crate) struct EventView {
    id: EventId,
    event: EventName,
    sequence: u64,
    created_at: Timestamp,
    data: Value,
    deliveries: Vec<DeliveryView>,
}

/// What became of an event at one of the webhooks that asked for it.
#[derive(Serialize)]
struct DeliveryView {
    /// Its place in the agent's list.
    webhook: usize,
    url: String,
    method: domain::agents::WebhookMethod,
    status: &'static str,
    next_attempt_at: Option<Timestamp>,
    attempts: [(); 0],
}

/// One page of a list.
#[derive(Serialize)]
pub(crate) struct PageView<T> {
    pub(crate) items: Vec<T>,
    pub(crate) index: u64,
    pub(crate) has_more: bool,
}

impl ConversationView {
    /// Puts together what is stored apart.
    pub(crate) fn new(public_url: &str, snapshot: Snapshot, messages: Vec<Message>) -> Self {
        let Snapshot { conversation, agent } = snapshot;
        let ended = conversation.ended().map(|(at, reason, cost)| (at, reason, CostView::new(cost)));
        let (ended_at, ended_reason, cost_breakdown) = match ended {
            Some((at, reason, cost)) => (Some(at), Some(reason), Some(cost)),
            None => (None, None, None),
        };
        let (status, started_at) = (conversation.status(), conversation.started_at());
        let Conversation { id, account_id, kind, agent_id, created_at, phone_call, .. } = conversation;
        Self {
            id,
            uri: format!("{public_url}/conversations/{id}"),
            account_id,
            kind,
            status,
            created_at,
            started_at,
            ended_at,
            ended_reason,
            agent_id,
            agent_config: agent,
            messages,
            phone_call: phone_call.map(PhoneCallView::from),
            cost_breakdown,
        }
    }
}

impl From<PhoneCall> for PhoneCallView {
    fn from(PhoneCall { to_number, from_number, answered_by }: PhoneCall) -> Self {
        Self { provider: "twilio", to_number, from_number, answered_by }
    }
}

impl CostView {
    fn new(cost: &CostBreakdown) -> Self {
        let CostBreakdown { total, agent, language_model, transcriber, voice, telephony } = cost;
        let TokenCost { provider, cost, input_tokens, output_tokens } = language_model;
        let language_model = TokensView {
            provider: provider.clone(),
            cost: cost.to_f64(),
            input_tokens: *input_tokens,
            output_tokens: *output_tokens,
        };
        let CharacterCost { provider, cost, characters } = voice;
        Self {
            total: total.to_f64(),
            agent: TimedView::new(agent),
            language_model,
            transcriber: TimedView::new(transcriber),
            voice: CharactersView {
                provider: provider.clone(),
                cost: cost.to_f64(),
                characters: *characters,
            },
            telephony: telephony.as_ref().map(TimedView::new),
        }
    }
}

impl TimedView {
    #[expect(clippy::cast_precision_loss, reason = "2^52 ms are longer than any conversation")]
    fn new(TimedCost { provider, cost, ms }: &TimedCost) -> Self {
        Self { provider: provider.clone(), cost: cost.to_f64(), seconds: *ms as f64 / 1_000.0 }
    }
}

impl EventView {
    /// An event with a pending delivery per webhook that asked for it.
    pub(crate) fn new(event: Event, agent: &AgentConfig) -> Self {
        let Event { id, name, sequence, created_at, data, webhooks } = event;
        let deliveries = webhooks.into_iter().filter_map(|index| {
            let webhook = agent.webhooks.get(index)?;
            Some(DeliveryView {
                webhook: index,
                url: webhook.url.clone(),
                method: webhook.method,
                status: "pending",
                next_attempt_at: None,
                attempts: [],
            })
        });
        let deliveries = deliveries.collect();
        Self { id, event: name, sequence, created_at, data: shown(data), deliveries }
    }

    /// Whether it is `conversation:ended`, the last of a conversation.
    pub(crate) fn is_end(&self) -> bool {
        self.event == EventName::Ended
    }

    /// Adds the conversation as it ended, which is not stored twice. It goes to receivers that the
    /// headers of the others' webhooks, which may hold secrets, are not meant for.
    pub(crate) fn show_conversation(&mut self, mut conversation: ConversationView) -> Result<(), ApiError> {
        for webhook in &mut conversation.agent_config.webhooks {
            webhook.headers = None;
        }
        let conversation =
            serde_json::to_value(conversation).map_err(|error| ApiError::Internal(error.into()))?;
        match &mut self.data {
            Value::Object(data) => _ = data.insert("conversation".into(), conversation),
            data => *data = json!({ "conversation": conversation }),
        }
        Ok(())
    }
}

/// What an event carries, as the API shows it: a call is stored without what all calls have in common.
fn shown(mut data: Value) -> Value {
    if let Some(stored) = data.get_mut("phone_call")
        && let Ok(call) = PhoneCall::deserialize(&*stored)
    {
        *stored = json!(PhoneCallView::from(call));
    }
    data
}
