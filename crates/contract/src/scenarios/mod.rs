//! A conversation that has ended as a scenario of `switchboard test`, whose format is in `docs/test-calls.md`: the caller's
//! acts with their relations in time, the model's replies as rules, the answers of tools, and the heard words as the
//! expected ones.
//!
//! Pure: [`ScenarioView::of`] reads what is stored. `caller` finds the acts, `model` the rules.

mod caller;
mod model;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};
use switchboard_model::{
    conversations::{EndedReason, Snapshot},
    event_names::EventName,
    messages::{Message, MessageKind, Role},
};

pub use self::{
    caller::{ActView, AfterView, CallerView, SoundView},
    model::{FunctionCallView, ModelScriptView, RuleView},
};
use crate::{agents::AgentConfigSchema, events::EventView};

/// The expected part of an interrupted message: a repeated call cuts it a word earlier or later.
const SURE_PART: usize = 2;

/// A scenario: a file for `switchboard test`.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "Scenario")]
pub struct ScenarioView {
    /// A sentence that names the conversation.
    pub about: String,
    /// The agent's configuration, without its webhooks and credentials.
    #[schemars(with = "AgentConfigSchema")]
    pub agent_config: Value,
    /// The script of the language model.
    pub model: ModelScriptView,
    /// The answers of the functions that webhooks answered, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tools: BTreeMap<String, ToolView>,
    /// The script of the caller.
    pub caller: CallerView,
    /// The end over the API or by the longest duration, in milliseconds since the start of media; absent otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_after_ms: Option<u64>,
    /// The expected outcome: the one that was observed.
    pub expect: ExpectedView,
}

/// The answer of a function.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "ScenarioTool")]
pub struct ToolView {
    /// The body of the answer; the log keeps its first KiB.
    pub answer: Value,
    /// The time until the answer.
    pub after_ms: u64,
    /// The status of the answer.
    pub status: u16,
}

/// The expected outcome.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "ScenarioExpectations")]
pub struct ExpectedView {
    /// The messages in their order, without hold phrases and apologies, which depend on the speed of the machine.
    pub messages: Vec<ExpectedMessageView>,
    /// The functions that are called, in their order.
    pub functions: Vec<String>,
    /// The reason of the end.
    pub ended: EndedReason,
}

/// An expected message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "ScenarioMessage")]
pub struct ExpectedMessageView {
    /// The speaker.
    pub role: Role,
    /// All words of the message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is: Option<String>,
    /// Words that occur in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub says: Option<String>,
    /// Whether the agent was cut off; absent for the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interrupted: Option<bool>,
}

/// The reason why a conversation is no scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoScenario {
    /// It has not ended.
    #[error("Only a conversation that has ended is a scenario: end it first")]
    NotEnded,
    /// Its call was not taken.
    #[error("The conversation never started: there is nothing to repeat")]
    NotStarted,
}

impl ScenarioView {
    /// The scenario of a conversation with all its messages and events, both in their order.
    ///
    /// # Errors
    /// The conversation is none.
    pub fn of(snapshot: &Snapshot, messages: &[Message], events: &[EventView]) -> Result<Self, NoScenario> {
        let conversation = &snapshot.conversation;
        let (ended_at, ended, _) = conversation.ended().ok_or(NoScenario::NotEnded)?;
        let started_at = conversation.started_at().ok_or(NoScenario::NotStarted)?;
        let answered_at = conversation.answered_at().unwrap_or(started_at);
        let turns = model::turns(events);
        let phone_call = conversation.legs.caller().phone_call.as_ref();
        let answered_by = phone_call.and_then(|call| call.answered_by.as_deref());
        let mut caller = caller::script(messages, events, answered_at);
        caller.machine = answered_by.is_some_and(|verdict| verdict.starts_with("machine"));
        if ended == EndedReason::UserEnded {
            caller.hang_up(messages, answered_at, ended_at);
        }
        let by_model = turns.last().is_some_and(model::Turn::has_calls);
        let end = ended_at.since(started_at).as_millis();
        let end_after_ms =
            (ended == EndedReason::AgentEnded && !by_model).then(|| u64::try_from(end).unwrap_or(u64::MAX));
        Ok(Self {
            about: format!("conversation {} of {}", conversation.id, conversation.created_at),
            agent_config: agent_config(snapshot),
            model: model::script(&turns),
            tools: tools(events),
            caller,
            end_after_ms,
            expect: ExpectedView {
                messages: messages.iter().filter_map(expected).collect(),
                functions: functions(events).map(|(name, _)| name.to_owned()).collect(),
                ended,
            },
        })
    }
}

/// The configuration without the parts that belong to the account: a repeated call must not reach its webhooks, and
/// another account has other keys.
fn agent_config(snapshot: &Snapshot) -> Value {
    let mut config = json!(snapshot.agent);
    config["webhooks"] = json!([]);
    for block in ["voice", "language_model", "transcriber"] {
        if let Some(block) = config[block].as_object_mut() {
            block.remove("credential_id");
        }
    }
    config
}

/// The called functions: each name, and its event.
fn functions(events: &[EventView]) -> impl Iterator<Item = (&str, &EventView)> {
    let called = events.iter().filter(|event| event.event == EventName::FunctionCallTriggered);
    called.filter_map(|event| Some((event.data["function"]["name"].as_str()?, event)))
}

/// The answers of the functions that a webhook answered. A scenario has one for each name: the last.
fn tools(events: &[EventView]) -> BTreeMap<String, ToolView> {
    let answered = functions(events).filter_map(|(name, event)| {
        let attempt = event.deliveries.first()?.attempts.last()?;
        let text = attempt.answer.as_deref().unwrap_or_default();
        let answer = serde_json::from_str(text).unwrap_or_else(|_| json!(text));
        let tool = ToolView { answer, after_ms: attempt.latency_ms, status: attempt.status? };
        Some((name.to_owned(), tool))
    });
    answered.collect()
}

/// A message as it is expected again; none for one that depends on the speed of the machine.
fn expected(message: &Message) -> Option<ExpectedMessageView> {
    if message.kind != MessageKind::Speech {
        return None;
    }
    let Message { role, content, interrupted, .. } = message;
    let (mut is, mut says) = (None, None);
    match (role, interrupted) {
        (Role::User, _) => says = Some(content.clone()),
        (Role::Agent, false) => is = Some(content.clone()),
        (Role::Agent, true) => {
            let words: Vec<_> = content.split_whitespace().collect();
            let sure = words.len() / SURE_PART;
            says = (sure > 0).then(|| words[..sure].join(" "));
        }
    }
    Some(ExpectedMessageView {
        role: *role,
        is,
        says,
        interrupted: (*role == Role::Agent).then_some(*interrupted),
    })
}

#[cfg(test)]
pub(crate) mod testing {
    use switchboard_model::{
        ids::EventId,
        messages::{Message, MessageKind, Role},
        time::Timestamp,
    };

    use super::*;

    fn message(role: Role, from: i64, until: i64, content: &str) -> Message {
        Message {
            role,
            content: content.to_owned(),
            kind: MessageKind::Speech,
            started_at: Timestamp::from_millis(from),
            ended_at: Timestamp::from_millis(until),
            interrupted: false,
        }
    }

    pub(crate) fn agent(from: i64, until: i64, content: &str) -> Message {
        message(Role::Agent, from, until, content)
    }

    pub(crate) fn user(from: i64, until: i64, content: &str) -> Message {
        message(Role::User, from, until, content)
    }

    pub(crate) fn event(at: i64, event: EventName, data: Value) -> EventView {
        let created_at = Timestamp::from_millis(at);
        let id = EventId::of(switchboard_model::ids::ConversationId::new(created_at, 1), 1, created_at);
        EventView { id, event, sequence: 1, created_at, data, notes: vec![], deliveries: vec![] }
    }
}

#[cfg(test)]
mod tests {
    use switchboard_model::{
        agents::{AgentConfig, Voice},
        conversations::{Conversation, LegId},
        costs::{Prices, Usage},
        deliveries::{Attempt, DeliveryStatus},
        ids::{AccountId, ConversationId, CredentialId},
        time::Timestamp,
        webhooks::WebhookMethod,
    };

    use super::{testing::*, *};
    use crate::events::DeliveryView;

    /// A web call that started at 1 s; `end` says why it ended at 30 s.
    fn snapshot(agent: AgentConfig, end: Option<EndedReason>) -> Snapshot {
        let at = Timestamp::from_millis;
        let (account, id) = (AccountId::new(at(0), 1), ConversationId::new(at(0), 2));
        let mut conversation = Conversation::web(id, account, None, "0".repeat(64), at(0));
        conversation = conversation
            .mark_web_admitted(LegId::CALLER, &agent, "1".repeat(64), at(1_000))
            .unwrap()
            .conversation;
        if let Some(reason) = end {
            let prices = Prices { agent_per_minute: "0.06".parse().unwrap() };
            let ended = conversation.end(&agent, reason, &[], &Usage::default(), &prices, at(30_000));
            conversation = ended.unwrap().conversation;
        }
        Snapshot { conversation, agent }
    }

    #[test]
    fn a_call_is_exported_with_its_outcome_as_the_expected_one() {
        let mut cut = agent(5_000, 6_000, "On Saturday we");
        cut.interrupted = true;
        let mut hold = agent(8_000, 8_500, "One moment, please.");
        hold.kind = MessageKind::HoldPhrase;
        let messages = [agent(1_100, 2_000, "Hello."), user(3_500, 4_000, "When?"), cut, hold];
        let asked = event(
            4_100,
            EventName::MessageSent,
            json!({ "message": { "role": "user", "content": "When?" } }),
        );
        let said = event(
            4_900,
            EventName::MessageGenerated,
            json!({ "message": { "content": "On Saturday we close." } }),
        );
        let mut called = event(
            5_000,
            EventName::FunctionCallTriggered,
            json!({ "function": { "name": "hours", "arguments": { "day": 6 } } }),
        );
        let attempt = Attempt {
            at: Timestamp::from_millis(5_000),
            status: Some(200),
            latency_ms: 300,
            answer: Some("{\"until\": 6}".into()),
        };
        called.deliveries.push(DeliveryView {
            webhook: 0,
            phone_number: false,
            url: "https://example.com".into(),
            method: WebhookMethod::Post,
            status: DeliveryStatus::Delivered,
            next_attempt_at: None,
            attempts: vec![attempt],
        });
        let credential_id = Some(CredentialId::new(Timestamp::from_millis(0), 1));
        let voice = Voice::Deepgram { model: "aura-2-thalia-en".into(), credential_id };
        let config = AgentConfig { voice, ..AgentConfig::default() };
        let snapshot = snapshot(config, Some(EndedReason::UserEnded));
        let scenario = json!(ScenarioView::of(&snapshot, &messages, &[asked, said, called]).unwrap());
        assert_eq!(
            scenario["tools"],
            json!({ "hours": { "answer": { "until": 6 }, "after_ms": 300, "status": 200 } })
        );
        assert_eq!(
            scenario["expect"],
            json!({
                "messages": [
                    { "role": "agent", "is": "Hello.", "interrupted": false },
                    { "role": "user", "says": "When?" },
                    { "role": "agent", "says": "On", "interrupted": true },
                ],
                "functions": ["hours"],
                "ended": "user_ended",
            })
        );
        assert_eq!(scenario["caller"]["acts"][1]["hang_up"], true);
        assert_eq!(
            scenario["agent_config"]["voice"],
            json!({ "provider": "deepgram", "model": "aura-2-thalia-en" })
        );
        assert_eq!(scenario["model"]["rules"][0]["calls"][0]["arguments"], json!({ "day": 6 }));
        assert_eq!(scenario.get("end_after_ms"), None);
    }

    #[test]
    fn an_end_that_the_model_did_not_ask_for_is_requested_again() {
        let snapshot = snapshot(AgentConfig::default(), Some(EndedReason::AgentEnded));
        let scenario = ScenarioView::of(&snapshot, &[agent(1_100, 2_000, "Hello.")], &[]).unwrap();
        assert_eq!(scenario.end_after_ms, Some(29_000));
    }

    #[test]
    fn a_live_call_is_no_scenario() {
        let live = ScenarioView::of(&snapshot(AgentConfig::default(), None), &[], &[]);
        assert_eq!(live.err(), Some(NoScenario::NotEnded));
    }
}
