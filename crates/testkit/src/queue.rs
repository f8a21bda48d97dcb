//! SQS in memory: `SendMessage` and `SendMessageBatch` to any number of queues, recorded in order. `ReceiveMessage`
//! shows messages without hiding them, and `DeleteMessage` removes one.

use std::sync::{Arc, Mutex, MutexGuard};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode},
};
use bytes::Bytes;
use serde_json::{Value, json};

use crate::server;

/// A recorded message.
#[derive(Debug, Clone, PartialEq)]
pub struct QueuedMessage {
    /// Its number among all messages that were sent, from 1.
    pub number: u64,
    /// The last segment of the queue's URL.
    pub queue: String,
    /// `MessageBody`.
    pub body: String,
    /// `MessageGroupId`.
    pub group: Option<String>,
    /// `DelaySeconds`; 0 if the request has none.
    pub delay_seconds: i64,
}

/// The service: its URL, the messages it has taken, and how many more it takes. Clones share all of it.
#[derive(Debug, Clone)]
pub struct Queues {
    url: String,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug)]
struct Shared {
    messages: Vec<QueuedMessage>,
    /// The number of messages that were sent so far.
    sent: u64,
    room: usize,
}

impl Queues {
    /// Serves queues that take any number of messages.
    ///
    /// # Panics
    ///
    /// No loopback port is free.
    pub async fn start() -> Self {
        let shared = Arc::new(Mutex::new(Shared { messages: vec![], sent: 0, room: usize::MAX }));
        let url = server::serve(Router::new().fallback(send).with_state(shared.clone())).await;
        Self { url, shared }
    }

    /// The URL of the service, for the client's configuration.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The URL of a queue.
    #[must_use]
    pub fn queue_url(&self, name: &str) -> String {
        format!("{}/000000000000/{name}", self.url)
    }

    /// Takes so many more messages, and refuses the next ones.
    pub fn set_room(&self, messages: usize) {
        self.shared().room = messages;
    }

    /// The messages of a queue, oldest first.
    #[must_use]
    pub fn messages(&self, queue: &str) -> Vec<QueuedMessage> {
        self.shared().messages.iter().filter(|message| message.queue == queue).cloned().collect()
    }

    /// The number of messages of all queues.
    #[must_use]
    pub fn count(&self) -> usize {
        self.shared().messages.len()
    }

    /// Removes the messages of a queue, and returns them, oldest first.
    #[must_use]
    pub fn take(&self, queue: &str) -> Vec<QueuedMessage> {
        self.shared().messages.extract_if(.., |message| message.queue == queue).collect()
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().expect("no test panics while it holds the messages")
    }
}

async fn send(
    State(shared): State<Arc<Mutex<Shared>>>,
    headers: HeaderMap,
    request: Bytes,
) -> (StatusCode, Json<Value>) {
    let mut shared = shared.lock().expect("no test panics while it holds the messages");
    let Ok(request) = serde_json::from_slice::<Value>(&request) else {
        return (
            StatusCode::BAD_REQUEST,
            Json(json!({ "__type": "com.amazon.coral.service#SerializationException" })),
        );
    };
    let queue = request["QueueUrl"].as_str().unwrap_or_default().rsplit('/').next().unwrap_or_default();
    match headers.get("x-amz-target").and_then(|target| target.to_str().ok()) {
        Some("AmazonSQS.ReceiveMessage") => return (StatusCode::OK, Json(shared.shown(queue))),
        Some("AmazonSQS.DeleteMessage") => {
            let deleted = request["ReceiptHandle"].as_str().and_then(|number| number.parse().ok());
            shared.messages.retain(|message| Some(message.number) != deleted);
            return (StatusCode::OK, Json(json!({})));
        }
        _ => {}
    }
    if shared.room == 0 {
        return (StatusCode::BAD_REQUEST, Json(json!({ "__type": "com.amazonaws.sqs#AccessDenied" })));
    }
    let Some(entries) = request["Entries"].as_array() else {
        shared.take(queue, &request);
        return (StatusCode::OK, Json(json!({ "MessageId": "1", "MD5OfMessageBody": "" })));
    };
    if !(1..=10).contains(&entries.len()) {
        let error = json!({ "__type": "com.amazonaws.sqs#TooManyEntriesInBatchRequest" });
        return (StatusCode::BAD_REQUEST, Json(error));
    }
    let (mut successful, mut failed) = (vec![], vec![]);
    for entry in entries {
        let id = &entry["Id"];
        if shared.room == 0 {
            failed.push(json!({ "Id": id, "SenderFault": false, "Code": "InternalError" }));
        } else {
            shared.take(queue, entry);
            successful.push(json!({ "Id": id, "MessageId": "1", "MD5OfMessageBody": "" }));
        }
    }
    (StatusCode::OK, Json(json!({ "Successful": successful, "Failed": failed })))
}

impl Shared {
    fn shown(&self, queue: &str) -> Value {
        let messages = self.messages.iter().filter(|message| message.queue == queue).take(10);
        let shown = messages.map(|QueuedMessage { number, body, .. }| {
            json!({ "MessageId": number.to_string(), "ReceiptHandle": number.to_string(), "Body": body })
        });
        json!({ "Messages": shown.collect::<Vec<_>>() })
    }

    fn take(&mut self, queue: &str, message: &Value) {
        self.room -= 1;
        self.sent += 1;
        self.messages.push(QueuedMessage {
            number: self.sent,
            queue: queue.to_owned(),
            body: message["MessageBody"].as_str().unwrap_or_default().to_owned(),
            group: message["MessageGroupId"].as_str().map(str::to_owned),
            delay_seconds: message["DelaySeconds"].as_i64().unwrap_or(0),
        });
    }
}
