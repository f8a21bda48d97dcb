//! The body of a request for a chat completion.
//!
//! Pure. A server that is not the vendor's gets only the parameters that all servers know, and the conversation in the
//! form that all chat templates accept: the instructions first, then user and assistant in turns.

use reqwest::Url;
use serde_json::{Map, Value, json};
use switchboard_model::{
    agents::{ModelSettings, Tool},
    catalogue::{self, Service},
};

use super::{VENDOR, azure, messages};
use crate::language_model::Conversation;

/// The names of the limit on tokens: the vendor's present one, and the one that most compatible servers know.
const TOKEN_LIMITS: [&str; 2] = ["max_completion_tokens", "max_tokens"];

/// A model without a role for instructions: the prompt is sent as the beginning of the user's first turn.
pub(super) const SYSTEM_ROLE: &str = "system role";

/// Members that a server may refuse and that the request can do without. A part of a parameter comes before it.
pub(super) const OPTIONAL: [&str; 7] = [
    "include_obfuscation",
    "stream_options",
    "reasoning_effort",
    "temperature",
    TOKEN_LIMITS[0],
    TOKEN_LIMITS[1],
    SYSTEM_ROLE,
];

/// The members and orders that a server is known to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dialect {
    /// `stream_options`.
    reports_usage: bool,
    /// `stream_options.include_obfuscation`.
    obfuscates: bool,
    /// Instructions between the turns, and an assistant's turn before the user's first.
    takes_any_order: bool,
}

impl Dialect {
    /// The dialect of `model` at `base`; `is_customers`: a credential names the server.
    pub(super) fn of(base: &Url, is_customers: bool, model: &str) -> Self {
        let vendors_own = catalogue::connection(VENDOR)
            .and_then(|connection| Url::parse(connection.default_url).ok())
            .is_some_and(|url| url.host_str() == base.host_str());
        let is_listed =
            catalogue::row(Service::LanguageModel, VENDOR).is_some_and(|row| row.model(model).is_some());
        let is_vendor = vendors_own || (is_listed && !is_customers);
        let is_azure = azure::is_azure(base);
        Self {
            reports_usage: is_vendor || is_listed || is_azure,
            obfuscates: is_vendor && !is_azure,
            takes_any_order: is_vendor || is_azure,
        }
    }
}

/// The body of a request; see [`adapt`] for what this server has refused before.
pub(super) fn body(
    settings: &ModelSettings,
    conversation: &Conversation<'_>,
    dialect: Dialect,
) -> Map<String, Value> {
    let mut wire = messages::wire(conversation.prompt, conversation.messages);
    if dialect.takes_any_order {
        messages::without_state(&mut wire);
    }
    if !dialect.takes_any_order {
        wire = messages::in_turns(wire);
    }
    let mut body = Map::new();
    body.insert("model".into(), json!(settings.model));
    body.insert("messages".into(), Value::Array(wire));
    body.insert("stream".into(), json!(true));
    if dialect.reports_usage {
        let mut options = json!({"include_usage": true});
        if dialect.obfuscates {
            options["include_obfuscation"] = json!(false);
        }
        body.insert("stream_options".into(), options);
    }
    if !settings.tools.is_empty() {
        body.insert("tools".into(), settings.tools.iter().map(wire_tool).collect());
    }
    let rules = Rules::of(&settings.model);
    body.insert(rules.token_limit.into(), json!(settings.max_tokens));
    if let Some(effort) = rules.reasoning_effort {
        body.insert("reasoning_effort".into(), json!(effort));
    }
    if rules.takes_temperature {
        body.insert("temperature".into(), json!(settings.temperature));
    }
    body
}

/// The members of [`OPTIONAL`] that the body holds.
pub(super) fn optional(body: &Map<String, Value>) -> Vec<&'static str> {
    let holds = |parameter: &&str| match *parameter {
        "include_obfuscation" => {
            body.get("stream_options").is_some_and(|options| options.get(parameter).is_some())
        }
        SYSTEM_ROLE => body["messages"][0]["role"] == "system",
        _ => body.contains_key(*parameter),
    };
    OPTIONAL.into_iter().filter(holds).collect()
}

/// Takes the members that the server refuses out of the body.
pub(super) fn adapt(body: &mut Map<String, Value>, refused: &[&'static str]) {
    for parameter in refused {
        match *parameter {
            "include_obfuscation" => {
                if let Some(options) = body.get_mut("stream_options").and_then(Value::as_object_mut) {
                    options.remove("include_obfuscation");
                }
            }
            SYSTEM_ROLE => {
                if let Some(Value::Array(wire)) = body.remove("messages") {
                    body.insert("messages".into(), Value::Array(messages::without_system(wire)));
                }
            }
            // One name of the limit gives way to the other, unless both are refused.
            limit if TOKEN_LIMITS.contains(&limit) => {
                let Some(tokens) = body.remove(limit) else { continue };
                if let Some(other) = TOKEN_LIMITS.into_iter().find(|other| !refused.contains(other)) {
                    body.insert(other.into(), tokens);
                }
            }
            other => drop(body.remove(other)),
        }
    }
}

/// The parameters that a family of models takes. Reasoning before speaking is silence on the line, so each gets the
/// lowest effort it knows. A model that reasons takes no temperature.
#[derive(Debug, PartialEq)]
struct Rules {
    token_limit: &'static str,
    reasoning_effort: Option<&'static str>,
    takes_temperature: bool,
}

impl Rules {
    fn of(model: &str) -> Self {
        let reasoning = |effort, takes_temperature| Self {
            token_limit: TOKEN_LIMITS[0],
            reasoning_effort: effort,
            takes_temperature,
        };
        match generation(model) {
            // They know one effort only, and some of them none.
            Some((5.., _)) if model.ends_with("-chat-latest") => reasoning(None, false),
            // From 5.1 on, a model can be told not to reason, and then takes a temperature.
            Some(generation) if generation >= (5, 1) => reasoning(Some("none"), true),
            Some((5, _)) => reasoning(Some("minimal"), false),
            None if is_o_series(model) => reasoning(Some("low"), false),
            // Compatible servers know only the old name of the limit.
            _ => Self { token_limit: TOKEN_LIMITS[1], reasoning_effort: None, takes_temperature: true },
        }
    }
}

/// `gpt-6.1-sol` is (6, 1), `gpt-5-mini` is (5, 0), `gpt-4o` is (4, 0).
fn generation(model: &str) -> Option<(u32, u32)> {
    let (major, rest) = leading_number(model.strip_prefix("gpt-")?)?;
    let minor = rest.strip_prefix('.').and_then(leading_number).map_or(0, |(minor, _)| minor);
    Some((major, minor))
}

fn leading_number(text: &str) -> Option<(u32, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, &text[end..]))
}

/// `o1`, `o3-mini`, `o4-mini`.
fn is_o_series(model: &str) -> bool {
    model
        .strip_prefix('o')
        .and_then(leading_number)
        .is_some_and(|(_, rest)| rest.is_empty() || rest.starts_with('-'))
}

fn wire_tool(tool: &Tool) -> Value {
    let function = &tool.function;
    let mut wire = Map::new();
    wire.insert("name".into(), json!(function.name));
    if let Some(description) = &function.description {
        wire.insert("description".into(), json!(description));
    }
    // The vendor refuses a schema that is no object's, and some compatible servers a function without a schema.
    let mut parameters = function.parameters.clone().unwrap_or_default();
    parameters.entry("type").or_insert_with(|| json!("object"));
    if parameters["type"] == "object" {
        parameters.entry("properties").or_insert_with(|| json!({}));
    }
    wire.insert("parameters".into(), Value::Object(parameters));
    json!({"type": "function", "function": wire})
}

#[cfg(test)]
mod tests {
    use switchboard_model::agents::{Function, ToolKind};

    use super::*;
    use crate::language_model::{ChatMessage, ToolCall};

    const VENDORS: Dialect = Dialect { reports_usage: true, obfuscates: true, takes_any_order: true };

    #[test]
    fn each_model_family_gets_the_parameters_it_takes() {
        let rules = |model| {
            let Rules { token_limit, reasoning_effort, takes_temperature } = Rules::of(model);
            (token_limit, reasoning_effort, takes_temperature)
        };
        for model in ["gpt-6-luna", "gpt-6.1-terra", "gpt-5.6-luna", "gpt-5.1", "gpt-7", "gpt-10.2-x"] {
            assert_eq!(rules(model), ("max_completion_tokens", Some("none"), true), "{model}");
        }
        for model in ["gpt-5", "gpt-5-mini", "gpt-5-2025-08-07"] {
            assert_eq!(rules(model), ("max_completion_tokens", Some("minimal"), false), "{model}");
        }
        for model in ["gpt-5-chat-latest", "gpt-5.3-chat-latest"] {
            assert_eq!(rules(model), ("max_completion_tokens", None, false), "{model}");
        }
        for model in ["o1", "o3-mini", "o4-mini-2025-04-16"] {
            assert_eq!(rules(model), ("max_completion_tokens", Some("low"), false), "{model}");
        }
        for model in
            ["gpt-4o", "gpt-4.1-mini", "gpt-3.5-turbo-0125", "gpt-oss:20b", "llama3", "olmo-2", "o1lama", ""]
        {
            assert_eq!(rules(model), ("max_tokens", None, true), "{model}");
        }
    }

    #[test]
    fn vendor_extras_go_to_the_vendor_and_its_models_only() {
        let of = |base, is_customers, model| Dialect::of(&Url::parse(base).unwrap(), is_customers, model);
        let (vendor, local) = ("https://api.openai.com/v1", "http://127.0.0.1:8000/v1");
        assert_eq!(of(vendor, false, "something-new"), VENDORS);
        assert_eq!(of(local, false, "gpt-6-luna"), VENDORS, "a simulation or a proxy of the vendor's");
        let compatible = Dialect { reports_usage: false, obfuscates: false, takes_any_order: false };
        let deployment = "https://bakery.openai.azure.com/openai/deployments/ada";
        assert_eq!(of(deployment, true, "ada"), Dialect { obfuscates: false, ..VENDORS });
        assert_eq!(of(local, true, "Qwen/Qwen3-32B"), compatible);
        assert_eq!(of(local, false, "Qwen/Qwen3-32B"), compatible);
        assert_eq!(of(local, true, "gpt-4o"), Dialect { reports_usage: true, ..compatible });
        let body = body(
            &ModelSettings { model: "llama3".into(), ..ModelSettings::default() },
            &Conversation { prompt: Some("Be brief."), messages: &[] },
            compatible,
        );
        let keys: Vec<_> = body.keys().map(String::as_str).collect();
        assert_eq!(keys.len(), 5, "{keys:?}");
        assert!(
            ["max_tokens", "messages", "model", "stream", "temperature"].iter().all(|key| keys.contains(key))
        );
    }

    #[test]
    fn a_refused_parameter_is_left_out() {
        let settings = ModelSettings::default();
        let conversation = Conversation { prompt: Some("Be brief."), messages: &[] };
        let adapted = |refused: &[&'static str]| {
            let mut body = body(&settings, &conversation, VENDORS);
            adapt(&mut body, refused);
            Value::Object(body)
        };
        assert_eq!(adapted(&["include_obfuscation"])["stream_options"], json!({"include_usage": true}));
        assert_eq!(adapted(&["stream_options", "include_obfuscation"]).get("stream_options"), None);
        assert_eq!(adapted(&["reasoning_effort"]).get("reasoning_effort"), None);
        let limits =
            |body: Value| (body.get("max_tokens").cloned(), body.get("max_completion_tokens").cloned());
        assert_eq!(limits(adapted(&["max_completion_tokens"])), (Some(json!(300)), None));
        assert_eq!(limits(adapted(&["max_tokens"])), (None, Some(json!(300))));
        assert_eq!(limits(adapted(&["max_tokens", "max_completion_tokens"])), (None, None));
        assert_eq!(limits(adapted(&["max_completion_tokens", "max_tokens"])), (None, None));
        assert_eq!(adapted(&[SYSTEM_ROLE])["messages"], json!([{"role": "user", "content": "Be brief."}]));
    }

    #[test]
    fn a_schema_is_always_an_objects() {
        let parameters = |parameters: Value| {
            let parameters = parameters.as_object().cloned();
            let function = Function { name: "f".into(), description: None, parameters };
            wire_tool(&Tool { kind: ToolKind::Function, function })["function"]["parameters"].clone()
        };
        let empty = json!({"type": "object", "properties": {}});
        assert_eq!(parameters(Value::Null), empty);
        assert_eq!(parameters(json!({})), empty);
        assert_eq!(parameters(json!({"type": "object"})), empty);
        let properties = json!({"city": {"type": "string"}});
        let schema = json!({"type": "object", "properties": properties, "required": ["city"]});
        assert_eq!(parameters(schema.clone()), schema);
        assert_eq!(parameters(json!({"properties": properties, "required": ["city"]})), schema);
    }

    #[test]
    fn a_request_carries_the_conversation_and_the_tools() {
        let function =
            Function { name: "end_call".into(), description: Some("Ends it.".into()), parameters: None };
        let settings = ModelSettings {
            tools: vec![Tool { kind: ToolKind::Function, function }],
            ..ModelSettings::default()
        };
        let call = |id: &str| ToolCall {
            id: id.into(),
            name: "end_call".into(),
            arguments: "{\"broken".into(),
            provider_state: None,
        };
        let wire =
            |id| json!({"id": id, "type": "function", "function": {"name": "end_call", "arguments": "{}"}});
        let messages = [
            ChatMessage::Agent("Hello.".into()),
            ChatMessage::User("Bye.".into()),
            ChatMessage::Agent("Goodbye.".into()),
            ChatMessage::ToolCalls(vec![call("call_a"), call("call_b")]),
            ChatMessage::User("Still there?".into()),
            ChatMessage::ToolResult { call: "call_a".into(), content: "{\"ok\":true}".into() },
            ChatMessage::ToolCalls(vec![call("call_a")]),
            ChatMessage::ToolResult { call: "call_a".into(), content: "2".into() },
        ];
        let conversation = Conversation { prompt: Some("Be brief."), messages: &messages };
        assert_eq!(
            Value::Object(body(&settings, &conversation, VENDORS)),
            json!({
                "model": "gpt-6-luna",
                "messages": [
                    {"role": "system", "content": "Be brief."},
                    {"role": "assistant", "content": "Hello."},
                    {"role": "user", "content": "Bye."},
                    {"role": "assistant", "content": "Goodbye.", "tool_calls": [wire("call_a"), wire("call_b")]},
                    {"role": "tool", "tool_call_id": "call_a", "content": "{\"ok\":true}"},
                    {"role": "tool", "tool_call_id": "call_b", "content": "{\"error\":\"there is no result yet\"}"},
                    {"role": "user", "content": "Still there?"},
                    {"role": "assistant", "content": null, "tool_calls": [wire("call_a")]},
                    {"role": "tool", "tool_call_id": "call_a", "content": "2"},
                ],
                "stream": true,
                "stream_options": {"include_usage": true, "include_obfuscation": false},
                "tools": [{"type": "function", "function": {
                    "name": "end_call", "description": "Ends it.",
                    "parameters": {"type": "object", "properties": {}}}}],
                "max_completion_tokens": 300,
                "reasoning_effort": "none",
                "temperature": 0.0,
            })
        );
    }
}
