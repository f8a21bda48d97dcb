//! The OpenAI server: chat completions, streamed or whole, and the list of models.
//!
//! The wire is true, with the refusals a real server has for reasoning models; the model is a script
//! (`scripts/model.json`, or what came with the key: `behaviour`) that reads nothing but the conversation it
//! is sent. Token counts are estimates: a token is four characters.

#[cfg(test)]
mod fault_tests;
mod script;

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Json, Router,
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use crate::behaviour::{self, Admission, Interruption, Keys, Part, Service};
pub(crate) use script::Script;

/// Time between two tokens of a streamed answer: 50 tokens a second.
const TOKEN_TIME: Duration = Duration::from_millis(20);

const COMPLETIONS: &str = "/v1/chat/completions";

/// Ids the list of models has; others of the same families answer too.
const MODELS: [&str; 3] = ["gpt-6-luna", "gpt-6-sol", "gpt-4o"];

/// The server's routes (under `/v1`); `api_key` is its own key, others come by `/sandbox/keys`. What is kept
/// open on purpose ends with the token.
pub(crate) fn router(api_key: String, stop: &CancellationToken) -> Router {
    let keys = Arc::new(Keys::new(api_key, &[Part::Chat]));
    Router::new()
        .route(COMPLETIONS, post(complete))
        .route("/v1/models", get(models))
        .fallback(async |request: Request| {
            let message = format!("Invalid URL ({} {})", request.method(), request.uri().path());
            Refusal::new(StatusCode::NOT_FOUND, message)
        })
        .layer(middleware::from_fn_with_state(Arc::clone(&keys), admit))
        .with_state(stop.clone())
        .merge(behaviour::router(keys))
}

/// Refuses requests without a key, and those that are to fail; gives every answer an id.
async fn admit(State(keys): State<Arc<Keys>>, mut request: Request, next: Next) -> Response {
    let authorization = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let part = (request.uri().path() == COMPLETIONS).then_some(Part::Chat);
    let mut response = match authorization.and_then(|value| value.strip_prefix("Bearer ")) {
        None => Refusal::key("You didn't provide an API key.").into_response(),
        Some(key) => match keys.admit(key, part) {
            Admission::Served(service) => {
                request.extensions_mut().insert(service);
                next.run(request).await
            }
            Admission::Unknown => Refusal::key("Incorrect API key provided.").into_response(),
            Admission::Refused => {
                let message = "The server is currently overloaded. Please try again later.";
                Refusal::new(StatusCode::SERVICE_UNAVAILABLE, message).into_response()
            }
            Admission::RateLimited => {
                let refusal = Refusal::new(StatusCode::TOO_MANY_REQUESTS, "Rate limit reached for requests.");
                let code = Some("rate_limit_exceeded");
                ([(header::RETRY_AFTER, "1")], Refusal { code, ..refusal }).into_response()
            }
        },
    };
    if let Ok(id) = HeaderValue::from_str(&crate::sid("req_")) {
        response.headers_mut().insert("x-request-id", id);
    }
    response
}

/// A request that is not served, in the API's error body.
#[derive(Debug, PartialEq, Eq)]
struct Refusal {
    status: StatusCode,
    message: String,
    param: Option<&'static str>,
    code: Option<&'static str>,
}

impl Refusal {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), param: None, code: None }
    }

    fn key(message: &str) -> Self {
        Self { code: Some("invalid_api_key"), ..Self::new(StatusCode::UNAUTHORIZED, message) }
    }

    fn parameter(param: &'static str, code: &'static str, message: impl Into<String>) -> Self {
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

async fn models() -> Json<Value> {
    let model = |id| json!({ "id": id, "object": "model", "created": 0, "owned_by": "sandbox", "shutdown_date": null });
    Json(json!({ "object": "list", "data": MODELS.map(model) }))
}

/// What this server reads of a request.
#[derive(Debug, Deserialize)]
struct Completion {
    model: String,
    messages: Vec<Message>,
    #[serde(default)]
    stream: bool,
    stream_options: Option<StreamOptions>,
    #[serde(default)]
    tools: Vec<Tool>,
    tool_choice: Option<Value>,
    max_tokens: Option<u64>,
    temperature: Option<f64>,
    top_p: Option<f64>,
    reasoning_effort: Option<String>,
}

#[derive(Debug, Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

#[derive(Debug, Deserialize)]
struct Message {
    role: String,
    #[serde(default)]
    content: Value,
}

#[derive(Debug, Deserialize)]
struct Tool {
    function: Function,
}

#[derive(Debug, Deserialize)]
struct Function {
    name: String,
}

impl Message {
    /// Whether it is an instruction, of nobody who takes part in the conversation.
    fn is_note(&self) -> bool {
        self.role == "system" || self.role == "developer"
    }

    /// The text of the message, whichever of its two forms the content has.
    fn text(&self) -> String {
        match &self.content {
            Value::String(text) => text.clone(),
            Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
            _ => String::new(),
        }
    }
}

impl Completion {
    /// Reads and checks a request's body as the API does.
    fn parse(body: &[u8]) -> Result<Self, Refusal> {
        let unreadable = "We could not parse the JSON body of your request.";
        let body: Map<String, Value> =
            serde_json::from_slice(body).map_err(|_| Refusal::new(StatusCode::BAD_REQUEST, unreadable))?;
        for required in ["model", "messages"] {
            if body.get(required).is_none_or(Value::is_null) {
                let message = format!("Missing required parameter: '{required}'.");
                return Err(Refusal::parameter(required, "missing_required_parameter", message));
            }
        }
        let request: Self = serde_json::from_value(Value::Object(body))
            .map_err(|error| Refusal::new(StatusCode::BAD_REQUEST, format!("Invalid request: {error}")))?;
        if request.messages.is_empty() {
            let message = "Invalid 'messages': empty array. Expected an array with minimum length 1.";
            return Err(Refusal::parameter("messages", "empty_array", message));
        }
        request.check()?;
        Ok(request)
    }

    /// What the model asked for refuses.
    fn check(&self) -> Result<(), Refusal> {
        let model = &self.model;
        if !["gpt-", "chatgpt-", "o1", "o3", "o4"].iter().any(|family| model.starts_with(family)) {
            let message = format!("The model `{model}` does not exist or you do not have access to it.");
            let refusal = Refusal::new(StatusCode::NOT_FOUND, message);
            return Err(Refusal { code: Some("model_not_found"), ..refusal });
        }
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
        if model.starts_with("gpt-6") && !self.tools.is_empty() {
            let message = "Function tools are supported with this model here only with reasoning_effort 'none'. \
                           Use the Responses API instead.";
            return Err(Refusal::parameter("tools", "unsupported_parameter", message));
        }
        Ok(())
    }

    fn prompt_tokens(&self) -> usize {
        self.messages.iter().map(|message| tokens(&message.text())).sum()
    }
}

/// An estimate of how many tokens a text has: four characters each, at least one.
fn tokens(text: &str) -> usize {
    text.chars().count().div_ceil(4).max(1)
}

async fn complete(
    State(stop): State<CancellationToken>,
    Extension(service): Extension<Service>,
    body: Bytes,
) -> Response {
    let request = match Completion::parse(&body) {
        Ok(request) => request,
        Err(refusal) => return refusal.into_response(),
    };
    let reply = match service.script.map_or_else(|| Script::load().map(Arc::new), Ok) {
        Ok(script) => script.reply(&request),
        Err(error) => {
            return Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response();
        }
    };
    let after = reply.after;
    let (content_type, mut pieces, half) = answer(&request, &reply);
    match service.interruption {
        None => {}
        Some(Interruption::Silent) => pieces.clear(),
        Some(Interruption::Break | Interruption::Stall) => pieces.truncate(half),
    }
    let paced = stream::iter(pieces).enumerate().then(move |(position, piece)| async move {
        tokio::time::sleep(if position == 0 { after + TOKEN_TIME } else { TOKEN_TIME }).await;
        Ok(Bytes::from(piece))
    });
    let body = behaviour::body(paced, service.interruption, stop);
    ([(header::CONTENT_TYPE, content_type)], body).into_response()
}

/// The answer on the wire: its type, its pieces, and how many of them are half of it.
fn answer(request: &Completion, reply: &script::Reply) -> (&'static str, Vec<String>, usize) {
    let (id, created) = (crate::sid("chatcmpl-"), crate::now().as_second());
    let ids: Vec<String> = reply.calls.iter().map(|_| crate::sid("call_")).collect();
    let usage = reply.usage(request.prompt_tokens());
    if !request.stream {
        let choice = json!({
            "index": 0, "message": reply.message(&ids), "logprobs": null, "finish_reason": reply.finish_reason(),
        });
        let whole = json!({
            "id": id, "object": "chat.completion", "created": created, "model": request.model,
            "choices": [choice], "usage": usage,
        });
        let mut first = whole.to_string();
        let second = first.split_off(first.floor_char_boundary(first.len() / 2));
        return ("application/json", vec![first, second], 1);
    }
    let include_usage = request.stream_options.as_ref().is_some_and(|options| options.include_usage);
    let head =
        json!({ "id": id, "object": "chat.completion.chunk", "created": created, "model": request.model });
    let choices = reply.choices(&ids);
    // Between the role and the end are the tokens.
    let half = 1 + (choices.len() - 2).div_ceil(2);
    ("text/event-stream; charset=utf-8", events(&head, choices, include_usage.then_some(usage)), half)
}

/// The server-sent events of a streamed answer; `usage` only if it was asked for.
fn events(head: &Value, choices: Vec<Value>, usage: Option<Value>) -> Vec<String> {
    let chunk = |choices: Value, usage: Option<Value>| {
        let mut chunk = head.clone();
        chunk["choices"] = choices;
        if let Some(usage) = usage {
            chunk["usage"] = usage;
        }
        format!("data: {chunk}\n\n")
    };
    let unknown = usage.is_some().then_some(Value::Null);
    let mut events: Vec<String> =
        choices.into_iter().map(|choices| chunk(choices, unknown.clone())).collect();
    events.extend(usage.map(|usage| chunk(json!([]), Some(usage))));
    events.push("data: [DONE]\n\n".to_owned());
    events
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A request of a caller who said this, with the tool `end_call`.
    fn said(text: &str) -> Value {
        json!({
            "model": "gpt-6-luna", "reasoning_effort": "none", "stream": true,
            "messages": [{"role": "system", "content": "You are Ada."}, {"role": "user", "content": text}],
            "tools": [{"type": "function", "function": {"name": "end_call", "parameters": {}}}],
        })
    }

    fn request(body: &Value) -> Result<Completion, (u16, Option<&'static str>)> {
        Completion::parse(body.to_string().as_bytes())
            .map_err(|refusal| (refusal.status.as_u16(), refusal.code))
    }

    #[test]
    fn requests_are_refused_as_the_api_refuses_them() {
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
        assert_eq!(with("max_tokens", json!(100)), Err((400, Some("unsupported_parameter"))));
        assert_eq!(with("max_completion_tokens", json!(100)), Ok(()));
        assert_eq!(with("temperature", json!(0.0)), Ok(()), "without reasoning a temperature is allowed");
        assert_eq!(
            with("reasoning_effort", json!("low")),
            Err((400, Some("unsupported_parameter"))),
            "tools"
        );
        assert_eq!(Completion::parse(b"{").unwrap_err().status, StatusCode::BAD_REQUEST);
    }

    #[test]
    fn a_model_that_reasons_takes_no_temperature_and_an_older_one_takes_all() {
        let mut body =
            json!({"model": "gpt-5-mini", "messages": [{"role": "user", "content": "Hi"}], "temperature": 0});
        assert_eq!(request(&body).map(|_| ()), Err((400, Some("unsupported_value"))));
        body["model"] = json!("gpt-4o");
        body["max_tokens"] = json!(100);
        assert!(request(&body).is_ok());
    }

    #[test]
    fn the_usage_comes_last_and_only_if_asked_for() {
        let reply = script::Reply { text: "Hello there.".to_owned(), ..script::Reply::default() };
        let choices = reply.choices(&[]);
        let head = json!({"id": "c1"});
        let plain = events(&head, choices.clone(), None);
        assert_eq!(plain.last().unwrap(), "data: [DONE]\n\n");
        assert!(!plain.concat().contains("usage"));
        let usage = reply.usage(10);
        let with_usage = events(&head, choices, Some(usage));
        assert_eq!(with_usage.len(), plain.len() + 1);
        assert!(with_usage[0].contains(r#""usage":null"#));
        let last: Value =
            serde_json::from_str(with_usage[plain.len() - 1].strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(last["choices"], json!([]));
        assert_eq!(
            (&last["usage"]["completion_tokens"], &last["usage"]["total_tokens"]),
            (&json!(3), &json!(13))
        );
    }
}
