//! The ElevenLabs voice against websocket servers that behave and misbehave.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    extract::{
        Path, RawQuery, State,
        ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade},
    },
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
    routing::get,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::{FutureExt as _, StreamExt as _, future::ready};
use serde_json::{Value, json};
use switchboard_model::{
    agents::Voice,
    catalogue::{Service, StandIn},
};
use switchboard_providers::{
    Error, Providers, StreamTimeouts,
    audio::AudioFormat,
    chain::{Candidate, ChainedVoice, ProviderId, ProviderOutages},
    elevenlabs::speak::{Speak, Timing},
    synthesizer::{CallContext, SpeechEvent, Synthesizer, VoiceSession},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

use crate::support::{IMPATIENT, PATIENT, SHORT, Server, nowhere, providers};

/// Longer than any event of these tests takes.
const LONG: Duration = Duration::from_secs(10);

/// The server's reaction to the text of a clause.
#[derive(Debug, Clone)]
enum Act {
    /// Half a second of audio in two messages, with the times of all characters in the first.
    Speak,
    /// The same, each message with its own times, a word split between them.
    SpeakInParts,
    /// A final message without audio.
    Empty,
    Silent,
    /// Three seconds of audio as fast as they are heard.
    SpeakLong,
    /// Half of the audio, then the connection is cut.
    Break,
    /// Half of the audio, then nothing.
    Stall,
    /// The connection is cut.
    Cut,
    /// An error message, and a close with 1008.
    Refuse(&'static str),
    /// A close frame only.
    Close(u16, &'static str),
}

/// A scripted vendor, and what it saw.
#[derive(Clone)]
struct Vendor(Arc<Script>);

struct Script {
    acts: Mutex<VecDeque<Act>>,
    /// Responses to the next handshakes, other than 101.
    refusals: Mutex<VecDeque<(u16, Value)>>,
    seen: watch::Sender<Seen>,
}

#[derive(Debug, Clone, Default)]
struct Seen {
    handshakes: Vec<(String, String, Option<String>)>,
    /// The messages of all connections, each with its time.
    messages: Vec<(Instant, Value)>,
    open: usize,
}

impl Seen {
    /// The contexts of the messages that have this member.
    fn with(&self, member: &str) -> Vec<String> {
        let messages = self.messages.iter().map(|(_, message)| message);
        let having =
            messages.filter(|message| message.get(member).is_some_and(|value| *value != json!(false)));
        having.map(|message| message["context_id"].as_str().unwrap_or_default().to_owned()).collect()
    }
}

impl Vendor {
    async fn start(acts: &[Act]) -> (Self, Server) {
        let script = Script {
            acts: Mutex::new(acts.iter().cloned().collect()),
            refusals: Mutex::default(),
            seen: watch::Sender::default(),
        };
        let vendor = Self(Arc::new(script));
        let router = Router::new()
            .route("/v1/text-to-speech/{voice}/multi-stream-input", get(open))
            .with_state(vendor.clone());
        (vendor, Server::http(router).await)
    }

    fn refuse_handshake(&self, status: u16, body: Value) {
        self.0.refusals.lock().unwrap().push_back((status, body));
    }

    fn seen(&self) -> Seen {
        self.0.seen.borrow().clone()
    }

    async fn until(&self, is_so: impl Fn(&Seen) -> bool) -> Seen {
        let mut seen = self.0.seen.subscribe();
        let waited = timeout(LONG, seen.wait_for(|seen| is_so(seen))).await;
        waited.expect("it happens").unwrap().clone()
    }
}

async fn open(
    State(vendor): State<Vendor>,
    Path(voice): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    let key = headers.get("xi-api-key").and_then(|key| key.to_str().ok()).map(str::to_owned);
    vendor.0.seen.send_modify(|seen| seen.handshakes.push((voice, query.unwrap_or_default(), key)));
    if let Some((status, body)) = vendor.0.refusals.lock().unwrap().pop_front() {
        return (StatusCode::from_u16(status).unwrap(), body.to_string()).into_response();
    }
    upgrade.on_upgrade(async move |socket| {
        vendor.0.seen.send_modify(|seen| seen.open += 1);
        serve(&vendor, socket).await;
        vendor.0.seen.send_modify(|seen| seen.open -= 1);
    })
}

/// Speaks the texts one after the other, as the acts say; without an act, normally.
async fn serve(vendor: &Vendor, mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        let Message::Text(text) = message else { continue };
        let message: Value = serde_json::from_str(&text).unwrap();
        vendor.0.seen.send_modify(|seen| seen.messages.push((Instant::now(), message.clone())));
        let context = message["context_id"].as_str().unwrap().to_owned();
        if message["close_context"] == true {
            let last = json!({"isFinal": true, "contextId": context});
            let _ = socket.send(Message::text(last.to_string())).await;
            continue;
        }
        let text = message["text"].as_str().unwrap().to_owned();
        if text.trim().is_empty() {
            continue;
        }
        let act = vendor.0.acts.lock().unwrap().pop_front().unwrap_or(Act::Speak);
        let mut say = async |audio: usize, alignment: Value| {
            let audio = STANDARD.encode(vec![0x10; audio]);
            let message = json!({
                "audio": audio, "isFinal": null, "contextId": context, "alignment": alignment,
                "normalizedAlignment": null
            });
            let _ = socket.send(Message::text(message.to_string())).await;
        };
        match act {
            Act::Speak => {
                say(2_000, alignment(&text, 0)).await;
                say(2_000, Value::Null).await;
            }
            Act::SpeakInParts => {
                let half = text.len() / 2;
                say(8 * 10 * half, alignment(&text[..half], 0)).await;
                say(8 * 10 * (text.len() - half), alignment(&text[half..], 0)).await;
            }
            Act::Empty => {
                let last = json!({"isFinal": true, "contextId": context});
                let _ = socket.send(Message::text(last.to_string())).await;
            }
            Act::Silent => {}
            Act::SpeakLong => {
                for _ in 0..15 {
                    say(1_600, Value::Null).await;
                    sleep(Duration::from_millis(200)).await;
                }
            }
            Act::Stall => say(2_000, Value::Null).await,
            Act::Break => {
                say(2_000, Value::Null).await;
                return;
            }
            Act::Cut => return,
            Act::Refuse(code) => {
                let error = json!({"message": "No.", "error": code, "code": 1008});
                let _ = socket.send(Message::text(error.to_string())).await;
                let close = CloseFrame { code: 1008, reason: "No.".into() };
                let _ = socket.send(Message::Close(Some(close))).await;
                return;
            }
            Act::Close(code, reason) => {
                let close = CloseFrame { code, reason: reason.into() };
                let _ = socket.send(Message::Close(Some(close))).await;
                return;
            }
        }
    }
}

/// Ten milliseconds for each character.
fn alignment(text: &str, start: usize) -> Value {
    let chars: Vec<String> = text.chars().map(String::from).collect();
    let starts: Vec<usize> = (0..chars.len()).map(|index| start + 10 * index).collect();
    json!({"charDurationsMs": vec![10; chars.len()], "charStartTimesMs": starts, "chars": chars})
}

fn voice() -> Voice {
    Voice::Elevenlabs {
        voice_id: "sarah".into(),
        model_id: "eleven_turbo_v2".into(),
        optimize_latency: 3,
        use_speaker_boost: true,
        similarity_boost: 0.75,
        stability: 0.25,
        credential_id: None,
    }
}

fn session(providers: &Providers, timeouts: StreamTimeouts) -> Box<dyn VoiceSession> {
    let timing = Timing { clause: timeouts, ..Timing::default() };
    session_with(providers, timing)
}

fn session_with(providers: &Providers, timing: Timing) -> Box<dyn VoiceSession> {
    let speak = Speak::new(providers, &voice(), timing).unwrap();
    speak.open(&CallContext { format: AudioFormat::TELEPHONE, language: "en-US".into() })
}

async fn speech(session: &mut dyn VoiceSession, clause: &str) -> Vec<Result<SpeechEvent, Error>> {
    timeout(LONG, session.synthesize(clause).collect()).await.expect("it ends")
}

fn bytes(events: &[Result<SpeechEvent, Error>]) -> usize {
    let audio = |event: &Result<SpeechEvent, Error>| match event {
        Ok(SpeechEvent::Audio(audio)) => audio.len(),
        _ => 0,
    };
    events.iter().map(audio).sum()
}

fn words(events: &[Result<SpeechEvent, Error>]) -> Vec<(String, u128, u128)> {
    let words = events.iter().filter_map(|event| match event {
        Ok(SpeechEvent::Words(words)) => Some(words),
        _ => None,
    });
    words.flatten().map(|word| (word.word.clone(), word.start.as_millis(), word.end.as_millis())).collect()
}

fn error(events: &[Result<SpeechEvent, Error>]) -> &Error {
    events.last().expect("events").as_ref().expect_err("an error")
}

#[tokio::test]
async fn a_clause_has_its_characters_its_words_and_its_audio() {
    let (vendor, server) = Vendor::start(&[]).await;
    let mut session = session(&server.providers(), PATIENT);
    let events = speech(&mut *session, "We close at six.").await;
    assert!(matches!(events[0], Ok(SpeechEvent::Characters { count: 16, estimated: true })), "{events:?}");
    assert!(matches!(events[1], Ok(SpeechEvent::Words(_))), "before the audio: {events:?}");
    assert_eq!(bytes(&events), 4_000);
    let expected = [("We", 0, 20), ("close", 30, 80), ("at", 90, 110), ("six.", 120, 160)];
    assert_eq!(words(&events), expected.map(|(word, start, end)| (word.to_owned(), start, end)));

    let seen = vendor.seen();
    let (id, query, key) = &seen.handshakes[0];
    assert_eq!((id.as_str(), key.as_deref()), ("EXAVITQu4vr4xnSDxMaL", Some("xi-1")));
    assert!(
        query.starts_with("model_id=eleven_flash_v2_5&output_format=ulaw_8000&language_code=en"),
        "{query}"
    );
    let settings = json!({"stability": 0.25, "similarity_boost": 0.75, "use_speaker_boost": true});
    let messages: Vec<&Value> = seen.messages.iter().map(|(_, message)| message).collect();
    assert_eq!(*messages[0], json!({"context_id": "kept-open", "text": " ", "voice_settings": settings}));
    assert_eq!(*messages[1], json!({"context_id": "clause-1", "text": " ", "voice_settings": settings}));
    assert_eq!(*messages[2], json!({"context_id": "clause-1", "text": "We close at six. ", "flush": true}));
    assert_eq!(*messages[3], json!({"context_id": "clause-1", "close_context": true}));
}

#[tokio::test]
async fn times_in_each_message_begin_at_its_audio() {
    let (_vendor, server) = Vendor::start(&[Act::SpeakInParts]).await;
    let events = speech(&mut *session(&server.providers(), PATIENT), "We close at six.").await;
    let expected = [("We", 0, 20), ("close", 30, 80), ("at", 90, 110), ("six.", 120, 160)];
    assert_eq!(words(&events), expected.map(|(word, start, end)| (word.to_owned(), start, end)));
}

#[tokio::test]
async fn one_connection_opened_ahead_serves_all_clauses() {
    let (vendor, server) = Vendor::start(&[]).await;
    let mut session = session(&server.providers(), PATIENT);
    vendor.until(|seen| seen.with("voice_settings") == ["kept-open"]).await;
    let (one, two) = (session.synthesize("One, please."), session.synthesize("Two, please."));
    let (one, two): (Vec<_>, Vec<_>) =
        timeout(LONG, futures_util::future::join(one.collect(), two.collect())).await.unwrap();
    assert_eq!((bytes(&one), bytes(&two)), (4_000, 4_000));
    assert_eq!(bytes(&speech(&mut *session, "Three.").await), 4_000);
    assert_eq!(vendor.seen().handshakes.len(), 1);
    drop(session);
    vendor.until(|seen| seen.open == 0).await;
}

#[tokio::test]
async fn a_clause_that_waits_for_a_long_one_is_not_given_to_the_next_voice() {
    let (_vendor, server) = Vendor::start(&[Act::SpeakLong]).await;
    let (other, other_server) = Vendor::start(&[]).await;
    let candidates = [("first", &server), ("second", &other_server)].map(|(name, server)| {
        let speak = Speak::new(&server.providers(), &voice(), Timing::default()).unwrap();
        let (service, provider, model) = (Service::Voice, name.to_owned(), String::new());
        let stand_in = StandIn { service, provider: provider.clone(), model: model.clone() };
        Candidate {
            provider: Arc::new(speak) as Arc<dyn Synthesizer>,
            id: ProviderId { service, provider, model, voice: String::new(), credential: None },
            stand_in: (name == "second").then_some(stand_in),
        }
    });
    let chain = ChainedVoice::new(candidates.into(), ProviderOutages::default());
    let mut session = chain.open(&CallContext { format: AudioFormat::TELEPHONE, language: "en".into() });
    let (one, two) = (session.synthesize("This one is long."), session.synthesize("Two, please."));
    let (one, two): (Vec<_>, Vec<_>) =
        timeout(LONG, futures_util::future::join(one.collect(), two.collect())).await.unwrap();
    assert_eq!((bytes(&one), bytes(&two)), (15 * 1_600, 4_000));
    let is_queued = |event: &&Result<SpeechEvent, Error>| matches!(event, Ok(SpeechEvent::Queued));
    assert_eq!(one.iter().filter(is_queued).count(), 0, "{one:?}");
    assert!(two.iter().filter(is_queued).count() >= 3, "{two:?}");
    assert!(!two.iter().any(|event| matches!(event, Ok(SpeechEvent::Fallback(_)))), "{two:?}");
    assert_eq!(other.seen().with("flush"), [""; 0]);
}

#[tokio::test]
async fn a_dropped_clause_is_closed_within_a_frame_and_its_audio_is_ignored() {
    let (vendor, server) = Vendor::start(&[Act::Silent]).await;
    let mut session = session(&server.providers(), PATIENT);
    let mut clause = session.synthesize("This is not heard.");
    assert!(matches!(clause.next().await, Some(Ok(SpeechEvent::Characters { .. }))));
    let dropped = Instant::now();
    drop(clause);
    let seen = vendor.until(|seen| seen.with("close_context") == ["clause-1"]).await;
    let took = seen.messages.last().unwrap().0 - dropped;
    assert!(took < Duration::from_millis(20), "{took:?}");

    assert_eq!(bytes(&speech(&mut *session, "Heard.").await), 4_000);
    assert_eq!(vendor.seen().handshakes.len(), 1, "the connection stays");
    let unpolled = session.synthesize("Never.");
    drop(unpolled);
    assert_eq!(bytes(&speech(&mut *session, "Heard again.").await), 4_000);
    assert!(!vendor.seen().messages.iter().any(|(_, message)| message["text"] == "Never. "));
}

#[tokio::test]
async fn clauses_that_the_vendor_does_not_end_do_not_fill_the_connection() {
    let (vendor, server) = Vendor::start(&vec![Act::Silent; 12]).await;
    let mut session = session(&server.providers(), PATIENT);
    for _ in 0..12 {
        // The end of the one before may come after its request.
        let clause = session.synthesize("Interrupted.");
        let mut clause = clause.skip_while(|event| ready(matches!(event, Ok(SpeechEvent::Queued))));
        let first = clause.next().await;
        assert!(matches!(first, Some(Ok(SpeechEvent::Characters { .. }))), "{first:?}");
    }
    assert_eq!(bytes(&speech(&mut *session, "Heard.").await), 4_000);
    assert_eq!(vendor.seen().with("close_context").len(), 13);
}

#[tokio::test]
async fn a_clause_is_repeated_on_another_connection_if_nothing_was_heard() {
    for lost in [
        Act::Cut,
        Act::Refuse("input_timeout_exceeded"),
        Act::Refuse("max_active_conversations"),
        Act::Close(1008, "Maximum simultaneous contexts per WebSocket connection exceeded (5)."),
        Act::Close(1011, "internal error"),
    ] {
        let (vendor, server) = Vendor::start(std::slice::from_ref(&lost)).await;
        let events = speech(&mut *session(&server.providers(), PATIENT), "We close at six.").await;
        assert_eq!(bytes(&events), 4_000, "{lost:?}: {events:?}");
        let counted =
            events.iter().filter(|event| matches!(event, Ok(SpeechEvent::Characters { .. }))).count();
        assert_eq!((counted, vendor.seen().handshakes.len()), (1, 2), "{lost:?}");
    }
}

#[tokio::test]
async fn a_busy_vendor_is_waited_for() {
    for code in ["too_many_concurrent_requests", "system_busy"] {
        let (_vendor, server) = Vendor::start(&[Act::Refuse(code), Act::Refuse(code)]).await;
        let events = speech(&mut *session(&server.providers(), PATIENT), "We close at six.").await;
        let delays = events.iter().filter(|event| matches!(event, Ok(SpeechEvent::Delayed))).count();
        assert_eq!((bytes(&events), delays), (4_000, 2), "{events:?}");
    }
    let (vendor, server) = Vendor::start(&[]).await;
    let body = json!({"detail": {"status": "too_many_concurrent_requests", "message": "No."}});
    vendor.refuse_handshake(429, body.clone());
    vendor.refuse_handshake(429, body);
    let events = speech(&mut *session(&server.providers(), PATIENT), "We close at six.").await;
    assert_eq!(bytes(&events), 4_000, "{events:?}");
}

#[tokio::test]
async fn refusals_are_given_up_with_their_reason() {
    for code in ["invalid_api_key", "quota_exceeded", "voice_not_found", "model_not_found", "something_new"] {
        let (vendor, server) = Vendor::start(&[Act::Refuse(code)]).await;
        let events = speech(&mut *session(&server.providers(), PATIENT), "We close at six.").await;
        let refused = error(&events);
        assert!(!refused.is_retryable() && refused.to_string().contains(code), "{refused}");
        assert_eq!(vendor.seen().handshakes.len(), 1, "{code}");
    }
    let (vendor, server) = Vendor::start(&[]).await;
    for _ in 0..2 {
        vendor
            .refuse_handshake(401, json!({"detail": {"status": "quota_exceeded", "message": "No credit."}}));
    }
    let events = speech(&mut *session(&server.providers(), PATIENT), "We close at six.").await;
    assert!(!error(&events).is_retryable() && error(&events).to_string().contains("No credit"), "{events:?}");
}

#[tokio::test]
async fn a_parameter_that_the_vendor_refuses_is_left_out() {
    let (vendor, server) = Vendor::start(&[Act::Refuse("unsupported_language")]).await;
    let events = speech(&mut *session(&server.providers(), PATIENT), "We close at six.").await;
    assert_eq!(bytes(&events), 4_000, "{events:?}");
    let queries: Vec<bool> =
        vendor.seen().handshakes.iter().map(|(_, query, _)| query.contains("language_code")).collect();
    assert_eq!(queries, [true, false]);
}

#[tokio::test]
async fn silence_and_broken_speech_are_errors() {
    for (act, audio) in [(Act::Silent, 0), (Act::Stall, 2_000), (Act::Break, 2_000), (Act::Empty, 0)] {
        let (_vendor, server) = Vendor::start(std::slice::from_ref(&act)).await;
        let mut session = session(&server.providers(), IMPATIENT);
        sleep(SHORT).await;
        let events = speech(&mut *session, "We close at six.").await;
        if matches!(act, Act::Stall) {
            // The server ends the context that is closed after a pause: all that there is was heard.
            assert!(events.iter().all(Result::is_ok), "{events:?}");
        } else {
            assert!(error(&events).is_retryable(), "{act:?}: {events:?}");
        }
        assert_eq!(bytes(&events), audio, "{act:?}");
        assert_eq!(bytes(&speech(&mut *session, "And again.").await), 4_000, "{act:?}");
    }
}

#[tokio::test]
async fn an_idle_connection_is_kept_alive_and_opened_again() {
    let (vendor, server) = Vendor::start(&[Act::Speak, Act::Cut]).await;
    let timing = Timing { keep_alive: SHORT / 5, clause: PATIENT, ..Timing::default() };
    let mut session = session_with(&server.providers(), timing);
    let alive = json!({"context_id": "kept-open", "text": ""});
    vendor.until(|seen| seen.messages.iter().filter(|(_, message)| *message == alive).count() >= 3).await;
    assert_eq!(vendor.seen().handshakes.len(), 1, "pings are answered");
    speech(&mut *session, "We close at six.").await;
    speech(&mut *session, "On Sundays at noon.").await;
    assert_eq!(vendor.seen().handshakes.len(), 2);
    // The vendor closes an idle connection.
    let (vendor, server) = Vendor::start(&[]).await;
    vendor.refuse_handshake(503, json!({}));
    let _session = session_with(&server.providers(), timing);
    vendor.until(|seen| seen.handshakes.len() == 2 && seen.open == 1).await;
}

#[tokio::test]
async fn an_unreachable_vendor_and_a_missing_key_are_reported_by_the_clause() {
    let nowhere = nowhere();
    let events = speech(&mut *session(&nowhere.providers, PATIENT), "Hello.").await;
    assert!(error(&events).is_retryable(), "{events:?}");

    let mut without = providers("http://127.0.0.1:9");
    without.keys.remove("elevenlabs_api_key");
    let context = CallContext { format: AudioFormat::TELEPHONE, language: String::new() };
    let mut session = without.synthesizer(&voice()).open(&context);
    let events = speech(&mut *session, "Hello.").await;
    assert!(error(&events).to_string().contains("add elevenlabs_api_key"), "{events:?}");
    assert!(without.synthesizer(&voice()).connect_ahead(&context).now_or_never().is_some());
}
