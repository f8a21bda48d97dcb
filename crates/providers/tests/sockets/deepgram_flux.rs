//! Deepgram's Flux models against servers that behave and misbehave.

use std::{future::Future, time::Duration};

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
use bytes::Bytes;
use futures_util::{StreamExt, future::pending};
use serde_json::{Value, json};
use switchboard_model::agents::Transcriber;
use switchboard_providers::{
    Error, Providers,
    audio::AudioFormat,
    deepgram::{
        flux::{Flux, Timing},
        listen::Settings,
    },
    transcriber::{AudioSink, Transcriber as _, TranscriberSession, TranscriptEvent},
};

use crate::support::{SHORT, Server, nowhere};

const FRAME: Bytes = Bytes::from_static(&[0xFF; 160]);

fn info(event: &str, transcript: &str) -> Message {
    let words: Vec<Value> = transcript
        .split(' ')
        .map(|word| json!({"word": word, "confidence": 0.9, "start": 0.1, "end": 0.75}))
        .collect();
    let info = json!({"type": "TurnInfo", "request_id": "r", "sequence_id": 1, "event": event, "turn_index": 0,
        "audio_window_start": 0.0, "audio_window_end": 1.0, "transcript": transcript, "words": words,
        "end_of_turn_confidence": 0.8, "trigger": "model"});
    Message::text(info.to_string())
}

async fn listening<F>(script: impl Fn(WebSocket) -> F + Clone + Send + Sync + 'static) -> Server
where
    F: Future<Output = ()> + Send + 'static,
{
    let accept = async move |RawQuery(query): RawQuery, headers: HeaderMap, upgrade: WebSocketUpgrade| {
        let expected = "model=flux-general-en&encoding=mulaw&sample_rate=8000&eot_timeout_ms=3000";
        assert_eq!(query.as_deref(), Some(expected));
        assert_eq!(headers[header::AUTHORIZATION], "Token dg-1");
        upgrade.on_upgrade(script)
    };
    Server::http(Router::new().route("/v2/listen", get(accept))).await
}

async fn connect(providers: &Providers, timing: Timing) -> Result<(AudioSink, TranscriberSession), Error> {
    let settings = Settings { model: "flux-general-en", language: "en", key_terms: &[] };
    Flux::new(providers, &settings, timing).unwrap().connect().await
}

async fn connected(server: &Server, timing: Timing) -> (AudioSink, TranscriberSession) {
    connect(&server.providers(), timing).await.unwrap()
}

/// Reads this much audio.
async fn hear(socket: &mut WebSocket, mut bytes: usize) {
    while bytes > 0 {
        match socket.recv().await.unwrap().unwrap() {
            Message::Binary(audio) => {
                bytes = bytes.checked_sub(audio.len()).expect("no more audio than this");
            }
            other => panic!("audio is expected: {other:?}"),
        }
    }
}

#[tokio::test]
async fn the_model_ends_the_turn() {
    let server = listening(async |mut socket: WebSocket| {
        socket.send(Message::text(r#"{"type":"Connected","request_id":"r","sequence_id":0}"#)).await.unwrap();
        for noise in [r#"{"type":"Novelty"}"#, "not json", r#"{"type":"TurnInfo","event":7}"#] {
            socket.send(Message::text(noise)).await.unwrap();
        }
        hear(&mut socket, 640 + 160).await;
        let Some(Ok(Message::Text(end))) = socket.recv().await else { panic!("the end is expected") };
        assert_eq!(end.as_str(), r#"{"type":"CloseStream"}"#);
        for (event, text) in [("StartOfTurn", "Hello"), ("Update", "Hello"), ("EndOfTurn", "Hello there.")] {
            socket.send(info(event, text)).await.unwrap();
        }
        let _ = socket.send(Message::Close(Some(CloseFrame { code: 1000, reason: "".into() }))).await;
        while let Some(Ok(_)) = socket.recv().await {}
    })
    .await;
    let (mut sink, session) = connected(&server, Timing::default()).await;
    for _ in 0..5 {
        sink.send(FRAME).unwrap();
    }
    sink.finish();
    let events: Vec<_> = session.map(Result::unwrap).collect().await;
    let transcript = |text: &str, is_final| TranscriptEvent::Transcript {
        text: text.into(),
        is_final,
        words_end: Some(Duration::from_millis(750)),
    };
    let expected = [
        TranscriptEvent::SpeechStarted,
        transcript("Hello", false),
        transcript("Hello there.", true),
        TranscriptEvent::TurnEnded,
        TranscriptEvent::Usage { audio: Duration::from_millis(100), estimated: true },
    ];
    assert!(events == expected, "{events:?}");
}

#[tokio::test]
async fn silence_stands_in_for_audio_that_does_not_come() {
    let server = listening(async |mut socket: WebSocket| {
        hear(&mut socket, 160).await;
        for _ in 0..2 {
            let Some(Ok(Message::Binary(silence))) = socket.recv().await else {
                panic!("silence is expected")
            };
            assert!(silence.len() == 160 && silence.iter().all(|byte| *byte == 0xFF));
        }
        socket.send(info("EndOfTurn", "Yes.")).await.unwrap();
        pending::<()>().await;
    })
    .await;
    let (mut sink, mut session) =
        connected(&server, Timing { gap: Duration::from_millis(20), ..Timing::default() }).await;
    sink.send(Bytes::from_static(&[0x55; 160])).unwrap();
    let event = session.next().await.unwrap().unwrap();
    let TranscriptEvent::Transcript { words_end: Some(end), is_final: true, .. } = event else {
        panic!("{event:?}")
    };
    assert!(end <= Duration::from_millis(710), "the added silence does not count: {end:?}");
}

#[tokio::test]
async fn wideband_audio_is_sent_as_it_is_and_named_in_the_address() {
    let script = async |mut socket: WebSocket| {
        // 80 ms of the caller, and 20 ms of silence in the place of the audio that does not come.
        let Some(Ok(Message::Binary(audio))) = socket.recv().await else { panic!("audio is expected") };
        assert!(audio.len() == 4 * 640 && audio.iter().all(|byte| *byte == 0x55), "{}", audio.len());
        let Some(Ok(Message::Binary(silence))) = socket.recv().await else { panic!("silence is expected") };
        assert!(silence.len() == 640 && silence.iter().all(|byte| *byte == 0), "{}", silence.len());
        let _ = socket.send(Message::Close(Some(CloseFrame { code: 1000, reason: "".into() }))).await;
        while let Some(Ok(_)) = socket.recv().await {}
    };
    let accept = async move |RawQuery(query): RawQuery, upgrade: WebSocketUpgrade| {
        let expected = "model=flux-general-en&encoding=linear16&sample_rate=16000&eot_timeout_ms=3000";
        assert_eq!(query.as_deref(), Some(expected));
        upgrade.on_upgrade(script)
    };
    let server = Server::http(Router::new().route("/v2/listen", get(accept))).await;
    let settings = Settings { model: "flux-general-en", language: "en", key_terms: &[] };
    let timing = Timing { gap: Duration::from_millis(20), ..Timing::default() };
    let flux = Flux::new(&server.providers(), &settings, timing).unwrap();
    let (mut sink, session) = flux.connect_for(AudioFormat::WIDEBAND).await.unwrap();
    assert_eq!(sink.format(), AudioFormat::WIDEBAND);
    for _ in 0..4 {
        sink.send(Bytes::from_static(&[0x55; 640])).unwrap();
    }
    let events: Vec<_> = session.collect().await;
    let Some(Ok(TranscriptEvent::Usage { audio, .. })) = events.first() else { panic!("{events:?}") };
    assert_eq!(*audio, Duration::from_millis(100), "as the vendor bills it, the silence included");
}

#[tokio::test]
async fn refusals_and_fatal_errors_are_retryable_or_not() {
    async fn answered(answer: impl IntoResponse + Clone + Send + Sync + 'static) -> Error {
        let server = Server::http(Router::new().route("/v2/listen", get(async move || answer))).await;
        connect(&server.providers(), Timing::default()).await.err().expect("the session is refused")
    }
    let error = answered((StatusCode::BAD_REQUEST, [("dg-error", "model must be one of the list")])).await;
    assert_eq!(error.to_string(), "deepgram refused the request (400): model must be one of the list");
    assert!(!answered(StatusCode::UNAUTHORIZED).await.is_retryable());
    assert!(answered(StatusCode::TOO_MANY_REQUESTS).await.is_retryable());
    assert!(connect(&nowhere().providers, Timing::default()).await.err().unwrap().is_retryable());
    for (code, is_retryable) in [("INTERNAL_SERVER_ERROR", true), ("UNPARSABLE_CLIENT_MESSAGE", false)] {
        let server = listening(move |mut socket: WebSocket| async move {
            let error = json!({"type": "Error", "sequence_id": 1, "code": code, "description": "it failed"});
            socket.send(Message::text(error.to_string())).await.unwrap();
            pending::<()>().await;
        })
        .await;
        let (_sink, session) = connected(&server, Timing::default()).await;
        let events: Vec<_> = session.collect().await;
        let [Ok(TranscriptEvent::Usage { .. }), Err(error)] = &events[..] else { panic!("{events:?}") };
        assert_eq!(error.is_retryable(), is_retryable, "{error}");
    }
}

#[tokio::test]
async fn a_silent_server_ends_the_session() {
    // It is never polled, so it does not answer pings either.
    let server = listening(async |socket: WebSocket| {
        pending::<()>().await;
        drop(socket);
    })
    .await;
    let (_sink, session) = connected(&server, Timing { silence: SHORT, ..Timing::default() }).await;
    let events: Vec<_> = session.collect().await;
    assert!(matches!(&events[..], [Ok(_), Err(error)] if error.is_retryable()), "{events:?}");
}

#[tokio::test]
async fn a_flux_model_of_an_agent_has_its_own_endpoint() {
    let server =
        listening(async |mut socket: WebSocket| while let Some(Ok(_)) = socket.recv().await {}).await;
    let flux = |language: &str| Transcriber::Deepgram {
        model: "flux-general-en".into(),
        language: language.into(),
        keywords: vec![],
        credential_id: None,
    };
    let providers = server.providers();
    assert!(providers.transcriber(&flux("en")).connect().await.is_ok());
    let Err(error) = providers.transcriber(&flux("sv")).connect().await else {
        panic!("/v1/listen does not exist")
    };
    assert!(error.to_string().contains("404"), "served by nova-3: {error}");
}
