//! The cost of a conversation: its durations and its agent's rates, for [`crate::costs`].

use super::{Conversation, Direction, Leg, LegState};
use crate::{
    agents::AgentConfig,
    catalogue::{self, Rate},
    costs::{self, CostBreakdown, LegUse, Prices},
    time::Timestamp,
};

impl Conversation {
    /// The cost if the conversation ends at `ended_at`.
    #[must_use]
    pub fn cost(&self, agent: &AgentConfig, prices: &Prices, ended_at: Timestamp) -> CostBreakdown {
        let legs: Vec<_> = self.legs.iter().filter_map(|leg| leg_use(leg, agent, ended_at)).collect();
        let ms = milliseconds(self.started_at(), ended_at);
        // The providers that serve a call are chosen when it starts.
        let day = self.started_at().unwrap_or(ended_at).date();
        costs::breakdown(&self.usage, &catalogue::rates(agent, day), prices, ms, &legs)
    }
}

/// The carrier's part of a leg; none for a browser.
fn leg_use(leg: &Leg, agent: &AgentConfig, conversation_ended_at: Timestamp) -> Option<LegUse> {
    let call = leg.phone_call.as_ref()?;
    let provider = call.carrier().as_str();
    let (price, is_known) = catalogue::call_tariff(provider).map_or_else(Default::default, |tariff| {
        let to = &call.to_number;
        match call.direction {
            Direction::Inbound => (tariff.inbound_call(to), tariff.lists_inbound(to)),
            Direction::Outbound => {
                (tariff.outbound_call(to, agent.asks_who_answered()), tariff.lists_outbound(to))
            }
        }
    });
    let ended_at = match leg.state {
        LegState::Ended { ended_at, .. } => ended_at.min(conversation_ended_at),
        _ => conversation_ended_at,
    };
    let rate = Rate { provider, price, is_own_account: call.imported, is_known };
    Some(LegUse { ms: milliseconds(leg.answered_at(), ended_at), rate })
}

fn milliseconds(from: Option<Timestamp>, to: Timestamp) -> u64 {
    let duration = from.map(|from| to.since(from)).unwrap_or_default();
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "cost_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "cost_table.rs"]
mod table;
