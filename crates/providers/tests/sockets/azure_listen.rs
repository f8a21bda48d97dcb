//! Azure's transcriber against servers that behave and misbehave.

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
        OriginalUri, WebSocketUpgrade,
        ws::{CloseFrame, Message, WebSocket},
    },
    http::{HeaderMap, StatusCode, Uri},
    response::IntoResponse,
    routing::any,
};
use bytes::Bytes;
use futures_util::{StreamExt, future::pending};
use serde_json::{Value, json};
use switchboard_model::{
    credentials::{Credential, OpenCredential, Provider},
    egress_policy::EgressPolicy,
    ids::{AccountId, CredentialId},
    time::Timestamp,
};
use switchboard_providers::{
    Error, Providers, Secret,
    audio::AudioFormat,
    azure::listen::{Listen, Timing},
    transcriber::{AudioSink, Transcriber as _, TranscriberSession, TranscriptEvent},
};

use crate::support::{SHORT, Server, nowhere};

const FRAME: Bytes = Bytes::from_static(&[0xFF; 160]);

/// The server's end of a connection.
struct Peer {
    socket: WebSocket,
    uri: Uri,
}

/// A message of the client: its headers, and its body.
#[derive(Debug)]
struct Sent {
    path: String,
    request_id: String,
    head: String,
    body: Vec<u8>,
}

impl Sent {
    fn new(head: &str, body: &[u8]) -> Self {
        let header = |name: &str| {
            let line = head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            line.unwrap_or_default().to_owned()
        };
        assert!(header("X-Timestamp").ends_with('Z'), "{head}");
        Self {
            path: header("Path"),
            request_id: header("X-RequestId"),
            head: head.to_owned(),
            body: body.to_vec(),
        }
    }
}

impl Peer {
    /// The next message; none once the client has closed the connection.
    async fn next(&mut self) -> Option<Sent> {
        loop {
            match self.socket.recv().await? {
                Ok(Message::Text(text)) => {
                    let (head, body) = text.split_once("\r\n\r\n").unwrap();
                    return Some(Sent::new(head, body.as_bytes()));
                }
                Ok(Message::Binary(message)) => {
                    let length = usize::from(u16::from_be_bytes([message[0], message[1]]));
                    let (head, body) = message[2..].split_at(length);
                    return Some(Sent::new(std::str::from_utf8(head).unwrap(), body));
                }
                Ok(Message::Ping(_) | Message::Pong(_)) => {}
                Ok(Message::Close(_)) | Err(_) => return None,
            }
        }
    }

    async fn expect(&mut self, path: &str) -> Sent {
        let sent = self.next().await.unwrap();
        assert_eq!(sent.path, path, "{}", sent.head);
        sent
    }

    /// Reads the beginning of a turn, and answers it; the id of the turn.
    async fn begin(&mut self) -> String {
        let context = self.expect("speech.context").await;
        let header = self.expect("audio").await;
        assert!(header.head.contains("Content-Type: audio/x-wav"), "{}", header.head);
        assert_eq!((&header.body[..4], header.body.len()), (&b"RIFF"[..], 44));
        assert_eq!(header.request_id, context.request_id);
        self.say(&context.request_id, "turn.start", &json!({"context": {"serviceTag": "t"}})).await;
        context.request_id
    }

    async fn say(&mut self, id: &str, path: &str, body: &Value) {
        let head = format!("X-RequestId:{id}\r\nContent-Type:application/json; charset=utf-8\r\nPath:{path}");
        let _ = self.socket.send(Message::text(format!("{head}\r\n\r\n{body}"))).await;
    }

    /// Reads this much audio.
    async fn hear(&mut self, mut bytes: usize) {
        while bytes > 0 {
            bytes =
                bytes.checked_sub(self.expect("audio").await.body.len()).expect("no more audio than this");
        }
    }

    async fn close(mut self, code: u16, reason: &'static str) {
        let _ = self.socket.send(Message::Close(Some(CloseFrame { code, reason: reason.into() }))).await;
        while let Some(Ok(_)) = self.socket.recv().await {}
    }
}

async fn listening<F>(script: impl Fn(Peer) -> F + Clone + Send + Sync + 'static) -> Server
where
    F: Future<Output = ()> + Send + 'static,
{
    let accept = async move |OriginalUri(uri): OriginalUri, headers: HeaderMap, upgrade: WebSocketUpgrade| {
        assert_eq!(headers["ocp-apim-subscription-key"], "az-1");
        assert_eq!(headers["x-connectionid"].len(), 32);
        upgrade.on_upgrade(move |socket| script(Peer { socket, uri }))
    };
    Server::http(Router::new().fallback(any(accept))).await
}

async fn connect(providers: &Providers, timing: Timing) -> Result<(AudioSink, TranscriberSession), Error> {
    Listen::new(providers, &["en-US".to_owned()], timing).unwrap().connect().await
}

async fn connected(server: &Server, timing: Timing) -> (AudioSink, TranscriberSession) {
    connect(&server.providers(), timing).await.unwrap()
}

fn phrase(text: &str, end_ms: u64) -> Value {
    json!({"RecognitionStatus": "Success", "DisplayText": text, "Offset": 0, "Duration": end_ms * 10_000})
}

fn words(events: &[TranscriptEvent]) -> Vec<(&str, u128)> {
    let words = events.iter().filter_map(|event| match event {
        TranscriptEvent::Transcript { text, is_final: true, words_end } => {
            Some((text.as_str(), words_end.unwrap().as_millis()))
        }
        _ => None,
    });
    words.collect()
}

#[tokio::test]
async fn a_session_transcribes_and_ends_after_the_last_words() {
    let server = listening(async |mut peer: Peer| {
        assert_eq!(
            peer.uri.to_string(),
            "/speech/recognition/conversation/cognitiveservices/v1?language=en-US&format=simple&profanity=raw"
        );
        let config: Value = serde_json::from_slice(&peer.expect("speech.config").await.body).unwrap();
        assert_eq!(config["context"]["system"]["name"], "Switchboard");
        let id = peer.begin().await;
        peer.socket.send(Message::text("not of the protocol")).await.unwrap();
        peer.say("0", "speech.phrase", &phrase("Of another turn.", 100)).await;
        peer.hear(800 + 160).await;
        assert!(peer.expect("audio").await.body.is_empty(), "the end of the audio");
        peer.say(&id, "speech.startDetected", &json!({"Offset": 0})).await;
        peer.say(&id, "speech.hypothesis", &json!({"Text": "hello", "Offset": 0, "Duration": 600_000})).await;
        peer.say(&id, "speech.phrase", &phrase("Hello there.", 100)).await;
        peer.say(&id, "speech.phrase", &json!({"RecognitionStatus": "EndOfDictation"})).await;
        peer.say(&id, "turn.end", &json!({})).await;
        while peer.next().await.is_some() {}
    })
    .await;
    let (mut sink, session) = connected(&server, Timing::default()).await;
    for _ in 0..6 {
        sink.send(FRAME).unwrap();
    }
    sink.finish();
    let events: Vec<_> = session.map(Result::unwrap).collect().await;
    let transcript = |text: &str, is_final, ms| TranscriptEvent::Transcript {
        text: text.into(),
        is_final,
        words_end: Some(Duration::from_millis(ms)),
    };
    let expected = [
        TranscriptEvent::SpeechStarted,
        transcript("hello", false, 60),
        transcript("Hello there.", true, 100),
        TranscriptEvent::TurnEnded,
        TranscriptEvent::Usage { audio: Duration::from_millis(120), estimated: true },
    ];
    assert!(events == expected, "{events:?}");
}

#[tokio::test]
async fn wideband_audio_is_sent_as_it_is_behind_its_own_header() {
    let server = listening(async |mut peer: Peer| {
        let config: Value = serde_json::from_slice(&peer.expect("speech.config").await.body).unwrap();
        let source = &config["context"]["audio"]["source"];
        assert_eq!((&source["samplerate"], &source["bitspersample"]), (&json!("16000"), &json!("16")));
        let context = peer.expect("speech.context").await;
        let header = peer.expect("audio").await.body;
        // Linear, one channel, 16,000 samples and 32,000 bytes in a second, two bytes and 16 bits in a sample.
        assert_eq!(header[20..36], [1, 0, 1, 0, 0x80, 0x3E, 0, 0, 0, 0x7D, 0, 0, 2, 0, 16, 0]);
        let id = context.request_id;
        peer.say(&id, "turn.start", &json!({"context": {"serviceTag": "t"}})).await;
        let audio = peer.expect("audio").await.body;
        assert!(audio.len() == 5 * 640 && audio.iter().all(|byte| *byte == 0x55), "{}", audio.len());
        assert!(peer.expect("audio").await.body.is_empty(), "the end of the audio");
        peer.say(&id, "speech.phrase", &phrase("Hello there.", 100)).await;
        peer.say(&id, "turn.end", &json!({})).await;
        while peer.next().await.is_some() {}
    })
    .await;
    let listen = Listen::new(&server.providers(), &["en-US".to_owned()], Timing::default()).unwrap();
    let (mut sink, session) = listen.connect_for(AudioFormat::WIDEBAND).await.unwrap();
    assert_eq!(sink.format(), AudioFormat::WIDEBAND);
    for _ in 0..5 {
        sink.send(Bytes::from_static(&[0x55; 640])).unwrap();
    }
    sink.finish();
    let events: Vec<_> = session.map(Result::unwrap).collect().await;
    assert_eq!(words(&events), [("Hello there.", 100)]);
    let used = TranscriptEvent::Usage { audio: Duration::from_millis(100), estimated: true };
    assert!(events.last() == Some(&used), "{events:?}");
}

#[tokio::test]
async fn another_turn_begins_with_the_audio_that_was_not_recognised() {
    let server = listening(async |mut peer: Peer| {
        peer.expect("speech.config").await;
        let first = peer.begin().await;
        peer.hear(2400).await;
        peer.say(&first, "speech.phrase", &phrase("One.", 200)).await;
        peer.say(&first, "turn.end", &json!({})).await;
        let second = peer.begin().await;
        assert_ne!(first, second);
        peer.hear(800).await;
        peer.say(&first, "speech.phrase", &phrase("Late words.", 100)).await;
        peer.say(&second, "speech.phrase", &phrase("Two.", 90)).await;
        pending::<()>().await;
    })
    .await;
    let (mut sink, session) = connected(&server, Timing::default()).await;
    for _ in 0..15 {
        sink.send(FRAME).unwrap();
    }
    let events: Vec<_> = session.take(4).map(Result::unwrap).collect().await;
    assert_eq!(words(&events), [("One.", 200), ("Two.", 290)]);
}

#[tokio::test]
async fn an_old_connection_is_replaced_without_a_gap() {
    let connections = Arc::<AtomicUsize>::default();
    let counted = connections.clone();
    let server = listening(move |mut peer: Peer| {
        let number = counted.fetch_add(1, Ordering::SeqCst);
        async move {
            peer.expect("speech.config").await;
            let id = peer.begin().await;
            if number == 0 {
                peer.hear(1600).await;
                peer.say(&id, "speech.phrase", &phrase("One.", 100)).await;
                // The client leaves once it has another connection.
                while peer.next().await.is_some() {}
            } else {
                peer.hear(800).await;
                peer.say(&id, "speech.phrase", &phrase("Two.", 50)).await;
                pending::<()>().await;
            }
        }
    })
    .await;
    let timing = Timing { renew: SHORT, ..Timing::default() };
    let (mut sink, session) = connected(&server, timing).await;
    for _ in 0..10 {
        sink.send(FRAME).unwrap();
    }
    let events: Vec<_> = session.take(4).map(Result::unwrap).collect().await;
    assert_eq!(words(&events), [("One.", 100), ("Two.", 150)]);
    assert_eq!(connections.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn several_languages_are_identified() {
    let server = listening(async |mut peer: Peer| {
        assert!(
            peer.uri.to_string().starts_with("/stt/speech/universal/v2?lidEnabled=true&"),
            "{}",
            peer.uri
        );
        peer.expect("speech.config").await;
        let context: Value = serde_json::from_slice(&peer.expect("speech.context").await.body).unwrap();
        assert_eq!(context["languageId"]["languages"], json!(["en-US", "es-ES"]));
        peer.close(1000, "").await;
    })
    .await;
    let languages = ["en-US", "es-ES", "en-GB"].map(str::to_owned);
    let transcriber = Listen::new(&server.providers(), &languages, Timing::default()).unwrap();
    let (_sink, session) = transcriber.connect().await.unwrap();
    let events: Vec<_> = session.collect().await;
    assert!(matches!(&events[..], [Ok(_), Err(error)] if error.is_retryable()), "{events:?}");
}

#[tokio::test]
async fn refused_handshakes_are_retryable_or_not() {
    async fn answered(answer: impl IntoResponse + Clone + Send + Sync + 'static) -> Error {
        let server = Server::http(Router::new().fallback(any(async move || answer))).await;
        connect(&server.providers(), Timing::default()).await.err().expect("the session is refused")
    }
    let error = answered(StatusCode::UNAUTHORIZED).await;
    assert_eq!(
        error.to_string(),
        "azure refused the request (401): the key is not valid at this endpoint: it belongs to one region"
    );
    for (status, is_retryable) in
        [(400, false), (403, false), (404, false), (429, true), (503, true), (200, true)]
    {
        let error = answered(StatusCode::from_u16(status).unwrap()).await;
        assert_eq!(error.is_retryable(), is_retryable, "{error}");
        assert_eq!(error.is_unauthorized(), status == 403, "{error}");
    }
    let unreachable = connect(&nowhere().providers, Timing::default()).await.err().unwrap();
    assert!(unreachable.is_retryable());
}

#[tokio::test]
async fn a_closed_session_reports_usage_before_its_error() {
    for (code, is_retryable) in
        [(1007, false), (1008, false), (1002, false), (1011, true), (4429, true), (1000, true)]
    {
        let server = listening(move |mut peer: Peer| async move {
            peer.expect("speech.config").await;
            peer.begin().await;
            peer.hear(800).await;
            peer.close(code, "reason").await;
        })
        .await;
        let (mut sink, session) = connected(&server, Timing::default()).await;
        for _ in 0..5 {
            sink.send(FRAME).unwrap();
        }
        let events: Vec<_> = session.collect().await;
        let [Ok(TranscriptEvent::Usage { audio, estimated: true }), Err(error)] = &events[..] else {
            panic!("{code}: {events:?}")
        };
        assert_eq!(*audio, Duration::from_millis(100));
        assert_eq!(error.is_retryable(), is_retryable, "{error}");
        assert_eq!(error.is_unauthorized(), code == 1008, "{error}");
    }
}

#[tokio::test]
async fn a_turn_that_is_not_taken_ends_the_session() {
    let server = listening(async |mut peer: Peer| while peer.next().await.is_some() {}).await;
    let (_sink, session) = connected(&server, Timing { start: SHORT, ..Timing::default() }).await;
    let events: Vec<_> = session.collect().await;
    assert!(matches!(&events[..], [Ok(_), Err(error)] if error.is_retryable()), "{events:?}");
}

#[tokio::test]
async fn a_silent_server_ends_the_session() {
    // It is never polled after the beginning, so it does not answer pings either.
    let server = listening(async |mut peer: Peer| {
        peer.expect("speech.config").await;
        peer.begin().await;
        pending::<()>().await;
    })
    .await;
    let (_sink, session) = connected(&server, Timing { silence: SHORT, ..Timing::default() }).await;
    let events: Vec<_> = session.collect().await;
    assert!(matches!(&events[..], [Ok(_), Err(error)] if error.is_retryable()), "{events:?}");
}

#[tokio::test]
async fn a_missing_end_does_not_delay_the_end() {
    let server = listening(async |mut peer: Peer| while peer.next().await.is_some() {}).await;
    let (sink, session) = connected(&server, Timing { finish: SHORT, ..Timing::default() }).await;
    sink.finish();
    let events: Vec<_> = session.collect().await;
    assert!(matches!(&events[..], [Ok(TranscriptEvent::Usage { .. })]), "{events:?}");
}

#[tokio::test]
async fn a_missing_key_is_named() {
    let mut providers = nowhere().providers;
    providers.keys.remove("azure_api_key");
    let Err(error) = Listen::new(&providers, &[], Timing::default()) else { panic!("there is no key") };
    assert_eq!(format!("{error:?}").matches("azure_api_key").count(), 1);
}

#[test]
fn a_customers_key_is_used_in_its_region() {
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
    let deployments = crate::support::providers("https://eastus.api.cognitive.microsoft.com");
    let customers = deployments.with_credential(&own, EgressPolicy::PublicOnly).unwrap();
    let region = "https://westeurope.api.cognitive.microsoft.com/";
    assert_eq!(customers.endpoints.of("azure").as_str(), region);
}
