//! The server on real sockets, with an engine that needs no speech.

use std::{net::Ipv4Addr, time::Duration};

use axum::{Router, routing::post};
use reqwest::Response;
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::{USER_ID, router};
use crate::speech::{Speech, local_client};

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

async fn ask(url: &str, key: &str, user: &str, body: &Value) -> Response {
    let client = local_client(Duration::from_secs(10)).unwrap();
    let request = client.post(url).header("authorization", format!("Bearer {key}")).header("x-user-id", user);
    request.json(body).send().await.unwrap()
}

fn body() -> Value {
    json!({"text": "Hello.", "voice": "s3://a/manifest.json", "voice_engine": "PlayHT2.0-turbo",
        "output_format": "mulaw", "sample_rate": 8000, "speed": 1.0})
}

#[tokio::test]
async fn a_text_is_synthesized_by_the_old_path_and_by_the_address_book() {
    let mut tasks = JoinSet::new();
    let url = server(&mut tasks).await;
    let response = ask(&format!("{url}/api/v2/tts/stream"), "secret", USER_ID, &body()).await;
    assert_eq!(response.bytes().await.unwrap().len(), 4_000);
    let book = ask(&format!("{url}/api/v4/sdk-auth"), "secret", USER_ID, &json!({})).await;
    let book: Value = book.json().await.unwrap();
    let address = book["PlayDialog"]["http_streaming_url"].as_str().unwrap();
    let response = ask(address, "", "", &body()).await;
    assert_eq!(response.bytes().await.unwrap().len(), 4_000);
}

#[tokio::test]
async fn what_the_vendor_refused_is_refused() {
    let mut tasks = JoinSet::new();
    let url = format!("{}/api/v2/tts/stream", server(&mut tasks).await);
    for (key, user) in [("wrong", USER_ID), ("secret", "somebody")] {
        assert_eq!(ask(&url, key, user, &body()).await.status(), 401);
    }
    for (member, value, status) in [
        ("text", json!(" "), 400),
        ("voice", json!("susan"), 404),
        ("voice_engine", json!("PlayHT1.0"), 400),
        ("output_format", json!("mp3"), 400),
        ("speed", json!(9), 400),
        ("text_guidance", json!(3), 400),
        ("style_guidance", json!(0.5), 400),
        ("temperature", json!(-1), 400),
    ] {
        let mut wrong = body();
        wrong[member] = value;
        let response = ask(&url, "secret", USER_ID, &wrong).await;
        assert_eq!(response.status(), status, "{member}");
        let message = response.json::<Value>().await.unwrap();
        assert!(message["error_message"].as_str().unwrap().starts_with(member), "{message}");
    }
}
