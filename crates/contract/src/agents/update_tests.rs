use serde_json::{Value, json};

use super::{
    tests::{CREDENTIAL, read},
    *,
};
use crate::validation::FieldError;

/// The changed configuration or its errors, and the number of references.
fn patch(config: &AgentConfig, body: &Value) -> (Result<AgentConfig, Vec<Value>>, usize) {
    let changed = update(config, body, EgressPolicy::PublicOnly);
    let references = changed.references.len();
    let described =
        |errors: Vec<FieldError>| errors.iter().map(|error| json!([error.loc, error.kind])).collect();
    (changed.into_valid().map_err(described), references)
}

fn full() -> Value {
    json!({
        "initial_message": "Hello",
        "prompt": "Be brief.",
        "voice": { "provider": "azure", "pitch": 3, "credential_id": CREDENTIAL },
        "language_model": { "provider": "google", "model": "gemini", "temperature": 1.0 },
        "transcriber": { "provider": "azure", "languages": ["fr-FR"] },
        "max_duration_seconds": 60,
        "webhooks": [{ "events": ["message:sent"], "url": "https://example.com", "method": "GET" }],
        "hooks": [{ "events": ["message:sent"], "instructions": [{ "instruction": "hang_up" }] }],
        "metadata": { "order": "7" },
        "recording": false,
    })
}

#[test]
fn an_absent_field_stays_and_is_not_looked_up_again() {
    let config = read(&full()).unwrap();
    assert_eq!(patch(&config, &json!({})), (Ok(config.clone()), 0));
    let changed = AgentConfig { prompt: Some("Be long.".into()), ..config.clone() };
    assert_eq!(patch(&config, &json!({ "prompt": "Be long.", "unheard_of": 1 })), (Ok(changed), 0));
    let voice = json!({ "voice": { "provider": "rime", "credential_id": CREDENTIAL } });
    assert_eq!(patch(&config, &voice).1, 1);
}

#[test]
fn each_field_changes_alone_and_null_is_its_default() {
    let config = read(&full()).unwrap();
    let defaults = json!(AgentConfig::default());
    for (name, value) in full().as_object().unwrap() {
        let mut expected = json!(AgentConfig::default());
        expected[name] = json!(config)[name].clone();
        let changed = patch(&AgentConfig::default(), &json!({ name: value })).0.unwrap();
        assert_eq!(json!(changed), expected, "{name}");

        let mut expected = json!(config);
        expected[name] = if name == "max_duration_seconds" { Value::Null } else { defaults[name].clone() };
        assert_eq!(json!(patch(&config, &json!({ name: null })).0.unwrap()), expected, "{name} cleared");
    }
}

#[test]
fn a_block_is_replaced_as_a_whole() {
    let config = read(&full()).unwrap();
    let changed = patch(&config, &json!({ "language_model": { "max_tokens": 5 }, "metadata": { "a": "b" } }));
    let shown = json!(changed.0.unwrap());
    assert_eq!(
        shown["language_model"],
        json!({
            "provider": "openai", "model": "gpt-6-luna", "tools": [], "temperature": 0.0, "max_tokens": 5,
            "credential_id": null,
        })
    );
    assert_eq!(shown["metadata"], json!({ "a": "b" }));
}

#[test]
fn every_wrong_field_is_named() {
    let config = AgentConfig::default();
    let body = json!({ "prompt": 1, "webhooks": [{ "events": [] }], "voice": { "provider": "x" } });
    let errors = [
        json!([["body", "prompt"], "string_type"]),
        json!([["body", "voice", "provider"], "union_tag_invalid"]),
        json!([["body", "webhooks", 0, "events"], "too_short"]),
        json!([["body", "webhooks", 0, "url"], "missing"]),
        json!([["body", "webhooks", 0, "method"], "missing"]),
    ];
    assert_eq!(patch(&config, &body).0, Err(errors.to_vec()));
    for body in [json!([]), json!(null), json!("text")] {
        assert_eq!(patch(&config, &body).0, Err(vec![json!([["body"], "model_attributes_type"])]), "{body}");
    }
}

#[test]
fn a_change_cannot_exceed_the_maximum_size() {
    let text = |bytes: usize| "a".repeat(bytes);
    let config = patch(&AgentConfig::default(), &json!({ "prompt": text(30_000) })).0.unwrap();
    let too_long = || Err(vec![json!([["body"], "too_long"])]);
    assert_eq!(patch(&config, &json!({ "initial_message": text(11_000) })).0, too_long());
    assert!(patch(&config, &json!({ "initial_message": text(10_000) })).0.is_ok());
    // The request was small enough; with the defaults of 800 tools, the configuration is not.
    let tools: Vec<_> =
        (0..800).map(|n| json!({ "type": "function", "function": { "name": n.to_string() } })).collect();
    let config = read(&json!({ "prompt": text(5), "language_model": { "tools": tools } })).unwrap();
    assert!(json!(config).to_string().len() > MAX_CONFIG_BYTES);
    assert!(patch(&config, &json!({ "prompt": text(5) })).0.is_ok());
    assert_eq!(patch(&config, &json!({ "prompt": text(6) })).0, too_long());
    assert!(patch(&config, &json!({ "language_model": null, "prompt": text(30_000) })).0.is_ok());
}

/// The official TypeScript client writes each of these members as an empty object.
#[test]
fn an_empty_object_for_a_name_is_the_default_or_keeps_the_stored_one() {
    for (block, provider, member, default) in [
        ("voice", "playht", "model", "susan"),
        ("voice", "azure", "model", "en-US-AvaMultilingualNeural"),
        ("voice", "deepgram", "model", "aura-2-thalia-en"),
        ("voice", "elevenlabs", "voice_id", "rachel"),
        ("voice", "rime", "speaker", "lyra"),
        ("voice", "rimeai", "speaker", "lyra"),
        ("language_model", "openai", "model", "gpt-6-luna"),
        ("language_model", "google", "model", "gemini-3.8-flash"),
        ("transcriber", "deepgram", "model", "nova-3"),
        ("transcriber", "deepgram", "language", "en"),
    ] {
        let empty = json!({ block: { "provider": provider, member: {} } });
        let created = json!(read(&empty).unwrap());
        assert_eq!(created[block][member], default, "{empty}");
        let stored = read(&json!({ block: { "provider": provider, member: "mine" } })).unwrap();
        let kept = json!(patch(&stored, &empty).0.unwrap());
        assert_eq!(kept[block][member], "mine", "{empty}");
        let elsewhere = read(&json!({
            "voice": { "provider": if provider == "azure" { "deepgram" } else { "azure" }, "model": "other" },
            "language_model": { "provider": if provider == "google" { "openai" } else { "google" }, "model": "other" },
            "transcriber": { "provider": "azure" },
        }));
        let replaced = json!(patch(&elsewhere.unwrap(), &empty).0.unwrap());
        assert_eq!(replaced[block][member], default, "{empty}");
        let filled = json!({ block: { "provider": provider, member: { "a": 1 } } });
        assert_eq!(patch(&stored, &filled).0, Err(vec![json!([["body", block, member], "string_type"])]));
    }
}
