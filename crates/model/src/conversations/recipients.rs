//! The webhooks and hooks that receive a conversation's events.

use serde_json::Value;

use super::{Conversation, summary_at};
use crate::{
    agents::AgentConfig,
    event_names::EventName,
    events::{self, EventContext, FailedFilter, Recipients},
};

impl Conversation {
    /// The recipients of an event that happens to this conversation, which is as the event leaves it.
    #[must_use]
    pub fn recipients(&self, agent: &AgentConfig, name: EventName, data: &Value) -> Recipients {
        events::recipients(&EventContext {
            name,
            data,
            webhooks: &agent.webhooks,
            hooks: &agent.hooks,
            summary: &|| summary_at(name, self, agent),
            failed_filters: &self.failed_filters,
        })
    }

    /// Whether a hook hangs up on an event without data: before the answer `phone_call:connection_requested`, later
    /// `phone_call:accepted` and `conversation:started`.
    #[must_use]
    pub fn hook_hangs_up(&self, agent: &AgentConfig, name: EventName) -> bool {
        self.recipients(agent, name, &Value::Null).hangs_up
    }

    /// Records filters that failed. Returns the faults of those that are new, for the event log.
    pub fn record_failed_filters(&mut self, failures: Vec<FailedFilter>) -> Vec<String> {
        let fault = |FailedFilter { owner, fault }| self.failed_filters.insert(owner).then_some(fault);
        failures.into_iter().filter_map(fault).collect()
    }
}
