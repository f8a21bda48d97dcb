//! The summary of a conversation that webhooks and filters receive with every event.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use super::{Conversation, PhoneCall, Status};
use crate::{agents::AgentConfig, carriers::CarrierName, event_names::EventName, phone_numbers::E164};

/// The telephone side of a conversation.
#[derive(Serialize, JsonSchema)]
pub struct PhoneCallView {
    /// The carrier.
    #[schemars(
        with = "&'static str",
        description = CarrierName::description(),
        extend("const" = CarrierName::default())
    )]
    pub provider: CarrierName,
    /// The called number.
    pub to_number: E164,
    /// The calling number.
    pub from_number: E164,
    /// The carrier's verdict on who answered (`human`, `machine_start`, ...); absent if it gave none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answered_by: Option<String>,
}

impl From<&PhoneCall> for PhoneCallView {
    fn from(call: &PhoneCall) -> Self {
        let PhoneCall { to_number, from_number, answered_by, .. } = call;
        Self {
            provider: call.carrier(),
            to_number: to_number.clone(),
            from_number: from_number.clone(),
            answered_by: answered_by.clone(),
        }
    }
}

/// The conversation with the status that it had when `event` happened, so that a retry has the content of the first
/// attempt.
#[must_use]
pub fn summary_at(event: EventName, conversation: &Conversation, agent: &AgentConfig) -> Value {
    let status = match event {
        EventName::ConnectionRequested | EventName::Accepted => Status::Queued,
        EventName::Rejected | EventName::Ended => Status::Ended,
        _ => Status::Started,
    };
    json!({
        "id": conversation.id,
        "type": conversation.kind,
        "status": status,
        "agent_id": conversation.agent_id,
        "phone_call": conversation.legs.caller().phone_call.as_ref().map(PhoneCallView::from),
        "metadata": agent.metadata,
    })
}
