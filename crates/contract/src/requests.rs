//! What the API's clients send, read and checked as a whole.

use crate::agents;
use crate::validation::{Field, Object, Read, Reference};
use switchboard_model::{
    agents::AgentConfig, egress_policy::EgressPolicy, ids::AgentId, phone_numbers::E164,
};

/// The body of `POST /conversations/create_phone_call`.
#[derive(Debug, Clone, PartialEq)]
pub struct CreatePhoneCall {
    /// The account's number that calls.
    pub from_number: E164,
    /// Who is called.
    pub to_number: E164,
    /// How the agent is configured.
    pub agent: ChosenAgent,
}

/// Where the configuration of a conversation's agent comes from.
#[derive(Debug, Clone, PartialEq)]
pub enum ChosenAgent {
    /// It came with the request. A stored agent that was named too must exist, but is not used.
    Given(Box<AgentConfig>),
    /// It is the stored agent's.
    Stored(AgentId),
}

impl ChosenAgent {
    /// Reads what a phone number's webhook answers about a call that comes in; none if it chooses nobody. All
    /// that it names is to be looked up.
    pub fn parse(answer: &Field<'_>, egress_policy: EgressPolicy) -> Read<Option<Self>> {
        if answer.value().is_null() {
            return Ok(None);
        }
        Self::of(&answer.object()?, egress_policy)
    }

    fn of(object: &Object<'_>, egress_policy: EgressPolicy) -> Read<Option<Self>> {
        let agent_id = object.optional("agent_id", |field| {
            let id = field.id()?;
            field.refer(Reference::Agent(id));
            Ok(id)
        });
        let agent_config = object.optional("agent_config", |field| agents::parse(field, egress_policy));
        Ok(match (agent_id?, agent_config?) {
            (_, Some(config)) => Some(Self::Given(Box::new(config))),
            (Some(id), None) => Some(Self::Stored(id)),
            (None, None) => None,
        })
    }
}

impl CreatePhoneCall {
    /// Reads the body. All that it names is noted in the field's
    /// [`Checks`](crate::validation::Checks): the number, the agent and the credentials are to be
    /// looked up, whatever else is wrong.
    pub fn parse(body: &Field<'_>, egress_policy: EgressPolicy) -> Read<Self> {
        let object = body.object()?;
        let from_number = object.required("from_number", |field| {
            let number: E164 = field.parsed()?;
            field.refer(Reference::PhoneNumber(number.clone()));
            Ok(number)
        });
        let to_number = object.required("to_number", |field| {
            let number: E164 = field.parsed()?;
            field.refer(Reference::Destination(number.clone()));
            Ok(number)
        });
        let agent = match ChosenAgent::of(&object, egress_policy)? {
            Some(agent) => Ok(agent),
            None => object.missing("agent_config", "Either agent_config or agent_id is required"),
        };
        Ok(Self { from_number: from_number?, to_number: to_number?, agent: agent? })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::validation::{Checks, Step};

    fn parse(body: &Value) -> (Option<CreatePhoneCall>, Vec<String>, usize) {
        let checks = Checks::default();
        let call = CreatePhoneCall::parse(&Field::body(body, &checks), EgressPolicy::PublicOnly).ok();
        let references = checks.references().len();
        let errors = checks.into_errors().into_iter().map(|error| {
            let loc: Vec<_> = error
                .loc
                .iter()
                .map(|step| match step {
                    Step::Field(name) => name.clone(),
                    Step::Index(index) => index.to_string(),
                })
                .collect();
            format!("{} {}", loc.join("."), error.kind)
        });
        (call, errors.collect(), references)
    }

    const FROM: &str = "+14155550199";
    const TO: &str = "+14155550100";
    const AGENT: &str = "agt_01JD9XQ4T0000000000000000A";

    #[test]
    fn bodies_are_accepted_or_every_wrong_field_is_named() {
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
            let (call, found, _) = parse(&body);
            assert_eq!(found, errors, "{body}");
            assert_eq!(call.is_some(), errors.is_empty(), "{body}");
        }
    }

    #[test]
    fn a_webhook_chooses_an_agent_or_nobody() {
        let chosen = |answer: &Value| {
            let checks = Checks::default();
            let read = ChosenAgent::parse(&Field::body(answer, &checks), EgressPolicy::PublicOnly);
            (read.ok(), checks.references().len())
        };
        for nobody in [json!(null), json!({}), json!({ "agent_id": null }), json!({ "unknown": 1 })] {
            assert_eq!(chosen(&nobody), (Some(None), 0), "{nobody}");
        }
        let stored = ChosenAgent::Stored(AGENT.parse().unwrap());
        assert_eq!(chosen(&json!({ "agent_id": AGENT })), (Some(Some(stored)), 1));
        let given = Some(Some(ChosenAgent::Given(Box::default())));
        assert_eq!(chosen(&json!({ "agent_config": {} })), (given, 0));
        for bad in [json!([]), json!("text"), json!({ "agent_id": 7 }), json!({ "agent_config": [] })] {
            assert_eq!(chosen(&bad).0, None, "{bad}");
        }
    }

    #[test]
    fn a_configuration_that_came_along_is_used_instead_of_the_stored_agent() {
        let both = json!({ "from_number": FROM, "to_number": TO, "agent_id": AGENT, "agent_config": {} });
        assert_eq!(parse(&both).0.unwrap().agent, ChosenAgent::Given(Box::default()));
        let stored = json!({ "from_number": FROM, "to_number": TO, "agent_id": AGENT });
        assert_eq!(parse(&stored).0.unwrap().agent, ChosenAgent::Stored(AGENT.parse().unwrap()));
    }

    #[test]
    fn what_is_named_is_to_be_looked_up_even_when_other_fields_are_wrong() {
        let body = json!({
            "from_number": FROM,
            "to_number": "nonsense",
            "agent_id": AGENT,
            "agent_config": {
                "prompt": 1,
                "voice": { "provider": "nobody", "credential_id": "crd_01JD9XQ4T0000000000000000A" },
            },
        });
        let (call, errors, references) = parse(&body);
        assert_eq!((call.is_none(), errors.len(), references), (true, 3, 3));
    }
}
