//! A sealer for tests, with the part of KMS's protocol that it needs, on a loopback port. It ends with the test.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    Json, Router,
    http::{HeaderMap, StatusCode},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Sealer;
use crate::table::testing::config;
use switchboard_runtime as system;

const KEY_ID: &str = "sealing";

/// A sealer with a key service of its own. It ends with the runtime of the test.
///
/// # Panics
/// When it cannot be started.
pub async fn sealer() -> Sealer {
    counted_sealer().await.0
}

/// The same, and the number of requests to its key service.
///
/// # Panics
/// When it cannot be started.
pub async fn counted_sealer() -> (Sealer, Arc<AtomicUsize>) {
    let requests = Arc::<AtomicUsize>::default();
    let counted = requests.clone();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let router = Router::new().fallback(async move |headers: HeaderMap, body: String| {
        counted.fetch_add(1, Ordering::Relaxed);
        answer(&headers, &body)
    });
    // The runtime of the test owns the task, and ends it.
    tokio::runtime::Handle::current().spawn(async move { axum::serve(listener, router).await });
    (Sealer::new(&config(&url).await, KEY_ID.to_owned()), requests)
}

/// The content of a ciphertext, which this service does not encrypt.
#[derive(Serialize, Deserialize)]
struct Encrypted {
    context: BTreeMap<String, String>,
    plaintext: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Request {
    key_id: String,
    encryption_context: BTreeMap<String, String>,
    ciphertext_blob: Option<String>,
}

fn answer(headers: &HeaderMap, body: &str) -> (StatusCode, Json<Value>) {
    let operation = headers.get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
    let Ok(request) = serde_json::from_str::<Request>(body) else { return refusal("ValidationException") };
    if request.key_id != KEY_ID {
        return refusal("NotFoundException");
    }
    match (operation, request.ciphertext_blob) {
        ("TrentService.GenerateDataKey", None) => {
            let plaintext = BASE64_STANDARD.encode(system::random::<32>());
            let encrypted =
                json!(Encrypted { context: request.encryption_context, plaintext: plaintext.clone() });
            let blob = BASE64_STANDARD.encode(encrypted.to_string());
            (StatusCode::OK, Json(json!({ "KeyId": KEY_ID, "CiphertextBlob": blob, "Plaintext": plaintext })))
        }
        ("TrentService.Decrypt", Some(blob)) => match decrypted(&blob) {
            Some(encrypted) if encrypted.context == request.encryption_context => {
                (StatusCode::OK, Json(json!({ "KeyId": KEY_ID, "Plaintext": encrypted.plaintext })))
            }
            _ => refusal("InvalidCiphertextException"),
        },
        _ => refusal("UnknownOperationException"),
    }
}

fn decrypted(blob: &str) -> Option<Encrypted> {
    serde_json::from_slice(&BASE64_STANDARD.decode(blob).ok()?).ok()
}

fn refusal(kind: &str) -> (StatusCode, Json<Value>) {
    (StatusCode::BAD_REQUEST, Json(json!({ "__type": kind, "message": "" })))
}
