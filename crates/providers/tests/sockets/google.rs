use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    extract::Request,
    http::{HeaderMap, StatusCode, Uri, header},
    response::IntoResponse,
    routing::post,
};
use futures_util::StreamExt;
use serde_json::{Value, json};
use switchboard_model::agents::{self, Function, ModelSettings, Tool, ToolKind};
use switchboard_providers::{
    Error, Providers, StreamTimeouts,
    google::generate::GenerateContent,
    language_model::{
        ChatMessage, Conversation, FinishReason, Generation, GenerationEvent, LanguageModel, ToolCall,
    },
};
use tokio::{
    io::AsyncWriteExt,
    sync::Notify,
    time::{sleep, timeout},
};

use crate::support::{CHUNKED, IMPATIENT, PATIENT, SHORT, Server, nowhere, until_closed, write_chunk};

const PATH: &str = "/models/gemini-3.8-flash:streamGenerateContent";

fn settings() -> ModelSettings {
    ModelSettings { model: "gemini-3.8-flash".into(), ..ModelSettings::default() }
}

fn generate(providers: &Providers, timeouts: StreamTimeouts) -> Generation {
    let model = GenerateContent::new(providers, &settings(), timeouts).unwrap();
    let messages = [ChatMessage::User("Hello?".into())];
    model.generate(&Conversation { prompt: None, messages: &messages })
}

async fn events(providers: &Providers, timeouts: StreamTimeouts) -> Vec<Result<GenerationEvent, Error>> {
    generate(providers, timeouts).collect().await
}

async fn failure(status: StatusCode, body: Value) -> Error {
    let answering = post(async move || (status, body.to_string()));
    let server = Server::http(Router::new().route(PATH, answering)).await;
    let mut events = events(&server.providers(), PATIENT).await;
    assert_eq!(events.len(), 1);
    events.remove(0).unwrap_err()
}

fn text(text: &str) -> GenerationEvent {
    GenerationEvent::Text(text.into())
}

const HELLO: &str =
    "data: {\"candidates\":[{\"content\":{\"role\":\"model\",\"parts\":[{\"text\":\"Hello\"}]}}]}\n\n";
const STOP: &str = "data: {\"candidates\":[{\"finishReason\":\"STOP\"}]}\n\n";

#[tokio::test]
async fn a_response_is_read_whatever_its_chunk_boundaries() {
    const STREAM: &str = "data: {\"candidates\":[{\"content\":{\"role\":\"model\",\"parts\":[{\"text\":\"Grüße.\"}]},\"index\":0}],\"usageMetadata\":{\"promptTokenCount\":9,\"totalTokenCount\":9},\"modelVersion\":\"gemini-3.8-flash\",\"responseId\":\"r1\"}\r\n\r\n\
        data: {\"candidates\":[{\"content\":{\"role\":\"model\",\"parts\":[{\"functionCall\":{\"id\":\"f1\",\"name\":\"_2nd\",\"args\":{}},\"thoughtSignature\":\"c2ln\"}]},\"finishReason\":\"STOP\",\"index\":0}],\"usageMetadata\":{\"promptTokenCount\":9,\"candidatesTokenCount\":4,\"thoughtsTokenCount\":3,\"totalTokenCount\":16}}\r\n\r\n";
    let server = Server::raw(|mut socket| async move {
        socket.write_all(CHUNKED.as_bytes()).await.unwrap();
        for piece in STREAM.as_bytes().chunks(7) {
            assert!(write_chunk(&mut socket, piece).await);
        }
        socket.write_all(b"0\r\n\r\n").await.unwrap();
    })
    .await;
    let function = Function { name: "2nd".into(), description: None, parameters: None };
    let tools = vec![Tool { kind: ToolKind::Function, function }];
    let settings = ModelSettings { tools, ..settings() };
    let model = GenerateContent::new(&server.providers(), &settings, PATIENT).unwrap();
    let generation = model.generate(&Conversation { prompt: None, messages: &[] });
    let events: Vec<_> = generation.map(Result::unwrap).collect().await;
    let call = ToolCall {
        id: "f1".into(),
        name: "2nd".into(),
        arguments: "{}".into(),
        provider_state: Some(json!({"google_thought_signature": "c2ln"})),
    };
    let usage =
        GenerationEvent::Usage { input_tokens: 9, output_tokens: 7, cached_tokens: 0, cache_write_tokens: 0 };
    let finished = GenerationEvent::Finished(FinishReason::ToolCalls);
    assert!(events == [text("Grüße."), GenerationEvent::ToolCall(call), usage, finished], "{events:?}");
}

#[tokio::test]
async fn the_request_carries_the_key_the_model_and_the_signatures() {
    let requests = Arc::<Mutex<Vec<Value>>>::default();
    let seen = requests.clone();
    let answer = post(async move |uri: Uri, headers: HeaderMap, body: String| {
        assert_eq!(uri.query(), Some("alt=sse"));
        assert_eq!(headers["x-goog-api-key"], "go-1");
        assert!(headers.get(header::AUTHORIZATION).is_none());
        seen.lock().unwrap().push(serde_json::from_str(&body).unwrap());
        [HELLO, STOP].concat().into_response()
    });
    let server = Server::http(Router::new().route(PATH, answer)).await;
    let call = ToolCall {
        id: "f1".into(),
        name: "look".into(),
        arguments: "{}".into(),
        provider_state: Some(json!({"google_thought_signature": "c2ln"})),
    };
    let messages = [
        ChatMessage::User("Look.".into()),
        ChatMessage::ToolCalls(vec![call]),
        ChatMessage::ToolResult { call: "f1".into(), content: "nothing".into() },
    ];
    let model = server.providers().language_model(&agents::LanguageModel::Google(settings()));
    let conversation = Conversation { prompt: Some("Be brief."), messages: &messages };
    let events: Vec<_> = model.generate(&conversation).map(Result::unwrap).collect().await;
    assert!(events == [text("Hello"), GenerationEvent::Finished(FinishReason::Stop)]);
    let request = requests.lock().unwrap().remove(0);
    assert_eq!(request["systemInstruction"]["parts"][0]["text"], "Be brief.");
    assert_eq!(request["contents"][1]["parts"][0]["thoughtSignature"], "c2ln");
    let response = json!({"id": "f1", "name": "look", "response": {"result": "nothing"}});
    assert_eq!(request["contents"][2], json!({"role": "user", "parts": [{"functionResponse": response}]}));
}

#[tokio::test]
async fn a_silent_server_fails_the_generation() {
    let server = Server::raw(|mut socket| async move { until_closed(&mut socket).await }).await;
    let silent = events(&server.providers(), IMPATIENT).await;
    assert!(
        matches!(&silent[..], [Err(error)] if error.to_string() == "google is unavailable: it sent nothing for 250 ms")
    );
    let server = Server::raw(|mut socket| async move {
        socket.write_all(CHUNKED.as_bytes()).await.unwrap();
        while write_chunk(&mut socket, b": working\n\n").await {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let waiting = events(&server.providers(), IMPATIENT).await;
    assert!(matches!(&waiting[..], [Err(error)] if error.is_retryable()), "{waiting:?}");
}

#[tokio::test]
async fn a_response_that_stalls_or_breaks_fails_after_its_words() {
    for stalls in [true, false] {
        let server = Server::raw(move |mut socket| async move {
            socket.write_all(CHUNKED.as_bytes()).await.unwrap();
            write_chunk(&mut socket, HELLO.as_bytes()).await;
            if stalls {
                until_closed(&mut socket).await;
            }
        })
        .await;
        let events = events(&server.providers(), if stalls { IMPATIENT } else { PATIENT }).await;
        assert!(
            matches!(&events[..], [Ok(GenerationEvent::Text(_)), Err(error)] if error.is_retryable()),
            "{events:?}"
        );
    }
}

#[tokio::test]
async fn a_finished_response_ends_without_a_close() {
    let server = Server::raw(|mut socket| async move {
        socket.write_all(CHUNKED.as_bytes()).await.unwrap();
        write_chunk(&mut socket, [HELLO, STOP].concat().as_bytes()).await;
        until_closed(&mut socket).await;
    })
    .await;
    let events = events(&server.providers(), StreamTimeouts { idle: SHORT, ..PATIENT }).await;
    assert!(matches!(&events[..], [Ok(_), Ok(GenerationEvent::Finished(FinishReason::Stop))]), "{events:?}");
}

#[tokio::test]
async fn dropping_a_generation_closes_its_connection() {
    let closed = Arc::new(Notify::new());
    let notify = closed.clone();
    let server = Server::raw(move |mut socket| {
        let notify = notify.clone();
        async move {
            socket.write_all(CHUNKED.as_bytes()).await.unwrap();
            write_chunk(&mut socket, HELLO.as_bytes()).await;
            until_closed(&mut socket).await;
            notify.notify_one();
        }
    })
    .await;
    let mut generation = generate(&server.providers(), PATIENT);
    assert!(generation.next().await.unwrap().unwrap() == text("Hello"));
    drop(generation);
    timeout(Duration::from_secs(10), closed.notified()).await.expect("the connection is closed");
}

#[tokio::test]
async fn refusals_are_retryable_or_not() {
    let info = json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "12s"});
    let quota = json!({"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "Slow down", "details": [info]}});
    let error = failure(StatusCode::TOO_MANY_REQUESTS, quota).await;
    assert!(error.is_retryable(), "{error}");
    assert_eq!(error.retry_after(), Some(Duration::from_secs(12)));
    let overloaded =
        json!({"error": {"code": 503, "status": "UNAVAILABLE", "message": "The model is overloaded."}});
    assert!(failure(StatusCode::SERVICE_UNAVAILABLE, overloaded).await.is_retryable());
    let retired =
        json!({"error": {"code": 404, "status": "NOT_FOUND", "message": "It is no longer available."}});
    let error = failure(StatusCode::NOT_FOUND, retired).await;
    assert_eq!(error.to_string(), "google refused the request (NOT_FOUND): It is no longer available.");
    let reason = json!({"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"});
    let key = json!({"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": "API key not valid: go-1", "details": [reason]}});
    let error = failure(StatusCode::BAD_REQUEST, key).await;
    assert!(!error.is_retryable() && !error.to_string().contains("go-1"), "{error}");
}

#[tokio::test]
async fn a_blocked_prompt_is_a_refusal() {
    let blocked = "data: {\"promptFeedback\":{\"blockReason\":\"SAFETY\"},\"usageMetadata\":{\"promptTokenCount\":9}}\n\n";
    let server = Server::http(Router::new().route(PATH, post(async move || blocked))).await;
    let events = events(&server.providers(), PATIENT).await;
    assert!(
        matches!(&events[..], [Ok(GenerationEvent::Usage { input_tokens: 9, .. }), Err(error)] if !error.is_retryable()),
        "{events:?}"
    );
}

#[tokio::test]
async fn a_refused_level_of_thinking_is_replaced_from_then_on() {
    let levels = Arc::<Mutex<Vec<Value>>>::default();
    let seen = levels.clone();
    let answer = post(async move |request: Request| {
        let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        let level = body["generationConfig"]["thinkingConfig"]["thinkingLevel"].clone();
        seen.lock().unwrap().push(level.clone());
        if level != "MINIMAL" {
            return [HELLO, STOP].concat().into_response();
        }
        let message =
            "Thinking level MINIMAL is not supported for this model. Please retry with other thinking level.";
        let error = json!({"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": message}});
        (StatusCode::BAD_REQUEST, error.to_string()).into_response()
    });
    let server = Server::http(Router::new().route("/models/{model}", answer)).await;
    let settings = ModelSettings { model: "gemini-3.6-flash".into(), ..settings() };
    let model = GenerateContent::new(&server.providers(), &settings, PATIENT).unwrap();
    for _ in 0..2 {
        let events: Vec<_> =
            model.generate(&Conversation { prompt: None, messages: &[] }).map(Result::unwrap).collect().await;
        assert!(events == [text("Hello"), GenerationEvent::Finished(FinishReason::Stop)]);
    }
    assert_eq!(*levels.lock().unwrap(), ["MINIMAL", "LOW", "LOW"]);
}

#[tokio::test]
async fn a_missing_key_fails_the_generation() {
    let mut providers = nowhere().providers;
    providers.keys.remove("google_api_key");
    let model = providers.language_model(&agents::LanguageModel::Google(settings()));
    let events: Vec<_> = model.generate(&Conversation { prompt: None, messages: &[] }).collect().await;
    let [Err(Error::Rejected { vendor: "google", code, .. })] = &events[..] else { panic!("{events:?}") };
    assert_eq!(code, "missing_key");
}
