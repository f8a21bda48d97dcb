//! The server on real sockets, with an engine that needs no speech.

use std::{net::Ipv4Addr, time::Duration};

use axum::{Json, Router, body::Bytes, extract::DefaultBodyLimit, http::HeaderValue, routing::post};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Error, Message, client::IntoClientRequest as _},
};
use tokio_util::sync::CancellationToken;

use super::{listen, router};
use crate::{audio, speech::Speech};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

const LONG: Duration = Duration::from_mins(1);
const ID: &str = "280ea3a98c654776ad28fb149d2b5bc5";
const TIME: &str = "X-Timestamp: 2026-11-30T19:34:40.257Z";
const WAV: &[u8] = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x07\0\x01\0@\x1f\0\0@\x1f\0\0\x01\0\x08\0data\0\0\0\0";
const WIDE_WAV: &[u8] =
    b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x80\x3e\0\0\0\x7d\0\0\x02\0\x10\0data\0\0\0\0";
const CONFIG: &str = r#"{"context":{"system":{"name":"test","version":"1"}}}"#;

async fn serve(router: Router, tasks: &mut JoinSet<()>) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
    url
}

/// A server whose engine recognises "Good morning." in any audio. Stops when the tasks are dropped.
async fn server(tasks: &mut JoinSet<()>) -> String {
    let engine = Router::new()
        .route("/transcribe", post(async |_: Bytes| Json(json!({"text": "Good morning."}))))
        .layer(DefaultBodyLimit::disable());
    let speech = Speech::connect(&serve(engine, tasks).await).unwrap();
    serve(router(speech, "secret".to_owned(), &CancellationToken::new()), tasks).await
}

async fn connect(url: &str, path: &str, key: &'static str) -> Result<Socket, Error> {
    let mut request = format!("{url}{path}").replace("http", "ws").into_client_request().unwrap();
    request.headers_mut().insert("ocp-apim-subscription-key", HeaderValue::from_static(key));
    request.headers_mut().insert("x-connectionid", HeaderValue::from_static(ID));
    Ok(connect_async(request).await?.0)
}

fn text(path: &str, body: &str) -> Message {
    Message::text(format!("Path: {path}\r\nX-RequestId: {ID}\r\n{TIME}\r\n\r\n{body}"))
}

fn sound(content_type: &str, body: &[u8]) -> Message {
    let head = format!("Path: audio\r\nX-RequestId: {ID}\r\n{TIME}\r\n{content_type}");
    Message::binary([&u16::try_from(head.len()).unwrap().to_be_bytes(), head.as_bytes(), body].concat())
}

/// Sends messages; returns the paths and bodies of the answers up to the end of the turn, or how the server closes.
async fn answers(socket: &mut Socket, messages: Vec<Message>) -> Result<Vec<(String, Value)>, (u16, String)> {
    for message in messages {
        socket.send(message).await.unwrap();
    }
    let mut answers = vec![];
    loop {
        match timeout(LONG, socket.next()).await.unwrap() {
            Some(Ok(Message::Text(text))) => {
                let (head, body) = text.split_once("\r\n\r\n").unwrap();
                assert!(head.contains(&format!("X-RequestId:{ID}")), "{head}");
                let path = head.lines().find_map(|line| line.strip_prefix("Path:")).unwrap().to_owned();
                let is_over = path == "turn.end";
                answers.push((path, serde_json::from_str(body).unwrap()));
                if is_over {
                    return Ok(answers);
                }
            }
            Some(Ok(Message::Close(Some(frame)))) => {
                return Err((frame.code.into(), frame.reason.to_string()));
            }
            Some(Ok(_)) => {}
            other => panic!("neither a message nor a close: {other:?}"),
        }
    }
}

fn path(query: &str) -> String {
    format!("{}?{query}", listen::CONVERSATION)
}

#[tokio::test]
async fn a_turn_is_transcribed_until_its_audio_ends() {
    let mut tasks = JoinSet::new();
    let url = server(&mut tasks).await;
    let mut socket =
        connect(&url, &path("language=en-US&format=simple&profanity=raw"), "secret").await.unwrap();
    for _ in 0..2 {
        let mut messages = vec![
            text("speech.config", CONFIG),
            text("speech.context", r#"{"phraseDetection":{"mode":"Conversation"}}"#),
            sound("Content-Type: audio/x-wav\r\n", WAV),
        ];
        messages.extend([0x10, audio::SILENCE].map(|byte| sound("", &[byte; 8000])));
        messages.push(sound("", &[]));
        let answers = answers(&mut socket, messages).await.unwrap();
        let paths: Vec<&str> = answers.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(paths[..2], ["turn.start", "speech.startDetected"]);
        assert_eq!(paths[paths.len() - 3..], ["speech.endDetected", "speech.phrase", "turn.end"]);
        let phrase = answers.iter().find(|(_, body)| body["RecognitionStatus"] == "Success").unwrap();
        assert_eq!(phrase.1["DisplayText"], "Good morning.");
    }
}

#[tokio::test]
async fn audio_at_16_khz_is_heard_at_its_own_rate() {
    let mut tasks = JoinSet::new();
    let url = server(&mut tasks).await;
    let mut socket = connect(&url, &path("language=en-US"), "secret").await.unwrap();
    // A second of sound and a second of silence, in samples of two bytes.
    let loud: Vec<u8> =
        [8_000_i16, 8_000, -8_000, -8_000].repeat(4_000).into_iter().flat_map(i16::to_le_bytes).collect();
    let messages = vec![
        text("speech.config", CONFIG),
        text("speech.context", "{}"),
        sound("Content-Type: audio/x-wav\r\n", WIDE_WAV),
        sound("", &loud),
        sound("", &vec![0; loud.len()]),
        sound("", &[]),
    ];
    let answers = answers(&mut socket, messages).await.unwrap();
    let phrase = answers.iter().find(|(_, body)| body["RecognitionStatus"] == "Success").unwrap();
    assert_eq!(phrase.1["DisplayText"], "Good morning.");
    let end = phrase.1["Offset"].as_u64().unwrap() + phrase.1["Duration"].as_u64().unwrap();
    assert!((9_000_000..12_000_000).contains(&end), "in units of 100 ns: {end}");
}

#[tokio::test]
async fn mistakes_close_the_connection_and_say_why() {
    let mut tasks = JoinSet::new();
    let url = server(&mut tasks).await;
    let config = || text("speech.config", CONFIG);
    let context = |body: &str| text("speech.context", body);
    let four = r#"{"languageId":{"languages":["en-US","en-GB"]}}"#;
    for (messages, reason) in [
        (vec![Message::text("hello")], "empty line"),
        (vec![context("{}")], "speech.config"),
        (vec![config(), context("{}"), context("{}")], "not over"),
        (vec![config(), context(four)], "lidEnabled"),
        (vec![config(), context(r#"{"phraseDetection":{"mode":"Dictation"}}"#)], "mode"),
        (
            vec![
                config(),
                context(
                    r#"{"phraseDetection":{"conversation":{"segmentation":{"segmentationSilenceTimeoutMs":50}}}}"#,
                ),
            ],
            "segmentation",
        ),
        (vec![config(), context("{}"), sound("", WAV)], "audio/x-wav"),
        (vec![config(), context("{}"), sound("Content-Type: audio/x-wav\r\n", &[0xFF; 160])], "RIFF"),
        (vec![config(), text("speech.novelty", "{}")], "path"),
    ] {
        let mut socket = connect(&url, &path("language=en-US"), "secret").await.unwrap();
        let (code, told) = answers(&mut socket, messages).await.unwrap_err();
        assert_eq!(code, 1007, "{told}");
        assert!(told.contains(reason), "{told}: {reason}");
    }
}

#[tokio::test]
async fn languages_are_told_apart_at_the_universal_path() {
    let mut tasks = JoinSet::new();
    let url = server(&mut tasks).await;
    let universal = format!("{}?lidEnabled=true", listen::UNIVERSAL);
    let context = r#"{"languageId":{"languages":["es-ES","en-US"],"mode":"DetectContinuous"}}"#;
    let mut socket = connect(&url, &universal, "secret").await.unwrap();
    let mut messages = vec![
        text("speech.config", CONFIG),
        text("speech.context", context),
        sound("Content-Type: audio/x-wav\r\n", WAV),
    ];
    messages.extend([0x10, audio::SILENCE].map(|byte| sound("", &[byte; 8000])));
    messages.push(sound("", &[]));
    let answers = answers(&mut socket, messages).await.unwrap();
    assert!(answers.iter().any(|(_, body)| body["PrimaryLanguage"]["Language"] == "es-ES"), "{answers:?}");
}

#[tokio::test]
async fn a_wrong_key_language_or_path_is_refused() {
    let mut tasks = JoinSet::new();
    let url = server(&mut tasks).await;
    for (path, key, status) in [
        (path("language=en-US"), "wrong", 401),
        (path("language=en"), "secret", 400),
        (path("format=simple"), "secret", 400),
        (path("language=en-US&format=long"), "secret", 400),
        ("/speech/recognition/novelty/cognitiveservices/v1?language=en-US".to_owned(), "secret", 404),
    ] {
        let Err(Error::Http(response)) = connect(&url, &path, key).await else { panic!("{path} is refused") };
        assert_eq!(response.status(), status, "{path}");
    }
}
