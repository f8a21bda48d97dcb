//! Webhooks and hooks: of agents, and the webhooks of phone numbers.

use std::{borrow::Cow, cell::Cell, collections::BTreeMap};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};
use switchboard_filters::{Filter, MAX_FILTERS};
use switchboard_model::{
    egress_policy::{BadUrl, EgressPolicy},
    event_names::EventName,
    hooks::{Hook, Instruction},
    limits::MAX_WEBHOOKS,
    webhooks::{Webhook, WebhookMethod},
};

use crate::{
    declaration::{FieldType, Form, Record, define, types},
    validation::Field,
};

/// Maximum length of a URL that we call; common servers accept no longer ones.
const MAX_URL_BYTES: usize = 2_083;

const METHODS: &[(&str, WebhookMethod)] = &[("GET", WebhookMethod::Get), ("POST", WebhookMethod::Post)];

/// The webhooks of an agent.
pub(super) fn webhooks(policy: EgressPolicy, filters: &FilterCount) -> FieldType<'_, Vec<Webhook>> {
    FieldType::new(
        move |field| {
            if field.value().as_array().is_some_and(|webhooks| webhooks.len() > MAX_WEBHOOKS) {
                return field
                    .reject("too_long", format!("An agent should have at most {MAX_WEBHOOKS} webhooks"));
            }
            types::list(0, webhook(policy, filters)).read(field)
        },
        move |generator, form| {
            let list = types::list(0, webhook(policy, filters));
            list.keywords(json!({ "maxItems": MAX_WEBHOOKS })).schema(generator, form)
        },
    )
}

/// A webhook of an agent.
fn webhook(policy: EgressPolicy, filters: &FilterCount) -> Record<'_, Webhook> {
    Record::new("Webhook", "A customer's endpoint that receives events.", move |members| {
        let events = members.required("events", events(), "The events that it receives; at least one.");
        let url = members.required(
            "url",
            url(policy),
            "The address; without user name and password, and on no host that can only be private.",
        );
        let method = members.required("method", types::choice(METHODS), "The HTTP method.");
        let headers = members.optional(
            "headers",
            headers(),
            "Headers that are sent along; they may hold the customer's secrets.",
        );
        let filter =
            members.optional("filter", filters.filter(), "Which of these events; null: all of them.");
        Ok(Webhook { events: events?, url: url?, method: method?, headers: headers?, filter: filter? })
    })
}

/// A webhook of a phone number, which chooses the agent of an inbound call.
pub(crate) fn number_webhook(policy: EgressPolicy, filters: &FilterCount) -> Record<'_, Webhook> {
    let about = "A customer's endpoint that chooses the agent of an inbound call: it answers `{\"agent_id\"}` or \
                 `{\"agent_config\"}`, `{\"reject\": true}`, or nothing.";
    Record::new("NumberWebhook", about, move |members| {
        let events =
            members.required("events", types::list(1, number_event()), "The events that it receives.");
        // The schema does not show the bounds of these two.
        let url = members.required("url", url(policy).shown_as(json!({ "type": "string" })), "The address.");
        let method = members.required("method", types::choice(METHODS), "The HTTP method.");
        let any_headers = json!({ "type": "object", "additionalProperties": { "type": "string" } });
        let headers =
            members.optional("headers", headers().shown_as(any_headers), "Headers that are sent along.");
        let filter = members.optional("filter", filters.filter(), "Which calls; null: all of them.");
        Ok(Webhook { events: events?, url: url?, method: method?, headers: headers?, filter: filter? })
    })
}

/// A hook of an agent.
pub(super) fn hook(filters: &FilterCount) -> Record<'_, Hook> {
    Record::new("Hook", "Instructions that the conversation carries out when an event happens.", |members| {
        let events = members.required("events", events(), "The events; at least one.");
        let filter =
            members.optional("filter", filters.filter(), "Which of these events; null: all of them.");
        let instructions = members.required(
            "instructions",
            types::list(0, instruction()),
            "The instructions, in this order.",
        );
        Ok(Hook { events: events?, filter: filter?, instructions: instructions? })
    })
}

/// The schema of an instruction is that of its type, whose alternatives have members of their own.
fn instruction<'c>() -> FieldType<'c, Instruction> {
    FieldType::new(
        |field| {
            field.object()?.required("instruction", |field| field.choice(&[("hang_up", Instruction::HangUp)]))
        },
        |generator, form| {
            let shown: Value = generator.subschema_for::<Instruction>().into();
            let body = generator.definitions().get("Instruction").cloned().unwrap_or_default();
            match form {
                Form::Shown => shown,
                Form::Input | Form::Update => define(generator, "InstructionInput".to_owned(), |_| body),
            }
        },
    )
}

fn events<'c>() -> FieldType<'c, Vec<EventName>> {
    let event = FieldType::new(
        |field| field.choice(&EventName::ALL.map(|name| (name.as_str(), name))),
        |generator, _| generator.subschema_for::<EventName>().into(),
    );
    types::list(1, event)
}

/// The one event that a phone number's webhook receives.
fn number_event<'c>() -> FieldType<'c, EventName> {
    const NAME: &str = EventName::ConnectionRequested.as_str();
    FieldType::new(
        |field| field.choice(&[(NAME, EventName::ConnectionRequested)]),
        |generator, _| {
            define(generator, "NumberEvent".to_owned(), |_| {
                let only =
                    json!({ "type": "string", "const": NAME, "description": "An inbound call arrives." });
                json!({ "description": "The events of a number's webhooks.", "oneOf": [only] })
            })
        },
    )
}

fn url<'c>(policy: EgressPolicy) -> FieldType<'c, String> {
    let read = move |field: &Field<'_>| {
        let text = field.str()?;
        if text.len() > MAX_URL_BYTES {
            return field
                .reject("url_too_long", format!("URL should have at most {MAX_URL_BYTES} characters"));
        }
        match policy.url(text) {
            Ok(_) => Ok(text.to_owned()),
            Err(bad) => field.reject(bad_url(bad), bad.to_string()),
        }
    };
    FieldType::plain(read, json!({ "type": "string", "format": "uri", "maxLength": MAX_URL_BYTES }))
}

/// The `type` of an error about a URL.
pub(crate) fn bad_url(bad: BadUrl) -> &'static str {
    match bad {
        BadUrl::Malformed => "url_parsing",
        BadUrl::Scheme(_) => "url_scheme",
        BadUrl::UserInfo | BadUrl::NotPublic => "value_error",
    }
}

/// Adds to the schemas the URL schemes that webhooks may have in this deployment.
pub fn show_url_scheme(definitions: &mut Map<String, Value>, policy: EgressPolicy) {
    let pattern = match policy {
        EgressPolicy::PublicOnly => "^https://",
        EgressPolicy::Local => "^https?://",
    };
    for name in ["Webhook", "WebhookInput", "NumberWebhook", "NumberWebhookInput"] {
        if let Some(Value::Object(url)) =
            definitions.get_mut(name).map(|schema| &mut schema["properties"]["url"])
        {
            url.insert("pattern".to_owned(), pattern.into());
        }
    }
}

/// The headers of a webhook: names and values that HTTP can carry (RFC 9110, section 5).
fn headers<'c>() -> FieldType<'c, BTreeMap<String, String>> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let read = move |field: &Field<'_>| {
        field.map(|name, field| {
            let value = field.str()?;
            if name.is_empty() || !name.bytes().all(is_token) {
                return field.reject("value_error", "Not a valid header name");
            }
            let lower = name.to_ascii_lowercase();
            if lower == "host" || lower.starts_with("webhook-") {
                let msg = format!("The header {name} is set by the sender; leave it out");
                return field.reject("value_error", msg);
            }
            if value.chars().any(|character| character.is_control() && character != '\t') {
                return field.reject("value_error", "A header's value has no control characters");
            }
            Ok(value.to_owned())
        })
    };
    let schema = json!({
        "type": "object",
        "propertyNames": { "pattern": "^[A-Za-z0-9!#$%&'*+.^_`|~-]+$" },
        "additionalProperties": { "type": "string", "pattern": r"^[^\u0000-\u0008\u000A-\u001F\u007F-\u009F]*$" },
    });
    FieldType::plain(read, schema)
}

/// Counts the filters of an agent or a phone number; a filter beyond the limit is not even compiled.
#[derive(Default)]
pub(crate) struct FilterCount(Cell<usize>);

impl FilterCount {
    pub(super) fn add(&self, count: usize) {
        self.0.set(self.0.get() + count);
    }

    fn filter(&self) -> FieldType<'_, Filter> {
        types::read_as(|field| {
            let text = field.str()?;
            self.add(1);
            if self.0.get() > MAX_FILTERS {
                return field.reject("too_long", format!("There should be at most {MAX_FILTERS} filters"));
            }
            Filter::parse(text).map_err(|error| field.error("value_error", error.to_string()))
        })
    }
}

/// Stands for [`Webhook`] in the schemas of views.
pub(crate) struct WebhookSchema;

impl JsonSchema for WebhookSchema {
    fn schema_name() -> Cow<'static, str> {
        "Webhook".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let body = webhook(EgressPolicy::PublicOnly, &FilterCount::default()).body(generator, Form::Shown);
        Schema::try_from(body).unwrap_or_default()
    }
}
