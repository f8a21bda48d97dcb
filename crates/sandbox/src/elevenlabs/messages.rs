//! The messages of a websocket.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::api::Refusal;

/// Characters that are spoken at once at least, if the client tries to trigger it.
const SHORTEST_CHUNK: usize = 50;

/// A message of the client. Members that the vendor does not know are refused here.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClientMessage {
    #[serde(alias = "contextId")]
    pub(super) context_id: Option<String>,
    pub(super) text: Option<String>,
    pub(super) voice_settings: Option<VoiceSettings>,
    #[serde(default)]
    pub(super) flush: bool,
    #[serde(default)]
    pub(super) close_context: bool,
    #[serde(default)]
    pub(super) close_socket: bool,
    /// Of the protocol without contexts.
    try_trigger_generation: Option<bool>,
    generation_config: Option<GenerationConfig>,
    pronunciation_dictionary_locators: Option<Vec<Value>>,
    /// The key is read from the header only.
    #[serde(rename = "xi_api_key", alias = "xi-api-key")]
    _key: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct GenerationConfig {
    chunk_length_schedule: Option<Vec<f64>>,
}

/// Settings of the voice. They have no effect here.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VoiceSettings {
    stability: Option<f64>,
    similarity_boost: Option<f64>,
    style: Option<f64>,
    use_speaker_boost: Option<bool>,
    speed: Option<f64>,
}

impl VoiceSettings {
    pub(super) fn check(&self) -> Result<(), Refusal> {
        let shares = [
            ("stability", self.stability),
            ("similarity_boost", self.similarity_boost),
            ("style", self.style),
        ];
        for (name, value) in shares {
            if value.is_some_and(|value| !(0.0..=1.0).contains(&value)) {
                return Err(Refusal::parameter(name, format!("{name} must be from 0 to 1")));
            }
        }
        if self.speed.is_some_and(|speed| !(0.7..=1.2).contains(&speed)) {
            return Err(Refusal::parameter("speed", "speed must be from 0.7 to 1.2"));
        }
        let _ = self.use_speaker_boost;
        Ok(())
    }
}

impl ClientMessage {
    pub(super) fn read(text: &str) -> Result<Self, Refusal> {
        // A client that has nothing to say about a member may send null.
        let members: Map<String, Value> =
            serde_json::from_str(text).map_err(|_| Refusal::message("a message must be a JSON object"))?;
        let named = members.into_iter().filter(|(_, value)| !value.is_null()).collect();
        let message: Self = serde_json::from_value(Value::Object(named))
            .map_err(|error| Refusal::message(format!("the message is not valid: {error}")))?;
        if let Some(settings) = &message.voice_settings {
            settings.check()?;
        }
        let schedule =
            message.generation_config.as_ref().and_then(|config| config.chunk_length_schedule.as_ref());
        if schedule.is_some_and(|schedule| schedule.iter().any(|length| !(50.0..=500.0).contains(length))) {
            return Err(Refusal::message("each item of chunk_length_schedule must be from 50 to 500"));
        }
        Ok(message)
    }

    /// Whether it has members that only the first message of a context may have.
    pub(super) fn begins(&self) -> bool {
        self.voice_settings.is_some()
            || self.generation_config.is_some()
            || self.pronunciation_dictionary_locators.is_some()
    }

    /// Whether so many characters are to be spoken now.
    pub(super) fn triggers(&self, characters: usize) -> bool {
        self.flush || (self.try_trigger_generation == Some(true) && characters >= SHORTEST_CHUNK)
    }
}

/// Part of the speech of a context; of the only one, if none is named.
pub(super) fn speech(context: Option<&str>, audio: &[u8], alignment: Option<&Value>) -> Value {
    // The text is spoken as it is written.
    let message = json!({
        "audio": STANDARD.encode(audio),
        "isFinal": null,
        "normalizedAlignment": alignment,
        "alignment": alignment,
    });
    of_context(message, context)
}

/// The last message of a context.
pub(super) fn last(context: Option<&str>) -> Value {
    of_context(json!({ "isFinal": true }), context)
}

fn of_context(mut message: Value, context: Option<&str>) -> Value {
    if let Some(context) = context {
        message["contextId"] = context.into();
    }
    message
}
