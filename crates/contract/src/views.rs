//! What a client sees of what is stored: the bodies of the API's answers, parts of which webhooks get too.

mod agents;
mod credentials;
mod phone_numbers;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

pub use self::{
    agents::AgentView,
    credentials::CredentialView,
    phone_numbers::{NumberOnSaleView, PhoneNumberView, TelephonyView},
};
use crate::payload;
use switchboard_model::{
    agents::{AgentConfig, WebhookMethod},
    conversations::{Conversation, ConversationType, EndedReason, PhoneCallView, Snapshot, Status},
    costs::{CharacterCost, CostBreakdown, TimedCost, TokenCost},
    deliveries::{Attempt, Delivery, DeliveryStatus},
    events::{Event, EventName, NumberWebhookCall},
    ids::{AccountId, AgentId, ConversationId, EventId},
    messages::Message,
    time::Timestamp,
};

/// A conversation.
#[derive(Serialize, JsonSchema)]
pub struct ConversationView {
    /// Its id, such as `cnv_01JD...`.
    pub id: ConversationId,
    /// The URL of this conversation.
    pub uri: String,
    /// Whose it is.
    pub account_id: AccountId,
    /// How it came to be.
    #[serde(rename = "type")]
    pub kind: ConversationType,
    /// Where it stands.
    pub status: Status,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When media began to flow; null if it has not.
    pub started_at: Option<Timestamp>,
    /// When it ended; null until then.
    pub ended_at: Option<Timestamp>,
    /// Who or what ended it; null until then.
    pub ended_reason: Option<EndedReason>,
    /// The stored agent that was named; null if the configuration came with the request.
    pub agent_id: Option<AgentId>,
    /// How the agent is configured: a snapshot, with every default filled in.
    pub agent_config: AgentConfig,
    /// What was said, in order; null in lists.
    pub messages: Option<Vec<Message>>,
    /// Its telephone side; null on the web.
    pub phone_call: Option<PhoneCallView>,
    /// What it cost; null until it ended.
    pub cost_breakdown: Option<CostView>,
}

/// What a conversation cost. Money is in USD.
#[derive(Serialize, JsonSchema)]
pub struct CostView {
    /// The sum of the parts.
    pub total: f64,
    /// This deployment's own price.
    pub agent: TimedCostView,
    /// The language model.
    pub language_model: TokenCostView,
    /// The transcriber.
    pub transcriber: TimedCostView,
    /// The voice.
    pub voice: CharacterCostView,
    /// The carrier; null on the web.
    pub telephony: Option<TimedCostView>,
}

/// A cost by time.
#[derive(Serialize, JsonSchema)]
pub struct TimedCostView {
    /// Who served.
    pub provider: String,
    /// USD; 0 with the customer's own key.
    pub cost: f64,
    /// For how long, in seconds.
    pub seconds: f64,
}

/// A cost by tokens.
#[derive(Serialize, JsonSchema)]
pub struct TokenCostView {
    /// Who served.
    pub provider: String,
    /// USD; 0 with the customer's own key.
    pub cost: f64,
    /// Tokens read.
    pub input_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
}

/// A cost by characters.
#[derive(Serialize, JsonSchema)]
pub struct CharacterCostView {
    /// Who served.
    pub provider: String,
    /// USD; 0 with the customer's own key.
    pub cost: f64,
    /// Characters spoken.
    pub characters: u64,
}

/// An event of the log.
#[derive(Serialize, JsonSchema)]
pub struct EventView {
    /// Its id, such as `evt_01JD...`.
    pub id: EventId,
    /// What happened.
    pub event: EventName,
    /// Its place among the conversation's events, from 1, without gaps.
    pub sequence: u64,
    /// When it happened.
    pub created_at: Timestamp,
    /// What the event carries; null where it carries nothing.
    pub data: Value,
    /// What went wrong on the way to it, such as a provider or a filter that failed; at the end also how long
    /// answers took. Absent if there is nothing to say.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// What became of it at each webhook that asked for it.
    pub deliveries: Vec<DeliveryView>,
}

/// What became of an event at one of the webhooks that asked for it.
#[derive(Serialize, JsonSchema)]
pub struct DeliveryView {
    /// The webhook's place in its list, from 0.
    pub webhook: usize,
    /// True if that is the phone number's list, whose webhooks are asked what becomes of a call that comes
    /// in; absent if it is the agent's.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub phone_number: bool,
    /// Where it is sent.
    pub url: String,
    /// How it is sent.
    pub method: WebhookMethod,
    /// Where it stands.
    pub status: DeliveryStatus,
    /// When it is tried next; null if nothing is tried any more, or the first attempt is to come at once.
    pub next_attempt_at: Option<Timestamp>,
    /// What was tried, oldest first; at most the last 50.
    pub attempts: Vec<Attempt>,
}

impl DeliveryView {
    /// A phone number's webhook is asked once.
    fn asked(NumberWebhookCall { webhook, url, method, attempt }: NumberWebhookCall) -> Self {
        let status = if attempt.delivered() { DeliveryStatus::Delivered } else { DeliveryStatus::Failed };
        let (phone_number, next_attempt_at) = (true, None);
        Self { webhook, phone_number, url, method, status, next_attempt_at, attempts: vec![attempt] }
    }
}

impl ConversationView {
    /// Puts together what is stored apart. `public_url` is the API's, without a slash at the end; without
    /// messages it is as in lists.
    pub fn new(public_url: &str, snapshot: Snapshot, messages: Option<Vec<Message>>) -> Self {
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

    /// For receivers that the headers of the others' webhooks, which may hold secrets, are not meant for.
    #[must_use]
    pub fn without_headers(mut self) -> Self {
        for webhook in &mut self.agent_config.webhooks {
            webhook.headers = None;
        }
        self
    }
}

impl CostView {
    fn new(cost: &CostBreakdown) -> Self {
        let CostBreakdown { total, agent, language_model, transcriber, voice, telephony } = cost;
        let TokenCost { provider, cost, input_tokens, output_tokens } = language_model;
        let language_model = TokenCostView {
            provider: provider.clone(),
            cost: cost.to_f64(),
            input_tokens: *input_tokens,
            output_tokens: *output_tokens,
        };
        let CharacterCost { provider, cost, characters } = voice;
        Self {
            total: total.to_f64(),
            agent: TimedCostView::new(agent),
            language_model,
            transcriber: TimedCostView::new(transcriber),
            voice: CharacterCostView {
                provider: provider.clone(),
                cost: cost.to_f64(),
                characters: *characters,
            },
            telephony: telephony.as_ref().map(TimedCostView::new),
        }
    }
}

impl TimedCostView {
    #[expect(clippy::cast_precision_loss, reason = "2^52 ms are longer than any conversation")]
    fn new(TimedCost { provider, cost, ms }: &TimedCost) -> Self {
        Self { provider: provider.clone(), cost: cost.to_f64(), seconds: *ms as f64 / 1_000.0 }
    }
}

impl EventView {
    /// An event with what is known of its deliveries; one that is not known has not been tried.
    pub fn new(event: Event, agent: &AgentConfig, known: Vec<Delivery>) -> Self {
        let data = payload::data(&event, None);
        let Event {
            id, name, sequence, created_at, webhooks, synchronous, number_webhook_calls, faults, ..
        } = event;
        let mut known: BTreeMap<usize, Option<Delivery>> =
            known.into_iter().map(|delivery| (delivery.webhook, Some(delivery))).collect();
        for index in webhooks.into_iter().chain(synchronous) {
            known.entry(index).or_insert(None);
        }
        let deliveries = known.into_iter().filter_map(|(index, delivery)| {
            let webhook = agent.webhooks.get(index)?;
            let (status, next_attempt_at, attempts) = match delivery {
                Some(delivery) => (delivery.status, delivery.next_attempt_at, delivery.attempts),
                None => (DeliveryStatus::Pending, None, vec![]),
            };
            let (url, method) = (webhook.url.clone(), webhook.method);
            let phone_number = false;
            Some(DeliveryView {
                webhook: index,
                phone_number,
                url,
                method,
                status,
                next_attempt_at,
                attempts,
            })
        });
        let deliveries =
            number_webhook_calls.into_iter().map(DeliveryView::asked).chain(deliveries).collect();
        Self { id, event: name, sequence, created_at, data, notes: faults, deliveries }
    }

    /// Whether it is `conversation:ended`, the last of a conversation.
    pub fn is_end(&self) -> bool {
        self.event == EventName::Ended
    }

    /// Adds the conversation as it ended, which is not stored twice.
    pub fn show_conversation(&mut self, conversation: ConversationView) {
        payload::add_conversation(&mut self.data, conversation);
    }
}
