//! The events of a conversation, and who asked to hear of them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    agents::{AgentConfig, Instruction, WebhookMethod},
    conversations::{Conversation, summary_at},
    deliveries::Attempt,
    ids::EventId,
    time::Timestamp,
};
use switchboard_filters::{Filter, Lazy, Variables};

/// What can happen in a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum EventName {
    /// An outbound call is handed to the carrier; an inbound call arrives.
    #[serde(rename = "phone_call:connection_requested")]
    ConnectionRequested,
    /// Busy, no answer, failed, declined, or a hook hung up before the answer.
    #[serde(rename = "phone_call:rejected")]
    Rejected,
    /// The other side answered, or we did.
    #[serde(rename = "phone_call:accepted")]
    Accepted,
    /// Media flows.
    #[serde(rename = "conversation:started")]
    Started,
    /// Every whole second of a started conversation.
    #[serde(rename = "conversation:duration")]
    Duration,
    /// Once, at the end.
    #[serde(rename = "conversation:ended")]
    Ended,
    /// Someone starts to speak.
    #[serde(rename = "speech:started")]
    SpeechStarted,
    /// Someone stops speaking.
    #[serde(rename = "speech:ended")]
    SpeechEnded,
    /// The model finished an agent message, before it is heard.
    #[serde(rename = "message:generated")]
    MessageGenerated,
    /// A message entered the conversation.
    #[serde(rename = "message:sent")]
    MessageSent,
    /// The model calls a tool.
    #[serde(rename = "function_call:triggered")]
    FunctionCallTriggered,
}

impl EventName {
    /// Every event there is, in the order of the API's documentation.
    pub const ALL: [Self; 11] = [
        Self::ConnectionRequested,
        Self::Rejected,
        Self::Accepted,
        Self::Started,
        Self::Duration,
        Self::Ended,
        Self::SpeechStarted,
        Self::SpeechEnded,
        Self::MessageGenerated,
        Self::MessageSent,
        Self::FunctionCallTriggered,
    ];

    /// The name on the wire, such as `conversation:started`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ConnectionRequested => "phone_call:connection_requested",
            Self::Rejected => "phone_call:rejected",
            Self::Accepted => "phone_call:accepted",
            Self::Started => "conversation:started",
            Self::Duration => "conversation:duration",
            Self::Ended => "conversation:ended",
            Self::SpeechStarted => "speech:started",
            Self::SpeechEnded => "speech:ended",
            Self::MessageGenerated => "message:generated",
            Self::MessageSent => "message:sent",
            Self::FunctionCallTriggered => "function_call:triggered",
        }
    }
}

/// One event as it is stored: part of the same write as the change that caused it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Its id, derived from conversation and sequence.
    pub id: EventId,
    /// What happened.
    #[serde(rename = "event")]
    pub name: EventName,
    /// Its place among the conversation's events, from 1, without gaps.
    pub sequence: u64,
    /// When it happened.
    pub created_at: Timestamp,
    /// What the API's table of events says it carries; null where it says nothing.
    pub data: Value,
    /// Which of the agent's webhooks asked for it and are delivered to, by their place in the list.
    pub webhooks: Vec<usize>,
    /// The webhook whose answer the worker asked for itself: the first that asked for a
    /// `function_call:triggered`. It is not among `webhooks`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub synchronous: Option<usize>,
    /// The phone number's webhooks that were asked what becomes of the call that comes in. For the log alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub number_webhook_calls: Vec<NumberWebhookCall>,
    /// Failures on the way to the event or when it was matched, such as a provider or a filter that failed.
    /// For the log alone: never delivered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<String>,
}

/// A webhook of a phone number that was asked about a call that comes in, before its event was stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NumberWebhookCall {
    /// Its place in the number's list, from 0.
    pub webhook: usize,
    /// Where it was sent.
    pub url: String,
    /// How it was sent.
    pub method: WebhookMethod,
    /// What came of it.
    pub attempt: Attempt,
}

/// An event about to be stored, and what it happens to: what filters are evaluated against.
#[derive(Clone, Copy)]
pub struct EventContext<'a> {
    /// The conversation, after the change.
    pub conversation: &'a Conversation,
    /// Its agent.
    pub agent: &'a AgentConfig,
    /// What happens.
    pub name: EventName,
    /// What the event carries.
    pub data: &'a Value,
}

/// The webhooks and hooks that an event triggers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recipients {
    /// The agent's webhooks that asked for it, by their place in the list.
    pub webhooks: Vec<usize>,
    /// A hook hangs up.
    pub hangs_up: bool,
    /// Filters that failed for the first time in the conversation.
    pub failures: Vec<FailedFilter>,
}

/// A filter that failed: it does not match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedFilter {
    /// Whose it is, such as `webhooks.0`.
    pub owner: String,
    /// What the log says of it.
    pub fault: String,
}

impl Recipients {
    /// Whether the event is worth storing: only a `conversation:duration` that concerns nobody is not.
    #[must_use]
    pub fn stores(&self, name: EventName) -> bool {
        name != EventName::Duration || *self != Self::default()
    }
}

/// Which webhooks and hooks an event matches.
#[must_use]
pub fn recipients(scope: &EventContext<'_>) -> Recipients {
    let EventContext { conversation, agent, name, data } = *scope;
    let variables = Variables {
        event: name.as_str(),
        duration: &data["duration"],
        speech: if matches!(name, EventName::SpeechStarted | EventName::SpeechEnded) {
            data
        } else {
            &Value::Null
        },
        message: &data["message"],
        function: &data["function"],
        conversation: Lazy::new(|| summary_at(name, conversation, agent)),
    };
    let (mut webhooks, mut hangs_up, mut failures) = (vec![], false, vec![]);
    let failed_before = &scope.conversation.failed_filters;
    let mut holds = |filter: Option<&Filter>, owner: &str, place: usize| {
        let Some(filter) = filter else { return true };
        filter.matches(&variables).unwrap_or_else(|failure| {
            let owner = format!("{owner}.{place}");
            if !failed_before.contains(&owner) {
                let fault = format!("{owner}.filter failed and did not match: {failure}");
                failures.push(FailedFilter { owner, fault });
            }
            false
        })
    };
    for (place, webhook) in scope.agent.webhooks.iter().enumerate() {
        if webhook.events.contains(&scope.name) && holds(webhook.filter.as_ref(), "webhooks", place) {
            webhooks.push(place);
        }
    }
    for (place, hook) in scope.agent.hooks.iter().enumerate() {
        let concerned = hook.events.contains(&scope.name) && hook.instructions.contains(&Instruction::HangUp);
        hangs_up |= concerned && holds(hook.filter.as_ref(), "hooks", place);
    }
    Recipients { webhooks, hangs_up, failures }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        agents::{Hook, Webhook, WebhookMethod},
        ids::{AccountId, ConversationId},
    };

    fn conversation() -> Conversation {
        let at = Timestamp::from_millis(1_795_339_800_000);
        let (to, from) = ("+14155550100".parse().unwrap(), "+14155550199".parse().unwrap());
        Conversation::outbound(ConversationId::new(at, 1), AccountId::new(at, 2), None, to, from, at)
    }

    fn webhook(filter: Option<&str>) -> Webhook {
        Webhook {
            events: vec![EventName::MessageSent, EventName::Duration],
            url: "https://example.com".into(),
            method: WebhookMethod::Post,
            headers: None,
            filter: filter.map(|text| Filter::parse(text).unwrap()),
        }
    }

    fn hook(filter: Option<&str>, instructions: Vec<Instruction>) -> Hook {
        Hook { events: webhook(None).events, filter: webhook(filter).filter, instructions }
    }

    fn matched(agent: &AgentConfig, name: EventName, data: &Value) -> (Vec<usize>, bool, usize, bool) {
        let scope = EventContext { conversation: &conversation(), agent, name, data };
        let matches = recipients(&scope);
        let stored = matches.stores(name);
        (matches.webhooks, matches.hangs_up, matches.failures.len(), stored)
    }

    #[test]
    fn an_event_goes_to_the_webhooks_and_hooks_that_name_it_and_whose_filter_matches() {
        let filters = [None, Some("message.role == 'user'"), Some("duration == 2"), Some("event == 'a'")];
        let hang_up = vec![Instruction::HangUp];
        let agent = AgentConfig {
            webhooks: filters.map(webhook).to_vec(),
            hooks: vec![hook(Some("duration >= 2"), hang_up.clone()), hook(None, vec![])],
            ..AgentConfig::default()
        };
        let said = |role: &str| json!({ "message": { "role": role, "content": "" } });
        let failed = 1;
        assert_eq!(matched(&agent, EventName::MessageSent, &said("user")), (vec![0, 1], false, failed, true));
        assert_eq!(matched(&agent, EventName::MessageSent, &said("agent")), (vec![0], false, failed, true));
        let second = |number: u64| matched(&agent, EventName::Duration, &json!({ "duration": number }));
        assert_eq!(second(1), (vec![0], false, 0, true));
        assert_eq!(second(2), (vec![0, 2], true, 0, true));
        assert_eq!(matched(&agent, EventName::Started, &Value::Null), (vec![], false, 0, true));
    }

    #[test]
    fn a_second_that_concerns_nobody_is_not_stored() {
        let seconds = |webhook: Option<Webhook>, hook: Option<Hook>| {
            let agent = AgentConfig {
                webhooks: webhook.into_iter().collect(),
                hooks: hook.into_iter().collect(),
                ..AgentConfig::default()
            };
            [1, 2].map(|number| matched(&agent, EventName::Duration, &json!({ "duration": number })).3)
        };
        assert_eq!(seconds(None, None), [false, false]);
        assert_eq!(seconds(Some(webhook(None)), None), [true, true]);
        assert_eq!(seconds(Some(webhook(Some("duration == 2"))), None), [false, true]);
        assert_eq!(
            seconds(None, Some(hook(Some("duration == 2"), vec![Instruction::HangUp]))),
            [false, true]
        );
        assert_eq!(seconds(None, Some(hook(None, vec![]))), [false, false], "a hook that does nothing");
    }

    #[test]
    fn every_name_is_written_as_it_is_serialized() {
        for name in EventName::ALL {
            assert_eq!(serde_json::to_value(name).unwrap(), name.as_str());
        }
    }
}
