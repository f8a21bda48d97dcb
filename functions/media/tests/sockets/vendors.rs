//! The vendors of one test: servers that speak their protocols and follow a script.

use std::{
    collections::{BTreeSet, VecDeque},
    fmt::{self, Write as _},
    future::pending,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{
        Path, Request, State, WebSocketUpgrade,
        ws::{Message, WebSocket},
    },
    http::{StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response as HttpResponse},
    routing::{get, post},
};
use futures_util::{Stream, StreamExt, stream};
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    runtime::Handle,
    sync::{broadcast, watch},
    time::{sleep, timeout},
};

use crate::support::{
    TEST_TIMEOUT,
    scripts::{Response, VoiceFault},
    tone,
};

/// The requests that the vendors received.
#[derive(Clone, Default)]
pub(crate) struct Requests {
    /// The body of each generation's request.
    pub(crate) generations: Vec<Value>,
    /// The clauses, in the order in which they were requested.
    pub(crate) clauses: Vec<String>,
    /// The carrier's calls that were changed, and the form of each request.
    pub(crate) changed_calls: Vec<(String, Vec<(String, String)>)>,
    /// Bytes of audio in all sessions of the transcriber.
    pub(crate) audio_bytes: u64,
    /// The audio of each session of the transcriber, in the order in which they were opened.
    pub(crate) session_audio: Vec<Vec<u8>>,
    /// Sessions of the transcriber that are open now.
    pub(crate) open_sessions: usize,
    /// The keys with which each path was requested.
    pub(crate) keys: BTreeSet<(String, String)>,
}

impl fmt::Debug for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let audio: Vec<_> = self.session_audio.iter().map(Vec::len).collect();
        let said: Vec<_> =
            self.generations.iter().filter_map(|body| body["messages"].as_array()?.last()).collect();
        f.debug_struct("Requests")
            .field("generations", &said)
            .field("clauses", &self.clauses)
            .field("changed_calls", &self.changed_calls)
            .field("session_audio", &audio)
            .field("open_sessions", &self.open_sessions)
            .finish_non_exhaustive()
    }
}

#[derive(Clone)]
pub(crate) struct Vendors {
    /// The base of all their URLs.
    pub(crate) url: String,
    shared: Arc<Shared>,
}

struct Shared {
    requests: watch::Sender<Requests>,
    responses: Mutex<VecDeque<Response>>,
    /// Messages for all sessions of the transcriber.
    transcripts: broadcast::Sender<String>,
    /// The number of times that all sessions were broken.
    breaks: watch::Sender<u32>,
    /// The statuses of the next handshakes.
    refusals: Mutex<VecDeque<StatusCode>>,
    voice_faults: Mutex<VecDeque<VoiceFault>>,
    /// Keys that no vendor accepts.
    revoked: Mutex<BTreeSet<&'static str>>,
    bytes_per_character: usize,
}

impl Vendors {
    /// Starts the vendors. Their voice takes this many bytes (eighths of a millisecond) for a character.
    pub(crate) async fn start(bytes_per_character: usize) -> Self {
        let shared = Arc::new(Shared {
            requests: watch::Sender::default(),
            responses: Mutex::default(),
            transcripts: broadcast::Sender::new(16),
            breaks: watch::Sender::default(),
            refusals: Mutex::default(),
            voice_faults: Mutex::default(),
            revoked: Mutex::default(),
            bytes_per_character,
        });
        let router = Router::new()
            .route("/v1/listen", get(listen))
            .route("/v1/speak", post(speak))
            .route("/v1/chat/completions", post(answer))
            .route_layer(middleware::from_fn_with_state(shared.clone(), record_key))
            .route("/2010-04-01/Accounts/AC1/Calls/{sid}", post(change))
            .with_state(shared.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        // The test's runtime owns the server, and ends it with the test.
        Handle::current().spawn(async move { axum::serve(listener, router).await });
        Self { url, shared }
    }

    /// Queues a response of the language model. Without one the generation fails.
    pub(crate) fn respond_with(&self, response: Response) {
        self.shared.responses.lock().unwrap().push_back(response);
    }

    /// Waits for a session of the transcriber, and makes it transcribe a whole turn.
    pub(crate) async fn transcribe(&self, words: &str) {
        self.until("a session of the transcriber", |requests| requests.open_sessions > 0).await;
        self.send_transcript(words, true, &json!([]));
    }

    /// Makes all sessions send a final transcript whose last word ends at this position of the session's audio.
    pub(crate) fn transcribe_until(&self, words: &str, end: Duration, is_turn: bool) {
        self.send_transcript(words, is_turn, &json!([{ "word": "", "end": end.as_secs_f64() }]));
    }

    fn send_transcript(&self, words: &str, is_turn: bool, places: &Value) {
        let results = json!({
            "type": "Results", "is_final": true, "speech_final": is_turn,
            "channel": { "alternatives": [{ "transcript": words, "words": places }] },
        });
        // Without a session the message is lost.
        let _ = self.shared.transcripts.send(results.to_string());
    }

    /// Breaks the connections of all sessions of the transcriber.
    pub(crate) fn break_sessions(&self) {
        self.shared.breaks.send_modify(|breaks| *breaks += 1);
    }

    /// Refuses the next handshake of the transcriber with this status.
    pub(crate) fn refuse_session(&self, status: StatusCode) {
        self.shared.refusals.lock().unwrap().push_back(status);
    }

    /// Queues a fault of the voice.
    pub(crate) fn fail_voice(&self, fault: VoiceFault) {
        self.shared.voice_faults.lock().unwrap().push_back(fault);
    }

    /// Refuses a key from now on.
    pub(crate) fn revoke(&self, key: &'static str) {
        self.shared.revoked.lock().unwrap().insert(key);
    }

    /// Waits until the requests are as expected.
    pub(crate) async fn until(&self, expected: &str, is_so: impl FnMut(&Requests) -> bool) {
        let mut requests = self.shared.requests.subscribe();
        let waited = timeout(TEST_TIMEOUT, requests.wait_for(is_so)).await.is_ok();
        assert!(waited, "not received: {expected}; but {:?}", self.requests());
    }

    pub(crate) fn requests(&self) -> Requests {
        self.shared.requests.borrow().clone()
    }

    /// The messages of the last generation, each with its role and content.
    pub(crate) fn last_messages(&self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let requests = self.requests();
        let messages = requests.generations.last().unwrap()["messages"].as_array().unwrap();
        messages.iter().map(|message| (text(&message["role"]), text(&message["content"]))).collect()
    }
}

type Wire = State<Arc<Shared>>;

async fn record_key(State(shared): Wire, request: Request, next: Next) -> HttpResponse {
    let key = request.headers().get(header::AUTHORIZATION).map_or("", |value| value.to_str().unwrap());
    let key_is_revoked = shared.revoked.lock().unwrap().iter().any(|revoked| key.ends_with(revoked));
    let used = (request.uri().path().to_owned(), key.to_owned());
    shared.requests.send_modify(|requests| {
        requests.keys.insert(used);
    });
    if key_is_revoked {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    next.run(request).await
}

async fn listen(State(shared): Wire, upgrade: WebSocketUpgrade) -> HttpResponse {
    if let Some(status) = shared.refusals.lock().unwrap().pop_front() {
        return (status, [(header::RETRY_AFTER, "1")]).into_response();
    }
    upgrade.on_upgrade(async move |socket| {
        let transcripts = shared.transcripts.subscribe();
        shared.requests.send_modify(|requests| {
            requests.open_sessions += 1;
            requests.session_audio.push(vec![]);
        });
        session(&shared, socket, transcripts).await;
        shared.requests.send_modify(|requests| requests.open_sessions -= 1);
    })
}

async fn session(shared: &Shared, mut socket: WebSocket, mut transcripts: broadcast::Receiver<String>) {
    let mut bytes = 0;
    let (place, mut breaks) = (shared.requests.borrow().session_audio.len() - 1, shared.breaks.subscribe());
    loop {
        tokio::select! {
            _ = breaks.changed() => return,
            message = socket.recv() => match message {
                Some(Ok(Message::Binary(audio))) => {
                    bytes += audio.len();
                    shared.requests.send_modify(|requests| {
                        requests.audio_bytes += audio.len() as u64;
                        requests.session_audio[place].extend_from_slice(&audio);
                    });
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
            Ok(results) = transcripts.recv() => {
                let _ = socket.send(Message::text(results)).await;
            }
        }
    }
}

async fn speak(State(shared): Wire, Json(body): Json<Value>) -> HttpResponse {
    let text = body["text"].as_str().unwrap().to_owned();
    let characters = text.chars().count();
    let mut clause = 0;
    shared.requests.send_modify(|requests| {
        clause = requests.clauses.len();
        requests.clauses.push(text);
    });
    let begun = |rest| {
        let begun = stream::iter([Ok(Bytes::from(vec![tone(clause); 4_000]))]);
        Body::from_stream(begun.chain(rest)).into_response()
    };
    let fault = shared.voice_faults.lock().unwrap().pop_front();
    match fault {
        None => {}
        Some(VoiceFault::Silent) => pending().await,
        Some(VoiceFault::Refused) => return StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Some(VoiceFault::Busy) => return StatusCode::TOO_MANY_REQUESTS.into_response(),
        Some(VoiceFault::Broken) => return begun(cut().boxed()),
        Some(VoiceFault::Stalled) => return begun(stream::pending().boxed()),
    }
    // Whole frames of the carrier, so that the tests can count them.
    let length = (characters * shared.bytes_per_character).next_multiple_of(160);
    ([("dg-char-count", characters.to_string())], vec![tone(clause); length]).into_response()
}

/// The end of a response body whose connection breaks after the bytes before have been sent.
fn cut() -> impl Stream<Item = io::Result<Bytes>> + Send {
    stream::once(async {
        sleep(Duration::from_millis(50)).await;
        Err(io::Error::other("broken by the test"))
    })
}

async fn answer(State(shared): Wire, Json(body): Json<Value>) -> HttpResponse {
    shared.requests.send_modify(|requests| requests.generations.push(body));
    let response = shared.responses.lock().unwrap().pop_front().unwrap_or(Response::Failure);
    let mut rest = stream::empty().boxed();
    let (words, functions) = match response {
        Response::Words(words) => (words, vec![]),
        Response::Call(words, function) => (words, vec![function]),
        Response::Calls(words, functions) => (words, functions.to_vec()),
        Response::Silence => pending().await,
        Response::Failure => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Response::Busy => {
            return (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, "1")]).into_response();
        }
        Response::Refused => return StatusCode::UNAUTHORIZED.into_response(),
        Response::Panic => unreachable!("a server cannot cause it"),
        Response::Endless(_) | Response::Dripping(_) | Response::CallWith(..) => {
            unreachable!("only scripted providers do")
        }
        Response::Broken(words) => {
            rest = cut().boxed();
            (words, vec![])
        }
        Response::Stalled(words) => {
            rest = stream::pending().boxed();
            (words, vec![])
        }
    };
    let is_whole = !matches!(response, Response::Broken(_) | Response::Stalled(_));
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
    if is_whole {
        let reason = if functions.is_empty() { "stop" } else { "tool_calls" };
        chunks.push(json!({ "choices": [{ "delta": {}, "finish_reason": reason }] }));
        chunks.push(json!({ "choices": [], "usage": { "prompt_tokens": 100, "completion_tokens": 10 } }));
    }
    let mut text = chunks.iter().fold(String::new(), |mut text, chunk| {
        write!(text, "data: {chunk}\n\n").unwrap();
        text
    });
    if is_whole {
        text.push_str("data: [DONE]\n\n");
    }
    let body = Body::from_stream(stream::iter([Ok(Bytes::from(text))]).chain(rest));
    ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response()
}

async fn change(State(shared): Wire, Path(resource): Path<String>, form: Bytes) -> Json<Value> {
    let sid = resource.trim_end_matches(".json").to_owned();
    let form = form_urlencoded::parse(&form).into_owned().collect();
    shared.requests.send_modify(|requests| requests.changed_calls.push((sid.clone(), form)));
    Json(json!({ "sid": sid, "status": "completed" }))
}
