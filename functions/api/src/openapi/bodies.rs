//! Bodies that have no type of their own in the code: they are read field by field.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use switchboard_filters::Filter;
use switchboard_model::{
    agents::{AgentConfig, WebhookMethod},
    ids::AgentId,
    phone_numbers::E164,
};

/// Any error but a wrong field.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "describes what `errors` writes")]
pub(super) struct Error {
    /// What is wrong, for people.
    detail: String,
}

/// Every wrong field at once.
#[derive(JsonSchema)]
#[schemars(rename = "ValidationError")]
#[expect(dead_code, reason = "describes what `errors` writes")]
pub(super) struct Invalid {
    /// The wrong fields.
    detail: Vec<WrongField>,
}

/// A wrong field.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "describes what `switchboard_contract::validation` writes")]
struct WrongField {
    /// Where it stands, from the outside in; numbers are places in lists.
    loc: Vec<Step>,
    /// What is wrong, for people.
    msg: String,
    /// What is wrong, for programs.
    #[schemars(rename = "type")]
    kind: String,
}

/// A field's name, or a place in a list.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "describes what `switchboard_contract::validation` writes")]
enum Step {
    Field(String),
    Index(u64),
}

/// A call to be placed. The configuration is used when it is given, else the stored agent; one of them must be.
#[derive(JsonSchema)]
#[schemars(extend("anyOf" = [
    { "required": ["agent_id"], "properties": { "agent_id": { "type": "string" } } },
    { "required": ["agent_config"], "properties": { "agent_config": { "type": "object" } } },
]))]
#[expect(dead_code, reason = "describes what `switchboard_contract::requests` reads")]
pub(super) struct CreatePhoneCall {
    /// Who calls: one of the account's numbers.
    from_number: E164,
    /// Who is called, in a country that the account may call.
    to_number: E164,
    /// A stored agent; must exist even when a configuration is given too.
    agent_id: Option<AgentId>,
    /// How the agent is configured.
    agent_config: Option<AgentConfig>,
}

/// A provider's key of the customer's own.
#[derive(JsonSchema)]
#[schemars(tag = "provider", rename_all = "lowercase")]
#[expect(dead_code, reason = "describes what `switchboard_model::credentials` reads")]
pub(super) enum CreateCredential {
    /// `OpenAI`, or a server that speaks its protocol.
    Openai {
        /// The key; kept sealed, never shown again.
        api_key: ApiKey,
        /// Where the server is; null: the vendor's own. Its host is checked each time it is called.
        #[schemars(length(max = 512), extend("format" = "uri", "pattern" = "^https?://"))]
        base_url: Option<String>,
    },
    /// Google Gemini.
    Google {
        /// The key; kept sealed, never shown again.
        api_key: ApiKey,
    },
    /// Deepgram, for hearing and speaking.
    Deepgram {
        /// The key; kept sealed, never shown again.
        api_key: ApiKey,
    },
    /// Azure Speech.
    Azure {
        /// The key; kept sealed, never shown again.
        api_key: ApiKey,
        /// The region the key is of, such as `westeurope`.
        #[schemars(length(min = 1, max = 512), extend("pattern" = "^[a-z0-9]+$"))]
        region: Option<String>,
    },
    /// `PlayHT`.
    Playht {
        /// The key; kept sealed, never shown again.
        api_key: ApiKey,
        /// The user the key is of.
        #[schemars(length(min = 1, max = 512), extend("pattern" = r"^[\x21-\x7e]+$"))]
        user_id: Option<String>,
    },
    /// `ElevenLabs`.
    Elevenlabs {
        /// The key; kept sealed, never shown again.
        api_key: ApiKey,
    },
    /// Rime.
    Rimeai {
        /// The key; kept sealed, never shown again.
        api_key: ApiKey,
    },
    /// Rime, by its other name.
    Rime {
        /// The key; kept sealed, never shown again.
        api_key: ApiKey,
    },
}

/// Visible ASCII characters, without spaces.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "describes what `switchboard_model::credentials` reads")]
pub(super) struct ApiKey(
    #[schemars(length(min = 1, max = 512), extend("pattern" = r"^[\x21-\x7e]+$"))] String,
);

/// A number to be bought.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "describes what `switchboard_model::phone_numbers` reads")]
pub(super) struct BuyPhoneNumber {
    /// The carrier.
    #[schemars(extend("const" = "twilio", "default" = "twilio"))]
    provider: String,
    /// Which number; null: any.
    phone_number: Option<E164>,
}

/// A number of the customer's own account at the carrier.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "describes what `switchboard_model::phone_numbers` reads")]
pub(super) struct ImportPhoneNumber {
    /// Which number.
    phone_number: E164,
    /// The carrier's id of the account.
    #[schemars(extend("pattern" = "^AC[0-9a-fA-F]{32}$"))]
    account_sid: String,
    /// What opens it; kept sealed, never shown again.
    #[schemars(length(min = 1, max = 256), extend("pattern" = r"^[\x21-\x7e]+$"))]
    auth_token: String,
}

/// What is changed of a number: what is absent stays as it is, null takes it away.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "describes what `switchboard_model::phone_numbers` reads")]
pub(super) struct UpdatePhoneNumber {
    /// The stored agent that takes calls.
    inbound_agent_id: Option<AgentId>,
    /// Who is asked, when a call comes in, which agent takes it.
    #[schemars(length(max = 10))]
    webhooks: Option<Vec<NumberWebhook>>,
}

/// Somebody's endpoint that chooses the agent of a call that comes in: it answers `{"agent_id"}` or
/// `{"agent_config"}`, or nothing.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "describes what `switchboard_model::phone_numbers` reads")]
struct NumberWebhook {
    /// Which events.
    #[schemars(length(min = 1))]
    events: Vec<NumberEvent>,
    /// Where.
    url: String,
    /// How.
    method: WebhookMethod,
    /// Sent along.
    headers: Option<BTreeMap<String, String>>,
    /// Which calls: all, if there is none.
    filter: Option<Filter>,
}

/// What a number's webhooks hear of.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "describes what `switchboard_model::phone_numbers` reads")]
enum NumberEvent {
    /// A call comes in.
    #[schemars(rename = "phone_call:connection_requested")]
    ConnectionRequested,
}

/// A link to a recording.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "describes what `conversations` writes")]
pub(super) struct Recording {
    /// A stereo WAV (caller left, agent right); the link works for an hour.
    recording_url: String,
}
