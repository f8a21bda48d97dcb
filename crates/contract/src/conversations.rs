//! Conversations: the body that asks for a call, the choice of an agent, and the view of a conversation.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use switchboard_model::{
    agents::AgentConfig,
    conversations::{Conversation, ConversationType, EndedReason, PhoneCallView, Quality, Snapshot, Status},
    costs::{CharacterCost, CostBreakdown, ServedCost, TimedCost, TokenCost},
    egress_policy::EgressPolicy,
    ids::{AccountId, AgentId, ConversationId},
    messages::Message,
    phone_numbers::E164,
    time::Timestamp,
};

use crate::{
    agents::{self, AgentConfigSchema},
    declaration::{Members, Record, Schemas, types},
    references::{Checked, References},
    validation::Read,
};

/// The body of `POST /conversations/create_phone_call`.
#[derive(Debug, Clone, PartialEq)]
pub struct CreatePhoneCall {
    /// The number of the account that calls.
    pub from_number: E164,
    /// The number to call.
    pub to_number: E164,
    /// The source of the agent's configuration.
    pub agent: ChosenAgent,
}

/// The source of the configuration of a conversation's agent.
#[derive(Debug, Clone, PartialEq)]
pub enum ChosenAgent {
    /// It came with the request. A stored agent that was named too must exist, but is not used.
    Given(Box<AgentConfig>),
    /// It is the stored agent's.
    Stored(AgentId),
}

/// The answer of a phone number's webhook about an inbound call.
#[derive(Debug, Clone, PartialEq)]
pub enum NumberChoice {
    /// This agent takes the call.
    Agent(ChosenAgent),
    /// The call is rejected.
    Reject,
    /// It chooses nothing.
    None,
}

impl NumberChoice {
    /// Reads the answer.
    #[must_use]
    pub fn read(answer: &Value, egress_policy: EgressPolicy) -> Checked<Self> {
        Checked::body(answer, |field, references| {
            if field.value().is_null() {
                return Ok(Self::None);
            }
            let members = |members: &mut Members<'_>| {
                let rejects = members.optional("reject", types::boolean(), "Whether the call is rejected.");
                let agent = ChosenAgent::members(members, egress_policy, references);
                Ok(match (rejects?, agent?) {
                    (Some(true), _) => Self::Reject,
                    (_, Some(agent)) => Self::Agent(agent),
                    (_, None) => Self::None,
                })
            };
            Record::new("NumberChoice", "", members).read(field)
        })
    }
}

impl ChosenAgent {
    pub(crate) fn members(
        members: &mut Members<'_>,
        egress_policy: EgressPolicy,
        references: &References,
    ) -> Read<Option<Self>> {
        let agent_id = members.optional(
            "agent_id",
            references.agent(),
            "A stored agent; it must exist even when a configuration is given too.",
        );
        let agent_config = members.optional(
            "agent_config",
            agents::agent_config(egress_policy, references),
            "The configuration of the agent.",
        );
        Ok(match (agent_id?, agent_config?) {
            (_, Some(config)) => Some(Self::Given(Box::new(config))),
            (Some(id), None) => Some(Self::Stored(id)),
            (None, None) => None,
        })
    }
}

impl CreatePhoneCall {
    /// Reads the body. The number, the agent and the credentials that it names are to be looked up, whatever else
    /// is wrong.
    #[must_use]
    pub fn read(body: &Value, egress_policy: EgressPolicy) -> Checked<Self> {
        Checked::body(body, |field, references| Self::record(egress_policy, references).read(field))
    }

    /// The schema of the body.
    pub fn schema(schemas: &mut Schemas) -> Value {
        schemas.input(&Self::record(EgressPolicy::PublicOnly, &References::default()))
    }

    fn record(egress_policy: EgressPolicy, references: &References) -> Record<'_, Self> {
        let about = "A call to place. Its agent has the configuration of the request, or else that of the stored \
                     agent; one of them must be given.";
        Record::new("CreatePhoneCall", about, move |members| {
            let from_number = members.required(
                "from_number",
                references.phone_number(),
                "The caller's number: one of the account's.",
            );
            let to_number = members.required(
                "to_number",
                references.destination(),
                "The number to call, in a country that the account may call.",
            );
            let agent = match ChosenAgent::members(members, egress_policy, references)? {
                Some(agent) => Ok(agent),
                None => {
                    members.reject("agent_config", "missing", "Either agent_config or agent_id is required")
                }
            };
            Ok(Self { from_number: from_number?, to_number: to_number?, agent: agent? })
        })
    }
}

/// A conversation.
#[derive(Serialize, JsonSchema)]
pub struct ConversationView {
    /// Its id, such as `cnv_01JD...`.
    pub id: ConversationId,
    /// The URL of this conversation.
    pub uri: String,
    /// The account that owns it.
    pub account_id: AccountId,
    /// The origin of the conversation.
    #[serde(rename = "type")]
    pub kind: ConversationType,
    /// Its status.
    pub status: Status,
    /// The time of the request for it.
    pub created_at: Timestamp,
    /// The time at which media began to flow; null before.
    pub started_at: Option<Timestamp>,
    /// The time of its end; null before.
    pub ended_at: Option<Timestamp>,
    /// The reason of its end; null before.
    pub ended_reason: Option<EndedReason>,
    /// The stored agent that was named; null if the configuration came with the request.
    pub agent_id: Option<AgentId>,
    /// The configuration of the agent: a snapshot, with every default filled in.
    #[schemars(with = "AgentConfigSchema")]
    pub agent_config: AgentConfig,
    /// The messages, in order; null in lists.
    pub messages: Option<Vec<Message>>,
    /// The telephone call; null on the web.
    pub phone_call: Option<PhoneCallView>,
    /// The cost; null before the end.
    pub cost_breakdown: Option<CostView>,
    /// The turn-taking; null before the end, of a conversation that never started, and if its worker was lost.
    pub quality: Option<Quality>,
}

/// The cost of a conversation, in USD.
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
    /// The models and voices that served, also those that stood in for others, each with its cost.
    pub served_by: Vec<ServedCostView>,
}

/// The cost of one model or voice.
#[derive(Serialize, JsonSchema)]
pub struct ServedCostView {
    /// `language_model`, `transcriber` or `voice`.
    pub role: &'static str,
    /// The provider that served.
    pub provider: String,
    /// The provider's name of the model or voice; empty if it has only one.
    pub model: String,
    /// USD; 0 with the customer's own key.
    pub cost: f64,
    /// Whether its price is not known, or its usage was not reported.
    pub estimated: bool,
}

/// A cost by time.
#[derive(Serialize, JsonSchema)]
pub struct TimedCostView {
    /// The provider that served; of several, the one that served most.
    pub provider: String,
    /// USD; 0 with the customer's own key.
    pub cost: f64,
    /// Duration, in seconds.
    pub seconds: f64,
    /// Whether a price in the cost is not known, or a usage was not reported by the provider.
    pub estimated: bool,
}

/// A cost by tokens.
#[derive(Serialize, JsonSchema)]
pub struct TokenCostView {
    /// The provider that served; of several, the one that served most.
    pub provider: String,
    /// USD; 0 with the customer's own key.
    pub cost: f64,
    /// Tokens that the model read.
    pub input_tokens: u64,
    /// Tokens that the model wrote.
    pub output_tokens: u64,
    /// Whether a price in the cost is not known, or a usage was not reported by the provider.
    pub estimated: bool,
}

/// A cost by characters.
#[derive(Serialize, JsonSchema)]
pub struct CharacterCostView {
    /// The provider that served; of several, the one that served most.
    pub provider: String,
    /// USD; 0 with the customer's own key.
    pub cost: f64,
    /// Characters that were synthesized.
    pub characters: u64,
    /// Whether a price in the cost is not known, or a usage was not reported by the provider.
    pub estimated: bool,
}

/// A link to a recording.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Recording")]
pub struct RecordingView {
    /// A stereo WAV (caller left, agent right); the link works for an hour.
    pub recording_url: String,
}

impl ConversationView {
    /// Combines the stored parts. `public_url` is the API's, without a slash at the end. A view in a list has no
    /// messages.
    pub fn new(public_url: &str, snapshot: Snapshot, messages: Option<Vec<Message>>) -> Self {
        let Snapshot { conversation, agent } = snapshot;
        let ended = conversation.ended().map(|(at, reason, cost)| (at, reason, CostView::new(cost)));
        let (ended_at, ended_reason, cost_breakdown) = match ended {
            Some((at, reason, cost)) => (Some(at), Some(reason), Some(cost)),
            None => (None, None, None),
        };
        let (status, started_at) = (conversation.status(), conversation.started_at());
        let quality = conversation.quality().cloned();
        let Conversation { id, account_id, kind, agent_id, created_at, legs, .. } = conversation;
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
            phone_call: legs.caller().phone_call.as_ref().map(PhoneCallView::from),
            cost_breakdown,
            quality,
        }
    }

    /// The view without the headers of webhooks: they may hold secrets, which other receivers must not see.
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
        let CostBreakdown { total, agent, language_model, transcriber, voice, telephony, served_by } = cost;
        let TokenCost { provider, cost, input_tokens, output_tokens, estimated } = language_model;
        let language_model = TokenCostView {
            provider: provider.clone(),
            cost: cost.to_f64(),
            input_tokens: *input_tokens,
            output_tokens: *output_tokens,
            estimated: *estimated,
        };
        let CharacterCost { provider, cost, characters, estimated } = voice;
        Self {
            total: total.to_f64(),
            agent: TimedCostView::new(agent),
            language_model,
            transcriber: TimedCostView::new(transcriber),
            voice: CharacterCostView {
                provider: provider.clone(),
                cost: cost.to_f64(),
                characters: *characters,
                estimated: *estimated,
            },
            telephony: telephony.as_ref().map(TimedCostView::new),
            served_by: served_by.iter().map(ServedCostView::new).collect(),
        }
    }
}

impl ServedCostView {
    fn new(served: &ServedCost) -> Self {
        let ServedCost { role, provider, model, cost, estimated } = served;
        Self {
            role: role.as_str(),
            provider: provider.clone(),
            model: model.clone(),
            cost: cost.to_f64(),
            estimated: *estimated,
        }
    }
}

impl TimedCostView {
    #[expect(clippy::cast_precision_loss, reason = "2^52 ms are longer than any conversation")]
    fn new(TimedCost { provider, cost, ms, estimated }: &TimedCost) -> Self {
        Self {
            provider: provider.clone(),
            cost: cost.to_f64(),
            seconds: *ms as f64 / 1_000.0,
            estimated: *estimated,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::validation::LocStep;

    fn read(body: &Value) -> (Option<CreatePhoneCall>, Vec<String>, usize) {
        let Checked { value, references, errors } = CreatePhoneCall::read(body, EgressPolicy::PublicOnly);
        let errors = errors.into_iter().map(|error| {
            let loc: Vec<_> = error
                .loc
                .iter()
                .map(|step| match step {
                    LocStep::Field(name) => name.clone(),
                    LocStep::Index(index) => index.to_string(),
                })
                .collect();
            format!("{} {}", loc.join("."), error.kind)
        });
        (value, errors.collect(), references.len())
    }

    const FROM: &str = "+14155550199";
    const TO: &str = "+14155550100";
    const AGENT: &str = "agt_01JD9XQ4T0000000000000000A";

    #[test]
    fn a_body_is_accepted_or_every_wrong_field_is_named() {
        for (body, errors) in [
            (json!({ "from_number": FROM, "to_number": TO, "agent_config": {} }), vec![]),
            (json!({ "from_number": FROM, "to_number": TO, "agent_id": AGENT }), vec![]),
            (json!({ "from_number": FROM, "to_number": TO, "agent_id": AGENT, "agent_config": {} }), vec![]),
            (json!({ "from_number": FROM, "to_number": TO, "agent_id": null, "agent_config": {} }), vec![]),
            (
                json!({ "from_number": FROM, "to_number": TO, "agent_id": AGENT, "agent_config": null }),
                vec![],
            ),
            (json!({ "from_number": FROM, "to_number": TO, "agent_config": {}, "unknown": 1 }), vec![]),
            (json!({ "from_number": FROM, "to_number": TO }), vec!["body.agent_config missing"]),
            (
                json!({ "from_number": FROM, "to_number": TO, "agent_id": null, "agent_config": null }),
                vec!["body.agent_config missing"],
            ),
            (
                json!({ "from_number": FROM, "to_number": TO, "agent_config": [] }),
                vec!["body.agent_config model_attributes_type"],
            ),
            (
                json!({ "from_number": FROM, "to_number": TO, "agent_id": "agt_1" }),
                vec!["body.agent_id not_found"],
            ),
            (
                json!({ "from_number": FROM, "to_number": TO, "agent_id": 7 }),
                vec!["body.agent_id string_type"],
            ),
            (
                json!({ "from_number": FROM, "to_number": TO, "agent_id": "x", "agent_config": {} }),
                vec!["body.agent_id not_found"],
            ),
            (json!({ "agent_config": {} }), vec!["body.from_number missing", "body.to_number missing"]),
            (
                json!({ "from_number": null, "to_number": 14_155_550_100_u64, "agent_config": {} }),
                vec!["body.from_number string_type", "body.to_number string_type"],
            ),
            (
                json!({ "from_number": "4155550199", "to_number": "+0", "agent_config": {} }),
                vec!["body.from_number value_error", "body.to_number value_error"],
            ),
            (
                json!({}),
                vec!["body.from_number missing", "body.to_number missing", "body.agent_config missing"],
            ),
            (json!([]), vec!["body model_attributes_type"]),
            (json!(null), vec!["body model_attributes_type"]),
            (json!("text"), vec!["body model_attributes_type"]),
        ] {
            let (call, found, _) = read(&body);
            assert_eq!(found, errors, "{body}");
            assert_eq!(call.is_some(), errors.is_empty(), "{body}");
        }
    }

    #[test]
    fn a_webhook_chooses_an_agent_or_none_or_rejects() {
        let chosen = |answer: &Value| {
            let read = NumberChoice::read(answer, EgressPolicy::PublicOnly);
            (read.value, read.references.len())
        };
        for none in [
            json!(null),
            json!({}),
            json!({ "agent_id": null }),
            json!({ "unknown": 1 }),
            json!({ "reject": false }),
        ] {
            assert_eq!(chosen(&none), (Some(NumberChoice::None), 0), "{none}");
        }
        let stored = NumberChoice::Agent(ChosenAgent::Stored(AGENT.parse().unwrap()));
        assert_eq!(chosen(&json!({ "agent_id": AGENT })), (Some(stored), 1));
        let given = NumberChoice::Agent(ChosenAgent::Given(Box::default()));
        assert_eq!(chosen(&json!({ "agent_config": {} })), (Some(given), 0));
        assert_eq!(chosen(&json!({ "reject": true })), (Some(NumberChoice::Reject), 0));
        for bad in [
            json!([]),
            json!("text"),
            json!({ "agent_id": 7 }),
            json!({ "agent_config": [] }),
            json!({ "reject": "yes" }),
        ] {
            assert_eq!(chosen(&bad).0, None, "{bad}");
        }
    }

    #[test]
    fn a_given_configuration_wins_over_the_stored_agent() {
        let both = json!({ "from_number": FROM, "to_number": TO, "agent_id": AGENT, "agent_config": {} });
        assert_eq!(read(&both).0.unwrap().agent, ChosenAgent::Given(Box::default()));
        let stored = json!({ "from_number": FROM, "to_number": TO, "agent_id": AGENT });
        assert_eq!(read(&stored).0.unwrap().agent, ChosenAgent::Stored(AGENT.parse().unwrap()));
    }

    #[test]
    fn references_are_collected_beside_wrong_fields() {
        let body = json!({
            "from_number": FROM,
            "to_number": "nonsense",
            "agent_id": AGENT,
            "agent_config": {
                "prompt": 1,
                "voice": { "provider": "nobody", "credential_id": "crd_01JD9XQ4T0000000000000000A" },
            },
        });
        let (call, errors, references) = read(&body);
        assert_eq!((call.is_none(), errors.len(), references), (true, 3, 3));
    }
}
