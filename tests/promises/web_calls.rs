//! A person in a browser talks with an agent, also when the connection breaks.

use std::{collections::VecDeque, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use futures_util::{SinkExt, StreamExt};
use harness::{Stack, baker, share_machine, shared};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::{
    net::TcpStream,
    time::{Instant, Interval, MissedTickBehavior, interval, timeout},
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Message, client::IntoClientRequest},
};

use crate::inbound_calls::done;

/// Time limit of what follows in a conversation.
const SOON: Duration = Duration::from_mins(1);
const FRAME: Duration = Duration::from_millis(20);
/// "Wait a moment, please": 1.4 s of mu-law.
const SPEECH: &[u8] = include_bytes!("../../functions/media/tests/support/wait_a_moment.ulaw");

/// A page with a microphone and a speaker.
struct Browser {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    ticks: Interval,
    frames: usize,
    /// Audio that is still to be sent.
    speech: VecDeque<u8>,
    plays_until: Instant,
    marks: VecDeque<(Instant, Value)>,
    /// The last token that resumes the call.
    token: Option<String>,
    /// Seconds of audio that came.
    received: Duration,
    /// Name and data of each event.
    events: Vec<(String, Value)>,
    /// Code of the close frame.
    closed: Option<u16>,
}

impl Browser {
    async fn open(url: &str, token: Option<&str>) -> Self {
        let mut request = url.into_client_request().unwrap();
        request.headers_mut().insert("origin", "https://shop.example".parse().unwrap());
        let (mut socket, _) = timeout(SOON, connect_async(request)).await.unwrap().unwrap();
        let format = json!({ "encoding": "audio/x-mulaw", "sampleRate": 8_000, "channels": 1 });
        let start = json!({ "event": "start", "start": { "mediaFormat": format, "token": token } });
        for message in [json!({ "event": "connected" }), start] {
            socket.send(Message::text(message.to_string())).await.unwrap();
        }
        let mut ticks = interval(FRAME);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        Self {
            socket,
            ticks,
            frames: 0,
            speech: VecDeque::new(),
            plays_until: Instant::now(),
            marks: VecDeque::new(),
            token: None,
            received: Duration::ZERO,
            events: vec![],
            closed: None,
        }
    }

    /// Goes on until `is_so`.
    async fn until(&mut self, expected: &str, is_so: impl Fn(&Self) -> bool) {
        let running = async {
            while !is_so(self) {
                self.step().await;
            }
        };
        let reached = timeout(SOON, running).await.is_ok();
        assert!(reached, "{expected} did not happen: {:?}, closed: {:?}", self.events, self.closed);
    }

    /// Waits for a message or for the time of the next frame.
    async fn step(&mut self) {
        tokio::select! {
            message = self.socket.next() => match message {
                Some(Ok(Message::Text(text))) => self.receive(&serde_json::from_str(&text).unwrap()),
                Some(Ok(Message::Close(frame))) => self.closed = frame.map(|frame| frame.code.into()),
                Some(Ok(_)) => {}
                Some(Err(error)) => panic!("the socket broke: {error}"),
                None => assert!(self.closed.is_some(), "the socket ended without a close frame"),
            },
            _ = self.ticks.tick() => {
                let audio: Vec<u8> =
                    (0..160).map(|_| self.speech.pop_front().unwrap_or(0xFF)).collect();
                let media = json!({
                    "timestamp": self.frames * 20,
                    "payload": BASE64_STANDARD.encode(audio),
                });
                self.frames += 1;
                let mut messages = vec![json!({ "event": "media", "media": media })];
                while self.marks.front().is_some_and(|(at, _)| *at <= Instant::now()) {
                    messages.extend(self.marks.pop_front().map(|(_, mark)| mark));
                }
                for message in messages {
                    // A closed socket is noticed by reading.
                    let _ = self.socket.send(Message::text(message.to_string())).await;
                }
            }
        }
    }

    fn receive(&mut self, message: &Value) {
        let now = Instant::now();
        match message["event"].as_str().unwrap() {
            "media" => {
                let audio = BASE64_STANDARD.decode(message["media"]["payload"].as_str().unwrap()).unwrap();
                let length = Duration::from_micros(125 * audio.len() as u64);
                self.received += length;
                self.plays_until = self.plays_until.max(now) + length;
            }
            "mark" => self.marks.push_back((self.plays_until.max(now), message.clone())),
            "clear" => {
                self.plays_until = now;
                self.marks.iter_mut().for_each(|(at, _)| *at = now);
            }
            "resume" => self.token = Some(message["token"].as_str().unwrap().to_owned()),
            "conversation" => {
                self.events.push((message["name"].as_str().unwrap().to_owned(), message["data"].clone()));
            }
            other => panic!("a browser does not know {other}"),
        }
    }

    /// Messages of this role that entered the conversation.
    fn messages(&self, role: &str) -> usize {
        let sent = self.events.iter().filter(|(name, _)| name == "message:sent");
        sent.filter(|(_, data)| data["message"]["role"] == role).count()
    }
}

async fn create(stack: &Stack) -> Value {
    let body = json!({ "agent_config": baker() });
    done(stack, Method::POST, "/conversations/create_web_call", Some(body)).await
}

#[tokio::test]
async fn a_browser_talks_with_an_agent_and_resumes_a_broken_socket() {
    let (_machine, stack) = (share_machine().await, shared());
    let created = create(stack).await;
    let (id, url) = (created["id"].as_str().unwrap(), created["web_call"]["url"].as_str().unwrap());

    let mut browser = Browser::open(url, None).await;
    browser.until("the greeting", |browser| browser.messages("agent") == 1).await;
    browser.speech.extend(SPEECH);
    browser.until("the person's words", |browser| browser.messages("user") == 1).await;
    assert!(browser.received > Duration::from_secs(2), "the greeting was heard");
    let token = browser.token.take().unwrap();
    // Dropped without a close frame, as by a network that is gone.
    drop(browser);

    let mut browser = Browser::open(url, Some(&token)).await;
    browser.until("an answer after the break", |browser| browser.messages("agent") >= 1).await;
    assert_eq!(stack.conversation(id).await.unwrap()["status"], "started");
    browser.socket.send(Message::text(r#"{"event":"stop"}"#)).await.unwrap();
    browser.until("the end", |browser| browser.closed.is_some()).await;
    assert_eq!(browser.closed, Some(1000));
    assert_eq!(browser.events.last().unwrap().0, "conversation:ended");

    let ended = stack.ended(id).await.unwrap();
    assert_eq!(ended["type"], "web_call");
    assert_eq!((&ended["ended_reason"], &ended["phone_call"]), (&json!("user_ended"), &Value::Null));
    let cost = &ended["cost_breakdown"];
    assert_eq!(cost["telephony"], Value::Null);
    assert!(cost["transcriber"]["seconds"].as_f64() > Some(3.0), "{cost}");
    let messages = ended["messages"].as_array().unwrap();
    assert_eq!(messages[0]["content"], baker()["initial_message"]);
    let heard = messages[1]["content"].as_str().unwrap().to_lowercase();
    assert!(messages[1]["role"] == "user" && heard.contains("moment"), "{messages:?}");
    let names = stack.event_names(id).await.unwrap();
    assert_eq!(
        (names[0].as_str(), names.iter().filter(|name| *name == "conversation:started").count()),
        ("conversation:started", 1)
    );
    assert!(names.iter().all(|name| !name.starts_with("phone_call:")), "{names:?}");
    let wav = stack.recording(id).await.unwrap();
    let loud = |side: usize| {
        let samples = wav[44..].chunks_exact(4).map(|pair| i16::from_le_bytes([pair[side], pair[side + 1]]));
        samples.filter(|sample| sample.unsigned_abs() > 1_000).count()
    };
    assert!(loud(0) > 400 && loud(2) > 400, "both sides are on the recording: {} {}", loud(0), loud(2));
}
