//! What a conversation cost: its durations and its agent's rates, for [`crate::costs`].

use super::{Conversation, ConversationType};
use crate::{
    agents::AgentConfig,
    catalogue::{self, Rate, twilio},
    costs::{self, CostBreakdown, LegUse, Prices},
    time::Timestamp,
};

impl Conversation {
    /// The cost if the conversation ends at `ended_at`.
    #[must_use]
    pub fn cost(&self, agent: &AgentConfig, prices: &Prices, ended_at: Timestamp) -> CostBreakdown {
        let since = |start: Option<Timestamp>| {
            let duration = start.map(|start| ended_at.since(start)).unwrap_or_default();
            u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
        };
        let leg = self.phone_call.as_ref().map(|call| {
            let price = match self.kind {
                ConversationType::InboundPhoneCall => twilio::inbound_call(&call.to_number),
                ConversationType::OutboundPhoneCall => {
                    twilio::outbound_call(&call.to_number, agent.asks_who_answered())
                }
                ConversationType::WebCall => twilio::outbound_call(&call.to_number, false),
            };
            let rate = Rate { provider: "twilio", price, is_own_account: call.imported };
            LegUse { ms: since(self.answered_at()), rate }
        });
        costs::breakdown(&self.usage, &catalogue::rates(agent), prices, since(self.started_at()), leg)
    }
}

#[cfg(test)]
#[path = "cost_tests.rs"]
mod tests;
