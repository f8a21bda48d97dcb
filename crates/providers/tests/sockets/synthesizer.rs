use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    extract::RawQuery,
    http::{HeaderMap, StatusCode, header},
    response::IntoResponse,
    routing::{get, post},
};
use futures_util::StreamExt;
use serde_json::{Value, json};
use switchboard_model::{
    agents::{RimeVoice, Voice},
    clips::ClipSet,
    credentials::{Credential, OpenCredential, Provider},
    egress_policy::EgressPolicy,
    ids::{AccountId, CredentialId},
    time::Timestamp,
};
use switchboard_providers::{
    Error, Providers, Secret, StreamTimeouts,
    audio::AudioFormat,
    clips::ClipSynthesizer,
    deepgram::speak::Speak,
    endpoints::Endpoints,
    synthesizer::{CallContext, SpeechEvent, SpeechStream, Synthesizer},
};
use tokio::{
    io::AsyncWriteExt,
    sync::Notify,
    time::{sleep, timeout},
};

use crate::support::{
    CHUNKED, IMPATIENT, Nowhere, PATIENT, SHORT, Server, nowhere, until_closed, write_chunk,
};

fn context() -> CallContext {
    CallContext { format: AudioFormat::TELEPHONE, language: "en".into() }
}

fn synthesize(providers: &Providers, timeouts: StreamTimeouts, text: &str) -> SpeechStream {
    Speak::new(providers, "aura-2-thalia-en", timeouts).unwrap().open(&context()).synthesize(text)
}

async fn speech(
    providers: &Providers,
    timeouts: StreamTimeouts,
    text: &str,
) -> Vec<Result<SpeechEvent, Error>> {
    synthesize(providers, timeouts, text).collect().await
}

async fn failure(answer: impl IntoResponse + Clone + Send + Sync + 'static) -> Error {
    let server = Server::http(Router::new().route("/v1/speak", post(async move || answer))).await;
    speech(&server.providers(), PATIENT, "Hello.").await.pop().unwrap().unwrap_err()
}

#[tokio::test]
async fn a_clause_is_synthesized_and_its_characters_reported() {
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
            other => panic!("only audio follows: {other:?}"),
        })
        .sum();
    assert_eq!(bytes, 400);
}

#[tokio::test]
async fn characters_are_estimated_if_not_reported() {
    let server = Server::http(Router::new().route("/v1/speak", post(async || vec![1_u8; 8]))).await;
    let speech = speech(&server.providers(), PATIENT, "Grüße.").await;
    assert!(matches!(speech[0], Ok(SpeechEvent::Characters { count: 6, estimated: true })), "{speech:?}");
}

#[tokio::test]
async fn text_without_letters_or_digits_is_silence() {
    assert!(speech(&nowhere().providers, PATIENT, " ... 🎂 ").await.is_empty());
}

#[tokio::test]
async fn a_silent_voice_fails() {
    let mute = Server::raw(|mut socket| async move { until_closed(&mut socket).await }).await;
    let events = speech(&mute.providers(), IMPATIENT, "Hello.").await;
    assert!(matches!(&events[..], [Err(error)] if error.is_retryable()), "{events:?}");

    let breaking_off = Server::raw(|mut socket| async move {
        socket.write_all(CHUNKED.as_bytes()).await.unwrap();
        write_chunk(&mut socket, &[1; 160]).await;
        until_closed(&mut socket).await;
    })
    .await;
    let events = speech(&breaking_off.providers(), StreamTimeouts { idle: SHORT, ..PATIENT }, "Hello.").await;
    assert!(
        matches!(&events[..], [Ok(_), Ok(SpeechEvent::Audio(_)), Err(error)] if error.is_retryable()),
        "{events:?}"
    );
}

#[tokio::test]
async fn a_response_without_audio_fails() {
    assert!(failure("").await.is_retryable());
    assert!(failure(([(header::CONTENT_TYPE, "application/json")], "{}")).await.is_retryable());
}

#[tokio::test]
async fn refusals_are_retryable_or_not() {
    let body = r#"{"err_code":"INVALID_AUTH","err_msg":"Invalid credentials.","request_id":"x"}"#;
    let error = failure((StatusCode::UNAUTHORIZED, body)).await;
    assert_eq!(error.to_string(), "deepgram refused the request (INVALID_AUTH): Invalid credentials.");
    assert!(!failure(StatusCode::PAYMENT_REQUIRED).await.is_retryable());
    assert!(failure((StatusCode::TOO_MANY_REQUESTS, [("retry-after", "60")])).await.is_retryable());
    assert!(failure(StatusCode::BAD_GATEWAY).await.is_retryable());
    let unreachable = speech(&nowhere().providers, PATIENT, "Hello.").await;
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
    let mut speech = synthesize(&server.providers(), PATIENT, "Hello.");
    speech.next().await.unwrap().unwrap();
    drop(speech);
    timeout(Duration::from_secs(10), closed.notified()).await.expect("the connection is closed");
}

#[tokio::test]
async fn a_voice_without_a_server_or_key_is_rejected() {
    let Nowhere { mut providers, .. } = nowhere();
    let playht = Voice::Playht {
        model: "susan".into(),
        speed: 1.0,
        temperature: None,
        text_guidance: None,
        style_guidance: None,
        credential_id: None,
    };
    providers.keys.remove("deepgram_api_key");
    // PlayHT's own service has ended.
    providers.endpoints = Endpoints::from_vars(&|_| None).unwrap();
    for (voice, reason) in [(playht, "no_server"), (Voice::default(), "missing_key")] {
        let mut session = providers.synthesizer(&voice).open(&context());
        let events: Vec<_> = session.synthesize("Hello.").collect().await;
        let [Err(Error::Rejected { code, .. })] = &events[..] else { panic!("{events:?}") };
        assert_eq!(code, reason);
    }
}

#[tokio::test]
async fn a_session_synthesizes_several_clauses_at_once() {
    let router = Router::new().route("/v1/speak", post(async |body: String| body));
    let server = Server::http(router).await;
    let mut session = server.providers().synthesizer(&Voice::default()).open(&context());
    let clauses = [session.synthesize("One."), session.synthesize("Two.")];
    for clause in clauses {
        let events: Vec<_> = clause.map(Result::unwrap).collect().await;
        assert!(matches!(&events[..], [SpeechEvent::Characters { .. }, SpeechEvent::Audio(_)]), "{events:?}");
    }
}

#[tokio::test]
async fn clip_characters_count_from_the_start_unless_refused() {
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
    let set = clip_set(Voice::default(), "en");
    let clips =
        ClipSynthesizer::new(&server.providers(), EgressPolicy::PublicOnly, &set, None, &characters).unwrap();
    let counted = || characters.load(Ordering::Relaxed);
    let (hello, refused) = (clips.synthesize("Hello."), clips.synthesize("Refuse."));
    assert_eq!(counted(), 6 + 7, "counted before the request");
    assert_eq!(hello.await.unwrap(), b"Hello.");
    assert_eq!(counted(), 7 + 7, "the reported count replaces ours");
    assert!(refused.await.is_err());
    assert_eq!(counted(), 7);
    assert_eq!(clips.synthesize("...").await.unwrap(), b"", "silence is not requested");
    assert_eq!(counted(), 7);
    let waiting = clips.synthesize("Wait.");
    tokio::select! {
        _ = waiting => panic!("it never answers"),
        () = asked.notified() => {}
    }
    assert_eq!(counted(), 7 + 5, "a dropped request may be billed");
}

fn clip_set(voice: Voice, language: &str) -> ClipSet {
    ClipSet { voice, language: language.to_owned(), texts: vec![] }
}

#[tokio::test]
async fn clips_are_spoken_in_the_language_of_the_agent() {
    let asked = Arc::<Mutex<Vec<String>>>::default();
    let queries = asked.clone();
    let refuse = async move |RawQuery(query): RawQuery| {
        queries.lock().unwrap().push(query.unwrap_or_default());
        StatusCode::BAD_REQUEST
    };
    let server = Server::http(Router::new().route("/ws3", get(refuse))).await;
    let voice =
        RimeVoice { speaker: "lyra".into(), speed_alpha: 1.0, reduce_latency: false, credential_id: None };
    let (set, characters) = (clip_set(Voice::Rimeai(voice), "fr-FR"), AtomicU64::new(0));
    let clips =
        ClipSynthesizer::new(&server.providers(), EgressPolicy::PublicOnly, &set, None, &characters).unwrap();
    assert!(clips.synthesize("Bonjour.").await.is_err());
    assert!(asked.lock().unwrap()[0].ends_with("&lang=fr"), "{asked:?}");
}

#[tokio::test]
async fn clips_use_the_customers_key_only() {
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
    let (characters, set) = (AtomicU64::new(0), clip_set(Voice::default(), "en"));
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
    let clips =
        |own| ClipSynthesizer::new(&providers, EgressPolicy::PublicOnly, &set, Some(&own), &characters);
    clips(own(Provider::Deepgram)).unwrap().synthesize("Hello.").await.unwrap();
    assert_eq!(*keys.lock().unwrap(), ["Token dg-of-the-customer"]);
}

#[tokio::test]
async fn a_throttled_clause_waits_as_long_as_the_vendor_asks() {
    let requests = Arc::<Mutex<Vec<Instant>>>::default();
    let counted = requests.clone();
    let answer = async move || {
        let mut requests = counted.lock().unwrap();
        requests.push(Instant::now());
        if requests.len() <= 2 {
            (StatusCode::TOO_MANY_REQUESTS, [("retry-after-ms", "300")]).into_response()
        } else {
            vec![1_u8; 160].into_response()
        }
    };
    let server = Server::http(Router::new().route("/v1/speak", post(answer))).await;
    let events = speech(&server.providers(), PATIENT, "Hello.").await;
    let words = events.iter().position(|event| matches!(event, Ok(SpeechEvent::Audio(_))));
    assert!(words.is_some(), "{events:?}");
    let delayed = events.iter().filter(|event| matches!(event, Ok(SpeechEvent::Delayed))).count();
    assert_eq!(delayed, 2, "{events:?}");
    let requests = requests.lock().unwrap();
    assert!(requests.windows(2).all(|pair| pair[1] - pair[0] >= Duration::from_millis(300)), "{requests:?}");
}

#[tokio::test]
async fn a_key_has_a_limited_number_of_requests_at_a_time() {
    let running = Arc::<Mutex<(usize, usize)>>::default();
    let counted = running.clone();
    let answer = async move || {
        {
            let mut running = counted.lock().unwrap();
            running.0 += 1;
            running.1 = running.1.max(running.0);
        }
        sleep(Duration::from_millis(100)).await;
        counted.lock().unwrap().0 -= 1;
        vec![1_u8; 160]
    };
    let server = Server::http(Router::new().route("/v1/speak", post(answer))).await;
    let providers = server.providers();
    let clauses = (0..40).map(|_| speech(&providers, PATIENT, "Hello."));
    for events in futures_util::future::join_all(clauses).await {
        assert!(
            matches!(&events[..], [Ok(SpeechEvent::Characters { .. }), Ok(SpeechEvent::Audio(_))]),
            "{events:?}"
        );
    }
    let most = running.lock().unwrap().1;
    assert!((2..=15).contains(&most), "{most}");
}
