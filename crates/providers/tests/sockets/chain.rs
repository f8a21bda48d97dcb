//! Chains of real adapters: two model servers, two transcribers, two voices.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::WebSocketUpgrade,
    http::StatusCode,
    response::IntoResponse,
    routing::{get, post},
};
use futures_util::StreamExt;
use switchboard_model::{
    agents::{LanguageModel as Named, ModelSettings, Transcriber as NamedTranscriber, Voice},
    catalogue::{Service, StandIn},
};
use switchboard_providers::{
    Providers,
    audio::AudioFormat,
    chain::{Candidate, ChainedModel, ChainedTranscriber, ChainedVoice, ProviderId, ProviderOutages},
    language_model::{ChatMessage, Conversation, GenerationEvent, LanguageModel},
    synthesizer::{CallContext, SpeechEvent, Synthesizer},
    transcriber::Transcriber,
};

use crate::support::{Server, nowhere, until_closed};

const ANSWER: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"At six.\"},\"finish_reason\":\"stop\"}]}\n\n\
                      data: [DONE]\n\n";

/// The second of two candidates stands in for the first one.
fn pair<P: ?Sized>(service: Service, first: Arc<P>, second: Arc<P>) -> Vec<Candidate<P>> {
    let id = |provider: &str| ProviderId {
        service,
        provider: provider.into(),
        model: String::new(),
        voice: String::new(),
        credential: None,
    };
    let stand_in = Some(StandIn { service, provider: "second".into(), model: "m".into() });
    vec![
        Candidate { provider: first, id: id("first"), stand_in: None },
        Candidate { provider: second, id: id("second"), stand_in },
    ]
}

/// A model server that counts its requests.
async fn answering() -> (Server, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let answer = post(async move || {
        counted.fetch_add(1, Ordering::Relaxed);
        ANSWER
    });
    (Server::http(Router::new().route("/chat/completions", answer)).await, count)
}

fn model(providers: &Providers) -> Arc<dyn LanguageModel> {
    providers.language_model(&Named::Openai(ModelSettings::default()))
}

/// A response of the chain: the reasons that were reported, and the words.
async fn response(chain: &ChainedModel) -> (Vec<String>, String) {
    let messages = [ChatMessage::User("When do you close?".into())];
    let mut events = chain.generate(&Conversation { prompt: None, messages: &messages });
    let (mut failed, mut words) = (vec![], String::new());
    while let Some(event) = events.next().await {
        match event.unwrap() {
            GenerationEvent::Fallback(fallback) => failed.extend(fallback.failed),
            GenerationEvent::Text(text) => words.push_str(&text),
            _ => {}
        }
    }
    (failed, words)
}

/// The second one answers, and the notes name these failures of the first.
async fn is_answered_by_the_second(first: &Providers, expected: &[&str]) {
    let (second, count) = answering().await;
    let candidates = pair(Service::LanguageModel, model(first), model(&second.providers()));
    let chain = ChainedModel::new(candidates, ProviderOutages::default());
    let (failed, words) = response(&chain).await;
    assert_eq!(words, "At six.");
    let expected: Vec<_> = expected.iter().map(|failure| format!("first: {failure}")).collect();
    assert_eq!(failed, expected);
    let (failed, words) = response(&chain).await;
    assert_eq!((failed.len(), words.as_str(), count.load(Ordering::Relaxed)), (0, "At six.", 2));
}

async fn server_with(status: StatusCode, body: &'static str) -> (Server, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let refusing = post(async move || {
        counted.fetch_add(1, Ordering::Relaxed);
        (status, body)
    });
    (Server::http(Router::new().route("/chat/completions", refusing)).await, count)
}

#[tokio::test]
async fn a_model_server_that_refuses_the_key_is_replaced() {
    let (first, count) = server_with(StatusCode::UNAUTHORIZED, "{}").await;
    is_answered_by_the_second(&first.providers(), &["refused the request (401)"]).await;
    assert_eq!(count.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_model_that_is_unknown_is_replaced() {
    let unknown = r#"{"error": {"code": "model_not_found", "message": "The model 'x' does not exist"}}"#;
    let (first, _) = server_with(StatusCode::NOT_FOUND, unknown).await;
    is_answered_by_the_second(&first.providers(), &["refused the request (model_not_found)"]).await;
}

#[tokio::test]
async fn a_model_server_that_fails_is_asked_twice_and_replaced() {
    let (first, count) = server_with(StatusCode::INTERNAL_SERVER_ERROR, "{}").await;
    is_answered_by_the_second(&first.providers(), &["error (500), and was asked again", "error (500)"]).await;
    assert_eq!(count.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_model_server_that_cannot_be_reached_is_replaced() {
    let failures = ["no connection, and was asked again", "no connection"];
    is_answered_by_the_second(&nowhere().providers, &failures).await;
}

#[tokio::test]
async fn a_model_server_that_is_silent_is_replaced() {
    let first = Server::raw(|mut socket| async move { until_closed(&mut socket).await }).await;
    is_answered_by_the_second(&first.providers(), &["it sent nothing for 2500 ms"]).await;
}

#[tokio::test]
async fn a_transcriber_that_refuses_the_handshake_is_replaced() {
    let first = Router::new().route("/v1/listen", get(async || StatusCode::UNAUTHORIZED));
    let first = Server::http(first).await;
    let accept = async |upgrade: WebSocketUpgrade| {
        upgrade.on_upgrade(async |mut socket| while socket.recv().await.is_some() {}).into_response()
    };
    let second = Server::http(Router::new().route("/v1/listen", get(accept))).await;
    let one = |server: &Server| server.providers().transcriber(&NamedTranscriber::default());
    let candidates = pair(Service::Transcriber, one(&first), one(&second));
    let candidates = candidates.into_iter().map(|candidate| (candidate, true)).collect();
    let chain = ChainedTranscriber::new(candidates, ProviderOutages::default());
    let (mut sink, _session) = chain.connect().await.unwrap();
    let fallback = sink.take_fallback().unwrap();
    assert_eq!(fallback.stand_in.unwrap().provider, "second");
    assert_eq!(fallback.failed, ["first: refused the request (401)"]);
}

#[tokio::test]
async fn a_voice_that_refuses_is_replaced() {
    let first =
        Server::http(Router::new().route("/v1/speak", post(async || StatusCode::PAYMENT_REQUIRED))).await;
    let second = Server::http(Router::new().route("/v1/speak", post(async || vec![0_u8; 160]))).await;
    let one = |server: &Server| server.providers().synthesizer(&Voice::default());
    let candidates = pair(Service::Voice, one(&first), one(&second));
    let chain: Box<dyn Synthesizer> = Box::new(ChainedVoice::new(candidates, ProviderOutages::default()));
    let context = CallContext { format: AudioFormat::TELEPHONE, language: "en".into() };
    let mut session = chain.open(&context);
    let events: Vec<_> = session.synthesize("Hello.").map(Result::unwrap).collect().await;
    let [SpeechEvent::Fallback(fallback), SpeechEvent::Characters { count: 6, .. }, SpeechEvent::Audio(_)] =
        &events[..]
    else {
        panic!("{events:?}")
    };
    assert_eq!(fallback.failed, ["first: refused the request (402)"]);
    tokio::time::timeout(Duration::from_secs(1), chain.connect_ahead(&context)).await.unwrap();
}
