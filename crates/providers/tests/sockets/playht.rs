//! `PlayHT`'s voice against servers that behave and misbehave.

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    http::{HeaderMap, StatusCode, header},
    response::IntoResponse,
    routing::post,
};
use futures_util::StreamExt;
use serde_json::{Value, json};
use switchboard_model::{
    agents::Voice,
    catalogue::connection,
    credentials::{Credential, OpenCredential, Provider},
    egress_policy::EgressPolicy,
    ids::{AccountId, CredentialId},
    time::Timestamp,
};
use switchboard_providers::{
    Error, Providers, Secret, StreamTimeouts,
    audio::AudioFormat,
    playht::speak::Speak,
    synthesizer::{CallContext, SpeechEvent, SpeechStream, Synthesizer},
};
use tokio::{io::AsyncWriteExt, sync::Notify, time::timeout};

use crate::support::{
    CHUNKED, IMPATIENT, PATIENT, SHORT, Server, nowhere, providers, until_closed, write_chunk,
};

fn voice() -> Voice {
    Voice::Playht {
        model: "susan".into(),
        speed: 1.5,
        temperature: Some(0.5),
        text_guidance: None,
        style_guidance: Some(2.0),
        credential_id: None,
    }
}

fn context() -> CallContext {
    CallContext { format: AudioFormat::TELEPHONE, language: "en".into() }
}

fn synthesize(providers: &Providers, timeouts: StreamTimeouts) -> SpeechStream {
    let Ok(voice) = Speak::new(providers, &voice(), timeouts) else { panic!("there are a server and keys") };
    voice.open(&context()).synthesize("Hello.")
}

async fn failure(answer: impl IntoResponse + Clone + Send + Sync + 'static) -> Error {
    let router = Router::new().route("/api/v2/tts/stream", post(async move || answer));
    let server = Server::http(router).await;
    let mut events: Vec<_> = synthesize(&server.providers(), PATIENT).collect().await;
    events.pop().unwrap().unwrap_err()
}

#[tokio::test]
async fn a_clause_is_synthesized_with_the_settings_of_the_voice() {
    let answer = async |headers: HeaderMap, Json(body): Json<Value>| {
        assert_eq!(headers[header::AUTHORIZATION], "Bearer ph-1");
        assert_eq!(headers["x-user-id"], "user-1");
        assert_eq!(headers[header::ACCEPT], "audio/basic");
        let voice = body["voice"].as_str().unwrap();
        assert!(
            voice.starts_with("s3://mockingbird-prod/susan_") && voice.ends_with("/manifest.json"),
            "{voice}"
        );
        let expected = json!({"text": "Hello.", "voice": voice, "voice_engine": "PlayHT2.0-turbo",
            "output_format": "mulaw", "sample_rate": 8000, "speed": 1.5, "temperature": 0.5, "style_guidance": 2.0});
        assert_eq!(body, expected);
        vec![0xFF_u8; 400]
    };
    let server = Server::http(Router::new().route("/api/v2/tts/stream", post(answer))).await;
    let mut speech = synthesize(&server.providers(), PATIENT).map(Result::unwrap);
    assert_eq!(speech.next().await, Some(SpeechEvent::Characters { count: 6, estimated: true }));
    let mut bytes = 0;
    while let Some(event) = speech.next().await {
        let SpeechEvent::Audio(audio) = event else { panic!("only audio follows: {event:?}") };
        bytes += audio.len();
    }
    assert_eq!(bytes, 400);
}

#[tokio::test]
async fn a_silent_or_empty_voice_fails() {
    let mute = Server::raw(|mut socket| async move { until_closed(&mut socket).await }).await;
    let events: Vec<_> = synthesize(&mute.providers(), IMPATIENT).collect().await;
    assert!(matches!(&events[..], [Err(error)] if error.is_retryable()), "{events:?}");
    let breaking_off = Server::raw(|mut socket| async move {
        socket.write_all(CHUNKED.as_bytes()).await.unwrap();
        write_chunk(&mut socket, &[1; 160]).await;
        until_closed(&mut socket).await;
    })
    .await;
    let timeouts = StreamTimeouts { idle: SHORT, ..PATIENT };
    let events: Vec<_> = synthesize(&breaking_off.providers(), timeouts).collect().await;
    let [Ok(_), Ok(SpeechEvent::Audio(_)), Err(error)] = &events[..] else { panic!("{events:?}") };
    assert!(error.is_retryable());
    assert!(failure("").await.is_retryable());
    assert!(failure(([(header::CONTENT_TYPE, "application/json")], "{}")).await.is_retryable());
}

#[tokio::test]
async fn refusals_are_retryable_or_not() {
    for (status, is_retryable) in
        [(400, false), (401, false), (402, false), (404, false), (429, true), (503, true)]
    {
        let error = failure(StatusCode::from_u16(status).unwrap()).await;
        assert_eq!(error.is_retryable(), is_retryable, "{error}");
    }
    let unreachable: Vec<_> = synthesize(&nowhere().providers, PATIENT).collect().await;
    assert!(matches!(&unreachable[..], [Err(error)] if error.is_retryable()));
}

#[tokio::test]
async fn dropping_a_clause_closes_its_connection() {
    let closed = Arc::new(Notify::new());
    let notify = closed.clone();
    let server = Server::raw(move |mut socket| {
        let notify = notify.clone();
        async move {
            socket.write_all(CHUNKED.as_bytes()).await.unwrap();
            write_chunk(&mut socket, &[1; 160]).await;
            until_closed(&mut socket).await;
            notify.notify_one();
        }
    })
    .await;
    let mut speech = synthesize(&server.providers(), PATIENT);
    for _ in 0..2 {
        speech.next().await.unwrap().unwrap();
    }
    drop(speech);
    timeout(Duration::from_secs(10), closed.notified()).await.expect("the connection is closed");
}

#[tokio::test]
async fn two_clauses_are_synthesized_at_once() {
    let server = Server::http(Router::new().route("/api/v2/tts/stream", post(async || vec![1_u8; 8]))).await;
    let mut session = server.providers().synthesizer(&voice()).open(&context());
    for clause in [session.synthesize("One."), session.synthesize("Two.")] {
        let events: Vec<_> = clause.map(Result::unwrap).collect().await;
        assert!(matches!(&events[..], [SpeechEvent::Characters { .. }, SpeechEvent::Audio(_)]), "{events:?}");
    }
}

#[tokio::test]
async fn without_a_server_or_a_key_nothing_is_asked() {
    let code = async |providers: Providers| {
        let mut session = providers.synthesizer(&voice()).open(&context());
        let events: Vec<_> = session.synthesize("Hello.").collect().await;
        let [Err(Error::Rejected { code, .. })] = &events[..] else { panic!("{events:?}") };
        code.clone()
    };
    let playht = connection("playht").unwrap();
    let without = providers("https://api.play.ht");
    assert!(!without.has_keys(playht), "another voice begins the call");
    assert_eq!(code(without).await, "no_server");
    assert!(nowhere().providers.has_keys(playht));
    for key in ["playht_api_key", "playht_user_id"] {
        let mut providers = nowhere().providers;
        providers.keys.remove(key);
        assert_eq!(code(providers).await, "missing_key", "{key}");
    }
}

#[test]
fn a_customers_key_comes_with_its_user() {
    let at = Timestamp::from_millis(0);
    let own = OpenCredential {
        credential: Credential {
            id: CredentialId::new(at, 1),
            account_id: AccountId::new(at, 1),
            provider: Provider::Playht,
            last4: "omer".into(),
            region: None,
            user_id: Some("the-customer".into()),
            base_url: None,
            created_at: at,
        },
        api_key: Secret::new("ph-of-the-customer"),
    };
    let customers = nowhere().providers.with_credential(&own, EgressPolicy::PublicOnly).unwrap();
    let key = |name: &str| customers.keys.get(name).unwrap().reveal().to_owned();
    assert_eq!(
        (key("playht_api_key").as_str(), key("playht_user_id").as_str()),
        ("ph-of-the-customer", "the-customer")
    );
}
