//! The server on real sockets, with an engine that needs no speech.

use std::{net::Ipv4Addr, time::Duration};

use axum::{Router, http::HeaderValue, routing::post};
use base64::{Engine as _, prelude::BASE64_STANDARD};
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

use super::router;
use crate::speech::{Speech, local_client};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

const LONG: Duration = Duration::from_mins(1);
const QUERY: &str = "speaker=lyra&modelId=coda&audioFormat=mulaw&samplingRate=8000&segment=never";

async fn serve(router: Router, tasks: &mut JoinSet<()>) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
    url
}

/// A server whose engine synthesizes a tone of 0.5 s for any text. Stops when the tasks are dropped.
async fn server(tasks: &mut JoinSet<()>) -> String {
    let tone: Vec<u8> = [4000_i16, -4000].repeat(6000).into_iter().flat_map(i16::to_le_bytes).collect();
    let engine = Router::new().route("/synthesize", post(async || tone));
    let speech = Speech::connect(&serve(engine, tasks).await).unwrap();
    serve(router(speech, "secret".to_owned(), &CancellationToken::new()), tasks).await
}

async fn connect(url: &str, query: &str, key: &str) -> Result<Socket, Error> {
    let mut request = format!("{url}/ws3?{query}").replace("http", "ws").into_client_request().unwrap();
    let bearer = HeaderValue::from_str(&format!("Bearer {key}")).unwrap();
    request.headers_mut().insert("authorization", bearer);
    Ok(connect_async(request).await?.0)
}

async fn next(socket: &mut Socket) -> Option<Value> {
    match timeout(LONG, socket.next()).await.unwrap() {
        Some(Ok(Message::Text(text))) => Some(serde_json::from_str(&text).unwrap()),
        Some(Ok(Message::Close(_)) | Err(_)) | None => None,
        other => panic!("a message: {other:?}"),
    }
}

/// The bytes of audio of a clause, and its words.
async fn clause(socket: &mut Socket, id: &str) -> (usize, Value) {
    let (mut bytes, mut words) = (0, Value::Null);
    loop {
        let message = next(socket).await.unwrap();
        assert_eq!(message["contextId"], id, "{message}");
        match message["type"].as_str().unwrap() {
            "chunk" => bytes += BASE64_STANDARD.decode(message["data"].as_str().unwrap()).unwrap().len(),
            "timestamps" => words = message["word_timestamps"]["words"].clone(),
            "done" => return (bytes, words),
            other => panic!("{other}"),
        }
    }
}

async fn send(socket: &mut Socket, message: Value) {
    socket.send(Message::text(message.to_string())).await.unwrap();
}

#[tokio::test]
async fn a_flushed_clause_is_synthesized_with_its_words() {
    let mut tasks = JoinSet::new();
    let url = server(&mut tasks).await;
    let mut socket = connect(&url, QUERY, "secret").await.unwrap();
    for id in ["c1", "c2"] {
        send(&mut socket, json!({"text": "Hello ", "contextId": id})).await;
        send(&mut socket, json!({"text": "there. ", "contextId": id})).await;
        send(&mut socket, json!({"operation": "flush"})).await;
        assert_eq!(clause(&mut socket, id).await, (4_000, json!(["Hello", "there."])));
    }
    send(&mut socket, json!({"text": "Never said. ", "contextId": "c3"})).await;
    send(&mut socket, json!({"operation": "clear"})).await;
    send(&mut socket, json!({"operation": "eos"})).await;
    assert_eq!(next(&mut socket).await, None);
}

#[tokio::test]
async fn an_unknown_message_is_an_error() {
    let mut tasks = JoinSet::new();
    let url = server(&mut tasks).await;
    let mut socket = connect(&url, QUERY, "secret").await.unwrap();
    for wrong in [json!("hello"), json!({"operation": "stop"}), json!({"text": "Hello.", "speaker": "lyra"})]
    {
        send(&mut socket, wrong).await;
        assert_eq!(next(&mut socket).await.unwrap()["type"], "error");
    }
}

#[tokio::test]
async fn a_wrong_key_or_parameter_is_refused() {
    let mut tasks = JoinSet::new();
    let url = server(&mut tasks).await;
    for (query, key, status) in [(QUERY, "wrong", 401), ("speaker=nobody", "secret", 400)] {
        let Err(Error::Http(response)) = connect(&url, query, key).await else { panic!("a refusal") };
        assert_eq!(response.status(), status);
        let body: Value = serde_json::from_slice(response.body().as_ref().unwrap()).unwrap();
        assert!(body["error"].is_string(), "{body}");
    }
}

#[tokio::test]
async fn a_fault_affects_the_first_clause_of_a_connection() {
    let mut tasks = JoinSet::new();
    let url = server(&mut tasks).await;
    let setup = json!({"faults": [{"kind": "break", "on": "speak", "times": 1}]});
    let put = local_client(LONG).unwrap().put(format!("{url}/sandbox/keys/k")).json(&setup);
    assert_eq!(put.send().await.unwrap().status(), 204);
    let mut socket = connect(&url, QUERY, "k").await.unwrap();
    send(&mut socket, json!({"text": "Hello.", "contextId": "c"})).await;
    send(&mut socket, json!({"operation": "flush"})).await;
    let mut kinds = vec![];
    while let Some(message) = next(&mut socket).await {
        kinds.push(message["type"].as_str().unwrap().to_owned());
    }
    assert_eq!(kinds, ["timestamps", "chunk"], "three chunks and an end were due");
}
