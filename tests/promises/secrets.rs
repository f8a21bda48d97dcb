//! Canaries: words, numbers and keys of a whole call that no log, no metric, no error and (the keys) no item may hold.

use std::{fs, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use harness::{Stack, restless, share_machine};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use switchboard_runtime as system;

use crate::{
    accounts::json_on,
    inbound_calls::{done, path},
    webhooks::receiver::{Manner, Receiver},
};

/// The number that is called, without its country.
const DIGITS: &str = "4155550174";
/// Words that both sides say, among others. The recogniser knows them.
const SPOKEN: [&str; 2] = ["elephant", "strawberries"];
const PROMPT: &str = "canary-prompt-7f3ab2";
const API_KEY: &str = "sk-canary-key-5512cc";
const HEADER: &str = "canary-header-09dd41";
const VENDOR_ERROR: &str = "canary-vendor-error-e217";
const ANSWER: &str = "canary-answer-8be0";
const ARGUMENT: &str = "canary-body-66ac";
/// A customer's own account at the sandbox's carrier.
const OWN_ACCOUNT: &str = "AC11111111111111111111111111111111";
const OWN_TOKEN: &str = "sandbox-customer-token";
const OWN_NUMBER: &str = "+14155550190";
/// Time limit of a webhook.
const SOON: Duration = Duration::from_mins(1);

fn answering(status: u16, body: &'static str) -> Manner {
    Manner::Answers(status, "content-type: application/json\r\n".to_owned(), body, Duration::ZERO)
}

/// Logs that are ours: the functions', the workers' and the command's. The emulator repeats the functions' output.
async fn logs(stack: &Stack, since_ms: i64) -> String {
    let mut text = stack.function_logs(since_ms).await.unwrap();
    assert!(text.contains("call placed") && text.contains("webhook attempt made"), "these are the logs");
    for log in fs::read_dir(stack.state().join("logs")).unwrap() {
        let log = log.unwrap().path();
        let name = log.file_name().unwrap().to_string_lossy().into_owned();
        // Other tests placed calls on this stack before.
        let lines = fs::read_to_string(&log).unwrap();
        if name.starts_with("media") || name.starts_with("switchboard") || name.starts_with("emulator") {
            text.push_str(&lines);
        }
    }
    assert!(text.contains("media stream closed") && text.contains("CloudWatchMetrics"), "and the workers'");
    text
}

/// The lines with a word; at most a few, for the report of a failure.
fn lines_with<'a>(text: &'a str, word: &str) -> Vec<&'a str> {
    let word = word.to_lowercase();
    text.lines().filter(|line| line.to_lowercase().contains(&word)).take(3).collect()
}

/// A secret as it might be stored: plain, in hexadecimal digits, or as a part of something in base64.
fn spellings(secret: &str) -> Vec<String> {
    let digits: Vec<String> = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    let hexadecimal = digits.concat();
    let mut all = vec![secret.to_owned(), hexadecimal];
    for before in 0..3 {
        let mut bytes = vec![0; before];
        bytes.extend(secret.bytes());
        bytes.truncate(bytes.len() / 3 * 3);
        all.push(BASE64_STANDARD.encode(bytes)[4..].to_owned());
    }
    all
}

/// Requests that are refused, each with a canary in it.
async fn refusals(stack: &Stack, token: &str) -> Vec<String> {
    let create = "/conversations/create_phone_call";
    let wrong = |field: &str, value: Value| {
        let mut body = json!({ "from_number": stack.address("from_number"), "to_number": "+14155550152" });
        body[field] = value;
        Some(body)
    };
    let credential = json!({ "provider": "rime", "api_key": [ARGUMENT], "base_url": ARGUMENT });
    let filter =
        json!({ "hooks": [{ "events": ["conversation:ended"], "filter": ARGUMENT, "instructions": [] }] });
    let mut bodies = vec![];
    for (token, method, path, body) in [
        (ARGUMENT, Method::GET, "/conversations".to_owned(), None),
        (token, Method::GET, format!("/conversations/{ARGUMENT}"), None),
        (token, Method::GET, format!("/agents/{ARGUMENT}"), None),
        (token, Method::GET, format!("/{ARGUMENT}"), None),
        (token, Method::GET, format!("/conversations?limit={ARGUMENT}"), None),
        (token, Method::DELETE, format!("/phone_numbers/{ARGUMENT}"), None),
        (token, Method::POST, create.to_owned(), wrong("to_number", json!(ARGUMENT))),
        (token, Method::POST, create.to_owned(), wrong("from_number", json!(format!("+1{DIGITS}")))),
        (token, Method::POST, create.to_owned(), wrong("agent_id", json!(ARGUMENT))),
        (token, Method::POST, create.to_owned(), wrong("agent_config", json!({ "prompt": [ARGUMENT] }))),
        (token, Method::POST, create.to_owned(), wrong("agent_config", filter)),
        (token, Method::POST, "/credentials".to_owned(), Some(credential)),
        (token, Method::POST, "/agents".to_owned(), Some(json!(ARGUMENT))),
    ] {
        let answer = stack.send_as(token, method, &path, body).await.unwrap();
        assert!(answer.status.is_client_error(), "{path}: {}", answer.status);
        bodies.push(answer.body.to_string());
    }
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let callback =
        format!("{}/twilio/{}/cnv_1/status", stack.address("api_url"), stack.address("account_id"));
    let forged = http.post(callback).header("x-twilio-signature", ARGUMENT).form(&[("CallSid", ARGUMENT)]);
    let forged = forged.send().await.unwrap();
    assert_eq!(forged.status(), StatusCode::FORBIDDEN);
    bodies.push(forged.text().await.unwrap());
    bodies
}

#[tokio::test]
async fn canaries_of_a_whole_call_are_in_no_log_metric_or_error_and_no_key_in_the_table() {
    let (stack, _machine) = (restless().await, share_machine().await);
    let begun = system::now().as_millis();
    let token =
        json_on(&stack, &["tokens", "create", "--name", "canary"])["token"].as_str().unwrap().to_owned();
    let to = format!("+1{DIGITS}");
    let script = json!({ "acts": [
        { "after": "reply", "say": "My elephant wants a birthday cake." },
        { "after": "reply", "say": "Thank you, goodbye." },
    ] });
    let people = format!("{}/sandbox/people/{to}", stack.address("twilio_api_url"));
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    http.put(&people).json(&script).send().await.unwrap().error_for_status().unwrap();
    let error = r#"{"error":{"message":"canary-vendor-error-e217: My elephant wants a cake",
        "code":"canary-vendor-error-e217 My elephant","param":"canary-vendor-error-e217"}}"#;
    let model = Receiver::start(answering(400, error)).await;
    let customers = Receiver::start(answering(500, r#"{"fault":"canary-answer-8be0"}"#)).await;
    let base_url = model.url.trim_end_matches("/hook");
    let credential = json!({ "provider": "openai", "api_key": API_KEY, "base_url": base_url });
    let credential = done(&stack, Method::POST, "/credentials", Some(credential)).await;
    let import = json!({ "phone_number": OWN_NUMBER, "account_sid": OWN_ACCOUNT, "auth_token": OWN_TOKEN });
    done(&stack, Method::POST, "/phone_numbers/import", Some(import)).await;
    let agent = json!({
        "initial_message": "Hello, do you want strawberries on your cake?",
        "prompt": PROMPT,
        "language_model": { "provider": "openai", "model": "gpt-6-luna", "credential_id": credential["id"] },
        "webhooks": [{
            "events": ["message:sent", "conversation:ended"],
            "url": format!("{}?key={HEADER}", customers.url),
            "method": "POST",
            "headers": { "x-key": HEADER },
        }],
        "max_duration_seconds": 20,
    });
    let stored = done(&stack, Method::POST, "/agents", Some(agent)).await;
    let call = json!({
        "from_number": stack.address("from_number"), "to_number": to, "agent_id": stored["id"],
    });
    let call =
        stack.send_as(&token, Method::POST, "/conversations/create_phone_call", Some(call)).await.unwrap();
    let id = call.body["id"].as_str().unwrap().to_owned();
    let ended = stack.ended(&id).await.unwrap();
    let said = ended["messages"].to_string().to_lowercase();
    for word in SPOKEN {
        assert!(said.contains(word), "{word} was said: {said}");
    }
    assert!(!model.got().is_empty(), "the model's server was asked");
    let tried = async |stack: &Stack| {
        let log = stack.events(&id).await?;
        let last = log.last().map(|event| event["deliveries"][0]["attempts"].clone()).unwrap_or_default();
        Ok(last.as_array().is_some_and(|attempts| !attempts.is_empty()).then_some(()))
    };
    stack.wait(SOON, "the end is not delivered", tried).await.unwrap();
    stack.sweep().await.unwrap();
    let errors = refusals(&stack, &token).await;

    let text = logs(&stack, begun).await;
    let words = [
        DIGITS,
        SPOKEN[0],
        SPOKEN[1],
        PROMPT,
        API_KEY,
        HEADER,
        VENDOR_ERROR,
        ANSWER,
        ARGUMENT,
        OWN_TOKEN,
        &token,
        "mt_",
    ];
    for word in words {
        assert_eq!(lines_with(&text, word), [""; 0], "{word} in a log");
        for body in &errors {
            assert!(!body.contains(word), "{word} in the error {body}");
        }
    }

    let dump = stack.table_dump().await.unwrap();
    assert!(dump.contains(&id) && dump.contains(PROMPT), "this is the whole table");
    assert!(!dump.contains("mt_"), "a token of a media stream");
    for secret in [&*token, API_KEY, OWN_TOKEN, stack.address("token")] {
        for spelling in spellings(secret) {
            assert!(!dump.contains(&spelling), "{secret} in the table, as {spelling}");
        }
    }
    done(&stack, Method::DELETE, &path(OWN_NUMBER), None).await;
    http.delete(&people).send().await.unwrap();
}
