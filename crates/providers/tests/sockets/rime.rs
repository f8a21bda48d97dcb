//! Rime's voice against servers that behave and misbehave.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::{
        RawQuery, WebSocketUpgrade,
        ws::{CloseFrame, Message, WebSocket},
    },
    http::{HeaderMap, StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use futures_util::{StreamExt, future::pending};
use serde_json::{Value, json};
use switchboard_model::agents::{RimeVoice, Voice};
use switchboard_providers::{
    Error, Providers, StreamTimeouts,
    audio::AudioFormat,
    rime::speak::Speak,
    synthesizer::{CallContext, SpeechEvent, Synthesizer, VoiceSession, WordTime},
};
use tokio::{sync::Notify, time::timeout};

use crate::support::{IMPATIENT, PATIENT, SHORT, Server, nowhere};

const LONG: Duration = Duration::from_secs(10);

fn voice() -> RimeVoice {
    RimeVoice { speaker: "lyra".into(), speed_alpha: 1.0, reduce_latency: false, credential_id: None }
}

fn context() -> CallContext {
    CallContext { format: AudioFormat::TELEPHONE, language: "en".into() }
}

fn session(providers: &Providers, timeouts: StreamTimeouts) -> Box<dyn VoiceSession> {
    Speak::new(providers, &voice(), timeouts).unwrap().open(&context())
}

async fn speech(providers: &Providers, timeouts: StreamTimeouts) -> Vec<Result<SpeechEvent, Error>> {
    session(providers, timeouts).synthesize("Hello there.").collect().await
}

async fn speaking<F>(script: impl Fn(WebSocket) -> F + Clone + Send + Sync + 'static) -> Server
where
    F: Future<Output = ()> + Send + 'static,
{
    let accept = async move |RawQuery(query): RawQuery, headers: HeaderMap, upgrade: WebSocketUpgrade| {
        let expected = "speaker=lyra&modelId=coda&audioFormat=mulaw&samplingRate=8000&segment=never";
        let wideband = "speaker=lyra&modelId=coda&audioFormat=pcm&samplingRate=16000&segment=never&lang=fr";
        assert!([expected, wideband].contains(&query.as_deref().unwrap()), "{query:?}");
        assert_eq!(headers[header::AUTHORIZATION], "Bearer rm-1");
        upgrade.on_upgrade(script)
    };
    Server::http(Router::new().route("/ws3", get(accept))).await
}

/// Reads a clause and its flush; the text, and the id of its context. None once the client has gone.
async fn clause(socket: &mut WebSocket) -> Option<(String, String)> {
    let mut messages = vec![];
    while messages.len() < 2 {
        match socket.recv().await {
            Some(Ok(Message::Text(text))) => messages.push(serde_json::from_str::<Value>(&text).unwrap()),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            _ => return None,
        }
    }
    assert_eq!(messages[1], json!({"operation": "flush"}));
    let member = |name: &str| messages[0][name].as_str().unwrap().to_owned();
    Some((member("text"), member("contextId")))
}

async fn say(socket: &mut WebSocket, message: Value) {
    let _ = socket.send(Message::text(message.to_string())).await;
}

/// Two bytes of audio.
fn chunk(id: &str) -> Value {
    json!({"type": "chunk", "data": "AQI=", "contextId": id})
}

#[tokio::test]
async fn a_clause_has_its_characters_audio_and_words() {
    let server = speaking(async |mut socket: WebSocket| {
        let (text, id) = clause(&mut socket).await.unwrap();
        assert_eq!(text, "Hello there. ");
        say(&mut socket, chunk("another")).await;
        say(&mut socket, json!({"type": "novelty"})).await;
        let times =
            json!({"words": ["Hello", "there", "."], "start": [0.0, 0.3, 0.7], "end": [0.3, 0.7, 0.75]});
        say(&mut socket, json!({"type": "timestamps", "word_timestamps": times, "contextId": id})).await;
        say(&mut socket, chunk(&id)).await;
        say(&mut socket, json!({"type": "done", "contextId": id})).await;
        pending::<()>().await;
    })
    .await;
    let events: Vec<_> = speech(&server.providers(), PATIENT).await.into_iter().map(Result::unwrap).collect();
    let word = |word: &str, start, end| WordTime {
        word: word.into(),
        start: Duration::from_millis(start),
        end: Duration::from_millis(end),
    };
    let expected = [
        SpeechEvent::Characters { count: 12, estimated: true },
        SpeechEvent::Words(vec![word("Hello", 0, 300), word("there.", 300, 750)]),
        SpeechEvent::Audio(vec![1, 2].into()),
    ];
    assert!(events == expected, "{events:?}");
}

#[tokio::test]
async fn clauses_share_a_connection_unless_they_are_spoken_at_once() {
    let connections = Arc::<AtomicUsize>::default();
    let counted = connections.clone();
    let server = speaking(move |mut socket: WebSocket| {
        counted.fetch_add(1, Ordering::SeqCst);
        async move {
            while let Some((_, id)) = clause(&mut socket).await {
                say(&mut socket, chunk(&id)).await;
                say(&mut socket, json!({"type": "done", "contextId": id})).await;
            }
        }
    })
    .await;
    let mut session = session(&server.providers(), PATIENT);
    for _ in 0..3 {
        let events: Vec<_> = session.synthesize("One.").collect().await;
        assert!(matches!(&events[..], [Ok(_), Ok(SpeechEvent::Audio(_))]), "{events:?}");
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1);
    let mut both = [session.synthesize("Two."), session.synthesize("Three.")];
    for clause in &mut both {
        assert!(matches!(clause.next().await, Some(Ok(SpeechEvent::Characters { .. }))));
    }
    assert_eq!(connections.load(Ordering::SeqCst), 2);
    for clause in both {
        let events: Vec<_> = clause.map(Result::unwrap).collect().await;
        assert!(matches!(&events[..], [SpeechEvent::Audio(_), ..]), "{events:?}");
    }
}

#[tokio::test]
async fn a_connection_ahead_is_used_by_the_first_clause() {
    let connections = Arc::<AtomicUsize>::default();
    let counted = connections.clone();
    let server = speaking(move |mut socket: WebSocket| {
        counted.fetch_add(1, Ordering::SeqCst);
        async move {
            let (_, id) = clause(&mut socket).await.unwrap();
            say(&mut socket, chunk(&id)).await;
            say(&mut socket, json!({"type": "done", "contextId": id})).await;
            pending::<()>().await;
        }
    })
    .await;
    let wideband = CallContext { format: AudioFormat::WIDEBAND, language: "fr".into() };
    for (call, expected) in [(context(), 1), (wideband, 2)] {
        let voice = Speak::new(&server.providers(), &voice(), PATIENT).unwrap();
        voice.connect_ahead(&call).await;
        let events: Vec<_> = voice.open(&call).synthesize("Hello.").collect().await;
        assert!(events.len() > 1 && events.iter().all(Result::is_ok), "{events:?}");
        assert_eq!(connections.load(Ordering::SeqCst), expected);
    }
}

#[tokio::test]
async fn a_connection_that_was_closed_while_idle_is_replaced() {
    let connections = Arc::<AtomicUsize>::default();
    let (counted, closed) = (connections.clone(), Arc::new(Notify::new()));
    let notify = closed.clone();
    let server = speaking(move |mut socket: WebSocket| {
        counted.fetch_add(1, Ordering::SeqCst);
        let notify = notify.clone();
        async move {
            let (_, id) = clause(&mut socket).await.unwrap();
            say(&mut socket, chunk(&id)).await;
            say(&mut socket, json!({"type": "done", "contextId": id})).await;
            let _ = socket.send(Message::Close(Some(CloseFrame { code: 1000, reason: "idle".into() }))).await;
            notify.notify_one();
        }
    })
    .await;
    let mut session = session(&server.providers(), PATIENT);
    for _ in 0..2 {
        let events: Vec<_> = session.synthesize("Hello.").collect().await;
        assert!(matches!(&events[..], [Ok(_), Ok(_)]), "{events:?}");
        closed.notified().await;
    }
    assert_eq!(connections.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn dropping_a_clause_closes_its_connection() {
    let gone = Arc::new(Notify::new());
    let notify = gone.clone();
    let server = speaking(move |mut socket: WebSocket| {
        let notify = notify.clone();
        async move {
            let (_, id) = clause(&mut socket).await.unwrap();
            say(&mut socket, chunk(&id)).await;
            while let Some(Ok(_)) = socket.recv().await {}
            notify.notify_one();
        }
    })
    .await;
    let mut session = session(&server.providers(), PATIENT);
    let mut speech = session.synthesize("Hello.");
    for _ in 0..2 {
        speech.next().await.unwrap().unwrap();
    }
    drop(speech);
    timeout(LONG, gone.notified()).await.expect("the connection is closed");
}

#[tokio::test]
async fn a_silent_or_broken_voice_fails() {
    let mute = speaking(async |mut socket: WebSocket| while let Some(Ok(_)) = socket.recv().await {}).await;
    let events = speech(&mute.providers(), IMPATIENT).await;
    assert!(matches!(&events[..], [Ok(_), Err(error)] if error.is_retryable()), "{events:?}");

    let breaking_off = speaking(async |mut socket: WebSocket| {
        let (_, id) = clause(&mut socket).await.unwrap();
        say(&mut socket, chunk(&id)).await;
        pending::<()>().await;
    })
    .await;
    let events = speech(&breaking_off.providers(), StreamTimeouts { idle: SHORT, ..PATIENT }).await;
    let [Ok(_), Ok(SpeechEvent::Audio(_)), Err(error)] = &events[..] else { panic!("{events:?}") };
    assert!(error.is_retryable());

    let cut = speaking(async |mut socket: WebSocket| drop(clause(&mut socket).await)).await;
    let events = speech(&cut.providers(), PATIENT).await;
    assert!(matches!(&events[..], [Ok(_), Err(error)] if error.is_retryable()), "{events:?}");

    let empty = speaking(async |mut socket: WebSocket| {
        let (_, id) = clause(&mut socket).await.unwrap();
        say(&mut socket, json!({"type": "done", "contextId": id})).await;
        pending::<()>().await;
    })
    .await;
    let events = speech(&empty.providers(), PATIENT).await;
    assert!(matches!(&events[..], [Ok(_), Err(error)] if error.is_retryable()), "{events:?}");
}

#[tokio::test]
async fn refusals_are_retryable_or_not() {
    async fn answered(answer: impl IntoResponse + Clone + Send + Sync + 'static) -> Error {
        let server = Server::http(Router::new().route("/ws3", get(async move || answer))).await;
        speech(&server.providers(), PATIENT).await.pop().unwrap().unwrap_err()
    }
    let error = answered((StatusCode::UNAUTHORIZED, r#"{"error": "Invalid API key"}"#)).await;
    assert!(error.to_string().starts_with("rime refused the request (401)"), "{error}");
    assert!(!answered(StatusCode::BAD_REQUEST).await.is_retryable());
    assert!(answered(StatusCode::TOO_MANY_REQUESTS).await.is_retryable());
    assert!(answered(StatusCode::SERVICE_UNAVAILABLE).await.is_retryable());
    let unreachable = speech(&nowhere().providers, PATIENT).await;
    assert!(matches!(&unreachable[..], [Err(error)] if error.is_retryable()), "{unreachable:?}");
    for (message, is_retryable) in [("speaker not found", false), ("concurrency limit reached", true)] {
        let server = speaking(move |mut socket: WebSocket| async move {
            let _ = clause(&mut socket).await;
            say(&mut socket, json!({"type": "error", "message": message})).await;
            pending::<()>().await;
        })
        .await;
        let error = speech(&server.providers(), PATIENT).await.pop().unwrap().unwrap_err();
        assert_eq!(error.is_retryable(), is_retryable, "{error}");
    }
}

#[tokio::test]
async fn both_names_of_the_vendor_need_its_key() {
    let mut providers = nowhere().providers;
    providers.keys.remove("rime_api_key");
    for voice in [Voice::Rime(voice()), Voice::Rimeai(voice())] {
        let mut session = providers.synthesizer(&voice).open(&context());
        let events: Vec<_> = session.synthesize("Hello.").collect().await;
        assert!(
            matches!(&events[..], [Err(Error::Rejected { code, .. })] if code == "missing_key"),
            "{events:?}"
        );
    }
}
