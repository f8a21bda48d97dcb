//! Servers that speak `OpenAI`'s protocol, each in its own way. The streams in `compatible/` have the shapes of each server's
//! documents and sources of November 2026, all with the same response: words, a call, and hidden reasoning.

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    extract::Request,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::StreamExt;
use serde_json::{Value, json};
use switchboard_model::{
    agents::{Function, ModelSettings, Tool, ToolKind},
    catalogue,
};
use switchboard_providers::{
    Error, Providers,
    language_model::{ChatMessage, Conversation, FinishReason, GenerationEvent, LanguageModel, ToolCall},
    openai::chat::ChatCompletions,
};

use crate::support::{PATIENT, Server, nowhere};

/// The parts of a request that a server saw.
#[derive(Debug, Clone)]
struct Seen {
    target: String,
    authorization: Option<String>,
    api_key: Option<String>,
    body: Value,
}

/// A server below `/v1`, or any other path, that answers each request.
async fn serve(
    answer: impl Fn(&Seen) -> Response + Clone + Send + Sync + 'static,
) -> (Server, Arc<Mutex<Vec<Seen>>>) {
    let requests = Arc::<Mutex<Vec<Seen>>>::default();
    let seen_by = requests.clone();
    let handler = async move |request: Request| {
        let (authorization, api_key) = {
            let header = |name: &str| Some(request.headers().get(name)?.to_str().unwrap().to_owned());
            (header("authorization"), header("api-key"))
        };
        let target = request.uri().to_string();
        let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
        let seen = Seen { target, authorization, api_key, body: serde_json::from_slice(&body).unwrap() };
        let response = answer(&seen);
        seen_by.lock().unwrap().push(seen);
        response
    };
    (Server::http(Router::new().fallback(handler)).await, requests)
}

fn streamed(stream: &'static str) -> Response {
    ([(header::CONTENT_TYPE, "text/event-stream")], stream).into_response()
}

/// The providers with a customer's server in the place of the vendor's.
fn at(server: &Server, path: &str) -> Providers {
    let mut providers = nowhere().providers;
    let url = format!("http://{}{path}", server.address).parse().unwrap();
    providers.endpoints.set(catalogue::connection("openai").unwrap(), url);
    providers
}

async fn generate(
    providers: &Providers,
    model: &str,
    messages: &[ChatMessage],
) -> Vec<Result<GenerationEvent, Error>> {
    let function = Function { name: "look".into(), description: None, parameters: None };
    let tools = vec![Tool { kind: ToolKind::Function, function }];
    let settings = ModelSettings { model: model.into(), tools, ..ModelSettings::default() };
    let model = ChatCompletions::new(providers, &settings, PATIENT).unwrap();
    model.generate(&Conversation { prompt: Some("Be brief."), messages }).collect().await
}

fn hello() -> [ChatMessage; 1] {
    [ChatMessage::User("When?".into())]
}

/// Checks that the stream of a server is read: its words, its call and, if it reports it, its usage. Returns the call.
async fn check(model: &str, stream: &'static str, has_usage: bool) -> (ToolCall, Seen) {
    let (server, requests) = serve(move |_| streamed(stream)).await;
    let events = generate(&at(&server, "/v1"), model, &hello()).await;
    let mut events: Vec<GenerationEvent> = events.into_iter().map(Result::unwrap).collect();
    assert!(events.remove(0) == GenerationEvent::Text("One moment.".into()), "{events:?}");
    let GenerationEvent::ToolCall(call) = events.remove(0) else { panic!("{events:?}") };
    assert_eq!(call.name, "look");
    let arguments: Value = serde_json::from_str(&call.arguments).unwrap();
    assert_eq!(arguments, json!({"day": "Monday"}));
    if has_usage {
        let usage = GenerationEvent::Usage {
            input_tokens: 90,
            output_tokens: 21,
            cached_tokens: 0,
            cache_write_tokens: 0,
        };
        assert!(events.remove(0) == usage, "{events:?}");
    }
    assert!(events == [GenerationEvent::Finished(FinishReason::ToolCalls)], "{events:?}");
    let seen = requests.lock().unwrap().remove(0);
    assert_eq!(seen.target, "/v1/chat/completions");
    assert_eq!(seen.authorization.as_deref(), Some("Bearer sk-1"));
    (call, seen)
}

/// The error of a server that answers `status` with `body`.
async fn refused(status: u16, body: &'static str) -> Error {
    let status = StatusCode::from_u16(status).unwrap();
    let (server, _) = serve(move |_| (status, body).into_response()).await;
    generate(&at(&server, "/v1"), "some-model", &hello()).await.remove(0).unwrap_err()
}

/// The error of a server that breaks off with this event.
async fn failed_within(event: &'static str) -> Error {
    let (server, _) = serve(move |_| streamed(event)).await;
    generate(&at(&server, "/v1"), "some-model", &hello()).await.pop().unwrap().unwrap_err()
}

#[tokio::test]
async fn vllm_is_spoken_to() {
    let (call, seen) = check("Qwen/Qwen3-32B", include_str!("compatible/vllm.sse"), false).await;
    assert_eq!(call.id, "chatcmpl-tool-9a");
    assert!(seen.body.get("max_tokens").is_some() && seen.body.get("stream_options").is_none());
    let missing = r#"{"error":{"message":"The model `x` does not exist.","type":"NotFoundError","param":"model","code":404}}"#;
    let error = refused(404, missing).await;
    assert_eq!(
        error.to_string(),
        "openai refused the request (NotFoundError): The model 'x' does not exist."
    );
    let older = r#"{"object":"error","message":"The model `x` does not exist.","type":"NotFoundError","param":null,"code":404}"#;
    assert_eq!(refused(404, older).await.to_string(), error.to_string());
    let within = failed_within("data: {\"error\": {\"object\": \"error\", \"message\": \"out of memory\", \"type\": \"InternalServerError\", \"param\": null, \"code\": 500}}\n\ndata: [DONE]\n\n").await;
    assert!(within.is_retryable(), "{within}");
    let older = failed_within("data: {\"object\": \"error\", \"message\": \"too long\", \"type\": \"BadRequestError\", \"code\": 400}\n\ndata: [DONE]\n\n").await;
    assert_eq!(older.to_string(), "openai refused the request (BadRequestError): too long");
}

#[tokio::test]
async fn ollama_is_spoken_to() {
    let (call, _) = check("llama3.2", include_str!("compatible/ollama.sse"), false).await;
    assert_eq!(call.id, "call_x7");
    let missing = r#"{"error":{"message":"model \"x\" not found, try pulling it first","type":"api_error","param":null,"code":null}}"#;
    let error = refused(404, missing).await;
    assert!(!error.is_retryable() && error.to_string().contains("try pulling it first"), "{error}");
    // A model without functions.
    let tools = r#"{"error":{"message":"registry.ollama.ai/library/gemma:2b does not support tools","type":"api_error","param":null,"code":null}}"#;
    assert!(refused(400, tools).await.to_string().contains("does not support tools"));
}

#[tokio::test]
async fn llama_cpp_is_spoken_to() {
    check("qwen3", include_str!("compatible/llama_cpp.sse"), true).await;
    let loading = r#"{"error":{"message":"Loading model","type":"unavailable_error","code":503}}"#;
    assert!(refused(503, loading).await.is_retryable());
    let full = r#"{"error":{"code":400,"message":"the request exceeds the available context size","type":"exceed_context_size_error","n_prompt_tokens":9000,"n_ctx":4096}}"#;
    let error = refused(400, full).await;
    assert!(!error.is_retryable() && error.to_string().contains("exceed_context_size_error"), "{error}");
}

#[tokio::test]
async fn groq_is_spoken_to() {
    check("openai/gpt-oss-120b", include_str!("compatible/groq.sse"), true).await;
    let failed = r#"{"error":{"message":"Failed to call a function.","type":"invalid_request_error","code":"tool_use_failed","failed_generation":"<function=look>my card is 4111</function>"}}"#;
    let error = refused(400, failed).await;
    assert!(error.to_string().contains("tool_use_failed") && !error.to_string().contains("4111"), "{error}");
    let within = failed_within("event: error\ndata: {\"error\":{\"message\":\"over capacity\",\"type\":\"internal_server_error\",\"status_code\":503}}\n\n").await;
    assert!(within.is_retryable(), "{within}");
}

#[tokio::test]
async fn openrouter_is_spoken_to() {
    check("meta-llama/llama-3.3-70b-instruct", include_str!("compatible/openrouter.sse"), true).await;
    let credits = r#"{"error":{"message":"Insufficient credits. Add more.","code":402},"user_id":"u"}"#;
    assert!(!refused(402, credits).await.is_retryable());
    let within = failed_within("data: {\"id\":\"gen-1\",\"object\":\"chat.completion.chunk\",\"provider\":\"Together\",\"error\":{\"code\":502,\"message\":\"Provider disconnected\"},\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\"},\"finish_reason\":\"error\"}]}\n\n").await;
    assert!(within.is_retryable(), "{within}");
}

#[tokio::test]
async fn mistral_is_spoken_to() {
    let (call, seen) = check("magistral-medium-latest", include_str!("compatible/mistral.sse"), true).await;
    assert_eq!(call.id, "D681PevKs");
    assert!(seen.body.get("stream_options").is_none(), "it refuses members that it does not know");
    let extra = r#"{"object":"error","message":{"detail":[{"type":"extra_forbidden","loc":["body","temperature"],"msg":"Extra inputs are not permitted","input":0}]},"type":"invalid_request_error","param":null,"code":null}"#;
    let (server, requests) = serve(move |seen| match seen.body.get("temperature") {
        Some(_) => (StatusCode::UNPROCESSABLE_ENTITY, extra).into_response(),
        None => streamed(include_str!("compatible/mistral.sse")),
    })
    .await;
    let events = generate(&at(&server, "/v1"), "magistral-medium-latest", &hello()).await;
    assert!(!events.is_empty() && events.iter().all(Result::is_ok), "{events:?}");
    assert_eq!(requests.lock().unwrap().len(), 2);
    assert!(!refused(401, r#"{"detail":"Unauthorized"}"#).await.is_retryable());
}

#[tokio::test]
async fn azure_openai_is_spoken_to() {
    const STREAM: &str = include_str!("compatible/azure.sse");
    for (base, target) in [
        ("/openai/deployments/ada", "/openai/deployments/ada/chat/completions?api-version=2024-10-21"),
        (
            "/openai/deployments/ada?api-version=2025-01-01-preview",
            "/openai/deployments/ada/chat/completions?api-version=2025-01-01-preview",
        ),
    ] {
        let (server, requests) = serve(|_| streamed(STREAM)).await;
        let events = generate(&at(&server, base), "ada", &hello()).await;
        assert!(events.iter().all(Result::is_ok) && events.len() == 4, "{events:?}");
        let seen = requests.lock().unwrap().remove(0);
        assert_eq!(seen.target, target);
        assert_eq!((seen.api_key.as_deref(), seen.authorization), (Some("sk-1"), None));
        assert_eq!(seen.body["stream_options"], json!({"include_usage": true}));
    }
    check("gpt-4.1", STREAM, true).await;
    let filtered = r#"{"error":{"message":"The response was filtered.","type":null,"param":"prompt","code":"content_filter","status":400,"innererror":{"code":"ResponsibleAIPolicyViolation"}}}"#;
    let error = refused(400, filtered).await;
    assert_eq!(error.to_string(), "openai refused the request (content_filter): The response was filtered.");
    let missing = r#"{"error":{"code":"DeploymentNotFound","message":"The API deployment for this resource does not exist."}}"#;
    assert!(refused(404, missing).await.to_string().contains("DeploymentNotFound"));
    let within = failed_within("data: {\"choices\":[{\"content_filter_results\":{\"hate\":{\"filtered\":true,\"severity\":\"high\"}},\"delta\":{},\"finish_reason\":\"content_filter\",\"index\":0}]}\n\ndata: [DONE]\n\n").await;
    assert_eq!(
        within.to_string(),
        "openai refused the request (content_filter): its filter blocked the response"
    );
}

#[tokio::test]
async fn geminis_compatible_server_gets_its_signatures_back() {
    let (call, _) = check("gemini-3.8-flash", include_str!("compatible/gemini.sse"), true).await;
    let (server, requests) = serve(|_| streamed(include_str!("compatible/gemini.sse"))).await;
    let result = ChatMessage::ToolResult { call: call.id.clone(), content: "six".into() };
    let messages = [ChatMessage::User("When?".into()), ChatMessage::ToolCalls(vec![call]), result];
    for (model, is_sent) in [("gemini-3.8-flash", true), ("gpt-6-luna", false)] {
        let mut providers = at(&server, "/v1");
        if !is_sent {
            // The vendor's own server, or a simulation of it.
            providers = server.providers();
        }
        let events = generate(&providers, model, &messages).await;
        assert!(!events.is_empty() && events.iter().all(Result::is_ok), "{events:?}");
        let sent = requests.lock().unwrap().remove(0).body["messages"][2]["tool_calls"][0].clone();
        let extra = json!({"google": {"thought_signature": "c2ln"}});
        assert_eq!(sent.get("extra_content"), is_sent.then_some(&extra), "{model}");
    }
}
