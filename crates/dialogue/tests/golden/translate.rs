//! Translates a replay log of format 1, line by line, to today's format: old names and units to today's.

use serde_json::{Map, Value};

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
    header
}

/// One step of a log.
pub(crate) fn step(mut step: Value) -> Value {
    let mut input = variant(step["input"].take());
    rename_fields(&mut input);
    step["input"] = input;
    for output in step["outputs"].as_array_mut().into_iter().flatten() {
        let mut translated = variant(output.take());
        rename_fields(&mut translated);
        *output = translated;
    }
    step
}

fn rename_fields(message: &mut Value) {
    let Some((name, content)) = message.as_object_mut().and_then(|message| message.iter_mut().next()) else {
        return;
    };
    match name.as_str() {
        "Played" => rename(&mut content["mark"], "generation", "clears"),
        "Mark" => rename(content, "generation", "clears"),
        "HandOver" => rename(content, "unsaid", "unspoken"),
        "Event" => {
            rename(content, "Late", "ProviderTimedOut");
            if content["ProviderTimedOut"] == "Voice" {
                content["ProviderTimedOut"] = "Synthesizer".into();
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

/// Renames a member of an object, if it is one and has it.
fn rename(object: &mut Value, old: &str, today: &str) {
    let Some(members) = object.as_object_mut() else { return };
    if let Some(content) = Map::remove(members, old) {
        members.insert(today.to_owned(), content);
    }
}
