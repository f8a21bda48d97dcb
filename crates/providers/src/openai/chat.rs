//! `OpenAI`'s chat completions, streamed: `POST {base}/chat/completions`.
//!
//! [`ChatCompletions`] sends the request and reads the stream; `chunks.rs` assembles its events, `failures.rs`
//! turns what went wrong into an [`Error`].

use std::{collections::VecDeque, time::Duration};

use futures_util::{FutureExt, StreamExt, TryStreamExt, future::BoxFuture, stream};
use reqwest::Url;
use serde_json::{Map, Value, json};
use switchboard_model::agents::{ModelSettings, Tool};
use tokio::time::{Instant, timeout_at};

use super::{
    VENDOR,
    chunks::Chunks,
    failures::{lost, malformed, refused},
};
use crate::{
    Error, Providers, Secret, StreamTimeouts, egress,
    endpoints::join,
    language_model::{self, ChatMessage, Conversation, Generation, GenerationEvent, LanguageModel, ToolCall},
    sse,
    unusable::Unusable,
};

/// Maximum wait for the usage after the last words; servers that send it do so at once.
const USAGE_TIMEOUT: Duration = Duration::from_secs(1);

/// One model on one server, with one key.
#[derive(Debug, Clone)]
pub struct ChatCompletions {
    http: reqwest::Client,
    base: Url,
    key: Secret,
    settings: ModelSettings,
    timeouts: StreamTimeouts,
}

impl ChatCompletions {
    /// For the configured server and key.
    ///
    /// # Errors
    /// There is no key.
    pub fn new(
        providers: &Providers,
        settings: &ModelSettings,
        timeouts: StreamTimeouts,
    ) -> Result<Self, Unusable> {
        Ok(Self {
            http: providers.http.clone(),
            base: providers.endpoints.of(VENDOR).clone(),
            key: providers.key(VENDOR)?,
            settings: settings.clone(),
            timeouts,
        })
    }
}

impl LanguageModel for ChatCompletions {
    fn connect_ahead(&self) -> BoxFuture<'static, ()> {
        let (http, base) = (self.http.clone(), self.base.clone());
        async move { egress::open_ahead(&http, &base).await }.boxed()
    }

    fn generate(&self, conversation: &Conversation<'_>) -> Generation {
        let body = request_body(&self.settings, conversation);
        let url = join(&self.base, "/chat/completions");
        let request = self.http.post(url).bearer_auth(self.key.reveal()).json(&body);
        stream::once(open(request, self.timeouts)).map_ok(Response::into_stream).try_flatten().boxed()
    }
}

async fn open(request: reqwest::RequestBuilder, timeouts: StreamTimeouts) -> Result<Response, Error> {
    let deadline = Instant::now() + timeouts.first;
    let response = match timeout_at(deadline, request.send()).await {
        Ok(sent) => sent.map_err(lost)?,
        Err(_) => return Err(Error::silent(VENDOR, timeouts.first)),
    };
    if !response.status().is_success() {
        return Err(refused(response).await);
    }
    Ok(Response {
        response,
        deadline,
        waiting_for: timeouts.first,
        idle: timeouts.idle,
        decoder: sse::Decoder::default(),
        chunks: Chunks::default(),
        ready: VecDeque::new(),
        over: false,
    })
}

/// A response that is being read.
#[expect(clippy::struct_field_names, reason = "it is the HTTP response of this one")]
struct Response {
    response: reqwest::Response,
    /// When the next event must be here. Comments that only keep the connection alive do not move it.
    deadline: Instant,
    waiting_for: Duration,
    idle: Duration,
    decoder: sse::Decoder,
    chunks: Chunks,
    ready: VecDeque<Result<GenerationEvent, Error>>,
    over: bool,
}

impl Response {
    fn into_stream(self) -> impl futures_util::Stream<Item = Result<GenerationEvent, Error>> + Send {
        stream::unfold(self, |mut response| async move {
            loop {
                if let Some(event) = response.ready.pop_front() {
                    return Some((event, response));
                }
                if response.over {
                    return None;
                }
                let mut events = Vec::new();
                let read = response.read(&mut events).await;
                response.ready.extend(events.into_iter().map(Ok));
                if let Err(error) = read {
                    response.over = true;
                    response.ready.push_back(Err(error));
                }
            }
        })
    }

    /// Waits for one chunk of bytes and takes the events it completes.
    async fn read(&mut self, events: &mut Vec<GenerationEvent>) -> Result<(), Error> {
        let chunk = match timeout_at(self.deadline, self.response.chunk()).await {
            Ok(chunk) => chunk,
            // Complete except for its usage, and the server did not close the stream.
            Err(_) if self.chunks.is_complete() => Ok(None),
            Err(_) => return Err(Error::silent(VENDOR, self.waiting_for)),
        };
        let mut data = Vec::new();
        match chunk {
            Ok(Some(bytes)) => self.decoder.push(&bytes, &mut data).map_err(malformed)?,
            Ok(None) => {
                self.over = true;
                self.decoder.finish(&mut data).map_err(malformed)?;
            }
            Err(_) if self.chunks.is_complete() => self.over = true,
            Err(error) => return Err(lost(error)),
        }
        for data in &data {
            self.over |= self.chunks.push(data, events)?;
        }
        if self.over {
            return self.chunks.finish(events);
        }
        if !data.is_empty() {
            self.waiting_for =
                if self.chunks.is_complete() { USAGE_TIMEOUT.min(self.idle) } else { self.idle };
            self.deadline = Instant::now() + self.waiting_for;
        }
        Ok(())
    }
}

fn request_body(settings: &ModelSettings, conversation: &Conversation<'_>) -> Value {
    let mut body = Map::new();
    body.insert("model".into(), json!(settings.model));
    body.insert("messages".into(), wire_messages(conversation.prompt, conversation.messages));
    body.insert("stream".into(), json!(true));
    body.insert("stream_options".into(), json!({"include_usage": true, "include_obfuscation": false}));
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
    Value::Object(body)
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
            token_limit: "max_completion_tokens",
            reasoning_effort: Some(effort),
            takes_temperature,
        };
        match generation(model) {
            // From 5.1 on, a model can be told not to reason, and then takes a temperature.
            Some(generation) if generation >= (5, 1) => reasoning("none", true),
            Some((5, _)) => reasoning("minimal", false),
            None if is_o_series(model) => reasoning("low", false),
            // Compatible servers know only the old name of the limit.
            _ => Self { token_limit: "max_tokens", reasoning_effort: None, takes_temperature: true },
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
    // Some compatible servers refuse a function without a schema.
    let parameters =
        function.parameters.clone().map_or(json!({"type": "object", "properties": {}}), Value::Object);
    wire.insert("parameters".into(), parameters);
    json!({"type": "function", "function": wire})
}

fn wire_messages(prompt: Option<&str>, messages: &[ChatMessage]) -> Value {
    let system = prompt.map(|prompt| json!({"role": "system", "content": prompt}));
    let mut wire: Vec<Value> = system.into_iter().collect();
    for (position, message) in messages.iter().enumerate() {
        match message {
            ChatMessage::User(content) => wire.push(json!({"role": "user", "content": content})),
            ChatMessage::Agent(content) => wire.push(json!({"role": "assistant", "content": content})),
            ChatMessage::System(content) => wire.push(json!({"role": "system", "content": content})),
            ChatMessage::ToolCalls(calls) => {
                let wire_calls: Value = calls.iter().map(wire_call).collect();
                let spoke_before = position > 0 && matches!(messages[position - 1], ChatMessage::Agent(_));
                match wire.last_mut() {
                    Some(spoken) if spoke_before => spoken["tool_calls"] = wire_calls,
                    _ => wire.push(json!({"role": "assistant", "content": null, "tool_calls": wire_calls})),
                }
                wire.extend(calls.iter().map(|call| wire_result(call, &messages[position..])));
            }
            // Sent right after its call, see above.
            ChatMessage::ToolResult { .. } => {}
        }
    }
    Value::Array(wire)
}

/// The API wants a result right after every call. In the conversation other messages may stand between the two, or
/// there is no result yet.
fn wire_result(call: &ToolCall, messages: &[ChatMessage]) -> Value {
    let result = messages.iter().find_map(|message| match message {
        ChatMessage::ToolResult { call: id, content } if *id == call.id => Some(content.as_str()),
        _ => None,
    });
    let content = result.unwrap_or(r#"{"error":"there is no result yet"}"#);
    json!({"role": "tool", "tool_call_id": call.id, "content": content})
}

fn wire_call(call: &ToolCall) -> Value {
    // Some servers parse the arguments again and refuse invalid ones, which the model itself wrote.
    let arguments = if language_model::arguments(call).is_some() { call.arguments.as_str() } else { "{}" };
    json!({"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}})
}

#[cfg(test)]
mod tests {
    use switchboard_model::agents::{Function, ToolKind};

    use super::*;

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
        assert_eq!(
            request_body(&settings, &Conversation { prompt: Some("Be brief."), messages: &messages }),
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
