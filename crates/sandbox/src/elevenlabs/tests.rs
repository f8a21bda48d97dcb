//! The server as a client sees it.

use std::{net::Ipv4Addr, time::Duration};

use axum::{Router, routing::post};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Message, client::IntoClientRequest as _},
};
use tokio_util::sync::CancellationToken;

use super::{API_KEY, router};
use crate::speech::{Speech, local_client};

/// Longer than any response takes.
const LONG: Duration = Duration::from_mins(1);

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn serve(router: Router, tasks: &mut JoinSet<()>) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
    url
}

/// A server whose engine synthesizes a tone of 0.5 s for any text.
pub(super) async fn server(tasks: &mut JoinSet<()>) -> String {
    let tone: Vec<u8> = [4000_i16, -4000].repeat(6000).into_iter().flat_map(i16::to_le_bytes).collect();
    let engine = serve(Router::new().route("/synthesize", post(async || tone)), tasks).await;
    serve(router(Speech::connect(&engine).unwrap(), &CancellationToken::new()), tasks).await
}

pub(super) const QUERY: &str =
    "model_id=eleven_flash_v2_5&output_format=ulaw_8000&auto_mode=true&sync_alignment=true";

pub(super) async fn connect(url: &str, key: &str, voice: &str, path_and_query: &str) -> Socket {
    let url = url.replace("http", "ws");
    let url = format!("{url}/v1/text-to-speech/{voice}/{path_and_query}");
    let mut request = url.into_client_request().unwrap();
    request.headers_mut().insert("xi-api-key", key.parse().unwrap());
    connect_async(request).await.unwrap().0
}

async fn multi(url: &str) -> Socket {
    connect(url, API_KEY, "sandboxVoiceAda00001", &format!("multi-stream-input?{QUERY}")).await
}

pub(super) async fn send(socket: &mut Socket, message: Value) {
    socket.send(Message::text(message.to_string())).await.unwrap();
}

/// Sends a text as a context of its own, and closes the context.
pub(super) async fn say(socket: &mut Socket, context: &str, text: &str) {
    send(socket, json!({"context_id": context, "text": " ", "voice_settings": {"stability": 0.5}})).await;
    send(socket, json!({"context_id": context, "text": text, "flush": true})).await;
    send(socket, json!({"context_id": context, "close_context": true})).await;
}

/// The next message; none when the socket is closed, with the code and the reason.
pub(super) async fn next(socket: &mut Socket) -> Result<Value, (u16, String)> {
    loop {
        match timeout(LONG, socket.next()).await.unwrap() {
            Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).unwrap()),
            Some(Ok(Message::Close(Some(frame)))) => {
                return Err((frame.code.into(), frame.reason.to_string()));
            }
            Some(Ok(_)) => {}
            _ => return Err((1006, String::new())),
        }
    }
}

/// All messages until the connection is closed, and the code.
async fn rest(socket: &mut Socket) -> (Vec<Value>, u16) {
    let mut messages = vec![];
    loop {
        match next(socket).await {
            Ok(message) => messages.push(message),
            Err((code, _)) => return (messages, code),
        }
    }
}

pub(super) fn bytes(message: &Value) -> usize {
    STANDARD.decode(message["audio"].as_str().unwrap_or_default()).unwrap().len()
}

#[tokio::test]
async fn a_context_is_spoken_with_the_times_of_its_characters() {
    let mut tasks = JoinSet::new();
    let url = server(&mut tasks).await;
    let mut socket = multi(&url).await;
    say(&mut socket, "c1", "One sentence is this. Another one is that. ").await;
    let (mut audio, mut text) = (0, String::new());
    let last = loop {
        let message = next(&mut socket).await.unwrap();
        assert_eq!(message["contextId"], "c1");
        if message["isFinal"] == true {
            break message;
        }
        audio += bytes(&message);
        let alignment = &message["alignment"];
        let chars = alignment["chars"].as_array().map_or(0, Vec::len);
        for times in ["charStartTimesMs", "charDurationsMs"] {
            assert_eq!(alignment[times].as_array().map_or(0, Vec::len), chars);
        }
        text.extend(alignment["chars"].as_array().into_iter().flatten().filter_map(Value::as_str));
    };
    assert_eq!(last, json!({"isFinal": true, "contextId": "c1"}));
    assert_eq!(audio, 8_000, "two sentences of half a second");
    assert_eq!(text, "One sentence is this. Another one is that. ");
}

#[tokio::test]
async fn five_contexts_are_open_at_a_time() {
    let mut tasks = JoinSet::new();
    let url = server(&mut tasks).await;
    let mut socket = multi(&url).await;
    for context in 0..6 {
        send(&mut socket, json!({"context_id": context.to_string(), "text": " ", "voice_settings": {}}))
            .await;
    }
    let (messages, code) = rest(&mut socket).await;
    assert_eq!((messages[0]["error"].as_str(), code), (Some("max_active_conversations"), 1008));

    let mut socket = multi(&url).await;
    for context in 0..20 {
        say(&mut socket, &context.to_string(), "Hello. ").await;
        while next(&mut socket).await.unwrap()["isFinal"] != true {}
    }
}

#[tokio::test]
async fn messages_out_of_order_or_unknown_end_the_connection() {
    let mut tasks = JoinSet::new();
    let url = server(&mut tasks).await;
    let settings = json!({"stability": 0.5});
    let begun = json!({"context_id": "c", "text": " ", "voice_settings": settings});
    for (messages, reason) in [
        (vec![json!({"context_id": "c", "text": ""})], "voice_settings field must be provided"),
        (vec![json!({"context_id": "c", "text": " "})], "voice_settings field must be provided"),
        (vec![json!({"context_id": "c", "text": "Hi", "voice_settings": settings})], "a single space"),
        (vec![begun.clone(), begun.clone()], "only be set in the first message"),
        (vec![json!({"context_id": "c", "close_context": true})], "no such context"),
        (
            vec![json!({"context_id": "c", "text": " ", "voice_settings": {"stability": 2}})],
            "stability must be",
        ),
        (vec![json!({"context_id": "c", "text": " ", "voice_setting": {}})], "unknown field `voice_setting`"),
        (vec![json!("hello")], "a JSON object"),
    ] {
        let mut socket = multi(&url).await;
        for message in messages {
            send(&mut socket, message).await;
        }
        let (messages, code) = rest(&mut socket).await;
        let text = messages[0]["message"].as_str().unwrap();
        assert!(code == 1008 && text.contains(reason), "{code} {text}");
    }
}

#[tokio::test]
async fn wrong_keys_voices_and_parameters_are_told_in_a_message() {
    let mut tasks = JoinSet::new();
    let url = server(&mut tasks).await;
    for (key, voice, query, code) in [
        ("wrong", "sandboxVoiceAda00001", QUERY, "invalid_api_key"),
        (API_KEY, "21m00Tcm4TlvDq8ikWAM", QUERY, "voice_not_found"),
        (API_KEY, "sandboxVoiceAda00001", "model_id=eleven_v3", "model_not_found"),
        (API_KEY, "sandboxVoiceAda00001", "output_format=mp3", "invalid_parameters"),
    ] {
        let mut socket = connect(&url, key, voice, &format!("multi-stream-input?{query}")).await;
        let (messages, closed) = rest(&mut socket).await;
        assert_eq!((messages[0]["error"].as_str(), closed), (Some(code), 1008));
    }
}

#[tokio::test]
async fn a_connection_without_messages_is_closed() {
    let mut tasks = JoinSet::new();
    let url = server(&mut tasks).await;
    let path = format!("multi-stream-input?{QUERY}&inactivity_timeout=1");
    let mut socket = connect(&url, API_KEY, "sandboxVoiceAda00001", &path).await;
    let (messages, code) = rest(&mut socket).await;
    assert_eq!((messages[0]["error"].as_str(), code), (Some("input_timeout_exceeded"), 1008));
}

#[tokio::test]
async fn a_closed_socket_speaks_what_was_flushed() {
    let mut tasks = JoinSet::new();
    let url = server(&mut tasks).await;
    let mut socket = multi(&url).await;
    send(&mut socket, json!({"context_id": "c", "text": " ", "voice_settings": {}})).await;
    send(&mut socket, json!({"context_id": "c", "text": "Hello there. ", "flush": true})).await;
    send(&mut socket, json!({"close_socket": true})).await;
    let (messages, code) = rest(&mut socket).await;
    assert_eq!((messages.iter().map(bytes).sum::<usize>(), code), (4_000, 1000));
}

#[tokio::test]
async fn one_context_is_ended_by_an_empty_text() {
    let mut tasks = JoinSet::new();
    let url = server(&mut tasks).await;
    let path = "stream-input?model_id=eleven_flash_v2_5&output_format=ulaw_8000";
    let mut socket = connect(&url, API_KEY, "sandboxVoiceAda00001", path).await;
    send(&mut socket, json!({"text": " ", "try_trigger_generation": true, "voice_settings": null})).await;
    send(&mut socket, json!({"text": "Hello there. ", "try_trigger_generation": true})).await;
    send(&mut socket, json!({"text": ""})).await;
    let (messages, code) = rest(&mut socket).await;
    assert_eq!((messages.iter().map(bytes).sum::<usize>(), code), (4_000, 1000));
    assert!(messages.iter().all(|message| message.get("contextId").is_none()));
    let timed = messages.iter().filter(|message| !message["alignment"].is_null()).count();
    assert_eq!(timed, 1, "the first message times the whole text");
}

#[tokio::test]
async fn synthesis_over_http_has_its_cost_and_its_errors() {
    let mut tasks = JoinSet::new();
    let url = server(&mut tasks).await;
    let client = local_client(LONG).unwrap();
    let ask = |voice: &str, key: &str, body: Value| {
        let url = format!("{url}/v1/text-to-speech/{voice}/stream?output_format=ulaw_8000");
        client.post(url).header("xi-api-key", key).json(&body).send()
    };
    let body = json!({"text": "Hello there.", "model_id": "eleven_flash_v2_5"});
    let response = ask("sandboxVoiceAda00001", API_KEY, body.clone()).await.unwrap();
    assert_eq!(response.headers()["character-cost"], "12");
    assert_eq!(response.bytes().await.unwrap().len(), 4_000);
    for (voice, key, body, status, code) in [
        ("sandboxVoiceAda00001", "wrong", body.clone(), 401, "invalid_api_key"),
        ("rachel", API_KEY, body.clone(), 404, "voice_not_found"),
        ("sandboxVoiceAda00001", API_KEY, json!({"text": " "}), 422, "invalid_parameters"),
        ("sandboxVoiceAda00001", API_KEY, json!({"text": "Hi", "voice": 1}), 422, "invalid_parameters"),
    ] {
        let response = ask(voice, key, body).await.unwrap();
        assert_eq!(response.status(), status);
        assert_eq!(response.json::<Value>().await.unwrap()["detail"]["code"], code);
    }
}
