use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    http::{HeaderMap, StatusCode, header},
    response::IntoResponse,
    routing::post,
};
use futures_util::StreamExt;
use serde_json::{Value, json};
use switchboard_model::{
    agents::{self, ModelSettings},
    catalogue,
};
use switchboard_providers::{
    Error, Providers, StreamTimeouts,
    language_model::{
        ChatMessage, Conversation, FinishReason, Generation, GenerationEvent, LanguageModel, ToolCall,
    },
    openai::chat::ChatCompletions,
};
use tokio::{
    io::AsyncWriteExt,
    sync::Notify,
    time::{sleep, timeout},
};

use crate::support::{CHUNKED, IMPATIENT, PATIENT, SHORT, Server, nowhere, until_closed, write_chunk};

const CONVERSATION: Conversation<'static> = Conversation { prompt: None, messages: &[] };

fn generate(providers: &Providers, timeouts: StreamTimeouts) -> Generation {
    let model = ChatCompletions::new(providers, &ModelSettings::default(), timeouts).unwrap();
    let messages = [ChatMessage::User("Hello?".into())];
    model.generate(&Conversation { messages: &messages, ..CONVERSATION })
}

async fn events(providers: &Providers, timeouts: StreamTimeouts) -> Vec<Result<GenerationEvent, Error>> {
    generate(providers, timeouts).collect().await
}

async fn failure(status: StatusCode, headers: &[(&'static str, &'static str)], body: &'static str) -> Error {
    let headers: HeaderMap =
        headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
    let answering = post(async move || (status, headers, body));
    let server = Server::http(Router::new().route("/chat/completions", answering)).await;
    let mut events = events(&server.providers(), PATIENT).await;
    assert_eq!(events.len(), 1);
    events.remove(0).unwrap_err()
}

fn text(text: &str) -> GenerationEvent {
    GenerationEvent::Text(text.into())
}

const HELLO: &[u8] = b"data: {\"choices\":[{\"delta\":{\"content\":\"Hello\"}}]}\n\n";
const STOP: &[u8] = b"data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";

#[tokio::test]
async fn a_response_is_read_whatever_its_chunk_boundaries() {
    const STREAM: &str = ": keep-alive\n\n\
        data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}],\"usage\":null}\r\n\r\n\
        data:{\"choices\":[{\"delta\":{\"content\":\"Grüße.\"}}]}\n\n\
        data: not json\n\n\
        event: x\ndata: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"a\",\"function\":{\"name\":\"end_call\",\"arguments\":\"{\"}}]}}]}\n\n\
        data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"}\"}}]}}]}\n\n\
        data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"tool_calls\"}]}\n\n\
        data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":4}}\n\n\
        data: [DONE]\n\n";
    let server = Server::raw(|mut socket| async move {
        socket.write_all(CHUNKED.as_bytes()).await.unwrap();
        for piece in STREAM.as_bytes().chunks(7) {
            assert!(write_chunk(&mut socket, piece).await);
        }
        socket.write_all(b"0\r\n\r\n").await.unwrap();
    })
    .await;
    let events: Vec<_> = events(&server.providers(), PATIENT).await.into_iter().map(Result::unwrap).collect();
    assert!(
        events
            == [
                text("Grüße."),
                GenerationEvent::ToolCall(ToolCall {
                    id: "a".into(),
                    name: "end_call".into(),
                    arguments: "{}".into(),
                    provider_state: None,
                }),
                GenerationEvent::Usage {
                    input_tokens: 9,
                    output_tokens: 4,
                    cached_tokens: 0,
                    cache_write_tokens: 0
                },
                GenerationEvent::Finished(FinishReason::ToolCalls),
            ]
    );
}

#[tokio::test]
async fn the_request_carries_the_key_and_the_model() {
    let server = Server::http(Router::new().route(
        "/chat/completions",
        post(async |headers: HeaderMap, body: String| {
            assert_eq!(headers[header::AUTHORIZATION], "Bearer sk-1");
            assert!(body.contains("\"model\":\"gpt-6-luna\""), "{body}");
            [HELLO, STOP].concat().into_response()
        }),
    ))
    .await;
    let events: Vec<_> = events(&server.providers(), PATIENT).await.into_iter().map(Result::unwrap).collect();
    assert!(events == [text("Hello"), GenerationEvent::Finished(FinishReason::Stop)]);
}

#[tokio::test]
async fn keep_alive_comments_count_as_silence() {
    let server = Server::raw(|mut socket| async move {
        socket.write_all(CHUNKED.as_bytes()).await.unwrap();
        while write_chunk(&mut socket, b": working\n\n").await {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let events = events(&server.providers(), IMPATIENT).await;
    assert!(matches!(&events[..], [Err(error)] if error.is_retryable()), "{events:?}");
}

#[tokio::test]
async fn a_missing_response_counts_as_silence() {
    let server = Server::raw(|mut socket| async move { until_closed(&mut socket).await }).await;
    let events = events(&server.providers(), IMPATIENT).await;
    assert!(
        matches!(&events[..], [Err(error)] if error.to_string() == "openai is unavailable: it sent nothing for 250 ms")
    );
}

#[tokio::test]
async fn a_response_that_stalls_fails_after_its_words() {
    let server = Server::raw(|mut socket| async move {
        socket.write_all(CHUNKED.as_bytes()).await.unwrap();
        write_chunk(&mut socket, HELLO).await;
        until_closed(&mut socket).await;
    })
    .await;
    let events = events(&server.providers(), IMPATIENT).await;
    assert!(
        matches!(&events[..], [Ok(GenerationEvent::Text(_)), Err(error)] if error.is_retryable()),
        "{events:?}"
    );
}

#[tokio::test]
async fn a_broken_connection_fails_the_response_after_its_words() {
    let server = Server::raw(|mut socket| async move {
        socket.write_all(CHUNKED.as_bytes()).await.unwrap();
        write_chunk(&mut socket, HELLO).await;
    })
    .await;
    let events = events(&server.providers(), PATIENT).await;
    assert!(
        matches!(&events[..], [Ok(GenerationEvent::Text(_)), Err(error)] if error.is_retryable()),
        "{events:?}"
    );
}

#[tokio::test]
async fn a_finished_response_ends_without_a_close() {
    let server = Server::raw(|mut socket| async move {
        socket.write_all(CHUNKED.as_bytes()).await.unwrap();
        write_chunk(&mut socket, &[HELLO, STOP].concat()).await;
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
            write_chunk(&mut socket, HELLO).await;
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
    let quota = r#"{"error":{"message":"You exceeded your current quota","type":"insufficient_quota","code":"insufficient_quota"}}"#;
    let error = failure(StatusCode::TOO_MANY_REQUESTS, &[], quota).await;
    assert!(!error.is_retryable(), "{error}");

    let busy = r#"{"error":{"message":"Slow down","type":"requests","code":"rate_limit_exceeded"}}"#;
    let error =
        failure(StatusCode::TOO_MANY_REQUESTS, &[("retry-after-ms", "150"), ("retry-after", "9")], busy)
            .await;
    let Error::Unavailable { retry_after, .. } = error else { panic!("{error}") };
    assert_eq!(retry_after, Some(Duration::from_millis(150)));

    assert!(failure(StatusCode::BAD_GATEWAY, &[], "<html>").await.is_retryable());
    assert!(
        !failure(StatusCode::INTERNAL_SERVER_ERROR, &[("x-should-retry", "false")], "").await.is_retryable()
    );

    let retired = r#"{"error":{"message":"The model does not exist","code":"model_not_found"}}"#;
    let error = failure(StatusCode::NOT_FOUND, &[], retired).await;
    assert_eq!(error.to_string(), "openai refused the request (model_not_found): The model does not exist");

    let error =
        failure(StatusCode::UNAUTHORIZED, &[], r#"{"error":{"message":"Incorrect API key: sk-1"}}"#).await;
    assert!(!error.is_retryable() && !error.to_string().contains("sk-1"), "{error}");
}

#[tokio::test]
async fn an_error_event_fails_the_response() {
    let server = "data: {\"error\":{\"message\":\"overloaded\",\"type\":\"server_error\"}}\n\n";
    assert!(failure(StatusCode::OK, &[], server).await.is_retryable());
    let long = "data: {\"error\":{\"message\":\"too long\",\"code\":\"context_length_exceeded\"}}\n\n";
    assert!(!failure(StatusCode::OK, &[], long).await.is_retryable());
    assert!(failure(StatusCode::OK, &[], "").await.is_retryable());
}

#[tokio::test]
async fn an_unreachable_server_is_retryable() {
    let events = events(&nowhere().providers, PATIENT).await;
    assert!(
        matches!(&events[..], [Err(error)] if error.to_string() == "openai is unavailable: no connection")
    );
}

#[tokio::test]
async fn a_missing_key_fails_the_generation() {
    let mut providers = nowhere().providers;
    providers.keys.remove("openai_api_key");
    let model = providers.language_model(&agents::LanguageModel::default());
    let events: Vec<_> = model.generate(&CONVERSATION).collect().await;
    let [Err(Error::Rejected { vendor: "openai", code, .. })] = &events[..] else { panic!("{events:?}") };
    assert_eq!(code, "missing_key");
}

/// A server that refuses these members of a request, one at a time, in the words of its framework.
async fn refusing(members: &'static [&'static str], requests: Arc<Mutex<Vec<Value>>>) -> Server {
    let answer = async move |body: String| {
        let body: Value = serde_json::from_str(&body).unwrap();
        requests.lock().unwrap().push(body.clone());
        match members.iter().find(|member| body.get(**member).is_some()) {
            Some(member) => {
                let detail = json!([{"type": "extra_forbidden", "loc": ["body", member],
                    "msg": "Extra inputs are not permitted", "input": 1}]);
                (StatusCode::UNPROCESSABLE_ENTITY, json!({"detail": detail}).to_string()).into_response()
            }
            None => [HELLO, STOP].concat().into_response(),
        }
    };
    Server::http(Router::new().route("/chat/completions", post(answer))).await
}

#[tokio::test]
async fn a_refused_parameter_is_left_out_from_then_on() {
    let requests = Arc::<Mutex<Vec<Value>>>::default();
    let refused = &["stream_options", "reasoning_effort", "max_completion_tokens"];
    let server = refusing(refused, requests.clone()).await;
    for generations in 1..=2 {
        let events: Vec<_> =
            events(&server.providers(), PATIENT).await.into_iter().map(Result::unwrap).collect();
        assert!(events == [text("Hello"), GenerationEvent::Finished(FinishReason::Stop)]);
        assert_eq!(requests.lock().unwrap().len(), 3 + generations);
    }
    let last = requests.lock().unwrap().pop().unwrap();
    assert_eq!((&last["max_tokens"], &last["stream"]), (&json!(300), &json!(true)));
}

#[tokio::test]
async fn a_refused_necessity_ends_the_generation() {
    let requests = Arc::<Mutex<Vec<Value>>>::default();
    let server = refusing(&["messages"], requests.clone()).await;
    let events = events(&server.providers(), PATIENT).await;
    let [Err(error)] = &events[..] else { panic!("{events:?}") };
    let message = "openai refused the request (extra_forbidden): Extra inputs are not permitted";
    assert_eq!(error.to_string(), message);
    assert_eq!(requests.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_refused_key_and_a_refused_permission_are_told_apart() {
    let unknown = failure(StatusCode::UNAUTHORIZED, &[], "").await;
    assert_eq!(unknown.to_string(), "openai refused the request (401): it does not accept the key");
    let forbidden = failure(StatusCode::FORBIDDEN, &[], "").await.to_string();
    assert!(forbidden.contains("(403): it accepts the key"), "{forbidden}");
}

#[tokio::test]
async fn an_answer_that_is_not_streamed_is_read_as_one_piece() {
    let answer = json!({"choices": [{"message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 4}});
    let answer = post(async move || axum::Json(answer));
    let server = Server::http(Router::new().route("/chat/completions", answer)).await;
    let events: Vec<_> = events(&server.providers(), PATIENT).await.into_iter().map(Result::unwrap).collect();
    let usage =
        GenerationEvent::Usage { input_tokens: 9, output_tokens: 4, cached_tokens: 0, cache_write_tokens: 0 };
    assert!(events == [text("Hello"), usage, GenerationEvent::Finished(FinishReason::Stop)], "{events:?}");
}

#[tokio::test]
async fn a_customers_server_gets_turns_and_no_vendor_extras() {
    let requests = Arc::<Mutex<Vec<Value>>>::default();
    let server = refusing(&[], requests.clone()).await;
    let mut providers = nowhere().providers;
    let url = format!("http://{}", server.address).parse().unwrap();
    providers.endpoints.set(catalogue::connection("openai").unwrap(), url);
    let settings = ModelSettings { model: "Qwen/Qwen3-32B".into(), ..ModelSettings::default() };
    let model = ChatCompletions::new(&providers, &settings, PATIENT).unwrap();
    let messages = [
        ChatMessage::Agent("Hello.".into()),
        ChatMessage::User("Hi.".into()),
        ChatMessage::System("It is noon.".into()),
    ];
    let generation = model.generate(&Conversation { prompt: Some("Be brief."), messages: &messages });
    let _: Vec<_> = generation.collect().await;
    let request = requests.lock().unwrap().remove(0);
    let roles: Vec<_> =
        request["messages"].as_array().unwrap().iter().map(|message| &message["role"]).collect();
    assert_eq!(roles, ["system", "user", "assistant", "user"]);
    assert_eq!(request["messages"][3]["content"], "Hi.\n[It is noon.]");
    assert_eq!((request.get("stream_options"), request.get("reasoning_effort")), (None, None));
}
