//! The stored words of an interrupted agent are, to the word, the words in the audio that the carrier had played.
//!
//! The whole path is real but for the sockets of the call: the adapter reads a vendor's messages, the worker places the
//! words in the text, the engine counts what was played. The vendor's audio says by its bytes which word it is.

use std::{collections::HashMap, fmt, sync::mpsc, thread, time::Duration};

use axum::{
    Router,
    extract::ws::{self, WebSocket, WebSocketUpgrade},
    routing::get,
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use switchboard_model::{
    agents::{RimeVoice, Voice},
    messages::Role,
};
use switchboard_providers::{
    Providers, StreamTimeouts,
    audio::AudioFormat,
    egress,
    elevenlabs::{self, speak::Timing},
    endpoints::Endpoints,
    keys::Keys,
    rime,
    synthesizer::{CallContext, SpeechEvent, Synthesizer},
};
use tokio::{
    net::TcpListener,
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{prelude::*, providers::RecordedVoice};

/// Bytes of a millisecond.
const MS: usize = 8;
/// The pause behind a clause.
const TAIL: usize = 60 * MS;

/// Small numbers that look random and are the same in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// A word's place in its clause's audio, in bytes. No word ends at the border of a frame.
fn placed(clause: &str) -> Vec<(String, usize, usize)> {
    let seed = clause.bytes().fold(7, |seed: u64, byte| seed.wrapping_mul(31).wrapping_add(byte.into()));
    let mut numbers = Numbers(seed);
    let mut at = 7 * MS;
    let place = |word: &str| {
        let pause = 20 * MS * usize::try_from(numbers.below(4)).unwrap();
        let length = 20 * MS * usize::try_from(2 + numbers.below(9)).unwrap();
        let start = at + pause;
        at = start + length;
        (word.to_owned(), start, at)
    };
    clause.split_whitespace().map(place).collect()
}

/// The audio of a clause: each word is a tone of its own.
fn audio(clause: &str) -> Vec<u8> {
    let words = placed(clause);
    let mut audio = vec![0xFF; words.last().map_or(0, |(.., end)| *end) + TAIL];
    for (index, (_, start, end)) in words.iter().enumerate() {
        audio[*start..*end].fill(tone(index));
    }
    audio
}

/// The characters of a clause with their times in milliseconds; a space is as short as the pause behind its word.
fn characters(clause: &str) -> Vec<(char, usize, usize)> {
    let mut characters = vec![];
    for (word, start, end) in placed(clause) {
        let count = word.chars().count();
        let at = |index: usize| (start + (end - start) * index / count) / MS;
        let word = word.chars().enumerate();
        characters.extend(word.map(|(index, c)| (c, at(index), at(index + 1) - at(index))));
        characters.push((' ', end / MS, 0));
    }
    characters
}

/// `ElevenLabs`, speaking as [`audio`] says. Clauses with an odd number of characters are timed as a whole in the first
/// message, the others message by message, so that words are split between them.
async fn elevenlabs_vendor(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        let ws::Message::Text(text) = message else { continue };
        let message: Value = serde_json::from_str(&text).unwrap();
        let context = message["context_id"].clone();
        let text = message["text"].as_str().unwrap_or_default().trim();
        let mut replies = vec![];
        if message["close_context"] == true {
            replies.push(json!({"isFinal": true, "contextId": context}));
        } else if !text.is_empty() {
            let (audio, timed) = (audio(text), characters(text));
            let is_whole = text.chars().count() % 2 == 1;
            for (index, chunk) in audio.chunks(370 * MS).enumerate() {
                let from = index * 370;
                let until = if is_whole { usize::MAX } else { from + 370 };
                let begins = |(_, start, _): &&(char, usize, usize)| (from..until).contains(start);
                let part: Vec<_> = timed.iter().filter(begins).collect();
                let alignment = json!({
                    "chars": part.iter().map(|(c, ..)| c.to_string()).collect::<Vec<_>>(),
                    "charStartTimesMs": part.iter().map(|(_, start, _)| start - from).collect::<Vec<_>>(),
                    "charDurationsMs": part.iter().map(|(.., duration)| *duration).collect::<Vec<_>>(),
                });
                let alignment = if is_whole && index > 0 { Value::Null } else { alignment };
                let audio = BASE64_STANDARD.encode(chunk);
                replies.push(json!({"audio": audio, "alignment": alignment, "contextId": context}));
            }
        }
        for reply in replies {
            let _ = socket.send(ws::Message::text(reply.to_string())).await;
        }
    }
}

/// Rime, speaking as [`audio`] says: the words that begin in a piece of audio come before it.
async fn rime_vendor(mut socket: WebSocket) {
    let (mut text, mut context) = (String::new(), Value::Null);
    while let Some(Ok(message)) = socket.recv().await {
        let ws::Message::Text(message) = message else { continue };
        let message: Value = serde_json::from_str(&message).unwrap();
        if let Some(more) = message["text"].as_str() {
            (text, context) = (more.trim().to_owned(), message["contextId"].clone());
        }
        if message["operation"] != "flush" {
            continue;
        }
        let (audio, words, seconds) =
            (audio(&text), placed(&text), |bytes: usize| f64::from(u32::try_from(bytes).unwrap()) / 8_000.0);
        let mut replies = vec![];
        for (index, chunk) in audio.chunks(370 * MS).enumerate() {
            let piece = index * 370 * MS..(index + 1) * 370 * MS;
            let begun: Vec<_> = words.iter().filter(|(_, start, _)| piece.contains(start)).collect();
            if !begun.is_empty() {
                let times = json!({
                    "words": begun.iter().map(|(word, ..)| word).collect::<Vec<_>>(),
                    "start": begun.iter().map(|(_, start, _)| seconds(*start)).collect::<Vec<_>>(),
                    "end": begun.iter().map(|(.., end)| seconds(*end)).collect::<Vec<_>>(),
                });
                replies.push(json!({"type": "timestamps", "word_timestamps": times, "contextId": context}));
            }
            replies
                .push(json!({"type": "chunk", "data": BASE64_STANDARD.encode(chunk), "contextId": context}));
        }
        replies.push(json!({"type": "done", "contextId": context}));
        for reply in replies {
            let _ = socket.send(ws::Message::text(reply.to_string())).await;
        }
    }
}

/// The voices with word times.
#[derive(Debug, Clone, Copy)]
enum TimedVoice {
    Elevenlabs,
    Rime,
}

/// The adapter with its vendor, on a thread whose clock runs.
struct Adapter(mpsc::Sender<(String, mpsc::Sender<Vec<SpeechEvent>>)>);

impl fmt::Debug for Adapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Adapter")
    }
}

impl Adapter {
    fn start(voice: TimedVoice) -> Self {
        let (sender, requests) = mpsc::channel::<(String, mpsc::Sender<Vec<SpeechEvent>>)>();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let url = format!("http://{}", listener.local_addr().unwrap());
                let router = Router::new()
                    .route(
                        "/v1/text-to-speech/{voice}/multi-stream-input",
                        get(async |upgrade: WebSocketUpgrade| upgrade.on_upgrade(elevenlabs_vendor)),
                    )
                    .route("/ws3", get(async |upgrade: WebSocketUpgrade| upgrade.on_upgrade(rime_vendor)));
                let mut server = JoinSet::new();
                server.spawn(async move { axum::serve(listener, router).await.unwrap() });
                let mut voice = voice
                    .speak(&url)
                    .open(&CallContext { format: AudioFormat::TELEPHONE, language: "en".to_owned() });
                for (clause, reply) in requests {
                    let events: Vec<_> = voice.synthesize(&clause).collect().await;
                    // The call may be over.
                    let _ = reply.send(events.into_iter().map(Result::unwrap).collect());
                }
            });
        });
        Self(sender)
    }
}

impl TimedVoice {
    fn speak(self, url: &str) -> Box<dyn Synthesizer> {
        let keys = json!({ "twilio_account_sid": "AC1", "twilio_auth_token": "t", "elevenlabs_api_key": "xi-1",
            "rime_api_key": "rm-1" });
        let providers = Providers {
            http: egress::client(),
            endpoints: Endpoints::from_vars(&|name| {
                ["ELEVENLABS_API_URL", "RIME_API_URL"].contains(&name).then(|| url.to_owned())
            })
            .unwrap(),
            keys: Keys::parse(&keys.to_string()).unwrap(),
        };
        match self {
            Self::Elevenlabs => {
                let voice = Voice::Elevenlabs {
                    voice_id: "a-voice".into(),
                    model_id: "eleven_flash_v2_5".into(),
                    optimize_latency: 3,
                    use_speaker_boost: false,
                    similarity_boost: 0.5,
                    stability: 0.5,
                    credential_id: None,
                };
                Box::new(elevenlabs::speak::Speak::new(&providers, &voice, Timing::default()).unwrap())
            }
            Self::Rime => {
                let voice = RimeVoice {
                    speaker: "lyra".into(),
                    speed_alpha: 1.0,
                    reduce_latency: false,
                    credential_id: None,
                };
                let timeouts =
                    StreamTimeouts { first: Duration::from_secs(20), idle: Duration::from_secs(20) };
                Box::new(rime::speak::Speak::new(&providers, &voice, timeouts).unwrap())
            }
        }
    }
}

impl RecordedVoice for Adapter {
    fn speak(&self, clause: &str) -> Vec<SpeechEvent> {
        let (reply, events) = mpsc::channel();
        self.0.send((clause.to_owned(), reply)).unwrap();
        events.recv_timeout(Duration::from_secs(30)).expect("the vendor speaks")
    }
}

/// The audio that the carrier played of these messages: everything, or what was played when it was cleared.
fn played(frames: &[(Instant, Frame)]) -> Vec<u8> {
    let (mut audio, mut plays_until) = (vec![], None::<Instant>);
    for (at, frame) in frames {
        match frame {
            Frame::Media(bytes) => {
                let starts = plays_until.map_or(*at, |until| until.max(*at));
                plays_until = Some(starts + AudioFormat::TELEPHONE.duration_of(bytes.len() as u64));
                audio.extend_from_slice(bytes);
            }
            Frame::Clear => {
                let unplayed = plays_until.map_or(Duration::ZERO, |until| until.duration_since(*at));
                let unplayed = AudioFormat::TELEPHONE.bytes_in(unplayed);
                audio.truncate(audio.len().saturating_sub(usize::try_from(unplayed).unwrap()));
                return audio;
            }
            Frame::Mark(_) | Frame::Event(..) | Frame::Resume(_) => {}
        }
    }
    audio
}

const REPLIES: [&str; 3] = [
    "On Saturdays we close at six in the evening. On Sundays we are open from eight until noon, and on public holidays \
     we are closed all day long.",
    "Yes, of course! A small cake costs twenty euros, a large one thirty-five. Would you like to order one of them today?",
    "I am sorry, but a delivery to that address is not possible. You can collect your order in our shop, or send a \
     friend, or a taxi.",
];

#[tokio::test(start_paused = true)]
async fn the_words_stored_at_200_cuts_are_the_words_that_were_played() {
    cut_200_times(TimedVoice::Elevenlabs).await;
}

#[tokio::test(start_paused = true)]
async fn the_words_stored_at_200_cuts_of_a_rime_voice_are_the_words_that_were_played() {
    cut_200_times(TimedVoice::Rime).await;
}

async fn cut_200_times(voice: TimedVoice) {
    let (mut numbers, mut cuts, mut partly) = (Numbers(42), 0, 0);
    let mut at_words = HashMap::<usize, u32>::new();
    for call in 0..20 {
        let world = World::new(quiet(), SLOW_VOICE).await;
        world.providers.speak_with(Adapter::start(voice));
        let worker = world.worker();
        let phone = Phone::connect(&worker.address).await;
        for round in 0..10 {
            let before = phone.received().frames.len();
            let (asked, known) =
                (world.providers.requests().clauses.len(), world.conversation.messages().await.len());
            world.providers.respond_with(Response::Words(REPLIES[(call + round) % REPLIES.len()]));
            world.providers.transcribe("What time do you close?").await;
            phone.until("speech", |received| received.frames.len() > before).await;
            sleep(Duration::from_millis(20 * numbers.below(130))).await;
            if numbers.below(2) == 0 {
                // A sound pauses the agent before there are words.
                phone.speak_frames(16).await;
            }
            world.providers.transcribe_interim("Wait a moment").await;
            sleep(Duration::from_millis(100)).await;
            let clauses = &world.providers.requests().clauses[asked..];
            let expected_audio: Vec<u8> = clauses.iter().flat_map(|clause| audio(clause)).collect();
            let heard = played(&phone.received().frames[before..]);
            assert!(expected_audio.starts_with(&heard), "call {call}, round {round}: other audio was played");
            let mut offset = 0;
            let mut words = vec![];
            for clause in clauses {
                let ended = placed(clause).into_iter().filter(|(.., end)| offset + end <= heard.len());
                words.extend(ended.map(|(word, ..)| word));
                offset += audio(clause).len();
            }
            // The question, and the words of the agent if there are any.
            let expected = known + 1 + usize::from(!words.is_empty());
            let messages = world.conversation.until_messages(expected as u64).await;
            let stored = messages[known..].iter().filter(|message| message.role == Role::Agent);
            let stored: Vec<&str> = stored.map(|message| message.content.as_str()).collect();
            assert_eq!(stored.concat(), words.join(" "), "call {call}, round {round}");
            cuts += 1;
            partly += u32::from(heard.len() < expected_audio.len());
            *at_words.entry(words.len()).or_default() += 1;
        }
        phone.send(STOP).await;
    }
    assert_eq!(cuts, 200);
    assert!(partly > 180 && at_words.len() > 20, "{partly} cuts in speech, at {at_words:?}");
}
