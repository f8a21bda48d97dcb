//! The carrier with a small application, on real sockets.

use std::{net::SocketAddr, time::Duration};

use axum::{
    Router,
    extract::{
        Form, State, WebSocketUpgrade,
        ws::{CloseFrame, Message, WebSocket},
    },
    http::{HeaderMap, StatusCode, Uri},
    routing::{get, post},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Account, OWNED_NUMBER, callbacks::signature};
use crate::{
    audio::{FRAME_BYTES, SILENCE},
    callers::{Act, After, Callers, Deed, Line, Part, What},
    speech::{Speech, local_client},
};

pub(super) const ACCOUNT: &str = "AC00000000000000000000000000000001";
pub(super) const TOKEN: &str = "token";
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// A webhook that the application received.
#[derive(Debug)]
pub(super) struct Webhook {
    path: String,
    form: Vec<(String, String)>,
    signature: String,
}

impl Webhook {
    pub(super) fn is_of(&self, path: &str) -> bool {
        self.path == path
    }

    pub(super) fn field(&self, name: &str) -> &str {
        self.form.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }
}

#[derive(Clone)]
struct Application {
    webhooks: mpsc::Sender<Webhook>,
    streams: mpsc::Sender<(HeaderMap, WebSocket)>,
}

/// A carrier, and an application that it calls.
pub(super) struct World {
    pub(super) carrier_url: String,
    pub(super) application_url: String,
    pub(super) webhooks: mpsc::Receiver<Webhook>,
    streams: mpsc::Receiver<(HeaderMap, WebSocket)>,
    pub(super) client: reqwest::Client,
    stop: CancellationToken,
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub(super) fn callers() -> Callers {
    let line = |text: &str| Line { what: What::Say, text: text.to_owned(), audio: vec![0x80; 320].into() };
    let goodbye = Act {
        after: After::Reply,
        wait: Duration::ZERO,
        deed: Deed::Sound(line("goodbye")),
        then_hang_up: false,
    };
    let part = Part {
        acts: vec![goodbye],
        when_nobody_speaks: Some(line("hello?")),
        machine: false,
        echo: None,
        noise_db: None,
    };
    // No program listens on the discard port, so no speech is recognised.
    Callers::with_part(Speech::connect("http://127.0.0.1:9").unwrap(), part)
}

pub(super) fn account() -> Account {
    Account { sid: ACCOUNT.to_owned(), auth_token: TOKEN.to_owned() }
}

async fn webhook(
    State(application): State<Application>,
    uri: Uri,
    headers: HeaderMap,
    Form(form): Form<Vec<(String, String)>>,
) -> &'static str {
    let signature = headers["X-Twilio-Signature"].to_str().unwrap().to_owned();
    let path = uri.path().to_owned();
    let answer =
        if path == "/reject" { "<Response><Reject/></Response>" } else { "<Response><Hangup/></Response>" };
    application.webhooks.send(Webhook { path, form, signature }).await.unwrap();
    answer
}

/// Reports the request, and fails.
async fn broken(
    application: State<Application>,
    uri: Uri,
    headers: HeaderMap,
    form: Form<Vec<(String, String)>>,
) -> StatusCode {
    webhook(application, uri, headers, form).await;
    StatusCode::INTERNAL_SERVER_ERROR
}

async fn media(
    State(application): State<Application>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> axum::response::Response {
    upgrade.on_upgrade(move |socket| async move {
        application.streams.send((headers, socket)).await.unwrap();
    })
}

impl World {
    pub(super) async fn start() -> Self {
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let carrier = super::Carrier::new(account(), callers(), tasks.clone(), stop.clone()).unwrap();
        let carrier = super::router(&std::sync::Arc::new(carrier));
        let (webhooks_in, webhooks) = mpsc::channel(100);
        let (streams_in, streams) = mpsc::channel(10);
        let application = Router::new()
            .route("/status", post(webhook))
            .route("/stream", post(webhook))
            .route("/resume", post(webhook))
            .route("/reject", post(webhook))
            .route("/broken", post(broken))
            .route("/media", get(media))
            .with_state(Application { webhooks: webhooks_in, streams: streams_in });
        Self {
            carrier_url: crate::serve(carrier, &tasks, &stop).await.unwrap(),
            application_url: crate::serve(application, &tasks, &stop).await.unwrap(),
            webhooks,
            streams,
            client: local_client(TIME_LIMIT).unwrap(),
            stop,
        }
    }

    pub(super) async fn post(&self, resource: &str, form: &[(&str, &str)]) -> (StatusCode, Value) {
        let url = format!("{}/2010-04-01/Accounts/{ACCOUNT}/{resource}", self.carrier_url);
        let answer = self.client.post(url).basic_auth(ACCOUNT, Some(TOKEN)).form(form).send().await.unwrap();
        (answer.status(), answer.json().await.unwrap())
    }

    pub(super) async fn get(&self, path: &str) -> Value {
        let request = self.client.get(format!("{}{path}", self.carrier_url));
        request.basic_auth(ACCOUNT, Some(TOKEN)).send().await.unwrap().json().await.unwrap()
    }

    pub(super) async fn be_rude(&self, rudeness: Value) {
        let request = self.client.put(format!("{}/sandbox/rudeness", self.carrier_url)).json(&rudeness);
        assert_eq!(request.send().await.unwrap().status(), StatusCode::NO_CONTENT);
    }

    /// Dials with every status callback; returns the call's sid.
    pub(super) async fn dial(&self, to: &str, twiml: &str) -> String {
        let callback = format!("{}/status", self.application_url);
        let mut form =
            vec![("To", to), ("From", OWNED_NUMBER), ("Twiml", twiml), ("StatusCallback", &callback)];
        form.extend(
            ["initiated", "ringing", "answered", "completed"].map(|event| ("StatusCallbackEvent", event)),
        );
        let (status, call) = self.post("Calls.json", &form).await;
        assert_eq!(status, StatusCode::CREATED, "{call}");
        assert_eq!(call["status"], "queued");
        call["sid"].as_str().unwrap().to_owned()
    }

    /// `TwiML` that connects to the application, and then asks it for the next document.
    pub(super) fn twiml(&self) -> String {
        let url = &self.application_url;
        let media = url.replace("http://", "ws://");
        format!(
            r#"<Response><Connect><Stream url="{media}/media?lost=1" statusCallback="{url}/stream">
            <Parameter name="token" value="t&amp;1"/></Stream></Connect><Redirect>{url}/resume</Redirect></Response>"#
        )
    }

    pub(super) async fn webhook(&mut self) -> Webhook {
        let webhook = timeout(TIME_LIMIT, self.webhooks.recv()).await.expect("a webhook in time").unwrap();
        let url = format!("{}{}", self.application_url, webhook.path);
        assert_eq!(webhook.signature, signature(TOKEN, &url, &webhook.form), "{webhook:?}");
        webhook
    }

    /// The next webhooks, each as its path and its event.
    pub(super) async fn reports<const N: usize>(&mut self) -> [String; N] {
        let mut reports = [const { String::new() }; N];
        for report in &mut reports {
            let webhook = self.webhook().await;
            let event = webhook.field("StreamEvent");
            let event = if event.is_empty() { webhook.field("CallStatus") } else { event };
            *report = format!("{} {event}", webhook.path);
        }
        reports
    }

    /// The media stream of a live call, after its `start`.
    pub(super) async fn stream(&mut self) -> Stream {
        let (headers, socket) =
            timeout(TIME_LIMIT, self.streams.recv()).await.expect("a stream in time").unwrap();
        let mut stream = Stream { socket, headers, start: Value::Null };
        let connected = stream.next().await;
        assert_eq!(connected, json!({ "event": "connected", "protocol": "Call", "version": "1.0.0" }));
        stream.start = stream.next().await;
        assert_eq!(stream.start["event"], "start");
        stream
    }
}

pub(super) struct Stream {
    socket: WebSocket,
    headers: HeaderMap,
    pub(super) start: Value,
}

impl Stream {
    async fn receive(&mut self) -> Message {
        timeout(TIME_LIMIT, self.socket.recv()).await.expect("a message in time").unwrap().unwrap()
    }

    async fn next(&mut self) -> Value {
        let message = self.receive().await;
        serde_json::from_str(message.to_text().unwrap()).unwrap()
    }

    /// The next message that is not `media`, and the number of media messages before it.
    pub(super) async fn next_event(&mut self) -> (usize, Value) {
        let mut frames = 0;
        loop {
            let message = self.next().await;
            if message["event"] != "media" {
                return (frames, message);
            }
            frames += 1;
        }
    }

    async fn send(&mut self, mut message: Value) {
        message["streamSid"] = self.start["streamSid"].clone();
        self.socket.send(Message::text(message.to_string())).await.unwrap();
    }

    pub(super) async fn play(&mut self, bytes: usize) {
        self.send_audio(&vec![SILENCE; bytes]).await;
    }

    pub(super) async fn speak(&mut self, bytes: usize) {
        self.send_audio(&vec![0x80; bytes]).await;
    }

    async fn send_audio(&mut self, audio: &[u8]) {
        let payload = BASE64_STANDARD.encode(audio);
        self.send(json!({ "event": "media", "media": { "payload": payload } })).await;
    }

    pub(super) async fn close(&mut self) {
        self.socket.send(Message::Close(None)).await.unwrap();
    }

    pub(super) async fn mark(&mut self, name: &str) {
        self.send(json!({ "event": "mark", "mark": { "name": name } })).await;
    }
}

#[tokio::test]
async fn a_busy_line_is_reported_with_signed_callbacks_in_order() {
    let mut world = World::start().await;
    let sid = world.dial("+14155550150", "<Response/>").await;
    let initiated = world.webhook().await;
    let busy = world.webhook().await;
    let expected =
        [("CallStatus", "initiated", "busy"), ("SequenceNumber", "0", "1"), ("SipResponseCode", "", "486")];
    for (name, first, second) in expected {
        assert_eq!((initiated.field(name), busy.field(name)), (first, second), "{name}");
    }
    let same =
        [("CallSid", &*sid), ("AccountSid", ACCOUNT), ("To", "+14155550150"), ("Direction", "outbound-api")];
    for (name, value) in same {
        assert_eq!(busy.field(name), value, "{name}");
    }
    let call = world.get(&format!("/2010-04-01/Accounts/{ACCOUNT}/Calls/{sid}.json")).await;
    assert_eq!(
        (&call["status"], &call["duration"], &call["start_time"]),
        (&json!("busy"), &Value::Null, &Value::Null)
    );
}

#[tokio::test]
async fn a_call_is_connected_played_to_resumed_and_hung_up() {
    let mut world = World::start().await;
    let twiml = world.twiml();
    let sid = world.dial("+14155550100", &twiml).await;
    let mut stream = world.stream().await;
    let url = format!("{}/media", world.application_url.replace("http://", "ws://"));
    let signed = signature::<&str, &str>(TOKEN, &url, &[]);
    assert_eq!(stream.headers["x-twilio-signature"].to_str().unwrap(), signed, "the query is dropped");
    let start = stream.start.clone();
    assert_eq!(start["sequenceNumber"], "1");
    assert_eq!(start["start"]["callSid"], *sid);
    assert_eq!(start["start"]["streamSid"], start["streamSid"]);
    assert_eq!(start["start"]["tracks"], json!(["inbound"]));
    assert_eq!(start["start"]["customParameters"], json!({ "token": "t&1" }));
    let format = json!({ "encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1 });
    assert_eq!(start["start"]["mediaFormat"], format);

    for chunk in 1..=3 {
        let media = stream.next().await;
        let payload = BASE64_STANDARD.encode([SILENCE; FRAME_BYTES]);
        let (chunk, timestamp) = (chunk.to_string(), (chunk * 20).to_string());
        let expected =
            json!({ "track": "inbound", "chunk": chunk, "timestamp": timestamp, "payload": payload });
        assert_eq!(media["media"], expected);
        assert_eq!(media["sequenceNumber"], (chunk.parse::<u32>().unwrap() + 1).to_string());
    }

    stream.mark("nothing to wait for").await;
    let (_, mark) = stream.next_event().await;
    assert_eq!(mark["mark"], json!({ "name": "nothing to wait for" }));

    let begun = Instant::now();
    stream.play(1600).await;
    stream.mark("played").await;
    let (frames, mark) = stream.next_event().await;
    assert_eq!(mark["mark"]["name"], "played");
    assert!(begun.elapsed() >= Duration::from_millis(190), "200 ms of audio took {:?}", begun.elapsed());
    assert!(frames >= 10, "{frames} frames came while 10 were played");

    stream.play(80_000).await;
    stream.mark("cleared").await;
    stream.send(json!({ "event": "clear" })).await;
    let (_, mark) = stream.next_event().await;
    assert_eq!(mark["mark"]["name"], "cleared");

    stream.socket.send(Message::Close(None)).await.unwrap();
    let expected = [
        "/status initiated",
        "/status ringing",
        "/status in-progress",
        "/stream stream-started",
        "/stream stream-stopped",
    ];
    // The document is fetched concurrently with the callbacks, so its place among them varies.
    let mut reports: Vec<_> = world.reports::<7>().await.into();
    reports.retain(|report| report != "/resume in-progress");
    assert_eq!(reports[..5], expected);
    assert_eq!(reports[5], "/status completed");
    let call = world.get(&format!("/sandbox/calls/{sid}")).await;
    assert_eq!(
        (&call["status"], &call["ended_by"], &call["error"]),
        (&json!("completed"), &json!("agent"), &Value::Null)
    );
    assert_eq!(
        (&call["media"]["frames_received"], &call["media"]["clears"], &call["media"]["marks"]),
        (&json!(2), &json!(1), &json!(3))
    );
}

#[tokio::test]
async fn a_call_ended_over_rest_stops_its_stream_and_has_a_duration() {
    let mut world = World::start().await;
    let twiml = world.twiml();
    let sid = world.dial("+14155550100", &twiml).await;
    let mut stream = world.stream().await;
    let (status, _) = world.post(&format!("Calls/{sid}.json"), &[("Status", "completed")]).await;
    assert_eq!(status, StatusCode::OK);
    let (_, stop) = stream.next_event().await;
    assert_eq!(stop["event"], "stop");
    assert_eq!(stop["stop"], json!({ "accountSid": ACCOUNT, "callSid": sid }));
    let closed = stream.receive().await;
    assert!(matches!(closed, Message::Close(Some(CloseFrame { code: 1000, .. }))), "{closed:?}");
    let completed = loop {
        let webhook = world.webhook().await;
        if webhook.field("CallStatus") == "completed" {
            break webhook;
        }
    };
    assert_eq!(completed.field("CallDuration"), "1");
    assert_eq!(completed.field("SequenceNumber"), "3");
    let (status, error) = world.post(&format!("Calls/{sid}.json"), &[("Status", "completed")]).await;
    assert_eq!((status, &error["code"]), (StatusCode::BAD_REQUEST, &json!(21220)));
}

#[tokio::test]
async fn a_live_call_can_be_redirected() {
    let mut world = World::start().await;
    let twiml = world.twiml();
    let sid = world.dial("+14155550100", &twiml).await;
    let mut stream = world.stream().await;
    let (status, _) = world.post(&format!("Calls/{sid}.json"), &[("Twiml", &twiml)]).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(stream.next_event().await.1["event"], "stop");
    let second = world.stream().await;
    assert_ne!(second.start["streamSid"], stream.start["streamSid"]);
    assert_eq!(second.start["start"]["callSid"], *sid);
}

#[tokio::test]
async fn an_unknown_message_ends_the_stream_with_31951() {
    let mut world = World::start().await;
    let twiml = world.twiml();
    let sid = world.dial("+14155550100", &twiml).await;
    let mut stream = world.stream().await;
    stream.send(json!({ "event": "play" })).await;
    let error = loop {
        let webhook = world.webhook().await;
        if webhook.field("StreamEvent") == "stream-error" {
            break webhook;
        }
    };
    assert!(error.field("StreamError").starts_with("31951"), "{error:?}");
    let call = world.get(&format!("/sandbox/calls/{sid}")).await;
    assert_eq!(call["error"]["code"], 31951);
}

#[tokio::test]
async fn a_stream_without_a_server_is_an_error_and_the_call_goes_on() {
    let mut world = World::start().await;
    // A port that was free a moment ago.
    let nowhere: SocketAddr =
        tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let url = &world.application_url;
    let twiml = format!(
        r#"<Response><Connect><Stream url="ws://{nowhere}/" statusCallback="{url}/stream"/></Connect></Response>"#
    );
    let sid = world.dial("+14155550100", &twiml).await;
    let reports = world.reports::<5>().await;
    assert_eq!(reports[3..], ["/stream stream-error", "/status completed"]);
    let call = world.get(&format!("/sandbox/calls/{sid}")).await;
    assert_eq!((&call["error"]["code"], &call["ended_by"]), (&json!(31902), &json!("agent")));
}
