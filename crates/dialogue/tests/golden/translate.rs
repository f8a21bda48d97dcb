//! Translates a replay log of format 1, line by line, to today's format: names, units, and the kind of the agent's
//! utterances.

use serde_json::{Map, Value, json};

/// Format 1 counted mu-law audio of 8 kHz in bytes, today's counts microseconds.
const MICROS_PER_BYTE: u64 = 125;

/// Format 1 had no flag for these: they were known by their text.
const HOLD_PHRASES: [&str; 2] = ["One moment, please.", "Einen Moment bitte."];
const APOLOGIES: [&str; 2] = [
    "I'm sorry, I didn't catch that. Could you say it again?",
    "I'm sorry, I'm having trouble right now. Please call again later. Goodbye.",
];

/// Inputs and outputs that were renamed.
const VARIANTS: [(&str, &str); 10] = [
    ("Started", "MediaStarted"),
    ("Key", "Dtmf"),
    ("SpeechBegan", "SpeechStarted"),
    ("Words", "Transcript"),
    ("Lost", "StreamLost"),
    ("Closed", "StreamClosed"),
    ("Ask", "StartGeneration"),
    ("CancelAsk", "CancelGeneration"),
    ("Speak", "Synthesize"),
    ("CancelSpeech", "CancelSynthesis"),
];

/// The header of a log.
pub(crate) fn header(mut header: Value) -> Value {
    let settings = &mut header["settings"];
    rename(settings, "resumed", "takeover");
    rename(&mut settings["takeover"], "unsaid", "unspoken");
    for item in settings.pointer_mut("/takeover/history").and_then(Value::as_array_mut).into_iter().flatten()
    {
        if let Some(text) = item["Agent"].as_str() {
            *item = json!({ "Agent": { "text": text, "kind": kind(text, &HOLD_PHRASES.concat()) } });
        }
    }
    header["format"] = 2.into();
    header
}

/// One step of a log. `synthesized` collects the agent's words.
pub(crate) fn step(mut step: Value, synthesized: &mut String) -> Value {
    let mut input = variant(step["input"].take());
    rename_fields(&mut input, synthesized);
    step["input"] = input;
    for output in step["outputs"].as_array_mut().into_iter().flatten() {
        let mut translated = variant(output.take());
        if let Some(clause) = translated.pointer("/Synthesize/text").and_then(Value::as_str) {
            synthesized.push_str(clause);
            synthesized.push(' ');
        }
        rename_fields(&mut translated, synthesized);
        *output = translated;
    }
    step
}

fn rename_fields(message: &mut Value, synthesized: &str) {
    let Some((name, content)) = message.as_object_mut().and_then(|message| message.iter_mut().next()) else {
        return;
    };
    match name.as_str() {
        "Played" => rename(&mut content["mark"], "generation", "clears"),
        "Mark" => rename(content, "generation", "clears"),
        "HandOver" => rename(content, "unsaid", "unspoken"),
        "VoiceAudio" | "Send" | "Rewind" => in_micros(content, "bytes", "audio"),
        "VoiceFinished" => in_micros(content, "silence", "trailing_silence"),
        "Event" => {
            rename(content, "Late", "ProviderTimedOut");
            if content["ProviderTimedOut"] == "Voice" {
                content["ProviderTimedOut"] = "Synthesizer".into();
            }
            if let Some(message) = content.get_mut("MessageSent") {
                let is_agents = message["role"] == "agent";
                message["kind"] = message["content"]
                    .as_str()
                    .filter(|_| is_agents)
                    .map_or("speech", |text| kind(text, synthesized))
                    .into();
            }
        }
        _ => rename(content, "request", "generation"),
    }
}

/// An enum's value with today's name of its variant: a string, or an object of one member.
fn variant(value: Value) -> Value {
    let today = |name: &str| {
        let renamed = VARIANTS.iter().find(|(old, _)| *old == name);
        renamed.map_or(name, |(_, today)| today).to_owned()
    };
    match value {
        Value::String(name) => Value::String(today(&name)),
        Value::Object(one) => {
            Value::Object(one.into_iter().map(|(name, content)| (today(&name), content)).collect())
        }
        other => other,
    }
}

/// Why the agent said this: it is the beginning of a phrase whose first sentence was synthesized.
fn kind(text: &str, synthesized: &str) -> &'static str {
    let is_heard_of = |phrase: &&str| {
        let rest = phrase.strip_prefix(text).filter(|_| !text.is_empty());
        let first = phrase.split_inclusive('.').next().unwrap_or_default();
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(' ')) && synthesized.contains(first)
    };
    if HOLD_PHRASES.iter().any(is_heard_of) {
        "hold_phrase"
    } else if APOLOGIES.iter().any(is_heard_of) {
        "apology"
    } else {
        "speech"
    }
}

/// Renames a member of an object, and converts it from bytes to microseconds.
fn in_micros(object: &mut Value, old: &str, today: &str) {
    rename(object, old, today);
    if let Some(bytes) = object.get(today).and_then(Value::as_u64) {
        object[today] = (bytes * MICROS_PER_BYTE).into();
    }
}

/// Renames a member of an object, if it is one and has it.
fn rename(object: &mut Value, old: &str, today: &str) {
    let Some(members) = object.as_object_mut() else { return };
    if let Some(content) = Map::remove(members, old) {
        members.insert(today.to_owned(), content);
    }
}
