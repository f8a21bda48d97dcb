//! The event log: the view of an event with its deliveries, and [`payload`], an event as webhooks receive it.

pub mod payload;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use switchboard_model::{
    agents::AgentConfig,
    deliveries::{Attempt, Delivery, DeliveryStatus},
    event_names::EventName,
    events::{Event, NumberWebhookCall},
    ids::EventId,
    time::Timestamp,
    webhooks::WebhookMethod,
};

use crate::conversations::ConversationView;

/// An event of the log.
#[derive(Serialize, JsonSchema)]
pub struct EventView {
    /// Its id, such as `evt_01JD...`.
    pub id: EventId,
    /// The name of the event.
    pub event: EventName,
    /// Its place among the conversation's events, from 1, without gaps.
    pub sequence: u64,
    /// The time of the event.
    pub created_at: Timestamp,
    /// The data of the event; null for an event without data.
    pub data: Value,
    /// Provider faults and failed filters before this event; for an inbound call also the choice of its agent, at the
    /// end also the response times. Absent if there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Its delivery to each webhook that subscribes to it.
    pub deliveries: Vec<DeliveryView>,
}

/// The delivery of an event to one webhook.
#[derive(Serialize, JsonSchema)]
pub struct DeliveryView {
    /// The webhook's place in its list, from 0.
    pub webhook: usize,
    /// True for a webhook of the phone number, which chooses the agent of an inbound call; absent for one of the
    /// agent.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub phone_number: bool,
    /// The address of the webhook.
    pub url: String,
    /// The HTTP method.
    pub method: WebhookMethod,
    /// The status of the delivery.
    pub status: DeliveryStatus,
    /// The time of the next attempt; null if there is none, or if the first attempt is due at once.
    pub next_attempt_at: Option<Timestamp>,
    /// The attempts, oldest first; at most the last 50.
    pub attempts: Vec<Attempt>,
}

impl DeliveryView {
    /// A phone number's webhook is called once, when the call arrives.
    fn called_once(NumberWebhookCall { webhook, url, method, attempt }: NumberWebhookCall) -> Self {
        let status = if attempt.delivered() { DeliveryStatus::Delivered } else { DeliveryStatus::Failed };
        let (phone_number, next_attempt_at) = (true, None);
        Self { webhook, phone_number, url, method, status, next_attempt_at, attempts: vec![attempt] }
    }
}

impl EventView {
    /// An event with its stored deliveries. A webhook without a stored one has not been tried.
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
        let called = number_webhook_calls.into_iter().map(DeliveryView::called_once);
        let deliveries = called.chain(deliveries).collect();
        Self { id, event: name, sequence, created_at, data, notes: faults, deliveries }
    }

    /// Whether it is `conversation:ended`, the last event of a conversation.
    pub fn is_end(&self) -> bool {
        self.event == EventName::Ended
    }

    /// Adds the conversation as it ended, which is not stored in the event.
    pub fn show_conversation(&mut self, conversation: ConversationView) {
        payload::add_conversation(&mut self.data, conversation);
    }
}
