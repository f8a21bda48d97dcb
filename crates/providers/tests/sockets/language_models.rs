use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    http::{HeaderMap, StatusCode, header},
    response::IntoResponse,
    routing::post,
};
use futures_util::StreamExt;
use switchboard_dialogue::{HistoryItem as Line, ToolCall};
use switchboard_model::agents::{LanguageModel, ModelSettings};
use switchboard_providers::{
    Error, Patience, Providers,
    language_models::{
        self, FinishReason, ModelEvent,
        openai::{Client, Question},
    },
};
use tokio::{
    io::AsyncWriteExt,
    sync::Notify,
    time::{sleep, timeout},
};

use crate::support::{CHUNKED, IMPATIENT, PATIENT, SHORT, Server, nowhere, until_closed, write_chunk};

fn ask(providers: &Providers, patience: Patience) -> language_models::Answer {
    let settings = ModelSettings::default();
    let lines = [Line::User("Hello?".into())];
    Client::new(providers).ask(&Question { settings: &settings, prompt: None, lines: &lines }, patience)
}

async fn answer(providers: &Providers, patience: Patience) -> Vec<Result<ModelEvent, Error>> {
    ask(providers, patience).collect().await
}

async fn failure(status: StatusCode, headers: &[(&'static str, &'static str)], body: &'static str) -> Error {
    let headers: HeaderMap =
        headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
    let answering = post(async move || (status, headers, body));
    let server = Server::http(Router::new().route("/chat/completions", answering)).await;
    let mut events = answer(&server.providers(), PATIENT).await;
    assert_eq!(events.len(), 1);
    events.remove(0).unwrap_err()
}

fn text(text: &str) -> ModelEvent {
    ModelEvent::Text(text.into())
}

const HELLO: &[u8] = b"data: {\"choices\":[{\"delta\":{\"content\":\"Hello\"}}]}\n\n";
const STOP: &[u8] = b"data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";

#[tokio::test]
async fn an_answer_is_read_however_its_bytes_are_cut() {
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
    let events: Vec<_> = answer(&server.providers(), PATIENT).await.into_iter().map(Result::unwrap).collect();
    assert!(
        events
            == [
                text("Grüße."),
                ModelEvent::ToolCall(ToolCall {
                    id: "a".into(),
                    name: "end_call".into(),
                    arguments: "{}".into()
                }),
                ModelEvent::Usage { input_tokens: 9, output_tokens: 4, cached_tokens: 0 },
                ModelEvent::Finished(FinishReason::ToolCalls),
            ]
    );
}

#[tokio::test]
async fn the_question_carries_the_key_and_the_model() {
    let server = Server::http(Router::new().route(
        "/chat/completions",
        post(async |headers: HeaderMap, body: String| {
            assert_eq!(headers[header::AUTHORIZATION], "Bearer sk-1");
            assert!(body.contains("\"model\":\"gpt-6-luna\""), "{body}");
            [HELLO, STOP].concat().into_response()
        }),
    ))
    .await;
    let events: Vec<_> = answer(&server.providers(), PATIENT).await.into_iter().map(Result::unwrap).collect();
    assert!(events == [text("Hello"), ModelEvent::Finished(FinishReason::Stop)]);
}

#[tokio::test]
async fn a_server_that_only_keeps_the_connection_alive_counts_as_silent() {
    let server = Server::raw(|mut socket| async move {
        socket.write_all(CHUNKED.as_bytes()).await.unwrap();
        while write_chunk(&mut socket, b": working\n\n").await {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let events = answer(&server.providers(), IMPATIENT).await;
    assert!(matches!(&events[..], [Err(error)] if error.is_retryable()), "{events:?}");
}

#[tokio::test]
async fn a_server_that_never_answers_counts_as_silent() {
    let server = Server::raw(|mut socket| async move { until_closed(&mut socket).await }).await;
    let events = answer(&server.providers(), IMPATIENT).await;
    assert!(
        matches!(&events[..], [Err(error)] if error.to_string() == "openai is unavailable: it sent nothing for 250 ms")
    );
}

#[tokio::test]
async fn an_answer_that_stops_in_the_middle_fails_after_its_words() {
    let server = Server::raw(|mut socket| async move {
        socket.write_all(CHUNKED.as_bytes()).await.unwrap();
        write_chunk(&mut socket, HELLO).await;
        until_closed(&mut socket).await;
    })
    .await;
    let events = answer(&server.providers(), IMPATIENT).await;
    assert!(
        matches!(&events[..], [Ok(ModelEvent::Text(_)), Err(error)] if error.is_retryable()),
        "{events:?}"
    );
}

#[tokio::test]
async fn an_answer_whose_connection_breaks_fails_after_its_words() {
    let server = Server::raw(|mut socket| async move {
        socket.write_all(CHUNKED.as_bytes()).await.unwrap();
        write_chunk(&mut socket, HELLO).await;
    })
    .await;
    let events = answer(&server.providers(), PATIENT).await;
    assert!(
        matches!(&events[..], [Ok(ModelEvent::Text(_)), Err(error)] if error.is_retryable()),
        "{events:?}"
    );
}

#[tokio::test]
async fn a_finished_answer_ends_even_if_the_server_forgets_to_close() {
    let server = Server::raw(|mut socket| async move {
        socket.write_all(CHUNKED.as_bytes()).await.unwrap();
        write_chunk(&mut socket, &[HELLO, STOP].concat()).await;
        until_closed(&mut socket).await;
    })
    .await;
    let events = answer(&server.providers(), Patience { idle: SHORT, ..PATIENT }).await;
    assert!(matches!(&events[..], [Ok(_), Ok(ModelEvent::Finished(FinishReason::Stop))]), "{events:?}");
}

#[tokio::test]
async fn dropping_an_answer_closes_its_connection() {
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
    let mut answer = ask(&server.providers(), PATIENT);
    assert!(answer.next().await.unwrap().unwrap() == text("Hello"));
    drop(answer);
    timeout(Duration::from_secs(10), closed.notified()).await.expect("the connection is closed");
}

#[tokio::test]
async fn failures_say_whether_to_try_again() {
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
async fn an_error_inside_the_stream_fails_the_answer() {
    let server = "data: {\"error\":{\"message\":\"overloaded\",\"type\":\"server_error\"}}\n\n";
    assert!(failure(StatusCode::OK, &[], server).await.is_retryable());
    let long = "data: {\"error\":{\"message\":\"too long\",\"code\":\"context_length_exceeded\"}}\n\n";
    assert!(!failure(StatusCode::OK, &[], long).await.is_retryable());
    assert!(failure(StatusCode::OK, &[], "").await.is_retryable());
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_may_be_tried_again() {
    let events = answer(&nowhere().providers, PATIENT).await;
    assert!(
        matches!(&events[..], [Err(error)] if error.to_string() == "openai is unavailable: no connection")
    );
}

#[tokio::test]
async fn a_vendor_without_an_adapter_is_rejected() {
    let model = LanguageModel::Google(ModelSettings::default());
    let events: Vec<_> = language_models::ask(&nowhere().providers, &model, None, &[]).collect().await;
    assert!(matches!(&events[..], [Err(error)] if !error.is_retryable()));
}
