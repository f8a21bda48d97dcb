//! The Azure voice against servers that behave and misbehave.

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    http::{HeaderMap, StatusCode},
    response::IntoResponse as _,
    routing::post,
};
use futures_util::StreamExt as _;
use switchboard_model::{
    credentials::{Credential, OpenCredential, Provider},
    egress_policy::EgressPolicy,
    ids::{AccountId, CredentialId},
    secrets::Secret,
    time::Timestamp,
};
use switchboard_providers::{
    Error, Providers, StreamTimeouts,
    audio::{AudioFormat, Encoding},
    azure::speak::Speak,
    synthesizer::{CallContext, SpeechEvent, Synthesizer as _},
};
use tokio::time::{Duration, Instant};

use crate::support::{CHUNKED, IMPATIENT, PATIENT, Server, nowhere, providers, until_closed, write_chunk};

const PATH: &str = "/tts/cognitiveservices/v1";

async fn speech_in(
    providers: &Providers,
    timeouts: StreamTimeouts,
    format: AudioFormat,
    clause: &str,
) -> Vec<Result<SpeechEvent, Error>> {
    let voice = Speak::new(providers, "en-US-JennyNeural", 5, -10, timeouts).unwrap();
    let mut session = voice.open(&CallContext { format, language: "en".into() });
    session.synthesize(clause).collect().await
}

async fn speech(providers: &Providers, timeouts: StreamTimeouts) -> Vec<Result<SpeechEvent, Error>> {
    speech_in(providers, timeouts, AudioFormat::TELEPHONE, "Fish & chips.").await
}

fn bytes(events: &[Result<SpeechEvent, Error>]) -> usize {
    let audio = |event: &Result<SpeechEvent, Error>| match event {
        Ok(SpeechEvent::Audio(audio)) => audio.len(),
        _ => 0,
    };
    events.iter().map(audio).sum()
}

#[tokio::test]
async fn a_clause_is_a_document_and_its_audio_has_the_calls_format() {
    let seen = Arc::<Mutex<Vec<(HeaderMap, String)>>>::default();
    let requests = seen.clone();
    let answer = async move |headers: HeaderMap, body: String| {
        requests.lock().unwrap().push((headers, body));
        vec![0x10; 8_000]
    };
    let server = Server::http(Router::new().route(PATH, post(answer))).await;
    let events = speech(&server.providers(), PATIENT).await;
    let Ok(SpeechEvent::Characters { count, estimated: true }) = events[0] else { panic!("{events:?}") };
    assert_eq!(bytes(&events), 8_000);
    let linear = AudioFormat { encoding: Encoding::Pcm16, sample_rate: 16_000 };
    speech_in(&server.providers(), PATIENT, linear, "Hi.").await;

    let seen = seen.lock().unwrap();
    let (headers, body) = &seen[0];
    let inner = "<prosody pitch=\"+5%\" rate=\"-10%\">Fish &amp; chips.</prosody>";
    assert!(body.contains(&format!("<voice name=\"en-US-JennyNeural\">{inner}</voice>")), "{body}");
    assert_eq!(count, inner.len() as u64);
    assert_eq!(headers["ocp-apim-subscription-key"], "az-1");
    assert_eq!(headers["content-type"], "application/ssml+xml");
    assert_eq!(headers["x-microsoft-outputformat"], "raw-8khz-8bit-mono-mulaw");
    assert!(headers["user-agent"].to_str().unwrap().starts_with("switchboard/"));
    assert_eq!(seen[1].0["x-microsoft-outputformat"], "raw-16khz-16bit-mono-pcm");
}

#[tokio::test]
async fn silence_emptiness_and_a_broken_connection_are_errors() {
    let silent = Server::raw(async |mut socket| until_closed(&mut socket).await).await;
    let events = speech(&silent.providers(), IMPATIENT).await;
    assert!(matches!(&events[..], [Err(error)] if error.is_retryable()), "{events:?}");

    let empty = Server::http(Router::new().route(PATH, post(async || Vec::<u8>::new()))).await;
    let events = speech(&empty.providers(), PATIENT).await;
    assert!(matches!(&events[..], [Ok(_), Err(error)] if error.is_retryable()), "{events:?}");

    let broken = Server::raw(async |mut socket| {
        use tokio::io::AsyncWriteExt as _;
        socket.write_all(CHUNKED.as_bytes()).await.unwrap();
        write_chunk(&mut socket, &[0x10; 400]).await;
    })
    .await;
    let events = speech(&broken.providers(), PATIENT).await;
    assert!(
        matches!(&events[..], [Ok(_), Ok(SpeechEvent::Audio(_)), Err(error)] if error.is_retryable()),
        "{events:?}"
    );
    assert!(matches!(&speech(&nowhere().providers, PATIENT).await[..], [Err(error)] if error.is_retryable()));
}

#[tokio::test]
async fn dropping_a_clause_closes_its_connection() {
    let closed = Arc::new(tokio::sync::Notify::new());
    let noticed = closed.clone();
    let server = Server::raw(move |mut socket| {
        let closed = closed.clone();
        async move {
            use tokio::io::AsyncWriteExt as _;
            socket.write_all(CHUNKED.as_bytes()).await.unwrap();
            write_chunk(&mut socket, &[0x10; 400]).await;
            until_closed(&mut socket).await;
            closed.notify_one();
        }
    })
    .await;
    let voice = Speak::new(&server.providers(), "en-US-JennyNeural", 0, 0, PATIENT).unwrap();
    let mut session = voice.open(&CallContext { format: AudioFormat::TELEPHONE, language: "en".into() });
    let mut clause = session.synthesize("Hello.");
    assert!(matches!(clause.next().await, Some(Ok(SpeechEvent::Characters { .. }))));
    assert!(matches!(clause.next().await, Some(Ok(SpeechEvent::Audio(_)))));
    drop(clause);
    tokio::time::timeout(Duration::from_secs(10), noticed.notified()).await.unwrap();
}

#[tokio::test]
async fn a_throttled_clause_waits_and_others_fail_at_once() {
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
    let server = Server::http(Router::new().route(PATH, post(answer))).await;
    let events = speech(&server.providers(), PATIENT).await;
    let delays = events.iter().filter(|event| matches!(event, Ok(SpeechEvent::Delayed))).count();
    assert_eq!((bytes(&events), delays), (160, 2), "{events:?}");
    let requests = requests.lock().unwrap().clone();
    assert!(requests.windows(2).all(|pair| pair[1] - pair[0] >= Duration::from_millis(300)), "{requests:?}");

    for (status, is_retryable) in [(400, false), (401, false), (415, false), (502, true)] {
        let status = StatusCode::from_u16(status).unwrap();
        let answer = async move || (status, "Unsupported voice.");
        let server = Server::http(Router::new().route(PATH, post(answer))).await;
        let events = speech(&server.providers(), PATIENT).await;
        assert!(
            matches!(&events[..], [Err(error)] if error.is_retryable() == is_retryable),
            "{status}: {events:?}"
        );
    }
}

#[tokio::test]
async fn two_clauses_are_synthesized_at_once() {
    let both = Arc::new(tokio::sync::Barrier::new(2));
    let answer = async move || {
        both.wait().await;
        vec![1_u8; 160]
    };
    let server = Server::http(Router::new().route(PATH, post(answer))).await;
    let voice = Speak::new(&server.providers(), "en-US-JennyNeural", 0, 0, PATIENT).unwrap();
    let mut session = voice.open(&CallContext { format: AudioFormat::TELEPHONE, language: "en".into() });
    let (one, two) = (session.synthesize("One."), session.synthesize("Two."));
    let (one, two) = tokio::join!(one.collect::<Vec<_>>(), two.collect::<Vec<_>>());
    assert_eq!((bytes(&one), bytes(&two)), (160, 160));
}

#[tokio::test]
async fn a_missing_key_is_reported_and_a_token_is_sent_as_one() {
    let mut without = providers("http://127.0.0.1:9");
    without.keys.remove("azure_api_key");
    assert!(Speak::new(&without, "en-US-JennyNeural", 0, 0, PATIENT).is_err());

    let seen = Arc::<Mutex<Vec<HeaderMap>>>::default();
    let requests = seen.clone();
    let answer = async move |headers: HeaderMap| {
        requests.lock().unwrap().push(headers);
        vec![1_u8; 160]
    };
    let server = Server::http(Router::new().route(PATH, post(answer))).await;
    let mut providers = server.providers();
    let connection = switchboard_model::catalogue::connection("azure").unwrap();
    providers.keys.set(connection, Secret::new("eyJh.eyJp.c2ln"));
    speech(&providers, PATIENT).await;
    let seen = seen.lock().unwrap();
    assert_eq!(seen[0]["authorization"], "Bearer eyJh.eyJp.c2ln");
    assert!(!seen[0].contains_key("ocp-apim-subscription-key"));
}

#[test]
fn a_customers_key_is_sent_to_its_region() {
    let at = Timestamp::from_millis(0);
    let own = OpenCredential {
        credential: Credential {
            id: CredentialId::new(at, 1),
            account_id: AccountId::new(at, 1),
            provider: Provider::Azure,
            last4: "omer".into(),
            region: Some("westeurope".into()),
            user_id: None,
            base_url: None,
            created_at: at,
        },
        api_key: Secret::new("az-of-the-customer"),
    };
    let providers = providers("http://127.0.0.1:9");
    let own = providers.with_credential(&own, EgressPolicy::PublicOnly).unwrap();
    let region = "https://westeurope.api.cognitive.microsoft.com/";
    assert_eq!(own.endpoints.of("azure").as_str(), region);
    assert_eq!(providers.endpoints.of("azure").as_str(), "http://127.0.0.1:9/");
}
