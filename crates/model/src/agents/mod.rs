//! The configuration of an agent: prompt, voice, language model, transcriber, webhooks, hooks.
//!
//! These types are the snapshot that a conversation keeps, with every default filled in. `crates/contract` makes them
//! from the JSON of a request and reports every wrong field at once. The API and the table use their serialized form.

mod stored;

use std::{collections::BTreeMap, fmt};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};

pub use self::stored::Agent;
use crate::{hooks::Hook, ids::CredentialId, webhooks::Webhook};
use switchboard_filters::Filter;

/// Default of the maximum duration of a conversation.
pub const DEFAULT_MAX_DURATION_SECONDS: u64 = 600;

/// The configuration of an agent.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentConfig {
    /// Said before anything else, and never interrupted.
    #[serde(default)]
    pub disclosure: Option<String>,
    /// The greeting; none: the agent waits for the caller.
    pub initial_message: Option<String>,
    /// Instructions for the language model.
    pub prompt: Option<String>,
    /// The voice.
    pub voice: Voice,
    /// The language model.
    pub language_model: LanguageModel,
    /// The transcriber.
    pub transcriber: Transcriber,
    /// Seconds after which the agent ends the conversation; none: no limit of ours.
    pub max_duration_seconds: Option<u64>,
    /// The customer's endpoints that receive events.
    pub webhooks: Vec<Webhook>,
    /// The instructions that run on events.
    pub hooks: Vec<Hook>,
    /// The customer's own labels.
    pub metadata: BTreeMap<String, String>,
    /// Whether the conversation is recorded.
    pub recording: bool,
}

impl fmt::Debug for AgentConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AgentConfig([redacted])")
    }
}

/// A language model and its settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "provider", rename_all = "lowercase")]
pub enum LanguageModel {
    /// OpenAI, or a server that speaks its protocol.
    Openai(ModelSettings),
    /// Google Gemini.
    Google(ModelSettings),
}

/// The settings of a language model, the same for both providers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelSettings {
    /// The vendor's name of the model.
    pub model: String,
    /// The functions that the model may call.
    pub tools: Vec<Tool>,
    /// 0 to 2; 0 is the most predictable.
    pub temperature: f64,
    /// Maximum length of a response, in tokens.
    pub max_tokens: u64,
    /// The customer's own key; none: the deployment's.
    pub credential_id: Option<CredentialId>,
}

/// A function that the model may call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tool {
    /// The kind: always a function.
    #[serde(rename = "type")]
    pub kind: ToolKind,
    /// Its name, purpose and parameters.
    pub function: Function,
}

/// The kinds of tool; the field's vocabulary has only one so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ToolKind {
    /// A function with named parameters.
    Function,
}

/// The description of a function for the model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Function {
    /// The name: 1 to 63 characters of `[A-Za-z0-9_]`, unique among the tools of an agent.
    pub name: String,
    /// The purpose of the function.
    pub description: Option<String>,
    /// A JSON Schema object; none: no parameters.
    pub parameters: Option<Map<String, Value>>,
}

/// A transcriber and its settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "provider", rename_all = "lowercase")]
pub enum Transcriber {
    /// Deepgram live transcription.
    Deepgram {
        /// Such as `nova-3`.
        model: String,
        /// BCP-47, such as `en`.
        language: String,
        /// Words to listen for.
        keywords: Vec<String>,
        /// The customer's own key; none: the deployment's.
        credential_id: Option<CredentialId>,
    },
    /// Azure real-time speech to text.
    Azure {
        /// Locales, such as `en-US`; at least one.
        languages: Vec<String>,
        /// The customer's own key; none: the deployment's.
        credential_id: Option<CredentialId>,
    },
}

/// A voice and its settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "provider", rename_all = "lowercase")]
pub enum Voice {
    /// PlayHT. Its service ended in 2025, so a fallback serves.
    Playht {
        /// A name such as `susan`, or a voice id.
        model: String,
        /// 0 < speed <= 5.
        speed: f64,
        /// 0 to 2.
        temperature: Option<f64>,
        /// 1 to 2.
        text_guidance: Option<f64>,
        /// 1 to 30.
        style_guidance: Option<f64>,
        /// The customer's own key; none: the deployment's.
        credential_id: Option<CredentialId>,
    },
    /// ElevenLabs.
    Elevenlabs {
        /// A name such as `rachel`, or a voice id.
        voice_id: String,
        /// Such as `eleven_turbo_v2`.
        model_id: String,
        /// 0 to 4.
        optimize_latency: u8,
        /// Costs latency.
        use_speaker_boost: bool,
        /// 0 to 1.
        #[serde(serialize_with = "shortest")]
        similarity_boost: f64,
        /// 0 to 1.
        #[serde(serialize_with = "shortest")]
        stability: f64,
        /// The customer's own key; none: the deployment's.
        credential_id: Option<CredentialId>,
    },
    /// Azure neural voices.
    Azure {
        /// Such as `en-US-AvaMultilingualNeural`.
        model: String,
        /// -20 to 20, per cent.
        pitch: i8,
        /// -50 to 50, per cent.
        rate: i8,
        /// The customer's own key; none: the deployment's.
        credential_id: Option<CredentialId>,
    },
    /// Rime, by the name the API's documentation gives it.
    Rimeai(RimeVoice),
    /// Rime, by the name the official client gives it.
    Rime(RimeVoice),
    /// Deepgram Aura.
    Deepgram {
        /// Such as `aura-2-thalia-en`.
        model: String,
        /// The customer's own key; none: the deployment's.
        credential_id: Option<CredentialId>,
    },
}

/// Writes whole numbers as integers, so that a client that reads only integers can read its own values.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn shortest<S: Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    match *number {
        0.0 => serializer.serialize_u8(0),
        1.0 => serializer.serialize_u8(1),
        number => serializer.serialize_f64(number),
    }
}

/// The settings of a Rime voice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RimeVoice {
    /// Such as `lyra`.
    pub speaker: String,
    /// 0.5 to 2.
    pub speed_alpha: f64,
    /// Trades quality for speed.
    pub reduce_latency: bool,
    /// The customer's own key; none: the deployment's.
    pub credential_id: Option<CredentialId>,
}

impl Default for LanguageModel {
    fn default() -> Self {
        Self::Openai(ModelSettings::default())
    }
}

impl Default for ModelSettings {
    fn default() -> Self {
        Self {
            model: "gpt-6-luna".into(),
            tools: vec![],
            temperature: 0.0,
            max_tokens: 300,
            credential_id: None,
        }
    }
}

impl Default for Transcriber {
    fn default() -> Self {
        Self::Deepgram {
            model: "nova-3".into(),
            language: "en".into(),
            keywords: vec![],
            credential_id: None,
        }
    }
}

impl Default for Voice {
    fn default() -> Self {
        Self::Deepgram { model: "aura-2-thalia-en".into(), credential_id: None }
    }
}

impl Default for AgentConfig {
    fn default() -> Self {
        Self {
            disclosure: None,
            initial_message: None,
            prompt: None,
            voice: Voice::default(),
            language_model: LanguageModel::default(),
            transcriber: Transcriber::default(),
            max_duration_seconds: Some(DEFAULT_MAX_DURATION_SECONDS),
            webhooks: vec![],
            hooks: vec![],
            metadata: BTreeMap::new(),
            recording: true,
        }
    }
}

impl LanguageModel {
    /// The settings, regardless of the provider.
    #[must_use]
    pub fn settings(&self) -> &ModelSettings {
        match self {
            Self::Openai(settings) | Self::Google(settings) => settings,
        }
    }

    /// The provider's name on the wire.
    #[must_use]
    pub fn provider(&self) -> &'static str {
        match self {
            Self::Openai(_) => "openai",
            Self::Google(_) => "google",
        }
    }
}

impl Transcriber {
    /// The spoken language, or the first of several: a BCP-47 tag.
    #[must_use]
    pub fn language(&self) -> &str {
        match self {
            Self::Deepgram { language, .. } => language,
            Self::Azure { languages, .. } => languages.first().map_or("", String::as_str),
        }
    }

    /// The provider's name on the wire.
    #[must_use]
    pub fn provider(&self) -> &'static str {
        match self {
            Self::Deepgram { .. } => "deepgram",
            Self::Azure { .. } => "azure",
        }
    }

    /// The customer's own key; none: the deployment's.
    #[must_use]
    pub fn credential_id(&self) -> Option<CredentialId> {
        match self {
            Self::Deepgram { credential_id, .. } | Self::Azure { credential_id, .. } => *credential_id,
        }
    }
}

impl Voice {
    /// The provider's name on the wire.
    #[must_use]
    pub fn provider(&self) -> &'static str {
        match self {
            Self::Playht { .. } => "playht",
            Self::Elevenlabs { .. } => "elevenlabs",
            Self::Azure { .. } => "azure",
            Self::Rimeai(_) => "rimeai",
            Self::Rime(_) => "rime",
            Self::Deepgram { .. } => "deepgram",
        }
    }

    /// The customer's own key; none: the deployment's.
    #[must_use]
    pub fn credential_id(&self) -> Option<CredentialId> {
        match self {
            Self::Playht { credential_id, .. }
            | Self::Elevenlabs { credential_id, .. }
            | Self::Azure { credential_id, .. }
            | Self::Deepgram { credential_id, .. }
            | Self::Rimeai(RimeVoice { credential_id, .. })
            | Self::Rime(RimeVoice { credential_id, .. }) => *credential_id,
        }
    }
}

impl AgentConfig {
    /// Whether a filter may read the verdict of answering machine detection, which costs extra.
    #[must_use]
    pub fn asks_who_answered(&self) -> bool {
        let webhooks = self.webhooks.iter().filter_map(|webhook| webhook.filter.as_ref());
        let hooks = self.hooks.iter().filter_map(|hook| hook.filter.as_ref());
        webhooks.chain(hooks).any(Filter::mentions_answered_by)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn whole_settings_of_an_elevenlabs_voice_are_shown_as_integers() {
        for (setting, shown) in [(0.0, "0"), (-0.0, "0"), (1.0, "1"), (0.5, "0.5")] {
            let voice = json!(Voice::Elevenlabs {
                voice_id: "rachel".into(),
                model_id: "eleven_turbo_v2".into(),
                optimize_latency: 3,
                use_speaker_boost: false,
                similarity_boost: setting,
                stability: setting,
                credential_id: None,
            });
            assert_eq!(voice["similarity_boost"].to_string(), shown);
            assert_eq!(voice["stability"].to_string(), shown);
        }
    }
}
