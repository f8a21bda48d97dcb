//! A request for a chat completion, and the refusals of the real API.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use jiff::civil::Date;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::models;
use crate::script::{Conversation, Role, Said, tokens};

/// A refused request, in the API's error form.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) message: String,
    pub(super) param: Option<&'static str>,
    pub(super) code: Option<&'static str>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), param: None, code: None }
    }

    pub(super) fn key(message: &str) -> Self {
        Self { code: Some("invalid_api_key"), ..Self::new(StatusCode::UNAUTHORIZED, message) }
    }

    /// A member of the request that the API, or the model, does not know.
    fn unrecognized(name: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, format!("Unrecognized request argument supplied: {name}"))
    }

    pub(super) fn parameter(param: &'static str, code: &'static str, message: impl Into<String>) -> Self {
        Self { param: Some(param), code: Some(code), ..Self::new(StatusCode::BAD_REQUEST, message) }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self { status, message, param, code } = self;
        let kind = match status {
            StatusCode::TOO_MANY_REQUESTS => "requests",
            status if status.is_server_error() => "server_error",
            _ => "invalid_request_error",
        };
        let error = json!({ "message": message, "type": kind, "param": param, "code": code });
        (status, Json(json!({ "error": error }))).into_response()
    }
}

/// The members that the API knows.
#[rustfmt::skip]
const PARAMETERS: [&str; 36] = [
    "audio", "frequency_penalty", "function_call", "functions", "logit_bias", "logprobs", "max_completion_tokens",
    "max_tokens", "messages", "metadata", "modalities", "model", "moderation", "n", "parallel_tool_calls", "prediction",
    "presence_penalty", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "reasoning_effort",
    "response_format", "safety_identifier", "seed", "service_tier", "stop", "store", "stream", "stream_options",
    "temperature", "tool_choice", "tools", "top_logprobs", "top_p", "user", "verbosity",
];

/// The members of a request that are read.
#[derive(Debug, Deserialize)]
pub(super) struct Completion {
    pub(super) model: String,
    pub(super) messages: Vec<Message>,
    #[serde(default)]
    pub(super) stream: bool,
    pub(super) stream_options: Option<StreamOptions>,
    #[serde(default)]
    pub(super) tools: Vec<Tool>,
    pub(super) tool_choice: Option<Value>,
    pub(super) max_tokens: Option<u64>,
    pub(super) temperature: Option<f64>,
    pub(super) top_p: Option<f64>,
    pub(super) reasoning_effort: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct StreamOptions {
    #[serde(default)]
    pub(super) include_usage: bool,
}

#[derive(Debug, Deserialize)]
pub(super) struct Message {
    pub(super) role: String,
    #[serde(default)]
    pub(super) content: Value,
    #[serde(default)]
    tool_calls: Vec<CalledTool>,
    tool_call_id: Option<String>,
}

/// A function call of an earlier response.
#[derive(Debug, Deserialize)]
struct CalledTool {
    id: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Tool {
    pub(super) function: Function,
}

#[derive(Debug, Deserialize)]
pub(super) struct Function {
    pub(super) name: String,
    pub(super) parameters: Option<Value>,
}

impl Message {
    fn said(&self) -> Said {
        let role = match self.role.as_str() {
            "user" => Role::User,
            "tool" => Role::Result,
            "system" | "developer" => Role::Note,
            _ => Role::Agent,
        };
        Said { role, text: self.text() }
    }

    /// The text of the message, in either of the content's two forms.
    pub(super) fn text(&self) -> String {
        match &self.content {
            Value::String(text) => text.clone(),
            Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
            _ => String::new(),
        }
    }
}

impl Completion {
    /// Reads and validates a body as the API does.
    pub(super) fn parse(body: &[u8], today: Date) -> Result<Self, Refusal> {
        let unreadable = "We could not parse the JSON body of your request.";
        let body: Map<String, Value> =
            serde_json::from_slice(body).map_err(|_| Refusal::new(StatusCode::BAD_REQUEST, unreadable))?;
        for required in ["model", "messages"] {
            if body.get(required).is_none_or(Value::is_null) {
                let message = format!("Missing required parameter: '{required}'.");
                return Err(Refusal::parameter(required, "missing_required_parameter", message));
            }
        }
        if let Some(unknown) = body.keys().find(|name| !PARAMETERS.contains(&name.as_str())) {
            return Err(Refusal::unrecognized(unknown));
        }
        let request: Self = serde_json::from_value(Value::Object(body))
            .map_err(|error| Refusal::new(StatusCode::BAD_REQUEST, format!("Invalid request: {error}")))?;
        if request.messages.is_empty() {
            let message = "Invalid 'messages': empty array. Expected an array with minimum length 1.";
            return Err(Refusal::parameter("messages", "empty_array", message));
        }
        request.check(today)?;
        Ok(request)
    }

    /// Refuses what the requested model does not support on this day.
    pub(super) fn check(&self, today: Date) -> Result<(), Refusal> {
        let model = &self.model;
        if !models::exists(model, today) {
            let message = format!("The model `{model}` does not exist or you do not have access to it.");
            let refusal = Refusal::new(StatusCode::NOT_FOUND, message);
            return Err(Refusal { code: Some("model_not_found"), ..refusal });
        }
        self.check_order()?;
        self.check_schemas()?;
        self.check_effort()?;
        if !["gpt-5", "gpt-6", "o1", "o3", "o4"].iter().any(|family| model.starts_with(family)) {
            return Ok(());
        }
        if self.max_tokens.is_some() {
            let message = "Unsupported parameter: 'max_tokens' is not supported with this model. \
                           Use 'max_completion_tokens' instead.";
            return Err(Refusal::parameter("max_tokens", "unsupported_parameter", message));
        }
        if self.reasoning_effort.as_deref() == Some("none") {
            return Ok(());
        }
        for (param, value) in [("temperature", self.temperature), ("top_p", self.top_p)] {
            if value.is_some_and(|value| (value - 1.0).abs() > f64::EPSILON) {
                let message = format!(
                    "Unsupported value: '{param}' does not support this value with this model. \
                     Only the default (1) value is supported."
                );
                return Err(Refusal::parameter(param, "unsupported_value", message));
            }
        }
        if (model.starts_with("gpt-6") || model.starts_with("gpt-5.6")) && !self.tools.is_empty() {
            let message = "Function tools are supported with this model here only with reasoning_effort 'none'. \
                           Use the Responses API instead.";
            return Err(Refusal::parameter("tools", "unsupported_parameter", message));
        }
        Ok(())
    }

    /// Refuses roles that do not exist, and function calls and results that do not follow each other: the results of all
    /// calls come right after them.
    fn check_order(&self) -> Result<(), Refusal> {
        let wrong = |message: String| {
            Err(Refusal { param: Some("messages"), ..Refusal::new(StatusCode::BAD_REQUEST, message) })
        };
        let mut open: Vec<&str> = vec![];
        for (place, message) in self.messages.iter().enumerate() {
            if !["system", "developer", "user", "assistant", "tool"].contains(&&*message.role) {
                return wrong(format!("Invalid value: '{}' at 'messages[{place}].role'.", message.role));
            }
            if message.role == "tool" {
                let id = message.tool_call_id.as_deref().unwrap_or_default();
                let Some(answered) = open.iter().position(|call| *call == id) else {
                    let text = "messages with role 'tool' must be a response to a preceding message with 'tool_calls'.";
                    return wrong(format!("Invalid parameter: {text}"));
                };
                open.remove(answered);
                continue;
            }
            if let Some(call) = open.first() {
                return wrong(format!(
                    "An assistant message with 'tool_calls' must be followed by tool messages responding to each \
                     'tool_call_id'. The following tool_call_ids did not have response messages: {call}"
                ));
            }
            if message.role == "assistant" && message.tool_calls.is_empty() && message.content.is_null() {
                return wrong(format!(
                    "Invalid value for 'content' of 'messages[{place}]': expected a string, got null."
                ));
            }
            open.extend(message.tool_calls.iter().map(|call| &*call.id));
        }
        match open.first() {
            None => Ok(()),
            Some(call) => {
                wrong(format!("The following tool_call_ids did not have response messages: {call}"))
            }
        }
    }

    /// Refuses parameters of functions that are no object's.
    fn check_schemas(&self) -> Result<(), Refusal> {
        for Tool { function: Function { name, parameters } } in &self.tools {
            let Some(parameters) = parameters else { continue };
            if parameters["type"] != "object" {
                let message = format!(
                    "Invalid schema for function '{name}': schema must be a JSON Schema of 'type: \"object\"', got \
                     'type: {}'.",
                    parameters["type"]
                        .as_str()
                        .map_or_else(|| "\"None\"".to_owned(), |kind| format!("\"{kind}\""))
                );
                let param = "tools[0].function.parameters";
                return Err(Refusal::parameter(param, "invalid_function_parameters", message));
            }
        }
        Ok(())
    }

    /// Refuses an effort that the model does not know.
    fn check_effort(&self) -> Result<(), Refusal> {
        let Some(effort) = self.reasoning_effort.as_deref() else { return Ok(()) };
        let efforts = models::efforts(&self.model);
        if efforts.is_empty() {
            return Err(Refusal::unrecognized("reasoning_effort"));
        }
        if !efforts.contains(&effort) {
            let message = format!(
                "Unsupported value: 'reasoning_effort' does not support '{effort}' with this model. Supported values \
                 are: {efforts:?}."
            );
            return Err(Refusal::parameter("reasoning_effort", "unsupported_value", message));
        }
        Ok(())
    }

    /// The conversation as the script reads it.
    pub(super) fn conversation(&self) -> Conversation {
        let messages = self.messages.iter().map(Message::said).collect();
        let may_call = self.tool_choice.as_ref().is_none_or(|choice| choice != "none");
        let tools = self.tools.iter().filter(|_| may_call).map(|tool| tool.function.name.clone());
        Conversation { messages, tools: tools.collect() }
    }

    pub(super) fn prompt_tokens(&self) -> usize {
        self.messages.iter().map(|message| tokens(&message.text())).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TODAY: Date = jiff::civil::date(2026, 11, 30);

    /// A request with this user message and the tool `end_call`.
    fn said(text: &str) -> Value {
        json!({
            "model": "gpt-6-luna", "reasoning_effort": "none", "stream": true,
            "messages": [{"role": "system", "content": "You are Ada."}, {"role": "user", "content": text}],
            "tools": [{"type": "function", "function": {"name": "end_call", "parameters": {"type": "object"}}}],
        })
    }

    fn request(body: &Value) -> Result<Completion, (u16, Option<&'static str>)> {
        Completion::parse(body.to_string().as_bytes(), TODAY)
            .map_err(|refusal| (refusal.status.as_u16(), refusal.code))
    }

    #[test]
    fn messages_in_a_wrong_order_are_refused() {
        let user = json!({"role": "user", "content": "Goodbye."});
        let calls = |ids: &[&str]| {
            let calls: Vec<_> = ids
                .iter()
                .map(|id| json!({"id": id, "type": "function", "function": {"name": "end_call", "arguments": "{}"}}))
                .collect();
            json!({"role": "assistant", "tool_calls": calls})
        };
        let result = |id: &str| json!({"role": "tool", "tool_call_id": id, "content": "done"});
        let order = |messages: Value| {
            let mut body = said("Hello.");
            body["messages"] = messages;
            request(&body).map(|_| ())
        };
        assert_eq!(order(json!([user, calls(&["a", "b"]), result("b"), result("a"), user])), Ok(()));
        let refused = Err((400, None));
        assert_eq!(order(json!([user, result("a")])), refused, "no call");
        assert_eq!(order(json!([user, calls(&["a"]), result("b")])), refused, "another call's");
        assert_eq!(order(json!([user, calls(&["a"]), result("a"), result("a")])), refused, "twice");
        assert_eq!(order(json!([user, calls(&["a", "b"]), result("a"), user])), refused, "too few");
        assert_eq!(order(json!([user, calls(&["a"])])), refused, "none");
        assert_eq!(order(json!([{"role": "agent", "content": "Hello."}])), refused, "an unknown role");
        assert_eq!(order(json!([user, {"role": "assistant"}])), refused, "nothing");
    }

    #[test]
    fn wrong_requests_are_refused_as_by_the_api() {
        let with = |param: &str, value: Value| {
            let mut body = said("Hello.");
            body[param] = value;
            request(&body).map(|_| ())
        };
        assert_eq!(with("model", Value::Null), Err((400, Some("missing_required_parameter"))));
        assert_eq!(with("messages", Value::Null), Err((400, Some("missing_required_parameter"))));
        assert_eq!(with("messages", json!([])), Err((400, Some("empty_array"))));
        assert_eq!(with("messages", json!("Hello")), Err((400, None)));
        assert_eq!(with("model", json!("llama")), Err((404, Some("model_not_found"))));
        assert_eq!(with("model", json!("o3-mini")), Err((404, Some("model_not_found"))), "it is retired");
        assert_eq!(with("max_tokens", json!(100)), Err((400, Some("unsupported_parameter"))));
        assert_eq!(with("max_completion_tokens", json!(100)), Ok(()));
        assert_eq!(with("temperature", json!(0.0)), Ok(()), "without reasoning a temperature is allowed");
        assert_eq!(
            with("reasoning_effort", json!("low")),
            Err((400, Some("unsupported_parameter"))),
            "tools"
        );
        assert_eq!(with("top_k", json!(3)), Err((400, None)), "it is unknown");
        assert_eq!(with("reasoning_effort", json!("minimal")), Err((400, Some("unsupported_value"))));
        let schema = |parameters: Value| {
            with("tools", json!([{"type": "function", "function": {"name": "f", "parameters": parameters}}]))
        };
        assert_eq!(schema(json!({})), Err((400, Some("invalid_function_parameters"))));
        assert_eq!(schema(json!({"type": "string"})), Err((400, Some("invalid_function_parameters"))));
        assert_eq!(schema(json!({"type": "object", "properties": {}})), Ok(()));
        assert_eq!(Completion::parse(b"{", TODAY).unwrap_err().status, StatusCode::BAD_REQUEST);
    }

    #[test]
    fn a_reasoning_model_refuses_a_temperature_and_an_older_one_does_not() {
        let mut body =
            json!({"model": "gpt-5-mini", "messages": [{"role": "user", "content": "Hi"}], "temperature": 0});
        assert_eq!(request(&body).map(|_| ()), Err((400, Some("unsupported_value"))));
        body["model"] = json!("gpt-4o");
        body["max_tokens"] = json!(100);
        assert!(request(&body).is_ok());
        body["reasoning_effort"] = json!("none");
        assert_eq!(request(&body).map(|_| ()), Err((400, None)), "it does not reason");
    }
}
