use std::net::SocketAddr;

use axum::{
    Router,
    extract::ConnectInfo,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::post,
};
use futures_util::StreamExt;
use switchboard_model::agents::{LanguageModel, ModelSettings, Voice};
use switchboard_providers::{Providers, language_models, voices};
use tokio::{net::TcpListener, sync::mpsc, task::JoinSet};

use crate::support;

/// Vendors that tell over which connection each request came.
async fn vendors() -> (Providers, mpsc::Receiver<SocketAddr>, JoinSet<()>) {
    let (connections, seen) = mpsc::channel(8);
    let note = move |ConnectInfo(from): ConnectInfo<SocketAddr>, request: axum::extract::Request| {
        let connections = connections.clone();
        async move {
            connections.send(from).await.unwrap();
            match request.uri().path() {
                "/v1/speak" => vec![0xFF; 400].into_response(),
                _ => StatusCode::NOT_FOUND.into_response(),
            }
        }
    };
    let answer = "data: {\"choices\":[{\"delta\":{\"content\":\"Yes.\"}}]}\n\ndata: [DONE]\n\n";
    let stream = [(header::CONTENT_TYPE, "text/event-stream")];
    let asked = note.clone();
    let answer = async move |from: ConnectInfo<SocketAddr>, request: axum::extract::Request| {
        asked(from, request).await;
        (stream, answer)
    };
    let router = Router::new().route("/chat/completions", post(answer)).fallback(note);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut tasks = JoinSet::new();
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    tasks.spawn(async move { axum::serve(listener, service).await.unwrap() });
    (support::providers(&url), seen, tasks)
}

#[tokio::test]
async fn the_first_words_come_over_the_connection_that_was_opened_ahead() {
    let (providers, mut seen, _tasks) = vendors().await;
    let voice = Voice::default();
    voices::connect(&providers, &voice).await;
    let ahead = seen.recv().await.unwrap();
    let synthesizer = voices::Synthesizer::new(&providers, &voice).unwrap();
    assert!(synthesizer.speak("Hello.").all(async |event| event.is_ok()).await);
    assert_eq!(seen.recv().await, Some(ahead));
}

#[tokio::test]
async fn the_first_question_is_asked_over_the_connection_that_was_opened_ahead() {
    let (providers, mut seen, _tasks) = vendors().await;
    let model = LanguageModel::Openai(ModelSettings::default());
    language_models::connect(&providers, &model).await;
    let ahead = seen.recv().await.unwrap();
    let answer = language_models::ask(&providers, &model, None, &[]);
    assert!(answer.count().await > 0);
    assert_eq!(seen.recv().await, Some(ahead));
}

#[tokio::test]
async fn a_vendor_that_cannot_be_reached_ahead_is_no_error() {
    let nowhere = support::nowhere();
    voices::connect(&nowhere.providers, &Voice::default()).await;
    language_models::connect(&nowhere.providers, &LanguageModel::Openai(ModelSettings::default())).await;
}
