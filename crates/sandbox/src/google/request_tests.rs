//! Requests that the API takes, and those that it refuses.

use jiff::civil::{Date, date};
use serde_json::{Value, json};

use super::{contents::signature, refusal::Refusal, reply, request::Request};
use crate::script::{Reply, Role, ScriptedCall};

const TODAY: Date = date(2026, 11, 30);
const MODEL: &str = "gemini-3.8-flash";

fn parse(model: &str, body: &Value) -> Result<Request, Refusal> {
    Request::parse(model, body.to_string().as_bytes(), TODAY)
}

fn refused(model: &str, body: &Value) -> String {
    let refusal = parse(model, body).expect_err("it is refused");
    format!("{} {}", refusal.status.as_u16(), refusal.message)
}

/// A request with a call whose part is `call`, and its result.
fn called(call: &Value, results: &[&str]) -> Value {
    let results: Vec<Value> = results
        .iter()
        .map(|id| json!({"functionResponse": {"id": id, "name": "look", "response": {"result": "six"}}}))
        .collect();
    json!({
        "contents": [
            {"role": "user", "parts": [{"text": "When?"}]},
            {"role": "model", "parts": [{"text": "Let me look."}, call]},
            {"role": "user", "parts": results},
        ],
        "tools": [{"functionDeclarations": [{"name": "look"}]}],
    })
}

fn look(signature: Option<&str>) -> Value {
    let mut part = json!({"functionCall": {"id": "a", "name": "look", "args": {"q": 1}}});
    if let Some(signature) = signature {
        part["thoughtSignature"] = json!(signature);
    }
    part
}

#[test]
fn a_conversation_is_read_with_its_notes_and_results() {
    let signed = look(Some(&signature("look", &json!({"q": 1}))));
    let mut body = called(&signed, &["a"]);
    body["systemInstruction"] = json!({"parts": [{"text": "You are Ada."}]});
    body["contents"]
        .as_array_mut()
        .unwrap()
        .push(json!({"role": "user", "parts": [{"text": "Well?"}, {"text": "[It is noon.]\nAnd now?"}]}));
    let request = parse(MODEL, &body).unwrap();
    let said: Vec<_> =
        request.conversation.messages.iter().map(|said| (said.role, said.text.as_str())).collect();
    let expected = [
        (Role::Note, "You are Ada."),
        (Role::User, "When?"),
        (Role::Agent, "Let me look."),
        (Role::Result, "six"),
        (Role::User, "Well?"),
        (Role::Note, "It is noon."),
        (Role::User, "And now?"),
    ];
    assert_eq!(said, expected);
    assert_eq!(request.conversation.tools, ["look"]);
    let begun = json!({"contents": [{"role": "user", "parts": [{"text": "[The call begins.]"}]}]});
    assert!(parse(MODEL, &begun).unwrap().conversation.messages.is_empty());
}

#[test]
fn a_call_needs_the_signature_that_it_came_with() {
    let missing = refused(MODEL, &called(&look(None), &["a"]));
    assert!(missing.starts_with("400 Function call is missing a thought_signature"), "{missing}");
    assert_eq!(refused(MODEL, &called(&look(Some("b3RoZXI=")), &["a"])), "400 Corrupted thought signature.");
    assert!(parse(MODEL, &called(&look(Some("skip_thought_signature_validator")), &["a"])).is_ok());
}

#[test]
fn results_follow_their_calls_one_for_one() {
    let signed = look(Some("skip_thought_signature_validator"));
    let number = "400 Please ensure that the number of function response parts is equal";
    assert!(refused(MODEL, &called(&signed, &["a", "b"])).starts_with(number));
    let mut open = called(&signed, &["a"]);
    open["contents"].as_array_mut().unwrap().pop();
    assert!(refused(MODEL, &open).starts_with(number));
    open["contents"].as_array_mut().unwrap().push(json!({"role": "user", "parts": [{"text": "Well?"}]}));
    assert!(refused(MODEL, &open).starts_with(number));
    assert!(refused(MODEL, &called(&signed, &["z"])).contains("id and name"));
    let mut early = called(&signed, &["a"]);
    early["contents"].as_array_mut().unwrap().remove(1);
    assert!(refused(MODEL, &early).contains("immediately after a function call turn"));
    let mut first = called(&signed, &["a"]);
    first["contents"].as_array_mut().unwrap().remove(0);
    assert!(refused(MODEL, &first).contains("immediately after a user turn"));
}

#[test]
fn wrong_requests_are_refused_as_by_the_api() {
    let hello = json!([{"role": "user", "parts": [{"text": "Hello."}]}]);
    let with = |member: &str, value: Value| refused(MODEL, &json!({"contents": hello, member: value}));
    let unknown = |name: &str| format!("400 Invalid JSON payload received. Unknown name \"{name}\"");
    assert!(with("system", json!({})).starts_with(&unknown("system")));
    assert!(with("generationConfig", json!({"max_tokens": 3})).starts_with(&unknown("maxTokens")));
    let snake = json!({"contents": hello, "generation_config": {"max_output_tokens": 3}});
    assert_eq!(parse(MODEL, &snake).unwrap().max_tokens, 3, "names in snake case are the same");
    assert!(with("generationConfig", json!({"temperature": 3})).contains("temperature"));
    assert!(with("generationConfig", json!({"maxOutputTokens": 0})).contains("must be positive"));
    for (contents, mistake) in [
        (json!([]), "contents is not specified"),
        (json!([{"role": "assistant", "parts": [{"text": "a"}]}]), "valid role: user, model"),
        (json!([{"role": "user", "parts": []}]), "must not be empty"),
        (json!([{"role": "user", "parts": [{"text": ""}]}]), "required oneof field 'data'"),
        (json!([{"role": "user", "content": "a"}]), "Unknown name \"content\""),
        (json!([{"role": "user", "parts": [{"toolCall": {}}]}]), "Unknown name \"toolCall\""),
    ] {
        let refusal = refused(MODEL, &json!({ "contents": contents }));
        assert!(refusal.starts_with("400") && refusal.contains(mistake), "{refusal}");
    }
    let body = json!({ "contents": hello });
    assert!(refused("gemini-9", &body).starts_with("404 models/gemini-9 is not found"));
    assert!(refused("gemini-2.5-flash", &body).contains("no longer available"));
}

#[test]
fn each_model_takes_its_levels_of_thinking() {
    let thinks = |model: &str, thinking: Value| {
        let hello = json!([{"role": "user", "parts": [{"text": "Hello."}]}]);
        let body = json!({"contents": hello, "generationConfig": {"thinkingConfig": thinking}});
        parse(model, &body).map(|request| request.thinks).map_err(|refusal| refusal.message)
    };
    let minimal = json!({"thinkingLevel": "MINIMAL"});
    assert_eq!(thinks("gemini-3.6-flash", minimal.clone()), Ok(false));
    assert_eq!(thinks(MODEL, json!({"thinkingLevel": "low"})), Ok(true));
    let refusal = thinks(MODEL, minimal).unwrap_err();
    assert!(refusal.starts_with("Thinking level MINIMAL is not supported for this model."), "{refusal}");
    let both = thinks(MODEL, json!({"thinkingLevel": "LOW", "thinkingBudget": 0})).unwrap_err();
    assert!(both.contains("only one"), "{both}");
}

#[test]
fn a_function_has_a_name_and_a_schema_that_the_api_takes() {
    let declared = |function: Value| {
        let hello = json!([{"role": "user", "parts": [{"text": "Hello."}]}]);
        let body = json!({"contents": hello, "tools": [{"functionDeclarations": [function]}]});
        parse(MODEL, &body).map(|request| request.conversation.tools).map_err(|refusal| refusal.message)
    };
    let schema = json!({"type": "object", "properties": {"pattern": {"type": "string", "enum": ["a"]}}});
    assert_eq!(
        declared(json!({"name": "look", "parametersJsonSchema": schema})),
        Ok(vec!["look".to_owned()])
    );
    for (function, mistake) in [
        (json!({"name": "2nd"}), "Invalid function name"),
        (json!({"name": "a", "strict": true}), "Unknown name \"strict\""),
        (json!({"name": "a", "parameters": {"type": "OBJECT"}}), "non-empty for OBJECT"),
        (json!({"name": "a", "parametersJsonSchema": {"properties": {}}}), "of type OBJECT"),
        (json!({"name": "a", "parametersJsonSchema": schema, "parameters": schema}), "only one of"),
        (
            json!({"name": "a", "parametersJsonSchema": {"type": "object", "properties": {"q": {"pattern": "x"}}}}),
            "Unknown name \"pattern\"",
        ),
    ] {
        let refusal = declared(function).unwrap_err();
        assert!(refusal.contains(mistake), "{refusal}");
    }
}

#[test]
fn chunks_join_to_the_whole_and_their_usage_grows() {
    let call = |name: &str| ScriptedCall { name: name.to_owned(), arguments: json!({"q": 1}) };
    let reply = Reply {
        text: "Let me look.".to_owned(),
        calls: vec![call("look"), call("count")],
        ..Reply::default()
    };
    let ids = ["a", "b"].map(str::to_owned);
    let chunks = reply::chunks(&reply, &ids, MODEL, "r", 10, true, usize::MAX);
    let counts: Vec<_> =
        chunks.iter().map(|chunk| chunk["usageMetadata"]["totalTokenCount"].clone()).collect();
    assert_eq!(counts, [19, 20, 21, 25]);
    let parts = &chunks[3]["candidates"][0]["content"]["parts"];
    assert_eq!(parts[0]["thoughtSignature"], signature("look", &json!({"q": 1})));
    assert_eq!(parts[1].get("thoughtSignature"), None, "the first of parallel calls only");
    let whole = reply::whole(&chunks);
    assert_eq!(whole["candidates"][0]["content"]["parts"][0]["text"], "Let me look.");
    assert_eq!(whole["candidates"][0]["content"]["parts"].as_array().unwrap().len(), 3);
    assert_eq!(whole["candidates"][0]["finishReason"], "STOP");

    let cut = reply::chunks(&reply, &ids, MODEL, "r", 10, true, 10);
    assert_eq!((cut.len(), &cut[1]["candidates"][0]["finishReason"]), (2, &json!("MAX_TOKENS")));
    let empty = reply::chunks(&Reply::default(), &[], MODEL, "r", 10, false, 10);
    assert_eq!((empty.len(), empty[0]["candidates"][0].get("content")), (1, None));
}
