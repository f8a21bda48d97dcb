use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Json, Router,
    extract::RawQuery,
    http::{HeaderMap, StatusCode, header},
    response::IntoResponse,
    routing::post,
};
use futures_util::StreamExt;
use serde_json::{Value, json};
use switchboard_model::{
    agents::Voice,
    credentials::{Credential, OpenCredential, Provider},
    egress_policy::EgressPolicy,
    ids::{AccountId, CredentialId},
    time::Timestamp,
};
use switchboard_providers::{
    Error, Patience, Providers, Secret,
    voices::{Recorder, SpeechEvent, Synthesizer, deepgram},
};
use tokio::{io::AsyncWriteExt, sync::Notify, time::timeout};

use crate::support::{
    CHUNKED, IMPATIENT, Nowhere, PATIENT, SHORT, Server, nowhere, until_closed, write_chunk,
};

fn synthesizer(providers: &Providers, patience: Patience) -> Synthesizer {
    Synthesizer::Deepgram(deepgram::Synthesizer::new(providers, "aura-2-thalia-en", patience))
}

async fn speech(providers: &Providers, patience: Patience, text: &str) -> Vec<Result<SpeechEvent, Error>> {
    synthesizer(providers, patience).speak(text).collect().await
}

async fn failure(answer: impl IntoResponse + Clone + Send + Sync + 'static) -> Error {
    let server = Server::http(Router::new().route("/v1/speak", post(async move || answer))).await;
    speech(&server.providers(), PATIENT, "Hello.").await.pop().unwrap().unwrap_err()
}

#[tokio::test]
async fn a_sentence_is_spoken_and_its_characters_are_reported() {
    let router = Router::new().route(
        "/v1/speak",
        post(async |RawQuery(query): RawQuery, headers: HeaderMap, Json(body): Json<Value>| {
            let query = query.unwrap();
            assert_eq!(query, "model=aura-2-thalia-en&encoding=mulaw&sample_rate=8000&container=none");
            assert_eq!(headers[header::AUTHORIZATION], "Token dg-1");
            assert_eq!(body, json!({"text": "Hello."}));
            ([("dg-char-count", "6")], vec![0xFF; 400])
        }),
    );
    let server = Server::http(router).await;
    let mut speech = speech(&server.providers(), PATIENT, "Hello.").await.into_iter().map(Result::unwrap);
    assert_eq!(speech.next(), Some(SpeechEvent::Characters { count: 6, estimated: false }));
    let bytes: usize = speech
        .map(|event| match event {
            SpeechEvent::Audio(audio) => audio.len(),
            SpeechEvent::Characters { .. } => panic!("characters are reported once"),
        })
        .sum();
    assert_eq!(bytes, 400);
}

#[tokio::test]
async fn characters_are_counted_where_the_vendor_does_not_say() {
    let server = Server::http(Router::new().route("/v1/speak", post(async || vec![1_u8; 8]))).await;
    let speech = speech(&server.providers(), PATIENT, "Grüße.").await;
    assert!(matches!(speech[0], Ok(SpeechEvent::Characters { count: 6, estimated: true })), "{speech:?}");
}

#[tokio::test]
async fn text_that_cannot_be_spoken_is_silence() {
    assert!(speech(&nowhere().providers, PATIENT, " ... 🎂 ").await.is_empty());
}

#[tokio::test]
async fn a_voice_that_stays_silent_fails() {
    let mute = Server::raw(|mut socket| async move { until_closed(&mut socket).await }).await;
    let events = speech(&mute.providers(), IMPATIENT, "Hello.").await;
    assert!(matches!(&events[..], [Err(error)] if error.is_retryable()), "{events:?}");

    let breaking_off = Server::raw(|mut socket| async move {
        socket.write_all(CHUNKED.as_bytes()).await.unwrap();
        write_chunk(&mut socket, &[1; 160]).await;
        until_closed(&mut socket).await;
    })
    .await;
    let events = speech(&breaking_off.providers(), Patience { idle: SHORT, ..PATIENT }, "Hello.").await;
    assert!(
        matches!(&events[..], [Ok(_), Ok(SpeechEvent::Audio(_)), Err(error)] if error.is_retryable()),
        "{events:?}"
    );
}

#[tokio::test]
async fn an_answer_without_audio_fails() {
    assert!(failure("").await.is_retryable());
    assert!(failure(([(header::CONTENT_TYPE, "application/json")], "{}")).await.is_retryable());
}

#[tokio::test]
async fn failures_say_whether_to_try_again() {
    let body = r#"{"err_code":"INVALID_AUTH","err_msg":"Invalid credentials.","request_id":"x"}"#;
    let error = failure((StatusCode::UNAUTHORIZED, body)).await;
    assert_eq!(error.to_string(), "deepgram refused the request (INVALID_AUTH): Invalid credentials.");
    assert!(!failure(StatusCode::PAYMENT_REQUIRED).await.is_retryable());
    assert!(failure(StatusCode::TOO_MANY_REQUESTS).await.is_retryable());
    assert!(failure(StatusCode::BAD_GATEWAY).await.is_retryable());
    let unreachable = speech(&nowhere().providers, PATIENT, "Hello.").await;
    assert!(matches!(&unreachable[..], [Err(error)] if error.is_retryable()));
}

#[tokio::test]
async fn dropping_a_speech_closes_its_connection() {
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
    let mut speech = synthesizer(&server.providers(), PATIENT).speak("Hello.");
    speech.next().await.unwrap().unwrap();
    drop(speech);
    timeout(Duration::from_secs(10), closed.notified()).await.expect("the connection is closed");
}

#[tokio::test]
async fn only_voices_with_an_adapter_can_be_made() {
    let Nowhere { providers, .. } = nowhere();
    assert!(Synthesizer::new(&providers, &Voice::default()).is_ok());
    let azure = Voice::Azure { model: "x".into(), pitch: 0, rate: 0, credential_id: None };
    assert!(!Synthesizer::new(&providers, &azure).unwrap_err().is_retryable());
}

#[tokio::test]
async fn a_recorder_counts_what_it_asks_for_from_the_start_and_not_what_is_refused() {
    let asked = Arc::new(Notify::new());
    let arrived = asked.clone();
    let router = Router::new().route(
        "/v1/speak",
        post(async move |Json(body): Json<Value>| match body["text"].as_str().unwrap() {
            "Refuse." => StatusCode::SERVICE_UNAVAILABLE.into_response(),
            "Wait." => {
                arrived.notify_one();
                std::future::pending().await
            }
            text => ([("dg-char-count", "7")], text.to_owned()).into_response(),
        }),
    );
    let server = Server::http(router).await;
    let characters = AtomicU64::new(0);
    let voice = Voice::default();
    let recorder =
        Recorder::new(&server.providers(), EgressPolicy::PublicOnly, &voice, None, &characters).unwrap();
    let counted = || characters.load(Ordering::Relaxed);
    let (hello, refused) = (recorder.record("Hello."), recorder.record("Refuse."));
    assert_eq!(counted(), 6 + 7, "before anything is spoken");
    assert_eq!(hello.await.unwrap(), b"Hello.");
    assert_eq!(counted(), 7 + 7, "the vendor knows better");
    assert!(refused.await.is_err());
    assert_eq!(counted(), 7);
    assert_eq!(recorder.record("...").await.unwrap(), b"", "silence is not asked for");
    assert_eq!(counted(), 7);
    let waiting = recorder.record("Wait.");
    tokio::select! {
        _ = waiting => panic!("it never answers"),
        () = asked.notified() => {}
    }
    assert_eq!(counted(), 7 + 5, "what is given up may have been spoken");
}

#[tokio::test]
async fn a_recorder_with_the_customers_key_never_uses_another() {
    let keys = Arc::<Mutex<Vec<String>>>::default();
    let seen = keys.clone();
    let router = Router::new().route(
        "/v1/speak",
        post(async move |headers: HeaderMap| {
            seen.lock().unwrap().push(headers[header::AUTHORIZATION].to_str().unwrap().to_owned());
            "audio"
        }),
    );
    let server = Server::http(router).await;
    let (characters, voice) = (AtomicU64::new(0), Voice::default());
    let at = Timestamp::from_millis(0);
    let own = |provider| OpenCredential {
        credential: Credential {
            id: CredentialId::new(at, 1),
            account_id: AccountId::new(at, 1),
            provider,
            last4: "omer".into(),
            region: None,
            user_id: None,
            base_url: None,
            created_at: at,
        },
        api_key: Secret::new("dg-of-the-customer"),
    };
    let providers = server.providers();
    let recorder = |own| Recorder::new(&providers, EgressPolicy::PublicOnly, &voice, Some(&own), &characters);
    recorder(own(Provider::Deepgram)).unwrap().record("Hello.").await.unwrap();
    assert_eq!(*keys.lock().unwrap(), ["Token dg-of-the-customer"]);
    assert!(matches!(recorder(own(Provider::Azure)), Err(Error::Rejected { .. })));
}
