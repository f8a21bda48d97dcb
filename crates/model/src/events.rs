//! The events of a conversation, and the webhooks and hooks that receive them.
//!
//! This module does not know conversations: [`EventContext`] holds the little that matching needs of one.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use switchboard_filters::{Filter, FilterFailure, Lazy, Variables};

use crate::{
    deliveries::Attempt,
    event_names::EventName,
    hooks::{Hook, Instruction},
    ids::EventId,
    time::Timestamp,
    webhooks::{Webhook, WebhookMethod},
};

/// An event, stored in the same write as the transition that caused it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Its id, derived from the conversation and the sequence.
    pub id: EventId,
    /// Its name.
    #[serde(rename = "event")]
    pub name: EventName,
    /// Its number in the conversation, from 1, without gaps.
    pub sequence: u64,
    /// The time at which it happened.
    pub created_at: Timestamp,
    /// Its data, as the API's table of events defines it; null where the table has none.
    pub data: Value,
    /// The positions, in the agent's list, of the webhooks that it is delivered to.
    pub webhooks: Vec<usize>,
    /// The position of the webhook that the worker calls itself, for its response: the first that receives a
    /// `function_call:triggered`. It is not among `webhooks`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub synchronous: Option<usize>,
    /// The calls of the phone number's webhooks, which chose an agent for an inbound call. For the event log only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub number_webhook_calls: Vec<NumberWebhookCall>,
    /// Provider faults before the event, and filters that failed on it. For the event log only; never delivered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<String>,
}

/// The call of a phone number's webhook about an inbound call, before the event is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NumberWebhookCall {
    /// The webhook's position in the number's list, from 0.
    pub webhook: usize,
    /// The URL.
    pub url: String,
    /// The method.
    pub method: WebhookMethod,
    /// The attempt.
    pub attempt: Attempt,
}

/// An event that is about to be stored, and everything that decides which webhooks and hooks receive it.
#[derive(Clone, Copy)]
pub struct EventContext<'a> {
    /// The event's name.
    pub name: EventName,
    /// The event's data.
    pub data: &'a Value,
    /// The agent's webhooks.
    pub webhooks: &'a [Webhook],
    /// The agent's hooks.
    pub hooks: &'a [Hook],
    /// Builds the summary of the conversation after the change. Matching calls it once, when the first filter reads it.
    pub summary: &'a dyn Fn() -> Value,
    /// The owners of the filters that failed earlier in the conversation, such as `webhooks.0`.
    pub failed_filters: &'a BTreeSet<String>,
}

/// The webhooks and hooks that an event triggers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recipients {
    /// The positions of the webhooks that receive it in the agent's list.
    pub webhooks: Vec<usize>,
    /// Whether a hook hangs up.
    pub hangs_up: bool,
    /// Filters that failed for the first time in the conversation.
    pub failures: Vec<FailedFilter>,
}

/// A filter that failed. It does not match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedFilter {
    /// The webhook or hook that the filter belongs to, such as `webhooks.0`.
    pub owner: String,
    /// The fault for the event log.
    pub fault: String,
}

impl Recipients {
    /// Whether the event is stored. A `conversation:duration` without recipients and failures is not.
    #[must_use]
    pub fn stores(&self, name: EventName) -> bool {
        name != EventName::Duration || *self != Self::default()
    }
}

/// Maximum number of steps of all filters of one event together: some 0.6 ms, on the core that carries the calls' audio.
const MAX_STEPS: usize = 20_000;
/// Marks the owner of a filter that took too many steps: it is off for the rest of the conversation.
const OFF: &str = ".off";

/// Matches an event against the webhooks and hooks of an agent.
#[must_use]
pub fn recipients(context: &EventContext<'_>) -> Recipients {
    let EventContext { name, data, webhooks, hooks, summary, failed_filters } = *context;
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
        conversation: Lazy::new(summary),
    };
    // Each filter has an equal share of the steps that are left, so that none is blamed for another.
    let filters =
        webhooks.iter().filter(|webhook| webhook.events.contains(&name)).map(|webhook| &webhook.filter);
    let filters =
        filters.chain(hooks.iter().filter(|hook| hook.events.contains(&name)).map(|hook| &hook.filter));
    let (mut filters, mut steps) = (filters.flatten().count(), MAX_STEPS);
    let mut failures = vec![];
    let mut holds = |filter: Option<&Filter>, owner: &str, position: usize| {
        let Some(filter) = filter else { return true };
        let share = steps / filters.max(1);
        filters = filters.saturating_sub(1);
        let owner = format!("{owner}.{position}");
        let off = format!("{owner}{OFF}");
        if failed_filters.contains(&off) {
            return false;
        }
        let (matches, taken) = filter.matches_within(&variables, share);
        steps -= taken.min(steps);
        match matches {
            Ok(matches) => matches,
            Err(FilterFailure::TooLong) => {
                let fault = format!(
                    "{owner}.filter took too many steps, and is off for the rest of the conversation"
                );
                failures.push(FailedFilter { owner: off, fault });
                false
            }
            Err(failure) => {
                if !failed_filters.contains(&owner) {
                    let fault = format!("{owner}.filter failed and did not match: {failure}");
                    failures.push(FailedFilter { owner, fault });
                }
                false
            }
        }
    };
    let mut matched = vec![];
    for (position, webhook) in webhooks.iter().enumerate() {
        if webhook.events.contains(&name) && holds(webhook.filter.as_ref(), "webhooks", position) {
            matched.push(position);
        }
    }
    let mut hangs_up = false;
    for (position, hook) in hooks.iter().enumerate() {
        let can_hang_up = hook.events.contains(&name) && hook.instructions.contains(&Instruction::HangUp);
        hangs_up |= can_hang_up && holds(hook.filter.as_ref(), "hooks", position);
    }
    Recipients { webhooks: matched, hangs_up, failures }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

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

    fn matched(webhooks: &[Webhook], hooks: &[Hook], name: EventName, data: &Value) -> Recipients {
        let summary = || json!({ "metadata": { "plan": "gold" } });
        let failed_filters = &BTreeSet::new();
        recipients(&EventContext { name, data, webhooks, hooks, summary: &summary, failed_filters })
    }

    #[test]
    fn an_event_goes_to_those_that_name_it_and_whose_filter_matches() {
        let filters = [None, Some("message.role == 'user'"), Some("duration == 2"), Some("event == 'a'")];
        let webhooks = filters.map(webhook);
        let hooks = [hook(Some("duration >= 2"), vec![Instruction::HangUp]), hook(None, vec![])];
        let said = |role: &str| json!({ "message": { "role": role, "content": "" } });
        let check = |name, data: &Value, expected: (&[usize], bool, usize)| {
            let found = matched(&webhooks, &hooks, name, data);
            assert_eq!((&*found.webhooks, found.hangs_up, found.failures.len()), expected, "{data}");
            assert!(found.stores(name), "{data}");
        };
        check(EventName::MessageSent, &said("user"), (&[0, 1], false, 1));
        check(EventName::MessageSent, &said("agent"), (&[0], false, 1));
        check(EventName::Duration, &json!({ "duration": 1 }), (&[0], false, 0));
        check(EventName::Duration, &json!({ "duration": 2 }), (&[0, 2], true, 0));
        check(EventName::Started, &Value::Null, (&[], false, 0));
    }

    #[test]
    fn a_filter_reads_the_summary_and_its_failure_is_reported_once() {
        let webhooks = [webhook(Some("metadata.plan == 'gold'")), webhook(Some("duration >= 2"))];
        let first = matched(&webhooks, &[], EventName::MessageSent, &Value::Null);
        assert_eq!(first.webhooks, [0]);
        let owners: Vec<&str> = first.failures.iter().map(|failure| &*failure.owner).collect();
        assert_eq!(owners, ["webhooks.1"]);
        let again = recipients(&EventContext {
            name: EventName::MessageSent,
            data: &Value::Null,
            webhooks: &webhooks[1..],
            hooks: &[],
            summary: &|| unreachable!("no filter reads it"),
            failed_filters: &BTreeSet::from(["webhooks.0".to_owned()]),
        });
        assert_eq!(again, Recipients::default());
    }

    #[test]
    fn filters_share_a_budget_and_the_one_that_exceeds_it_is_off() {
        let hungry = "message.content.matches('a+b')".to_owned();
        let webhooks: Vec<_> = (0..19)
            .map(|_| webhook(Some(&hungry)))
            .chain([webhook(Some("message.role == 'user'"))])
            .collect();
        let data = json!({ "message": { "role": "user", "content": "a".repeat(20_000) } });
        let first = matched(&webhooks, &[], EventName::MessageSent, &data);
        assert_eq!(first.webhooks, [19], "a cheap filter has its share");
        assert_eq!(first.failures.len(), 19);
        assert!(first.failures[0].fault.starts_with("webhooks.0.filter took too many steps"));
        let failed_filters = &first.failures.into_iter().map(|failure| failure.owner).collect();
        let name = EventName::MessageSent;
        let summary = || Value::Null;
        let context = EventContext {
            name,
            data: &data,
            webhooks: &webhooks,
            hooks: &[],
            summary: &summary,
            failed_filters,
        };
        let again = recipients(&context);
        assert_eq!((again.webhooks, again.failures), (vec![19], vec![]), "recorded once");
    }

    #[test]
    fn a_duration_event_without_recipients_is_not_stored() {
        let seconds = |webhook: Option<Webhook>, hook: Option<Hook>| {
            [1, 2].map(|number| {
                let data = json!({ "duration": number });
                let found = matched(webhook.as_slice(), hook.as_slice(), EventName::Duration, &data);
                found.stores(EventName::Duration)
            })
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
}
