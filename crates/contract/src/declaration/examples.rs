//! An example for every plain field, by its name: with few exceptions a name means the same in every resource.

use serde_json::{Value, json};
use switchboard_model::agents::LanguageModel;

/// Adds an example to every plain field that has none: its default, or else the example of its name. `definition` is the
/// name of the schema.
pub(super) fn add(definition: &str, schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(|item| add(definition, item)),
        Value::Object(members) => {
            members.values_mut().for_each(|member| add(definition, member));
            let Some(Value::Object(properties)) = members.get_mut("properties") else { return };
            for (name, property) in properties {
                if let (true, Value::Object(field)) = (needs_example(property), property) {
                    let example = field.get("default").filter(|default| !default.is_null()).cloned();
                    if let Some(example) =
                        example.or_else(|| of_resource(definition, name)).or_else(|| by_name(name))
                    {
                        field.insert("examples".into(), json!([example]));
                    }
                }
            }
        }
        _ => {}
    }
}

/// Whether a field is a plain value whose schema shows no possible value.
#[must_use]
pub fn needs_example(field: &Value) -> bool {
    let self_explanatory =
        ["examples", "const", "enum", "$ref", "oneOf", "items", "properties", "additionalProperties"];
    let is_reference =
        field["anyOf"].as_array().into_iter().flatten().any(|schema| schema.get("$ref").is_some());
    field.is_object() && !is_reference && self_explanatory.iter().all(|name| field.get(name).is_none())
}

/// The example of a field that has another meaning in each resource.
fn of_resource(definition: &str, name: &str) -> Option<Value> {
    let uri = |path: &str| json!(format!("https://api.example.com/{path}"));
    Some(match (definition, name) {
        ("ConversationView" | "CreatedWebCall", "uri") => uri("conversations/cnv_01JDA2M7X4T6R9V1B3C5D7E9FG"),
        ("AccountView", "uri") => uri("account"),
        ("AccountView", "name") => json!("Corner bakery"),
        ("SpendLimitView", "limit" | "default_limit") => json!(100),
        ("SpendLimitView", "used") => json!(1.25),
        ("CredentialView", "uri") => uri("credentials/crd_01JDA2M7X4T6R9V1B3C5D7E9FG"),
        ("PhoneNumberView", "uri") => uri("phone_numbers/%2B14155550199"),
        ("DeliveryView", "phone_number") | ("ScenarioAct", "hang_up") | ("ScenarioCaller", "machine") => {
            json!(false)
        }
        ("TelephonyView", "auth_token") => Value::Null,
        ("CharacterCostView" | "ServedCostView", "provider") => json!("deepgram"),
        ("ServedCostView", "role") => json!("voice"),
        ("ServedCostView", "model") => json!("aura-2-thalia-en"),
        ("NumberWebhook" | "NumberWebhookInput", "filter") => json!("phone_call.from_number != null"),
        ("NumberWebhook" | "NumberWebhookInput", "url") => json!("https://example.com/choose-agent"),
        ("Quality", "agent_interruptions") => json!(0),
        ("Quality", "response_rate" | "yield_rate") => json!(1.0),
        ("Quality", "talk_over_ms") => json!(420),
        ("Quality", "turn_score") => json!(0.93),
        ("Quality", "turns") => json!(6),
        ("Quality", "version") => json!(1),
        ("QualityBackchannels", "total" | "talked_through")
        | ("QualityNoises", "total" | "ignored")
        | ("ScenarioRule", "turn") => json!(2),
        ("QualityResponseTimes" | "QualityYieldTimes", "p50") => json!(380),
        ("QualityResponseTimes" | "QualityYieldTimes", "p90" | "max") => json!(640),
        ("Scenario", "about") => {
            json!("conversation cnv_01JDA2M7X4T6R9V1B3C5D7E9FG of 2026-11-22T15:04:05.123Z")
        }
        ("Scenario", "end_after_ms") => json!(21_400),
        ("ScenarioAct", "keys") => json!("42#"),
        ("ScenarioAct", "say") => json!("What time do you close on Saturday?"),
        ("ScenarioAct", "wait_ms") => json!(900),
        ("ScenarioFunctionCall", "arguments") => json!({ "day": "Saturday" }),
        ("ScenarioMessage", "is" | "says") | ("ScenarioRule", "say" | "then") => {
            json!("On Saturday we close at six in the evening.")
        }
        ("ScenarioModel", "default" | "when_silent") => json!("Are you still there?"),
        ("ScenarioTool", "after_ms") => json!(143),
        ("WebCall", "url") => json!(
            "wss://media.example.com/media/web/acc_01JDA2M7X4T6R9V1B3C5D7E9FG/cnv_01JDA2M7X4T6R9V1B3C5D7E9FG/0123456789abcdef..."
        ),
        _ => return None,
    })
}

fn by_name(name: &str) -> Option<Value> {
    Some(match name {
        "account_sid" => json!("AC0123456789abcdef0123456789abcdef"),
        "answer" => json!("{\"ok\": true}"),
        "answered_by" => json!("human"),
        "api_key" => json!("sk-0123456789"),
        "attempts" => json!([]),
        "auth_token" => json!("0123456789abcdef0123456789abcdef"),
        "burst" => json!(40),
        "base_url" => json!("https://models.example.com/v1"),
        "characters" => json!(412),
        "content" => json!("On Saturday we close at six in the evening."),
        "cost" | "total" => json!(0.0123),
        "data" => json!({ "ended_reason": "agent_ended" }),
        "default_limit" | "limit" | "slots" => json!(10),
        "description" => json!("Ends the call, once the user has said goodbye."),
        "detail" => json!("Not found"),
        "disclosure" => json!("This call is recorded, so that we can serve you better."),
        "failures" | "in_flight" | "used" | "webhook" => json!(0),
        "filter" => json!("message.role == 'user'"),
        "host" => json!("hooks.example.com:443"),
        "initial_message" => json!("Hello, this is Ada from the corner bakery. How can I help you?"),
        "input_tokens" => json!(1830),
        "estimated" | "interrupted" | "restricted_numbers" => json!(false),
        "iso_country" => json!("US"),
        "keywords" => json!(["strudel"]),
        "language" => json!("en"),
        "last4" => json!("x7Qf"),
        "latency_ms" => json!(143),
        "max_duration_seconds" => json!(600),
        "msg" => json!("Field required"),
        "metadata" => json!({ "order": "4711" }),
        "name" => json!("end_call"),
        "output_tokens" => json!(96),
        "phone_number" => json!("+14155550200"),
        "phone_number_sid" => json!("PN0123456789abcdef0123456789abcdef"),
        "postal_code" => json!("94107"),
        "prompt" => json!("You are Ada, who works at the corner bakery."),
        "provider" => json!(LanguageModel::default().provider()),
        "is_default" | "recording" => json!(true),
        "recording_url" => json!("https://recordings.s3.amazonaws.com/recording.wav?X-Amz-Signature=..."),
        "region" => json!("westeurope"),
        "seconds" => json!(63.2),
        "sequence" => json!(7),
        "status" => json!(200),
        "style_guidance" => json!(20.0),
        "temperature" => json!(1.0),
        "text_guidance" => json!(1.5),
        "type" => json!("missing"),
        "uri" => json!("https://api.example.com/agents/agt_01JDA2M7X4T6R9V1B3C5D7E9FG"),
        "url" => json!("https://example.com/events"),
        "user_id" => json!("u0123456789"),
        _ => return None,
    })
}
