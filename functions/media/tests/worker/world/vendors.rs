//! The vendors of one test: servers that speak their wires and do as they are told.

use std::{
    collections::{BTreeSet, VecDeque},
    fmt::Write as _,
    future::pending,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{
        Path, Request, State, WebSocketUpgrade,
        ws::{CloseFrame, Message, WebSocket},
    },
    http::{StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    runtime::Handle,
    sync::{broadcast, watch},
    time::timeout,
};

/// How long anything may take that is expected.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// What the model does when it is asked.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// It says this.
    Words(&'static str),
    /// It says this, and calls a function without arguments.
    Call(&'static str, &'static str),
    /// Like [`Answer::Call`], several functions.
    Calls(&'static str, &'static [&'static str]),
    /// It thinks, for longer than anybody waits.
    Silence,
    /// It cannot.
    Failure,
}

/// What came to the vendors.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// Bodies of the questions to the model.
    pub(crate) asked: Vec<Value>,
    /// Texts that the voice was to speak.
    pub(crate) spoken: Vec<String>,
    /// The carrier's calls that were changed, and how.
    pub(crate) changed: Vec<(String, Vec<(String, String)>)>,
    /// Bytes of audio that the transcriber got in all its sessions.
    pub(crate) heard: u64,
    /// Sessions of the transcriber that are open now.
    pub(crate) sessions: usize,
    /// The keys that each path was asked with.
    pub(crate) keys: BTreeSet<(String, String)>,
}

#[derive(Clone)]
pub(crate) struct Vendors {
    /// Where they are.
    pub(crate) url: String,
    shared: Arc<Shared>,
}

struct Shared {
    seen: watch::Sender<Seen>,
    answers: Mutex<VecDeque<Answer>>,
    /// Messages of the transcriber to all its sessions.
    words: broadcast::Sender<String>,
    /// Whether the transcriber serves.
    listening: watch::Sender<bool>,
    bytes_per_character: usize,
}

impl Vendors {
    /// A voice that takes so many bytes (eighths of a millisecond) for a character.
    pub(crate) async fn start(bytes_per_character: usize) -> Self {
        let shared = Arc::new(Shared {
            seen: watch::Sender::default(),
            answers: Mutex::default(),
            words: broadcast::Sender::new(16),
            listening: watch::Sender::new(true),
            bytes_per_character,
        });
        let router = Router::new()
            .route("/v1/listen", get(listen))
            .route("/v1/speak", post(speak))
            .route("/v1/chat/completions", post(answer))
            .route_layer(middleware::from_fn_with_state(shared.clone(), note_key))
            .route("/2010-04-01/Accounts/AC1/Calls/{sid}", post(change))
            .with_state(shared.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        // The runtime of the test owns it: each test has its own and ends what is in it.
        Handle::current().spawn(async move { axum::serve(listener, router).await });
        Self { url, shared }
    }

    /// What the model does next.
    pub(crate) fn answer_with(&self, answer: Answer) {
        self.shared.answers.lock().unwrap().push_back(answer);
    }

    /// Waits until a session of the transcriber is open, and lets it understand a whole turn.
    pub(crate) async fn hear(&self, words: &str) {
        self.understand(words, true).await;
    }

    /// Lets it understand words that are not settled.
    pub(crate) async fn hear_begin(&self, words: &str) {
        self.understand(words, false).await;
    }

    async fn understand(&self, words: &str, is_final: bool) {
        self.until("a session of the transcriber", |seen| seen.sessions > 0).await;
        let results = json!({
            "type": "Results", "is_final": is_final, "speech_final": is_final,
            "channel": { "alternatives": [{ "transcript": words, "words": [] }] },
        });
        self.shared.words.send(results.to_string()).unwrap();
    }

    /// The transcriber ends its sessions and takes no more.
    pub(crate) fn stop_listening(&self) {
        self.shared.listening.send_replace(false);
    }

    /// Waits until what came is as expected.
    pub(crate) async fn until(&self, expected: &str, is_so: impl FnMut(&Seen) -> bool) {
        let mut seen = self.shared.seen.subscribe();
        let waited = timeout(PATIENCE, seen.wait_for(is_so)).await.is_ok();
        assert!(waited, "not seen: {expected}; but {:?}", self.seen());
    }

    pub(crate) fn seen(&self) -> Seen {
        self.shared.seen.borrow().clone()
    }

    /// What the model was told in its latest question: each message's role and content.
    pub(crate) fn told(&self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let seen = self.seen();
        let messages = seen.asked.last().unwrap()["messages"].as_array().unwrap();
        messages.iter().map(|message| (text(&message["role"]), text(&message["content"]))).collect()
    }
}

impl Shared {
    fn answers(&self) -> MutexGuard<'_, VecDeque<Answer>> {
        self.answers.lock().unwrap()
    }
}

type Wire = State<Arc<Shared>>;

async fn note_key(State(shared): Wire, request: Request, next: Next) -> Response {
    let key = request.headers().get(header::AUTHORIZATION).map_or("", |value| value.to_str().unwrap());
    let shown = (request.uri().path().to_owned(), key.to_owned());
    shared.seen.send_modify(|seen| {
        seen.keys.insert(shown);
    });
    next.run(request).await
}

async fn listen(State(shared): Wire, upgrade: WebSocketUpgrade) -> Response {
    if !*shared.listening.borrow() {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    upgrade.on_upgrade(async move |socket| {
        let words = shared.words.subscribe();
        shared.seen.send_modify(|seen| seen.sessions += 1);
        session(&shared, socket, words).await;
        shared.seen.send_modify(|seen| seen.sessions -= 1);
    })
}

async fn session(shared: &Shared, mut socket: WebSocket, mut words: broadcast::Receiver<String>) {
    let (mut bytes, mut listening) = (0, shared.listening.subscribe());
    loop {
        tokio::select! {
            message = socket.recv() => match message {
                Some(Ok(Message::Binary(audio))) => {
                    bytes += audio.len();
                    shared.seen.send_modify(|seen| seen.heard += audio.len() as u64);
                }
                Some(Ok(Message::Text(text))) if text.contains("CloseStream") => {
                    let duration = f64::from(u32::try_from(bytes).unwrap()) / 8_000.0;
                    let metadata = json!({ "type": "Metadata", "duration": duration });
                    let _ = socket.send(Message::text(metadata.to_string())).await;
                    let _ = socket.send(Message::Close(None)).await;
                }
                Some(Ok(_)) => {}
                _ => return,
            },
            Ok(results) = words.recv() => {
                let _ = socket.send(Message::text(results)).await;
            }
            () = stopped(&mut listening) => {
                let frame = CloseFrame { code: 1011, reason: "NET-0000".into() };
                let _ = socket.send(Message::Close(Some(frame))).await;
                return;
            }
        }
    }
}

async fn stopped(listening: &mut watch::Receiver<bool>) {
    // Fails only when the test is over.
    let _ = listening.wait_for(|listening| !listening).await;
}

/// Tones: each clause is one byte over and over, by its place among all that were spoken.
pub(crate) fn tone(clause: usize) -> u8 {
    u8::try_from(clause % 100).unwrap() + 1
}

async fn speak(State(shared): Wire, Json(body): Json<Value>) -> Response {
    let text = body["text"].as_str().unwrap().to_owned();
    let characters = text.chars().count();
    let mut clause = 0;
    shared.seen.send_modify(|seen| {
        clause = seen.spoken.len();
        seen.spoken.push(text);
    });
    // Whole frames of the carrier, so that they can be counted.
    let length = (characters * shared.bytes_per_character).next_multiple_of(160);
    ([("dg-char-count", characters.to_string())], vec![tone(clause); length]).into_response()
}

async fn answer(State(shared): Wire, Json(body): Json<Value>) -> Response {
    shared.seen.send_modify(|seen| seen.asked.push(body));
    let answer = shared.answers().pop_front().unwrap_or(Answer::Failure);
    let (words, functions) = match answer {
        Answer::Words(words) => (words, vec![]),
        Answer::Call(words, function) => (words, vec![function]),
        Answer::Calls(words, functions) => (words, functions.to_vec()),
        Answer::Silence => pending().await,
        Answer::Failure => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    };
    let mut chunks: Vec<Value> = words
        .split_inclusive(' ')
        .map(|word| json!({ "choices": [{ "delta": { "content": word } }] }))
        .collect();
    for (index, name) in functions.iter().enumerate() {
        let function = json!({ "name": name, "arguments": "{}" });
        let id = format!("call_{}", index + 1);
        let calls = json!([{ "index": index, "id": id, "type": "function", "function": function }]);
        chunks.push(json!({ "choices": [{ "delta": { "tool_calls": calls } }] }));
    }
    let reason = if functions.is_empty() { "stop" } else { "tool_calls" };
    chunks.push(json!({ "choices": [{ "delta": {}, "finish_reason": reason }] }));
    chunks.push(json!({ "choices": [], "usage": { "prompt_tokens": 100, "completion_tokens": 10 } }));
    let mut stream = chunks.iter().fold(String::new(), |mut stream, chunk| {
        write!(stream, "data: {chunk}\n\n").unwrap();
        stream
    });
    stream.push_str("data: [DONE]\n\n");
    ([(header::CONTENT_TYPE, "text/event-stream")], stream).into_response()
}

async fn change(State(shared): Wire, Path(resource): Path<String>, form: Bytes) -> Json<Value> {
    let sid = resource.trim_end_matches(".json").to_owned();
    let form = form_urlencoded::parse(&form).into_owned().collect();
    shared.seen.send_modify(|seen| seen.changed.push((sid.clone(), form)));
    Json(json!({ "sid": sid, "status": "completed" }))
}
