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
use switchboard_model::agents::Transcriber;
use switchboard_providers::{
    Error, Providers,
    deepgram::listen::{Listen, Settings, Timing},
    transcriber::{AudioSink, QUEUE_FRAMES, Transcriber as _, TranscriberSession, TranscriptEvent},
};
use tokio::io::AsyncWriteExt;

use crate::support::{SHORT, Server, nowhere};

const FRAME: Bytes = Bytes::from_static(&[0xFF; 160]);
const FINAL: &str = r#"{"type":"Results","is_final":true,"speech_final":true,"channel":{"alternatives":[
    {"transcript":"Hello there.","words":[{"word":"hello","start":0.1,"end":0.4},{"word":"there","start":0.4,"end":0.75}]}]}}"#;
const METADATA: &str = r#"{"type":"Metadata","duration":63.4,"channels":1}"#;

async fn listening<F>(script: impl Fn(WebSocket) -> F + Clone + Send + Sync + 'static) -> Server
where
    F: Future<Output = ()> + Send + 'static,
{
    let router = Router::new().route(
        "/v1/listen",
        get(async move |RawQuery(query): RawQuery, headers: HeaderMap, upgrade: WebSocketUpgrade| {
            assert!(
                query
                    .unwrap()
                    .starts_with("encoding=mulaw&sample_rate=8000&channels=1&model=nova-3&language=en&")
            );
            assert_eq!(headers[header::AUTHORIZATION], "Token dg-1");
            assert!(headers[header::USER_AGENT].to_str().unwrap().starts_with("switchboard/"));
            upgrade.on_upgrade(script)
        }),
    );
    Server::http(router).await
}

async fn connect(providers: &Providers, timing: Timing) -> Result<(AudioSink, TranscriberSession), Error> {
    let settings = Settings { model: "nova-3", language: "en", key_terms: &[] };
    Listen::new(providers, &settings, timing).unwrap().connect().await
}

async fn connected(server: &Server, timing: Timing) -> (AudioSink, TranscriberSession) {
    connect(&server.providers(), timing).await.unwrap()
}

async fn refused(providers: &Providers) -> Error {
    connect(providers, Timing::default()).await.err().expect("the session is refused")
}

/// A handshake answered without an upgrade.
async fn answered(answer: impl IntoResponse + Clone + Send + Sync + 'static) -> Error {
    let server = Server::http(Router::new().route("/v1/listen", get(async move || answer))).await;
    refused(&server.providers()).await
}

async fn close(mut socket: WebSocket, code: u16, reason: &'static str) {
    let _ = socket.send(Message::Close(Some(CloseFrame { code, reason: reason.into() }))).await;
    while let Some(Ok(_)) = socket.recv().await {}
}

async fn next_text(socket: &mut WebSocket) -> String {
    loop {
        match socket.recv().await {
            Some(Ok(Message::Text(text))) => return text.as_str().to_owned(),
            Some(Ok(_)) => {}
            other => panic!("the session is over: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_session_transcribes_and_ends_after_the_last_words() {
    let server = listening(|mut socket| async move {
        for noise in [r#"{"type":"Novelty","channel":7}"#, "not json", r#"{"type":"Results","channel":null}"#]
        {
            socket.send(Message::text(noise)).await.unwrap();
        }
        socket.send(Message::Binary(FRAME)).await.unwrap();
        let mut audio = 0;
        loop {
            match socket.recv().await.unwrap().unwrap() {
                Message::Binary(frame) => audio += frame.len(),
                Message::Text(text) if text.as_str() == r#"{"type":"CloseStream"}"# => break,
                other => panic!("unexpected {other:?}"),
            }
        }
        assert_eq!(audio, 480);
        socket.send(Message::text(FINAL)).await.unwrap();
        socket.send(Message::text(METADATA)).await.unwrap();
        close(socket, 1000, "").await;
    })
    .await;
    let (mut sink, session) = connected(&server, Timing::default()).await;
    for _ in 0..3 {
        sink.send(FRAME).unwrap();
    }
    sink.send(Bytes::new()).unwrap();
    sink.finish();
    let events: Vec<_> = session.map(Result::unwrap).collect().await;
    assert!(
        events
            == [
                TranscriptEvent::Transcript {
                    text: "Hello there.".into(),
                    is_final: true,
                    words_end: Some(Duration::from_millis(750)),
                },
                TranscriptEvent::TurnEnded,
                TranscriptEvent::Usage { audio: Duration::from_millis(63_400), estimated: false },
            ],
        "{events:?}"
    );
}

#[tokio::test]
async fn a_session_without_audio_sends_keep_alives() {
    let server = listening(|mut socket| async move {
        for _ in 0..3 {
            assert_eq!(next_text(&mut socket).await, r#"{"type":"KeepAlive"}"#);
        }
        socket.send(Message::text(FINAL)).await.unwrap();
        pending::<()>().await;
    })
    .await;
    let timing = Timing { keep_alive: Duration::from_millis(20), ..Timing::default() };
    let (_sink, mut session) = connected(&server, timing).await;
    assert!(matches!(session.next().await, Some(Ok(TranscriptEvent::Transcript { .. }))));
}

#[tokio::test]
async fn a_turn_without_final_words_is_finalized() {
    let server = listening(|mut socket| async move {
        let interim = r#"{"type":"Results","channel":{"alternatives":[{"transcript":"hello"}]}}"#;
        socket.send(Message::text(interim)).await.unwrap();
        socket.send(Message::text(r#"{"type":"UtteranceEnd","last_word_end":0.5}"#)).await.unwrap();
        assert_eq!(next_text(&mut socket).await, r#"{"type":"Finalize"}"#);
        let last = r#"{"type":"Results","is_final":true,"from_finalize":true,"channel":{"alternatives":[{"transcript":"Hello."}]}}"#;
        socket.send(Message::text(last)).await.unwrap();
        pending::<()>().await;
    })
    .await;
    let (_sink, session) = connected(&server, Timing::default()).await;
    let events: Vec<_> = session.take(3).map(Result::unwrap).collect().await;
    assert!(matches!(
        &events[..],
        [
            TranscriptEvent::Transcript { is_final: false, .. },
            TranscriptEvent::Transcript { is_final: true, .. },
            TranscriptEvent::TurnEnded
        ]
    ));
}

#[tokio::test]
async fn refused_handshakes_are_retryable_or_not() {
    let error = answered((StatusCode::UNAUTHORIZED, [("dg-error", "Invalid credentials.")])).await;
    assert_eq!(error.to_string(), "deepgram refused the request (401): Invalid credentials.");
    assert!(!answered(StatusCode::BAD_REQUEST).await.is_retryable());
    assert!(!answered(StatusCode::PAYMENT_REQUIRED).await.is_retryable());
    assert!(answered(StatusCode::TOO_MANY_REQUESTS).await.is_retryable());
    assert!(answered(StatusCode::SERVICE_UNAVAILABLE).await.is_retryable());
    assert!(answered(StatusCode::OK).await.is_retryable());
    assert!(refused(&nowhere().providers).await.is_retryable());
}

#[tokio::test]
async fn a_closed_session_reports_usage_before_its_error() {
    for (code, reason, retryable) in
        [(1008, "DATA-0000", false), (1011, "NET-0000", true), (1011, "NET-0001", true), (1000, "", true)]
    {
        let server = listening(move |mut socket| async move {
            let Some(Ok(Message::Binary(_))) = socket.recv().await else { panic!("audio is expected") };
            close(socket, code, reason).await;
        })
        .await;
        let (mut sink, session) = connected(&server, Timing::default()).await;
        sink.send(FRAME).unwrap();
        let events: Vec<_> = session.collect().await;
        let [Ok(TranscriptEvent::Usage { audio, estimated: true }), Err(error)] = &events[..] else {
            panic!("{code}: {events:?}")
        };
        assert_eq!(*audio, Duration::from_millis(20));
        assert_eq!(error.is_retryable(), retryable, "{error}");
        assert!(sink.send(FRAME).unwrap_err().is_retryable());
    }
}

#[tokio::test]
async fn an_error_message_ends_the_session() {
    let server = listening(|mut socket| async move {
        let error = r#"{"type":"Error","variant":"SchemaError","description":"unknown field","message":"m"}"#;
        socket.send(Message::text(error)).await.unwrap();
        pending::<()>().await;
    })
    .await;
    let (_sink, session) = connected(&server, Timing::default()).await;
    let error = session.collect::<Vec<_>>().await.pop().unwrap().unwrap_err();
    assert_eq!(error.to_string(), "deepgram refused the request (SchemaError): unknown field");
}

#[tokio::test]
async fn a_silent_server_ends_the_session() {
    // It is never polled, so it does not answer pings either.
    let server = listening(|socket| async move {
        pending::<()>().await;
        drop(socket);
    })
    .await;
    let (_sink, session) = connected(&server, Timing { silence: SHORT, ..Timing::default() }).await;
    let events: Vec<_> = session.collect().await;
    assert!(
        matches!(&events[..], [Ok(TranscriptEvent::Usage { .. }), Err(error)] if error.is_retryable()),
        "{events:?}"
    );
}

#[tokio::test]
async fn a_quiet_server_that_answers_pings_keeps_the_session() {
    let server = listening(|mut socket| async move {
        let mut pings = 0;
        while pings < 4 {
            if let Some(Ok(Message::Ping(_))) = socket.recv().await {
                pings += 1;
            }
        }
        socket.send(Message::text(FINAL)).await.unwrap();
        pending::<()>().await;
    })
    .await;
    let (_sink, mut session) = connected(&server, Timing { silence: 2 * SHORT, ..Timing::default() }).await;
    assert!(matches!(session.next().await, Some(Ok(TranscriptEvent::Transcript { .. }))));
}

#[tokio::test]
async fn a_missing_close_does_not_delay_the_end() {
    let server = listening(|mut socket| async move { while let Some(Ok(_)) = socket.recv().await {} }).await;
    let (sink, session) = connected(&server, Timing { finish: SHORT, ..Timing::default() }).await;
    sink.finish();
    let events: Vec<_> = session.collect().await;
    assert!(matches!(&events[..], [Ok(TranscriptEvent::Usage { estimated: true, .. })]), "{events:?}");
}

#[tokio::test]
async fn a_session_that_falls_behind_refuses_audio() {
    let server = listening(|_socket| pending()).await;
    let (mut sink, _session) = connected(&server, Timing::default()).await;
    for _ in 0..QUEUE_FRAMES {
        sink.send(FRAME).unwrap();
    }
    assert!(sink.send(FRAME).unwrap_err().is_retryable());
}

#[tokio::test]
async fn a_failed_tls_handshake_is_retryable() {
    let server = Server::raw(|mut socket| async move {
        let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    })
    .await;
    let providers = crate::support::providers(&format!("https://{}", server.address));
    assert!(refused(&providers).await.is_retryable());
}

#[tokio::test]
async fn the_configured_transcriber_is_connected_or_rejected() {
    let server = listening(|_socket| pending()).await;
    let mut providers = server.providers();
    assert!(providers.transcriber(&Transcriber::default()).connect().await.is_ok());
    let azure = Transcriber::Azure { languages: vec!["en-US".into()], credential_id: None };
    providers.keys.remove("deepgram_api_key");
    providers.keys.remove("azure_api_key");
    for transcriber in [azure, Transcriber::default()] {
        let connected = providers.transcriber(&transcriber).connect().await;
        assert!(matches!(connected, Err(Error::Rejected { code, .. }) if code == "missing_key"));
    }
}

#[tokio::test]
async fn final_words_are_requested_behind_the_audio_if_there_are_interims() {
    let server = listening(async |mut socket| {
        let mut received = vec![];
        loop {
            match socket.recv().await {
                Some(Ok(Message::Binary(_))) if received.is_empty() => {
                    received.push("audio");
                    let interim = FINAL.replace(r#""is_final":true,"speech_final":true,"#, "");
                    let _ = socket.send(Message::text(interim)).await;
                }
                Some(Ok(Message::Binary(_))) => received.push("audio"),
                Some(Ok(Message::Text(text))) if text.contains("Finalize") => break,
                Some(Ok(_)) => {}
                other => panic!("the session is over: {other:?}"),
            }
        }
        assert_eq!(received, ["audio"; 3]);
        let last = FINAL.replace(r#""speech_final":true"#, r#""from_finalize":true"#);
        let _ = socket.send(Message::text(last)).await;
        while let Some(Ok(_)) = socket.recv().await {}
    })
    .await;
    let (mut sink, mut session) = connected(&server, Timing::default()).await;
    // There are no words yet, so nothing is requested.
    sink.finalize();
    sink.send(FRAME).unwrap();
    let interim = session.next().await.unwrap().unwrap();
    assert!(matches!(interim, TranscriptEvent::Transcript { is_final: false, .. }));
    sink.send(FRAME).unwrap();
    sink.send(FRAME).unwrap();
    sink.finalize();
    let last = session.next().await.unwrap().unwrap();
    assert!(matches!(last, TranscriptEvent::Transcript { is_final: true, .. }));
    assert_eq!(session.next().await.unwrap().unwrap(), TranscriptEvent::TurnEnded);
}
