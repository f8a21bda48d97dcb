//! Agents: the configuration in requests, and the view of a stored agent.
//!
//! An absent field has its default, and so has a null one; only in `max_duration_seconds` does null mean something
//! else: no limit. A block (`voice`, `language_model`, `transcriber`) that is absent has the defaults of
//! [`AgentConfig`]; a block that is present without a `provider` has the provider that the API supported first. Where the
//! official TypeScript client can send nothing but an empty object (`types::name_or`), that is an absent field in a
//! create, and keeps the stored value in a change of a block with the same provider.

mod language_models;
mod transcribers;
mod voices;
pub(crate) mod webhooks;

use std::{borrow::Cow, collections::BTreeMap};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde_json::Value;
use switchboard_model::{
    agents::{Agent, AgentConfig, LanguageModel, Transcriber, Voice},
    egress_policy::EgressPolicy,
    ids::{AccountId, AgentId},
    time::Timestamp,
};

use self::webhooks::FilterCount;
pub use self::webhooks::show_url_scheme;
use crate::{
    declaration::{FieldType, Form, Members, Record, Schemas, types},
    references::{Checked, References},
    validation::{Field, Read},
};

/// Maximum size of an `agent_config` as compact JSON: it must fit into one item of the table, with room to spare.
pub const MAX_CONFIG_BYTES: usize = 40 * 1024;

/// The description of `credential_id`, which every provider block has.
const CREDENTIAL: &str = "The customer's own key; null: the deployment's.";

/// Reads the body of `POST /agents`.
#[must_use]
pub fn create(body: &Value, egress_policy: EgressPolicy) -> Checked<AgentConfig> {
    Checked::body(body, |field, references| agent_config(egress_policy, references).read(field))
}

/// Reads the body of `PATCH /agents/{id}`, a change of the `current` configuration. A field that is present has its
/// new value, or its default if it is null; an absent one stays as it is, and the credentials that it names are
/// not looked up again. A block (`voice`, a list, `metadata`) is replaced as a whole.
#[must_use]
pub fn update(current: &AgentConfig, body: &Value, egress_policy: EgressPolicy) -> Checked<AgentConfig> {
    Checked::body(body, |field, references| {
        let config = record(current.clone(), egress_policy, references).read(field)?;
        let size = |config: &AgentConfig| serde_json::to_string(config).map_or(0, |json| json.len());
        // With its defaults filled in, the current configuration may exceed the maximum. Then it may not grow.
        fits(field, size(&config), MAX_CONFIG_BYTES.max(size(current)))?;
        Ok(config)
    })
}

/// The schema of the body of `POST /agents`.
pub fn create_schema(schemas: &mut Schemas) -> Value {
    let references = References::default();
    schemas.input(&record(AgentConfig::default(), EgressPolicy::PublicOnly, &references))
}

/// The schema of the body of `PATCH /agents/{id}`. It has no defaults: a generated client that sends the default of every
/// field that its caller did not set would reset the agent.
pub fn update_schema(schemas: &mut Schemas) -> Value {
    let references = References::default();
    schemas.update(&record(AgentConfig::default(), EgressPolicy::PublicOnly, &references))
}

/// An agent's configuration as the member of another body.
pub(crate) fn agent_config(
    egress_policy: EgressPolicy,
    references: &References,
) -> FieldType<'_, AgentConfig> {
    let record = move || record(AgentConfig::default(), egress_policy, references);
    FieldType::new(
        move |field| {
            field.object()?;
            let small = fits(field, field.value().to_string().len(), MAX_CONFIG_BYTES);
            let config = record().read(field);
            small?;
            config
        },
        move |generator, form| record().schema(generator, form),
    )
}

fn fits(field: &Field<'_>, bytes: usize, max: usize) -> Read<()> {
    if bytes <= max {
        return Ok(());
    }
    field.reject("too_long", "agent_config should be at most 40 KiB of JSON")
}

/// The fields of a configuration; an absent one keeps its `current` value.
fn record(
    current: AgentConfig,
    egress_policy: EgressPolicy,
    references: &References,
) -> Record<'_, AgentConfig> {
    let about = "The configuration of an agent.";
    Record::new("AgentConfig", about, move |members| fields(members, &current, egress_policy, references))
}

fn fields(
    members: &mut Members<'_>,
    current: &AgentConfig,
    egress_policy: EgressPolicy,
    references: &References,
) -> Read<AgentConfig> {
    let default = AgentConfig::default();
    let disclosure = members.setting(
        "disclosure",
        types::text().nullable(),
        &current.disclosure,
        default.disclosure,
        "Said before anything else and never interrupted, for consent to recording, say; null: nothing.",
    );
    let initial_message = members.setting(
        "initial_message",
        types::text().nullable(),
        &current.initial_message,
        default.initial_message,
        "The agent's first words; null: it waits for the caller.",
    );
    let prompt = members.setting(
        "prompt",
        types::text().nullable(),
        &current.prompt,
        default.prompt,
        "Instructions for the language model.",
    );
    let voice = members.setting(
        "voice",
        voices::voice(&current.voice, references),
        &current.voice,
        Voice::default(),
        "The voice of the agent.",
    );
    let language_model = members.setting(
        "language_model",
        language_models::language_model(&current.language_model, references),
        &current.language_model,
        LanguageModel::default(),
        "The model that writes the agent's words.",
    );
    let transcriber = members.setting(
        "transcriber",
        transcribers::transcriber(&current.transcriber, references),
        &current.transcriber,
        Transcriber::default(),
        "The transcriber of the caller's words.",
    );
    let max_duration_seconds = members.setting(
        "max_duration_seconds",
        types::positive().nullable(),
        &current.max_duration_seconds,
        default.max_duration_seconds,
        "Seconds after which the agent ends the conversation; null: no limit of ours.",
    );
    let filters = FilterCount::default();
    if !members.has("webhooks") {
        filters.add(current.webhooks.iter().filter(|webhook| webhook.filter.is_some()).count());
    }
    if !members.has("hooks") {
        filters.add(current.hooks.iter().filter(|hook| hook.filter.is_some()).count());
    }
    let webhooks = members.setting(
        "webhooks",
        webhooks::webhooks(egress_policy, &filters),
        &current.webhooks,
        default.webhooks,
        "The endpoints that receive events.",
    );
    let hooks = members.setting(
        "hooks",
        types::list(0, webhooks::hook(&filters)),
        &current.hooks,
        default.hooks,
        "The instructions that are carried out on events.",
    );
    let metadata = members.setting(
        "metadata",
        types::map::<BTreeMap<_, _>, _>(types::text()),
        &current.metadata,
        default.metadata,
        "The customer's own labels.",
    );
    let recording = members.setting(
        "recording",
        types::boolean(),
        &current.recording,
        default.recording,
        "Whether the conversation is recorded.",
    );
    Ok(AgentConfig {
        disclosure: disclosure?,
        initial_message: initial_message?,
        prompt: prompt?,
        voice: voice?,
        language_model: language_model?,
        transcriber: transcriber?,
        max_duration_seconds: max_duration_seconds?,
        webhooks: webhooks?,
        hooks: hooks?,
        metadata: metadata?,
        recording: recording?,
    })
}

/// Stands for [`AgentConfig`] in the schemas of views.
pub(crate) struct AgentConfigSchema;

impl JsonSchema for AgentConfigSchema {
    fn schema_name() -> Cow<'static, str> {
        "AgentConfig".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let references = References::default();
        let record = record(AgentConfig::default(), EgressPolicy::PublicOnly, &references);
        Schema::try_from(record.body(generator, Form::Shown)).unwrap_or_default()
    }
}

/// A stored agent: the fields of its configuration, every default filled in, and its origin.
#[derive(Serialize, JsonSchema)]
pub struct AgentView {
    /// Its id, such as `agt_01JD...`.
    pub id: AgentId,
    /// The URL of this agent.
    pub uri: String,
    /// The account that owns it.
    pub account_id: AccountId,
    /// The time at which it was stored.
    pub created_at: Timestamp,
    /// The time of its last change.
    pub updated_at: Timestamp,
    /// Its configuration.
    #[serde(flatten)]
    #[schemars(with = "AgentConfigSchema")]
    pub config: AgentConfig,
}

impl AgentView {
    /// `public_url` is the API's, without a slash at the end.
    #[must_use]
    pub fn new(public_url: &str, agent: Agent) -> Self {
        let Agent { id, account_id, config, created_at, updated_at } = agent;
        Self { id, uri: format!("{public_url}/agents/{id}"), account_id, created_at, updated_at, config }
    }
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "webhook_tests.rs"]
mod webhook_tests;

#[cfg(test)]
#[path = "update_tests.rs"]
mod update_tests;

#[cfg(test)]
#[path = "read_properties.rs"]
mod properties;
