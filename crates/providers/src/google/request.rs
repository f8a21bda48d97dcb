//! The body of a request to Gemini.
//!
//! Pure. Thinking before speaking is silence on the line, so each model gets the lowest level that it takes. The levels
//! are those of Google's documents in November 2026; a model that refuses its level gets the next one.

use serde_json::{Map, Value, json};
use switchboard_model::agents::ModelSettings;

use super::{contents, functions};
use crate::language_model::Conversation;

/// The levels of thinking, the lowest first.
const LEVELS: [&str; 2] = ["MINIMAL", "LOW"];

/// The parameter that a request can do without, beside the level of thinking.
const TEMPERATURE: &str = "temperature";

/// Thoughts count as output, and the agent's limit is meant for words. At the lowest levels a turn of a conversation takes
/// some hundred tokens of thought.
const THOUGHT_TOKENS: u64 = 1_024;

/// The body of a request; see [`adapt`] for what this model has refused before.
pub(super) fn body(settings: &ModelSettings, conversation: &Conversation<'_>) -> Map<String, Value> {
    let mut body = Map::new();
    if let Some(prompt) = conversation.prompt.filter(|prompt| !prompt.trim().is_empty()) {
        body.insert("systemInstruction".into(), json!({ "parts": [{ "text": prompt }] }));
    }
    body.insert("contents".into(), Value::Array(contents::wire(conversation.messages)));
    if !settings.tools.is_empty() {
        let declared: Vec<Value> = settings.tools.iter().map(functions::declaration).collect();
        body.insert("tools".into(), json!([{ "functionDeclarations": declared }]));
    }
    let max_tokens = settings.max_tokens.saturating_add(THOUGHT_TOKENS);
    let mut options = json!({ "maxOutputTokens": max_tokens });
    // Zero is the API's default. Below the vendor's own, 1, these models repeat themselves: it advises against it.
    if settings.temperature > 0.0 {
        options[TEMPERATURE] = json!(settings.temperature);
    }
    if let Some(level) = lowest_level(&settings.model) {
        options["thinkingConfig"] = json!({ "thinkingLevel": level });
    }
    body.insert("generationConfig".into(), options);
    body
}

/// The lowest level of thinking that a model takes; none: it takes no level.
fn lowest_level(model: &str) -> Option<&'static str> {
    let model = model.strip_prefix("models/").unwrap_or(model);
    let Some(version) = model.strip_prefix("gemini-") else {
        // Open models (Gemma) and tuned ones.
        return None;
    };
    let number = |text: &str| text.parse::<u32>().ok();
    let (generation, family) = version.split_once('-').unwrap_or((version, ""));
    let (major, minor) = generation.split_once('.').unwrap_or((generation, "0"));
    match (number(major), number(minor)) {
        (Some(..3), _) => None,
        (Some(3), Some(_)) if family.starts_with("flash-lite") => Some(LEVELS[0]),
        (Some(3), Some(..7)) if family.starts_with("flash") => Some(LEVELS[0]),
        _ => Some(LEVELS[1]),
    }
}

/// The parameters of the body that the request can do without; a level of thinking goes by its name.
pub(super) fn optional(body: &Map<String, Value>) -> Vec<&'static str> {
    let options = &body["generationConfig"];
    let level = LEVELS.into_iter().find(|level| options["thinkingConfig"]["thinkingLevel"] == *level);
    let temperature = options.get(TEMPERATURE).map(|_| TEMPERATURE);
    level.into_iter().chain(temperature).collect()
}

/// Whether a parameter is a level of thinking.
pub(super) fn is_level(parameter: &str) -> bool {
    LEVELS.contains(&parameter)
}

/// Takes what the model refuses out of the body. A refused level gives way to the next one.
pub(super) fn adapt(body: &mut Map<String, Value>, refused: &[&'static str]) {
    let Some(options) = body.get_mut("generationConfig").and_then(Value::as_object_mut) else { return };
    if refused.contains(&TEMPERATURE) {
        options.remove(TEMPERATURE);
    }
    let Some(thinking) = options.get_mut("thinkingConfig") else { return };
    let sent = LEVELS.into_iter().position(|level| thinking["thinkingLevel"] == level);
    let mut levels = LEVELS.into_iter().skip(sent.unwrap_or_default());
    match levels.find(|level| !refused.contains(level)) {
        Some(level) => thinking["thinkingLevel"] = json!(level),
        None => drop(options.remove("thinkingConfig")),
    }
}

#[cfg(test)]
mod tests {
    use switchboard_model::agents::{Function, Tool, ToolKind};

    use super::*;
    use crate::language_model::ChatMessage;

    fn settings(model: &str) -> ModelSettings {
        ModelSettings { model: model.into(), ..ModelSettings::default() }
    }

    #[test]
    fn each_model_gets_the_lowest_level_that_it_takes() {
        for model in
            ["gemini-3-flash-preview", "gemini-3.5-flash", "gemini-3.6-flash", "gemini-3.8-flash-lite"]
        {
            assert_eq!(lowest_level(model), Some("MINIMAL"), "{model}");
        }
        for model in [
            "gemini-3.7-flash",
            "gemini-3.8-flash",
            "gemini-3.1-pro-preview",
            "gemini-4-argon",
            "gemini-flash-latest",
        ] {
            assert_eq!(lowest_level(model), Some("LOW"), "{model}");
        }
        for model in ["gemini-2.5-flash", "gemma-3-27b-it", "gemini-1.5-pro"] {
            assert_eq!(lowest_level(model), None, "{model}");
        }
    }

    #[test]
    fn a_refused_level_gives_way_to_the_next_one() {
        let conversation = Conversation { prompt: None, messages: &[] };
        let warm = ModelSettings { temperature: 0.5, ..settings("gemini-3.6-flash") };
        let adapted = |refused: &[&'static str]| {
            let mut body = body(&warm, &conversation);
            adapt(&mut body, refused);
            (optional(&body), body["generationConfig"].clone())
        };
        assert_eq!(adapted(&[]).0, ["MINIMAL", "temperature"]);
        assert_eq!(adapted(&["MINIMAL"]).0, ["LOW", "temperature"]);
        assert_eq!(adapted(&["MINIMAL", "LOW"]).0, ["temperature"]);
        assert_eq!(adapted(&["MINIMAL", "LOW", "temperature"]).1, json!({ "maxOutputTokens": 1_324 }));
    }

    #[test]
    fn a_request_carries_the_conversation_the_functions_and_the_limits() {
        let function = |name: &str, parameters: Value| Tool {
            kind: ToolKind::Function,
            function: Function {
                name: name.into(),
                description: Some("Looks.".into()),
                parameters: parameters.as_object().cloned(),
            },
        };
        let schema = json!({"type": "object", "properties": {"q": {"type": "string"}}});
        let tools = vec![function("end_call", Value::Null), function("2nd", schema.clone())];
        let settings = ModelSettings { tools, ..settings("gemini-3.8-flash") };
        let messages = [ChatMessage::User("Hi.".into())];
        let body = body(&settings, &Conversation { prompt: Some("Be brief."), messages: &messages });
        let expected = json!({
            "systemInstruction": {"parts": [{"text": "Be brief."}]},
            "contents": [{"role": "user", "parts": [{"text": "Hi."}]}],
            "tools": [{"functionDeclarations": [
                {"name": "end_call", "description": "Looks."},
                {"name": "_2nd", "description": "Looks.", "parametersJsonSchema": schema},
            ]}],
            "generationConfig": {"maxOutputTokens": 1_324, "thinkingConfig": {"thinkingLevel": "LOW"}},
        });
        assert_eq!(Value::Object(body), expected);
        assert_eq!(functions::own_name(&settings.tools, "_2nd".into()), "2nd");
        assert_eq!(functions::own_name(&settings.tools, "end_call".into()), "end_call");
        assert_eq!(functions::own_name(&settings.tools, "other".into()), "other");
    }
}
