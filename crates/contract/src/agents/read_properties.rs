use proptest::prelude::*;
use serde_json::{Value, json};

use super::{
    AgentConfig,
    tests::{CREDENTIAL, read},
    update,
};
use switchboard_model::{agents::LanguageModel, egress_policy::EgressPolicy};

/// A configuration that uses every field.
fn full() -> Value {
    json!({
        "disclosure": "I record", "initial_message": "Hello", "prompt": "Be kind", "max_duration_seconds": 60, "recording": false,
        "voice": { "provider": "playht", "model": "susan", "speed": 1.5, "temperature": 1, "text_guidance": 1.5, "style_guidance": 20, "credential_id": CREDENTIAL },
        "language_model": {
            "provider": "google", "model": "gemini-3.8-flash", "temperature": 0.7, "max_tokens": 10, "credential_id": CREDENTIAL,
            "tools": [{ "type": "function", "function": { "name": "a", "description": "b", "parameters": { "type": "object" } } }],
        },
        "transcriber": { "provider": "azure", "languages": ["en-US"], "credential_id": CREDENTIAL },
        "webhooks": [{ "events": ["message:sent"], "url": "https://example.com", "method": "GET", "headers": { "a": "b" }, "filter": null }],
        "hooks": [{ "events": ["message:sent"], "filter": null, "instructions": [{ "instruction": "hang_up" }] }],
        "metadata": { "order": "7" },
    })
}

fn any_json() -> impl Strategy<Value = Value> {
    let word = prop_oneof![
        any::<String>(),
        proptest::sample::select(vec![
            "provider",
            LanguageModel::default().provider(),
            "azure",
            "rime",
            "elevenlabs",
            "voice",
            "tools",
            "name",
            "message:sent",
            "GET"
        ])
        .prop_map(str::to_owned),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (-5.0..40.0_f64).prop_map(Value::from),
        (-3..5_i32).prop_map(Value::from),
        word.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(word.clone(), inner, 0..4)
                .prop_map(|members| members.into_iter().collect()),
        ]
    })
}

/// Replaces the value at `path`, or removes it.
fn replace(value: &mut Value, path: &[proptest::sample::Index], replacement: Option<Value>) {
    let Some((first, rest)) = path.split_first() else {
        if let Some(replacement) = replacement {
            *value = replacement;
        }
        return;
    };
    match value {
        Value::Array(items) if !items.is_empty() => {
            let index = first.index(items.len());
            replace(&mut items[index], rest, replacement);
        }
        Value::Object(members) if !members.is_empty() => {
            let name = members.keys().nth(first.index(members.len())).cloned().unwrap();
            if rest.is_empty() && replacement.is_none() {
                members.remove(&name);
            } else {
                replace(&mut members[&name], rest, replacement);
            }
        }
        _ => {}
    }
}

proptest! {
    #[test]
    fn any_json_is_a_configuration_or_has_errors(value in any_json()) {
        // `read` checks that it is the one or the other.
        let _ = read(&value);
    }

    #[test]
    fn a_shown_configuration_reads_back_as_itself(
        changes in proptest::collection::vec(
            (proptest::collection::vec(any::<proptest::sample::Index>(), 1..6), proptest::option::of(any_json())),
            0..3,
        ),
    ) {
        let mut config = full();
        for (path, replacement) in changes {
            replace(&mut config, &path, replacement);
        }
        if let Ok(parsed) = read(&config) {
            let shown = json!(parsed);
            let patched = update(&parsed, &shown, EgressPolicy::PublicOnly).into_valid();
            prop_assert_eq!(patched, Ok(parsed.clone()), "{}", shown);
            prop_assert_eq!(read(&shown), Ok(parsed.clone()), "{}", config);
            // The table keeps the same text.
            prop_assert_eq!(serde_json::from_value::<AgentConfig>(shown).unwrap(), parsed);
        }
    }
}
