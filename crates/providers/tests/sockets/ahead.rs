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
use switchboard_providers::{
    Providers, audio::AudioFormat, language_model::Conversation, synthesizer::CallContext,
};
use tokio::{net::TcpListener, sync::mpsc, task::JoinSet};

use crate::support;

fn event_stream() -> [(header::HeaderName, &'static str); 1] {
    [(header::CONTENT_TYPE, "text/event-stream")]
}

/// Vendors that report the client address of each request's connection.
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
    let asked = note.clone();
    let answer = async move |from: ConnectInfo<SocketAddr>, request: axum::extract::Request| {
        asked(from, request).await;
        (event_stream(), answer)
    };
    let asked = note.clone();
    let gemini = "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"Yes.\"}]},\"finishReason\":\"STOP\"}]}\n\n";
    let gemini = async move |from: ConnectInfo<SocketAddr>, request: axum::extract::Request| {
        asked(from, request).await;
        (event_stream(), gemini)
    };
    let router = Router::new()
        .route("/chat/completions", post(answer))
        .route("/models/{model}", post(gemini))
        .fallback(note);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut tasks = JoinSet::new();
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    tasks.spawn(async move { axum::serve(listener, service).await.unwrap() });
    (support::providers(&url), seen, tasks)
}

#[tokio::test]
async fn the_first_clause_uses_the_connection_opened_ahead() {
    let (providers, mut seen, _tasks) = vendors().await;
    let voice = providers.synthesizer(&Voice::default());
    let call = CallContext { format: AudioFormat::TELEPHONE, language: "en".into() };
    voice.connect_ahead(&call).await;
    let ahead = seen.recv().await.unwrap();
    let mut session = voice.open(&call);
    assert!(session.synthesize("Hello.").all(async |event| event.is_ok()).await);
    assert_eq!(seen.recv().await, Some(ahead));
}

#[tokio::test]
async fn the_first_generation_uses_the_connection_opened_ahead() {
    let settings = ModelSettings::default();
    for model in [LanguageModel::Openai(settings.clone()), LanguageModel::Google(settings)] {
        let (providers, mut seen, _tasks) = vendors().await;
        let model = providers.language_model(&model);
        model.connect_ahead().await;
        let ahead = seen.recv().await.unwrap();
        let generation = model.generate(&Conversation { prompt: None, messages: &[] });
        assert!(generation.all(async |event| event.is_ok()).await);
        assert_eq!(seen.recv().await, Some(ahead));
    }
}

#[tokio::test]
async fn a_vendor_that_is_unreachable_ahead_of_the_call_is_no_error() {
    let nowhere = support::nowhere();
    nowhere
        .providers
        .synthesizer(&Voice::default())
        .connect_ahead(&CallContext { format: AudioFormat::TELEPHONE, language: "en".into() })
        .await;
    nowhere.providers.language_model(&LanguageModel::default()).connect_ahead().await;
}
