//! The vendors' answers, byte by byte.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use switchboard_model::agents::{LanguageModel, ModelSettings, RimeVoice, Voice};

/// The clause that is spoken.
pub(crate) const CLAUSE: &str = "Your table for four is booked for eight o'clock.";
/// The context in the answers to the bare socket.
pub(crate) const BARE_CONTEXT: &str = "clause-100";

/// Bytes of the first audio: 200 ms for the telephone.
const AUDIO_BYTES: usize = 1_600;
/// Tokens of a response.
const TOKENS: usize = 50;

/// One provider in one role.
pub(crate) struct Subject {
    pub(crate) provider: &'static str,
    /// The kind of piece that is timed.
    pub(crate) unit: &'static str,
    pub(crate) role: fn() -> Role,
    pub(crate) script: Script,
}

pub(crate) enum Role {
    Voice(Voice),
    LanguageModel(LanguageModel),
}

/// The answers of a vendor; `context` is the request's, if the protocol has one.
#[derive(Clone, Copy)]
pub(crate) struct Script {
    pub(crate) dialect: Dialect,
    /// The writes that are timed.
    pub(crate) pieces: fn(context: &str) -> Vec<Vec<u8>>,
    /// Behind them.
    pub(crate) end: fn(context: &str) -> Vec<u8>,
}

/// How requests are made.
#[derive(Clone, Copy)]
pub(crate) enum Dialect {
    Http,
    /// A websocket whose client closes each context.
    Elevenlabs,
    /// A websocket whose client flushes each clause.
    Rime,
}

const AUDIO: &str = "first audio";
const TOKEN: &str = "token";
const BODY: Script = Script { dialect: Dialect::Http, pieces: body, end: |_| LAST_CHUNK.to_vec() };

pub(crate) const SUBJECTS: &[Subject] = &[
    Subject { provider: "deepgram", unit: AUDIO, role: || Role::Voice(Voice::default()), script: BODY },
    Subject {
        provider: "elevenlabs",
        unit: AUDIO,
        role: elevenlabs,
        script: Script {
            dialect: Dialect::Elevenlabs,
            pieces: elevenlabs_speech,
            end: |context| frame(&json!({"isFinal": true, "contextId": context})),
        },
    },
    Subject { provider: "azure", unit: AUDIO, role: azure, script: BODY },
    Subject {
        provider: "rime",
        unit: AUDIO,
        role: rime,
        script: Script {
            dialect: Dialect::Rime,
            pieces: rime_speech,
            end: |context| frame(&json!({"type": "done", "contextId": context})),
        },
    },
    Subject { provider: "playht", unit: AUDIO, role: playht, script: BODY },
    Subject {
        provider: "openai",
        unit: TOKEN,
        role: || Role::LanguageModel(LanguageModel::default()),
        script: Script { dialect: Dialect::Http, pieces: openai_tokens, end: |_| openai_end() },
    },
    Subject {
        provider: "google",
        unit: TOKEN,
        role: google,
        script: Script { dialect: Dialect::Http, pieces: google_tokens, end: |_| google_end() },
    },
];

fn elevenlabs() -> Role {
    Role::Voice(Voice::Elevenlabs {
        voice_id: "rachel".into(),
        model_id: "eleven_turbo_v2".into(),
        optimize_latency: 3,
        use_speaker_boost: false,
        similarity_boost: 0.5,
        stability: 0.5,
        credential_id: None,
    })
}

fn azure() -> Role {
    let model = "en-US-AvaMultilingualNeural".into();
    Role::Voice(Voice::Azure { model, pitch: 0, rate: 0, credential_id: None })
}

fn rime() -> Role {
    let speaker = "lyra".into();
    Role::Voice(Voice::Rime(RimeVoice {
        speaker,
        speed_alpha: 1.0,
        reduce_latency: false,
        credential_id: None,
    }))
}

fn playht() -> Role {
    Role::Voice(Voice::Playht {
        model: "susan".into(),
        speed: 1.0,
        temperature: None,
        text_guidance: None,
        style_guidance: None,
        credential_id: None,
    })
}

fn google() -> Role {
    let model = "gemini-3.8-flash".into();
    Role::LanguageModel(LanguageModel::Google(ModelSettings { model, ..ModelSettings::default() }))
}

const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

fn head(content_type: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ntransfer-encoding: chunked\r\n\
         date: Tue, 01 Dec 2026 00:00:00 GMT\r\nx-request-id: 01JDZ5X7M0C4T8R2V6W9Y3B1KQ\r\ndg-char-count: 48\r\n\r\n"
    )
    .into_bytes()
}

fn chunk(bytes: &[u8]) -> Vec<u8> {
    let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
    chunk.extend_from_slice(bytes);
    chunk.extend_from_slice(b"\r\n");
    chunk
}

/// The head of a response and its first audio.
fn body(_context: &str) -> Vec<Vec<u8>> {
    vec![[head("audio/basic"), chunk(&[0x7F; AUDIO_BYTES])].concat()]
}

/// A websocket frame with a text.
fn frame(message: &Value) -> Vec<u8> {
    let text = message.to_string();
    let mut frame = vec![0x81];
    if let Ok(length @ ..126) = u8::try_from(text.len()) {
        frame.push(length);
    } else {
        frame.push(126);
        let length = u16::try_from(text.len()).expect("no message is longer than 64 KB");
        frame.extend_from_slice(&length.to_be_bytes());
    }
    frame.extend_from_slice(text.as_bytes());
    frame
}

fn encoded_audio() -> String {
    BASE64_STANDARD.encode([0x7F; AUDIO_BYTES])
}

/// All characters of the clause are timed beside its first audio.
fn elevenlabs_speech(context: &str) -> Vec<Vec<u8>> {
    let spoken = format!("{CLAUSE} ");
    let chars: Vec<String> = spoken.chars().map(String::from).collect();
    let starts: Vec<usize> = (0..chars.len()).map(|index| 60 * index).collect();
    let alignment =
        json!({"charDurationsMs": vec![60; chars.len()], "charStartTimesMs": starts, "chars": chars});
    vec![frame(&json!({
        "audio": encoded_audio(), "isFinal": null, "contextId": context, "alignment": alignment,
        "normalizedAlignment": alignment
    }))]
}

/// The times of the words, and the first audio.
fn rime_speech(context: &str) -> Vec<Vec<u8>> {
    let words: Vec<&str> = CLAUSE.split(' ').collect();
    let starts: Vec<f64> = (0_u32..).take(words.len()).map(|index| f64::from(index) * 0.25).collect();
    let ends: Vec<f64> = starts.iter().map(|start| start + 0.25).collect();
    let times = json!({"words": words, "start": starts, "end": ends});
    let times = json!({"type": "timestamps", "word_timestamps": times, "contextId": context});
    let audio = json!({"type": "chunk", "data": encoded_audio(), "contextId": context});
    vec![[frame(&times), frame(&audio)].concat()]
}

fn event(data: &Value) -> Vec<u8> {
    chunk(format!("data: {data}\n\n").as_bytes())
}

/// One event per token; the head of the response is before the first one.
fn streamed(token: &Value) -> Vec<Vec<u8>> {
    let mut pieces = vec![event(token); TOKENS];
    pieces[0].splice(0..0, head("text/event-stream"));
    pieces
}

fn openai_event(choices: &Value, usage: &Value) -> Value {
    json!({
        "id": "chatcmpl-BqXk2hTn9ZfLw0vYcR4uJ8sD1mPe7", "object": "chat.completion.chunk", "created": 1_796_083_200,
        "model": "gpt-6-luna", "service_tier": "default", "system_fingerprint": "fp_07871e2ad8",
        "choices": choices, "usage": usage, "obfuscation": "h8Jk2mPq"
    })
}

fn openai_tokens(_context: &str) -> Vec<Vec<u8>> {
    let delta = json!({"content": " table"});
    let choices = json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": null}]);
    streamed(&openai_event(&choices, &Value::Null))
}

fn openai_end() -> Vec<u8> {
    let choices = json!([{"index": 0, "delta": {}, "logprobs": null, "finish_reason": "stop"}]);
    let usage = json!({"prompt_tokens": 900, "completion_tokens": TOKENS, "total_tokens": 900 + TOKENS});
    let (stop, usage) = (openai_event(&choices, &Value::Null), openai_event(&json!([]), &usage));
    [event(&stop), event(&usage), chunk(b"data: [DONE]\n\n"), LAST_CHUNK.to_vec()].concat()
}

fn google_event(candidate: &Value) -> Value {
    let details = json!([{"modality": "TEXT", "tokenCount": 900}]);
    let usage = json!({"promptTokenCount": 900, "candidatesTokenCount": TOKENS, "totalTokenCount": 900 + TOKENS,
        "promptTokensDetails": details});
    json!({"candidates": [candidate], "usageMetadata": usage, "modelVersion": "gemini-3.8-flash",
        "responseId": "kq0sadKqBv2g7dcPwI6x2QM"})
}

fn google_tokens(_context: &str) -> Vec<Vec<u8>> {
    let content = json!({"parts": [{"text": " table"}], "role": "model"});
    streamed(&google_event(&json!({"content": content, "index": 0})))
}

fn google_end() -> Vec<u8> {
    let stop = google_event(&json!({"finishReason": "STOP", "index": 0}));
    [event(&stop), LAST_CHUNK.to_vec()].concat()
}
