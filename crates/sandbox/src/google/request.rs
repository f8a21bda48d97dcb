//! A request to generate content, held to the rules of the real API.

use jiff::civil::Date;
use serde_json::{Map, Value};

use super::{
    contents, models,
    refusal::{Refusal, known},
    schema,
};
use crate::script::Conversation;

/// The members of a request that the API knows.
const MEMBERS: [&str; 9] = [
    "cachedContent",
    "contents",
    "generationConfig",
    "model",
    "safetySettings",
    "serviceTier",
    "systemInstruction",
    "toolConfig",
    "tools",
];

/// The members of `generationConfig`.
const OPTIONS: [&str; 20] = [
    "candidateCount",
    "enableEnhancedCivicAnswers",
    "frequencyPenalty",
    "imageConfig",
    "logprobs",
    "maxOutputTokens",
    "mediaResolution",
    "presencePenalty",
    "responseJsonSchema",
    "responseLogprobs",
    "responseMimeType",
    "responseModalities",
    "responseSchema",
    "seed",
    "speechConfig",
    "stopSequences",
    "temperature",
    "thinkingConfig",
    "topK",
    "topP",
];

/// The parts of a request that have an effect here.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) conversation: Conversation,
    /// The characters of everything that the model reads, in tokens.
    pub(super) prompt_tokens: usize,
    /// The most tokens of words and thoughts.
    pub(super) max_tokens: usize,
    /// Whether the model thinks before it speaks.
    pub(super) thinks: bool,
}

impl Request {
    /// Reads and validates a body as the API does.
    pub(super) fn parse(model: &str, body: &[u8], today: Date) -> Result<Self, Refusal> {
        if !models::is_known(model) {
            return Err(Refusal::not_found(format!(
                "models/{model} is not found for API version v1beta, or is not supported for generateContent. Call \
                 ListModels to see the list of available models and their supported methods."
            )));
        }
        if models::is_retired(model, today) {
            return Err(Refusal::not_found(format!(
                "This model models/{model} is no longer available. Please update your code to use a newer model."
            )));
        }
        let body: Map<String, Value> = serde_json::from_slice(body)
            .map_err(|error| Refusal::invalid(format!("Invalid JSON payload received. {error}")))?;
        let body = in_camel_case(body);
        known(&body, &MEMBERS, "")?;
        let thinks = check_options(model, &body)?;
        let functions = functions(&body)?;
        let mut conversation = contents::read(model, &body)?;
        let mode = body.get("toolConfig").and_then(|config| config.pointer("/functionCallingConfig/mode"));
        conversation.tools = if mode.is_some_and(|mode| mode == "NONE") { vec![] } else { functions };
        let characters: usize = conversation.messages.iter().map(|said| said.text.chars().count()).sum();
        let max_tokens = body.get("generationConfig").and_then(|options| options["maxOutputTokens"].as_u64());
        let max_tokens = max_tokens.and_then(|tokens| usize::try_from(tokens).ok()).unwrap_or(usize::MAX);
        Ok(Self { conversation, prompt_tokens: characters.div_ceil(4).max(1), max_tokens, thinks })
    }
}

/// Members whose values are the customer's own.
const FREE: [&str; 5] = ["args", "parameters", "parametersJsonSchema", "response", "responseJsonSchema"];

/// The body with all names in camel case: the API, and its official client, know them in snake case, too.
fn in_camel_case(object: Map<String, Value>) -> Map<String, Value> {
    let rename = |(name, value): (String, Value)| {
        let name = camel_case(&name);
        let value = if FREE.contains(&name.as_str()) { value } else { within(value) };
        (name, value)
    };
    object.into_iter().map(rename).collect()
}

fn within(value: Value) -> Value {
    match value {
        Value::Object(object) => Value::Object(in_camel_case(object)),
        Value::Array(all) => all.into_iter().map(within).collect(),
        other => other,
    }
}

fn camel_case(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |all, word| {
        let (initial, rest) = word.split_at(word.chars().next().map_or(0, char::len_utf8));
        all + &initial.to_uppercase() + rest
    })
}

/// Checks `generationConfig`. Returns whether the model thinks.
fn check_options(model: &str, body: &Map<String, Value>) -> Result<bool, Refusal> {
    let Some(options) = body.get("generationConfig") else { return Ok(true) };
    let Some(options) = options.as_object() else {
        return Err(Refusal::invalid(
            "Invalid value at 'generation_config' (type.googleapis.com/GenerationConfig)",
        ));
    };
    known(options, &OPTIONS, "generation_config")?;
    for (name, most) in [("temperature", 2.0), ("topP", 1.0)] {
        let Some(value) = options.get(name) else { continue };
        if !value.as_f64().is_some_and(|value| (0.0..=most).contains(&value)) {
            let message =
                format!("* GenerateContentRequest.generation_config.{name}: must be in [0.0, {most:.1}].");
            return Err(Refusal::invalid(message));
        }
    }
    if let Some(tokens) = options.get("maxOutputTokens")
        && tokens.as_u64().is_none_or(|tokens| tokens == 0)
    {
        let message = "* GenerateContentRequest.generation_config.max_output_tokens: max_output_tokens must be positive.";
        return Err(Refusal::invalid(message));
    }
    let Some(thinking) = options.get("thinkingConfig").and_then(Value::as_object) else { return Ok(true) };
    let members = ["includeThoughts", "thinkingBudget", "thinkingLevel"];
    known(thinking, &members, "generation_config.thinking_config")?;
    let budget = thinking.get("thinkingBudget");
    let Some(level) = thinking.get("thinkingLevel") else {
        return Ok(budget.is_none_or(|budget| *budget != 0));
    };
    if budget.is_some() {
        return Err(Refusal::invalid("You can only set only one of thinking budget and thinking level."));
    }
    let level = level.as_str().unwrap_or_default().to_uppercase();
    let levels = models::levels(model);
    if levels.is_empty() {
        return Err(Refusal::invalid("Thinking level is not supported for this model."));
    }
    if !levels.contains(&level.as_str()) {
        return Err(Refusal::invalid(format!(
            "Thinking level {level} is not supported for this model. Please retry with other thinking level."
        )));
    }
    Ok(level != "MINIMAL")
}

/// The names of the functions that are declared.
fn functions(body: &Map<String, Value>) -> Result<Vec<String>, Refusal> {
    let mut names: Vec<String> = vec![];
    for (index, tool) in body.get("tools").and_then(Value::as_array).into_iter().flatten().enumerate() {
        let place = format!("tools[{index}]");
        let members = ["codeExecution", "functionDeclarations", "googleSearch", "urlContext"];
        known(tool.as_object().unwrap_or(&Map::new()), &members, &place)?;
        let declarations = tool["functionDeclarations"].as_array().into_iter().flatten();
        for (index, declaration) in declarations.enumerate() {
            let place = format!("{place}.function_declarations[{index}]");
            let name = schema::check_function(declaration, &place)?;
            if names.contains(&name) {
                return Err(Refusal::invalid(format!("Duplicate function declaration found: {name}")));
            }
            names.push(name);
        }
    }
    Ok(names)
}
