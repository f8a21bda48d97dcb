use std::fmt::Write as _;

use serde_json::{Value, json};

use super::*;
use crate::{
    references::Reference,
    validation::{FieldError, LocStep},
};

pub(super) const CREDENTIAL: &str = "crd_01JD9XQ4T0000000000000000A";

/// The path of a wrong field below the body, and the `type` of the error.
fn described(error: &FieldError) -> String {
    let mut text = String::new();
    for step in &error.loc[1..] {
        match step {
            LocStep::Field(name) => write!(text, "{name}."),
            LocStep::Index(index) => write!(text, "{index}."),
        }
        .unwrap();
    }
    format!("{} {}", text.trim_end_matches('.'), error.kind)
}

pub(super) fn read_with(config: &Value, egress_policy: EgressPolicy) -> Result<AgentConfig, Vec<String>> {
    let read = create(config, egress_policy);
    assert_eq!(read.value.is_some(), read.errors.is_empty(), "a configuration or an error: {config}");
    read.into_valid().map_err(|errors| errors.iter().map(described).collect())
}

pub(super) fn read(config: &Value) -> Result<AgentConfig, Vec<String>> {
    read_with(config, EgressPolicy::PublicOnly)
}

/// Checks rows of a configuration and its errors.
pub(super) fn check<const N: usize>(rows: [(Value, &[&str]); N]) {
    for (config, errors) in rows {
        assert_eq!(read(&config).err().unwrap_or_default(), errors, "{config}");
    }
}

fn shown(config: &Value) -> Value {
    json!(read(config).expect("a valid configuration"))
}

#[test]
fn an_empty_configuration_is_all_defaults() {
    assert_eq!(read(&json!({})), Ok(AgentConfig::default()));
    assert_eq!(
        shown(&json!({})),
        json!({
            "disclosure": null,
            "initial_message": null,
            "prompt": null,
            "voice": { "provider": "deepgram", "model": "aura-2-thalia-en", "credential_id": null },
            "language_model": {
                "provider": "openai", "model": "gpt-6-luna", "tools": [], "temperature": 0.0, "max_tokens": 300,
                "credential_id": null,
            },
            "transcriber": {
                "provider": "deepgram", "model": "nova-3", "language": "en", "keywords": [], "credential_id": null,
            },
            "max_duration_seconds": 600,
            "webhooks": [],
            "hooks": [],
            "metadata": {},
            "recording": true,
        })
    );
}

#[test]
fn a_block_without_a_provider_has_the_first_one() {
    let shown = shown(&json!({ "voice": {}, "language_model": {}, "transcriber": {} }));
    let playht = json!({
        "provider": "playht", "model": "susan", "speed": 1.0, "temperature": null, "text_guidance": null,
        "style_guidance": null, "credential_id": null,
    });
    assert_eq!(shown["voice"], playht);
    assert_eq!(shown["language_model"], json!(LanguageModel::default()));
    assert_eq!(shown["transcriber"], json!(Transcriber::default()));
}

#[test]
fn every_provider_has_defaults_of_its_own() {
    for (block, expected) in [
        (json!({ "voice": { "provider": "deepgram" } }), json!({ "model": "aura-2-thalia-en" })),
        (
            json!({ "voice": { "provider": "azure" } }),
            json!({ "model": "en-US-AvaMultilingualNeural", "pitch": 0, "rate": 0 }),
        ),
        (
            json!({ "voice": { "provider": "rime" } }),
            json!({ "speaker": "lyra", "speed_alpha": 1.0, "reduce_latency": false }),
        ),
        (
            json!({ "voice": { "provider": "rimeai" } }),
            json!({ "speaker": "lyra", "speed_alpha": 1.0, "reduce_latency": false }),
        ),
        (
            json!({ "voice": { "provider": "elevenlabs" } }),
            json!({ "voice_id": "rachel", "model_id": "eleven_turbo_v2", "optimize_latency": 3, "use_speaker_boost": false, "similarity_boost": 0.5, "stability": 0.5 }),
        ),
        (json!({ "transcriber": { "provider": "azure" } }), json!({ "languages": ["en-US"] })),
        (
            json!({ "language_model": { "provider": "google" } }),
            json!({ "model": "gemini-3.8-flash", "tools": [], "temperature": 0.0, "max_tokens": 300 }),
        ),
    ] {
        let (role, block) = block.as_object().unwrap().iter().next().unwrap();
        let mut expected = expected;
        expected["provider"] = block["provider"].clone();
        expected["credential_id"] = Value::Null;
        assert_eq!(shown(&json!({ role: block }))[role], expected);
    }
}

#[test]
fn null_is_the_default_except_for_the_duration() {
    let nulls = json!({
        "disclosure": null, "initial_message": null, "prompt": null, "voice": null, "language_model": null, "transcriber": null,
        "webhooks": null, "hooks": null, "metadata": null, "recording": null,
    });
    assert_eq!(read(&nulls), Ok(AgentConfig::default()));
    let unlimited = read(&json!({ "max_duration_seconds": null })).unwrap();
    assert_eq!(unlimited.max_duration_seconds, None);
    let long = read(&json!({ "max_duration_seconds": 86_400 })).unwrap();
    assert_eq!(long.max_duration_seconds, Some(86_400));
}

#[test]
fn simple_fields_have_one_type_each() {
    check([
        (json!({ "initial_message": "", "prompt": "Hi" }), &[]),
        (json!({ "initial_message": 1 }), &["initial_message string_type"]),
        (json!({ "prompt": ["a"] }), &["prompt string_type"]),
        (json!({ "recording": false }), &[]),
        (json!({ "recording": "true" }), &["recording bool_type"]),
        (json!({ "recording": 1 }), &["recording bool_type"]),
        (json!({ "metadata": { "a": "b", "": "" } }), &[]),
        (
            json!({ "metadata": { "a": 1, "b": null, "c": "d" } }),
            &["metadata.a string_type", "metadata.b string_type"],
        ),
        (json!({ "metadata": [] }), &["metadata dict_type"]),
        (json!({ "metadata": "a" }), &["metadata dict_type"]),
        (json!({ "max_duration_seconds": 1 }), &[]),
        (json!({ "max_duration_seconds": 600.0 }), &[]),
        (json!({ "max_duration_seconds": 0 }), &["max_duration_seconds greater_than"]),
        (json!({ "max_duration_seconds": -5 }), &["max_duration_seconds greater_than"]),
        (json!({ "max_duration_seconds": 1.5 }), &["max_duration_seconds int_from_float"]),
        (json!({ "max_duration_seconds": "600" }), &["max_duration_seconds int_type"]),
        (json!({ "max_duration_seconds": true }), &["max_duration_seconds int_type"]),
        (json!({ "max_duration_seconds": u64::MAX }), &["max_duration_seconds less_than_equal"]),
        (json!({ "max_duration_seconds": 1e300 }), &["max_duration_seconds less_than_equal"]),
    ]);
}

#[test]
fn an_unknown_provider_is_refused_with_the_known_ones() {
    check([
        (json!({ "voice": { "provider": "nobody" } }), &["voice.provider union_tag_invalid"]),
        (json!({ "voice": { "provider": "Deepgram" } }), &["voice.provider union_tag_invalid"]),
        (json!({ "voice": { "provider": 1 } }), &["voice.provider string_type"]),
        (json!({ "voice": { "provider": null } }), &[]),
        (json!({ "voice": "susan" }), &["voice model_attributes_type"]),
        (json!({ "transcriber": { "provider": "openai" } }), &["transcriber.provider union_tag_invalid"]),
        (json!({ "transcriber": [] }), &["transcriber model_attributes_type"]),
        (
            json!({ "language_model": { "provider": "azure", "max_tokens": 0 } }),
            &["language_model.provider union_tag_invalid", "language_model.max_tokens greater_than"],
        ),
        (json!({ "language_model": 4 }), &["language_model model_attributes_type"]),
    ]);
    let config = json!({ "transcriber": { "provider": "nobody" } });
    let errors = create(&config, EgressPolicy::PublicOnly).into_valid().unwrap_err();
    assert_eq!(errors[0].msg, "Unknown provider: should be 'deepgram' or 'azure'");
}

#[test]
fn language_models_are_checked() {
    let tool = |function: Value| json!({ "language_model": { "tools": [{ "type": "function", "function": function }] } });
    let deep = |levels: usize| (1..levels).fold(json!({}), |inner, _| json!({ "a": inner }));
    check([
        (json!({ "language_model": { "model": "my-own-model" } }), &[]),
        (json!({ "language_model": { "model": "" } }), &["language_model.model string_too_short"]),
        (json!({ "language_model": { "model": 4 } }), &["language_model.model string_type"]),
        (json!({ "language_model": { "temperature": 0 } }), &[]),
        (json!({ "language_model": { "temperature": 2 } }), &[]),
        (
            json!({ "language_model": { "temperature": 2.01 } }),
            &["language_model.temperature less_than_equal"],
        ),
        (
            json!({ "language_model": { "temperature": -1 } }),
            &["language_model.temperature greater_than_equal"],
        ),
        (json!({ "language_model": { "temperature": "1" } }), &["language_model.temperature float_type"]),
        (json!({ "language_model": { "temperature": true } }), &["language_model.temperature float_type"]),
        (json!({ "language_model": { "max_tokens": 0 } }), &["language_model.max_tokens greater_than"]),
        (json!({ "language_model": { "max_tokens": 1.5 } }), &["language_model.max_tokens int_from_float"]),
        (json!({ "language_model": { "tools": {} } }), &["language_model.tools list_type"]),
        (json!({ "language_model": { "tools": [1] } }), &["language_model.tools.0 model_attributes_type"]),
        (
            json!({ "language_model": { "tools": [{}] } }),
            &["language_model.tools.0.type missing", "language_model.tools.0.function missing"],
        ),
        (
            json!({ "language_model": { "tools": [{ "type": "code", "function": { "name": "a" } }] } }),
            &["language_model.tools.0.type enum"],
        ),
        (tool(json!({ "name": "end_call" })), &[]),
        (tool(json!({ "name": "a", "description": "b", "parameters": { "type": "object" } })), &[]),
        (tool(json!({ "name": "a", "description": null, "parameters": null })), &[]),
        (tool(json!({})), &["language_model.tools.0.function.name missing"]),
        (tool(json!({ "name": "" })), &["language_model.tools.0.function.name string_pattern_mismatch"]),
        (tool(json!({ "name": "a-b" })), &["language_model.tools.0.function.name string_pattern_mismatch"]),
        (tool(json!({ "name": "é" })), &["language_model.tools.0.function.name string_pattern_mismatch"]),
        (tool(json!({ "name": "a\n" })), &["language_model.tools.0.function.name string_pattern_mismatch"]),
        (tool(json!({ "name": "a".repeat(63) })), &[]),
        (
            tool(json!({ "name": "a".repeat(64) })),
            &["language_model.tools.0.function.name string_pattern_mismatch"],
        ),
        (
            tool(json!({ "name": "a", "description": 1, "parameters": [] })),
            &[
                "language_model.tools.0.function.description string_type",
                "language_model.tools.0.function.parameters dict_type",
            ],
        ),
        (tool(json!({ "name": "a", "parameters": deep(32) })), &[]),
        (
            tool(json!({ "name": "a", "parameters": deep(33) })),
            &["language_model.tools.0.function.parameters value_error"],
        ),
        (
            json!({ "language_model": { "tools": [
                { "type": "function", "function": { "name": "a" } },
                { "type": "function", "function": { "name": "b" } },
                { "type": "function", "function": { "name": "a" } },
            ] } }),
            &["language_model.tools.2.function.name value_error"],
        ),
    ]);
}

#[test]
fn transcribers_are_checked() {
    check([
        (
            json!({ "transcriber": { "model": "nova-2-medical", "language": "pt-BR", "keywords": ["cake"] } }),
            &[],
        ),
        (
            json!({ "transcriber": { "model": "", "language": "" } }),
            &["transcriber.model string_too_short", "transcriber.language string_too_short"],
        ),
        (json!({ "transcriber": { "language": 1 } }), &["transcriber.language string_type"]),
        (json!({ "transcriber": { "keywords": "cake" } }), &["transcriber.keywords list_type"]),
        (
            json!({ "transcriber": { "keywords": ["a", 1, "b", {}] } }),
            &["transcriber.keywords.1 string_type", "transcriber.keywords.3 string_type"],
        ),
        (json!({ "transcriber": { "provider": "azure", "languages": ["en-US", "fr-FR"] } }), &[]),
        (
            json!({ "transcriber": { "provider": "azure", "languages": [] } }),
            &["transcriber.languages too_short"],
        ),
        (
            json!({ "transcriber": { "provider": "azure", "languages": [""] } }),
            &["transcriber.languages.0 string_too_short"],
        ),
        (json!({ "transcriber": { "provider": "azure", "model": 5 } }), &[]),
    ]);
}

#[test]
fn voices_are_checked() {
    let voice = |provider: &str, field: &str, value: Value| json!({ "voice": { "provider": provider, field: value } });
    check([
        (voice("playht", "model", json!("s3://voice-cloning/me")), &[]),
        (voice("playht", "model", json!("")), &["voice.model string_too_short"]),
        (voice("playht", "speed", json!(0)), &["voice.speed greater_than"]),
        (voice("playht", "speed", json!(0.0001)), &[]),
        (voice("playht", "speed", json!(5)), &[]),
        (voice("playht", "speed", json!(5.1)), &["voice.speed less_than_equal"]),
        (voice("playht", "temperature", json!(2.5)), &["voice.temperature less_than_equal"]),
        (voice("playht", "temperature", json!(null)), &[]),
        (voice("playht", "text_guidance", json!(0.9)), &["voice.text_guidance greater_than_equal"]),
        (voice("playht", "text_guidance", json!(2)), &[]),
        (voice("playht", "style_guidance", json!(31)), &["voice.style_guidance less_than_equal"]),
        (voice("playht", "style_guidance", json!(1)), &[]),
        (voice("elevenlabs", "voice_id", json!(7)), &["voice.voice_id string_type"]),
        (voice("elevenlabs", "model_id", json!("")), &["voice.model_id string_too_short"]),
        (voice("elevenlabs", "optimize_latency", json!(4)), &[]),
        (voice("elevenlabs", "optimize_latency", json!(5)), &["voice.optimize_latency less_than_equal"]),
        (voice("elevenlabs", "optimize_latency", json!(-1)), &["voice.optimize_latency greater_than_equal"]),
        (voice("elevenlabs", "use_speaker_boost", json!("yes")), &["voice.use_speaker_boost bool_type"]),
        (voice("elevenlabs", "similarity_boost", json!(1.1)), &["voice.similarity_boost less_than_equal"]),
        (voice("elevenlabs", "stability", json!(-0.1)), &["voice.stability greater_than_equal"]),
        (voice("azure", "pitch", json!(-20)), &[]),
        (voice("azure", "pitch", json!(-21)), &["voice.pitch greater_than_equal"]),
        (voice("azure", "pitch", json!(1.5)), &["voice.pitch int_from_float"]),
        (voice("azure", "rate", json!(50)), &[]),
        (voice("azure", "rate", json!(51)), &["voice.rate less_than_equal"]),
        (voice("rime", "speaker", json!("")), &["voice.speaker string_too_short"]),
        (voice("rime", "speed_alpha", json!(0.49)), &["voice.speed_alpha greater_than_equal"]),
        (voice("rimeai", "speed_alpha", json!(2.1)), &["voice.speed_alpha less_than_equal"]),
        (voice("rimeai", "reduce_latency", json!(0)), &["voice.reduce_latency bool_type"]),
        (voice("deepgram", "model", json!("aura-asteria-en")), &[]),
        (voice("deepgram", "model", json!([])), &["voice.model string_type"]),
        // A member of another provider is ignored.
        (voice("deepgram", "speed", json!("fast")), &[]),
    ]);
}

#[test]
fn both_names_of_rime_are_echoed() {
    for provider in ["rime", "rimeai"] {
        assert_eq!(shown(&json!({ "voice": { "provider": provider } }))["voice"]["provider"], provider);
    }
}

#[test]
fn an_agent_has_at_most_twenty_filters() {
    let webhook = json!({ "events": ["message:sent"], "method": "GET", "url": "https://example.com",
        "filter": "true" });
    let hook = |filter: Value| json!({ "events": ["message:sent"], "instructions": [], "filter": filter });
    let hooks = |count: usize, filter: Value| json!({ "webhooks": vec![webhook.clone(); 15], "hooks": vec![hook(filter); count] });
    check([
        (hooks(5, json!("true")), &[]),
        (hooks(100, Value::Null), &[]),
        (hooks(7, json!("true")), &["hooks.5.filter too_long", "hooks.6.filter too_long"]),
    ]);
    let agent = read(&hooks(5, json!("true"))).unwrap();
    let patch = |change: Value| {
        let changed = update(&agent, &change, EgressPolicy::PublicOnly);
        (changed.value.is_some(), changed.errors.len())
    };
    assert_eq!(patch(json!({ "hooks": vec![hook(json!("true")); 6] })), (false, 1), "the webhooks stay");
    assert_eq!(patch(json!({ "webhooks": null, "hooks": vec![hook(json!("true")); 20] })), (true, 0));
}

#[test]
fn credentials_are_references_and_malformed_ones_unknown() {
    let config = json!({
        "voice": { "credential_id": CREDENTIAL },
        "language_model": { "credential_id": CREDENTIAL },
        "transcriber": { "credential_id": null },
    });
    let checked = create(&config, EgressPolicy::PublicOnly);
    assert!(checked.value.is_some());
    let loc = |role: &str| ["body", role, "credential_id"].map(|step| LocStep::Field(step.into()));
    let id = CREDENTIAL.parse().unwrap();
    let reference = |provider| Reference::Credential { id, provider: Some(provider) };
    assert_eq!(
        checked.references,
        [(loc("voice").to_vec(), reference("playht")), (loc("language_model").to_vec(), reference("openai"))]
    );
    check([
        (json!({ "voice": { "provider": "rime", "credential_id": "" } }), &["voice.credential_id not_found"]),
        (
            json!({ "voice": { "provider": "nobody", "credential_id": "crd_" } }),
            &["voice.provider union_tag_invalid", "voice.credential_id not_found"],
        ),
        (
            json!({ "transcriber": { "credential_id": "agt_01JD9XQ4T0000000000000000A" } }),
            &["transcriber.credential_id not_found"],
        ),
        (json!({ "language_model": { "credential_id": 5 } }), &["language_model.credential_id string_type"]),
    ]);
}

#[test]
fn a_configuration_is_at_most_40_kib() {
    let of_size = |bytes: usize| {
        let empty = json!({ "prompt": "" }).to_string().len();
        json!({ "prompt": "a".repeat(bytes - empty) })
    };
    check([
        (of_size(MAX_CONFIG_BYTES), &[]),
        (of_size(MAX_CONFIG_BYTES + 1), &[" too_long"]),
        (
            json!({ "unknown": "a".repeat(MAX_CONFIG_BYTES), "recording": 1 }),
            &[" too_long", "recording bool_type"],
        ),
    ]);
}

#[test]
fn unknown_fields_are_ignored_and_never_echoed() {
    let config = json!({ "unknown": 1, "voice": { "unknown": 1, "provider": "deepgram" } });
    assert_eq!(read(&config), Ok(AgentConfig::default()));
}
