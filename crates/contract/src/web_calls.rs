//! Calls from a browser: the body that asks for one, and the answer with the URL that the browser opens.

use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use switchboard_model::{egress_policy::EgressPolicy, time::Timestamp};

use crate::{
    conversations::{ChosenAgent, ConversationView},
    declaration::{Record, Schemas},
    references::{Checked, References},
};

/// The body of `POST /conversations/create_web_call`.
#[derive(Debug, Clone, PartialEq)]
pub struct CreateWebCall {
    /// The source of the agent's configuration.
    pub agent: ChosenAgent,
}

impl CreateWebCall {
    /// Reads the body. The agent and the credentials that it names are to be looked up, whatever else is wrong.
    #[must_use]
    pub fn read(body: &Value, egress_policy: EgressPolicy) -> Checked<Self> {
        Checked::body(body, |field, references| Self::record(egress_policy, references).read(field))
    }

    /// The schema of the body.
    pub fn schema(schemas: &mut Schemas) -> Value {
        schemas.input(&Self::record(EgressPolicy::PublicOnly, &References::default()))
    }

    fn record(egress_policy: EgressPolicy, references: &References) -> Record<'_, Self> {
        let about = "A call from a browser. Its agent has the configuration of the request, or else that of the stored \
                     agent; one of them must be given.";
        Record::new("CreateWebCall", about, move |members| {
            let agent = match ChosenAgent::members(members, egress_policy, references)? {
                Some(agent) => Ok(agent),
                None => {
                    members.reject("agent_config", "missing", "Either agent_config or agent_id is required")
                }
            };
            Ok(Self { agent: agent? })
        })
    }
}

/// A conversation that waits for its browser.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "CreatedWebCall")]
pub struct CreatedWebCallView {
    /// The conversation.
    #[serde(flatten)]
    pub conversation: ConversationView,
    /// The websocket that the browser opens; null if a repeated request finds that it was opened or has expired.
    pub web_call: Option<WebCallView>,
}

/// The websocket of a call from a browser.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "WebCall")]
pub struct WebCallView {
    /// The URL. It admits one socket, from any origin.
    pub url: String,
    /// The time until which the socket may be opened.
    pub expires_at: Timestamp,
}

impl fmt::Debug for WebCallView {
    /// The URL holds a token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebCallView").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_body_has_a_configuration_or_a_stored_agent() {
        let read = |body: &Value| {
            let Checked { value, references, errors } = CreateWebCall::read(body, EgressPolicy::PublicOnly);
            (value, references.len(), errors.into_iter().map(|error| error.kind).collect::<Vec<_>>())
        };
        let agent = "agt_01JD9XQ4T0000000000000000A";
        let given = CreateWebCall { agent: ChosenAgent::Given(Box::default()) };
        let stored = CreateWebCall { agent: ChosenAgent::Stored(agent.parse().unwrap()) };
        assert_eq!(read(&json!({ "agent_config": {} })), (Some(given.clone()), 0, vec![]));
        assert_eq!(read(&json!({ "agent_id": agent })), (Some(stored), 1, vec![]));
        assert_eq!(read(&json!({ "agent_id": agent, "agent_config": {} })), (Some(given), 1, vec![]));
        assert_eq!(read(&json!({})), (None, 0, vec!["missing"]));
        assert_eq!(read(&json!([])), (None, 0, vec!["model_attributes_type"]));
    }
}
