//! The vendors of one test: servers that speak their wires and do as they are told.

use std::{
    collections::{BTreeSet, VecDeque},
    fmt::{self, Write as _},
    future::pending,
    io,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{
        Path, Request, State, WebSocketUpgrade,
        ws::{CloseFrame, Message, WebSocket},
    },
    http::{StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
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
    /// It has been asked too often.
    Busy,
    /// It says this, and the connection breaks.
    Broken(&'static str),
    /// It says this, and then no more.
    Stalled(&'static str),
}

/// What the voice does instead of speaking.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Hoarse {
    /// It takes the text and nothing comes.
    Silent,
    /// It cannot.
    Refused,
    /// It has been asked too often.
    Busy,
    /// It begins, and the connection breaks.
    Broken,
    /// It begins, and then nothing comes any more.
    Stalled,
}

/// What came to the vendors.
#[derive(Clone, Default)]
pub(crate) struct Seen {
    /// Bodies of the questions to the model.
    pub(crate) asked: Vec<Value>,
    /// Texts that the voice was to speak.
    pub(crate) spoken: Vec<String>,
    /// The carrier's calls that were changed, and how.
    pub(crate) changed: Vec<(String, Vec<(String, String)>)>,
    /// Bytes of audio that the transcriber got in all its sessions.
    pub(crate) heard: u64,
    /// What each session of the transcriber got, in the order in which they were opened.
    pub(crate) audio: Vec<Vec<u8>>,
    /// Sessions of the transcriber that are open now.
    pub(crate) sessions: usize,
    /// The keys that each path was asked with.
    pub(crate) keys: BTreeSet<(String, String)>,
}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let audio: Vec<_> = self.audio.iter().map(Vec::len).collect();
        let said: Vec<_> =
            self.asked.iter().filter_map(|asked| asked["messages"].as_array()?.last()).collect();
        f.debug_struct("Seen")
            .field("asked", &said)
            .field("spoken", &self.spoken)
            .field("changed", &self.changed)
            .field("audio", &audio)
            .field("sessions", &self.sessions)
            .finish_non_exhaustive()
    }
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
    /// How often its sessions were cut.
    cuts: watch::Sender<u32>,
    /// What it answers the next handshakes with.
    refusals: Mutex<VecDeque<StatusCode>>,
    hoarse: Mutex<VecDeque<Hoarse>>,
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
            cuts: watch::Sender::default(),
            refusals: Mutex::default(),
            hoarse: Mutex::default(),
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
        self.say(words, is_final, is_final, &json!([]));
    }

    /// Lets it understand words that ended there in the session's audio, and are settled.
    pub(crate) fn hear_until(&self, words: &str, end: Duration, is_turn: bool) {
        self.say(words, true, is_turn, &json!([{ "word": "", "end": end.as_secs_f64() }]));
    }

    fn say(&self, words: &str, is_final: bool, speech_final: bool, places: &Value) {
        let results = json!({
            "type": "Results", "is_final": is_final, "speech_final": speech_final,
            "channel": { "alternatives": [{ "transcript": words, "words": places }] },
        });
        // Without a session nobody hears it.
        let _ = self.shared.words.send(results.to_string());
    }

    /// Cuts the connections of all sessions of the transcriber.
    pub(crate) fn cut(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// What the transcriber's next handshake is answered with.
    pub(crate) fn refuse_listening(&self, status: StatusCode) {
        self.shared.refusals.lock().unwrap().push_back(status);
    }

    /// What the voice does next.
    pub(crate) fn go_hoarse(&self, how: Hoarse) {
        self.shared.hoarse.lock().unwrap().push_back(how);
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
    if let Some(status) = shared.refusals.lock().unwrap().pop_front() {
        return (status, [(header::RETRY_AFTER, "1")]).into_response();
    }
    upgrade.on_upgrade(async move |socket| {
        let words = shared.words.subscribe();
        shared.seen.send_modify(|seen| {
            seen.sessions += 1;
            seen.audio.push(vec![]);
        });
        session(&shared, socket, words).await;
        shared.seen.send_modify(|seen| seen.sessions -= 1);
    })
}

async fn session(shared: &Shared, mut socket: WebSocket, mut words: broadcast::Receiver<String>) {
    let (mut bytes, mut listening) = (0, shared.listening.subscribe());
    let (place, mut cuts) = (shared.seen.borrow().audio.len() - 1, shared.cuts.subscribe());
    loop {
        tokio::select! {
            _ = cuts.changed() => return,
            message = socket.recv() => match message {
                Some(Ok(Message::Binary(audio))) => {
                    bytes += audio.len();
                    shared.seen.send_modify(|seen| {
                        seen.heard += audio.len() as u64;
                        seen.audio[place].extend_from_slice(&audio);
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
    let begun = |rest| {
        let begun = stream::iter([Ok(Bytes::from(vec![tone(clause); 4_000]))]);
        Body::from_stream(begun.chain(rest)).into_response()
    };
    let hoarse = shared.hoarse.lock().unwrap().pop_front();
    match hoarse {
        None => {}
        Some(Hoarse::Silent) => pending().await,
        Some(Hoarse::Refused) => return StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Some(Hoarse::Busy) => return StatusCode::TOO_MANY_REQUESTS.into_response(),
        Some(Hoarse::Broken) => return begun(cut().boxed()),
        Some(Hoarse::Stalled) => return begun(stream::pending().boxed()),
    }
    // Whole frames of the carrier, so that they can be counted.
    let length = (characters * shared.bytes_per_character).next_multiple_of(160);
    ([("dg-char-count", characters.to_string())], vec![tone(clause); length]).into_response()
}

/// The rest of an answer whose connection breaks, once what came before has left.
fn cut() -> impl Stream<Item = io::Result<Bytes>> + Send {
    stream::once(async {
        sleep(Duration::from_millis(50)).await;
        Err(io::Error::other("as the test wants it"))
    })
}

async fn answer(State(shared): Wire, Json(body): Json<Value>) -> Response {
    shared.seen.send_modify(|seen| seen.asked.push(body));
    let answer = shared.answers().pop_front().unwrap_or(Answer::Failure);
    let mut rest = stream::empty().boxed();
    let (words, functions) = match answer {
        Answer::Words(words) => (words, vec![]),
        Answer::Call(words, function) => (words, vec![function]),
        Answer::Calls(words, functions) => (words, functions.to_vec()),
        Answer::Silence => pending().await,
        Answer::Failure => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Answer::Busy => return (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, "1")]).into_response(),
        Answer::Broken(words) => {
            rest = cut().boxed();
            (words, vec![])
        }
        Answer::Stalled(words) => {
            rest = stream::pending().boxed();
            (words, vec![])
        }
    };
    let is_whole = !matches!(answer, Answer::Broken(_) | Answer::Stalled(_));
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
    shared.seen.send_modify(|seen| seen.changed.push((sid.clone(), form)));
    Json(json!({ "sid": sid, "status": "completed" }))
}
