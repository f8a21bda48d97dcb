//! From a request's JSON to an [`AgentConfig`] with every default filled in.
//!
//! An absent field has its default, and so has a null one; only `max_duration_seconds` knows the
//! difference (null: no limit). When a stored agent is changed, an absent field stays as it is. A block that is absent has the defaults of [`Default`]; a block that
//! is there but names no provider has the provider the API had first.

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

use serde_json::{Map, Value};

use crate::validation::{Field, Object, POSITIVE, Read, Reference};
use switchboard_filters::{Filter, MAX_FILTERS};
use switchboard_model::agents::{
    AgentConfig, Function, Hook, Instruction, LanguageModel, ModelSettings, RimeVoice, Tool, ToolKind,
    Transcriber, Voice, Webhook, WebhookMethod,
};
use switchboard_model::{
    egress_policy::{BadUrl, EgressPolicy},
    events::EventName,
    ids::CredentialId,
};

/// The largest `agent_config`, as compact JSON. It must fit into one table item with room to spare.
pub const MAX_CONFIG_BYTES: usize = 40 * 1024;

/// The deepest `parameters` of a tool: levels of nested objects and lists, its own included. Vendors
/// allow no more than ten nested objects, which are twenty levels.
const MAX_PARAMETERS_DEPTH: usize = 32;

/// The longest URL we call; common servers accept no longer ones.
const MAX_URL_BYTES: usize = 2_083;

/// Reads the `agent_config` of a request. Credentials it names are noted in the field's
/// [`Checks`](crate::validation::Checks), to be looked up.
pub fn parse(field: &Field<'_>, egress_policy: EgressPolicy) -> Read<AgentConfig> {
    let object = field.object()?;
    let small = fits(field, field.value().to_string().len(), MAX_CONFIG_BYTES);
    let config = with(AgentConfig::default(), &object, egress_policy);
    small?;
    config
}

/// This configuration, changed by a request: a field that is present has its new value, or its default
/// if it is null; an absent one stays as it is, and what it names is not looked up again. A block
/// (`voice`, a list, `metadata`) is replaced as a whole.
pub fn patched(current: &AgentConfig, field: &Field<'_>, egress_policy: EgressPolicy) -> Read<AgentConfig> {
    let config = with(current.clone(), &field.object()?, egress_policy)?;
    let size = |config: &AgentConfig| serde_json::to_string(config).map_or(0, |json| json.len());
    // With its defaults filled in it may have been larger before: then it may stay so, but not grow.
    fits(field, size(&config), MAX_CONFIG_BYTES.max(size(current)))?;
    Ok(config)
}

/// The members of `object`; where it has none, what is there already.
fn with(current: AgentConfig, object: &Object<'_>, egress_policy: EgressPolicy) -> Read<AgentConfig> {
    let text = |field: &Field<'_>| field.string().map(Some);
    let initial_message = changed(object, "initial_message", current.initial_message, None, text);
    let prompt = changed(object, "prompt", current.prompt, None, text);
    let voice = changed(object, "voice", current.voice, Voice::default(), voice);
    let language_model =
        changed(object, "language_model", current.language_model, LanguageModel::default(), language_model);
    let transcriber =
        changed(object, "transcriber", current.transcriber, Transcriber::default(), transcriber);
    let max_duration_seconds =
        changed(object, "max_duration_seconds", current.max_duration_seconds, None, |field| {
            field.integer(POSITIVE).map(Some)
        });
    let kept = |name: &str| object.member(name).is_none();
    let filters = Filters::default();
    filters
        .add(current.webhooks.iter().filter(|webhook| kept("webhooks") && webhook.filter.is_some()).count());
    filters.add(current.hooks.iter().filter(|hook| kept("hooks") && hook.filter.is_some()).count());
    let webhooks = changed(object, "webhooks", current.webhooks, vec![], |field| {
        field.list(0, |item| webhook(item, &event_names(), egress_policy, &filters))
    });
    let hooks =
        changed(object, "hooks", current.hooks, vec![], |field| field.list(0, |item| hook(item, &filters)));
    let metadata = changed(object, "metadata", current.metadata, BTreeMap::new(), |field| {
        field.map(|_, value| value.string())
    });
    let recording = changed(object, "recording", current.recording, true, Field::boolean);
    Ok(AgentConfig {
        initial_message: initial_message?,
        prompt: prompt?,
        voice: voice?,
        language_model: language_model?,
        transcriber: transcriber?,
        max_duration_seconds: max_duration_seconds?,
        webhooks: webhooks?,
        hooks: hooks?,
        metadata: metadata?,
        recording: recording?,
    })
}

fn fits(field: &Field<'_>, bytes: usize, most: usize) -> Read<()> {
    if bytes <= most {
        return Ok(());
    }
    field.fail("too_long", "agent_config should be at most 40 KiB of JSON")
}

/// A member that keeps its `current` value if it is absent, and has its `default` if it is null.
fn changed<'a, T>(
    object: &Object<'a>,
    name: &str,
    current: T,
    default: T,
    read: impl FnOnce(&Field<'a>) -> Read<T>,
) -> Read<T> {
    match object.member(name) {
        None => Ok(current),
        Some(field) if field.value().is_null() => Ok(default),
        Some(field) => read(&field),
    }
}

fn language_model(field: &Field<'_>) -> Read<LanguageModel> {
    let object = field.object()?;
    let provider = object.provider("openai", &["openai", "google"]);
    let default = match provider {
        Ok("google") => "gemini-3.8-flash".into(),
        _ => ModelSettings::default().model,
    };
    let settings = model_settings(&object, default, provider);
    Ok(if provider? == "google" {
        LanguageModel::Google(settings?)
    } else {
        LanguageModel::Openai(settings?)
    })
}

fn model_settings(
    object: &Object<'_>,
    default_model: String,
    provider: Read<&'static str>,
) -> Read<ModelSettings> {
    let default = ModelSettings::default();
    let model = object.or("model", default_model, Field::name);
    let tools = object.or("tools", default.tools, tools);
    let temperature = object.or("temperature", default.temperature, |field| field.number(0.0..=2.0));
    let max_tokens = object.or("max_tokens", default.max_tokens, |field| field.integer(POSITIVE));
    let credential_id = credential_id(object, provider);
    Ok(ModelSettings {
        model: model?,
        tools: tools?,
        temperature: temperature?,
        max_tokens: max_tokens?,
        credential_id: credential_id?,
    })
}

/// A model could not tell two tools of one name apart.
fn tools(field: &Field<'_>) -> Read<Vec<Tool>> {
    let names = std::cell::RefCell::new(BTreeSet::new());
    field.list(0, |item| {
        let object = item.object()?;
        let kind = object.required("type", |field| field.choice(&[("function", ToolKind::Function)]));
        let function = object.required("function", |field| function(field, &mut names.borrow_mut()));
        Ok(Tool { kind: kind?, function: function? })
    })
}

fn function<'a>(field: &Field<'a>, names: &mut BTreeSet<&'a str>) -> Read<Function> {
    let object = field.object()?;
    let name = object.required("name", |field| {
        let name = field.str()?;
        let valid = (1..=63).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !valid {
            return field
                .fail("string_pattern_mismatch", "String should match pattern '^[A-Za-z0-9_]{1,63}$'");
        }
        if !names.insert(name) {
            return field.fail("value_error", "Another tool has this name");
        }
        Ok(name.to_owned())
    });
    let description = object.optional("description", Field::string);
    let parameters = object.optional("parameters", parameters);
    Ok(Function { name: name?, description: description?, parameters: parameters? })
}

fn parameters(field: &Field<'_>) -> Read<Map<String, Value>> {
    match field.value() {
        value if depth(value) > MAX_PARAMETERS_DEPTH => {
            field.fail("value_error", "Should be nested at most 32 levels deep")
        }
        Value::Object(schema) => Ok(schema.clone()),
        _ => field.fail("dict_type", "Input should be an object"),
    }
}

/// Levels of nested objects and lists. The reader of the request's text has bounded them already, so
/// the recursion is bounded too.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn transcriber(field: &Field<'_>) -> Read<Transcriber> {
    let object = field.object()?;
    let provider = object.provider("deepgram", &["deepgram", "azure"]);
    let credential_id = credential_id(&object, provider);
    if provider? == "azure" {
        let languages = object.or("languages", vec!["en-US".into()], |field| field.list(1, Field::name));
        return Ok(Transcriber::Azure { languages: languages?, credential_id: credential_id? });
    }
    let model = object.or("model", "nova-3".into(), Field::name);
    let language = object.or("language", "en".into(), Field::name);
    let keywords = object.or("keywords", vec![], |field| field.list(0, Field::string));
    Ok(Transcriber::Deepgram {
        model: model?,
        language: language?,
        keywords: keywords?,
        credential_id: credential_id?,
    })
}

fn voice(field: &Field<'_>) -> Read<Voice> {
    let known = ["playht", "elevenlabs", "azure", "rimeai", "rime", "deepgram"];
    let object = field.object()?;
    let provider = object.provider("playht", &known);
    // Every provider takes it, so it is checked even when the provider is wrong.
    let credential_id = credential_id(&object, provider);
    match provider? {
        "elevenlabs" => elevenlabs(&object, credential_id),
        "azure" => azure_voice(&object, credential_id),
        "rimeai" => rime(&object, credential_id).map(Voice::Rimeai),
        "rime" => rime(&object, credential_id).map(Voice::Rime),
        "deepgram" => {
            let model = object.or("model", "aura-2-thalia-en".into(), Field::name);
            Ok(Voice::Deepgram { model: model?, credential_id: credential_id? })
        }
        _ => playht(&object, credential_id),
    }
}

fn playht(object: &Object<'_>, credential_id: Read<Option<CredentialId>>) -> Read<Voice> {
    let model = object.or("model", "susan".into(), Field::name);
    let speed = object.or("speed", 1.0, |field| field.number((Bound::Excluded(0.0), Bound::Included(5.0))));
    let temperature = object.optional("temperature", |field| field.number(0.0..=2.0));
    let text_guidance = object.optional("text_guidance", |field| field.number(1.0..=2.0));
    let style_guidance = object.optional("style_guidance", |field| field.number(1.0..=30.0));
    Ok(Voice::Playht {
        model: model?,
        speed: speed?,
        temperature: temperature?,
        text_guidance: text_guidance?,
        style_guidance: style_guidance?,
        credential_id: credential_id?,
    })
}

fn elevenlabs(object: &Object<'_>, credential_id: Read<Option<CredentialId>>) -> Read<Voice> {
    let voice_id = object.or("voice_id", "rachel".into(), Field::name);
    let model_id = object.or("model_id", "eleven_turbo_v2".into(), Field::name);
    let optimize_latency = object.or("optimize_latency", 3, |field| field.integer(0..=4));
    let use_speaker_boost = object.or("use_speaker_boost", false, Field::boolean);
    let similarity_boost = object.or("similarity_boost", 0.5, |field| field.number(0.0..=1.0));
    let stability = object.or("stability", 0.5, |field| field.number(0.0..=1.0));
    Ok(Voice::Elevenlabs {
        voice_id: voice_id?,
        model_id: model_id?,
        optimize_latency: optimize_latency?,
        use_speaker_boost: use_speaker_boost?,
        similarity_boost: similarity_boost?,
        stability: stability?,
        credential_id: credential_id?,
    })
}

fn azure_voice(object: &Object<'_>, credential_id: Read<Option<CredentialId>>) -> Read<Voice> {
    let model = object.or("model", "en-US-AvaMultilingualNeural".into(), Field::name);
    let pitch = object.or("pitch", 0, |field| field.integer(-20..=20));
    let rate = object.or("rate", 0, |field| field.integer(-50..=50));
    Ok(Voice::Azure { model: model?, pitch: pitch?, rate: rate?, credential_id: credential_id? })
}

fn rime(object: &Object<'_>, credential_id: Read<Option<CredentialId>>) -> Read<RimeVoice> {
    let speaker = object.or("speaker", "lyra".into(), Field::name);
    let speed_alpha = object.or("speed_alpha", 1.0, |field| field.number(0.5..=2.0));
    let reduce_latency = object.or("reduce_latency", false, Field::boolean);
    Ok(RimeVoice {
        speaker: speaker?,
        speed_alpha: speed_alpha?,
        reduce_latency: reduce_latency?,
        credential_id: credential_id?,
    })
}

fn credential_id(object: &Object<'_>, provider: Read<&'static str>) -> Read<Option<CredentialId>> {
    object.optional("credential_id", |field| {
        let id = field.id()?;
        field.refer(Reference::Credential { id, provider: provider.ok() });
        Ok(id)
    })
}

/// Webhooks that are not an agent's, and may hear of these events only.
pub(crate) fn webhooks(
    field: &Field<'_>,
    events: &[(&str, EventName)],
    egress_policy: EgressPolicy,
) -> Read<Vec<Webhook>> {
    let filters = Filters::default();
    field.list(0, |item| webhook(item, events, egress_policy, &filters))
}

fn webhook(
    field: &Field<'_>,
    names: &[(&str, EventName)],
    egress_policy: EgressPolicy,
    filters: &Filters,
) -> Read<Webhook> {
    const METHODS: [(&str, WebhookMethod); 2] = [("GET", WebhookMethod::Get), ("POST", WebhookMethod::Post)];
    let object = field.object()?;
    let events = object.required("events", |field| field.list(1, |item| item.choice(names)));
    let url = object.required("url", |field| url(field, egress_policy));
    let method = object.required("method", |field| field.choice(&METHODS));
    let headers = object.optional("headers", |field| field.map(header));
    let filter = object.optional("filter", |field| filters.parse(field));
    Ok(Webhook { events: events?, url: url?, method: method?, headers: headers?, filter: filter? })
}

fn hook(field: &Field<'_>, filters: &Filters) -> Read<Hook> {
    let object = field.object()?;
    let events = object.required("events", events);
    let filter = object.optional("filter", |field| filters.parse(field));
    let instructions = object.required("instructions", |field| {
        field.list(0, |item| {
            item.object()?.required("instruction", |field| field.choice(&[("hang_up", Instruction::HangUp)]))
        })
    });
    Ok(Hook { events: events?, filter: filter?, instructions: instructions? })
}

fn event_names() -> [(&'static str, EventName); 11] {
    EventName::ALL.map(|name| (name.as_str(), name))
}

fn events(field: &Field<'_>) -> Read<Vec<EventName>> {
    field.list(1, |item| item.choice(&event_names()))
}

/// How many filters there are so far; those beyond the limit are not even compiled.
#[derive(Default)]
struct Filters(Cell<usize>);

impl Filters {
    fn add(&self, count: usize) {
        self.0.set(self.0.get() + count);
    }

    fn parse(&self, field: &Field<'_>) -> Read<Filter> {
        let text = field.str()?;
        self.add(1);
        if self.0.get() > MAX_FILTERS {
            return field.fail("too_long", format!("There should be at most {MAX_FILTERS} filters"));
        }
        Filter::parse(text).map_err(|error| field.note("value_error", error.to_string()))
    }
}

fn url(field: &Field<'_>, egress_policy: EgressPolicy) -> Read<String> {
    let text = field.str()?;
    if text.len() > MAX_URL_BYTES {
        return field.fail("url_too_long", format!("URL should have at most {MAX_URL_BYTES} characters"));
    }
    match egress_policy.url(text) {
        Ok(_) => Ok(text.into()),
        Err(bad @ BadUrl::Malformed) => field.fail("url_parsing", bad.to_string()),
        Err(bad @ BadUrl::Scheme(_)) => field.fail("url_scheme", bad.to_string()),
        Err(bad @ (BadUrl::UserInfo | BadUrl::NotPublic)) => field.fail("value_error", bad.to_string()),
    }
}

/// One header of a webhook: a name and a value that HTTP can carry (RFC 9110, section 5).
fn header(name: &str, field: &Field<'_>) -> Read<String> {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let value = field.str()?;
    if name.is_empty() || !name.bytes().all(token) {
        return field.fail("value_error", "Not a valid header name");
    }
    if value.chars().any(|character| character.is_control() && character != '\t') {
        return field.fail("value_error", "A header's value has no control characters");
    }
    Ok(value.into())
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "webhook_tests.rs"]
mod webhook_tests;

#[cfg(test)]
#[path = "patch_tests.rs"]
mod patch_tests;

#[cfg(test)]
#[path = "parse_properties.rs"]
mod properties;
